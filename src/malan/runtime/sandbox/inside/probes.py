"""Attacks that a run makes on its own walls before it begins: each must fail, and what it met is told.

    name → [held, what the kernel said]

They take a few milliseconds, so every run measures its walls anew. What needs longer (filling the disk, fork bombs) is
in `level.py` and the tests. Start reading at `attack`.
"""

from __future__ import annotations

import ctypes
import errno
import os
import resource
import signal
from typing import Any

_PTRACE, _KEYCTL, _UNSHARE, _MOUNT, _IO_URING, _BPF, _PERF = 101, 250, 272, 165, 425, 321, 298
_USERFAULTFD, _MEMFD, _SETNS, _EXECVEAT, _PERSONALITY, _KEXEC = 323, 319, 308, 322, 135, 246
_READV_OF_OTHERS, _WRITEV_OF_OTHERS, _OPEN_BY_HANDLE, _STATMOUNT, _SHMGET, _SOCKET = 310, 311, 304, 457, 29, 41
_NEWUSER = 0x10000000
_X32_GETPID = 0x40000000 + 39

_CALLS: dict[str, tuple[Any, ...]] = {
    "ptrace": (_PTRACE, 2, 1, 0, 0),
    "process_vm_readv": (_READV_OF_OTHERS, 1, 0, 0, 0, 0, 0),
    "process_vm_writev": (_WRITEV_OF_OTHERS, 1, 0, 0, 0, 0, 0),
    "io_uring": (_IO_URING, 1, 0),
    "keyctl": (_KEYCTL, 0, -3, 0),
    "bpf": (_BPF, 0, 0, 0),
    "userfaultfd": (_USERFAULTFD, 0),
    "perf_event": (_PERF, 0, 0, -1, -1, 0),
    "kexec": (_KEXEC, 0, 0, 0, 0),
    "mount": (_MOUNT, b"none", b"/tmp", b"tmpfs", 0, 0),
    "unshare": (_UNSHARE, _NEWUSER),
    "setns": (_SETNS, 0, 0),
    "memfd": (_MEMFD, b"x", 0),
    "execveat": (_EXECVEAT, 0, b"", 0, 0, 0x1000),
    "personality": (_PERSONALITY, 8),
    "open_by_handle": (_OPEN_BY_HANDLE, 0, 0, 0),
    "statmount": (_STATMOUNT, 0, 0, 0, 0),
    "shared_memory": (_SHMGET, 0, 4096, 0o1600),
}
_FAMILIES = {"inet": 2, "inet6": 10, "unix": 1, "netlink": 16, "packet": 17, "vsock": 40, "alg": 38}


def attack(orders: dict[str, Any], control_fd: int) -> dict[str, list[Any]]:
    """Try everything; returns for each attack whether the wall held, and what was met."""
    libc = ctypes.CDLL(None, use_errno=True)
    found = {f"call.{name}": _refused(libc, *call) for name, call in _CALLS.items()}
    found |= {f"network.{name}": _refused(libc, _SOCKET, family, 1, 0) for name, family in _FAMILIES.items()}
    found["call.x32"] = _killed(libc)
    found |= _files(orders)
    found |= _processes(orders)
    found |= _own(libc, orders, control_fd)
    return found


def _refused(libc: ctypes.CDLL, *call: Any) -> list[Any]:
    result = libc.syscall(*call)
    code = ctypes.get_errno() if result < 0 else 0
    return [code == errno.EPERM, errno.errorcode.get(code, "done")]


def _killed(libc: ctypes.CDLL) -> list[Any]:
    """A call of a foreign instruction set ends the process that makes it."""
    child = os.fork()
    if not child:
        libc.syscall(_X32_GETPID)
        os._exit(0)
    status = os.waitpid(child, 0)[1]
    held = os.WIFSIGNALED(status) and os.WTERMSIG(status) == signal.SIGSYS
    return [held, "SIGSYS" if held else f"status {status}"]


def _files(orders: dict[str, Any]) -> dict[str, list[Any]]:
    found = {f"files.read {name}": _fails(os.open, path, os.O_RDONLY) for name, path in orders["forbidden"].items()}
    for place in ("/", "/runtime", "/code", "/usr", "/dev", "/etc"):
        path = place.rstrip("/") + "/probe"
        found[f"files.write {place}"] = _fails(os.open, path, os.O_WRONLY | os.O_CREAT, 0o600)
    found["files.device"] = _fails(os.mknod, "/tmp/probe", 0o020600, 0x0103)  # noqa: S108  # the only place to write
    found["files.landlock"] = _fails(os.listdir, "/")
    return found


def _processes(orders: dict[str, Any]) -> dict[str, list[Any]]:
    """Only bubblewrap's reaper and this process are here; the supervisor is out of reach."""
    pid = orders["supervisor_pid"]
    return {
        "processes.supervisor": [True, "as init"] if pid < 10 else _fails(os.kill, pid, 0),
        "processes.few": [os.getpid() < 10, f"pid {os.getpid()}"],
    }


def _own(libc: ctypes.CDLL, orders: dict[str, Any], control_fd: int) -> dict[str, list[Any]]:
    limits = {name: resource.getrlimit(getattr(resource, f"RLIMIT_{name}")) for name in orders["rlimits"]}
    wrong = [name for name, value in orders["rlimits"].items() if limits[name] != (value, value)]
    return {
        "own.user": [os.getuid() == 1000, f"uid {os.getuid()}"],
        "own.capabilities": [_capabilities(libc) == 0, f"{_capabilities(libc):x}"],
        "own.no_new_privileges": [libc.prctl(39, 0, 0, 0, 0) == 1, ""],
        "own.descriptors": _descriptors({0, 1, 2, control_fd, *orders["fds"]}),
        "own.environment": [set(os.environ) <= {*orders["stage_environment"], "PWD", "LC_CTYPE"}, " ".join(os.environ)],
        "own.limits": [not wrong, " ".join(wrong)],
        "own.host_name": [os.uname().nodename == "run", os.uname().nodename],
    }


def _capabilities(libc: ctypes.CDLL) -> int:
    header, data = (ctypes.c_uint32 * 2)(0x20080522, 0), (ctypes.c_uint32 * 6)()
    if libc.capget(header, data):
        return -1
    return data[0] | data[1] | data[3] | data[4]  # effective and permitted, both halves


def _descriptors(wanted: set[int]) -> list[Any]:
    extra = [fd for fd in range(4096) if fd not in wanted and _is_open(fd)]
    return [not extra, str(extra)]


def _is_open(fd: int) -> bool:
    try:
        os.fstat(fd)
    except OSError:
        return False
    return True


def _fails(call: Any, *arguments: Any) -> list[Any]:
    try:
        call(*arguments)
    except OSError as error:
        return [True, errno.errorcode.get(error.errno or 0, "?")]
    return [False, "done"]
