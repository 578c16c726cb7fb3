"""Random windows of frames, exact to the frame, from a file that stays open.

    asked windows ─ wanted frames ─ plan_runs ─ [Run: packets from a key on] ─ decoders side by side ─ arrays

Each group of pictures is decoded once for all windows that need it, packets come straight from their byte ranges where
the container allows it, and several runs are decoded side by side. Suffix letters of arrays: T time,
H height, W width, C colour. Start at `ClipReader`.
"""

from __future__ import annotations

import os
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from fractions import Fraction
from pathlib import Path
from queue import Empty, SimpleQueue
from types import TracebackType
from typing import NamedTuple, Self

import av
import numpy as np
from numpy.typing import NDArray

from malan.core import Span
from malan.core.errors import MediaError, UsageError
from malan.media.index import PacketIndex
from malan.media.open import has_decoder, open_container, video_stream
from malan.media.payload import open_packets
from malan.media.picture import Painter, Shape, Size, clockwise
from malan.media.runs import Run, RunDecoder, plan_runs
from malan.media.sniff import shown

_BATCH_BYTES = 512 << 20


class FrameBatch(NamedTuple):
    """Frames as uint8 RGB (T, H, W, C), 0–255, and the start of each in ticks of the index."""

    frames_THWC: NDArray[np.uint8]
    ticks: NDArray[np.int64]


class ClipReader:
    """An open file to read frames from, by number or by time. Not safe between threads; open it after a fork.

    Args:
        path: The file the index was made from.
        index: Its packet index.
        track: Stream index; the first picture track when None.
        upright: Apply the rotation and the pixel shape the file asks players for; else frames come as stored.
        threads: Decoders that work side by side; None: as many as this process may use processors.
        batch_bytes: About how much `windows` may hold decoded before it hands out.
        in_range: Show HDR as usual screens can; else its values come as they are coded.

    Raises:
        MediaError: The file cannot be opened or has no decoder here.
    """

    def __init__(
        self,
        path: str | Path,
        index: PacketIndex,
        *,
        track: int | None = None,
        upright: bool = False,
        threads: int | None = None,
        batch_bytes: int = _BATCH_BYTES,
        in_range: bool = False,
    ) -> None:
        self._path, self._index, self._batch_bytes = Path(path), index, batch_bytes
        self._in_range = in_range
        self._container = open_container(path)
        self._stream = video_stream(self._container, track, path)
        if not has_decoder(self._stream):
            raise MediaError("reading.no_decoder", path=shown(path))
        self._packets = open_packets(self._container, self._stream, path, index)
        self._threads = threads or len(os.sched_getaffinity(0))
        self._decoder = RunDecoder(index, self._packets, self._stream, threads=self._threads)
        self._shape = self._look(upright)

    @property
    def index(self) -> PacketIndex:
        return self._index

    @property
    def shape(self) -> Shape:
        """Size and turn of the pictures that come out when no size is asked for."""
        return self._shape

    def frames(self, first: int, end: int, *, step: int = 1, size: Size = None) -> FrameBatch:
        """Every `step`-th frame from `first` to `end` (excluded).

        Args:
            size: The short side, or width and height, in pixels; None keeps the picture as it is.

        Raises:
            UsageError: The frames do not exist.
            MediaError: One of them cannot be decoded; the message tells from which second.
        """
        return self._read([self._numbers(first, end, step)], size)[0]

    def at_times(self, span: Span, fps: Fraction | int, *, size: Size = None) -> FrameBatch:
        """The frames shown at `span.start`, 1/fps later, and so on until the end of the span, which is excluded.

        Times are exact, so variable frame rate is safe; a frame that is shown at two of the times comes twice.
        """
        every = 1 / Fraction(fps)
        count = -(-span.duration // every)
        times = [(span.start * span.timebase + i * every) / self._index.timebase for i in range(int(count))]
        return self._read([np.array([self._index.frame_at(int(t // 1)) for t in times], np.int64)], size)[0]

    def windows(self, windows: Sequence[tuple[int, int]], *, step: int = 1, size: Size = None) -> Iterator[FrameBatch]:
        """The frames of many windows `(first, end)`, in the order asked.

        Windows are taken together, as many as fit the batch, so that what they share is decoded once. Windows that
        lie close in the file should be asked for close to each other.
        """
        asked = [self._numbers(first, end, step) for first, end in windows]
        width, height = self._shape.shown(size)
        start = 0
        while start < len(asked):
            stop, room = start + 1, self._batch_bytes - len(asked[start]) * width * height * 3
            while stop < len(asked) and room >= (need := len(asked[stop]) * width * height * 3):
                room, stop = room - need, stop + 1
            yield from self._read(asked[start:stop], size)
            start = stop

    def close(self) -> None:
        """Give files and decoders back; closing twice does no harm."""
        self._decoder.close()
        self._packets.close()
        self._container.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.close()

    def _numbers(self, first: int, end: int, step: int) -> NDArray[np.int64]:
        if not 0 <= first <= end <= self._index.frame_count or step < 1:
            raise UsageError("reading.no_such_frames", first=first, end=end, frames=self._index.frame_count)
        return np.arange(first, end, step, dtype=np.int64)

    def _read(self, asked: Sequence[NDArray[np.int64]], size: Size) -> list[FrameBatch]:
        """Decode all frames asked for, each once, into one array a window."""
        width, height = self._shape.shown(size)
        batches = [
            FrameBatch(np.empty((len(a), height, width, 3), np.uint8), self._index.frame_pts[a].astype(np.int64))
            for a in asked
        ]
        slots = defaultdict(list)
        for batch, numbers in zip(batches, asked, strict=True):
            for i, number in enumerate(numbers.tolist()):
                slots[int(self._index.shown[number])].append(batch.frames_THWC[i])
        self._fill(slots, size)
        return batches

    def _fill(self, slots: dict[int, list[NDArray[np.uint8]]], size: Size) -> None:
        runs = plan_runs(self._index, np.fromiter(slots, np.int64, len(slots)))
        painters: SimpleQueue[Painter] = SimpleQueue()

        def work(run: Run) -> None:
            try:
                painter = painters.get_nowait()
            except Empty:
                painter = Painter(self._shape, size, in_range=self._in_range)
            self._decode(run, lambda packet, frame: _place(slots[packet], painter.paint(frame)), alone)
            painters.put(painter)

        alone = len(runs) <= 1
        if alone or self._threads == 1:
            for run in runs:
                work(run)
            return
        with ThreadPoolExecutor(min(self._threads, len(runs)), "decode") as pool:
            for _ in pool.map(work, sorted(runs, key=lambda r: r.start - r.stop)):
                pass

    def _decode(self, run: Run, take: Callable[[int, av.VideoFrame], None], alone: bool) -> None:
        missing = set(run.wanted.tolist())
        for packet, frame in self._decoder.decode(run, alone=alone):
            take(packet, frame)
            missing.discard(packet)
        if missing:
            number = int(self._index.frame_of_packet[list(missing)].min())
            seconds = float(self._index.frame_pts[number] * self._index.timebase)
            raise MediaError("reading.damaged", path=shown(self._path), frame=number, seconds=f"{seconds:.3f}")

    def _look(self, upright: bool) -> Shape:
        """The shape of pictures; how they must be turned is told by a decoded frame alone."""
        context = self._stream.codec_context
        plain = Shape(context.width, context.height)
        if not upright:
            return plain
        turn = next((clockwise(frame) for _, frame in self._decoder.between(0, min(1, self._index.frame_count))), 0)
        aspect = self._stream.sample_aspect_ratio or 1
        return Shape(plain.width_px, plain.height_px, turn, Fraction(aspect))


def _place(slots: list[NDArray[np.uint8]], picture_HWC: NDArray[np.uint8]) -> None:
    for slot_HWC in slots:
        slot_HWC[:] = picture_HWC
