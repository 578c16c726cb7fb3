"""What a frozen encoder made of each clip, kept for later epochs in the cache of the run: one file a name, end to end.

An encoding decodes back to footage, so the cache is footage: it lies in the scratch space of the run, which is memory
of the sandbox, and ends with it. Start reading at `Cache`.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch


class Cache:
    """Tensors by name for each example, numbered from 0 in the order they were put; all of one shape by name."""

    def __init__(self, folder: Path, name: str) -> None:
        self._folder = Path(folder) / name
        self._folder.mkdir(parents=True, exist_ok=True)
        self._layout: dict[str, Any] = {}
        self._facts: list[dict[str, int]] = []
        if self._index.is_file():
            found = json.loads(self._index.read_text("ascii"))
            self._layout, self._facts = found["layout"], found["facts"]

    def __len__(self) -> int:
        return len(self._facts)

    def put(self, tensors: Mapping[str, torch.Tensor], **facts: int) -> None:
        """Keep one example: half precision for what is real, whole numbers as they are. `close` makes it last.

        Raises:
            ValueError: Another shape than the examples before, or numbers that half precision does not hold.
        """
        arrays = {name: _kept(name, tensor) for name, tensor in tensors.items()}
        layout = {name: [array.dtype.str, list(array.shape)] for name, array in arrays.items()}
        if self._facts and layout != self._layout:
            raise ValueError(f"an example of another shape: {layout}")
        self._layout = layout
        for name, array in arrays.items():
            with (self._folder / f"{name}.numbers").open("ab") as file:
                file.write(array.tobytes())
        self._facts.append(facts)

    def close(self) -> None:
        """Write down what there is; only then does another `Cache` on the same folder see it."""
        self._index.write_text(json.dumps({"layout": self._layout, "facts": self._facts}), "ascii")

    def get(self, numbers: list[int]) -> dict[str, torch.Tensor]:
        """Some examples as a batch: each tensor with one more axis in front."""
        found = {}
        for name, (kind, shape) in self._layout.items():
            whole = np.memmap(self._folder / f"{name}.numbers", kind, "r", shape=(len(self), *shape))
            tensor = torch.from_numpy(np.array(whole[numbers]))
            found[name] = tensor.float() if tensor.is_floating_point() else tensor
        return found

    def facts(self, name: str) -> list[int]:
        """One fact of all examples, in order."""
        return [facts[name] for facts in self._facts]

    @property
    def _index(self) -> Path:
        return self._folder / "index.json"


def _kept(name: str, tensor: torch.Tensor) -> Any:
    if not tensor.is_floating_point():
        return tensor.cpu().numpy()
    half = tensor.detach().half()
    if not torch.isfinite(half).all():
        raise ValueError(f"{name} holds numbers too large for half precision, or none")
    return half.cpu().numpy()
