"""How much memory an engine will need, told from its files alone, before anything is loaded.

    Opening + Amount ─▶ Need(weights, work, beside the device)

What a backend cannot tell from configurations is told by the size of its files. Diffusion is in `diffusion_memory.py`;
who compares with what there is stands in `services/engines/memory.py`. Start at `Need`.
"""

from __future__ import annotations

from dataclasses import dataclass

from malan.inference.backends import Amount
from malan.inference.opening import Opening

MB = 2**20
_LOADED = 1.1  # what files of weights take in memory for each byte on disk, with what a runtime keeps beside them
_WEIGHTS = (".safetensors", ".onnx", ".onnx_data", ".bin")


@dataclass(frozen=True, slots=True)
class Need:
    """Megabytes: of the weights on the device as long as the engine stands, of the work while it is at one ask, and in
    the machine's own memory beside the device while it is loaded."""

    weights_mb: int
    work_mb: int = 0
    host_mb: int = 0

    @property
    def total_mb(self) -> int:
        return self.weights_mb + self.work_mb


def by_files(opening: Opening, amount: Amount | None = None) -> Need:
    """The need of weights that are loaded as they lie there; what work takes beside them is not known."""
    _ = amount
    sizes = (path.stat().st_size for name, path in opening.files.items() if name.endswith(_WEIGHTS))
    return Need(round(sum(sizes) * _LOADED / MB))
