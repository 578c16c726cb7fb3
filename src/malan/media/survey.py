"""One pass over the packets of an open file: what its tracks really hold, whatever the header claims.

`probe`, `build_index` and `register` all stand on it. It decodes the first picture (which alone tells of rotation and
interlace), and more only where the packets leave open which frames will come out. Start at `Survey`.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from fractions import Fraction
from itertools import islice
from pathlib import Path
from typing import TypeAlias

import av
import numpy as np
from av.container import InputContainer
from av.stream import Disposition, Stream
from av.video.stream import VideoStream
from numpy.typing import NDArray

from malan.core.errors import MediaError
from malan.media.fields import FieldPairs
from malan.media.index import (
    DISCARD,
    DISPOSABLE,
    KEY,
    SECOND_FIELD,
    UNDECODABLE,
    PacketIndex,
    PacketRows,
    Repaired,
    repair_times,
)
from malan.media.open import check_size, has_decoder, open_media, read_only, read_packets, video_stream
from malan.media.sniff import shown

Packet: TypeAlias = "av.Packet[VideoStream]"

_WITHOUT_PRESENTATION_TIMES = {"avi", "h264", "hevc", "vvc", "vc1", "m4v", "mpegvideo"}
_NOMINAL_RATE, _LEAST_RATE, _MOST_RATE = 25, 5, 1000
_LOOK_AHEAD = 32  # packets behind the first key packet that may be shown before it
_FIRST_PICTURE_WITHIN = 1000  # packets in which a picture must have come out
_TRIED_FOR_SOUND = 50  # packets of each audio track
_HELD_BYTES = 64 << 20


@dataclass
class Extent:
    """What the packets of one track cover, in ticks."""

    packets: int = 0
    start: int | None = None
    end: int | None = None

    def add(self, packet: av.Packet[Stream]) -> None:
        """Take in a packet; one that is never played covers nothing."""
        self.packets += 1
        pts = packet.pts
        time = packet.dts if pts is None else pts
        if time is None or packet.is_discard:
            return
        end = time + (packet.duration or 0)
        if self.start is None or self.end is None:
            self.start, self.end = time, end
        elif time < self.start:
            self.start = time
        elif end > self.end:
            self.end = end


class Survey:
    """Read packets of a container once, of all tracks or of the picture alone.

    Args:
        container: Freshly opened.
        path: For messages.
        picture: The track whose packets are indexed; None when there is none.
    """

    def __init__(self, container: InputContainer, path: str | Path, picture: VideoStream | None) -> None:
        self._container, self._path, self.picture = container, path, picture
        self.rows = PacketRows()
        self.opening = Opening(picture, path) if picture is not None else None
        self._fields = _field_pairs(picture)
        self.extents = {stream.index: Extent() for stream in container.streams}
        self.is_whole = False
        self.is_heard = False  # some sound has been decoded
        self._sounds = {s.index: _TRIED_FOR_SOUND for s in container.streams.audio if has_decoder(s)}

    @property
    def first_frame(self) -> av.VideoFrame | None:
        """The first picture, once `read` has ended; None where nothing decodes."""
        return None if self.opening is None else self.opening.frame

    def read(self, streams: Iterable[Stream], most: int | None = None) -> None:
        """Take in the packets of some streams, all of them or the first `most`."""
        picture = -1 if self.picture is None else self.picture.index
        count = 0
        for packet in islice(read_packets(self._container, *streams), most):
            count += 1
            if packet.stream_index == picture:
                self._see(packet)
            else:
                self._hear(packet)
        self.is_whole = most is None or count < most
        if self.opening is not None:
            self.opening.finish()

    def _see(self, packet: Packet) -> None:
        """A packet of the picture track; its extent is that of the index."""
        self.rows.add(packet, self._path)
        if self._fields is not None and self._fields.is_second(bytes(packet)):
            self.rows.flags[-1] = self.rows.flags[-1] & ~(KEY | DISPOSABLE) | SECOND_FIELD
        if self.opening is not None and not self.opening.is_settled:
            self.opening.feed(len(self.rows) - 1, packet)

    def _hear(self, packet: av.Packet[Stream]) -> None:
        """A packet of another track; the first ones of sound are decoded until one can be heard."""
        track = packet.stream_index
        self.extents[track].add(packet)
        if self.is_heard or not self._sounds.get(track):
            return
        self._sounds[track] -= 1
        try:
            self.is_heard = bool(packet.decode())
        except (av.FFmpegError, ValueError):
            return

    def index(self) -> tuple[PacketIndex, Repaired] | None:
        """The packet index of the picture track and what was wrong with its times; None where nothing decodes."""
        if self.picture is None or self.opening is None or self.opening.frame is None:
            return None
        opening, picture = self.opening, self.picture
        timebase = self.picture.time_base or Fraction(1, 90_000)
        times = repair_times(self.rows, nominal_step_ticks(picture, timebase))
        times = _in_order_of_decoder(times, picture, self._path)
        flags = np.frombuffer(self.rows.flags, np.uint8).copy()
        flags[_leading(opening, times, flags)] |= UNDECODABLE
        index = PacketIndex(
            timebase=timebase,
            pts=times.pts,
            dts=times.dts,
            size_bytes=np.frombuffer(self.rows.size, np.int32),
            position=np.frombuffer(self.rows.position, np.int64),
            flags=flags,
            end_ticks=0,
        )
        return replace(index, end_ticks=self._end(index, times)), times

    def _end(self, index: PacketIndex, times: Repaired) -> int:
        if not index.frame_count:
            return 0
        last = int(index.shown[-1])
        parts = range(last, index.end_of(last))  # two where fields are apart
        known = [0 if times.untimed else self.rows.duration[part] for part in parts]
        step = times.step_ticks
        return int(index.pts[last]) + sum(ticks if 0 < ticks <= 1000 * step else step for ticks in known)


class Opening:
    """Decodes the beginning of a picture track: the first frame, and which of the first packets give no picture.

    A track cut in the middle of a group of pictures begins with packets that no decoder shows, and packets behind its
    first key packet may still be shown before it, if they can be decoded at all. Packets are held back until the
    first key packet and a few more were seen; mostly the first is enough.
    """

    def __init__(self, stream: VideoStream, path: str | Path) -> None:
        self._stream, self._path = stream, path
        self._held: list[tuple[int, Packet]] = []
        self._held_bytes = 0
        self._is_decoding = False
        self._seen_key_at: int | None = None
        self.frame: av.VideoFrame | None = None
        self.tried = 0
        self.came_out: set[int] = set()
        self.is_settled = not has_decoder(stream)
        if has_decoder(stream):
            stream.codec_context.thread_count = 1

    def feed(self, number: int, packet: Packet) -> None:
        """Take the next packet; its times may be changed."""
        if self._is_decoding:
            self._try(number, packet)
            self.is_settled = self.frame is not None or number >= _FIRST_PICTURE_WITHIN
            return
        self._held.append((number, packet))
        self._held_bytes += packet.size
        if packet.is_keyframe and self._seen_key_at is None:
            self._seen_key_at = number
        behind = -1 if self._seen_key_at is None else number - self._seen_key_at
        if behind >= _LOOK_AHEAD or number >= _FIRST_PICTURE_WITHIN or self._held_bytes > _HELD_BYTES:
            self._decide()

    def finish(self) -> None:
        """No more packets come."""
        if not self.is_settled and not self._is_decoding:
            self._decide()
        if not self.is_settled:
            self._decode(None)
        self.is_settled = True

    def _decide(self) -> None:
        """Decode what is held, as far as it is needed; if no picture comes of it, the next packets are tried too."""
        self._is_decoding = True
        enough = self._needed()
        for number, packet in self._held:
            self._try(number, packet)
            if self.tried == enough:
                self._decode(None)
                self._stream.codec_context.flush_buffers()
            if self.tried >= enough and self.frame is not None:
                break
        self._held.clear()
        self.is_settled = self.frame is not None

    def _try(self, number: int, packet: Packet) -> None:
        packet.pts = packet.dts = number
        self._decode(packet)
        self.tried = number + 1

    def _needed(self) -> int:
        """Packets to decode until it is known which leading ones come out: one when the first is shown first."""
        if self._seen_key_at is None:
            return 1
        key = self._held[self._seen_key_at][1]
        early = [n for n, p in self._held if p.pts is not None and key.pts is not None and p.pts < key.pts]
        return max([self._seen_key_at, *early]) + 1

    def _decode(self, packet: Packet | None) -> None:
        try:
            frames = self._stream.codec_context.decode(packet)
        except (av.FFmpegError, ValueError):
            return
        for frame in frames:
            check_size(frame.width, frame.height, self._path)
            self.frame = self.frame or frame
            if frame.pts is not None:
                self.came_out.add(frame.pts)


def _field_pairs(picture: VideoStream | None) -> FieldPairs | None:
    if picture is None or not has_decoder(picture):
        return None
    return FieldPairs.of(picture.codec_context.name, picture.codec_context.extradata)


def picture_of(container: InputContainer) -> VideoStream | None:
    """The track that is scanned and shown: the first with moving pictures; one that can be decoded goes first."""
    moving = [s for s in container.streams.video if not s.disposition & Disposition.attached_pic]
    return next((s for s in moving if has_decoder(s)), moving[0] if moving else None)


def survey_index(path: str | Path, track: int | None) -> PacketIndex:
    """The packet index of a file, from a pass over its picture packets alone."""
    with open_media(path) as container:
        stream = video_stream(container, track, path)
        require_decoder(stream, path)
        read_only(container, stream)
        survey = Survey(container, path, stream)
        survey.read([stream])
        found = survey.index()
    if found is None:
        raise MediaError("media.damaged", path=shown(path))
    return found[0]


def _leading(opening: Opening, times: Repaired, flags: NDArray[np.uint8]) -> list[int]:
    """Packets shown before the first key frame, or read before it, that gave no picture when tried."""
    keys = np.flatnonzero(flags & KEY)
    if not len(keys):
        return []
    first = int(keys[0])
    tried = np.arange(min(opening.tried, len(flags)))
    early = tried[(tried < first) | (times.pts[tried] < times.pts[first])]
    return [int(n) for n in early if n not in opening.came_out and not flags[n] & DISCARD]


def _in_order_of_decoder(times: Repaired, picture: VideoStream, path: str | Path) -> Repaired:
    """Where frames are reordered and the container has no presentation times, only decoding tells the order.

    libav then gives none, or decode times shifted by a constant.
    """
    untold = picture.container.format.name in _WITHOUT_PRESENTATION_TIMES and not (np.diff(times.pts) < 0).any()
    if not picture.codec_context.has_b_frames or not (times.missing or untold):
        return times
    order = decoded_order(path, picture.index)
    known = np.array([n for n in order if n < len(times.pts)], np.int64)
    pts = times.pts.copy()
    pts[known] = np.sort(times.pts[known])
    return replace(times, pts=pts)


def require_decoder(stream: Stream, path: str | Path, codec: str = "?") -> None:
    if not has_decoder(stream):
        raise MediaError("media.no_codec", path=shown(path), codec=codec)


def nominal_step_ticks(stream: VideoStream, timebase: Fraction) -> int:
    """Ticks of a frame at the rate the header states, or at 25 a second where that makes no sense."""
    stated = stream.guessed_rate or stream.average_rate or Fraction(0)
    rate = stated if _LEAST_RATE <= stated <= _MOST_RATE else Fraction(_NOMINAL_RATE)
    return max(1, round(1 / (rate * timebase)))


def decoded_order(path: str | Path, track: int) -> list[int]:
    """Packet numbers in the order their frames are shown, by decoding the whole track as cheaply as it goes."""
    order: list[int] = []
    with open_media(path) as container:
        stream = video_stream(container, track, path)
        read_only(container, stream)
        stream.thread_type = "AUTO"
        stream.codec_context.options = {"skip_loop_filter": "all", "skip_idct": "all"}
        for number, packet in enumerate(read_packets(container, stream)):
            packet.pts = packet.dts = number
            order.extend(_labels(stream, packet))
        order.extend(_labels(stream, None))
    return order


def _labels(stream: VideoStream, packet: Packet | None) -> list[int]:
    try:
        return [frame.pts for frame in stream.codec_context.decode(packet) if frame.pts is not None]
    except (av.FFmpegError, ValueError):
        return []
