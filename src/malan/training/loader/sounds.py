"""Stretches of sound as arrays of one length, padded with silence. Start reading at `SoundDesk.start`.

Suffix letters: N clips, C channels, S samples.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from fractions import Fraction

import numpy as np
from numpy.typing import NDArray

from malan.core import Clip
from malan.core.errors import MediaError, NotFound
from malan.media.audio import audio_between
from malan.training.loader.holdings import Footage
from malan.training.loader.order import draw
from malan.training.loader.requests import Sound


@dataclass(frozen=True, slots=True)
class Stretch:
    """Sound from `start` on, in seconds on the file's clock, for so many seconds."""

    clip: Clip
    start: Fraction
    seconds: Fraction


@dataclass
class Sounds:
    """Stretches on their way."""

    audio_NCS: NDArray[np.float32]
    samples_N: NDArray[np.int32]
    tasks: list[Future[bool]]

    def wait(self) -> NDArray[np.bool_]:
        """Which of them are there."""
        return np.array([task.result() for task in self.tasks], np.bool_)


class SoundDesk:
    """Decodes sound for one loader."""

    def __init__(self, footage: Footage, clips: Sequence[Clip], *, threads: int | None = None) -> None:
        self._footage, self._clips = footage, clips
        self._pool = ThreadPoolExecutor(threads or len(os.sched_getaffinity(0)), "malan-loader-sound")

    def stretch(self, clip: int, turn: int, sound: Sound, seed: int, epoch: int) -> Stretch:
        """The stretch of a slot: the whole clip, or so many seconds of it."""
        span = self._clips[clip].span
        start, whole = span.start * span.timebase, Fraction(span.duration)
        wanted = min(whole, Fraction(sound.seconds).limit_denominator(1_000_000)) if sound.seconds else whole
        share = Fraction(1, 2) if sound.pick == "middle" else Fraction(draw(seed, epoch, clip, turn))
        return Stretch(self._clips[clip], start + (whole - wanted) * share, wanted)

    def start(self, stretches: Sequence[Stretch], sound: Sound) -> Sounds:
        """Begin to decode; `Sounds.wait` tells when all is there."""
        samples_N = np.array([round(one.seconds * sound.rate_hz) for one in stretches], np.int32)
        audio_NCS = np.zeros((len(stretches), sound.channels, int(samples_N.max(initial=1))), np.float32)
        tasks = [
            self._pool.submit(self._read, one, sound, audio_NCS[number, :, : samples_N[number]])
            for number, one in enumerate(stretches)
        ]
        return Sounds(audio_NCS, samples_N, tasks)

    def close(self) -> None:
        self._pool.shutdown(wait=True, cancel_futures=True)

    def _read(self, one: Stretch, sound: Sound, into_CS: NDArray[np.float32]) -> bool:
        try:
            path = self._footage.sound(one.clip)
            for block in audio_between(path, one.start, one.start + one.seconds, rate=sound.rate_hz):
                _place(into_CS, round((block.start - one.start) * sound.rate_hz), block.samples)
        except (MediaError, NotFound, OSError):
            return False
        return True


def _place(into_CS: NDArray[np.float32], at: int, samples_SC: NDArray[np.float32]) -> None:
    """Samples where they belong; what lies outside is dropped. One channel fills two, more than two are mixed."""
    if samples_SC.shape[1] != len(into_CS):
        samples_SC = np.repeat(samples_SC.mean(axis=1, keepdims=True), len(into_CS), axis=1)
    first, end = max(at, 0), min(at + len(samples_SC), into_CS.shape[1])
    if first < end:
        into_CS[:, first:end] = samples_SC[first - at : end - at].T
