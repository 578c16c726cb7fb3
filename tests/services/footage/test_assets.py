"""Registering footage: every file ends up added, known or refused with a reason, and nothing twice."""

from __future__ import annotations

import os
import resource
import shutil
import struct
import subprocess
import sys
import threading
import zlib
from collections.abc import Iterator
from pathlib import Path

import pytest
from media_factory import draw_film

from malan.core.errors import MalanError, RetryLater, StoreError, UsageError
from malan.rights.terms import load_terms, party_id
from malan.services.footage.assets import AddReport, add_assets, list_assets, list_refused, resume_add, show_asset
from malan.services.footage.owners import owner_names, terms_of
from malan.workspace import Workspace


@pytest.fixture(scope="module")
def film(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One small film with sound; tests copy it."""
    return draw_film(tmp_path_factory.mktemp("film") / "film.mp4", (5, 5), size=(96, 64), audio=True).path


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "footage").mkdir()
    return tmp_path / "footage"


@pytest.fixture
def ws(tmp_path: Path) -> Iterator[Workspace]:
    (tmp_path / "workspace").mkdir()
    (tmp_path / "workspace/malan.toml").write_text("workers = 1\n", "utf-8")
    ws = Workspace(tmp_path / "workspace")
    yield ws
    ws.database.dispose()


def put(film: Path, to: Path, mark: str = "") -> Path:
    """A copy of the film with bytes of its own behind its end."""
    to.parent.mkdir(parents=True, exist_ok=True)
    to.write_bytes(film.read_bytes() + (b"\0\0\0\x08free" * len(mark) if mark else b""))
    return to


def add(ws: Workspace, *paths: Path, owner: str = "湖南台") -> AddReport:
    return add_assets(ws, paths, owner=owner)


def counts(report: AddReport) -> tuple[int, int, int]:
    return len(report.added), len(report.known), len(report.refused)


def as_nobody(prepare: str, attempt: str) -> str:
    """The code of the error that somebody without rights meets; root is let in everywhere."""
    lines = (
        "import logging, os, tempfile",  # what is imported on the way may lie where nobody may read
        "from malan.core.errors import MalanError",
        prepare,
        "try:",
        f"    {attempt.replace('shut', 'none')}",
        "except MalanError:",
        "    pass",
        "os.setuid(65534)",
        "try:",
        f"    {attempt}",
        "except MalanError as error:",
        "    print(error.code, end='')",
    )
    env = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    command = [sys.executable, "-c", "\n".join(lines)]
    return subprocess.run(command, env=env, stdout=subprocess.PIPE, text=True, check=True).stdout


def codes(report: AddReport) -> dict[str, str]:
    return {Path(file.path).name: file.error.code for file in report.refused}


def test_a_film_is_registered_with_its_tracks_owner_place_and_index(ws: Workspace, folder: Path, film: Path) -> None:
    path = put(film, folder / "夜景.mp4")
    (added,) = add(ws, path).added
    row = show_asset(ws, added.asset_id[:8])
    assert [track.kind for track in row.asset.tracks] == ["video", "audio"]
    assert row.asset.owner_id == party_id("湖南台")
    assert [place.path for place in row.locations] == [str(path)]
    assert len(ws.library.index(row.asset.id)) > 0
    assert owner_names(ws) == {party_id("湖南台"): "湖南台"}


def test_running_twice_adds_nothing_twice_and_reads_nothing_twice(
    ws: Workspace, folder: Path, film: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    put(film, folder / "a.mp4", "x")
    put(film, folder / "b.mp4", "xx")
    assert counts(add(ws, folder)) == (2, 0, 0)
    monkeypatch.setattr("malan.services.footage.assets._task", lambda *_: pytest.fail("a known file was read"))
    assert counts(add(ws, folder)) == (0, 2, 0)
    assert len(list_assets(ws)) == 2


def test_the_same_bytes_elsewhere_are_one_asset_with_two_places(ws: Workspace, folder: Path, film: Path) -> None:
    put(film, folder / "a.mp4")
    assert counts(add(ws, folder)) == (1, 0, 0)
    put(film, folder / "copy.mp4")
    report = add(ws, folder)
    assert counts(report) == (0, 2, 0)
    (row,) = list_assets(ws)
    assert {Path(place.path).name for place in row.locations} == {"a.mp4", "copy.mp4"}


def test_copies_met_in_one_run_are_one_asset(ws: Workspace, folder: Path, film: Path) -> None:
    for name in ("a.mp4", "b.mp4", "c.mp4"):
        put(film, folder / name)
    assert counts(add(ws, folder)) == (1, 2, 0)
    assert len(show_asset(ws, add(ws, folder).known[0].asset_id).locations) == 3


def test_a_file_that_was_replaced_is_another_asset(ws: Workspace, folder: Path, film: Path) -> None:
    path = put(film, folder / "a.mp4")
    add(ws, folder)
    put(film, path, "replaced")
    os.utime(path, ns=(1, 1))
    assert counts(add(ws, folder)) == (1, 0, 0)
    places = {row.asset.id: [p.path for p in row.locations] for row in list_assets(ws)}
    assert sorted(map(len, places.values())) == [0, 1]


def test_files_that_changed_places_are_found_at_their_new_ones(ws: Workspace, folder: Path, film: Path) -> None:
    one, other = put(film, folder / "one.mp4", "x"), put(film, folder / "other.mp4", "xx")
    by_name = {Path(added.path).name: added.asset_id for added in add(ws, folder).added}
    one.rename(folder / "aside.mp4")
    other.rename(one)
    (folder / "aside.mp4").rename(other)
    assert counts(add(ws, folder)) == (0, 2, 0)
    places = {row.asset.id: [Path(p.path).name for p in row.locations] for row in list_assets(ws)}
    assert places == {by_name["one.mp4"]: ["other.mp4"], by_name["other.mp4"]: ["one.mp4"]}


def test_new_terms_hold_for_what_is_known_too(ws: Workspace, folder: Path, film: Path, tmp_path: Path) -> None:
    put(film, folder / "a.mp4")
    add(ws, folder)
    (tmp_path / "terms.toml").write_text('name = "two years"\nuses = ["train"]\n', "utf-8")
    terms = load_terms(tmp_path / "terms.toml", "湖南台")
    assert counts(add_assets(ws, [folder], owner="湖南台", terms=terms)) == (0, 1, 0)
    (row,) = list_assets(ws)
    assert row.asset.terms_id == terms.id
    assert terms_of(ws, terms.id) == terms


def test_adding_without_terms_keeps_the_terms_there_are(
    ws: Workspace, folder: Path, film: Path, tmp_path: Path
) -> None:
    put(film, folder / "a.mp4")
    (tmp_path / "terms.toml").write_text('name = "two years"\nuses = ["train"]\n', "utf-8")
    terms = load_terms(tmp_path / "terms.toml", "湖南台")
    add_assets(ws, [folder], owner="湖南台", terms=terms)
    put(film, folder / "copy.mp4")
    add(ws, folder)
    (row,) = list_assets(ws)
    assert row.asset.terms_id == terms.id


def test_footage_cannot_be_registered_to_a_second_owner(ws: Workspace, folder: Path, film: Path) -> None:
    path = put(film, folder / "a.mp4")
    add(ws, path)
    copy = put(film, folder / "copy.mp4")
    report = add(ws, path, copy, owner="Another Studio")
    assert codes(report) == {"a.mp4": "asset.other_owner", "copy.mp4": "asset.other_owner"}
    assert "湖南台" in report.refused[0].error.message("en")
    (row,) = list_assets(ws)
    assert row.asset.owner_id == party_id("湖南台")
    assert len(row.locations) == 1


def test_the_same_owner_typed_otherwise_is_the_same_owner(ws: Workspace, folder: Path, film: Path) -> None:
    put(film, folder / "a.mp4")
    add(ws, folder, owner="Big Studio")
    assert counts(add(ws, folder, owner="  big  STUDIO ")) == (0, 1, 0)


def test_subtitles_next_to_a_film_are_noted(ws: Workspace, folder: Path, film: Path) -> None:
    put(film, folder / "film.mp4")
    (folder / "film.zh.srt").write_text("1\n00:00:00,000 --> 00:00:01,000\n你好\n", "utf-8")
    report = add(ws, folder)
    assert report.added[0].subtitles == ("film.zh.srt",)
    assert list_assets(ws)[0].tags == ("film.zh.srt",)
    assert report.passed.subtitles == 1


@pytest.mark.parametrize("name", ["quote'\".mp4", "new\nline.mp4", "\udcff\udcfe.mp4", "-dash.mp4", "100%:a?.mp4"])
def test_a_film_of_any_name_is_registered(ws: Workspace, folder: Path, film: Path, name: str) -> None:
    path = put(film, folder / name)
    (added,) = add(ws, folder).added
    assert added.path == str(path)
    assert counts(add(ws, folder)) == (0, 1, 0)


@pytest.mark.parametrize("name", ["quote'\".mp4", "new\nline.mp4", "\udcff\udcfe.mp4"])
def test_a_bad_file_of_any_name_gets_its_line_and_its_row(ws: Workspace, folder: Path, name: str) -> None:
    (folder / name).write_bytes(b"")
    (refused,) = add(ws, folder).refused
    assert refused.error.message("en").count("\n") == 0
    assert [(file.path, file.error.code) for file in list_refused(ws)] == [(str(folder / name), "media.empty")]


def test_a_folder_of_bad_files_is_refused_one_by_one_and_the_good_one_is_added(
    ws: Workspace, folder: Path, film: Path
) -> None:
    data = film.read_bytes()
    put(film, folder / "good.mp4")
    bad = {
        "zero.mp4": b"",
        "text.mp4": b"this is a letter, not a film\n" * 50,
        "no moov.mp4": data[: data.index(b"moov") - 4],
        "noise.mkv": bytes(range(256)) * 40,
        "page.mov": b"<!doctype html><html><body>404</body></html>",
    }
    for name, content in bad.items():
        (folder / name).write_bytes(content)
    (folder / "loop").symlink_to(folder)
    (folder / "gone.mp4").symlink_to(folder / "nowhere.mp4")
    os.mkfifo(folder / "pipe.mp4")
    report = add(ws, folder)
    assert [Path(file.path).name for file in report.added] == ["good.mp4"]
    assert codes(report) == {
        "zero.mp4": "media.empty",
        "text.mp4": "media.not_media",
        "no moov.mp4": "media.truncated",
        "noise.mkv": "media.not_media",
        "page.mov": "media.not_media",
        "loop": "asset.folder_loop",
        "gone.mp4": "asset.broken_link",
        "pipe.mp4": "media.not_a_file",
    }
    assert len(list_refused(ws)) == 8
    for refused in report.refused:
        assert refused.error.hint("en")
        assert refused.error.message("zh") != refused.error.message("en")


def test_a_codec_nobody_has_is_named(ws: Workspace, folder: Path, film: Path) -> None:
    silent = draw_film(folder / "silent.mp4", (5,), size=(96, 64)).path
    data = silent.read_bytes().replace(b"avc1", b"zq9x").replace(b"avcC", b"zq9C")
    silent.write_bytes(data)
    report = add(ws, folder)
    assert codes(report) == {"silent.mp4": "media.no_codec"}
    assert "zq9x" in report.refused[0].error.message("en")


def test_a_picture_too_large_to_decode_is_refused(ws: Workspace, folder: Path) -> None:
    side = 16_000
    size = struct.pack(">IIBBBBB", side, side, 1, 0, 0, 0, 0)  # one bit a pixel, all black
    content = {b"IHDR": size, b"IDAT": zlib.compress(bytes(side * (side // 8 + 1)), 1), b"IEND": b""}
    with (folder / "huge.png").open("wb") as file:
        file.write(b"\x89PNG\r\n\x1a\n")
        for name, data in content.items():
            file.write(struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data)))
    assert codes(add(ws, folder)) == {"huge.png": "media.too_large"}


@pytest.mark.skipif(os.geteuid() != 0, reason="needs the right to become someone who may not read")
def test_a_file_that_may_not_be_read_says_so(folder: Path, film: Path) -> None:
    path = put(film, folder / "shut.mp4")
    for above in path.parents[:4]:
        above.chmod(0o755)
    path.chmod(0o000)
    assert (
        as_nobody("from malan.services.footage.tasks import read_file", f"read_file({str(path)!r})")
        == "media.forbidden"
    )


def test_a_film_that_is_cut_off_or_corrupt_is_added_with_a_warning(ws: Workspace, folder: Path) -> None:
    whole = draw_film(folder / "whole.mkv", (40,), size=(96, 64)).path.read_bytes()
    (folder / "whole.mkv").write_bytes(whole[: len(whole) * 2 // 3])
    (added,) = add(ws, folder).added
    assert "media.warn.end_missing" in added.warnings


def test_a_film_with_a_wrong_extension_is_a_film(ws: Workspace, folder: Path, film: Path) -> None:
    for name in ("film.mp3", "film.txt", "film"):
        put(film, folder / name, "x" * len(list(folder.iterdir())))
    assert counts(add(ws, folder)) == (3, 0, 0)


def test_a_refused_file_that_was_repaired_is_added(ws: Workspace, folder: Path, film: Path) -> None:
    (folder / "a.mp4").write_bytes(b"")
    assert counts(add(ws, folder)) == (0, 0, 1)
    put(film, folder / "a.mp4")
    assert counts(add(ws, folder)) == (1, 0, 0)
    assert list_refused(ws) == []


def test_a_worker_that_dies_costs_one_file(
    ws: Workspace, folder: Path, film: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from malan.runtime.pool import Task
    from malan.services.footage import assets

    for number in range(4):
        put(film, folder / f"{number}.mp4", "x" * number)
    real = assets._task

    def task(ws: Workspace, file: assets.FoundFile) -> Task:
        is_bad = file.path.endswith("2.mp4")
        return Task("os:abort", (), file) if is_bad else real(ws, file)

    monkeypatch.setattr(assets, "_task", task)
    report = add(ws, folder)
    assert codes(report) == {"2.mp4": "runtime.worker_died"}
    assert len(report.added) == 3


def test_a_file_that_changes_while_it_is_read_is_refused(ws: Workspace, folder: Path, film: Path) -> None:
    path = put(film, folder / "growing.mp4")
    with path.open("ab") as file:
        file.write(b"\0\0\x10\0free" + bytes(4088))
        file.truncate(300_000_000)  # a hole: large to read, nothing on the disk
        file.flush()
        over = threading.Event()

        def grow() -> None:
            while not over.wait(0.01):
                file.write(b"x")
                file.flush()

        thread = threading.Thread(target=grow)
        thread.start()
        try:
            assert codes(add(ws, folder)) == {"growing.mp4": "media.changed"}
        finally:
            over.set()
            thread.join()


def test_a_full_disk_stops_the_job_and_loses_nothing_written_before(ws: Workspace, folder: Path, film: Path) -> None:
    put(film, folder / "first.mp4", "x")
    add(ws, folder)
    for number in range(40):
        put(film, folder / f"{number}.mp4", "y" * (number + 2))
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (2048, hard))
    try:
        with pytest.raises(StoreError):
            add(ws, folder)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    again = Workspace(ws.root)
    assert [Path(row.locations[0].path).name for row in list_assets(again)] == ["first.mp4"]
    assert counts(add(again, folder)) == (40, 1, 0)
    again.database.dispose()


def test_no_paths_is_misuse(ws: Workspace) -> None:
    with pytest.raises(UsageError):
        add_assets(ws, [], owner="湖南台")


def test_an_empty_folder_is_no_error(ws: Workspace, folder: Path) -> None:
    assert counts(add(ws, folder)) == (0, 0, 0)


def test_the_job_counts_what_was_done_and_keeps_what_failed(ws: Workspace, folder: Path, film: Path) -> None:
    put(film, folder / "good.mp4")
    (folder / "bad.mp4").write_bytes(b"")
    job = ws.jobs.get(add(ws, folder).job_id)
    assert (job.state, job.total, job.done, job.failed) == ("done", 2, 1, 1)
    (item,) = ws.jobs.items(job.id)
    assert (Path(item.key).name, item.code) == ("bad.mp4", "media.empty")


def test_a_job_can_be_retried_with_what_it_was_given(ws: Workspace, folder: Path, film: Path) -> None:
    (folder / "a.mp4").write_bytes(b"")
    job_id = add(ws, folder).job_id
    put(film, folder / "a.mp4")
    ws.jobs.retry(job_id)
    assert counts(resume_add(ws, job_id)) == (1, 0, 0)
    assert ws.jobs.get(job_id).failed == 0


def test_two_adds_at_once_are_refused_kindly(ws: Workspace, folder: Path, film: Path) -> None:
    put(film, folder / "a.mp4")
    other = ws.jobs.create("asset.scan", {})
    with ws.jobs.running(other.id), pytest.raises(RetryLater) as caught:
        add(ws, folder)
    assert other.id[:12] in caught.value.message("en")
    assert counts(add(ws, folder)) == (1, 0, 0)


def test_an_add_that_is_cancelled_keeps_what_it_did_and_can_go_on(
    ws: Workspace, folder: Path, film: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for number in range(6):
        put(film, folder / f"{number}.mp4", "x" * number)
    monkeypatch.setattr("malan.services.footage.assets._BATCH_S", 0)

    def cancel(done: int, _total: int, _current: str) -> None:
        if done == 2:
            ws.jobs.cancel(ws.jobs.list(state="running")[0].id)

    report = add_assets(ws, [folder], owner="湖南台", progress=cancel)
    assert report.was_cancelled
    assert ws.jobs.get(report.job_id).state == "cancelled"
    assert len(list_assets(ws)) == 2
    assert counts(add(ws, folder)) == (4, 2, 0)


def test_footage_that_is_real_is_registered(ws: Workspace, footage: Path, folder: Path) -> None:
    for name in ("derived/bbb_60s_vp9.webm", "derived/dog_hevc10.mkv", "audio/nature_robin.ogg", "photos/denali.webp"):
        shutil.copy(footage / name, folder)
    assert counts(add(ws, folder)) == (4, 0, 0)


def test_an_error_from_a_row_speaks_both_languages(ws: Workspace, folder: Path) -> None:
    (folder / "a.mp4").write_bytes(b"")
    add(ws, folder)
    error: MalanError = list_refused(ws)[0].error
    assert "空文件" in error.message("zh")
