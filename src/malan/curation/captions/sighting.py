"""One sighting: strokes that stand still in a place from one frame to another.

A sighting starts when new standing edges form a block, is followed from sample to sample by how well the picture still
holds its strokes, and ends when they are gone. Its first and last frame are exact: the frames between two samples are
looked at one by one. Start at `Sighting`; `Pattern` is the matched filter everything rests on.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from malan.curation.captions.luma import Box, Luma, Mask, differs
from malan.curation.captions.strokes import EDGE, STILL, Marks

PRESENT_STRENGTH = 0.5  # of its full contrast
FAINT_STRENGTH = 0.3  # enough where the shape fits well (no outline over a bright picture)
PRESENT_LIKENESS = 0.5  # cosine between the steps seen and the steps of the pattern
FAINT_LIKENESS = 0.25  # enough where the ink is unchanged (no outline, and the picture behind became light)
KEPT_INK = 0.8  # share of the strokes with unchanged luma
LOST_LIKENESS = 0.25  # of a part of the line: with less, and with less ink than
LOST_INK = 0.6  # this, that part is gone
OUTLINE = 75.0  # darker than this around the strokes may be an outline
INK = 28.0  # luma a light stroke may lose, or a dark one gain
RAMP = (0.1, 0.9)  # strengths between which a fade is under way
STOOD = (0.7, 0.35)  # share of its life an edge of a text stands; less where the picture behind hides it at times
KEPT_PICTURES = 8
SETTING = 0.6  # share of the picture around a text that must be the same without it
SAME = 9  # luma change a pixel of an unmoved picture may show
DRIFTED = 0.5  # with less of it the same from its first to its last sample, the picture moved on behind a text
UNEVEN = 10  # luma step between neighbours where a picture that moves would show it
UNEVEN_PIXELS = 60  # fewer tell nothing
RESTLESS_BEHIND = 0.06  # mean share of pixels behind a text that change from sample to sample; more is no still scene
RESTLESS_AROUND = 0.2  # the same over the whole width of the picture
JUMP = 0.5  # share of pixels that change at once where the picture is cut behind a text
WATCHED_EDGES = 600  # of a pattern; more tell no more
BLOCK_PX = 24  # width of the parts a line is watched in


class Pattern:
    """The steps between neighbouring pixels at the edges of a text, as they were when it was seen first."""

    def __init__(self, box: Box, luma: Luma, edges: Mask) -> None:
        """`luma` and `edges` show the box alone."""
        self.box = box
        self.edge_count = int(np.count_nonzero(edges[:, 1:]))
        spread = max(1, self.edge_count // WATCHED_EDGES)
        rows, columns = (places[::spread] for places in np.nonzero(edges[:, 1:]))
        self._here = rows * luma.shape[1] + columns + 1
        self._before = self._here - 1
        here, before = self._read(luma)
        self.steps = here - before
        self.energy = float(self.steps @ self.steps)
        lighter, darker = np.maximum(here, before), np.minimum(here, before)
        is_dark = bool(len(lighter)) and bool(darker.std() < 0.5 * lighter.std())
        self._ink_is_here = (self.steps > 0) != is_dark
        self._sign = np.float32(-1 if is_dark else 1)
        self._ink = darker if is_dark else lighter
        self.may_hide = bool(len(darker)) and not is_dark and float(np.median(darker)) > OUTLINE
        self.part = columns // BLOCK_PX
        self.parts = int(self.part.max()) + 1 if len(columns) else 0
        self.part_count = np.maximum(1, np.bincount(self.part, minlength=self.parts))
        self.part_energy = np.bincount(self.part, self.steps * self.steps, self.parts)

    @property
    def is_empty(self) -> bool:
        return self.energy == 0

    def presence(self, luma: Luma) -> Presence:
        """How much of the pattern a picture of the box holds."""
        here, before = self._read(luma)
        ink = np.where(self._ink_is_here, here, before)
        return Presence(self, here - before, self._sign * (self._ink - ink) < INK)

    def _read(self, luma: Luma) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """Luma at each edge and left of it."""
        flat = luma.reshape(-1)
        return flat[self._here].astype(np.float32), flat[self._before].astype(np.float32)


class Presence:
    """How much of a pattern a picture holds. What costs time is found out when asked for."""

    def __init__(self, pattern: Pattern, seen: NDArray[np.float32], kept: NDArray[np.bool_]) -> None:
        """`seen` are the steps of the picture, `kept` tells where the ink is unchanged."""
        self._pattern, self._seen, self._kept = pattern, seen, kept
        dot, energy = float(seen @ pattern.steps), float(seen @ seen)
        self.strength = dot / pattern.energy  # 1 as in the pattern, 0 gone; above 1 over a darker picture
        self.likeness = dot / math.sqrt(pattern.energy * energy) if energy else 0.0  # cosine of the steps

    @cached_property
    def ink(self) -> float:
        """Share of the strokes whose own luma is unchanged, whatever lies around them."""
        return float(np.count_nonzero(self._kept)) / max(1, len(self._kept))

    @cached_property
    def lost_parts(self) -> int:
        """Parts of the line that show neither the steps nor the ink."""
        pattern = self._pattern
        dots = np.bincount(pattern.part, self._seen * pattern.steps, pattern.parts)
        energies = np.bincount(pattern.part, self._seen * self._seen, pattern.parts)
        ink = np.bincount(pattern.part, self._kept, pattern.parts) / pattern.part_count
        likeness = dots / np.sqrt(np.maximum(pattern.part_energy * energies, 1e-9))
        counted = pattern.part_energy > 0.35 * pattern.energy / max(1, pattern.parts)
        return int(np.count_nonzero(counted & (likeness < LOST_LIKENESS) & (ink < LOST_INK)))

    @cached_property
    def is_mostly_there(self) -> bool:
        if self._pattern.may_hide and self.ink > KEPT_INK:
            return True  # light text without an outline, and all is light where it stood: nobody can tell
        if self.likeness > PRESENT_LIKENESS:
            return self.strength > PRESENT_STRENGTH or (self.strength > FAINT_STRENGTH and self.ink > KEPT_INK)
        return self.likeness > FAINT_LIKENESS and self.ink > KEPT_INK

    @cached_property
    def is_there(self) -> bool:
        return self.is_mostly_there and not self.lost_parts


class Evidence(NamedTuple):
    """The pictures of a sighting: a megabyte in a large film."""

    stood: NDArray[np.uint16]
    moved: NDArray[np.uint16]
    pictures: list[Luma]
    before: Luma | None
    after: Luma | None
    earliest: Luma | None
    latest: Luma | None


_NOTHING = Evidence(np.zeros((0, 0), np.uint16), np.zeros((0, 0), np.uint16), [], None, None, None, None)


@dataclass
class Sighting:
    """Strokes that stand still, while they do. Boxes in small coordinates."""

    step: int  # pixels per small pixel
    box: Box
    pattern: Pattern
    band: Box  # the rows around the box, over the whole width
    first: int
    before: Luma | None  # the band before it came, small
    unsure_from: int = -1  # where `first` is only known to a sample: the frame at which the text was not there yet
    end: int = -1
    after: Luma | None = None
    samples: int = 0
    jumps: int = 0  # cuts of the picture while it was there
    doubts: int = 0  # samples in a row in which a part was missing
    changed_at: int = 0  # frame since which it is
    was_missed: bool = False  # at a glance between two samples
    stood: NDArray[np.uint16] = field(default_factory=lambda: np.zeros((0, 0), np.uint16))
    moved: NDArray[np.uint16] = field(default_factory=lambda: np.zeros((0, 0), np.uint16))
    pictures: list[Luma] = field(default_factory=list)  # of the band, at full size
    _earliest: Luma | None = None  # the band while it was there, small
    _latest: Luma | None = None
    _stride: int = 1
    _was_overlay: bool | None = None  # once the evidence is handed over

    def count(self, marks: Marks) -> None:
        """Add one sample in which the strokes are there."""
        x0, y0, x1, y1 = self.band
        if not self.samples:
            self.stood = np.zeros((y1 - y0, x1 - x0), np.uint16)
            self.moved = np.zeros_like(self.stood)
            self._earliest = marks.luma[y0:y1, x0:x1].copy()
        self._latest = marks.luma[y0:y1, x0:x1].copy()
        self.stood += marks.standing[y0:y1, x0:x1]
        moved = ~marks.still[y0:y1, x0:x1]
        self.jumps += bool(self.samples) and bool(np.count_nonzero(moved) > JUMP * moved.size)
        self.moved += moved
        self.samples += 1

    @property
    def wants_picture(self) -> bool:
        """Whether this sample's picture should be kept: evenly spread over the life, a few in all."""
        return self.samples % self._stride == 0

    def restart(self, first: int) -> None:
        """Count from here: what was so far was another text that said the same."""
        self.first, self.unsure_from = first, -1
        self.samples, self.before, self.doubts, self.jumps = 0, None, 0, 0
        self.pictures, self._stride = [], 1

    def keep(self, picture: Luma) -> None:
        self.pictures.append(picture)
        if len(self.pictures) == KEPT_PICTURES:
            self.pictures = self.pictures[::2]
            self._stride *= 2

    def strokes(self, share: float = STOOD[0]) -> Mask:
        """The edges of the text in the band: those that stood so much of its life, and not also without it."""
        stood: Mask = self.stood >= max(1.0, share * self.samples)
        below = [_below(*pair, stood) for pair in ((self.before, self._earliest), (self.after, self._latest))]
        for edges in below:
            if edges is not None:
                stood &= ~edges
        return stood

    def hand_over(self) -> Evidence:
        """Give away what takes memory. What it is and when it was there stays; `strokes` needs it back."""
        self._was_overlay = self.is_overlay
        given = Evidence(self.stood, self.moved, self.pictures, self.before, self.after, self._earliest, self._latest)
        self.take_back(_NOTHING)
        return given

    def take_back(self, evidence: Evidence) -> None:
        """Have again what was handed over."""
        self.stood, self.moved, self.pictures = evidence.stood, evidence.moved, evidence.pictures
        self.before, self.after = evidence.before, evidence.after
        self._earliest, self._latest = evidence.earliest, evidence.latest

    def outlasts(self, other: Sighting) -> bool:
        """Whether it is there nearly all the time of another one, and no shorter."""
        shared = min(self.end, other.end) - max(self.first, other.first)
        return shared >= 0.7 * (other.end - other.first) and self.end - self.first >= other.end - other.first

    @property
    def density(self) -> float:
        """Share of the box that is strokes of the pattern's first sight."""
        x0, y0, x1, y1 = self.box
        return self.pattern.edge_count / max(1, (x1 - x0) * (y1 - y0))

    @property
    def is_overlay(self) -> bool:
        """Whether it is surely laid over the film: it came or went alone, or stood while the picture moved or was cut.

        A sign in the scene comes and goes with the scene, and stands only while the scene does.
        """
        if self._was_overlay is not None:
            return self._was_overlay
        alone = [
            self._setting_kept(outside, inside) > SETTING
            for outside, inside in ((self.before, self._earliest), (self.after, self._latest))
        ]
        drifted = self._setting_kept(self._earliest, self._latest, unknown=1.0) < DRIFTED
        return any(alone) or drifted or self.jumps > 0 or self._is_restless()

    def _setting_kept(self, one: Luma | None, other: Luma | None, unknown: float = 0.0) -> float:
        """Share of the picture left and right of the text that is the same at two times, where motion would show."""
        if one is None or other is None:
            return unknown
        margin = self.box[3] - self.box[1]
        beside = np.ones(other.shape, np.bool_)
        beside[:, max(0, self.box[0] - margin) : self.box[2] + margin] = False
        uneven = beside.copy()
        uneven[:, 0] = False
        uneven[:, 1:] &= differs(other[:, 1:], other[:, :-1], UNEVEN)
        judged = uneven if np.count_nonzero(uneven) > UNEVEN_PIXELS else beside
        return _same(one, other, judged, SAME)

    def _is_restless(self) -> bool:
        """Whether the picture moved behind the text, or a great deal around it."""
        stood = self.stood >= max(1.0, STOOD[0] * self.samples)
        x0, x1 = self.box[0], self.box[2]
        behind, around = ~stood[:, x0:x1], ~stood
        samples = max(1, self.samples)
        return bool(
            (behind.any() and self.moved[:, x0:x1][behind].mean() > RESTLESS_BEHIND * samples)
            or (around.any() and self.moved[around].mean() > RESTLESS_AROUND * samples)
        )


def _same(one: Luma, other: Luma, where: Mask, limit: int) -> float:
    """Share of the pixels of a part that are the same in two pictures."""
    same = ~differs(one, other, limit) & where
    return int(np.count_nonzero(same)) / max(1, int(np.count_nonzero(where)))


def _below(outside: Luma | None, inside: Luma | None, stood: Mask) -> Mask | None:
    """Edges that are the same without the text as with it: they belong to the picture below.

    None where the picture below moved on meanwhile, so that nothing can be said.
    """
    if outside is None or inside is None or _same(outside, inside, ~stood, STILL) < SETTING:
        return None
    same = ~differs(outside, inside, STILL)
    same[:, 0] = False
    same[:, 1:] &= differs(outside[:, 1:], outside[:, :-1], EDGE)
    return same


def first_frame(strengths: Sequence[float], there: Sequence[bool]) -> int:
    """Place of the first frame of a text in a run of frames that ends with it fully there.

    A hard start is the first frame that holds it. A fade is followed back to where its straight line meets nothing.
    """
    place = len(there)
    while place > 0 and there[place - 1]:
        place -= 1
    return place - _ramp_before(strengths, place)


def end_frame(strengths: Sequence[float], there: Sequence[bool]) -> int:
    """Place after the last frame of a text in a run of frames that starts with it fully there."""
    return len(there) - first_frame(list(reversed(strengths)), list(reversed(there)))


def _ramp_before(strengths: Sequence[float], place: int) -> int:
    """How many frames before `place` already belong to a fade in."""
    values = np.asarray(strengths, np.float64)
    ground = float(np.clip(values[: min(place, 3)].min(), 0, 0.4)) if place else 0.0
    low = max(RAMP[0], ground + RAMP[0])
    start = place
    while start > 0 and low < values[start - 1] <= values[min(start, len(values) - 1)] + 0.02:
        start -= 1
    top = place
    while top < len(values) and values[top] < RAMP[1]:
        top += 1
    steps = np.arange(start, top)
    if len(steps) < 3:
        return place - start if place - start <= 1 and start < place and values[start] > 0.25 else 0
    slope, offset = np.polyfit(steps, values[start:top], 1)
    if slope <= 0.02:
        return 0
    zero = (max(0.0, min(ground, 0.3)) - offset) / slope
    return max(0, place - int(np.clip(np.floor(zero + 0.25) + 1, 0, place)))
