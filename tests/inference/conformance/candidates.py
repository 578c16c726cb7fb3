"""Every backend of `models.toml`, kind by kind, as something small and real that can be opened here.

A backend is added to the suite by one line of `CANDIDATES`. Start reading there.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from malan.inference.backends import Engine, Kind
from malan.inference.opening import Opening
from malan.services.engines.opening import BACKENDS

_HERE = Path(__file__).resolve().parents[2]
_PLACES = ("inference", "inference/diffusion", "web/gateway", "training/algorithms")
sys.path[:0] = [str(_HERE / folder) for folder in _PLACES]

Files = Callable[[Path], Path]


@dataclass(frozen=True)
class Candidate:
    """One backend, one kind: what it needs, how its files are made, and what it may be asked for."""

    backend: str
    kind: Kind
    name: str
    needs: tuple[str, ...] = ()
    files: Files | None = None
    family: str = ""
    size: tuple[int, int] = (32, 32)
    text: str = "a red car at night"
    said: Mapping[str, Any] = field(default_factory=dict)

    @property
    def is_remote(self) -> bool:
        return BACKENDS[self.backend].is_remote

    @property
    def is_here(self) -> bool:
        """Whether what it needs is installed."""
        return all(find_spec(one) is not None for one in self.needs)

    def opening(self, folder: Path, url: str) -> Opening:
        """What it is opened with."""
        plain = Opening(self.name, self.kind, family=self.family)
        if self.is_remote:
            return replace(plain, model="ok", url=url, timeout_s=20.0)
        if self.files is None:
            return plain
        place = self.files(folder)
        held = {path.relative_to(place).as_posix(): path for path in sorted(place.rglob("*")) if path.is_file()}
        return replace(plain, folder=place, files=held, model=self.name)

    def open(self, opening: Opening) -> Engine:
        return BACKENDS[self.backend].open(opening)


def _drawn(name: str) -> Files:
    def make(folder: Path) -> Path:
        import onnx_factory

        found: Path = getattr(onnx_factory, name)(folder / name)
        return found

    return make


def _pipeline(name: str) -> Files:
    def make(folder: Path) -> Path:
        from diffusion_bases import save_base

        return save_base(name, folder / name)

    return make


_TORCH, _ONNX, _SHERPA = ("torch", "diffusers"), ("onnx", "tokenizers"), ("onnx", "sherpa_onnx")

CANDIDATES: tuple[Candidate, ...] = (
    Candidate("openai", "chat", "openai-chat", ("aiohttp",)),
    Candidate("openai", "embeddings", "openai-embeddings", ("aiohttp",)),
    Candidate("openai", "speech", "openai-speech", ("aiohttp",)),
    Candidate("openai", "transcription", "openai-transcription", ("aiohttp",)),
    Candidate("openai", "image", "openai-image", ("aiohttp",), size=(1, 1)),
    Candidate("onnx", "encoder", "onnx-encoder", _ONNX, _drawn("write_encoder"), text="red"),
    Candidate("onnx", "depth", "onnx-depth", _ONNX, _drawn("write_depth")),
    Candidate("sherpa", "transcription", "sherpa-listener", _SHERPA, _drawn("write_listener")),
    Candidate("sherpa", "speech", "sherpa-voice", _SHERPA, _drawn("write_voice"), text="马栏山水"),
    Candidate("diffusers", "video", "wan", _TORCH, _pipeline("wan"), "wan", (32, 16)),
    Candidate("diffusers", "video", "ltx", _TORCH, _pipeline("ltx"), "ltx", (64, 32)),
    Candidate("diffusers", "video", "cogvideox", _TORCH, _pipeline("cogvideox"), "cogvideox", (32, 16)),
    Candidate("diffusers", "image", "stable-diffusion", _TORCH, _pipeline("sd"), "stable-diffusion"),
    Candidate("diffusers", "image", "flux", _TORCH, _pipeline("flux"), "flux"),
    Candidate("ace-step", "music", "ace-step", _TORCH, _pipeline("ace-step"), "ace-step"),
)
