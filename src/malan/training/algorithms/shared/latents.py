"""What a frozen encoder made of each clip, kept for later epochs: one file a clip, in the cache of the run.

An encoding decodes back to footage, so the cache is footage: it lies in the scratch space of the run, which is memory
of the sandbox, and ends with it. Start reading at `Cache`.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch


class Cache:
    """Tensors by name for each example, numbered from 0 in the order they were put."""

    def __init__(self, folder: Path, name: str) -> None:
        self._folder = Path(folder) / name
        self._folder.mkdir(parents=True, exist_ok=True)
        self._count = len(list(self._folder.glob("*.npz")))

    def __len__(self) -> int:
        return self._count

    def put(self, tensors: Mapping[str, torch.Tensor], **facts: int) -> None:
        """Keep one example: half precision for what is real, and whole numbers beside it."""
        arrays: dict[str, Any] = {name: _kept(tensor) for name, tensor in tensors.items()}
        arrays |= {f"fact.{name}": np.int64(value) for name, value in facts.items()}
        path = self._folder / f"{self._count}.npz"
        part = path.with_suffix(".part")
        with part.open("wb") as file:
            np.savez(file, **arrays)
        part.rename(path)
        self._count += 1

    def get(self, numbers: list[int]) -> dict[str, torch.Tensor]:
        """Some examples as a batch: each tensor with one more axis in front."""
        held = [self._read(number) for number in numbers]
        return {name: torch.stack([_given(one[name]) for one in held]) for name in held[0] if name[:5] != "fact."}

    def facts(self, name: str) -> list[int]:
        """One fact of all examples, in order."""
        return [int(self._read(number, f"fact.{name}")[f"fact.{name}"]) for number in range(len(self))]

    def _read(self, number: int, only: str = "") -> dict[str, Any]:
        with np.load(self._folder / f"{number}.npz", allow_pickle=False) as file:
            return {name: file[name] for name in ([only] if only else file.files)}


def _kept(tensor: torch.Tensor) -> Any:
    """Half the size with 11 significant bits; numbers larger than half precision holds stay whole."""
    array = tensor.detach().float().cpu().numpy() if tensor.is_floating_point() else tensor.cpu().numpy()
    small = array.dtype == np.float32 and float(np.abs(array).max(initial=0.0)) < 60_000
    return array.astype(np.float16) if small else array


def _given(array: Any) -> torch.Tensor:
    tensor = torch.from_numpy(array)
    return tensor.float() if tensor.is_floating_point() else tensor
