"""The same `job` without a sandbox: for an algorithm's own tests, and for owners who try code they trust.

    job = local_job(plan_parameters, data, held_out, cache=tmp_path)
    weights = train(job)

Nothing is shut in here, nothing is counted. Start reading at `local_job`.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from malan.runtime.sandbox.inside.job import Job
from malan.training.loader import Loader, split_facts


class LocalLine:
    """Answers requests in this process, and keeps what is handed in."""

    def __init__(self, data: Loader, held_out: Loader, handed: Mapping[str, Mapping[str, Any]] | None = None) -> None:
        self._sets = {"data": data, "held_out": held_out}
        self._handed = dict(handed or {})
        self.numbers: dict[str, dict[str, float]] = {}
        self.arrays: dict[str, dict[str, Any]] = {}
        self.checkpoints: list[dict[str, Any]] = []
        self.fractions: list[float] = []
        self._open: dict[str, Any] = {}

    def ask(self, **request: Any) -> dict[str, Any] | None:
        if (what := request.get("do")) in self._handed:
            return dict(self._handed[str(what)]) if request["part"] == 0 else None
        found = self._sets[request["of"]].serve(request)
        return None if found is None else dict(found)

    def put_numbers(self, name: str, numbers: Mapping[str, float]) -> None:
        self.numbers[name] = dict(numbers)

    def put_arrays(self, name: str, arrays: Mapping[str, Any]) -> None:
        copied = {key: np.array(value) for key, value in arrays.items()}
        if name != "checkpoint":
            self.arrays.setdefault(name, {}).update(copied)
        elif copied:
            self._open |= copied
        else:
            self.checkpoints.append(self._open)
            self._open = {}

    def progress(self, fraction: float) -> None:
        self.fractions.append(fraction)


def local_job(
    parameters: Mapping[str, Any],
    data: Loader,
    held_out: Loader | None = None,
    *,
    cache: Path,
    seed: int = 0,
    base: Path | None = None,
    restored: Mapping[str, Any] | None = None,
    facts: Mapping[str, Any] | None = None,
    window: Mapping[str, Any] | None = None,
    sound: Mapping[str, Any] | None = None,
) -> Job:
    """A job that stands on loaders of this process.

    Args:
        parameters: Plain values.
        data: What training sees.
        held_out: What the result is held against; the same as `data` when None.
        cache: A folder that is there.
        seed: What every random choice follows from.
        base: The folder of the base model.
        restored: Arrays of a checkpoint.
        facts: More facts than the loaders tell.
        window, sound: What `batches` asks for unless the algorithm says otherwise.
    """
    held_out = held_out or data
    sets = {
        name: {
            "size": len(loader),
            "deliver": list(loader.deliver),
            "window": dict(window or {}),
            "audio": dict(sound or {}),
        }
        for name, loader in (("data", data), ("held_out", held_out))
    }
    orders = {
        "parameters": dict(parameters),
        "seed": seed,
        "facts": {**split_facts(data, held_out), **(facts or {})},
        "base": str(base or ""),
        "restored": restored is not None,
        **sets,
    }
    return Job(orders, LocalLine(data, held_out, {"restored": restored} if restored is not None else {}), cache)
