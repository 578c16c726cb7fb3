"""A small algorithm, a straight line between two kinds of clips, and loaders of points that nobody filmed."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field
from fractions import Fraction
from typing import Any

import numpy as np

from malan.core import Clip, Span
from malan.core.errors import NotGranted
from malan.runtime.sandbox import RunLimits
from malan.training.gate import Declared, Metric, Policy
from malan.training.loader import Allowed, Holdings, Loader
from malan.training.running import RunPlan

MIB = 1 << 20
WIDTH = 4
LIMITS = RunLimits(memory_bytes=512 * MIB, wall_s=30, cpu_s=30, scratch_bytes=16 * MIB)
TABLE = {"type": "weights", "max_bytes": 10_000, "tensors": {"w": ["F32", [2, WIDTH]], "b": ["F32", [2]]}}
DESCRIBED = frozenset({"descriptor", "labels"})

LINE = b"""
import numpy as np

def prepare(job):
    (job.cache / "mean").write_text(str(len(job.data)))

def train(job):
    assert int((job.cache / "mean").read_text()) == len(job.data)
    nothing = {"w": np.zeros((2, job.facts["descriptor"]), "f4"), "b": np.zeros(2, "f4"), "epoch": np.array(0)}
    start = job.restored or nothing
    w, b = start["w"].copy(), start["b"].copy()
    for epoch in range(int(start["epoch"]), job.parameters["epochs"]):
        for batch in job.data.batches(8, shuffle=True, epoch=epoch):
            x, y = batch["descriptor_ND"], np.eye(2, dtype="f4")[batch["label_N"]]
            p = np.exp(x @ w.T + b); p /= p.sum(1, keepdims=True)
            w -= 0.5 * (p - y).T @ x / len(x); b -= 0.5 * (p - y).mean(0)
        job.checkpoint({"w": w, "b": b, "epoch": np.array(epoch + 1)})
        job.progress((epoch + 1) / job.parameters["epochs"])
    return {"w": w, "b": b}

def evaluate(job, weights):
    w, b = (weights["w"], weights["b"]) if weights is not None else (np.zeros((2, 4), "f4"), np.zeros(2, "f4"))
    losses, outputs = [], []
    for batch in job.held_out.batches(8):
        x = batch["descriptor_ND"]
        p = np.exp(x @ w.T + b); p /= p.sum(1, keepdims=True)
        losses.append(-np.log(p[np.arange(len(x)), batch["label_N"]])); outputs.append(p)
    losses, outputs = np.concatenate(losses), np.concatenate(outputs)
    if weights is not None:
        job.metrics({"accuracy": float((losses < np.log(2)).mean())})
    return {"losses": losses, "outputs": outputs}
"""


@dataclass(frozen=True)
class Needs:
    packages: tuple[str, ...] = ("numpy",)


@dataclass(frozen=True)
class Program:
    """What an algorithm package is to a run."""

    files: Mapping[str, bytes]
    entry: Mapping[str, str] = field(
        default_factory=lambda: {"prepare": "line:prepare", "train": "line:train", "evaluate": "line:evaluate"}
    )
    environment: Needs = Needs()


def used_up() -> NotGranted:
    """What the meter says when nothing is left."""
    return NotGranted("meter.used_up", grant="g", unit="clip_seconds", asked="1", left="0")


class Purse:
    """A counter with so many microseconds in it, which writes down what was counted."""

    def __init__(self, left_us: int = 10**12) -> None:
        self.left_us, self.counted, self.withdrawn, self.closed = left_us, [], set[str](), 0
        self.ended = False
        self.on_count: Callable[[], object] = lambda: None

    def gone(self) -> Collection[str]:
        if self.ended:
            raise used_up()
        return self.withdrawn

    def count(self, amounts: Mapping[str, int]) -> None:
        if sum(amounts.values()) > self.left_us:
            raise used_up()
        self.left_us -= sum(amounts.values())
        self.counted.append(dict(amounts))
        self.on_count()

    def close(self) -> None:
        self.closed += 1

    @property
    def total_us(self) -> int:
        return sum(sum(one.values()) for one in self.counted)


def clips(count: int, *, asset: str = "a", seconds: int = 5) -> tuple[Clip, ...]:
    """Clips of some seconds each, two to an asset."""
    base = Fraction(1, 25)
    length = 25 * seconds
    return tuple(Clip(f"{asset}{n // 2:03}", 0, Span(n % 2 * length, (n % 2 + 1) * length, base)) for n in range(count))


def points(count: int, *, seed: int = 0, asset: str = "a") -> Holdings:
    """Two clouds of points, and which of them each point is of."""
    rng = np.random.default_rng(seed)
    kind = np.arange(count) % 2
    described = rng.normal(size=(count, WIDTH)).astype("f4") * 0.5 + (kind * 2 - 1)[:, None].astype("f4")
    return Holdings(clips(count, asset=asset), described, [["day"] if k else ["night"] for k in kind])


def loaders(purse: Purse | None = None, **allowed: Any) -> tuple[Loader, Loader]:
    """What training sees, and what the result is held against."""
    may = Allowed(DESCRIBED, **allowed)
    data = Loader(points(40), may, seed=3, counter=purse)
    return data, Loader(points(30, seed=1, asset="h"), may, seed=3, counter=purse)


def plan_of(
    source: bytes = LINE,
    purse: Purse | None = None,
    *,
    table: Mapping[str, Any] = TABLE,
    metrics: bool = True,
    files: Mapping[str, bytes] | None = None,
    **changes: Any,
) -> RunPlan:
    """A run of the line, or of another program in its place."""
    data, held_out = loaders(purse)
    policy = Policy(Declared.from_output(table), (Metric("accuracy"),) if metrics else ())
    entry = {name: f"line:{name}" for name in ("prepare", "train", "evaluate") if f"def {name}(".encode() in source}
    settings = {"parameters": {"epochs": 3}, "seed": 1, "policy": policy, "limits": LIMITS}
    sets = {"data": data, "held_out": held_out}
    return RunPlan(Program({"line.py": source, **(files or {})}, entry), **(settings | sets | changes))
