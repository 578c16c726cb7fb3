"""Write one cut file as it was planned: copied packets, encoded edges, sound and subtitles beside them.

    Layout ─ pieces ─┬ copied:  packet bytes as they are (HEVC: parameter sets before key packets, CRA made BLA)
                     └ encoded: decoded frames through a matching encoder
    OtherTracks ───────────────────────────────────────────────────────────────┴─ one muxer

H.264 edges use parameter sets of their own id, which stand in the codec configuration beside those of the source:
what is copied stays what it is to the last bit. HEVC has no such choice: sets go in front of every key packet (`hev1`).
Start at `write_cut`.
"""

from __future__ import annotations

import hashlib
import heapq
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import cast

import av
import numpy as np
from av.container import OutputContainer
from av.rational import AVRational
from av.stream import Stream
from av.video.codeccontext import VideoCodecContext
from av.video.frame import PictureType
from av.video.stream import VideoStream

from malan.core.errors import MediaError
from malan.media.cut_tracks import OtherTracks, Stretch, Timed
from malan.media.index import KEY, PacketIndex
from malan.media.matching import B_FRAMES, adopt_picture, encode, encoder_sets, free_set_id, matching_encoder
from malan.media.nal import Framing, as_bla, framing_of, parameter_sets, with_sets
from malan.media.open import has_decoder, open_container, open_media, video_stream
from malan.media.payload import PacketReader, open_packets, packet_of, reorder_depth
from malan.media.plan_cut import Layout, Piece
from malan.media.runs import RunDecoder
from malan.media.sniff import shown

MATCHED = ("h264", "hevc")  # codecs whose edges can be encoded to fit
SEAM_FRAMES = 4  # of a copied piece, compared on each side
_PLAIN_H264 = {"preset": "fast", "crf": "18", "bf": str(B_FRAMES)}


@dataclass(frozen=True)
class Source:
    """An open film: its track, its packets and its frames."""

    path: Path
    index: PacketIndex
    stream: VideoStream
    packets: PacketReader
    frames: RunDecoder

    @property
    def codec(self) -> VideoCodecContext:
        return self.stream.codec_context

    @property
    def framing(self) -> Framing | None:
        """How units are framed; None for a codec that has none we know."""
        return framing_of(self.codec.name, self.codec.extradata or b"") if self.codec.name in MATCHED else None

    @property
    def sets(self) -> list[bytes]:
        return parameter_sets(self.codec.name, self.codec.extradata or b"")

    @property
    def has_start_codes(self) -> bool:
        return self.framing is not None and self.framing.length_bytes == 0


@contextmanager
def open_source(path: str | Path, index: PacketIndex, track: int | None = None) -> Iterator[Source]:
    """A film opened for cutting.

    Raises:
        MediaError: It cannot be opened, or its picture not decoded.
    """
    with open_media(path) as container:
        stream = video_stream(container, track, path)
        if not has_decoder(stream):
            raise MediaError("reading.no_decoder", path=shown(path))
        packets = open_packets(container, stream, path, index)
        frames = RunDecoder(index, packets, stream, threads=len(os.sched_getaffinity(0)))
        try:
            yield Source(Path(path), index, stream, packets, frames)
        finally:
            frames.close()
            packets.close()


@dataclass
class Written:
    """What a check needs to know of a file that was written."""

    digests: dict[int, bytes] = field(default_factory=dict)  # of copied packets, by their number in the output
    span_of: list[int] = field(default_factory=list)  # span of each packet of the output
    planes: dict[int, bytes] = field(default_factory=dict)  # of frames of the source next to a seam, by their number
    notes: list[str] = field(default_factory=list)


def write_cut(source: Source, layout: Layout, part: Path, format_name: str) -> Written:
    """Write the file; what stands at `part` is replaced."""
    done = Written()
    name = f"file:{part.absolute()}"
    with open_container(source.path) as others, av.open(name, "w", format=format_name) as target:
        target.metadata.update(source.stream.container.metadata)
        picture = _Picture(source, layout, target, done)
        may_lead = format_name in ("mp4", "mov")
        beside = OtherTracks(others, target, picture=source.stream, may_lead=may_lead)
        done.notes += beside.notes
        stretches = [
            Stretch(span.start * span.timebase, span.end * span.timebase, start * span.timebase)
            for span, start in zip(layout.spans, layout.starts, strict=False)
        ]
        for _, packet in heapq.merge(picture.packets(), beside.packets(stretches), key=lambda timed: timed[0]):
            target.mux(packet)
    return done


def digest(payload: bytes, framing: Framing | None = None) -> bytes:
    """A digest of a packet: of its units alone when the framing is given, for muxers turn start codes into lengths."""
    if framing is not None:
        payload = Framing(framing.codec, 4).packet(framing.units(payload))
    return hashlib.blake2b(payload, digest_size=16).digest()


def plane_digest(frame: av.VideoFrame) -> bytes:
    """A digest of the first plane of a picture: luma, mostly."""
    plane = frame.planes[0]
    rows = np.frombuffer(memoryview(plane), np.uint8).reshape(-1, plane.line_size)[: frame.height]
    used = frame.width * -(-frame.format.components[0].bits // 8)
    return digest(np.ascontiguousarray(rows[:, :used]).tobytes())


class _Picture:
    """The video track of one output file."""

    def __init__(self, source: Source, layout: Layout, target: OutputContainer, done: Written) -> None:
        self._source, self._layout, self._done = source, layout, done
        self._set_id = 0
        self._track = self._encoded_track(target) if layout.encodes_all else self._copied_track(target)
        self._track.metadata.update({k: v for k, v in source.stream.metadata.items() if k in ("language", "title")})

    def packets(self) -> Iterator[Timed]:
        return self._encoded_whole() if self._layout.encodes_all else self._pieced()

    def _copied_track(self, target: OutputContainer) -> VideoStream:
        """A track like the source's, whose configuration also holds the parameter sets of the edges."""
        source, track = self._source, target.add_stream_from_template(self._source.stream, opaque=True)
        if not self._layout.encodes_any:
            return track
        if source.codec.name == "hevc" and target.format.name in ("mp4", "mov"):
            track.codec_context.codec_tag = "hev1"
        if source.codec.name == "h264":
            self._set_id = free_set_id(source.sets)
            sets = encoder_sets(self._encoder())
            track.codec_context.extradata = with_sets(source.codec.extradata or b"", sets)
        return track

    def _encoded_track(self, target: OutputContainer) -> VideoStream:
        source, clock, rate = self._source, self._layout.index.timebase, self._layout.mean_rate
        if source.codec.name in MATCHED:
            model = matching_encoder(source.codec, clock, rate, is_edge=False)
            track = cast(VideoStream, target.add_stream(model.codec.name, options=dict(model.options)))
            adopt_picture(track.codec_context, source.codec, clock, rate)
        else:
            self._done.notes.append(f"{source.codec.name} was encoded to H.264")
            track = target.add_stream("libx264", options=_PLAIN_H264)
            adopt_picture(track.codec_context, source.codec, clock, rate, "yuv420p")
        first = self._layout.pieces[0].first
        for _, frame in source.frames.between(first, first + 1):
            if frame.rotation:
                track.set_display_rotation(frame.rotation)
        return track

    def _encoder(self) -> VideoCodecContext:
        layout = self._layout
        return matching_encoder(self._source.codec, layout.index.timebase, layout.mean_rate, set_id=self._set_id)

    def _pieced(self) -> Iterator[Timed]:
        layout = self._layout
        decode_ticks = layout.decode_ticks(reorder_depth(layout.index))
        for number, (span, pts, is_key, payload) in enumerate(self._payloads()):
            packet = packet_of(payload)
            packet.pts, packet.dts, packet.duration = pts, int(decode_ticks[number]), layout.durations[pts]
            packet.time_base, packet.is_keyframe, packet.stream = layout.index.timebase, is_key, self._track
            self._done.span_of.append(span)
            yield float(packet.dts * layout.index.timebase), cast("av.Packet[Stream]", packet)

    def _payloads(self) -> Iterator[tuple[int, int, bool, bytes]]:
        """Span, time in the output, key flag and payload of every packet, in decode order."""
        count, framing = 0, self._source.framing if self._source.has_start_codes else None
        for span, plan in enumerate(self._layout.plans):
            shift = self._layout.starts[span] - self._layout.spans[span].start
            for before, piece, after in zip((None, *plan), plan, (*plan[1:], None), strict=False):
                made = self._copied(piece) if piece.packets is not None else self._encoded(before, piece, after)
                for pts, is_key, payload in made:
                    if piece.packets is not None:
                        self._done.digests[count] = digest(payload, framing)
                    count += 1
                    yield span, pts + shift, is_key, payload

    def _encoded(self, before: Piece | None, piece: Piece, after: Piece | None) -> Iterator[tuple[int, bool, bytes]]:
        first = piece.first - (min(SEAM_FRAMES, before.frame_count) if before else 0)
        end = piece.end + (min(SEAM_FRAMES, after.frame_count) if after else 0)
        frames = self._seen(piece, first, end)
        for made in encode(self._encoder(), frames, self._source.framing or Framing("h264", 0)):
            yield made.pts, made.is_key, made.payload

    def _seen(self, piece: Piece, first: int, end: int) -> Iterator[av.VideoFrame]:
        """The frames of an edge; of those beyond it, which were decoded on the way, digests are kept for the check."""
        for number, frame in self._source.frames.between(first, end):
            if piece.first <= number < piece.end:
                yield frame
            else:
                self._done.planes[number] = plane_digest(frame)

    def _copied(self, piece: Piece) -> Iterator[tuple[int, bool, bytes]]:
        framing, index = self._source.framing, self._layout.index
        numbers = piece.packets.tolist() if piece.packets is not None else []
        is_hevc = framing is not None and framing.codec == "hevc"
        sets = framing.packet(self._source.sets) if framing and is_hevc and self._layout.encodes_any else b""
        for number, packet in self._source.packets.read(numbers):
            payload, is_key = bytes(packet), bool(index.flags[number] & KEY)
            if framing and is_hevc and number == numbers[0]:
                payload = as_bla(framing, payload)
            yield int(index.pts[number]), is_key, (sets if is_key else b"") + payload

    def _encoded_whole(self) -> Iterator[Timed]:
        layout = self._layout
        decode_ticks = iter(layout.decode_ticks(B_FRAMES).tolist())
        for plan, span, start in zip(layout.plans, layout.spans, layout.starts, strict=False):
            for i, frame in self._source.frames.between(plan[0].first, plan[-1].end):
                frame.pts = int(layout.index.frame_pts[i]) - span.start + start
                frame.time_base = layout.index.timebase
                frame.pict_type = PictureType.I if i == plan[0].first else PictureType.NONE
                yield from self._timed(self._track.encode(frame), decode_ticks)
        yield from self._timed(self._track.encode(None), decode_ticks)

    def _timed(self, packets: list[av.Packet[VideoStream]], decode_ticks: Iterator[int]) -> Iterator[Timed]:
        # Not the encoder's decode times: libx265 gives times that muxers refuse when there are few frames.
        for packet in packets:
            packet.rescale_ts(AVRational(self._layout.index.timebase))
            packet.dts = next(decode_ticks)
            yield float(packet.dts * self._layout.index.timebase), cast("av.Packet[Stream]", packet)
