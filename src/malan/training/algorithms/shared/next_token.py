"""Learning to say what comes next: windows of tokens, their loss, and what a model says of held-out texts.

    texts ─ tokens ─ windows of one length ─ cache ─▶ loss of each next token, mean over a window

A window knows of which clip it is: with privacy, all windows of a clip (or of its owner) are one unit. Start reading at
`keep_windows`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any

import numpy as np
import torch
from latents import Cache
from texts import texts_of

IGNORED = -100
_MOST_OUTPUTS = 16_384
_SHOWN = 8

Window = tuple[list[int], list[int]]
"""Tokens, and which of them are to be learned: the token itself, or `IGNORED`."""

Tokens = Callable[[bytes], Window]
Answer = Callable[[torch.Tensor], torch.Tensor]
"""Tokens (N, T) in, logits (N, T, vocabulary) out."""


def keep_windows(cache: Cache, clips: Any, tokens_of: Tokens, length: int, *, owners: bool) -> Cache:
    """Cut every text into windows of one length, the last one filled up; a text without tokens has none."""
    if len(cache):
        return cache
    for batch in clips.batches(64, deliver=["captions", *(["owner"] if owners else [])]):
        for place, text in enumerate(texts_of(batch)):
            facts = {"clip": int(batch["clip_N"][place])}
            if owners:
                facts["owner"] = int(batch["owner_N"][place])
            for ids, wanted in _windows(*tokens_of(text), length):
                cache.put({"ids": torch.tensor(ids), "wanted": torch.tensor(wanted)}, **facts)
    cache.close()
    if not len(cache):
        raise ValueError("there is nothing to learn from: no text, or none that can be read")
    return cache


def loss_of_windows(answer: Answer, ids: torch.Tensor, wanted: torch.Tensor) -> torch.Tensor:
    """The mean loss of the tokens that are to be learned, of each window: (N,)."""
    logits = answer(ids)[:, :-1].float()
    later = wanted[:, 1:]
    each = torch.nn.functional.cross_entropy(logits.transpose(1, 2), later, ignore_index=IGNORED, reduction="none")
    return each.sum(1) / (later != IGNORED).sum(1).clamp(min=1)


def judge(answer: Answer, cache: Cache, device: torch.device) -> dict[str, Any]:
    """The loss of each held-out clip, and what the model says of the first windows."""
    clips = cache.facts("clip")
    losses: dict[int, list[float]] = {clip: [] for clip in clips}
    shown = []
    with torch.inference_mode():
        for number, clip in enumerate(clips):
            held = {name: one.to(device) for name, one in cache.get([number]).items()}
            losses[clip].append(float(loss_of_windows(answer, held["ids"], held["wanted"])))
            if number < _SHOWN:
                shown.append(answer(held["ids"])[0, ::8].float().flatten().cpu())
    outputs = torch.cat(shown).numpy()
    means = [float(np.mean(found)) for _clip, found in sorted(losses.items())]
    return {"losses": np.array(means), "outputs": outputs[:: max(1, len(outputs) // _MOST_OUTPUTS)]}


def groups_of(cache: Cache, parameters: Mapping[str, Any]) -> list[int]:
    """Which unit of privacy each window belongs to."""
    return cache.facts("owner" if parameters["unit"] == "owner" and parameters["epsilon"] else "clip")


def _windows(ids: list[int], wanted: list[int], length: int) -> Iterable[Window]:
    """A window that has nothing to learn is left out."""
    for start in range(0, len(ids), length):
        part, learned = ids[start : start + length], wanted[start : start + length]
        missing = length - len(part)
        if any(token != IGNORED for token in learned[1:]):
            yield part + [0] * missing, learned + [IGNORED] * missing
