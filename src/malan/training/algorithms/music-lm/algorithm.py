"""A small model of music, learned from nothing but the scores of a grant (MIDI or ABC): the phases.

Without weights `evaluate` judges the same model as it is drawn, before it learned anything.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from base_model import device_of, generator, settle  # isort: skip  # before torch
import numpy as np
import torch
from abc_notation import read_abc
from fitting import Plan, figures, fit, in_units
from latents import Cache
from midi import read_midi
from model import Composer
from next_token import Window, groups_of, judge, keep_windows, loss_of_windows
from notes import DRUMS, drums_token, group_range, pitch_range, to_tokens
from privacy import privacy_of

_HELD_OUT_SEED = 20_000_003


def prepare(job: Any) -> None:
    """Tokens of every score, once."""
    _windows(job, "data")


def train(job: Any) -> dict[str, Any]:
    """All weights by name."""
    cache, said = _windows(job, "data"), job.parameters
    settle(job.seed)
    model = _model(job, job.seed).train()
    parameters = dict(model.named_parameters())
    privacy = privacy_of(said, job.facts)
    units = in_units(len(cache), groups_of(cache, said))

    def loss_of(numbers: list[int], step: int) -> torch.Tensor:
        held = cache.get(numbers)
        for place, number in enumerate(numbers):
            lots = generator(job.seed, 2, step, number)
            by = int(torch.randint(-said["transpose"], said["transpose"] + 1, (1,), generator=lots))
            transpose(held["ids"][place], by)
            transpose(held["wanted"][place], by)
        return loss_of_windows(model, held["ids"].to(device_of()), held["wanted"].to(device_of())).mean()

    losses = fit(parameters, loss_of, units, Plan.of(job, privacy), job)
    job.metrics(figures(losses, privacy))
    return {name: parameter.detach().float().cpu().numpy() for name, parameter in parameters.items()}


def evaluate(job: Any, weights: Mapping[str, Any] | None) -> dict[str, Any]:
    """Loss per token of each held-out score, and what the model says."""
    cache = _windows(job, "held_out")
    settle(_HELD_OUT_SEED)
    model = _model(job, _HELD_OUT_SEED)
    if weights is not None:
        put_in(model, weights)
    return judge(model.eval(), cache, device_of())


def put_in(model: Composer, weights: Mapping[str, Any]) -> None:
    """Write weights into a model, all of them and nothing else.

    Raises:
        ValueError: Names differ.
        RuntimeError: A shape differs.
    """
    wanted = dict(model.named_parameters())
    if set(wanted) != set(weights):
        raise ValueError(f"{len(set(wanted) & set(weights))} of {len(wanted)} names match")
    model.load_state_dict({name: torch.from_numpy(np.array(weights[name], np.float32)) for name in wanted})


def tokens_of(score: bytes) -> Window:
    """The tokens of a score; none when it cannot be read."""
    try:
        notes = read_midi(score) if score[:4] == b"MThd" else read_abc(score.decode("utf-8", "replace"))
    except ValueError:
        return [], []
    tokens = to_tokens(notes)
    return tokens, list(tokens)


def transpose(tokens: torch.Tensor, by: int) -> None:
    """Move all pitches but those of drums, in place; not at all when one would leave the keyboard."""
    first, end = pitch_range()
    is_pitch = (tokens >= first) & (tokens < end) & ~_after_drums(tokens)
    moved = tokens[is_pitch] + by
    if len(moved) and int(moved.min()) >= first and int(moved.max()) < end:
        tokens[is_pitch] = moved


def _after_drums(tokens: torch.Tensor) -> torch.Tensor:
    """Where the last group that was said is that of drums."""
    first, end = group_range()
    said = torch.where((tokens >= first) & (tokens < end), torch.arange(len(tokens)), -1).cummax(0).values
    assert drums_token() == first + DRUMS  # noqa: S101  # the layout of tokens
    return (said >= 0) & (tokens[said.clamp(min=0)] == drums_token())


def _windows(job: Any, of: str) -> Cache:
    said = job.parameters
    owners = bool(of == "data" and said["unit"] == "owner" and said["epsilon"])
    return keep_windows(Cache(job.cache, of), getattr(job, of), tokens_of, said["length"], owners=owners)


def _model(job: Any, seed: int) -> Composer:
    said = job.parameters
    torch.manual_seed(seed)
    return Composer(said["width"], said["layers"], said["heads"], said["length"]).to(device_of())
