"""What the packet index tells about the pictures before anything is decoded.

A picture that the one before does not predict costs bits: a cut on a predicted frame is a large packet. Start at
`PacketView`.
"""

from __future__ import annotations

from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from malan.media.index import KEY, PacketIndex

AROUND = 12  # packets of a kind on each side that tell what size is usual


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
        return self._packet_is_bidirectional & (following > pts)

    @cached_property
    def _packet_is_bidirectional(self) -> NDArray[np.bool_]:
        latest = np.maximum.accumulate(np.concatenate([[np.iinfo(np.int64).min], self.index.pts[:-1]]))
        return (self.index.pts < latest) & ((self.index.flags & KEY) == 0)

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

    @cached_property
    def sizes(self) -> NDArray[np.float64]:
        return self.index.size_bytes[self.index.shown].astype(np.float64)

    @cached_property
    def rise(self) -> NDArray[np.float64]:
        """Of each predicted anchor: its size relative to the median of its kind around it; 0 elsewhere."""
        result = np.zeros(len(self.sizes))
        predicted = np.flatnonzero(self.is_anchor & ~self.is_key)
        result[predicted] = self.sizes[predicted] / np.maximum(_running_median(self.sizes[predicted]), 1)
        return result

    @cached_property
    def intra_share(self) -> NDArray[np.float64]:
        """Size of each frame relative to the smaller of the key frames around it."""
        keys = np.flatnonzero(self.is_key)
        if not len(keys):
            return np.zeros(len(self.sizes))
        at = np.searchsorted(keys, np.arange(len(self.sizes)), side="right")
        before, after = keys[np.maximum(at - 1, 0)], keys[np.minimum(at, len(keys) - 1)]
        return self.sizes / np.maximum(np.minimum(self.sizes[before], self.sizes[after]), 1)

    def last_packet(self, stop: int) -> int:
        """Number of the last packet, in decode order, among those of the frames before `stop`."""
        return int(self._reach[min(stop, len(self._reach)) - 1])

    @cached_property
    def _reach(self) -> NDArray[np.int64]:
        return np.maximum.accumulate(self.index.shown)


def _running_median(values: NDArray[np.float64]) -> NDArray[np.float64]:
    if not len(values):
        return values
    padded = np.pad(values, AROUND, mode="symmetric" if len(values) >= AROUND else "edge")
    windows = np.lib.stride_tricks.sliding_window_view(padded, 2 * AROUND + 1)
    parts = [np.median(windows[i : i + 4096], axis=1) for i in range(0, len(windows), 4096)]
    return np.concatenate(parts)
