"""LoRA for causal language models on the texts of a grant, plain or as conversations: the four phases."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from base_model import base_folder, device_of, generator, numbers_of, settle  # isort: skip  # before torch
import torch
from documents import reader_of
from fitting import Plan, figures, fit, in_units
from latents import Cache
from low_rank import attach, put_in, read_off, targets_of
from next_token import groups_of, judge, keep_windows, loss_of_windows
from privacy import privacy_of

_MANIFEST = Path(__file__).with_name("algorithm.toml")
_PREFIX = "base_model.model."  # names as peft reads them
_HELD_OUT_SEED = 20_000_003


def prepare(job: Any) -> None:
    """Tokens of every text, once."""
    _windows(job, "data")


def train(job: Any) -> dict[str, Any]:
    """Adapters by name."""
    cache, said = _windows(job, "data"), job.parameters
    settle(job.seed)
    model = _model(job)
    parameters = attach(model, targets_of(_MANIFEST), said["rank"], job.seed)
    if said["save_memory"]:
        model.gradient_checkpointing_enable()
        model.enable_input_require_grads()
    model.train()
    privacy = privacy_of(said, job.facts)
    units = in_units(len(cache), groups_of(cache, said))

    def loss_of(numbers: list[int], step: int) -> torch.Tensor:
        torch.manual_seed(generator(job.seed, step).initial_seed())
        held = {name: one.to(device_of()) for name, one in cache.get(numbers).items()}
        return loss_of_windows(_asked(model, job), held["ids"], held["wanted"]).mean()

    losses = fit(parameters, loss_of, units, Plan.of(job, privacy), job)
    job.metrics(figures(losses, privacy))
    return read_off(parameters, _PREFIX)


def export(job: Any, weights: Mapping[str, Any]) -> Mapping[str, Any]:
    """The adapters, after all their names were found in an empty copy of the base."""
    from transformers import AutoConfig, AutoModelForCausalLM

    with torch.device("meta"):
        config = AutoConfig.from_pretrained(base_folder(job), local_files_only=True)
        model = AutoModelForCausalLM.from_config(config)
        put_in(attach(model, targets_of(_MANIFEST), job.parameters["rank"], 0), weights, _PREFIX)
    return weights


def evaluate(job: Any, weights: Mapping[str, Any] | None) -> dict[str, Any]:
    """Loss per token of each held-out text, and what the model says."""
    cache = _windows(job, "held_out")
    settle(_HELD_OUT_SEED)
    model = _model(job)
    parameters = attach(model, targets_of(_MANIFEST), job.parameters["rank"], 0)
    if weights is not None:
        put_in(parameters, weights, _PREFIX)
    return judge(_asked(model.eval(), job), cache, device_of())


def _windows(job: Any, of: str) -> Cache:
    from transformers import AutoTokenizer

    said, cache = job.parameters, Cache(job.cache, of)
    owners = bool(of == "data" and said["unit"] == "owner" and said["epsilon"])
    reader = reader_of(AutoTokenizer.from_pretrained(base_folder(job), local_files_only=True))
    return keep_windows(cache, getattr(job, of), reader, said["tokens"], owners=owners)


def _model(job: Any) -> Any:
    from transformers import AutoModelForCausalLM

    numbers = numbers_of(job.parameters["precision"])
    model: Any = AutoModelForCausalLM.from_pretrained(
        base_folder(job), dtype=numbers, use_safetensors=True, local_files_only=True
    )
    return model.to(device_of())


def _asked(model: Any, job: Any) -> Any:
    numbers = numbers_of(job.parameters["precision"])

    def answer(ids: torch.Tensor) -> torch.Tensor:
        with torch.autocast(ids.device.type, torch.bfloat16, enabled=numbers is torch.bfloat16):
            logits: torch.Tensor = model(ids, use_cache=False).logits
        return logits

    return answer
