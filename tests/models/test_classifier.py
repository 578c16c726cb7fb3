"""Classifiers are read strictly, answer in float32, and their ONNX files answer the same."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from model_factory import CLASSES, WIDTH, classifier_tensors

from malan.core.errors import ProofError, Rejected, UsageError
from malan.inference.tensors import Tensor
from malan.models.classifier import SIGMOID, Classifier, read_classifier
from malan.models.onnx import check_onnx, write_onnx


def read(seed: int = 0, hidden: int = 0, more: dict[str, Tensor] | None = None, **how: str) -> Classifier:
    tensors = {tensor.name: tensor for tensor in classifier_tensors(seed, hidden=hidden)}
    return read_classifier(tensors | (more or {}), CLASSES, **how)


def test_a_linear_classifier_is_a_softmax_of_the_standardised_row() -> None:
    classifier = read()
    row = np.random.default_rng(1).standard_normal((4, WIDTH)).astype(np.float32)
    weight, bias = classifier.layers[0]
    scores = ((row - classifier.mean) / classifier.scale) @ weight + bias
    wanted = np.exp(scores) / np.exp(scores).sum(axis=1, keepdims=True)
    assert np.allclose(classifier.probabilities(row), wanted, atol=1e-6)
    assert classifier.labels(np.array([[0.1, 0.7, 0.2]])) == [[("特写", 0.7)]]


def test_thresholds_say_which_classes_apply() -> None:
    limits = Tensor.of("thresholds", np.array([0.9, 0.3, 0.2], np.float32))
    classifier = read(more={"thresholds": limits}, output=SIGMOID)
    found = classifier.labels(np.array([[0.8, 0.5, 0.6], [0.1, 0.1, 0.1]], np.float32))
    assert [[name for name, _ in row] for row in found] == [["远景", "特写"], []]


@pytest.mark.parametrize(
    ("name", "shape"),
    [
        ("layers.0.weight", (WIDTH + 1, 3)),
        ("layers.1.weight", (5, 3)),
        ("layers.2.weight", (3, 3)),
        ("layers.0.bias", (4,)),
        ("mean", (WIDTH + 1,)),
        ("extra", (2,)),
        ("layers.0.weight.more", (2,)),
        ("temperature", (2,)),
    ],
)
def test_what_does_not_fit_is_refused(name: str, shape: tuple[int, ...]) -> None:
    with pytest.raises((Rejected, UsageError)):
        read(more={name: Tensor.of(name, np.ones(shape, np.float32))})


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_numbers_that_are_not_finite_are_refused(value: float) -> None:
    with pytest.raises(Rejected):
        read(more={"mean": Tensor.of("mean", np.full(WIDTH, value, np.float32))})


@pytest.mark.parametrize("name", ["scale", "temperature"])
def test_a_scale_of_zero_is_refused(name: str) -> None:
    size = WIDTH if name == "scale" else 1
    with pytest.raises(Rejected):
        read(more={name: Tensor.of(name, np.zeros(size, np.float32))})


def test_names_of_classes_are_as_many_as_outputs_and_differ() -> None:
    tensors = {tensor.name: tensor for tensor in classifier_tensors()}
    for classes in (CLASSES[:2], ["a", "a", "b"], [*CLASSES, "d"]):
        with pytest.raises(UsageError):
            read_classifier(tensors, classes)


def test_rows_of_another_width_or_not_finite_are_refused() -> None:
    for rows in (np.ones((2, WIDTH + 1)), np.ones(WIDTH), np.full((1, WIDTH), np.nan), np.full((1, WIDTH), 3e38)):
        with pytest.raises(UsageError):
            read().probabilities(rows)


@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 10_000), hidden=st.sampled_from([0, 1, 7]), output=st.sampled_from(["softmax", "sigmoid"]))
def test_the_onnx_file_answers_the_same(seed: int, hidden: int, output: str) -> None:
    classifier = read(seed, hidden, output=output)
    data = write_onnx(classifier, {"classes": "中景\n特写", "quote": '"'})
    assert check_onnx(data, classifier, rows=32, seed=seed) <= 1e-5


def test_an_onnx_file_of_other_weights_is_not_released() -> None:
    data = write_onnx(read(1), {})
    for other in (data[:-10], b"", write_onnx(read(2), {})):
        with pytest.raises(ProofError):
            check_onnx(other, read(1))


def test_the_onnx_file_carries_its_words() -> None:
    import onnxruntime as ort

    said = {"classes": '["中景", "特写"]', "licence": "Apache-2.0"}
    session = ort.InferenceSession(write_onnx(read(), said), providers=["CPUExecutionProvider"])
    assert session.get_modelmeta().custom_metadata_map == said
    assert session.get_inputs()[0].shape == ["N", WIDTH]
