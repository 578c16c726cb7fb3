"""Which readings are captions, and which stay on.

Captions share a place: their lines stand at the same heights again and again. What stays while captions change is
persistent. What stands in the middle of the picture, where no caption of this film does, is a card or a sign and is
left out. Start at `judge`.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from difflib import SequenceMatcher
from itertools import accumulate, pairwise
from statistics import median
from typing import Generic, Protocol, TypeVar

import numpy as np

from malan.curation.captions.luma import Box
from malan.curation.captions.read import Line, Reading

SAME_TEXT = 0.8
NEAR_FRAMES = 3  # lines that come and go together may differ by so many frames
TORN_FRAMES = 2  # a longer gap between two equal texts makes two captions
HIDDEN_S = 2.0  # but light text may hide before a light picture so long
PERSISTENT_S = 10.0
PERSISTENT_ASIDE_S = 4.0  # away from the captions
LOW = 0.6  # share of the height below which captions usually stand, and
HIGH = 0.2  # above which they sometimes do
VERTICAL_LOW = 0.5  # the same in a picture higher than wide
ROWS_KNOWN = 2  # different texts at a height make it one of captions
ROWS_ASIDE = 3  # different texts that make a caption line of rows elsewhere


L = TypeVar("L", bound="_Lasting")


@dataclass(frozen=True)
class Scene:
    """What a judgement needs to know of the film."""

    width_px: int
    height_px: int
    rate: float  # frames a second


@dataclass(frozen=True)
class Text:
    """A text on its way to become a caption."""

    lines: tuple[Line, ...]
    first: int
    end: int
    may_hide: bool
    is_overlay: bool

    @property
    def text(self) -> str:
        return "\n".join(line.text for line in self.lines)

    @property
    def is_sure(self) -> bool:
        return all(line.is_sure for line in self.lines)

    @property
    def box(self) -> Box:
        x0, y0, x1, y1 = zip(*(line.box for line in self.lines), strict=True)
        return min(x0), min(y0), max(x1), max(y1)

    @property
    def confidence(self) -> float:
        """Mean over the characters."""
        characters = sum(len(line.text) for line in self.lines)
        return sum(line.confidence * len(line.text) for line in self.lines) / max(1, characters)

    @property
    def frames(self) -> int:
        return self.end - self.first


@dataclass(frozen=True)
class Judged:
    """The texts of a film, told apart."""

    captions: tuple[Text, ...]
    persistent: tuple[Text, ...]


class _Lasting(Protocol):
    """Something that is there from one frame to another."""

    @property
    def first(self) -> int: ...

    @property
    def end(self) -> int: ...


class Moments(Generic[L]):
    """Things by the time they last: who is there together is found without looking at all of them."""

    def __init__(self, things: Sequence[L]) -> None:
        self._things = sorted(things, key=lambda thing: thing.first)
        self._firsts = [thing.first for thing in self._things]
        self._ends_so_far = list(accumulate((thing.end for thing in self._things), max))

    def around(self, one: _Lasting) -> Iterator[L]:
        """Those that share at least an edge with a time, the latest first."""
        for place in range(bisect_right(self._firsts, one.end) - 1, -1, -1):
            if self._ends_so_far[place] < one.first:
                return
            if self._things[place].end >= one.first:
                yield self._things[place]


class Rows:
    """The heights at which the captions of a film stand."""

    def __init__(self, texts: Sequence[Text], scene: Scene) -> None:
        self._scene = scene
        boxes = [line.box for text in texts for line in text.lines]
        known = {word: number for number, word in enumerate(dict.fromkeys(text.text for text in texts))}
        self._texts = np.array([known[text.text] for text in texts for _ in text.lines], np.int64)
        self._axis = _axis(boxes)
        self._places = np.array([self._axis(box) for box in boxes], np.float64)
        self._tops = np.array([box[1] for box in boxes], np.float64)
        self._bottoms = np.array([box[3] for box in boxes], np.float64)

    def support(self, box: Box) -> int:
        """How many different texts have a line at the height of a box, about as high, and on the same axis."""
        height, heights = box[3] - box[1], self._bottoms - self._tops
        tallest = np.maximum(heights, height)
        same = np.abs(self._tops + self._bottoms - (box[1] + box[3])) / 2 <= 0.5 * tallest
        same &= tallest <= 1.8 * np.minimum(heights, height)
        same &= np.abs(self._places - self._axis(box)) < 0.06 * self._scene.width_px
        return len(np.unique(self._texts[same]))


def _axis(boxes: Sequence[Box]) -> Callable[[Box], float]:
    """What the lines of a film have in common: their middle, or else their left or right end."""
    ways: list[Callable[[Box], float]] = [lambda b: (b[0] + b[2]) / 2, lambda b: b[0], lambda b: b[2]]

    def spread(way: Callable[[Box], float]) -> float:
        places = [way(box) for box in boxes]
        middle = median(places)
        return sum(abs(place - middle) for place in places)

    return min(ways, key=spread) if boxes else ways[0]


def judge(readings: Sequence[Reading], scene: Scene) -> Judged:
    """Tell the texts of a film apart."""
    texts = _mended(_joined(_without_parts(_believed(readings, scene))), scene)
    staying, passing = _parted(texts, lambda text: _stays(text, texts, scene))
    rows = Rows(passing, scene)
    captions, others = _parted(passing, lambda text: _is_caption(text, rows, scene))
    aside = [text for text in others if text.is_overlay and not _in_middle(text, scene)]
    staying += [text for text in aside if text.frames >= PERSISTENT_ASIDE_S * scene.rate]
    return Judged(_in_order(captions), _in_order([text for text in staying if text.is_sure]))


def _believed(readings: Sequence[Reading], scene: Scene) -> list[Text]:
    """The texts with those of their lines that are sure, or stand where sure ones do."""
    texts = [_text(reading) for reading in readings]
    sure = [replace(t, lines=tuple(line for line in t.lines if line.is_sure)) for t in texts]
    rows = Rows(sure, scene)
    kept = [
        replace(t, lines=tuple(line for line in t.lines if line.is_sure or rows.support(line.box) >= ROWS_KNOWN))
        for t in texts
    ]
    return [text for text in kept if text.lines]


def caption_rows(readings: Sequence[Reading], scene: Scene) -> Rows:
    """Where captions stand, judged by what was read so far."""
    return Rows(judge(readings, scene).captions, scene)


def _text(reading: Reading) -> Text:
    sighting = reading.sighting
    return Text(reading.lines, sighting.first, sighting.end, sighting.pattern.may_hide, sighting.is_overlay)


def _in_order(texts: Sequence[Text]) -> tuple[Text, ...]:
    return tuple(sorted(texts, key=lambda t: (t.first, t.box[1])))


def _parted(texts: Sequence[Text], belongs: Callable[[Text], bool]) -> tuple[list[Text], list[Text]]:
    """Those that belong, and the others, each in order."""
    sides: tuple[list[Text], list[Text]] = [], []
    for text in texts:
        sides[0 if belongs(text) else 1].append(text)
    return sides


def _without_parts(texts: list[Text]) -> list[Text]:
    """Drop lines that show part of what another text shows better at the same time and place."""
    kept, moments = [], Moments(texts)
    for text in texts:
        others = [other for other in moments.around(text) if other is not text and _outlasts(other, text)]
        covering = [line.box for other in others for line in other.lines]
        lines = tuple(line for line in text.lines if not any(_covers(box, line.box) for box in covering))
        if lines:
            kept.append(replace(text, lines=lines))
    return kept


def _outlasts(whole: Text, part: Text) -> bool:
    """Whether `whole` is there nearly all the time of `part`, and longer, or says more."""
    shared = min(part.end, whole.end) - max(part.first, whole.first)
    if shared < 0.7 * part.frames:
        return False
    return (whole.frames, len(whole.text), id(whole)) > (part.frames, len(part.text), id(part))


def _covers(whole: Box, part: Box) -> bool:
    width = min(whole[2], part[2]) - max(whole[0], part[0])
    height = min(whole[3], part[3]) - max(whole[1], part[1])
    area = (part[2] - part[0]) * (part[3] - part[1])
    return width > 0 and height > 0 and width * height > 0.5 * area


def _joined(texts: list[Text]) -> list[Text]:
    """Lines that come and go together, one above the other or side by side, become one text."""
    merged: list[Text] = []
    past: list[Text] = []  # began too early to go together with what comes now
    for text in sorted(texts, key=lambda t: t.first):
        past += [m for m in merged if m.first < text.first - NEAR_FRAMES]
        merged = [m for m in merged if m.first >= text.first - NEAR_FRAMES]
        partner = next((m for m in merged if _together(m, text)), None)
        if partner is None:
            merged.append(text)
            continue
        merged.remove(partner)
        lines = _one_line_a_row([*partner.lines, *text.lines])
        merged.append(replace(partner, lines=lines, is_overlay=partner.is_overlay or text.is_overlay))
    return past + merged


def _together(one: Text, other: Text) -> bool:
    if abs(one.first - other.first) > NEAR_FRAMES or abs(one.end - other.end) > NEAR_FRAMES:
        return False
    height = max(line.box[3] - line.box[1] for line in (*one.lines, *other.lines))
    a, b = one.box, other.box
    gap_x, gap_y = max(a[0], b[0]) - min(a[2], b[2]), max(a[1], b[1]) - min(a[3], b[3])
    return (gap_x < 0 and gap_y < 1.2 * height) or (gap_y < -0.4 * height and gap_x < 3 * height)


def _one_line_a_row(lines: Sequence[Line]) -> tuple[Line, ...]:
    """Lines from top to bottom; pieces of one row joined from left to right."""
    rows: list[list[Line]] = []
    for line in sorted(lines, key=lambda piece: piece.box[1] + piece.box[3]):
        middle = (line.box[1] + line.box[3]) / 2
        if rows and rows[-1][0].box[1] < middle < rows[-1][0].box[3]:
            rows[-1].append(line)
        else:
            rows.append([line])
    return tuple(_row(sorted(row, key=lambda piece: piece.box[0])) for row in rows)


def _row(pieces: Sequence[Line]) -> Line:
    x0, y0, x1, y1 = zip(*(piece.box for piece in pieces), strict=True)
    text = pieces[0].text
    for before, piece in pairwise(pieces):
        text = _spliced(text, piece.text) if piece.box[0] < before.box[2] else f"{text} {piece.text}"
    return Line(text, min(p.confidence for p in pieces), (min(x0), min(y0), max(x1), max(y1)))


def _spliced(left: str, right: str) -> str:
    """Two pieces of a line that overlap: what both say is said once."""
    shared = next((n for n in range(min(len(left), len(right)), 0, -1) if left.endswith(right[:n])), 0)
    return left + right[shared:] if shared else f"{left} {right}"


def _mended(texts: list[Text], scene: Scene) -> list[Text]:
    """Equal texts in one place with hardly a gap between them become one."""
    longest_gap = max(HIDDEN_S * scene.rate, TORN_FRAMES)
    mended: list[Text] = []
    past: list[Text] = []  # ended too early to go on in what comes now
    for text in sorted(texts, key=lambda t: t.first):
        past += [m for m in mended if m.end < text.first - longest_gap]
        mended = [m for m in mended if m.end >= text.first - longest_gap]
        before = next((m for m in reversed(mended) if _continues(m, text, scene)), None)
        if before is None:
            mended.append(text)
            continue
        mended.remove(before)
        best = max((before, text), key=lambda t: (len(t.text), t.frames))
        mended.append(
            replace(
                best, first=before.first, end=max(before.end, text.end), is_overlay=before.is_overlay or text.is_overlay
            )
        )
    return past + mended


def _continues(before: Text, text: Text, scene: Scene) -> bool:
    gap = text.first - before.end
    allowed = HIDDEN_S * scene.rate if before.may_hide else TORN_FRAMES
    if gap > allowed or not any(_covers(a.box, b.box) for a in before.lines for b in text.lines):
        return False
    if gap <= TORN_FRAMES:
        return _alike(before.text, text.text)
    return _alike(before.text, text.text) or text.text in before.text


def _alike(one: str, other: str) -> bool:
    if one == other:
        return True
    return min(len(one), len(other)) > 4 and SequenceMatcher(None, one, other).ratio() > SAME_TEXT


def _stays(text: Text, texts: Sequence[Text], scene: Scene) -> bool:
    """Whether a text stays while others pass: long, or there while two others came and went."""
    if not text.is_overlay or text.frames < PERSISTENT_ASIDE_S * scene.rate:
        return False
    if text.frames >= PERSISTENT_S * scene.rate:
        return True
    passed = {t.text for t in texts if t is not text and text.first <= t.first and t.end <= text.end}
    return len(passed) >= 2


def _is_caption(text: Text, rows: Rows, scene: Scene) -> bool:
    support = max(rows.support(line.box) for line in text.lines)
    if support >= ROWS_ASIDE:
        return True
    if not text.is_overlay or len(text.text) < 2:
        return False
    middle = (text.box[1] + text.box[3]) / 2 / scene.height_px
    low = VERTICAL_LOW if scene.height_px > scene.width_px else LOW
    return middle > low or (middle < HIGH and support >= 2)


def _in_middle(text: Text, scene: Scene) -> bool:
    middle = (text.box[1] + text.box[3]) / 2 / scene.height_px
    return HIGH < middle < LOW
