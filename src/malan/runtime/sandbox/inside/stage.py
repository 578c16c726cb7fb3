"""The first program inside: closes the walls that bubblewrap does not, tries them, and only then becomes the run.

It runs before any code of a buyer and is trusted. It takes its orders from the supervisor over one socket, hands over
the listener of its system-call filter, reports what its own attacks achieved and waits for a yes. Whatever goes wrong
ends it. Start reading at `main`.
"""

from __future__ import annotations

import ctypes
import fcntl
import json
import os
import resource
import socket
import struct
import sys
from itertools import pairwise
from typing import Any

from . import landlock, probes

_SECCOMP, _SET_FILTER, _NEW_LISTENER = 317, 1, 1 << 3
_SET_NO_NEW_PRIVS = 38
_PARKED = 50


def main(control_fd: int) -> None:
    """Close in, try to get out, tell, and become the run if the supervisor says so."""
    control = socket.socket(fileno=control_fd)
    orders = json.loads(_receive(control))
    _close_all_but([control_fd, *orders["fds"]])
    _limit(orders["rlimits"])
    version = landlock.restrict(orders["landlock"])
    listener = _filter(bytes.fromhex(orders["filter"]))
    socket.send_fds(control, [b"listener"], [listener])
    os.close(listener)
    found = probes.attack(orders, control_fd)
    _send(control, json.dumps({"abi": version, "probes": found}).encode())
    if control.recv(2) != b"go":
        sys.exit(70)
    control.close()
    _become(orders)


def _limit(limits: dict[str, int]) -> None:
    for name, value in limits.items():
        resource.setrlimit(getattr(resource, f"RLIMIT_{name}"), (value, value))


def _filter(program: bytes) -> int:
    """Install the filter for good; returns the descriptor on which refused calls are heard."""
    libc = ctypes.CDLL(None, use_errno=True)
    code = ctypes.create_string_buffer(program, len(program))
    header = struct.pack("HxxxxxxQ", len(program) // 8, ctypes.addressof(code))
    if libc.prctl(_SET_NO_NEW_PRIVS, 1, 0, 0, 0):
        raise OSError(ctypes.get_errno(), "no_new_privs")
    listener = int(libc.syscall(_SECCOMP, _SET_FILTER, _NEW_LISTENER, header))
    if listener < 0:
        raise OSError(ctypes.get_errno(), "seccomp")
    return listener


def _become(orders: dict[str, Any]) -> None:
    """Descriptors 3, 4, 5 are the run's: requests, results, shared memory; nothing else is open."""
    above = [fcntl.fcntl(fd, fcntl.F_DUPFD, _PARKED) for fd in orders["fds"]]
    for fd in orders["fds"]:
        os.close(fd)  # by number: of a launcher with many files open they lie above the limit that holds by now
    os.closerange(3, _PARKED)
    for number, fd in enumerate(above, 3):
        os.dup2(fd, number)
    _close_above(_PARKED - 1)
    os.umask(0o077)
    os.execve(orders["argv"][0], orders["argv"], orders["environment"])  # noqa: S606  # no shell is there


def _close_all_but(wanted: list[int]) -> None:
    """Bubblewrap leaves open what it inherited."""
    for low, high in pairwise([2, *sorted(wanted)]):
        os.closerange(low + 1, high)
    _close_above(max(wanted))


def _close_above(fd: int) -> None:
    os.closerange(fd + 1, max(fd + 2, resource.getrlimit(resource.RLIMIT_NOFILE)[1]))


def _receive(control: socket.socket) -> bytes:
    (size,) = struct.unpack("=I", control.recv(4, socket.MSG_WAITALL))
    return control.recv(size, socket.MSG_WAITALL)


def _send(control: socket.socket, content: bytes) -> None:
    control.sendall(struct.pack("=I", len(content)) + content)


if __name__ == "__main__":
    main(int(sys.argv[1]))
