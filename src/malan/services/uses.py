"""Asking for rights before anything is read: which terms allow a use today, and a refusal that names its reasons.

Two must say yes: the role of whoever asks (`access`), and the terms of the owner to this party. Terms that are not on
record allow nothing. Owners may look at what is theirs whatever their terms allow others. Start at `allowed_terms`.
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import UTC, date, datetime
from typing import TYPE_CHECKING

from malan.core import Decision, Reason, Terms
from malan.core.errors import NotFound, NotGranted, ProofError
from malan.rights.decide import CompiledTerms, Use, compile_terms
from malan.services.access import ALL, HOUSE, Caller, scope
from malan.services.footage.owners import compiled_terms, terms_of

if TYPE_CHECKING:
    from malan.store import AssetRow
    from malan.workspace import Workspace


LOOKING = "retrieve"
_WHOLE_ID = 64


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


def decide_use(ws: Workspace, terms_id: str, use: str, *, caller: Caller = HOUSE, action: str = "") -> Decision:
    """What role and terms say about a use today.

    Args:
        ws: Whose terms.
        terms_id: Which.
        use: One of `rights.USES`.
        caller: Who wants to.
        action: What is asked of its role; without one, `export` to export and `find` for everything else.
    """
    try:
        terms = terms_of(ws, terms_id)
    except (NotFound, ProofError):
        return Decision(False, (Reason("rights.unknown_terms", (("terms", terms_id[:12]),)),))
    return _Asked(use, caller, action).decide(compile_terms(terms))


def allowed_terms(
    ws: Workspace, use: str, among: Iterable[str] | None = None, *, caller: Caller = HOUSE, action: str = ""
) -> tuple[str, ...]:
    """The ids of all terms in the library (or `among` these) that allow a caller a use today."""
    ids = tuple(ws.library.terms_ids() if among is None else among)
    compiled, asked = compiled_terms(ws, ids), _Asked(use, caller, action)
    return tuple(terms_id for terms_id in ids if terms_id in compiled and asked.decide(compiled[terms_id]).allowed)


def require_use(
    ws: Workspace,
    terms_id: str,
    use: str,
    what: str,
    lang: str | None = None,
    *,
    caller: Caller = HOUSE,
    action: str = "",
) -> None:
    """Go on only when role and terms allow the caller the use.

    Raises:
        NotGranted: They do not; every reason is in the message.
    """
    decision = decide_use(ws, terms_id, use, caller=caller, action=action)
    if not decision.allowed:
        reasons = " ".join(reason.text(lang) for reason in decision.reasons)
        raise NotGranted("rights.denied", what=what, use=use, reasons=reasons)


def visible_asset(ws: Workspace, id_or_prefix: str, caller: Caller = HOUSE) -> AssetRow:
    """An asset by its id. To anybody but an operator, one that may not be looked at is not there.

    Raises:
        NotFound: There is none, as far as this caller is told.
    """
    if caller.is_operator:
        return ws.library.asset(id_or_prefix)
    if len(id_or_prefix) != _WHOLE_ID:  # the beginning of an id would tell what there is
        raise NotFound("store.asset_unknown", id=id_or_prefix[:12])
    row = ws.library.asset(id_or_prefix)
    if not decide_use(ws, row.asset.terms_id, LOOKING, caller=caller).allowed:
        raise NotFound("store.asset_unknown", id=id_or_prefix[:12])
    return row


def require_visible_clip(ws: Workspace, clip_id: str, terms_id: str, caller: Caller = HOUSE) -> None:
    """Go on only when a clip may be looked at; to anybody but an operator, one that may not is not there.

    Raises:
        NotGranted: An operator may not look at it.
        NotFound: Somebody else may not.
    """
    if caller.is_operator:
        require_use(ws, terms_id, LOOKING, clip_id[:12], caller=caller)
    elif not decide_use(ws, terms_id, LOOKING, caller=caller).allowed:
        raise NotFound("store.clip_unknown", id=clip_id[:12])


class _Asked:
    """One use by one caller, to be put to many terms."""

    def __init__(self, use: str, caller: Caller, action: str) -> None:
        self._use = Use(use, today(), party_id=caller.party_id, purpose=caller.purpose)
        self._caller, self._action = caller, action or ("export" if use == "export" else "find")
        self._scope = scope(caller, self._action)

    def decide(self, terms: CompiledTerms) -> Decision:
        owner_id = terms.terms.owner_id
        if self._scope is None or (self._scope != ALL and owner_id != self._caller.party_id):
            return Decision(False, (Reason("rights.role", (("action", self._action),)),))
        if self._use.action == LOOKING and self._caller.owns(owner_id) and terms.terms != withdrawn_terms(owner_id):
            return Decision(True, (Reason("rights.own"),))
        return terms.decide(self._use)
