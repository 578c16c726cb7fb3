"""Watches a film for text laid over it: a few samples a second, and the frames between where text comes or goes.

Text is noticed in three ways: its strokes appear while the rest stays or moves; they outlive a change of the picture
around them; or they vanish while the rest stays. The last two find what came together with a cut, among other new edges;
the start of such text is known to a sample only (`Sighting.unsure_from`).

Frames come in once, in order; finished sightings come out. Nothing is read here. Start at `Watcher.look`.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from typing import TypeVar

import av
import numpy as np
from numpy.typing import NDArray

from malan.curation.captions.luma import Box, Luma, Mask, View, difference
from malan.curation.captions.sighting import Pattern, Presence, Sighting, end_frame, first_frame
from malan.curation.captions.strokes import Marks, blocks, overlap, union

Pixel = TypeVar("Pixel", np.uint8, np.bool_)

SAMPLES_PER_S = 6.25
RING_SAMPLES = 5  # frames of so many samples are kept: long enough for a fade of 0.4 s
CUT = 9.0  # mean luma change of the coarse picture between two frames that makes a cut
WATCHED = 24  # sightings followed at a time; more is texture, not text
RESTLESS = 0.5  # share of unchanged pixels below which the picture as a whole has changed
DOUBTS = 4  # samples a part of a text may be hidden before it counts as gone
LINE_DENSITY = 0.12  # share of edges in a box below which a sighting is texture, and hides no text that comes inside it
OUTLIVED = 2  # samples strokes must have stood before the picture changed around them


class Watcher:
    """Follows standing strokes through a film.

    Args:
        view: How to look at its frames.
        every: Frames from sample to sample.
    """

    def __init__(self, view: View, every: int) -> None:
        self._view, self._every = view, every
        self._ring: deque[tuple[int, av.VideoFrame]] = deque(maxlen=every * RING_SAMPLES + 1)
        self._marks: deque[Marks] = deque(maxlen=RING_SAMPLES)
        self._age: NDArray[np.uint8] = np.zeros((0, 0), np.uint8)  # samples each edge has stood
        self._open: list[Sighting] = []
        self._ended: deque[tuple[int, Box]] = deque(maxlen=WATCHED)  # sample and place of what ended lately
        self._next = 0

    def look(self, number: int, frame: av.VideoFrame) -> Iterator[Sighting]:
        """Take the next frame; yields the sightings that ended."""
        self._ring.append((number, frame))
        if number < self._next:
            return
        self._next = number + self._every
        marks = Marks.of(number, self._view.small(frame), self._marks[-1] if self._marks else None)
        self._marks.append(marks)
        yield from self._follow(marks)
        if len(self._marks) >= 3:
            yield from self._appeared(marks)
            yield from self._vanished(marks)
            self._outlived(marks)
        self._grow_older(marks)
        for sighting in self._open:
            self._keep(sighting, marks, frame)

    def finish(self, frame_count: int) -> Iterator[Sighting]:
        """The sightings that are still there at the end of the film."""
        for sighting in self._open:
            sighting.end = frame_count
            yield sighting
        self._open = []

    def _grow_older(self, marks: Marks) -> None:
        if not self._age.size:
            self._age = np.zeros(marks.luma.shape, np.uint8)
        np.minimum(self._age, 250, out=self._age)
        self._age += 1
        self._age *= marks.standing

    # Following what is there

    def _follow(self, marks: Marks) -> Iterator[Sighting]:
        staying: list[Sighting] = []
        for sighting in self._open:
            presence = sighting.pattern.presence(cut_out(marks.luma, sighting.box))
            if not presence.is_mostly_there:
                self._end(sighting, marks)
                yield sighting
                continue
            if not presence.lost_parts:
                sighting.doubts = 0
            elif not sighting.doubts:
                sighting.changed_at, sighting.doubts = self._gone_since(sighting), 1
            elif sighting.doubts < DOUBTS:
                sighting.doubts += 1
            else:
                yield from self._end_changed(sighting, marks)
                staying += self._remains(sighting, marks)
                continue
            staying.append(sighting)
        self._open = staying

    def _end_changed(self, sighting: Sighting, marks: Marks) -> Iterator[Sighting]:
        """End a sighting of which a part was lost, at the frame that part went."""
        self._end(sighting, marks, sighting.changed_at)
        yield sighting

    def _remains(self, sighting: Sighting, marks: Marks) -> Iterator[Sighting]:
        """What is left of a sighting that lost a part goes on as a sighting of its own."""
        x0, y0, x1, y1 = sighting.band
        left = np.zeros(marks.luma.shape, np.bool_)
        left[y0:y1, x0:x1] = marks.standing[y0:y1, x0:x1] & (sighting.stood >= 0.7 * sighting.samples)
        for box in blocks(left):
            pattern = Pattern(box, cut_out(marks.luma, box), cut_out(left, box))
            band = self._band(box, marks.luma)
            at_cut = self._is_cut_at(sighting.end)
            yield Sighting(
                self._view.step,
                box,
                pattern,
                band,
                sighting.end,
                at_cut,
                None,
            )

    def _end(self, sighting: Sighting, marks: Marks, at: int | None = None) -> None:
        sighting.is_open = False
        sighting.end = at or self._gone_since(sighting)
        sighting.ended_at_cut = self._is_cut_at(sighting.end)
        sighting.after = cut_out(marks.luma, sighting.band)
        self._ended.append((marks.number, sighting.box))

    def _gone_since(self, sighting: Sighting) -> int:
        """First frame without the sighting, or without a part of it; it is gone from the last frame of the ring."""
        frames = [(n, f) for n, f in self._ring if n >= sighting.first]
        seen = [self._presence(sighting.pattern, f) for _, f in frames]
        last = max((i for i, p in enumerate(seen) if p.is_there), default=0)
        start = last
        while start > 0 and seen[start - 1].is_there:
            start -= 1
        place = start + end_frame([p.strength for p in seen[start:]], [p.is_there for p in seen[start:]])
        return frames[min(place, len(frames) - 1)][0]

    # Noticing what is new

    def _appeared(self, marks: Marks) -> Iterator[Sighting]:
        before, old = self._marks[-2], self._marks[-3]
        fresh = marks.standing & ~before.standing
        for box in blocks(fresh):
            for sighting in [s for s in self._open if s.doubts and overlap(box, s.box) > 0]:
                self._open.remove(sighting)
                yield from self._end_changed(sighting, marks)
            if self._is_watched(box):
                continue
            young = next((s for s in self._open if s.samples <= 2 and _touch(s.box, box)), None)
            if young is not None:
                self._open.remove(young)
                whole = union(box, young.box)
                self._open_sighting(whole, cut_out(marks.standing, whole), marks, old, young)
            else:
                self._open_sighting(box, cut_out(fresh, box), marks, old, None)

    def _vanished(self, marks: Marks) -> Iterator[Sighting]:
        """Strokes that stood, unwatched, until now."""
        before = self._marks[-2]
        gone = before.standing & ~marks.edges
        for box in blocks(gone):
            age = _median_age(self._age, gone, box)
            if age < OUTLIVED or self._was_watched(box, marks.number):
                continue
            sighting = self._unwatched(box, cut_out(gone, box), before, age)
            if sighting is not None:
                self._end(sighting, marks)
                yield sighting

    def _outlived(self, marks: Marks) -> None:
        """Strokes that stood before the whole picture changed, and still do."""
        if marks.still.mean() > RESTLESS:
            return
        kept = marks.standing & (self._age >= OUTLIVED)
        for box in blocks(kept):
            if not self._is_watched(box) and not self._was_watched(box, marks.number):
                sighting = self._unwatched(box, cut_out(kept, box), marks, _median_age(self._age, kept, box))
                if sighting is not None:
                    self._open.append(sighting)

    def _open_sighting(self, box: Box, edges: Mask, marks: Marks, old: Marks, young: Sighting | None) -> None:
        pattern = Pattern(box, cut_out(marks.luma, box), edges)
        if pattern.is_empty:
            return
        first = self._first(pattern, marks.number)
        if young is not None:
            first = min(first, young.first)
        band = self._band(box, marks.luma)
        at_cut = first == 0 or self._is_cut_at(first)
        self._open.append(Sighting(self._view.step, box, pattern, band, first, at_cut, cut_out(old.luma, band)))

    def _unwatched(self, box: Box, edges: Mask, marks: Marks, age: int) -> Sighting | None:
        """A sighting noticed late: it came about `age` samples ago."""
        pattern = Pattern(box, cut_out(marks.luma, box), edges)
        if pattern.is_empty or len(self._open) >= WATCHED:
            return None
        band = self._band(box, marks.luma)
        since = max(0, self._marks[-2].number - age * self._every)
        sighting = Sighting(
            self._view.step, box, pattern, band, since, True, None, unsure_from=max(0, since - self._every)
        )
        frames = dict(self._ring)
        for past in list(self._marks)[-1 - age : -1]:
            self._keep(sighting, past, frames[past.number])
        return sighting

    def _is_watched(self, box: Box) -> bool:
        """Whether an open sighting of about that size covers the box."""
        same = (s for s in self._open if overlap(box, s.box) > 0.5 and s.density >= LINE_DENSITY)
        return len(self._open) >= WATCHED or next(same, None) is not None

    def _was_watched(self, box: Box, now: int) -> bool:
        """Whether the box was, until this sample or the one before, part of a sighting."""
        places = [s.box for s in self._open] + [b for n, b in self._ended if n >= now - self._every]
        return any(overlap(box, place) > 0.3 for place in places)

    def _first(self, pattern: Pattern, now: int) -> int:
        """First frame of a pattern that is there now."""
        frames = [(n, f) for n, f in self._ring if n <= now - self._every] or [self._ring[-1]]
        seen = [self._presence(pattern, f) for _, f in frames]
        place = first_frame([p.strength for p in seen], [p.is_there for p in seen])
        return frames[min(place, len(frames) - 1)][0]

    # Looking

    def _presence(self, pattern: Pattern, frame: av.VideoFrame) -> Presence:
        return pattern.presence(self._view.small_part(frame, pattern.box))

    def _keep(self, sighting: Sighting, marks: Marks, frame: av.VideoFrame) -> None:
        if sighting.wants_picture:
            sighting.keep(self._view.part(frame, sighting.band))
        sighting.count(marks)

    def _is_cut_at(self, number: int) -> bool:
        """Whether the picture as a whole changed between a frame of the ring and the one before it."""
        pair = [f for n, f in self._ring if n in (number - 1, number)]
        if len(pair) < 2:
            return False
        return float(difference(self._view.coarse(pair[0]), self._view.coarse(pair[1])).mean()) > CUT

    def _band(self, box: Box, luma: Luma) -> Box:
        margin = max(6, (box[3] - box[1]) // 3)
        return 0, max(0, box[1] - margin), luma.shape[1], min(luma.shape[0], box[3] + margin)


def cut_out(picture: NDArray[Pixel], box: Box) -> NDArray[Pixel]:
    """A contiguous copy of a part of a picture."""
    return np.ascontiguousarray(picture[box[1] : box[3], box[0] : box[2]])


def _median_age(age: NDArray[np.uint8], marks: Mask, box: Box) -> int:
    ages = cut_out(age, box)[cut_out(marks, box)]
    return int(np.median(ages)) if ages.size else 0


def _touch(one: Box, other: Box) -> bool:
    """Parts of one line, or lines of one block."""
    height = min(one[3] - one[1], other[3] - other[1])
    gap_x = max(one[0], other[0]) - min(one[2], other[2])
    gap_y = max(one[1], other[1]) - min(one[3], other[3])
    return (gap_y < -0.4 * height and gap_x < 3 * height) or (gap_y < 0.8 * height and gap_x < 0)
