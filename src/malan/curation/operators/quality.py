"""Technical quality of a clip: focus, exposure, black, freeze, bars around the picture; and where decoding failed.

Scores from 0 to 1; what is good enough is a query. `reason` only names what a usual filter would object to.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from malan.core import Finding
from malan.curation.operator import Batch, ClipView, PacketView, finding
from malan.curation.scaling import Sample

FREEZE_S = 0.5  # a picture that stands for less is no freeze
BAR_SHARE = 0.015  # bars thinner than this are overscan, not a format

_UNLIT = 0.02  # a row with fewer lit pixels than this share may belong to a bar (a logo may stand in it)
_STEP = 0.12  # the picture beside a bar must be so much more lit: a dark sky fades in, a bar ends at once
_BLACK_CODE = 24  # full-range luma below which nearly all of a black picture lies
_STILL = 0.7  # mean difference of luma codes below which two pictures are the same


@dataclass(frozen=True)
class ActiveArea:
    """The picture without its bars, as fractions of width and height."""

    left: float = 0.0
    top: float = 0.0
    right: float = 1.0
    bottom: float = 1.0

    @property
    def share_of_bars(self) -> float:
        return 1 - (self.right - self.left) * (self.bottom - self.top)

    @property
    def bars(self) -> str:
        names = {(False, False): "none", (True, False): "letterbox", (False, True): "pillarbox"}
        return names.get((self.bottom - self.top < 1, self.right - self.left < 1), "windowbox")

    def cut(self, picture_HW: NDArray[np.uint8]) -> NDArray[np.uint8]:
        """The active part of a picture; the edge pixels, which a bar may have darkened, are left out."""
        height, width = picture_HW.shape
        inset_y, inset_x = int(self.top > 0), int(self.left > 0)
        rows = slice(int(np.ceil(self.top * height)) + inset_y, int(self.bottom * height) - inset_y)
        columns = slice(int(np.ceil(self.left * width)) + inset_x, int(self.right * width) - inset_x)
        part = picture_HW[rows, columns]
        return part if part.size else picture_HW


class TechnicalQuality:
    """`quality.technical` for each clip with a picture."""

    name = "quality.technical"
    version = "1"
    reads = frozenset({"pictures", "motion", "packets"})
    emits = ("quality.technical",)

    def run(self, batch: Batch) -> Sequence[Finding]:
        return [self._judge(view) for view in batch.views if view.samples]

    def _judge(self, view: ClipView) -> Finding:
        area = active_area(view.samples)
        light = np.concatenate([area.cut(sample.luma_HW).ravel() for sample in view.samples])
        blurs = [sample.blur for sample in view.samples if np.isfinite(sample.blur)]
        frozen, is_seen = freeze_share(view)
        value = {
            "blur": np.median(blurs) if blurs else None,
            "sharpness": 1 - np.median(blurs) if blurs else None,
            "exposure": light.mean() / 255,
            "contrast": light.std() / 128,
            "clipped_dark": np.mean(light <= 3),
            "clipped_bright": np.mean(light >= 252),
            "black_share": np.mean([is_black(sample) for sample in view.samples]),
            "freeze_share": frozen,
            "letterbox_share": area.share_of_bars,
            "bars": area.bars,
            "active_area": [area.left, area.top, area.right, area.bottom],
            "pictures": len(view.samples),
        }
        return finding(
            self,
            view,
            "quality.technical",
            value,
            confidence=min(1.0, 0.5 + 0.1 * len(view.samples)) * (1.0 if is_seen else 0.9),
            reason="; ".join(_objections(value)) or None,
        )


class DecodingDamage:
    """`quality.damage` for each clip in which frames or sound could not be decoded whole."""

    name = "quality.damage"
    version = "1"
    reads = frozenset({"damage"})
    emits = ("quality.damage",)

    def run(self, batch: Batch) -> Sequence[Finding]:
        return [
            finding(
                self,
                view,
                "quality.damage",
                {
                    "frames": sum(part.frames for part in view.damage),
                    "ranges": [
                        {"start_s": d.start_s, "end_s": d.end_s, "frames": d.frames, "track": d.track}
                        for d in view.damage
                    ],
                },
                confidence=1.0,
                reason="damaged",
            )
            for view in batch.views
            if view.damage
        ]


def active_area(samples: Sequence[Sample]) -> ActiveArea:
    """Where the picture lies within its bars, judged over all samples; the whole picture when none is lit."""
    rows = np.max([sample.lit_rows for sample in samples], axis=0)
    columns = np.max([sample.lit_columns for sample in samples], axis=0)
    if rows.max(initial=0) < 0.25:
        return ActiveArea()
    top, bottom = _bars(rows)
    left, right = _bars(columns)
    return ActiveArea(left, top, 1 - right, 1 - bottom)


def is_black(sample: Sample) -> bool:
    """Whether nothing is to be seen but black, a small logo apart."""
    return float(np.percentile(sample.luma_HW[::2, ::2], 98)) < _BLACK_CODE


def freeze_share(view: ClipView) -> tuple[float, bool]:
    """Share of the clip in which the picture stands still for half a second or longer, and whether pictures agree.

    Packets that say "as before" are tiny; pictures that lie within such a run must look the same, or it is none.
    """
    if view.packets is None or len(view.packets.size_bytes) < 3 or not view.rate_hz:
        return 0.0, False
    frames, still, seen = len(view.packets.size_bytes), 0, False
    for first, end in _still_runs(view.packets, int(np.ceil(FREEZE_S * view.rate_hz))):
        start_s, end_s = (view.start_s + edge / frames * view.duration_s for edge in (first, end))
        verdict = _look_the_same(view, start_s, end_s)
        seen = seen or verdict is not None
        if verdict is not False:
            still += end - first
    return still / frames, seen


def _still_runs(packets: PacketView, least: int) -> Iterator[tuple[int, int]]:
    sizes = packets.size_bytes.astype(np.int64)
    keys = sizes[packets.is_key]
    if packets.is_key.mean() > 0.9:  # every frame stands alone: equal pictures give equal sizes
        quiet = np.concatenate([[False], np.abs(np.diff(sizes)) <= 1])
    else:
        small = max(60, int(0.004 * np.median(keys)) if len(keys) else 60)
        quiet = (sizes <= small) | packets.is_key
    edges = np.flatnonzero(np.diff(np.concatenate([[0], quiet.astype(np.int8), [0]])))
    for first, end in zip(edges[::2], edges[1::2], strict=True):
        if (end - first >= least and not packets.is_key[first:end].all()) or (
            packets.is_key.all() and end - first >= least
        ):
            yield int(first), int(end)


def _look_the_same(view: ClipView, start_s: float, end_s: float) -> bool | None:
    """Whether the pictures of a stretch are one and the same; None when there are fewer than two."""
    pictures = [s.luma_HW for s in view.samples if start_s <= s.time_s < end_s]
    pairs = list(pairwise(pictures))
    for burst in view.bursts:
        inside = [p for p, t in zip(burst.luma_THW, burst.times_s, strict=True) if start_s <= t < end_s]
        pairs += pairwise(inside)
    if not pairs:
        return None
    return all(float(np.abs(a.astype(np.int16) - b).mean()) < _STILL for a, b in pairs)


def _bars(lit: NDArray[np.float32]) -> tuple[float, float]:
    """Share of the length taken by the bars at its two ends; none unless both are there and end at once."""
    length = len(lit)
    inside = np.flatnonzero(lit > _UNLIT)
    first, last = int(inside[0]), int(inside[-1])
    before, after = first / length, (length - 1 - last) / length
    reach = max(2, length // 90)
    steps = lit[first : first + reach].max(), lit[max(0, last - reach + 1) : last + 1].max()
    even = abs(before - after) <= max(0.012, 0.25 * max(before, after))
    if min(before, after) < BAR_SHARE or min(steps) < _STEP or not even:
        return 0.0, 0.0
    return before, after


def _objections(value: dict[str, object]) -> Iterator[str]:
    limits = {
        "black": ("black_share", 0.9),
        "frozen": ("freeze_share", 0.9),
        "blurred": ("blur", 0.75),
        "overexposed": ("clipped_bright", 0.3),
    }
    for name, (key, limit) in limits.items():
        measured = value[key]
        if isinstance(measured, (int, float, np.floating)) and measured >= limit:
            yield f"{name} ({key} {float(measured):.2f})"
