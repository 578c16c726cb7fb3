"""The app from end to end: files in, report out, by command and by call; decisions, cuts, signature, bad input."""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path
from typing import Any

import av
import pytest
from episode_factory import Plan, draw_episode
from typer.testing import CliRunner

from malan.apps.frame import Work
from malan.apps.review.app import APP, ReviewRequest
from malan.apps.review.decisions import decide, labels_of, read_decisions
from malan.apps.review.findings import verdict_of
from malan.apps.review.report import check_signature, read_report
from malan.apps.running import run_app
from malan.cli.main import app
from malan.core.errors import MalanError, NotFound, ProofError, Rejected, UsageError
from malan.services.access import Caller
from malan.services.log.keys import init_keys
from malan.services.outputs.signed_reports import check_report
from malan.workspace import Workspace

TOLD = {"title": "老地方见", "drama_class": 3, "platform": "马栏", "as_of": "2026-10-01", "pdf": False, "ai": False}


def review(out: Path, *paths: Path, ws: Workspace | None = None, **more: Any) -> dict[str, Any]:
    """The report of a review."""
    run_app(ws, "review", {**TOLD, "paths": [str(one) for one in paths], **more}, out)
    return read_report(out / "review.json")


@pytest.fixture(scope="session")
def reviewed(episodes: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the review of both episodes, as one made outside a workspace."""
    out = tmp_path_factory.mktemp("reviewed")
    review(out, episodes / "good.mkv", episodes / "bad.mkv")
    return out


def _of(report: dict[str, Any], rule: str) -> list[dict[str, Any]]:
    return [one for one in report["findings"] if one["rule"] == rule and one["state"] == "found"]


def test_faults_are_found_with_time_words_picture_and_clause(reviewed: Path) -> None:
    report = read_report(reviewed / "review.json")
    word = _of(report, "CON-13")[0]
    assert word["episode"] == "bad.mkv"
    start, end, listed = word["hits"][0]
    assert word["words"][start:end] == listed == "赌场"
    assert word["start_s"] == pytest.approx(2.2, abs=0.1)
    assert word["decision"] == "person"
    assert (reviewed / word["picture"]).read_bytes()[:2] == b"\xff\xd8"
    assert word["cites"][0]["label"].startswith("第二十五条")
    black = _of(report, "QC-01")[0]
    assert (black["start_s"], black["end_s"]) == pytest.approx((4.0, 6.4), abs=0.1)


def test_a_fault_of_one_episode_is_not_one_of_another(reviewed: Path) -> None:
    report = read_report(reviewed / "review.json")
    assert {one["episode"] for one in _of(report, "NUM-01")} == {"bad.mkv"}
    good = {one["rule"] for one in report["findings"] if one["episode"] == "good.mkv" and one["state"] == "found"}
    assert good == {"QC-06"}


def test_what_nobody_told_stays_open_and_is_not_false(reviewed: Path) -> None:
    report = read_report(reviewed / "review.json")
    opened = {one["rule"]: one["missing"] for one in report["findings"] if one["state"] == "open"}
    assert opened["CLS-02"] == ["meta.investment"]
    assert "vision.nudity" in opened["CON-15"]
    assert "speech" in opened["CON-08"]


def test_the_page_stands_alone_and_speaks_both_languages(reviewed: Path) -> None:
    page = (reviewed / "review.html").read_text("utf-8")
    assert not re.findall(r"""(?:src|href)=["'](?!data:|#)""", page)
    assert "default-src 'none'" in page
    assert "不宜播出" in page
    assert "Not fit to be shown" in page
    assert "<mark>赌场</mark>" in page


def test_words_cannot_break_out_of_the_page(reviewed: Path) -> None:
    from malan.apps.review.report.page import page

    report = read_report(reviewed / "review.json")
    for one in report["findings"]:
        one["words"], one["hits"] = "<script>alert(1)</script>", [[1, 7, "script"]]
    report["told"]["title"] = "</title><script>"
    shown = page({**report, "findings": report["findings"]}, {}, b"", None, "zh")
    assert "<script>alert" not in shown
    assert shown.count("<script>") == 1


def test_the_same_request_gives_the_same_bytes(episodes: Path, reviewed: Path, tmp_path: Path) -> None:
    review(tmp_path, episodes / "good.mkv", episodes / "bad.mkv")
    for name in ("review.json", "review.html"):
        assert (tmp_path / name).read_bytes() == (reviewed / name).read_bytes()


def test_a_review_that_is_taken_up_again_measures_nothing_twice(
    episodes: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    stopped: list[str] = []

    def stop() -> None:
        stopped.append("x")
        if len(stopped) == 2:
            raise KeyboardInterrupt

    paths = [str(episodes / "good.mkv"), str(episodes / "bad.mkv")]
    values = {**TOLD, "paths": paths, "pack": "tech-qc"}
    with pytest.raises(KeyboardInterrupt):
        run_app(None, "review", values, tmp_path, stop_if_asked=stop)
    assert not (tmp_path / "review.json").exists()
    review(tmp_path, *map(Path, paths), pack="tech-qc")
    first = (tmp_path / "review.html").read_bytes()
    monkeypatch.setattr("malan.apps.review.measure.episode.measure", None)
    review(tmp_path, *map(Path, paths), pack="tech-qc")
    assert (tmp_path / "review.html").read_bytes() == first


def test_a_damaged_note_of_what_was_measured_is_measured_anew(episodes: Path, tmp_path: Path) -> None:
    review(tmp_path, episodes / "good.mkv", pack="tech-qc")
    first = (tmp_path / "review.json").read_bytes()
    for note in (tmp_path / ".measured").iterdir():
        note.write_bytes(note.read_bytes()[:-40])
    review(tmp_path, episodes / "good.mkv", pack="tech-qc")
    assert (tmp_path / "review.json").read_bytes() == first


def test_the_command_prints_one_object(episodes: Path, tmp_path: Path) -> None:
    line = ["app", "run", "review", str(episodes / "good.mkv"), "--pack", "tech-qc", "--as-of", "2026-10-01"]
    done = CliRunner().invoke(app, [*line, "--no-pdf", "--out", str(tmp_path / "out"), "--json"])
    assert done.exit_code == 0, done.output
    said = json.loads(done.stdout)
    assert said["app"] == "review"
    assert said["verdict"] == "major"
    assert {one["what"] for one in said["files"]} == {"json", "html"}


def test_a_decision_is_kept_for_the_next_cut(episodes: Path, reviewed: Path, tmp_path: Path) -> None:
    shutil.copytree(reviewed / ".measured", tmp_path / "out" / ".measured")
    report = read_report(reviewed / "review.json")
    file = tmp_path / "decisions.jsonl"
    word, black, number = (_of(report, rule)[0] for rule in ("CON-13", "QC-01", "NUM-01"))
    decide(report, file, word["id"], "reject", by="王", on="2026-09-30", reason="引述，并非宣扬")
    decide(report, file, black["mark"], "waive", by="王", on="2026-09-30", reason="转场", until="2026-12-31")
    decide(report, file, number["id"], "confirm", by="王", on="2026-09-30")
    again = review(tmp_path / "out", episodes / "good.mkv", episodes / "bad.mkv", decisions=str(file))
    assert _of(again, "CON-13")[0]["decided"]["decision"] == "reject"
    assert _of(again, "QC-01")[0]["decided"]["until"] == "2026-12-31"
    assert again["counts"]["person"] == report["counts"]["person"] - 1
    labels = labels_of(again, read_decisions(file))
    assert {(one["value"]["rule"], one["value"]["class"]) for one in labels} == {("CON-13", "no"), ("NUM-01", "yes")}
    assert {one["kind"] for one in labels} == {"label.review"}


def test_a_waiver_ends(reviewed: Path, tmp_path: Path) -> None:
    from malan.apps.review.decisions import Decision

    assert Decision("m", "waive", "王", "2026-01-01", "x", "2026-12-31").holds("2026-12-31")
    assert not Decision("m", "waive", "王", "2026-01-01", "x", "2026-12-31").holds("2027-01-01")


@pytest.mark.parametrize(
    "wrong",
    [
        {"decision": "maybe"},
        {"decision": "reject", "reason": ""},
        {"decision": "waive", "until": None},
        {"decision": "confirm", "until": "2026-12-31"},
        {"by": " "},
        {"on": "heute"},
    ],
)
def test_a_decision_that_is_none_is_refused(reviewed: Path, tmp_path: Path, wrong: dict[str, Any]) -> None:
    report = read_report(reviewed / "review.json")
    said = {"decision": "confirm", "by": "王", "on": "2026-09-30", "reason": "x", **wrong}
    with pytest.raises(UsageError) as caught:
        decide(report, tmp_path / "d", report["findings"][0]["id"], said.pop("decision"), **said)
    assert caught.value.code.startswith("review.decide.")
    assert not (tmp_path / "d").exists()


def test_a_damaged_line_of_decisions_is_named(tmp_path: Path) -> None:
    (tmp_path / "d").write_text("\n{}\n")
    with pytest.raises(UsageError) as caught:
        read_decisions(tmp_path / "d")
    assert caught.value.values["line"] == 2


def test_two_cuts_are_compared(episodes: Path, reviewed: Path, tmp_path: Path) -> None:
    cut = tmp_path / "cut"
    cut.mkdir()
    shutil.copy(episodes / "good.mkv", cut / "bad.mkv")
    later = review(tmp_path / "out", cut / "bad.mkv", previous=str(reviewed / "review.json"))
    assert {one["rule"] for one in later["diff"]["gone"]} >= {"CON-13", "QC-01", "NUM-01"}
    assert "QC-06" in {one["rule"] for one in later["diff"]["kept"]}
    assert later["diff"]["media_changed"] == ["bad.mkv"]


def test_a_report_is_signed_and_a_changed_one_is_found_out(episodes: Path, tmp_path: Path) -> None:
    ws = Workspace.create(tmp_path / "ws")
    init_keys(ws)
    report = review(tmp_path / "out", episodes / "good.mkv", ws=ws)
    data, signature = (
        (tmp_path / "out" / "review.json").read_bytes(),
        (tmp_path / "out" / "review.sig.json").read_bytes(),
    )
    checked = check_report(data, signature)
    assert checked.media == (report["episodes"][0]["digest"],)
    assert checked.key_ids == (ws.keys.actor("operator").key_id,)
    with pytest.raises(ProofError):
        check_report(data.replace(b"QC-06", b"QC-07"), signature)
    with pytest.raises(ProofError):
        check_report(data, signature.replace(b"A", b"B", 3))


def test_a_stranger_checks_key_pictures_and_media(episodes: Path, tmp_path: Path) -> None:
    ws = Workspace.create(tmp_path / "ws")
    init_keys(ws)
    report = review(tmp_path / "out", episodes / "bad.mkv", ws=ws)
    key, path = ws.keys.actor("operator").key_id, tmp_path / "out" / "review.json"
    assert check_signature(path, [episodes / "bad.mkv"], key).media == (report["episodes"][0]["digest"],)
    assert _refused(path, [episodes / "good.mkv"], key) == "review.report.media"
    assert _refused(path, [], "ed25519:" + "A" * 43 + "=") == "review.report.key"
    line = ["review", "check", str(path), str(episodes / "good.mkv"), "--key", key]
    assert isinstance(CliRunner().invoke(app, line).exception, ProofError)
    picture = tmp_path / "out" / _of(report, "CON-13")[0]["picture"]
    picture.write_bytes(picture.read_bytes()[:-9] + b"forged..\n")
    assert _refused(path, [], key) == "review.report.picture"


def _refused(path: Path, media: list[Path], key: str) -> str:
    with pytest.raises(ProofError) as caught:
        check_signature(path, media, key)
    return caught.value.code


def test_a_renamed_cut_finds_its_decisions_and_its_earlier_report(episodes: Path, tmp_path: Path) -> None:
    for name in ("第1集_v1.mkv", "第1集 终版 1080p.mkv"):
        shutil.copy(episodes / "bad.mkv", tmp_path / name)
    first = review(tmp_path / "one", tmp_path / "第1集_v1.mkv")
    file = tmp_path / "decisions.jsonl"
    decide(first, file, _of(first, "CON-13")[0]["id"], "reject", by="王", on="2026-09-01", reason="引述")
    previous = str(tmp_path / "one" / "review.json")
    later = review(tmp_path / "two", tmp_path / "第1集 终版 1080p.mkv", previous=previous, decisions=str(file))
    assert (later["diff"]["gone"], later["diff"]["new"]) == ([], [])
    assert _of(later, "CON-13")[0]["decided"]["decision"] == "reject"


def test_what_nobody_could_check_is_not_passed() -> None:
    opened = {"state": "open", "severity": "block", "decision": "machine", "decided": None}
    fault = {"state": "found", "severity": "minor", "decision": "machine", "decided": None}
    assert verdict_of([opened, fault], []) == "person"
    assert verdict_of([{**opened, "decided": {"decision": "reject"}}, fault], []) == "major"
    assert verdict_of([{**opened, "decided": {"decision": "confirm"}}], []) == "block"
    assert verdict_of([{**fault, "decided": {"decision": "waive"}}], []) == "clear"
    assert verdict_of([], [{"file": "x"}]) == "block"


def test_a_pack_of_the_house_is_named_like_any_other(episodes: Path, tmp_path: Path) -> None:
    ws = Workspace.create(tmp_path / "ws")
    (ws.folder("packs") / "ours.yaml").write_text(
        'pack: ours\nversion: "1"\ntitle: {zh: 本台, en: Ours}\nextends: [tech-qc]\n'
        "params: {QC-06: {short_side: 400px}}\n"
        "rules:\n  - id: OUR-01\n    title: {zh: 过短, en: Too short}\n    severity: minor\n    decision: machine\n"
        '    when: qc.duration < 1min\n    cites: [{text: house-technical, clause: "10", quote: 文件应能完整解码}]\n',
        "utf-8",
    )
    report = review(tmp_path / "out", episodes / "good.mkv", ws=ws, pack="ours")
    assert {one["rule"] for one in report["findings"] if one["state"] == "found"} == {"OUR-01"}


def test_a_day_without_rules_is_no_pass(episodes: Path, tmp_path: Path) -> None:
    with pytest.raises(UsageError) as caught:
        review(tmp_path / "out", episodes / "good.mkv", as_of="1999-01-01")
    assert caught.value.code == "review.none_in_force"


def test_hostile_names_and_titles_are_shown_as_text(tmp_path: Path) -> None:
    name = "<img src=x onerror=alert(1)>[x](javascript:1).mkv"
    draw_episode(tmp_path / name, Plan(seconds=1, sound_s=0))
    (tmp_path / "<b>.mp4").write_bytes(b"")
    review(tmp_path / "out", tmp_path / name, tmp_path / "<b>.mp4", title="</title><script>alert(1)</script>{{7*7}}")
    page = (tmp_path / "out" / "review.html").read_text("utf-8")
    assert [tag for tag in ("<img src=x", "<script>alert", "<b>.mp4", "《49") if tag in page] == []
    assert "{{7*7}}" in page
    assert str(tmp_path) not in page  # nothing of where it was made


def test_a_caller_from_outside_names_no_paths(episodes: Path, tmp_path: Path) -> None:
    outside = Caller("party", frozenset({"buyer"}), "key")
    for more in ({"paths": (str(episodes / "good.mkv"),)}, {"paths": ("a" * 64,), "pack": "/etc/passwd.yaml"}):
        with pytest.raises(Rejected):
            APP.run(ReviewRequest(**{**TOLD, **more}), Work(tmp_path, None, outside))


def test_the_day_is_never_guessed() -> None:
    for day in (None, "", "heute", "2026-13-01"):
        with pytest.raises(UsageError):
            run_app(None, "review", {**TOLD, "paths": ["x"], "as_of": day}, Path("/nowhere/x"))


def test_a_file_that_cannot_be_read_is_told_and_the_rest_goes_on(episodes: Path, tmp_path: Path) -> None:
    (tmp_path / "empty.mp4").write_bytes(b"")
    report = review(tmp_path / "out", episodes / "good.mkv", tmp_path / "empty.mp4")
    assert [one["file"] for one in report["refused"]] == ["empty.mp4"]
    assert [one["file"] for one in report["episodes"]] == ["good.mkv"]
    assert report["verdict"] == "block"


@pytest.mark.parametrize("path", ["none.mp4", "."])
def test_what_is_not_there_is_said(tmp_path: Path, path: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(NotFound):
        review(tmp_path / "out", Path(path))


def test_sound_alone_is_an_episode_without_a_picture(tmp_path: Path) -> None:
    path = draw_episode(tmp_path / "sound.mkv", Plan(seconds=2, has_picture=False))
    report = review(tmp_path / "out", path, pack="tech-qc")
    assert {one["rule"] for one in report["findings"] if one["state"] == "found"} >= {"QC-18"}


def test_one_frame_is_an_episode(tmp_path: Path) -> None:
    path = draw_episode(tmp_path / "one.mkv", Plan(seconds=0.04, sound_s=0))
    report = review(tmp_path / "out", path, pack="tech-qc")
    assert {"QC-17"} <= {one["rule"] for one in report["findings"] if one["state"] == "found"}


@pytest.mark.parametrize(
    ("codec", "pixels"), [("libx264", "yuv420p10le"), ("libx264", "yuv444p"), ("mpeg4", "yuv420p")]
)
def test_other_pixel_formats_are_measured(tmp_path: Path, codec: str, pixels: str) -> None:
    with av.open(str(tmp_path / "x.mkv"), "w") as container:
        stream = container.add_stream(codec, rate=25)
        stream.width, stream.height, stream.pix_fmt = 320, 180, pixels
        for n in range(40):
            frame = av.VideoFrame(320, 180, "rgb24")
            for plane in frame.planes:
                plane.update(bytes([(n * 37) % 256]) * plane.buffer_size)
            frame.pts = n
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    report = review(tmp_path / "out", tmp_path / "x.mkv", pack="tech-qc")
    assert report["episodes"][0]["size_px"] == [320, 180]


@pytest.mark.parametrize("text", ["", "{}", "[]", '{"report": "malan-review"}', '{"report": 1, "findings": []}'])
def test_what_is_no_report_is_refused(tmp_path: Path, text: str) -> None:
    (tmp_path / "r.json").write_text(text)
    with pytest.raises(MalanError) as caught:
        read_report(tmp_path / "r.json")
    assert caught.value.code == "review.report.bad"


def test_real_footage_gives_its_captions_and_its_phone_number(footage: Path, tmp_path: Path) -> None:
    report = review(tmp_path, footage / "synthetic" / "vertical_s_zh_subs.mp4")
    phone = _of(report, "CON-19")[0]
    assert "13800138000" in phone["words"]
    assert report["episodes"][0]["captions"] == 26
