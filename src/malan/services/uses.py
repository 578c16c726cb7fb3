"""Asking for rights before anything is read: which terms allow a use today, and a refusal that names its reasons.

Terms that are not on record allow nothing. Start reading at `allowed_terms`.
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import UTC, date, datetime
from typing import TYPE_CHECKING

from malan.core import Decision, Reason, Terms
from malan.core.errors import NotFound, NotGranted, ProofError
from malan.rights import decide
from malan.rights.decide import Use
from malan.services.parties import compiled_terms, terms_of

if TYPE_CHECKING:
    from malan.store import AssetRow
    from malan.workspace import Workspace


def today() -> date:
    """The day in UTC on which a use happens."""
    return datetime.now(UTC).date()


def withdrawn_terms(owner_id: str) -> Terms:
    """Terms that allow nothing, which withdrawn footage comes under."""
    return Terms(owner_id, "withdrawn", ())


def is_withdrawn(row: AssetRow) -> bool:
    """Whether an asset was taken back by its owner."""
    return row.asset.terms_id == withdrawn_terms(row.asset.owner_id).id


def withdrawn_ids(ws: Workspace) -> set[str]:
    """The assets that are withdrawn now, by what the log says of them."""
    named = {key.rpartition(":")[2] for key in ws.log.keys_from("asset.withdraw urn:malan:asset:")}
    return {asset_id for asset_id, row in ws.library.assets_by_id(named).items() if is_withdrawn(row)}


def decide_use(ws: Workspace, terms_id: str, use: str) -> Decision:
    """What the terms say about a use today."""
    try:
        terms = terms_of(ws, terms_id)
    except (NotFound, ProofError):
        return Decision(False, (Reason("rights.unknown_terms", (("terms", terms_id[:12]),)),))
    return decide(terms, use, on=today())


def allowed_terms(ws: Workspace, use: str, among: Iterable[str] | None = None) -> tuple[str, ...]:
    """The ids of all terms in the library (or `among` these) that allow a use today."""
    ids = tuple(ws.library.terms_ids() if among is None else among)
    compiled, asked = compiled_terms(ws, ids), Use(use, today())
    return tuple(terms_id for terms_id in ids if terms_id in compiled and compiled[terms_id].decide(asked).allowed)


def require_use(ws: Workspace, terms_id: str, use: str, what: str, lang: str | None = None) -> None:
    """Go on only when the terms allow the use.

    Raises:
        NotGranted: They do not; every reason is in the message.
    """
    decision = decide_use(ws, terms_id, use)
    if not decision.allowed:
        reasons = " ".join(reason.text(lang) for reason in decision.reasons)
        raise NotGranted("rights.denied", what=what, use=use, reasons=reasons)
