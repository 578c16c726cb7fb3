"""Jobs as people see them."""

from __future__ import annotations

import itertools
import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from malan.core.catalogue import entry
from malan.core.errors import MediaError, Rejected
from malan.services.clips import choice
from malan.services.footage import assets, previews
from malan.services.footage.kinds import ADD, SCAN
from malan.services.jobs.control import cancel_job, describe_item, describe_job, retry_job, show_job, watch_job
from malan.workspace import Workspace


@pytest.fixture
def ws(tmp_path: Path) -> Iterator[Workspace]:
    ws = Workspace.create(tmp_path)
    yield ws
    ws.database.dispose()


@pytest.mark.parametrize("kind", [ADD, SCAN, choice.KIND, previews.KIND])
def test_every_kind_of_job_has_a_name_in_both_languages(kind: str) -> None:
    assert entry(f"job.kind.{kind}").text("en") != entry(f"job.kind.{kind}").text("zh")


def test_a_running_job_tells_how_far_it_is_and_how_long_it_will_take(ws: Workspace) -> None:
    job = ws.jobs.create("asset.scan", {}, ["a", "b", "c", "d"])
    with ws.jobs.running(job.id) as run:
        run.finish(["a"])
        run.advance(0, current="b.mp4 · shots 40%")
        said = describe_job(show_job(ws, job.id).job)
        assert (said["state"], said["done"], said["total"], said["current"]) == ("running", 1, 4, "b.mp4 · shots 40%")
        assert said["remaining_s"] >= 0
        assert said["pid"] == os.getpid()


def test_failures_are_told_with_their_reason(ws: Workspace) -> None:
    job = ws.jobs.create("asset.scan", {}, ["a"])
    with ws.jobs.running(job.id) as run:
        run.fail("a", MediaError("media.no_video", path="a.mp4"))
    (item,) = show_job(ws, job.id).failures
    assert describe_item(item)["error"]["message"] == "a.mp4 has no picture."


def test_watching_ends_with_the_job(ws: Workspace) -> None:
    job = ws.jobs.create("asset.scan", {}, ["a"])
    with ws.jobs.running(job.id) as run:
        seen = [job.done for job in itertools.islice(watch_job(ws, job.id), 1)]
        run.finish(["a"])
    assert seen == [0]
    assert [job.state for job in watch_job(ws, job.id)] == ["done"]


def test_a_cancelled_job_can_go_on(ws: Workspace, tmp_path: Path) -> None:
    spec = {"paths": [str(tmp_path / "nothing here")], "owner": "湖南台", "terms": None}
    job = ws.jobs.create(ADD, spec)
    assert cancel_job(ws, job.id).state == "cancelled"
    assert len(retry_job(ws, job.id).refused) == 1


def test_a_job_of_an_unknown_kind_is_not_run(ws: Workspace) -> None:
    job = ws.jobs.create("market.buy", {})
    with pytest.raises(Rejected):
        retry_job(ws, job.id)


def test_a_reason_only_an_older_malan_knew_does_no_harm() -> None:
    assert assets.error_of("media.forgotten", {}).code == "asset.refused"
