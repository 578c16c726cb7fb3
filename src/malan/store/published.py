"""Several Lance tables that change together or not at all.

Lance makes each table atomic on its own. Here one small file, `published.json`, names the version of every table that
counts; it is replaced by one rename after all tables of a change are written. A reader opens exactly those versions,
so it never sees half of a change; whatever a writer left behind when it died is undone by the next writer.
This module knows nothing of what the tables hold. Start reading at `Tables.change`.
"""

from __future__ import annotations

import fcntl
import json
import os
import shutil
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NoReturn

import pyarrow as pa

from malan.core.errors import RetryLater, StoreError
from malan.store.quiet_lance import lance

FORMAT = 1
_CACHE_BYTES = 384 << 20  # of indexes; the same again would not make a search faster
_METADATA_BYTES = 64 << 20
_POLL_S = 0.02
_TICK_NS = 50_000_000  # more than file times are coarse
_SYNCS_AT_ONCE = 16


class Tables:
    """Named Lance tables below one folder, read and changed as a whole.

    Any number of readers and writers, in any number of processes: writers take turns, readers never wait.

    Args:
        root: The folder; made at the first change.
        patience_s: How long a writer waits for another one before it gives up with `RetryLater`.
    """

    def __init__(self, root: Path, *, patience_s: float = 120.0) -> None:
        self.root = root
        self.patience_s = patience_s
        self._session = lance.Session(  # type: ignore[attr-defined]
            index_cache_size_bytes=_CACHE_BYTES, metadata_cache_size_bytes=_METADATA_BYTES
        )
        self._seen: tuple[tuple[int, int, int], View] | None = None

    def view(self) -> View:
        """All tables as last published. Costs one `stat` while nothing changed.

        Raises:
            StoreError: A table or the file of versions is damaged or gone.
        """
        stamp = self._stamp()
        if self._seen is None or self._seen[0] != stamp:
            versions = _read_versions(self._file)
            with told_as_store_error(self.root):
                self._seen = (stamp, View({name: self._open(name, version) for name, version in versions.items()}))
        return self._seen[1]

    @property
    def stamp(self) -> tuple[int, int, int]:
        """What tells one publication from the next."""
        return self._stamp()

    def held(self) -> Tables:
        """The same tables, read as they are now whatever is written later; cannot be changed."""
        return _Held(self)

    @contextmanager
    def change(self) -> Iterator[Change]:
        """Change any tables; all of it is published when the block ends, none of it when it raises.

        Raises:
            RetryLater: Another writer did not finish in time.
            StoreError: The disk is full or the folder cannot be written; what was published before still is.
        """
        with told_as_store_error(self.root):
            self.root.mkdir(parents=True, exist_ok=True)
            with _turn(self.root / "lock", self.patience_s):
                change = Change(self, self._undo_leftovers())
                try:
                    yield change
                except BaseException:
                    self._undo_leftovers()
                    raise
                self._publish(change)

    def _publish(self, change: Change) -> None:
        if not change.touched:
            return
        versions = {name: table.version for name, table in change.tables.items()}
        _sync_all(path for name in change.touched for path in _new_files(self.root / f"{name}.lance", change.began_ns))
        _replace_file(self._file, json.dumps({"format": FORMAT, "tables": versions}).encode())

    def _undo_leftovers(self) -> dict[str, Any]:
        """Make the head of every table the published one again; returns the heads."""
        versions, heads = _read_versions(self._file), {}
        for folder in sorted(self.root.glob("*.lance")):
            name = folder.name.removesuffix(".lance")
            if name not in versions:
                shutil.rmtree(folder)  # made by a writer that died before it published
                continue
            head = self._open(name, None)
            if head.version != versions[name]:
                old = self._open(name, versions[name])
                old.restore()
                head = self._open(name, None)
            heads[name] = head
        return heads

    def _open(self, name: str, version: int | None) -> Any:
        path = self.root / f"{name}.lance"
        try:
            return lance.dataset(str(path), version=version, session=self._session)
        except ValueError as error:  # what Lance says of a table or version that is not there
            raise StoreError("store.damaged", path=str(path), detail=str(error).split(",")[0]) from error

    @property
    def _file(self) -> Path:
        return self.root / "published.json"

    def _stamp(self) -> tuple[int, int, int]:
        try:
            info = self._file.stat()
        except FileNotFoundError:
            return (0, 0, 0)
        return (info.st_ino, info.st_mtime_ns, info.st_size)


class _Held(Tables):
    """Tables at one moment."""

    def __init__(self, tables: Tables) -> None:
        self.root, self.patience_s, self._session = tables.root, tables.patience_s, tables._session
        self._moment = tables.view()

    def view(self) -> View:
        return self._moment

    def change(self) -> NoReturn:
        raise TypeError("what is held as it was cannot be changed")


@dataclass(frozen=True)
class View:
    """The tables at one moment; a table that was never written is not there."""

    tables: Mapping[str, Any]

    def get(self, name: str) -> Any | None:
        return self.tables.get(name)

    def rows(self, name: str, where: str | None = None, columns: list[str] | None = None, **more: Any) -> pa.Table:
        """Rows of a table; none, with no columns, if there is no such table."""
        table = self.tables.get(name)
        if table is None:
            return pa.table({})
        return table.to_table(filter=where, columns=columns, **more)

    def count(self, name: str, where: str | None = None) -> int:
        table = self.tables.get(name)
        return 0 if table is None else table.count_rows(where)


@dataclass
class Change:
    """What a writer holds during its turn: the heads of all tables."""

    owner: Tables
    tables: dict[str, Any]
    touched: set[str] = field(default_factory=set)
    began_ns: int = field(default_factory=time.time_ns)

    @property
    def view(self) -> View:
        """The tables with what this change did so far."""
        return View(self.tables)

    def append(self, name: str, rows: pa.Table, prepare: Callable[[Any], None] | None = None) -> None:
        """Add rows; the first time this makes the table, and `prepare` its indexes."""
        if rows.num_rows == 0:
            return
        self.touched.add(name)
        uri = str(self.owner.root / f"{name}.lance")
        if name in self.tables:
            self._add_columns(name, rows.schema)
            self.tables[name] = lance.write_dataset(rows, self.tables[name], mode="append")
            return
        made = lance.write_dataset(rows, uri, enable_stable_row_ids=True, session=self.owner._session)
        if prepare:
            prepare(made)
        self.tables[name] = self.owner._open(name, None)

    def _add_columns(self, name: str, schema: pa.Schema) -> None:
        """Columns that the table does not have yet; rows that are there hold nothing in them."""
        missing = [column for column in schema if column.name not in self.tables[name].schema.names]
        if missing:
            self.edit(name, lambda table: table.add_columns(missing))

    def delete(self, name: str, where: str) -> None:
        """Remove rows; nothing happens where none match."""
        if name not in self.tables:
            return
        table = self.tables[name]
        if table.count_rows(where) == 0:
            return
        self.touched.add(name)
        table.delete(where)
        self.tables[name] = self.owner._open(name, None)

    def edit(self, name: str, work: Callable[[Any], None]) -> None:
        """Do anything else to a table that exists: compact it, index it."""
        self.touched.add(name)
        work(self.tables[name])
        self.tables[name] = self.owner._open(name, None)


def _read_versions(file: Path) -> dict[str, int]:
    try:
        said = json.loads(file.read_bytes())
        if said["format"] != FORMAT:
            raise StoreError("store.format", path=str(file), found=said["format"], known=FORMAT)
        return {str(name): int(version) for name, version in said["tables"].items()}
    except FileNotFoundError:
        return {}
    except (ValueError, KeyError, TypeError) as error:
        raise StoreError("store.damaged", path=str(file), detail=str(error)) from error


def _replace_file(file: Path, data: bytes) -> None:
    """Write beside, force to disk, rename over: a reader finds the old bytes or the new ones, never a part."""
    beside = file.with_suffix(".new")
    with beside.open("wb") as out:
        out.write(data)
        out.flush()
        os.fsync(out.fileno())
    beside.replace(file)
    _sync(file.parent)


def _new_files(folder: Path, since_ns: int) -> Iterator[Path]:
    """What Lance wrote since then, and the folders it wrote in."""
    for place, _, names in os.walk(folder):
        new = [path for path in (Path(place, name) for name in names) if path.stat().st_mtime_ns >= since_ns - _TICK_NS]
        yield from new
        if new:
            yield Path(place)


def _sync_all(paths: Iterable[Path]) -> None:
    """Force to disk, which Lance does not do itself: a power cut must not break what is published.

    Several at once, because the disk writes them together and the waits overlap.
    """
    with ThreadPoolExecutor(_SYNCS_AT_ONCE) as threads:
        for _ in threads.map(_sync, paths):
            pass


def _sync(path: Path) -> None:
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


@contextmanager
def _turn(file: Path, patience_s: float) -> Iterator[None]:
    """Hold the lock file. The kernel lets go of it when the process dies."""
    handle = os.open(file, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
    try:
        ends = time.monotonic() + patience_s
        while not _locked(handle):
            if time.monotonic() > ends:
                raise RetryLater("store.busy", path=str(file.parent), seconds=round(patience_s))
            time.sleep(_POLL_S)
        yield
    finally:
        os.close(handle)


def _locked(handle: int) -> bool:
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


@contextmanager
def told_as_store_error(root: Path) -> Iterator[None]:
    """What the disk says, said as ours."""
    try:
        yield
    except OSError as error:
        text = str(error)
        full = "No space left" in text or "os error 28" in text or "quota" in text.lower()
        code = "store.disk_full" if full else "store.unwritable"
        raise StoreError(code, path=str(root), detail=text.splitlines()[0] if text else "") from error
