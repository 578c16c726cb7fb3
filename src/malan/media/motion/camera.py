"""Where the camera stands at each frame of a move, as numbers without a picture.

A point of the picture that rests at x (from the middle of the frame, in short sides) and is as near as w (0 farthest,
1 nearest) is seen at

    u = zoom / (1 − dolly · (w − focus)) · x + shift · (w − focus) − zoom · pan

`zoom` and `pan` alone move the frame over a flat picture; `dolly` and `shift` move the camera, so that near things move
otherwise than far ones. What is at `focus` stands still under both. Every move begins with the picture as it is; a
loop ends one step before it. Start at `path_of`.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np

Move = Literal["push", "pull", "pan", "orbit", "swing", "dolly-zoom", "drift-light", "drift-mist"]
MOVES: tuple[Move, ...] = ("push", "pull", "pan", "orbit", "swing", "dolly-zoom", "drift-light", "drift-mist")

_RAMP = 0.22  # of the length: how long a move takes to be at its pace, and to leave it
_UNDER_WAY = 0.3  # of an even pace, from the first frame to the last: nothing to cut off at either end
_PER_S, _LEAST_ZOOM, _MOST_ZOOM = 0.018, 0.05, 0.16
_DOLLY, _SHIFT, _VERTIGO = 0.10, 0.034, 0.22


@dataclass(frozen=True, slots=True)
class Camera:
    """A pose; the one without arguments shows the picture as it is framed."""

    zoom: float = 1.0
    pan: tuple[float, float] = (0.0, 0.0)
    shift: tuple[float, float] = (0.0, 0.0)
    dolly: float = 0.0

    def scale(self, w: float, focus: float) -> float:
        """How large what is as near as `w` is shown, against rest."""
        return self.zoom / (1 - self.dolly * (w - focus))


@dataclass(frozen=True, slots=True)
class Travel:
    """What the framing leaves to a move: how far it may zoom in, about which point, and how far it may pan.

    Args:
        about: The point that a push goes to, from the middle of the frame, in short sides.
        pan: From where to where the middle of the frame may go, relative to the first frame, in short sides.
        depth: How strong the parallax is; 0 of a flat picture.
    """

    about: tuple[float, float] = (0.0, 0.0)
    pan: tuple[float, float] = (0.0, 0.0)
    depth: float = 0.0


def path_of(move: Move, frames: int, seconds: float, travel: Travel, *, loop: bool, seed: int) -> list[Camera]:
    """A pose for each frame.

    Args:
        loop: Whether the first frame follows the last: there and back, or once around.
        seed: Which way it goes first, where both are as good.
    """
    side = -1.0 if np.random.default_rng([seed, 7]).random() < 0.5 else 1.0
    pose = _POSES[move]
    steps = [_there(n, frames, loop) if move in _THERE else _around(n, frames, loop) for n in range(frames)]
    return [pose(step, seconds, travel, side) for step in steps]


def ease(p: float) -> float:
    """From 0 to 1, under way from the first frame on, with an even pace between: speed rises and falls as a half
    cosine."""
    p = min(max(p, 0.0), 1.0)
    return _UNDER_WAY * p + (1 - _UNDER_WAY) * _from_rest(p)


def _from_rest(p: float) -> float:
    ramp = _RAMP
    top = 1 / (1 - ramp)
    if p > 0.5:
        return 1 - _from_rest(1 - p)
    if p < ramp:
        return top * (p / 2 - ramp / (2 * math.pi) * math.sin(math.pi * p / ramp))
    return top * (p - ramp / 2)


def _there(n: int, frames: int, loop: bool) -> float:
    """0 to 1, or in a loop 0 to 1 and back."""
    if loop:
        return (1 - math.cos(2 * math.pi * n / frames)) / 2
    return ease(n / max(1, frames - 1))


def _around(n: int, frames: int, loop: bool) -> float:
    """Once around, as an angle."""
    return 2 * math.pi * (n / frames if loop else ease(n / max(1, frames - 1)))


def _zoomed(amount: float, e: float, travel: Travel, dolly: float = 0.0) -> Camera:
    """Zoomed by even steps of proportion about a point that stays where it is."""
    zoom = (1 + amount) ** e
    about = (travel.about[0] * (1 - 1 / zoom), travel.about[1] * (1 - 1 / zoom))
    return Camera(zoom, about, dolly=dolly)


def _amount(seconds: float) -> float:
    return min(max(_PER_S * seconds, _LEAST_ZOOM), _MOST_ZOOM)


def _push(e: float, seconds: float, travel: Travel, _side: float) -> Camera:
    return _zoomed(_amount(seconds), e, travel, _DOLLY * travel.depth * e)


def _pull(e: float, seconds: float, travel: Travel, _side: float) -> Camera:
    """The first frame is the picture as framed for its own nearest view; from there back."""
    back = _zoomed(-_amount(seconds) / (1 + _amount(seconds)), e, travel)
    return replace(back, dolly=-_DOLLY * travel.depth * e)


def _pan(e: float, _seconds: float, travel: Travel, side: float) -> Camera:
    across = (travel.pan[0] * e, travel.pan[1] * e)
    if across == (0.0, 0.0):  # nowhere to go but around
        return Camera(shift=(side * _SHIFT * travel.depth * e, 0.0))
    length = math.hypot(*travel.pan)
    shift = (-_SHIFT * travel.depth * across[0] / length, -_SHIFT * travel.depth * across[1] / length)
    return Camera(1.0, across, shift)


def _orbit(angle: float, _seconds: float, travel: Travel, side: float) -> Camera:
    far = _SHIFT * travel.depth
    shift = (side * far * math.sin(angle), -0.45 * far * (1 - math.cos(angle)))
    if not travel.depth:
        return _zoomed(0.04, (1 - math.cos(angle)) / 2, travel)
    return Camera(1 + 0.012 * (1 - math.cos(angle)) / 2, (0.0, 0.0), shift)


def _swing(angle: float, _seconds: float, travel: Travel, side: float) -> Camera:
    if not travel.depth:
        return _zoomed(0.04, (1 - math.cos(angle)) / 2, travel)
    return Camera(shift=(side * _SHIFT * 1.15 * travel.depth * math.sin(angle), 0.0))


def _dolly_zoom(e: float, seconds: float, travel: Travel, _side: float) -> Camera:
    """The subject keeps its size; the camera goes back while the lens gets longer, and the ground comes forward."""
    if not travel.depth:
        return _push(e, seconds, travel, 0.0)
    return Camera(dolly=-_VERTIGO * travel.depth * e)


def _drift(angle: float, _seconds: float, travel: Travel, side: float) -> Camera:
    """Hardly any: what drifts is in the air."""
    still = (1 - math.cos(angle)) / 2
    shift = (side * 0.45 * _SHIFT * travel.depth * math.sin(angle), 0.0)
    return replace(_zoomed(0.03, still, travel), shift=shift)


_THERE = frozenset({"push", "pull", "pan", "dolly-zoom"})
_POSES: dict[str, Callable[[float, float, Travel, float], Camera]] = {
    "push": _push,
    "pull": _pull,
    "pan": _pan,
    "orbit": _orbit,
    "swing": _swing,
    "dolly-zoom": _dolly_zoom,
    "drift-light": _drift,
    "drift-mist": _drift,
}
