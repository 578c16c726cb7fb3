"""Small copies of decoded frames, taken while somebody else decodes them, and kept within a fixed amount of memory.

A frame is copied when it is far in time from all others or looks different from its neighbours, so a short shot gets
its own `Sample` although nobody knows the shots yet. A `Burst` is a few frames in quick succession, smaller and grey,
for motion. How a frame becomes a copy is in `scaling`. Start at `Sampler.observe`.
"""

from __future__ import annotations

from bisect import bisect_left, insort
from dataclasses import dataclass
from fractions import Fraction

import av
import numpy as np
from numpy.typing import NDArray

from malan.core import Track
from malan.curation.scaling import Sample, Scaler, Shape, glance
from malan.curation.shelf import Shelf
from malan.media.index import PacketIndex

BURST_STEP_S = 0.08  # between frames of a burst: far enough to see a slow pan, near enough to follow a fast one
BURST_FRAMES = 4
KEPT_SAMPLES = 3600  # 86 kB each at 16:9
IN_MEMORY = 400  # of samples, and as many bursts; more wait on disk
SPACING_S = 1.0  # between samples of unchanging pictures in a short file
BURST_SPACING_S = 2.0
NEAR_S = 0.2  # in a short file, a picture that keeps changing is not sampled again within this time
CHANGED = 14.0  # mean difference of luma, of 255, from which a picture counts as another one

_U8 = NDArray[np.uint8]


@dataclass(frozen=True)
class Burst:
    """Grey frames in quick succession (T, H, W), uint8, upright, and when each was shown."""

    first: int
    end: int  # frame after the last
    times_s: tuple[float, ...]
    luma_THW: _U8


@dataclass
class _OpenBurst:
    numbers: list[int]
    times_s: list[float]
    frames: list[_U8]


class Sampler:
    """Copies frames it is shown, in any order, into samples and bursts; call `observe` for every decoded frame.

    Keeps at most `kept` samples: when there are more, every second one is dropped and the spacing doubles.

    Args:
        index: Packet index of the track, for the time of a frame.
        track: How the picture is stored.
        bursts: Whether anybody reads motion.
        kept: Most samples to hold.
    """

    def __init__(self, index: PacketIndex, track: Track, *, bursts: bool = True, kept: int = KEPT_SAMPLES) -> None:
        self._index, self._shape, self._kept = index, Shape.of(track), kept
        self._scaler = Scaler(self._shape)
        duration_s = float(index.span(0, index.frame_count).duration) if index.frame_count else 0.0
        self._spacing_s = max(SPACING_S, duration_s * 2 / kept)
        self._near_s = max(NEAR_S, duration_s / kept / 2)
        self._burst_spacing_s = max(BURST_SPACING_S, 2 * self._spacing_s) if bursts else float("inf")
        self._wants_bursts = bursts
        self._numbers: list[int] = []
        self._samples: Shelf[Sample] = Shelf(IN_MEMORY)
        self._signatures: dict[int, NDArray[np.int16]] = {}
        self._bursts: Shelf[Burst] = Shelf(IN_MEMORY)
        self._burst_numbers: list[int] = []
        self._open: _OpenBurst | None = None
        self.damaged: list[int] = []

    def observe(self, frame: av.VideoFrame, number: int, is_key: bool = False) -> None:
        """Look at a decoded frame; most are passed over at the cost of a glance."""
        if frame.is_corrupt:
            self.damaged.append(number)
        signature = glance(frame)
        self._continue_burst(frame, number)
        if self._is_wanted(number, signature):
            self.take(frame, number, signature)
        elif is_key and self._open is None and self._burst_is_due(number):
            self.begin_burst(frame, number)

    def take(self, frame: av.VideoFrame, number: int, signature: NDArray[np.int16] | None = None) -> None:
        """Keep a sample of this frame whatever its neighbours look like; begins a burst where one is due."""
        if number in self._samples:
            return
        insort(self._numbers, number)
        self._samples[number] = self._scaler.sample(frame, number, self._seconds(number))
        self._signatures[number] = glance(frame) if signature is None else signature
        if self._open is None and self._burst_is_due(number):
            self.begin_burst(frame, number)
        if len(self._numbers) > self._kept:
            self._thin()

    def begin_burst(self, frame: av.VideoFrame, number: int) -> None:
        """Follow the picture from this frame on; the frames after it must be observed next."""
        self._close_burst()
        self._open = _OpenBurst([number], [self._seconds(number)], [self._scaler.grey(frame)])

    def samples(self, first: int, end: int) -> list[Sample]:
        """Samples of the frames `first` to `end` (excluded), in order."""
        start, stop = bisect_left(self._numbers, first), bisect_left(self._numbers, end)
        return [self._samples[number] for number in self._numbers[start:stop]]

    def bursts(self, first: int, end: int) -> list[Burst]:
        """Bursts that lie wholly within the frames `first` to `end`; one that crosses the end is cut short."""
        self._close_burst()
        start, stop = bisect_left(self._burst_numbers, first), bisect_left(self._burst_numbers, end)
        found = [_cut_short(self._bursts[number], self._index, end) for number in self._burst_numbers[start:stop]]
        return [burst for burst in found if len(burst.times_s) > 1]

    def forget(self, end: int) -> None:
        """Drop what was kept of the frames before `end`."""
        for number in self._numbers[: (stop := bisect_left(self._numbers, end))]:
            self._samples.pop(number)
            del self._signatures[number]
        del self._numbers[:stop]
        for number in self._burst_numbers[: (stop := bisect_left(self._burst_numbers, end))]:
            self._bursts.pop(number)
        del self._burst_numbers[:stop]

    def _seconds(self, number: int) -> float:
        return float(int(self._index.frame_pts[number]) * self._index.timebase)

    def _is_wanted(self, number: int, signature: NDArray[np.int16]) -> bool:
        place = bisect_left(self._numbers, number)
        near = [n for n in self._numbers[max(0, place - 1) : place + 1] if self._gap_s(n, number) < self._spacing_s]
        if any(self._gap_s(n, number) < self._near_s and not self._differs(n, signature) for n in near):
            return False
        return all(self._differs(n, signature) for n in near)

    def _gap_s(self, one: int, other: int) -> float:
        return abs(self._seconds(one) - self._seconds(other))

    def _differs(self, number: int, signature: NDArray[np.int16]) -> bool:
        return float(np.abs(self._signatures[number] - signature).mean()) > CHANGED

    def _burst_is_due(self, number: int) -> bool:
        if not self._wants_bursts:
            return False
        place = bisect_left(self._burst_numbers, number)
        near = self._burst_numbers[max(0, place - 1) : place + 1]
        return all(self._gap_s(n, number) >= self._burst_spacing_s for n in near)

    def _continue_burst(self, frame: av.VideoFrame, number: int) -> None:
        if self._open is None:
            return
        since_s = self._seconds(number) - self._open.times_s[-1]
        if number <= self._open.numbers[-1] or since_s > 4 * BURST_STEP_S:
            self._close_burst()
        elif since_s >= BURST_STEP_S * 0.9 or number == self._open.numbers[0] + 1:
            self._open.numbers.append(number)
            self._open.times_s.append(self._seconds(number))
            self._open.frames.append(self._scaler.grey(frame))
            if len(self._open.frames) == BURST_FRAMES + 1:
                self._close_burst()

    def _close_burst(self) -> None:
        """Keep an open burst. The frame right after its first is a stopgap: it goes once later ones have come."""
        burst, self._open = self._open, None
        if burst is None or len(burst.frames) < 2:
            return
        keep = [0, *range(2, len(burst.frames))] if len(burst.frames) > 2 else [0, 1]
        first = burst.numbers[0]
        frames = np.stack([burst.frames[i] for i in keep])
        self._bursts[first] = Burst(first, burst.numbers[-1] + 1, tuple(burst.times_s[i] for i in keep), frames)
        insort(self._burst_numbers, first)

    def _thin(self) -> None:
        """Half the samples, twice the spacing."""
        for number in self._numbers[1::2]:
            self._samples.pop(number)
            del self._signatures[number]
        del self._numbers[1::2]
        self._spacing_s *= 2
        self._near_s *= 2


def _cut_short(burst: Burst, index: PacketIndex, end: int) -> Burst:
    """The part of a burst before frame `end`."""
    if burst.end <= end:
        return burst
    limit_s = float(int(index.frame_pts[end]) * index.timebase) if end < index.frame_count else float("inf")
    kept = sum(time_s < limit_s for time_s in burst.times_s)
    return Burst(burst.first, end, burst.times_s[:kept], burst.luma_THW[:kept])


def exact_seconds(index: PacketIndex, number: int) -> Fraction:
    """Start of a frame in seconds; the end of the last one for the number after it."""
    ticks = int(index.frame_pts[number]) if number < index.frame_count else index.end_ticks
    return ticks * index.timebase
