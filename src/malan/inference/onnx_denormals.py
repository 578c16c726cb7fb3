"""The weights of an ONNX model that are too small for a processor: made zero before a runtime opens it.

Training leaves weights that decayed below the least normal number of 32 bits (1.2e-38). They add nothing to any sum,
yet processors take a hundred times as long over each: two of the 83 convolutions that find lines of text took two
thirds of its time. Lengths and order stay, so it is one walk over the file. Start at `without_denormals`.
"""

from __future__ import annotations

import numpy as np

from malan.inference.onnx_fields import GRAPH_TENSOR, MODEL_GRAPH, fields

_TENSOR_TYPE, _TENSOR_FLOATS, _TENSOR_RAW = 2, 4, 9
_FLOAT = 1
_LEAST = np.finfo(np.float32).smallest_normal


def without_denormals(model: bytes) -> bytes:
    """The same model with its subnormal 32-bit weights zero; what it computes stays the same to the bit.

    Args:
        model: Whole file.

    Raises:
        Rejected: It is cut short, or no ONNX model.
    """
    made, seen = bytearray(model), memoryview(model)
    for graph in fields(seen):
        if graph.number != MODEL_GRAPH:
            continue
        for tensor in fields(seen[graph.start : graph.end]):
            if tensor.number == GRAPH_TENSOR:
                _flush(made, graph.start + tensor.start, seen[graph.start + tensor.start : graph.start + tensor.end])
    return bytes(made)


def _flush(model: bytearray, begin: int, tensor: memoryview) -> None:
    """Zero the subnormal numbers of one tensor that begins at `begin` of a model."""
    parts = list(fields(tensor))
    kind = next((tensor[one.start] for one in parts if one.number == _TENSOR_TYPE and one.end == one.start + 1), 0)
    if kind != _FLOAT:
        return
    for one in parts:
        if one.number in (_TENSOR_FLOATS, _TENSOR_RAW) and (one.end - one.start) % 4 == 0:
            weights = np.frombuffer(model, "<f4", (one.end - one.start) // 4, begin + one.start)
            weights[(weights != 0) & (np.abs(weights) < _LEAST)] = 0
