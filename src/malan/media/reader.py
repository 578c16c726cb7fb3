"""Random windows of frames, exact to the frame, from a file that stays open.

    asked windows ─ wanted frames ─ plan_runs ─ [Run: packets from a key on] ─ decoders side by side ─ arrays

Each group of pictures is decoded once for all windows that need it, packets come straight from their byte ranges where
the container allows it, and frames nothing else needs are skipped unless asked for. Suffix letters of arrays: T time,
H height, W width, C colour. Start at `ClipReader`.
"""

from __future__ import annotations

import os
from collections import OrderedDict, defaultdict
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from queue import SimpleQueue
from types import TracebackType
from typing import NamedTuple, Self

import av
import numpy as np
from av.video.codeccontext import VideoCodecContext
from av.video.stream import VideoStream
from numpy.typing import NDArray

from malan.core import Span
from malan.core.errors import MediaError, UsageError
from malan.media.index import PacketIndex
from malan.media.open import has_decoder, open_container, video_stream
from malan.media.payload import Packet, key_packets, open_packets, reorder_depth
from malan.media.picture import Painter, Shape, Size, clockwise
from malan.media.sniff import shown

_SHORT_RUN = 12  # packets; shorter neighbours are decoded in one go
_RETRIES = (1, 4)  # key frames further back that a second and third attempt start from
_BATCH_BYTES = 256 << 20
_SKIPPABLE = {"h264", "mpeg1video", "mpeg2video", "mpeg4"}  # "not a reference" means nothing ever needs the frame


class FrameBatch(NamedTuple):
    """Frames as uint8 RGB (T, H, W, C), 0–255, and the start of each in ticks of the index."""

    frames_THWC: NDArray[np.uint8]
    ticks: NDArray[np.int64]


@dataclass(frozen=True)
class Run:
    """Packets `start` to `stop` (excluded) that decode from a clean start, and which of them are wanted (rising)."""

    start: int
    stop: int
    wanted: NDArray[np.int64]


class ClipReader:
    """An open file to read frames from, by number or by time. Not safe between threads; open it after a fork.

    Args:
        path: The file the index was made from.
        index: Its packet index.
        track: Stream index; the first picture track when None.
        upright: Apply the rotation and the pixel shape the file asks players for; else frames come as stored.
        threads: Decoders that work side by side; None: as many as this process may use processors.
        batch_bytes: About how much `windows` may hold decoded before it hands out.

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
    ) -> None:
        self._path, self._index, self._batch_bytes = Path(path), index, batch_bytes
        self._container = open_container(path)
        self._stream = video_stream(self._container, track, path)
        if not has_decoder(self._stream):
            raise MediaError("reading.no_decoder", path=shown(path))
        self._packets = open_packets(self._container, self._stream, path, index)
        self._threads = threads or len(os.sched_getaffinity(0))
        self._depth = reorder_depth(index)
        self._ranks, self._by_rank = _presentation(index)
        self._idle: list[VideoCodecContext] = []
        self._lone: VideoCodecContext | None = None
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
        self._idle.clear()
        self._lone = None
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
            painter = Painter(self._shape, size) if painters.empty() else painters.get()
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
        """Hand out the wanted frames of a run, each once; what does not come is tried from further back."""
        missing = set(run.wanted.tolist())

        def take_missing(packet: int, frame: av.VideoFrame) -> None:
            if packet in missing and not frame.is_corrupt:
                take(packet, frame)
                missing.discard(packet)

        self._pass(run, take_missing, alone)
        keys = key_packets(self._index)
        place = int(np.searchsorted(keys, run.start))
        for back in _RETRIES:
            if missing and place > 0:
                start = int(keys[max(place - back, 0)])
                self._pass(Run(start, run.stop, np.array(sorted(missing), np.int64)), take_missing, alone)
        if missing:
            frame = int(self._index.frame_of_packet[list(missing)].min())
            seconds = float(self._index.frame_pts[frame] * self._index.timebase)
            raise MediaError("reading.damaged", path=shown(self._path), frame=frame, seconds=f"{seconds:.3f}")

    def _pass(self, run: Run, take: Callable[[int, av.VideoFrame], None], alone: bool) -> None:
        """Decode a run once. A packet the decoder refuses is left out; what depends on it will be missing."""
        context = self._borrow(alone)
        context.flush_buffers()
        context.reorder_depth = max(self._depth, context.reorder_depth)
        wanted, skips = set(run.wanted.tolist()), context.name in _SKIPPABLE
        for number, packet in self._packets.read(range(run.start, run.stop)):
            packet.pts = packet.dts = int(self._ranks[number])
            context.skip_frame = "NONREF" if skips and number not in wanted else "DEFAULT"
            self._hand_out(context, packet, take)
        self._hand_out(context, None, take)
        if not alone:
            self._idle.append(context)

    def _hand_out(
        self, context: VideoCodecContext, packet: Packet | None, take: Callable[[int, av.VideoFrame], None]
    ) -> None:
        try:
            frames = context.decode(packet)
        except (av.FFmpegError, ValueError):
            return
        for frame in frames:
            if frame.pts is not None and 0 <= frame.pts < len(self._by_rank):
                take(int(self._by_rank[frame.pts]), frame)

    def _borrow(self, alone: bool) -> VideoCodecContext:
        """A decoder: one that uses several processors when it works alone, else one of several with one each."""
        if alone and self._threads > 1:
            if self._lone is None:
                self._lone = new_decoder(self._stream, "FRAME", self._threads)
            return self._lone
        try:
            return self._idle.pop()
        except IndexError:
            return new_decoder(self._stream, "SLICE", 1)

    def _look(self, upright: bool) -> Shape:
        """The shape of pictures; how they must be turned is told by a decoded frame alone."""
        context = self._stream.codec_context
        plain = Shape(context.width, context.height)
        if not upright or self._index.frame_count == 0:
            return plain
        turns: list[int] = []
        for run in plan_runs(self._index, self._index.shown[:1]):
            self._decode(run, lambda _, frame: turns.append(clockwise(frame)), alone=False)
        aspect = self._stream.sample_aspect_ratio or 1
        return Shape(plain.width_px, plain.height_px, turns[0], Fraction(aspect))


class ReaderPool:
    """Open readers for a loader; the one unused longest is closed when there are too many. Not safe between threads."""

    def __init__(self, capacity: int = 16) -> None:
        if capacity < 1:
            raise UsageError("reading.bad_capacity", capacity=capacity)
        self._capacity = capacity
        self._open: OrderedDict[tuple[object, ...], ClipReader] = OrderedDict()

    def get(
        self, path: str | Path, index: PacketIndex, *, track: int | None = None, upright: bool = False
    ) -> ClipReader:
        """The reader of a file, opened when it is not open yet. It belongs to the pool: do not close it."""
        key = (str(path), track, upright)
        if key not in self._open:
            self._open[key] = ClipReader(path, index, track=track, upright=upright)
        self._open.move_to_end(key)
        while len(self._open) > self._capacity:
            self._open.popitem(last=False)[1].close()
        return self._open[key]

    def close(self) -> None:
        while self._open:
            self._open.popitem()[1].close()


def plan_runs(index: PacketIndex, packets: NDArray[np.int64]) -> list[Run]:
    """What must be decoded to see the pictures of some packets.

    Each run starts at the last key packet before its first wanted one. A frame that leads its key (sent after, shown
    before: open group of pictures) needs the group before as well, so its run starts one key earlier.
    """
    wanted = np.sort(packets)
    keys = key_packets(index)
    place = np.searchsorted(keys, wanted, side="right") - 1
    if len(keys):
        leads = (place > 0) & (index.pts[wanted] < index.pts[keys[place]])
        place = place - leads
    starts = np.where(place >= 0, keys[place], 0) if len(keys) else np.zeros(len(wanted), np.int64)
    runs: list[Run] = []
    for start in np.unique(starts).tolist():
        mine = wanted[starts == start]
        _add_run(runs, Run(start, int(mine[-1]) + 1, mine))
    return runs


def _add_run(runs: list[Run], run: Run) -> None:
    """Add a run that starts no earlier than the last; join them where they overlap or are short neighbours."""
    if runs:
        last = runs[-1]
        if run.start < last.stop or (run.start == last.stop and last.stop - last.start < _SHORT_RUN):
            runs[-1] = Run(last.start, max(last.stop, run.stop), np.union1d(last.wanted, run.wanted))
            return
    runs.append(run)


def _presentation(index: PacketIndex) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Place of each packet in presentation order, and the packet at each place.

    Packets go into a decoder under their place and frames come out under it, so doubled or falling times in the
    file cannot make one frame pass for another.
    """
    by_rank = np.argsort(index.pts, kind="stable")
    ranks = np.empty(index.packet_count, np.int64)
    ranks[by_rank] = np.arange(index.packet_count)
    return ranks, by_rank


def new_decoder(stream: VideoStream, thread_type: str, threads: int) -> VideoCodecContext:
    """Another decoder for a track: same parameters, own state."""
    # The one call in PyAV that copies all codec parameters (chroma position, side data) makes an output stream.
    with av.open(os.devnull, "w", format="null") as nowhere:
        context = nowhere.add_stream_from_template(stream, opaque=True).codec_context
    context.codec_tag = stream.codec_context.codec_tag
    context.thread_type, context.thread_count = thread_type, threads
    return context


def _place(slots: list[NDArray[np.uint8]], picture_HWC: NDArray[np.uint8]) -> None:
    for slot_HWC in slots:
        slot_HWC[:] = picture_HWC
