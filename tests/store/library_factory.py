"""Small libraries for tests: an asset, a scan of it, and both in a library."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from fractions import Fraction
from typing import Any

import numpy as np

from malan.core import Asset, Clip, Finding, Span, Track
from malan.core.ids import digest_bytes
from malan.store import AssetRow, Extra, Library, Location, ScanRows

TIMEBASE = Fraction(1001, 30000)
VIDEO = Track(
    0, "video", "h264", TIMEBASE, 0, 900, "zho", "正片", 1920, 1080, 90, Fraction(4, 3), "yuv420p", 900,
    Fraction(30000, 1001), False, False,
)  # fmt: skip
AUDIO = Track(1, "audio", "aac", Fraction(1, 48000), -1024, 1441440, sample_rate_hz=48000, channels=2)
SHOT_TICKS = 100


def an_asset(name: str = "one", *, owner: str = "湖南台", terms: str = "t" * 64, **more: Any) -> AssetRow:
    """An asset at `/footage/NAME.mp4`; its id follows from the name."""
    asset = Asset(digest_bytes(name.encode()), 12345, "mp4", Fraction(900 * 1001, 30000), (VIDEO, AUDIO), owner, terms)
    place = Location(f"/footage/{name}.mp4", 12345, 1_700_000_000_123_456_789, asset.id, seen_s=1.5)
    return replace(AssetRow(asset, title="城市", tags=("panorama",), added_s=12.5, locations=(place,)), **more)


def shot(row: AssetRow, number: int) -> Clip:
    return Clip(row.asset.id, 0, Span(number * SHOT_TICKS, (number + 1) * SHOT_TICKS, TIMEBASE))


def caption(row: AssetRow, number: int, text: str, **more: Any) -> Finding:
    """A caption in the middle of a shot."""
    span = Span(number * SHOT_TICKS + 10, (number + 1) * SHOT_TICKS - 10, TIMEBASE)
    return Finding(Clip(row.asset.id, 0, span), "text.caption", "captions", "1", {"text": text}, **more)


def a_scan(row: AssetRow, captions: Sequence[str] = ("长沙的夜景", "", "a quiet river"), **more: Any) -> ScanRows:
    """A scan with one shot for each caption; an empty one is a shot without."""
    clips = tuple(shot(row, number) for number in range(len(captions)))
    cuts = [Finding(clip, "shot.transition", "shots", "1", {"type": "cut"}, 0.9) for clip in clips]
    said = [caption(row, number, text) for number, text in enumerate(captions) if text]
    scan = ScanRows(
        row.asset.id,
        {"shots": "1", "captions": "1"},
        clips,
        (*cuts, *said),
        {clip.id: b"jpeg" + bytes([i]) for i, clip in enumerate(clips)},
        {clips[0].id: b"strip"} if clips else {},
        {clip.id: _vector(i) for i, clip in enumerate(clips)},
        (Extra("loudness.curve", {"rate": 10}, b"\0\1"),),
    )
    return replace(scan, **more)


def put(library: Library, row: AssetRow, *captions: str) -> list[Clip]:
    """Register and scan; the clips."""
    library.put_assets([row], indexes={row.asset.id: b"index of " + row.asset.id[:6].encode()})
    scan = a_scan(row, captions)
    library.put_scan(scan)
    return list(scan.clips or ())


def _vector(number: int) -> np.ndarray:
    """Descriptors that turn away from the first one step by step."""
    angle = number * 0.1
    return np.array([np.cos(angle), np.sin(angle), 0, 0], np.float32)
