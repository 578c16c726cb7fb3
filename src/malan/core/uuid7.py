"""Ids that sort by the time they were made (UUID version 7, RFC 9562 §5.7)."""

from __future__ import annotations

import secrets
import threading
import time

_lock = threading.Lock()


class _Last:
    stamp = 0


def uuid7(now_ns: int | None = None) -> str:
    """A new id; ids made in one process rise strictly, also within one microsecond or when the clock is set back.

    The twelve bits after the version hold the fraction of the millisecond (§6.2, method 3), then 62 random bits.
    """
    now_ns = time.time_ns() if now_ns is None else now_ns
    milliseconds, rest_ns = divmod(now_ns, 1_000_000)
    stamp = milliseconds << 12 | (rest_ns << 12) // 1_000_000
    with _lock:
        stamp = _Last.stamp = max(stamp, _Last.stamp + 1)
    value = (stamp >> 12) << 80 | 0x7 << 76 | (stamp & 0xFFF) << 64 | 0b10 << 62 | secrets.randbits(62)
    text = f"{value:032x}"
    return f"{text[:8]}-{text[8:12]}-{text[12:16]}-{text[16:20]}-{text[20:]}"
