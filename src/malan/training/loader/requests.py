"""What a run may ask a loader for, read as if an enemy wrote it.

A request is JSON from inside a sandbox. Every field has one type, a range, and nothing may be left over; how much would
come back is worked out before anything is decoded. Start reading at `read_request`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from malan.core.errors import Rejected

KINDS = ("descriptor", "labels", "captions", "owner", "frames", "audio")
PICKS = ("random", "middle", "all")
FITS = ("crop", "stretch", "whole")
BUCKETS = ("", "aspect", "length")

_SHORTEST_S = 0.01  # a stretch of sound; every delivery leaves a row

_BATCH = {"do", "of", "size", "shuffle", "epoch", "batch", "deliver", "window", "audio", "shard", "repeats", "bucket"}
_TAKE = {"do", "of", "clips", "epoch", "deliver", "window", "audio"}


@dataclass(frozen=True, slots=True)
class Allowed:
    """What one run may ask for at all: the kinds its algorithm declared, and how much at once.

    A window may not be longer nor larger than what was declared, when anything was.
    """

    deliver: frozenset[str]
    batch_clips: int = 4096
    answer_bytes: int = 256 << 20
    requests: int = 2_000_000
    slots: int = 20_000_000  # in one pass: clips or windows, times repeats
    epochs: int = 100_000
    frames: int = 512
    size_px: int = 1088
    rate_hz: int = 48_000
    seconds: int = 600


@dataclass(frozen=True, slots=True)
class Window:
    """Which frames of a clip: `frames` of them, every `every`-th, the short side scaled to `size_px`.

    `fit`: `crop` cuts a square from the middle, `stretch` presses the picture into one, `whole` keeps its shape.
    `pick`: one window at random, one in the `middle`, or `all` that fit, one every `stride` frames (of the file).
    """

    frames: int = 16
    every: int = 1
    size_px: int = 256
    fit: str = "crop"
    pick: str = "random"
    stride: int = 16

    @property
    def reach(self) -> int:
        """Frames of the file from its first to its last, both counted."""
        return (self.frames - 1) * self.every + 1


@dataclass(frozen=True, slots=True)
class Sound:
    """How sound comes: samples a second, channels (1: mixed, 2: stereo), seconds (0: the whole clip), where from."""

    rate_hz: int = 16_000
    channels: int = 1
    seconds: float = 0.0
    pick: str = "random"


@dataclass(frozen=True, slots=True)
class Order:
    """How clips follow one another in a pass."""

    size: int
    shuffle: bool = False
    shard: tuple[int, int] = (0, 1)
    repeats: int = 1
    bucket: str = ""


@dataclass(frozen=True, slots=True)
class Request:
    """A sound request: one batch of an order, or clips by their numbers."""

    deliver: tuple[str, ...]
    epoch: int
    window: Window | None = None
    sound: Sound | None = None
    order: Order | None = None
    batch: int = 0
    clips: tuple[int, ...] = ()


def read_request(asked: Mapping[str, Any], allowed: Allowed, clips: int) -> Request:
    """The request, when it is one.

    Args:
        asked: What came over the line.
        allowed: What the run may ask for.
        clips: How many there are.

    Raises:
        Rejected: A field that is not known, of another type, or out of its range; a kind that was not declared.
    """
    fields = _Fields(asked, _TAKE if asked.get("do") == "take" else _BATCH, "")
    fields.word("do", ("batch", "take"))
    deliver = _deliver(fields, allowed)
    epoch = fields.whole("epoch", 0, allowed.epochs - 1, 0)
    window = _window(fields, allowed) if "frames" in deliver else None
    sound = _sound(fields, allowed) if "audio" in deliver else None
    if asked["do"] == "take":
        return Request(deliver, epoch, window, sound, clips=_clips(asked.get("clips"), clips, allowed))
    order = Order(
        fields.whole("size", 1, allowed.batch_clips, 32),
        fields.truth("shuffle"),
        _shard(asked.get("shard", [0, 1])),
        fields.whole("repeats", 1, 1000, 1),
        fields.word("bucket", BUCKETS, ""),
    )
    return Request(deliver, epoch, window, sound, order, fields.whole("batch", 0, 2**31, 0))


class _Fields:
    """One table of a request, whose fields are all known."""

    def __init__(self, table: Any, known: set[str], where: str) -> None:
        if not isinstance(table, Mapping) or table.keys() - known:
            raise Rejected("loader.bad_request", field=where or "request")
        self._table, self._where = table, where

    def whole(self, name: str, least: int, most: int, default: int) -> int:
        found = self._table.get(name, default)
        if type(found) is not int or not least <= found <= most:
            raise self._wrong(name)
        return found

    def number(self, name: str, most: float, default: float) -> float:
        found = self._table.get(name, default)
        if type(found) not in (int, float) or not (found == 0 or _SHORTEST_S <= found <= most):  # no not-a-number
            raise self._wrong(name)
        return float(found)

    def truth(self, name: str) -> bool:
        found = self._table.get(name, False)
        if type(found) is not bool:
            raise self._wrong(name)
        return found

    def word(self, name: str, words: tuple[str, ...], default: str | None = None) -> str:
        found = self._table.get(name, default)
        if type(found) is not str or found not in words:
            raise self._wrong(name)
        return found

    def get(self, name: str) -> Any:
        return self._table.get(name)

    def _wrong(self, name: str) -> Rejected:
        return Rejected("loader.bad_request", field=f"{self._where}.{name}" if self._where else name)


def _deliver(fields: _Fields, allowed: Allowed) -> tuple[str, ...]:
    found = fields.get("deliver")
    if not isinstance(found, list) or not 0 < len(found) <= len(KINDS) or not all(type(k) is str for k in found):
        raise Rejected("loader.bad_request", field="deliver")
    if len(set(found)) != len(found) or not set(found) <= set(KINDS):
        raise Rejected("loader.bad_request", field="deliver")
    if missing := [kind for kind in KINDS if kind in found and kind not in allowed.deliver]:
        raise Rejected("loader.not_declared", kind=missing[0], declared=", ".join(sorted(allowed.deliver)) or "–")
    return tuple(kind for kind in KINDS if kind in found)


def _window(fields: _Fields, allowed: Allowed) -> Window:
    table = _Fields(fields.get("window") or {}, set(Window.__dataclass_fields__), "window")
    frames = table.whole("frames", 1, allowed.frames, min(16, allowed.frames))
    return Window(
        frames,
        table.whole("every", 1, 1000, 1),
        table.whole("size_px", 8, allowed.size_px, min(256, allowed.size_px)),
        table.word("fit", FITS, "crop"),
        table.word("pick", PICKS, "random"),
        table.whole("stride", 1, 1_000_000, frames),
    )


def _sound(fields: _Fields, allowed: Allowed) -> Sound:
    table = _Fields(fields.get("audio") or {}, set(Sound.__dataclass_fields__), "audio")
    return Sound(
        table.whole("rate_hz", 4000, allowed.rate_hz, min(16_000, allowed.rate_hz)),
        table.whole("channels", 1, 2, 1),
        table.number("seconds", allowed.seconds, 0),
        table.word("pick", ("random", "middle"), "random"),
    )


def _shard(found: Any) -> tuple[int, int]:
    is_pair = isinstance(found, list) and len(found) == 2 and all(type(one) is int for one in found)
    if not is_pair or not 0 <= found[0] < found[1] <= 10_000:
        raise Rejected("loader.bad_request", field="shard")
    return found[0], found[1]


def _clips(found: Any, clips: int, allowed: Allowed) -> tuple[int, ...]:
    if not isinstance(found, list) or not 0 < len(found) <= allowed.batch_clips:
        raise Rejected("loader.bad_request", field="clips")
    if not all(type(one) is int and 0 <= one < clips for one in found):
        raise Rejected("loader.bad_request", field="clips")
    return tuple(found)
