"""What may become of a run, and who is next: laws that hold for every history, and after a kill at every point."""

from __future__ import annotations

import atexit
import itertools
import os
import shutil
import time
from collections import Counter
from pathlib import Path
from tempfile import mkdtemp
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule
from run_place import BUYER, OWNER, SET, grant_on
from sqlalchemy import select, update

from malan.core.errors import MalanError, Rejected
from malan.inference.tensors import Tensor, write_tensors
from malan.rights.meter_tables import HELD, RESERVATIONS
from malan.runtime.database import reading, updating
from malan.services.runs import gate as run_gate
from malan.services.runs import rows as run_rows
from malan.services.runs import states
from malan.services.runs import worker as run_work
from malan.services.runs.bench import Ended
from malan.services.runs.engine import register
from malan.services.runs.folder import RunFolder
from malan.services.runs.states import Queued, after, choose
from malan.services.runs.submission import cancel_run, decide_run, get_run, resume_run, submit_run
from malan.services.runs.tables import HOLDS, RUNS, run_tables
from malan.services.settlement.charges import settlement_tables
from malan.services.settlement.metering import meter
from malan.services.settlement.tables import CHARGES
from malan.training.gate import Declared, Policy
from malan.training.gate.effect import Effect
from malan.training.gate.gate import ADAPTER, Memory
from malan.workspace import Workspace

# The table.


def test_every_state_is_reached_and_every_action_is_used():
    assert {state for _, state in states.TABLE} | {states.SUBMIT} == set(states.ACTIONS)
    assert set(states.TABLE.values()) | {states.WAITING} == set(states.STATES)


def test_what_is_over_stays_over_unless_it_is_resumed():
    for state in states.OVER:
        open_ways = {action for one, action in states.TABLE if one == state}
        assert open_ways == ({states.RESUME} if state in states.RESUMABLE else set())


def test_nothing_is_released_that_was_not_at_the_gate():
    assert {one for (one, _), to in states.TABLE.items() if to == states.RELEASED} == {states.GATE}
    with pytest.raises(Rejected):
        after(states.RUNNING, states.PASS)


# The queue.

_runs = st.lists(
    st.builds(
        Queued,
        id=st.uuids().map(str),
        party_id=st.sampled_from("abc"),
        priority=st.sampled_from([-1, 0, 1]),
        submitted_s=st.integers(0, 50).map(float),
    ),
    max_size=12,
    unique_by=lambda run: run.id,
)


@given(_runs, st.lists(st.sampled_from("abc"), max_size=6), st.integers(0, 3))
def test_no_party_has_more_than_its_share_at_work(queued, at_work, most):
    chosen = choose(queued, at_work, {}, most)
    busy = Counter(at_work)
    free = [run for run in queued if busy[run.party_id] < most]
    assert (chosen is None) == (not free)
    if chosen is not None:
        assert busy[chosen.party_id] < most
        assert not any(run.priority > 0 for run in free) or chosen.priority > 0
        own = [run for run in free if run.party_id == chosen.party_id and (run.priority > 0) == (chosen.priority > 0)]
        assert min(own, key=lambda run: (-run.priority, run.submitted_s, run.id)) == chosen


@given(_runs.filter(lambda runs: len(runs) > 2))
def test_one_that_submits_much_does_not_keep_others_waiting(runs):
    """Parties with something in the queue take turns, however much each has in it."""
    queued, last, order = [run for run in runs if run.priority <= 0], {}, []
    for moment in range(1, len(queued) + 1):
        chosen = choose(queued, [], last, 1)
        assert chosen is not None
        waiting = {run.party_id for run in queued}
        order.append((chosen.party_id, waiting))
        last[chosen.party_id] = float(moment)
        queued.remove(chosen)
    for (first, waiting), (second, _) in itertools.pairwise(order):
        assert first != second or waiting == {first} or len(waiting - {first}) == 0


# A run's whole life on a database, with kills.

DECLARED = Declared.from_output({"type": "weights", "max_bytes": 10_000, "tensors": {"w": ["F32", [4]]}})


class Killed(BaseException):
    """The end of a process, as far as a test in the same process can have one."""


class Toy:
    """Carries a run out in this process: how it ends is said beforehand."""

    def __init__(self, end: str, *, held: bool, gains: bool) -> None:
        self.policy, self.facts = Policy(DECLARED, is_held=held), {"clips": 4}
        self._end, self._gains = end, gains

    def run(self, *, restored: Any, log: Path, on_progress: Any, on_checkpoint: Any, stop: Any) -> Ended:
        log.write_text("hello")
        on_checkpoint(b"half")
        on_progress("train", 50)
        weights = Tensor.of("w", np.arange(1.0, 5.0), "F32")
        files = {ADAPTER: write_tensors([weights], {"format": "pt"})} if self._end == "ok" else {}
        return Ended(self._end, "wall" if self._end == "limit" else None, "sandbox", 1.0, files=files)

    def trial(self, stop: Any) -> Any:
        return self

    def effect(self, weights: Any) -> Effect:
        losses = np.linspace(1.0, 2.0, 8)
        better = losses - (0.5 if self._gains else 0.0) - np.linspace(0, 0.01, 8)
        return Effect(["w"], ["w"], np.zeros(8), np.ones(8), losses, better if self._gains else losses + 0.1)

    def memory(self, weights: Any) -> Memory:
        return Memory()


_POINTS = {
    run_work: (
        "count_run",
        "mark",
        "owe_for",
        "reserve_output",
        "state_start",
        "move",
        "end_run",
        "release_holds",
        "judge_run",
    ),
    run_gate: (
        *("mark", "_settle", "keep_receipts", "state_end", "move", "release_holds", "_inspect", "_seal"),
        "tidy_up",
    ),
}
_PLACES = [(module, name) for module, names in _POINTS.items() for name in names]


class Killing:
    """Within the block the process ends before or after the nth call of a function."""

    def __init__(self, place: Any, nth: int, *, is_after: bool) -> None:
        self._module, self._name = place
        self._left, self._is_after = nth, is_after

    def __enter__(self) -> None:
        self._real = getattr(self._module, self._name)
        setattr(self._module, self._name, self._called)

    def __exit__(self, *_: object) -> None:
        setattr(self._module, self._name, self._real)

    def _called(self, *given: Any, **named: Any) -> Any:
        self._left -= 1
        if self._left == 0 and not self._is_after:
            raise Killed
        found = self._real(*given, **named)
        if self._left == 0:
            raise Killed
        return found


def bury(ws: Workspace) -> None:
    """Make this process as a worker look like one that is gone."""
    with updating(run_tables(ws)) as connection:
        mine = update(RUNS).where(RUNS.c.worker == run_rows.me())
        connection.execute(mine.values(worker=run_rows.me().rpartition(":")[0] + ":1"))


_PLACE: dict[str, Any] = {}


def place() -> tuple[Workspace, str]:
    """One workspace for all examples; runs of earlier ones are over or stay as they are."""
    if not _PLACE:
        memory = "/dev/shm" if os.access("/dev/shm", os.W_OK) else None  # thousands of small commits
        root = Path(mkdtemp(prefix="malan-runs-", dir=memory))
        atexit.register(shutil.rmtree, root, ignore_errors=True)
        ws = Workspace.create(root)
        limits = {"clip_seconds": 1_000_000, "runs": 1_000_000, "output_bytes": 1_000_000_000}
        _PLACE.update(ws=ws, grant=grant_on(ws, limits=limits, price="7:CNY/run"))
        (ws.root / "malan.toml").write_text((ws.root / "malan.toml").read_text() + "\nruns_a_day = 1000000\n")
        _PLACE["ws"] = Workspace(ws.root)
    return _PLACE["ws"], _PLACE["grant"]


class LifeOfRuns(RuleBasedStateMachine):
    """Submit, work, kill, cancel, decide, resume, in any order."""

    @initialize()
    def begin(self) -> None:
        self.ws, self.grant = place()
        for run in run_rows.list_rows(self.ws, state=states.OPEN):
            self._settle_down(run)
        self.run = submit_run(self.ws, "tagger", self.grant, {"label_set": SET}, caller=BUYER)
        self.before = self._accounts()

    @rule(
        end=st.sampled_from(["ok", "ok", "failed", "limit"]),
        held=st.booleans(),
        gains=st.booleans(),
        place=st.sampled_from(_PLACES),
        nth=st.integers(1, 4),
        is_after=st.booleans(),
        dies=st.booleans(),
    )
    def work(self, end, held, gains, place, nth, is_after, dies) -> None:
        toy = Toy(end, held=held, gains=gains)
        with self._killing(place, nth if dies else 0, is_after):
            try:
                run_work.work(self.ws, once=True, prepare=lambda _ws, _run: toy, register=register)
            except Killed:
                bury(self.ws)

    @rule()
    def recover(self) -> None:
        run_work.recover(self.ws)

    @precondition(lambda self: self._row().state in (*states.OPEN,))
    @rule()
    def cancel(self) -> None:
        try:
            cancel_run(self.ws, self.run.id, caller=BUYER)
        except Rejected:  # whoever looks recovers: its end was under way, and it is over by now
            assert self._row().is_over

    @precondition(lambda self: self._row().state == states.HELD)
    @rule(
        answer=st.sampled_from(["release", "refuse"]),
        place=st.sampled_from(_PLACES),
        nth=st.integers(0, 3),
        is_after=st.booleans(),
    )
    def decide(self, answer, place, nth, is_after) -> None:
        with self._killing(place, nth, is_after):
            try:
                decide_run(self.ws, self.run.id, answer, "because", caller=OWNER)
            except Killed:
                bury(self.ws)

    @precondition(lambda self: self._row().state in states.RESUMABLE)
    @rule()
    def resume(self) -> None:
        resume_run(self.ws, self.run.id, caller=BUYER)

    @invariant()
    def history_follows_the_table(self) -> None:
        state = None
        for step in run_rows.steps_of(self.ws, self.run.id):
            assert step.action == states.SUBMIT or after(state, step.action) == step.state
            state = step.state
        assert state == self._row().state

    @invariant()
    def nothing_is_held_for_a_run_that_nobody_is_at(self) -> None:
        run = self._row()
        if (run.is_at_work and run.worker is not None) or (run.is_over and not run.tidy):
            return
        with reading(run_tables(self.ws)) as connection:
            mine = select(HOLDS.c.reservation_id).where(HOLDS.c.run_id == run.id)
            where = (RESERVATIONS.c.id.in_(mine), RESERVATIONS.c.state == HELD)
            assert not connection.execute(select(RESERVATIONS).where(*where)).all()

    @invariant()
    def what_is_over_has_no_checkpoint_unless_it_can_be_resumed(self) -> None:
        run = self._row()
        if run.tidy and run.state not in states.RESUMABLE:
            assert not RunFolder(self.ws, run.id).has_checkpoint()
            assert not RunFolder(self.ws, run.id).leaving()

    def teardown(self) -> None:
        """Bring it to an end, then count: every life once, every byte once."""
        if not hasattr(self, "run"):
            return
        self._settle_down(self._row())
        run, now = self._row(), self._accounts()
        assert run.is_over
        assert run.tidy
        assert now["runs"].reserved == now["output_bytes"].reserved == 0
        begun = run.life if run.has_begun else run.life - 1
        assert now["runs"].consumed - self.before["runs"].consumed == begun
        charged = now["output_bytes"].consumed - self.before["output_bytes"].consumed
        assert charged >= run.charged_bytes
        with settlement_tables(self.ws).connect() as connection:
            mine = select(CHARGES).where(CHARGES.c.about == f"run:{run.id}")
            assert len(connection.execute(mine).all()) == begun
        if run.life == 1:
            assert charged == run.charged_bytes
        assert (run.model_id is not None) == (run.state == states.RELEASED)

    def _settle_down(self, run: Any) -> None:
        for _ in range(12):
            run = get_run(self.ws, run.id)
            if run.is_over:
                return
            if run.state == states.HELD:
                decide_run(self.ws, run.id, "refuse", "the end", caller=OWNER)
            else:
                with updating(run_tables(self.ws)) as connection:
                    connection.execute(update(RUNS).values(not_before_s=0.0))
                run_work.work(
                    self.ws, once=True, prepare=lambda _ws, _run: Toy("ok", held=False, gains=True), register=register
                )
        raise AssertionError(run)

    def _row(self) -> Any:
        return run_rows.get_row(self.ws, self.run.id)

    def _accounts(self) -> dict[str, Any]:
        return {one.unit: one for one in meter(self.ws).accounts(self.grant)}

    def _killing(self, place: Any, nth: int, is_after: bool) -> Any:
        return Killing(place, nth, is_after=is_after)


LifeOfRuns.TestCase.settings = settings(
    max_examples=40, stateful_step_count=8, deadline=None, suppress_health_check=list(HealthCheck)
)
TestLifeOfRuns = LifeOfRuns.TestCase


@pytest.mark.parametrize("place", _PLACES, ids=lambda one: f"{one[0].__name__.rpartition('.')[2]}.{one[1]}")
@pytest.mark.parametrize("is_after", [False, True], ids=["before", "after"])
def test_a_kill_at_any_point_counts_nothing_twice(place, is_after):
    """Killed at each call in turn, taken up by another, the run ends as if nothing had been."""
    ws, grant = globals()["place"]()
    for nth in (1, 2):
        before = {one.unit: one for one in meter(ws).accounts(grant)}
        run = submit_run(ws, "tagger", grant, {"label_set": SET}, caller=BUYER)
        made = lambda _ws, _run: Toy("ok", held=False, gains=True)  # noqa: E731
        died = False
        with Killing(place, nth, is_after=is_after):
            try:
                run_work.work(ws, once=True, prepare=made, register=register)
            except Killed:
                died = True
                bury(ws)
        assert died or nth > 1 or place[1] in ("end_run", "release_holds")
        run_work.work(ws, once=True, prepare=made, register=register)
        found, now = get_run(ws, run.id), {one.unit: one for one in meter(ws).accounts(grant)}
        assert found.state == states.RELEASED
        assert now["runs"].consumed == before["runs"].consumed + 1
        assert now["output_bytes"].consumed == before["output_bytes"].consumed + found.charged_bytes
        assert now["runs"].reserved == now["output_bytes"].reserved == 0
        assert [one.action for one in run_rows.steps_of(ws, run.id)][-1] == states.PASS


@pytest.mark.parametrize("place", [one for one in _PLACES if one[0] is run_work], ids=lambda one: one[1])
@pytest.mark.parametrize("is_after", [False, True], ids=["before", "after"])
def test_a_run_that_is_killed_and_then_cancelled_is_counted_only_if_it_began(place, is_after):
    ws, grant = globals()["place"]()
    before = {one.unit: one for one in meter(ws).accounts(grant)}
    made = lambda _ws, _run: Toy("ok", held=True, gains=True)  # noqa: E731
    run = submit_run(ws, "tagger", grant, {"label_set": SET}, caller=BUYER)
    with Killing(place, 1, is_after=is_after):
        try:
            run_work.work(ws, once=True, prepare=made, register=register)
        except Killed:
            bury(ws)
    cancel_run(ws, run.id, caller=BUYER)
    run_work.work(ws, once=True, prepare=made, register=register)
    found, now = get_run(ws, run.id), {one.unit: one for one in meter(ws).accounts(grant)}
    assert found.state == states.CANCELLED
    assert now["runs"].consumed - before["runs"].consumed == found.has_begun
    assert now["runs"].reserved == now["output_bytes"].reserved == 0


def test_a_worker_that_wakes_up_after_it_was_given_up_changes_nothing():
    ws, grant = place()
    run = submit_run(ws, "tagger", grant, {"label_set": SET}, caller=BUYER)
    taken = run_rows.take(ws, 100, worker="elsewhere:1:1", now_s=time.time() - 60)
    assert taken is not None
    run_work.recover(ws)
    assert get_run(ws, run.id).state == states.QUEUED
    with pytest.raises(MalanError):
        run_rows.move(ws, taken, states.HAND_IN)
    assert not run_rows.beat(ws, taken, time.time())
    cancel_run(ws, run.id)
