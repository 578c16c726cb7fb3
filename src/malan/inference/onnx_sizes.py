"""An ONNX model that was written for one size of picture, opened for all sizes.

Older exporters fix batch, height and width although a network of convolutions has none, and list every weight as an
input that may be overridden, which keeps a runtime from folding them (twice the CPU). Both are undone in the bytes of
the model: no weight is touched, no operator added. Field numbers are those of onnx.proto3. Start at `any_size`.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import NamedTuple

from malan.core.errors import Rejected

_MODEL_GRAPH = 7
_GRAPH_TENSOR, _GRAPH_INPUT, _GRAPH_OUTPUT, _GRAPH_SHAPES = 5, 11, 12, 13
_TENSOR_NAME, _VALUE_NAME = 8, 1
_BYTES, _FIXED = 2, {1: 8, 5: 4}  # wire types
# Four dimensions below 128, each a message of two bytes: `dim_value` and the number. Without batch and sides they are
# an empty `dim_param`, just as long, so the lengths around them still hold.
_DIMENSIONS = re.compile(rb"\n\x02\x08[\x00-\x7f](\n\x02\x08[\x00-\x7f])\n\x02\x08[\x00-\x7f]\n\x02\x08[\x00-\x7f]")
_FREE = b"\n\x02\x12\x00"


class _Field(NamedTuple):
    """A field of a message: where it begins with its key, and where what it holds lies."""

    number: int
    begin: int
    start: int
    end: int


def any_size(model: bytes) -> bytes:
    """The same model for any number of pictures of any size; its weights are no inputs any more.

    Args:
        model: Whole file; inputs and outputs are (pictures, channels, height, width).

    Raises:
        Rejected: It is cut short, or no ONNX model.
    """
    parts = []
    for field in _fields(model):
        graph = _graph(model[field.start : field.end]) if field.number == _MODEL_GRAPH else None
        parts.append(model[field.begin : field.end] if graph is None else _message(_MODEL_GRAPH, graph))
    return b"".join(parts)


def _graph(graph: bytes) -> bytes:
    fields = list(_fields(graph))
    weights = {_name(graph, one, _TENSOR_NAME) for one in fields if one.number == _GRAPH_TENSOR}
    kept = []
    for one in fields:
        if one.number == _GRAPH_SHAPES or (one.number == _GRAPH_INPUT and _name(graph, one, _VALUE_NAME) in weights):
            continue
        part = graph[one.begin : one.end]
        if one.number in (_GRAPH_INPUT, _GRAPH_OUTPUT):
            part = _DIMENSIONS.sub(lambda found: _FREE + found[1] + 2 * _FREE, part)
        kept.append(part)
    return b"".join(kept)


def _name(data: bytes, field: _Field, number: int) -> bytes:
    inner = data[field.start : field.end]
    return next((inner[one.start : one.end] for one in _fields(inner) if one.number == number), b"")


def _fields(data: bytes) -> Iterator[_Field]:
    """The fields of a message, in the order they lie there."""
    at = 0
    while at < len(data):
        key, start = _varint(data, at)
        wire, end = key & 7, start
        if wire == 0:
            _, end = _varint(data, start)
        elif wire == _BYTES:
            length, start = _varint(data, start)
            end = start + length
        elif wire in _FIXED:
            end = start + _FIXED[wire]
        else:
            raise Rejected("onnx.not_onnx", path="–")
        if end > len(data):
            raise Rejected("onnx.truncated", path="–")
        yield _Field(key >> 3, at, start, end)
        at = end


def _varint(data: bytes, at: int) -> tuple[int, int]:
    """A number of seven bits a byte, the lowest first, and where it ends; ten bytes at most (protobuf wire format)."""
    value = 0
    for place in range(at, min(at + 10, len(data))):
        value |= (data[place] & 0x7F) << 7 * (place - at)
        if data[place] < 0x80:
            return value, place + 1
    raise Rejected("onnx.truncated", path="–")


def _message(number: int, data: bytes) -> bytes:
    """A message as a field of another one."""
    head, length = bytes([number << 3 | _BYTES]), len(data)
    while length >= 0x80:
        head += bytes([length & 0x7F | 0x80])
        length >>= 7
    return head + bytes([length]) + data
