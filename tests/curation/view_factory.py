"""Views of clips made from drawn pictures, for operators: no file, no decoder."""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction

import av
import numpy as np
from numpy.typing import NDArray

from malan.core import Clip, Span, Track
from malan.curation.operator import Batch, ClipView, PacketView
from malan.curation.samples import Burst
from malan.curation.scaling import Sample, Scaler, Shape
from malan.curation.sound import STEP_S, WINDOW_S, Sound, gated_loudness

ASSET_ID = "a" * 64
BASE = Fraction(1, 1000)


def clip(start_s: float = 0.0, end_s: float = 2.0, track: int = 0, asset_id: str = ASSET_ID) -> Clip:
    return Clip(asset_id, track, Span(round(start_s * 1000), round(end_s * 1000), BASE))


def track(size: tuple[int, int], **more: object) -> Track:
    return Track(0, "video", "h264", BASE, width_px=size[0], height_px=size[1], **more)  # type: ignore[arg-type]


def sample(rgb_HWC: NDArray[np.uint8], time_s: float = 0.0) -> Sample:
    """What the sampler makes of a decoded frame that looks like this."""
    height, width = rgb_HWC.shape[:2]
    frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(rgb_HWC), format="rgb24").reformat(format="yuv420p")
    return Scaler(Shape.of(track((width, height)))).sample(frame, round(time_s * 25), time_s)


def burst(pictures: Sequence[NDArray[np.float32]], step_s: float = 0.08) -> Burst:
    times = tuple(i * step_s for i in range(len(pictures)))
    return Burst(0, 1 + round(times[-1] * 25), times, np.clip(np.stack(pictures), 0, 255).astype(np.uint8))


def view(
    rgbs: Sequence[NDArray[np.uint8]] = (), bursts: Sequence[Burst] = (), duration_s: float = 2.0, **more: object
) -> ClipView:
    times = np.linspace(0, duration_s, len(rgbs), endpoint=False)
    samples = tuple(sample(rgb, float(t)) for rgb, t in zip(rgbs, times, strict=True))
    return ClipView(clip(0, duration_s), 0.0, duration_s, 25.0, samples, tuple(bursts), **more)  # type: ignore[arg-type]


def batch(*views: ClipView) -> Batch:
    return Batch(tuple(views))


def packets(sizes: Sequence[int], keys: Sequence[int] = (0,)) -> PacketView:
    is_key = np.zeros(len(sizes), bool)
    is_key[list(keys)] = True
    return PacketView(np.array(sizes, np.int32), is_key)


def flat(colour: tuple[int, int, int], size: tuple[int, int] = (320, 180)) -> NDArray[np.uint8]:
    return np.full((size[1], size[0], 3), colour, np.uint8)


def scenery(seed: int = 1, size: tuple[int, int] = (320, 180), cell: int = 3) -> NDArray[np.uint8]:
    """A picture with soft shapes and fine texture, like nothing drawn with another seed."""
    rng = np.random.default_rng(seed)
    width, height = size
    picture = np.zeros((height, width, 3), np.float64)
    for step, weight in ((48, 110), (16, 60), (cell, 60)):
        coarse = rng.random((height // step + 2, width // step + 2, 3))
        rows, columns = np.arange(height) // step, np.arange(width) // step
        picture += weight * coarse[rows][:, columns]
    return picture.clip(0, 255).astype(np.uint8)


def sound(speech: Sequence[float], level_db: Sequence[float], lufs: Sequence[float]) -> Sound:
    """Curves as they would have been heard."""
    momentary = np.array(lufs, np.float32)
    count = len(level_db)
    return Sound(
        start_s=0.0,
        end_s=count * WINDOW_S,
        times_s=np.arange(count) * WINDOW_S,
        level_db=np.array(level_db, np.float32),
        low=np.full(count, -0.5, np.float32),
        high=np.full(count, 0.5, np.float32),
        speech=np.array(speech, np.float32),
        momentary_times_s=(np.arange(len(momentary)) + 1) * STEP_S,
        momentary_lufs=momentary,
        integrated_lufs=gated_loudness(momentary),
        range_lu=3.0,
        true_peak_dbtp=-1.5,
    )
