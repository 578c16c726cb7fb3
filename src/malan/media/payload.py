"""Read packets of a track straight from their bytes, without the demuxer.

Most containers store each picture packet whole and in one place, a constant number of bytes behind the position the
packet index knows: 0 in mp4, mov and avi, a block header in Matroska, a key in MXF. `DirectPackets` learns that
constant from a few demuxed packets and reads byte ranges from then on; a remote file would need nothing else.
Transport streams and all that is stored otherwise go through `malan.media.decode.PacketSource`.
"""

from __future__ import annotations

import os
import struct
from collections.abc import Iterable, Iterator
from itertools import islice
from pathlib import Path
from threading import Lock
from typing import Protocol, TypeAlias, cast

import av
import numpy as np
from av.container import InputContainer
from av.video.stream import VideoStream

from malan.core.errors import MediaError
from malan.media.decode import PacketSource
from malan.media.index import KEY, PacketIndex
from malan.media.open import open_plain
from malan.media.sniff import shown

Packet: TypeAlias = "av.Packet[VideoStream]"

_HEADER_BYTES = 64  # a packet's own header is shorter than this in every container
_SAMPLE = 3  # packets compared at each place that is looked at
_GAP_BYTES = 1 << 16  # bytes of other tracks that are cheaper to read over than to skip
_TOGETHER = 500  # packets a demuxer reads before another decoder may have it
_BLOCK_BYTES = 4 << 20  # at most this much is read at once


class ByteSource(Protocol):
    """Random access to the bytes of one file, here or elsewhere."""

    def read(self, offset: int, size: int) -> bytes:
        """Exactly `size` bytes from `offset`; fewer at the end of the file."""
        ...

    def close(self) -> None: ...


class PacketReader(Protocol):
    """Packets by number, rising; one that is gone is left out."""

    def read(self, numbers: Iterable[int]) -> Iterator[tuple[int, Packet]]: ...

    def close(self) -> None: ...


class LocalBytes:
    """The bytes of a file on this machine. Safe between threads."""

    def __init__(self, path: str | Path) -> None:
        self._path = path
        self._file = open_plain(path)

    def read(self, offset: int, size: int) -> bytes:
        try:
            return os.pread(self._file, size, offset)
        except OSError as error:
            raise MediaError("media.unreadable", path=shown(self._path), detail=error.strerror or str(error)) from error

    def close(self) -> None:
        if self._file >= 0:
            os.close(self._file)
        self._file = -1


class DirectPackets:
    """Packets of one track by byte range. Safe between threads when the byte source is.

    Args:
        header_bytes: What lies between an indexed position and the packet's payload; see `learn_header`.
    """

    def __init__(self, source: ByteSource, index: PacketIndex, header_bytes: int) -> None:
        self._source, self._index, self._header = source, index, header_bytes

    def read(self, numbers: Iterable[int]) -> Iterator[tuple[int, Packet]]:
        """The packets with these numbers (rising), each with its number; one the file no longer holds is left out."""
        wanted = np.fromiter(numbers, np.int64)
        for group in self._blocks(wanted):
            starts = self._index.position[group] + self._header
            low, high = int(starts.min()), int((starts + self._index.size_bytes[group]).max())
            block = memoryview(self._source.read(low, high - low))
            for number, start in zip(group.tolist(), (starts - low).tolist(), strict=True):
                packet = packet_of(block[start : start + int(self._index.size_bytes[number])])
                if packet.size == self._index.size_bytes[number]:
                    yield number, packet

    def close(self) -> None:
        self._source.close()

    def _blocks(self, numbers: np.ndarray) -> Iterator[np.ndarray]:
        """Packet numbers cut into groups that one read covers."""
        start = 0
        starts = self._index.position[numbers]
        ends = starts + self._index.size_bytes[numbers]
        for i in range(1, len(numbers) + 1):
            if i == len(numbers) or not (
                0 <= starts[i] - ends[i - 1] <= _GAP_BYTES and ends[i] - starts[start] <= _BLOCK_BYTES
            ):
                yield numbers[start:i]
                start = i


class _OneAtATime:
    """Lets several decoders take packets from one demuxer: what is read at once is of one group of pictures, mostly."""

    def __init__(self, source: PacketSource) -> None:
        self._source, self._lock = source, Lock()

    def read(self, numbers: Iterable[int]) -> Iterator[tuple[int, Packet]]:
        waiting = iter(numbers)
        while together := list(islice(waiting, _TOGETHER)):
            with self._lock:
                found = list(self._source.read(together))
            yield from found

    def close(self) -> None:
        self._source.close()


def open_packets(container: InputContainer, stream: VideoStream, path: str | Path, index: PacketIndex) -> PacketReader:
    """Packets of a track by number: by byte range where they are stored whole, else through a demuxer of their own.

    Leaves the container anywhere. Safe between threads.
    """
    source = LocalBytes(path)
    header = learn_header(container, stream, source, index)
    if header is None:
        source.close()
        return _OneAtATime(PacketSource(path, index, stream.index))
    return DirectPackets(source, index, header)


def learn_header(container: InputContainer, stream: VideoStream, source: ByteSource, index: PacketIndex) -> int | None:
    """Bytes between indexed position and payload, or None where packets are not stored whole.

    Demuxes a few packets at the start and in the middle and finds each in the file; leaves the container elsewhere.
    None as well when a decoder would need more than the payload: sample descriptions that change on the way (mp4).
    """
    if (index.position < 0).any() or (container.format.name.startswith("mov") and _descriptions(source) != 1):
        return None
    found: set[int] = set()
    for ticks in (None, int(index.dts[index.packet_count // 2])):
        try:
            if ticks is not None:
                container.seek(ticks, stream=stream)
            found |= {_header_of(p, source) for p in islice(_packets(container, stream), _SAMPLE)}
        except av.FFmpegError:
            return None
    return found.pop() if len(found) == 1 and min(found) >= 0 else None


def reorder_depth(index: PacketIndex) -> int:
    """How many frames a decoder must hold back so that none comes out of order.

    Decoders guess this from the stream and forget it when they are flushed; guessing low drops frames.
    """
    ranks = np.empty(index.packet_count, np.int64)
    ranks[np.argsort(index.pts, kind="stable")] = np.arange(index.packet_count)
    late = np.maximum.accumulate(ranks) - ranks
    return int(min(late.max(initial=0), 16))


def key_packets(index: PacketIndex) -> np.ndarray:
    """Numbers of all packets a decoder may start at, those never shown included."""
    return np.flatnonzero(index.flags & KEY)


def packet_of(payload: bytes | memoryview) -> Packet:
    """A packet that holds a copy of some bytes."""
    # Allocated by libav and copied: decoders read past the end and rely on the zeroes libav puts there.
    packet = cast("Packet", av.Packet(len(payload)))
    if len(payload):
        packet.update(payload)  # type: ignore[arg-type]  # any buffer will do
    return packet


def _packets(container: InputContainer, stream: VideoStream) -> Iterator[Packet]:
    return (packet for packet in container.demux(stream) if packet.size)


def _header_of(packet: Packet, source: ByteSource) -> int:
    payload = bytes(packet)
    return source.read(packet.pos or 0, len(payload) + _HEADER_BYTES).find(payload)


def _descriptions(source: ByteSource) -> int:
    """The largest number of sample descriptions of a track in an mp4 (ISO/IEC 14496-12, 8.5.2); 0 if none is found."""
    most = 0
    for kind, start, end in _boxes(source, 0, 1 << 62):
        if kind == b"moov":
            for trak in (b for b in _boxes(source, start, end) if b[0] == b"trak"):
                most = max(most, _entries(source, *trak[1:]))
    return most


def _entries(source: ByteSource, start: int, end: int) -> int:
    """Entries of the `stsd` box below a `trak` box."""
    for kind in (b"mdia", b"minf", b"stbl", b"stsd"):
        box = next((b for b in _boxes(source, start, end) if b[0] == kind), None)
        if box is None:
            return 0
        start, end = box[1:]
    return int(struct.unpack(">I", source.read(start + 4, 4))[0])


def _boxes(source: ByteSource, start: int, end: int) -> Iterator[tuple[bytes, int, int]]:
    """Type, start and end of the content of each box in a byte range; stops at the first that makes no sense."""
    while start + 8 <= end:
        head = source.read(start, 16)
        if len(head) < 8:
            return
        size, kind = struct.unpack(">I4s", head[:8])
        header = 8
        if size == 1 and len(head) == 16:
            size, header = struct.unpack(">Q", head[8:])[0], 16
        stop = end if size == 0 else start + size
        if stop < start + header:
            return
        yield kind, start + header, min(stop, end)
        start = stop
