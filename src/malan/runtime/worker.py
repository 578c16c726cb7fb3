"""The process at the other end of the pool: `python -m malan.runtime.worker TALK LIFE MEMORY`.

It runs one task after another, each a module-level function named `package.module:function`, and answers with its
result, its error or its progress. It inherits nothing but two descriptors. When the parent is gone, however it went,
the kernel ends the worker: the life line is a pipe whose closing raises SIGIO, which kills by default, in C code too.
"""

from __future__ import annotations

import fcntl
import importlib
import os
import pickle
import select
import sys
import traceback
from collections.abc import Callable
from multiprocessing.connection import Connection
from pathlib import PurePath
from typing import Any

from malan.core.errors import MalanError, RetryLater, WorkerDied
from malan.runtime.limits import MIB, confine
from malan.runtime.wire import pack

_PROGRESS: list[Callable[[Any], None]] = []


def report_progress(value: Any) -> None:
    """Tell the parent how far the running task is; plain values only. Outside a worker it does nothing."""
    for send in _PROGRESS:
        send(value)


def main(talk_fd: int, life_fd: int, memory_bytes: int) -> None:
    """Serve tasks until the parent closes the line."""
    _die_with_parent(life_fd)
    confine(memory_bytes)
    line: Connection[Any, Any] = Connection(talk_fd)
    _PROGRESS.append(lambda value: line.send_bytes(pack(("progress", value))))
    while True:
        try:
            name, arguments = pickle.loads(line.recv_bytes())  # noqa: S301  # from our parent
        except EOFError:
            return
        line.send_bytes(_answer(name, arguments, memory_bytes))


def _answer(name: str, arguments: tuple[Any, ...], memory_bytes: int) -> bytes:
    try:
        return pack(("done", _function(name)(*arguments)))
    except MalanError as error:
        return pack(("error", error))
    except MemoryError:
        return pack(("error", WorkerDied("runtime.out_of_memory", limit_mb=memory_bytes // MIB)))
    except OSError as error:
        return pack(("error", RetryLater("runtime.system_error", detail=str(error))))
    except Exception as error:  # the edge of a process: whatever a task raises is its answer, not the worker's end
        detail = f"{type(error).__name__}: {error}"
        return pack(("error", MalanError("runtime.task_failed", task=name, detail=detail, where=_place(error))))


def _function(name: str) -> Callable[..., Any]:
    module, _, function = name.partition(":")
    found: Callable[..., Any] = getattr(importlib.import_module(module), function)
    return found


def _place(error: BaseException) -> str:
    """File and line of ours where an unexpected error came up, or where it was raised when none is ours."""
    frames = traceback.extract_tb(error.__traceback__)[1:]  # without `_answer`
    ours = [frame for frame in frames if f"{os.sep}malan{os.sep}" in frame.filename] or frames[-1:]
    return f"{PurePath(ours[-1].filename).name}:{ours[-1].lineno}" if ours else "?"


def _die_with_parent(life_fd: int) -> None:
    fcntl.fcntl(life_fd, fcntl.F_SETOWN, os.getpid())
    fcntl.fcntl(life_fd, fcntl.F_SETFL, fcntl.fcntl(life_fd, fcntl.F_GETFL) | os.O_ASYNC)
    watch = select.poll()
    watch.register(life_fd, 0)
    if watch.poll(0):  # it was closed before we asked to be told
        os._exit(1)


if __name__ == "__main__":
    # Under its package name, so that tasks which report progress find this very module.
    from malan.runtime import worker  # noqa: PLW0406

    worker.main(*(int(argument) for argument in sys.argv[1:4]))
