"""Grants: what a signed agreement allows, asked anew at every read, and taken back.

    agreement signed by all ─▶ row, with the last signature ─▶ contract.sign, access.grant, meter, price ─▶ in force

A grant is in force once the log says so; a run that was killed in between is caught up by the next look. What is asked
at each read: the agreement is what was signed, it is not revoked, its terms allow this use today, and the footage was
not taken back. Start reading at `grant_allows`.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import UTC, date, datetime, timedelta
from functools import lru_cache
from typing import TYPE_CHECKING, Any

from sqlalchemy import Row, select, update

from malan.core import Decision, Grant, Reason
from malan.core.errors import MalanError, NotFound, NotGranted, ProofError, UsageError
from malan.core.ids import digest_bytes, digest_record
from malan.datasets.manifest import Entry
from malan.ledger.statement import Input, Subject, urn
from malan.rights.agreement import Agreement, SignedAgreement
from malan.rights.bargain import REVOKED
from malan.rights.decide import CompiledTerms, Use, compile_terms
from malan.rights.meter import UNITS, amounts_of
from malan.rights.usage import MICROSECONDS
from malan.runtime.database import reading, writing
from malan.services.access import HOUSE, Caller, require
from malan.services.accounts.acting import acting
from malan.services.datasets.freezing import show_snapshot
from malan.services.footage.owners import owner_names
from malan.services.journal import Fact, record
from malan.services.market.tables import CONTRACTS, GRANTS, SIGNATURES, STEPS, dump, load, market
from malan.services.settlement.charges import charge, set_output_price, set_price
from malan.services.settlement.metering import meter
from malan.services.uses import is_withdrawn, today

if TYPE_CHECKING:
    from malan.workspace import Workspace

_MOST_SIGNERS = 7  # an entry of the log holds eight signatures, one of them the operator's


@dataclass(frozen=True)
class GrantShown:
    """A grant and what became of it."""

    grant: Grant
    signed: SignedAgreement
    contract: str
    revoked: str | None
    revoked_by: str | None
    is_stated: bool


def grant_allows(
    ws: Workspace, grant_id: str, use: Use | str, *, asset_id: str | None = None, party: str | None = None
) -> Decision:
    """Whether a grant allows a use now; to be asked at every read. Whatever is in doubt denies.

    Args:
        ws: Whose records.
        grant_id: The whole id.
        use: What for; a bare action is asked for today.
        asset_id: Only about this asset. Without it, about the whole snapshot: one asset that was taken back denies
            (`granted_clips` gives the rest).
        party: Who asks; must be the one it was granted to, when given.
    """
    row = _row_of(ws, grant_id)
    if row is None:
        return _no("grant.unknown", grant=grant_id[:12])
    asked = Use(use, today()) if isinstance(use, str) else use
    if party not in (None, row.party_id) or asked.party_id not in (None, row.party_id):
        return _no("grant.other_party")
    if (ended := _not_in_force(row)) is not None:
        return ended
    try:
        decision = _signed(ws, row).compiled.decide(replace(asked, party_id=row.party_id))
    except MalanError:
        return _no("grant.damaged", grant=grant_id[:12])
    if not decision.allowed:
        return decision
    in_force = Reason("grant.in_force", (("grant", grant_id[:12]),))
    return _footage_there(ws, row, asset_id) or Decision(True, (in_force, *decision.reasons))


def has_grant(ws: Workspace, grant_id: str) -> bool:
    """Whether there is, or was, a grant of this id."""
    return _row_of(ws, grant_id) is not None


def require_grant(ws: Workspace, grant_id: str, use: Use | str, *, asset_id: str | None = None) -> None:
    """Go on only when the grant allows it.

    Raises:
        NotGranted: It does not; every reason is in the message.
    """
    decision = grant_allows(ws, grant_id, use, asset_id=asset_id)
    if not decision.allowed:
        name = use if isinstance(use, str) else use.action
        reasons = " ".join(reason.text() for reason in decision.reasons)
        raise NotGranted("rights.denied", what=grant_id[:12], use=name, reasons=reasons)


def granted_clips(ws: Workspace, grant_id: str, use: Use | str) -> Iterator[Entry]:
    """The clips that a grant opens for a use now: all of its snapshot but those whose owners took them back.

    Raises:
        NotGranted: The grant allows the use for none of them.
        ProofError: The manifest is not the one that was agreed on.
    """
    row = _row_of(ws, grant_id)
    asset_ids = load(row.asset_ids) if row is not None else ()
    gone = _gone(ws, asset_ids)
    left = [one for one in asset_ids if one not in gone]
    require_grant(ws, grant_id, use, asset_id=left[0] if left else None)
    _, manifest = show_snapshot(ws, row.snapshot_id if row is not None else "")
    return (entry for entry in manifest.entries if entry.clip.asset_id not in gone)


def revoke_grant(ws: Workspace, grant: str, reason: str, *, caller: Caller = HOUSE) -> GrantShown:
    """Take a grant back: it ends at the next read, and nothing more is counted under it. Twice does no harm.

    Raises:
        NotFound: There is no such grant of the caller's.
        UsageError: The caller is no owner of the footage.
    """
    party = acting(caller, "sign")
    shown = get_grant(ws, grant, caller=caller)
    if party is not None and party not in shown.grant.owner_ids:
        raise UsageError("grant.not_owner", grant=shown.grant.id[:12])
    who, now = party or shown.grant.owner_ids[0], datetime.now(UTC).isoformat(timespec="milliseconds")
    with writing(market(ws), durable=True) as connection:
        where = (GRANTS.c.id == shown.grant.id, GRANTS.c.revoked.is_(None))
        changed = connection.execute(
            update(GRANTS).where(*where).values(revoked=now, revoked_by=who, reason=" ".join(reason.split())[:500])
        )
        if changed.rowcount:
            mine = CONTRACTS.c.number == shown.contract
            turn = connection.execute(select(CONTRACTS.c.turn, CONTRACTS.c.terms_id).where(mine)).one()
            values = {"state": REVOKED, "turn": turn.turn + 1, "changed": now}
            connection.execute(update(CONTRACTS).where(mine).values(**values))
            step = {"number": shown.contract, "turn": turn.turn + 1, "action": "revoke", "party_id": who, "at": now}
            reason_kept = " ".join(reason.split())[:500]
            connection.execute(STEPS.insert().values(**step, terms_id=turn.terms_id, reason=reason_kept))
    complete_grants(ws)
    _state_revocation(ws, shown.grant.id)
    return get_grant(ws, shown.grant.id)


def get_grant(ws: Workspace, grant: str, *, caller: Caller = HOUSE) -> GrantShown:
    """A grant by its id or the beginning of it.

    Raises:
        NotFound: There is none that the caller has or has given.
        UsageError: Several begin so.
        ProofError: The agreement behind it was changed where it is stored.
    """
    text, party = grant.strip().lower(), acting(caller, "sign")
    complete_grants(ws)
    rows = [row for row in _rows(ws) if len(text) >= 6 and row.id.startswith(text)]
    found = [one for row in rows if party in (None, *_of(one := _shown(ws, row)))]
    if not found:
        raise NotFound("grant.none", id=grant[:40])
    if len(found) > 1:
        raise UsageError("dataset.ambiguous", text=grant[:40])
    return found[0]


def list_grants(ws: Workspace, *, caller: Caller = HOUSE) -> list[GrantShown]:
    """The grants the caller has or has given (to an operator, all), the newest first; damaged ones are left out."""
    party = acting(caller, "sign")
    complete_grants(ws)
    shown = []
    for row in _rows(ws):
        with suppress(ProofError):
            shown.append(_shown(ws, row))
    return [one for one in shown if party in (None, *_of(one))]


def damaged_grants(ws: Workspace, *, caller: Caller = HOUSE) -> list[str]:
    """Grants whose agreement was changed where it is stored: they allow nothing, and somebody should look."""
    require(caller, "sign")
    damaged = []
    for row in _rows(ws):
        try:
            _signed(ws, row)
        except ProofError:
            damaged.append(str(row.id))
    return damaged


def describe_grant(ws: Workspace, shown: GrantShown) -> dict[str, Any]:
    """A grant as JSON: who may do what until when, what of it is used, and whether it holds today."""
    names, grant = owner_names(ws), shown.grant
    accounts = meter(ws).accounts(grant.id)
    return {
        "grant": grant.id,
        "contract": shown.contract,
        "party": names.get(grant.party_id, grant.party_id[:12]),
        "owners": [names.get(one, one[:12]) for one in grant.owner_ids],
        "snapshot": grant.snapshot_id,
        "uses": {use: _answer(grant_allows(ws, grant.id, use)) for use in grant.uses},
        "starts": grant.starts,
        "expires": grant.expires,
        "limits": dict(grant.limits),
        "used": {one.unit: {"most": one.most, "reserved": one.reserved, "consumed": one.consumed} for one in accounts},
        "ceiling": shown.signed.agreement.stated.get("ceiling"),
        "signed": sorted(names.get(one, one[:12]) for one in grant.signatures),
        "revoked": shown.revoked,
        "revoked_by": names.get(shown.revoked_by or "", shown.revoked_by),
    }


def grant_row(agreement: Agreement, asset_ids: Sequence[str]) -> dict[str, Any]:
    """The row that makes an agreement a grant, in the transaction of its last signature."""
    return {
        "id": agreement.id,
        "number": agreement.number,
        "party_id": agreement.buyer.id,
        "snapshot_id": agreement.snapshot_id,
        "asset_ids": dump(asset_ids),
        "stated": False,
        "made": datetime.now(UTC).isoformat(timespec="milliseconds"),
    }


def complete_grants(ws: Workspace) -> int:
    """Put in force what is signed: meter, price, log, in this order. Catches up with a killed run; how many."""
    with reading(market(ws)) as connection:
        rows = connection.execute(select(GRANTS).where(GRANTS.c.stated.is_(False))).all()
    for row in rows:
        try:
            signed = _signed(ws, row).signed
        except ProofError:
            continue  # it allows nothing, and must not stop the others
        _open_meter(ws, signed.agreement)
        record(ws, _facts(signed))
        with writing(market(ws)) as connection:
            connection.execute(update(GRANTS).where(GRANTS.c.id == row.id).values(stated=True))
    return len(rows)


def _open_meter(ws: Workspace, agreement: Agreement) -> None:
    """Begin to count, and note what is owed; asked again, nothing changes."""
    terms, grant_id = agreement.terms, agreement.id
    limited = amounts_of({unit: most for unit, most in terms.limits.items() if unit in UNITS})
    until_us = None
    if terms.ends:
        end = datetime.combine(date.fromisoformat(terms.ends) + timedelta(days=1), datetime.min.time(), UTC)
        until_us = int(end.timestamp()) * MICROSECONDS
    meter(ws).open(grant_id, {unit: limited.get(unit) for unit in UNITS}, until_us=until_us)
    if terms.price_minor and terms.price_per == "clip_second":
        set_price(ws, grant_id, terms.price_minor, MICROSECONDS, terms.currency)
    elif terms.price_minor and terms.price_per == "deal":
        charge(ws, grant_id, terms.price_minor, terms.currency, key="deal")
    elif terms.price_minor and terms.price_per == "output":
        set_output_price(ws, grant_id, terms.price_minor, terms.currency)  # of a run: where its model is released


def _facts(signed: SignedAgreement) -> list[Fact]:
    """The agreement and the grant as events; names and money go in as commitments only."""
    agreement = signed.agreement
    contract = Subject(urn("contract", agreement.id), agreement.id)
    about = Input(urn("snapshot", agreement.snapshot_id), agreement.snapshot_id, "about")
    terms = agreement.terms
    held = sorted((party_id, signature.hex()) for party_id, signature in signed.signatures.items())
    private = {
        "owners": [[one.id, one.name] for one in agreement.owners],
        "buyer": [agreement.buyer.id, agreement.buyer.name],
        "price": [terms.price_minor, terms.currency, terms.price_per],
    }
    facts = {"terms": terms.id, "signatures": digest_record("signatures", held), "form": agreement.form}
    owners = tuple(one.id for one in agreement.owners)[:_MOST_SIGNERS]
    sign = Fact("contract.sign", (contract,), "contract.sign", (about,), facts, private, owners=owners)
    grant = Subject(urn("grant", agreement.id), agreement.id)
    source = Input(contract.urn, agreement.id, "about")
    give = {"use": ",".join(terms.uses), "until": terms.ends or ""}
    return [sign, Fact("access.grant", (grant,), "contract.grant", (source, about), give)]


def _state_revocation(ws: Workspace, grant_id: str) -> None:
    row = _row_of(ws, grant_id)
    if row is None or row.revoked is None:
        return
    meter(ws).close(grant_id, "revoked")
    subject = Subject(urn("grant", grant_id), grant_id)
    fact = Fact("revoke", (subject,), "grant.revoke", facts={"reason": "owner"}, private={"reason": row.reason or ""})
    record(ws, [replace(fact, owners=(row.revoked_by,))])


def _not_in_force(row: Row[Any]) -> Decision | None:
    if row.revoked is not None:
        return _no("grant.revoked", grant=row.id[:12], day=row.revoked[:10])
    return None if row.stated else _no("grant.not_stated", grant=row.id[:12])


def _footage_there(ws: Workspace, row: Row[Any], asset_id: str | None) -> Decision | None:
    """A refusal when footage was taken back, or is not part of the grant."""
    asset_ids = load(row.asset_ids)
    if asset_id is not None and asset_id not in asset_ids:
        return _no("grant.asset_not_in_it", asset=asset_id[:12])
    gone = sorted(_gone(ws, [asset_id] if asset_id else asset_ids))
    return _no("grant.asset_withdrawn", asset=gone[0][:12]) if gone else None


def _gone(ws: Workspace, asset_ids: Sequence[str]) -> set[str]:
    """Those that were taken back, or are not registered here any more."""
    rows = ws.library.assets_by_id(asset_ids)
    return {one for one in asset_ids if one not in rows or is_withdrawn(rows[one])}


def _rows(ws: Workspace) -> Sequence[Row[Any]]:
    """All grants, the newest first."""
    with reading(market(ws)) as connection:
        return connection.execute(select(GRANTS).order_by(GRANTS.c.made.desc(), GRANTS.c.id)).all()


def _of(shown: GrantShown) -> tuple[str, ...]:
    """Whose grant it is."""
    return (shown.grant.party_id, *shown.grant.owner_ids)


def _row_of(ws: Workspace, grant_id: str) -> Row[Any] | None:
    with reading(market(ws)) as connection:
        return connection.execute(select(GRANTS).where(GRANTS.c.id == grant_id)).one_or_none()


@dataclass(frozen=True)
class _Checked:
    """A signed agreement that was checked, and its terms ready to be asked."""

    signed: SignedAgreement
    compiled: CompiledTerms


def _signed(ws: Workspace, row: Row[Any]) -> _Checked:
    """The agreement behind a grant, every signature checked.

    Raises:
        ProofError: It was changed where it is stored.
    """
    with reading(market(ws)) as connection:
        data = connection.scalar(select(CONTRACTS.c.agreement).where(CONTRACTS.c.number == row.number))
        found = connection.execute(select(SIGNATURES).where(SIGNATURES.c.agreement_id == row.id)).all()
    return _checked(row.id, data or b"", tuple(sorted((one.party_id, one.signature) for one in found)))


@lru_cache(maxsize=256)
def _checked(grant_id: str, data: bytes, signatures: tuple[tuple[str, bytes], ...]) -> _Checked:
    """The same bytes are checked once."""
    if digest_bytes(data) != grant_id:
        raise ProofError("contract.changed", number=grant_id[:12])
    signed = SignedAgreement(Agreement.parse(data), dict(signatures))
    signed.check()
    if signed.missing:
        raise ProofError("contract.changed", number=signed.agreement.number)
    return _Checked(signed, compile_terms(signed.agreement.terms))


def _shown(ws: Workspace, row: Row[Any]) -> GrantShown:
    signed = _signed(ws, row).signed
    terms = signed.agreement.terms
    grant = Grant(
        id=row.id,
        party_id=row.party_id,
        snapshot_id=row.snapshot_id,
        owner_ids=tuple(one.id for one in signed.agreement.owners),
        terms_id=terms.id,
        uses=terms.uses,
        limits=dict(terms.limits),
        starts=terms.starts,
        expires=terms.ends,
        signatures=dict(signed.signatures),
    )
    return GrantShown(grant, signed, row.number, row.revoked, row.revoked_by, row.stated)


def _answer(decision: Decision) -> Mapping[str, Any]:
    return {"allowed": decision.allowed, "reasons": [reason.text() for reason in decision.reasons]}


def _no(code: str, **values: str) -> Decision:
    return Decision(False, (Reason(code, tuple(values.items())),))
