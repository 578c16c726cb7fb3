"""Programs of a buyer for tests: honest and slow, broken, greedy, and one that prints what it sees."""

from __future__ import annotations

from collections.abc import Mapping

from market_place import BUYER_NAME

_MANIFEST = """\
[algorithm]
name = "{name}"
version = "1.0.0"
licence = "Apache-2.0"
publisher = "{publisher}"
title = {{en = "Line", zh = "直线"}}
summary = {{en = "A line between two kinds.", zh = "在两类之间画一条线。"}}

[data]
use = "train"
modality = "video"
deliver = ["descriptor", "labels"]
labels = "$label_set"
min_clips = {min_clips}

[parameters.label_set]
type = "text"
default = "日夜"
pattern = "[\\\\w.-]{{1,40}}"

[parameters.epochs]
type = "int"
default = 2
min = 1
max = 1000

[parameters.pause]
type = "float"
default = 0.0
min = 0.0
max = 60.0

[entry]
train = "algorithm:train"
evaluate = "algorithm:evaluate"

[resources]
memory_mb = {memory_mb}
wall_s = {wall_s}
processes = 2
scratch_mb = 16

[outputs.model]
type = "weights"
max_norm = 1000.0
[outputs.model.tensors]
w = ["F32", ["$classes", "$descriptor_width"]]
b = ["F32", ["$classes"]]

[metrics.accuracy]
low = 0
high = 1
"""

LINE = """\
import time
import numpy as np

def train(job):
    k, width = len(job.facts["classes"]), job.facts["descriptor_width"]
    fresh = {"w": np.zeros((k, width), "f4"), "b": np.zeros(k, "f4"), "epoch": np.array(0)}
    start = job.restored or fresh
    w, b = start["w"].copy(), start["b"].copy()
    print("starts at epoch", int(start["epoch"]))
    for epoch in range(int(start["epoch"]), job.parameters["epochs"]):
        for batch in job.data.batches(64, shuffle=True, epoch=epoch):
            x, y = batch["descriptor_ND"], np.eye(k, dtype="f4")[batch["label_N"]]
            z = x @ w.T + b; z -= z.max(1, keepdims=True); p = np.exp(z); p /= p.sum(1, keepdims=True)
            w -= 0.02 * (p - y).T @ x / len(x); b -= 0.02 * (p - y).mean(0)
        job.checkpoint({"w": w, "b": b, "epoch": np.array(epoch + 1)})
        job.progress((epoch + 1) / job.parameters["epochs"])
        time.sleep(job.parameters["pause"])
    return {"w": w, "b": b}

def evaluate(job, weights):
    k, width = len(job.facts["classes"]), job.facts["descriptor_width"]
    w, b = (weights["w"], weights["b"]) if weights is not None else (np.zeros((k, width), "f4"), np.zeros(k, "f4"))
    losses, outputs = [], []
    for batch in job.held_out.batches(64):
        z = batch["descriptor_ND"] @ w.T + b; z -= z.max(1, keepdims=True); p = np.exp(z); p /= p.sum(1, keepdims=True)
        losses.append(-np.log(p[np.arange(len(p)), batch["label_N"]] + 1e-6)); outputs.append(p)
    losses, outputs = np.concatenate(losses), np.concatenate(outputs)
    if weights is not None:
        job.metrics({"accuracy": float((losses < np.log(2)).mean())})
    return {"losses": losses, "outputs": outputs}
"""
BROKEN = LINE.replace("k, width = len", 'raise ValueError("湖南台 secret 1234")\n    k, width = len', 1)
LAZY = LINE.replace("0.02 *", "0.0 *")
GREEDY = LINE.replace(
    "    w, b = start", "    hog = bytearray(900 << 20); hog[::4096] = b'x' * len(hog[::4096])\n    w, b = start", 1
)


def package(
    source: str = LINE,
    name: str = "line",
    *,
    publisher: str = BUYER_NAME,
    min_clips: int = 8,
    memory_mb: int = 512,
    wall_s: int = 120,
) -> Mapping[str, bytes]:
    """The files of a package around a program."""
    said = {"name": name, "publisher": publisher, "min_clips": min_clips, "memory_mb": memory_mb, "wall_s": wall_s}
    return {"algorithm.toml": _MANIFEST.format(**said).encode(), "algorithm.py": source.encode()}
