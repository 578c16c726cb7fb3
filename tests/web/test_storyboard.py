"""The storyboard on its table, in real Chromium: put in order, trimmed, swapped, written on, by pointer and by keys."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from app_runs import done, working
from browser import chromium
from console_client import TestClient
from console_factory import serving
from media_factory import draw_film

from malan.apps.promo.board import Storyboard, kept_board
from malan.apps.queue.runs import start_app
from malan.rights import load_terms
from malan.services.access import Caller
from malan.services.footage.assets import add_assets
from malan.services.footage.owners import terms_of
from malan.services.footage.scan import scan_assets
from malan.services.footage.withdrawal import restore_asset, withdraw_asset
from malan.web.app import create_app
from malan.web.built import FOLDER
from malan.workspace import Workspace

ASKED = {"length": 6, "lines": 360, "title": "马栏", "plan_only": True}


@pytest.fixture(scope="module")
def library(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Workspace]:
    root = tmp_path_factory.mktemp("board")
    ws = Workspace.create(root / "ws")
    (root / "terms.toml").write_text('uses = ["retrieve", "derive", "export", "publish"]\n')
    for number, size in enumerate(((320, 180), (180, 320))):
        film = draw_film(root / f"{number}.mp4", (45,) * 6, size=size, options={"g": "50"}, seed=11 * number + 1)
        add_assets(ws, [film.path], owner="湖南台", terms=load_terms(root / "terms.toml", "湖南台"))
    scan_assets(ws, captions=False)
    with working(ws):
        yield ws


@pytest.fixture(scope="module")
def run(library: Workspace) -> str:
    """A run that left a storyboard."""
    return done(library, start_app(library, "promo", ASKED))


@pytest.fixture
def client(library: Workspace) -> Iterator[TestClient]:
    with TestClient(create_app(library), base_url="http://127.0.0.1:8600") as client:
        yield client


@pytest.fixture(scope="module")
def url(library: Workspace) -> Iterator[str]:
    with serving(library) as address:
        yield address


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    if not (FOLDER / "manifest.json").is_file():
        pytest.skip("the console is not built (make frontend)")
    with chromium() as running:
        yield running


@pytest.fixture
def page(browser: Any, url: str, run: str) -> Iterator[Any]:
    """The table with the storyboard; a script error or a warning of the browser fails the test."""
    context = browser.new_context(locale="zh-CN", viewport={"width": 1280, "height": 860})
    context.set_default_timeout(10_000)
    opened, problems = context.new_page(), []
    opened.on("pageerror", lambda error: problems.append(str(error)))
    opened.on("console", lambda said: said.type in ("error", "warning") and problems.append(said.text))
    opened.goto(f"{url}/apps/runs/{run}/board")
    opened.wait_for_selector(".shot")
    yield opened
    context.close()
    assert problems == []


def saved(page: Any, library: Workspace) -> Storyboard:
    """The storyboard as the server keeps it, once the table says so."""
    page.wait_for_function("() => document.querySelector('.saved').textContent === '已保存'")
    return kept_board(library, page.url.split("/boards/")[1].split("?")[0])


def first(library: Workspace, client: TestClient, run: str) -> Storyboard:
    """The storyboard as it was planned."""
    address = client.get(f"/apps/runs/{run}/board", follow_redirects=False).headers["location"]
    return kept_board(library, address.split("/boards/")[1].split("?")[0])


def test_a_shot_is_moved_by_keys_and_back(page: Any, library: Workspace, client: TestClient, run: str) -> None:
    plan = first(library, client, run)
    page.locator(".shot").first.focus()
    page.keyboard.press("Alt+ArrowRight")
    assert page.locator(".shot[aria-selected=true]").get_attribute("data-place") == "1"
    board = saved(page, library)
    assert [shot.clip for shot in board.shots[:2]] == [plan.shots[1].clip, plan.shots[0].clip]
    page.keyboard.press("Control+z")
    page.wait_for_function("() => document.querySelector('.saved').textContent !== '已保存'")
    assert saved(page, library) == plan


def test_a_shot_is_dragged_to_its_place(page: Any, library: Workspace, client: TestClient, run: str) -> None:
    plan = first(library, client, run)
    cards = page.locator(".shot")
    box = cards.nth(2).bounding_box()
    cards.first.drag_to(cards.nth(2), target_position={"x": box["width"] - 4, "y": box["height"] / 3})
    board = saved(page, library)
    assert board.shots[2].clip == plan.shots[0].clip
    assert sorted(shot.clip for shot in board.shots) == sorted(shot.clip for shot in plan.shots)


def test_keys_trim_to_the_frame_and_never_beyond_the_clip(
    page: Any, library: Workspace, client: TestClient, run: str
) -> None:
    plan = first(library, client, run)
    page.locator(".shot").nth(1).focus()
    for key in ("[", "[", "]", "Shift+}"):
        page.keyboard.press(key)
    board = saved(page, library)
    assert board.shots[1].frames == plan.shots[1].frames - 2
    assert board.shots[1].from_s == pytest.approx(plan.shots[1].from_s + 1 / plan.rate, abs=1e-3)
    for _ in range(60):
        page.keyboard.press("]")
    board = saved(page, library)
    row = library.library.clip(board.shots[1].clip)
    assert board.shots[1].from_s + board.shots[1].frames / board.rate <= row.span.end_s + 1e-6


def test_an_edge_is_dragged(page: Any, library: Workspace, client: TestClient, run: str) -> None:
    plan = first(library, client, run)
    page.locator(".shot").first.click()
    edge = page.locator(".handle.end").bounding_box()
    page.mouse.move(edge["x"] + 4, edge["y"] + 20)
    page.mouse.down()
    page.mouse.move(edge["x"] - 40, edge["y"] + 20, steps=4)
    page.mouse.up()
    board = saved(page, library)
    assert board.shots[0].frames < plan.shots[0].frames
    assert board.shots[0].from_s == plan.shots[0].from_s


def test_a_shot_is_swapped_for_another_that_may_be_used(
    page: Any, library: Workspace, client: TestClient, run: str
) -> None:
    plan = first(library, client, run)
    page.locator(".shot").nth(1).click()
    page.locator(".others button").first.click()
    board = saved(page, library)
    row = library.library.clip(board.shots[1].clip)
    assert board.shots[1].clip != plan.shots[1].clip
    assert row.span.start_s <= board.shots[1].from_s
    assert board.shots[1].from_s + board.shots[1].frames / board.rate <= row.span.end_s + 0.05


def test_words_title_and_formats_are_kept_while_typing(page: Any, library: Workspace) -> None:
    page.locator(".shot").nth(1).focus()
    page.keyboard.press("Enter")
    page.keyboard.type("夜色正浓")
    page.locator("#board-title").fill("湘江")
    page.locator(".formats .chip").nth(1).click()
    board = saved(page, library)
    assert board.shots[1].text == "夜色正浓"
    assert (board.title, board.formats) == ("湘江", ("16:9", "9:16"))
    assert page.locator(".shot").nth(1).locator(".words").inner_text() == "夜色正浓"


def test_the_last_shot_stays(page: Any) -> None:
    page.locator(".shot").first.focus()
    for _ in range(20):
        page.keyboard.press("Delete")
    assert page.locator(".shot").count() == 1
    assert page.locator(".toast").is_visible()


def test_only_what_changed_is_rendered(page: Any, library: Workspace, url: str) -> None:
    page.locator("malan-storyboard .button.primary").click()
    page.wait_for_selector(".films video", timeout=60_000)
    page.go_back()
    page.wait_for_selector(".shot")
    page.locator(".shot").nth(1).focus()
    page.keyboard.press("[")
    saved(page, library)
    page.locator("malan-storyboard .button.primary").click()
    page.wait_for_selector(".films video", timeout=60_000)
    told = page.evaluate("async () => (await fetch(location.pathname + '.json')).json()")["report"]
    assert 0 < told["encoded_frames"] <= 0.6 * told["frames"]  # in a film this short the title ends earlier with it
    assert told["cost"]["minor"] == told["frames"] * 5 // 25


def test_a_quote_and_a_run_by_http(client: TestClient, library: Workspace) -> None:
    asked = {"length": 4, "lines": 360, "format": ["16:9", "1:1"], "seed": 5}
    quote = client.post("/api/apps/promo/quote", json=asked).json()
    assert (quote["outputs"], quote["cost"]["minor"], quote["cost"]["currency"]) == (2, 40, "CNY")
    first_reply = client.post("/api/apps/promo", json=asked)
    second = client.post("/api/apps/promo", json=asked)  # the same request is the same run
    assert first_reply.json() == second.json()
    address = first_reply.headers["location"]
    assert address == first_reply.json()["run"]
    done(library, first_reply.json()["job"])
    shown = client.get(address).json()
    assert (shown["state"], shown["percent"]) == ("done", 100)
    assert shown["report"]["cost"]["minor"] == 40
    assert all("/" not in one["path"] for one in shown["report"]["files"])  # no places of this machine
    assert client.post(f"{address}/cancel").status_code == 409
    assert client.post(f"{address}/resume").status_code == 409
    name = next(one["name"] for one in shown["files"] if one["is_video"])
    files = f"/apps/runs/{first_reply.json()['job']}/files"
    assert client.get(f"{files}/{name}").status_code == 200
    assert client.post("/api/apps/promo/quote", json={"length": 0}).status_code == 400


def test_a_film_is_not_handed_out_once_its_footage_was_taken_back(client: TestClient, library: Workspace) -> None:
    asked = {"length": 4, "lines": 360, "seed": 6}
    job = client.post("/api/apps/promo", json=asked).json()["job"]
    shown = client.get(f"/api/apps/runs/{done(library, job)}").json()
    asset = library.library.clip(shown["report"]["sources"][0]["clip"]).clip.asset_id
    terms = terms_of(library, library.library.asset(asset).asset.terms_id)
    withdraw_asset(library, asset, "收回")
    try:
        refused = client.get(f"/apps/runs/{job}/files/promo-16x9.mp4")
        assert (refused.status_code, refused.json()["error"]["code"]) == (403, "app.withdrawn")
        assert client.get(f"/apps/runs/{job}/files/storyboard.json").status_code == 200
    finally:
        restore_asset(library, asset, terms)


def test_a_board_is_rendered_by_what_was_asked_of_the_run_it_comes_from(
    client: TestClient, library: Workspace, run: str
) -> None:
    address = client.get(f"/apps/runs/{run}/board", follow_redirects=False).headers["location"]
    digest = address.split("/boards/")[1].split("?")[0]
    view = client.get(f"/apps/boards/{digest}.json?run={run}").json()
    assert (view["app"], view["asked"]) == ("promo", {"length": 6.0, "lines": 360, "title": "马栏"})
    assert client.get(f"/apps/boards/{digest}.json").json()["asked"] == {}


def test_what_makes_no_sense_is_not_kept(client: TestClient, library: Workspace, run: str) -> None:
    board = first(library, client, run).model_dump(mode="json")
    assert client.post("/apps/boards", json=board).status_code == 201
    for change in ({"shots": []}, {"rate": 1000}, {"kind": "other"}, {"unknown": 1}):
        reply = client.post("/apps/boards", json={**board, **change})
        assert (reply.status_code, reply.json()["error"]["code"]) == (400, "promo.bad_board")


def test_files_of_this_machine_are_named_by_its_operator_only(library: Workspace, client: TestClient, run: str) -> None:
    from malan.apps.promo.editing import save_board
    from malan.core.errors import NotGranted

    board = first(library, client, run).model_dump(mode="json") | {"music": "/etc/hostname"}
    with pytest.raises(NotGranted):
        save_board(library, board, caller=Caller("p", frozenset({"owner"}), "session"))


def test_somebody_elses_run_shows_no_board(library: Workspace, run: str) -> None:
    from malan.apps.promo.editing import board_of_run
    from malan.core.errors import NotFound

    with pytest.raises(NotFound):
        board_of_run(library, run, caller=Caller("p", frozenset({"buyer"}), "session"))


def test_nothing_is_told_of_what_a_clip_nobody_may_see_looks_like(library: Workspace, run: str) -> None:
    from malan.apps.promo.editing import others
    from malan.core.errors import NotFound

    clip = next(row.id for asset in library.library.assets() for row in library.library.clips(asset.asset.id))
    with pytest.raises(NotFound):
        others(library, clip, "", caller=Caller("p", frozenset({"owner"}), "session"))
    with pytest.raises(NotFound):
        others(library, "0" * 64, "夜景", caller=Caller("p", frozenset({"owner"}), "session"))


def test_a_blob_that_is_no_board_is_refused(client: TestClient, library: Workspace, tmp_path: Path) -> None:
    from malan.services.files.blobs import keep_bytes

    digest = keep_bytes(library, b"\x00weights\xff" * 10)
    assert client.get(f"/apps/boards/{digest}.json").json()["error"]["code"] == "promo.bad_board"
    assert client.get(f"/apps/boards/{'0' * 64}.json").status_code == 404
