"""What may be done with a model: its state, every licence it stands under, and the owners of its footage must agree.

    retired? ─▶ licences of the model and of all it was made from ─▶ (to leave) role, then each owner ─▶ Decision

An owner agrees to a model leaving by terms that let this form of result out of a run (`egress`), by terms that allow
`export`, or by approving this very model. Footage that was taken back agrees to nothing; only an approval given for the
model itself stands. Start reading at `decide_model_use`.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from sqlalchemy import select, update

from malan.core import Decision, Reason, Terms
from malan.core.errors import NotFound, NotGranted, ProofError, Rejected, UsageError
from malan.ledger.statement import Subject, urn
from malan.models.licences import ACTIONS, EXPORT, SERVE, WeightUse, decide_licence, find_licence
from malan.rights.decide import Use, compile_terms
from malan.runtime.database import reading, writing
from malan.services.access import ALL, HOUSE, Caller, require, scope
from malan.services.datasets.freezing import show_snapshot
from malan.services.footage.owners import terms_of
from malan.services.journal import Fact, record
from malan.services.market.tables import GRANTS, market
from malan.services.models.registry import ADAPTER, family_tree, get_model, is_of, now
from malan.services.models.rows import RETIRED, Decided, ModelRow, decisions_of, decisions_of_all, find_model
from malan.services.models.tables import DECISIONS, MODELS, registry
from malan.services.uses import is_withdrawn, today

if TYPE_CHECKING:
    from malan.workspace import Workspace

APPROVE, RETIRE, CONFIRM = "approve", "retire", "confirm"
LEAVING = (EXPORT, SERVE)
_MOST_REASON = 500


@dataclass(frozen=True)
class Asked:
    """What somebody wants to do with a model; see `WeightUse`."""

    action: str
    is_commercial: bool = True
    territory: str | None = None
    name: str = ""
    family: str = ""

    def of(self, model: ModelRow, confirmed: frozenset[str]) -> WeightUse:
        return WeightUse(
            self.action, self.is_commercial, self.territory, confirmed, self.name or model.name, self.family
        )


def decide_model_use(ws: Workspace, model: ModelRow, asked: Asked | str, *, caller: Caller = HOUSE) -> Decision:
    """Whether a model may be used so. Every ground for refusal is listed.

    Args:
        ws: Where it is kept.
        model: Which.
        asked: What for: an action (`apply`, `serve`, `export`, `train`, `merge`, `teach`), or more of it. Where nobody
            says where it happens, the workspace's `territory` holds.
        caller: Who asks; a model leaves only for its own party, or for an operator.
    """
    wanted = Asked(asked) if isinstance(asked, str) else asked
    if wanted.territory is None and ws.settings.territory:
        wanted = replace(wanted, territory=ws.settings.territory)
    family = family_tree(ws, model)
    decided = decisions_of_all(ws, [one.id for one in family])
    refusals = list(_state(family, decided))
    for one in family:
        confirmed = frozenset(d.use for d in decided[one.id] if d.action == CONFIRM)
        decision = decide_licence(one.licence, wanted.of(model, confirmed))
        if not decision.allowed:
            refusals += [_about(reason, one, model) for reason in decision.reasons]
    if wanted.action in LEAVING:
        approved = {d.party_id for d in decided[model.id] if (d.action, d.use) == (APPROVE, wanted.action)}
        refusals += _leaving(ws, family, approved, wanted.action, caller)
    if refusals:
        return Decision(False, tuple(dict.fromkeys(refusals)))
    return Decision(True, (Reason("models.why.fine", (("licence", model.licence), ("action", wanted.action))),))


def require_model_use(ws: Workspace, model: ModelRow, asked: Asked | str, *, caller: Caller = HOUSE) -> None:
    """Go on only when a model may be used so.

    Raises:
        NotGranted: It may not; every reason is in the message.
    """
    decision = decide_model_use(ws, model, asked, caller=caller)
    if not decision.allowed:
        action = asked if isinstance(asked, str) else asked.action
        raise NotGranted(
            "models.denied", model=model.title, action=action, reasons=" ".join(r.text() for r in decision.reasons)
        )


def approve_model(ws: Workspace, text: str, use: str, *, reason: str = "", caller: Caller = HOUSE) -> ModelRow:
    """An owner with a share in a model agrees that it is used so; for the operator, the house does. Said once.

    Raises:
        UsageError: There is no such use.
        Rejected: The model is retired, or the caller has no share in it.
    """
    model = get_model(ws, text, caller=caller)
    party = caller.party_id or ""
    require(caller, "models.approve", owner_id=party)
    if use not in ACTIONS:
        raise UsageError("licence.bad_action", action=use[:40], known=", ".join(ACTIONS))
    if model.state == RETIRED:
        raise Rejected("models.is_retired", model=model.title)
    if party and party not in model.shares:
        raise Rejected("models.no_share", model=model.title)
    if (APPROVE, use, party) not in {(one.action, one.use, one.party_id) for one in decisions_of(ws, model.id)}:
        _note(ws, model, APPROVE, use, party, reason)
    fact = Fact(
        "model.approve",
        (Subject(urn("model", model.id), model.id),),
        "model.approve",
        facts={"use": use, "by": party or "operator"},
        private={"reason": reason} if reason else {},
        owners=(party,) if party else (),
    )
    record(ws, [fact])
    return model


def confirm_limit(ws: Workspace, text: str, limit: str, *, reason: str = "", caller: Caller = HOUSE) -> ModelRow:
    """A person of the house confirms that a threshold of a model's licence is kept: `usd_a_year<=1000000`.

    Raises:
        UsageError: Its licence has no such threshold.
    """
    require(caller, "models.change")
    model = find_model(ws, text)
    licence = find_licence(model.licence)
    if licence is None or licence.limit is None or licence.limit.name != limit:
        known = licence.limit.name if licence and licence.limit else "–"
        raise UsageError("models.no_such_limit", limit=limit[:80], known=known)
    if (CONFIRM, limit) not in {(one.action, one.use) for one in decisions_of(ws, model.id)}:
        _note(ws, model, CONFIRM, limit, caller.party_id or "", reason)
    facts = {"use": "confirm", "limit": limit}
    record(ws, [Fact("model.approve", (Subject(urn("model", model.id), model.id),), "model.confirm", facts=facts)])
    return model


def retire_model(ws: Workspace, text: str, reason: str, *, caller: Caller = HOUSE) -> ModelRow:
    """Take a model out of use: every later use is refused with this reason, its own and that of what was made from it.

    Its tags, and those of what was made from it, are taken out of search. Nothing else is deleted: what was published
    before stays traceable. Retired again, nothing changes.

    Raises:
        UsageError: Without a reason.
    """
    from malan.services.clips.tagging import drop_unusable_tags

    require(caller, "models.change")
    model = find_model(ws, text)
    if model.state != RETIRED:
        if not reason.strip():
            raise UsageError("models.needs_reason")
        _note(ws, model, RETIRE, "", caller.party_id or "", reason)
        with writing(registry(ws), durable=True) as connection:
            connection.execute(update(MODELS).where(MODELS.c.id == model.id).values(state=RETIRED))
    why = next(one.reason for one in decisions_of(ws, model.id) if one.action == RETIRE)
    subject = Subject(urn("model", model.id), model.id)
    record(ws, [Fact("model.retire", (subject,), "model.retire", facts={"number": 1}, private={"reason": why})])
    drop_unusable_tags(ws)
    return replace(model, state=RETIRED)


def _state(family: Sequence[ModelRow], decided: Mapping[str, Sequence[Decided]]) -> Iterable[Reason]:
    """Nothing stands on a model that was taken out of use."""
    for one in family:
        if one.state == RETIRED:
            why = next((d.reason for d in decided[one.id] if d.action == RETIRE), "–")
            yield Reason("models.why.retired", (("model", one.title), ("reason", why)))


def _about(reason: Reason, one: ModelRow, model: ModelRow) -> Reason:
    """A reason that comes from an ancestor says so."""
    if one.id == model.id:
        return reason
    return Reason("models.why.ancestor", (("model", one.title), ("reason", reason.text())))


def _leaving(
    ws: Workspace, family: Sequence[ModelRow], approved: set[str], action: str, caller: Caller
) -> Iterable[Reason]:
    """Why a model, the first of its family, does not leave."""
    model = family[0]
    if scope(caller, EXPORT) != ALL or not (caller.is_operator or is_of(model, caller)):
        yield Reason("rights.role", (("action", EXPORT),))
    if model.place and action == EXPORT:
        yield Reason("models.why.base_stays", (("model", model.title),))
    refused: dict[str, Reason] = {}
    for one in family:
        for party, reason in _owners_against(ws, one, caller).items():
            refused.setdefault(party, reason)
    yield from (reason for party, reason in sorted(refused.items()) if party not in approved)


def _owners_against(ws: Workspace, model: ModelRow, caller: Caller) -> dict[str, Reason]:
    """Owner → why its footage does not let this model leave."""
    if model.snapshot_id is None:
        return {}
    if (grant_id := model.run.get("grant")) and _is_revoked(ws, grant_id):
        return dict.fromkeys(model.shares, Reason("models.why.revoked", (("model", model.title),)))
    try:
        _, manifest = show_snapshot(ws, model.snapshot_id)
    except (NotFound, ProofError):
        return dict.fromkeys(model.shares, Reason("models.why.no_snapshot", (("model", model.title),)))
    assets = ws.library.assets_by_id({entry.clip.asset_id for entry in manifest.entries})
    against: dict[str, Reason] = {}
    for entry in manifest.entries:
        if entry.owner_id in against:
            continue
        row = assets.get(entry.clip.asset_id)
        if row is not None and is_withdrawn(row):
            values = (("asset", entry.clip.asset_id[:12]), ("model", model.title))
            against[entry.owner_id] = Reason("models.why.withdrawn", values)
    for terms_id in {entry.terms_id for entry in manifest.entries}:
        terms = terms_of(ws, terms_id)
        if terms.owner_id not in against and not _lets_out(terms, model, caller):
            values = (("terms", terms.name), ("form", _form(model)))
            against[terms.owner_id] = Reason("models.why.terms", values)
    return against


def _is_revoked(ws: Workspace, grant_id: str) -> bool:
    """Whether the grant a model was trained under was taken back; one that is not on record here was not."""
    with reading(market(ws)) as connection:
        return bool(connection.scalar(select(GRANTS.c.revoked).where(GRANTS.c.id == grant_id)))


def _lets_out(terms: Terms, model: ModelRow, caller: Caller) -> bool:
    """Whether terms let a result of this form out of a run, or allow a copy of the footage itself to leave."""
    compiled = compile_terms(terms)
    party = caller.party_id if caller.party_id in model.party_ids else model.party_id or caller.party_id
    whole = Use("export", today(), party_id=party, purpose=caller.purpose)
    if compiled.decide(whole).allowed:
        return True
    result = replace(whole, tier=model.run.get("tier"), isolation=model.run.get("isolation"), egress=(_form(model),))
    return any(compiled.decide(replace(result, action=use)).allowed for use in ("train", "generative_train"))


def _form(model: ModelRow) -> str:
    return "adapter" if model.form == ADAPTER else "weights"


def _note(ws: Workspace, model: ModelRow, action: str, use: str, party: str, reason: str) -> None:
    said = " ".join(reason.split())[:_MOST_REASON]
    row = {"model_id": model.id, "action": action, "use": use, "party_id": party, "reason": said, "at": now()}
    with writing(registry(ws), durable=True) as connection:
        connection.execute(DECISIONS.insert().values(**row))
