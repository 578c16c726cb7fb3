"""When a recorded voice speaks, by its level alone: enough to let captions come and go with it.

Start reading at `spoken_stretches`.
"""

from __future__ import annotations

from collections.abc import Iterable
from functools import lru_cache
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from malan.media.audio import audio_blocks

Stretch = tuple[float, float]

_RATE_HZ, _STEP = 16_000, 320  # 20 ms
_QUIET_DB, _ABOVE_FLOOR_DB, _LOWEST_DB = -32.0, 10.0, -60.0  # below the loudest; above what is always there
_BRIDGED, _SHORTEST = 12, 5  # steps: a stop consonant is no pause, a click is no speech
_LONGEST_S = 600.0


def spoken_stretches(path: str | Path) -> tuple[Stretch, ...]:
    """From when to when a recording speaks, in seconds; what pauses for less than a quarter of a second goes on.

    Raises:
        MediaError: It has no sound, or cannot be read.
    """
    stat = Path(path).stat() if Path(path).is_file() else None
    return _stretches(str(path), (stat.st_size, stat.st_mtime_ns) if stat else ())


def check_heard(paths: Iterable[str]) -> None:
    """Refuse files that cannot be heard, before anything is made of them.

    Raises:
        MediaError: One has no sound, or cannot be read.
    """
    for path in paths:
        next(iter(audio_blocks(path)), None)


@lru_cache(maxsize=16)
def _stretches(path: str, _version: tuple[int, ...]) -> tuple[Stretch, ...]:
    level = _levels(path)
    if not len(level) or level.max() <= _LOWEST_DB:
        return ()
    floor = float(np.percentile(level, 10))
    quiet = max(level.max() + _QUIET_DB, min(floor + _ABOVE_FLOOR_DB, level.max() - 12.0), _LOWEST_DB)
    edges = np.flatnonzero(np.diff(np.concatenate([[0], (level > quiet).astype(np.int8), [0]])))
    joined: list[list[int]] = []
    for first, end in zip(edges[::2].tolist(), edges[1::2].tolist(), strict=True):
        if joined and first - joined[-1][1] <= _BRIDGED:
            joined[-1][1] = end
        else:
            joined.append([first, end])
    step_s = _STEP / _RATE_HZ
    return tuple((a * step_s, b * step_s) for a, b in joined if b - a >= _SHORTEST)


def _levels(path: str) -> NDArray[np.float64]:
    """Level of every step in dB of full scale."""
    parts, length = [], 0
    for block in audio_blocks(path, rate=_RATE_HZ, mono=True):
        parts.append(np.asarray(block.samples, np.float32).reshape(-1))
        length += len(parts[-1])
        if length > _LONGEST_S * _RATE_HZ:
            break
    samples = np.concatenate(parts) if parts else np.zeros(0, np.float32)
    steps = samples[: len(samples) // _STEP * _STEP].reshape(-1, _STEP).astype(np.float64)
    return np.asarray(10 * np.log10(np.mean(steps**2, axis=1) + 1e-12), np.float64)
