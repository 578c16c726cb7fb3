"""The worker: takes runs from the queue, one at a time, and brings each as far as it goes.

    recover ─▶ take ─▶ check again ─▶ count ─▶ state ─▶ run in the sandbox ─▶ gate ─▶ verdict
       └ runs of workers that are gone: back into the queue with their checkpoint, or ended

A second thread says once a second that the worker is alive and asks whether a person wants the run to end. A worker
that lost its run (it was given up for dead) stops what it does and changes nothing. Start reading at `work`.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Any

from malan.core.decisions import Reason
from malan.core.errors import MalanError, NotFound, NotGranted, ProofError, Rejected, RetryLater, UsageError
from malan.services.runs import states
from malan.services.runs.bench import END_LIMIT, END_OK, Bench, Ended, Prepare
from malan.services.runs.checks import missing_approvals, said_in
from malan.services.runs.folder import RunFolder
from malan.services.runs.gate import Register, end_run, finish_ending, judge_run, owe_for, tidy_up
from malan.services.runs.meter import RunAccount, count_run, hold_run, release_holds, renew_holds
from malan.services.runs.receipts import state_start
from malan.services.runs.rows import (
    Run,
    beat,
    find_lost,
    find_untidy,
    get_row,
    is_cancel_asked,
    leave,
    list_rows,
    mark,
    me,
    move,
    note_worker,
    seize,
    take,
)
from malan.services.settlement.metering import seal_usage
from malan.training.gate import reserve_output
from malan.training.gate.budget import most_of
from malan.training.gate.result import reason_of

if TYPE_CHECKING:
    from malan.workspace import Workspace

MOST_ATTEMPTS = 3  # a run whose worker died so often is not tried again by itself
BEAT_S = 1.0
KEEP_CHECKPOINT_S = 86_400.0  # of a run that stopped or failed, for whoever resumes it
_RENEW_S = 60.0
_AGAIN_S = 5.0
_IDLE_S = 0.5
_PRESENT_S = 5.0
_NEVER_BEGAN = (NotGranted, Rejected, UsageError, NotFound, ProofError)

_log = logging.getLogger("malan.runs")


class _Lost(Exception):
    """The run is another's now."""


def work(
    ws: Workspace,
    *,
    once: bool = False,
    idle_s: float | None = None,
    prepare: Prepare | None = None,
    register: Register | None = None,
    on_run: Callable[[Run], None] = lambda _run: None,
    stop: Callable[[], bool] = lambda: False,
) -> int:
    """Work on runs until told to stop; how many were brought to an end, to the owner, or back.

    Args:
        ws: Whose runs.
        once: Stop when nothing is left to do now.
        idle_s: Stop when there was nothing to do for so long.
        prepare, register: Who carries runs out and takes models in; the real ones unless given.
        on_run: Told of each run before and after.
        stop: Asked between runs and, of a run, to put it back.
    """
    carries, registers = prepare or _engine(), register or _registry()
    done, idle_since = 0, time.monotonic()
    with _present(ws):
        while not stop():
            recover(ws)
            with suppress(RetryLater):
                run = take(ws, ws.settings.runs_at_once, worker=me(), now_s=time.time())
                if run is not None:
                    on_run(run)
                    on_run(carry_out(ws, run, carries, registers, stop))
                    done, idle_since = done + 1, time.monotonic()
                    continue
            if once or (idle_s is not None and time.monotonic() - idle_since > idle_s):
                break
            time.sleep(_IDLE_S)
    return done


@contextmanager
def _present(ws: Workspace) -> Iterator[None]:
    """Have this process known as a worker until the block is left."""
    over = threading.Event()

    def tell() -> None:
        while True:
            with suppress(MalanError):
                note_worker(ws, me(), time.time())
            if over.wait(_PRESENT_S):
                return

    thread = threading.Thread(target=tell, name="malan-run-worker", daemon=True)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()
        with suppress(MalanError):
            leave(ws, me())


def carry_out(
    ws: Workspace, run: Run, prepare: Prepare, register: Register, stop: Callable[[], bool] = lambda: False
) -> Run:
    """Bring a run that this process took as far as it goes."""
    with _watched(ws, run, stop) as watch:
        try:
            return _through(ws, run, watch, prepare, register)
        except _Lost:
            _log.warning("run %s was taken by another worker", run.id[:12])
            return get_row(ws, run.id)
        except RetryLater as error:
            if error.code == "runs.busy":
                return get_row(ws, run.id)
            raise


def recover(ws: Workspace) -> int:
    """See to runs whose worker is gone, approvals that came, what ended runs left; how many runs moved.

    Whoever looks at runs calls this, so a dead worker is noticed as long as anybody looks.
    """
    now_s, moved = time.time(), 0
    for run in find_lost(ws, now_s):
        with suppress(RetryLater):
            _recover_one(ws, run)
            moved += 1
    for run in list_rows(ws, state=(states.WAITING,)):
        with suppress(MalanError):
            moved += _look_for_approval(ws, run)
    for run in find_untidy(ws, now_s - KEEP_CHECKPOINT_S):
        tidy_up(ws, run, keeps_checkpoint=run.tidy == 0)
    return moved


def _look_for_approval(ws: Workspace, run: Run) -> bool:
    """Queue a run whose code all owners have approved; end one whose code an owner refused."""
    try:
        if missing_approvals(ws, run):
            return False
        move(ws, run, states.APPROVE)
    except NotGranted as error:
        end_run(ws, run, states.REFUSE, why=said_in(error))
    return True


def has_work(ws: Workspace) -> bool:
    """Whether a worker would find something to do."""
    open_runs = list_rows(ws, state=(states.QUEUED, *states.AT_WORK))
    now_s = time.time()
    return any(
        run.state == states.QUEUED or (run.is_at_work and (run.worker is None or run.is_lost(now_s)))
        for run in open_runs
    )


def _recover_one(ws: Workspace, run: Run) -> Run:
    """What a dead worker left: its holds are given back, and the run goes on or ends."""
    mine = seize(ws, run, worker=me(), now_s=time.time())
    if run.ending is not None and run.ending[0] != states.PASS:
        return finish_ending(ws, mine)
    release_holds(ws, run.id)
    if run.is_cancelling and run.ending is None:
        return end_run(ws, mine, states.CANCEL)
    if run.attempt >= MOST_ATTEMPTS and run.ending is None:
        told = (Reason("runs.worker_died", (("times", str(run.attempt)),)),)
        return end_run(ws, mine, states.FAIL, why=told)
    why = (Reason("runs.lost", (("attempt", str(run.attempt)),)),)
    more: dict[str, Any] = {"attempt": run.attempt + 1} if run.state == states.GATE else {}
    return move(ws, mine, states.LOSE, why=why, worker=None, **more)


def _through(ws: Workspace, run: Run, watch: _Watch, prepare: Prepare, register: Register) -> Run:
    """Run, then gate; every way out of it is a state."""
    try:
        if run.state == states.RUNNING:
            run = _run(ws, run, watch, prepare)
        if run.state == states.GATE:
            watch.follow(run)
            run = judge_run(ws, run, lambda: prepare(ws, run), register, watch.is_cancelled)
    except RetryLater as error:
        watch.check()
        if error.code == "runs.busy":
            raise
        return _wait_or_stop(ws, watch.run, error)
    except Exception as error:  # the edge of a worker: it goes on with the next run
        watch.check()
        if watch.is_stopping:
            return _put_back(ws, watch.run, Reason("runs.put_back"))
        _log.exception("run %s", run.id[:12])
        why = (Reason("runs.defect", (("detail", f"{type(error).__name__}: {error}"[:300]),)),)
        return end_run(ws, watch.run, states.FAIL, why=why, told=(Reason("runs.told.failed"),))
    return run


def _run(ws: Workspace, run: Run, watch: _Watch, prepare: Prepare) -> Run:
    """From the queue to the gate, or to an end."""
    try:
        bench = prepare(ws, run)
        if watch.is_cancelled():
            return end_run(ws, run, states.CANCEL)
        run = _begin(ws, run, bench, watch)
    except _NEVER_BEGAN as error:
        is_safe = isinstance(error, NotGranted | UsageError)  # of the agreement and the wish; others may name files
        told = None if is_safe else (Reason("runs.told.platform"),)
        return end_run(ws, watch.run, states.REFUSE, why=said_in(error), told=told)
    folder = RunFolder(ws, run.id)
    try:
        ended = bench.run(
            restored=folder.checkpoint(),
            log=folder.log,
            on_progress=watch.tell,
            on_checkpoint=folder.save_checkpoint,
            stop=watch.is_to_stop,
        )
    except Rejected as error:  # the walls: nothing of the program has run
        return end_run(ws, watch.run, states.REFUSE, why=said_in(error), told=(Reason("runs.told.not_started"),))
    watch.check()
    if watch.is_stopping and ended.end != END_OK:
        return _put_back(ws, watch.run, Reason("runs.put_back"))
    return _take_in(ws, watch.run, ended, watch)


def _begin(ws: Workspace, run: Run, bench: Bench, watch: _Watch) -> Run:
    """Hold what the run may put out, count it, then state it; only now may it see anything."""
    reserve_output(RunAccount(ws, run.grant_id, run.id), bench.policy, f"{run.id}:{run.life}")
    hold = hold_run(ws, run.grant_id, run.id, run.life)
    facts = {"most_bytes": most_of(bench.policy), "facts": dict(bench.facts)}
    run = mark(ws, run, lambda within: count_run(ws, hold, run.id, within), **facts)
    watch.follow(run)
    owe_for(ws, run)
    state_start(ws, run)
    return run


def _take_in(ws: Workspace, run: Run, ended: Ended, watch: _Watch) -> Run:
    """What came back from the sandbox: files for the gate, or an end."""
    told = ended.as_record()
    before = float(run.ran.get("wall_s", 0.0))
    run = mark(ws, run, **{**told, "wall_s": round(before + ended.wall_s, 3)})
    watch.follow(run)
    if watch.is_cancelled():
        return end_run(ws, run, states.CANCEL)
    why = () if ended.reason is None else (ended.reason,)
    if ended.end == END_OK:
        RunFolder(ws, run.id).save_raw(ended.files)
        return move(ws, run, states.HAND_IN, phase="gate", percent=100)
    if ended.end == END_LIMIT:
        limit = (Reason("runs.told.limit", (("limit", str(ended.limit)),)),)
        return end_run(ws, run, states.STOP, why=(*limit, *why), told=limit)
    return end_run(ws, run, states.FAIL, why=(Reason("runs.failed"), *why), told=(Reason("runs.told.failed"),))


def _wait_or_stop(ws: Workspace, run: Run, error: RetryLater) -> Run:
    """What it needs is held by others: later again. A run that saw footage before does not begin anew for ever."""
    if run.state == states.RUNNING and run.has_begun and run.attempt >= MOST_ATTEMPTS:
        told = (Reason("runs.told.limit", (("limit", "grant"),)),)
        return end_run(ws, run, states.STOP, why=(*told, reason_of(error)), told=told)
    return _put_back(ws, run, reason_of(error), again_s=_AGAIN_S, is_counted=run.has_begun)


def _put_back(ws: Workspace, run: Run, why: Reason, *, again_s: float = 0.0, is_counted: bool = False) -> Run:
    """Back into the queue, or to the gate; not counted as an attempt where nothing is wrong with the run."""
    release_holds(ws, run.id)
    action = states.WAIT if run.state == states.RUNNING else states.LOSE
    attempt = run.attempt if is_counted or run.state != states.RUNNING else run.attempt - 1
    return move(ws, run, action, why=(why,), attempt=attempt, not_before_s=time.time() + again_s, worker=None)


class _Watch:
    """What the second thread knows: whether the run is still ours, whether a person wants it to end."""

    def __init__(self, ws: Workspace, run: Run, stop: Callable[[], bool]) -> None:
        self.run, self._ws, self._stop = run, ws, stop
        self._lost, self._cancelled = threading.Event(), threading.Event()
        self._told: dict[str, str | int] = {}
        self._renewed = time.monotonic()

    def follow(self, run: Run) -> None:
        """The run moved a step further, by our own hand."""
        self.run = run

    def tell(self, phase: str, percent: int) -> None:
        self._told = {"phase": phase[:20], "percent": percent}

    def is_cancelled(self) -> bool:
        return self._cancelled.is_set()

    @property
    def is_stopping(self) -> bool:
        return self._stop()

    def is_to_stop(self) -> bool:
        return self._lost.is_set() or self._cancelled.is_set() or self._stop()

    def check(self) -> None:
        """Raises:
        _Lost: The run is another's.
        """
        if self._lost.is_set():
            raise _Lost

    def look(self) -> None:
        """Say that we are there; ask whether the run is still ours and wanted."""
        run, told = self.run, self._told
        with suppress(MalanError):
            if not beat(self._ws, run, time.time(), **told) and run is self.run:
                self._lost.set()
            if is_cancel_asked(self._ws, run.id):
                self._cancelled.set()
            if time.monotonic() - self._renewed > _RENEW_S:
                self._renewed = time.monotonic()
                renew_holds(self._ws, run.id)


@contextmanager
def _watched(ws: Workspace, run: Run, stop: Callable[[], bool]) -> Iterator[_Watch]:
    watch, over = _Watch(ws, run, stop), threading.Event()
    watch.look()

    def look() -> None:
        while not over.wait(BEAT_S):
            watch.look()

    thread = threading.Thread(target=look, name="malan-run-beat", daemon=True)
    thread.start()
    try:
        yield watch
    finally:
        over.set()
        thread.join()


def _engine() -> Prepare:
    from malan.services.runs.engine import prepare

    return prepare


def _registry() -> Register:
    from malan.services.runs.engine import register

    return register


def seal_now(ws: Workspace) -> None:
    """State in the log what was used since the last time; for the clock."""
    with suppress(RetryLater):
        seal_usage(ws)
