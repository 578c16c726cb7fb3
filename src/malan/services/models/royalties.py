"""Money for the use of a model, also of one that was merged: it reaches those whose footage is in it.

    amount ─ by the weights of the merge, exactly ─▶ a charge for each model that was trained ─ settlement ─▶ owners

A charge is divided by the usage of the run its model was trained in, which is what its shares are. Start reading at
`charge_model`.
"""

from __future__ import annotations

from collections.abc import Iterable
from contextlib import suppress
from fractions import Fraction
from typing import TYPE_CHECKING

from malan.core.errors import Rejected
from malan.rights.shares import split
from malan.rights.statement import Charge
from malan.services.access import HOUSE, Caller, require
from malan.services.models.registry import get_model
from malan.services.models.rows import ModelRow, rows_by_id
from malan.services.settlement.charges import charge

if TYPE_CHECKING:
    from malan.workspace import Workspace

_DEEPEST = 64  # merges of merges


def charge_model(
    ws: Workspace,
    text: str,
    grant_id: str,
    gross_minor: int,
    currency: str,
    *,
    key: str,
    at_us: int | None = None,
    caller: Caller = HOUSE,
) -> list[Charge]:
    """Note that money is owed for the use of a model; the same key again is the same charges.

    Args:
        ws: Where it is.
        text: Name or digest of the model.
        grant_id: Under which it is owed.
        gross_minor: The amount, in the smallest unit of the currency; the charges add to exactly this.
        currency: ISO 4217.
        key: Names this use.
        at_us: When it fell due; now, unless said otherwise.
        caller: On whose behalf.

    Raises:
        NotGranted: The caller may not.
        NotFound: There is no such model, or the ledger does not say in which run it was trained.
        Rejected: Nobody's footage is in it.
    """
    require(caller, "settle")
    model = get_model(ws, text, caller=caller)
    weights: dict[str, Fraction | int] = {**trained_parts(ws, model)}
    amounts = split(gross_minor, weights, salt=key)
    return [
        charge(ws, grant_id, amount, currency, key=f"{key}/{part[:16]}", kind="model", about=f"model:{part}",
               at_us=at_us, caller=caller)
        for part, amount in sorted(amounts.items())
        if amount
    ]  # fmt: skip


def charge_trained(
    ws: Workspace,
    model_ids: Iterable[str],
    gross_minor: int,
    currency: str,
    *,
    key: str,
    at_us: int | None = None,
    caller: Caller = HOUSE,
) -> list[Charge]:
    """Note that money is owed for the use of several models at once, each trained part under the grant of its own run.

    Models that nobody's footage is in (bases) take nothing; if all are such, nothing is owed. The rest share alike,
    and a merged model hands its share to its parts by their weights. The charges add to exactly the amount.

    Args:
        ws: Where it is.
        model_ids: Digests of the models, as `AiPart.model_ids` holds them.
        gross_minor: The amount, in the smallest unit of the currency.
        currency: ISO 4217.
        key: Names this use; the same key again is the same charges.
        at_us: When it fell due; now, unless said otherwise.
        caller: On whose behalf.

    Raises:
        NotGranted: The caller may not.
        UsageError: An impossible amount, or another currency than a grant's.
        NotFound: The ledger does not say in which run a part was trained.
    """
    require(caller, "settle")
    rows = rows_by_id(ws, sorted(set(model_ids)))
    weights: dict[str, Fraction | int] = {}
    for row in rows.values():
        with suppress(Rejected):  # nobody's footage is in it
            for part, share in trained_parts(ws, row).items():
                weights[part] = weights.get(part, Fraction()) + share
    parts = rows_by_id(ws, sorted(weights))
    owed = {part: weight for part, weight in weights.items() if parts[part].run.get("grant")}
    if not owed or not gross_minor:
        return []
    return [
        charge(ws, str(parts[part].run["grant"]), amount, currency, key=f"{key}/{part[:16]}", kind="model",
               about=f"model:{part}", at_us=at_us, caller=caller)
        for part, amount in sorted(split(gross_minor, owed, salt=key).items())
        if amount
    ]  # fmt: skip


def trained_parts(ws: Workspace, model: ModelRow) -> dict[str, Fraction]:
    """The models that runs gave, with what each weighs in this one; they add to exactly one.

    Raises:
        Rejected: A part that no run gave: nobody's footage is in it.
    """
    found: dict[str, Fraction] = {}
    waiting = [(model, Fraction(1))]
    for _ in range(_DEEPEST):
        if not waiting:
            return found
        following: list[tuple[ModelRow, Fraction]] = []
        for row, share in waiting:
            if not row.parts:
                if not row.run_ids:
                    raise Rejected("models.no_owner", model=row.title)
                found[row.id] = found.get(row.id, Fraction()) + share
                continue
            whole = sum((abs(weight) for _, weight in row.parts), Fraction())
            rows = rows_by_id(ws, [part for part, _ in row.parts])
            following += [(rows[part], share * abs(weight) / whole) for part, weight in row.parts]
        waiting = following
    raise Rejected("models.too_deep", model=model.title)
