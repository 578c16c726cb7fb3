"""What the sound of an episode holds: silence, clipping, loudness, peak. One decode, shared with the loudness meter.

Start at `listen`.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from av.audio.frame import AudioFrame
from numpy.typing import NDArray

from malan.apps.review.measure.pictures import Stretch
from malan.curation.sound import Sound, hear

SILENT_DB = -60.0
FULL = 0.9995  # of full scale
CLIPPED_SAMPLES = 4  # in a row, at full scale, in one channel
_BLOCK_S = 0.1
_SEEN_S = 0.2


@dataclass(frozen=True)
class Heard:
    """Measures of the sound; stretches in seconds of the file's clock."""

    loudness_lufs: float | None
    range_lu: float | None
    true_peak_dbtp: float | None
    silence: list[Stretch]
    clipping: list[Stretch]
    damage: list[Stretch]
    start_s: float
    end_s: float


def listen(path: str | Path) -> Heard | None:
    """The sound of the first audio track; None without one.

    Raises:
        MediaError: The file cannot be opened.
    """
    clips = _Clips()
    sound = hear(path, speech=False, listen=clips.see)
    if sound is None:
        return None
    return Heard(
        sound.integrated_lufs, sound.range_lu, sound.true_peak_dbtp, _silence(sound), clips.found,
        [Stretch(*one) for one in sound.damaged_s], sound.start_s, sound.end_s,
    )  # fmt: skip


def _silence(sound: Sound) -> list[Stretch]:
    quiet = np.concatenate([[False], sound.level_db < SILENT_DB, [False]])
    edges = np.flatnonzero(np.diff(quiet.astype(np.int8)))
    times = np.append(sound.times_s, sound.end_s)
    return [Stretch(float(times[a]), float(times[b])) for a, b in zip(edges[::2], edges[1::2], strict=True)]


@dataclass
class _Clips:
    """Finds runs of samples at full scale, channel by channel."""

    found: list[Stretch] = field(default_factory=list)

    def see(self, frame: AudioFrame) -> None:
        samples = _as_float(frame)
        if not samples.size or float(np.abs(samples).max()) < FULL or frame.pts is None or frame.time_base is None:
            return
        full = np.abs(samples) >= FULL
        run = full
        for _ in range(CLIPPED_SAMPLES - 1):
            run = run[:, :-1] & run[:, 1:]
        if not run.any():
            return
        start_s = float(frame.pts * frame.time_base)
        end_s = start_s + frame.samples / frame.sample_rate
        if self.found and start_s - self.found[-1].end_s < _SEEN_S:
            last = self.found.pop()
            start_s, count = last.start_s, last.value
        else:
            count = 0.0
        self.found.append(Stretch(start_s, end_s, count + float(np.count_nonzero(full))))


def _as_float(frame: AudioFrame) -> NDArray[np.float32]:
    """(C, T), -1 to 1."""
    samples = frame.to_ndarray()
    if not frame.format.is_planar:
        samples = samples.reshape(frame.samples, -1).T
    if samples.dtype.kind == "i":
        return samples.astype(np.float32) / np.float32(2.0 ** (8 * samples.dtype.itemsize - 1) - 1)
    if samples.dtype == np.uint8:
        return (samples.astype(np.float32) - 128) / np.float32(127)
    return samples.astype(np.float32)
