"""Apps in the console: a card, a form from the request, a run that can be watched, and files nobody else is given."""

from __future__ import annotations

import json

import pytest
from app_runs import ended
from console_client import TestClient
from console_factory import Stage

from malan.apps.queue.runs import start_app
from malan.apps.running import REPORT
from malan.services.access import Caller
from malan.services.jobs.queue import Ask, finish, submit, take

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
    assert shown["error"]["code"] == "promo.no_footage"
    page = client.get(f"/apps/runs/{started.json()['job']}", headers=HTML)
    assert shown["error"]["message"] in page.text
    again = client.get(f"/apps/promo?again={started.json()['job']}", headers=HTML).text
    assert 'value="zzqq"' in again
    assert client.get("/apps/promo?again=app_0123456789", headers=HTML).status_code == 404


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


def test_a_run_shows_films_with_sizes_owners_second_by_second_and_cost(client: TestClient, stage: Stage) -> None:
    submit(stage.ws, Ask("promo", {}, device="none", folder="exports/promo-y"))
    job = take(stage.ws, "none", worker="here:1:2", now_s=1e10)
    assert job is not None
    folder = stage.ws.folder("exports") / "promo-y"
    folder.mkdir(exist_ok=True)
    owner = stage.ws.library.asset(stage.city.asset_id).asset.owner_id
    clip = {"clip": stage.city.clips[0].id, "file": "城市夜景", "owner": owner}
    told = {
        "files": [
            {"what": "9x16", "path": str(folder / "promo-9x16.mp4"), "size_bytes": 1_343_080},
            {"what": "cover", "path": str(folder / "cover.jpg"), "size_bytes": 2_624},
        ],
        "seconds": 3.0, "shots": 2, "frames": 75, "encoded_frames": 75,
        "sources": [
            {**clip, "at_s": 0.0, "until_s": 2.0, "from_s": 8.24, "parts": ["picture", "sound"]},
            {**clip, "at_s": 2.0, "until_s": 3.0, "from_s": 0.0, "parts": ["picture"]},
        ],
        "cost": {"meter": "output_second", "units": 3.0, "minor": 15, "currency": "CNY"},
    }  # fmt: skip
    (folder / REPORT).write_text(json.dumps(told))
    finish(stage.ws, job, "completed")
    zh = client.get(f"/apps/runs/{job.id}", headers={**HTML, "accept-language": "zh"}).text
    for said in ("9:16 竖屏", "1.3 MB", "3 kB", "0:08.24", "湖南台", "100%", "画面 · 声音", "0.15 元", "2.0 秒"):
        assert said in zh, said
    assert f'poster="/apps/runs/{job.id}/files/cover.jpg"' in zh
    assert "0.00 MB" not in zh
    en = client.get(f"/apps/runs/{job.id}", headers={**HTML, "accept-language": "en"}).text
    assert "9:16 upright" in en
    assert "0.15 CNY" in en


def test_rare_wishes_are_folded_and_open_once_said(client: TestClient) -> None:
    page = client.get("/apps/promo", headers=HTML).text
    rare = page[page.index("<details") : page.index("</details>")]
    assert 'name="seed"' in rare
    assert 'name="query"' not in rare
    assert '<details class="panel form more-options">' in page
    said = client.post("/apps/promo", data={"length": "2000", "seed": "7"}, headers=HTML).text
    assert '<details class="panel form more-options" open>' in said


def test_somebody_elses_run_is_not_there(stage: Stage) -> None:
    from malan.apps.view import run_view
    from malan.core.errors import NotFound

    mine = Caller("party-1", frozenset({"buyer"}), "key")
    job_id = start_app(stage.ws, "promo", {"query": "zzqq", "length": 3}, caller=mine)
    with pytest.raises(NotFound):
        run_view(stage.ws, job_id, "en", caller=Caller("party-2", frozenset({"buyer"}), "key"))
    assert run_view(stage.ws, job_id, "en", caller=mine).app == "promo"
