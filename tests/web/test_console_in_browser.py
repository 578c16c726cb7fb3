"""What a person does on the three pages, done in real Chromium."""

from __future__ import annotations

import re
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import httpx
import pytest
from browser import chromium, picture_number, told_frame
from console_factory import LENGTHS, Stage, make_workspace, register, serving
from media_factory import draw_film

from malan.core.errors import MediaError
from malan.web import search_pages
from malan.web.built import FOLDER
from malan.workspace import Workspace

pytestmark = pytest.mark.skipif(
    not (FOLDER / "manifest.json").is_file(), reason="the console is not built (make frontend)"
)


_STEPS = (
    (".", 41),
    (".", 42),
    (",", 41),
    ("ArrowDown", 55),
    ("ArrowRight", 56),
    ("ArrowUp", 55),
    ("ArrowUp", 30),
    ("End", 134),
    ("Home", 0),
)


@pytest.fixture(scope="module")
def url(stage: Stage) -> Iterator[str]:
    with serving(stage.ws) as address:
        yield address


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    with chromium() as running:
        yield running


@pytest.fixture
def page(browser: Any) -> Iterator[Any]:
    """A page in Chinese; a script error, a policy violation or a warning on its console fails the test."""
    context = browser.new_context(locale="zh-CN", viewport={"width": 1280, "height": 860})
    context.grant_permissions(["clipboard-read", "clipboard-write"])
    opened, problems = context.new_page(), []
    opened.on("pageerror", lambda error: problems.append(str(error)))
    opened.on("console", lambda said: said.type in ("error", "warning") and problems.append(said.text))
    yield opened
    context.close()
    assert problems == []


def test_words_typed_in_chinese_find_the_shot_and_mark_the_words(page: Any, url: str, stage: Stage) -> None:
    page.goto(url)
    page.locator("input[type=search]").fill("云海")
    page.wait_for_function("() => document.querySelectorAll('.card').length === 2")
    assert page.locator(".card .words mark").all_inner_texts() == ["云海", "云海"]
    assert "q=%E4%BA%91%E6%B5%B7" in page.url
    assert page.locator(".tally b").inner_text() == "2"


def test_an_input_method_searches_only_for_the_words_chosen(page: Any, url: str) -> None:
    asked: list[str] = []
    page.on("request", lambda request: "/search/results" in request.url and asked.append(request.url))
    page.goto(url)
    page.locator("input[type=search]").focus()
    keyboard = page.context.new_cdp_session(page)
    for pinyin in ("y", "yun", "yun hai"):
        keyboard.send("Input.imeSetComposition", {"text": pinyin, "selectionStart": 0, "selectionEnd": len(pinyin)})
    page.wait_for_timeout(400)
    assert asked == []
    keyboard.send("Input.insertText", {"text": "云海"})
    page.wait_for_function("() => document.querySelectorAll('.card').length === 2")
    assert [parse_qs(urlsplit(address).query)["q"] for address in asked] == [["云海"]]


def test_a_result_opens_at_the_frame_its_shot_starts_at(page: Any, url: str, stage: Stage) -> None:
    page.goto(f"{url}/?q=三年前")
    page.locator(f'.card[data-asset="{stage.alps.asset_id}"] a.strip').click()
    page.wait_for_url(re.compile("/assets/"))
    page.wait_for_function(
        f"() => document.querySelector('[data-frame]')?.dataset.frame === '{stage.alps.film.cuts[1]}'"
    )
    assert picture_number(page) == stage.alps.film.cuts[1]


def test_each_shot_is_entered_at_its_first_frame(page: Any, url: str, stage: Stage) -> None:
    for shown in (stage.city, stage.alps):
        page.goto(f"{url}/assets/{shown.asset_id}#frame=3")
        page.wait_for_selector("[data-shot]")
        for shot, first in enumerate((0, *shown.film.cuts)):
            page.locator(f'[data-shot="{shot}"]').click()
            assert (picture_number(page), told_frame(page)) == (first, first)


def test_keys_step_frames_and_shots_exactly(page: Any, url: str, stage: Stage) -> None:
    page.goto(f"{url}/assets/{stage.city.asset_id}#frame=40")
    assert picture_number(page) == 40
    for key, frame in (
        (".", 41),
        (".", 42),
        (",", 41),
        ("ArrowDown", 55),
        ("ArrowRight", 56),
        ("ArrowUp", 55),
        ("ArrowUp", 30),
        ("End", 134),
        ("Home", 0),
    ):
        page.keyboard.press(key)
        assert (picture_number(page), told_frame(page)) == (frame, frame), key


def test_fast_presses_end_on_the_right_frame(page: Any, url: str, stage: Stage) -> None:
    page.goto(f"{url}/assets/{stage.city.asset_id}#frame=10")
    assert picture_number(page) == 10
    for _ in range(25):
        page.keyboard.press(".")
    page.wait_for_timeout(300)
    assert (picture_number(page), told_frame(page)) == (35, 35)


def test_a_shot_plays_and_the_frame_told_is_the_frame_seen(page: Any, url: str, stage: Stage) -> None:
    page.goto(f"{url}/assets/{stage.city.asset_id}#frame=30")
    assert picture_number(page) == 30
    page.keyboard.press(" ")
    page.wait_for_function("() => Number(document.querySelector('[data-frame]').dataset.frame) > 45")
    page.keyboard.press("k")
    page.wait_for_timeout(200)
    assert abs(picture_number(page) - told_frame(page)) <= 1
    assert told_frame(page) > 45


def test_a_caption_on_the_timeline_leads_to_its_first_frame(page: Any, url: str, stage: Stage) -> None:
    page.goto(f"{url}/assets/{stage.city.asset_id}")
    assert picture_number(page) == 0
    box = page.locator("malan-timeline .body").bounding_box()
    x = box["x"] + box["width"] * (65 / stage.city.film.frame_count)  # inside the third caption, frames 59 to 75
    page.mouse.click(x, box["y"] + 24 + 58 + 4 + 10)
    page.wait_for_selector("[data-frame='59']")
    assert picture_number(page) == 59


def test_captions_are_listed_and_lead_there(page: Any, url: str, stage: Stage) -> None:
    page.goto(f"{url}/assets/{stage.city.asset_id}")
    page.get_by_role("tab", name="字幕").click()
    page.get_by_role("button", name="再见").click()
    assert picture_number(page) == 94


def test_a_fragment_opens_its_stretch_and_is_copied_back(page: Any, url: str, stage: Stage) -> None:
    fragment = stage.city.clips[2].fragment
    page.goto(f"{url}/assets/{fragment}")
    assert picture_number(page) == stage.city.film.cuts[1]
    page.keyboard.press("c")
    page.wait_for_selector(".toast")
    assert page.evaluate("() => navigator.clipboard.readText()") == fragment


def test_shots_are_chosen_by_keys_and_their_fragments_copied(page: Any, url: str, stage: Stage) -> None:
    page.goto(f"{url}/?q=云海")
    page.locator("input[type=search]").press("ArrowDown")
    page.keyboard.press("x")
    page.keyboard.press("ArrowRight")
    page.keyboard.press("x")
    page.get_by_role("button", name="复制引用").click()
    page.wait_for_selector(".toast")
    copied = page.evaluate("() => navigator.clipboard.readText()").split("\n")
    assert sorted(copied) == sorted([stage.city.clips[1].fragment, stage.alps.clips[1].fragment])


def test_a_filter_that_leaves_nothing_says_so_and_is_cleared(page: Any, url: str) -> None:
    page.goto(url)
    page.locator("select[name=min_s]").select_option("60")
    page.wait_for_selector(".empty")
    page.locator("[data-clear]").click()
    page.wait_for_function("() => document.querySelectorAll('.card').length === 8")


def test_further_results_come_while_scrolling(page: Any, url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(search_pages, "PAGE_CLIPS", 3)
    page.set_viewport_size({"width": 420, "height": 500})
    page.goto(f"{url}/?sort=time")
    assert page.locator(".card").count() < 8
    for _ in range(100):
        if page.locator(".card").count() == 8:
            break
        page.mouse.wheel(0, 900)
        page.wait_for_timeout(100)
    clips = [card.get_attribute("data-clip") for card in page.locator(".card").all()]
    assert (len(clips), len(set(clips))) == (8, 8)


def test_the_pointer_scrubs_through_a_filmstrip(page: Any, url: str) -> None:
    page.goto(f"{url}/?q=再见")
    strip = page.locator(".card malan-filmstrip").first
    page.wait_for_function("() => document.querySelector('malan-filmstrip').style.getPropertyValue('--cells') === '4'")
    box = strip.bounding_box()
    for share, cell in ((0.1, "0"), (0.4, "1"), (0.9, "3")):
        page.mouse.move(box["x"] + box["width"] * share, box["y"] + 40)
        assert strip.evaluate("e => e.style.getPropertyValue('--cell')") == cell


def test_near_duplicates_are_folded_and_unfolded(page: Any, tmp_path: Path) -> None:
    ws, city, alps = make_workspace(tmp_path)
    ws.library.set_groups({city.clips[3].id: "twins", alps.clips[3].id: "twins"})
    with serving(ws) as address:
        page.goto(f"{address}/?q=再见")
        assert page.locator(".card").count() == 1
        page.locator(".same").click()
        page.wait_for_url(re.compile("group="))
        page.wait_for_function("() => document.querySelectorAll('.card').length === 2")
    ws.database.dispose()


def test_similar_shots_are_one_key_away(page: Any, url: str, stage: Stage) -> None:
    page.goto(f"{url}/?q=再见")
    page.locator(".card").first.focus()
    page.keyboard.press("s")
    page.wait_for_url(re.compile("like="))
    assert page.locator(".like").is_visible()


def test_the_language_is_switched_and_kept(page: Any, url: str) -> None:
    page.goto(f"{url}/?q=云海")
    page.get_by_role("button", name="EN").click()
    page.wait_for_selector("html[lang=en]")
    assert "q=" in page.url
    page.goto(f"{url}/jobs")
    assert page.locator("h1").inner_text() == "Jobs"


def test_a_film_no_browser_plays_gets_a_copy_that_is_exact(page: Any, tmp_path: Path) -> None:
    ws = Workspace.create(tmp_path / "workspace")
    film = draw_film(tmp_path / "old.avi", LENGTHS, size=(320, 180), codec="mpeg4", options={"qscale": "2"})
    shown = register(ws, film, owner="Owner", uses=("retrieve",))
    with serving(ws) as address:
        page.goto(f"{address}/assets/{shown.asset_id}")
        page.get_by_role("button", name="生成预览副本").click()
        page.wait_for_selector("malan-player video", timeout=60_000)
        for first in (*film.cuts, 0):
            page.locator(f'[data-first-frame="{first}"][data-shot]').click()
            assert (picture_number(page), told_frame(page)) == (first, first)
        page.reload()
        assert picture_number(page) == 0
        assert [job["state"] for job in httpx.get(f"{address}/jobs.json").json()["jobs"]] == ["done"]
    assert film.path.is_file()


def test_a_running_job_is_seen_moving_and_ending(page: Any, url: str, stage: Stage) -> None:
    job = stage.ws.jobs.create("asset.scan", {"asset_ids": [], "captions": False}, [f"file-{n}" for n in range(8)])
    go_on, half_way = threading.Event(), threading.Event()

    def work() -> None:
        with stage.ws.jobs.running(job.id) as run:
            run.finish([f"file-{n}" for n in range(4)])
            half_way.set()
            go_on.wait(20)
            run.fail("file-7", MediaError("media.no_video", path="file-7"))
            run.finish([f"file-{n}" for n in range(4, 7)])

    page.goto(f"{url}/jobs")
    worker = threading.Thread(target=work)
    worker.start()
    half_way.wait(10)
    row = page.locator(f'[data-job="{job.id}"]')
    page.wait_for_selector(f'[data-job="{job.id}"] [role=progressbar][aria-valuenow="4"]')
    assert row.get_attribute("data-state") == "running"
    assert page.locator(".live-count").inner_text() == "1"
    go_on.set()
    worker.join(10)
    page.wait_for_selector(f'[data-job="{job.id}"][data-state="done"]')
    assert "1 项失败" in row.inner_text()
    assert row.get_by_role("button", name="重试").is_visible()
    assert page.locator(".live-count").is_hidden()


def test_an_order_is_made_and_terms_are_written_without_typing_toml(page: Any, tmp_path: Path) -> None:
    from malan.services.access import COMMAND_LINE
    from malan.services.datasets.freezing import freeze_snapshot
    from malan.services.market.products import Price, offer_product
    from malan.store import ClipQuery

    ws, mine, _ = make_workspace(tmp_path)
    freeze_snapshot(ws, "夜景", ClipQuery(asset_ids=(mine.asset_id,)), caller=COMMAND_LINE)
    offer_product(ws, "夜景", price=Price.read("250000:CNY"))
    with serving(ws) as url:
        page.goto(f"{url}/market")
        page.locator(".shelf a").click()
        page.locator("#buyer").fill("某模型公司")
        page.locator("summary").click()
        page.locator("#ends").fill("2030-12-31")
        page.locator("button.primary").click()
        page.wait_for_url("**/contracts/*")
        page.locator("button.primary").click()
        page.wait_for_function("() => document.body.textContent.includes('待签署')")
        assert "2030-12-31" in page.locator(".conditions").inner_text()
        for width in (1280, 390):
            page.set_viewport_size({"width": width, "height": 860})
            assert page.evaluate("document.documentElement.scrollWidth") <= width
        page.goto(f"{url}/terms?ready=train")
        page.locator("#name").fill("两年")
        page.locator("button.primary").click()
        page.wait_for_selector(".toml")
        assert 'name = "两年"' in page.locator(".toml").inner_text()
        assert page.evaluate("document.documentElement.scrollWidth") <= 390
    ws.database.dispose()


@pytest.mark.parametrize("width", [390, 1024])
def test_no_page_is_wider_than_the_screen_and_where_one_is_stays_in_sight(page: Any, url: str, width: int) -> None:
    page.set_viewport_size({"width": width, "height": 800})
    for path in ("/", "/assets", "/market", "/terms", "/apps", "/apps/promo", "/runs", "/models", "/log", "/account"):
        page.goto(f"{url}{path}")
        over = page.evaluate("() => document.documentElement.scrollWidth - document.documentElement.clientWidth")
        assert over <= 0, path
    page.goto(f"{url}/log")
    assert page.evaluate(
        """() => {
          const row = document.querySelector(".nav").getBoundingClientRect();
          const here = document.querySelector(".nav [aria-current]").getBoundingClientRect();
          return here.left >= row.left - 1 && here.right <= row.right + 1;
        }"""
    )


def test_rare_wishes_open_by_keyboard(page: Any, url: str) -> None:
    page.goto(f"{url}/apps/promo")
    assert not page.locator("[name=seed]").is_visible()
    page.locator("details.more-options summary").focus()
    page.keyboard.press("Enter")
    assert page.locator("[name=seed]").is_visible()


_NARROW = (
    "/", "/assets", "/market", "/apps", "/apps/promo", "/runs", "/models", "/jobs", "/log", "/statements", "/parties",
    "/programs", "/engines", "/settings", "/trace", "/account",
)  # fmt: skip


def test_no_page_is_wider_than_a_phone(page: Any, url: str) -> None:
    page.set_viewport_size({"width": 390, "height": 844})
    wide = []
    for path in _NARROW:
        page.goto(url + path)
        room = page.evaluate("() => document.documentElement.scrollWidth - document.documentElement.clientWidth")
        here = page.locator(".nav [aria-current]")
        is_seen = here.count() == 0 or here.evaluate(
            "link => link.getBoundingClientRect().right <= innerWidth && link.getBoundingClientRect().left >= 0"
        )
        wide += [path] * (room > 0 or not is_seen)
    assert wide == []
