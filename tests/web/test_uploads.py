"""Files chosen in the console come along with a form, and are named by whoever brought them alone."""

from __future__ import annotations

import io
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from account_factory import CHEAP, PASSWORD, party
from app_runs import ended
from console_client import TestClient
from console_factory import make_workspace
from PIL import Image

from malan.apps.queue.runs import run_of
from malan.services.access import COMMAND_LINE
from malan.services.accounts import sessions
from malan.services.files import uploads
from malan.web.app import create_app
from malan.workspace import Workspace

BASE = "http://127.0.0.1:8600"
HTML = {"accept": "text/html", "origin": BASE, "accept-language": "zh"}
ORIGIN = {"origin": BASE}
CODE = "001191110000802100433B10001"  # well-formed, of an organisation that does not exist
QUICK = {"seconds": "0.5", "lines": "360", "move": "push", "framing": "whole"}


@pytest.fixture(scope="module")
def ws(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Workspace]:
    workspace, _, _ = make_workspace(tmp_path_factory.mktemp("uploads"))
    (workspace.root / "malan.toml").write_text(f'organisation = "湖南台"\nproducer_code = "{CODE}"\n')
    workspace.database.dispose()
    workspace = Workspace(workspace.root)
    for login in ("buyer", "rival"):
        party(workspace, f"The {login}", "buyer", login=login)
    yield workspace
    workspace.database.dispose()


def signed_in(ws: Workspace, login: str) -> tuple[TestClient, dict[str, str]]:
    """A client, and what its forms carry to be believed."""
    client = TestClient(create_app(ws), base_url=BASE, follow_redirects=False)
    session = sessions.sign_in(ws, login, PASSWORD, cost=CHEAP)
    client.cookies.set("malan_session", session.token)
    page = client.get("/apps/picture", headers=HTML).text
    token = page.split('name="token" value="')[1].split('"')[0]
    return client, {"token": token}


def photo(colour: str = "teal") -> bytes:
    image = Image.new("RGB", (640, 360), colour)
    image.paste("orange", (200, 80, 420, 300))
    out = io.BytesIO()
    image.save(out, "JPEG")
    return out.getvalue()


def chosen(data: bytes, name: str = "张家界.jpg") -> dict[str, Any]:
    return {"file": (name, data, "image/jpeg")}


def test_a_photo_chosen_in_the_form_becomes_a_moving_picture(ws: Workspace) -> None:
    client, form = signed_in(ws, "buyer")
    page = client.get("/apps/picture", headers=HTML).text
    assert 'type="file"' in page
    assert "本机路径" not in page
    sent = client.post("/apps/picture", data={**form, **QUICK}, files=chosen(photo()), headers=HTML)
    assert sent.status_code == 303, sent.text
    job = ended(ws, sent.headers["location"].rpartition("/")[2])
    assert job.state == "completed", job.error
    shown = client.get(sent.headers["location"], headers=HTML).text
    assert str(ws.root) not in shown
    shelf = client.get("/apps", headers=HTML).text
    assert "张家界.jpg" in shelf
    assert str(ws.root) not in shelf


def test_asked_for_again_the_photo_is_still_there_and_its_place_is_not_told(ws: Workspace) -> None:
    client, form = signed_in(ws, "buyer")
    sent = client.post("/apps/picture", data={**form, **QUICK, "seed": "3"}, files=chosen(photo()), headers=HTML)
    job = sent.headers["location"].rpartition("/")[2]
    again = client.get(f"/apps/picture?again={job}", headers=HTML).text
    assert 'value="upload:' in again
    assert str(ws.root) not in again
    token = again.split('value="upload:')[1].split('"')[0]
    same = client.post("/apps/picture", data={**form, **QUICK, "seed": "3", "file": f"upload:{token}"}, headers=HTML)
    assert same.headers["location"] == sent.headers["location"]


def test_a_form_that_does_not_fit_keeps_the_file_that_came_with_it(ws: Workspace) -> None:
    client, form = signed_in(ws, "buyer")
    sent = client.post("/apps/picture", data={**form, "seconds": "0"}, files=chosen(photo("navy")), headers=HTML)
    assert sent.status_code == 400
    assert 'value="upload:' in sent.text
    assert "张家界.jpg" in sent.text


def test_without_the_code_of_a_provider_nothing_is_begun(ws: Workspace, monkeypatch: pytest.MonkeyPatch) -> None:
    client, form = signed_in(ws, "buyer")
    monkeypatch.setattr(ws, "settings", replace(ws.settings, producer_code=""))
    sent = client.post("/apps/picture", data={**form, **QUICK, "seed": "9"}, files=chosen(photo()), headers=HTML)
    assert sent.status_code == 400
    assert "producer_code" in sent.text
    assert 'value="upload:' in sent.text


def test_programs_bring_a_file_first_and_name_it_then(ws: Workspace) -> None:
    client, form = signed_in(ws, "buyer")
    brought = client.post("/api/uploads", data=form, files=chosen(photo("olive")), headers=ORIGIN)
    assert brought.status_code == 201
    ((found),) = brought.json()["files"]
    assert found["field"] == "file"
    asked = {"file": found["file"], "seconds": 0.5, "lines": 360}
    started = client.post("/api/apps/picture", json=asked, headers=ORIGIN)
    assert started.status_code == 202, started.text
    request = run_of(ws, started.json()["job"], caller=COMMAND_LINE).request
    assert Path(request["file"]).read_bytes() == photo("olive")


def test_what_another_brought_is_neither_found_by_name_nor_by_place(ws: Workspace) -> None:
    client, form = signed_in(ws, "buyer")
    token = client.post("/api/uploads", data=form, files=chosen(photo("red")), headers=ORIGIN).json()["files"][0][
        "file"
    ]
    ((place),) = (ws.root / "uploads").glob(f"*/{token.removeprefix('upload:')}")
    rival, _ = signed_in(ws, "rival")
    named = rival.post("/api/apps/picture", json={"file": token}, headers=ORIGIN)
    assert (named.status_code, named.json()["error"]["code"]) == (404, "upload.none")
    placed = rival.post("/api/apps/picture", json={"file": str(place)}, headers=ORIGIN)
    assert (placed.status_code, placed.json()["error"]["code"]) == (403, "app.no_files")
    review = rival.post("/api/apps/review", json={"paths": [token], "as_of": "2026-10-01"}, headers=ORIGIN)
    assert review.status_code == 404


def test_a_form_of_another_page_leaves_nothing(ws: Workspace) -> None:
    client, _ = signed_in(ws, "buyer")
    before = sorted((ws.root / "uploads").rglob("*"))
    sent = client.post("/apps/picture", data={"token": "forged", **QUICK}, files=chosen(photo("pink")), headers=HTML)
    assert sent.status_code == 409
    assert sorted((ws.root / "uploads").rglob("*")) == before


def test_a_file_for_a_field_that_takes_none_is_left_alone(ws: Workspace) -> None:
    client, form = signed_in(ws, "buyer")
    before = sorted((ws.root / "uploads").rglob("*"))
    files = {"title": ("x.jpg", photo("gold"), "image/jpeg"), "board": ("b.json", b"{}", "application/json")}
    client.post("/apps/promo", data={**form, "query": "zzqq"}, files=files, headers=HTML)
    assert sorted((ws.root / "uploads").rglob("*")) == before


def test_too_long_a_file_is_refused_in_words(ws: Workspace, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(uploads, "MOST_BYTES", 1000)
    client, form = signed_in(ws, "buyer")
    sent = client.post("/apps/picture", data={**form, **QUICK}, files=chosen(b"x" * 2000), headers=HTML)
    assert sent.status_code in (400, 413)
    assert "1000" in sent.text


def test_forms_without_files_stay_small(ws: Workspace) -> None:
    client, form = signed_in(ws, "buyer")
    sent = client.post("/account/password", data={**form, "new": "x" * 300_000}, headers=HTML)
    assert sent.status_code == 413
