"""What a shot shows, told from a few small frames: heads where they are known, else what moves, stands out, is skin.

Each sign counts as far as it lies together: leaves and waves are everywhere, a subject is in one place. Start reading
at `subjects_of`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Pictures = Sequence[NDArray[np.uint8]]
Box = tuple[float, float, float, float]  # x, y, width, height

_TOGETHER, _TALL = 0.35, 0.7  # a subject is not wider and not higher than so much of the picture
_FACES = 0.75  # of the weight of a picture is that of the heads in it, where there are any


@dataclass(frozen=True)
class Subject:
    """Where the weight of a picture lies: its middle and its spread, as shares; `profile` along x and y."""

    x: float
    y: float
    along_x: Floats
    along_y: Floats


def subjects_of(pictures: Pictures, heads: Sequence[Sequence[Box]] = ()) -> list[Subject]:
    """The subject in each of several frames of one shot: its heads above all, where they are known."""
    stack = np.stack([np.asarray(one, np.float32) for one in pictures])
    luma = stack @ np.asarray([0.299, 0.587, 0.114], np.float32)
    moving = _movement(luma)
    found = []
    for place, picture in enumerate(stack):
        trust, rare = _trust(moving[place]), _rare(picture)
        skin, stands_out = _skin(picture), _compact(rare)
        weight = (
            (1 - 0.9 * max(trust, 0.9 * stands_out)) * _salience(luma[place])
            + (1 - 0.8 * trust) * (0.6 + 3 * stands_out) * rare
            + (0.4 + 5 * trust) * moving[place]
            + 0.8 * _compact(skin) * skin
        )
        weight = _blur(weight, max(2, len(weight) // 24))
        weight = np.maximum(weight - 0.6 * weight.mean(), 0) + 1e-6
        weight *= _middle(weight.shape)
        weight /= weight.sum()
        if place < len(heads) and heads[place]:
            weight = (1 - _FACES) * weight + _FACES * _heads(weight.shape, heads[place])
        along_x, along_y = weight.sum(axis=0), weight.sum(axis=1)
        centre_x = float((along_x * np.linspace(0, 1, len(along_x))).sum())
        centre_y = float((along_y * np.linspace(0, 1, len(along_y))).sum())
        found.append(Subject(centre_x, centre_y, along_x.astype(np.float64), along_y.astype(np.float64)))
    return found


def _heads(shape: tuple[int, ...], heads: Sequence[Box]) -> NDArray[np.float32]:
    """Where heads are, adding to one: a nearer one weighs more than its size says, for it is whom the shot is about."""
    weight = np.full(shape, 1e-9, np.float32)
    for x, y, wide, high in heads:
        rows = slice(max(0, int(y * shape[0])), max(1, int(np.ceil((y + high) * shape[0]))))
        columns = slice(max(0, int(x * shape[1])), max(1, int(np.ceil((x + wide) * shape[1]))))
        weight[rows, columns] += high
    return np.asarray(weight / weight.sum(), np.float32)


def _trust(moving: NDArray[np.float32]) -> float:
    """How far movement alone tells the subject: much where little of the picture moves, and clearly."""
    share = float((moving > 0.25).mean())
    return float(np.clip((0.22 - share) / 0.12, 0, 1) * np.clip(share / 0.002, 0, 1)) * _compact(moving)


def _compact(weight: NDArray[np.float32]) -> float:
    """How far weight lies together, 0 to 1: a subject is in one place, leaves and waves are everywhere."""
    total = float(weight.sum(dtype=np.float64))
    if total <= 0:
        return 0.0
    kept = [
        float(window_gain(weight.sum(axis=axis, dtype=np.float64) / total, share).max())
        for axis, share in enumerate((_TOGETHER, _TALL))
    ]
    return float(np.clip((min(kept) - 0.5) / 0.3, 0, 1))


def window_gain(profile: Floats, share: float, inner: float = 1.0) -> Floats:
    """What a window keeps of the weight, by where it stands; `inner`: only so much of it, around its middle."""
    total = np.concatenate([[0.0], np.cumsum(profile)])
    length = len(profile)
    starts = np.linspace(0, (1 - share) * length, 48) + (1 - inner) / 2 * share * length
    ends = starts + inner * share * length
    spots = np.arange(length + 1)
    return np.asarray(np.interp(ends, spots, total) - np.interp(starts, spots, total))


def _movement(luma: NDArray[np.float32]) -> NDArray[np.float32]:
    """What moves otherwise than the picture as a whole: different from the picture before and from the one after."""
    if len(luma) < 2:
        return np.zeros_like(luma)
    spectra = np.fft.rfft2(luma - luma.mean(axis=(1, 2), keepdims=True))
    before, after = np.zeros_like(luma), np.zeros_like(luma)
    for place in range(len(luma) - 1):
        shift = _shift(luma[place], luma[place + 1], spectra[place], spectra[place + 1])
        after[place] = _change(luma[place], luma[place + 1], shift)
        before[place + 1] = _change(luma[place + 1], luma[place], (-shift[0], -shift[1]))
    before[0], after[-1] = after[0], before[-1]
    strong = 0.75 * np.minimum(before, after) + 0.25 * np.maximum(before, after)
    for picture in strong:  # leaves and water move all over
        np.maximum(picture - 0.8 * _blur(picture, max(6, len(picture) // 4)), 0, out=picture)
    return np.asarray(strong / max(float(strong.max()), 24.0), np.float32)


def _shift(
    one: NDArray[np.float32], other: NDArray[np.float32], spectrum: NDArray[np.complex64], next_: NDArray[np.complex64]
) -> tuple[int, int]:
    """How far the picture as a whole went, in pixels down and right (phase correlation); nothing where that fits."""
    crossed = np.conj(spectrum) * next_
    peak = np.fft.irfft2(crossed / np.maximum(np.abs(crossed), 1e-6), s=one.shape)
    down, right = np.unravel_index(int(np.argmax(peak)), one.shape)
    height, width = one.shape
    shift = int(down) - height * (int(down) > height // 2), int(right) - width * (int(right) > width // 2)
    if abs(shift[0]) > height // 3 or abs(shift[1]) > width // 3:
        return 0, 0
    still, moved = np.abs(other - one).mean(), np.abs(_moved(other, shift) - one).mean()
    return shift if moved < 0.9 * still else (0, 0)


def _moved(picture: NDArray[np.float32], shift: tuple[int, int]) -> NDArray[np.float32]:
    """A picture as it stood before it went so far; its edge is repeated."""
    rows = np.clip(np.arange(picture.shape[0]) + shift[0], 0, picture.shape[0] - 1)
    columns = np.clip(np.arange(picture.shape[1]) + shift[1], 0, picture.shape[1] - 1)
    return picture[rows][:, columns]


def _change(one: NDArray[np.float32], other: NDArray[np.float32], shift: tuple[int, int]) -> NDArray[np.float32]:
    """How another picture differs from one, more than noise, light, and half a pixel of its edges would."""
    change = np.abs(_moved(other, shift) - one)
    if shift != (0, 0):
        change -= 0.6 * (np.abs(np.gradient(one, axis=0)) + np.abs(np.gradient(one, axis=1)))
        _blank_edge(change, shift)
    return np.asarray(np.maximum(change - 2 * np.median(change) - 4, 0), np.float32)


def _blank_edge(change: NDArray[np.float32], shift: tuple[int, int]) -> None:
    """What came in at the edge was not there before: nothing is known of it."""
    down, right = shift
    change[change.shape[0] - down :] = 0 if down > 0 else change[change.shape[0] - down :]
    change[: max(0, -down)] = 0
    change[:, change.shape[1] - right :] = 0 if right > 0 else change[:, change.shape[1] - right :]
    change[:, : max(0, -right)] = 0


def _salience(luma: NDArray[np.float32]) -> NDArray[np.float32]:
    """Contrast to the surroundings at two sizes (after Itti, Koch, Niebur 1998), and sharpness."""
    small, wide = _blur(luma, 2), _blur(luma, max(6, len(luma) // 6))
    contrast = np.abs(small - wide)
    edges = np.abs(np.gradient(luma, axis=0)) + np.abs(np.gradient(luma, axis=1))
    found = contrast / max(float(contrast.max()), 16.0) + _blur(edges, 3) / max(float(edges.max()), 32.0)
    return np.asarray(found, np.float32)


def _rare(picture: NDArray[np.float32]) -> NDArray[np.float32]:
    """Where the colour stands out from that of the picture as a whole."""
    red, green, blue = picture[..., 0], picture[..., 1], picture[..., 2]
    chroma = np.stack([0.5 * red - 0.419 * green - 0.081 * blue, 0.5 * blue - 0.169 * red - 0.331 * green])
    away = np.sqrt(((chroma - np.median(chroma, axis=(1, 2), keepdims=True)) ** 2).sum(axis=0))
    spread = np.median(away)
    strong = np.maximum(away - 2 * spread - 6, 0)
    share = float((strong > 0).mean())
    told = (strong / max(float(strong.max()), 40.0)) ** 2  # the rarest far more than the rare
    return np.asarray(told * np.clip((0.4 - share) / 0.3, 0, 1), np.float32)


def _skin(picture: NDArray[np.float32]) -> NDArray[np.float32]:
    """Where the colour is that of skin, of any shade, in the chroma of BT.601."""
    red, green, blue = picture[..., 0], picture[..., 1], picture[..., 2]
    cb = 128 - 0.169 * red - 0.331 * green + 0.5 * blue
    cr = 128 + 0.5 * red - 0.419 * green - 0.081 * blue
    inside = (cb > 77) & (cb < 127) & (cr > 135) & (cr < 173) & (red > green) & (red > 50)
    share = inside.mean()
    return np.asarray(inside * (1.0 if share < 0.35 else 0.2), np.float32)


@lru_cache(maxsize=16)
def _middle(shape: tuple[int, ...]) -> NDArray[np.float32]:
    """People put what matters near the middle: a gentle preference."""
    y, x = (np.linspace(-1, 1, side) for side in shape)
    return np.asarray(0.55 + 0.45 * np.exp(-(x[None, :] ** 2 / 0.9 + y[:, None] ** 2 / 1.2)), np.float32)


def _blur(picture: NDArray[np.float32], radius: int) -> NDArray[np.float32]:
    """A box blur along both sides; the edge is repeated."""
    found = picture
    for _ in range(2):
        size, length = len(found), 2 * radius + 1
        total = np.empty((size + length, found.shape[1]), np.float64)
        total[: radius + 1], total[radius + 1 : -radius], total[-radius:] = found[0], found, found[-1]
        np.cumsum(total, axis=0, out=total)
        found = ((total[length:] - total[:size]) / length).astype(np.float32).T  # the other side next
    return np.ascontiguousarray(found)
