"""An ONNX model that was written for one size of picture, opened for all sizes.

Older exporters fix batch, height and width although a network of convolutions has none, and list every weight as an
input that may be overridden, which keeps a runtime from folding them (twice the CPU). Both are undone in the bytes of
the model: no weight is touched, no operator added. Field numbers are those of onnx.proto3. Start at `any_size`.
"""

from __future__ import annotations

import re

from malan.inference.onnx_fields import GRAPH_TENSOR, MODEL_GRAPH, Field, fields, message

_GRAPH_INPUT, _GRAPH_OUTPUT, _GRAPH_SHAPES = 11, 12, 13
_TENSOR_NAME, _VALUE_NAME = 8, 1
# Four dimensions below 128, each a message of two bytes: `dim_value` and the number. Without batch and sides they are
# an empty `dim_param`, just as long, so the lengths around them still hold.
_DIMENSIONS = re.compile(rb"\n\x02\x08[\x00-\x7f](\n\x02\x08[\x00-\x7f])\n\x02\x08[\x00-\x7f]\n\x02\x08[\x00-\x7f]")
_FREE = b"\n\x02\x12\x00"


def any_size(model: bytes) -> bytes:
    """The same model for any number of pictures of any size; its weights are no inputs any more.

    Args:
        model: Whole file; inputs and outputs are (pictures, channels, height, width).

    Raises:
        Rejected: It is cut short, or no ONNX model.
    """
    parts = []
    for field in fields(model):
        graph = _graph(model[field.start : field.end]) if field.number == MODEL_GRAPH else None
        parts.append(model[field.begin : field.end] if graph is None else message(MODEL_GRAPH, graph))
    return b"".join(parts)


def _graph(graph: bytes) -> bytes:
    parts = list(fields(graph))
    weights = {_name(graph, one, _TENSOR_NAME) for one in parts if one.number == GRAPH_TENSOR}
    kept = []
    for one in parts:
        if one.number == _GRAPH_SHAPES or (one.number == _GRAPH_INPUT and _name(graph, one, _VALUE_NAME) in weights):
            continue
        part = graph[one.begin : one.end]
        if one.number in (_GRAPH_INPUT, _GRAPH_OUTPUT):
            part = _DIMENSIONS.sub(lambda found: _FREE + found[1] + 2 * _FREE, part)
        kept.append(part)
    return b"".join(kept)


def _name(data: bytes, field: Field, number: int) -> bytes:
    inner = data[field.start : field.end]
    return next((inner[one.start : one.end] for one in fields(inner) if one.number == number), b"")
