"""The reviewer's desk, in real Chromium and by HTTP: what a person decides is kept, found again, and issued."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from app_runs import done
from browser import chromium
from caption_film import chinese_font
from console_client import TestClient
from console_factory import serving
from episode_factory import Plan, Text, draw_episode

from malan.apps.queue.runs import start_app
from malan.apps.review.desk import decide_point, desk_view
from malan.core.errors import NotFound, NotGranted, UsageError
from malan.services.access import COMMAND_LINE, Caller
from malan.services.footage.assets import add_assets
from malan.services.footage.people import kept_findings
from malan.services.footage.scan import scan_assets
from malan.services.jobs.queue import Ask, get_job, submit
from malan.web.app import create_app
from malan.web.built import FOLDER
from malan.workspace import Workspace

ASKED = {"as_of": "2026-10-01", "title": "老地方见", "drama_class": 3, "platform": "马栏", "ai": False, "pdf": False}
HTML = {"accept": "text/html"}


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> tuple[Workspace, str]:
    """A workspace, and the run of a review of one episode with a word, a black stretch and no number."""
    if chinese_font() is None:
        pytest.skip("no font with Chinese characters on this machine")
    root = tmp_path_factory.mktemp("desk")
    ws = Workspace.create(root / "ws")
    said = (Text("老地方见", (0, 2.0), (0.5, 0.16), 0.07), Text("他又去赌场了", (2.2, 3.6), height_share=0.07))
    draw_episode(root / "第1集.mkv", Plan(seconds=7, size=(432, 768), texts=said, black=(4.0, 6.4), seed=2))
    add_assets(ws, [root / "第1集.mkv"], owner="湖南台")
    scan_assets(ws, captions=False)
    return ws, done(ws, start_app(ws, "review", {**ASKED, "paths": [str(root / "第1集.mkv")]}))


@pytest.fixture
def client(place: tuple[Workspace, str]) -> Iterator[TestClient]:
    with TestClient(create_app(place[0]), base_url="http://127.0.0.1:8600") as client:
        yield client


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    if not (FOLDER / "manifest.json").is_file():
        pytest.skip("the console is not built (make frontend)")
    with chromium() as running:
        yield running


@pytest.fixture
def page(browser: Any, place: tuple[Workspace, str]) -> Iterator[Any]:
    context = browser.new_context(locale="zh-CN", viewport={"width": 1280, "height": 860})
    context.set_default_timeout(10_000)
    opened, problems = context.new_page(), []
    opened.on("pageerror", lambda error: problems.append(str(error)))
    opened.on("console", lambda said: said.type in ("error", "warning") and problems.append(said.text))
    with serving(place[0]) as url:
        opened.goto(f"{url}/apps/runs/{place[1]}/review")
        yield opened
        context.close()
    assert problems == []


def ids(ws: Workspace, run: str) -> dict[str, str]:
    """The first finding of each rule."""
    listed = desk_view(ws, run, "zh", show="all", caller=COMMAND_LINE).listed
    return {one.said["rule"]: one.id for one in reversed(listed) if one.said["state"] == "found"}


def test_a_person_goes_through_the_points_by_keys(page: Any, place: tuple[Workspace, str]) -> None:
    ws, run = place
    count = int(page.locator(".desk-tabs [aria-current] b").inner_text())
    for _ in range(count):
        if page.locator(".evidence mark").count():
            break
        with page.expect_navigation():
            page.keyboard.press("j")
    assert page.locator(".evidence mark").inner_text() == "赌场"
    assert "第二十五条" in page.locator(".evidence").inner_text()
    box = page.locator(".shown i").bounding_box()
    shown = page.locator(".shown").bounding_box()
    assert box["y"] > shown["y"] + shown["height"] / 2  # where a caption stands
    assert page.evaluate("() => document.querySelector('.shown img').naturalWidth") > 100
    page.locator("#by").fill("张三")
    page.locator("h2").first.click()
    page.keyboard.press("r")
    page.keyboard.type("剧情需要，未展示赌博细节")
    with page.expect_navigation():
        page.locator("[value=reject]").click()
    assert int(page.locator(".desk-tabs [aria-current] b").inner_text()) == count - 1
    assert page.locator("#by").input_value() == "张三"  # the next decision need not be signed again
    [point] = [
        one for one in desk_view(ws, run, "zh", show="decided", caller=COMMAND_LINE).listed
        if one.said["rule"] == "CON-13"
    ]  # fmt: skip
    assert point.decided is not None
    assert (point.decided["decision"], point.decided["by"]) == ("reject", "张三")


def test_a_rejection_without_reason_comes_back_with_the_form(client: TestClient, place: tuple[Workspace, str]) -> None:
    ws, run = place
    finding = ids(ws, run)["QC-01"]
    reply = client.post(f"/apps/runs/{run}/review/{finding}", data={"decision": "reject", "by": "李四"}, headers=HTML)
    assert reply.status_code == 400
    assert 'value="李四"' in reply.text


def test_decisions_become_labels_and_are_issued_with_the_report(
    client: TestClient, place: tuple[Workspace, str]
) -> None:
    ws, run = place
    known = ids(ws, run)
    said = {"decision": "confirm", "by": "王五"}
    assert client.post(f"/api/apps/runs/{run}/review/{known['QC-01']}", json=said).status_code == 201
    waived = {"decision": "waive", "by": "王五", "reason": "样片", "until": "2026-12-31"}
    assert client.post(f"/api/apps/runs/{run}/review/{known['FIL-02']}", json=waived).status_code == 201
    labels = kept_findings(ws, "label.review")
    assert "QC-01" in {one.finding.value["label"] for one in labels}
    reply = client.post(f"/apps/runs/{run}/review", data={}, headers=HTML, follow_redirects=False)
    again = done(ws, reply.headers["location"].rpartition("/")[2])
    assert again != run
    report = json.loads((ws.root / get_job(ws, again).folder / "review.json").read_text("utf-8"))
    decided = {one["rule"]: one["decided"]["decision"] for one in report["findings"] if one["decided"]}
    assert decided["QC-01"] == "confirm"
    assert decided["FIL-02"] == "waive"
    assert len(list((ws.folder("cache") / "review" / ".measured").iterdir())) == 1  # nothing was measured again


def test_a_waiver_holds_to_its_day(place: tuple[Workspace, str]) -> None:
    ws, run = place
    finding = ids(ws, run)["NUM-01"]
    said = {"by": "王五", "reason": "样片", "until": "2026-09-30", "caller": COMMAND_LINE}
    decide_point(ws, run, finding, "waive", **said)
    view = desk_view(ws, run, "zh", show="decided", caller=COMMAND_LINE)
    assert finding not in {one.id for one in view.listed}


@pytest.mark.parametrize(
    "said", [{"decision": "maybe"}, {"decision": "waive", "reason": "x"}, {"decision": "reject"}, {}]
)
def test_what_is_no_decision_is_not_kept(place: tuple[Workspace, str], said: dict[str, str]) -> None:
    ws, run = place
    finding = ids(ws, run)["QC-06"]
    texts = {"decision": "", "reason": "", "until": "", **said}
    with pytest.raises(UsageError):
        decide_point(ws, run, finding, **texts, by="王五", caller=COMMAND_LINE)


def test_only_reviewers_decide(place: tuple[Workspace, str]) -> None:
    ws, run = place
    for role in ("owner", "buyer", "annotator"):
        with pytest.raises(NotGranted):
            desk_view(ws, run, "zh", caller=Caller("p", frozenset({role}), "session"))
    who = Caller("p", frozenset({"reviewer"}), "session", name="赵六")
    (made,) = decide_point(ws, run, ids(ws, run)["CRD-01"], "confirm", by="冒名", caller=who)
    assert made.by == "赵六"  # whoever is signed in decides under its own name


def test_one_decision_may_hold_for_all_points_like_it(client: TestClient, place: tuple[Workspace, str]) -> None:
    ws, run = place
    listed = desk_view(ws, run, "zh", show="open", caller=COMMAND_LINE).listed
    finding = next(one.id for one in listed if one.said["rule"] == "CON-14")
    asked = {"decision": "reject", "reason": "通看全片", "by": "王五", "all": True}
    said = client.post(f"/api/apps/runs/{run}/review/{finding}", json=asked)
    assert said.status_code == 201
    assert said.json()["points"] == 1  # of one episode there is one
    assert finding in {one.id for one in desk_view(ws, run, "zh", show="decided", caller=COMMAND_LINE).listed}


def test_pictures_are_those_of_the_report_and_no_others(client: TestClient, place: tuple[Workspace, str]) -> None:
    ws, run = place
    names = {one.picture for one in desk_view(ws, run, "zh", show="all", caller=COMMAND_LINE).listed if one.picture}
    assert names
    assert client.get(f"/apps/runs/{run}/review/pictures/{min(names)}").content[:2] == b"\xff\xd8"
    assert client.get(f"/apps/runs/{run}/review/pictures/001-99999.99.jpg").status_code == 404
    assert client.get(f"/apps/runs/{run}/review/pictures/..%2Freview.json").status_code in (400, 404)


def test_a_run_of_another_app_is_no_report(place: tuple[Workspace, str]) -> None:
    ws, _ = place
    job = submit(ws, Ask("promo", {}, device="none"))
    with pytest.raises(NotFound):
        desk_view(ws, job.id, "zh", caller=COMMAND_LINE)


def test_the_form_leaves_unsaid_what_nobody_said(client: TestClient, tmp_path: Path) -> None:
    page = client.get("/apps/review", headers={**HTML, "accept-language": "en"}).text
    assert "None" not in page
    assert 'type="date"' in page
    reply = client.post(
        "/apps/review",
        data={"paths": str(tmp_path / "x"), "as_of": "2026-10-01", "ai": "no", "title": ""},
        headers=HTML,
        follow_redirects=False,
    )
    job = reply.headers["location"].rpartition("/")[2]
    said = client.get(f"/apps/runs/{job}.json").json()
    assert said["app"] == "review"
