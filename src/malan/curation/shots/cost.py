"""What decoding is expected to cost, from picture size, packet sizes and codec. Start at `Cost`."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from malan.curation.shots.packets import PacketView

PIXEL_S = 1.2e-9  # CPU seconds a pixel, H.264, decoded in full on one thread
BYTE_S = 7e-8  # … and a byte of its packet
CODEC = {
    "hevc": 1.5,
    "vp9": 0.8,
    "libdav1d": 1.2,
    "av1": 1.2,
    "mpeg2video": 0.4,
    "mpeg4": 0.5,
    "mjpeg": 0.8,
    "prores": 2.0,
}
PLAIN = 0.68  # of it, without the deblocking filter
FRAME_S = 6e-5  # sampling and judging a frame


class Cost:
    """Expected CPU seconds. The constants are of one machine; ratios are what decisions rest on."""

    def __init__(self, view: PacketView, codec: str, pixels: int) -> None:
        factor = CODEC.get(codec, 1.0)
        frames = factor * (PIXEL_S * pixels + BYTE_S * view.sizes)
        leaf = view.leaves[view.index.shown]
        self._whole = np.concatenate([[0.0], np.cumsum(frames)])
        self._needed = np.concatenate([[0.0], np.cumsum(np.where(leaf, 0, PLAIN * frames + FRAME_S))])
        self._keys = PLAIN * frames + FRAME_S

    def whole(self, first: int, end: int) -> float:
        """Decoding every frame, and throwing it away."""
        return float(self._whole[end] - self._whole[first])

    def look(self, first: int, end: int) -> float:
        """Decoding from the key frame `first` to before `end`, leaving out what nothing else needs."""
        return float(self._needed[end] - self._needed[first])

    def full(self) -> float:
        """Decoding and judging every frame."""
        return PLAIN * float(self._whole[-1]) + FRAME_S * len(self._keys)

    def keys(self, frames: NDArray[np.int64]) -> float:
        """Decoding these key frames alone."""
        return float(self._keys[frames].sum())
