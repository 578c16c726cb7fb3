"""Read a cut file back and say which spans did not come out as planned. Start at `wanting`.

Checked: every frame is there, at its time; every copied packet is there bit for bit; at both ends of every copied piece
the pictures, played across the seam, are those of the source. Not checked: the look of encoded edges, and sound.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

from malan.media.cut_write import SEAM_FRAMES, Source, Written, digest, open_source, plane_digest
from malan.media.index import PacketIndex, build_index
from malan.media.plan_cut import Layout, Piece


def wanting(part: Path, source: Source, layout: Layout, written: Written) -> dict[int, str]:
    """Spans, by their number, that are not as planned, each with the reason; empty when all is well."""
    index = build_index(part)
    reason = _wrong_times(index, layout)
    if reason:
        return dict.fromkeys(range(len(layout.plans)), reason)
    if layout.encodes_all:
        return {}
    with open_source(part, index) as reread:
        return _wrong_packets(reread, source, written) or _wrong_seams(reread, source, layout, written)


def _wrong_times(index: PacketIndex, layout: Layout) -> str:
    ticks = layout.shown_ticks
    if index.frame_count != len(ticks):
        return f"{index.frame_count} frames instead of {len(ticks)}"
    seconds = (index.frame_pts - index.frame_pts[0]) * float(index.timebase)
    away = np.abs(seconds - ticks * float(layout.index.timebase)).max(initial=0)
    return f"frames are up to {away:.4f} s from their time" if away > max(float(index.timebase), 1e-6) else ""


def _wrong_packets(reread: Source, source: Source, written: Written) -> dict[int, str]:
    bad = {}
    framing = reread.framing if source.has_start_codes else None
    for number, packet in reread.packets.read(range(reread.index.packet_count)):
        if number in written.digests and digest(bytes(packet), framing) != written.digests[number]:
            bad[written.span_of[number]] = "a copied packet changed"
    return bad


def _wrong_seams(reread: Source, source: Source, layout: Layout, written: Written) -> dict[int, str]:
    bad, first = {}, 0
    for span, plan in enumerate(layout.plans):
        for piece in plan:
            if piece.packets is not None and not _same(reread, source, piece, first, written.planes):
                bad[span] = "pictures at a seam differ"
            first += piece.frame_count
    return bad


def _same(reread: Source, source: Source, piece: Piece, first: int, known: dict[int, bytes]) -> bool:
    """Whether a copied piece, which starts at frame `first` of the output, begins and ends with the same pixels.

    Each end is played across its seam, with the frame beyond it. `known` holds pictures of the source seen before.
    """
    count, end = min(SEAM_FRAMES, piece.frame_count), first + piece.frame_count
    begins = _planes(reread, max(first - 1, 0), first + count)
    ends = _planes(reread, end - count, min(end + 1, reread.index.frame_count))
    shift = piece.first - first
    for seen, start in ((begins, first), (ends, end - count)):
        wanted = range(start + shift, start + shift + count)
        if not all(number in known for number in wanted):
            known |= _planes(source, wanted.start, wanted.stop)
        if any(n not in known or known[n] != seen.get(n - shift) for n in wanted):
            return False
    return True


def _planes(source: Source, first: int, end: int) -> dict[int, bytes]:
    """A digest of the first plane of each frame that decodes."""
    return {number: plane_digest(frame) for number, frame in source.frames.between(first, end)}
