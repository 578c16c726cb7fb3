"""Adapters on a frozen model: put on, read off by name, put in by name with every name accounted for.

Scale is one always (alpha equals rank), so nothing has to travel beside the weights. The commonest failure of adapters
is silence: names that match nothing are skipped and the run goes on. Here any difference raises. Start at `attach`.
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from peft import LoraConfig, inject_adapter_in_model

_FACTOR = re.compile(r"(.+)\.(lora_[AB])\.default\.weight")

Arrays = Mapping[str, Any]


def attach(model: torch.nn.Module, targets: Sequence[str], rank: int, seed: int) -> dict[str, torch.nn.Parameter]:
    """Freeze a model and give the named modules an adapter that does nothing yet.

    Args:
        model: Changed in place; must be where it will work (moving it afterwards would leave optimisers behind).
        targets: Ends of names of linear modules, such as `attn1.to_q`.
        rank: Of all.
        seed: For the factor that is drawn.

    Returns:
        What can be trained, float32, by the name it leaves under: `module.lora_A.weight`, `module.lora_B.weight`.

    Raises:
        ValueError: No module ends in a target.
    """
    model.requires_grad_(False)
    torch.manual_seed(seed)
    config = LoraConfig(r=rank, lora_alpha=rank, target_modules=list(targets), init_lora_weights=True, bias="none")
    inject_adapter_in_model(config, model)
    found = factors(model)
    if not found:
        raise ValueError("no module of the base has one of the targets")
    for parameter in found.values():
        parameter.data = parameter.data.float()
        parameter.requires_grad_(True)
    return found


def factors(model: torch.nn.Module) -> dict[str, torch.nn.Parameter]:
    """The factors of all adapters of a model by the names they leave under, in order."""
    named = ((_FACTOR.fullmatch(name), parameter) for name, parameter in model.named_parameters())
    return dict(sorted((f"{match[1]}.{match[2]}.weight", parameter) for match, parameter in named if match))


def put_in(parameters: Mapping[str, torch.nn.Parameter], weights: Arrays, prefix: str) -> None:
    """Write weights into the adapters of a model, all of them and nothing else.

    Raises:
        ValueError: A name too many, too few, or a shape that differs; says how many.
    """
    wanted, given = {f"{prefix}{name}" for name in parameters}, set(weights)
    if wanted != given:
        raise ValueError(f"{len(wanted & given)} of {len(wanted)} names match, {len(given - wanted)} are unknown")
    for name, parameter in parameters.items():
        values = torch.from_numpy(np.array(weights[f"{prefix}{name}"], np.float32))
        if values.shape != parameter.shape:
            raise ValueError(f"{name}: {tuple(values.shape)} instead of {tuple(parameter.shape)}")
        parameter.data.copy_(values)


def read_off(parameters: Mapping[str, torch.nn.Parameter], prefix: str) -> dict[str, Any]:
    """The weights as arrays by the names they leave under.

    Raises:
        ValueError: They do nothing (a product is zero everywhere), or are not finite.
    """
    found = {f"{prefix}{name}": value.detach().float().cpu().numpy() for name, value in parameters.items()}
    ups = [array for name, array in found.items() if name.endswith("lora_B.weight")]
    if not all(np.isfinite(array).all() for array in found.values()) or not any(array.any() for array in ups):
        raise ValueError("training left weights that do nothing, or are no numbers")
    return found


def targets_of(manifest: Path) -> list[str]:
    """The ends of names that get an adapter, as the manifest declares them: what is trained is what may leave."""
    found: list[str] = tomllib.loads(manifest.read_text("utf-8"))["outputs"]["model"]["targets"]
    return found
