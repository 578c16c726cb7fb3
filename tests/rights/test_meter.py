"""The meter: nothing goes over a limit, nothing is counted twice, and a kill loses nothing."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import Engine, func, select, update

from malan.core.errors import MalanError, NotFound, NotGranted, Rejected, RetryLater, StoreError, UsageError
from malan.rights.meter import Ask, Meter, Reservation, amounts_of, shown_amount
from malan.rights.meter_tables import ACCOUNTS, USAGE
from malan.rights.usage import MICROSECONDS, MOST, Usage
from malan.runtime.database import open_database, reading, updating

HOUR = 3600 * MICROSECONDS
GRANT = "grant-1"
HOLDERS = "ab" * 32

RACE = """
import sys
from malan.core.errors import MalanError
from malan.rights.meter import Ask, Meter
from malan.runtime.database import open_database
engine = open_database(sys.argv[1])
meter, me, attempts = Meter(engine), sys.argv[2], int(sys.argv[3])
won = 0
for n in range(0, attempts, 5):
    asks = [Ask("grant-1", "runs", 1, f"{me}-{n + i}") for i in range(5)]
    for hold in meter.reserve_many(asks) if n % 2 else [meter.reserve_many([ask])[0] for ask in asks]:
        if not isinstance(hold, MalanError):
            meter.consume(hold, 1, key="only") if n % 3 == 0 else None
            won += 1
engine.dispose()
print(won)
"""
KILLED = """
import os, signal, sys
from malan.rights.meter import Meter
from malan.rights.usage import Usage
from malan.runtime.database import open_database, updating
engine = open_database(sys.argv[1])
meter = Meter(engine)
hold = meter.reserve("grant-1", "clip_seconds", 1000, "run-1", lease_s=1)
row = Usage("grant-1", "s", "a", "o", "ab" * 32, "run:r1", 100)
meter.consume(hold, 100, [row], key="batch-1")
with updating(engine) as connection:
    meter.consume(hold, 100, [row], key="batch-2", within=connection)
    print("ready", flush=True)
    os.kill(os.getpid(), signal.SIGKILL)
"""


class Clock:
    now_us = 1_790_000_000 * MICROSECONDS

    def __call__(self) -> int:
        return self.now_us

    def pass_s(self, seconds: int) -> None:
        self.now_us += seconds * MICROSECONDS


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def meter(database: Engine, clock: Clock) -> Meter:
    made = Meter(database, now_us=clock)
    made.open(GRANT, {"clip_seconds": HOUR, "runs": 3})
    return made


def use(microseconds: int, passes: int = 1, **other: Any) -> Usage:
    said = {"grant_id": GRANT, "snapshot_id": "snap", "asset_id": "asset", "owner_id": "owner", "holders_id": HOLDERS}
    return Usage(**{**said, "work": "run:r1", **other}, microseconds=microseconds, passes=passes)


def state(meter: Meter, unit: str = "clip_seconds") -> tuple[int, int]:
    account = next(one for one in meter.accounts(GRANT) if one.unit == unit)
    return account.reserved, account.consumed


def rows_of(engine: Engine) -> int:
    with reading(engine) as connection:
        return int(connection.scalar(select(func.count()).select_from(USAGE)) or 0)


def test_what_is_reserved_consumed_and_released_adds_up(meter: Meter, database: Engine) -> None:
    hold = meter.reserve(GRANT, "clip_seconds", 1000, "run-1")
    assert state(meter) == (1000, 0)
    assert meter.consume(hold, 600, [use(200, 2), use(200)])
    assert (state(meter), rows_of(database)) == ((400, 600), 2)
    assert meter.release(hold) == 400
    assert state(meter) == (0, 600)
    assert meter.release(hold) == 0


def test_the_same_key_is_the_same_hold(meter: Meter) -> None:
    first, second = (meter.reserve(GRANT, "clip_seconds", 1000, "run-1") for _ in range(2))
    assert (first.id, state(meter)) == (second.id, (1000, 0))
    with pytest.raises(Rejected, match="another amount"):
        meter.reserve(GRANT, "clip_seconds", 999, "run-1")


def test_a_delivery_is_counted_once(meter: Meter, database: Engine) -> None:
    hold = meter.reserve(GRANT, "clip_seconds", 1000, "run-1")
    assert [meter.consume(hold, 100, [use(100)], key="batch-7") for _ in range(3)] == [True, False, False]
    assert (state(meter), rows_of(database)) == ((900, 100), 1)
    with pytest.raises(Rejected):
        meter.consume(hold, 50, [use(50)], key="batch-7")


def test_no_more_than_is_left_is_reserved(meter: Meter) -> None:
    meter.reserve(GRANT, "clip_seconds", HOUR, "run-1")
    with pytest.raises(RetryLater) as caught:
        meter.reserve(GRANT, "clip_seconds", 1, "run-2")
    assert (caught.value.code, caught.value.values["held"]) == ("meter.held", "3600")
    with pytest.raises(NotGranted) as refused:
        meter.reserve(GRANT, "clip_seconds", HOUR + 1, "run-3")
    assert refused.value.code == "meter.used_up"


def test_no_more_than_is_held_is_consumed(meter: Meter, database: Engine) -> None:
    hold = meter.reserve(GRANT, "clip_seconds", 100, "run-1")
    with pytest.raises(Rejected) as caught:
        meter.consume(hold, 101, [use(101)])
    assert caught.value.code == "meter.not_held"
    assert (state(meter), rows_of(database)) == ((100, 0), 0)


@pytest.mark.parametrize("unit", ["outputs", "clip-seconds", "", "runs "])
def test_what_is_not_granted_is_not_allowed(meter: Meter, unit: str) -> None:
    with pytest.raises((NotGranted, UsageError)):
        meter.reserve(GRANT, unit, 1, "run-1")


def test_an_ended_grant_gives_nothing_more(meter: Meter, clock: Clock) -> None:
    meter.open("other", {"runs": 5}, until_us=clock() + 10 * MICROSECONDS)
    hold = meter.reserve("other", "runs", 1, "run-1", lease_s=1000)
    clock.pass_s(10)
    for refused in (lambda: meter.reserve("other", "runs", 1, "run-2"), lambda: meter.consume(hold, 1)):
        with pytest.raises(NotGranted) as caught:
            refused()
        assert caught.value.code == "meter.ended"


def test_a_withdrawn_grant_stops_what_is_held_already(meter: Meter, database: Engine) -> None:
    hold = meter.reserve(GRANT, "clip_seconds", 1000, "run-1")
    meter.close(GRANT, "withdrawn by the owner")
    with pytest.raises(NotGranted, match="withdrawn by the owner"):
        meter.consume(hold, 1, [use(1)])
    with pytest.raises(NotGranted):
        meter.reserve(GRANT, "runs", 1, "run-2")
    assert (rows_of(database), meter.release(hold)) == (0, 1000)


def test_closing_what_was_never_opened_is_not_found(meter: Meter) -> None:
    with pytest.raises(NotFound):
        meter.close("nobody", "-")


def test_a_forgotten_hold_is_free_again_after_its_lease(meter: Meter, clock: Clock) -> None:
    hold = meter.reserve(GRANT, "runs", 3, "died", lease_s=60)
    clock.pass_s(61)
    assert meter.reserve(GRANT, "runs", 3, "next").amount == 3
    with pytest.raises(Rejected):
        meter.consume(hold, 1)
    with pytest.raises(Rejected):
        meter.renew(hold)
    assert meter.sweep() == 0


def test_a_renewed_or_used_hold_is_not_forgotten(meter: Meter, clock: Clock) -> None:
    hold = meter.reserve(GRANT, "runs", 3, "long", lease_s=60)
    meter.renew(hold, 120)
    clock.pass_s(100)
    assert meter.sweep() == 0
    meter.consume(hold, 1)
    clock.pass_s(100)
    assert meter.sweep() == 0


def test_opening_again_changes_nothing_and_other_limits_are_refused(meter: Meter) -> None:
    meter.reserve(GRANT, "runs", 1, "run-1")
    meter.open(GRANT, {"clip_seconds": HOUR, "runs": 3})
    assert state(meter, "runs") == (1, 0)
    for limits in ({"runs": 3}, {"clip_seconds": HOUR, "runs": 4}, {"clip_seconds": HOUR, "runs": 3, "outputs": 1}):
        with pytest.raises(Rejected):
            meter.open(GRANT, limits)
    assert [one.unit for one in meter.accounts(GRANT)] == ["clip_seconds", "runs"]


def test_without_a_limit_use_is_counted_up_to_what_a_number_holds(meter: Meter) -> None:
    meter.open("free", {"runs": None})
    assert meter.reserve("free", "runs", MOST, "all").amount == MOST
    with pytest.raises(RetryLater):
        meter.reserve("free", "runs", 1, "more")


@pytest.mark.parametrize("amount", [0, -1, 1.0, 0.5, True, MOST + 1, 10**30, "5", None, float("nan")])
def test_an_impossible_amount_is_refused_and_changes_nothing(meter: Meter, amount: Any) -> None:
    with pytest.raises(UsageError):
        meter.reserve(GRANT, "clip_seconds", amount, "run-1")
    with pytest.raises(UsageError):
        use(amount)
    with pytest.raises(UsageError):
        meter.consume(Reservation("x", GRANT, "runs", 5), amount)
    assert state(meter) == (0, 0)


@pytest.mark.parametrize("key", ["", "a b", 'x"', "键", "x" * 201, "a\n", 5])
def test_a_key_that_no_id_can_be_is_refused(meter: Meter, key: Any) -> None:
    with pytest.raises(UsageError):
        meter.reserve(GRANT, "runs", 1, key)


def test_rows_must_say_exactly_what_is_counted(meter: Meter, database: Engine) -> None:
    hold = meter.reserve(GRANT, "clip_seconds", 1000, "run-1")
    for rows in ([use(99)], [use(50, 3)], [], [use(100, grant_id="other")]):
        with pytest.raises(UsageError):
            meter.consume(hold, 100, rows)
    assert (state(meter), rows_of(database)) == ((1000, 0), 0)


def test_what_is_refused_leaves_nothing_in_the_callers_transaction(meter: Meter, database: Engine) -> None:
    hold = meter.reserve(GRANT, "clip_seconds", 100, "run-1")
    with updating(database) as connection:
        meter.consume(hold, 40, [use(40)], key="a", within=connection)
        with pytest.raises(Rejected):
            meter.consume(hold, 61, [use(61)], key="b", within=connection)
    assert (state(meter), rows_of(database)) == ((60, 40), 1)
    assert meter.consume(hold, 60, [use(60)], key="b")


def test_a_delivery_that_fails_takes_its_consumption_along(meter: Meter, database: Engine) -> None:
    hold = meter.reserve(GRANT, "clip_seconds", 100, "run-1")

    def deliver() -> None:
        with updating(database) as connection:
            meter.consume(hold, 40, [use(40)], key="a", within=connection)
            raise ConnectionError("the reader went away")

    with pytest.raises(ConnectionError):
        deliver()
    assert (state(meter), rows_of(database)) == ((100, 0), 0)


def test_of_many_in_one_go_only_what_fits_is_held(meter: Meter) -> None:
    answers = meter.reserve_many([Ask(GRANT, "runs", 2, "a"), Ask(GRANT, "runs", 2, "b"), Ask(GRANT, "runs", 1, "c")])
    assert [isinstance(one, MalanError) for one in answers] == [False, True, False]
    assert state(meter, "runs") == (3, 0)


def test_a_row_of_usage_can_neither_be_changed_nor_deleted(meter: Meter, database: Engine) -> None:
    hold = meter.reserve(GRANT, "clip_seconds", 100, "run-1")
    meter.consume(hold, 100, [use(100)])
    for statement in (update(USAGE).values(passes=2), USAGE.delete()):
        with pytest.raises(StoreError, match="append-only"), updating(database) as connection:
            connection.execute(statement)
    assert rows_of(database) == 1


def test_the_database_itself_refuses_to_go_over_a_limit(meter: Meter, database: Engine) -> None:
    with pytest.raises(StoreError, match="meter_most"), updating(database) as connection:
        connection.execute(update(ACCOUNTS).values(consumed=ACCOUNTS.c.most + 1))
    assert state(meter) == (0, 0)


def test_two_threads_race_for_the_last_second_and_one_wins(database: Engine) -> None:
    meter = Meter(database)
    meter.open(GRANT, {"clip_seconds": 20 * MICROSECONDS})

    def take(n: int) -> bool:
        try:
            meter.reserve(GRANT, "clip_seconds", MICROSECONDS, f"k{n}")
        except (NotGranted, RetryLater):
            return False
        return True

    with ThreadPoolExecutor(8) as pool:
        won = list(pool.map(take, range(60)))
    assert (sum(won), state(meter)) == (20, (20 * MICROSECONDS, 0))


def test_processes_that_race_never_go_over_the_limit(database_place: str) -> None:
    engine = open_database(database_place)
    meter = Meter(engine)
    meter.open(GRANT, {"runs": 250})
    env = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    command = [sys.executable, "-c", RACE, database_place]
    racers = [
        subprocess.Popen([*command, f"p{n}", "120"], env=env, stdout=subprocess.PIPE, text=True) for n in range(3)
    ]
    won = sum(int(racer.communicate(timeout=120)[0]) for racer in racers)
    assert (won, sum(state(meter, "runs"))) == (250, 250)
    engine.dispose()


def test_a_kill_in_the_middle_of_a_delivery_loses_and_overcounts_nothing(database_place: str) -> None:
    engine, clock = open_database(database_place), Clock()
    Meter(engine).open(GRANT, {"clip_seconds": 1000})
    env = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    killed = subprocess.Popen(
        [sys.executable, "-c", KILLED, database_place], env=env, stdout=subprocess.PIPE, text=True
    )
    assert killed.communicate(timeout=60)[0] == "ready\n"
    assert killed.returncode == -signal.SIGKILL
    clock.now_us = Meter(engine)._now_us() + 700 * MICROSECONDS
    meter = Meter(engine, now_us=clock)
    assert (state(meter), rows_of(engine)) == ((900, 100), 1)
    assert meter.sweep() == 1
    assert state(meter) == (0, 100)
    assert meter.reserve(GRANT, "clip_seconds", 900, "run-2").amount == 900
    engine.dispose()


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    steps=st.lists(
        st.tuples(st.sampled_from(["reserve", "consume", "release", "sweep"]), st.integers(1, 60)), max_size=25
    )
)
def test_whatever_happens_held_and_consumed_stay_within_the_limit(
    database: Engine, clock: Clock, steps: list[tuple[str, int]]
) -> None:
    meter, holds = Meter(database, now_us=clock), []
    grant = f"g{os.urandom(6).hex()}"
    meter.open(grant, {"runs": 100})
    for number, (what, amount) in enumerate(steps):
        try:
            if what == "reserve":
                holds.append(meter.reserve(grant, "runs", amount, f"k{number}", lease_s=30))
            elif what == "sweep":
                clock.pass_s(amount)
                meter.sweep()
            elif holds:
                hold = holds[amount % len(holds)]
                meter.release(hold) if what == "release" else meter.consume(hold, amount)
        except MalanError:
            pass
        (account,) = meter.accounts(grant)
        assert min(account.reserved, account.consumed, 100 - account.reserved - account.consumed) >= 0


def test_limits_of_terms_become_amounts_of_the_meter() -> None:
    assert amounts_of({"clip_seconds": 3600, "runs": 2}) == {"clip_seconds": HOUR, "runs": 2}
    with pytest.raises(UsageError):
        amounts_of({"frames": 5})


def test_amounts_are_shown_exactly() -> None:
    assert [shown_amount("clip_seconds", n) for n in (1, 1_500_000, HOUR)] == ["0.000001", "1.5", "3600"]
    assert shown_amount("runs", 7) == "7"
