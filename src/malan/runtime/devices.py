"""What is heavy stands on a device: one user at a time across threads and processes, loaded when asked for, let go when
nobody has asked for a while.

    hold(Wanted) ─▶ lock of the device ─▶ stands already? ─▶ memory enough? ─▶ load ─▶ … use … ─▶ idle ─▶ closed

What is held is not known here: whoever asks says how it is loaded. Start reading at `Devices.hold`.
"""

from __future__ import annotations

import fcntl
import os
import re
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Generic, Protocol, TypeVar

from malan.core.errors import RetryLater, StoreError
from malan.runtime.device_memory import free_mb

_SHORT_S, _LONG_S = 0.001, 0.05
_LOOK_S = 0.5
_MAKE_ROOM_S = 10.0


class Closing(Protocol):
    """What can be let go."""

    def close(self) -> None: ...


Held = TypeVar("Held", bound=Closing)


def _go_on() -> None:
    """Never asks to stop."""


@dataclass(frozen=True)
class Wanted(Generic[Held]):
    """Something that shall stand on a device.

    Args:
        name: What it is called in this workspace.
        mark: Changes when it is another thing under the same name; the old one is closed then.
        device: `cpu`, `cuda:0`, …; empty: it needs none, any number use it at the same time.
        load: Makes it; whatever it raises, nothing is kept.
        idle_s: Closed when nobody asked for so long; 0: at once.
        memory_mb: What it needs to stand; others that idle on the device are closed to make room. 0: not asked.
        work_mb: What it needs besides for what it is asked this time.
        host_mb: What it needs of the machine's own memory while it is loaded onto another device.
        patience_s: How long to wait for the device.
        stop: Raises when whoever asked does not want it any more; asked while waiting.
    """

    name: str
    mark: str
    device: str
    load: Callable[[], Held]
    idle_s: float = 600.0
    memory_mb: int = 0
    work_mb: int = 0
    host_mb: int = 0
    patience_s: float = 3600.0
    stop: Callable[[], None] = _go_on


@dataclass
class _Standing:
    """One thing that is loaded in this process."""

    thing: Closing
    mark: str
    device: str
    idle_s: float
    note: Path | None
    users: int = 0
    used_at: float = field(default_factory=time.monotonic)

    def due(self) -> float:
        return self.used_at + self.idle_s


class Devices:
    """The devices of a workspace, as this process uses them.

    Args:
        folder: Where processes see each other: locks, and notes of what stands where.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._begin()

    def _begin(self) -> None:
        self._process = os.getpid()
        self._standing: dict[str, _Standing] = {}
        self._guard, self._loading = threading.RLock(), threading.Lock()
        self._mine = threading.local()
        self._watch: threading.Thread | None = None

    @contextmanager
    def hold(self, wanted: Wanted[Held]) -> Iterator[Held]:
        """Something that stands ready, for as long as it is used.

        Raises:
            RetryLater: The device was busy for too long, or has too little memory left.
            MalanError: What loading it says.
        """
        self._after_fork()
        with self._turn(wanted):
            found = self._take(wanted)
            try:
                if wanted.work_mb:
                    self._make_room(wanted, wanted.device, wanted.work_mb, found.note)
                yield found.thing  # type: ignore[misc]  # what `wanted.load` made, under the same name and mark
            finally:
                self._give(wanted.name, found)

    def names(self) -> list[str]:
        """What stands in this process."""
        with self._guard:
            return sorted(self._standing)

    def close(self) -> None:
        """Let everything go that nobody uses at this moment. May be called twice."""
        self._close_where(lambda _: True)

    def close_idle(self) -> None:
        """Let go what nobody has asked for in a while, or what another process asked to have the place of."""
        now = time.monotonic()
        self._close_where(lambda one: one.due() <= now or _is_asked_to_go(one))

    @contextmanager
    def _turn(self, wanted: Wanted[Held]) -> Iterator[None]:
        """The device for oneself; whoever has it already has it."""
        mine: set[str] = self._mine.__dict__.setdefault("devices", set())
        if not wanted.device or wanted.device in mine:
            yield
            return
        descriptor = os.open(self._place(f"{_plain(wanted.device)}.lock"), os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            _wait_for(descriptor, wanted)
            mine.add(wanted.device)
            yield
        finally:
            mine.discard(wanted.device)
            os.close(descriptor)  # and the lock with it

    def _take(self, wanted: Wanted[Held]) -> _Standing:
        with self._guard:
            found = self._standing.get(wanted.name)
            if found is not None and found.mark == wanted.mark:
                found.users += 1
                found.idle_s = wanted.idle_s
                return found
        if wanted.device:
            return self._load(wanted)
        with self._loading:  # without a device two may ask at the same time: one of them loads
            with self._guard:
                again = self._standing.get(wanted.name)
                if again is not None and again.mark == wanted.mark:
                    again.users += 1
                    return again
            return self._load(wanted)

    def _load(self, wanted: Wanted[Held]) -> _Standing:
        self._forget(wanted.name)
        wanted.stop()
        note = self._place(f"{_plain(wanted.device)}.{self._process}.{_plain(wanted.name)}") if wanted.device else None
        if wanted.memory_mb:  # before anything is loaded, for what it will be asked as well
            self._make_room(wanted, wanted.device, wanted.memory_mb + wanted.work_mb, note)
        if wanted.host_mb:
            self._make_room(wanted, "cpu", wanted.host_mb, note)
        thing = wanted.load()
        standing = _Standing(thing, wanted.mark, wanted.device, wanted.idle_s, note, users=1)
        try:
            if note is not None:
                note.write_text("", "utf-8")
        except OSError as error:
            thing.close()
            raise StoreError("devices.unwritable", path=str(note), detail=error.strerror or "") from error
        with self._guard:
            self._standing[wanted.name] = standing
        self._watch_over()
        return standing

    def _give(self, name: str, found: _Standing) -> None:
        with self._guard:
            found.users -= 1
            found.used_at = time.monotonic()
            is_over = found.users == 0 and (found.idle_s <= 0 or self._standing.get(name) is not found)
            if is_over and self._standing.get(name) is found:
                del self._standing[name]
        if is_over:
            _let_go(found)

    def _forget(self, name: str) -> None:
        """Another thing of the same name: closed now, or by its last user."""
        with self._guard:
            old = self._standing.pop(name, None)
            is_unused = old is not None and old.users == 0
        if old is not None and is_unused:
            _let_go(old)

    def _close_where(self, is_over: Callable[[_Standing], bool]) -> None:
        with self._guard:
            over = {name: one for name, one in self._standing.items() if one.users == 0 and is_over(one)}
            for name in over:
                del self._standing[name]
        for one in over.values():
            _let_go(one)

    def _make_room(self, wanted: Wanted[Held], device: str, need_mb: int, note: Path | None) -> None:
        """Memory for one more: the longest idle of this process go first, then other processes are asked.

        Raises:
            RetryLater: There is not enough even then.
        """
        while free_mb(device) < need_mb:
            if not self._close_oldest(device):
                break
        pattern = "cpu*.*.*" if _is_processor(device) else f"{_plain(device)}.*.*"
        others = [one for one in self._folder.glob(pattern) if one != note and _is_alive(one)]
        if free_mb(device) < need_mb:
            for one in others:
                with suppress(OSError):
                    one.write_text("please go", "utf-8")
        until = time.monotonic() + _MAKE_ROOM_S
        while free_mb(device) < need_mb and any(one.exists() for one in others):
            wanted.stop()
            if time.monotonic() > until:
                break
            time.sleep(_LONG_S)
        if (left := free_mb(device)) < need_mb:
            raise RetryLater("devices.no_memory", name=wanted.name, device=device, need=need_mb, left=int(left))

    def _close_oldest(self, device: str) -> bool:
        with self._guard:
            idle = [
                (one.used_at, name)
                for name, one in self._standing.items()
                if not one.users and (one.device == device or (_is_processor(one.device) and _is_processor(device)))
            ]
            if not idle:
                return False
            oldest = self._standing.pop(min(idle)[1])
        _let_go(oldest)
        return True

    def _watch_over(self) -> None:
        with self._guard:
            if self._watch is None or not self._watch.is_alive():
                self._watch = threading.Thread(target=self._look, name="malan-devices", daemon=True)
                self._watch.start()

    def _look(self) -> None:
        """Until nothing stands any more."""
        while True:
            with self._guard:
                if not self._standing:
                    self._watch = None
                    return
            time.sleep(_LOOK_S)
            self.close_idle()

    def _after_fork(self) -> None:
        """What stands in the process we were split from is not ours to use or to close."""
        if self._process != os.getpid():
            self._begin()

    def _place(self, name: str) -> Path:
        try:
            self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        except OSError as error:
            raise StoreError("devices.unwritable", path=str(self._folder), detail=error.strerror or "") from error
        return self._folder / name


def _wait_for(descriptor: int, wanted: Wanted[Held]) -> None:
    """Raises:
    RetryLater: Others held the device for too long.
    """
    until, pause_s = time.monotonic() + wanted.patience_s, _SHORT_S
    while True:
        wanted.stop()
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return
        except BlockingIOError:
            pass
        if time.monotonic() > until:
            raise RetryLater("devices.busy", name=wanted.name, device=wanted.device)
        time.sleep(pause_s)
        pause_s = min(2 * pause_s, _LONG_S)


def _let_go(one: _Standing) -> None:
    try:
        one.thing.close()
    finally:
        if one.note is not None:
            one.note.unlink(missing_ok=True)


def _is_asked_to_go(one: _Standing) -> bool:
    try:
        return one.note is not None and one.note.stat().st_size > 0
    except OSError:
        return False


def _is_alive(note: Path) -> bool:
    """Whether the process that left a note still runs; notes of those that do not are swept."""
    process = note.name.split(".")[1]
    if process.isdecimal() and Path(f"/proc/{process}").exists():
        return True
    note.unlink(missing_ok=True)
    return False


def _is_processor(device: str) -> bool:
    """`cpu:speech` has a turn of its own, and the same memory."""
    return device.partition(":")[0] == "cpu"


def _plain(name: str) -> str:
    return re.sub(r"[^\w-]", "-", name)
