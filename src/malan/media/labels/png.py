"""Labels in PNG: the XMP packet in an `iTXt` chunk (TC260-PG-20259A); chunks `AIGC` and tails are read and replaced.

Pixels are never touched; what is compressed is copied as it is. Start at `find` and `plan` (PNG 3rd ed., §5, 11.3).
"""

from __future__ import annotations

import zlib
from collections.abc import Iterator
from dataclasses import dataclass

from malan.media.labels import exif, xmp
from malan.media.labels.pieces import Copy, Damaged, Found, Piece, Put, Source, TooMuch, tidy

SIGNATURE = b"\x89PNG\r\n\x1a\n"
_XMP = b"XML:com.adobe.xmp"
_MOST_TEXT = 16 << 20
_MOST_TAIL = 1 << 17
_TEXTS = (b"tEXt", b"zTXt", b"iTXt")


@dataclass(frozen=True, slots=True)
class Chunk:
    """Kind and place of a chunk: first byte of its length, end behind its check sum."""

    kind: bytes
    start: int
    end: int

    @property
    def size(self) -> int:
        return self.end - self.start - 12


def chunks(source: Source) -> Iterator[Chunk]:
    """All chunks up to and with IEND.

    Raises:
        Damaged: The file ends before IEND.
    """
    at, kind = len(SIGNATURE), b""
    while kind != b"IEND":
        head = source.read(at, 8, "PNG")
        kind, end = head[4:], at + 12 + int.from_bytes(head[:4], "big")
        if end > source.size:
            raise Damaged("PNG/" + kind.decode("ascii", "replace"))
        yield Chunk(kind, at, end)
        at = end


def find(source: Source) -> Iterator[Found]:
    """Labels in XMP, in text chunks named so, in the EXIF user comment, and behind the end of the picture."""
    end = 0
    for chunk in chunks(source):
        end = chunk.end
        if chunk.kind in _TEXTS:
            yield from _in_text(*_text(source, chunk))
        elif chunk.kind == b"eXIf" and chunk.size <= _MOST_TEXT:
            block = source.read(chunk.start + 8, chunk.size)
            yield from (Found(text, "PNG/eXIf/UserComment") for text in exif.labels_in(block))
    tail = _tail(source, end)
    if tail is not None:
        yield Found(tail, "PNG/IEND+", False)


def plan(source: Source, text: str) -> list[Piece]:
    """The picture with one label, in its XMP packet; a packet that is there keeps all else."""
    pieces: list[Piece] = [Copy(0, len(SIGNATURE))]
    packet, place, end = None, 0, 0
    for chunk in chunks(source):
        end = chunk.end
        if chunk.kind in _TEXTS:
            keyword, content = _text(source, chunk)
            if keyword == _XMP and packet is None:
                packet, place = content, len(pieces)
                continue
            if keyword == _XMP or b"AIGC" in keyword.upper():
                continue
        if chunk.kind == b"eXIf" and chunk.size <= _MOST_TEXT:
            pieces.append(Put(_pack(b"eXIf", exif.without_labels(source.read(chunk.start + 8, chunk.size)))))
        else:
            pieces.append(Copy(chunk.start, chunk.end))
        place = place or (len(pieces) if chunk.kind == b"IHDR" else 0)
    pieces.insert(place, Put(_pack(b"iTXt", _XMP + b"\0\0\0\0\0" + xmp.with_label(packet, text))))
    return tidy([*pieces, Copy(source.size if _tail(source, end) is not None else end, source.size)])


def _in_text(keyword: bytes, content: bytes) -> Iterator[Found]:
    if keyword == _XMP:
        yield from (Found(text, "PNG/iTXt/XMP") for text in xmp.labels_in(content))
    elif b"AIGC" in keyword.upper():
        yield Found(content.decode("utf-8", "replace"), "PNG/tEXt/AIGC")


def _text(source: Source, chunk: Chunk) -> tuple[bytes, bytes]:
    """Keyword and text of a text chunk, unpacked if it can be a label."""
    place = f"PNG/{chunk.kind.decode()}"
    if chunk.size > _MOST_TEXT:
        raise TooMuch(place)
    keyword, _, rest = source.read(chunk.start + 8, chunk.size).partition(b"\0")
    if keyword != _XMP and b"AIGC" not in keyword.upper():
        return keyword, b""
    if chunk.kind == b"zTXt":
        return keyword, _unpacked(source, rest[1:], place)
    if chunk.kind == b"iTXt":
        is_packed, rest = rest[:1] == b"\1", rest[2:].partition(b"\0")[2].partition(b"\0")[2]
        rest = _unpacked(source, rest, place) if is_packed else rest
    return keyword, rest


def _unpacked(source: Source, data: bytes, place: str) -> bytes:
    reader = zlib.decompressobj()
    try:
        content = reader.decompress(data, _MOST_TEXT)
    except zlib.error as error:
        raise Damaged(place) from error
    source.spend(len(content), place)
    if reader.unconsumed_tail:
        raise TooMuch(place)
    return content


def _tail(source: Source, end: int) -> str | None:
    """A label that somebody hung behind the picture."""
    if not 0 < source.size - end <= _MOST_TAIL:
        return None
    text = source.read(end, source.size - end).decode("utf-8", "replace").strip("\0 \r\n")
    return text if "AIGC" in text[:40] or '"ContentProducer"' in text else None


def _pack(kind: bytes, content: bytes) -> bytes:
    return len(content).to_bytes(4, "big") + kind + content + zlib.crc32(kind + content).to_bytes(4, "big")
