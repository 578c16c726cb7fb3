"""How a process moves: a message in, or an act of ours, under the lock of its row; then whoever watches is told.

    receive ─ lock ─ is it allowed here, from this side? ─ check ─ write state and evidence ─ commit ─ answer
    act     ─ lock ─ is it allowed here, from us?        ─ write state and outbox          ─ commit ─ send

A refusal leaves everything as it was, and is kept as evidence. Nothing is sent while a lock is held. Start at
`Exchange`.
"""

from __future__ import annotations

import json
import logging
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from sqlalchemy import Connection, Engine, func, select

from malan.core.errors import MalanError, NotGranted, RetryLater, StoreError, UsageError
from malan.ledger.post import Reply, ask
from malan.runtime.database import reading, updating, writing
from malan.services.dsp import words
from malan.services.dsp.addresses import Addresses
from malan.services.dsp.contracts import Contracts
from malan.services.dsp.errors import BadMessage, BadTransition, bad
from malan.services.dsp.outbox import LARGEST_REPLY_BYTES, PAUSES_S, Outgoing, Sender, put_out
from malan.services.dsp.read import Message, read_json
from malan.services.dsp.settings import ExchangeSettings, SettingsFile
from malan.services.dsp.tables import (
    LARGEST_REFUSED_BYTES,
    Process,
    add_process,
    find_by_peer,
    keep_message,
    lock_process,
    messages,
    processes,
    read_process,
    save_process,
)
from malan.services.dsp.trust import Key, Trust, issue_token
from malan.services.dsp.words import Machine, other
from malan.services.dsp.write import message, to_bytes

if TYPE_CHECKING:
    from malan.workspace import Workspace

MOST_TURNS = 1_000  # of one process; then it can only be ended
MOST_OPEN = 1_000  # processes of one kind that a party may have begun and not ended
NAMED_WITHIN_S = 1.0
_LOOK_AGAIN_S = 0.02
MOST_REFUSED_KEPT = 100  # refusals of one process that are kept as evidence

_SAFE_IN_PATH = ":@!$&'()*+,;=~-._"  # RFC 3986 §3.3: what a segment of a path may hold

Watcher = Callable[["Exchange", Process], None]
Effect = Callable[["Exchange", Connection, Process, Message], Mapping[str, Any]]

_log = logging.getLogger("malan.exchange")


@dataclass
class Exchange:
    """A connector at work: who we are, where we are reached, what we offer, and what moves when a process does.

    Args:
        ws: Whose connector.
        participant: Our id.
        key: Signs our tokens; asked each time, so that a new key is used at once.
        root: The address we announce, with `/dsp/2025-1`.
        settings: Partners and addresses, asked each time.
        contracts: Offers, agreements, grants.
        watchers: Told, after the commit, of every state a process enters.
        effects: What a message brings with it, by its type.
    """

    ws: Workspace
    participant: str
    key: Callable[[], Key]
    root: str
    settings: Callable[[], ExchangeSettings]
    contracts: Contracts
    watchers: list[Watcher] = field(default_factory=list)
    effects: Mapping[str, Effect] = field(default_factory=dict)
    chores: list[Callable[[Exchange], None]] = field(default_factory=list)
    pauses_s: Sequence[float] = PAUSES_S
    identify: Callable[[str | None, bool], str] | None = None  # replaces the check of tokens
    one_at_a_time: threading.Lock = field(default_factory=threading.Lock)  # what costs much, for all partners together

    def __post_init__(self) -> None:
        self.sender = Sender(
            self.engine,
            addresses=self.addresses,
            authorization=self.authorization,
            delivered=self._delivered,
            failed=self._failed,
            chores=self._do_chores,
            pauses_s=self.pauses_s,
        )
        self._trust = Trust(self.engine, self.participant, lambda: self._settings().partners)

    @property
    def engine(self) -> Engine:
        return self.ws.database

    def addresses(self) -> Addresses:
        """What may be called now."""
        return self._settings().addresses

    def caller(self, authorization: str | None, *, is_local: bool = False) -> str:
        """Who sends a request; see `Trust.caller`."""
        if self.identify is not None:
            return self.identify(authorization, is_local)
        return self._trust.caller(authorization, is_local=is_local)

    def entered(self, process: Process) -> None:
        """A process entered a state, and it is written: tell the watchers, send what is to be sent."""
        for watcher in self.watchers:
            watcher(self, process)
        self.sender.wake()

    def ask(self, party: str, url: str, said: Mapping[str, Any] | None = None) -> Reply:
        """Read something at a partner's, with our token; `said` is posted where the protocol asks for it.

        Raises:
            BadMessage: The address must not be called.
            RetryLater, ProofError: Nobody answers, or with something that is no HTTP.
        """
        headers = {"Accept": "application/json", "Authorization": self.authorization(party)}
        if said is not None:
            headers["Content-Type"] = "application/json"
        return ask(
            "GET" if said is None else "POST",
            url,
            None if said is None else to_bytes(said),
            headers=headers,
            most_bytes=LARGEST_REPLY_BYTES,
            connect=self.addresses().connect_for(url.partition("?")[0]),
        )

    def authorization(self, party: str) -> str:
        """The header that says to a party who we are."""
        return f"Bearer {issue_token(self.key(), self.participant, party)}"

    def _settings(self) -> ExchangeSettings:
        """The settings; a file that was spoilt while we run trusts nobody."""
        try:
            return self.settings()
        except UsageError as error:
            _log.error("exchange: %s", error)
            return ExchangeSettings()

    def _do_chores(self) -> None:
        for chore in self.chores:
            chore(self)

    def _delivered(self, outgoing: Outgoing, reply: Reply) -> None:
        """Learn the other side's id from its first answer; an empty or odd answer is no failure."""
        pid = _peer_pid(outgoing, reply)
        if not pid:
            return
        with updating(self.engine) as connection:
            process = lock_process(connection, _kind(outgoing), outgoing.pid)
            if not process.peer_pid:
                save_process(connection, _with_peer(connection, process, pid))

    def _failed(self, outgoing: Outgoing, detail: str) -> bool:
        """A message was given up: true when it had arrived after all, else the process is marked."""
        with reading(self.engine) as connection:
            process = read_process(connection, _kind(outgoing), outgoing.pid)
        if outgoing.tries > 1 and outgoing.detail != "404" and self._is_there(process):
            return True
        _log.warning("exchange: %s of %s was not delivered: %s", outgoing.type, outgoing.pid, detail)
        with updating(self.engine) as connection:
            process = lock_process(connection, process.kind, process.pid)
            problem = {"message": outgoing.type, "detail": detail[:300]}
            save_process(connection, process.noted(problem=problem))
        return False

    def _is_there(self, process: Process) -> bool:
        """Whether the other side stands where we do: an earlier try arrived and only its answer was lost."""
        if not process.peer_pid:
            return False
        place = quote(process.peer_pid, safe=_SAFE_IN_PATH)
        try:
            reply = self.ask(process.party, f"{process.address}/{process.machine.folder}/{place}")
            return reply.status == 200 and _state_in(reply.body) == process.state
        except MalanError:
            return False


def receive(ex: Exchange, machine: Machine, pid: str, party: str, said: Message) -> Process:
    """Move a process by a message of the other side; the new state is written when this returns.

    Raises:
        NotYours: There is no such process with this party.
        BadMessage: The ids in the message are not those of the process, or what it says cannot be.
        BadTransition: It is not allowed in this state, or not from this side.
    """
    try:
        with updating(ex.engine) as connection:
            process = lock_process(connection, machine.kind, pid, party)
            moved = _receive(ex, connection, process, said)
            save_process(connection, moved)
            keep_message(connection, pid, "in", said.type, said.sha256, said.body, moved.state)
    except (UsageError, NotGranted) as error:
        _keep_refused(ex, pid, said, error)
        raise
    ex.entered(moved)
    return moved


def receive_first(ex: Exchange, process: Process, said: Message) -> tuple[Process, bool]:
    """Begin a process that the other side asks for: the process, and whether it is new.

    The same first message again gives the process it began.

    Raises:
        BadTransition: There is a process of this id that began with another message.
        RetryLater: The party has begun too many that are not ended.
    """
    with writing(ex.engine) as connection:
        known = find_by_peer(connection, process.kind, process.role, process.party, process.peer_pid)
        if known is None:
            _check_open(connection, process)
            add_process(connection, process)
            keep_message(connection, process.pid, "in", said.type, said.sha256, said.body, process.state)
    if known is not None:
        if known.details.get("first_sha256") != said.sha256:
            raise BadTransition("exchange.transition", message=said.type, state=known.state)
        return known, False
    ex.entered(process)
    return process, True


def begin(ex: Exchange, process: Process, kind: str, path: str, **fields: Any) -> Process:
    """Begin a process ourselves: written and on its way when this returns.

    Raises:
        BadMessage: The address must not be called.
    """
    ex.addresses().check(process.address)
    body = to_bytes(message(kind, process.consumer_pid, process.provider_pid, callbackAddress=ex.root, **fields))
    with writing(ex.engine) as connection:
        add_process(connection, process)
        put_out(connection, process, kind, f"{process.address}/{path}", body)
    ex.entered(process)
    return process


@dataclass(frozen=True)
class Act:
    """Something we do: the message it sends, below which path, and what makes its fields (and what we keep)."""

    message: str
    path: str
    fields: Callable[[Exchange, Connection, Process, Mapping[str, Any]], tuple[dict[str, Any], dict[str, Any]]]


def act(
    ex: Exchange, machine: Machine, pid: str, doing: Act, given: Mapping[str, Any], *, turn: int | None = None
) -> Process:
    """Do something in a process: the new state is written and the message on its way when this returns.

    Args:
        ex: The connector.
        machine: Which kind of process.
        pid: Ours.
        doing: What is done.
        given: What the caller says about it.
        turn: When given, only if the process is still there.

    Raises:
        NotYours: There is no such process.
        BadTransition: It is not allowed in this state, or not from our side, or the process has moved on.
    """
    with updating(ex.engine) as connection:
        process = lock_process(connection, machine.kind, pid)
        after = machine.next_state(process.state, doing.message, process.role)
        if after is None or turn not in (None, process.turn) or not process.peer_pid:
            raise BadTransition("exchange.transition", message=doing.message, state=process.state)
        fields, kept = doing.fields(ex, connection, process, given)
        moved = process.moved(after, problem=None, **kept)
        save_process(connection, moved)
        body = to_bytes(message(doing.message, moved.consumer_pid, moved.provider_pid, **fields))
        path = doing.path.format(pid=quote(moved.peer_pid, safe=_SAFE_IN_PATH))
        put_out(connection, moved, doing.message, f"{moved.address}/{machine.folder}/{path}", body)
    ex.entered(moved)
    return moved


def show(ex: Exchange, machine: Machine, pid: str, party: str | None = None) -> Process:
    """A process as it stands.

    The other side may ask for it before we have read the answer in which it named its id: to a party, we wait for that.

    Raises:
        NotYours: There is none with this party.
    """
    until = time.monotonic() + NAMED_WITHIN_S
    while True:
        with reading(ex.engine) as connection:
            process = read_process(connection, machine.kind, pid, party)
        if process.peer_pid or party is None or time.monotonic() > until:
            return process
        time.sleep(_LOOK_AGAIN_S)


def participant_of(ws: Workspace, settings: ExchangeSettings) -> str:
    """Our id to others: as set, else made from the name of our log."""
    return settings.participant or f"urn:malan:{ws.keys.start()}"


def read_settings_of(ws: Workspace) -> SettingsFile:
    return SettingsFile(ws.root)


def _check_open(connection: Connection, process: Process) -> None:
    theirs = (processes.c.party == process.party, processes.c.kind == process.kind, processes.c.role == process.role)
    is_open = processes.c.state.not_in(process.machine.final)
    count = connection.scalar(select(func.count()).select_from(processes).where(*theirs, is_open)) or 0
    if count >= MOST_OPEN:
        raise RetryLater("exchange.too_many_open", most=MOST_OPEN)


def _receive(ex: Exchange, connection: Connection, process: Process, said: Message) -> Process:
    sender = other(process.role)
    if said.pid_of(process.role) != process.pid:
        raise bad(f"{process.role}Pid")
    theirs = said.pid_of(sender)
    if process.peer_pid and theirs != process.peer_pid:
        raise bad(f"{sender}Pid")
    after = process.machine.next_state(process.state, said.type, sender)
    if after is None:
        raise BadTransition("exchange.transition", message=said.type, state=process.state)
    if process.turn >= MOST_TURNS and after not in process.machine.final:
        raise BadTransition("exchange.too_many_turns", most=MOST_TURNS)
    if not process.peer_pid:
        process = _with_peer(connection, process, theirs)
    effect = ex.effects.get(said.type)
    return process.moved(after, **(effect(ex, connection, process, said) if effect else {}))


def _with_peer(connection: Connection, process: Process, pid: str) -> Process:
    """The process, with the other side's id now known.

    Raises:
        BadMessage: It is the id of another process with the same party.
    """
    if find_by_peer(connection, process.kind, process.role, process.party, pid):
        raise BadMessage("exchange.bad_message", detail=f"{other(process.role)}Pid")
    return process.with_peer(pid)


def _keep_refused(ex: Exchange, pid: str, said: Message, error: MalanError) -> None:
    """Keep a refused message: its beginning and why; of one process so many and no more."""
    try:
        with updating(ex.engine) as connection:
            where = (messages.c.pid == pid, messages.c.outcome.like("%.%"))
            if (connection.scalar(select(func.count()).select_from(messages).where(*where)) or 0) < MOST_REFUSED_KEPT:
                body = said.body[:LARGEST_REFUSED_BYTES]
                keep_message(connection, pid, "in", said.type, said.sha256, body, error.code)
    except StoreError as failure:
        _log.warning("exchange: %s", failure)
    _log.info("exchange: refused %s for %s: %s", said.type, pid, error.code)


def _peer_pid(outgoing: Outgoing, reply: Reply) -> str:
    try:
        said = read_json(reply.body)
    except BadMessage:
        return ""
    name = "consumerPid" if outgoing.type == words.CONTRACT_OFFER else "providerPid"
    pid = said.get(name) or said.get(f"dspace:{name}")
    if isinstance(pid, dict):
        pid = pid.get("@id") or pid.get("@value")
    return pid if isinstance(pid, str) and 0 < len(pid) <= 500 and pid.isascii() and pid.isprintable() else ""


def _kind(outgoing: Outgoing) -> str:
    return words.TRANSFER_KIND if outgoing.type.startswith("Transfer") else words.NEGOTIATION_KIND


def _state_in(body: bytes) -> str:
    try:
        said = json.loads(body)
    except (ValueError, RecursionError):
        return ""
    state = said.get("state", said.get("dspace:state", "")) if isinstance(said, dict) else ""
    return str(state).rpartition("/")[2].rpartition(":")[2]
