"""Built-in classifiers brought into this process, and rows of numbers with a known truth to learn."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from fractions import Fraction
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np

from malan.core import Clip, Span
from malan.training.algorithms import builtin_files
from malan.training.loader import Allowed, Holdings, Loader
from malan.training.running import local_job

WIDTH = 20


@contextmanager
def algorithm(name: str, folder: Path) -> Iterator[ModuleType]:
    """The module `algorithm` of a package as it runs: its own files alone on the path."""
    for file, content in builtin_files(name).items():
        (folder / file).write_bytes(content)
    names = {Path(file).stem for file in builtin_files(name) if file.endswith(".py")}
    sys.path.insert(0, str(folder))
    try:
        yield importlib.import_module("algorithm")
    finally:
        sys.path.remove(str(folder))
        for one in names:
            sys.modules.pop(one, None)


def job(parameters: dict[str, Any], data: Loader, held_out: Loader, cache: Path, seed: int = 0) -> Any:
    """A job of this process."""
    return local_job(parameters, data, held_out, cache=cache, seed=seed)


def loader(rows_ND: np.ndarray, labels: Sequence[Sequence[str]], classes: Sequence[str] | None = None) -> Loader:
    """Clips with these numbers and these labels."""
    base = Fraction(1, 25)
    clips = tuple(Clip(f"a{n // 4:03}", 0, Span(n % 4 * 50, (n % 4 + 1) * 50, base)) for n in range(len(rows_ND)))
    known = tuple(classes) if classes else None
    held = Holdings(clips, rows_ND.astype(np.float32), labels, classes=known)
    return Loader(held, Allowed(frozenset({"descriptor", "labels"})))


def one_of(count: int, names: Sequence[str], *, seed: int, noise: float = 1.0) -> tuple[np.ndarray, list[list[str]]]:
    """Rows around one centre a name."""
    centres = np.random.default_rng(7).normal(0, 1, (len(names), WIDTH))
    rng = np.random.default_rng(seed)
    truth = np.arange(count) % len(names)
    return centres[truth] + noise * rng.normal(0, 1, (count, WIDTH)), [[names[one]] for one in truth]


def several_of(count: int, names: Sequence[str], *, seed: int) -> tuple[np.ndarray, list[list[str]]]:
    """Rows in which each name has a direction of its own; each applies to about a third, none where nothing does."""
    rng = np.random.default_rng(seed)
    rows = rng.normal(0, 1, (count, WIDTH))
    applies = rows[:, : len(names)] + 0.4 * rng.normal(0, 1, (count, len(names))) > 0.5
    return rows, [[name for name, yes in zip(names, row, strict=True) if yes] or ["none"] for row in applies]


def ring(count: int, *, seed: int) -> tuple[np.ndarray, list[list[str]]]:
    """What no straight line parts: near the middle, or far from it."""
    rng = np.random.default_rng(seed)
    rows = np.column_stack([rng.normal(0, 1, (count, 3)), np.zeros((count, WIDTH - 3))])
    return rows, [["near" if np.linalg.norm(row[:3]) < 1.5 else "far"] for row in rows]
