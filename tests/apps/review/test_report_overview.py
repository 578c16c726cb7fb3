"""What a reader of a report needs first: what was not examined, what waits for a person, which rules fail where."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from malan.apps.review.report.overview import by_rule, not_examined, points_of, stretches, waiting
from malan.apps.review.report.page import page

FILES = [f"第{n}集.mp4" for n in range(1, 6)]


def point(rule: str = "CON-13", episode: int = 1, **more: Any) -> dict[str, Any]:
    """A finding as a report holds it."""
    told: dict[str, Any] = {
        "id": f"{rule}-{episode}", "mark": f"{rule}{episode}", "rule": rule, "state": "found", "severity": "block",
        "decision": "person", "title": {"zh": "赌博细节", "en": "Gambling"}, "fix": {}, "cites": [],
        "words": "他去赌场",
        "hits": [[2, 4, "赌场"]], "episode": FILES[episode - 1], "start_s": 61.5, "end_s": 63.0,
        "missing": [], "decided": None, "picture": None, "box": None, "measured": {}, "height_share": None,
        "source": "caption",
    }  # fmt: skip
    return {**told, **more}


def report(*findings: dict[str, Any], episodes: int = 5, verdict: str = "person", **more: Any) -> dict[str, Any]:
    counts = {"block": 0, "major": 0, "minor": 0, "info": 0, "open": 0, "person": len(findings)}
    listed = [
        {"file": file, "digest": "0" * 64, "duration_s": 90.0, "size_px": [720, 1280], "rate": 25.0, "captions": 1,
         "loudness_lufs": None, "true_peak_dbtp": None, "has_picture": True}
        for file in FILES[:episodes]
    ]  # fmt: skip
    return {
        "told": {}, "pack": {"title": {"zh": "包", "en": "Pack"}, "version": "1"}, "as_of": "2026-10-01", "diff": None,
        "verdict": verdict, "counts": counts, "episodes": listed, "findings": list(findings), "refused": [],
        "not_examined": not_examined(findings), "passed": [], "documents": [], **more,
    }  # fmt: skip


def test_what_nobody_looked_at_is_said_plainly_with_the_rules_that_wait_for_it() -> None:
    open_one = point("CON-14", state="open", missing=["speech", "vision.nudity", "meta.investment"])
    said = not_examined(
        [open_one, point(missing=["speech"]), point("CPR-01", state="open", missing=["library.matches"])]
    )
    assert [one["what"] for one in said] == ["speech", "vision", "library", "meta"]
    assert said[0]["rules"] == ["CON-13", "CON-14"]  # what was found on screen was not heard either
    assert "未审查" in said[0]["zh"]
    assert "not examined" in said[0]["en"]
    assert "裸露画面" in said[1]["zh"]
    assert "investment" in said[3]["en"]
    assert not_examined([point()]) == []


@pytest.mark.parametrize("name", ["label.metadata", "series.credits", "qc.loudness", "rule"])
def test_every_kind_of_gap_has_its_words(name: str) -> None:
    (said,) = not_examined([point(missing=[name])])
    assert said["zh"]
    assert said["en"]


def test_points_of_a_rule_are_one_row_with_stretches_of_episodes() -> None:
    listed = [point(episode=n) for n in (1, 2, 3, 5)]
    settled = point("CON-17", decided={"decision": "reject"})
    (row,) = by_rule([*listed, settled], FILES)
    assert (row["times"], row["where"]) == (4, [(0, "第1集 – 第3集"), (4, "第5集")])
    assert stretches([0, 1], ["a.mp4", "a.mkv"]) == [(0, "a.mp4 – a.mkv")]  # two of one name stay apart


def test_what_waits_for_a_person_comes_gravest_first() -> None:
    listed = [
        point("CON-17", severity="major"), point(), point("NUM-01", decision="machine"),
        point("CON-20", decided={"decision": "confirm"}), point("CON-14", state="open"),
    ]  # fmt: skip
    assert [one["rule"] for one in waiting(listed)] == ["CON-13", "CON-17"]


def test_a_file_that_cannot_be_read_counts_as_a_point() -> None:
    assert points_of(report(episodes=1, verdict="block", refused=[{"file": "a"}])) == 1
    assert points_of(report(point("CON-14", state="open"), point("CON-14", 2, state="open"), verdict="person")) == 3


def test_the_page_of_a_series_leads_from_a_rule_and_a_time_to_the_finding() -> None:
    cite = {
        "title": "办法",
        "title_en": "Measures",
        "label": "第一条",
        "quote": "逐字之文",
        "wording": "verbatim",
        "standing": "official",
    }
    made = page(report(*[point(episode=n, cites=[cite]) for n in (1, 2, 4)]), {}, b"{}", None, "zh")
    assert made.count('href="#fCON-13-1"') >= 2  # by rule, and in the list of what waits
    assert "01:01.50" in made
    assert "第1集 – 第2集" in made
    assert made.count("<p>逐字之文</p>") == 1  # the clause is quoted once, then named
    assert made.count("第一条") >= 3


def test_a_short_report_has_no_list_before_its_findings() -> None:
    made = page(report(point(), episodes=1), {}, b"{}", None, "zh")
    assert 'id="waiting"' not in made


def test_the_report_of_an_episode_names_what_was_not_examined(episodes: Path, tmp_path: Path) -> None:
    from malan.apps.running import run_app

    asked = {"paths": [str(episodes / "bad.mkv")], "as_of": "2026-10-01", "title": "老地方见", "pdf": False}
    _, told = run_app(None, "review", asked, tmp_path / "out")
    areas = {one["what"] for one in told["not_examined"]}
    assert {"speech", "vision", "hearing", "library", "meta", "rule"} <= areas
    assert told["lines"][0].startswith(("不宜播出", "Not fit"))
    assert "本次未审查的内容" in (tmp_path / "out" / "review.html").read_text("utf-8")
