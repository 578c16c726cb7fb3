"""From sightings to readings: which are worth reading, what they say, and whether that can be true.

Reading runs beside the watching, in one thread. A sighting that hardly looks like a line of text is put off until it is
known where the captions of this film stand, and then read only if it stands there too. Start at `LineReader`.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from threading import Lock
from types import TracebackType
from typing import Self

import numpy as np

from malan.curation.captions.compose import Compose, LinePicture, darkest, lightest, line_pictures, middle
from malan.curation.captions.luma import Box
from malan.curation.captions.sighting import Evidence, Sighting
from malan.curation.shelf import Shelf
from malan.inference.ocr import ReadLine, TextReader

DENSITY = (0.10, 0.75)  # share of a line's box that is edges
LIKELY_DENSITY = 0.13
LIKELY_ASPECT = 1.5  # width of a line over its height
SURE = 0.75  # confidence below which another picture of the same text is tried
HOPEFUL = 0.4  # and from which it is worth that
BELIEVED = 0.7
BELIEVED_ALONE = 0.9  # for a text of one or two characters
DOUBTFUL = 0.5  # enough only where captions are known to stand
DOUBTFUL_ALONE = 0.75
_IN_MEMORY = 40  # sightings whose pictures may stay in memory until they are read again
_WAITING = 40  # sightings that wait to be read
FIT = (0.35, 2.1)  # width the text should take over the width it takes


@dataclass(frozen=True)
class Line:
    """One line that was read. The box is in pixels of the picture, before the sample aspect."""

    text: str
    confidence: float
    box: Box

    @property
    def is_sure(self) -> bool:
        """Whether the text can be believed wherever it stands."""
        return self.confidence >= (BELIEVED_ALONE if text_width(self.text) <= 2 else BELIEVED)


@dataclass(frozen=True)
class Reading:
    """What a sighting says."""

    sighting: Sighting
    lines: tuple[Line, ...]
    confidence: float  # mean over the lines, also those not believed

    @property
    def first(self) -> int:
        return self.sighting.first

    @property
    def end(self) -> int:
        return self.sighting.end


class LineReader:
    """Reads sightings in a thread of its own while more are found.

    Use as a context manager. `read` hands in a sighting, `readings` waits for all of them.
    """

    def __init__(self, reader: TextReader) -> None:
        self._reader = reader
        self._evidence: Shelf[Evidence] = Shelf(_IN_MEMORY, packed=True)
        self._lock = Lock()  # of the evidence
        self._pool = ThreadPoolExecutor(1, "malan-captions")
        self._pending: list[Future[Reading | None]] = []
        self._put_off: list[Sighting] = []
        self.calls = 0

    def read(self, sighting: Sighting) -> None:
        """Read a sighting, or put it off."""
        if len(self._pending) >= _WAITING:
            self._pending[-_WAITING].result()  # reading is slower than watching: let it catch up
        lines = _lines(sighting)
        if _is_likely(sighting, lines):
            self._pending.append(self._pool.submit(self._read_once, sighting, lines))
        else:
            self._put_off.append(sighting)
            self._put_aside(sighting)

    def readings(self) -> list[Reading]:
        """What was read so far, and believed."""
        found = [future.result() for future in self._pending]
        self._pending = []
        return [reading for reading in found if reading is not None]

    def read_again(self, known: Sequence[Reading], stands_well: Callable[[Sighting, Box], bool]) -> list[Reading]:
        """`known`, with those put off or doubtful read now, and better, if they have a line in a good place."""
        doubtful = [reading.sighting for reading in known if reading.confidence < SURE]
        again = []
        for sighting in [*self._put_off, *doubtful]:
            self._take_up(sighting)
            if any(stands_well(sighting, line.box) for line in _lines(sighting)):
                reading = self._read(sighting, (darkest, middle, lightest))
                again += [reading] if reading is not None else []
            sighting.hand_over()
        better = {id(reading.sighting) for reading in again}
        return [reading for reading in known if id(reading.sighting) not in better] + again

    def _read_once(self, sighting: Sighting, lines: Sequence[LinePicture]) -> Reading | None:
        """Read the lines of a sighting, and keep its pictures only if they may be looked at again."""
        said = self._say(sighting, lines)
        reading = said if said is not None and said.lines else None
        if reading is not None and reading.confidence < SURE:
            self._put_aside(sighting)
        else:
            sighting.hand_over()
        return reading

    def _put_aside(self, sighting: Sighting) -> None:
        with self._lock:
            self._evidence[id(sighting)] = sighting.hand_over()

    def _take_up(self, sighting: Sighting) -> None:
        with self._lock:
            sighting.take_back(self._evidence[id(sighting)])
            self._evidence.pop(id(sighting))

    def _read(self, sighting: Sighting, ways: Sequence[Compose]) -> Reading | None:
        best: Reading | None = None
        for way in ways:
            reading = self._say(sighting, _lines(sighting, way))
            if reading is None:
                return None
            if reading.lines and (best is None or reading.confidence > best.confidence):
                best = reading
            if reading.confidence >= SURE or reading.confidence < HOPEFUL or len(sighting.pictures) < 2:
                break
        return best

    def _say(self, sighting: Sighting, pictures: Sequence[LinePicture]) -> Reading | None:
        """What the lines of a sighting say; None without a line."""
        if not pictures:
            return None
        self.calls += 1
        said = self._reader.recognise([p.picture for p in pictures])
        return Reading(sighting, _believed(pictures, said), float(np.mean([r.confidence for r in said])))

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._pool.shutdown(wait=True, cancel_futures=True)


def _lines(sighting: Sighting, way: Compose = darkest) -> list[LinePicture]:
    return [line for line in line_pictures(sighting, way) if _is_line(line)]


def _is_likely(sighting: Sighting, lines: Sequence[LinePicture]) -> bool:
    """Whether a sighting looks enough like a line of text to be read wherever it stands."""
    if sighting.samples < 2 or not sighting.is_overlay:
        return False
    return any(
        line.density >= LIKELY_DENSITY and line.box[2] - line.box[0] >= LIKELY_ASPECT * (line.box[3] - line.box[1])
        for line in lines
    )


def _is_line(line: LinePicture) -> bool:
    width, height = line.box[2] - line.box[0], line.box[3] - line.box[1]
    return DENSITY[0] <= line.density <= DENSITY[1] and width >= 0.6 * height


def _believed(pictures: Sequence[LinePicture], said: Sequence[ReadLine]) -> tuple[Line, ...]:
    lines = (Line(tidy(r.text), r.confidence, p.box) for p, r in zip(pictures, said, strict=True))
    return tuple(line for line in lines if is_believable(line))


def is_believable(line: Line) -> bool:
    """Whether a text can be true: sure enough, and as wide as so many characters are."""
    if not any(c.isalnum() for c in line.text):
        return False
    width, height = line.box[2] - line.box[0], line.box[3] - line.box[1]
    fit = text_width(line.text) * height / max(1, width)
    needed = DOUBTFUL_ALONE if text_width(line.text) <= 2 else DOUBTFUL
    return line.confidence >= needed and FIT[0] <= fit <= FIT[1]


def text_width(text: str) -> float:
    """Width of a text in line heights: a Chinese character is one, a Latin letter about half."""
    return sum(1.0 if unicodedata.east_asian_width(c) in "WF" else 0.5 for c in text)


_WIDE = str.maketrans(",?!:;()", "，？！：；（）")


def tidy(text: str) -> str:
    """A text as it is displayed: between Chinese characters punctuation is wide and nothing is spaced."""
    text = " ".join(text.split())
    if not any(is_chinese(c) for c in text):
        return text
    out = []
    for place, char in enumerate(text):
        before = next((c for c in reversed(text[:place]) if c != " "), "")
        after = next((c for c in text[place + 1 :] if c != " "), "")
        chinese = _is_wide(before) or (_is_wide(after) and not before.isascii())
        out.append(char.translate(_WIDE) if chinese else char)
    return _double_marks(_without_odd_spaces("".join(out)))


def _double_marks(text: str) -> str:
    """Dash and ellipsis take two characters in Chinese (GB/T 15834-2011, 4.10 and 4.11), however many are read."""
    return re.sub(r"…+|\.{3,}|。{3,}", "……", re.sub(r"—+-?|--+", "——", text))


def _without_odd_spaces(text: str) -> str:
    kept = [
        c for place, c in enumerate(text) if c != " " or not (_is_mark(text[place - 1]) or _is_mark(text[place + 1]))
    ]
    return "".join(kept)


def _is_mark(char: str) -> bool:
    """Wide punctuation, which brings its own space."""
    return unicodedata.east_asian_width(char) in "WF" and not char.isalnum()


def _is_wide(char: str) -> bool:
    return bool(char) and unicodedata.east_asian_width(char) in "WF"


def is_chinese(char: str) -> bool:
    return "\u3400" <= char <= "\u9fff" or "\U00020000" <= char <= "\U0003ffff"


def language(text: str) -> str:
    """zh, en, zh+en or nothing, from the characters; a line counts as what most of it is."""
    found = set()
    for line in text.split("\n"):
        chinese = sum(is_chinese(c) for c in line)
        latin = sum(c.isascii() and c.isalpha() for c in line)
        if chinese and chinese >= latin / 4:
            found.add("zh")
        elif latin:
            found.add("en")
    return "+".join(sorted(found, reverse=True))
