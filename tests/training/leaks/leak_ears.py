"""Ears outside: whatever reaches one of them left the run by a way nobody opened."""

from __future__ import annotations

import ctypes
import secrets
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


class Ears:
    """A TCP, a UDP, an abstract and a local socket that keep what they are told, and keys of System V memory."""

    def __init__(self, folder: Path) -> None:
        self._kept: list[bytes] = []
        self._name = f"malan-leak-{secrets.token_hex(6)}"
        self._path = folder / "s"
        self._key = 0x4D000000 | secrets.randbits(20)
        self._sockets = [
            self._bound(socket.AF_INET, socket.SOCK_STREAM, ("127.0.0.1", 0)),
            self._bound(socket.AF_INET, socket.SOCK_DGRAM, ("127.0.0.1", 0)),
            self._bound(socket.AF_UNIX, socket.SOCK_STREAM, f"\0{self._name}"),
            self._bound(socket.AF_UNIX, socket.SOCK_STREAM, str(self._path)),
        ]
        self._path.chmod(0o777)
        for one in self._sockets:
            threading.Thread(target=self._listen, args=(one,), daemon=True).start()

    @property
    def where(self) -> dict[str, object]:
        """What an attack needs to find them."""
        tcp, udp = (one.getsockname()[1] for one in self._sockets[:2])
        return {"tcp": tcp, "udp": udp, "abstract": self._name, "path": str(self._path), "key": self._key}

    def heard(self) -> bytes:
        """What came since the last look."""
        kept = b"".join(self._kept.pop(0) for _ in range(len(self._kept)))
        return kept + self._shared()

    def heard_soon(self, patience_s: float = 2.0) -> bytes:
        """The same, when something is expected: waits until it is there."""
        until = time.monotonic() + patience_s
        while not (found := self.heard()) and time.monotonic() < until:
            time.sleep(0.01)
        return found

    def close(self) -> None:
        for one in self._sockets:
            one.close()

    def _bound(self, family: int, kind: int, place: object) -> socket.socket:
        made = socket.socket(family, kind)
        made.bind(place)
        if kind == socket.SOCK_STREAM:
            made.listen(8)
        return made

    def _listen(self, ear: socket.socket) -> None:
        while True:
            try:
                if ear.type == socket.SOCK_DGRAM:
                    said = ear.recv(65536)
                    self._kept.append(said)
                    continue
                talking, _ = ear.accept()
                with talking:
                    talking.settimeout(1)
                    while more := talking.recv(65536):
                        self._kept.append(more)
            except TimeoutError:
                continue
            except OSError:
                return

    def _shared(self) -> bytes:
        """Memory and messages left under our key; both are taken away."""
        libc = ctypes.CDLL(None, use_errno=True)
        libc.shmat.restype = ctypes.c_void_p
        found = b""
        if (number := libc.shmget(self._key, 0, 0)) >= 0:
            if (place := libc.shmat(number, None, 0o10000)) not in (None, ctypes.c_void_p(-1).value):
                found += ctypes.string_at(place, 40)
                libc.shmdt(ctypes.c_void_p(place))
            libc.shmctl(number, 0, None)
        if (number := libc.msgget(self._key, 0)) >= 0:
            room = ctypes.create_string_buffer(4096)
            if libc.msgrcv(number, room, 4000, 0, 0o4000) >= 0:
                found += room.raw
            libc.msgctl(number, 0, None)
        return found


@contextmanager
def listening(folder: Path) -> Iterator[Ears]:
    ears = Ears(folder)
    try:
        yield ears
    finally:
        ears.close()
