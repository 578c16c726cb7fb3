"""The bytes of registered assets come by range, exactly; nothing else comes at all."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path

import pytest
from console_client import TestClient
from console_factory import Stage, register
from media_factory import draw_film

from malan.web.app import create_app
from malan.web.ranges import parse_range
from malan.workspace import Workspace


def test_the_whole_file_comes_with_its_digest_as_tag(client: TestClient, stage: Stage) -> None:
    reply = client.get(f"/media/{stage.city.asset_id}")
    data = stage.city.film.path.read_bytes()
    assert (reply.status_code, reply.content) == (200, data)
    assert reply.headers["etag"] == f'"{stage.city.asset_id}"'
    assert reply.headers["accept-ranges"] == "bytes"
    assert reply.headers["content-type"] == "video/mp4"


@pytest.mark.parametrize(
    ("header", "part"),
    [("bytes=0-99", slice(0, 100)), ("bytes=500-", slice(500, None)), ("bytes=-7", slice(-7, None))],
)
def test_a_range_comes_exactly(client: TestClient, stage: Stage, header: str, part: slice) -> None:
    data = stage.city.film.path.read_bytes()
    reply = client.get(f"/media/{stage.city.asset_id}", headers={"range": header})
    begin, end, _ = part.indices(len(data))
    assert (reply.status_code, reply.content) == (206, data[part])
    assert reply.headers["content-range"] == f"bytes {begin}-{end - 1}/{len(data)}"
    assert reply.headers["content-length"] == str(end - begin)


def test_a_range_that_reaches_beyond_the_end_is_cut(client: TestClient, stage: Stage) -> None:
    size = stage.city.film.path.stat().st_size
    reply = client.get(f"/media/{stage.city.asset_id}", headers={"range": f"bytes={size - 3}-{size * 2}"})
    assert (reply.status_code, len(reply.content)) == (206, 3)


@pytest.mark.parametrize("header", ["bytes=99999999-", "bytes=-0"])
def test_a_range_outside_is_answered_with_the_size(client: TestClient, stage: Stage, header: str) -> None:
    reply = client.get(f"/media/{stage.city.asset_id}", headers={"range": header})
    size = stage.city.film.path.stat().st_size
    assert (reply.status_code, reply.content) == (416, b"")
    assert reply.headers["content-range"] == f"bytes */{size}"


@pytest.mark.parametrize("header", ["bytes=5-2", "lines=1-2", "bytes=a-b", "bytes=-", "bytes=0-1,5-6", "bytes=٣-"])
def test_a_range_that_means_nothing_is_ignored(client: TestClient, stage: Stage, header: str) -> None:
    headers = {"range": header.encode()}
    assert client.get(f"/media/{stage.city.asset_id}", headers=headers).status_code == 200


def test_a_part_of_other_bytes_is_not_continued(client: TestClient, stage: Stage) -> None:
    path, tag = f"/media/{stage.city.asset_id}", f'"{stage.city.asset_id}"'
    assert client.get(path, headers={"range": "bytes=0-9", "if-range": tag}).status_code == 206
    assert client.get(path, headers={"range": "bytes=0-9", "if-range": '"other"'}).status_code == 200


def test_what_the_browser_has_is_not_sent_again(client: TestClient, stage: Stage) -> None:
    reply = client.get(f"/media/{stage.city.asset_id}", headers={"if-none-match": f'"{stage.city.asset_id}"'})
    assert (reply.status_code, reply.content) == (304, b"")


def test_head_tells_the_size_alone(client: TestClient, stage: Stage) -> None:
    reply = client.head(f"/media/{stage.city.asset_id}")
    assert reply.headers["content-length"] == str(stage.city.film.path.stat().st_size)
    assert reply.content == b""


@pytest.mark.parametrize(
    "name",
    [
        "../../etc/passwd",
        "..%2f..%2fetc%2fpasswd",
        "%2e%2e/malan.db",
        "/etc/passwd",
        "a" * 63,
        "A" * 64,
        "g" * 64,
        "%00",
    ],
)
def test_no_path_ever_comes_from_a_request(client: TestClient, name: str) -> None:
    assert client.get(f"/media/{name}").status_code in (400, 404)
    assert client.get(f"/static/{name}").status_code in (400, 404)


def test_an_asset_nobody_registered_is_not_there(client: TestClient) -> None:
    assert client.get("/media/" + "0" * 64).status_code == 404


def test_a_file_of_many_gigabytes_is_read_where_asked_only() -> None:
    size = 5 * 10**12
    assert parse_range("bytes=4999999999990-", size) == (size - 10, size)
    assert parse_range("bytes=0-0", size) == (0, 1)


@pytest.fixture
def lone(tmp_path: Path) -> tuple[TestClient, str, Path]:
    """A console over one film that a test may harm."""
    ws = Workspace.create(tmp_path / "workspace")
    film = draw_film(tmp_path / "film.mp4", (30, 25, 35, 45), size=(160, 90))
    shown = register(ws, film, owner="Owner", uses=("retrieve",))
    return TestClient(create_app(ws), base_url="http://127.0.0.1"), shown.asset_id, film.path


def test_a_file_that_changed_is_refused_and_the_page_says_why(lone: tuple[TestClient, str, Path]) -> None:
    client, asset_id, path = lone
    path.write_bytes(path.read_bytes()[:-1])
    reply = client.get(f"/media/{asset_id}")
    assert (reply.status_code, reply.json()["error"]["code"]) == (409, "playback.changed")
    assert client.get(f"/assets/{asset_id}.json").json()["playback"]["problem"]["code"] == "playback.changed"


def test_a_file_that_is_gone_is_told(lone: tuple[TestClient, str, Path]) -> None:
    client, asset_id, path = lone
    path.unlink()
    assert client.get(f"/media/{asset_id}").json()["error"]["code"] == "playback.missing"


def test_a_pipe_in_place_of_the_file_is_not_opened(lone: tuple[TestClient, str, Path]) -> None:
    client, asset_id, path = lone
    path.unlink()
    os.mkfifo(path)
    assert client.get(f"/media/{asset_id}").status_code == 409


def test_a_name_no_encoding_knows_is_shown_and_its_file_played(tmp_path: Path) -> None:
    ws = Workspace.create(tmp_path / "workspace")
    film = draw_film(tmp_path / "film.mp4", (30, 25, 35, 45), size=(160, 90))
    odd = film.path.rename(tmp_path / os.fsdecode(b"odd \xff\n<b>.mp4"))
    shown = register(ws, replace(film, path=odd), owner="Owner", uses=("retrieve",))
    client = TestClient(create_app(ws), base_url="http://127.0.0.1")
    assert client.get(f"/media/{shown.asset_id}").content == odd.read_bytes()
    for path in ("/", "/assets", f"/assets/{shown.asset_id}", "/search.json", f"/assets/{shown.asset_id}.json"):
        reply = client.get(path, headers={"accept": "text/html"})
        assert (reply.status_code, "<b>.mp4" in reply.text and "html" in reply.headers["content-type"]) == (200, False)


def test_terms_that_do_not_allow_to_look_show_no_picture_and_no_sound(tmp_path: Path) -> None:
    ws = Workspace.create(tmp_path / "workspace")
    film = draw_film(tmp_path / "film.mp4", (30, 25, 35, 45), size=(160, 90))
    shown = register(ws, film, owner="Owner", uses=())
    client = TestClient(create_app(ws), base_url="http://127.0.0.1")
    clip = shown.clips[0].id
    for path in (f"/media/{shown.asset_id}", f"/strips/{clip}.jpg", f"/thumbs/{clip}.jpg"):
        assert client.get(path).status_code == 403, path
    page = client.get(f"/assets/{shown.asset_id}.json").json()
    assert (page["captions"], page["shots"], page["findings"]) == ([], [], [])
    assert page["playback"]["problem"]["code"] == "rights.denied"
    assert client.get("/search.json").json()["cards"] == []
