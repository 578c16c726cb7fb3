"""Objects put aside on disk, so that what is gathered over ten hours of film does not stay in memory.

The first few stay where they are: a short film never touches the disk. Start at `Shelf`.
"""

from __future__ import annotations

import os
import pickle
import tempfile
import weakref
import zlib
from typing import Generic, TypeVar

T = TypeVar("T")


class Shelf(Generic[T]):
    """Objects by number, the first `in_memory` of them in memory, the others in a file that has no name.

    The file is gone with the process, however it ends. Not safe between threads.

    Args:
        in_memory: How many may stay in memory at once.
        packed: Squeeze what goes to disk: for masks and the like, which become a tenth.
    """

    def __init__(self, in_memory: int, *, packed: bool = False) -> None:
        self._in_memory, self._packed = in_memory, packed
        self._here: dict[int, T] = {}
        self._there: dict[int, tuple[int, int]] = {}  # place and size in the file
        self._file, self._end = -1, 0

    def __contains__(self, number: int) -> bool:
        return number in self._here or number in self._there

    def __len__(self) -> int:
        return len(self._here) + len(self._there)

    def __getitem__(self, number: int) -> T:
        if number in self._here:
            return self._here[number]
        place, size = self._there[number]
        data = os.pread(self._file, size, place)
        found: T = pickle.loads(zlib.decompress(data) if self._packed else data)  # noqa: S301  # a file of our own
        return found

    def __setitem__(self, number: int, value: T) -> None:
        self.pop(number)
        if len(self._here) < self._in_memory:
            self._here[number] = value
            return
        data = pickle.dumps(value, pickle.HIGHEST_PROTOCOL)
        if self._packed:
            data = zlib.compress(data, 1)
        self._write(data)
        self._there[number] = self._end - len(data), len(data)

    def pop(self, number: int) -> None:
        """Forget an object, if it is there. The file starts anew when the last one in it is forgotten."""
        self._here.pop(number, None)
        if self._there.pop(number, None) and not self._there:
            os.ftruncate(self._file, 0)
            self._end = 0

    def _write(self, data: bytes) -> None:
        if self._file < 0:
            self._file, name = tempfile.mkstemp(prefix="malan-")
            os.unlink(name)  # noqa: PTH108  # a name only until here
            weakref.finalize(self, os.close, self._file)
        left = memoryview(data)
        while left:
            written = os.pwrite(self._file, left, self._end)
            left, self._end = left[written:], self._end + written
