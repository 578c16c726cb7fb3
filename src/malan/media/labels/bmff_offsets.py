"""What in an mp4 points at bytes by their place in the file, and has to be told when they move.

Chunk offsets (`stco`, `co64`: 32 bits become 64 where they no longer suffice), auxiliary information (`saio`), base
offsets of fragments (`tfhd`), the indexes `sidx` and `mfra` (ISO/IEC 14496-12, §8.7.5, 8.7.9, 8.8.7, 8.16.3, 8.8.10).
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from malan.media.labels.bmff_boxes import Child, boxes, join, split
from malan.media.labels.pieces import Damaged, Impossible, Source

Top = tuple[bytes, int, int]  # kind, first byte of the content, end
_NESTS = (b"trak", b"mdia", b"minf", b"stbl")


def points_inwards(source: Source, top: Sequence[Top], children: Sequence[Child]) -> bool:
    """Whether something we cannot correct names places in the file: items of a `meta`."""
    for kind, start, end in top:
        if kind == b"meta" and any(box.kind == b"iloc" for box in boxes(source, start + 4, end, "meta")):
            return True
    return any(kind == b"meta" and b"iloc" in content for kind, content in children)


def moved_moov(children: Sequence[Child], border: int, delta: int) -> list[Child]:
    """The boxes of a `moov` with all offsets from `border` on moved by `delta`."""
    moved: list[Child] = []
    for kind, content in children:
        if kind in _NESTS:
            parts = split(content, kind.decode())
            if kind == b"minf" and not _is_own(parts):
                moved.append((kind, content))
            else:
                moved.append((kind, join(moved_moov(parts, border, delta))))
        elif kind in (b"stco", b"co64"):
            moved.append(_moved_chunks(kind, content, border, delta))
        elif kind == b"saio":
            moved.append((kind, _moved_saio(content, border, delta)))
        else:
            moved.append((kind, content))
    return moved


def moved_files(source: Source, top: Sequence[Top], moov_start: int, border: int, delta: int) -> dict[int, bytes]:
    """Bytes to write at places of the source outside the `moov`: offsets of fragments and indexes."""
    edits: dict[int, bytes] = {}
    for kind, start, end in top:
        if kind == b"moof":
            edits |= _moved_fragment(source, start, end, border, delta)
        elif kind == b"mfra":
            edits |= _moved_index(source, start, end, border, delta)
        elif kind == b"sidx" and start < moov_start:
            edits |= _moved_sidx(source, start, end, border, delta)
    return edits


def _is_own(minf: Sequence[Child]) -> bool:
    """Whether the samples of a track lie in this file.

    Raises:
        Impossible: Some do and some do not.
    """
    dinf = next((split(content, "dinf") for kind, content in minf if kind == b"dinf"), [])
    dref = next((content for kind, content in dinf if kind == b"dref"), None)
    if dref is None:
        return True
    flags = {body[3] & 1 if len(body) > 3 else 1 for _, body in split(dref[8:], "dref")} or {1}
    if len(flags) > 1:
        raise Impossible("label.cannot_move")
    return flags == {1}


def _moved_chunks(kind: bytes, content: bytes, border: int, delta: int) -> Child:
    count, width = int.from_bytes(content[4:8], "big"), 4 if kind == b"stco" else 8
    if 8 + count * width > len(content):
        raise Damaged("stbl/" + kind.decode())
    offsets = np.frombuffer(content, f">u{width}", count, 8).astype(np.int64)
    offsets = np.where(offsets >= border, offsets + delta, offsets)
    if width == 4 and count and int(offsets.max()) > 0xFFFFFFFF:
        return b"co64", content[:8] + offsets.astype(">u8").tobytes()
    return kind, content[:8] + offsets.astype(f">u{width}").tobytes() + content[8 + count * width :]


def _moved_saio(content: bytes, border: int, delta: int) -> bytes:
    at = 4 + (8 if content[3:4] == b"\1" else 0)
    count, width = int.from_bytes(content[at : at + 4], "big"), 8 if content[:1] == b"\1" else 4
    if at + 4 + count * width > len(content):
        raise Damaged("stbl/saio")
    offsets = np.frombuffer(content, f">u{width}", count, at + 4).astype(np.int64)
    offsets = np.where(offsets >= border, offsets + delta, offsets)
    if count and width == 4 and int(offsets.max()) > 0xFFFFFFFF:
        raise Impossible("label.cannot_move")
    return content[: at + 4] + offsets.astype(f">u{width}").tobytes() + content[at + 4 + count * width :]


def _moved_fragment(source: Source, start: int, end: int, border: int, delta: int) -> dict[int, bytes]:
    edits = {}
    for traf in boxes(source, start, end, "moof"):
        if traf.kind != b"traf":
            continue
        for box in boxes(source, traf.content, traf.end, "moof/traf"):
            if box.kind == b"tfhd" and source.read(box.content, 8, "tfhd")[3] & 1:
                offset = int.from_bytes(source.read(box.content + 8, 8, "tfhd"), "big")
                edits[box.content + 8] = (offset + delta if offset >= border else offset).to_bytes(8, "big")
    return edits


def _moved_index(source: Source, start: int, end: int, border: int, delta: int) -> dict[int, bytes]:
    edits = {}
    for box in boxes(source, start, end, "mfra"):
        if box.kind != b"tfra":
            continue
        head = source.read(box.content, 16, "mfra/tfra")
        width, lengths = 8 if head[0] == 1 else 4, head[11]
        step = 2 * width + 3 + (lengths & 3) + (lengths >> 2 & 3) + (lengths >> 4 & 3)
        table = bytearray(source.read(box.content + 16, step * int.from_bytes(head[12:16], "big"), "mfra/tfra"))
        for at in range(width, len(table), step):
            offset = int.from_bytes(table[at : at + width], "big")
            offset += delta if offset >= border else 0
            if offset >= 1 << (8 * width):
                raise Impossible("label.cannot_move")
            table[at : at + width] = offset.to_bytes(width, "big")
        edits[box.content + 16] = bytes(table)
    return edits


def _moved_sidx(source: Source, start: int, end: int, border: int, delta: int) -> dict[int, bytes]:
    """An index in front of the `moov` counts from its own end: what moves is further away."""
    head = source.read(start, min(40, end - start), "sidx")
    width = 8 if head[0] else 4
    at = 12 + width
    offset = int.from_bytes(head[at : at + width], "big")
    if end + offset < border:
        return {}
    return {start + at: (offset + delta).to_bytes(width, "big")}
