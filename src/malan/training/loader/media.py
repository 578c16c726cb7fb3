"""Frames and sound of a batch together: both decoded at once, and a slot is there only when all of it is.

Start reading at `MediaDesk.start`.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction
from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from malan.core.errors import Rejected
from malan.training.loader.counting import microseconds
from malan.training.loader.holdings import Holdings
from malan.training.loader.order import Slots
from malan.training.loader.pictures import Cut, PictureDesk, Pictures, largest_bytes, picture_size
from malan.training.loader.requests import Request, Window
from malan.training.loader.sounds import SoundDesk, Sounds, Stretch


@dataclass
class Moving:
    """What of a batch has to be decoded, on its way."""

    clips: list[int]
    cuts: list[Cut | None]
    pictures: Pictures | None
    stretches: list[Stretch]
    sounds: Sounds | None
    is_there: NDArray[np.bool_]

    def wait(self) -> tuple[NDArray[np.bool_], dict[str, NDArray[Any]]]:
        """Which slots are there, and their arrays; the others have left no row."""
        found: dict[str, NDArray[Any]] = {}
        if self.pictures is not None:
            held = np.flatnonzero([cut is not None for cut in self.cuts])
            self.is_there[held] &= self.pictures.wait()
        if self.sounds is not None:
            self.is_there &= self.sounds.wait()
        if self.pictures is not None:
            kept = self.is_there[held]
            found |= {"frames_NTHWC": _rows(self.pictures.frames_NTHWC, kept)}
            found |= {"time_NT": _rows(self.pictures.time_NT, kept)}
        if self.sounds is not None:
            audio_NCS = _rows(self.sounds.audio_NCS, self.is_there)
            is_mixed = audio_NCS.shape[1] == 1
            found |= {"audio_NS": audio_NCS[:, 0]} if is_mixed else {"audio_NCS": audio_NCS}
            found["samples_N"] = _rows(self.sounds.samples_N, self.is_there)
        return self.is_there, found

    def lengths_us(self) -> Iterator[tuple[int, int]]:
        """Clip and microseconds of each slot that is there; of frames and sound together the longer."""
        for number in np.flatnonzero(self.is_there).tolist():
            cut = self.cuts[number] if self.cuts else None
            seconds = [self.stretches[number].seconds] if self.stretches else []
            if cut is not None:
                seconds.append(Fraction(cut.film.index.span(cut.first, cut.end).duration))
            yield self.clips[number], microseconds(max(seconds))


class MediaDesk:
    """Decodes for one loader."""

    def __init__(self, holdings: Holdings, seed: int, threads: int | None) -> None:
        assert holdings.footage is not None  # noqa: S101  # checked when the loader was opened
        self._pictures = PictureDesk(holdings.footage, holdings.clips, threads=threads)
        self._sounds = SoundDesk(holdings.footage, holdings.clips, threads=threads)
        self._seed, self._count = seed, len(holdings.clips)
        self.turns = lru_cache(maxsize=2)(self._turns)
        self.aspect = lru_cache(maxsize=1 << 20)(self._pictures.aspect)

    def start(self, request: Request, slots: Slots) -> Moving:
        """Begin to decode what a request wants of some slots.

        Raises:
            Rejected: Pictures of different shapes are to keep them, and lie in one batch.
        """
        clips, turns = slots[:, 0].tolist(), slots[:, 1].tolist()
        found = Moving(clips, [], None, [], None, np.ones(len(slots), np.bool_))
        if request.window is not None:
            found.cuts = [
                self._pictures.cut(clip, turn, request.window, self._seed, request.epoch)
                for clip, turn in zip(clips, turns, strict=True)
            ]
            found.is_there &= np.array([cut is not None for cut in found.cuts], np.bool_)
            size = self._size(request.window, clips)
            found.pictures = self._pictures.start([cut for cut in found.cuts if cut is not None], request.window, size)
        if request.sound is not None:
            found.stretches = [
                self._sounds.stretch(clip, turn, request.sound, self._seed, request.epoch)
                for clip, turn in zip(clips, turns, strict=True)
            ]
            found.sounds = self._sounds.start(found.stretches, request.sound)
        return found

    def hurry(self) -> None:
        """Break off what takes long; nothing more is read."""
        self._pictures.is_over = True

    def close(self) -> None:
        self.hurry()
        self._pictures.close()
        self._sounds.close()

    def _turns(self, window: Window) -> NDArray[np.int32]:
        return self._pictures.turns(window, self._count)

    def _size(self, window: Window, clips: list[int]) -> tuple[int, int]:
        sizes = {picture_size(window, self.aspect(clip)) for clip in clips} or {picture_size(window, 1.0)}
        if len(sizes) > 1:
            raise Rejected("loader.bad_request", field="window.fit")
        return sizes.pop()


def answer_bytes(request: Request, longest_s: float) -> int:
    """The most that frames and sound of one slot can take."""
    pictures = largest_bytes(request.window) if request.window else 0
    if request.sound is None:
        return pictures
    seconds = min(request.sound.seconds or longest_s, longest_s)
    return pictures + int(seconds * request.sound.rate_hz + 1) * request.sound.channels * 4


def _rows(array: NDArray[Any], kept: NDArray[np.bool_]) -> NDArray[Any]:
    return array if kept.all() else array[kept]
