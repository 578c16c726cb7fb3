"""Write the one label of a file, and let go of the file only when it was read back as it should be.

    plan the pieces ─ assemble beside the target ─ compare bytes ─ foreign parser reads the label ─ same media ─ rename

The source is never touched; nothing is encoded. `label_in_place` is for files that are ours alone, as a renderer just
left them: where there is room, a few kilobytes are written and nothing is copied. Start at `write_label`.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from malan.core.errors import MediaError, StoreError, UsageError
from malan.media.labels.carriers import Carrier
from malan.media.labels.essence import Essence, difference, essence_of
from malan.media.labels.payload import MOST_CHARACTERS, Label
from malan.media.labels.pieces import (
    Damaged,
    Impossible,
    Piece,
    Put,
    Source,
    assemble,
    bytes_put,
    first_difference,
    keeps_places,
    only_changes,
)
from malan.media.labels.readback import foreign_texts
from malan.media.labels.verify import judge, look, opened_source, safely
from malan.media.sniff import shown


@dataclass(frozen=True, slots=True)
class Written:
    """What was written. `bytes_put` are ours; all others are the source's. `is_in_place`: none of those moved."""

    path: Path
    carrier: str
    size_bytes: int
    bytes_put: int
    is_in_place: bool
    read_back_by: str


def write_label(path: str | Path, out: str | Path, label: Label) -> Written:
    """A copy of a file with exactly this label; labels it had are replaced, all other metadata stay.

    What is at `out` is replaced when the new file is whole. Cost: a copy of the file by the system, and reading both
    once to compare.

    Raises:
        UsageError: A label that the standard does not allow, or the source itself as target.
        MediaError: The file cannot carry a label, is damaged, or what was written did not read back.
        StoreError: It could not be written; nothing is left of it.
    """
    label.check()
    return write_text(path, out, label.to_json())


def label_in_place(path: str | Path, label: Label) -> Written:
    """The same to a file that nobody else has yet. It stays as it was when that fails.

    A crash in between may leave it broken: give a file its name after this. Where there is no room, a labelled copy
    takes its place.
    """
    label.check()
    return text_in_place(path, label.to_json())


def write_text(path: str | Path, out: str | Path, text: str) -> Written:
    """`write_label` of a label as somebody else wrote it: carried along as it stands, right or wrong."""
    path, out = Path(path), Path(out)
    if out.exists() and out.samefile(path):
        raise UsageError("label.same_file", path=shown(out))
    part = out.with_name(f".malan-{os.getpid()}-{abs(hash(out.name)):x}.part")
    with opened_source(path) as (source, carrier):
        pieces = _planned(source, carrier, text, path)
        before = _state(source.fd)
        try:
            _write(source.fd, pieces, part, out)
            reader = _check(path, part, carrier, text, essence_of(path, carrier, source.size), source.size)
            if _state(source.fd) != before:
                raise MediaError("media.changed", path=shown(path))
            part.replace(out)
        except OSError as error:
            raise StoreError("label.not_written", path=shown(out), detail=error.strerror or str(error)) from error
        finally:
            part.unlink(missing_ok=True)
    return Written(out, carrier.name, out.stat().st_size, bytes_put(pieces), keeps_places(pieces), reader)


def text_in_place(path: str | Path, text: str) -> Written:
    """`label_in_place` of a label as somebody else wrote it."""
    path = Path(path)
    with opened_source(path) as (source, carrier):
        pieces = _planned(source, carrier, text, path)
        if keeps_places(pieces):
            reader = _patched(path, source, carrier, pieces, text)
            return Written(path, carrier.name, path.stat().st_size, bytes_put(pieces), True, reader)
    copy = path.with_name(f".malan-{os.getpid()}-{abs(hash(path.name)):x}-labelled{path.suffix}")
    try:
        done = write_text(path, copy, text)
        copy.replace(path)
    finally:
        copy.unlink(missing_ok=True)
    return Written(path, done.carrier, done.size_bytes, done.bytes_put, done.is_in_place, done.read_back_by)


def plan_label(path: str | Path, label: Label) -> tuple[str, list[Piece]]:
    """Kind of carrier and how the labelled file would be put together; nothing is written."""
    with opened_source(path) as (source, carrier):
        return carrier.name, _planned(source, carrier, label.to_json(), Path(path))


def _planned(source: Source, carrier: Carrier, text: str, path: Path) -> list[Piece]:
    if len(text) > MOST_CHARACTERS:
        raise UsageError("label.too_long", count=len(text), most=MOST_CHARACTERS)
    try:
        return safely(lambda: only_changes(source, carrier.plan(source, text)))
    except Damaged as damage:
        raise MediaError("label.cannot_write", path=shown(path), place=shown(damage.place)) from damage
    except Impossible as error:
        raise MediaError(error.why, path=shown(path)) from error


def _write(source_fd: int, pieces: Sequence[Piece], part: Path, out: Path) -> None:
    part.unlink(missing_ok=True)
    out_fd = os.open(part, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o666)
    try:
        assemble(source_fd, pieces, out_fd)
        at = first_difference(source_fd, pieces, out_fd)
    finally:
        os.close(out_fd)
    if at is not None:
        raise StoreError("label.not_the_same", path=shown(out), place=at)


def _patched(path: Path, source: Source, carrier: Carrier, pieces: Sequence[Piece], text: str) -> str:
    """Write our bytes over the file; take them back when it does not read back as it should."""
    before, size = essence_of(path, carrier, source.size), source.size
    edits, at = [], 0
    for piece in pieces:
        if isinstance(piece, Put):
            edits.append((at, piece.data, os.pread(source.fd, piece.size, at)))
        at += piece.size
    try:
        fd = os.open(path, os.O_RDWR | os.O_CLOEXEC)
        try:
            _overwrite(fd, [(start, new) for start, new, _ in edits], at)
            return _check(path, path, carrier, text, before, size)
        except BaseException:
            _overwrite(fd, [(start, old) for start, _, old in edits], size)
            raise
        finally:
            os.close(fd)
    except OSError as error:
        raise StoreError("label.not_written", path=shown(path), detail=error.strerror or str(error)) from error


def _overwrite(fd: int, edits: Sequence[tuple[int, bytes]], size: int) -> None:
    for start, data in edits:
        done = 0
        while done < len(data):
            done += os.pwrite(fd, data[done:], start + done)
    os.ftruncate(fd, size)


def _check(path: Path, part: Path, carrier: Carrier, text: str, before: Essence, size: int) -> str:
    """Read the new file with our reader and with a foreign one, whose name is returned; its media are as before.

    Raises:
        MediaError: Something is not as it should be.
    """
    with opened_source(part) as (source, found):
        seen = look(source, found)
    foreign, ours = foreign_texts(part, carrier), [one.text for one in seen.found]
    if seen.damage is not None or found is not carrier or ours != [text] or foreign.texts != [text]:
        verdict = judge(seen).verdict
        raise MediaError("label.not_read_back", path=shown(path), found=len(foreign.texts), verdict=verdict)
    changed = difference(before, essence_of(part, carrier, size))
    if changed is not None:
        raise MediaError("label.media_changed", path=shown(path), detail=changed)
    return foreign.reader


def _state(fd: int) -> tuple[int, int]:
    status = os.fstat(fd)
    return status.st_size, status.st_mtime_ns
