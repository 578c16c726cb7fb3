"""Sub-models of one base made into one general model: exact on products, with every owner's share in it.

The arithmetic is `models.merge`; this asks for the right, reads, registers and states. Start reading at `merge_models`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import TYPE_CHECKING

from malan.core.errors import Rejected, UsageError
from malan.core.ids import digest_bytes
from malan.models.licences import is_as_strict
from malan.models.merge import Part, merge_adapters, merge_shares
from malan.models.safetensors import read_adapter, write_adapter
from malan.services.access import HOUSE, Caller, require
from malan.services.files.blobs import keep_bytes
from malan.services.models.registry import ADAPTER, get_model, now, release, weights_bytes
from malan.services.models.rights import Asked, require_model_use
from malan.services.models.rows import MERGED, RELEASED, ModelRow

if TYPE_CHECKING:
    from malan.workspace import Workspace

_MOST_PARTS = 200  # an event of the ledger names every one
_MOST_DIGITS = 40


@dataclass(frozen=True)
class MergedModel:
    """A model just merged, and how far it is from the exact sum (relative, in the Frobenius norm; 0: exact)."""

    model: ModelRow
    rank: int
    error: float


def merge_models(
    ws: Workspace,
    models: Sequence[str],
    weights: Sequence[Fraction],
    *,
    name: str,
    version: str = "",
    licence: str = "",
    rank: int | None = None,
    asked: Asked | None = None,
    caller: Caller = HOUSE,
) -> MergedModel:
    """Add the products of some adapters, register the result, and say whose it is.

    Shares: each part's, in proportion to the size of its weight. The licence of the result is that of the parts; where
    they differ it must be named, and every licence of every part goes on to be asked at each use.

    Args:
        ws: Where they are.
        models: Names or digests, each once.
        weights: The factor of each product; below zero takes it away.
        name: What people call the result.
        version: Empty for the next whole number of the name.
        licence: Of the result; empty where all parts have the same.
        rank: The most that a module may have; None keeps all that is needed to be exact.
        asked: What for and where, for the licences; the action is always `merge`.
        caller: On whose behalf.

    Raises:
        NotGranted: The caller may not, or a licence does not allow it.
        UsageError: Not as many weights as models, a weight of zero, a model named twice.
        Rejected: A model that is no adapter, different bases, shapes that do not agree, a part nobody has a share in.
    """
    require(caller, "models.change")
    rows = [get_model(ws, text, caller=caller) for text in models]
    if len(rows) != len(weights) or not 0 < len(rows) <= _MOST_PARTS or len({row.id for row in rows}) != len(rows):
        raise UsageError("models.bad_weights", models=len(rows), weights=len(weights))
    for row in rows:
        _check_part(row)
        require_model_use(ws, row, _merging(asked, name), caller=caller)
    parts = [_part(ws, row, weight) for row, weight in zip(rows, weights, strict=True)]
    merged = merge_adapters(parts, rank=rank)
    data = write_adapter(merged.adapter)
    model = ModelRow(
        id=digest_bytes(data),
        name=name,
        version=version,
        kind=MERGED,
        form=ADAPTER,
        base_id=rows[0].base_id,
        licence=_licence(rows, licence),
        family=rows[0].family,
        party_id=_party(rows),
        run={},
        snapshot_id=None,
        evaluation={},
        card={"rank": merged.adapter.rank, "error": f"{merged.error:.9g}"},
        place={},
        size_bytes=len(data),
        state=RELEASED,
        made=now(),
        shares=merge_shares([(part.weight, part.shares) for part in parts]),
        parts=tuple(sorted((row.id, weight) for row, weight in zip(rows, weights, strict=True))),
    )
    keep_bytes(ws, data)
    return MergedModel(release(ws, model), merged.adapter.rank, merged.error)


def read_weights(text: str) -> list[Fraction]:
    """`0.6,0.4` or `3/5,2/5`, exact.

    Raises:
        UsageError: It is not a list of numbers other than zero.
    """
    found = []
    for one in text.split(","):
        try:
            weight = Fraction(one.strip()) if len(one) <= _MOST_DIGITS and "e" not in one.lower() else Fraction(0)
        except (ValueError, ZeroDivisionError):
            weight = Fraction(0)
        if not weight:
            raise UsageError("merge.bad_weight", weight=one[:40])
        found.append(weight)
    return found


def _merging(asked: Asked | None, name: str) -> Asked:
    return Asked("merge", asked.is_commercial if asked else True, asked.territory if asked else None, name)


def _check_part(row: ModelRow) -> None:
    if row.form != ADAPTER or row.place:
        raise Rejected("models.not_mergeable", model=row.title)
    if not row.shares:
        raise Rejected("models.no_owner", model=row.title)


def _part(ws: Workspace, row: ModelRow, weight: Fraction) -> Part:
    alpha = row.card.get("alpha")
    adapter = read_adapter(weights_bytes(ws, row), alpha=float(alpha) if alpha is not None else None)
    return Part(adapter, weight, row.shares, row.base_id or f"family:{row.family}")


def _licence(rows: Sequence[ModelRow], wanted: str) -> str:
    """One for all, or the one that is named; it promises no more than any of the parts."""
    found = {row.licence for row in rows}
    if not wanted and len(found) == 1:
        return found.pop()
    if wanted and all(is_as_strict(wanted, one) for one in found):
        return wanted
    raise Rejected("models.licences_differ", licences=", ".join(sorted(found))[:200])


def _party(rows: Sequence[ModelRow]) -> str | None:
    """Whose the result is: the one party whose all parts are; the house's otherwise."""
    parties = {row.party_id for row in rows}
    return parties.pop() if len(parties) == 1 else None
