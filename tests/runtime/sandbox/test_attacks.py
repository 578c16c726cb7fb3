"""Attacks by a run on its walls: each must be stopped by the kernel, and the telling ones be written down."""

from __future__ import annotations

import os
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

ShutIn = Callable[..., Any]
Met = Callable[[dict[str, str]], tuple[dict[str, str], Any]]

NETWORK = {
    "socket.inet": "socket.socket(socket.AF_INET)",
    "socket.inet6": "socket.socket(socket.AF_INET6, socket.SOCK_DGRAM)",
    "socket.netlink": "socket.if_nameindex()",
    "socket.packet": "call(41, 17, 3, 0)",
    "socket.vsock": "call(41, 40, 1, 0)",
    "socketpair.other": "call(53, 30, 1, 0, 0)",  # TIPC
    "connect": "pair = socket.socketpair()[0]; call(42, pair.fileno(), b'\\x01\\0\\0x', 4)",
    "bind": "pair = socket.socketpair()[0]; call(49, pair.fileno(), b'\\x01\\0\\0x', 4)",
}

CALLS = {
    "ptrace": "call(101, 16, 1, 0, 0)",
    "process_vm_readv": "call(310, 1, 0, 0, 0, 0, 0)",
    "process_vm_writev": "call(311, 1, 0, 0, 0, 0, 0)",
    "pidfd_getfd": "call(438, 0, 0, 0)",
    "io_uring_setup": "call(425, 8, bytes(120))",
    "io_uring_enter": "call(426, 3, 1, 0, 0, 0, 0)",
    "keyctl": "call(250, 0, -3, 1)",
    "add_key": "call(248, b'user', b'x', b'y', 1, -3)",
    "bpf": "call(321, 0, bytes(128), 128)",
    "userfaultfd": "call(323, 0)",
    "perf_event_open": "call(298, bytes(128), 0, -1, -1, 0)",
    "kexec_load": "call(246, 0, 0, 0, 0)",
    "finit_module": "call(313, 0, b'', 0)",
    "mount": "call(165, b'proc', b'/tmp', b'proc', 0, 0)",
    "fsopen": "call(430, b'proc', 0)",
    "open_tree": "call(428, -100, b'/', 1)",
    "statmount": "call(457, 0, 0, 0, 0)",
    "pivot_root": "call(155, b'/tmp', b'/tmp')",
    "chroot": "os.chroot('/tmp')",
    "unshare": "call(272, 0x10000000)",
    "setns": "call(308, 0, 0)",
    "clone": "call(56, 0x10000000 | 17, 0, 0, 0, 0)",
    "memfd_create": "os.execve(os.memfd_create('second-stage'), ['x'], {})",
    "memfd_secret": "call(447, 0)",
    "execveat": "call(322, 0, b'', 0, 0, 0x1000)",
    "personality": "call(135, 0x0040000)",
    "open_by_handle_at": "call(304, 0, bytes(32), 0)",
    "mknodat": "os.mknod('/tmp/disk', 0o060600, os.makedev(8, 0))",
    "shmget": "call(29, 0, 1 << 30, 0o1600)",
    "mq_open": "call(240, b'/queue', 0o102, 0o600, 0)",
    "setuid": "os.setuid(0)",
    "setgroups": "os.setgroups([0])",
    "capset": "call(126, struct.pack('Ii', 0x20080522, 0), bytes([255] * 24))",
    "sethostname": "socket.sethostname('x')",
    "syslog": "call(103, 3, bytes(100), 100)",
}

FILES = {
    "password file": "open('/etc/shadow')",
    "host root": "os.listdir('/')",
    "home": "os.listdir('/root')",
    "processes of the host": "os.listdir('/proc/1')",
    "own mount table": "open('/proc/self/mountinfo')",
    "memory of the first process": "open('/proc/1/mem')",
    "descriptors": "os.listdir('/proc/self/fd')",
    "kernel settings": "open('/proc/sys/kernel/core_pattern')",
    "interfaces": "os.listdir('/sys/class/net')",
    "control groups": "os.listdir('/sys/fs/cgroup')",
    "disk": "open('/dev/vda', 'rb')",
    "kernel memory": "open('/dev/mem', 'rb')",
    "kernel messages": "open('/dev/kmsg')",
    "terminal": "open('/dev/tty')",
    "terminals": "open('/dev/ptmx')",
    "services": "os.listdir('/run')",
    "write to the runtime": "open('/runtime/lib/python3.11/os.py', 'a')",
    "write to the program": "open('/code/main.py', 'a')",
    "write beside it": "open('/code/more.py', 'w')",
    "write to the root": "open('/x', 'w')",
    "write to the libraries": "open('/usr/lib/x', 'w')",
    "write to system settings": "open('/etc/passwd', 'a')",
    "hard link out": "os.link('/etc/passwd', '/tmp/passwd')",
    "rename in": "os.rename('/code/main.py', '/tmp/main.py')",
    "make writable": "os.chmod('/code/main.py', 0o777)",
    "fifo": "os.mkfifo('/tmp/fifo')",
    "run what it wrote": (
        "open('/tmp/x', 'w').write('#!/runtime/bin/python3'); os.chmod('/tmp/x', 0o700); os.execv('/tmp/x', ['x'])"
    ),
    "run a copy of Python": (
        "import shutil; shutil.copy('/runtime/bin/python3', '/tmp/p'); os.execv('/tmp/p', ['p', '-c', ''])"
    ),
    "run a library": "os.execv('/usr/lib/x86_64-linux-gnu/libc.so.6', ['libc'])",
    "shell": "os.execv('/bin/sh', ['sh'])",
    "sparse terabyte": "os.truncate(os.open('/tmp/sparse', os.O_CREAT | os.O_RDWR), 1 << 40)",
    "fill with one file": "open('/tmp/full', 'wb').write(bytes(16 << 20))",
    "fill with many": "[open(f'/tmp/{n}', 'wb').write(bytes(1 << 20)) for n in range(16)]",
    "reserve all": "os.posix_fallocate(os.open('/tmp/r', os.O_CREAT | os.O_RDWR), 0, 9 << 20)",
    "fill shared memory": "[open(f'/dev/shm/{n}', 'wb').write(bytes(1 << 20)) for n in range(16)]",
    "attributes": "os.setxattr('/tmp', 'user.x', bytes(60000))",
}


@pytest.mark.parametrize("name", NETWORK)
def test_no_way_leads_to_the_network(met: Met, name: str) -> None:
    told, ran = met(NETWORK)
    assert told[name].startswith("stopped")
    assert ran.attempts[name] >= 1


@pytest.mark.parametrize("name", CALLS)
def test_a_system_call_that_leads_out_is_refused_and_written_down(met: Met, name: str) -> None:
    told, ran = met(CALLS)
    assert told[name] == "stopped EPERM"
    assert ran.attempts[name] >= 1


@pytest.mark.parametrize("name", FILES)
def test_nothing_but_its_own_files_can_be_reached(met: Met, name: str) -> None:
    assert met(FILES)[0][name].startswith("stopped")


def test_clone3_cannot_hide_its_flags(met: Met) -> None:
    assert met(OTHER)[0]["clone3"] == "stopped ENOSYS"


def test_no_name_is_looked_up(met: Met) -> None:
    told, ran = met(OTHER)
    assert told["name"].startswith("stopped")
    assert any(name.startswith("socket") for name in ran.attempts)


@pytest.mark.parametrize("name", ["abstract", "cache"])
def test_no_local_socket_can_be_made(met: Met, name: str) -> None:
    told, ran = met(OTHER)
    assert told[name] == "stopped EPERM"
    assert "socket.unix" not in ran.attempts  # the C library asks for its cache in honest programs too


def test_the_first_process_cannot_be_signalled(met: Met) -> None:
    assert met(OTHER)[0]["first process"] == "stopped EPERM"


OTHER = {
    "abstract": "s = socket.socket(socket.AF_UNIX); s.connect('\\0abstract')",
    "cache": "socket.socket(socket.AF_UNIX).connect('/var/run/nscd/socket')",
    "clone3": "call(435, struct.pack('Q', 0x10000000) + bytes(80), 88)",
    "name": "socket.getaddrinfo('example.com', 80)",
    "first process": "os.kill(1, 9)",
}

FOREIGN = {
    "x32": "libc.syscall(0x40000000 + 41, 2, 1, 0)",
    "32 bit": (
        "import mmap\n"
        "page = mmap.mmap(-1, 4096, prot=7)\n"
        "page.write(bytes.fromhex('b814000000cd80c3'))\n"  # mov eax, 20; int 0x80; ret
        "ctypes.CFUNCTYPE(ctypes.c_int)(ctypes.addressof(ctypes.c_char.from_buffer(page)))()"
    ),
}


@pytest.mark.parametrize("name", FOREIGN)
def test_a_foreign_instruction_set_ends_the_run(shut_in: ShutIn, name: str) -> None:
    shown = shut_in(FOREIGN[name] + "\nprint('ESCAPED')")
    assert shown.ran.end == "failed"
    assert "ESCAPED" not in shown.log


def test_a_file_of_the_host_cannot_be_reached_by_any_path(shut_in: ShutIn, tmp_path: Path) -> None:
    secret = tmp_path / "footage.txt"
    secret.write_text("frame")
    secret.chmod(0o644)
    shown = shut_in(f"""
        os.symlink({str(secret)!r}, '/tmp/link')
        for path in ({str(secret)!r}, '/tmp/link', '/code/../../..{secret}', '/proc/1/root{secret}', '/proc/self/cwd'):
            try: print('ESCAPED', open(path).read())
            except OSError as error: print('stopped')
        """)
    assert shown.log.split() == ["stopped"] * 5


def test_nothing_tells_where_it_runs(shut_in: ShutIn, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MALAN_SECRET", "hunter2")
    shown = shut_in("""
        import pwd, getpass
        print(dict(os.environ), os.getcwd(), os.uname().nodename, sys.argv, sys.path, sys.executable, sys.prefix)
        print(getpass.getuser(), pwd.getpwall(), os.getuid(), os.getgid(), os.getgroups(), os.getppid())
        print(os.readlink('/dev/shm'), os.listdir('/etc'), os.listdir('/dev'))
        """)
    told = {"hunter2", "MALAN_SECRET", os.uname().nodename, str(tmp_path), str(Path.cwd()), str(Path.home())}
    assert not [word for word in told if len(word) > 2 and word in shown.log]
    assert shown.ran.end == "ok"


@pytest.mark.parametrize("open_before", [0, 300])
def test_no_descriptor_is_inherited(shut_in: ShutIn, tmp_path: Path, open_before: int) -> None:
    with ExitStack() as others, (tmp_path / "secret").open("w") as secret:
        for _ in range(open_before):  # the descriptors of the run then lie above its own limit
            others.callback(os.close, os.open("/dev/null", os.O_RDONLY))
        os.set_inheritable(secret.fileno(), True)
        shown = shut_in("""
            def kind(fd):
                try: return os.fstat(fd).st_mode >> 12
                except OSError: return None
            print({fd: kind(fd) for fd in range(1000) if kind(fd)})
            """)
    assert shown.log.strip() == "{0: 2, 1: 1, 2: 1, 3: 2, 4: 1}"  # null, log, log, null instead of data, results
    assert shown.ran.end == "ok"


def test_it_has_no_privileges_and_cannot_gain_any(shut_in: ShutIn) -> None:
    shown = shut_in("""
        data = (ctypes.c_uint32 * 6)()
        print(libc.capget((ctypes.c_uint32 * 2)(0x20080522, 0), data), list(data), libc.prctl(39, 0, 0, 0, 0))
        print([name for name in os.listdir('/runtime/bin') if os.stat('/runtime/bin/' + name).st_mode & 0o6000])
        """)
    assert shown.log.splitlines() == ["0 [0, 0, 0, 0, 0, 0] 1", "[]"]


def test_the_log_cannot_steer_a_terminal(shut_in: ShutIn) -> None:
    assert shut_in("print('\\x1b]0;title\\x07\\x1b[2Jred')").log == "·]0;title··[2Jred\n"
