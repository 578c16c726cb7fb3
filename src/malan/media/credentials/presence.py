"""Whether a file carries a C2PA manifest store, told from a few headers. Start at `has_credential`.

Each container has one place for it (C2PA 2.x, Appendix A): a `uuid` box, JPEG APP11, PNG `caBX`, a RIFF chunk, an ID3
frame. Headers are walked; no payload is read. Bounded whatever the bytes are.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

from malan.media.open import open_plain
from malan.media.sniff import boxes

SIDECAR = ".c2pa"
_BOX = bytes.fromhex("d8fec3d61b0e483c92975828877ec481")
_ID3_TYPES = (b"application/x-c2pa-manifest-store\0", b"application/c2pa\0")
_MOST_PARTS = 4000


def has_credential(path: str | Path) -> bool:
    """Whether there is something to read for `read_credential`, in the file or in a side-car beside it.

    Costs one read of a few bytes for each box, chunk or segment of the file. A mere link to a manifest elsewhere does
    not count.

    Raises:
        MediaError: The file cannot be opened.
    """
    return embedded_bytes(path) > 0 or sidecar_of(path) is not None


def sidecar_of(path: str | Path) -> Path | None:
    """The `.c2pa` file beside a file, if there is one."""
    beside = Path(path).with_suffix(SIDECAR)
    return beside if beside != Path(path) and beside.is_file() else None


def embedded_bytes(path: str | Path) -> int:
    """How large the embedded manifest store says it is; 0 when there is none."""
    fd = open_plain(path)
    try:
        return sum(_found(fd, os.fstat(fd).st_size))
    finally:
        os.close(fd)


def _found(fd: int, size: int) -> Iterator[int]:
    head = os.pread(fd, 12, 0)
    if head[:3] == b"\xff\xd8\xff":
        return _in_jpeg(fd)
    if head[:8] == b"\x89PNG\r\n\x1a\n":
        return _in_png(fd, size)
    if head[:4] in (b"RIFF", b"RF64"):
        return _in_riff(fd, size)
    if head[:3] == b"ID3":
        return _in_id3(fd)
    return _in_boxes(fd, size)


def _in_boxes(fd: int, size: int) -> Iterator[int]:
    for name, start, end in boxes(fd, 0, size):
        if name == b"uuid" and os.pread(fd, 16, start) == _BOX:
            yield end - start


def _in_jpeg(fd: int) -> Iterator[int]:
    """Segments in front of the picture (ITU-T T.81, B.1.1.4); JUMBF lies in APP11 (ISO/IEC 19566-5, D.2)."""
    at = 2
    for _ in range(_MOST_PARTS):
        head = os.pread(fd, 64, at)
        if len(head) < 4 or head[0] != 0xFF or head[1] == 0xDA:
            return
        length = int.from_bytes(head[2:4], "big")
        if head[1] == 0xEB and head[4:6] == b"JP" and (b"c2pa" in head or head[8:12] != b"\0\0\0\1"):
            yield length
        at += 2 + max(length, 2)


def _in_png(fd: int, size: int) -> Iterator[int]:
    at = 8
    for _ in range(_MOST_PARTS):
        head = os.pread(fd, 8, at)
        if len(head) < 8 or head[4:8] == b"IEND" or at > size:
            return
        length = int.from_bytes(head[:4], "big")
        if head[4:8] == b"caBX":
            yield length
        at += 12 + length


def _in_riff(fd: int, size: int) -> Iterator[int]:
    at = 12
    for _ in range(_MOST_PARTS):
        head = os.pread(fd, 8, at)
        if len(head) < 8 or at > size:
            return
        length = int.from_bytes(head[4:8], "little")
        if head[:4] == b"C2PA":
            yield length
        at += 12 if head[:4] == b"RIFF" else 8 + length + length % 2


def _in_id3(fd: int) -> Iterator[int]:
    """Frames of an ID3v2 tag: general encapsulated objects of the manifest's type."""
    head = os.pread(fd, 10, 0)
    end, at = 10 + _syncsafe(head[6:10]), 10
    if head[5] & 0x40:  # an extended header, whose size counts itself in 2.4 alone
        extra = os.pread(fd, 4, at)
        at += _syncsafe(extra) if head[3] == 4 else 4 + int.from_bytes(extra, "big")
    for _ in range(_MOST_PARTS):
        frame = os.pread(fd, 64, at)
        if at + 10 > end or len(frame) < 10 or not frame[0]:
            return
        length = _syncsafe(frame[4:8]) if head[3] == 4 else int.from_bytes(frame[4:8], "big")
        if frame[:4] == b"GEOB" and any(kind in frame for kind in _ID3_TYPES):
            yield length
        at += 10 + length


def _syncsafe(data: bytes) -> int:
    value = 0
    for byte in data:
        value = value << 7 | byte & 0x7F
    return value
