"""Labels in JPEG: the XMP packet in an APP1 segment (TC260-PG-20259A), merged with what is there.

The EXIF user comment is read too, and blanked when a label is written. An extended packet stays as it is. Compressed
pictures are copied. Start at `find` and `plan` (ITU-T T.81, annex B; XMP part 3, §1.1.3).
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

from malan.media.labels import exif, xmp
from malan.media.labels.pieces import Copy, Damaged, Found, Impossible, Piece, Put, Source, TooMuch, tidy

_XMP = b"http://ns.adobe.com/xap/1.0/\0"
_MORE = b"http://ns.adobe.com/xmp/extension/\0"
_EXIF = b"Exif\0\0"
_MOST_PACKET = 65_533 - len(_XMP)
_MOST_EXTENDED = 16 << 20
_PADDING = re.compile(rb"\s+(<\?xpacket end=)")


@dataclass(frozen=True, slots=True)
class Segment:
    """A marker and its place: first byte of the marker, end of the segment."""

    marker: int
    start: int
    end: int
    content: bytes  # of APP1 only


def segments(source: Source) -> Iterator[Segment]:
    """Segments before the first scan.

    Raises:
        Damaged: The file ends before, or holds something else between.
    """
    at = 2
    while True:
        head = source.read(at, 4, "JPEG")
        if head[0] != 0xFF:
            raise Damaged("JPEG")
        marker = head[1]
        if marker == 0xFF:
            at += 1  # fill bytes
            continue
        if marker in (0xDA, 0xD9):
            return
        end = at + 2 + int.from_bytes(head[2:4], "big")
        if end > source.size or end < at + 4:
            raise Damaged("JPEG")
        yield Segment(marker, at, end, source.read(at + 4, end - at - 4) if marker == 0xE1 else b"")
        at = end


def find(source: Source) -> Iterator[Found]:
    """Labels in XMP, in extended XMP and in the EXIF user comment."""
    extended: dict[bytes, dict[int, bytes]] = {}
    for segment in segments(source):
        content = segment.content
        if content.startswith(_XMP):
            yield from (Found(text, "APP1/XMP") for text in xmp.labels_in(content[len(_XMP) :]))
        elif content.startswith(_EXIF):
            yield from (Found(text, "APP1/EXIF/UserComment") for text in exif.labels_in(content))
        elif content.startswith(_MORE):
            rest = content[len(_MORE) :]
            extended.setdefault(rest[:32], {})[int.from_bytes(rest[36:40], "big")] = rest[40:]
            if sum(len(part) for parts in extended.values() for part in parts.values()) > _MOST_EXTENDED:
                raise TooMuch("APP1/XMP+")
    for parts in extended.values():
        packet = b"".join(part for _, part in sorted(parts.items()))
        if b"AIGC" in packet:
            yield from (Found(text, "APP1/XMP+", False) for text in xmp.labels_in(packet))


def plan(source: Source, text: str) -> list[Piece]:
    """The picture with one label, in its XMP packet.

    Raises:
        Impossible: The packet has no room for it, or an extended packet holds a label already.
    """
    if any(found.place == "APP1/XMP+" for found in find(source)):
        raise Impossible("label.extended_xmp")
    pieces: list[Piece] = [Copy(0, 2)]
    packet, place, at = None, 1, 2
    for segment in segments(source):
        at = segment.end
        if segment.content.startswith(_XMP):
            packet = packet or segment.content[len(_XMP) :]
            continue
        if segment.content.startswith(_EXIF):
            pieces.append(Put(_pack(exif.without_labels(segment.content))))
        else:
            pieces.append(Copy(segment.start, segment.end))
        if segment.marker == 0xE0 or segment.content.startswith(_EXIF):
            place = len(pieces)
    new = xmp.with_label(packet, text)
    if len(new) > _MOST_PACKET:
        new = _PADDING.sub(rb"\1", new)
    if len(new) > _MOST_PACKET:
        raise Impossible("label.no_room")
    pieces.insert(place, Put(_pack(_XMP + new)))
    return tidy([*pieces, Copy(at, source.size)])


def _pack(content: bytes) -> bytes:
    return b"\xff\xe1" + (len(content) + 2).to_bytes(2, "big") + content
