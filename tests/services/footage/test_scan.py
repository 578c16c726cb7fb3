"""Scanning what is registered: whole or not at all, once, and without harm from bad files."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from library_portrait import portrait
from media_factory import draw_film

from malan.core.errors import NotFound
from malan.services.footage.assets import add_assets, list_assets
from malan.services.footage.scan import ScanReport, required_producers, scan_assets
from malan.services.jobs.control import describe_job, retry_job, show_job
from malan.store import ClipQuery
from malan.workspace import Workspace


@pytest.fixture(scope="module")
def films(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two small films, and one of them once more, encoded worse."""
    folder = tmp_path_factory.mktemp("films")
    draw_film(folder / "one.mp4", (14, 12), size=(160, 96), seed=1, audio=True)
    draw_film(folder / "two.mp4", (26, 24, 25), seed=40)
    draw_film(folder / "two worse.mkv", (26, 24, 25), seed=40, options={"crf": "34"})
    return folder


@pytest.fixture(scope="module")
def scanned(films: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Workspace, ScanReport]]:
    """A workspace with the films, scanned once; tests only look at it."""
    ws = workspace(tmp_path_factory.mktemp("scanned"))
    add_assets(ws, [films], owner="湖南台")
    yield ws, scan_assets(ws, captions=False)
    ws.database.dispose()


@pytest.fixture
def ws(tmp_path: Path) -> Iterator[Workspace]:
    ws = workspace(tmp_path / "workspace")
    yield ws
    ws.database.dispose()


def workspace(root: Path) -> Workspace:
    root.mkdir(exist_ok=True)
    (root / "malan.toml").write_text("workers = 1\n", "utf-8")
    return Workspace(root)


def one_film(ws: Workspace, tmp_path: Path, films: Path) -> Path:
    """The first film alone, registered."""
    path = tmp_path / "film.mp4"
    path.write_bytes((films / "one.mp4").read_bytes())
    add_assets(ws, [path], owner="湖南台")
    return path


def test_every_asset_has_its_shots(scanned: tuple[Workspace, ScanReport]) -> None:
    ws, report = scanned
    assert sorted((Path(s.path).name, s.clips) for s in report.scanned) == [
        ("one.mp4", 2),
        ("two worse.mkv", 3),
        ("two.mp4", 3),
    ]
    assert ws.library.count_clips() == 8
    assert report.failed == ()


def test_every_clip_has_a_picture_a_filmstrip_and_a_descriptor(scanned: tuple[Workspace, ScanReport]) -> None:
    for clip_ids in portrait(scanned[0])["clips"].values():
        for clip_id in clip_ids:
            assert (scanned[0].library.thumbnail(clip_id) or b"").startswith(b"\xff\xd8")
            assert (scanned[0].library.filmstrip(clip_id) or b"").startswith(b"\xff\xd8")
            assert scanned[0].library.descriptor(clip_id) is not None


def test_findings_of_all_kinds_are_there(scanned: tuple[Workspace, ScanReport]) -> None:
    ws, _ = scanned
    row = next(row for row in list_assets(ws) if row.locations[0].path.endswith("one.mp4"))
    kinds = {finding.kind for finding in ws.library.findings(asset_id=row.asset.id)}
    assert {"shot.transition", "quality.technical", "motion.class", "colour.dominant", "audio.loudness"} <= kinds


def test_the_waveform_and_the_report_are_kept(scanned: tuple[Workspace, ScanReport]) -> None:
    ws, _ = scanned
    row = next(row for row in list_assets(ws) if row.locations[0].path.endswith("one.mp4"))
    extras = ws.library.extras(row.asset.id)
    assert len(extras["audio.peaks"].data) == 2 * extras["audio.peaks"].value["count"]
    assert extras["scan.report"].value["frames"] == 26


def test_the_same_film_encoded_again_is_a_near_duplicate(scanned: tuple[Workspace, ScanReport]) -> None:
    ws, report = scanned
    assert report.groups == 3
    groups = ws.library.groups()
    named = {Path(row.locations[0].path).name: row.asset.id for row in list_assets(ws)}
    one, other = (ws.library.clips(named[name]) for name in ("two.mp4", "two worse.mkv"))
    assert [groups[clip.id] for clip in one] == [groups[clip.id] for clip in other]


def test_near_duplicates_are_folded_in_search(scanned: tuple[Workspace, ScanReport]) -> None:
    assert len(scanned[0].library.search(ClipQuery()).hits) == 5


def test_what_was_scanned_is_not_scanned_again(scanned: tuple[Workspace, ScanReport]) -> None:
    again = scan_assets(scanned[0], captions=False)
    assert (len(again.scanned), len(again.unchanged), again.job_id) == (0, 3, None)


def test_the_job_is_done_item_by_item(scanned: tuple[Workspace, ScanReport]) -> None:
    ws, report = scanned
    assert report.job_id is not None
    job = describe_job(show_job(ws, report.job_id).job)
    assert (job["state"], job["total"], job["done"], job["failed"]) == ("done", 3, 3, 0)


def test_scanning_again_when_asked_changes_nothing(ws: Workspace, tmp_path: Path, films: Path) -> None:
    one_film(ws, tmp_path, films)
    scan_assets(ws, captions=False)
    before = portrait(ws)
    assert len(scan_assets(ws, captions=False, again=True).scanned) == 1
    assert portrait(ws) == before


def test_only_what_is_named_is_scanned(ws: Workspace, films: Path) -> None:
    add_assets(ws, [films], owner="湖南台")
    chosen = list_assets(ws)[0].asset.id
    report = scan_assets(ws, [chosen[:10]], captions=False)
    assert [s.asset_id for s in report.scanned] == [chosen]
    assert [row.status for row in list_assets(ws)].count("scanned") == 1


def test_an_unknown_asset_is_not_found(ws: Workspace) -> None:
    with pytest.raises(NotFound):
        scan_assets(ws, ["abcdef12"])


def test_captions_are_an_operator_like_the_others(ws: Workspace, tmp_path: Path, films: Path) -> None:
    one_film(ws, tmp_path, films)
    scan_assets(ws, captions=False)
    report = scan_assets(ws, captions=True)
    assert len(report.scanned) == 1
    assert dict(list_assets(ws)[0].scan) == required_producers(captions=True)
    assert len(scan_assets(ws, captions=False).unchanged) == 1


def test_a_file_that_is_gone_fails_alone_and_keeps_its_status(ws: Workspace, tmp_path: Path, films: Path) -> None:
    one_film(ws, tmp_path, films).unlink()
    report = scan_assets(ws, captions=False)
    assert [failed.error.code for failed in report.failed] == ["asset.no_path"]
    assert list_assets(ws)[0].status == "registered"


def test_a_file_that_is_another_now_is_not_scanned_as_the_old_one(ws: Workspace, tmp_path: Path, films: Path) -> None:
    one_film(ws, tmp_path, films).write_bytes((films / "two.mp4").read_bytes())
    report = scan_assets(ws, captions=False)
    assert [failed.error.code for failed in report.failed] == ["asset.not_the_same"]
    assert ws.library.count_clips() == 0


def test_a_copy_serves_when_the_first_place_is_gone(ws: Workspace, tmp_path: Path, films: Path) -> None:
    path = one_film(ws, tmp_path, films)
    copy = tmp_path / "copy.mp4"
    copy.write_bytes(path.read_bytes())
    add_assets(ws, [copy], owner="湖南台")
    path.unlink()
    assert [s.path for s in scan_assets(ws, captions=False).scanned] == [str(copy)]


def test_a_scan_that_kills_its_worker_is_a_row_that_says_why(
    ws: Workspace, tmp_path: Path, films: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from malan.runtime.pool import Task
    from malan.services.footage import scan

    add_assets(ws, [films], owner="湖南台")
    bad = list_assets(ws)[1].asset.id
    real = scan._tasks

    def tasks(*arguments: object) -> Iterator[Task]:
        for task in real(*arguments):  # type: ignore[arg-type]
            yield Task("os:abort", (), task.key) if task.key[0] == bad else task

    monkeypatch.setattr(scan, "_tasks", tasks)
    report = scan_assets(ws, captions=False)
    assert [(failed.asset_id, failed.error.code) for failed in report.failed] == [(bad, "runtime.worker_died")]
    assert len(report.scanned) == 2
    row = ws.library.asset(bad)
    assert (row.status, row.code, row.values) == ("refused", "runtime.worker_died", {"how": "SIGABRT"})
    monkeypatch.undo()
    assert report.job_id is not None
    assert [s.asset_id for s in retry_job(ws, report.job_id).scanned] == [bad]
    assert ws.library.asset(bad).status == "scanned"


def test_a_long_scan_that_is_cancelled_stops_in_the_middle_of_a_file(
    ws: Workspace, tmp_path: Path, films: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from malan.runtime.pool import Task
    from malan.services.footage import scan

    one_film(ws, tmp_path, films)
    endless = Task("time:sleep", (3600,), key=("0" * 64, "endless.mp4"))
    monkeypatch.setattr(scan, "_tasks", lambda *_: iter([endless]))

    def cancel() -> None:
        while not (running := ws.jobs.list(state="running")):
            time.sleep(0.05)
        ws.jobs.cancel(running[0].id)

    threading.Thread(target=cancel).start()
    report = scan_assets(ws, captions=False)
    assert report.was_cancelled
    assert report.scanned == ()


def test_an_empty_workspace_has_nothing_to_scan(ws: Workspace) -> None:
    assert scan_assets(ws) == ScanReport(None, (), (), ())
