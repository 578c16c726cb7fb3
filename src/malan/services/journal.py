"""The one door to the ledger: what a service did becomes a signed event, once, durable before it returns.

    Fact ─ stated by an actor ─▶ Statement ─ signed ─▶ entry of the log
      └ private data ─ salted commitments in the entry; datum and salt in the database, until they are forgotten

A fact that has been stated is not stated again, so a step that runs twice writes one event. Start at `record`.
"""

from __future__ import annotations

import json
import secrets
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from sqlalchemy import Column, Engine, LargeBinary, MetaData, String, Table, delete, select

from malan import __version__
from malan.core.canonical import canonical_json
from malan.core.errors import NotFound, ProofError
from malan.core.ids import canonical_bytes, digest_bytes
from malan.core.uuid7 import uuid7
from malan.ledger.envelope import open_envelope, public_key_of, seal
from malan.ledger.keys import OPERATOR, OWNER, SYSTEM, ActorKey
from malan.ledger.statement import SALT_BYTES, Activity, Actor, Commitment, Input, Statement, Subject, once_of, urn
from malan.runtime.database import ensure_tables, erase, reading, writing
from malan.services.access import HOUSE, Caller, require

if TYPE_CHECKING:
    from malan.workspace import Workspace

_BATCH = 512

_metadata = MetaData()
_disclosures = Table(
    "disclosures",
    _metadata,
    Column("event_id", String, primary_key=True),
    Column("field", String, primary_key=True),
    Column("salt", LargeBinary, nullable=False),
    Column("datum", String, nullable=False),  # JSON
)


@dataclass(frozen=True)
class Fact:
    """Something that was done, to be stated in the log. `private` goes in as commitments only."""

    kind: str
    subjects: tuple[Subject, ...]
    op: str
    inputs: tuple[Input, ...] = ()
    facts: Mapping[str, Any] = field(default_factory=dict)
    private: Mapping[str, Any] = field(default_factory=dict)
    parameters: Any = None
    owners: tuple[str, ...] = ()  # whose keys sign too

    @property
    def once(self) -> str:
        """The same for the same thing stated again."""
        return once_of(self.kind, self.subjects, self.inputs, self.facts)

    def stated(self, actor: Actor, salts: Mapping[str, bytes]) -> Statement:
        """The statement of this fact, made now."""
        digest = None if self.parameters is None else digest_bytes(canonical_bytes(self.parameters))
        return Statement(
            kind=self.kind,
            id=uuid7(),
            time=datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z"),
            actor=actor,
            subjects=self.subjects,
            activity=Activity(self.op, "malan", __version__, digest),
            inputs=self.inputs,
            facts=self.facts,
            commitments=tuple(Commitment.to(name, datum, salts[name]) for name, datum in sorted(self.private.items())),
        )


@dataclass(frozen=True, slots=True)
class Logged:
    """An event of the log, read back and checked: its statement and who signed it."""

    index: int
    statement: Statement
    key_ids: tuple[str, ...]
    entry: bytes


def record(ws: Workspace, facts: Iterable[Fact]) -> list[int]:
    """State facts in the log, signed by the operator and by the owners they name; where each one stands.

    What was stated before is not stated again. Durable and published when it returns.

    Raises:
        StoreError, ProofError: The log cannot be written, or is not what it was; nothing was added.
    """
    places: list[int] = []
    listed = list(facts)
    if listed:
        start_log(ws)
    for at in range(0, len(listed), _BATCH):
        places += _record_batch(ws, listed[at : at + _BATCH])
    return places


def record_as(ws: Workspace, fact: Fact, actor: ActorKey, role: str, signers: Sequence[ActorKey]) -> int:
    """State one fact as somebody else than the operator; where it stands."""
    with ws.log.exclusive():
        known = _known(ws, [fact])
        if fact.once in known:
            return known[fact.once]
        return ws.log.append([_keep_and_seal(ws, fact, actor, role, signers)])[0]


def start_log(ws: Workspace) -> None:
    """Make the keys and begin the log with its name and its first keys, unless it stands already; then go on with a
    rotation that broke off."""
    if ws.log.find("log.start"):
        for name in ws.keys.waiting():
            replace_key(ws, name, only_begun=True)
        return
    with ws.log.exclusive():
        if ws.log.find("log.start"):
            return
        origin = ws.keys.start()
        body = digest_bytes(origin.encode())
        begin = Fact("log.start", (Subject(urn("log", body), body),), "start", facts={"origin": origin})
        system, operator = ws.keys.actor(SYSTEM), ws.keys.actor(OPERATOR)
        ws.log.append(  # all or nothing: a log without the operator's key would prove nothing later
            [
                _keep_and_seal(ws, begin, system, "system", [system]),
                _keep_and_seal(ws, _registration(system, "system"), system, "system", [system]),
                _keep_and_seal(ws, _registration(operator, "operator"), system, "system", [system, operator]),
            ]
        )


def register_key(ws: Workspace, name: str, role: str, private: Mapping[str, Any] | None = None) -> None:
    """State in the log whose key this is, signed by the system key and by the key itself."""
    with ws.log.exclusive():
        system, key = ws.keys.actor(SYSTEM), ws.keys.actor(name)
        fact = _registration(key, role, private)
        if fact.once not in _known(ws, [fact]):
            ws.log.append([_keep_and_seal(ws, fact, system, "system", [system, key])])


def is_registered(ws: Workspace, key: ActorKey) -> bool:
    """Whether the log says whose key this is: registered itself, or in the place of one that was."""
    name = key_subject(key.key_id).urn
    return any(ws.log.find_many([f"key.register {name}", f"key.rotate {name}"]).values())


def replace_key(ws: Workspace, name: str, *, only_begun: bool = False) -> None:
    """Put a new key in the place of one: the event says so, signed by both.

    Args:
        name: As the key ring calls it.
        only_begun: Only if a new key waits already, because this broke off before.
    """
    with ws.log.exclusive():  # nothing is signed by either key meanwhile
        if only_begun and name not in ws.keys.waiting():
            return
        old, new = ws.keys.prepare_rotation(name)
        role = role_of(name)
        facts = {"key": new.key_id, "replaces": old.key_id, "role": role}
        before = key_subject(old.key_id)
        inputs = (Input(before.urn, before.sha256, "parentOf"),)
        fact = Fact("key.rotate", (key_subject(new.key_id),), "key.rotate", inputs=inputs, facts=facts)
        place = record_as(ws, fact, old, role, [old, new])
        if name == SYSTEM:
            ws.log.hand_over(place)
        ws.keys.finish_rotation(name)


def role_of(name: str) -> str:
    """The role a key acts in, by its name; the witness of a workspace is a part of its system."""
    kind = name.partition("-")[0]
    return {"owner": "owner", "party": "buyer", OPERATOR: "operator"}.get(kind, "system")


def _registration(key: ActorKey, role: str, private: Mapping[str, Any] | None = None) -> Fact:
    facts = {"key": key.key_id, "role": role}
    return Fact("key.register", (key_subject(key.key_id),), "register", facts=facts, private=private or {})


def key_subject(key_id: str) -> Subject:
    """A key as the subject of an event: named by the digest of its public half."""
    digest = digest_bytes(public_key_of(key_id))
    return Subject(urn("key", digest), digest)


def read_event(ws: Workspace, index: int, *, caller: Caller = HOUSE) -> Logged:
    """One event, with every signature in it checked.

    Raises:
        NotFound: The log is not so long.
        ProofError: The entry is not what was logged, or its actor did not sign it.
    """
    require(caller, "log.read")
    return parse_event(index, ws.log.reader.entry(index))


def parse_event(index: int, entry: bytes) -> Logged:
    """Open an entry of the log and check who signed it."""
    opened = open_envelope(entry)
    statement = Statement.parse(opened.payload)
    if statement.actor.key_id not in opened.key_ids:
        raise ProofError("event.actor", actor=statement.actor.key_id)
    return Logged(index, statement, opened.key_ids, entry)


def events_about(ws: Workspace, kind: str, urn_text: str) -> list[int]:
    """Where events of one kind about one thing stand, the oldest first."""
    return ws.log.find(f"{kind} {urn_text}")


def disclosed(ws: Workspace, event: Logged) -> dict[str, Any]:
    """The private data behind an event's commitments that have not been forgotten, each checked.

    Raises:
        ProofError: The database holds something else than the log committed to.
    """
    with reading(_engine(ws)) as connection:
        rows = connection.execute(select(_disclosures).where(_disclosures.c.event_id == event.statement.id)).all()
    commitments = {one.field: one for one in event.statement.commitments}
    shown = {}
    for row in rows:
        datum = json.loads(row.datum)
        commitments[row.field].check(datum, row.salt)
        shown[row.field] = datum
    return shown


def forget(ws: Workspace, event: Logged, fields: Sequence[str] = (), *, caller: Caller = HOUSE) -> list[str]:
    """Delete private data and their salts: the commitments stay, and say nothing any more. What was forgotten.

    Raises:
        NotFound: The event has no such field, or it was forgotten before.
    """
    require(caller, "log.forget")
    known = set(disclosed(ws, event))
    chosen = list(dict.fromkeys(fields)) or sorted(known)
    if missing := [name for name in chosen if name not in known]:
        raise NotFound("log.nothing_to_forget", index=event.index, field=missing[0])
    if not chosen:
        raise NotFound("log.nothing_private", index=event.index)
    where = (_disclosures.c.event_id == event.statement.id, _disclosures.c.field.in_(chosen))
    erase(_engine(ws), _disclosures, delete(_disclosures).where(*where))
    return chosen


def _record_batch(ws: Workspace, facts: Sequence[Fact]) -> list[int]:
    with ws.log.exclusive():
        operator = ws.keys.actor(OPERATOR)
        signers = {owners: _signers(ws, owners, operator) for owners in {fact.owners for fact in facts}}
        places = _known(ws, facts)
        new = {fact.once: fact for fact in facts if fact.once not in places}
        entries = [_keep_and_seal(ws, fact, operator, "operator", signers[fact.owners]) for fact in new.values()]
        places |= zip(new, ws.log.append(entries), strict=True)
    return [places[fact.once] for fact in facts]


def _known(ws: Workspace, facts: Sequence[Fact]) -> dict[str, int]:
    found = ws.log.find_many([f"once {fact.once}" for fact in facts])
    return {key.removeprefix("once "): places[0] for key, places in found.items() if places}


def _signers(ws: Workspace, owners: tuple[str, ...], operator: ActorKey) -> list[ActorKey]:
    return [operator, *(owner_key(ws, owner_id) for owner_id in sorted(set(owners)))]


def owner_key(ws: Workspace, owner_id: str) -> ActorKey:
    """The key that signs for an owner here; made, and registered in the log, when first needed."""
    from malan.services.footage.owners import owner_name

    name = OWNER + owner_id
    if name not in ws.keys.names():
        ws.keys.create(name)
    key = ws.keys.actor(name)
    if not is_registered(ws, key):
        register_key(ws, name, "owner", {"name": owner_name(ws, owner_id), "owner": owner_id})
    return key


def _keep_and_seal(ws: Workspace, fact: Fact, actor: ActorKey, role: str, signers: Sequence[ActorKey]) -> bytes:
    salts = {name: secrets.token_bytes(SALT_BYTES) for name in fact.private}
    statement = fact.stated(Actor(actor.key_id, role), salts)
    rows = [
        {"event_id": statement.id, "field": name, "salt": salts[name], "datum": canonical_json(datum).decode()}
        for name, datum in fact.private.items()
    ]
    if rows:
        with writing(_engine(ws)) as connection:
            connection.execute(_disclosures.insert(), rows)
    return seal(statement.to_bytes(), signers)


def _engine(ws: Workspace) -> Engine:
    ensure_tables(ws.database, _metadata)
    return ws.database
