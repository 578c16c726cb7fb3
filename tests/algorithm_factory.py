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
    """The text of `algorithm.toml`, with parts of it replaced."""
    text = _MANIFEST
    for old, new in changes.items():
        assert old in text
        text = text.replace(old, new)
    return text


FILES: Mapping[str, bytes] = {"algorithm.py": _CODE.encode(), "algorithm.toml": _MANIFEST.encode()}
