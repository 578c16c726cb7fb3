"""Windows of frames from many files at once: decoded side by side, cropped to one size, in fresh arrays.

    cuts ─ by file, in its order ─▶ tasks ─▶ readers, one a thread and file ─▶ frames_NTHWC

Suffix letters: N windows, T frames, H rows, W columns, C red, green, blue. A window that cannot be decoded is left out
and told. Start reading at `PictureDesk.start`.
"""

from __future__ import annotations

import math
import os
import threading
from collections import OrderedDict, defaultdict
from collections.abc import Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path
from weakref import WeakValueDictionary

import numpy as np
from numpy.typing import NDArray

from malan.core import Clip
from malan.core.errors import MediaError, NotFound
from malan.media.index import PacketIndex
from malan.media.reader import ClipReader
from malan.training.loader.holdings import Film, Footage
from malan.training.loader.order import draw
from malan.training.loader.requests import Window

_OPEN_FILES = 24  # readers a thread keeps open
_SHARE = 4  # windows of one file that stay together, since they may share groups of pictures
_ASPECTS = tuple(
    sorted({side for a, b in ((1, 1), (4, 3), (3, 2), (16, 9), (2, 1), (12, 5)) for side in (a / b, b / a)})
)


@dataclass(frozen=True, slots=True)
class Cut:
    """One window: frames `first` to `end` (excluded) of a film; the last is repeated when the clip is shorter."""

    film: Film
    first: int
    end: int


@dataclass
class Pictures:
    """Windows on their way: `frames_NTHWC` is filled once all of `tasks` are done; `failed` then holds what is not."""

    frames_NTHWC: NDArray[np.uint8]
    time_NT: NDArray[np.float64]
    tasks: list[Future[list[int]]]

    def wait(self) -> NDArray[np.bool_]:
        """Which windows are there."""
        is_there = np.ones(len(self.frames_NTHWC), np.bool_)
        for task in self.tasks:
            is_there[task.result()] = False
        return is_there


class PictureDesk:
    """Decodes for one loader.

    Args:
        footage: The way to the files.
        clips: In the order of their numbers.
        threads: Decoders side by side; None: as many as this process may use processors.
    """

    def __init__(self, footage: Footage, clips: Sequence[Clip], *, threads: int | None = None) -> None:
        self._clips, self._threads = clips, threads or len(os.sched_getaffinity(0))
        self._pool = ThreadPoolExecutor(self._threads, "malan-loader")
        self._mine = threading.local()
        self._opened: list[OrderedDict[object, ClipReader]] = []
        self._indexes: WeakValueDictionary[Path, PacketIndex] = WeakValueDictionary()
        self._footage = footage
        self._film = lru_cache(maxsize=1 << 14)(self._find)
        self.is_over = False

    def film(self, clip: int) -> Film | None:
        """Where a clip lies; None when its file is gone or cannot be read."""
        if self.is_over:
            return None
        try:
            found = self._film(clip)
        except (NotFound, MediaError):
            return None
        return found if found.end > found.first else None

    def _find(self, clip: int) -> Film:
        """All clips of a file share one index."""
        film = self._footage.film(self._clips[clip])
        return replace(film, index=self._indexes.setdefault(film.path, film.index))

    def turns(self, window: Window, clips: int) -> NDArray[np.int32]:
        """How many windows each clip has when all are taken."""
        return np.array([_turns(self.film(clip), window) for clip in range(clips)], np.int32)

    def aspect(self, clip: int) -> float:
        """The nearest usual shape of a clip's picture, width by height."""
        film = self.film(clip)
        return _nearest_aspect(film.aspect if film else 16 / 9)

    def cut(self, clip: int, turn: int, window: Window, seed: int, epoch: int) -> Cut | None:
        """The window of a slot; None when the clip's file is gone."""
        film = self.film(clip)
        if film is None:
            return None
        room = film.end - film.first - window.reach
        if window.pick == "all":
            at = min(turn * window.stride, max(0, room))
        elif window.pick == "middle":
            at = max(0, room) // 2
        else:
            at = int(draw(seed, epoch, clip, turn) * (max(0, room) + 1))
        first = film.first + at
        return Cut(film, first, min(first + window.reach, film.end))

    def start(self, cuts: Sequence[Cut], window: Window, size: tuple[int, int]) -> Pictures:
        """Begin to decode; `Pictures.wait` tells when all is there.

        Args:
            cuts: Which windows.
            window: How many frames of each.
            size: Width and height of what is delivered.
        """
        width, height = size
        frames_NTHWC = np.zeros((len(cuts), window.frames, height, width, 3), np.uint8)
        time_NT = np.zeros((len(cuts), window.frames))
        found = Pictures(frames_NTHWC, time_NT, [])
        for numbers in self._tasks(cuts):
            found.tasks.append(self._pool.submit(self._decode, [(n, cuts[n]) for n in numbers], window, found))
        return found

    def close(self) -> None:
        self._pool.shutdown(wait=True, cancel_futures=True)
        for readers in self._opened:
            while readers:
                readers.popitem()[1].close()

    def _tasks(self, cuts: Sequence[Cut]) -> list[list[int]]:
        """Windows of a file together, in its order, in portions that keep all threads busy."""
        by_file: dict[object, list[int]] = defaultdict(list)
        for number, cut in enumerate(cuts):
            by_file[cut.film.path, cut.film.track].append(number)
        tasks = []
        for numbers in by_file.values():
            numbers.sort(key=lambda number: cuts[number].first)
            size = max(1, min(max(_SHARE, -(-len(cuts) // (2 * self._threads))), len(numbers)))
            tasks += [numbers[at : at + size] for at in range(0, len(numbers), size)]
        return sorted(tasks, key=len, reverse=True)

    def _decode(self, wanted: list[tuple[int, Cut]], window: Window, into: Pictures) -> list[int]:
        """Decode some windows of one file; returns those that failed."""
        film = wanted[0][1].film
        try:
            self._read(self._reader(film), wanted, window, into)
        except (MediaError, NotFound, OSError):
            if len(wanted) == 1:
                return [wanted[0][0]]
            return [number for one in wanted for number in self._decode([one], window, into)]
        return []

    def _read(self, reader: ClipReader, wanted: list[tuple[int, Cut]], window: Window, into: Pictures) -> None:
        height, width = into.frames_NTHWC.shape[2:4]
        scaled = _covering(reader, window, width, height)
        top, left = (scaled[1] - height) // 2, (scaled[0] - width) // 2
        spans = [(cut.first, cut.end) for _, cut in wanted]
        for (number, cut), batch in zip(wanted, reader.windows(spans, step=window.every, size=scaled), strict=True):
            count = len(batch.frames_THWC)
            into.frames_NTHWC[number, :count] = batch.frames_THWC[:, top : top + height, left : left + width]
            into.frames_NTHWC[number, count:] = into.frames_NTHWC[number, count - 1]
            start = int(cut.film.index.frame_pts[cut.film.first])
            times = (batch.ticks - start) * float(cut.film.index.timebase)
            into.time_NT[number, :count] = times
            into.time_NT[number, count:] = times[-1]

    def _reader(self, film: Film) -> ClipReader:
        """This thread's reader of a file, opened when it is not open yet."""
        readers: OrderedDict[object, ClipReader] | None = getattr(self._mine, "readers", None)
        if readers is None:
            readers = self._mine.readers = OrderedDict()
            self._opened.append(readers)
        key = (film.path, film.track)
        if key not in readers:
            readers[key] = ClipReader(film.path, film.index, track=film.track, upright=not film.is_upright, threads=1)
        readers.move_to_end(key)
        while len(readers) > _OPEN_FILES:
            readers.popitem(last=False)[1].close()
        return readers[key]


def picture_size(window: Window, aspect: float) -> tuple[int, int]:
    """Width and height of what is delivered; sides are whole eights when the shape is kept."""
    if window.fit != "whole":
        return window.size_px, window.size_px
    short, long = _eights(window.size_px), _eights(window.size_px * max(aspect, 1 / aspect))
    return (long, short) if aspect >= 1 else (short, long)


def largest_bytes(window: Window) -> int:
    """The most that one window can take."""
    width, height = picture_size(window, _ASPECTS[-1])
    return window.frames * width * height * 3


def _covering(reader: ClipReader, window: Window, width: int, height: int) -> tuple[int, int]:
    """The size to scale to, so that the middle can be cut out of it."""
    if window.fit == "stretch":
        return width, height
    own_width, own_height = reader.shape.shown(None)
    scale = max(width / own_width, height / own_height)
    return max(width, round(own_width * scale)), max(height, round(own_height * scale))


def _turns(film: Film | None, window: Window) -> int:
    if film is None:
        return 0
    return max(0, film.end - film.first - window.reach) // window.stride + 1


def _nearest_aspect(aspect: float) -> float:
    return min(_ASPECTS, key=lambda usual: abs(math.log(usual / max(aspect, 1e-6))))


def _eights(pixels: float) -> int:
    return max(8, round(pixels / 8) * 8)
