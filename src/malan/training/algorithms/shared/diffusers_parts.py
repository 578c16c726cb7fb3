"""Parts of a base model by the names they have in its folder: `model_index.json` says which class each is of.

Only classes of diffusers and transformers are made, only from safetensors. Start reading at `Parts`.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import torch

_LIBRARIES = ("diffusers", "transformers")


class Parts:
    """The folder of a base model."""

    def __init__(self, folder: Path) -> None:
        self.folder = Path(folder)
        self.index: dict[str, Any] = json.loads((self.folder / "model_index.json").read_text("utf-8"))

    @property
    def pipeline(self) -> str:
        """The class of the whole, such as `WanPipeline`."""
        return str(self.index["_class_name"])

    def load(self, name: str, numbers: torch.dtype) -> Any:
        """A model, with weights, not to be trained.

        Raises:
            ValueError: The base has no such part, or one of another library.
        """
        model = self._class(name).from_pretrained(
            self.folder / name, torch_dtype=numbers, use_safetensors=True, local_files_only=True
        )
        return model.eval().requires_grad_(False)

    def load_plain(self, name: str) -> Any:
        """A part without weights: tokenizer, scheduler."""
        return self._class(name).from_pretrained(self.folder / name, local_files_only=True)

    def load_empty(self, name: str) -> Any:
        """A diffusers model as its configuration says, its weights as they are drawn (none on the device `meta`)."""
        return self._class(name).from_config(self.config(name))

    def config(self, name: str) -> dict[str, Any]:
        """The configuration of a part."""
        found: dict[str, Any] = json.loads((self.folder / name / "config.json").read_text("utf-8"))
        return found

    def _class(self, name: str) -> Any:
        import importlib

        library, kind = self.index.get(name) or (None, None)
        if library not in _LIBRARIES or kind is None:
            raise ValueError(f"the base has no {name} that can be used")
        return getattr(importlib.import_module(library), kind)
