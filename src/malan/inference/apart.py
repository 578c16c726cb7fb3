"""A model in a process of its own: native code that ends its process, on a bad file or a bad day, takes nobody along.

    Apart ─ one line of JSON, then bytes ─▶ child ─ the same back ─▶ Apart

The child is started when first asked and again after it died; it ends with its parent, and gives all memory back when
closed. Only JSON and plain bytes cross, never pickles. Start reading at `Apart.call`; `serve` is the child's side.
"""

from __future__ import annotations

import ctypes
import fcntl
import importlib
import json
import os
import select
import signal
import subprocess
import sys
import tempfile
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from typing import IO, Any, Protocol, cast

from malan.core import errors
from malan.core.errors import MalanError, WorkerDied
from malan.inference.backends import Stop, go_on

_POLL_MS = 200
_HEADER_BYTES = 2**26
_PR_SET_PDEATHSIG = 1
_TAIL = 300

Facts = dict[str, Any]


class Served(Protocol):
    """What runs in the child."""

    @property
    def facts(self) -> Facts:
        """What the parent is told once it stands."""
        ...

    def call(self, asked: Facts, data: bytes) -> tuple[Facts, bytes]:
        """One question."""
        ...


class Apart:
    """The parent's side.

    Args:
        maker: `module:function` that makes a `Served` from facts, in the child.
        facts: What it is given; plain JSON.
        name: What the model is called in errors.
    """

    def __init__(self, maker: str, facts: Mapping[str, Any], name: str) -> None:
        self._maker, self._facts, self._name = maker, dict(facts), name
        self._child: _Child | None = None

    def open(self, *, stop: Stop = go_on) -> Facts:
        """Start the child and wait until it stands; what it says of itself.

        Raises:
            MalanError: What the maker raised.
            WorkerDied: The child ended.
        """
        self.close()
        stop()
        self._child = child = _Child.start(self._maker)
        return self._ask(child, self._facts, b"", stop)[0]

    def call(self, asked: Mapping[str, Any], data: bytes = b"", *, stop: Stop = go_on) -> tuple[Facts, bytes]:
        """One question; whoever stops it ends the child, and the next question starts another.

        Raises:
            MalanError: What the child raised.
            WorkerDied: It ended; the last words it said are in the message.
        """
        if self._child is None or self._child.process.poll() is not None:
            self.open(stop=stop)
        return self._ask(cast(_Child, self._child), asked, data, stop)

    def close(self) -> None:
        """End the child. May be called twice."""
        child, self._child = self._child, None
        if child is not None:
            child.end()

    def _ask(self, child: _Child, asked: Mapping[str, Any], data: bytes, stop: Stop) -> tuple[Facts, bytes]:
        try:
            _write(child.asks, asked, data)
            ready = select.poll()  # knows files beyond the thousandth, as `select` does not
            ready.register(child.answers, select.POLLIN)
            while not ready.poll(_POLL_MS):
                stop()
            said, got = _read(child.answers)
        except (OSError, EOFError, ValueError) as error:
            code, words = child.last_words()
            self.close()
            raise WorkerDied("speech.died", model=self._name, code=code, detail=words or "–") from error
        except BaseException:  # whoever asked does not wait any more
            self.close()
            raise
        child.said.truncate(0)
        if "error" in said:
            raise _rebuilt(said["error"])
        return said, got


@dataclass(frozen=True)
class _Child:
    """A process, its pipes, and the file that holds what it prints."""

    process: subprocess.Popen[bytes]
    asks: IO[bytes]
    answers: IO[bytes]
    said: IO[bytes]

    @classmethod
    def start(cls, maker: str) -> _Child:
        said = tempfile.TemporaryFile()  # noqa: SIM115  # lives as long as the child
        fcntl.fcntl(said, fcntl.F_SETFL, os.O_APPEND)  # so that it can be emptied while the child writes
        command = [sys.executable, "-m", "malan.inference.apart", maker, str(os.getpid())]
        process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=said, start_new_session=True
        )
        return cls(process, cast(IO[bytes], process.stdin), cast(IO[bytes], process.stdout), said)

    def last_words(self) -> tuple[int, str]:
        """How it ended, and the end of what it printed."""
        self.process.kill()
        code = self.process.wait()
        self.said.seek(0, os.SEEK_END)
        self.said.seek(max(0, self.said.tell() - _TAIL))
        return code, " ".join(self.said.read().decode("utf-8", "replace").split())

    def end(self) -> None:
        self.process.kill()
        self.process.wait()
        for pipe in (self.asks, self.answers, self.said):
            with suppress(OSError):
                pipe.close()


def _write(pipe: IO[bytes], facts: Mapping[str, Any], data: bytes) -> None:
    head = json.dumps({**facts, "bytes": len(data)}).encode()
    pipe.write(len(head).to_bytes(4, "little") + head)
    pipe.write(data)
    pipe.flush()


def _read(pipe: IO[bytes]) -> tuple[Facts, bytes]:
    length = int.from_bytes(_exactly(pipe, 4), "little")
    if length > _HEADER_BYTES:
        raise ValueError(length)
    said: Facts = json.loads(_exactly(pipe, length))
    return said, _exactly(pipe, int(said.pop("bytes")))


def _exactly(pipe: IO[bytes], count: int) -> bytes:
    data = bytearray()
    while len(data) < count:
        part = pipe.read(count - len(data))
        if not part:
            raise EOFError
        data += part
    return bytes(data)


def _told(error: MalanError) -> Facts:
    values = {key: value if isinstance(value, str | int | float) else str(value) for key, value in error.values.items()}
    return {"error": {"class": type(error).__name__, "code": error.code, "values": values}}


def _rebuilt(said: Mapping[str, Any]) -> MalanError:
    kind = getattr(errors, str(said["class"]), MalanError)
    known = isinstance(kind, type) and issubclass(kind, MalanError)
    made: MalanError = (kind if known else MalanError)(said["code"], **said["values"])
    return made


def serve(maker: str, parent: int) -> None:
    """The child: make what is asked for, then answer until nobody asks any more.

    What native code prints goes to standard error, so that it is never taken for an answer.
    """
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:
        return
    asks, answers = sys.stdin.buffer, os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)
    module, _, name = maker.partition(":")
    make: Callable[[Facts], Served] = getattr(importlib.import_module(module), name)
    served: Served | None = None
    with suppress(EOFError, BrokenPipeError):
        while True:
            asked, data = _read(asks)
            try:
                if served is None:
                    served = make(asked)
                    facts, got = served.facts, b""
                else:
                    facts, got = served.call(asked, data)
            except MalanError as error:
                facts, got = _told(error), b""
            _write(answers, facts, got)


if __name__ == "__main__":
    serve(sys.argv[1], int(sys.argv[2]))
