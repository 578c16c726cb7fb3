"""Classifiers as ONNX files (opset 17), written byte by byte: the format is protobuf, and we need six of its messages.

    ModelProto ─ GraphProto ─ NodeProto (Sub, Div, Gemm, Relu, Softmax | Sigmoid)
                            └ TensorProto (the weights), ValueInfoProto (rows in, probabilities out)

Field numbers are those of onnx.proto3 (ONNX IR version 8). What is written is run with onnxruntime and compared with
our own arithmetic before anybody gets it. Start reading at `write_onnx` and `check_onnx`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from malan.core.errors import ProofError
from malan.inference.tensors import Float32
from malan.models.classifier import SIGMOID, Classifier

INPUT, OUTPUT = "features", "probabilities"
_IR_VERSION, _OPSET, _FLOAT = 8, 17, 1
_MOST_DIFFERENCE = 1e-4


def write_onnx(classifier: Classifier, metadata: Mapping[str, str]) -> bytes:
    """The file of a classifier: `features` (N, width) float32 → `probabilities` (N, classes) float32."""
    tensors: list[bytes] = []
    nodes: list[bytes] = []
    at = INPUT

    def constant(name: str, values: Float32) -> str:
        tensors.append(_tensor(name, values))
        return name

    def step(kind: str, name: str, *more: str, **numbers: int) -> str:
        nodes.append(_node(kind, [at, *more], name, numbers))
        return name

    at = step("Sub", "centred", constant("mean", classifier.mean))
    at = step("Div", "scaled", constant("scale", classifier.scale))
    last = len(classifier.layers) - 1
    for number, (weight, bias) in enumerate(classifier.layers):
        names = constant(f"layers.{number}.weight", weight), constant(f"layers.{number}.bias", bias)
        at = step("Gemm", f"layer_{number}", *names)
        if number < last:
            at = step("Relu", f"active_{number}")
    at = step("Div", "tempered", constant("temperature", np.array([classifier.temperature], np.float32)))
    if classifier.output == SIGMOID:
        step("Sigmoid", OUTPUT)
    else:
        step("Softmax", OUTPUT, axis=1)
    graph = b"".join(
        [
            *(_bytes(1, node) for node in nodes),
            _text(2, "classifier"),
            *(_bytes(5, tensor) for tensor in tensors),
            _bytes(11, _value(INPUT, classifier.width)),
            _bytes(12, _value(OUTPUT, len(classifier.classes))),
        ]
    )
    said = b"".join(_bytes(14, _text(1, key) + _text(2, value)) for key, value in sorted(metadata.items()))
    opset = _bytes(8, _text(1, "") + _number(2, _OPSET))
    return _number(1, _IR_VERSION) + _text(2, "malan") + opset + _bytes(7, graph) + said


def check_onnx(data: bytes, classifier: Classifier, *, rows: int = 256, seed: int = 0) -> float:
    """Run the file with onnxruntime on drawn rows; the largest difference of a probability from our own arithmetic.

    Raises:
        ProofError: It does not load, or says something else.
    """
    import onnxruntime as ort

    drawn = np.random.default_rng(seed).standard_normal((rows, classifier.width)).astype(np.float32)
    drawn = drawn * classifier.scale + classifier.mean
    options = ort.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    try:
        session = ort.InferenceSession(data, options, providers=["CPUExecutionProvider"])
        found: Any = session.run([OUTPUT], {INPUT: drawn})[0]
    except Exception as error:  # onnxruntime's errors share no class but Exception
        raise ProofError("models.onnx_differs", detail=str(error)[:200]) from error
    wanted = classifier.probabilities(drawn)
    difference = float(np.abs(found - wanted).max()) if found.shape == wanted.shape else float("inf")
    if not difference <= _MOST_DIFFERENCE:
        raise ProofError("models.onnx_differs", detail=f"{difference:.3g}")
    return difference


def _node(kind: str, inputs: Sequence[str], output: str, numbers: Mapping[str, int]) -> bytes:
    attributes = (_text(1, name) + _number(3, value) + _number(20, 2) for name, value in numbers.items())
    return b"".join(
        [
            *(_text(1, name) for name in inputs),
            _text(2, output),
            _text(3, output),
            _text(4, kind),
            *(_bytes(5, attribute) for attribute in attributes),
        ]
    )


def _tensor(name: str, values: Float32) -> bytes:
    sides = b"".join(_number(1, side) for side in values.shape)
    return sides + _number(2, _FLOAT) + _text(8, name) + _bytes(9, np.ascontiguousarray(values, "<f4").tobytes())


def _value(name: str, width: int) -> bytes:
    """`name`: float32 of shape (N, width), N free."""
    shape = _bytes(1, _text(2, "N")) + _bytes(1, _number(1, width))
    return _text(1, name) + _bytes(2, _bytes(1, _number(1, _FLOAT) + _bytes(2, shape)))


def _number(field: int, value: int) -> bytes:
    return _varint(field << 3) + _varint(value)


def _text(field: int, value: str) -> bytes:
    return _bytes(field, value.encode())


def _bytes(field: int, value: bytes) -> bytes:
    return _varint(field << 3 | 2) + _varint(len(value)) + value


def _varint(value: int) -> bytes:
    """Seven bits a byte, the lowest first (protobuf wire format); nothing here is negative."""
    out = bytearray()
    while value > 0x7F:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    out.append(value)
    return bytes(out)
