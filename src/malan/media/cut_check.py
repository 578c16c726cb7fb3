"""Read a cut file back and say which spans did not come out as planned. Start at `wanting`.

Checked: every frame is there, at its time; every copied packet is there bit for bit; at both ends of every copied piece
the pictures, played across the seam, are those of the source. Not checked: the look of encoded edges, and sound.
"""

from __future__ import annotations

from pathlib import Path

import av
import numpy as np

from malan.media.cut_write import Source, Written, digest
from malan.media.decode import FrameDecoder
from malan.media.index import PacketIndex, build_index
from malan.media.nal import framing_of
from malan.media.open import open_container, video_stream
from malan.media.payload import open_packets
from malan.media.plan_cut import Layout, Piece

_SEAM_FRAMES = 4  # compared on the copied side of each seam


def wanting(part: Path, source: Source, layout: Layout, written: Written) -> dict[int, str]:
    """Spans, by their number, that are not as planned, each with the reason; empty when all is well."""
    index = build_index(part)
    reason = _wrong_times(index, layout)
    if reason:
        return dict.fromkeys(range(len(layout.plans)), reason)
    if layout.encodes_all:
        return {}
    return _wrong_packets(part, index, written, source.framing is not None) or _wrong_seams(part, index, source, layout)


def _wrong_times(index: PacketIndex, layout: Layout) -> str:
    ticks = layout.shown_ticks
    if index.frame_count != len(ticks):
        return f"{index.frame_count} frames instead of {len(ticks)}"
    seconds = (index.frame_pts - index.frame_pts[0]) * float(index.timebase)
    away = np.abs(seconds - ticks * float(layout.index.timebase)).max(initial=0)
    return f"frames are up to {away:.4f} s from their time" if away > max(float(index.timebase), 1e-6) else ""


def _wrong_packets(part: Path, index: PacketIndex, written: Written, is_framed: bool) -> dict[int, str]:
    bad = {}
    with open_container(part) as container:
        stream = video_stream(container, None, part)
        framing = framing_of(stream.codec_context.name, stream.codec_context.extradata or b"") if is_framed else None
        packets = open_packets(container, stream, part, index)
        for number, packet in packets.read(range(index.packet_count)):
            if number in written.digests and digest(bytes(packet), framing) != written.digests[number]:
                bad[written.span_of[number]] = "a copied packet changed"
        packets.close()
    return bad


def _wrong_seams(part: Path, index: PacketIndex, source: Source, layout: Layout) -> dict[int, str]:
    bad, first = {}, 0
    with FrameDecoder(part, index) as decoder:
        for span, plan in enumerate(layout.plans):
            for piece in plan:
                if piece.packets is not None and not _same(decoder, source, piece, first):
                    bad[span] = "pictures at a seam differ"
                first += piece.frame_count
    return bad


def _same(decoder: FrameDecoder, source: Source, piece: Piece, first: int) -> bool:
    """Whether a copied piece, which starts at frame `first` of the output, begins and ends with the same pixels.

    Each end is played across its seam, with the frame beyond it.
    """
    count, end = min(_SEAM_FRAMES, piece.frame_count), first + piece.frame_count
    begins = _planes(decoder, max(first - 1, 0), first + count)[-count:]
    ends = _planes(decoder, end - count, min(end + 1, decoder.index.frame_count))[:count]
    if len(begins) != count or len(ends) != count:  # damaged packets, copied faithfully
        return False
    return begins == _planes(source.frames, piece.first, piece.first + count) and ends == _planes(
        source.frames, piece.end - count, piece.end
    )


def _planes(decoder: FrameDecoder, first: int, end: int) -> list[bytes]:
    """A digest of the first plane of each frame."""
    return [_plane(frame) for _, frame in decoder.frames(first, end)]


def _plane(frame: av.VideoFrame) -> bytes:
    plane = frame.planes[0]
    rows = np.frombuffer(memoryview(plane), np.uint8).reshape(-1, plane.line_size)[: frame.height]
    used = frame.width * -(-frame.format.components[0].bits // 8)
    return digest(np.ascontiguousarray(rows[:, :used]).tobytes())
