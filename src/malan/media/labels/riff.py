"""Labels in RIFF files: a chunk `AIGC` in wav (TC260-PG-202510A), a value `AIGC` of `LIST INFO` in avi, XMP in webp.

Chunks that hold media never move where the format points at them (avi); a label that has to go leaves a `JUNK` of its
size. RF64 and BW64 keep their sizes in `ds64` (EBU Tech 3306). Start at `find_wav`, `plan_wav` and their likes.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from malan.media.labels import exif, xmp
from malan.media.labels.pieces import Copy, Damaged, Found, Impossible, Piece, Put, Source, TooMuch, tidy

_MOST_TEXT = 1 << 17
_MOST_XMP = _MOST_ROOM = 16 << 20
_UNKNOWN = 0xFFFFFFFF
_JUNK = (b"JUNK", b"junk", b"PAD ", b"FLLR")


@dataclass(frozen=True, slots=True)
class Chunk:
    """Name and place of a chunk: first byte, first byte of its content, end of the content. `form` of a list."""

    name: bytes
    start: int
    content: int
    end: int
    form: bytes = b""

    @property
    def next(self) -> int:
        """Where the next one starts: contents are padded to even lengths."""
        return self.end + (self.end - self.content) % 2


def carrier_of(head: bytes) -> str | None:
    """`wav`, `avi` or `webp` by the first bytes of a file."""
    if head[:4] in (b"RF64", b"BW64"):
        return "wav" if head[8:12] == b"WAVE" else None
    return {b"WAVE": "wav", b"AVI ": "avi", b"WEBP": "webp"}.get(head[8:12]) if head[:4] == b"RIFF" else None


# wav


def find_wav(source: Source) -> Iterator[Found]:
    """The texts of all `AIGC` chunks; one inside `LIST INFO` is read too."""
    for chunk in _wav_chunks(source):
        if chunk.name == b"AIGC":
            yield Found(_text(source, chunk), "RIFF/AIGC")
        elif chunk.form == b"INFO":
            yield from (
                Found(_text(source, inner), "RIFF/LIST/INFO/AIGC", False)
                for inner in _chunks(source, chunk.content + 4, chunk.end, "LIST")
                if inner.name == b"AIGC"
            )


def plan_wav(source: Source, text: str) -> list[Piece]:
    """The file with one chunk `AIGC`: in the place of the old one where it fits, else at the end."""
    chunks = list(_wav_chunks(source))
    form = source.read(0, 12)
    if any(chunk.name == b"data" and chunk.end >= source.size and _says_unknown(source, chunk) for chunk in chunks):
        raise Impossible("label.unfinished")
    new, edits, is_placed = _pack(b"AIGC", text.encode()), dict[int, bytes](), False
    for chunk in chunks:
        if chunk.name == b"AIGC":
            is_placed = is_placed or _take(edits, chunk, new)
            if chunk.start not in edits:
                edits[chunk.start] = _junk(chunk.next - chunk.start)
        elif chunk.form == b"INFO":
            edits |= _blanked(source, chunk)
    end = chunks[-1].next if chunks else 12
    pad = bytes(max(0, end - source.size))
    grown = pad + (b"" if is_placed else new)
    size = min(end, source.size) + len(grown) - 8
    if form[:4] == b"RIFF":
        if size > _UNKNOWN - 1:
            raise Impossible("label.too_large")
        edits[4] = size.to_bytes(4, "little")
    else:
        ds64 = next((chunk for chunk in chunks if chunk.name == b"ds64"), None)
        if ds64 is None:
            raise Damaged("RF64/ds64")
        edits[ds64.content] = size.to_bytes(8, "little")
    return _edited(source, edits, end, grown)


def _wav_chunks(source: Source) -> Iterator[Chunk]:
    """Chunks after the form; sizes that are kept in `ds64` are taken from there."""
    large: dict[bytes, int] = {}
    at = 12
    while source.size - at >= 8:
        head = source.read(at, 8)
        name, size = head[:4], int.from_bytes(head[4:], "little")
        if size == _UNKNOWN and name in large:
            size = large[name]
        elif size == _UNKNOWN or (size == 0 and name == b"data"):
            size = source.size - at - 8 if name == b"data" else size
        if at + 8 + size > source.size:
            raise Damaged(f"RIFF/{_name(name)}")
        if name == b"ds64" and size >= 28:
            ds64 = source.read(at + 8, min(size, 1 << 16))
            large[b"data"] = int.from_bytes(ds64[8:16], "little")
            for entry in range(28, len(ds64) - 11, 12):
                large[ds64[entry : entry + 4]] = int.from_bytes(ds64[entry + 4 : entry + 12], "little")
        form = source.read(at + 8, 4) if name == b"LIST" and size >= 4 else b""
        chunk = Chunk(name, at, at + 8, at + 8 + size, form)
        yield chunk
        at = chunk.next


def _says_unknown(source: Source, data: Chunk) -> bool:
    size = int.from_bytes(source.read(data.start + 4, 4), "little")
    is_large = source.read(0, 4) in (b"RF64", b"BW64")
    return size == 0 < data.end - data.content or (size == _UNKNOWN and not is_large)


# avi


def find_avi(source: Source) -> Iterator[Found]:
    """The values `AIGC` of every `LIST INFO`; a chunk of its own is read too."""
    for riff in _riffs(source):
        for chunk in _chunks(source, riff.content + 4, riff.end, "RIFF"):
            if chunk.name == b"AIGC":
                yield Found(_text(source, chunk), "RIFF/AIGC", False)
            elif chunk.form == b"INFO":
                for inner in _chunks(source, chunk.content + 4, chunk.end, "LIST"):
                    if inner.name == b"AIGC":
                        yield Found(_text(source, inner), "RIFF/LIST/INFO/AIGC")


def plan_avi(source: Source, text: str) -> list[Piece]:
    """The file with one value `AIGC`: in the old list or in spare room before the pictures, else after the index."""
    riffs = list(_riffs(source))
    edits: dict[int, bytes] = {}
    listed = [chunk for riff in riffs for chunk in _chunks(source, riff.content + 4, riff.end, "RIFF")]
    for chunk in listed:
        if chunk.form == b"INFO":
            edits |= _blanked(source, chunk)
        elif chunk.name == b"AIGC":
            edits[chunk.start] = _junk(chunk.next - chunk.start)
    value = _pack(b"AIGC", text.encode() + b"\0")
    first = [chunk for chunk in listed if chunk.end <= riffs[0].end]
    head = first[: next((i for i, c in enumerate(first) if c.form == b"movi"), len(first))]
    if _in_room(source, head, value, edits):
        return _edited(source, edits, source.size, b"")
    last = riffs[-1]
    new = _pack(b"LIST", b"INFO" + value)
    size = last.next - last.content + len(new)
    if size > _UNKNOWN - 1:
        raise Impossible("label.too_large")
    edits[last.start + 4] = size.to_bytes(4, "little")
    return _edited(source, edits, last.next, bytes(max(0, last.next - source.size)) + new)


def _riffs(source: Source) -> Iterator[Chunk]:
    """The lists a film is made of, one after another; what is no list ends them (some writers leave a tail)."""
    at = 0
    while source.head(at, 4) == b"RIFF":
        riff = next(_chunks(source, at, source.size, "file"))
        yield riff
        at = riff.next


def _in_room(source: Source, head: Sequence[Chunk], value: bytes, edits: dict[int, bytes]) -> bool:
    """Put the value where a `LIST INFO` and the spare chunk after it, or a spare chunk alone, have the room."""
    for place, chunk in enumerate(head):
        after = head[place + 1] if place + 1 < len(head) else None
        if chunk.form == b"INFO":
            kept = b"".join(
                _pack(inner.name, source.read(inner.content, inner.end - inner.content))
                for inner in _chunks(source, chunk.content + 4, chunk.end, "LIST")
                if inner.name not in (b"AIGC", *_JUNK)
            )
            end = after.next if after is not None and after.name in _JUNK else chunk.next
            new = _pack(b"LIST", b"INFO" + kept + value)
        elif chunk.name in _JUNK and not any(c.form == b"INFO" for c in head):
            end, new = chunk.next, _pack(b"LIST", b"INFO" + value)
        else:
            continue
        room = end - chunk.start
        if room <= _MOST_ROOM and (len(new) == room or len(new) <= room - 8):
            for inside in [at for at in edits if chunk.start <= at < end]:
                del edits[inside]
            edits[chunk.start] = new + (_junk(room - len(new)) if room > len(new) else b"")
            return True
    return False


# webp


def find_webp(source: Source) -> Iterator[Found]:
    """Labels in the XMP chunk, and in the EXIF user comment."""
    size = min(source.size, 8 + int.from_bytes(source.read(4, 4), "little") + 1)
    for chunk in _chunks(source, 12, size, "RIFF"):
        if chunk.name == b"XMP ":
            packet = source.read(chunk.content, min(chunk.end - chunk.content, _MOST_XMP))
            yield from (Found(text, "RIFF/XMP") for text in xmp.labels_in(packet))
        elif chunk.name == b"EXIF":
            block = source.read(chunk.content, min(chunk.end - chunk.content, _MOST_XMP))
            yield from (Found(text, "RIFF/EXIF/UserComment") for text in exif.labels_in(block))


def plan_webp(source: Source, text: str) -> list[Piece]:
    """The picture with one label in its XMP chunk; a simple file becomes an extended one (`VP8X`)."""
    end = 8 + int.from_bytes(source.read(4, 4), "little")
    if end > source.size:
        raise Damaged("RIFF")
    chunks = list(_chunks(source, 12, end, "RIFF"))
    if not chunks:
        raise Damaged("RIFF")
    old = next((chunk for chunk in chunks if chunk.name == b"XMP "), None)
    packet = source.read(old.content, min(old.end - old.content, _MOST_XMP)) if old else None
    pieces: list[Piece] = [Put(_extended(source, chunks))]
    for chunk in chunks:
        if chunk.name == b"EXIF":
            block = source.read(chunk.content, min(chunk.end - chunk.content, _MOST_XMP))
            pieces.append(Put(_pack(b"EXIF", exif.without_labels(block))))
        elif chunk.name not in (b"VP8X", b"XMP "):
            pieces += [Copy(chunk.start, chunk.end), Put(bytes((chunk.end - chunk.content) % 2))]
    pieces.append(Put(_pack(b"XMP ", xmp.with_label(packet, text))))
    size = 4 + sum(piece.size for piece in pieces)
    return tidy(
        [
            Put(b"RIFF" + size.to_bytes(4, "little") + b"WEBP"),
            *pieces,
            Copy(min(end + end % 2, source.size), source.size),
        ]
    )


def _extended(source: Source, chunks: Sequence[Chunk]) -> bytes:
    """The `VP8X` chunk with the XMP flag set."""
    first = chunks[0]
    if first.name == b"VP8X":
        body = bytearray(source.read(first.content, max(10, first.end - first.content)))
        body[0] |= 4
        return _pack(b"VP8X", bytes(body))
    if first.name == b"VP8L":
        head = source.read(first.content, 5)
        bits = int.from_bytes(head[1:5], "little")
        width, height, flags = bits & 0x3FFF, bits >> 14 & 0x3FFF, 0x10 * (bits >> 28 & 1)
    elif first.name == b"VP8 ":
        head = source.read(first.content, 10)
        width, height = (int.from_bytes(head[at : at + 2], "little") & 0x3FFF for at in (6, 8))
        width, height, flags = width - 1, height - 1, 0
    else:
        raise Damaged("RIFF/VP8")
    return _pack(b"VP8X", bytes([flags | 4, 0, 0, 0]) + width.to_bytes(3, "little") + height.to_bytes(3, "little"))


# Shared


def _chunks(source: Source, start: int, end: int, place: str) -> Iterator[Chunk]:
    while end - start >= 8:
        head = source.read(start, 12 if end - start >= 12 else 8, place)
        size, is_list = int.from_bytes(head[4:8], "little"), head[:4] in (b"LIST", b"RIFF")
        if start + 8 + size > end:
            raise Damaged(f"{place}/{_name(head[:4])}")
        chunk = Chunk(head[:4], start, start + 8, start + 8 + size, head[8:12] if is_list and size >= 4 else b"")
        yield chunk
        start = chunk.next


def _pack(name: bytes, content: bytes) -> bytes:
    return name + len(content).to_bytes(4, "little") + content + bytes(len(content) % 2)


def _junk(size: int) -> bytes:
    """A spare chunk of that many bytes, header counted.

    Raises:
        TooMuch: More than a label is worth.
    """
    if size > _MOST_ROOM:
        raise TooMuch("RIFF")
    return b"JUNK" + (size - 8).to_bytes(4, "little") + bytes(size - 8)


def _take(edits: dict[int, bytes], chunk: Chunk, new: bytes) -> bool:
    """Put the new chunk into the place of an old one, if it fits."""
    room = chunk.next - chunk.start
    if len(new) != room and len(new) > room - 8:
        return False
    edits[chunk.start] = new + (_junk(room - len(new)) if room > len(new) else b"")
    return True


def _blanked(source: Source, info: Chunk) -> dict[int, bytes]:
    """Labels inside a `LIST INFO` made spare."""
    inner = _chunks(source, info.content + 4, info.end, "LIST")
    return {chunk.start: _junk(chunk.next - chunk.start) for chunk in inner if chunk.name == b"AIGC"}


def _edited(source: Source, edits: dict[int, bytes], end: int, grown: bytes) -> list[Piece]:
    """The file with bytes replaced at places, and more put in at `end`."""
    pieces: list[Piece] = []
    at = 0
    for start, data in sorted(edits.items()):
        pieces += [Copy(at, start), Put(data)]
        at = start + len(data)
    end = min(end, source.size)
    return tidy([*pieces, Copy(at, end), Put(grown), Copy(end, source.size)])


def _text(source: Source, chunk: Chunk) -> str:
    data = source.read(chunk.content, min(chunk.end - chunk.content, _MOST_TEXT))
    return data.decode("utf-8", "replace").rstrip("\0")


def _name(name: bytes) -> str:
    return "".join(chr(c) if 32 < c < 127 else f"\\x{c:02x}" for c in name)
