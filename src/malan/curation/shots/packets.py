"""What the packet index tells about the pictures before anything is decoded.

A picture that the one before does not predict costs bits: a cut on a predicted frame is a large packet. Start at
`PacketView`.
"""

from __future__ import annotations

from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from malan.media.index import KEY, PacketIndex

SWOLLEN = 1.8  # bits relative to the usual from which a dissolve may be going on
SWELL = 8  # frames whose bits are added up to see a swell
JITTER = 3  # frames by which echoes of the source's key frames may be off their clock
MANY, ON_CLOCK = 15, 0.6  # gaps it takes to speak of a clock, and part of the spikes that must keep it
FASTEST_CLOCK = 24  # frames; key frames closer than that leave no echo worth telling
ECHOING = 0.4  # part of the gaps between spikes that must be alike for it
SPIKE_CAP = 3.0  # a single large packet makes no swell
CERTAIN = 2.5  # times its neighbours and its kind that a packet is of a cut or a flash
AROUND = 48  # frames on each side that tell what size is usual


class PacketView:
    """Sizes and kinds of the frames of a film in presentation order.

    Kinds are read off the order of packets: what is shown before something already decoded is bidirectional; it is a
    leaf when what follows in decode order is shown later, for then most likely nothing is predicted from it.
    """

    def __init__(self, index: PacketIndex) -> None:
        self.index = index

    @cached_property
    def ranks(self) -> NDArray[np.int64]:
        """Place of each packet in presentation order, those never shown included."""
        ranks = np.empty(self.index.packet_count, np.int64)
        ranks[self.by_rank] = np.arange(self.index.packet_count)
        return ranks

    @cached_property
    def by_rank(self) -> NDArray[np.int64]:
        return np.argsort(self.index.pts, kind="stable")

    @cached_property
    def leaves(self) -> NDArray[np.bool_]:
        """Of each packet: whether it may be left out."""
        pts = self.index.pts
        following = np.append(pts[1:], np.iinfo(np.int64).max)
        result: NDArray[np.bool_] = self._packet_is_bidirectional & (following > pts)
        return result

    @cached_property
    def _packet_is_bidirectional(self) -> NDArray[np.bool_]:
        latest = np.maximum.accumulate(np.concatenate([[np.iinfo(np.int64).min], self.index.pts[:-1]]))
        result: NDArray[np.bool_] = (self.index.pts < latest) & ((self.index.flags & KEY) == 0)
        return result

    @cached_property
    def has_bidirectional(self) -> bool:
        return bool(self._packet_is_bidirectional.any())

    @cached_property
    def is_key(self) -> NDArray[np.bool_]:
        return (self.index.flags[self.index.shown] & KEY) > 0

    @cached_property
    def is_anchor(self) -> NDArray[np.bool_]:
        """Of each frame: whether it is a key frame or predicted from the past alone."""
        return ~self._packet_is_bidirectional[self.index.shown]

    @cached_property
    def anchors(self) -> NDArray[np.int64]:
        return np.flatnonzero(self.is_anchor)

    def anchors_between(self, first: int, end: int) -> NDArray[np.int64]:
        """The anchors behind frame `first` and before `end`."""
        return self.anchors[np.searchsorted(self.anchors, first, "right") : np.searchsorted(self.anchors, end)]

    @cached_property
    def sizes(self) -> NDArray[np.float64]:
        return self.index.size_bytes[self.index.shown].astype(np.float64)

    @cached_property
    def intra_share(self) -> NDArray[np.float64]:
        """Size of each frame relative to the smaller of the key frames around it."""
        keys = np.flatnonzero(self.is_key)
        if not len(keys):
            return np.zeros(len(self.sizes))
        at = np.searchsorted(keys, np.arange(len(self.sizes)), side="right")
        before, after = keys[np.maximum(at - 1, 0)], keys[np.minimum(at, len(keys) - 1)]
        return self.sizes / np.maximum(np.minimum(self.sizes[before], self.sizes[after]), 1)

    @cached_property
    def is_spike(self) -> NDArray[np.bool_]:
        """Frames whose packet looks as if the picture before did not predict them: cuts, and fast motion."""
        rise, share = self.rise, self.intra_share
        return (rise > 1.5) & (share > 0.2) | (rise > 1.15) & (share > 0.6)

    @cached_property
    def is_sharp(self) -> NDArray[np.bool_]:
        """Spikes that stand alone: a cut is over after one frame, motion goes on."""
        return (self._lone > 1.6) & (self.rise > 1.4) & (self.intra_share > 0.2)

    @cached_property
    def is_strong(self) -> NDArray[np.bool_]:
        """Spikes that are hardly anything but a cut or a flash: about the size of a key frame, or very much alone."""
        large = (self._lone > 1.3) & (self.rise > 1.6) & (self.intra_share > 0.45)
        alone = (self._lone > 2.2) & (self.rise > 1.65) & (self.intra_share > 0.22)
        strong = large | alone
        return strong & ~_echoes(strong)

    @cached_property
    def _lone(self) -> NDArray[np.float64]:
        """Size of each predicted anchor relative to the larger of the predicted anchors next to it; 0 elsewhere."""
        result = np.zeros(len(self.sizes))
        predicted = np.where(self.is_key, 0, self.sizes)[self.anchors]
        beside = np.pad(predicted, 1)
        result[self.anchors] = predicted / np.maximum(np.maximum(beside[:-2], beside[2:]), 1)
        return result

    def spikes(self, first: int, end: int) -> NDArray[np.int64]:
        """Spikes behind frame `first` and before `end`."""
        return np.flatnonzero(self.is_spike[first + 1 : end]) + first + 1

    def sharp(self, first: int, end: int) -> NDArray[np.int64]:
        return np.flatnonzero(self.is_sharp[first + 1 : end]) + first + 1

    def strong(self, first: int, end: int) -> NDArray[np.int64]:
        return np.flatnonzero(self.is_strong[first + 1 : end]) + first + 1

    def inner_keys(self, first: int, end: int) -> NDArray[np.int64]:
        """Key frames the encoder chose between two others, where they come thick."""
        return np.flatnonzero(self._chosen[first + 1 : end]) + first + 1

    def swells(self, first: int, end: int) -> NDArray[np.int64]:
        """Ends of the swells of some length between two frames; what only follows from the key frame before is none."""
        return self._swells(first, end)[1]

    def calm_until(self, first: int, end: int) -> int:
        """The frame before the first swell between two frames; the later one where there is none."""
        starts, _ = self._swells(first, end)
        return int(starts[0]) if len(starts) else end

    def _swells(self, first: int, end: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        swollen = np.concatenate([[False], self.swell[first + 1 : max(end - SWELL // 2, first + 1)] > SWOLLEN, [False]])
        edges = np.flatnonzero(np.diff(swollen.astype(np.int8)))
        starts, ends = edges[::2], edges[1::2]
        lasting = (ends - starts >= 4) & ((starts > 4) | (ends > 16))
        return starts[lasting] + first, np.minimum(ends[lasting] + first + SWELL // 2, end - 1)

    def is_uneasy(self, key: int) -> bool:
        """Whether packets right before a key frame, or large ones right behind it, speak against a plain cut there."""
        near = slice(max(key - 5, 0), key)
        restless = ((self.relative[near] > 1.9) & (self.intra_share[near] > 0.35)).any()
        swollen = self.relative[max(key - 8, 0) : key].mean() > 1.6
        return bool(restless or swollen or self.is_unsettled(key))

    def is_unsettled(self, key: int) -> bool:
        """Whether packets right behind a key frame are so large that its picture may not have stayed."""
        behind = slice(key + 1, key + 7)
        return bool(self.is_strong[behind].any() or (self.relative[behind] > 5).any())

    def settling(self, key: int) -> list[int]:
        """The frame behind a key frame that tells whether its picture stayed, where packets leave that in doubt."""
        behind = self.anchors_between(key, min(key + 7, len(self.sizes)))
        return behind[-1:].tolist() if len(behind) and self.is_chosen(key) and self.is_unsettled(key) else []

    def is_certain(self, frame: int) -> bool:
        """Whether a packet stands so much alone that a look at its frame is sure to be needed."""
        return bool(self._lone[frame] > CERTAIN and self.rise[frame] > CERTAIN)

    def is_doubtful(self, frame: int) -> bool:
        """Whether a frame is a key frame, or its packet stands out."""
        return bool(self.is_key[frame] or self.is_sharp[frame] or self.is_strong[frame])

    def has_leading(self, key: int) -> bool:
        """Whether frames shown before a key frame come behind it in the file, and may show what it shows."""
        return bool(key > 0 and self.index.shown[key - 1] > self.index.shown[key])

    def is_restless(self, key: int) -> bool:
        """Whether the frames before a key frame are in such uproar that it tells nothing."""
        return bool(self.relative[max(key - 8, 0) : key].mean() > 2.5)

    def key_before(self, frame: int) -> int:
        """The last key frame no later than a frame; the first frame where there is none."""
        keys = np.flatnonzero(self.is_key[: frame + 1])
        return int(keys[-1]) if len(keys) else 0

    @cached_property
    def swell(self) -> NDArray[np.float64]:
        """How much more bits than usual the frames from each one on take, single spikes aside. Dissolves swell."""
        capped = np.minimum(np.where(self.is_key, 1, self.relative), SPIKE_CAP)
        span = min(SWELL, len(capped))
        sums = np.cumsum(np.concatenate([[0.0], capped]))
        mean = (sums[span:] - sums[:-span]) / span
        return np.append(mean, np.repeat(mean[-1:], span - 1))

    @cached_property
    def relative(self) -> NDArray[np.float64]:
        """Size of each frame relative to the median of its kind around it; key frames 0."""
        leaf = self.leaves[self.index.shown]
        result = np.zeros(len(self.sizes))
        for kind in (self.is_anchor & ~self.is_key, ~self.is_anchor & leaf, ~self.is_anchor & ~leaf):
            frames = np.flatnonzero(kind)
            around = int(np.clip(AROUND * len(frames) // max(len(kind), 1), 6, AROUND))
            result[frames] = self.sizes[frames] / np.maximum(_running_median(self.sizes[frames], around), 1)
        return result

    @cached_property
    def rise(self) -> NDArray[np.float64]:
        """`relative` of predicted anchors; 0 elsewhere."""
        return np.where(self.is_anchor, self.relative, 0)

    def is_near_spike(self, frame: int) -> bool:
        """Whether a frame lies right in front of a spike, where a cut may hide among frames left out."""
        return bool(self._is_near_spike[frame])

    @cached_property
    def _is_near_spike(self) -> NDArray[np.bool_]:
        """Frames between an anchor and the spike or key frame that follows it."""
        doubtful = (self.is_sharp | self.is_strong | self.is_key)[self.anchors]
        at = np.searchsorted(self.anchors, np.arange(len(self.sizes)))
        return np.append(doubtful, True)[at]

    def is_chosen(self, frame: int) -> bool:
        """Whether the encoder seems to have placed a key frame for its picture, not for its turn."""
        return bool(self._chosen[frame])

    @cached_property
    def _chosen(self) -> NDArray[np.bool_]:
        keys = np.flatnonzero(self.is_key)
        result = np.zeros(len(self.sizes), bool)
        if len(keys) > 2:
            gaps = np.diff(keys)
            usual = np.bincount(gaps).argmax()
            share = float((gaps == usual).mean())
            forced = gaps == gaps.max() if share < 0.5 else np.abs(gaps - usual) <= 1
            result[keys[1:][~forced]] = True
        return result

    @property
    def has_chosen_keys(self) -> bool:
        """Whether a good part of the key frames seem to lie at cuts."""
        keys = int(self.is_key.sum())
        return keys > 2 and int(self._chosen.sum()) >= 0.3 * (keys - 1)

    def last_packet(self, stop: int) -> int:
        """Number of the last packet, in decode order, among those of the frames before `stop`."""
        return int(self._reach[min(stop, len(self._reach)) - 1])

    @cached_property
    def _reach(self) -> NDArray[np.int64]:
        return np.maximum.accumulate(self.index.shown)


def _echoes(spikes: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Frames on the clock that spikes keep, if they do: a film encoded again pumps at the key frames of its source."""
    at = np.flatnonzero(spikes)
    gaps = np.diff(at)
    none = np.zeros(len(spikes), bool)
    if len(gaps) < MANY:
        return none
    counts = np.convolve(np.bincount(np.minimum(gaps, 400), minlength=401), np.ones(2 * JITTER + 1), "same")
    period = FASTEST_CLOCK + int(counts[FASTEST_CLOCK:].argmax())
    if counts[period] < ECHOING * len(gaps):
        return none
    periods = np.arange(period - 1, period + 1, 0.02)
    waves = np.exp(2j * np.pi * at[None] / periods[:, None]).sum(axis=1)
    period_exact, angle = float(periods[np.abs(waves).argmax()]), float(np.angle(waves[np.abs(waves).argmax()]))
    off = (np.arange(len(spikes)) / period_exact - angle / (2 * np.pi) + 0.5) % 1 - 0.5
    result: NDArray[np.bool_] = np.abs(off) * period_exact <= JITTER
    return result if result[at].mean() >= ON_CLOCK else none


def _running_median(values: NDArray[np.float64], around: int) -> NDArray[np.float64]:
    """Median of each value and as many as `around` on each side."""
    if not len(values):
        return values
    padded = np.pad(values, around, mode="symmetric" if len(values) >= around else "edge")
    windows = np.lib.stride_tricks.sliding_window_view(padded, 2 * around + 1)
    return np.concatenate([np.median(windows[i : i + 4096], axis=1) for i in range(0, len(windows), 4096)])
