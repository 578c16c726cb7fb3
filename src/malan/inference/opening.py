"""What a backend is given to open an engine: the row of `models.toml` resolved, files checked, nothing to look up.

Who may use which weights is decided before (`services/engines/opening.py`). Start reading at `Opening`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from malan.core.errors import NotFound
from malan.inference.backends import Kind, Stop, go_on


@dataclass(frozen=True, slots=True)
class Adapter:
    """A sub-model that may be attached: a file of low-rank pairs, its digest checked.

    `alpha` is what its pairs are scaled by, over their rank; None: as much as the rank.
    """

    id: str
    title: str
    path: Path
    alpha: float | None = None


FindAdapter = Callable[[str], Adapter]


def no_adapters(name: str) -> Adapter:
    """Raises:
    NotFound: Always: none can be attached here.
    """
    raise NotFound("models.unknown", model=name[:80])


@dataclass(frozen=True, slots=True)
class Opening:
    """An engine to be opened.

    Args:
        name: Of the engine.
        kind: Which protocol it shall follow.
        device: As written: `cpu`, `cuda:0`, `cpu:speech`.
        model: Remote: what it is called there. Local: name@version.
        url: Remote ones.
        key: The key of a remote one; never shown.
        timeout_s: Remote: how long it may say nothing.
        at_once: Remote: how many may ask at the same time; 0: no limit.
        folder: Local: where the files lie.
        files: Local: every file of the weights by its name in the folder, each certain to be what was registered.
        family: Local: of the architecture.
        options: What only this backend understands.
        find_adapter: Name of a sub-model → its file, once it is certain that whoever asks may use it.
        stop: Raises when the opening shall end.
    """

    name: str
    kind: Kind
    device: str = "cpu"
    model: str = ""
    url: str = ""
    key: str = field(default="", repr=False)
    timeout_s: float = 120.0
    at_once: int = 0
    folder: Path | None = None
    files: Mapping[str, Path] = field(default_factory=dict)
    family: str = ""
    options: Mapping[str, Any] = field(default_factory=dict)
    find_adapter: FindAdapter = no_adapters
    stop: Stop = go_on

    @property
    def processor(self) -> str:
        """The device without the name of a lock: `cpu:speech` is the processor."""
        return "cpu" if self.device.startswith("cpu") else self.device
