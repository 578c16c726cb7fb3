"""Are generated pictures copies of those a model learned from? By what is in them, not by their bytes.

    picture ─ cut in several ways, mirrored too ─ grey, 16 × 16 ─ less its mean, to length one ─▶ prints
    generated ─▶ nearest footage, over all cuts        held-out footage ─▶ the same        the second is the yardstick

Mean and length are taken off, so neither brightness nor contrast matters; cuts find a copy that was cropped or shows
more than the original; mirrored ones are looked for too. What has hardly any detail (black, a plain sky) says nothing
and is left out on all sides. Pure, NumPy alone. Start reading at `nearest_pictures`.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from malan.core.errors import Rejected
from malan.inference.tensors import Array
from malan.training.gate.memorisation import Nearest

_SIDE = 16
_LUMA = np.array([0.2126, 0.7152, 0.0722], np.float32)  # ITU-R BT.709, item 3.2
_LEAST_DETAIL = 3.0  # of 255, standard deviation: less is a plain surface
_CUTS = (0.85, 0.7)
_PLACES = ((0.5, 0.5), (0.0, 0.0), (0.0, 1.0), (1.0, 0.0), (1.0, 1.0))
_LEAST_UNSEEN = 20
_CHUNK = 4096
_QUANTILE = 0.99


def nearest_pictures(generated: Array, training: Array, held_out: Array) -> Nearest:
    """The nearest training picture of each generated one, and whether it is nearer than unseen footage comes.

    The threshold lies half way between the likeness that 99 of 100 held-out pictures stay below and one; so footage in
    which all shots look alike asks for more before anything counts as a copy.

    Args:
        generated: Pictures (N, H, W, 3), uint8; with none of any detail nothing can be copied.
        training: Pictures that were trained on, (M, H, W, 3).
        held_out: Pictures of the same kind that were not; at least 20 with some detail.

    Raises:
        Rejected: No such pictures, or too few.
    """
    theirs, ours = prints(_detailed(training)), prints(_detailed(held_out))
    if len(theirs) == 0 or len(ours) < _LEAST_UNSEEN:
        raise Rejected("gate.cannot_compare")
    usual = float(np.quantile(_likest(ours, theirs)[1], _QUANTILE))
    threshold = usual + (1 - usual) / 2
    shown = _detailed(generated)
    if len(shown) == 0:
        count = len(generated)
        return Nearest(np.zeros(count, np.int64), np.zeros(count), threshold, np.zeros(count, np.bool_))
    index, likeness = _likest(prints(shown), theirs)
    missing = len(generated) - len(shown)  # plain pictures: no copies of anything
    likeness, index = np.append(likeness, np.zeros(missing)), np.append(index, np.zeros(missing, np.int64))
    return Nearest(index, likeness, threshold, likeness > threshold)


def prints(pictures_NHWC: Array) -> NDArray[np.float32]:
    """The prints of pictures, (N, V, 256): V cuts, the whole picture first."""
    luma_NHW = np.asarray(pictures_NHWC, np.float32) @ _LUMA
    cuts = [_small(luma_NHW)]
    for share in _CUTS:
        for down, right in _PLACES:
            cuts.append(_small(_cut(luma_NHW, share, down, right)))
    flat = np.stack(cuts, axis=1).reshape(len(luma_NHW), len(cuts), _SIDE * _SIDE)
    flat = flat - flat.mean(axis=2, keepdims=True)
    length = np.linalg.norm(flat, axis=2, keepdims=True)
    return np.asarray(flat / np.maximum(length, 1e-6), np.float32)


def _likest(ours_NVD: NDArray[np.float32], theirs_MVD: NDArray[np.float32]) -> tuple[NDArray[np.int64], Array]:
    """For each of ours the nearest of theirs: any cut of one against the whole of the other, mirrored or not."""
    mirrored = ours_NVD.reshape(*ours_NVD.shape[:2], _SIDE, _SIDE)[..., ::-1].reshape(ours_NVD.shape)
    best, index = np.full(len(ours_NVD), -1.0), np.zeros(len(ours_NVD), np.int64)
    for start in range(0, len(theirs_MVD), _CHUNK):
        part = theirs_MVD[start : start + _CHUNK]
        likeness_NM = np.full((len(ours_NVD), len(part)), -1.0, np.float32)
        for mine in (ours_NVD, mirrored):
            for cut in range(mine.shape[1]):
                np.maximum(likeness_NM, mine[:, cut] @ part[:, 0].T, out=likeness_NM)
                np.maximum(likeness_NM, mine[:, 0] @ part[:, cut].T, out=likeness_NM)
        at = likeness_NM.argmax(axis=1)
        value = likeness_NM[np.arange(len(at)), at]
        better = value > best
        best[better], index[better] = value[better], at[better] + start
    return index, np.minimum(best, 1.0)


def _detailed(pictures_NHWC: Array) -> Array:
    """Pictures that show something.

    Raises:
        Rejected: They are no pictures.
    """
    found = np.asarray(pictures_NHWC)
    if found.ndim != 4 or found.shape[-1] != 3 or min(found.shape[1:3]) < _SIDE:
        raise Rejected("gate.cannot_compare")
    luma = found.astype(np.float32) @ _LUMA
    return np.asarray(found[luma.reshape(len(found), -1).std(axis=1) >= _LEAST_DETAIL])


def _cut(luma_NHW: Array, share: float, down: float, right: float) -> Array:
    height, width = luma_NHW.shape[1:]
    rows, columns = max(_SIDE, round(share * height)), max(_SIDE, round(share * width))
    top, left = round(down * (height - rows)), round(right * (width - columns))
    return luma_NHW[:, top : top + rows, left : left + columns]


def _small(luma_NHW: Array) -> Array:
    """Means over a grid of 16 × 16, each cell as wide as it falls, from sums over rectangles."""
    height, width = luma_NHW.shape[1:]
    sums = np.zeros((len(luma_NHW), height + 1, width + 1))
    sums[:, 1:, 1:] = luma_NHW.cumsum(1, np.float64).cumsum(2)
    rows, columns = (np.linspace(0, side, _SIDE + 1) for side in (height, width))
    across = _between(sums, rows, 1)
    whole = _between(across, columns, 2)
    cells = whole[:, 1:, 1:] - whole[:, :-1, 1:] - whole[:, 1:, :-1] + whole[:, :-1, :-1]
    return np.asarray(cells / (height * width / _SIDE**2), np.float32)


def _between(sums: Array, at: Array, axis: int) -> Array:
    """Sums up to places that may lie between two rows."""
    below = np.minimum(np.floor(at).astype(int), sums.shape[axis] - 2)
    part = (at - below).reshape([-1 if one == axis else 1 for one in range(3)])
    first, second = sums.take(below, axis), sums.take(below + 1, axis)
    return np.asarray(first + part * (second - first))
