"""Labels along the chain: found when footage is added, searchable, carried into what is cut, copied and shown."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from media_factory import draw_film
from PIL import Image
from typer.testing import CliRunner, Result

from malan.cli.main import app
from malan.core.errors import MediaError
from malan.media.labels import Label, verify, write_label, write_text
from malan.services.clips.exports import export_clips
from malan.services.clips.where import condition
from malan.services.datasets.freezing import export_snapshot, freeze_snapshot
from malan.services.files.labels import carry, carry_all, label_text
from malan.services.files.plain import thumbnails_of_file
from malan.services.footage.assets import add_assets
from malan.services.footage.marks import LABEL, marks_of, marks_on
from malan.services.footage.portrait import asset as asset_page
from malan.services.footage.preview_task import make_preview
from malan.services.footage.scan import scan_assets
from malan.store.query import ClipQuery
from malan.workspace import Workspace

MADE = Label.first("001191440300708461136T1XGW3", "019a-7c1e")


@pytest.fixture(scope="module")
def films(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A labelled film, the same without a label, and a labelled picture."""
    folder = tmp_path_factory.mktemp("films")
    plain = draw_film(folder / "plain.mp4", (14, 16), size=(128, 80), audio=True).path
    other = draw_film(folder / "other.mp4", (12, 12), size=(128, 80), seed=40).path
    write_label(other, folder / "made.mp4", MADE)
    Image.linear_gradient("L").convert("RGB").save(folder / "bare.png")
    write_label(folder / "bare.png", folder / "made.png", MADE)
    other.unlink()
    assert plain.is_file()
    return folder


@pytest.fixture(scope="module")
def ws(films: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Workspace]:
    ws = Workspace.create(tmp_path_factory.mktemp("labels") / "ws")
    add_assets(ws, [films], owner="湖南台")
    scan_assets(ws, captions=False)
    yield ws
    ws.database.dispose()


def asset_id(ws: Workspace, name: str) -> str:
    return next(
        row.asset.id for row in ws.library.assets() if name in {Path(place.path).name for place in row.locations}
    )


def test_a_label_in_footage_becomes_a_finding_about_the_whole_asset(ws: Workspace) -> None:
    (finding,) = marks_on(ws, asset_id(ws, "made.mp4"))
    assert (finding.kind, finding.value["label"], finding.value["verdict"]) == (LABEL, "1", "compliant")
    assert finding.value["produce_id"] == "019a-7c1e"
    assert float(finding.clip.span.duration) == pytest.approx(24 / 25)
    assert marks_on(ws, asset_id(ws, "plain.mp4")) == []


def test_a_labelled_picture_is_marked_too(ws: Workspace) -> None:
    assert [finding.value["label"] for finding in marks_on(ws, asset_id(ws, "made.png"))] == ["1"]


def test_adding_again_and_scanning_again_keeps_one_finding(ws: Workspace, films: Path, tmp_path: Path) -> None:
    copy = tmp_path / "elsewhere.mp4"
    shutil.copy(films / "made.mp4", copy)
    report = add_assets(ws, [films, copy], owner="湖南台")
    assert not report.added
    scan_assets(ws, captions=False, again=True)
    assert len(marks_on(ws, asset_id(ws, "made.mp4"))) == 1


def test_adding_says_that_input_is_ai_generated(films: Path, tmp_path: Path) -> None:
    ws = Workspace.create(tmp_path / "ws")
    report = add_assets(ws, [films / "made.mp4"], owner="湖南台")
    assert "label.input.1" in report.added[0].warnings
    ws.database.dispose()


@pytest.mark.parametrize("words", ["AI-generated", "人工智能生成"])
def test_ai_generated_clips_are_found_by_words(ws: Workspace, words: str) -> None:
    page = ws.library.search(ClipQuery(text=words, limit=50))
    assert {hit.row.clip.asset_id for hit in page.hits} == {asset_id(ws, "made.mp4"), asset_id(ws, "made.png")}


@pytest.mark.parametrize(("lang", "name"), [("en", "AI-generated input"), ("zh", "人工智能生成的输入素材")])
def test_the_page_of_an_asset_shows_the_mark(ws: Workspace, lang: str, name: str) -> None:
    groups = {group.label: group for group in asset_page(ws, asset_id(ws, "made.mp4"), lang).findings}
    assert len(groups[name].rows) == 1


@pytest.mark.parametrize("content", [b"", b"text", b"\0\0\0\x10ftypisom", b"\x89PNG\r\n\x1a\n"])
def test_looking_for_marks_never_fails_for_what_is_in_a_file(content: bytes, tmp_path: Path) -> None:
    path = tmp_path / "odd"
    path.write_bytes(content or b"\0")
    assert marks_of(path) == ()


def test_a_label_nobody_can_read_still_marks_the_input(films: Path, tmp_path: Path) -> None:
    write_text(films / "plain.mp4", tmp_path / "odd.mp4", "AI生成")
    (mark,) = marks_of(tmp_path / "odd.mp4")
    assert (mark.value["label"], mark.value["verdict"], mark.reason) == ("unreadable", "noncompliant", "label.not_json")


# Going along


def test_an_exported_clip_carries_the_label_of_its_film(ws: Workspace, tmp_path: Path) -> None:
    clips = list(ws.library.matching(condition("owner=湖南台")))
    done = export_clips(ws, [row.id for row in clips], tmp_path / "clips")
    labelled = {one.row.clip.asset_id: verify(one.path).verdict for one in done}
    assert labelled[asset_id(ws, "made.mp4")] == "compliant"
    assert labelled[asset_id(ws, "made.png")] == "compliant"
    assert labelled[asset_id(ws, "plain.mp4")] == "not_found"
    assert not [path for path in (tmp_path / "clips").iterdir() if path.name.startswith(".")]


def test_an_exported_dataset_carries_it_too(ws: Workspace, tmp_path: Path) -> None:
    snapshot = freeze_snapshot(ws, "labelled", condition("owner=湖南台")).saved.snapshot
    export_snapshot(ws, snapshot.id, "videofolder", tmp_path / "out")
    verdicts = [verify(path) for path in sorted((tmp_path / "out").rglob("*.mp4"))]
    said = [verdict.label["ProduceID"] for verdict in verdicts if verdict.label]
    assert set(said) == {"019a-7c1e"}
    assert 0 < len(said) < len(verdicts)


def test_a_preview_copy_carries_it(films: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("malan.services.footage.preview_task.report_progress", lambda _share: None)
    size = make_preview(str(films / "made.mp4"), str(tmp_path / "preview.mp4"))
    assert verify(tmp_path / "preview.mp4").label == MADE.to_fields()
    assert size == (tmp_path / "preview.mp4").stat().st_size


def test_a_contact_sheet_carries_it(films: Path, tmp_path: Path) -> None:
    thumbnails_of_file(films / "made.mp4", tmp_path / "sheet.jpg")
    assert verify(tmp_path / "sheet.jpg").label == MADE.to_fields()


def test_of_several_sources_the_surest_statement_is_carried(films: Path, tmp_path: Path) -> None:
    may = Label.first("001191440300708461136T1XGW3", "may", label="2")
    write_label(films / "plain.mp4", tmp_path / "may.mp4", may)
    shutil.copy(films / "plain.mp4", tmp_path / "out.mp4")
    assert carry_all([films / "plain.mp4", tmp_path / "may.mp4", films / "made.mp4"], tmp_path / "out.mp4")
    assert verify(tmp_path / "out.mp4").label == MADE.to_fields()


def test_a_label_that_breaks_rules_is_carried_as_it_stands(films: Path, tmp_path: Path) -> None:
    odd = MADE.to_json().replace(MADE.content_producer, "Minimax Agent AI")
    write_text(films / "plain.mp4", tmp_path / "odd.mp4", odd)
    shutil.copy(films / "plain.mp4", tmp_path / "out.mp4")
    assert carry(tmp_path / "odd.mp4", tmp_path / "out.mp4")
    assert label_text([tmp_path / "out.mp4"]) == odd
    assert verify(tmp_path / "out.mp4").verdict == "noncompliant"


def test_nothing_is_carried_where_there_is_no_label(films: Path, tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("no media")
    assert not carry_all([films / "plain.mp4", tmp_path / "notes.txt"], tmp_path / "not made at all.mp4")


def test_a_label_is_never_dropped_in_silence(films: Path, tmp_path: Path) -> None:
    (tmp_path / "out.gif").write_bytes(b"GIF89a" + bytes(60))
    with pytest.raises(MediaError) as caught:
        carry(films / "made.mp4", tmp_path / "out.gif")
    assert caught.value.code == "label.no_carrier"


# Commands


def malan(*arguments: object) -> Result:
    return CliRunner().invoke(app, ["media", "label", *map(str, arguments)])


def written(films: Path, out: Path, *more: str) -> dict[str, Any]:
    options = ["--producer", MADE.content_producer, "--produce-id", "019a-7c1e", *more, "--json"]
    result = malan("write", films / "plain.mp4", "--out", out, *options)
    assert result.exit_code == 0, result.output
    said: dict[str, Any] = json.loads(result.stdout)
    return said


def test_write_and_verify_speak_the_same_json(films: Path, tmp_path: Path) -> None:
    said = written(films, tmp_path / "out.mp4")
    result = malan("verify", tmp_path / "out.mp4", "--json")
    found = json.loads(result.stdout)
    assert (result.exit_code, found["verdict"], found["reasons"]) == (0, "compliant", [])
    assert found["label"] == said["label"] == MADE.to_fields()


def test_strength_and_propagator_are_written_as_given(films: Path, tmp_path: Path) -> None:
    code = "001191110102MACQD9K64020000"
    said = written(films, tmp_path / "o.mp4", "--label", "2", "--propagator", code, "--propagate-id", "p-1")
    assert [said["label"][key] for key in ("Label", "ContentPropagator", "PropagateID")] == ["2", code, "p-1"]


@pytest.mark.parametrize(("name", "verdict"), [("plain.mp4", "not_found"), ("bare.png", "not_found")])
def test_verify_ends_with_one_unless_the_file_is_compliant(films: Path, name: str, verdict: str) -> None:
    result = malan("verify", films / name, "--json")
    assert (result.exit_code, json.loads(result.stdout)["verdict"]) == (1, verdict)


def test_people_read_the_verdict_in_their_language(films: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert "compliant" in malan("verify", films / "made.mp4").stdout
    monkeypatch.setenv("MALAN_LANG", "zh")
    assert "合规" in malan("verify", films / "made.mp4").stdout


@pytest.mark.parametrize(
    ("more", "code"),
    [
        (["--producer", "某公司", "--produce-id", "1"], "label.character"),
        (["--producer", "PLACEHOLDER", "--produce-id", "1"], "label.placeholder"),
        (["--producer", "P", "--produce-id", "1", "--label", "4"], "label.strength"),
        (["--producer", "P", "--produce-id", "1", "--propagator", "Q"], "label.half_propagator"),
    ],
)
def test_a_label_against_the_standard_is_refused_as_misuse(
    more: list[str], code: str, films: Path, tmp_path: Path
) -> None:
    result = malan("write", films / "plain.mp4", "--out", tmp_path / "out.mp4", *more)
    assert getattr(result.exception, "code", None) == code
    assert getattr(result.exception, "exit_code", None) == 2
    assert not (tmp_path / "out.mp4").exists()


def test_labelling_a_signed_file_says_that_the_signature_is_lost(films: Path, tmp_path: Path) -> None:
    from malan.media.credentials import Credential, SourceType, new_chain, sign_media

    signed, out = tmp_path / "signed.jpg", tmp_path / "out.jpg"
    Image.linear_gradient("L").convert("RGB").save(tmp_path / "a.jpg")
    credential = Credential("a picture", "Malan", SourceType.AI_GENERATED)
    sign_media(tmp_path / "a.jpg", signed, new_chain("Test"), credential)
    result = malan("write", signed, "--out", out, "--producer", MADE.content_producer, "--produce-id", "1", "--json")
    assert [reason["code"] for reason in json.loads(result.stdout)["reasons"]] == ["label.breaks_credential"]
    assert verify(out).verdict == "compliant"
