"""What is put into the library comes out exactly, together or not at all."""

from __future__ import annotations

from dataclasses import replace
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest

from malan.core import Asset, Clip, Finding, Span, Track
from malan.core.errors import NotFound, UsageError
from malan.core.ids import digest_bytes
from malan.store import AssetRow, Extra, Library, Location, ScanRows

TIMEBASE = Fraction(1001, 30000)
VIDEO = Track(
    0, "video", "h264", TIMEBASE, 0, 900, "zho", "正片", 1920, 1080, 90, Fraction(4, 3), "yuv420p", 900,
    Fraction(30000, 1001), False, False,
)  # fmt: skip
AUDIO = Track(1, "audio", "aac", Fraction(1, 48000), -1024, 1441440, sample_rate_hz=48000, channels=2)


@pytest.fixture
def library(tmp_path: Path) -> Library:
    return Library(tmp_path / "library")


def an_asset(name: str = "one", *, owner: str = "湖南台", **more: object) -> AssetRow:
    asset = Asset(
        digest_bytes(name.encode()), 12345, "mp4", Fraction(900 * 1001, 30000), (VIDEO, AUDIO), owner, "t" * 64
    )
    place = Location(f"/footage/{name}.mp4", 12345, 1_700_000_000_123_456_789, asset.id, seen_s=1.5)
    return replace(AssetRow(asset, title="城市夜景", tags=("航拍", "night"), added_s=12.5, locations=(place,)), **more)


def a_scan(row: AssetRow, *, shots: int = 3, text: str = "长沙的夜景", producer: str = "shots") -> ScanRows:
    clips = tuple(Clip(row.asset.id, 0, Span(i * 100, i * 100 + 100, TIMEBASE)) for i in range(shots))
    cuts = [Finding(clip, "shot.transition", producer, "1", {"type": "cut"}, 0.9) for clip in clips]
    said = Finding(Clip(row.asset.id, 0, Span(110, 150, TIMEBASE)), "text.caption", "captions", "1", {"text": text})
    return ScanRows(
        row.asset.id,
        {producer: "1", "captions": "1"},
        clips,
        (*cuts, said),
        {clip.id: b"jpeg" + bytes([i]) for i, clip in enumerate(clips)},
        {clips[0].id: b"strip"},
        {clip.id: np.full(8, i, np.float32) for i, clip in enumerate(clips)},
        (Extra("loudness.curve", {"rate": 10}, b"\0\1"),),
    )


def test_an_asset_comes_back_equal(library: Library) -> None:
    row = an_asset()
    library.put_assets([row], indexes={row.asset.id: b"index"})
    assert library.asset(row.asset.id) == row
    assert library.asset(row.asset.id[:8]) == row
    assert library.index(row.asset.id) == b"index"


def test_an_empty_library_answers(library: Library) -> None:
    assert library.assets() == []
    assert library.clips("a" * 64) == []
    assert library.find_location("/x", 1, 1) is None
    with pytest.raises(NotFound):
        library.asset("abcdef")


def test_registering_twice_adds_nothing(library: Library) -> None:
    row = an_asset()
    library.put_assets([row], indexes={row.asset.id: b"index"})
    library.put_assets([row], indexes={row.asset.id: b"index"})
    assert library.assets() == [row]


def test_a_beginning_shared_by_two_assets_is_refused(library: Library) -> None:
    rows = [replace(an_asset(), asset=replace(an_asset().asset, id="abcdef" + end * 58), locations=()) for end in "12"]
    library.put_assets(rows)
    with pytest.raises(UsageError, match="several ids"):
        library.asset("abcdef")
    assert library.asset("abcdef1").asset.id == "abcdef" + "1" * 58


def test_a_file_is_known_while_size_and_time_are_the_same(library: Library) -> None:
    row = an_asset()
    library.put_assets([row])
    place = row.locations[0]
    assert library.find_location(place.path, place.size_bytes, place.mtime_ns) == place
    assert library.find_location(place.path, place.size_bytes + 1, place.mtime_ns) is None


@pytest.mark.parametrize(
    "path", ['/a/it\'s "x".mp4', "/a/new\nline.mp4", "/a/\udcff\udc80.mp4", "/a/100%.mp4", "/a/夜景.mp4"]
)
def test_any_file_name_comes_back_as_it_was(library: Library, path: str) -> None:
    gone = Location(path, 1, 2, None, "media.empty", {"path": path}, 3.0)
    library.put_assets([], refused=[gone])
    assert library.find_location(path, 1, 2) == gone
    assert library.refused() == [gone]


def test_a_scan_comes_back_equal(library: Library) -> None:
    row = an_asset()
    library.put_assets([row])
    scan = a_scan(row)
    library.put_scan(scan)
    assert [clip.clip for clip in library.clips(row.asset.id)] == list(scan.clips or ())
    assert sorted(f.id for f in library.findings(asset_id=row.asset.id)) == sorted(f.id for f in scan.findings)
    assert library.asset(row.asset.id).status == "scanned"
    clip = (scan.clips or ())[1]
    assert library.thumbnail(clip.id) == b"jpeg\1"
    assert library.filmstrip((scan.clips or ())[0].id) == b"strip"
    assert library.extras(row.asset.id)["loudness.curve"] == scan.extras[0]
    assert list(library.descriptor(clip.id)) == [1.0] * 8
    assert library.clip(clip.id[:12]).caption == "长沙的夜景"
