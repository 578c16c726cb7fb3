"""Starts bubblewrap, hears what the first program inside found, and holds the run until it may begin.

As root the run belongs to a user of its own on the host too: a thread with a private mount table puts what the run
may see where that user can reach it, so bubblewrap needs no privileges. Start reading at `launch`.
"""

from __future__ import annotations

import ctypes
import json
import os
import platform
import queue
import select
import shutil
import signal
import socket
import struct
import subprocess
import threading
from collections.abc import Callable
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from malan.core.errors import Rejected
from malan.runtime.sandbox.alarms import Alarms
from malan.runtime.sandbox.bpf import guest_filter, outer_filter
from malan.runtime.sandbox.channel import DataLine
from malan.runtime.sandbox.layout import PYTHON, Layout, Mount
from malan.runtime.sandbox.level import Level, Probe, judge, namespaces
from malan.runtime.sandbox.limits import RunLimits
from malan.runtime.sandbox.usage import tree

GUEST_ID = 65_530  # on the host, when the supervisor is root: no service has it
_START_S = 30.0
_LONGEST_REPORT = 1 << 20
_NEW_MOUNTS = 0x00020000
_BIND, _PRIVATE = 0x1000, 0x44000  # MS_BIND; MS_REC | MS_PRIVATE
_STAGING = "/tmp"  # noqa: S108  # covered in a mount table that only the thread sees
_STAGE_ENVIRONMENT = {
    "PYTHONPATH": "/runtime/site",
    "LD_LIBRARY_PATH": "/runtime/lib",
    "PYTHONDONTWRITEBYTECODE": "1",
    "LC_ALL": "C.UTF-8",
}


@dataclass(frozen=True, slots=True)
class Launched:
    """A run that stands before its first instruction: `begin` lets it go, `kill` ends all of it."""

    level: Level
    process: subprocess.Popen[bytes]
    init_pid: int
    init_handle: int  # pidfd
    control: socket.socket
    alarms: Alarms
    log_fd: int
    results_fd: int

    def begin(self) -> None:
        self.alarms.forget()
        with suppress(OSError):  # it is gone: seen as its end
            self.control.send(b"go")

    def kill(self) -> None:
        """End every process of the run: they die with the init of their namespace."""
        _end(self.init_handle)
        self.process.kill()


def launch(
    stack: ExitStack,
    layout: Layout,
    limits: RunLimits,
    argv: list[str],
    environment: dict[str, str],
    line: DataLine | None,
) -> Launched:
    """Build the walls and measure them; nothing of the buyer has run when this returns.

    Raises:
        Rejected: bubblewrap is missing, or the kernel does not allow what it needs; nothing weaker is tried.
    """
    control, theirs = socket.socketpair()
    stack.callback(control.close)
    (log_fd, log_write), (results_fd, results_write), (info_fd, info_write) = (os.pipe() for _ in range(3))
    for fd in (log_fd, results_fd, info_fd):
        stack.callback(os.close, fd)
    line_fds = [line.theirs.fileno()] if line else [os.open("/dev/null", os.O_RDONLY)]
    fds = [*line_fds, results_write, *([line.shared_fd] if line and line.shared_fd is not None else [])]
    filter_fd = _pipe_with(outer_filter())
    options = [*_walls(layout, limits), "--info-fd", str(info_write), "--seccomp", str(filter_fd)]
    stage = [PYTHON, "-S", "-s", "-P", "-m", "malan_inside.stage", str(theirs.fileno())]
    try:
        process = _start(
            layout.mounts, [*options, "--", *stage], [theirs.fileno(), filter_fd, info_write, *fds], log_write
        )
    finally:
        theirs.close()
        for fd in (log_write, results_write, info_write, filter_fd, *([] if line else line_fds)):
            os.close(fd)
    stack.callback(process.wait)
    stack.callback(process.kill)
    control.settimeout(_START_S)
    try:
        control.sendall(_framed(_orders(layout, limits, argv, environment, fds)))
        init_pid = int(json.loads(_until_brace(info_fd))["child-pid"])
        handle = os.pidfd_open(init_pid)
        stack.callback(os.close, handle)
        stack.callback(_end, handle)
        alarms = Alarms(_listener(control))
        stack.callback(alarms.close)
        report = json.loads(_report(control))
    except (OSError, ValueError, EOFError) as error:
        process.kill()
        process.wait()
        raise Rejected("sandbox.unavailable", detail=_last_words(log_fd) or str(error)) from error
    probes = [Probe(name, held, met) for name, (held, met) in report["probes"].items()]
    level = judge([*namespaces(init_pid), *probes], report["abi"])
    for pid in tree(init_pid):
        _first_to_go(pid)
    return Launched(level, process, init_pid, handle, control, alarms, log_fd, results_fd)


def bubblewrap() -> str:
    """Where bubblewrap is.

    Raises:
        Rejected: It is not installed, or this is a machine the filter is not written for.
    """
    if platform.machine() != "x86_64":
        raise Rejected("sandbox.machine", machine=platform.machine())
    found = shutil.which("bwrap", path="/usr/bin:/bin:/usr/local/bin")
    if found is None:
        raise Rejected("sandbox.no_bubblewrap")
    return found


def _walls(layout: Layout, limits: RunLimits) -> list[str]:
    """bubblewrap's options, except for the mounts of the runtime."""
    spaces = [f"--unshare-{name}" for name in ("user", "pid", "net", "ipc", "uts", "cgroup")]
    hidden = [word for place in layout.hidden for word in ("--tmpfs", place, "--remount-ro", place)]
    variables = [word for pair in _STAGE_ENVIRONMENT.items() for word in ("--setenv", *pair)]
    return [
        *(*spaces, "--uid", "1000", "--gid", "1000", "--hostname", "run", "--cap-drop", "ALL"),
        *("--new-session", "--die-with-parent", "--clearenv", *variables, *hidden),
        *("--symlink", "usr/lib", "/lib", "--symlink", "usr/lib64", "/lib64", "--symlink", "/tmp", "/dev/shm"),  # noqa: S108
        *("--size", str(limits.scratch_bytes), "--tmpfs", "/tmp", "--remount-ro", "/", "--chdir", "/tmp"),  # noqa: S108
    ]


def _start(mounts: tuple[Mount, ...], options: list[str], fds: list[int], log_fd: int) -> subprocess.Popen[bytes]:
    program = bubblewrap()

    def start(sources: list[str], **user: Any) -> subprocess.Popen[bytes]:
        binds = [
            word
            for mount, source in zip(mounts, sources, strict=True)
            for word in ("--dev-bind" if mount.is_device else "--ro-bind", source, mount.place)
        ]
        return subprocess.Popen(
            [program, *binds, *options],
            pass_fds=fds,
            stdin=subprocess.DEVNULL,
            stdout=log_fd,
            stderr=log_fd,
            env={},
            cwd="/",
            **user,
        )

    if os.geteuid() != 0:
        return start([str(mount.source) for mount in mounts])
    return _in_a_thread(lambda: start(_staged(mounts), user=GUEST_ID, group=GUEST_ID, extra_groups=[]))


def _in_a_thread(start: Callable[[], subprocess.Popen[bytes]]) -> subprocess.Popen[bytes]:
    """Start from a thread whose mounts nobody else sees. It stays as long as the process: they die together."""
    box: queue.SimpleQueue[subprocess.Popen[bytes] | BaseException] = queue.SimpleQueue()

    def body() -> None:
        try:
            process = start()
        except BaseException as error:  # belongs to the caller
            box.put(error)
        else:
            box.put(process)
            process.wait()

    threading.Thread(target=body, name="malan-sandbox", daemon=True).start()
    found = box.get()
    if isinstance(found, OSError):
        raise Rejected("sandbox.unavailable", detail=found.strerror or str(found)) from found
    if isinstance(found, BaseException):
        raise found
    return found


def _staged(mounts: tuple[Mount, ...]) -> list[str]:
    """Bind each source where an ordinary user can reach it, in this thread's own mount table."""
    libc = ctypes.CDLL(None, use_errno=True)
    _done(libc.unshare(_NEW_MOUNTS))
    _done(libc.mount(b"none", b"/", None, _PRIVATE, None))
    handles = [os.open(mount.source, os.O_PATH | os.O_CLOEXEC) for mount in mounts]
    try:
        _done(libc.mount(b"tmpfs", _STAGING.encode(), b"tmpfs", 0, b"mode=755,size=64k"))
        staged = []
        for number, handle in enumerate(handles):
            path = Path(_STAGING) / str(number)
            path.mkdir() if os.path.isdir(f"/proc/self/fd/{handle}") else path.touch()  # noqa: PTH112
            _done(libc.mount(f"/proc/self/fd/{handle}".encode(), str(path).encode(), None, _BIND, None))
            staged.append(str(path))
    finally:
        for handle in handles:
            os.close(handle)
    return staged


def _end(handle: int) -> None:
    """Kill the init of a namespace and wait until it is gone, and with it all that was below."""
    with suppress(ProcessLookupError):
        signal.pidfd_send_signal(handle, signal.SIGKILL)
    poll = select.poll()
    poll.register(handle, select.POLLIN)
    poll.poll(10_000)


def _done(result: int) -> None:
    if result:
        code = ctypes.get_errno()
        raise OSError(code, os.strerror(code))


def _orders(
    layout: Layout, limits: RunLimits, argv: list[str], environment: dict[str, str], fds: list[int]
) -> dict[str, Any]:
    places = {"shadow": "/etc/shadow", "processes": "/proc/1/status", "kernel": "/sys/kernel", "disk": "/dev/vda"}
    places |= {"memory": "/dev/mem", "services": "/run", "variables": "/var", "package": str(Path(__file__).parent)}
    mine = {"home": Path.home(), "here": Path.cwd(), "folder": layout.folder}
    places |= {
        name: str(path) for name, path in mine.items() if not path.is_relative_to("/usr") and len(path.parts) > 2
    }
    return {
        "rlimits": limits.rlimits(),
        "landlock": layout.landlock,
        "filter": guest_filter().hex(),
        "forbidden": places,
        "supervisor_pid": os.getpid(),
        "stage_environment": list(_STAGE_ENVIRONMENT),
        "fds": fds,
        "argv": argv,
        "environment": environment,
    }


def _listener(control: socket.socket) -> int:
    _word, fds, _flags, _address = socket.recv_fds(control, 8, 1)
    if not fds:
        raise EOFError("no listener")
    return fds[0]


def _report(control: socket.socket) -> bytes:
    size = control.recv(4, socket.MSG_WAITALL)
    if len(size) < 4:
        raise EOFError("no report")
    (length,) = struct.unpack("=I", size)
    return control.recv(min(length, _LONGEST_REPORT), socket.MSG_WAITALL)


def _framed(content: dict[str, Any]) -> bytes:
    text = json.dumps(content).encode()
    return struct.pack("=I", len(text)) + text


def _until_brace(fd: int) -> bytes:
    """bubblewrap writes one JSON object and keeps the line open."""
    content = b""
    while not content.rstrip().endswith(b"}"):
        part = os.read(fd, 4096)
        if not part:
            raise EOFError("bubblewrap ended")
        content += part
    return content


def _pipe_with(content: bytes) -> int:
    """The reading end of a pipe that holds some kilobytes and then ends."""
    ours, theirs = os.pipe()
    os.write(theirs, content)
    os.close(theirs)
    return ours


def _last_words(log_fd: int) -> str:
    os.set_blocking(log_fd, False)
    with suppress(OSError):
        lines = os.read(log_fd, 65_536).decode("utf-8", "replace").strip().splitlines()
        return lines[-1][:300] if lines else ""
    return ""


def _first_to_go(pid: int) -> None:
    """When the system is short of memory, the run is ended before anything else."""
    with suppress(OSError):
        Path(f"/proc/{pid}/oom_score_adj").write_text("1000")
