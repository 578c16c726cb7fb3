"""Watches a film for text laid over it: a few samples a second, and the frames between where text comes or goes.

Text is noticed in three ways: its strokes appear while the rest stays or moves; they outlive a change of the picture
around them; or they vanish while the rest stays. The last two find what came together with a cut, among other edges
that are new; when such text began is known to a sample only (`Sighting.unsure_from`).

Frames come in once, in order; finished sightings come out. Nothing is read here. Start at `Watcher.look`.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from dataclasses import replace
from typing import TypeVar

import av
import numpy as np
from numpy.typing import NDArray

from malan.curation.captions.luma import Box, Luma, Mask, View
from malan.curation.captions.ring import Ring
from malan.curation.captions.sighting import STOOD, Pattern, Sighting
from malan.curation.captions.strokes import Marks, blocks, covered, overlap, union

Pixel = TypeVar("Pixel", np.uint8, np.bool_)

SAMPLES_PER_S = 6.25
KEPT_SAMPLES = 5  # frames of so many samples are kept: long enough for a fade of 0.4 s
NEEDED_SAMPLES = 2.25  # the least: text is noticed so long after it came
RING_BYTES = 200_000_000
WATCHED = 24  # sightings followed at a time; more is texture, not text
LINE_DENSITY = 0.12  # share of edges in a box below which a sighting is texture, and hides no text that comes inside it
RESTLESS = 0.5  # share of unchanged pixels below which the picture as a whole has changed
OUTLIVED = 2  # samples strokes must have stood before the picture changed around them
YOUNG = 2  # samples in which the rest of a text may still appear
DOUBTS = 4  # samples a part of a text may be hidden before it counts as gone
STAYING_INK = 0.6  # share of the ink that is kept where only the picture behind a text has changed
MERGED = 1.5  # height of a block, in heights of the line that left it, from which it held more than that line
STILL_REST = 0.97  # share of unchanged pixels in the rest
FADING = (0.08, 0.6)  # strength, and likeness from which a text that is mostly gone is still fading
OLDEST = 100  # samples; older is not told apart


class Watcher:
    """Follows standing strokes through a film.

    Args:
        view: How to look at its frames.
        every: Frames from sample to sample.
        frame_bytes: Memory a decoded frame takes; so many are kept that about a second or `RING_BYTES` is full.
    """

    def __init__(self, view: View, every: int, frame_bytes: int = 0) -> None:
        self._view, self._every = view, every
        fitting = RING_BYTES // max(1, frame_bytes)
        self._ring = Ring(view, min(every * KEPT_SAMPLES, max(int(every * NEEDED_SAMPLES), fitting)) + 1)
        self._marks: deque[Marks] = deque(maxlen=KEPT_SAMPLES)
        self._age: NDArray[np.uint8] = np.zeros((0, 0), np.uint8)  # samples each edge has stood
        self._open: list[Sighting] = []
        self._fading: list[Sighting] = []
        self._ended: deque[tuple[int, Box]] = deque(maxlen=WATCHED)  # sample and place of what ended lately
        self._next = self._samples = 0

    def look(self, number: int, frame: av.VideoFrame) -> Iterator[Sighting]:
        """Take the next frame; yields the sightings that ended."""
        self._ring.append(number, frame)
        if number < self._next:
            if self._next - number == self._every // 2:
                self._glance()
            return
        self._next = number + self._every
        marks = Marks.of(number, self._view.small(frame), self._marks[-1] if self._marks else None)
        self._marks.append(marks)
        yield from self._faded()
        yield from self._follow(marks)
        if len(self._marks) >= 2:
            yield from self._appeared(marks)
            yield from self._vanished(marks)
            self._outlived(marks)
        self._grow_older(marks)
        for sighting in self._open:
            self._keep(sighting, marks, frame)

    def finish(self, frame_count: int) -> Iterator[Sighting]:
        """The sightings that are still there at the end of the film."""
        yield from self._faded()
        for sighting in self._open:
            sighting.end = frame_count
            yield sighting
        self._open = []

    def _grow_older(self, marks: Marks) -> None:
        if not self._age.size:
            self._age = np.zeros(marks.luma.shape, np.uint8)
        standing = marks.standing.view(np.uint8)  # as numbers: nothing is converted on the way
        self._age *= standing
        self._age += standing
        self._samples += 1
        if self._samples % OLDEST == 0:
            np.minimum(self._age, OLDEST, out=self._age)

    # Following what is there

    def _glance(self) -> None:
        """Between two samples: notice text that went, in case it is back at the next sample."""
        for sighting in self._open:
            sighting.was_missed = not self._ring.presence(sighting.pattern).is_mostly_there

    def _follow(self, marks: Marks) -> Iterator[Sighting]:
        staying: list[Sighting] = []
        for sighting in self._open:
            presence = sighting.pattern.presence(cut_out(marks.luma, sighting.box))
            if not presence.is_mostly_there:
                self._ended.append((marks.number, sighting.box))
                if presence.strength > FADING[0] and presence.likeness > FADING[1]:
                    self._fading.append(sighting)
                else:
                    yield self._end(sighting)
                continue
            if sighting.was_missed:
                yield from self._split(sighting, marks)
            if not presence.lost_parts:
                sighting.doubts = 0
            elif not sighting.doubts:
                sighting.changed_at, sighting.doubts = self._ring.first_without(sighting.pattern, sighting.first), 1
            elif sighting.doubts < DOUBTS:
                sighting.doubts += 1
            else:
                ended = self._end(sighting, sighting.changed_at)
                staying += self._remains(ended, marks)
                yield ended
                continue
            staying.append(sighting)
        self._open = staying

    def _faded(self) -> Iterator[Sighting]:
        """Sightings that were fading at the last sample have faded."""
        for sighting in self._fading:
            yield self._end(sighting)
        self._fading = []

    def _end(self, sighting: Sighting, at: int | None = None) -> Sighting:
        sighting.end = at or self._ring.first_without(sighting.pattern, sighting.first)
        sighting.after = self._ring.band(sighting.band)
        return sighting

    def _split(self, sighting: Sighting, marks: Marks) -> Iterator[Sighting]:
        """A text that went and came back between two samples was two; the open sighting becomes the second."""
        gap = self._ring.gap(sighting.pattern, marks.number - self._every)
        sighting.was_missed = False
        if gap is not None:
            yield replace(sighting, end=gap[0], pictures=list(sighting.pictures))
            sighting.restart(gap[1])

    def _remains(self, sighting: Sighting, marks: Marks) -> Iterator[Sighting]:
        """What is left of a sighting that lost a part goes on as a sighting of its own."""
        x0, y0, x1, y1 = sighting.band
        left = np.zeros(marks.luma.shape, np.bool_)
        left[y0:y1, x0:x1] = marks.standing[y0:y1, x0:x1] & (sighting.stood >= STOOD[0] * sighting.samples)
        for box in blocks(left):
            pattern = Pattern(box, cut_out(marks.luma, box), cut_out(left, box))
            yield Sighting(self._view.step, box, pattern, _band(box, marks.luma), sighting.end, None)

    # Noticing what is new

    def _appeared(self, marks: Marks) -> Iterator[Sighting]:
        fresh = marks.standing > self._marks[-2].standing
        for box in blocks(fresh):
            for sighting in [s for s in self._open if s.doubts and overlap(box, s.box) > 0]:
                self._open.remove(sighting)
                yield self._end(sighting, sighting.changed_at)
            if not self._is_watched(box):
                self._open_new(box, fresh, marks)

    def _open_new(self, box: Box, fresh: Mask, marks: Marks) -> None:
        """Open a sighting of strokes that are new, or add them to one of which they are the rest."""
        pattern = Pattern(box, cut_out(marks.luma, box), cut_out(fresh, box))
        before = marks.number - self._every
        first = self._ring.first_with(pattern, before)
        if pattern.is_empty or self._was_there_with_another(box, first):
            return  # strokes that an old text and a new one happen to share
        for young in self._open:
            if young.samples <= YOUNG and _touch(young.box, box) and abs(young.first - first) <= self._every:
                self._open.remove(young)
                box = union(box, young.box)
                pattern = Pattern(box, cut_out(marks.luma, box), cut_out(marks.standing, box))
                first = min(first, young.first)
                break
        band = _band(box, marks.luma)
        old = cut_out(self._marks[-3].luma, band) if first > 0 and len(self._marks) >= 3 else None
        self._open.append(Sighting(self._view.step, box, pattern, band, first, old))

    def _vanished(self, marks: Marks) -> Iterator[Sighting]:
        """Strokes that stood, unwatched, until now."""
        before = self._marks[-2]
        gone = before.standing > marks.edges
        for box in blocks(gone):
            age = _median_age(self._age, gone, box)
            if age < OUTLIVED or self._has_just_ended(box, marks.number):
                continue
            sighting = self._unwatched(box, cut_out(gone, box), before, age)
            if sighting is None:
                continue
            whole = next((s for s in self._open if covered(box, s.box) > 0.5), None)
            if whole is not None and _is_rest_still(whole, box, marks):
                self._open.remove(whole)
                self._ended.append((marks.number, whole.box))
                yield self._end(whole, self._ring.first_without(sighting.pattern, whole.first))
            elif whole is None and self._ring.presence(sighting.pattern).ink < STAYING_INK:
                self._ended.append((marks.number, box))
                yield self._end(sighting)

    def _outlived(self, marks: Marks) -> None:
        """Strokes that stood before the whole picture changed, and still do."""
        if np.count_nonzero(marks.still) > RESTLESS * marks.still.size:
            return
        kept = marks.standing & (self._age >= OUTLIVED)
        for box in blocks(kept):
            if any(overlap(box, s.box) > 0.3 for s in self._open) or self._has_just_ended(box, marks.number):
                continue
            if not self._is_watched(box):
                sighting = self._unwatched(box, cut_out(kept, box), marks, _median_age(self._age, kept, box))
                if sighting is not None:
                    self._open.append(sighting)

    def _unwatched(self, box: Box, edges: Mask, marks: Marks, age: int) -> Sighting | None:
        """A sighting noticed late: it came about `age` samples ago."""
        pattern = Pattern(box, cut_out(marks.luma, box), edges)
        if pattern.is_empty or len(self._open) >= WATCHED:
            return None
        since = max(0, self._marks[-2].number - age * self._every)
        unsure = max(0, since - self._every)
        band = _band(box, marks.luma)
        sighting = Sighting(self._view.step, box, pattern, band, since, None, unsure_from=unsure)
        for past in list(self._marks)[-1 - age : -1]:
            frame = self._ring.frame(past.number)
            if frame is not None:
                self._keep(sighting, past, frame)
        return sighting

    def _is_watched(self, box: Box) -> bool:
        """Whether an open sighting that looks like text covers most of the box."""
        watched = (s for s in self._open if s.density >= LINE_DENSITY and covered(box, s.box) > 0.5)
        return len(self._open) >= WATCHED or next(watched, None) is not None

    def _has_just_ended(self, box: Box, now: int) -> bool:
        """Whether the box was, until this sample or the one before, part of a sighting."""
        return any(overlap(box, place) > 0.3 for n, place in self._ended if n >= now - self._every)

    def _was_there_with_another(self, box: Box, first: int) -> bool:
        """Whether a text that ended lately stood in the box after `first`."""
        return any(overlap(box, place) > 0.3 and first <= noticed - self._every for noticed, place in self._ended)

    def _keep(self, sighting: Sighting, marks: Marks, frame: av.VideoFrame) -> None:
        if sighting.wants_picture:
            sighting.keep(self._view.part(frame, sighting.band))
        sighting.count(marks)


def cut_out(picture: NDArray[Pixel], box: Box) -> NDArray[Pixel]:
    """A contiguous copy of a part of a picture."""
    return np.ascontiguousarray(picture[box[1] : box[3], box[0] : box[2]])


def _band(box: Box, luma: Luma) -> Box:
    """The rows of a box and a little more, over the whole width."""
    margin = max(6, (box[3] - box[1]) // 3)
    return 0, max(0, box[1] - margin), luma.shape[1], min(luma.shape[0], box[3] + margin)


def _median_age(age: NDArray[np.uint8], marks: Mask, box: Box) -> int:
    ages = cut_out(age, box)[cut_out(marks, box)]
    return int(np.median(ages)) if ages.size else 0


def _is_rest_still(whole: Sighting, box: Box, marks: Marks) -> bool:
    """Whether all of a block but a line of it stands still: text and texture were taken for one, and the text went."""
    if whole.box[3] - whole.box[1] < MERGED * (box[3] - box[1]):
        return False
    x0, y0, x1, y1 = whole.box
    still = marks.still[y0:y1, x0:x1].copy()
    still[max(0, box[1] - y0) : box[3] - y0, max(0, box[0] - x0) : box[2] - x0] = True
    return bool(np.count_nonzero(still) > STILL_REST * still.size)


def _touch(one: Box, other: Box) -> bool:
    """Parts of one line, or lines of one block."""
    height = min(one[3] - one[1], other[3] - other[1])
    gap_x = max(one[0], other[0]) - min(one[2], other[2])
    gap_y = max(one[1], other[1]) - min(one[3], other[3])
    return (gap_y < -0.4 * height and gap_x < 3 * height) or (gap_y < 1.2 * height and gap_x < 0)
