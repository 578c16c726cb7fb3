"""Asking for rights before anything is read: which terms allow a use today, and a refusal that names its reasons.

Terms that are not on record allow nothing. Start reading at `allowed_terms`.
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import UTC, date, datetime
from typing import TYPE_CHECKING

from malan.core import Decision, Reason
from malan.core.errors import NotFound, NotGranted, ProofError
from malan.rights import decide
from malan.rights.decide import Use
from malan.services.parties import compiled_terms, terms_of

if TYPE_CHECKING:
    from malan.workspace import Workspace


def today() -> date:
    """The day in UTC on which a use happens."""
    return datetime.now(UTC).date()


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
