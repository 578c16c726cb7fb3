"""Labels in flac: the comment `AIGC` of the metadata block VORBIS_COMMENT.

Padding is used before the sound moves (RFC 9639, §8). Start at `find` and `plan`.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from malan.media.labels import vorbis
from malan.media.labels.id3 import synchsafe_size
from malan.media.labels.pieces import Copy, Damaged, Found, Impossible, Piece, Put, Source, tidy

_PADDING_KIND, _COMMENT = 1, 4
_PADDING = 2048
_MOST_BLOCK = (1 << 24) - 1
_VENDOR = b"Malan"


@dataclass(frozen=True, slots=True)
class Block:
    """Kind and place of a metadata block: first byte of its header, end."""

    kind: int
    start: int
    end: int


def begins_at(source: Source) -> int | None:
    """Where `fLaC` stands, behind an ID3 tag if there is one; None when the file is no flac."""
    head = source.head(0, 10)
    at = 10 + synchsafe_size(head[6:10]) if head[:3] == b"ID3" and len(head) == 10 else 0
    return at if source.head(at, 4) == b"fLaC" else None


def find(source: Source) -> Iterator[Found]:
    """The labels of all blocks of comments."""
    for block in _blocks(source):
        if block.kind == _COMMENT:
            comments = vorbis.read_comments(source.read(block.start + 4, block.end - block.start - 4))
            yield from (Found(text, "VORBIS_COMMENT") for text in vorbis.values(comments))


def plan(source: Source, text: str) -> list[Piece]:
    """The file with this one label; its metadata keep their length where padding allows."""
    blocks = list(_blocks(source))
    start, end = blocks[0].start, blocks[-1].end
    parts: list[Piece] = []
    is_done = False
    for block in blocks:
        if block.kind == _PADDING_KIND:
            continue
        if block.kind != _COMMENT:
            parts += [Put(bytes([block.kind])), Copy(block.start + 1, block.end)]  # none is the last now: padding is
        elif not is_done:
            comments = vorbis.read_comments(source.read(block.start + 4, block.end - block.start - 4))
            parts.append(Put(_pack(_COMMENT, vorbis.with_label(comments, text).to_bytes())))
            is_done = True
    if not is_done:
        new = vorbis.with_label(vorbis.Comments(_VENDOR, (), b""), text)
        parts.insert(2, Put(_pack(_COMMENT, new.to_bytes())))
    used = sum(part.size for part in parts)
    spare = end - start - used
    parts.append(Put(_pack(_PADDING_KIND, bytes(spare - 4 if 4 <= spare <= _MOST_BLOCK else _PADDING), is_last=True)))
    return tidy([Copy(0, start), *parts, Copy(end, source.size)])


def _blocks(source: Source) -> Iterator[Block]:
    at = begins_at(source)
    if at is None:
        raise Damaged("fLaC")
    at, is_last = at + 4, False
    while not is_last:
        head = source.read(at, 4, "fLaC")
        is_last, end = bool(head[0] & 0x80), at + 4 + int.from_bytes(head[1:], "big")
        if end > source.size:
            raise Damaged("fLaC")
        yield Block(head[0] & 0x7F, at, end)
        at = end


def _pack(kind: int, content: bytes, *, is_last: bool = False) -> bytes:
    if len(content) > _MOST_BLOCK:
        raise Impossible("label.no_room")
    return bytes([kind | 0x80 * is_last]) + len(content).to_bytes(3, "big") + content
