"""Everything that is measured of one file: pictures and captions in one decode, sound in another stream of it.

What a rule makes of it is decided elsewhere. Start at `measure`.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from malan.apps.review.language.values import Box, Moment
from malan.apps.review.measure.detectors import Detectors, SpeechReader
from malan.apps.review.measure.pictures import Luma, PictureCheck, Stretch
from malan.apps.review.measure.reading import CardLine, CardReader, reading_frames
from malan.apps.review.measure.sound import Heard, listen
from malan.core.errors import MediaError
from malan.curation.captions.records import Caption
from malan.inference.ocr import TextReader
from malan.media.index import PacketIndex, build_index
from malan.media.probe import probe

Progress = Callable[[int, int], None]

_LEAST_FRAMES = 25
_STEADY = 0.95  # share of frames of one length in a film of constant rate
_GAP_S, _GAP_FRAMES = 0.2, 4


@dataclass
class Measured:
    """What is known of one file. Times in seconds from its first frame."""

    path: Path
    digest: str
    duration_s: float
    start_s: float = 0.0  # of the first frame on the clock of the file
    has_picture: bool = False
    has_sound: bool = False
    size_px: tuple[int, int] = (0, 0)
    pixel_aspect: float = 1.0
    rate: float = 0.0
    is_interlaced: bool = False
    av_gap_s: float | None = None
    sample_rate_hz: int | None = None
    channels: int | None = None
    is_labelled: bool | None = None
    heard: Heard | None = None
    stretches: dict[str, list[Stretch]] = field(default_factory=dict)
    captions: list[Moment] = field(default_factory=list)
    persistent: list[Moment] = field(default_factory=list)
    cards: list[Moment] = field(default_factory=list)
    speech: list[Moment] | None = None
    detected: dict[tuple[str, str], tuple[Moment, ...]] = field(default_factory=dict)
    kept: list[tuple[float, bytes]] = field(default_factory=list)
    thumbs: list[tuple[float, Luma]] = field(default_factory=list)
    frames: int = 0
    frames_missing: int = 0
    text_reads: int = 0


def measure(
    path: Path,
    reader: TextReader,
    *,
    digest: str | None = None,
    detectors: Detectors | None = None,
    speech: SpeechReader | None = None,
    progress: Progress | None = None,
) -> Measured:
    """Measure a file; each of its streams is decoded once.

    Raises:
        MediaError: It cannot be opened, or holds neither a picture nor a sound.
    """
    found = probe(path)
    picture, sound = found.first("video"), found.first("audio")
    if picture is None and sound is None:
        raise MediaError("review.nothing", path=path.name)
    made = Measured(path, digest or _digest(path), float(found.duration))
    if picture is not None:
        made.pixel_aspect = float(picture.sample_aspect or 1)
        made.is_interlaced = bool(picture.is_interlaced)
        _see(made, path, reader, progress)
    if sound is not None:
        made.sample_rate_hz, made.channels = sound.sample_rate_hz, sound.channels
        _hear(made, path)
    made.is_labelled = _label(path)
    made.detected = (detectors or Detectors()).look(path)
    made.speech = list(speech.read(path)) if speech else None
    return made


def _see(made: Measured, path: Path, reader: TextReader, progress: Progress | None) -> None:
    from malan.curation.captions import read_captions

    index = build_index(path)
    starts = frame_starts(index)
    if len(starts) < 2:
        return
    with CardReader(reader, starts) as cards:
        check = PictureCheck(starts, reading_frames(starts), cards, made.pixel_aspect)
        report = read_captions(path, index, reader, progress=progress, look=check.see)
        made.size_px = check.shown_px
        made.captions = [_of_caption("caption", one, starts, made.size_px) for one in report.captions]
        made.persistent = [_of_caption("persistent", one, starts, made.size_px) for one in report.persistent]
        stretch = made.size_px[0] / max(1, check.size_px[0]), made.size_px[1] / max(1, check.size_px[1])
        lines = cards.lines(made.captions if stretch == (1.0, 1.0) else ())
    made.cards = _cards([_stretched(line, stretch) for line in lines], made, *made.size_px)
    made.has_picture = check.seen > 0
    made.start_s = float(index.frame_pts[0] * index.timebase)
    made.duration_s = float(starts[-1])
    made.frames = index.frame_count
    made.frames_missing = max(0, index.frame_count - check.seen)
    made.stretches = check.stretches()
    made.stretches["gap"] = _gaps(starts)
    made.rate = index.frame_count / made.duration_s if made.duration_s else 0.0
    made.kept, made.thumbs = check.kept, check.thumbs
    made.text_reads = report.ocr_calls + cards.calls


def _of_caption(source: str, one: Caption, starts: NDArray[np.float64], size_px: tuple[int, int]) -> Moment:
    start_s, end_s = starts[one.first_frame], starts[one.end_frame]
    return _moment(source, start_s, end_s, one.text, one.box, *size_px, one.confidence)


def frame_starts(index: PacketIndex) -> NDArray[np.float64]:
    """Start of each frame and the end of the last, in seconds from the first; rising."""
    if not index.frame_count:
        return np.zeros(0)
    ticks = np.append(index.frame_pts, max(index.end_ticks, int(index.frame_pts[-1]) + 1))
    return np.asarray((ticks - ticks[0]) * float(index.timebase), np.float64)


def _gaps(starts: NDArray[np.float64]) -> list[Stretch]:
    """Where frames are missing: a picture stands far longer than all others. Nothing where the rate varies anyway."""
    lengths = np.diff(starts)
    usual = float(np.median(lengths)) if len(lengths) else 0.0
    if len(lengths) < _LEAST_FRAMES or np.count_nonzero(np.abs(lengths - usual) <= 0.5 * usual) < _STEADY * len(
        lengths
    ):
        return []
    places = np.flatnonzero(lengths[:-1] > max(_GAP_S, _GAP_FRAMES * usual))  # the last one may be held on purpose
    return [Stretch(float(starts[n]), float(starts[n + 1]), round(float(lengths[n] / usual))) for n in places]


def _moment(
    source: str, start_s: float, end_s: float, text: str, box: Box, width: int, height: int,
    confidence: float, letters_px: int | None = None,
) -> Moment:  # fmt: skip
    rows = text.count("\n") + 1
    letters = letters_px if letters_px is not None else (box[3] - box[1]) / rows
    inset = min(box[0] / width, box[1] / height, (width - box[2]) / width, (height - box[3]) / height)
    return Moment(
        float(start_s), float(end_s), text, box, letters / max(1, min(width, height)), max(0.0, inset), source,
        confidence=round(confidence, 3),
    )  # fmt: skip


def _cards(lines: list[CardLine], made: Measured, width: int, height: int) -> list[Moment]:
    """Lines that are no captions, and blocks of lines that stand together: a number may go over two."""
    known = [*made.captions, *made.persistent]
    own = [line for line in lines if not any(_is_known(line, one) for one in known)]
    found = [
        _moment("card", one.start_s, one.end_s, one.text, one.box, width, height, one.confidence, one.letters_px)
        for one in own
    ]
    return found + [
        _moment("card", a.start_s, a.end_s, a.text + "\n" + b.text, _around(a.box, b.box), width, height,
                min(a.confidence, b.confidence), min(a.letters_px, b.letters_px))
        for a in own for b in own if _continues(a, b)
    ]  # fmt: skip


def _stretched(line: CardLine, stretch: tuple[float, float]) -> CardLine:
    """A line in pixels as shown, where pixels are not square."""
    x0, y0, x1, y1 = line.box
    box = round(x0 * stretch[0]), round(y0 * stretch[1]), round(x1 * stretch[0]), round(y1 * stretch[1])
    return replace(line, box=box, letters_px=round(line.letters_px * stretch[1]))


def _is_known(line: CardLine, one: Moment) -> bool:
    if one.box is None or not one.meets(line.start_s, line.end_s):
        return False
    x0, y0, x1, y1 = line.box
    middle_x, middle_y = (x0 + x1) / 2, (y0 + y1) / 2
    inside = one.box[0] <= middle_x <= one.box[2] and one.box[1] - 4 <= middle_y <= one.box[3] + 4
    return inside and one.start_s - 1.0 <= line.start_s and line.end_s <= one.end_s + 2.5


def _continues(one: CardLine, below: CardLine) -> bool:
    height = min(one.box[3] - one.box[1], below.box[3] - below.box[1])
    gap = below.box[1] - one.box[3]
    beside = min(one.box[2], below.box[2]) - max(one.box[0], below.box[0])
    return one is not below and one.start_s == below.start_s and -0.3 * height <= gap <= 1.5 * height and beside > 0


def _around(one: Box, other: Box) -> Box:
    return min(one[0], other[0]), min(one[1], other[1]), max(one[2], other[2]), max(one[3], other[3])


def _hear(made: Measured, path: Path) -> None:
    heard = listen(path)
    if heard is None or heard.end_s <= heard.start_s:
        return
    made.has_sound, made.heard = True, heard
    if made.has_picture:
        made.av_gap_s = abs((heard.end_s - heard.start_s) - made.duration_s)
    else:
        made.duration_s, made.start_s = heard.end_s - heard.start_s, heard.start_s


def _label(path: Path) -> bool | None:
    """Whether the file carries a compliant implicit label; None where its kind cannot tell."""
    from malan.media.labels import verify

    try:
        verdict = verify(path).verdict
    except MediaError:
        return None
    return {"compliant": True, "noncompliant": False, "not_found": False}.get(verdict)


def _digest(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
