"""Reading and writing the files of a log: nothing half written under its final name, nothing read without a limit.

What is covered: a crash or a full disk leaves every file as it was or whole; a device, a pipe or a symbolic link put in
place of a file is refused and cannot block a reader. Start at `Staged` and `read_whole`.
"""

from __future__ import annotations

import fcntl
import os
import stat
import time
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import TracebackType

from malan.core.errors import NotFound, ProofError, RetryLater, StoreError

FOLDER_MODE = 0o755  # a log is public; the private key lies elsewhere
FILE_MODE = 0o644
UNFINISHED = ".new"
LOCK = "lock"
MOST_STAGED = 128

_FLUSHERS = 16

_READ_FLAGS = os.O_RDONLY | os.O_NONBLOCK | os.O_NOFOLLOW | os.O_CLOEXEC


def read_whole(folder: Path, name: str, most_bytes: int) -> bytes:
    """The bytes of a file of the log.

    Raises:
        NotFound: It is not there.
        ProofError: It is larger than such a file can be, or no regular file.
        StoreError: The disk could not be read.
    """
    try:
        descriptor = os.open(folder / name, _READ_FLAGS)
    except FileNotFoundError as error:
        raise NotFound("ledger.missing", path=name) from error
    except NotADirectoryError as error:
        raise ProofError("ledger.no_file", path=name) from error
    except OSError as error:
        raise _unreadable(folder, name, error) from error
    with os.fdopen(descriptor, "rb", buffering=0) as file:
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            raise ProofError("ledger.no_file", path=name)
        try:
            data = file.read(most_bytes + 1)
        except OSError as error:
            raise StoreError("ledger.read", path=name, detail=str(error)) from error
    if len(data) > most_bytes:
        raise ProofError("ledger.too_long", path=name, most=most_bytes, byte=most_bytes)
    return data


class Staged:
    """New files of a log, written beside their final names; leaving the block without an error makes them durable.

    All are flushed first and renamed after: a name never shows a file that a power cut could empty. Descriptors and
    dirty memory stay bounded, 128 files are finished together; the folders are flushed once, at the end.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._open: list[tuple[int, Path]] = []
        self._made: set[Path] = {folder}
        self._changed: set[Path] = set()

    def add(self, name: str, data: bytes) -> None:
        """Write a file.

        Raises:
            StoreError: The disk is full or failing.
        """
        target = self._folder / name
        try:
            self._make_folder(target.parent)
            descriptor = os.open(_unfinished(target), os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, FILE_MODE)
            self._open.append((descriptor, target))
            write_all(descriptor, data)
            if len(self._open) >= MOST_STAGED:
                self._finish()
        except OSError as error:
            raise StoreError("ledger.write", path=name, detail=str(error)) from error

    def __enter__(self) -> Staged:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        try:
            if kind is None:
                self._finish()
                _flush_folders(self._changed)
        except OSError as failure:
            raise StoreError("ledger.write", path=str(self._folder), detail=str(failure)) from failure
        finally:
            self._close()

    def _finish(self) -> None:
        _flush([descriptor for descriptor, _ in self._open])
        for _, target in self._open:
            _unfinished(target).replace(target)
            self._changed.add(target.parent)
        self._close()

    def _close(self) -> None:
        for descriptor, _ in self._open:
            os.close(descriptor)
        self._open = []

    def _make_folder(self, folder: Path) -> None:
        if folder in self._made:
            return
        if not folder.is_dir():
            self._make_folder(folder.parent)
            folder.mkdir(mode=FOLDER_MODE, exist_ok=True)
            self._changed.add(folder.parent)
        self._made.add(folder)


class FolderLock:
    """One writer of a log at a time, over all processes; the kernel lets go when the holder dies."""

    def __init__(self, folder: Path, patience_s: float = 30.0) -> None:
        self._patience_s = patience_s
        self._folder = folder
        try:
            self._descriptor = os.open(folder / LOCK, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, FILE_MODE)
        except OSError as error:
            raise StoreError("ledger.write", path=LOCK, detail=str(error)) from error

    def take(self) -> None:
        """Wait for the turn.

        Raises:
            RetryLater: Another process has held the log for longer than a batch or a publishing takes.
        """
        if self._is_taken():
            return
        until, pause_s = time.monotonic() + self._patience_s, 0.0005
        while not self._is_taken():
            if time.monotonic() > until:
                raise RetryLater("ledger.locked", folder=self._folder)
            time.sleep(pause_s)
            pause_s = min(2 * pause_s, 0.02)

    def give(self) -> None:
        fcntl.flock(self._descriptor, fcntl.LOCK_UN)

    def close(self) -> None:
        os.close(self._descriptor)

    def __enter__(self) -> FolderLock:
        self.take()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.give()

    def _is_taken(self) -> bool:
        try:
            fcntl.flock(self._descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        return True


def write_all(descriptor: int, data: bytes | memoryview, at: int | None = None) -> None:
    """Write every byte, at the given place or where the file stands; short writes are continued."""
    written = os.write(descriptor, data) if at is None else os.pwrite(descriptor, data, at)
    if written < len(data):
        write_all(descriptor, memoryview(data)[written:], None if at is None else at + written)


def sync_folder(folder: Path) -> None:
    """Make the names in a folder durable."""
    _flush_folders([folder])


def _flush_folders(folders: Iterable[Path]) -> None:
    descriptors = [os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC) for folder in folders]
    try:
        _flush(descriptors)
    finally:
        for descriptor in descriptors:
            os.close(descriptor)


def _flush(descriptors: Sequence[int]) -> None:
    """Flush files side by side: the disk's journal then commits many with one write, about ten times as fast."""
    if len(descriptors) < 2:
        for descriptor in descriptors:
            os.fsync(descriptor)
        return
    with ThreadPoolExecutor(min(len(descriptors), _FLUSHERS)) as pool:
        list(pool.map(os.fsync, descriptors))


def _unfinished(target: Path) -> Path:
    return target.with_name(target.name + UNFINISHED)


def _unreadable(folder: Path, name: str, error: OSError) -> ProofError | StoreError:
    if (folder / name).is_symlink():
        return ProofError("ledger.no_file", path=name)
    return StoreError("ledger.read", path=name, detail=str(error))
