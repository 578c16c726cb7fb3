"""The fields of an ONNX file, read and written as bytes: what Protocol Buffers need, and nothing of ONNX's own package.

Field numbers are those of onnx.proto3. Start at `fields`.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

from malan.core.errors import Rejected

MODEL_GRAPH, GRAPH_TENSOR = 7, 5
BYTES = 2  # wire type of what has a length
_FIXED = {1: 8, 5: 4}  # wire types


class Field(NamedTuple):
    """A field of a message: where it begins with its key, and where what it holds lies."""

    number: int
    begin: int
    start: int
    end: int


def fields(data: bytes | memoryview) -> Iterator[Field]:
    """The fields of a message, in the order they lie there."""
    at = 0
    while at < len(data):
        key, start = _varint(data, at)
        wire, end = key & 7, start
        if wire == 0:
            _, end = _varint(data, start)
        elif wire == BYTES:
            length, start = _varint(data, start)
            end = start + length
        elif wire in _FIXED:
            end = start + _FIXED[wire]
        else:
            raise Rejected("onnx.not_onnx", path="–")
        if end > len(data):
            raise Rejected("onnx.truncated", path="–")
        yield Field(key >> 3, at, start, end)
        at = end


def _varint(data: bytes | memoryview, at: int) -> tuple[int, int]:
    """A number of seven bits a byte, the lowest first, and where it ends; ten bytes at most (protobuf wire format)."""
    value = 0
    for place in range(at, min(at + 10, len(data))):
        value |= (data[place] & 0x7F) << 7 * (place - at)
        if data[place] < 0x80:
            return value, place + 1
    raise Rejected("onnx.truncated", path="–")


def message(number: int, data: bytes) -> bytes:
    """A message as a field of another one."""
    head, length = bytes([number << 3 | BYTES]), len(data)
    while length >= 0x80:
        head += bytes([length & 0x7F | 0x80])
        length >>= 7
    return head + bytes([length]) + data
