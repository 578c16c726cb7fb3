"""A small sound package, for tests to break."""

from collections.abc import Mapping

_MANIFEST = """\
[algorithm]
name = "lines"
version = "1.0.0"
licence = "Apache-2.0"
publisher = "Example Lab"
title = {en = "Lines", zh = "直线"}
summary = {en = "Draws a line between two kinds.", zh = "在两类之间画一条线。"}

[data]
use = "train"
modality = "video"
deliver = ["descriptor", "labels"]
labels = "$label_set"
min_clips = 10

[parameters.label_set]
type = "text"
default = ""
pattern = "[a-z0-9.-]*"

[parameters.hidden]
type = "int"
default = 1
min = 0
max = 512

[parameters.rate]
type = "float"
default = 0.1
min = 0.0
max = 10.0
title = {en = "Learning rate", zh = "学习率"}

[parameters.solver]
type = "choice"
default = "plain"
choices = ["plain", "momentum"]

[entry]
train = "algorithm:train"
evaluate = "algorithm:evaluate"

[outputs.model]
type = "weights"
[outputs.model.tensors]
weight = ["F32", ["$classes", "$descriptor"]]
bias = ["F32", ["$classes"]]
"layer.{}.w" = ["F32", ["$hidden * 2", 4], "$hidden"]

[metrics.accuracy]
low = 0
high = 1

[smoke]
clips = 40
metric = "accuracy"
value = 0.5
parameters = {label_set = "drawn"}
"""

_CODE = """\
import numpy as np


def train(job):
    return {"weight": np.zeros((1, 1))}


def evaluate(job, weights):
    return {"losses": np.zeros(1)}
"""


def manifest(**changes: str) -> str:
    """The text of `algorithm.toml`; `version`, `name`, `publisher` and `summary` can be others."""
    text = _MANIFEST
    for key, value in changes.items():
        old = next(line for line in _MANIFEST.splitlines() if line.startswith(f"{key} = "))
        new = f'{{en = "{value}", zh = "{value}"}}' if old.endswith("}") else f'"{value}"'
        text = text.replace(old, f"{key} = {new}", 1)
    return text


def files(**changes: str) -> Mapping[str, bytes]:
    """The package, with some words of it changed."""
    return FILES | {"algorithm.toml": manifest(**changes).encode()}


FILES: dict[str, bytes] = {"algorithm.py": _CODE.encode(), "algorithm.toml": _MANIFEST.encode()}
