"""Where the frame looks when a picture is cut to another shape: on the subject, on a path that does not jerk.

    a few small frames of a shot ─ faces; movement, contrast to the surroundings, skin ─▶ weight of each place
        ─ best window at each moment ─▶ path: still if it can be, else the smoothest that keeps the subject inside

Start reading at `frame_shot`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from malan.media.render import Format, Key, View
from malan.media.render.graph import window

Floats = NDArray[np.float64]
Pictures = Sequence[NDArray[np.uint8]]
Box = tuple[float, float, float, float]

VERSION = 4  # of what is framed how; what was remembered of another is forgotten
LINES = 96  # height of the frames that are looked at
_STILL = 0.06  # of the picture's width: a subject that moves less is framed without moving
_NOTHING_LOST, _LITTLE_LOST = 0.06, 0.03  # of the weight: what a window may lose and stand still, or stand elsewhere
_TOGETHER, _TALL = 0.35, 0.7  # a subject is not wider and not higher than so much of the picture
_BAR_EDGE = 0.006
_MARGIN = 0.2  # of a window: what is nearer to its edge is not well inside
_LEAP = 0.6  # what a move across the whole picture between two looks costs, in weight
_EVEN, _CALM, _CENTRED, _STIFF, _TURNS = 6.0, 1.5, 0.02, 60.0, 40
_LOOK_S, _STEP_S, _MOST_KEYS = 1 / 6, 0.08, 150  # those weights are for steps of the first; keys come every second
_NARROW, _KEPT = 0.4, 0.46  # a narrow window that keeps less of the weight shows the whole on a blurred ground instead
_LEAST_HIGH = 0.42  # of the format's height: lower than that, the whole is not shown but as much of its middle as fits
_FACES = 0.75  # of the weight of a picture is that of the heads in it, where there are any
_HEAD = (0.2, 0.35, 0.2, 0.15)  # what a head has around its face: left, above, right, below, in shares of its sides


@dataclass(frozen=True)
class Subject:
    """Where the weight of a picture lies: its middle and its spread, as shares; `profile` along x and y."""

    x: float
    y: float
    along_x: Floats
    along_y: Floats


def frame_shot(
    pictures: Pictures,
    times_s: Sequence[float],
    size: tuple[int, int],
    form: Format,
    active: Box = (0.0, 0.0, 1.0, 1.0),
    faces: Sequence[Sequence[Box]] = (),
) -> View:
    """How to cut a shot to a format; what `frame_formats` does for one."""
    return frame_formats(pictures, times_s, size, [form], active, faces)[form.name]


def frame_formats(
    pictures: Pictures,
    times_s: Sequence[float],
    size: tuple[int, int],
    formats: Sequence[Format],
    active: Box = (0.0, 0.0, 1.0, 1.0),
    faces: Sequence[Sequence[Box]] = (),
) -> dict[str, View]:
    """How to cut a shot to some formats, by their names.

    Args:
        pictures: A few frames of it, (H, W, 3) RGB, small; all of one size.
        times_s: When each is shown, from the beginning of the shot.
        size: Width and height of the picture in pixels, as shown.
        formats: What it is cut to.
        active: The picture without black bars, as shares (x, y, width, height).
        faces: Those in each of the pictures, as shares of it; empty where nobody looked for any.
    """
    active = _within(active)
    heads = [[_head(face, active) for face in some] for some in faces]
    subjects = subjects_of([_inside(picture, active) for picture in pictures], heads) if pictures else []
    return {form.name: _view(subjects, times_s, size, form, active) for form in formats}


def _view(
    subjects: Sequence[Subject], times_s: Sequence[float], size: tuple[int, int], form: Format, active: Box
) -> View:
    left, top, wide, high = active
    inner = (round(size[0] * wide), round(size[1] * high))
    width, height = window(inner, form, 1.0)
    share_x, share_y = width / inner[0], height / inner[1]
    zoom = window(size, form, 1.0)[0] / width
    if not subjects or min(share_x, share_y) > 0.98:
        return View((Key(0.0, left + wide / 2, top + high / 2),), zoom)
    along_x, share = share_x <= share_y, min(share_x, share_y)
    profiles = [one.along_x if along_x else one.along_y for one in subjects]
    moments, centres = path(profiles, times_s, share)
    if share < _NARROW and _kept(profiles, np.interp(times_s, moments, centres), share) < _KEPT:
        return View(
            (Key(0.0, left + wide / 2, top + high / 2),), is_whole=True, part=_part(profiles, inner, form, active)
        )
    return View(
        tuple(
            Key(at, left + wide * (centre if along_x else 0.5), top + high * (0.5 if along_x else centre))
            for at, centre in zip(moments, centres, strict=True)
        ),
        zoom,
    )


def _part(profiles: Sequence[Floats], inner: tuple[int, int], form: Format, active: Box) -> Box:
    """What is shown on a blurred ground: all of the picture, or where that is a mere strip, the best of its width."""
    left, top, wide, high = active
    share = form.width / form.height / _LEAST_HIGH / (inner[0] / inner[1])
    if form.aspect >= 1 or share >= 1:
        return active
    gains = np.mean([_gain(profile, share) for profile in profiles], axis=0)
    places = np.linspace(0, 1 - share, len(gains))
    start = float(places[np.argmax(gains - 0.02 * np.abs(places - (1 - share) / 2))])
    return left + wide * start, top, wide * share, high


def _head(face: Box, active: Box) -> Box:
    """The head around a face, as shares of the picture without its bars."""
    x, y, wide, high = face
    before, above, behind, below = _HEAD
    x, y = (x - before * wide - active[0]) / active[2], (y - above * high - active[1]) / active[3]
    return x, y, wide * (1 + before + behind) / active[2], high * (1 + above + below) / active[3]


def _within(active: Box) -> Box:
    """A little inside of where bars end: they were seen in a small picture, and a dark line would be left of them."""
    found = []
    for begin, length in zip(active[:2], active[2:], strict=True):
        edge = _BAR_EDGE if length < 0.99 else 0.0
        found.append((begin + edge, length - 2 * edge))
    return found[0][0], found[1][0], found[0][1], found[1][1]


def _inside(picture: NDArray[np.uint8], active: Box) -> NDArray[np.uint8]:
    """A picture without its bars."""
    height, width = picture.shape[:2]
    x, y, wide, high = active
    return picture[round(y * height) : round((y + high) * height), round(x * width) : round((x + wide) * width)]


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
        float(_gain(weight.sum(axis=axis, dtype=np.float64) / total, share).max())
        for axis, share in enumerate((_TOGETHER, _TALL))
    ]
    return float(np.clip((min(kept) - 0.5) / 0.3, 0, 1))


def path(profiles: Sequence[Floats], times_s: Sequence[float], share: float) -> tuple[list[float], list[float]]:
    """Where a window stands along one side, and when: it keeps the subject, and moves as little as can be.

    Args:
        profiles: The weight along the side at each moment, each adding to one.
        times_s: The moments, rising.
        share: How much of the side the window covers.

    Returns:
        Moments, rising, and the middle of the window at each; one of each where it stands still.
    """
    gains = _eased(np.stack([_well_inside(profile, share) for profile in profiles]))  # (T, places)
    places = np.linspace(share / 2, 1 - share / 2, gains.shape[1])
    still = int(np.argmax(gains.mean(axis=0)))
    wished = _followed(gains, places)
    best = gains[np.arange(len(gains)), wished]
    loss = (best - gains[:, still]).max()
    if np.ptp(places[wished]) < _STILL or loss < _NOTHING_LOST:
        return [float(times_s[0])], [float(places[still])]
    low, high = _room(gains, wished, places)
    times = np.asarray(times_s, np.float64)
    grid = np.linspace(times[0], times[-1], int(np.clip((times[-1] - times[0]) / _STEP_S, 4, _MOST_KEYS)) + 1)
    found = _smooth(np.interp(grid, times, low), np.interp(grid, times, high), grid[1] - grid[0])
    return [float(at) for at in grid], [float(one) for one in np.clip(found, share / 2, 1 - share / 2)]


def _eased(gains: Floats) -> Floats:
    """Each moment together with those beside it: what is seen once only is noise."""
    padded = np.concatenate([gains[:1], gains, gains[-1:]])
    return np.asarray(0.25 * padded[:-2] + 0.5 * padded[1:-1] + 0.25 * padded[2:])


def _followed(gains: Floats, places: Floats) -> NDArray[np.int64]:
    """The chain of places that keeps the most without leaping (Viterbi), one a moment."""
    step = _LEAP * np.abs(places[:, None] - places[None, :])
    best, links = gains[0], []
    for gain in gains[1:]:
        reached = best[None, :] - step
        links.append(np.argmax(reached, axis=1))
        best = gain + reached.max(axis=1)
    chain = [int(np.argmax(best))]
    for link in reversed(links):
        chain.append(int(link[chain[-1]]))
    return np.asarray(chain[::-1])


def _room(gains: Floats, wished: NDArray[np.int64], places: Floats) -> tuple[Floats, Floats]:
    """Between where and where the window may stand at each moment and lose next to nothing."""
    low, high = np.zeros(len(gains)), np.zeros(len(gains))
    for row, (gain, place) in enumerate(zip(gains, wished, strict=True)):
        fit = gain >= gain[place] - _LITTLE_LOST
        below, above = np.flatnonzero(~fit[:place]), np.flatnonzero(~fit[place:])
        low[row] = places[below[-1] + 1 if len(below) else 0]
        high[row] = places[place + above[0] - 1 if len(above) else len(places) - 1]
    return low, high


def _smooth(low: Floats, high: Floats, step_s: float) -> Floats:
    """The evenest path within its room: the third difference is what the eye minds as a jerk, the first as unrest.

    Solved by turns: the evenest path to a target, and the target the place in the room that is nearest to the path.
    """
    count, fine = len(low), _LOOK_S / step_s
    even = sum(
        weight * fine ** (2 * order - 1) * difference.T @ difference
        for order, weight in ((1, _CALM), (2, _EVEN), (3, _EVEN))
        for difference in [np.diff(np.eye(count), order, axis=0)]
    )
    middle = (low + high) / 2
    found, pull = np.clip(np.full(count, middle.mean()), low, high), 1.0
    for _ in range(_TURNS):
        target = np.clip(found, low, high)
        found = np.linalg.solve((pull + _CENTRED) * np.eye(count) + even, pull * target + _CENTRED * middle)
        pull = min(pull * 1.25, _STIFF)
    return np.asarray(found)


def _gain(profile: Floats, share: float, inner: float = 1.0) -> Floats:
    """What a window keeps of the weight, by where it stands; `inner`: only so much of it, around its middle."""
    total = np.concatenate([[0.0], np.cumsum(profile)])
    length = len(profile)
    starts = np.linspace(0, (1 - share) * length, 48) + (1 - inner) / 2 * share * length
    ends = starts + inner * share * length
    spots = np.arange(length + 1)
    return np.asarray(np.interp(ends, spots, total) - np.interp(starts, spots, total))


def _well_inside(profile: Floats, share: float) -> Floats:
    """The same, counting double what is well inside: a subject at the edge of a window is nearly lost."""
    return 0.5 * (_gain(profile, share) + _gain(profile, share, 1 - 2 * _MARGIN))


def _kept(profiles: Sequence[Floats], centres: Floats, share: float) -> float:
    """What the window keeps of the weight, on average."""
    kept = []
    for profile, centre in zip(profiles, centres, strict=True):
        length = len(profile)
        total = np.concatenate([[0.0], np.cumsum(profile)])
        ends = np.interp([(centre + share / 2) * length, (centre - share / 2) * length], np.arange(length + 1), total)
        kept.append(ends[0] - ends[1])
    return float(np.mean(kept))


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


def _middle(shape: tuple[int, ...]) -> NDArray[np.float32]:
    """People put what matters near the middle: a gentle preference."""
    y, x = (np.linspace(-1, 1, side) for side in shape)
    return np.asarray(0.55 + 0.45 * np.exp(-(x[None, :] ** 2 / 0.9 + y[:, None] ** 2 / 1.2)), np.float32)


def _blur(picture: NDArray[np.float32], radius: int) -> NDArray[np.float32]:
    """A box blur along both sides."""
    found = picture
    for axis in (0, 1):
        padded = np.pad(found, [(radius + 1, radius) if one == axis else (0, 0) for one in (0, 1)], mode="edge")
        total = np.cumsum(padded, axis=axis, dtype=np.float64)
        size = found.shape[axis]
        low = np.take(total, range(size), axis=axis)
        high = np.take(total, range(2 * radius + 1, 2 * radius + 1 + size), axis=axis)
        found = np.asarray((high - low) / (2 * radius + 1), np.float32)
    return found
