"""Labels in mp4, mov and m4a: `moov/udta/meta` with the key `AIGC` in `keys` and its text in `ilst` (TC260-PG-20257A).

The new `moov` takes the place of the old one where it fits (spare `free` boxes count) or where nothing but spare boxes
follow; only otherwise does what follows move, and `bmff_offsets` corrects what points at it. Keys and values are as
Apple defined them; the boxes they lie in are read in `bmff_boxes`. Start at `find` and `plan`.
"""

from __future__ import annotations

from collections.abc import Iterator

from malan.media.labels.bmff_boxes import Box, Child, boxes, join, name_of, pack, split
from malan.media.labels.bmff_offsets import moved_files, moved_moov, points_inwards
from malan.media.labels.pieces import Copy, Damaged, Found, Impossible, Piece, Put, Source, tidy

_SPARE = (b"free", b"skip")
_MEDIA = (b"mdat", b"moof", b"imda")
_ROOM = 1024  # left behind a moov that had to move, so that the next label fits
_MOST_MOOV = 128 << 20
_MOST_TEXT = 1 << 17
_HANDLER = b"\0\0\0\0" + b"\0\0\0\0" + b"mdta" + b"\0" * 12 + b"\0"
_PICTURES = (b"heic", b"heix", b"mif1", b"msf1", b"avif", b"avis", b"heim", b"heis")


def carrier_of(head: bytes) -> str | None:
    """`mp4`, `mov` or `m4a` by the first bytes of a file; None for pictures in boxes and for what has none."""
    if head[4:8] == b"ftyp":
        brand = head[8:12]
        if brand in _PICTURES:
            return None
        return {b"qt  ": "mov", b"M4A ": "m4a", b"M4B ": "m4a", b"M4P ": "m4a"}.get(brand, "mp4")
    return "mov" if head[4:8] in (b"moov", b"mdat", b"wide", b"pnot", *_SPARE) else None


def find(source: Source) -> Iterator[Found]:
    """Every text in a label's place: in `udta/meta`, in `moov/meta`, keyed, keyless or free form."""
    for top in boxes(source, 0, source.size):
        if top.kind != b"moov":
            continue
        for box in boxes(source, top.content, top.end, "moov"):
            if box.kind == b"meta":
                yield from _in_meta(source, box, "moov/meta", is_usual=False)
            elif box.kind == b"udta":
                yield from _in_udta(source, box)


def plan(source: Source, text: str) -> list[Piece]:
    """The file with this one label.

    Raises:
        Damaged: Its boxes are not sound.
        Impossible: What follows would have to move and something points at it that cannot be corrected.
    """
    top = list(boxes(source, 0, source.size))
    found = [box for box in top if box.kind == b"moov"]
    if len(found) != 1 or found[0].end - found[0].content > _MOST_MOOV:
        raise Damaged("moov")
    moov, children = found[0], split(source.read(found[0].content, found[0].end - found[0].content, "moov"), "moov")
    labelled = _labelled(children, text)
    after = top[top.index(moov) + 1 :]
    room_end = moov.end
    for box in after:
        if box.kind not in _SPARE:
            break
        room_end = box.end
    for candidate in (labelled, _without_spare(labelled)):
        new, room = pack(b"moov", join(candidate)), room_end - moov.start
        if len(new) == room or len(new) <= room - 8:
            return _fitted(source, moov, room_end, new)
    new = pack(b"moov", join(labelled))
    if not any(box.kind in _MEDIA for box in after):
        return tidy([Copy(0, moov.start), Put(new), Copy(moov.end, source.size)])
    return _moving(source, top, moov, room_end, labelled)


def _fitted(source: Source, moov: Box, room_end: int, new: bytes) -> list[Piece]:
    """The new `moov` in the room there is; of spare room only the header is ours, and what covers old metadata."""
    spare = room_end - moov.start - len(new)
    head = b"" if not spare else _spare_head(spare)
    blank = bytes(max(0, moov.end - moov.start - len(new) - len(head)))
    at = moov.start + len(new) + len(head) + len(blank)
    return tidy([Copy(0, moov.start), Put(new + head + blank), Copy(at, source.size)])


def _moving(source: Source, top: list[Box], moov: Box, room_end: int, children: list[Child]) -> list[Piece]:
    """What follows moves back, and all that points at it is corrected. Grown offsets may make the `moov` grow again."""
    if points_inwards(source, [(b.kind, b.content, b.end) for b in top], children):
        raise Impossible("label.cannot_move")
    delta, new = 0, b""
    for _ in range(4):
        new = pack(b"moov", join(moved_moov(children, room_end, delta))) + pack(b"free", bytes(_ROOM - 8))
        if delta == len(new) - (room_end - moov.start):
            break
        delta = len(new) - (room_end - moov.start)
    else:
        raise Impossible("label.cannot_move")
    rest = moved_files(source, [(b.kind, b.content, b.end) for b in top], moov.start, room_end, delta)
    pieces: list[Piece] = []
    at = 0
    for start, data in sorted([(moov.start, b""), *rest.items()]):
        pieces.append(Copy(at, start))
        if start == moov.start:
            pieces.append(Put(new))
            at = room_end
        else:
            pieces.append(Put(data))
            at = start + len(data)
    return tidy([*pieces, Copy(at, source.size)])


def _spare_head(size: int) -> bytes:
    if size < 1 << 32:
        return size.to_bytes(4, "big") + b"free"
    return b"\0\0\0\1free" + size.to_bytes(8, "big")


def _labelled(children: list[Child], text: str) -> list[Child]:
    """The content of a `moov` with every label taken out and this one put in."""
    kept: list[Child] = []
    udta: list[Child] | None = None
    place = len(children)
    for kind, content in children:
        if kind == b"udta" and udta is None:
            udta, place = split(content, "moov/udta"), len(kept)
            kept.append((kind, b""))
        elif kind == b"meta":
            kept.append((kind, _meta_without(content)))
        elif kind == b"udta":
            kept.append((kind, join(_udta_without(split(content, "moov/udta")))))
        else:
            kept.append((kind, content))
    rebuilt = (b"udta", join(_udta_with(_udta_without(udta or []), text)))
    if place < len(kept):
        kept[place] = rebuilt
    else:
        at = len(kept) - 1 if kept and kept[-1][0] == b"" else len(kept)
        kept.insert(at, rebuilt)
    return kept


def _udta_without(children: list[Child]) -> list[Child]:
    kept: list[Child] = []
    for kind, content in children:
        if kind == b"meta":
            kept.append((kind, _meta_without(content)))
        elif kind != b"AIGC":
            kept.append((kind, content))
    return kept


def _udta_with(children: list[Child], text: str) -> list[Child]:
    """Put the label into the `meta` of keys, or into one of its own beside that of iTunes, which stays as it is."""
    for place, (kind, content) in enumerate(children):
        if kind == b"meta" and _handler(content) == b"mdta":
            return [*children[:place], (kind, _meta_with(content, text)), *children[place + 1 :]]
    new = (b"meta", b"\0\0\0\0" + join([(b"hdlr", _HANDLER), *_keyed([(b"mdta", b"AIGC")], [_item(1, text)])]))
    at = len(children) - 1 if children and children[-1][0] == b"" else len(children)
    return [*children[:at], new, *children[at:]]


def _meta_parts(content: bytes) -> tuple[bytes, list[Child]]:
    """Version and flags, which QuickTime leaves out, and the boxes of a `meta`."""
    skip = 0 if content[4:8] == b"hdlr" else 4
    return content[:skip], split(content[skip:], "meta")


def _handler(content: bytes) -> bytes:
    return next((body[8:12] for kind, body in _meta_parts(content)[1] if kind == b"hdlr"), b"")


def _meta_without(content: bytes) -> bytes:
    """A `meta` without labels; keys that stay are counted anew."""
    version, parts = _meta_parts(content)
    if not any(kind == b"ilst" for kind, _ in parts):
        return content
    keys = next((_keys(body) for kind, body in parts if kind == b"keys"), [])
    gone = {number for number, (_, name) in enumerate(keys, 1) if _names_label(name)}
    items = [item for kind, body in parts if kind == b"ilst" for item in split(body, "ilst")]
    stay = [item for item in items if not (_index(item, keys) in gone or _is_label_item(item, keys))]
    if not gone and len(stay) == len(items):
        return content
    numbers = {old: new for new, old in enumerate((n for n in range(1, len(keys) + 1) if n not in gone), 1)}
    renumbered = [_renumbered(item, numbers.get(_index(item, keys), 0)) for item in stay]
    rebuilt = _keyed([key for n, key in enumerate(keys, 1) if n not in gone], renumbered)
    if not keys:
        rebuilt = rebuilt[1:]
    others = [part for part in parts if part[0] not in (b"keys", b"ilst", b"")]
    return version + join([*others, *rebuilt])


def _renumbered(item: Child, number: int) -> Child:
    return (number.to_bytes(4, "big"), item[1]) if number else item


def _meta_with(content: bytes, text: str) -> bytes:
    version, parts = _meta_parts(content)
    keys = next((_keys(body) for kind, body in parts if kind == b"keys"), [])
    items = [item for kind, body in parts if kind == b"ilst" for item in split(body, "ilst")]
    others = [part for part in parts if part[0] not in (b"keys", b"ilst", b"")]
    new = _keyed([*keys, (b"mdta", b"AIGC")], [*items, _item(len(keys) + 1, text)])
    return version + join([*others, *new])


def _keyed(keys: list[tuple[bytes, bytes]], items: list[Child]) -> list[Child]:
    listed = b"".join((len(name) + 8).to_bytes(4, "big") + space + name for space, name in keys)
    return [(b"keys", b"\0\0\0\0" + len(keys).to_bytes(4, "big") + listed), (b"ilst", join(items))]


def _item(number: int, text: str) -> Child:
    """A value: UTF-8 (well-known type 1), no locale."""
    return number.to_bytes(4, "big"), pack(b"data", b"\0\0\0\1\0\0\0\0" + text.encode())


def _keys(content: bytes) -> list[tuple[bytes, bytes]]:
    """Namespace and name of each key, in order."""
    found, at = [], 8
    for _ in range(min(int.from_bytes(content[4:8], "big"), len(content) // 8)):
        size = int.from_bytes(content[at : at + 4], "big")
        if size < 8 or at + size > len(content):
            raise Damaged("meta/keys")
        found.append((content[at + 4 : at + 8], content[at + 8 : at + size]))
        at += size
    return found


def _names_label(name: bytes) -> bool:
    return b"AIGC" in name.upper()


def _index(item: Child, keys: list[tuple[bytes, bytes]]) -> int:
    """The number of the key an item belongs to; 0 for an item with a name of its own."""
    number = int.from_bytes(item[0], "big")
    return number if 0 < number <= len(keys) else 0


def _is_label_item(item: Child, keys: list[tuple[bytes, bytes]]) -> bool:
    return not _index(item, keys) and any(True for _ in _keyless(item))


def _keyless(item: Child) -> Iterator[str]:
    """Label texts of an item that no key names: free form by its name, others by what they say."""
    kind, content = item
    if not kind:
        return
    parts = split(content, "ilst") if len(content) >= 8 else []
    name = b"".join(body[4:] for part, body in parts if part == b"name")
    named = _names_label(kind) or _names_label(name)
    for part, body in parts:
        if part == b"data" and (named or (b'"ContentProducer"' in body and body[8:9] == b"{")):
            yield body[8:].decode("utf-8", "replace")


def _without_spare(children: list[Child]) -> list[Child]:
    """Spare boxes that `moov`, `udta` and `meta` keep inside, taken out."""
    kept: list[Child] = []
    for kind, content in children:
        if kind == b"udta":
            inner = [(k, _meta_without_spare(c) if k == b"meta" else c) for k, c in split(content, "moov/udta")]
            kept.append((kind, join([child for child in inner if child[0] not in _SPARE])))
        elif kind not in _SPARE:
            kept.append((kind, content))
    return kept


def _meta_without_spare(content: bytes) -> bytes:
    version, parts = _meta_parts(content)
    return version + join([part for part in parts if part[0] not in _SPARE])


# Reading without taking the whole `moov` into memory


def _in_udta(source: Source, udta: Box) -> Iterator[Found]:
    for box in boxes(source, udta.content, udta.end, "moov/udta"):
        if box.kind == b"meta":
            yield from _in_meta(source, box, "moov/udta/meta", is_usual=True)
        elif box.kind == b"AIGC":
            yield Found(
                _text(source.read(box.content, min(box.end - box.content, _MOST_TEXT))), "moov/udta/AIGC", False
            )


def _in_meta(source: Source, meta: Box, place: str, *, is_usual: bool) -> Iterator[Found]:
    start = meta.content
    if source.read(start, min(8, meta.end - start), place)[4:8] != b"hdlr":
        start += 4
    parts = list(boxes(source, start, meta.end, place))
    keys: list[tuple[bytes, bytes]] = []
    for box in parts:
        if box.kind == b"keys":
            keys = _keys(source.read(box.content, min(box.end - box.content, 4 << 20), place))
    for box in parts:
        if box.kind == b"ilst":
            yield from _in_list(source, box, keys, place, is_usual)


def _in_list(source: Source, ilst: Box, keys: list[tuple[bytes, bytes]], place: str, is_usual: bool) -> Iterator[Found]:
    for item in boxes(source, ilst.content, ilst.end, f"{place}/ilst"):
        number = _index((item.kind, b""), keys)
        if number:
            if _names_label(keys[number - 1][1]):
                for data in boxes(source, item.content, item.end, f"{place}/ilst"):
                    text = source.read(data.content, min(data.end - data.content, _MOST_TEXT), place)[8:]
                    yield Found(_text(text), f"{place}/keys", is_usual)
        elif item.end - item.content <= _MOST_TEXT:
            content = source.read(item.content, item.end - item.content, place)
            yield from (
                Found(text, f"{place}/ilst/{name_of(item.kind)}", False) for text in _keyless((item.kind, content))
            )


def _text(data: bytes) -> str:
    return data.decode("utf-8", "replace").rstrip("\0")
