"""Hears the system calls that a run tried and may not make, refuses each, and counts them by name.

The kernel holds the caller until it is answered; if this process dies, the call fails. Start reading at `Alarms`.
"""

from __future__ import annotations

import errno
import fcntl
import os
import select
import struct
import threading
from collections import Counter
from contextlib import suppress

from malan.runtime.sandbox.syscalls import ALARMING, CLONE, PERSONALITY, SOCKET, SOCKETPAIR

_RECEIVE, _ANSWER = 0xC0502100, 0xC0182101
_REQUEST_BYTES = 80
_NAMES = {number: name for name, number in ALARMING.items()} | {
    CLONE: "clone",
    SOCKET: "socket",
    SOCKETPAIR: "socketpair",
    PERSONALITY: "personality",
}
_FAMILIES = {1: "unix", 2: "inet", 10: "inet6", 16: "netlink", 17: "packet", 38: "alg", 40: "vsock"}


class Alarms:
    """A thread that answers refused calls until the last process under the filter is gone."""

    def __init__(self, listener_fd: int) -> None:
        self.attempts: Counter[str] = Counter()
        self._listener_fd = listener_fd
        self._stop_read, self._stop_write = os.pipe()
        self._thread = threading.Thread(target=self._answer_all, name="malan-sandbox-alarms", daemon=True)
        self._thread.start()

    def forget(self) -> None:
        """Start counting anew: what came so far were the attacks of the first program inside."""
        self.attempts = Counter()

    def close(self) -> None:
        os.write(self._stop_write, b"x")
        self._thread.join(timeout=2)
        if self._thread.is_alive():
            return  # older kernels keep it waiting for a caller that was killed; it ends with this process
        for fd in (self._listener_fd, self._stop_read, self._stop_write):
            os.close(fd)

    def _answer_all(self) -> None:
        poll = select.poll()
        poll.register(self._listener_fd, select.POLLIN)
        poll.register(self._stop_read, select.POLLIN)
        while True:
            for fd, event in poll.poll():
                if fd == self._stop_read or not event & select.POLLIN:
                    return
                with suppress(OSError):  # the caller was killed meanwhile
                    self._answer()

    def _answer(self) -> None:
        request = bytearray(_REQUEST_BYTES)
        fcntl.ioctl(self._listener_fd, _RECEIVE, request)
        number, _arch, _ip, first = struct.unpack_from("=iIQQ", request, 16)
        self.attempts[_name(number, first)] += 1
        (call_id,) = struct.unpack_from("=Q", request)
        fcntl.ioctl(self._listener_fd, _ANSWER, struct.pack("=QqiI", call_id, 0, -errno.EPERM, 0))


def _name(number: int, first: int) -> str:
    name = _NAMES.get(number, str(number))
    return f"{name}.{_FAMILIES.get(first & 0xFFFFFFFF, 'other')}" if name in ("socket", "socketpair") else name
