"""Everything measured of a clip as one row of numbers: what classifiers learn from and are used on.

The look of the clip, then how it moves, its light, colours, technical state, sound and captions. Every number is of
the order of one and finite; a group that was not measured is all zero, and its flag says so. The layout has a name,
`FEATURES`: a model learned on one layout is never used on another. Start reading at `features_of`.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from math import isfinite, log, tanh
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from malan.core import Finding

if TYPE_CHECKING:
    from malan.store.library import Library

FEATURES = "clip-features/1"
LOOK_WIDTH = 192

_Value = Mapping[str, Any]
_COLOURS = ("black", "grey", "white", "red", "orange", "brown", "beige", "yellow", "green", "cyan", "blue", "purple", "pink")  # fmt: skip  # noqa: E501
_MOVES = ("static", "pan", "tilt", "zoom", "handheld", "action")


@dataclass(frozen=True)
class _Group:
    """A kind of finding, and the numbers that stand for its value."""

    kind: str
    names: tuple[str, ...]
    numbers: Callable[[_Value], Sequence[float]]


def _number(value: _Value, name: str) -> float:
    found = value.get(name)
    return float(found) if isinstance(found, int | float) and isfinite(found) else 0.0


def _plain(*names: str) -> Callable[[_Value], list[float]]:
    return lambda value: [_number(value, name) for name in names]


def _motion(value: _Value) -> list[float]:
    """Speeds in picture widths a second reach from hundredths to several: the sign is kept, the size compressed."""
    speeds = [_number(value, name) for name in _SPEEDS]
    squeezed = [tanh(8 * one) for one in speeds] + [tanh(1.5 * one) for one in speeds]
    return [*squeezed, *(float(value.get("class") == name) for name in _MOVES)]


def _colour(value: _Value) -> list[float]:
    named = {str(one.get("name")): _number(one, "share") for one in value.get("colours", ()) if isinstance(one, dict)}
    return [_number(value, "saturation"), _number(value, "warmth"), *(named.get(name, 0.0) for name in _COLOURS)]


def _loudness(value: _Value) -> list[float]:
    heard = isinstance(value.get("integrated_lufs"), int | float)
    return [1 + max(-70.0, _number(value, "integrated_lufs")) / 35 if heard else -1.0, float(heard)]


_SPEEDS = ("magnitude", "camera_right", "camera_up", "zoom_in", "wobble", "local")
_LIGHT = ("brightness", "dark_share", "light_share")
_QUALITY = ("blur", "exposure", "contrast", "clipped_dark", "clipped_bright", "black_share", "freeze_share", "letterbox_share")  # fmt: skip  # noqa: E501
_GROUPS: tuple[_Group, ...] = (
    _Group("motion.class", (*_SPEEDS, *(f"{one}_far" for one in _SPEEDS), *_MOVES), _motion),
    _Group(
        "scene.light", ("brightness", "dark_share", "light_share"), _plain("brightness", "dark_share", "light_share")
    ),
    _Group("colour.dominant", ("saturation", "warmth", *_COLOURS), _colour),
    _Group("quality.technical", _QUALITY, _plain(*_QUALITY)),
    _Group("audio.loudness", ("level", "heard"), _loudness),
)
_SHARES = ("speech_share", "silence_share", "caption_share")
KINDS = tuple(group.kind for group in _GROUPS)

NAMES: tuple[str, ...] = (
    *(f"look.{place}" for place in range(LOOK_WIDTH)),
    "look.known",
    *(f"{group.kind}.{name}" for group in _GROUPS for name in (*group.names, "known")),
    *(f"share.{name}" for name in _SHARES),
    "length",
)
WIDTH = len(NAMES)
"""How many numbers a clip has."""


def features_of(library: Library, clip_ids: Iterable[str]) -> NDArray[np.float32]:
    """The features of clips in the order given, (clips, `WIDTH`) float32; of a clip that is not there, zeros."""
    wanted = list(clip_ids)
    rows = library.clips_by_id(wanted)
    looks = library.descriptors_of(wanted)
    values = _values(library, {row.clip.asset_id for row in rows.values()}, set(wanted))
    features_ND = np.zeros((len(wanted), WIDTH), np.float32)  # clips, numbers
    for place, clip_id in enumerate(wanted):
        if clip_id in rows:
            row = rows[clip_id]
            length = log(max(0.04, float(row.clip.span.duration)))
            shares = [row.measures.get(name, 0.0) for name in _SHARES]
            told = [number for group in _GROUPS for number in _told(group, values[clip_id].get(group.kind))]
            features_ND[place] = [*_look(looks.get(clip_id)), *told, *shares, length / 2]
    return features_ND


def _look(vector: NDArray[np.float32] | None) -> list[float]:
    """A descriptor of length one has numbers of about a fourteenth; they are brought to the order of one."""
    if vector is None or len(vector) != LOOK_WIDTH or not np.isfinite(vector).all():
        return [0.0] * (LOOK_WIDTH + 1)
    return [*(float(one) for one in vector * np.float32(np.sqrt(LOOK_WIDTH))), 1.0]


def _told(group: _Group, value: _Value | None) -> list[float]:
    if value is None:
        return [0.0] * (len(group.names) + 1)
    return [*(min(8.0, max(-8.0, one)) for one in group.numbers(value)), 1.0]


def _values(library: Library, asset_ids: set[str], clip_ids: set[str]) -> dict[str, dict[str, _Value]]:
    """What operators measured on the very clips, by clip and kind."""
    found: dict[str, dict[str, _Value]] = defaultdict(dict)
    for kind in KINDS:
        for finding in library.findings_of(kind, asset_ids):
            if finding.clip.id in clip_ids and _is_measured(finding):
                found[finding.clip.id][kind] = finding.value
    return found


def _is_measured(finding: Finding) -> bool:
    return finding.author == "operator"
