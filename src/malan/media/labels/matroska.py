"""Labels in mkv and webm: `Tags/Tag/SimpleTag` named `AIGC` (TC260-PG-20257A; RFC 9559 §5.1.8).

    fits where the old tags and spare room are · or stands last
    · or goes into spare room or to the end, and SeekHead says so
    · or goes before the first cluster, and everything that names places (SeekHead, Cues) is written anew

Other tags stay. Positions count from the content of the Segment. Start at `find` and `plan`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from malan.media.labels import ebml
from malan.media.labels.ebml import VOID, Element
from malan.media.labels.pieces import Copy, Damaged, Found, Impossible, Piece, Put, Source, TooMuch, tidy

_HEADER, _SEGMENT = b"\x1a\x45\xdf\xa3", b"\x18\x53\x80\x67"
_SEEK_HEAD, _SEEK, _SEEK_ID, _SEEK_POSITION = b"\x11\x4d\x9b\x74", b"\x4d\xbb", b"\x53\xab", b"\x53\xac"
_CLUSTER, _CUES, _TAGS = b"\x1f\x43\xb6\x75", b"\x1c\x53\xbb\x6b", b"\x12\x54\xc3\x67"
_TAG, _TARGETS, _SIMPLE = b"\x73\x73", b"\x63\xc0", b"\x67\xc8"
_NAME, _STRING, _BINARY = b"\x45\xa3", b"\x44\x87", b"\x44\x85"
_INFO, _TRACKS, _CHAPTERS, _FILES = b"\x15\x49\xa9\x66", b"\x16\x54\xae\x6b", b"\x10\x43\xa7\x70", b"\x19\x41\xa4\x69"
_LEVEL_1 = (_SEEK_HEAD, _CLUSTER, _CUES, _TAGS, _INFO, _TRACKS, _CHAPTERS, _FILES)
_CUE_NESTS, _CUE_PLACES = (b"\xbb", b"\xb7", b"\xdb"), (b"\xf1", b"\xea", b"\x97", b"\xeb")
_MOST_TAGS = 32 << 20
_MOST_CUES = 64 << 20
_MOST_ROOM = 16 << 20
_DEEPEST = 16
_ROOM = 512  # left behind tags that made everything move

Move = Callable[[int], int]  # a position in the old Segment to the one in the new


@dataclass(frozen=True, slots=True)
class Segment:
    """The Segment and what lies in it; `end` is where its content ends, also when the file does not say so."""

    element: Element
    end: int
    parts: tuple[Element, ...]

    @property
    def first_cluster(self) -> int:
        return next((i for i, part in enumerate(self.parts) if part.id == _CLUSTER), len(self.parts))

    def relative(self, place: int) -> int:
        return place - self.element.content


def carrier_of(head: bytes) -> str | None:
    """`webm` or `mkv` by the document type in the first bytes; None for what has neither."""
    if head[:4] != _HEADER:
        return None
    return "webm" if b"\x42\x82\x84webm" in head else "mkv" if b"\x42\x82\x88matroska" in head else None


def find(source: Source) -> Iterator[Found]:
    """The labels in all Tags: first those before the pictures and those SeekHead names, then the rest."""
    element = _segment(source)
    end = element.end if element.end is not None else source.size
    seen: set[int] = set()
    for tags in _tags(source, element, end):
        if tags.start not in seen:
            seen.add(tags.start)
            yield from _labels(_content(source, tags))


def plan(source: Source, text: str) -> list[Piece]:
    """The file with this one label."""
    element = _segment(source)
    end = element.end if element.end is not None else source.size
    segment = Segment(element, end, tuple(_parts(source, element.content, end)))
    tags = [part for part in segment.parts if part.id == _TAGS]
    old = _content(source, tags[0]) if tags else b""
    kept = [(id_, content) for id_, content in _without_labels(old) if content]
    body = ebml.join([*kept, (_TAG, ebml.pack(_TARGETS, b"") + ebml.pack(_SIMPLE, _simple(text)))])
    new = ebml.pack_checked(_TAGS, body, is_checked=ebml.has_sum(old) or not tags)
    others = dict(_cleaned(source, part) for part in tags[1:])
    return _in_place(source, segment, tags[:1], new, others) or _moved(source, segment, tags[:1], new, others)


# Without moving anything


def _in_place(
    source: Source, segment: Segment, tags: Sequence[Element], new: bytes, others: dict[int, bytes]
) -> list[Piece] | None:
    edits = dict(others)
    for place, part in enumerate(segment.parts):
        if part in tags and (fitted := _fitted(new, _room(segment, place) - part.start)):
            return _edited(source, segment, edits | {part.start: fitted}, b"")
    if tags and tags[0].end == segment.end and segment.element.end is not None:
        return _edited(source, segment, edits, new, cut=tags[0].start)
    for part in tags:
        edits[part.start] = ebml.void(_size(part))
    for place, part in enumerate(segment.parts[: segment.first_cluster]):
        taken = place and segment.parts[place - 1].id in (_SEEK_HEAD, VOID)
        if part.id == VOID and not taken and (fitted := _fitted(new, _room(segment, place) - part.start)):
            seek = _seek_edits(source, segment, segment.relative(part.start))
            if seek is not None:
                return _edited(source, segment, edits | seek | {part.start: fitted}, b"")
    if segment.element.end is None:
        return None
    seek = _seek_edits(source, segment, segment.relative(segment.end))
    return None if not seek else _edited(source, segment, edits | seek, new)


def _room(segment: Segment, place: int) -> int:
    """Where the spare room behind an element ends."""
    end = segment.parts[place].end or 0
    for part in segment.parts[place + 1 :]:
        if part.id != VOID:
            break
        end = part.end or end
    return end


def _fitted(new: bytes, room: int) -> bytes | None:
    """An element and spare room, together as long as the room; None where it does not fit."""
    spare = room - len(new)
    if spare == 1:
        (id_size, width) = 9 - new[0].bit_length(), 9 - new[9 - new[0].bit_length()].bit_length()
        content = new[id_size + width :]
        return new[:id_size] + ebml.size_bytes(len(content), width + 1) + content if width < 8 else None
    return new + (ebml.void(spare) if spare else b"") if 0 <= spare <= _MOST_ROOM else None


def _seek_edits(source: Source, segment: Segment, tags_at: int) -> dict[int, bytes] | None:
    """The SeekHeads that name the Tags at their new place; None where one has no room for it."""
    edits: dict[int, bytes] = {}
    heads = [(i, part) for i, part in enumerate(segment.parts) if part.id == _SEEK_HEAD]
    contents = [_content(source, part) for _, part in heads]
    named = [any(True for _ in _seek_places(content, _TAGS)) for content in contents]
    for number, ((place, part), content) in enumerate(zip(heads, contents, strict=True)):
        if named[number] or (number == 0 and not any(named)):
            new = _seek_head(content, lambda position: position, tags_at)
            fitted = _fitted(new, _room(segment, place) - part.start)
            if fitted is None:
                return None
            edits[part.start] = fitted
    return edits


def _edited(
    source: Source, segment: Segment, edits: dict[int, bytes], grown: bytes, *, cut: int | None = None
) -> list[Piece]:
    """The file with elements replaced by as many bytes, and more at the end of the Segment (from `cut` on)."""
    end = segment.end if cut is None else cut
    pieces: list[Piece] = [
        Copy(0, segment.element.start),
        Put(_segment_head(source, segment, end + len(grown) - segment.element.content)),
    ]
    at = segment.element.content
    for start, data in sorted(edits.items()):
        pieces += [Copy(at, start), Put(data)]
        at = start + len(data)
    return tidy([*pieces, Copy(at, end), Put(grown), Copy(segment.end, source.size)])


def _segment_head(source: Source, segment: Segment, size: int) -> bytes:
    """Id and size of the Segment; the size keeps its width where it can, and stays unknown where it was."""
    element = segment.element
    old = source.read(element.start, element.content - element.start)
    if element.end is None:
        return old
    width = len(old) - 4
    return old[:4] + (ebml.size_bytes(size, width) if size < (1 << 7 * width) - 1 else ebml.size_bytes(size, 8))


# Moving what follows


def _moved(
    source: Source, segment: Segment, tags: Sequence[Element], new: bytes, others: dict[int, bytes]
) -> list[Piece]:
    """Tags before the first cluster, spare room there given up, every position corrected."""
    border, gone = segment.first_cluster, {part.start for part in tags}
    new += ebml.void(_ROOM)
    content = {part.start: _content(source, part) for part in segment.parts if part.id in (_SEEK_HEAD, _CUES)}
    places: dict[int, int] = {}
    for _ in range(12):
        parts, laid, at = _laid_out(segment, border, gone, new, content, others, places)
        if laid == places:
            break
        places = laid
    else:
        raise Impossible("label.cannot_move")
    head = _segment_head(source, segment, at)
    return tidy([Copy(0, segment.element.start), Put(head), *parts, Copy(segment.end, source.size)])


def _laid_out(
    segment: Segment,
    border: int,
    gone: set[int],
    new: bytes,
    content: dict[int, bytes],
    others: dict[int, bytes],
    places: dict[int, int],
) -> tuple[list[Piece], dict[int, int], int]:
    """Pieces of the Segment's content, the new place of each old one, and how long it is, given where things were."""
    parts: list[Piece] = []
    laid: dict[int, int] = {}
    at, tags_at = 0, places.get(-1, 0)

    def moved(position: int) -> int:
        return places.get(position, position)

    for number, part in enumerate([*segment.parts, None]):
        if number == border:
            parts.append(Put(new))
            laid[-1] = at
            at += len(new)
        if part is None or part.start in gone or (part.id == VOID and number < border):
            continue
        laid[segment.relative(part.start)] = at
        piece = _piece(part, content, others, moved, tags_at)
        parts.append(piece)
        at += piece.size
    return parts, laid, at


def _piece(part: Element, content: dict[int, bytes], others: dict[int, bytes], moved: Move, tags_at: int) -> Piece:
    if part.id == _SEEK_HEAD:
        return Put(_seek_head(content[part.start], moved, tags_at))
    if part.id == _CUES:
        old = content[part.start]
        return Put(ebml.pack_checked(_CUES, _cues(old, moved), is_checked=ebml.has_sum(old)))
    return Put(others[part.start]) if part.start in others else Copy(part.start, part.end or 0)


def _seek_head(content: bytes, moved: Move, tags_at: int) -> bytes:
    """A SeekHead with positions corrected and the Tags where they are now."""
    entries = []
    named = False
    for id_, seek in ebml.split(content, "SeekHead"):
        said = dict(ebml.split(seek, "SeekHead/Seek"))
        position = said.get(_SEEK_POSITION, b"\0")
        at = moved(int.from_bytes(position, "big"))
        if said.get(_SEEK_ID) == _TAGS:
            if named:
                continue
            named, at = True, tags_at
        said[_SEEK_POSITION] = ebml.number_bytes(at, len(position))
        entries.append((id_, ebml.join(list(said.items()))))
    if not named:
        entries.append((_SEEK, ebml.pack(_SEEK_ID, _TAGS) + ebml.pack(_SEEK_POSITION, ebml.number_bytes(tags_at))))
    return ebml.pack_checked(_SEEK_HEAD, ebml.join(entries), is_checked=ebml.has_sum(content))


def _cues(content: bytes, moved: Move) -> bytes:
    """Cues with the positions of clusters corrected."""
    found = []
    for id_, inner in ebml.split(content, "Cues"):
        if id_ in _CUE_NESTS:
            found.append((id_, _cues(inner, moved)))
        elif id_ in _CUE_PLACES:
            found.append((id_, ebml.number_bytes(moved(int.from_bytes(inner, "big")), len(inner))))
        else:
            found.append((id_, inner))
    return ebml.join(found)


# Reading


def _segment(source: Source) -> Element:
    for element in ebml.children(source, 0, source.size, "EBML"):
        if element.id == _SEGMENT:
            return element
    raise Damaged("Segment")


def _parts(source: Source, start: int, end: int, *, stop_at: bytes = b"") -> Iterator[Element]:
    """The elements of the Segment; a cluster of unknown size ends where something of its own level begins."""
    while start < end:
        part = ebml.read_element(source, start, end, "Segment")
        if part.id == stop_at:
            return
        if part.end is None:
            if part.id != _CLUSTER:
                raise Damaged("Segment")
            part = Element(part.id, part.start, part.content, _cluster_end(source, part.content, end))
        yield part
        start = part.end or end


def _cluster_end(source: Source, start: int, end: int) -> int:
    while start < end:
        child = ebml.read_element(source, start, end, "Cluster")
        if child.id in _LEVEL_1:
            return start
        if child.end is None:
            raise Damaged("Cluster")
        start = child.end
    return end


def _size(part: Element) -> int:
    return (part.end or 0) - part.start


def _content(source: Source, part: Element) -> bytes:
    size = (part.end or 0) - part.content
    if size > (_MOST_CUES if part.id == _CUES else _MOST_TAGS):
        raise TooMuch("Segment")
    return source.read(part.content, size, "Segment")


def _seek_places(content: bytes, wanted: bytes) -> Iterator[int]:
    for _, seek in ebml.split(content, "SeekHead"):
        said = dict(ebml.split(seek, "SeekHead/Seek"))
        if said.get(_SEEK_ID) == wanted:
            yield int.from_bytes(said.get(_SEEK_POSITION, b""), "big")


def _tags(source: Source, segment: Element, end: int) -> Iterator[Element]:
    """Every Tags, those that are cheap to reach first; some come twice."""
    for part in _parts(source, segment.content, end, stop_at=_CLUSTER):
        if part.id == _TAGS:
            yield part
        elif part.id == _SEEK_HEAD:
            for place in _seek_places(_content(source, part), _TAGS):
                if segment.content + place < end:
                    tags = ebml.read_element(source, segment.content + place, end, "Tags")
                    yield from [tags] if tags.id == _TAGS else []
    yield from (part for part in _parts(source, segment.content, end) if part.id == _TAGS)


def _labels(content: bytes) -> Iterator[Found]:
    for id_, tag in ebml.split(content, "Tags"):
        if id_ == _TAG:
            yield from _in_simple(tag, 0)


def _in_simple(content: bytes, depth: int) -> Iterator[Found]:
    if depth > _DEEPEST:
        raise Damaged("Tags/Tag")
    for id_, inner in ebml.split(content, "Tags/Tag"):
        if id_ != _SIMPLE:
            continue
        if _names_label(inner):
            said = dict(ebml.split(inner, "SimpleTag"))
            text = said.get(_STRING, said.get(_BINARY, b"")).decode("utf-8", "replace").rstrip("\0")
            yield Found(text, "Tags/Tag/SimpleTag", depth == 0)
        yield from _in_simple(inner, depth + 1)


def _names_label(simple: bytes) -> bool:
    return any(id_ == _NAME and b"AIGC" in name.upper() for id_, name in ebml.split(simple, "SimpleTag"))


def _simple(text: str) -> bytes:
    return ebml.pack(_NAME, b"AIGC") + ebml.pack(_STRING, text.encode())


def _without_labels(content: bytes) -> list[tuple[bytes, bytes]]:
    """The Tags without labels; one that held nothing else is left out."""
    kept = []
    for id_, tag in ebml.split(content, "Tags"):
        bare = _bare(tag, 0) if id_ == _TAG else tag
        had, has = (
            any(i == _SIMPLE for i, _ in ebml.split(t, "Tags/Tag")) if id_ == _TAG else True for t in (tag, bare)
        )
        if has or not had:
            kept.append((id_, bare))
    return kept


def _bare(content: bytes, depth: int) -> bytes:
    if depth > _DEEPEST:
        raise Damaged("Tags/Tag")
    kept = []
    for id_, inner in ebml.split(content, "Tags/Tag"):
        if id_ != _SIMPLE:
            kept.append((id_, inner))
        elif not _names_label(inner):
            kept.append((id_, _bare(inner, depth + 1)))
    return ebml.join(kept)


def _cleaned(source: Source, part: Element) -> tuple[int, bytes]:
    """A further Tags without its labels, as long as before."""
    content = _content(source, part)
    new = ebml.pack_checked(_TAGS, ebml.join(_without_labels(content)), is_checked=ebml.has_sum(content))
    return part.start, _fitted(new, _size(part)) or ebml.void(_size(part))
