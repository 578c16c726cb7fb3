"""Worker processes for work that may go wrong: each task has limits, and a worker that dies takes nothing along.

    with WorkerPool() as pool:
        for outcome in pool.run(Task("malan.media.index:build_index", (path,)) for path in paths):
            ...

Tasks are module-level functions. Workers are fresh interpreters; nothing is inherited. One thread of this process
talks to them all, so limits hold while the caller is busy, and never more than a few tasks a worker are taken from the
source ahead of the caller. Start reading at `WorkerPool.run`.
"""

from __future__ import annotations

import os
import queue
import signal
import socket
import struct
import subprocess
import sys
import threading
import time
from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from multiprocessing.connection import Connection, wait
from types import TracebackType
from typing import Any

from malan.core.errors import MalanError, WorkerDied
from malan.runtime.limits import MIB, Limits, usage
from malan.runtime.wire import pack, unpack

_WATCH_S = 0.05  # how often limits are checked
_WAIT_S = 0.5
_AHEAD = 4  # tasks a worker taken from the source before their turn
_DEFAULT_LIMITS = Limits()
_LONGEST_MESSAGE = 1 << 30
_STALL_S = 60


@dataclass(frozen=True, slots=True)
class Task:
    """A function to call in a worker, by name (`package.module:function`), with picklable arguments."""

    function: str
    arguments: tuple[Any, ...] = ()
    key: Any = None  # the caller's own handle; stays in this process
    limits: Limits | None = None  # None: those of the pool
    expected_bytes: int = 0  # of memory; counts against the budget of the pool


@dataclass(frozen=True, slots=True)
class Outcome:
    """How a task ended: a value, or the error that ended it; and what it took."""

    task: Task
    value: Any = None
    error: MalanError | None = None
    wall_s: float = 0.0
    peak_memory_bytes: int = 0  # highest resident size seen; 0 for tasks that ended between two looks

    @property
    def key(self) -> Any:
        return self.task.key

    def result(self) -> Any:
        """The value, or the error raised."""
        if self.error is not None:
            raise self.error
        return self.value


@dataclass(eq=False, slots=True)
class _Run:
    """One call of `run`: where its outcomes go and whom it tells of progress."""

    outcomes: queue.SimpleQueue[tuple[int, Outcome] | BaseException] = field(default_factory=queue.SimpleQueue)
    on_progress: Callable[[Any, Any], None] | None = None
    on_wait: Callable[[], None] | None = None

    def next(self) -> tuple[int, Outcome]:
        """Wait for an outcome; raises what the caller's `on_progress` raised."""
        while True:
            try:
                found = self.outcomes.get(timeout=_WAIT_S if self.on_wait else None)
            except queue.Empty:
                assert self.on_wait is not None  # noqa: S101  # there is a timeout only then
                self.on_wait()
                continue
            if isinstance(found, BaseException):
                raise found
            return found


@dataclass(eq=False, slots=True)
class _Ticket:
    run: _Run
    number: int
    task: Task
    request: bytes

    def answer(
        self, value: Any = None, error: MalanError | None = None, wall_s: float = 0.0, peak_bytes: int = 0
    ) -> None:
        self.run.outcomes.put((self.number, Outcome(self.task, value, error, wall_s, peak_bytes)))


class WorkerPool:
    """A few worker processes, started when there is work and replaced when they die.

    Args:
        workers: How many; by default one for each processor this process may use.
        limits: For tasks that do not bring their own.
        threads: What numeric and media libraries in a worker may use; one is cheapest when there are many files.
        budget_bytes: What the tasks under way may be expected to take together; a task that does not fit waits until
            it does, or until nothing else runs. None: no bound.
    """

    def __init__(
        self,
        workers: int | None = None,
        *,
        limits: Limits = _DEFAULT_LIMITS,
        threads: int = 1,
        budget_bytes: int | None = None,
    ) -> None:
        self.size = workers or len(os.sched_getaffinity(0))
        self.limits = limits
        self._environment = _environment(threads)
        self._budget_bytes = budget_bytes
        self._waiting: deque[_Ticket] = deque()
        self._left: list[_Run] = []  # runs whose caller went away
        self._workers: list[_Worker] = []
        self._lock = threading.Lock()
        self._closing = False
        self._bell, self._ring = os.pipe()
        self._thread = threading.Thread(target=self._serve, name="malan-pool", daemon=True)
        self._thread.start()

    def __enter__(self) -> WorkerPool:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def run(
        self,
        tasks: Iterable[Task],
        *,
        ordered: bool = False,
        on_progress: Callable[[Any, Any], None] | None = None,
        on_wait: Callable[[], None] | None = None,
    ) -> Generator[Outcome, None, None]:
        """The outcome of each task, as they end or, with `ordered`, in the order of the source.

        The source is read in the caller's thread and only a few tasks ahead. Leaving the iteration early ends what is
        still running. `on_progress(key, value)` is called from the pool's thread with what tasks report; what it raises
        ends the iteration and is raised here. `on_wait()` is called in the caller's thread every half second in which
        no task ends, for whoever must look whether to go on.
        """
        run = _Run(on_progress=on_progress, on_wait=on_wait)
        outcomes = self._stream(run, tasks)
        try:
            yield from (_in_order(outcomes) if ordered else (outcome for _, outcome in outcomes))
        finally:
            self._abandon(run)

    def close(self) -> None:
        """End all workers now; whoever still waits is told so. Safe to call twice."""
        with self._lock:
            self._closing = True
            self._wake()
        self._thread.join()

    def _stream(self, run: _Run, tasks: Iterable[Task]) -> Iterator[tuple[int, Outcome]]:
        open_tasks = 0
        for number, task in enumerate(tasks):
            while open_tasks >= self.size * (1 + _AHEAD):
                yield run.next()
                open_tasks -= 1
            self._submit(_Ticket(run, number, task, pack((task.function, task.arguments))))
            open_tasks += 1
        for _ in range(open_tasks):
            yield run.next()

    def _submit(self, ticket: _Ticket) -> None:
        with self._lock:
            if self._closing:
                raise RuntimeError("the pool is closed")
            self._waiting.append(ticket)
            self._wake()

    def _abandon(self, run: _Run) -> None:
        with self._lock:
            self._waiting = deque(t for t in self._waiting if t.run is not run)
            self._left.append(run)
            self._wake()

    def _wake(self) -> None:
        """Only with the lock held: the pipe is closed under it."""
        if self._ring >= 0:
            os.write(self._ring, b"!")

    # What follows runs in the pool's own thread.

    def _serve(self) -> None:
        try:
            self._serve_until_closed()
        finally:
            self._give_up()

    def _give_up(self) -> None:
        """Nobody waits for ever: all that is open ends as an error, also when this thread breaks down."""
        with self._lock:
            self._closing = True
            left, self._waiting = list(self._waiting), deque()
            os.close(self._bell)
            os.close(self._ring)
            self._bell = self._ring = -1
        error = WorkerDied("runtime.worker_died", how="pool closed")
        for worker in self._workers:
            worker.end()
            worker.answer(error=error)
        for ticket in left:
            ticket.answer(error=error)
        self._workers.clear()

    def _serve_until_closed(self) -> None:
        watched = 0.0
        while not self._closing:
            self._end_abandoned()
            self._hand_out()
            busy = any(worker.ticket for worker in self._workers)
            for ready in wait([self._bell, *(w.line for w in self._workers)], _WATCH_S if busy else None):
                if ready == self._bell:
                    os.read(self._bell, 4096)
                else:
                    self._hear(next(w for w in self._workers if w.line is ready))
            if busy and time.monotonic() - watched > _WATCH_S:
                watched = time.monotonic()
                for worker in self._workers:
                    worker.check()

    def _end_abandoned(self) -> None:
        with self._lock:
            left, self._left = self._left, []
        for worker in self._workers:
            if worker.ticket and worker.ticket.run in left:
                worker.kill()

    def _hand_out(self) -> None:
        """Give each free worker a task; start workers while there are more tasks than free ones."""
        while True:
            with self._lock:
                free = next((w for w in self._workers if w.ticket is None and not w.is_ending), None)
                if not self._waiting or (free is None and len(self._workers) >= self.size):
                    return
                ticket = self._next_that_fits()
                if ticket is None:
                    return
                self._waiting.remove(ticket)
            try:
                worker = free or self._start()
            except OSError as error:  # no process to be had: this task fails, the next one tries again
                ticket.answer(error=WorkerDied("runtime.no_worker", detail=error.strerror or str(error)))
            else:
                worker.give(ticket, ticket.task.limits or self.limits)

    def _next_that_fits(self) -> _Ticket | None:
        """The first waiting task for which there is memory; the very first when nothing else runs."""
        taken = [worker.ticket.task.expected_bytes for worker in self._workers if worker.ticket]
        if self._budget_bytes is None or not taken:
            return self._waiting[0]
        left = self._budget_bytes - sum(taken)
        return next((ticket for ticket in self._waiting if ticket.task.expected_bytes <= left), None)

    def _start(self) -> _Worker:
        worker = _Worker(self.limits.memory_bytes, self._environment)
        self._workers.append(worker)
        return worker

    def _hear(self, worker: _Worker) -> None:
        try:
            kind, content = unpack(worker.line.recv_bytes(_LONGEST_MESSAGE))
        except (EOFError, OSError):
            self._bury(worker, worker.cause_of_death())
        except MalanError as error:
            self._bury(worker, error)
        else:
            if kind == "progress":
                worker.tell_progress(content)
            else:
                self._finish(worker, **{"value" if kind == "done" else "error": content})

    def _finish(self, worker: _Worker, **end: Any) -> None:
        worker.answer(**end)
        if worker.has_grown:
            self._bury(worker, None)

    def _bury(self, worker: _Worker, error: MalanError | None) -> None:
        self._workers.remove(worker)
        worker.end()
        worker.answer(error=error)


class _Worker:
    """One process: its line, its life line, the task it is on and what that task may take."""

    def __init__(self, memory_bytes: int, environment: dict[str, str]) -> None:
        self.ticket: _Ticket | None = None
        self.is_ending = False  # killed: an answer it had sent before may still be heard, but it gets no more work
        self._verdict: MalanError | None = None
        self._memory_bytes = memory_bytes
        self._process, self.line, self._life = _launch(memory_bytes, environment)

    def give(self, ticket: _Ticket, limits: Limits) -> None:
        self.ticket, self._limits = ticket, limits
        self._verdict = None
        self._started, self._peak_bytes = time.monotonic(), 0
        before = usage(self._process.pid)
        self._cpu_before_s = before.cpu_s if before else 0.0
        with suppress(OSError):  # it died while idle: the line tells, and the task is reported
            self.line.send_bytes(ticket.request)

    def answer(self, *, value: Any = None, error: MalanError | None = None) -> None:
        """Send the outcome of the task on hand to whoever asked; nothing without one."""
        if self.ticket is None:
            return
        ticket, self.ticket = self.ticket, None
        ticket.answer(value, error, time.monotonic() - self._started, self._peak_bytes)

    def tell_progress(self, value: Any) -> None:
        run = self.ticket.run if self.ticket else None
        if self.ticket is None or run is None or run.on_progress is None:
            return
        try:
            run.on_progress(self.ticket.task.key, value)
        except BaseException as error:  # belongs to the caller, not to this thread
            run.on_progress = None
            run.outcomes.put(error)

    def check(self) -> None:
        """Kill the process when its task takes more than it may."""
        now = usage(self._process.pid) if self.ticket and self._verdict is None else None
        if now is None:
            return
        self._peak_bytes = max(self._peak_bytes, now.memory_bytes)
        self._verdict = self._judge(now.memory_bytes, now.cpu_s - self._cpu_before_s)
        if self._verdict is not None:
            self.kill()

    def _judge(self, memory_bytes: int, cpu_s: float) -> MalanError | None:
        limits = self._limits
        if memory_bytes > limits.memory_bytes:
            return WorkerDied("runtime.out_of_memory", limit_mb=limits.memory_bytes // MIB)
        if time.monotonic() - self._started > limits.wall_s or cpu_s > limits.cpu_s:
            return WorkerDied("runtime.out_of_time", limit_s=round(min(limits.wall_s, limits.cpu_s), 1))
        return None

    @property
    def has_grown(self) -> bool:
        """Whether the process keeps so much memory after its task that a fresh one is the better choice."""
        return self._peak_bytes > self._memory_bytes // 2

    def cause_of_death(self) -> MalanError:
        """Why the line broke: our own verdict, or the signal or exit code of the process."""
        if self._verdict is not None:
            return self._verdict
        self.kill()
        code = self._process.wait()
        how = signal.Signals(-code).name if code < 0 else f"exit {code}"
        return WorkerDied("runtime.worker_died", how=how)

    def kill(self) -> None:
        """End the process and everything it started, at once. The line then tells that it is gone."""
        self.is_ending = True
        if self._process.poll() is None:
            with suppress(ProcessLookupError):
                os.killpg(self._process.pid, signal.SIGKILL)

    def end(self) -> None:
        self.kill()
        self._process.wait()
        self.line.close()
        with suppress(OSError):
            os.close(self._life)


def _launch(
    memory_bytes: int, environment: dict[str, str]
) -> tuple[subprocess.Popen[bytes], Connection[Any, Any], int]:
    """A worker process in its own group, its line, and our end of its life line."""
    ours, theirs = _duplex()
    life_read, life_write = os.pipe()
    command = [sys.executable, "-P", "-m", "malan.runtime.worker", str(theirs), str(life_read), str(memory_bytes)]
    try:
        process = subprocess.Popen(
            command,
            pass_fds=(theirs, life_read),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            env=environment,
            process_group=0,
        )
    finally:
        os.close(theirs)
        os.close(life_read)
    return process, Connection(ours), life_write


def _duplex() -> tuple[int, int]:
    """Two ends of a line. Ours gives up on a worker that stops in the middle of a message."""
    ours, theirs = socket.socketpair()
    for option in (socket.SO_RCVTIMEO, socket.SO_SNDTIMEO):
        ours.setsockopt(socket.SOL_SOCKET, option, struct.pack("ll", _STALL_S, 0))
    return ours.detach(), theirs.detach()


def _environment(threads: int) -> dict[str, str]:
    """This process's environment, with the same import path and few threads."""
    counts = dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"), str(threads))
    return {**os.environ, **counts, "PYTHONPATH": os.pathsep.join(path for path in sys.path if path)}


def _in_order(outcomes: Iterator[tuple[int, Outcome]]) -> Iterator[Outcome]:
    early: dict[int, Outcome] = {}
    turn = 0
    for number, outcome in outcomes:
        early[number] = outcome
        while turn in early:
            yield early.pop(turn)
            turn += 1
