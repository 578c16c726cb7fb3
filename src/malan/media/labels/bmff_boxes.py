"""Boxes of ISO/IEC 14496-12 and QuickTime: found in a file without reading their content, taken apart and put together.

Damage ends the reading of the level it is on. Start at `boxes` for files and at `split` for what is in memory.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from malan.media.labels.pieces import Damaged, Source


@dataclass(frozen=True, slots=True)
class Box:
    """Kind and place of a box: first byte, first byte of its content, end."""

    kind: bytes
    start: int
    content: int
    end: int


Child = tuple[bytes, bytes]  # kind and content of a box in memory


def boxes(source: Source, start: int, end: int, place: str = "file") -> Iterator[Box]:
    """The boxes between two places. A last one of size 0 ends with its parent; less than a header is no box."""
    while end - start >= 8:
        head = source.read(start, min(16, end - start), place)
        size, content = int.from_bytes(head[:4], "big"), start + 8
        if size == 1 and len(head) == 16:
            size, content = int.from_bytes(head[8:16], "big"), start + 16
        stop = end if size == 0 else start + size
        if stop < content or stop > end:
            raise Damaged(f"{place}/{name_of(head[4:8])}")
        yield Box(head[4:8], start, content, stop)
        start = stop


def split(data: bytes, place: str) -> list[Child]:
    """The boxes in some bytes. Up to seven bytes at the end that are all zero (QuickTime ends lists so) come as b""."""
    found, at = [], 0
    while len(data) - at >= 8:
        size, content = int.from_bytes(data[at : at + 4], "big"), at + 8
        if size == 1:
            size, content = int.from_bytes(data[at + 8 : at + 16], "big"), at + 16
        end = len(data) if size == 0 else at + size
        if end < content or end > len(data):
            raise Damaged(f"{place}/{name_of(data[at + 4 : at + 8])}")
        found.append((data[at + 4 : at + 8], data[content:end]))
        at = end
    if data[at:].strip(b"\0"):
        raise Damaged(place)
    return [*found, (b"", data[at:])] if at < len(data) else found


def pack(kind: bytes, content: bytes) -> bytes:
    """A box as bytes."""
    return (len(content) + 8).to_bytes(4, "big") + kind + content


def join(children: list[Child]) -> bytes:
    """Boxes one after another."""
    return b"".join(pack(kind, content) if kind else content for kind, content in children)


def name_of(kind: bytes) -> str:
    """A kind as people read it."""
    return "".join(chr(c) if 32 < c < 127 else f"\\x{c:02x}" for c in kind)
