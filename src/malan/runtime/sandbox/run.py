"""Run a program nobody trusts: shut in, watched, and ended when it takes too much.

    ran = run_shut_in(Command({"main.py": source}, packages=("numpy",)), RunLimits(), "sandbox", channel)

What comes back are declared results, one of three words for the end, and the evidence of the walls. Start reading at
`run_shut_in`; the walls are in `launch.py`, the claims in `docs/design/sandbox.md`.
"""

from __future__ import annotations

import fcntl
import math
import os
import select
import shutil
import signal
import stat
import tempfile
import time
import unicodedata
from collections.abc import Mapping
from contextlib import ExitStack, suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

from malan.runtime.sandbox.channel import Channel, DataLine, EndRun, Overflow, Result, Results
from malan.runtime.sandbox.launch import Launched, bubblewrap, launch
from malan.runtime.sandbox.layout import PYTHON, lay_out, write_folder
from malan.runtime.sandbox.level import Level, check_floor, refuse_below
from malan.runtime.sandbox.limits import RunLimits
from malan.runtime.sandbox.usage import TreeUsage, tree_usage

_WATCH_S = 0.02
_READ_BYTES = 1 << 18
_MOST_ATTEMPTS = 1000
_FLOOD = 16  # times the log that is kept
_PREFIX = "malan-run-"
_FRESH_S = 60  # a folder younger than this may not be locked yet
_KILLED_FOR_CPU = 128 + signal.SIGXCPU


@dataclass(frozen=True, slots=True)
class Command:
    """A Python program: its files by name, which of them to start, and the distributions it may import.

    Files are bytes, not a folder: what was approved by digest is what runs, without links or devices. `base` names
    files of this machine that are too large for that, such as weights of a base model; they are read below `/base`.
    """

    code: Mapping[str, bytes]
    entry: str = "main.py"
    arguments: tuple[str, ...] = ()
    packages: tuple[str, ...] = ()
    threads: int = 1
    base: Mapping[str, Path] = field(default_factory=dict)
    environment: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Ran:
    """How a run ended. Only `for_buyer` may be shown to whoever wrote the code."""

    end: Literal["ok", "failed", "limit"]
    limit: str | None  # memory, wall, cpu, scratch, output, log, attempts, stopped, or one of the loader's; or None
    level: Level
    results: Mapping[str, Result]  # empty unless the end is ok
    attempts: Mapping[str, int]  # refused system calls by name
    wall_s: float
    cpu_s: float
    peak_memory_bytes: int
    log_bytes: int  # written by the run; what was kept may be less

    def for_buyer(self) -> dict[str, Any]:
        """The end in one word, the limit if one was reached, and minutes rounded up."""
        return {"end": self.end, "limit": self.limit, "minutes": max(1, math.ceil(self.wall_s / 60))}


def run_shut_in(
    command: Command,
    limits: RunLimits,
    floor: str,
    channel: Channel,
    *,
    log: Path | None = None,
) -> Ran:
    """Run a program in a sandbox whose level is measured first, in this very run.

    Blocks until every process of the run is gone. A signal that ends this process ends the run too.

    Args:
        command: What runs.
        limits: What it may take.
        floor: The least level; below it, nothing of the command runs.
        channel: What it may ask for and hand in.
        log: Where the first bytes of its output go, for the owner alone; made with mode 0600. None: nowhere.

    Raises:
        Rejected: The walls cannot be built here, or the level is below the floor.
        NotFound: A package is not installed.
        Exception: Whatever `serve`, `on_progress`, `on_result` or `stop` of the channel raised; the run has ended.
    """
    check_floor(floor)
    bubblewrap()
    with ExitStack() as stack:
        folder = _own_folder(stack)
        write_folder(folder, dict(command.code), limits.memory_bytes)
        layout = lay_out(command.packages, folder, command.base)
        errors: list[BaseException] = []
        line = DataLine(channel, errors.append) if channel.serve else None
        if line:
            stack.callback(line.close)
        argv = [PYTHON, "-s", "-P", f"/code/{command.entry}", *command.arguments]
        launched = launch(stack, layout, limits, argv, _environment(command), line)
        refuse_below(floor, launched.level)
        if line:
            line.start()
        ran = _Watch(launched, limits, channel, errors, _open_log(stack, log)).until_over()
    for error in errors:
        if not isinstance(error, Overflow | EndRun):
            raise error
    return ran


def read_log(path: Path) -> str:
    """A log as text that is safe to print: what could steer a terminal is shown as a dot."""
    text = path.read_bytes().decode("utf-8", "replace")
    return "".join(c if c in "\n\t" or unicodedata.category(c)[0] != "C" else "·" for c in text)


def _own_folder(stack: ExitStack) -> Path:
    """A folder for the files of this run. Those of supervisors that were killed are taken away with it."""
    for left in Path(tempfile.gettempdir()).glob(f"{_PREFIX}*"):
        with suppress(OSError):
            _take_away(left)
    path = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix=_PREFIX)))
    fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    stack.callback(os.close, fd)
    fcntl.flock(fd, fcntl.LOCK_SH)
    return path


def _take_away(path: Path) -> None:
    """Remove a folder of ours that no living process holds; the kernel lets go of it when its holder dies."""
    found = path.lstat()
    if found.st_uid != os.geteuid() or time.time() - found.st_mtime < _FRESH_S:
        return
    fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        shutil.rmtree(path, ignore_errors=True)
    finally:
        os.close(fd)


def _environment(command: Command) -> dict[str, str]:
    counts = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")
    return {
        **command.environment,
        **dict.fromkeys(counts, str(command.threads)),
        "PYTHONPATH": "/runtime/site:/code",
        "LD_LIBRARY_PATH": "/runtime/lib",
        "PYTHONDONTWRITEBYTECODE": "1",
        "PYTHONUNBUFFERED": "1",
        "LC_ALL": "C.UTF-8",
        **dict.fromkeys(("HOME", "TMPDIR"), "/tmp"),  # noqa: S108  # the only place to write
        **dict.fromkeys(("USER", "LOGNAME"), "run"),
    }


def _open_log(stack: ExitStack, path: Path | None) -> int | None:
    if path is None:
        return None
    fd = os.open(
        path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW | os.O_CLOEXEC, stat.S_IRUSR | stat.S_IWUSR
    )
    stack.callback(os.close, fd)
    os.fchmod(fd, stat.S_IRUSR | stat.S_IWUSR)
    return fd


class _Watch:
    """Reads what a run writes and looks at what it takes, until it is over."""

    def __init__(
        self, launched: Launched, limits: RunLimits, channel: Channel, errors: list[BaseException], log_fd: int | None
    ) -> None:
        self._launched, self._limits, self._errors, self._log_fd = launched, limits, errors, log_fd
        self._channel, self._results = channel, Results(channel)
        self._log_bytes = 0
        self._peak = TreeUsage(0, 0.0, 0, 0, 0)
        self._limit: str | None = None

    def until_over(self) -> Ran:
        began = time.monotonic()
        try:
            self._launched.begin()
            self._watch(began)
        finally:
            self._launched.kill()
        code = self._launched.process.wait()
        wall_s = time.monotonic() - began
        self._drain()
        self._is_to_end()
        return self._ran(code, wall_s)

    def _watch(self, began: float) -> None:
        poll = select.poll()
        over = os.pidfd_open(self._launched.process.pid)
        try:
            for fd in (over, self._launched.log_fd, self._launched.results_fd):
                os.set_blocking(fd, False)
                poll.register(fd, select.POLLIN)
            looked = 0.0
            while self._limit is None and not self._is_to_end():
                ready = {fd for fd, _event in poll.poll(_WATCH_S * 1000)}
                for fd in ready - {over}:
                    if not self._take(fd):
                        poll.unregister(fd)
                if over in ready:
                    return
                if (now := time.monotonic()) - looked >= _WATCH_S:
                    looked = now
                    self._look(now - began)
        finally:
            os.close(over)

    def _is_to_end(self) -> bool:
        """Whether the line for data broke: by nonsense from the run, or by the loader."""
        if self._errors and isinstance(self._errors[0], Overflow):
            self._limit = "output"
        elif self._errors and isinstance(self._errors[0], EndRun):
            self._limit = self._limit or self._errors[0].limit
        return bool(self._errors)

    def _take(self, fd: int) -> bool:
        """Read what is there; returns whether more may come."""
        try:
            content = os.read(fd, _READ_BYTES)
        except BlockingIOError:
            return True
        if fd == self._launched.log_fd:
            self._write_down(content)
        else:
            self._collect(content)
        return bool(content)

    def _write_down(self, content: bytes) -> None:
        room = max(0, self._limits.log_bytes - self._log_bytes)
        if self._log_fd is not None and room:
            os.write(self._log_fd, content[:room])
        self._log_bytes += len(content)
        if self._log_bytes > _FLOOD * self._limits.log_bytes:
            self._limit = self._limit or "log"

    def _collect(self, content: bytes) -> None:
        try:
            self._results.feed(content)
        except Overflow:
            self._limit = self._limit or "output"
        except Exception as error:  # of the caller's on_progress or on_result
            self._errors.append(error)

    def _look(self, wall_s: float) -> None:
        now = tree_usage(self._launched.init_pid, self._limits.memory_bytes)
        self._peak = replace(
            now, memory_bytes=max(now.memory_bytes, self._peak.memory_bytes), cpu_s=max(now.cpu_s, self._peak.cpu_s)
        )
        for name, taken, limit in (
            ("memory", now.memory_bytes, self._limits.memory_bytes),
            ("cpu", now.cpu_s, self._limits.cpu_s),
            ("wall", wall_s, self._limits.wall_s),
            ("scratch", now.scratch_files, self._limits.scratch_files),
            ("attempts", self._launched.alarms.attempts.total(), _MOST_ATTEMPTS),
        ):
            if taken > limit:
                self._limit = self._limit or name
        if self._channel.stop and self._channel.stop():
            self._limit = self._limit or "stopped"

    def _drain(self) -> None:
        """What was written before the end; everybody who could write more is gone."""
        for fd in (self._launched.log_fd, self._launched.results_fd):
            with suppress(OSError):
                while self._take(fd) and self._limit is None:
                    pass

    def _ran(self, code: int, wall_s: float) -> Ran:
        if code == _KILLED_FOR_CPU:
            self._limit = self._limit or "cpu"
        is_ok = self._limit is None and code == 0 and self._results.is_whole
        return Ran(
            end="limit" if self._limit else "ok" if is_ok else "failed",
            limit=self._limit,
            level=self._launched.level,
            results=self._results.found if is_ok else {},
            attempts=dict(self._launched.alarms.attempts),
            wall_s=wall_s,
            cpu_s=self._peak.cpu_s,
            peak_memory_bytes=self._peak.memory_bytes,
            log_bytes=self._log_bytes,
        )
