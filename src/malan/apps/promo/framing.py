"""Where the frame looks when a picture is cut to another shape: on the subject, on a path that does not jerk.

    a few small frames of a shot ─ faces; movement, contrast to the surroundings, skin ─▶ weight of each place
        ─ best window at each moment ─▶ path: still if it can be, else the smoothest that keeps the subject inside

Start reading at `frame_shot`.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from malan.apps.promo.subjects import Box, Pictures, Subject, subjects_of, window_gain
from malan.media.render import Format, Key, View
from malan.media.render.graph import window

Floats = NDArray[np.float64]

VERSION = 5  # of what is framed how; what was remembered of another is forgotten
LINES = 96  # height of the frames that are looked at
_STILL = 0.06  # of the picture's width: a subject that moves less is framed without moving
_NOTHING_LOST, _LITTLE_LOST = 0.06, 0.03  # of the weight: what a window may lose and stand still, or stand elsewhere
_BAR_EDGE = 0.006
_MARGIN = 0.2  # of a window: what is nearer to its edge is not well inside
_LEAP = 0.6  # what a move across the whole picture between two looks costs, in weight
_EVEN, _CALM, _CENTRED, _STIFF, _TURNS = 6.0, 1.5, 0.02, 60.0, 40
_LOOK_S, _STEP_S, _MOST_KEYS = 1 / 6, 0.08, 150  # those weights are for steps of the first; keys come every second
_NARROW, _KEPT = 0.4, 0.46  # a narrow window that keeps less of the weight shows the whole on a blurred ground instead
_LEAST_HIGH = 0.42  # of the format's height: lower than that, the whole is not shown but as much of its middle as fits
_HEAD = (0.2, 0.35, 0.2, 0.15)  # what a head has around its face: left, above, right, below, in shares of its sides


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
    gains = np.mean([window_gain(profile, share) for profile in profiles], axis=0)
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


def _well_inside(profile: Floats, share: float) -> Floats:
    """The same, counting double what is well inside: a subject at the edge of a window is nearly lost."""
    return 0.5 * (window_gain(profile, share) + window_gain(profile, share, 1 - 2 * _MARGIN))


def _kept(profiles: Sequence[Floats], centres: Floats, share: float) -> float:
    """What the window keeps of the weight, on average."""
    kept = []
    for profile, centre in zip(profiles, centres, strict=True):
        length = len(profile)
        total = np.concatenate([[0.0], np.cumsum(profile)])
        ends = np.interp([(centre + share / 2) * length, (centre - share / 2) * length], np.arange(length + 1), total)
        kept.append(ends[0] - ends[1])
    return float(np.mean(kept))
