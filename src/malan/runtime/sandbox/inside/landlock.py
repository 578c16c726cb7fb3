"""Landlock, by its three system calls: after `restrict`, this process and its children reach only what is listed.

Rights are those of the ABI the kernel speaks; a kernel without Landlock raises, it never passes for restricted.
Nothing is imported but Python: this runs inside, before any package is there. Start reading at `restrict`.
"""

from __future__ import annotations

import ctypes
import os
import struct

_CREATE, _ADD, _RESTRICT = 444, 445, 446
_ASK_VERSION = 1
_BENEATH = 1
_O_PATH = getattr(os, "O_PATH", 0o10000000)

EXECUTE, WRITE_FILE, READ_FILE, READ_DIR = 1, 2, 4, 8
_MAKE_AND_REMOVE = sum(1 << bit for bit in (4, 5, 7, 8, 9, 10, 12))  # rmdir, unlink, dir, file, socket, fifo, symlink
_REFER, _TRUNCATE = 1 << 13, 1 << 14
READ = READ_FILE | READ_DIR
WRITE = READ | WRITE_FILE | _MAKE_AND_REMOVE | _REFER | _TRUNCATE
FILE_ONLY = EXECUTE | WRITE_FILE | READ_FILE | _TRUNCATE | (1 << 15)

_FS_BITS = {1: 13, 2: 14, 3: 15, 4: 15}  # from ABI 5 on there are 16
_NET_BITS_FROM_4 = 0b11  # bind and connect over TCP
_SCOPES_FROM_6 = 0b11  # abstract sockets, signals to processes outside


def abi() -> int:
    """The version of Landlock this kernel speaks; 0: none."""
    version = _libc().syscall(_CREATE, None, 0, _ASK_VERSION)
    return max(0, int(version))


def restrict(rules: dict[str, int]) -> int:
    """Close this process in: each path with the rights beneath it, and nothing else. Returns the ABI.

    Raises:
        OSError: The kernel has no Landlock, or refused.
    """
    version = abi()
    if not version:
        raise OSError("no Landlock in this kernel")
    known = (1 << _FS_BITS.get(version, 16)) - 1
    handled = (known, _NET_BITS_FROM_4 if version >= 4 else 0, _SCOPES_FROM_6 if version >= 6 else 0)
    size = 8 * (1 if version < 4 else 2 if version < 6 else 3)
    ruleset = _call(_CREATE, struct.pack("=QQQ", *handled)[:size], size, 0)
    for path, rights in rules.items():
        _add(ruleset, path, rights & known)
    _call(_RESTRICT, ruleset, 0)
    os.close(ruleset)
    return version


def _add(ruleset: int, path: str, rights: int) -> None:
    handle = os.open(path, _O_PATH | os.O_CLOEXEC)
    rights &= ~0 if os.path.isdir(path) else FILE_ONLY  # noqa: PTH112  # pathlib costs milliseconds here
    _call(_ADD, ruleset, _BENEATH, struct.pack("=Qi", rights, handle), 0)
    os.close(handle)


def _call(number: int, *arguments: object) -> int:
    libc = _libc()
    result = int(libc.syscall(number, *arguments))
    if result < 0:
        code = ctypes.get_errno()
        raise OSError(code, os.strerror(code))
    return result


def _libc() -> ctypes.CDLL:
    return ctypes.CDLL(None, use_errno=True)
