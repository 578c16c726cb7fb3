"""The two lines of a run: requests for data, answered by the loader, and results of declared names and sizes.

Nothing a run sends is taken for anything but JSON headers of bounded length and the bytes they announce; what is not
declared, or is more than declared, ends the run. Start reading at `Channel`.
"""

from __future__ import annotations

import json
import math
import mmap
import os
import socket
import struct
import threading
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any, Literal, TypeAlias

from malan.runtime.sandbox.inside import frames

Serve = Callable[[dict[str, Any]], Mapping[str, Any] | None]
"""Answers one request of a run: arrays by name, or None when there are no more. What it raises ends the run: an
`EndRun` as at a limit, anything else as an error of the caller's."""

_MOST_NUMBERS = 1000


@dataclass(frozen=True, slots=True)
class Output:
    """One thing a run may hand in: bytes, numbers by name, or arrays by name; never more than so many bytes in all."""

    kind: Literal["bytes", "numbers", "arrays"]
    max_bytes: int


@dataclass(frozen=True, slots=True)
class Channel:
    """What a run may ask for and hand in. Without `serve` there is no line for data at all."""

    outputs: Mapping[str, Output] = field(default_factory=dict)
    serve: Serve | None = None
    shared_bytes: int = 0  # of shared memory for data, in two halves; larger answers go over the line
    on_progress: Callable[[int], None] | None = None  # percent
    on_result: Callable[[str, Result], None] | None = None  # each result as soon as it is whole
    stop: Callable[[], bool] | None = None  # whether the run is to end; asked some fifty times a second


@dataclass(frozen=True, slots=True)
class Array:
    """Numbers a run handed in: NumPy's kind (`<f4`), shape and C-ordered bytes. Nothing of it has been interpreted."""

    kind: str
    shape: tuple[int, ...]
    content: bytes


Result: TypeAlias = "bytes | dict[str, float] | dict[str, Array]"


class Overflow(Exception):
    """A run handed in what it may not; never leaves this package."""


class EndRun(Exception):
    """Raised by a loader: the run has reached a limit of this name and ends like any other that did."""

    def __init__(self, limit: str) -> None:
        super().__init__(limit)
        self.limit = limit


class Results:
    """Takes the line of results apart as it comes in."""

    def __init__(self, channel: Channel) -> None:
        self.found: dict[str, Result] = {}
        self._channel = channel
        self._taken = dict.fromkeys(channel.outputs, 0)
        self._rest = bytearray()
        self._header: dict[str, Any] | None = None
        self._needs = 0
        self._percent = 0

    @property
    def is_whole(self) -> bool:
        """Whether the line ended between two results."""
        return self._header is None and not self._rest

    def feed(self, content: bytes) -> None:
        """Take what arrived.

        Raises:
            Overflow: Not declared, too much, or not a result at all.
        """
        self._rest += content
        try:
            while self._step():
                pass
        except (ValueError, TypeError, KeyError, RecursionError, OverflowError) as error:
            raise Overflow("not a result") from error

    def _step(self) -> bool:
        if self._header is None:
            return self._begin()
        if len(self._rest) < self._needs:
            return False
        content = bytes(memoryview(self._rest)[: self._needs])
        del self._rest[: self._needs]
        self._keep(self._header, content)
        self._header = None
        return True

    def _begin(self) -> bool:
        if len(self._rest) < 4:
            return False
        (length,) = struct.unpack_from("<I", self._rest)
        if length > frames.LONGEST_HEADER:
            raise Overflow("header too long")
        if len(self._rest) < 4 + length:
            return False
        header = json.loads(bytes(self._rest[4 : 4 + length]))
        del self._rest[: 4 + length]
        if "progress" in header:
            self._tell(header["progress"])
        else:
            self._needs = self._charge(header, length)
            self._header = header
        return True

    def _tell(self, percent: Any) -> None:
        if type(percent) is int and self._percent < percent <= 100:
            self._percent = percent
            if self._channel.on_progress:
                self._channel.on_progress(percent)

    def _charge(self, header: dict[str, Any], length: int) -> int:
        """Bytes that follow. The header counts too, since names carry information."""
        name = header["name"]
        output = self._channel.outputs.get(name)
        if output is None or set(header) != {"name", output.kind}:
            raise Overflow("not declared")
        needs = _following(output.kind, header[output.kind])
        self._taken[name] += needs + length
        if self._taken[name] > output.max_bytes:
            raise Overflow("too much")
        return needs

    def _keep(self, header: dict[str, Any], content: bytes) -> None:
        found: Result = content
        if "numbers" in header:
            found = _numbers(header["numbers"])
        elif "arrays" in header:
            found = _arrays(header["arrays"], content)
        self.found[header["name"]] = found
        if self._channel.on_result:
            self._channel.on_result(header["name"], found)


class DataLine:
    """Our end of the line for data: a thread that answers requests with the loader's arrays."""

    def __init__(self, channel: Channel, on_error: Callable[[BaseException], None]) -> None:
        self._serve, self._on_error = channel.serve, on_error
        self.ours, self.theirs = socket.socketpair()
        self.shared_fd, self._shared = _shared_memory(channel.shared_bytes)
        self._turn = 0
        self._thread = threading.Thread(target=self._answer_all, name="malan-sandbox-data", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def close(self) -> None:
        """End the thread; it may still wait for the loader, whose answer is then dropped."""
        for end in (self.ours, self.theirs):
            with suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)
        self._thread.join(timeout=5)
        self.ours.close()
        self.theirs.close()
        if self.shared_fd is not None:
            os.close(self.shared_fd)

    def _answer_all(self) -> None:
        while (request := self._request()) is not None:
            try:
                assert self._serve is not None  # noqa: S101  # there is no line without one
                arrays = self._serve(request)
                described, payload = ([], []) if arrays is None else frames.describe(arrays)
            except BaseException as error:  # of the loader: belongs to the caller
                self._on_error(error)
                return
            try:
                self._answer(None if arrays is None else described, payload)
            except OSError:
                return  # the run is gone, or has closed its end
            except ValueError:  # names that do not fit a header: only a run's own, handed back to it, are so long
                self._on_error(Overflow("names too long"))
                return

    def _request(self) -> dict[str, Any] | None:
        try:
            return frames.read_header(self._read)
        except OSError:
            return None
        except (ValueError, RecursionError):
            self._on_error(Overflow("not a request"))
            return None

    def _read(self, size: int) -> bytes:
        """Descriptors that a run sends along are dropped by the kernel, since none are asked for."""
        return self.ours.recv(size, socket.MSG_WAITALL) if size else b""

    def _answer(self, described: list[list[Any]] | None, payload: list[memoryview]) -> None:
        total = sum(part.nbytes for part in payload)
        half = len(self._shared) // 2 if self._shared else 0
        if not 0 < total <= half:
            self.ours.sendall(frames.header({"arrays": described}))
            for part in payload:
                self.ours.sendall(part)
            return
        at = self._turn * half
        self._turn = 1 - self._turn
        self._place(at, payload)
        self.ours.sendall(frames.header({"arrays": described, "at": at}))

    def _place(self, at: int, payload: list[memoryview]) -> None:
        assert self._shared is not None  # noqa: S101  # the caller looked
        view = memoryview(self._shared)
        for part in payload:
            view[at : at + part.nbytes] = part
            at += part.nbytes


def _shared_memory(size_bytes: int) -> tuple[int | None, mmap.mmap | None]:
    """Memory we write and the run can only read: sealed before it is handed over."""
    if not size_bytes:
        return None, None
    import fcntl

    fd = os.memfd_create("data", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
    os.ftruncate(fd, size_bytes)
    ours = mmap.mmap(fd, size_bytes)
    seal_future_write = 0x10
    fcntl.fcntl(fd, fcntl.F_ADD_SEALS, fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_GROW | seal_future_write | fcntl.F_SEAL_SEAL)
    return fd, ours


def _following(kind: str, told: Any) -> int:
    """How many bytes come after a header."""
    if kind == "numbers":
        return 0
    if kind == "arrays":
        return sum(frames.sizes(told))
    if type(told) is not int or told < 0:
        raise Overflow("not a size")
    return told


def _numbers(numbers: Any) -> dict[str, float]:
    if not isinstance(numbers, dict) or len(numbers) > _MOST_NUMBERS:
        raise Overflow("not numbers")
    found = {name: float(value) for name, value in numbers.items() if type(value) in (int, float)}
    if len(found) != len(numbers) or not all(math.isfinite(value) for value in found.values()):
        raise Overflow("not numbers")
    return found


def _arrays(described: list[list[Any]], content: bytes) -> dict[str, Array]:
    found, start = {}, 0
    for (name, kind, shape), size in zip(described, frames.sizes(described), strict=True):
        found[str(name)] = Array(kind, tuple(shape), content[start : start + size])
        start += size
    return found
