"""A job in this process: an algorithm that comes with Malan, drawn clips, the real view of a run without its walls.

`loaded("video-lora")` gives the algorithm's module, from files put together as they are for a run. Start there.
"""

from __future__ import annotations

import importlib
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np

from malan.training.algorithms import builtin_files
from malan.training.package import package_of, settle_parameters

COLOURS = {"red": (200, 40, 40), "blue": (40, 60, 200), "night": (20, 20, 30), "day": (220, 220, 180)}


class DrawnClips:
    """Clips as arrays, given out as the loader would."""

    def __init__(self, arrays: Mapping[str, Any], captions: list[bytes], owners: list[int] | None = None) -> None:
        self._arrays, self._captions = dict(arrays), captions
        self._owners = owners or list(range(len(captions)))
        self.passes = 0

    def __len__(self) -> int:
        return len(self._captions)

    def batches(self, size: int = 32, **asked: Any) -> Iterator[dict[str, Any]]:
        self.passes += 1
        deliver = asked.get("deliver", ["frames", "captions"])
        for start in range(0, len(self), size):
            some = slice(start, min(start + size, len(self)))
            texts = self._captions[some]
            batch: dict[str, Any] = {"clip_N": np.arange(some.start, some.stop, dtype="i4")}
            batch["captions_bytes"] = np.frombuffer(b"".join(texts), "u1").copy()
            batch["captions_offsets"] = np.cumsum([0, *map(len, texts)]).astype("i8")
            if "owner" in deliver:
                batch["owner_N"] = np.array(self._owners[some], "i4")
            yield batch | {name: array[some].copy() for name, array in self._arrays.items()}


class DrawnJob:
    """What an algorithm is called with."""

    def __init__(
        self,
        algorithm: str,
        folder: Path,
        data: DrawnClips,
        held_out: DrawnClips,
        *,
        base: Path | None = None,
        seed: int = 1,
        restored: Mapping[str, Any] | None = None,
        facts: Mapping[str, Any] | None = None,
        **parameters: Any,
    ) -> None:
        self.package = package_of(builtin_files(algorithm))
        self.parameters = dict(settle_parameters(self.package.parameters, parameters))
        self.seed, self.data, self.held_out, self.restored = seed, data, held_out, restored
        self.facts = {"clips": len(data), "held_out": len(held_out)} | dict(facts or {})
        self.cache, self._base = folder / "cache", base
        self.cache.mkdir(parents=True, exist_ok=True)
        self.said: dict[str, float] = {}
        self.kept: list[dict[str, Any]] = []
        self.done: list[float] = []

    def base(self) -> Path | None:
        return self._base

    def progress(self, fraction: float) -> None:
        self.done.append(fraction)

    def metrics(self, numbers: Mapping[str, float]) -> None:
        self.said |= dict(numbers)

    def checkpoint(self, arrays: Mapping[str, Any]) -> None:
        self.kept.append({name: np.array(array) for name, array in arrays.items()})


@contextmanager
def modules_of(name: str, folder: Path, *wanted: str) -> Iterator[dict[str, ModuleType]]:
    """Modules of a package, its files in a folder of their own; forgotten again afterwards."""
    files = builtin_files(name)
    for path, content in files.items():
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        (folder / path).write_bytes(content)
    own = {Path(path).stem for path in files if path.endswith(".py")}
    for module in own & sys.modules.keys():
        del sys.modules[module]
    sys.path.insert(0, str(folder))
    importlib.invalidate_caches()
    try:
        yield {module: importlib.import_module(module) for module in wanted}
    finally:
        sys.path.remove(str(folder))
        for module in own & sys.modules.keys():
            del sys.modules[module]


@contextmanager
def loaded(name: str, folder: Path) -> Iterator[ModuleType]:
    """The module `algorithm` of a package."""
    with modules_of(name, folder, "algorithm") as found:
        yield found["algorithm"]


def drawn_video(count: int, frames: int, size_px: int, seed: int) -> DrawnClips:
    """A bright square that moves over a ground whose colour is said in the caption."""
    lots = np.random.default_rng(seed)
    clips, captions = np.zeros((count, frames, size_px, size_px, 3), "u1"), []
    for number in range(count):
        name = sorted(COLOURS)[int(lots.integers(len(COLOURS)))]
        clips[number] = COLOURS[name]
        side, y, x = size_px // 4, *lots.integers(0, size_px // 2, 2)
        for time in range(frames):
            left = (x + time) % (size_px - side)
            clips[number, time, y : y + side, left : left + side] = 255
        captions.append(f"wide shot of the {name} sky".encode())
    return DrawnClips({"frames_NTHWC": clips}, captions, [n % 4 for n in range(count)])
