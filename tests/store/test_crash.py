"""A writer may die at any moment; readers see whole changes, and the next writer goes on."""

from __future__ import annotations

import random
import resource
import shutil
import signal
import subprocess
import sys
import threading
import time
from datetime import timedelta
from pathlib import Path

import pytest
from store.library_factory import a_scan, an_asset, put, shot

from malan.core.errors import RetryLater, StoreError
from malan.store import ClipQuery, Extra, Library, tending
from malan.store.published import Tables

SHOTS = 3
_WRITER = Path(__file__).with_name("endless_writer.py")


def wholeness(library: Library) -> set[tuple[str, int, int, int, bool]]:
    """How assets look: status, clips, findings, thumbnails, has an index. Whole ones look in two ways only."""
    seen = set()
    for row in library.assets():
        clips = library.clips(row.asset.id)
        pictures = sum(library.thumbnail(clip.id) is not None for clip in clips)
        findings = len(library.findings(asset_id=row.asset.id))
        seen.add((row.status, len(clips), findings, pictures, bool(library.index(row.asset.id))))
    return seen


def file_count(library: Library) -> int:
    return sum(path.is_file() for path in library.root.rglob("*"))


REGISTERED, SCANNED = ("registered", 0, 0, 0, True), ("scanned", SHOTS, 2 * SHOTS, SHOTS, True)


def test_a_writer_killed_at_any_moment_leaves_whole_assets(tmp_path: Path) -> None:
    root, dice = tmp_path / "library", random.Random(7)
    for turn in range(5):
        writer = subprocess.Popen(
            [sys.executable, str(_WRITER), str(root), str(turn * 1000)], stdout=subprocess.PIPE, text=True
        )
        assert writer.stdout is not None
        assert writer.stdout.readline() == "writing\n"
        time.sleep(dice.uniform(0.02, 0.6))
        writer.send_signal(signal.SIGKILL)
        writer.wait()
        writer.stdout.close()
        library = Library(root)
        before = wholeness(library)
        assert before <= {REGISTERED, SCANNED}
        put(library, an_asset(f"after {turn}"), *["夜景"] * SHOTS)
        assert wholeness(library) <= {REGISTERED, SCANNED}
        assert library.search(ClipQuery("夜景")).total == library.count_clips()


def test_a_change_that_fails_is_undone(tmp_path: Path) -> None:
    library = Library(tmp_path / "library")
    put(library, an_asset("before"), "夜景")
    row = an_asset("fails")
    library.put_assets([row])
    broken = a_scan(row, ("夜景",), extras=(Extra("curve", None, 5),))  # type: ignore[arg-type]
    with pytest.raises(TypeError):
        library.put_scan(broken)
    assert library.asset(row.asset.id).status == "registered"
    assert library.findings(asset_id=row.asset.id) == []
    library.put_scan(a_scan(row, ("夜景",)))
    assert library.search(ClipQuery("夜景")).total == 2


def test_a_disk_that_takes_no_more_loses_nothing(tmp_path: Path) -> None:
    library = Library(tmp_path / "library")
    [kept] = put(library, an_asset("before"), "夜景")
    row = an_asset("after")
    library.put_assets([row])
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, hard))
    try:
        with pytest.raises(StoreError) as full:
            library.put_scan(a_scan(row, ("夜景",), thumbnails={shot(row, 0).id: bytes(1_000_000)}))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert full.value.hint()
    assert [hit.row.clip for hit in Library(library.root).search(ClipQuery("夜景")).hits] == [kept]
    library.put_scan(a_scan(row, ("夜景",)))
    assert library.search(ClipQuery("夜景")).total == 2


def test_readers_see_whole_changes_while_one_writes(tmp_path: Path) -> None:
    writing, seen = Library(tmp_path / "library"), []
    put(writing, an_asset("0"), *["夜景"] * SHOTS)
    done = threading.Event()

    def read() -> None:
        reading = Library(tmp_path / "library")
        while not done.is_set():
            moment = reading.held()
            seen.append((moment.search(ClipQuery("夜景")).total, wholeness(moment)))

    reader = threading.Thread(target=read)
    reader.start()
    for number in range(1, 6):
        put(writing, an_asset(str(number)), *["夜景"] * SHOTS)
    writing.tend()
    done.set()
    reader.join()
    assert all(states <= {REGISTERED, SCANNED} for _, states in seen)
    assert all(total % SHOTS == 0 for total, _ in seen)
    assert [total for total, _ in seen] == sorted(total for total, _ in seen)


def test_two_writers_take_turns(tmp_path: Path) -> None:
    def write(first: int) -> None:
        library = Library(tmp_path / "library")
        for number in range(first, first + 4):
            put(library, an_asset(str(number)), "夜景")

    writers = [threading.Thread(target=write, args=(first,)) for first in (0, 100)]
    for writer in writers:
        writer.start()
    for writer in writers:
        writer.join()
    assert Library(tmp_path / "library").search(ClipQuery("夜景")).total == 8


def test_a_writer_that_waits_too_long_says_so(tmp_path: Path) -> None:
    holding, waiting = Tables(tmp_path / "library"), Library(tmp_path / "library", patience_s=0.1)
    with holding.change(), pytest.raises(RetryLater) as busy:
        waiting.put_assets([an_asset()])
    assert busy.value.code == "store.busy"


def test_a_damaged_table_of_versions_is_named(tmp_path: Path) -> None:
    library = Library(tmp_path / "library")
    put(library, an_asset(), "夜景")
    (tmp_path / "library/published.json").write_bytes(b'{"format": 1, "tab')
    with pytest.raises(StoreError, match="is damaged"):
        Library(tmp_path / "library").assets()


def test_a_library_of_a_newer_malan_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "published.json").write_bytes(b'{"format": 9}')
    with pytest.raises(StoreError, match="format 9"):
        Library(tmp_path).put_assets([an_asset()])


def test_a_table_that_vanished_is_told_as_an_error(tmp_path: Path) -> None:
    library = Library(tmp_path / "library")
    put(library, an_asset(), "夜景")
    shutil.rmtree(tmp_path / "library/clips.lance")
    with pytest.raises(StoreError):
        Library(tmp_path / "library").search(ClipQuery("夜景"))


def test_many_small_writes_leave_few_fragments(tmp_path: Path) -> None:
    library = Library(tmp_path / "library")
    for number in range(30):
        library.put_assets([an_asset(str(number))])
    table = library._tables.view().get("assets")
    assert table is not None
    assert len(table.get_fragments()) <= 25
    assert library.count_assets() == 30


def test_what_nobody_reads_any_more_is_removed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    library = Library(tmp_path / "library")
    for _ in range(4):
        put(library, an_asset(), *["夜景"] * 50)
    library.tend()
    before = file_count(library)
    monkeypatch.setattr(tending, "_KEEP_OLD", timedelta(seconds=-5))
    library.tend()
    assert file_count(library) < before * 2 / 3
    assert library.search(ClipQuery("夜景")).total == 50
    assert wholeness(library) == {("scanned", 50, 100, 50, True)}


def test_versions_that_were_current_lately_are_kept_for_their_readers(tmp_path: Path) -> None:
    library = Library(tmp_path / "library")
    put(library, an_asset("one"), "夜景")
    moment = Library(library.root).held()
    put(library, an_asset("two"), "夜景")
    library.tend()
    assert moment.search(ClipQuery("夜景")).total == 1
    assert library.search(ClipQuery("夜景")).total == 2
