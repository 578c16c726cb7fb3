"""Classifiers of rows of numbers: linear, or with hidden layers, as the built-in trainers write them.

    row ─ (x − mean) / scale ─▶ layer ─ relu ─▶ … ─▶ layer ─ / temperature ─▶ softmax or sigmoid ─▶ one number a class

Tensors: `layers.<n>.weight` (inputs, outputs) and `layers.<n>.bias`; `mean`, `scale`, `temperature`, `thresholds` where
there are any. Nothing else is understood, so nothing else is run. Start reading at `read_classifier`.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from malan.core.errors import Rejected, UsageError
from malan.inference.tensors import Float32, Tensor

SOFTMAX, SIGMOID = OUTPUTS = ("softmax", "sigmoid")
_LAYER = re.compile(r"layers\.(0|[1-9][0-9]?)\.(weight|bias)")
_BESIDE = {"mean", "scale", "temperature", "thresholds"}
_MOST_CLASSES = 10_000


@dataclass(frozen=True)
class Classifier:
    """What a file of weights says, checked: shapes that fit together, finite numbers, one name for each output.

    `layers` are (weight, bias) with weight of shape (inputs, outputs). `output` is softmax where classes exclude each
    other, sigmoid where they do not. `thresholds` are probabilities above which a class is said to apply.
    """

    classes: tuple[str, ...]
    layers: tuple[tuple[Float32, Float32], ...]
    mean: Float32
    scale: Float32
    temperature: float = 1.0
    output: str = SOFTMAX
    thresholds: tuple[float, ...] = ()

    @property
    def width(self) -> int:
        """Numbers in a row."""
        return int(self.layers[0][0].shape[0])

    def probabilities(self, rows: NDArray[Any]) -> Float32:
        """Rows of shape (N, width) → probabilities of shape (N, classes), in float32.

        Raises:
            UsageError: Another width, or numbers that are not finite, or too large to compute with.
        """
        x = np.asarray(rows, np.float32)
        if x.ndim != 2 or x.shape[1] != self.width or not np.isfinite(x).all():
            raise UsageError("models.bad_rows", shape=str(list(x.shape))[:40], width=self.width)
        with np.errstate(over="ignore", invalid="ignore"):  # what grows beyond float32 is refused below
            scores = self._scores(x)
        if not np.isfinite(scores).all():
            raise UsageError("models.bad_rows", shape=str(list(x.shape))[:40], width=self.width)
        if self.output == SIGMOID:
            return np.asarray(1 / (1 + np.exp(-np.clip(scores, -80, 80))), np.float32)
        powers = np.exp(scores - scores.max(axis=1, keepdims=True))
        return np.asarray(powers / powers.sum(axis=1, keepdims=True), np.float32)

    def _scores(self, x: Float32) -> Float32:
        x = (x - self.mean) / self.scale
        for number, (weight, bias) in enumerate(self.layers):
            x = x @ weight + bias
            if number + 1 < len(self.layers):
                x = np.maximum(x, np.float32(0))
        return np.asarray(x / np.float32(self.temperature), np.float32)

    def labels(self, probabilities: NDArray[Any]) -> list[list[tuple[str, float]]]:
        """For each row the classes that apply, the likeliest first: the best one, or all above their thresholds."""
        found = []
        for row in probabilities:
            order = [int(at) for at in np.argsort(-row, kind="stable")]
            if self.thresholds or self.output == SIGMOID:
                limits = self.thresholds or (0.5,) * len(self.classes)
                order = [at for at in order if row[at] >= limits[at]]
            else:
                order = order[:1]
            found.append([(self.classes[at], float(row[at])) for at in order])
        return found


def read_classifier(tensors: Mapping[str, Tensor], classes: Sequence[str], *, output: str = "") -> Classifier:
    """The classifier that a file of weights holds; without an `output`, thresholds mean sigmoid.

    Raises:
        Rejected: A tensor that belongs to no classifier, a layer that is missing or does not fit, numbers that are not
            finite, a scale or temperature that is not above zero.
        UsageError: Classes that are not as many as the outputs, or one twice; an unknown output.
    """
    output = output or (SIGMOID if "thresholds" in tensors else SOFTMAX)
    strange = sorted(name for name in tensors if name not in _BESIDE and not _LAYER.fullmatch(name))
    if strange or not tensors:
        raise Rejected("models.not_a_classifier", first=(strange or ["–"])[0][:80], count=len(strange))
    values = {name: tensor.values() for name, tensor in tensors.items()}
    for name, array in values.items():
        if not np.isfinite(array).all():
            raise Rejected("models.not_finite", module=name)
    layers = _layers(values)
    width, count = layers[0][0].shape[0], layers[-1][0].shape[1]
    if len(classes) != count or len(set(classes)) != count or output not in OUTPUTS or count > _MOST_CLASSES:
        raise UsageError("models.bad_classes", found=len(classes), wanted=count)
    mean = _vector(values, "mean", width, 0.0)
    scale = _vector(values, "scale", width, 1.0)
    temperature = float(_vector(values, "temperature", 1, 1.0)[0])
    if not (scale > 0).all() or temperature <= 0:
        raise Rejected("models.misfit", module="scale, temperature", up="> 0", down="≤ 0")
    thresholds = tuple(map(float, _vector(values, "thresholds", count, 0.0))) if "thresholds" in values else ()
    return Classifier(tuple(classes), layers, mean, scale, temperature, output, thresholds)


def _layers(values: Mapping[str, Float32]) -> tuple[tuple[Float32, Float32], ...]:
    count = sum(name.endswith(".weight") for name in values)
    layers: list[tuple[Float32, Float32]] = []
    for number in range(count):
        weight, bias = (values.get(f"layers.{number}.{part}") for part in ("weight", "bias"))
        if weight is None or weight.ndim != 2 or (layers and layers[-1][0].shape[1] != weight.shape[0]):
            raise Rejected("models.misfit", module=f"layers.{number}", up="weight", down="–")
        bias = np.zeros(weight.shape[1], np.float32) if bias is None else bias
        if bias.shape != weight.shape[1:]:
            raise Rejected("models.misfit", module=f"layers.{number}", up=str(weight.shape), down=str(bias.shape))
        layers.append((weight, bias))
    named = {int(match[1]) for name in values if (match := _LAYER.fullmatch(name))}
    if not layers or named != set(range(count)):
        raise Rejected("models.misfit", module="layers", up=str(count), down=str(sorted(named))[:80])
    return tuple(layers)


def _vector(values: Mapping[str, Float32], name: str, size: int, default: float) -> Float32:
    found = values.get(name)
    if found is None:
        return np.full(size, default, np.float32)
    if found.shape != (size,):
        raise Rejected("models.misfit", module=name, up=str(list(found.shape)), down=str([size]))
    return found
