"""What people decide of a report: one point, or all that are like it; what is missing is said in words."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from malan.apps.review.decisions import decide, decide_alike, points_alike, read_decisions
from malan.core.errors import NotFound, UsageError

SAID: dict[str, Any] = {"by": "王敏", "on": "2026-10-01", "reason": "已通看全片"}


def point(rule: str, episode: int, state: str = "open", **more: Any) -> dict[str, Any]:
    """A point as a report holds it."""
    name = f"{rule}-{episode}-{state}"
    told = {"id": f"id-{name}", "mark": f"mark-{name}", "rule": rule, "state": state, "decided": None, "start_s": 0.0}
    return {**told, "episode": f"第{episode}集.mp4", **more}


def report(*more: dict[str, Any]) -> dict[str, Any]:
    """Forty episodes nobody listened to, two of which show a word."""
    listed = [point("CON-13", n, "found" if n in (3, 7) else "open") for n in range(1, 41)]
    return {
        "report": "malan-review", "findings": [*listed, point("CON-14", 1), *more], "pack": {"digest": ""},
        "as_of": "2026-10-01", "episodes": [],
    }  # fmt: skip


def test_one_decision_settles_what_is_open_of_a_rule_and_leaves_what_was_found(tmp_path: Path) -> None:
    made = decide_alike(report(), tmp_path / "d.jsonl", "CON-13", "reject", **SAID)
    assert len(made) == 38
    assert {one.rule for one in made} == {"CON-13"}
    assert not {one.mark for one in made} & {"mark-CON-13-3-found", "mark-CON-13-7-found"}
    assert read_decisions(tmp_path / "d.jsonl") == made


def test_with_a_finding_go_those_that_were_found_like_it() -> None:
    assert [one["id"] for one in points_alike(report(), "id-CON-13-7-found")] == [
        "id-CON-13-3-found", "id-CON-13-7-found",
    ]  # fmt: skip


def test_what_was_decided_before_is_not_decided_again(tmp_path: Path) -> None:
    settled = point("CON-14", 2, decided={"decision": "confirm"})
    made = decide_alike(report(settled), tmp_path / "d.jsonl", "CON-14", "reject", **SAID)
    assert [one.finding for one in made] == ["id-CON-14-1-open"]


def test_an_open_point_may_be_named_by_its_rule(tmp_path: Path) -> None:
    assert decide(report(), tmp_path / "d.jsonl", "CON-14", "reject", **SAID).finding == "id-CON-14-1-open"


@pytest.mark.parametrize(
    ("decision", "more", "code"),
    [
        ("maybe", {}, "review.decide.kind"),
        ("reject", {"reason": " "}, "review.decide.reason"),
        ("waive", {}, "review.decide.until"),
        ("waive", {"until": "soon"}, "review.decide.until"),
        ("confirm", {"until": "2026-12-31"}, "review.decide.until"),
        ("confirm", {"by": ""}, "review.decide.by"),
    ],
)
def test_what_is_missing_is_said_and_nothing_is_kept(
    tmp_path: Path, decision: str, more: dict[str, Any], code: str
) -> None:
    for way in (decide, decide_alike):
        with pytest.raises(UsageError) as caught:
            way(report(), tmp_path / "d.jsonl", "CON-14", decision, **{**SAID, **more})  # type: ignore[operator]
        assert caught.value.code == code
    assert not (tmp_path / "d.jsonl").exists()


def test_an_unknown_rule_is_not_found(tmp_path: Path) -> None:
    with pytest.raises(NotFound):
        decide_alike(report(), tmp_path / "d.jsonl", "CON-99", "reject", **SAID)


def test_the_command_decides_all_and_says_how_many(tmp_path: Path) -> None:
    import json

    from malan.cli.main import app

    (tmp_path / "review.json").write_text(json.dumps(report()), "utf-8")
    place, kept = str(tmp_path / "review.json"), str(tmp_path / "d.jsonl")
    asked = ["review", "decide", place, "CON-13", "reject", "--all", "--by", "王敏", "--reason", "通看"]
    done = CliRunner().invoke(app, [*asked, "--decisions", kept])
    assert done.exit_code == 0, done.output
    assert "38" in done.output


def test_a_fault_of_the_whole_episode_is_known_again_whatever_words_are_shown_with_it() -> None:
    from malan.apps.review.findings import findings_of
    from malan.apps.review.judge import Judged
    from malan.apps.review.language.values import Moment, Verdict
    from malan.apps.review.packs import load_pack

    pack = load_pack("cn-microdrama")

    def marks(rule: str, *moments: Moment) -> set[str]:
        judged = [Judged(pack.rule(rule), Verdict("found", moments))]
        return {one.mark for one in findings_of(judged, "a.mp4", "0" * 64, "2026-10-01", "episode 1")}

    first, second = (Moment(0.4, 2.0, text) for text in ("你终于来了", "这不可能"))
    assert marks("NUM-01", first) == marks("NUM-01", second)  # no number: what is read instead does not matter
    assert marks("CON-13", first) != marks("CON-13", second)
    hits = [Moment(0.4, 2.0, text, hits=((0, 2, text),)) for text in ("网微剧甲", "网微剧乙")]
    assert marks("NUM-02", hits[0]) != marks("NUM-02", hits[1])  # another wrong number is another point
