"""Each page has the same address with `.json`, in both languages; each failure the same envelope."""

from __future__ import annotations

import struct

import pytest
from console_client import TestClient
from console_factory import Stage

HTML = {"accept": "text/html"}


def test_search_finds_chinese_words_and_shows_where(client: TestClient, stage: Stage) -> None:
    found = client.get("/search.json", params={"q": "夜景"}).json()
    card = next(c for c in found["cards"] if c["asset_id"] == stage.alps.asset_id)
    assert card["clip_id"] == stage.alps.clips[0].id
    assert card["fragment"] == stage.alps.clips[0].fragment
    line = card["evidence"][0]
    assert (line["field"], [p["text"] for p in line["pieces"] if p["is_match"]]) == ("caption", ["夜景"])
    assert (card["owner"], card["rights"]["tone"]) == ("Alps Archive", "warn")


def test_search_asks_only_for_clips_whose_terms_allow_the_use(client: TestClient, stage: Stage) -> None:
    found = client.get("/search.json", params={"use": "train"}).json()
    assert {card["asset_id"] for card in found["cards"]} == {stage.city.asset_id}


@pytest.mark.parametrize(
    ("asked", "count"),
    [
        ({}, 8),
        ({"min_s": "1.5"}, 2),
        ({"max_s": "1.1"}, 2),
        ({"motion": "pan"}, 2),
        ({"colour": "red"}, 2),
        ({"faces": "people"}, 0),
    ],
)
def test_filters_narrow(client: TestClient, asked: dict[str, str], count: int) -> None:
    assert client.get("/search.json", params=asked).json()["total"] == count


@pytest.mark.parametrize(("order", "lengths"), [("longest", [1.88, 1.8]), ("shortest", [1.0, 1.04])])
def test_results_come_in_the_order_asked_for(client: TestClient, order: str, lengths: list[float]) -> None:
    cards = client.get("/search.json", params={"sort": order}).json()["cards"]
    assert [card["end_s"] - card["start_s"] for card in cards[:2]] == pytest.approx(lengths, abs=0.01)


def test_words_and_order_go_together(client: TestClient, stage: Stage) -> None:
    cards = client.get("/search.json", params={"q": "夜景", "sort": "longest"}).json()["cards"]
    lasting = [card["end_s"] - card["start_s"] for card in cards]
    assert lasting == sorted(lasting, reverse=True)
    assert len(cards) == 5


def test_empty_fields_of_the_form_are_not_asked_for(client: TestClient) -> None:
    blank = dict.fromkeys(("q", "owner", "min_s", "max_s", "motion", "use", "captions", "sort", "like"), "")
    assert client.get("/search.json", params=blank).json()["total"] == 8


def test_pages_follow_each_other(client: TestClient) -> None:
    page = client.get("/search/results", params={"offset": 4}, headers=HTML)
    assert page.text.count('class="card"') == 4


def test_likeness_starts_from_a_clip(client: TestClient, stage: Stage) -> None:
    found = client.get("/search.json", params={"like": stage.city.clips[1].id}).json()
    assert found["cards"][0]["clip_id"] == stage.alps.clips[1].id
    assert found["like"]["clip_id"] == stage.city.clips[1].id


def test_the_asset_tells_shots_captions_curve_and_terms(client: TestClient, stage: Stage) -> None:
    asset = client.get(f"/assets/{stage.city.asset_id}.json").json()
    assert [shot["first_frame"] for shot in asset["shots"]] == [0, *stage.city.film.cuts]
    assert [shot["transition"]["type"] for shot in asset["shots"]] == ["start", "cut", "dissolve", "fade"]
    assert (asset["captions"][0]["text"], asset["captions"][0]["first_frame"]) == ("城市夜景航拍", 4)
    assert asset["loudness"]["integrated_lufs"] == -23.1
    assert {r["use"] for r in asset["rights"] if r["is_allowed"]} == {"retrieve", "derive", "export", "train"}


def test_an_asset_opens_by_the_beginning_of_its_id(client: TestClient, stage: Stage) -> None:
    assert client.get(f"/assets/{stage.city.asset_id[:10]}.json").json()["id"] == stage.city.asset_id


def test_frame_times_are_those_of_the_file(client: TestClient, stage: Stage) -> None:
    data = client.get(f"/assets/{stage.alps.asset_id}/frames").content
    times = struct.unpack(f"<{len(data) // 8}d", data)
    index = stage.alps.index
    assert len(times) == index.frame_count + 1
    assert times[:-1] == pytest.approx([float(t * index.timebase) for t in index.frame_pts.tolist()])
    assert times[-1] > times[-2]


@pytest.mark.parametrize("path", ["/", "/assets", "/jobs", "/assets/{id}"])
def test_every_page_is_in_the_language_asked_for(client: TestClient, stage: Stage, path: str) -> None:
    path = path.format(id=stage.city.asset_id)
    zh = client.get(path, headers={**HTML, "accept-language": "fr,zh-TW;q=0.8,en;q=0.2"})
    en = client.get(path, headers={**HTML, "accept-language": "de, en-GB;q=0.3"})
    assert ('lang="zh-CN"' in zh.text, "检索" in zh.text) == (True, True)
    assert ('<html lang="en"' in en.text, "Search" in en.text) == (True, True)


def test_the_language_chosen_wins_and_is_remembered(client: TestClient) -> None:
    client.post("/language/zh", data={"back": "/"})
    assert 'lang="zh-CN"' in client.get("/", headers={**HTML, "accept-language": "en"}).text


@pytest.mark.parametrize("path", ["/nothing.json", "/assets/000000.json", f"/strips/{0:064}.jpg", "/media/" + "0" * 64])
def test_what_is_not_there_is_told_in_the_envelope(client: TestClient, path: str) -> None:
    reply = client.get(path)
    assert reply.status_code == 404
    assert set(reply.json()) == {"error"}
    assert set(reply.json()["error"]) == {"code", "message", "hint"}


@pytest.mark.parametrize(
    "path", ["/search.json?offset=-1", "/search.json?min_s=x", "/search.json?like=zz", "/assets/nope.json"]
)
def test_nonsense_is_refused_in_the_envelope(client: TestClient, path: str) -> None:
    reply = client.get(path)
    assert (reply.status_code, reply.json()["error"]["code"]) == (400, "web.bad_request")


def test_a_failure_on_a_page_is_a_page(client: TestClient) -> None:
    reply = client.get("/assets/000000", headers=HTML)
    assert reply.status_code == 404
    assert "<!doctype html>" in reply.text


def test_every_address_is_described(client: TestClient) -> None:
    described = client.get("/openapi.json").json()["paths"]
    assert {"/.json", "/assets.json", "/assets/{asset_id}.json", "/jobs.json", "/jobs/events"} <= set(described)
    assert all(way.get("description") for address in described.values() for way in address.values())


def test_a_chosen_list_is_kept_as_edl_and_json(client: TestClient, stage: Stage) -> None:
    chosen = {"clip_ids": [stage.city.clips[1].id, stage.alps.clips[0].id]}
    edl = client.post("/clips/list", json={**chosen, "format": "edl"}).text
    assert "00:00:01:05 00:00:02:05 00:00:00:00 00:00:01:00" in edl
    listed = client.post("/clips/list", json={**chosen, "format": "json"}).json()
    assert [clip["fragment"] for clip in listed["clips"]] == [
        c.fragment for c in (stage.city.clips[1], stage.alps.clips[0])
    ]


def test_clips_that_may_not_leave_are_not_exported(client: TestClient, stage: Stage) -> None:
    before = stage.ws.jobs.list()
    reply = client.post("/clips/export", json={"clip_ids": [stage.city.clips[0].id, stage.alps.clips[0].id]})
    assert (reply.status_code, reply.json()["error"]["code"]) == (403, "rights.denied")
    assert stage.ws.jobs.list() == before


def test_an_empty_library_says_what_to_do(tmp_path, client: TestClient) -> None:  # type: ignore[no-untyped-def]
    from malan.web.app import create_app
    from malan.workspace import Workspace

    empty = TestClient(create_app(Workspace.create(tmp_path)), base_url="http://localhost")
    assert "malan asset add" in empty.get("/", headers=HTML).text
    assert empty.get("/search.json").json()["cards"] == []
    assert empty.get("/jobs.json").json()["jobs"] == []
    assert "malan asset add" in empty.get("/assets", headers=HTML).text
