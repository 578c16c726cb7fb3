"""How arrays and results are written on a line: a length, a JSON header, then the bytes it promises.

    size of header (4 bytes, little endian) ── header ── payload

Both sides use it, so it needs nothing but Python; sizes are checked before anything is allocated. Start at `describe`.
"""

from __future__ import annotations

import json
import math
import struct
from collections.abc import Callable, Mapping
from typing import Any

LONGEST_HEADER = 1 << 16
ITEM_BYTES = {
    **dict.fromkeys(("|u1", "|i1", "|b1"), 1),
    **dict.fromkeys(("<u2", "<i2", "<f2"), 2),
    **dict.fromkeys(("<u4", "<i4", "<f4"), 4),
    **dict.fromkeys(("<u8", "<i8", "<f8"), 8),
}
"""The kinds of numbers that cross the border, as NumPy spells them, and their size."""


def header(content: Mapping[str, Any]) -> bytes:
    """A header with its length in front."""
    text = json.dumps(content, separators=(",", ":")).encode()
    if len(text) > LONGEST_HEADER:
        raise ValueError("header too long")
    return struct.pack("<I", len(text)) + text


def read_header(read: Callable[[int], bytes]) -> dict[str, Any] | None:
    """The next header; None at the end of the line.

    Args:
        read: Gives exactly so many bytes, or fewer at the end.
    """
    size = read(4)
    if len(size) < 4:
        return None
    (length,) = struct.unpack("<I", size)
    if length > LONGEST_HEADER:
        raise ValueError("header too long")
    content = json.loads(read(length))
    if not isinstance(content, dict):
        raise ValueError("header is no object")
    return content


def describe(arrays: Mapping[str, Any]) -> tuple[list[list[Any]], list[memoryview]]:
    """The description of arrays (name, kind, shape) and their bytes, in order.

    Args:
        arrays: Anything with `dtype.str`, `shape` and C-ordered bytes: NumPy arrays.
    """
    described, payload = [], []
    for name, array in arrays.items():
        kind = array.dtype.str
        if kind not in ITEM_BYTES:
            raise ValueError(f"arrays of {kind} do not cross the border")
        described.append([name, kind, list(array.shape)])
        view = memoryview(array)
        payload.append(view.cast("B") if view.nbytes and view.c_contiguous else memoryview(array.tobytes()))
    return described, payload


def sizes(described: Any) -> list[int]:
    """Bytes of each described array.

    Raises:
        ValueError: It is not a description: unknown kind, odd shape, a name twice.
    """
    names = [str(name) for name, _kind, _shape in described]
    if len(set(names)) != len(names):
        raise ValueError("a name twice")
    found = []
    for _name, kind, shape in described:
        if len(shape) > 8 or not all(type(side) is int and 0 <= side < 1 << 40 for side in shape):
            raise ValueError("not a shape")
        found.append(ITEM_BYTES[kind] * math.prod(shape))
    return found
