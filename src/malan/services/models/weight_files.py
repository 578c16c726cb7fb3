"""The files of base models, each certain to be what was registered, without reading gigabytes at every opening.

What was read once is known by its identity: place, size, times and number on disk. The time of the last change of a
file's record cannot be set back by whoever may write the file, so a file that was touched at all is read again; what it
holds decides. Start reading at `checked_files`.
"""

from __future__ import annotations

import os
from collections.abc import Iterable
from hashlib import sha256
from pathlib import Path
from typing import TYPE_CHECKING

from sqlalchemy import Column, MetaData, String, Table, select

from malan.core.errors import NotFound, ProofError
from malan.core.ids import digest_bytes
from malan.inference.backends import Stop, go_on
from malan.inference.weights import usable_names
from malan.models.base_files import BaseFile, BaseModel
from malan.runtime.database import ensure_tables, put, reading, writing

if TYPE_CHECKING:
    from malan.workspace import Workspace

_METADATA = MetaData()
_FILES = Table(
    "weight_files",
    _METADATA,
    Column("place", String(64), primary_key=True),  # digest of the path
    Column("identity", String(200), nullable=False),
    Column("digest", String(64), nullable=False),  # of the content, when it was read
)
_PART_BYTES = 4 * 2**20
_AT_ONCE = 500


def checked_files(ws: Workspace, base: BaseModel, *, stop: Stop = go_on) -> dict[str, Path]:
    """Every file of a base by its name. What was read before and was not touched since is not read again.

    Args:
        ws: Where it is registered, and where it is noted what was read.
        base: As it was registered.
        stop: Asked while files are read.

    Raises:
        NotFound: A file is not there any more.
        ProofError: One is not what it was.
    """
    paths = {one.name: base.folder / one.name for one in base.files}
    known = _known(ws, paths.values())
    for one in base.files:
        path = paths[one.name]
        identity = _identity(path)
        if known.get(path) != (identity, one.digest):
            _read_again(ws, path, one, stop)
    return paths


def refuse_more(base: BaseModel) -> None:
    """Whoever opens a folder as a whole would read a file that came into it since: an index that leads to other shards,
    say.

    Raises:
        ProofError: There is one.
    """
    known = {one.name for one in base.files}
    if len(known) == 1:  # one file, wherever it lies
        return
    held = (path.relative_to(base.folder).as_posix() for path in base.folder.rglob("*") if path.is_file())
    if more := sorted(set(usable_names(held)) - known):
        raise ProofError("models.more_files", path=more[0][:80])


def _read_again(ws: Workspace, path: Path, known: BaseFile, stop: Stop) -> None:
    before = _identity(path)
    found = _digest(path, stop)
    if found != known.digest or _identity(path) != before:
        raise ProofError("models.changed", path=known.name, digest=known.digest[:12], found=found[:12])
    ensure_tables(ws.database, _METADATA)
    with writing(ws.database) as connection:
        put(connection, _FILES, {"place": _place(path), "identity": before, "digest": found})


def _known(ws: Workspace, paths: Iterable[Path]) -> dict[Path, tuple[str, str]]:
    """Of each path: its identity and digest when it was read last."""
    ensure_tables(ws.database, _METADATA)
    places = {_place(path): path for path in paths}
    listed, found = list(places), {}
    with reading(ws.database) as connection:
        for at in range(0, len(listed), _AT_ONCE):
            for row in connection.execute(select(_FILES).where(_FILES.c.place.in_(listed[at : at + _AT_ONCE]))):
                found[places[row.place]] = (row.identity, row.digest)
    return found


def _identity(path: Path) -> str:
    try:
        about = path.stat()
    except OSError as error:
        raise NotFound("models.no_file", path=str(path)) from error
    return f"{about.st_dev}:{about.st_ino}:{about.st_size}:{about.st_mtime_ns}:{about.st_ctime_ns}"


def _digest(path: Path, stop: Stop) -> str:
    check = sha256()
    try:
        with path.open("rb") as file:
            while content := file.read(_PART_BYTES):
                stop()
                check.update(content)
    except OSError as error:
        raise NotFound("models.no_file", path=str(path)) from error
    return check.hexdigest()


def _place(path: Path) -> str:
    return digest_bytes(os.fsencode(path))
