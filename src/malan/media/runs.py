"""Decode runs of packets: from a packet a decoder may start at, as far as something is wanted.

    frames ─ plan_runs ─ [Run] ─ RunDecoder ─ (packet number, decoded frame)

Frames nothing refers to are skipped unless wanted, and frames are told apart by their packet, never by a time the file
states. Reading and cutting stand on it. Start at `RunDecoder`.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import av
import numpy as np
from av.video.codeccontext import VideoCodecContext
from av.video.stream import VideoStream
from numpy.typing import NDArray

from malan.media.index import PacketIndex
from malan.media.payload import Packet, PacketReader, key_packets, reorder_depth

_SHORT_RUN = 12  # packets; shorter neighbours are decoded in one go
_RETRIES = (1, 4)  # key frames further back that a second and third attempt start from
_SKIPPABLE = {"h264", "mpeg1video", "mpeg2video", "mpeg4"}  # "not a reference" means nothing ever needs the frame


@dataclass(frozen=True)
class Run:
    """Packets `start` to `stop` (excluded) that decode from a clean start, and which of them are wanted (rising)."""

    start: int
    stop: int
    wanted: NDArray[np.int64]


class RunDecoder:
    """Decodes runs of one track. Several threads may decode at once if the packet reader allows it.

    Args:
        threads: How many processors a run that is decoded alone may use.
    """

    def __init__(self, index: PacketIndex, packets: PacketReader, stream: VideoStream, *, threads: int = 1) -> None:
        self._index, self._packets, self._stream, self._threads = index, packets, stream, threads
        self._ranks, self._by_rank = _presentation(index)
        self._depth = reorder_depth(index)
        self._idle: list[VideoCodecContext] = []
        self._lone: list[VideoCodecContext] = []

    def decode(self, run: Run, *, alone: bool = True) -> Iterator[tuple[int, av.VideoFrame]]:
        """The wanted frames of a run, each once, by packet number; those that do not decode are missing.

        In presentation order, but for what only came at a second attempt, from further back.

        Args:
            alone: Nothing else is decoded meanwhile: use all processors.
        """
        missing = set(run.wanted.tolist())
        keys = key_packets(self._index)
        place = int(np.searchsorted(keys, run.start))
        for start in [run.start, *(int(keys[max(place - back, 0)]) for back in _RETRIES if place > 0)]:
            again = Run(start, run.stop, np.array(sorted(missing), np.int64))
            for packet, frame in self._attempt(again, alone):
                if packet in missing and not frame.is_corrupt:
                    missing.discard(packet)
                    yield packet, frame
            if not missing:
                return

    def between(self, first: int, end: int) -> Iterator[tuple[int, av.VideoFrame]]:
        """The frames `first` to `end` (excluded) in one run, by frame number, their times those of the index."""
        wanted = np.sort(self._index.shown[first:end])
        if not len(wanted):
            return
        start = plan_runs(self._index, self._index.shown[first:end])[0].start
        for packet, frame in self.decode(Run(start, self._index.end_of(int(wanted[-1])), wanted)):
            frame.pts, frame.time_base = int(self._index.pts[packet]), self._index.timebase
            yield int(self._index.frame_of_packet[packet]), frame

    def close(self) -> None:
        self._idle.clear()
        self._lone.clear()

    def _attempt(self, run: Run, alone: bool) -> Iterator[tuple[int, av.VideoFrame]]:
        """One pass over a run. A packet the decoder refuses is left out; what depends on it will be missing."""
        wanted = {part for first in run.wanted.tolist() for part in range(first, self._index.end_of(first))}
        with self._decoder(alone) as context:
            skips = context.name in _SKIPPABLE
            for number, packet in self._packets.read(range(run.start, run.stop)):
                packet.pts = packet.dts = int(self._ranks[number])
                context.skip_frame = "NONREF" if skips and number not in wanted else "DEFAULT"
                yield from self._frames(context, packet)
            yield from self._frames(context, None)

    def _frames(self, context: VideoCodecContext, packet: Packet | None) -> Iterator[tuple[int, av.VideoFrame]]:
        try:
            frames = context.decode(packet)
        except (av.FFmpegError, ValueError):
            return
        for frame in frames:
            if frame.pts is not None and 0 <= frame.pts < len(self._by_rank):
                yield int(self._by_rank[frame.pts]), frame

    @contextmanager
    def _decoder(self, alone: bool) -> Iterator[VideoCodecContext]:
        """A clean decoder: one that uses several processors for a lone run, else one of several with one each.

        Frame threads end a lone run sooner and burn more; side by side, decoders of one thread get more done.
        """
        many = alone and self._threads > 1
        pool = self._lone if many else self._idle
        try:
            context = pool.pop()
        except IndexError:
            context = new_decoder(self._stream, "FRAME" if many else "SLICE", self._threads if many else 1)
        context.flush_buffers()
        context.reorder_depth = max(self._depth, context.reorder_depth)
        try:
            yield context
        finally:
            pool.append(context)


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
        _add_run(runs, Run(start, index.end_of(int(mine[-1])), mine))
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
