"""Functions that workers call in tests."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

from malan.core.errors import MediaError
from malan.runtime.pool import Task, WorkerPool
from malan.runtime.worker import report_progress


class Stranger:
    """A class that workers may not send."""


def double(number: int) -> int:
    return 2 * number


def echo(data: bytes) -> bytes:
    return data


def sleep_then(seconds: float, value: int) -> int:
    time.sleep(seconds)
    return value


def where() -> tuple[int, int]:
    return os.getpid(), os.getppid()


def refuse(path: str) -> None:
    raise MediaError("media.no_video", path=path)


def break_down() -> None:
    raise ZeroDivisionError("nothing to divide by")


def fill_the_disk() -> None:
    with Path("/dev/full").open("wb") as file:
        file.write(b"x")


def kill_self(name: str) -> None:
    os.kill(os.getpid(), signal.Signals[name])


def crash() -> None:
    import ctypes

    ctypes.string_at(0)


def eat_memory(megabytes: int) -> int:
    eaten = []
    for _ in range(megabytes // 10):
        eaten.append(b"x" * (10 << 20))
        time.sleep(0.005)
    return len(eaten)


def reserve_memory(gigabytes: int) -> int:
    return len(bytearray(gigabytes << 30))


def spin() -> None:
    while True:
        pass


def start_program() -> int:
    subprocess.Popen(["sleep", "61.25"])
    time.sleep(60)
    return 0


def tell(steps: int) -> str:
    for step in range(steps):
        report_progress(step)
    return "told"


def stranger() -> object:
    return Stranger()


def threads_allowed() -> str:
    return os.environ["OMP_NUM_THREADS"]


def serve_forever(folder: str) -> None:
    """A parent with two busy workers; what the test of a killed parent starts."""
    with WorkerPool(2) as pool:
        list(pool.run(Task("worker_tasks:note_then_spin", (folder,)) for _ in range(2)))


def note_then_spin(folder: str) -> None:
    Path(folder, str(os.getpid())).touch()
    spin()


def numbers(taken: list[int], count: int) -> Iterator[Task]:
    """Tasks that tell when they are taken from the source."""
    for number in range(count):
        taken.append(number)
        yield Task("worker_tasks:double", (number,), key=number)
