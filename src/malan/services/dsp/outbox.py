"""Sends what stands in the outbox: in order for each process, three tries with growing pauses, each message once.

A message is written in the transaction of the transition it tells of, so none is lost and none is told that did not
happen. Tried again after 404, 5xx or no answer; never after another refusal. Start at `Sender`.
"""

from __future__ import annotations

import json
import logging
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from queue import SimpleQueue
from typing import Any

from sqlalchemy import Connection, Engine, func, insert, select, update

from malan.core.errors import MalanError, RetryLater
from malan.core.ids import digest_bytes
from malan.ledger.post import Reply, ask
from malan.runtime.database import reading, updating
from malan.services.dsp.addresses import Addresses
from malan.services.dsp.tables import Process, keep_message, outbox

WAITING, SENT, FAILED = "waiting", "sent", "failed"
PAUSES_S = (1.0, 3.0)  # after the first and the second try
TIMEOUT_S = 15.0
LARGEST_REPLY_BYTES = 1_000_000
_LEASE_S = 60.0  # a try that takes longer is believed dead
_IDLE_S = 1.0  # what another process put in is found within
_CHORES_S = 5.0
_TOGETHER = 4

_log = logging.getLogger("malan.exchange")


@dataclass(frozen=True)
class Outgoing:
    """A message on its way."""

    id: int
    pid: str
    type: str
    party: str
    url: str
    body: bytes
    tries: int  # with this one
    detail: str  # what the last try met with


def send_again(connection: Connection, pid: str) -> int:
    """Put messages of a process that were given up back in line; how many."""
    given_up = (outbox.c.pid == pid, outbox.c.status == FAILED)
    return connection.execute(update(outbox).where(*given_up).values(status=WAITING, tries=0, due=time.time())).rowcount


def put_out(connection: Connection, process: Process, kind: str, url: str, body: bytes) -> None:
    """Write a message to be sent, in the transaction of its transition; once for each turn of a process."""
    digest = digest_bytes(body)
    row = {"pid": process.pid, "turn": process.turn, "type": kind, "sha256": digest, "party": process.party}
    row |= {"url": url, "body": body, "status": WAITING, "tries": 0, "due": time.time(), "detail": ""}
    connection.execute(insert(outbox).values(**row))
    keep_message(connection, process.pid, "out", kind, digest, body, process.state)


class Sender:
    """Sends from the outbox in the background, until it is stopped. Several may share a database.

    Args:
        engine: Where the outbox is.
        addresses: What may be called, asked each time.
        authorization: The header for a party.
        delivered: Told of every message that arrived, with the answer.
        failed: Told of every message that was given up.
        chores: Done when idle, at most every few seconds.
        pauses_s: Between tries; there is one try more than pauses.
    """

    def __init__(
        self,
        engine: Engine,
        *,
        addresses: Callable[[], Addresses],
        authorization: Callable[[str], str],
        delivered: Callable[[Outgoing, Reply], None],
        failed: Callable[[Outgoing, str], bool],
        chores: Callable[[], None] = lambda: None,
        pauses_s: Sequence[float] = PAUSES_S,
    ) -> None:
        self._engine, self._addresses, self._authorization = engine, addresses, authorization
        self._delivered, self._failed, self._chores = delivered, failed, chores
        self._pauses_s = tuple(pauses_s)
        self._woken, self._is_stopping = threading.Condition(), False
        self._has_news = False
        self._tasks: list[Callable[[], None]] = []
        self._work: SimpleQueue[Callable[[], None] | None] = SimpleQueue()
        self._threads: list[threading.Thread] = []

    def start(self) -> None:
        """Begin to send."""
        self._threads = [threading.Thread(target=self._run, name="malan-exchange", daemon=True)]
        for number in range(_TOGETHER):
            self._threads.append(threading.Thread(target=self._help, name=f"malan-send-{number}", daemon=True))
        for thread in self._threads:
            thread.start()

    def stop(self, timeout_s: float = 5.0) -> None:
        """Send no more; a try that is under way is waited for a while, and made again by the next run otherwise."""
        with self._woken:
            self._is_stopping = True
            self._woken.notify_all()
        for _ in range(_TOGETHER):
            self._work.put(None)
        until = time.monotonic() + timeout_s
        for thread in self._threads:
            thread.join(max(0.0, until - time.monotonic()))

    def wake(self) -> None:
        """There is something to send."""
        with self._woken:
            self._has_news = True
            self._woken.notify_all()

    def do(self, task: Callable[[], None]) -> None:
        """Do something in the background, soon."""
        with self._woken:
            self._tasks.append(task)
            self._has_news = True
            self._woken.notify_all()

    def _run(self) -> None:
        next_chores = 0.0
        while not self._is_stopping:
            if time.monotonic() >= next_chores:
                self._work.put(self._chores)
                next_chores = time.monotonic() + _CHORES_S
            for task in self._taken():
                self._work.put(task)
            pause_s = self._claim_all()
            with self._woken:
                if not self._has_news and not self._is_stopping:
                    self._woken.wait(pause_s)
                self._has_news = False

    def _help(self) -> None:
        """One of the threads that send: a slow partner holds up one of them, for as long as a try may take."""
        while (task := self._work.get()) is not None:
            self._guarded(task)

    def _taken(self) -> list[Callable[[], None]]:
        with self._woken:
            taken, self._tasks = self._tasks, []
            return taken

    def _claim_all(self) -> float:
        """Start sending whatever is due; seconds until the next is."""
        try:
            for outgoing in self._claim():
                self._work.put(partial(self._send, outgoing))
            return self._next_due_s()
        except MalanError as error:
            _log.warning("outbox: %s", error)
            return 1.0

    def _claim(self) -> list[Outgoing]:
        """Messages that are due and first in line, marked as being sent."""
        now, claimed = time.time(), []
        first = select(func.min(outbox.c.id)).where(outbox.c.status == WAITING).group_by(outbox.c.pid)
        due = select(outbox).where(outbox.c.id.in_(first), outbox.c.due <= now).order_by(outbox.c.id).limit(64)
        with reading(self._engine) as connection:
            rows = connection.execute(due).all()
        for row in rows:
            mine = (outbox.c.id == row.id, outbox.c.tries == row.tries, outbox.c.due <= now, outbox.c.status == WAITING)
            with updating(self._engine) as connection:
                taking = update(outbox).where(*mine).values(tries=row.tries + 1, due=now + _LEASE_S)
                if not connection.execute(taking).rowcount:
                    continue
            claimed.append(Outgoing(row.id, row.pid, row.type, row.party, row.url, row.body, row.tries + 1, row.detail))
        return claimed

    def _next_due_s(self) -> float:
        with reading(self._engine) as connection:
            due = connection.scalar(select(func.min(outbox.c.due)).where(outbox.c.status == WAITING))
        return _IDLE_S if due is None else min(max(due - time.time(), 0.01), _IDLE_S)

    def _send(self, outgoing: Outgoing) -> None:
        try:
            reply = self._post(outgoing)
        except RetryLater as error:
            self._again(outgoing, error.code)
        except MalanError as error:
            self._give_up(outgoing, error.code)
        else:
            if 200 <= reply.status < 300:
                self._mark(outgoing, SENT, str(reply.status))
                self._delivered(outgoing, reply)
            elif reply.status == 404 or reply.status >= 500:
                self._again(outgoing, str(reply.status))
            else:
                self._give_up(outgoing, f"{reply.status} {_said(reply)}".strip())
        self.wake()

    def _post(self, outgoing: Outgoing) -> Reply:
        headers = {"Content-Type": "application/json", "Accept": "application/json"}
        if authorization := self._authorization(outgoing.party):
            headers["Authorization"] = authorization
        return ask(
            "POST",
            outgoing.url,
            outgoing.body,
            headers=headers,
            timeout_s=TIMEOUT_S,
            most_bytes=LARGEST_REPLY_BYTES,
            connect=self._addresses().connect_for(outgoing.url),
        )

    def _again(self, outgoing: Outgoing, detail: str) -> None:
        if outgoing.tries > len(self._pauses_s):
            self._give_up(outgoing, detail)
            return
        due = time.time() + self._pauses_s[outgoing.tries - 1]
        self._mark(outgoing, WAITING, detail, due)

    def _give_up(self, outgoing: Outgoing, detail: str) -> None:
        arrived = self._failed(outgoing, detail)
        self._mark(outgoing, SENT if arrived else FAILED, detail)

    def _mark(self, outgoing: Outgoing, status: str, detail: str, due: float | None = None) -> None:
        values: dict[str, Any] = {"status": status, "detail": detail[:500]}
        if due is not None:
            values["due"] = due
        with updating(self._engine) as connection:
            connection.execute(update(outbox).where(outbox.c.id == outgoing.id).values(**values))

    def _guarded(self, task: Callable[[], None]) -> None:
        """The edge of a background thread: a defect is logged, the others go on."""
        try:
            task()
        except MalanError as error:
            _log.warning("exchange: %s", error)
        except Exception:
            _log.exception("exchange")


def _said(reply: Reply) -> str:
    """The code of a typed error, if there is one."""
    try:
        said = json.loads(reply.body[:LARGEST_REPLY_BYTES])
    except (ValueError, RecursionError):
        return ""
    return str(said.get("code", ""))[:100] if isinstance(said, dict) else ""
