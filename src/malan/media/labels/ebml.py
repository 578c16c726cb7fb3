"""EBML as far as Matroska labels need it: ids, sizes, elements, check sums (RFC 8794). Nothing here knows of labels."""

from __future__ import annotations

import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from malan.media.labels.pieces import Damaged, Source

CRC, VOID = b"\xbf", b"\xec"
_MOST_CHILDREN = 2_000_000


@dataclass(frozen=True, slots=True)
class Element:
    """Id and place of an element: first byte, first byte of its content, end; None where its size is not known."""

    id: bytes
    start: int
    content: int
    end: int | None


def read_element(source: Source, start: int, end: int, place: str) -> Element:
    """The element that starts there.

    Raises:
        Damaged: It is none, or longer than what it lies in.
    """
    head = source.head(start, min(12, end - start))
    id_size = 9 - (head[0] if head else 0).bit_length()
    if not 1 <= id_size <= 4 or len(head) <= id_size:
        raise Damaged(place)
    size_size = 9 - head[id_size].bit_length()
    content = start + id_size + size_size
    if not 1 <= size_size <= 8 or content > end:
        raise Damaged(place)
    size = int.from_bytes(head[id_size : id_size + size_size], "big") & ((1 << 7 * size_size) - 1)
    if size == (1 << 7 * size_size) - 1:
        return Element(head[:id_size], start, content, None)
    if content + size > end:
        raise Damaged(place)
    return Element(head[:id_size], start, content, content + size)


def split(data: bytes, place: str) -> list[tuple[bytes, bytes]]:
    """Id and content of the elements in some bytes; check sums and spare room left out."""
    found, at = [], 0
    while at < len(data):
        id_size = 9 - data[at].bit_length()
        length = 9 - data[at + id_size].bit_length() if id_size <= 4 and at + id_size < len(data) else 9
        start = at + id_size + length
        size = int.from_bytes(data[at + id_size : start], "big") & ((1 << 7 * min(length, 8)) - 1)
        if length > 8 or start + size > len(data):
            raise Damaged(place)
        if data[at : at + id_size] not in (CRC, VOID):
            found.append((data[at : at + id_size], data[start : start + size]))
        at = start + size
    return found


def pack(id_: bytes, content: bytes) -> bytes:
    """An element as bytes, its size in as few as it takes."""
    return id_ + size_bytes(len(content)) + content


def pack_checked(id_: bytes, content: bytes, *, is_checked: bool) -> bytes:
    """The same, with a check sum of its content in front if there was one (RFC 8794 §11.3.1)."""
    if is_checked:
        content = pack(CRC, zlib.crc32(content).to_bytes(4, "little")) + content
    return pack(id_, content)


def has_sum(content: bytes) -> bool:
    """Whether the content of an element begins with its check sum."""
    return content[:2] == CRC + b"\x84"


def void(size: int) -> bytes:
    """Spare room of that many bytes, two or more."""
    if size < 10:
        return VOID + bytes([0x80 | size - 2]) + bytes(size - 2)
    return VOID + b"\x01" + (size - 9).to_bytes(7, "big") + bytes(size - 9)


def size_bytes(size: int, width: int = 0) -> bytes:
    """A size as EBML writes it, in `width` bytes or as few as it takes."""
    width = width or next(n for n in range(1, 9) if size < (1 << 7 * n) - 1)
    if size >= (1 << 7 * width) - 1:
        raise ValueError("a size too large for its field")
    return (size | 1 << 7 * width).to_bytes(width, "big")


def number_bytes(number: int, width: int = 0) -> bytes:
    """An unsigned number in `width` bytes, or more where it needs them."""
    return number.to_bytes(max(width, 1, -(-number.bit_length() // 8)), "big")


def children(source: Source, start: int, end: int, place: str) -> Iterator[Element]:
    """The elements between two places; one of unknown size is the last."""
    for _ in range(_MOST_CHILDREN):
        if start >= end:
            return
        element = read_element(source, start, end, place)
        yield element
        if element.end is None:
            return
        start = element.end
    raise Damaged(place)


def join(elements: Sequence[tuple[bytes, bytes]]) -> bytes:
    """Elements one after another."""
    return b"".join(pack(id_, content) for id_, content in elements)
