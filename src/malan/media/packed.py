"""The stored form of a packet index: columns, each by its differences, in the narrowest integers, byte planes, zlib.

    "MPKI"  version u16  zero u16  crc32 of all that follows u32
    packets u64  three integers i64 (timebase numerator, denominator, end ticks)
    five columns: width u8 (1, 2, 4, 8)  compressed length u32  bytes

Little endian. Decode times are stored as differences from one to the next, presentation times as the distance to the
decode time, positions as the distance to the end of the packet before. Reading checks every length before it
allocates, so no bytes can make it take more memory than the limits allow. It knows nothing of what the columns mean.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from malan.core.errors import MediaError

Columns = tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int32], NDArray[np.int64], NDArray[np.uint8]]

_MAGIC, _VERSION = b"MPKI", 1
_START, _HEAD, _COLUMN = struct.Struct("<4sHHI"), struct.Struct("<Qqqq"), struct.Struct("<BI")
_MAX_PACKETS = 50_000_000
_LEVEL = 6


def pack(head: tuple[int, int, int], columns: Columns) -> bytes:
    """Pack the columns pts, dts, size, position and flags, and three integers beside them."""
    pts, dts, sizes, positions, flags = (np.asarray(column).astype(np.int64) for column in columns)
    parts = [_HEAD.pack(len(pts), *head)]
    for values in (_steps(dts), pts - dts, sizes, positions - _ends_before(positions, sizes), flags):
        parts.extend(_packed_column(values))
    body = b"".join(parts)
    return _START.pack(_MAGIC, _VERSION, 0, zlib.crc32(body)) + body


def unpack(data: bytes) -> tuple[tuple[int, int, int], Columns]:
    """What `pack` packed.

    Raises:
        MediaError: `media.bad_index`.
    """
    count, head = _checked_head(data)
    at, columns = _START.size + _HEAD.size, []
    for _ in range(5):
        column, at = _column(data, at, count)
        columns.append(column)
    if at != len(data):
        raise _bad("bytes follow its end")
    dts = np.cumsum(columns[0])
    sizes = columns[2]
    positions = _positions(columns[3], sizes)
    return head, (columns[1] + dts, dts, sizes.astype(np.int32), positions, columns[4].astype(np.uint8))


def _steps(values: NDArray[np.int64]) -> NDArray[np.int64]:
    return np.diff(values, prepend=0)


def _ends_before(positions: NDArray[np.int64], sizes: NDArray[np.int64]) -> NDArray[np.int64]:
    """Where each packet would start if the packets lay without a gap."""
    return np.concatenate(([0], (positions + sizes)[:-1])) if len(positions) else positions


def _positions(gaps: NDArray[np.int64], sizes: NDArray[np.int64]) -> NDArray[np.int64]:
    """The inverse: gaps and sizes before a packet add up to its position."""
    return np.cumsum(gaps) + np.concatenate(([0], np.cumsum(sizes)[:-1])) if len(gaps) else gaps


def _packed_column(values: NDArray[np.int64]) -> Sequence[bytes]:
    low, high = (int(values.min()), int(values.max())) if len(values) else (0, 0)
    width = next(w for w in (1, 2, 4, 8) if -(1 << (8 * w - 1)) <= low and high < 1 << (8 * w - 1))
    planes = values.astype(f"<i{width}").view(np.uint8).reshape(-1, width).T
    packed = zlib.compress(np.ascontiguousarray(planes).tobytes(), _LEVEL)
    return _COLUMN.pack(width, len(packed)), packed


def _column(data: bytes, at: int, count: int) -> tuple[NDArray[np.int64], int]:
    if at + _COLUMN.size > len(data):
        raise _bad("it ends early")
    width, length = _COLUMN.unpack_from(data, at)
    start, end = at + _COLUMN.size, at + _COLUMN.size + length
    if width not in (1, 2, 4, 8) or end > len(data):
        raise _bad("a column is longer than the rest")
    planes = np.frombuffer(_inflated(data[start:end], count * width), np.uint8).reshape(width, count)
    return np.ascontiguousarray(planes.T).view(f"<i{width}").reshape(count).astype(np.int64), end


def _inflated(data: bytes, size: int) -> bytes:
    """Exactly `size` bytes, never more, whatever the compressed bytes say."""
    inflater = zlib.decompressobj()
    try:
        plain = inflater.decompress(data, size + 1)
    except zlib.error as error:
        raise _bad(str(error)) from error
    if len(plain) != size or not inflater.eof:
        raise _bad("a column has another length")
    return plain


def _checked_head(data: bytes) -> tuple[int, tuple[int, int, int]]:
    if len(data) < _START.size + _HEAD.size or data[:4] != _MAGIC:
        raise _bad("it is something else")
    _, version, reserved, checksum = _START.unpack_from(data)
    if version != _VERSION or reserved:
        raise _bad(f"version {version} is not known")
    if zlib.crc32(memoryview(data)[_START.size :]) != checksum:
        raise _bad("its checksum does not hold")
    count, numerator, denominator, end_ticks = _HEAD.unpack_from(data, _START.size)
    if count > _MAX_PACKETS or numerator <= 0 or denominator <= 0:
        raise _bad("its head makes no sense")
    return count, (numerator, denominator, end_ticks)


def _bad(detail: str, **values: Any) -> MediaError:
    return MediaError("media.bad_index", detail=detail, **values)
