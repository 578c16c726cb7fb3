"""Apps in the console: a card, a form from the request, a run that can be watched, and files nobody else is given."""

from __future__ import annotations

import pytest
from app_runs import ended
from console_client import TestClient
from console_factory import Stage

from malan.apps.queue.runs import start_app
from malan.apps.running import REPORT
from malan.services.access import Caller
from malan.services.app_queue import Ask, finish, submit, take

HTML = {"accept": "text/html"}


def test_the_shelf_shows_every_app(client: TestClient) -> None:
    page = client.get("/apps", headers=HTML)
    assert 'href="/apps/promo"' in page.text
    listed = client.get("/apps.json").json()["apps"]
    assert "promo" in {one["name"] for one in listed}
    assert all(one["request"]["type"] == "object" for one in listed)


def test_the_form_is_made_from_the_request(client: TestClient) -> None:
    page = client.get("/apps/promo", headers={**HTML, "accept-language": "zh"})
    for name in ("query", "length", "title", "script", "seed"):
        assert f'name="{name}"' in page.text
    assert page.text.count('name="format"') == 4


def test_a_form_that_does_not_fit_comes_back_filled_in(client: TestClient) -> None:
    page = client.post("/apps/promo", data={"length": "2000", "title": "夜色"}, headers=HTML)
    assert page.status_code == 400
    assert 'value="夜色"' in page.text


def test_a_run_that_cannot_be_done_says_why(client: TestClient, stage: Stage) -> None:
    started = client.post("/api/apps/promo", json={"query": "zzqq", "length": 3})
    assert started.status_code == 202
    assert client.get(started.json()["run"]).json()["state"] == "queued"
    ended(stage.ws, started.json()["job"])
    shown = client.get(started.json()["run"]).json()
    assert shown["state"] == "failed"
    assert shown["error"]["code"] == "promo.nothing"
    page = client.get(f"/apps/runs/{started.json()['job']}", headers=HTML)
    assert shown["error"]["message"] in page.text


@pytest.mark.parametrize("sent", [[], "x", 3, {"unknown": 1}, {"length": "long"}])
def test_what_is_no_request_starts_nothing(client: TestClient, sent: object) -> None:
    reply = client.post("/api/apps/promo", json=sent)
    assert reply.status_code == 400
    assert reply.json()["error"]["code"]


def test_an_app_nobody_has_is_not_there(client: TestClient) -> None:
    assert client.get("/apps/none", headers=HTML).status_code == 404
    assert client.post("/api/apps/none", json={}).status_code == 404


def test_files_of_a_run_are_those_its_report_names_and_no_others(client: TestClient, stage: Stage) -> None:
    submit(stage.ws, Ask("promo", {}, device="none", folder="exports/promo-x"))
    job = take(stage.ws, "none", worker="here:1:1", now_s=1e10)
    assert job is not None
    folder = stage.ws.folder("exports") / "promo-x"
    folder.mkdir(exist_ok=True)
    (folder / "cover.jpg").write_bytes(b"jpeg")
    (folder / "secret.txt").write_bytes(b"no")
    told = '{"files": [{"what": "cover", "path": "%s", "size_bytes": 4}]}' % (folder / "cover.jpg")
    (folder / REPORT).write_text(told)
    finish(stage.ws, job, "completed")
    assert client.get(f"/apps/runs/{job.id}/files/cover.jpg").content == b"jpeg"
    assert client.get(f"/apps/runs/{job.id}/files/secret.txt").status_code == 404
    assert client.get(f"/apps/runs/{job.id}/files/..%2F..%2Fmalan.toml").status_code in (400, 404)


def test_somebody_elses_run_is_not_there(stage: Stage) -> None:
    from malan.apps.view import run_view
    from malan.core.errors import NotFound

    mine = Caller("party-1", frozenset({"buyer"}), "key")
    job_id = start_app(stage.ws, "promo", {"query": "zzqq", "length": 3}, caller=mine)
    with pytest.raises(NotFound):
        run_view(stage.ws, job_id, "en", caller=Caller("party-2", frozenset({"buyer"}), "key"))
    assert run_view(stage.ws, job_id, "en", caller=mine).app == "promo"
