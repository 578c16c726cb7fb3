"""Jobs as rows: asked for once, taken in turn, ended once, settled with the same commit; on both databases."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest
from sqlalchemy import inspect

from malan.core.errors import NotFound, Rejected, RetryLater, UsageError
from malan.runtime.database import writing
from malan.runtime.migrations import STEPS
from malan.services.access import COMMAND_LINE, NotSignedIn
from malan.services.accounts.parties import add_party
from malan.services.gateway.budget import OverBudget, TooFast
from malan.services.gateway.keys import Allowance, end_gateway_key, list_gateway_keys, make_gateway_key
from malan.services.gateway.prices import Price
from malan.services.jobs.expiry import expire, expires_s, sweep
from malan.services.jobs.queue import (
    CANCELLED,
    DONE,
    EXPIRED,
    FAILED,
    QUEUED,
    RUNNING,
    Ask,
    Job,
    TooManyJobs,
    beat,
    cancel,
    finish,
    forget,
    get_job,
    list_jobs,
    longest_waits,
    lose,
    put_back,
    recover,
    submit,
    take,
    waiting_devices,
)
from malan.services.jobs.queue_costs import asking
from malan.services.runs.rows import me
from malan.workspace import Workspace

DAY = 86_400.0
PRICE = {"currency": "CNY", "request": 10, "second": 5, "seconds": 4.0, "quoted": 0}


class Place:
    """A workspace with a party and its key."""

    def __init__(self, ws: Workspace) -> None:
        self.ws = ws
        self.party = add_party(ws, COMMAND_LINE, "湖南台", kind="organisation", has=("buyer",)).id
        self.key = make_gateway_key(ws, COMMAND_LINE, self.party, Allowance("desk", budget_minor=100)).key.prefix

    def ask(self, **more: Any) -> Ask:
        named = {"party_id": self.party, "prefix": self.key, "price": PRICE, "sort": "video", "model": "malan-assemble"}
        return Ask("video", {"prompt": "clouds"}, **{**named, **more})

    def take(self, now_s: float = 100.0) -> Job:
        found = take(self.ws, "cpu", worker=me(), now_s=now_s)
        assert found is not None
        return found

    def money(self) -> tuple[int, int]:
        """Spent and held, in minor units."""
        [row] = [one for one in list_gateway_keys(self.ws, COMMAND_LINE) if one["prefix"] == f"mk_{self.key}"]
        return row["spent"]["micro"] // 10**6, row["held"]["micro"] // 10**6


@pytest.fixture
def place(workspace: Workspace) -> Iterator[Place]:
    return Place(workspace)


def test_a_job_waits_is_taken_and_is_done(place: Place) -> None:
    job = submit(place.ws, place.ask())
    assert (job.state, place.money()) == (QUEUED, (0, 30))
    taken = place.take()
    assert (taken.id, taken.state, taken.attempt) == (job.id, RUNNING, 1)
    assert beat(place.ws, taken, 101.0, percent=40, current="cutting") == (True, False)
    assert finish(place.ws, taken, DONE, told={"seconds": 2.5})
    done = get_job(place.ws, job.id)
    assert (done.state, done.percent, done.micro) == (DONE, 100, 25 * 10**6)
    assert place.money() == (25, 0)


@pytest.mark.parametrize("state", [FAILED, CANCELLED])
def test_what_was_not_done_costs_nothing(place: Place, state: str) -> None:
    submit(place.ws, place.ask())
    assert finish(place.ws, place.take(), state, error=Rejected("gateway.cancelled"))
    assert place.money() == (0, 0)


def test_a_job_is_ended_once(place: Place) -> None:
    submit(place.ws, place.ask())
    taken = place.take()
    assert finish(place.ws, taken, DONE, told={"seconds": 4})
    assert not finish(place.ws, taken, DONE, told={"seconds": 4})
    assert not put_back(place.ws, taken)
    assert place.money() == (30, 0)


def test_it_never_costs_more_than_was_held(place: Place) -> None:
    submit(place.ws, place.ask())
    finish(place.ws, place.take(), DONE, told={"seconds": 4000})
    assert place.money() == (30, 0)


def test_the_same_name_is_the_same_job(place: Place) -> None:
    first = submit(place.ws, place.ask(idempotency="a"))
    assert submit(place.ws, place.ask(idempotency="a")).id == first.id
    assert place.money() == (0, 30)
    with pytest.raises(Rejected, match="another request"):
        submit(place.ws, replace(place.ask(idempotency="a"), request={"prompt": "rain"}))
    assert submit(place.ws, place.ask(idempotency="b")).id != first.id


def test_a_job_beyond_the_budget_is_not_written_down(place: Place) -> None:
    for _ in range(3):
        submit(place.ws, place.ask())
    with pytest.raises(OverBudget):
        submit(place.ws, place.ask())
    assert len(list_jobs(place.ws)[0]) == 3


def test_a_job_of_an_ended_key_is_not_written_down(place: Place) -> None:
    end_gateway_key(place.ws, COMMAND_LINE, place.key)
    with pytest.raises(NotSignedIn):
        submit(place.ws, place.ask())
    assert list_jobs(place.ws)[0] == []


def test_jobs_count_against_the_rate(place: Place) -> None:
    key = make_gateway_key(place.ws, COMMAND_LINE, place.party, Allowance("slow", most_a_minute=1)).key.prefix
    submit(place.ws, place.ask(prefix=key), now_s=120.0)
    with pytest.raises(TooFast):
        submit(place.ws, place.ask(prefix=key), now_s=121.0)


def test_parties_take_turns_and_what_is_raised_goes_first(place: Place) -> None:
    other = add_party(place.ws, COMMAND_LINE, "芒果", has=("buyer",)).id
    mine = [submit(place.ws, place.ask(prefix=""), now_s=float(n)).id for n in range(3)]
    theirs = submit(place.ws, place.ask(prefix="", party_id=other), now_s=10.0).id
    raised = submit(place.ws, place.ask(prefix="", priority="high"), now_s=11.0).id
    low = submit(place.ws, place.ask(prefix="", party_id=other, priority="low"), now_s=12.0).id
    assert [place.take(now_s=100.0 + n).id for n in range(6)] == [raised, theirs, *mine, low]
    assert take(place.ws, "cpu", worker=me(), now_s=200.0) is None


def test_each_device_has_its_queue(place: Place) -> None:
    submit(place.ws, place.ask(device="cuda:0"))
    assert take(place.ws, "cpu", worker=me(), now_s=100.0) is None
    assert waiting_devices(place.ws, 100.0) == ["cuda:0"]


def test_a_job_of_a_dead_worker_is_queued_again_and_ends_after_three_deaths(place: Place) -> None:
    submit(place.ws, place.ask())
    for attempt in (1, 2, 3):
        taken = take(place.ws, "cpu", worker="elsewhere:1:1", now_s=100.0)
        assert taken is not None
        assert taken.attempt == attempt
        assert recover(place.ws, now_s=110.0) == 0  # silent, but not for long
        assert recover(place.ws, now_s=130.0) == 1
    job = list_jobs(place.ws)[0][0]
    assert (job.state, job.code) == (FAILED, "gateway.worker_died")
    assert place.money() == (0, 0)


def test_a_worker_given_up_for_dead_changes_nothing(place: Place) -> None:
    submit(place.ws, place.ask())
    taken = take(place.ws, "cpu", worker="elsewhere:1:1", now_s=100.0)
    assert taken is not None
    recover(place.ws, now_s=200.0)
    assert beat(place.ws, taken, 201.0) == (False, False)
    assert not finish(place.ws, taken, DONE, told={"seconds": 4})
    again = place.take(now_s=10**10)
    assert finish(place.ws, again, DONE, told={"seconds": 4})
    assert place.money() == (30, 0)


def test_a_job_that_waits_is_cancelled_at_once_and_one_at_work_soon(place: Place) -> None:
    job = submit(place.ws, place.ask())
    assert cancel(place.ws, job).state == CANCELLED
    second = submit(place.ws, place.ask())
    taken = place.take()
    assert cancel(place.ws, get_job(place.ws, second.id)).state == RUNNING
    assert beat(place.ws, taken, 101.0) == (True, True)
    lose(place.ws, get_job(place.ws, second.id))
    assert get_job(place.ws, second.id).state == CANCELLED
    with pytest.raises(Rejected, match="is over"):
        cancel(place.ws, get_job(place.ws, second.id))


def test_another_partys_job_is_not_there(place: Place) -> None:
    job = submit(place.ws, place.ask())
    other = add_party(place.ws, COMMAND_LINE, "芒果", has=("buyer",)).id
    with pytest.raises(NotFound):
        get_job(place.ws, job.id, party_id=other)
    assert list_jobs(place.ws, party_id=other)[0] == []
    with pytest.raises(NotFound):
        list_jobs(place.ws, party_id=other, after=job.id)


def test_pages_follow_each_other_without_gap_or_repeat(place: Place) -> None:
    ids = [submit(place.ws, place.ask(prefix=""), now_s=float(n // 3)).id for n in range(10)]
    for is_rising in (True, False):
        found: list[str] = []
        has_more = True
        while has_more:
            page, has_more = list_jobs(
                place.ws, party_id=place.party, sort="video", after=found[-1] if found else "", limit=3,
                is_rising=is_rising,
            )  # fmt: skip
            found += [job.id for job in page]
        assert len(found) == len(set(found)) == 10
        assert set(found) == set(ids)


def test_only_what_is_over_can_be_forgotten(place: Place) -> None:
    job = submit(place.ws, place.ask())
    with pytest.raises(RetryLater):
        forget(place.ws, job)
    cancel(place.ws, job)
    forget(place.ws, job)
    with pytest.raises(NotFound):
        get_job(place.ws, job.id)


def test_an_unknown_priority_is_refused(place: Place) -> None:
    with pytest.raises(UsageError):
        submit(place.ws, place.ask(priority="now"))


def test_a_model_asked_on_the_way_is_held_for_and_charged_by_what_it_said(place: Place) -> None:
    price = Price("CNY", input_million=1_000_000, output_million=2_000_000)
    way = {**PRICE, "asking": asking(price, "planner", input_tokens=3, output_tokens=4)}
    submit(place.ws, place.ask(price=way))
    assert place.money() == (0, 30 + 3 + 8)
    told = {"seconds": 4, "asked": [{"engine": "planner", "input": 2, "output": 1}, {"engine": "free", "input": 9,
                                                                                     "output": 9}]}  # fmt: skip
    finish(place.ws, place.take(), DONE, told=told)
    assert place.money() == (30 + 4, 0)


def test_what_an_engine_on_the_way_counts_is_believed_up_to_what_was_held(place: Place) -> None:
    way = {**PRICE, "asking": asking(Price("CNY", request=7), "planner", input_tokens=0, output_tokens=0)}
    submit(place.ws, place.ask(price=way))
    liar = {"engine": "planner", "input": 10**9, "output": 10**9}
    finish(place.ws, place.take(), DONE, told={"seconds": 4, "asked": [liar]})
    assert place.money() == (37, 0)
    assert asking(Price(), "planner", input_tokens=1, output_tokens=1) == {}


def test_a_party_has_so_many_jobs_open_and_no_more(place: Place) -> None:
    place.ws.settings = replace(place.ws.settings, open_jobs=2)
    free = {"prefix": "", "price": {}}
    first = submit(place.ws, place.ask(idempotency="a", **free))
    submit(place.ws, place.ask(**free))
    with pytest.raises(TooManyJobs):
        submit(place.ws, place.ask(**free))
    assert submit(place.ws, place.ask(idempotency="a", **free)).id == first.id
    assert submit(place.ws, place.ask(party_id="another", **free)).state == QUEUED
    assert submit(place.ws, place.ask(party_id="", **free)).state == QUEUED  # this house has no bound
    cancel(place.ws, first)
    assert submit(place.ws, place.ask(**free)).state == QUEUED


def test_what_was_made_goes_after_its_time_and_the_job_says_so(place: Place) -> None:
    old, young = (submit(place.ws, place.ask(prefix="", price={}, idempotency=name)) for name in "ab")
    kept = submit(place.ws, place.ask(prefix="", price={}, folder="exports/promo-x"))
    for job, at in ((old, 0.0), (young, 40 * DAY), (kept, 0.0)):
        (place.ws.root / job.folder).mkdir(parents=True)
        (place.ws.root / job.folder / "film.mp4").write_bytes(b"film")
        assert finish(place.ws, job, DONE, now_s=at)
    assert expires_s(place.ws, get_job(place.ws, old.id)) == 30 * DAY
    assert expire(place.ws, 60 * DAY) == 1
    assert expire(place.ws, 60 * DAY) == 0
    assert get_job(place.ws, old.id).state == EXPIRED
    assert not (place.ws.root / old.folder).exists()
    assert (place.ws.root / kept.folder / "film.mp4").is_file()
    assert get_job(place.ws, young.id).state == DONE
    place.ws.settings = replace(place.ws.settings, result_days=0)
    assert expire(place.ws, 600 * DAY) == 0


def test_a_clock_that_is_set_back_ends_nothing_and_charges_once(place: Place) -> None:
    submit(place.ws, place.ask(), now_s=10_000.0)
    job = place.take(10_000.0)
    assert beat(place.ws, job, 10_001.0) == (True, False)
    assert recover(place.ws, 5.0) == 0
    assert beat(place.ws, job, 6.0) == (True, False)
    assert finish(place.ws, job, DONE, told={"seconds": 4}, now_s=7.0)
    assert place.money() == (30, 0)
    assert longest_waits(place.ws, 0.0) == {}


def test_a_table_of_before_gets_the_index_the_page_of_jobs_needs(place: Place) -> None:
    submit(place.ws, place.ask())
    names = {one["name"] for one in inspect(place.ws.database).get_indexes("app_jobs")}
    with writing(place.ws.database) as connection:
        connection.exec_driver_sql("DROP INDEX app_jobs_latest")
        STEPS[0].apply(connection)
    assert {one["name"] for one in inspect(place.ws.database).get_indexes("app_jobs")} == names


def test_folders_of_jobs_that_were_never_written_down_go_after_a_day(place: Place) -> None:
    job = submit(place.ws, place.ask())
    for name in (job.id, "video_" + "0" * 32):
        (place.ws.root / "jobs" / name / "inputs").mkdir(parents=True)
    assert sweep(place.ws) == 0
    assert sweep(place.ws, time.time() + 2 * DAY) == 1
    assert [one.name for one in (place.ws.root / "jobs").iterdir()] == [job.id]
