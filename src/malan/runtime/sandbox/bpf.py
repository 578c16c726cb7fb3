"""Write seccomp filters: classic BPF programs of eight-byte instructions, assembled here.

Everything not allowed is denied. Calls that only somebody who wants out makes go to `on_alarm`: to the supervisor,
who refuses and counts them. Foreign instruction sets (32 bit, x32) kill. Start reading at `guest_filter`.
"""

from __future__ import annotations

import errno
import struct

from malan.runtime.sandbox.syscalls import ALARMING, ALLOWED, CLONE, CLONE3, PERSONALITY, SETXATTR, SOCKET, SOCKETPAIR

_KILL, _NOTIFY, _ALLOW, _ERRNO = 0x80000000, 0x7FC00000, 0x7FFF0000, 0x00050000
_AUDIT_ARCH_X86_64 = 0xC000003E
_X32_BIT = 0x40000000
_NAMESPACES = 0x7E020000  # CLONE_NEW* without NEWTIME, whose bit is a signal number in clone(2)
_LOAD, _EQUAL, _AT_LEAST, _ANY_BIT, _RETURN = 0x20, 0x15, 0x35, 0x45, 0x06
_NR, _ARCH, _ARG0 = 0, 4, 16  # offsets in struct seccomp_data
_AF_UNIX = 1
_ASK_PERSONALITY = 0xFFFFFFFF

Instruction = tuple[int, int, int, int]


def outer_filter() -> bytes:
    """For bubblewrap, before anything runs inside: alarming calls pass, to be caught by the filter on top."""
    return _assemble(_program(_ALLOW))


def guest_filter() -> bytes:
    """For the run itself: alarming calls wait for the supervisor's answer, which is always no."""
    return _assemble(_program(_NOTIFY))


def _program(on_alarm: int) -> list[Instruction]:
    return [
        (_LOAD, 0, 0, _ARCH),
        (_EQUAL, 1, 0, _AUDIT_ARCH_X86_64),
        (_RETURN, 0, 0, _KILL),
        (_LOAD, 0, 0, _NR),
        (_AT_LEAST, 0, 1, _X32_BIT),
        (_RETURN, 0, 0, _KILL),
        *(line for number in ALLOWED.values() for line in _answer(number, _ALLOW)),
        *(line for number in ALARMING.values() for line in _answer(number, on_alarm)),
        *(line for number in SETXATTR for line in _answer(number, _ERRNO | errno.EOPNOTSUPP)),
        *_answer(CLONE3, _ERRNO | errno.ENOSYS),
        *_by_argument(CLONE, _ANY_BIT, _NAMESPACES, on_alarm, _ALLOW),
        *_by_argument(SOCKET, _EQUAL, _AF_UNIX, _ERRNO | errno.EPERM, on_alarm),  # the C library asks for its cache
        *_by_argument(SOCKETPAIR, _EQUAL, _AF_UNIX, _ALLOW, on_alarm),
        *_by_argument(PERSONALITY, _EQUAL, _ASK_PERSONALITY, _ALLOW, on_alarm),
        (_RETURN, 0, 0, _ERRNO | errno.ENOSYS),
    ]


def _answer(number: int, action: int) -> list[Instruction]:
    return [(_EQUAL, 0, 1, number), (_RETURN, 0, 0, action)]


def _by_argument(number: int, test: int, value: int, if_so: int, if_not: int) -> list[Instruction]:
    """Decide by the low half of the first argument, which is an int to the kernel in each of these calls."""
    return [
        (_EQUAL, 0, 4, number),
        (_LOAD, 0, 0, _ARG0),
        (test, 0, 1, value),
        (_RETURN, 0, 0, if_so),
        (_RETURN, 0, 0, if_not),
    ]


def _assemble(program: list[Instruction]) -> bytes:
    return b"".join(struct.pack("=HBBI", *line) for line in program)
