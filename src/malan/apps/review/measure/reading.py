"""Text that is no caption: cards, labels, signs. Read from chosen frames, followed from one to the next.

Often in the opening, where numbers and labels must stand, and at the end; now and then in between. Whole films of
signs are not promised: a text shown for less than the gap between two looks may be missed. Where lines stand is found
at once, what they say when the captions are known: those are not read again. In the first seconds each frame is kept
small, so that a label there has exact ends. Start at `CardReader`.
"""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, replace
from difflib import SequenceMatcher

import numpy as np
from numpy.typing import NDArray

from malan.apps.review.language.values import Box, Moment
from malan.inference.ocr import ReadLine, TextReader

Luma = NDArray[np.uint8]

# Until so many seconds from the start (from the end), so many seconds lie between two looks.
OPENING = ((3.0, 1.0), (10.0, 2.0), (32.0, 2.5))
CLOSING = ((12.0, 3.0),)
BETWEEN_S = 8.0
EXACT_S = 5.0  # in so much of the opening, the ends of a text are found to the frame
SURE = 0.6
SURE_ALONE = 0.9  # for one or two characters
_SAME_TEXT = 0.7
_SAME_PLACE = 0.3
_READ_SIDE_PX = 1000  # longer pictures are thinned before lines are looked for
_UNCHANGED = 0.002  # share of the points that differ in a picture that need not be read again
_WAITING = 6
_HELD_BYTES = 64_000_000  # of pictures of lines that wait to be read; what is found beyond is read at once
_AS_WIDE = (0.7, 1.4)  # width of a line found, in widths of the caption that it is
_HARD = 0.4  # of the hardest steps: a step that belongs to a letter
_ROW = 0.15  # of the steps of a full row: a row that belongs to a line
_NOTHING: Luma = np.zeros((0, 0), np.uint8)
_ALIKE = 0.6  # cosine of the steps between neighbouring pixels


@dataclass(frozen=True, slots=True)
class CardLine:
    """A line of text and when it stood, in seconds; the box in pixels as shown."""

    start_s: float
    end_s: float
    text: str
    box: Box
    confidence: float
    letters_px: int


@dataclass(frozen=True, slots=True)
class _Seen:
    text: str
    box: Box
    confidence: float
    letters_px: int


@dataclass(frozen=True, slots=True)
class _Found:
    """A line that was found in a frame; `picture` is empty once it is read, `said` is None until then."""

    box: Box
    rows: tuple[int, int]  # of its letters
    picture: Luma
    said: ReadLine | None = None


def reading_frames(starts_s: NDArray[np.float64]) -> frozenset[int]:
    """The frames to look at: `starts_s` are the starts of all frames and the end of the last."""
    if len(starts_s) < 2:
        return frozenset()
    length_s = float(starts_s[-1])
    times, at = [], 0.0
    while at < length_s:
        times.append(at)
        at += _gap(at, length_s - at)
    numbers = np.searchsorted(starts_s[:-1], np.array(times) - 1e-6)
    last = len(starts_s) - 2
    return frozenset(int(min(number, last)) for number in numbers) | {last}


def _gap(at_s: float, left_s: float) -> float:
    opening = next((gap for until, gap in OPENING if at_s < until), BETWEEN_S)
    closing = next((gap for until, gap in CLOSING if left_s <= until), BETWEEN_S)
    return min(opening, closing)


class CardReader:
    """Reads frames in a thread of its own while others are decoded. Use as a context manager."""

    def __init__(self, reader: TextReader, starts_s: NDArray[np.float64]) -> None:
        self._reader, self._starts = reader, starts_s
        self._pool = ThreadPoolExecutor(1, "malan-cards")
        self._looks: list[tuple[float, Future[list[_Found]]]] = []
        self._held_bytes = 0
        self._small: Luma | None = None
        self._opening: list[tuple[float, Luma]] = []
        self._step = 1
        self.calls = 0

    def __enter__(self) -> CardReader:
        return self

    def __exit__(self, *_: object) -> None:
        self._pool.shutdown(wait=True, cancel_futures=True)

    def keep(self, start_s: float, end_s: float, small: Luma, step: int) -> None:
        """Keep a small picture of a frame of the opening; one small pixel stands for `step` by `step`."""
        if start_s < EXACT_S:
            self._opening.append((end_s, small))
            self._step = step

    def read(self, number: int, luma: Luma, small: Luma) -> None:
        """Read a frame; one that looks like the last one that was read says the same."""
        time_s = float(self._starts[number])
        if self._looks and self._small is not None and _is_same(self._small, small):
            self._looks.append((time_s, self._looks[-1][1]))
            return
        self._small = small
        if len(self._looks) >= _WAITING:
            self._looks[-_WAITING][1].result()
        self.calls += 1
        self._looks.append((time_s, self._pool.submit(self._find, luma)))

    def lines(self, captions: Sequence[Moment] = ()) -> list[CardLine]:
        """All lines, each with the time it stood: from its first look to half a gap after its last.

        Args:
            captions: Those that are known, boxes in pixels as stored. A line that is one of them is not read again.
        """
        looks = [(time_s, self._seen(future.result(), time_s, captions)) for time_s, future in self._looks]
        times = [time_s for time_s, _ in looks]
        ends = [*times[1:], float(self._starts[-1])]
        found = _followed([(t, end, seen) for (t, seen), end in zip(looks, ends, strict=True)])
        return [self._exact(line, times) for line in found]

    def _exact(self, line: CardLine, looks_s: Sequence[float]) -> CardLine:
        """The line with its ends to the frame, where the opening was kept."""
        seen = [t for t in looks_s if line.start_s <= t < line.end_s]
        last_s = seen[-1] if seen else line.start_s
        if not self._opening or line.start_s >= self._opening[-1][0]:
            return line
        starts = [0.0, *(end for end, _ in self._opening[:-1])]
        box = tuple(edge // self._step for edge in line.box)
        parts = [small[box[1] : box[3] + 1, box[0] : box[2] + 1] for _, small in self._opening]
        at = max(0, int(np.searchsorted(starts, line.start_s + 1e-6)) - 1)
        first, end = at, int(np.searchsorted(starts, last_s + 1e-6))
        while first > 0 and _looks_alike(parts[first - 1], parts[at]):
            first -= 1
        while end < len(parts) and _looks_alike(parts[end], parts[at]):
            end += 1
        goes_on = end >= len(parts) or last_s >= self._opening[-1][0]
        return replace(line, start_s=starts[first], end_s=line.end_s if goes_on else starts[end])

    def _find(self, luma: Luma) -> list[_Found]:
        """Where lines stand in a frame, and a picture of each."""
        step = max(1, -(-max(luma.shape) // _READ_SIDE_PX))
        boxes = [tuple(edge * step for edge in box) for box in self._reader.detect(luma[::step, ::step])]
        found = []
        for box in (_grown(box, luma.shape) for box in boxes):
            x0, y0, x1, y1 = box
            found.append(_Found(box, letter_rows(luma, box), luma[y0:y1, x0:x1].copy()))
        self._held_bytes += sum(one.picture.nbytes for one in found)
        return self._read_all(found) if self._held_bytes > _HELD_BYTES else found

    def _read_all(self, found: Sequence[_Found]) -> list[_Found]:
        said = self._reader.recognise([one.picture for one in found]) if found else []
        self._held_bytes -= sum(one.picture.nbytes for one in found)
        return [replace(one, said=words, picture=_NOTHING) for one, words in zip(found, said, strict=True)]

    def _seen(self, found: list[_Found], time_s: float, captions: Sequence[Moment]) -> list[_Seen]:
        """What the lines of a look say: the words of a caption, else what is read now, once for looks alike."""
        shown = [one for one in captions if one.start_s <= time_s < one.end_s and "\n" not in one.text]
        told = [one.said or _as_caption(one.box, shown) for one in found]
        left = [place for place, said in enumerate(told) if said is None]
        for place, one in zip(left, self._read_all([found[place] for place in left]), strict=True):
            found[place], told[place] = one, one.said
        lines = (_line(one, said) for one, said in zip(found, told, strict=True) if said is not None)
        return [line for line in lines if line is not None]


def _as_caption(box: Box, captions: Sequence[Moment]) -> ReadLine | None:
    """What the caption says that stands in a box; None where none does."""
    middle_x, middle_y, width = (box[0] + box[2]) / 2, (box[1] + box[3]) / 2, box[2] - box[0]
    for one in captions:
        x0, y0, x1, y1 = one.box or (0, 0, 0, 0)
        is_there = x0 <= middle_x <= x1 and y0 <= middle_y <= y1
        if one.confidence is not None and is_there and _AS_WIDE[0] * (x1 - x0) <= width <= _AS_WIDE[1] * (x1 - x0):
            return ReadLine(one.text, one.confidence)
    return None


def _line(found: _Found, said: ReadLine) -> _Seen | None:
    """A line that can be believed."""
    text, (top, bottom) = said.text.strip(), found.rows
    letters = sum(c.isalnum() for c in text)
    if not letters or said.confidence < (SURE if letters > 2 else SURE_ALONE):
        return None
    return _Seen(text, (found.box[0], top, found.box[2], bottom), said.confidence, bottom - top)


def letter_rows(luma: Luma, box: Box) -> tuple[int, int]:
    """First row of the letters in a line of text, and the row behind the last; the box of a reader is larger.

    Letters have hard steps from column to column; whatever soft picture is behind them has not.
    """
    margin = (box[3] - box[1]) // 4
    top = max(0, box[1] - margin)
    part = luma[top : box[3] + margin, box[0] : box[2]].astype(np.int16)
    if min(part.shape) < 4:
        return box[1], box[3]
    steps = np.abs(np.diff(part, axis=1))
    hard = (steps > _HARD * np.quantile(steps, 0.99)).sum(axis=1)
    is_text = hard >= max(2.0, _ROW * float(np.quantile(hard, 0.9)))
    middle = (box[1] + box[3]) // 2 - top
    if not is_text[middle - margin : middle + margin + 1].any():
        return box[1], box[3]
    gaps = np.flatnonzero(~is_text)
    above, below = gaps[gaps < middle - margin], gaps[gaps > middle + margin]
    first = int(above[-1]) + 1 if len(above) else 0
    end = int(below[0]) if len(below) else len(is_text)
    return top + first, top + end


def _looks_alike(one: Luma, other: Luma) -> bool:
    """Whether the same letters stand in two small pictures of a place, whatever is behind them."""
    if one.shape != other.shape or not one.size:
        return False
    a, b = (np.diff(part.astype(np.float32), axis=1) for part in (one, other))
    strength = float(np.sqrt((a * a).sum() * (b * b).sum()))
    return strength > 0 and float((a * b).sum()) / strength > _ALIKE


def _grown(box: Sequence[int], shape: tuple[int, ...]) -> Box:
    x0, y0, x1, y1 = box
    margin = max(1, (y1 - y0) // 10)
    return max(0, x0 - margin), max(0, y0 - margin), min(shape[1], x1 + margin), min(shape[0], y1 + margin)


def _is_same(one: Luma, other: Luma) -> bool:
    if one.shape != other.shape:
        return False
    return int(np.count_nonzero(one - other + np.uint8(4) > 8)) <= _UNCHANGED * one.size


def _followed(looks: Sequence[tuple[float, float, list[_Seen]]]) -> list[CardLine]:
    """Lines that stand in the same place with the same words, look after look, are one."""
    done: list[CardLine] = []
    now: list[CardLine] = []
    for time_s, next_s, seen in looks:
        going: list[CardLine] = []
        for one in seen:
            old = next((line for line in now if _same(line, one)), None)
            end_s = (time_s + next_s) / 2 if next_s - time_s > 0.3 else next_s
            if old:
                now.remove(old)
            going.append(_joined(old, one, time_s, end_s))
        done += now
        now = going
    return sorted([*done, *now], key=lambda line: (line.start_s, line.box[1], line.box[0]))


def _joined(old: CardLine | None, one: _Seen, time_s: float, end_s: float) -> CardLine:
    if old is None:
        return CardLine(time_s, end_s, one.text, one.box, one.confidence, one.letters_px)
    best = one if one.confidence > old.confidence else old
    letters = max(old.letters_px, one.letters_px)
    return CardLine(old.start_s, end_s, best.text, best.box, max(old.confidence, one.confidence), letters)


def _same(line: CardLine, one: _Seen) -> bool:
    if _overlap(line.box, one.box) < _SAME_PLACE:
        return False
    return line.text == one.text or SequenceMatcher(None, line.text, one.text).ratio() >= _SAME_TEXT


def _overlap(one: Box, other: Box) -> float:
    """Area in common over the area of both."""
    width = min(one[2], other[2]) - max(one[0], other[0])
    height = min(one[3], other[3]) - max(one[1], other[1])
    if width <= 0 or height <= 0:
        return 0.0
    areas = sum((b[2] - b[0]) * (b[3] - b[1]) for b in (one, other))
    return width * height / (areas - width * height)
