"""Labels in mp3: an ID3v2 frame `TXXX` (in v2.2 `TXX`) described `AIGC` (TC260-PG-202510A).

Other frames stay as they are; padding is used before the sound moves. Unsynchronised tags are written plain, an
extended header and a footer are left out: both are optional (ID3v2.3 §3, v2.4 §3). Start at `find` and `plan`.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from malan.media.labels.pieces import Copy, Damaged, Found, Piece, Put, Source, TooMuch, tidy

_MOST_TAG = 256 << 20
_MOST_TAGS = 8
_PADDING = 2048
_ENCODINGS = ("latin-1", "utf-16", "utf-16-be", "utf-8")


@dataclass(frozen=True, slots=True)
class Tag:
    """One tag: version, flags, place, and its frames as bytes with the unsynchronisation undone."""

    version: int
    flags: int
    start: int
    end: int
    frames: tuple[bytes, ...]  # whole, with their headers


def is_mp3(source: Source) -> bool:
    """Whether MPEG layer III sound begins the file, behind any tags."""
    at = 0
    for _ in range(_MOST_TAGS):
        head = source.head(at, 10)
        if head[:3] != b"ID3" or len(head) < 10:
            break
        at += 10 + synchsafe_size(head[6:10]) + (10 if head[5] & 0x10 and head[3] == 4 else 0)
    head = source.head(at, 4096).lstrip(b"\0")
    if at and len(head) < 4:
        return at > source.size  # a tag that was cut off: the name of the thing is still ID3
    return len(head) >= 4 and head[0] == 0xFF and head[1] & 0xE6 == 0xE2 and head[2] >> 4 != 15 and head[2] & 12 != 12


def find(source: Source) -> Iterator[Found]:
    """The text of every such frame, in every tag at the start."""
    for tag in _tags(source):
        for frame in tag.frames:
            text = _label_text(tag, frame)
            if text is not None:
                yield Found(text, f"ID3v2.{tag.version}/TXXX")


def plan(source: Source, text: str) -> list[Piece]:
    """The file with one such frame, in its first tag; a file without a tag gets one of version 2.4."""
    tags = list(_tags(source))
    first = tags[0] if tags else Tag(4, 0, 0, 0, ())
    frames = b"".join(frame for frame in first.frames if _label_text(first, frame) is None) + _frame(first, text)
    room = first.end - first.start - 10
    size = room if len(frames) <= room else len(frames) + _PADDING
    flags = first.flags & ~0x50 if first.version == 4 else 0
    pieces: list[Piece] = [Put(_pack(first.version, flags, frames, size))]
    for tag in tags[1:]:
        kept = b"".join(frame for frame in tag.frames if _label_text(tag, frame) is None)
        pieces.append(
            Put(_pack(tag.version, tag.flags & ~0x50 if tag.version == 4 else 0, kept, tag.end - tag.start - 10))
        )
    return tidy([*pieces, Copy(tags[-1].end if tags else 0, source.size)])


def _tags(source: Source) -> Iterator[Tag]:
    at = 0
    for _ in range(_MOST_TAGS):
        head = source.head(at, 10)
        if head[:3] != b"ID3" or len(head) < 10:
            return
        version, flags, size = head[3], head[5], synchsafe_size(head[6:10])
        if version not in (2, 3, 4):
            raise Damaged("ID3v2")
        if size > _MOST_TAG:
            raise TooMuch("ID3v2")
        end = at + 10 + size + (10 if flags & 0x10 and version == 4 else 0)
        if end > source.size:
            raise Damaged("ID3v2")
        yield Tag(version, flags, at, end, tuple(_frames(source.read(at + 10, size, "ID3v2"), version, flags)))
        at = end


def _frames(body: bytes, version: int, flags: int) -> Iterator[bytes]:
    """Each frame with its header; padding ends them."""
    if flags & 0x80 and version < 4:
        body = body.replace(b"\xff\x00", b"\xff")
    at = 0
    if flags & 0x40 and version > 2:
        at = synchsafe_size(body[:4]) if version == 4 else 4 + int.from_bytes(body[:4], "big")
    head, names = (6, 3) if version == 2 else (10, 4)
    while at + head <= len(body) and body[at]:
        length = body[at + names : at + 2 * names]
        size = synchsafe_size(length) if version == 4 else int.from_bytes(length, "big")
        end = at + head + size
        if end > len(body) or not body[at : at + names].isalnum():
            raise Damaged("ID3v2/" + body[at : at + names].decode("latin-1"))
        yield body[at:end]
        at = end


def _label_text(tag: Tag, frame: bytes) -> str | None:
    """The text of a label's frame; None for any other. Packed and encrypted frames are others."""
    head, names = (6, 3) if tag.version == 2 else (10, 4)
    if frame[:names] != b"TXXX"[:names] or len(frame) < head + 2:
        return None
    body, flags = frame[head:], frame[9] if tag.version > 2 else 0
    if tag.version == 4:
        body = body[4:] if flags & 1 else body
        body = body.replace(b"\xff\x00", b"\xff") if flags & 2 or tag.flags & 0x80 else body
        packed = flags & 0x0C
    else:
        packed = flags & 0xC0
    if packed or not body or body[0] > 3:
        return None
    encoding, wide = _ENCODINGS[body[0]], body[0] in (1, 2)
    end = next((i for i in range(1, len(body) - wide, 1 + wide) if not any(body[i : i + 1 + wide])), None)
    if end is None or "AIGC" not in body[1:end].decode(encoding, "replace").upper():
        return None
    return body[end + 1 + wide :].decode(encoding, "replace").rstrip("\0")


def _frame(tag: Tag, text: str) -> bytes:
    """A user text: Latin-1 for what is ASCII, as labels are; UTF-16 for a foreign one that is carried along."""
    if text.isascii():
        body = b"\0AIGC\0" + text.encode()
    else:
        body = b"\1" + "AIGC\0".encode("utf-16") + text.encode("utf-16")
    if tag.version == 2:
        return b"TXX" + len(body).to_bytes(3, "big") + body
    size = _synchsafe(len(body)) if tag.version == 4 else len(body).to_bytes(4, "big")
    return b"TXXX" + size + b"\0\0" + body


def _pack(version: int, flags: int, frames: bytes, size: int) -> bytes:
    return b"ID3" + bytes([version, 0, flags]) + _synchsafe(size) + frames + bytes(size - len(frames))


def synchsafe_size(four: bytes) -> int:
    """Four bytes of seven bits each."""
    return sum((byte & 0x7F) << shift for byte, shift in zip(four, (21, 14, 7, 0), strict=False))


def _synchsafe(size: int) -> bytes:
    return bytes(size >> shift & 0x7F for shift in (21, 14, 7, 0))
