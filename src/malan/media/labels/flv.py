"""Labels in flv: the text `AIGC` in the script data `onMetaData` (TC260-PG-20257A).

What follows moves by the length of the label; the places that `onMetaData` itself names (`filesize`,
`keyframes.filepositions`) are corrected. AMF0 is walked with limits (FLV 10.1, annex E). Start at `find` and `plan`.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import dataclass, field

from malan.media.labels.pieces import Copy, Damaged, Found, Impossible, Piece, Put, Source, tidy

_MOST_TAGS = 64
_MOST_TEXT = 65_535
_DEEPEST = 16
_SCRIPT = 18
_NAME = b"\2\0\x0aonMetaData"


@dataclass
class _Data:
    """What there is to know of an `onMetaData`: places in its bytes."""

    begin: int = 0  # of the first property
    count_at: int = -1  # of the number of properties
    labels: list[tuple[int, int, str]] = field(default_factory=list)  # property from its name to its end, and its text
    places: list[int] = field(default_factory=list)  # of numbers that are places in the file
    size_at: int = -1  # of the number that is the length of the file


def find(source: Source) -> Iterator[Found]:
    """The texts of all properties that are labels, in the script data that begin the file."""
    for start, size in _scripts(source):
        for _, _, text in _read(source.read(start, size)).labels:
            yield Found(text, "script/onMetaData")


def plan(source: Source, text: str) -> list[Piece]:
    """The file with this one label."""
    head = int.from_bytes(source.read(5, 4), "big") + 4
    value = b"\0\4AIGC\2" + len(text.encode()).to_bytes(2, "big") + text.encode()
    if len(text.encode()) > _MOST_TEXT:
        raise Impossible("label.no_room")
    scripts = list(_scripts(source))
    if not scripts:
        body = _NAME + b"\x08\0\0\0\1" + value + b"\0\0\x09"
        tag = _tag(bytes(7), body)
        return tidy([Copy(0, head), Put(tag), Copy(head, source.size)])
    bodies = [source.read(start, size) for start, size in scripts]
    changed = [_changed(body, value if number == 0 else b"") for number, body in enumerate(bodies)]
    delta = sum(len(new) - len(old) for new, old in zip(changed, bodies, strict=True))
    pieces: list[Piece] = []
    at = 0
    for (start, size), new in zip(scripts, changed, strict=True):
        moved = _moved(new, delta, start + size)
        pieces += [Copy(at, start - 11), Put(_tag(source.read(start - 7, 7), moved))]
        at = start + size + 4
    return tidy([*pieces, Copy(at, source.size)])


def _tag(stamp: bytes, body: bytes) -> bytes:
    """A script tag with its time, and the length that follows it."""
    return bytes([_SCRIPT]) + len(body).to_bytes(3, "big") + stamp + body + (len(body) + 11).to_bytes(4, "big")


def _scripts(source: Source) -> Iterator[tuple[int, int]]:
    """Place and size of the `onMetaData` among the first tags."""
    at = int.from_bytes(source.read(5, 4, "FLV"), "big") + 4
    for _ in range(_MOST_TAGS):
        if at >= source.size:
            return
        head = source.read(at, 11, "FLV")
        size = int.from_bytes(head[1:4], "big")
        if at + 11 + size > source.size:
            raise Damaged("FLV")
        if head[0] == _SCRIPT and source.read(at + 11, min(size, len(_NAME))) == _NAME:
            yield at + 11, size
        at += 11 + size + 4


def _changed(body: bytes, value: bytes) -> bytes:
    """The data without labels, and with this property in front."""
    found = _read(body)
    new = body
    for start, end, _ in sorted(found.labels, reverse=True):
        new = new[:start] + new[end:]
    new = new[: found.begin] + value + new[found.begin :]
    if found.count_at >= 0:
        count = int.from_bytes(body[found.count_at : found.count_at + 4], "big") - len(found.labels) + bool(value)
        new = new[: found.count_at] + max(0, count).to_bytes(4, "big") + new[found.count_at + 4 :]
    return new


def _moved(body: bytes, delta: int, border: int) -> bytes:
    """The data with the places behind `border` moved, and the length of the file corrected."""
    found, new = _read(body), bytearray(body)
    for at in [*found.places, *([found.size_at] if found.size_at >= 0 else [])]:
        (number,) = struct.unpack_from(">d", new, at)
        if number >= border:
            struct.pack_into(">d", new, at, number + delta)
    return bytes(new)


def _read(body: bytes) -> _Data:
    """Walk the properties of an `onMetaData`; an array that ends with the data rather than its mark will do."""
    found, at = _Data(), len(_NAME)
    kind = body[at : at + 1]
    if kind == b"\x08":
        found.count_at, at = at + 1, at + 5
    elif kind == b"\x03":
        at += 1
    else:
        raise Damaged("script/onMetaData")
    found.begin = at
    _properties(body, at, found, (), 0)
    return found


def _properties(body: bytes, at: int, found: _Data, path: tuple[bytes, ...], depth: int) -> int:
    """Walk name and value after name and value; where the object ends."""
    if depth > _DEEPEST:
        raise Damaged("script/onMetaData")
    while at < len(body):
        size = int.from_bytes(body[at : at + 2], "big")
        if size == 0 and body[at + 2 : at + 3] == b"\x09":
            return at + 3
        name, start = body[at + 2 : at + 2 + size], at
        at = _value(body, at + 2 + size, found, (*path, name), depth)
        if b"AIGC" in name.upper() and not path:
            found.labels.append((start, at, _text(body, start + 2 + size)))
    if depth:
        raise Damaged("script/onMetaData")
    return at


def _value(body: bytes, at: int, found: _Data, path: tuple[bytes, ...], depth: int) -> int:
    """Pass over one value; where it ends."""
    kind = body[at] if at < len(body) else -1
    at += 1
    if kind == 0:
        if path == (b"filesize",):
            found.size_at = at
        elif path[-1] == b"filepositions":
            found.places.append(at)
        end = at + 8
    elif kind == 1:
        end = at + 1
    elif kind == 2:
        end = at + 2 + int.from_bytes(body[at : at + 2], "big")
    elif kind == 12:
        end = at + 4 + int.from_bytes(body[at : at + 4], "big")
    elif kind in (3, 8):
        return _properties(body, at + (4 if kind == 8 else 0), found, path, depth + 1)
    elif kind == 10:
        return _array(body, at, found, path, depth)
    else:
        lengths = {5: 0, 6: 0, 7: 2, 11: 10}
        if kind not in lengths:
            raise Damaged("script/onMetaData")
        end = at + lengths[kind]
    if end > len(body):
        raise Damaged("script/onMetaData")
    return end


def _array(body: bytes, at: int, found: _Data, path: tuple[bytes, ...], depth: int) -> int:
    if depth > _DEEPEST:
        raise Damaged("script/onMetaData")
    count = int.from_bytes(body[at : at + 4], "big")
    at += 4
    for _ in range(count):
        at = _value(body, at, found, path, depth + 1)
    return at


def _text(body: bytes, at: int) -> str:
    """A short or a long text; what is no text shows as its bytes."""
    skip = {2: 3, 12: 5}.get(body[at], 1)
    size = int.from_bytes(body[at + 1 : at + skip], "big") if skip > 1 else 0
    return body[at + skip : at + skip + size].decode("utf-8", "replace")
