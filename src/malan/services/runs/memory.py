"""How a run of ours is asked what it learned by heart: canaries among its clips, or pictures held against the footage.

    terms ask + package can be asked + our own trainer ─▶ what the gate needs, and the data for asking

Canaries follow from the gate's secret and the run: the same after every interruption, known to nothing inside. None of
the loaders made here counts: the buyer gets nothing of them but one word. Start reading at `ask_of` and `Asking`.
"""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import ExitStack
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from malan.core import Terms
from malan.core.errors import Rejected
from malan.rights.decide import DEFAULT_MEMORISATION, STRICT, UNCHECKED
from malan.services.runs.algorithms import CODE
from malan.training.loader import Allowed, Holdings, Loader
from malan.training.package import DataRequest, Package
from malan.training.running.canaries import ROWS, SCORES, WORDS, Canaries, draw_canaries, lots_of, plant
from malan.training.running.recall import FRAMES, PLANTED, TWIN, Recall

NEEDS = {PLANTED: "canaries", TWIN: "canaries", FRAMES: "frames"}
TRACE = {PLANTED: 0.1, TWIN: 0.7}
"""How much of a canary's loss may be gone. A classifier with more numbers than clips always holds on to a little of
each; of a text hardly anything may stay."""

_SAMPLES = 8


def ask_of(package: Package, tier: str, terms: Terms) -> dict[str, Any]:
    """What of memorisation a gate's policy asks for in a run, as arguments of `Policy`; empty where nothing is.

    Code of a buyer's would answer for itself, so it is not asked: its results are held for the owners anyway. Where
    the terms are strict, so is what has no measure.
    """
    said = terms.memorisation or DEFAULT_MEMORISATION
    if said == UNCHECKED:
        return {}
    if tier == CODE or not package.memory:
        return {"is_held": True} if said == STRICT else {}
    needs = frozenset({"effect", NEEDS[package.memory]})
    return {"needs": needs, "most_known": TRACE.get(package.memory, 0.0), "refuses_memory": said == STRICT}


@dataclass(frozen=True)
class Asking:
    """One run's way of being asked; nothing where the gate needs nothing."""

    measure: str
    data: Holdings
    held_out: Holdings
    request: DataRequest
    secret: bytes
    run_id: str
    seed: int

    def planted(self) -> Holdings:
        """The clips the run learns from, with canaries among them where that is how it is asked."""
        if self.measure != PLANTED or (drawn := self._drawn()) is None:
            return self.data
        return plant(self.data, *drawn)

    def recall(self, allowed: Allowed, closing: ExitStack) -> Recall | None:
        """The data for asking, open until `closing` is left."""

        def opened(holdings: Holdings, kinds: frozenset[str] = allowed.deliver) -> Loader:
            loader = Loader(holdings, replace(allowed, deliver=kinds), seed=self.seed, ahead=0)
            closing.callback(loader.close)
            return loader

        if self.measure == FRAMES:
            captions, frames = frozenset({"captions"}), frozenset({"frames"})
            some = opened(self._some(), captions)
            return Recall(
                FRAMES, captions=some, footage=opened(self.data, frames), unseen=opened(self.held_out, frames)
            )
        if not self.measure or (drawn := self._drawn()) is None:
            return None
        canaries, lots = drawn
        twin = opened(plant(self.data, canaries, lots)) if self.measure == TWIN else None
        return Recall(self.measure, opened(canaries.holdings), canaries.planted, twin)

    def _drawn(self) -> tuple[Canaries, np.random.Generator] | None:
        lots = lots_of(self.secret, self.run_id)
        try:
            return draw_canaries(self.data, self._form, lots), lots
        except Rejected:
            return None

    @property
    def _form(self) -> str:
        if self.measure == TWIN:
            return ROWS
        return SCORES if self.request.modality == "music" else WORDS

    def _some(self) -> Holdings:
        """A few of the clips, by lot, with their captions."""
        lots, captions = lots_of(self.secret, self.run_id), self.data.captions or [""] * len(self.data.clips)
        count = min(_SAMPLES, len(self.data.clips))
        chosen = sorted(lots.choice(len(self.data.clips), count, replace=False).tolist())
        return Holdings(tuple(self.data.clips[n] for n in chosen), captions=[captions[n] for n in chosen])


def told_facts(measure: str, holdings: Holdings) -> Mapping[str, int]:
    """What a run is told of canaries: how many, since privacy is accounted for clips alone."""
    return {"planted": len(holdings.planted)} if measure == PLANTED and holdings.planted else {}
