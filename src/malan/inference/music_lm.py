"""A music-lm model at work without torch: a small transformer over tokens of notes, computed in numpy.

    weights ─▶ MusicModel ─ one token after another ─▶ notes (start, length, pitch, group; twelfths of a quarter)

Names and layout of the tokens are those of `training/algorithms/music-lm/notes.py`, said again here: a recipe is a
package that runs alone in the sandbox of another house and imports nothing of Malan, and its folder is no module of
ours. A test reads both and compares them. Start reading at `MusicModel`.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from malan.core.errors import Rejected

QUARTER, DRUMS = 12, 16  # ticks a quarter; the group of channel 10
_BEGIN, _END, _LONGEST = 1, 2, 48
_WAIT, _GROUP = 3, 3 + _LONGEST
_PITCH = _GROUP + 17
_LENGTH = _PITCH + 128
VOCABULARY = _LENGTH + _LONGEST
_TEMPERATURE = 0.9
_EPSILON = float(np.finfo(np.float32).eps)
_MOST_TOKENS = 40_000

Array = NDArray[np.float32]


class DrawnNote(NamedTuple):
    """A note: start and length in twelfths of a quarter, MIDI pitch, group (program // 8, or `DRUMS`)."""

    start: int
    length: int
    pitch: int
    group: int


@dataclass(frozen=True)
class MusicModel:
    """Weights by name, and how many heads look back."""

    weights: Mapping[str, Array]
    heads: int

    def __post_init__(self) -> None:
        """Raises:
        Rejected: These are no weights of music-lm.
        """
        embed = self.weights.get("embed.weight")
        fits = embed is not None and embed.shape[0] == VOCABULARY and "position.weight" in self.weights
        if not fits or embed is None or embed.shape[1] % self.heads or not self.layers:
            raise Rejected("music.wrong_model", model="music-lm")

    @property
    def layers(self) -> int:
        return sum(name.endswith(".mix.weight") for name in self.weights)

    @property
    def length(self) -> int:
        """Tokens it looks back at most."""
        return len(self.weights["position.weight"])

    def compose(self, quarters: float, seed: int, *, stop: Callable[[], None] = lambda: None) -> list[DrawnNote]:
        """Notes that last so many quarters; where a piece ends before, the next one begins."""
        lots = np.random.Generator(np.random.PCG64(seed))
        notes: list[DrawnNote] = []
        begin, drawn = 0, 0
        while begin < quarters * QUARTER and drawn < _MOST_TOKENS:
            tokens = self._piece(lots, round(quarters * QUARTER) - begin, stop)
            drawn += len(tokens)
            found = [note._replace(start=note.start + begin) for note in read_tokens(tokens)]
            notes += found
            end = max((note.start + note.length for note in found), default=begin)
            begin = max(-(-end // (4 * QUARTER)) * 4 * QUARTER, begin + 1)
        return [note for note in notes if note.start < quarters * QUARTER]

    def _piece(self, lots: np.random.Generator, ticks: int, stop: Callable[[], None]) -> list[int]:
        """Tokens from the beginning to the end, or until they last so long."""
        tokens, time, cache = [_BEGIN], 0, _Cache(self)
        while tokens[-1] != _END and time < ticks and len(tokens) < _MOST_TOKENS:
            if len(tokens) % 64 == 0:
                stop()
            logits = cache.next(tokens).astype(np.float64) / _TEMPERATURE
            chances = np.exp(logits - logits.max())
            chances[:_BEGIN] = 0
            chances /= chances.sum()
            token = int(np.searchsorted(np.cumsum(chances), lots.random()))
            tokens.append(min(token, VOCABULARY - 1))
            time += token - _WAIT + 1 if _WAIT <= token < _GROUP else 0
        return tokens


class _Cache:
    """What was computed of the tokens before; thrown away by half when the window is full."""

    def __init__(self, model: MusicModel) -> None:
        self.model = model
        self.seen = 0
        self.begin = 0
        width = model.weights["embed.weight"].shape[1]
        shape = (model.layers, model.length, model.heads, width // model.heads)
        self.keys, self.says = np.zeros(shape, np.float32), np.zeros(shape, np.float32)

    def next(self, tokens: list[int]) -> Array:
        """Logits of the token after these."""
        if self.seen == self.model.length:  # start again in the middle of what is remembered
            self.begin, self.seen = len(tokens) - self.model.length // 2, 0
        held: Array = np.zeros(0, np.float32)
        for token in tokens[self.begin + self.seen :]:
            held = self._step(token)
        return held

    def _step(self, token: int) -> Array:
        weights, place = self.model.weights, self.seen
        held = weights["embed.weight"][token] + weights["position.weight"][place]
        for layer in range(self.model.layers):
            name = f"blocks.{layer}."
            held = held + self._attended(name, layer, _norm(held, weights[name + "norm1.weight"]))
            wide = weights[name + "up.weight"] @ _norm(held, weights[name + "norm2.weight"])
            held = held + weights[name + "down.weight"] @ _gelu(wide)
        self.seen += 1
        logits: Array = weights["embed.weight"] @ _norm(held, weights["norm.weight"])
        return logits

    def _attended(self, name: str, layer: int, held: Array) -> Array:
        weights, heads = self.model.weights, self.model.heads
        asks, keys, says = (weights[name + "mix.weight"] @ held).reshape(3, heads, -1)
        self.keys[layer, self.seen], self.says[layer, self.seen] = keys, says
        scores = np.einsum("hd,thd->ht", asks, self.keys[layer, : self.seen + 1]) / math.sqrt(asks.shape[1])
        shares = np.exp(scores - scores.max(axis=1, keepdims=True))
        shares /= shares.sum(axis=1, keepdims=True)
        heard = np.einsum("ht,thd->hd", shares, self.says[layer, : self.seen + 1]).ravel()
        out: Array = weights[name + "out.weight"] @ heard
        return out


def read_tokens(tokens: list[int]) -> list[DrawnNote]:
    """The notes that tokens say. A pitch without a length lasts a quarter; what makes no sense is passed over."""
    notes: list[DrawnNote] = []
    time, group, pitch = 0, 0, -1
    for token in tokens:
        is_length = _LENGTH <= token < VOCABULARY
        if pitch >= 0:
            notes.append(DrawnNote(time, token - _LENGTH + 1 if is_length else QUARTER, pitch, group))
            pitch = -1
        if token == _END:
            break
        if _WAIT <= token < _GROUP:
            time += token - _WAIT + 1
        elif _GROUP <= token < _PITCH:
            group = token - _GROUP
        elif _PITCH <= token < _LENGTH:
            pitch = token - _PITCH
    return notes


def _norm(held: Array, weight: Array) -> Array:
    size = np.sqrt(np.mean(held.astype(np.float64) ** 2) + _EPSILON)
    return (held / np.float32(size)) * weight


def _gelu(held: Array) -> Array:
    turned = np.array([math.erf(value) for value in (held / np.float32(math.sqrt(2))).tolist()], np.float32)
    out: Array = held * np.float32(0.5) * (1 + turned)
    return out
