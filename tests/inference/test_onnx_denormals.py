"""Weights too small for a processor: made zero in the bytes of a model, and nothing else."""

from __future__ import annotations

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper
from onnx_factory import FLOAT, model, node, takes

from malan.core.errors import Rejected
from malan.inference.ocr import OnnxTextReader, _weights
from malan.inference.onnx_denormals import without_denormals

WEIGHTS = np.array([1.0, 1e-39, -2e-40, 0.0, -0.0, 1.2e-38, -3.5, 1e-45], np.float32)
FLUSHED = np.array([1.0, 0, 0, 0, 0, 1.2e-38, -3.5, 0], np.float32)


def drawn(**more: np.ndarray) -> onnx.ModelProto:
    held = {"weights": WEIGHTS, **more}
    return model([node("Add", ["x", "weights"], "y")], [takes("x", FLOAT, 8)], [takes("y", FLOAT, 8)], held)


def held_in(data: bytes, name: str) -> np.ndarray:
    found = onnx.load_from_string(data)
    return next(numpy_helper.to_array(one) for one in found.graph.initializer if one.name == name)


def test_subnormal_weights_are_zero_and_all_others_stay() -> None:
    data = drawn().SerializeToString()
    made = without_denormals(data)
    assert len(made) == len(data)
    assert np.array_equal(held_in(made, "weights"), FLUSHED)


def test_weights_kept_as_numbers_instead_of_bytes_are_found_too() -> None:
    made = drawn()
    made.graph.initializer[0].CopyFrom(helper.make_tensor("weights", TensorProto.FLOAT, [8], WEIGHTS.tolist()))
    assert np.array_equal(held_in(without_denormals(made.SerializeToString()), "weights"), FLUSHED)


def test_numbers_of_other_kinds_stay_as_they_are() -> None:
    whole = np.array([1, 2, 70_000], np.int32)  # as 32-bit floats these would be subnormal
    double = np.array([1e-310, 1e-40, 2.0])
    made = without_denormals(drawn(whole=whole, double=double).SerializeToString())
    assert np.array_equal(held_in(made, "whole"), whole)
    assert np.array_equal(held_in(made, "double"), double)


@pytest.mark.parametrize("length", [1, 40, -3])
def test_a_model_that_is_cut_short_is_refused(length: int) -> None:
    with pytest.raises(Rejected):
        without_denormals(drawn().SerializeToString()[:length])


@pytest.mark.parametrize("pattern", ["*_det_*.onnx", "*_rec_*.onnx"])
def test_what_reads_text_says_the_same_to_the_bit(pattern: str) -> None:
    import onnxruntime

    picture = np.random.default_rng(7).uniform(-1, 1, (1, 3, 96, 160) if "det" in pattern else (1, 3, 48, 160))
    data = _weights(None, pattern).read_bytes()
    said = []
    for weights in (data, without_denormals(data)):
        session = onnxruntime.InferenceSession(weights, providers=["CPUExecutionProvider"])
        said.append(session.run(None, {session.get_inputs()[0].name: picture.astype(np.float32)})[0])
    assert without_denormals(data) != data
    assert np.array_equal(*said)


def test_weights_that_are_no_model_are_refused(tmp_path) -> None:
    (tmp_path / "a_det_b.onnx").write_bytes(b"\x07 nothing of the kind")
    with pytest.raises(Rejected):
        OnnxTextReader(tmp_path).detect(np.zeros((64, 64), np.uint8))
