"""LoRA for video models of the Wan, LTX and CogVideoX families: the phases. Start reading at `train`.

The training itself is in `diffusion_lora.py`, what differs between families in `families.py`.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from base_model import base_folder  # isort: skip  # before torch
from diffusion_lora import Recipe
from families import family_of


def prepare(job: Any) -> None:
    """Latents and words of every clip, once; they stay in the cache of the run."""
    _recipe(job).prepare()


def train(job: Any) -> dict[str, Any]:
    """Adapters by name."""
    return _recipe(job).train()


def export(job: Any, weights: Mapping[str, Any]) -> Mapping[str, Any]:
    """The adapters, after all their names were found in the base."""
    return _recipe(job).export(weights)


def evaluate(job: Any, weights: Mapping[str, Any] | None) -> dict[str, Any]:
    """Held-out losses and answers, of the base without weights."""
    return _recipe(job).evaluate(weights)


def sample(job: Any, weights: Mapping[str, Any]) -> Any:
    """Small pictures made for the captions of the clips it is handed, with noise by a fixed seed."""
    return _recipe(job).sample(weights)


def _recipe(job: Any) -> Recipe:
    said = job.parameters
    family = family_of(base_folder(job), said["tokens"], said["part"])
    family.check(said["frames"], said["size_px"])
    return Recipe(family, job)
