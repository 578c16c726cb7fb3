"""Look at the bytes of a file without libav: why it could not be opened, and whether its end is missing.

Knows just enough of each container to name the trouble; it never decodes and reads a few kilobytes at most.
Start at `why_not_opened`.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from pathlib import Path

from malan.core.errors import MediaError

_MOV_BOXES = {b"ftyp", b"moov", b"mdat", b"free", b"skip", b"wide", b"styp", b"moof", b"pnot", b"meta"}
_PLAYLISTS = (b"#EXTM3U", b"ffconcat", b"<MPD", b"[playlist]", b"v=0\r\n", b"v=0\no=")
_KNOWN_STARTS = (b"\x1aE\xdf\xa3", b"RIFF", b"RF64", b"OggS", b"fLaC", b"ID3", b"\xff\xd8\xff", b"\x89PNG", b"FORM")
_HEAD = 4096


def why_not_opened(fd: int, path: str | Path) -> MediaError:
    """The error that tells a person why libav could not open a file.

    `media.playlist` names other files; `media.truncated` has lost the part that describes it; `media.damaged` is a
    known kind of file with a broken header; all else is `media.not_media`, unless reading itself failed.
    """
    name = shown(path)
    try:
        head = os.pread(fd, _HEAD, 0)
    except OSError as error:
        return MediaError("media.unreadable", path=name, detail=error.strerror or str(error))
    if head.lstrip(b"\xef\xbb\xbf \t\r\n").startswith(_PLAYLISTS) or b"<MPD" in head:
        return MediaError("media.playlist", path=name)
    if head[4:8] in _MOV_BOXES:
        names = [box for box, _, _ in boxes(fd, 0, os.fstat(fd).st_size)]
        whole = b"moov" in names or b"meta" in names
        return MediaError("media.damaged" if whole else "media.truncated", path=name)
    return MediaError("media.damaged" if head.startswith(_KNOWN_STARTS) else "media.not_media", path=name)


def shown(path: str | Path) -> str:
    """A name for a message: one line, whatever bytes it is made of."""
    text = os.fsencode(path).decode("utf-8", "backslashreplace")
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)


def lacks_its_end(fd: int) -> bool:
    """Whether the file says it is longer than it is: a copy that stopped early."""
    size, head = os.fstat(fd).st_size, os.pread(fd, 64, 0)
    if head[4:8] in _MOV_BOXES:
        return any(end > size for _, _, end in boxes(fd, 0, size))
    if head[:4] == b"RIFF":
        return 8 + int.from_bytes(head[4:8], "little") > size + 1 and head[4:8] != b"\xff\xff\xff\xff"
    if head[:4] == b"\x1aE\xdf\xa3":
        return _matroska_end(head) > size
    if head[:3] == b"\xff\xd8\xff":
        return b"\xff\xd9" not in os.pread(fd, 1 << 16, max(0, size - (1 << 16)))
    return False


def boxes(fd: int, start: int, end: int) -> Iterator[tuple[bytes, int, int]]:
    """Name, first byte of the content and end of each box between two places (ISO/IEC 14496-12, §4.2).

    A box may claim to end behind `end`; it is then the last. Stops at what is no box, and after a thousand.
    """
    for _ in range(1000):
        head = os.pread(fd, 16, start)
        if start + 8 > end or len(head) < 8:
            return
        size, content = int.from_bytes(head[:4], "big"), start + 8
        if size == 1 and len(head) == 16:
            size, content = int.from_bytes(head[8:16], "big"), start + 16
        stop = end if size == 0 else start + size
        if stop < content:
            return
        yield head[4:8], content, stop
        start = stop


def still_picture(fd: int) -> tuple[int, int, int] | None:
    """Width, height and clockwise rotation of a HEIC or AVIF picture as its properties say (ISO/IEC 23008-12, §6.5).

    Phones store it as a grid of tiles, which libav shows as so many tracks; the largest `ispe` is the whole.
    """
    properties = list(_properties(fd))
    sizes = [(int.from_bytes(p[4:8], "big"), int.from_bytes(p[8:12], "big")) for n, p in properties if n == b"ispe"]
    if not sizes:
        return None
    turns = next((p[0] & 3 for n, p in properties if n == b"irot" and p), 0)
    width, height = max(sizes, key=lambda size: size[0] * size[1])
    return width, height, (-90 * turns) % 360


def sample_codes(fd: int) -> list[str]:
    """Four-letter codes of the tracks of an mp4 or mov file, in their order."""
    end = os.fstat(fd).st_size
    moov = next(((a, b) for name, a, b in boxes(fd, 0, end) if name == b"moov"), None)
    if moov is None:
        return []
    content = os.pread(fd, min(moov[1] - moov[0], 1 << 24), moov[0])
    places = [found.start() for found in re.finditer(b"stsd", content)]
    return [content[i + 16 : i + 20].decode("ascii", "replace") for i in places]


def _properties(fd: int) -> Iterator[tuple[bytes, bytes]]:
    """The item properties of meta/iprp/ipco, each at most 64 bytes of it."""
    start, end = 0, os.fstat(fd).st_size
    for wanted in (b"meta", b"iprp", b"ipco"):
        found = next(((a, b) for name, a, b in boxes(fd, start, end) if name == wanted), None)
        if found is None:
            return
        start, end = found[0] + 4 * (wanted == b"meta"), min(end, found[1])
    for name, first, stop in boxes(fd, start, end):
        yield name, os.pread(fd, min(64, stop - first), first)


def _matroska_end(head: bytes) -> int:
    """Where the segment says it ends, 0 where it does not (RFC 8794 §6.2, RFC 9559 §5)."""
    header, at = _ebml_size(head, 4)
    at += header
    if head[at : at + 4] != b"\x18S\x80g":
        return 0
    size, start = _ebml_size(head, at + 4)
    return start + size if size else 0


def _ebml_size(data: bytes, at: int) -> tuple[int, int]:
    """A size and where its content starts; 0 for an unknown size."""
    first = data[at] if at < len(data) else 0
    length = 9 - first.bit_length()
    value = int.from_bytes(data[at : at + length], "big") & ((1 << (7 * length)) - 1)
    return (0 if value == (1 << (7 * length)) - 1 else value), at + length
