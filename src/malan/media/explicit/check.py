"""Whether a file carries an explicit label that satisfies GB 45438-2025, measured on what is seen and heard.

Film: the first picture and the last one that starts within two seconds. Letters are read by a `recognise` that the
caller brings, for reading is a model's work; their height is measured on their ink. Sound: the rhythm at either end. A
spoken sentence is not recognised: whether a voice says it is for people to confirm.
Start at `check_explicit`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from PIL import ImageOps

from malan.media.audio import audio_blocks
from malan.media.explicit.burn_picture import open_picture
from malan.media.explicit.burn_sound import opening
from malan.media.explicit.overlay import LEAST_S, LEAST_SHARE, says_so
from malan.media.explicit.rhythm import LISTEN_HZ, find_rhythm
from malan.media.index import build_index
from malan.media.probe import probe
from malan.media.reader import ClipReader

Picture = NDArray[np.uint8]  # (H, W, 3) RGB
Box = tuple[int, int, int, int]  # x0, y0, x1, y1 in pixels, ends excluded
Recognise = Callable[[Picture], Sequence[tuple[str, Box]]]
Verdict = Literal["compliant", "noncompliant", "not_found", "inconclusive"]

_LISTEN_S = 15.0
_READ_SIDE_PX = 1600  # longer pictures are made smaller before they are read; boxes are scaled back
_LEAST_CORE_PX = 3
_MOST_INK = 0.5  # of the middle of a line of text
_SOLID = 0.9
_SPECK = 0.01  # of a row: noise, not ink
_CORNER = 0.35  # of a side: how far from an edge the middle of a label may lie


@dataclass(frozen=True)
class ExplicitReport:
    """A verdict, its reasons as codes, and what was measured.

    `letters_share` is the height of the text over the shorter side; `seconds` how long the label was seen to be shown
    at least (film), `start_s` where the rhythm starts (sound).
    """

    verdict: Verdict
    reasons: tuple[str, ...] = ()
    kind: str = ""
    text: str = ""
    letters_px: int = 0
    letters_share: float = 0.0
    box: Box | None = None
    seconds: float = 0.0
    start_s: float | None = None


@dataclass(frozen=True)
class _Seen:
    text: str
    box: Box
    letters_px: int
    share: float
    at_edge: bool


def check_explicit(path: str | Path, recognise: Recognise | None = None) -> ExplicitReport:
    """Look for the explicit label in a film, a picture or a recording.

    Args:
        recognise: Finds and reads lines of text in a picture (H, W, 3): their text and boxes.

    Raises:
        UsageError: A moving picture in a still format.
        MediaError: The file cannot be opened or decoded.
    """
    found = probe(path)
    if found.first("video") is None and found.first("image") is None:
        return _sound(path)
    kind = "film" if found.first("video") is not None else "picture"
    if recognise is None:
        return ExplicitReport("inconclusive", ("explicit.no_reader",), kind)
    return _film(path, recognise) if kind == "film" else _picture(path, recognise)


def _film(path: str | Path, recognise: Recognise) -> ExplicitReport:
    index = build_index(path)
    ticks = index.frame_pts[0] + LEAST_S / index.timebase
    last = max(0, int(np.searchsorted(index.frame_pts, -(-ticks // 1), side="left")) - 1)
    shown_s = float(min(LEAST_S, Fraction(int(index.end_ticks - index.frame_pts[0])) * index.timebase))
    seen: list[_Seen | None] = []
    with ClipReader(path, index, upright=True) as reader:
        for number in dict.fromkeys((0, last)):
            seen.append(_read(reader.frames(number, number + 1).frames_THWC[0], recognise))
    first, end = seen[0], seen[-1]
    if first is None:
        return ExplicitReport("noncompliant" if end else "not_found", ("explicit.not_in_opening",), "film")
    reasons = [*_wrong(first), *(["explicit.shown_too_short"] if end is None else [])]
    return _judged("film", first, reasons, seconds=shown_s if end else 0.0)


def _picture(path: str | Path, recognise: Recognise) -> ExplicitReport:
    image = open_picture(path)
    seen = _read(np.asarray((ImageOps.exif_transpose(image) or image).convert("RGB")), recognise)
    if seen is None:
        return ExplicitReport("not_found", ("explicit.no_text",), "picture")
    return _judged("picture", seen, list(_wrong(seen)))


def _judged(kind: str, seen: _Seen, reasons: list[str], seconds: float = 0.0) -> ExplicitReport:
    verdict: Verdict = "noncompliant" if reasons else "compliant"
    return ExplicitReport(
        verdict, tuple(reasons), kind, seen.text, seen.letters_px, round(seen.share, 4), seen.box, seconds
    )


def _wrong(seen: _Seen) -> Iterator[str]:
    if seen.share < LEAST_SHARE:
        yield "explicit.letters_too_small"
    if not seen.at_edge:
        yield "explicit.not_at_edge"


# Reading and measuring


def _read(picture: Picture, recognise: Recognise) -> _Seen | None:
    """The highest line of text that says so."""
    step = max(1, -(-max(picture.shape[:2]) // _READ_SIDE_PX))
    small = np.ascontiguousarray(picture[::step, ::step])
    found = [
        _measured(picture, text, (box[0] * step, box[1] * step, box[2] * step, box[3] * step))
        for text, box in _lines(recognise(small))
        if says_so(_plain(text))
    ]
    return max(found, key=lambda seen: seen.letters_px, default=None)


def _lines(found: Sequence[tuple[str, Box]]) -> Iterator[tuple[str, Box]]:
    """What was read, and pairs of neighbours on one line: readers part AI from 生成 where letters stand wide."""
    yield from found
    for text, box in found:
        for other, beside in found:
            height = min(box[3] - box[1], beside[3] - beside[1])
            shared = min(box[3], beside[3]) - max(box[1], beside[1])
            if shared > height / 2 and 0 <= beside[0] - box[2] < 2 * height:
                joint = box[0], min(box[1], beside[1]), beside[2], max(box[3], beside[3])
                yield text + other, joint


def _plain(text: str) -> str:
    """What a reader takes a round, lone I for is an I."""
    return text.replace("Al", "AI").replace("A1", "AI").replace("A|", "AI").replace("Aｌ", "AI")


def _measured(picture: Picture, text: str, box: Box) -> _Seen:
    height, width = picture.shape[:2]
    ink = _ink_box(picture, box)
    letters = ink[3] - ink[1]
    x, y = (ink[0] + ink[2]) / 2 / width, (ink[1] + ink[3]) / 2 / height
    at_edge = min(x, 1 - x, y, 1 - y) <= _CORNER
    return _Seen(_plain(text), ink, letters, letters / min(height, width), at_edge)


def _ink_box(picture: Picture, box: Box) -> Box:
    """The box of the letters themselves; the box a reader gave is wider than they are, or cuts them.

    The middle of the given box holds letters and their ground, which differ in brightness; letters are the smaller
    part. From there it grows up and down until a row without ink: the ground between letters and the edge of a plate.
    """
    x0, x1 = box[0], box[2]
    margin = (box[3] - box[1]) // 4
    y0, y1 = max(0, box[1] - margin), min(picture.shape[0], box[3] + margin)
    area = picture[y0:y1, x0:x1].astype(np.float32) @ np.array([0.299, 0.587, 0.114], np.float32)
    core_top, core_bottom = box[1] - y0 + margin, box[3] - y0 - margin
    core = area[core_top:core_bottom]
    if min(core.shape) < _LEAST_CORE_PX:
        return box
    threshold = _otsu(core)
    ink = area > threshold if (core > threshold).mean() <= _MOST_INK else area <= threshold
    beside = ink[core_top:core_bottom].mean(axis=0) > _SOLID  # what lies beside a plate, where the box reaches over it
    ink[:, : _grown(beside)] = ink[:, len(beside) - _grown(beside[::-1]) :] = False
    has_ink = ink.mean(axis=1) > _SPECK
    top = core_top - _grown(has_ink[:core_top][::-1])
    bottom = core_bottom + _grown(has_ink[core_bottom:])
    columns = np.flatnonzero(ink[top:bottom].any(axis=0))
    if not len(columns):
        return box
    return x0 + int(columns[0]), y0 + top, x0 + int(columns[-1]) + 1, y0 + bottom


def _grown(rows: NDArray[np.bool_]) -> int:
    """How many in front of the first that is not so."""
    return len(rows) if rows.all() else int(np.argmin(rows))


def _otsu(area: NDArray[np.float32]) -> float:
    """The brightness that parts an area best into two."""
    counts, _ = np.histogram(area, 256, (0, 256))
    weight = np.cumsum(counts)
    total = np.cumsum(counts * np.arange(256))
    with np.errstate(divide="ignore", invalid="ignore"):
        between = (total[-1] * weight / weight[-1] - total) ** 2 / (weight * (weight[-1] - weight))
    return float(np.nanargmax(np.where(np.isfinite(between), between, -1)))


# Listening


def _sound(path: str | Path) -> ExplicitReport:
    found = find_rhythm(opening(path, _LISTEN_S), LISTEN_HZ)
    if found is None:
        ending, offset = _ending(path)
        found = find_rhythm(ending, LISTEN_HZ)
        start = None if found is None else offset + found.start_s
    else:
        start = found.start_s
    if found is None:
        return ExplicitReport("not_found", ("explicit.no_rhythm",), "sound")
    return ExplicitReport("compliant", (), "sound", "rhythm", seconds=found.end_s - found.start_s, start_s=start)


def _ending(path: str | Path) -> tuple[NDArray[np.float32], float]:
    """The last seconds of the sound, and where they start."""
    kept: list[NDArray[np.float32]] = []
    total = 0
    for block in audio_blocks(path, rate=LISTEN_HZ, block_s=1.0):
        kept, total = [*kept, block.samples][-round(_LISTEN_S) :], total + len(block.samples)
    samples = np.concatenate(kept) if kept else np.zeros(0, np.float32)
    return samples, (total - len(samples)) / LISTEN_HZ
