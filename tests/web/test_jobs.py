"""Jobs are told live, stopped, taken up again, and started by the console itself."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
from console_client import TestClient
from console_factory import Stage, register, serving
from media_factory import draw_film

from malan.core.errors import MediaError
from malan.services.footage.assets import add_assets
from malan.web import job_pages
from malan.web.app import create_app
from malan.workspace import Workspace


@pytest.fixture
def ws(tmp_path: Path) -> Iterator[Workspace]:
    made = Workspace.create(tmp_path / "workspace")
    yield made
    made.database.dispose()


def wait_for(ws: Workspace, job_id: str, state: str) -> None:
    """Until a job is in a state; it fails the test when that does not come."""
    for _ in range(600):
        if ws.jobs.get(job_id).state == state:
            return
        time.sleep(0.05)
    raise AssertionError(ws.jobs.get(job_id))


def test_chosen_clips_are_cut_into_files_by_a_job(client: TestClient, stage: Stage) -> None:
    chosen = [clip.id for clip in stage.city.clips[:2]]
    reply = client.post("/clips/export", json={"clip_ids": chosen})
    assert reply.status_code == 202
    wait_for(stage.ws, reply.json()["job_id"], "done")
    assert sorted(p.suffix for p in Path(reply.json()["folder"]).iterdir()) == [".mp4", ".mp4"]


def test_what_was_refused_is_listed_with_the_reason(ws: Workspace, tmp_path: Path) -> None:
    folder = tmp_path / "footage"
    folder.mkdir()
    (folder / "empty \n.mp4").write_bytes(b"")
    add_assets(ws, [folder], owner="Owner")
    client = TestClient(create_app(ws), base_url="http://127.0.0.1")
    [row] = client.get("/jobs.json", headers={"accept-language": "zh"}).json()["refused"]
    assert row["path"].endswith("empty \\x0a.mp4")
    assert row["message"]
    assert row["hint"]


def test_a_queued_job_is_cancelled_at_once(ws: Workspace) -> None:
    job = ws.jobs.create("asset.scan", {"asset_ids": [], "captions": False}, ["one"])
    client = TestClient(create_app(ws), base_url="http://127.0.0.1")
    assert client.post(f"/jobs/{job.id}/cancel").json()["state"] == "cancelled"
    again = client.post(f"/jobs/{job.id}/cancel")
    assert (again.status_code, again.json()["error"]["code"]) == (409, "job.over")


def test_a_failed_job_is_taken_up_again(ws: Workspace, tmp_path: Path) -> None:
    film = draw_film(tmp_path / "film.mp4", (30, 25, 35, 45), size=(160, 90))
    shown = register(ws, film, owner="Owner", uses=("retrieve", "export"))
    clip = shown.clips[0].id
    job = ws.jobs.create("clip.export", {"clip_ids": [clip], "file": "again"}, [clip])
    with ws.jobs.running(job.id) as run:
        run.fail(clip, MediaError("media.no_video", path="film.mp4"))
    client = TestClient(create_app(ws), base_url="http://127.0.0.1")
    [told] = client.get("/jobs.json").json()["jobs"]
    assert (told["failed"], told["can_retry"]) == (1, True)
    client.post(f"/jobs/{job.id}/retry")
    for _ in range(600):
        if any((ws.root / "exports" / "again").glob("*.mp4")) and ws.jobs.get(job.id).state == "done":
            break
        time.sleep(0.05)
    assert (ws.jobs.get(job.id).done, ws.jobs.get(job.id).failed) == (1, 0)


def test_changes_are_sent_when_they_happen(ws: Workspace) -> None:
    with serving(ws) as url, httpx.stream("GET", f"{url}/jobs/events", timeout=20) as reply:
        assert reply.headers["content-type"].startswith("text/event-stream")
        lines = (line for line in reply.iter_lines() if line.startswith("data: "))
        assert json.loads(next(lines)[6:])["jobs"] == []
        job = ws.jobs.create("asset.scan", {"asset_ids": [], "captions": False}, ["a", "b"])
        seen = json.loads(next(lines)[6:])["jobs"]
        assert [(j["id"], j["state"], j["total"]) for j in seen] == [(job.id, "queued", 2)]


def test_too_many_followers_are_told_to_come_later(ws: Workspace, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(job_pages, "MOST_STREAMS", 0)
    reply = TestClient(create_app(ws), base_url="http://127.0.0.1").get("/jobs/events")
    assert (reply.status_code, reply.json()["error"]["code"]) == (503, "web.too_many_streams")
