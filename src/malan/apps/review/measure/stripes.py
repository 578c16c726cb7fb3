"""Large regular patterns of stripes: more than five light and dark pairs over a quarter of the picture.

Blocks of the picture are looked at by their spectrum: stripes put nearly all their energy into one direction and one
frequency with its multiples. Start at `stripe_area`.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

CONTRAST = 0.1  # of full luminance between light and dark stripes
DARK = 0.8
AREA = 0.25
PAIRS = 5  # more of them make a pattern
SIDE_PX = 192  # short side of the picture that is looked at
_PURE = 0.8  # share of a block's energy in one direction and frequency
_PEAK = 0.12  # of it in the strongest wave alone, else the block is not looked at
_ANGLES = 12

_F32 = NDArray[np.float32]


def stripe_area(luminance: _F32) -> float:
    """Share of the picture covered by stripes of one direction; 0 below `AREA`, or where there are five pairs or fewer.

    Args:
        luminance: (H, W), 0 to 1, linear, the short side about `SIDE_PX`.
    """
    return max(_area(luminance, side) for side in (32, 64))


def _area(luminance: _F32, side: int) -> float:
    height, width = luminance.shape
    rows, columns = height // side, width // side
    if not rows or not columns:
        return 0.0
    cut = luminance[: rows * side, : columns * side].reshape(rows, side, columns, side).swapaxes(1, 2)
    blocks = cut.reshape(-1, side, side)
    middle, half = blocks.mean(axis=(1, 2)), blocks.std(axis=(1, 2))  # of stripes: half of light less dark
    strong = (2 * half >= CONTRAST) & (middle - half < DARK)
    least = max(1.0, AREA * len(blocks))  # with fewer blocks the area is too small, whatever they show
    if np.count_nonzero(strong) < least:
        return 0.0
    purity, angle, frequency = _directions(blocks[strong], side)
    is_pure = purity >= _PURE
    if np.count_nonzero(is_pure) < least:
        return 0.0
    bins = np.round(angle[is_pure] / np.pi * _ANGLES).astype(int) % _ANGLES
    counts = np.bincount(bins, minlength=_ANGLES)
    near = counts + np.roll(counts, 1)
    share = float(near.max()) / len(blocks)
    reach = np.sqrt(share * rows * columns) * side  # about how far the stripes reach
    pairs = float(np.median(frequency[is_pure])) * reach
    return share if pairs > PAIRS else 0.0


def _directions(blocks: _F32, side: int) -> tuple[_F32, _F32, _F32]:
    """Purity, direction (0 to pi) and frequency (cycles a pixel) of the strongest wave of each block."""
    window = np.hanning(side).astype(np.float32)
    centred = (blocks - blocks.mean(axis=(1, 2), keepdims=True)) * window[:, None] * window
    spectrum = np.fft.rfft2(centred)
    power = spectrum.real**2 + spectrum.imag**2
    power[:, :, 1:-1] *= 2  # each of these stands for two
    power[:, 0, 0] = 0
    fy, fx = np.fft.fftfreq(side).astype(np.float32)[:, None], np.fft.rfftfreq(side).astype(np.float32)[None, :]
    flat, total = power.reshape(len(blocks), -1), power.sum(axis=(1, 2))
    peak = flat.argmax(axis=1)
    py, px = fy[peak // power.shape[2], 0], fx[0, peak % power.shape[2]]
    length = np.hypot(py, px)
    purity = np.zeros(len(blocks), np.float32)
    for n in np.flatnonzero((flat.max(axis=1) > _PEAK * total) & (length >= 1.9 / side)):  # two waves in a block
        uy, ux = py[n] / length[n], px[n] / length[n]
        across, along = np.abs(fy * ux - fx * uy), np.abs(fy * uy + fx * ux)
        multiple = np.maximum(1, np.round(along / length[n]))
        near = (across <= 1.6 / side) & (np.abs(along - multiple * length[n]) <= 1.6 / side)
        purity[n] = power[n][near].sum() / total[n]
    return purity, (np.arctan2(py, px) % np.pi).astype(np.float32), length.astype(np.float32)
