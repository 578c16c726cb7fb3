"""The pictures people see of a clip: one thumbnail and a filmstrip, as JPEG, from samples that are there anyway.

Upright, square pixels, sRGB-like BT.601 as JFIF has it. Start at `thumbnail`.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from malan.curation.scaling import Sample
from malan.media.thumbs import encode_jpeg

STRIP_CELLS = 5

_U8 = NDArray[np.uint8]


def thumbnail(samples: Sequence[Sample]) -> bytes:
    """The sample that shows most, as JPEG of 320 pixels on the long side."""
    best = max(samples, key=lambda sample: _tells(sample, samples))
    return encode_jpeg(best.rgb_HWC)


def filmstrip(samples: Sequence[Sample], cells: int = STRIP_CELLS) -> bytes:
    """Up to `cells` pictures side by side in order of time, half the size of the thumbnail, as one JPEG.

    All cells are equally wide; a shot with fewer pictures gives fewer cells.
    """
    chosen = spread(samples, cells)
    return encode_jpeg(np.concatenate([_halved(sample) for sample in chosen], axis=1))


def spread(samples: Sequence[Sample], count: int) -> list[Sample]:
    """At most `count` samples, as evenly spread in time as they come."""
    if len(samples) <= count:
        return list(samples)
    times = np.array([sample.time_s for sample in samples])
    wanted = np.linspace(times[0], times[-1], count)
    return [samples[i] for i in sorted({int(np.argmin(np.abs(times - time))) for time in wanted})]


def _tells(sample: Sample, samples: Sequence[Sample]) -> float:
    """How well a picture stands for its shot: contrast, focus, and not at the very edge."""
    contrast = float(np.std(sample.luma_HW[::2, ::2]))
    focus = 1 - (0.5 if np.isnan(sample.blur) else sample.blur)
    first, last = samples[0].time_s, samples[-1].time_s
    place = 0.5 if last <= first else (sample.time_s - first) / (last - first)
    return min(contrast, 50.0) * (0.4 + focus) * (1.0 - 0.25 * abs(place - 0.4)) * (0.2 if sample.is_damaged else 1.0)


def _halved(sample: Sample) -> _U8:
    """RGB at half size, each pixel the mean of four."""
    rgb = sample.rgb_HWC
    height, width = rgb.shape[0] // 2, rgb.shape[1] // 2
    blocks = rgb[: 2 * height, : 2 * width].reshape(height, 2, width, 2, 3).astype(np.uint16)
    return np.asarray((blocks.sum(axis=(1, 3)) + 2) // 4, np.uint8)
