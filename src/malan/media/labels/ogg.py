"""Labels in Ogg: the comment `AIGC` of the first stream (Vorbis, Opus, FLAC, Speex, Theora).

The pages of the comment header are cut anew; sound and picture stay in their pages. Only when the header needs more
pages than before are later pages of that stream numbered anew, their bodies copied (RFC 3533 §6; RFC 7845 §5.2).
Start at `find` and `plan`.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

from malan.media.labels import vorbis
from malan.media.labels.pieces import Copy, Damaged, Found, Impossible, Piece, Put, Source, TooMuch, tidy

_MOST_HEADER = 64 << 20
_MOST_STREAMS = 32
_MOST_HEAD_PAGES = 20_000
_CONTINUED, _FIRST = 1, 2
_NO_POSITION = b"\xff" * 8
_MIRROR = bytes(int(f"{byte:08b}"[::-1], 2) for byte in range(256))
# First bytes of the comment packet → what stands before the comments in it, by the first packet of the stream.
_CODECS = (
    (b"\x01vorbis", b"\x03vorbis"),
    (b"OpusHead", b"OpusTags"),
    (b"\x80theora", b"\x81theora"),
    (b"Speex   ", b""),
    (b"\x7fFLAC", b"fLaC"),
)


@dataclass(frozen=True, slots=True)
class Page:
    """Place of a page and its header; `lacing` are the lengths of its segments."""

    start: int
    head: bytes
    lacing: bytes

    @property
    def body(self) -> int:
        return self.start + 27 + len(self.lacing)

    @property
    def end(self) -> int:
        return self.body + sum(self.lacing)

    @property
    def serial(self) -> bytes:
        return self.head[14:18]


@dataclass
class Stream:
    """A logical stream as far as its comment header: pages from the second on, and the packets on them."""

    first_packet: bytes
    pages: list[Page] = field(default_factory=list)
    packets: list[bytes] = field(default_factory=list)
    open: bytes | None = None  # of a packet that goes on on the next page

    @property
    def marker(self) -> bytes | None:
        """What the comment packet begins with; None for a stream whose comments we do not know."""
        return next((marker for start, marker in _CODECS if self.first_packet.startswith(start)), None)

    @property
    def is_whole(self) -> bool:
        return bool(self.packets) and self.open is None

    def comments(self) -> tuple[bytes, vorbis.Comments]:
        """What stands before the comments in their packet, and the comments."""
        packet, marker = self.packets[0], self.marker or b""
        if marker == b"fLaC":
            if packet[:1] not in (b"\x04", b"\x84"):
                raise Damaged("Ogg/comments")
            return packet[:4], vorbis.read_comments(packet[4:])
        if not packet.startswith(marker):
            raise Damaged("Ogg/comments")
        return marker, vorbis.read_comments(packet[len(marker) :])


def find(source: Source) -> Iterator[Found]:
    """The labels in the comment headers of all streams that begin the file."""
    for stream in _streams(source).values():
        if stream.marker is not None:
            yield from (Found(text, "Ogg/comments") for text in vorbis.values(stream.comments()[1]))


def plan(source: Source, text: str) -> list[Piece]:
    """The file with this one label."""
    streams = {serial: stream for serial, stream in _streams(source).items() if stream.marker is not None}
    if not streams:
        raise Impossible("label.no_place")
    pages: dict[int, tuple[Sequence[Page], list[bytes]]] = {}
    shifts: dict[bytes, int] = {}
    for number, (serial, stream) in enumerate(streams.items()):
        before, comments = stream.comments()
        if number == 0:
            comments = vorbis.with_label(comments, text)
        elif any(True for _ in vorbis.values(comments)):
            comments = vorbis.without_labels(comments)
        else:
            continue
        packet = comments.to_bytes()
        if stream.marker == b"fLaC":
            before = before[:1] + len(packet).to_bytes(3, "big")
        new = _cut_pages(stream, [before + packet, *stream.packets[1:]])
        pages[stream.pages[0].start] = (stream.pages, new)
        if len(new) != len(stream.pages):
            shifts[serial] = len(new) - len(stream.pages)
    return tidy(_pieces(source, pages, shifts))


def page_sum(page: bytes) -> bytes:
    """The check sum of a page whose own field is zero (RFC 3533 §6): zlib's polynomial, bits the other way round."""
    mirrored = zlib.crc32(page.translate(_MIRROR), 0xFFFFFFFF) ^ 0xFFFFFFFF
    return int(f"{mirrored:032b}"[::-1], 2).to_bytes(4, "little")


def _pieces(
    source: Source, pages: dict[int, tuple[Sequence[Page], list[bytes]]], shifts: dict[bytes, int]
) -> Iterator[Piece]:
    at, replaced = 0, {page.start for old, _ in pages.values() for page in old}
    last = max(replaced)
    for page in _pages(source):
        if page.start > last and not shifts:
            break
        if page.start in replaced:
            yield Copy(at, page.start)
            yield from (Put(new) for new in pages.get(page.start, ((), []))[1])
            at = page.end
        elif page.serial in shifts and page.start > _last_start(pages, page.serial):
            yield Copy(at, page.start)
            yield Put(_renumbered(source, page, shifts[page.serial]))
            at = page.body
            if page.head[5] & 4:
                del shifts[page.serial]
    yield Copy(at, source.size)


def _last_start(pages: dict[int, tuple[Sequence[Page], list[bytes]]], serial: bytes) -> int:
    return next(old[-1].start for old, _ in pages.values() if old[0].serial == serial)


def _renumbered(source: Source, page: Page, shift: int) -> bytes:
    number = int.from_bytes(page.head[18:22], "little") + shift
    return _signed(
        page.head[:18] + number.to_bytes(4, "little"), page.lacing, source.read(page.body, page.end - page.body)
    )


def _signed(head: bytes, lacing: bytes, body: bytes) -> bytes:
    """The header of a page with its check sum."""
    tail = bytes([len(lacing)]) + lacing
    return head + page_sum(head + b"\0\0\0\0" + tail + body) + tail


def _cut_pages(stream: Stream, packets: Sequence[bytes]) -> list[bytes]:
    """The packets laid on pages: as many pages as before if that is possible."""
    lacing = b"".join(b"\xff" * (len(packet) // 255) + bytes([len(packet) % 255]) for packet in packets)
    needed = -(-len(lacing) // 255)
    count = len(stream.pages) if needed <= len(stream.pages) <= len(lacing) else needed
    share = -(-len(lacing) // count)
    body, first, last = b"".join(packets), stream.pages[0], stream.pages[-1]
    number, found, continued = int.from_bytes(first.head[18:22], "little"), [], 0
    for place in range(count):
        part = lacing[place * share : (place + 1) * share] if place < count - 1 else lacing[place * share :]
        position = last.head[6:14] if any(length < 255 for length in part) else _NO_POSITION
        head = b"OggS\0" + bytes([continued]) + position + first.serial + (number + place).to_bytes(4, "little")
        size = sum(part)
        found.append(_signed(head, part, body[:size]) + body[:size])
        body, continued = body[size:], _CONTINUED if part and part[-1] == 255 else 0
    return found


def _streams(source: Source) -> dict[bytes, Stream]:
    """The streams that begin the file, each as far as its comment header is whole."""
    streams: dict[bytes, Stream] = {}
    size = 0
    for number, page in enumerate(_pages(source)):
        if page.head[5] & _FIRST:
            if len(streams) >= _MOST_STREAMS or page.serial in streams:
                break
            streams[page.serial] = Stream(source.read(page.body, min(64, page.end - page.body)))
            continue
        stream = streams.get(page.serial)
        if stream is not None and not stream.is_whole and stream.marker is not None:
            size += page.end - page.start
            if size > _MOST_HEADER or number > _MOST_HEAD_PAGES:
                raise TooMuch("Ogg/comments")
            _take(stream, page, source.read(page.body, page.end - page.body))
        if all(stream.is_whole or stream.marker is None for stream in streams.values()):
            break
    if any(not stream.is_whole and stream.marker is not None for stream in streams.values()) or not streams:
        raise Damaged("Ogg/comments")
    return streams


def _take(stream: Stream, page: Page, body: bytes) -> None:
    stream.pages.append(page)
    packet, at = stream.open or b"", 0
    parts = [packet] if packet else []
    for length in page.lacing:
        parts.append(body[at : at + length])
        at += length
        if length < 255:
            stream.packets.append(b"".join(parts))
            parts = []
    stream.open = b"".join(parts) if page.lacing[-1:] == b"\xff" else None


def _pages(source: Source) -> Iterator[Page]:
    at = 0
    while at < source.size:
        head = source.head(at, 27)
        if len(head) < 27 or head[:5] != b"OggS\0":
            raise Damaged("Ogg")
        page = Page(at, head[:22], source.read(at + 27, head[26], "Ogg"))
        if page.end > source.size:
            raise Damaged("Ogg")
        yield page
        at = page.end
