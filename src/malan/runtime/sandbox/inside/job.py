"""What an algorithm gets when one of its phases is called: `train(job)`, `evaluate(job, weights)`.

    prepare(job)                 what is needed before, say a cache; optional
    train(job) -> arrays         weights by the names that were declared
    export(job, arrays)          the same in another form; optional
    evaluate(job, arrays | None) -> {"losses": (N,), "outputs": array}      None: the base, without what was trained
    sample(job, arrays) -> (N, T, H, W, 3)     small pictures made for the captions of `held_out`; where it makes any

Shut in, `main` calls them as the orders say, and hands over what they return. In a process of its own, for tests, the
same `Job` stands on any `Line`. Nothing of this is trusted by whoever reads the results. Start reading at `Job`.
"""

from __future__ import annotations

import importlib
import json
from collections.abc import Callable, Iterator, Mapping
from functools import cached_property
from pathlib import Path
from typing import Any, Protocol

from .data import Clips

ORDERS = "/code/malan_run.json"
_PART = 100  # arrays handed over at once: their names must fit a header


class Line(Protocol):
    """The way out of a run; the package `malan_inside` is one."""

    def ask(self, **request: Any) -> dict[str, Any] | None: ...
    def put_numbers(self, name: str, numbers: Mapping[str, float]) -> None: ...
    def put_arrays(self, name: str, arrays: Mapping[str, Any]) -> None: ...
    def progress(self, fraction: float) -> None: ...


class Weights(Mapping[str, Any]):
    """Weights by name, which remembers what of it was read: a name nobody reads has no effect."""

    def __init__(self, arrays: Mapping[str, Any]) -> None:
        self._arrays = dict(arrays)
        self.read: set[str] = set()

    def __getitem__(self, name: str) -> Any:
        found = self._arrays[name]
        self.read.add(name)
        return found

    def __iter__(self) -> Iterator[str]:
        return iter(self._arrays)

    def __len__(self) -> int:
        return len(self._arrays)


class Job:
    """One phase's view of a run.

    `parameters`, `seed`, `facts` (`classes`, `descriptor`, `clips`, `held_out` …) are plain values; `data` and
    `held_out` are `Clips`, of which each phase reads one: training never sees what it is held against. `cache` is a
    folder that ends with the run.
    """

    def __init__(self, orders: Mapping[str, Any], line: Line, cache: Path) -> None:
        self._orders, self._line = orders, line
        self.parameters: dict[str, Any] = dict(orders["parameters"])
        self.seed: int = orders["seed"]
        self.facts: dict[str, Any] = dict(orders["facts"])
        self.data, self.held_out = (Clips(line.ask, name, **orders[name]) for name in ("data", "held_out"))
        self.cache = cache
        self.said: dict[str, float] = {}

    def base(self) -> Path | None:
        """The folder of the base model's files, read only; None when the algorithm starts from nothing."""
        return Path(self._orders["base"]) if self._orders["base"] else None

    def progress(self, fraction: float) -> None:
        """Tell how far this phase is, from 0 to 1."""
        self._line.progress(min(max(float(fraction), 0.0), 1.0))

    def metrics(self, numbers: Mapping[str, float]) -> None:
        """Say figures by the names that were agreed on; said again, the later one counts."""
        self.said |= {name: float(number) for name, number in numbers.items()}

    def checkpoint(self, arrays: Mapping[str, Any]) -> None:
        """Hand over what is needed to go on from here after an interruption; it never leaves the owner's side."""
        for part in parts(arrays):
            self._line.put_arrays("checkpoint", part)
        self._line.put_arrays("checkpoint", {})

    @cached_property
    def restored(self) -> dict[str, Any] | None:
        """What the last checkpoint of the interrupted run held; None when there is nothing to go on from."""
        return collect(self._line, "restored") if self._orders["restored"] else None


def run_phases(orders: Mapping[str, Any], line: Line, cache: Path) -> None:
    """Call the phases in the orders one after another, and hand over what comes of them."""
    job = Job(orders, line, cache)
    weights: Mapping[str, Any] | None = collect(line, "weights") if orders["weights"] else None
    for phase in orders["phases"]:
        call = find(orders["entry"][phase])
        if phase == "prepare":
            call(job)
        elif phase == "train":
            weights = call(job)
        elif phase == "export":
            weights = call(job, weights)
        elif phase == "sample":
            line.put_arrays("evaluation", {"frames": _pictures(call(job, weights))})
        else:
            hand_in_evaluation(line, call, job, weights)
    if "train" in orders["phases"]:
        for part in parts(weights or {}):
            line.put_arrays("model", part)
    if job.said:
        line.put_numbers("metrics", job.said)
    line.progress(1.0)


def hand_in_evaluation(line: Line, evaluate: Callable[..., Any], job: Job, arrays: Mapping[str, Any] | None) -> None:
    """Losses, outputs, and which weights have an effect, by the order of names: those it read, unless it says so."""
    import numpy as np

    weights = None if arrays is None else Weights(arrays)
    found = dict(evaluate(job, weights))
    matched = found.get("matched", () if weights is None else weights.read)
    line.put_arrays(
        "evaluation",
        {
            "losses": np.asarray(found["losses"], "<f8").reshape(-1),
            "outputs": np.ascontiguousarray(found["outputs"], "<f4"),
            "matched": np.array([name in matched for name in sorted(arrays or ())], "|u1"),
        },
    )


def _pictures(found: Any) -> Any:
    import numpy as np

    return np.ascontiguousarray(found, "|u1")


def parts(arrays: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    """Arrays in portions whose names fit one header, as the border takes them."""
    import numpy as np

    names = list(arrays)
    for start in range(0, len(names), _PART):
        yield {str(name): np.asarray(arrays[name]) for name in names[start : start + _PART]}


def collect(line: Line, what: str) -> dict[str, Any]:
    """All portions of something the supervisor hands in."""
    found: dict[str, Any] = {}
    part = 0
    while (more := line.ask(do=what, part=part)) is not None:
        found |= {name: array.copy() for name, array in more.items()}
        part += 1
    return found


def find(entry: str) -> Callable[..., Any]:
    """The function that `module:function` names."""
    module, _, name = entry.partition(":")
    return getattr(importlib.import_module(module), name)  # type: ignore[no-any-return]


def main() -> None:
    """What the first file of a run calls."""
    import sys

    orders = json.loads(Path(ORDERS).read_text("utf-8"))
    cache = Path("/tmp/cache")  # noqa: S108  # the only place to write
    cache.mkdir()
    run_phases(orders, sys.modules[__package__], cache)  # the package is the line
