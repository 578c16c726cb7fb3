"""A scan writes down what is said, where a recogniser is configured; search and subtitles find it."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from gateway_factory import upstream_server
from services.spoken_place import spoken_sound, with_ear

from malan.core.errors import MediaError, NotFound, NotGranted, UsageError
from malan.services.access import ANNOTATOR, Caller
from malan.services.clips.search import find
from malan.services.footage import portrait as inspect
from malan.services.footage.assets import add_assets
from malan.services.footage.scan import ScanReport, scan_assets
from malan.services.footage.transcripts import listeners, transcribe_assets, transcript_of
from malan.services.jobs.control import retry_job
from malan.services.models.rights import retire_model
from malan.services.models.rows import ModelRow
from malan.store.query import ClipQuery
from malan.workspace import Workspace

pytest.importorskip("sherpa_onnx")
pytestmark = pytest.mark.skipif(shutil.which("espeak-ng") is None, reason="espeak-ng speaks in test sounds")
LETTERS = {1.0: "马", 1.5: "栏", 2.0: "山", 2.5: "水"}


@pytest.fixture
def ws(tmp_path: Path) -> Iterator[Workspace]:
    ws = Workspace.create(tmp_path / "workspace")
    yield ws
    ws.database.dispose()


@pytest.fixture
def asset(ws: Workspace, tmp_path: Path) -> str:
    """A registered sound in which 马栏山水 is heard."""
    report = add_assets(ws, [spoken_sound(tmp_path, LETTERS)], owner="湖南台")
    return report.added[0].asset_id


@dataclass(frozen=True)
class Heard:
    """A sound that was scanned with a recogniser configured; only looked at."""

    ws: Workspace
    asset: str
    base: ModelRow
    report: ScanReport


@pytest.fixture(scope="module")
def heard(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Heard]:
    root = tmp_path_factory.mktemp("heard")
    ws = Workspace.create(root / "workspace")
    asset = add_assets(ws, [spoken_sound(root, LETTERS)], owner="湖南台").added[0].asset_id
    yield Heard(ws, asset, with_ear(ws, root), scan_assets(ws))
    ws.database.dispose()


def test_a_scan_writes_down_what_is_said_and_when(heard: Heard) -> None:
    ws, asset, base, report = heard.ws, heard.asset, heard.base, heard.report
    assert (report.transcribed, report.speech_problem) == (1, None)
    [line] = transcript_of(ws, asset).lines
    assert line.value["text"] == "马栏山水"
    assert line.value["language"] == "zh"
    assert (line.producer, line.version) == ("speech.transcript", base.id)
    assert [word[0] for word in line.value["words"]] == list("马栏山水")
    for word, at_s in zip(line.value["words"], LETTERS, strict=True):
        assert word[1] == pytest.approx(at_s, abs=0.06)
    assert line.clip.span.start_s == pytest.approx(1.0, abs=0.06)


def test_words_spoken_are_found_by_search(heard: Heard) -> None:
    [hit] = find(heard.ws, ClipQuery(text="栏山")).hits
    assert hit.row.clip.asset_id == heard.asset
    assert "speech.transcript" in hit.row.labels
    assert hit.evidence[0].snippet == "马栏山水"


def test_the_console_shows_what_is_said_among_the_captions(heard: Heard) -> None:
    [line] = inspect.asset(heard.ws, heard.asset, "zh").captions
    assert (line.text, line.is_spoken, line.is_persistent) == ("马栏山水", True, False)
    assert line.start_s == pytest.approx(1.0, abs=0.06)


def test_subtitles_count_from_the_first_moment(heard: Heard) -> None:
    number, times, text = transcript_of(heard.ws, heard.asset).srt.splitlines()
    assert (number, text) == ("1", "马栏山水")
    assert times.startswith("00:00:01,0")


def test_without_a_recogniser_a_scan_is_as_before(ws: Workspace, asset: str) -> None:
    report = scan_assets(ws)
    assert (len(report.scanned), report.transcribed, report.speech_problem) == (1, 0, None)
    assert listeners(ws) == ()
    with pytest.raises(UsageError):
        transcribe_assets(ws)


@pytest.mark.parametrize("why", ["missing", "licence", "broken"])
def test_a_recogniser_that_cannot_be_used_is_told_and_the_scan_goes_on(
    ws: Workspace, tmp_path: Path, asset: str, why: str
) -> None:
    if why == "missing":
        (ws.root / "models.toml").write_text('[engines.ear]\nkind="transcription"\nbackend="sherpa"\nmodel="ear"\n')
    elif why == "licence":
        with_ear(ws, tmp_path, licence="CC-BY-NC-4.0")
    else:
        (ws.root / "models.toml").write_text("[engines")
    report = scan_assets(ws)
    assert len(report.scanned) == 1
    assert report.speech_problem is not None
    assert report.speech_problem.message("zh")
    assert ws.library.asset(asset).status == "scanned"


@pytest.mark.parametrize("way", ["ok", "busy", "garbage", "broken"])
def test_a_recogniser_far_away_is_asked_like_one_here(ws: Workspace, asset: str, way: str) -> None:
    patience_s = 60.0 if way == "ok" else 2.0
    with upstream_server() as url:
        (ws.root / "models.toml").write_text(
            f'[engines.far]\nkind="transcription"\nbackend="openai"\nmodel="{way}"\nurl="{url}/v1"\n'
            f"timeout_s={patience_s}\n"
        )
        report = scan_assets(ws)
    assert len(report.scanned) == 1
    assert (report.speech_problem is None) == (way == "ok")
    assert bool(transcript_of(ws, asset).lines) == (way == "ok")


def test_what_was_heard_is_not_heard_again_unless_asked(ws: Workspace, tmp_path: Path, asset: str) -> None:
    with_ear(ws, tmp_path)
    scan_assets(ws)
    assert transcribe_assets(ws).unchanged == (asset,)
    assert transcribe_assets(ws, again=True).heard == (asset,)
    assert len(transcript_of(ws, asset).lines) == 1


def test_a_model_configured_later_hears_what_was_scanned_before(ws: Workspace, tmp_path: Path, asset: str) -> None:
    scan_assets(ws)
    with_ear(ws, tmp_path)
    report = scan_assets(ws)
    assert (report.scanned, report.transcribed) == ((), 1)


def test_another_model_replaces_what_the_first_one_wrote(ws: Workspace, tmp_path: Path, asset: str) -> None:
    from onnx_factory import write_listener

    from malan.services.models.bases import add_base

    with_ear(ws, tmp_path)
    scan_assets(ws)
    folder = write_listener(tmp_path / "second")
    (folder / "tokens.txt").write_text("<blk> 0\n牛 1\n棚 2\n河 3\n火 4\n", "utf-8")
    second = add_base(ws, folder, licence="MIT", family="zipformer", name="second")
    file = ws.root / "models.toml"
    file.write_text(file.read_text().replace('model = "ear"', 'model = "second"'))
    assert transcribe_assets(ws).heard == (asset,)
    [line] = transcript_of(ws, asset).lines
    assert (line.value["text"], line.version) == ("牛棚河火", second.id)


def test_speech_apart_by_a_long_pause_is_heard_apart(ws: Workspace, tmp_path: Path) -> None:
    with_ear(ws, tmp_path)
    path = spoken_sound(tmp_path, {1.0: "马", 9.0: "水"}, gap_s=3.0, times=2)
    asset = add_assets(ws, [path], owner="湖南台").added[0].asset_id
    scan_assets(ws)
    assert [line.value["text"] for line in transcript_of(ws, asset).lines] == ["马", "水"]


def test_a_file_that_went_away_fails_alone(ws: Workspace, tmp_path: Path, asset: str) -> None:
    scan_assets(ws)
    with_ear(ws, tmp_path)
    Path(ws.library.asset(asset).locations[0].path).unlink()
    report = transcribe_assets(ws)
    assert isinstance(report.failed[0].error, NotFound | MediaError)
    assert report.heard == ()
    assert ws.library.asset(asset).status == "scanned"


def test_a_job_that_was_stopped_goes_on(
    ws: Workspace, tmp_path: Path, asset: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    scan_assets(ws)
    with_ear(ws, tmp_path)
    with monkeypatch.context() as patch:
        patch.setattr("malan.services.footage.transcripts.lines_of", _interrupted)
        with pytest.raises(KeyboardInterrupt):
            transcribe_assets(ws)
    assert transcript_of(ws, asset).lines == ()
    [job] = [one for one in ws.jobs.list() if one.kind == "asset.transcribe"]
    retry_job(ws, job.id)
    assert len(transcript_of(ws, asset).lines) == 1


def test_a_model_taken_out_of_use_hears_nothing_more(ws: Workspace, tmp_path: Path, asset: str) -> None:
    with_ear(ws, tmp_path)
    retire_model(ws, "ear", "unfit")
    assert isinstance(scan_assets(ws).speech_problem, NotGranted)


def test_who_may_not_scan_may_not_transcribe(ws: Workspace, asset: str) -> None:
    with pytest.raises(NotGranted):
        transcribe_assets(ws, caller=Caller("a" * 16, frozenset({ANNOTATOR}), "session"))


def _interrupted(*_: object) -> None:
    raise KeyboardInterrupt
