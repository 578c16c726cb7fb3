"""Faces drawn simply, which a detector still takes for faces, and a detector whose right answers are known.

`draw_face` paints a head on a picture. `write_dots` writes a model with the inputs and outputs of a face detector, as
old exporters write them (one fixed size, weights among the inputs): every red dot of 4 × 4 pixels is a face of 16 × 24.
"""

from __future__ import annotations

from math import log
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

WIDE, HIGH = 16, 24  # of the face around a dot


def plain(size: tuple[int, int] = (320, 180), grey: int = 130) -> NDArray[np.uint8]:
    return np.full((size[1], size[0], 3), grey, np.uint8)


def draw_face(picture_HWC: NDArray[np.uint8], x: float, y: float, radius: float) -> NDArray[np.uint8]:
    """The picture with a head on it. With a radius of 10 to 25 pixels it is taken for one."""
    canvas = picture_HWC.astype(np.float64)
    parts: list[tuple[float, float, float, float, float, tuple[int, int, int]]] = [
        (0, -0.25, 0.98, 1.2, 1.0, (50, 35, 28)), (0, 0.1, 0.78, 1.05, 1.0, (205, 160, 132)),
        *((s, -0.28, 0.22, 0.06, 0.8, (70, 45, 35)) for s in (-0.33, 0.33)),
        *((s, -0.08, 0.18, 0.1, 1.0, (245, 240, 235)) for s in (-0.33, 0.33)),
        *((s, -0.08, 0.09, 0.1, 1.0, (40, 25, 20)) for s in (-0.33, 0.33)),
        *((s, 0.38, 0.08, 0.06, 0.5, (150, 100, 80)) for s in (-0.1, 0.1)),
        (0.05, 0.2, 0.08, 0.28, 0.3, (170, 120, 95)), (0, 0.65, 0.3, 0.1, 0.8, (165, 75, 75)),
    ]  # fmt: skip
    rows, columns = np.mgrid[: canvas.shape[0], : canvas.shape[1]]
    for right, down, wide, high, weight, colour in parts:
        away = ((columns - x - right * radius) / (wide * radius)) ** 2 + (
            (rows - y - down * radius) / (high * radius)
        ) ** 2
        mask = weight * np.clip(1.15 - away, 0, 0.15)[..., None] / 0.15
        canvas = canvas * (1 - mask) + np.asarray(colour) * mask
    return canvas.clip(0, 255).astype(np.uint8)


def dot(picture_HWC: NDArray[np.uint8], column: int, row: int) -> None:
    """A red dot in a cell of 4 × 4 pixels."""
    picture_HWC[4 * row : 4 * row + 4, 4 * column : 4 * column + 4] = (255, 0, 0)


def write_dots(path: Path) -> Path:
    """A model for pictures of 32 × 32, ten at once, whose weights are inputs as well."""
    from onnx import TensorProto, helper, numpy_helper, save_model

    red = np.array([1, -1, -1], np.float32).reshape(1, 3, 1, 1) / 255
    still = np.zeros((2, 3, 1, 1), np.float32)
    tensors = {"red": red, "still": still, "sizes": np.array([log(HIGH / 4), log(WIDE / 4)], np.float32)}
    nodes = [
        helper.make_node("AveragePool", ["picture"], ["small"], kernel_shape=[4, 4], strides=[4, 4]),
        helper.make_node("Conv", ["small", "red"], ["heat"]),
        helper.make_node("Conv", ["small", "still", "sizes"], ["size"]),
        helper.make_node("Conv", ["small", "still"], ["offset"]),
    ]
    inputs = [helper.make_tensor_value_info("picture", TensorProto.FLOAT, [10, 3, 32, 32])]
    inputs += [
        helper.make_tensor_value_info(name, TensorProto.FLOAT, list(values.shape)) for name, values in tensors.items()
    ]
    outputs = [
        helper.make_tensor_value_info(name, TensorProto.FLOAT, [10, channels, 8, 8])
        for name, channels in (("heat", 1), ("size", 2), ("offset", 2))
    ]
    held = [numpy_helper.from_array(values, name) for name, values in tensors.items()]
    graph = helper.make_graph(nodes, "dots", inputs, outputs, held)
    made = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    save_model(made, path)
    return path
