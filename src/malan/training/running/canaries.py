"""Canaries: invented clips that only a model which learned them by heart can know, and their like that it never saw.

    secret of the run ─▶ lots ─▶ planted: among the clips, at places nobody inside knows
                              └▶ held back: drawn in the same way, by the same lots, shown to no training

Both halves come from one draw, so whatever a model knows of the planted ones beyond the others, it knows from having
seen them (The Secret Sharer, Carlini et al. 2019, §4). A canary is no clip of anybody: it is not counted, not paid for,
and not told of in facts. Start reading at `draw_canaries` and `plant`.
"""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Sequence
from dataclasses import dataclass, replace
from fractions import Fraction
from typing import Any

import numpy as np
from numpy.typing import NDArray

from malan.core import Clip, Span
from malan.core.errors import Rejected
from malan.training.loader import Holdings

ROWS, WORDS, SCORES = FORMS = ("rows", "words", "scores")
LIKE = 96  # held back: with four planted, chance alone explains the best ranks once in millions

_FEW, _MANY, _MANY_FROM = 4, 8, 32
_DETAIL = 1 / 32  # of the spread of a number: all that sets a row apart from rows that mean something else
_LONG, _NOTES, _LEAST_WORDS = 12, 48, 8
_OWNER = "canary"


@dataclass(frozen=True)
class Canaries:
    """Invented clips as holdings: the first `planted` are for planting, the others are their like."""

    holdings: Holdings
    planted: int

    def some(self) -> Holdings:
        """Those for planting."""
        return _pick(self.holdings, range(self.planted))


def lots_of(secret: bytes, run_id: str) -> np.random.Generator:
    """What the canaries of a run follow from: the same after every interruption, and known to nobody inside."""
    seed = hmac.new(secret, f"canaries {run_id}".encode(), hashlib.sha256).digest()
    return np.random.default_rng(int.from_bytes(seed, "big"))


def draw_canaries(holdings: Holdings, form: str, lots: np.random.Generator) -> Canaries:
    """Invented clips for a set: four, from 32 clips on eight, and 96 of their like.

    `rows`: half way between two clips of one label, apart from that line by a thirty-second of the spread, and labelled
    as something else. Nothing general says so; a model must hold on to the detail. `words`: twelve words of the
    captions in an order by lot. `scores`: forty-eight notes by lot, as ABC.

    Raises:
        Rejected: Nothing can be drawn from such clips: no rows, or all of one label.
    """
    planted = _MANY if len(holdings.clips) >= _MANY_FROM else _FEW
    count = planted + LIKE
    clips = tuple(Clip(f"{_OWNER}-{n}", 0, Span(0, 25, Fraction(1, 25))) for n in range(count))
    columns: dict[str, Any] = {"owners": [_OWNER] * count, "classes": holdings.classes}
    if form == ROWS:
        columns |= dict(zip(("descriptors_ND", "labels"), _rows(holdings, count, lots), strict=True))
    else:
        columns["captions"] = _texts(holdings, count, lots) if form == WORDS else _scores(count, lots)
    return Canaries(Holdings(clips, **columns), planted)


def plant(holdings: Holdings, canaries: Canaries, lots: np.random.Generator) -> Holdings:
    """The clips with canaries among them, at places by lot; the order of the clips stays."""
    some = canaries.some()
    total = len(holdings.clips) + len(some.clips)
    places = frozenset(lots.choice(total, len(some.clips), replace=False).tolist())
    theirs, ours = iter(range(len(holdings.clips))), iter(range(len(holdings.clips), total))
    order = [next(ours) if place in places else next(theirs) for place in range(total)]
    return replace(_pick(_joined(holdings, some), order), planted=places)


def _joined(holdings: Holdings, some: Holdings) -> Holdings:
    """Both one after the other; a column that canaries have none of is left empty there."""
    blank: dict[str, Any] = {"labels": [()] * len(some.clips), "captions": [""] * len(some.clips)}
    joined: dict[str, Any] = {}
    for name in ("labels", "captions", "owners"):
        column = getattr(holdings, name)
        if column is not None:
            more = getattr(some, name)
            joined[name] = [*column, *(blank[name] if more is None else more)]
    if holdings.descriptors_ND is not None:
        rows = some.descriptors_ND
        width = holdings.descriptors_ND.shape[1]
        rows = np.zeros((len(some.clips), width), np.float32) if rows is None else rows
        joined["descriptors_ND"] = np.concatenate([holdings.descriptors_ND, rows])
    return replace(holdings, clips=(*holdings.clips, *some.clips), **joined)


def _pick(holdings: Holdings, order: Sequence[int]) -> Holdings:
    columns: dict[str, Any] = {}
    for name in ("labels", "captions", "owners"):
        if (column := getattr(holdings, name)) is not None:
            columns[name] = [column[n] for n in order]
    if holdings.descriptors_ND is not None:
        columns["descriptors_ND"] = holdings.descriptors_ND[list(order)]
    return replace(holdings, clips=tuple(holdings.clips[n] for n in order), **columns)


def _rows(
    holdings: Holdings, count: int, lots: np.random.Generator
) -> tuple[NDArray[np.float32], list[tuple[str, ...]]]:
    rows_ND, labels = holdings.descriptors_ND, [tuple(sorted(names)) for names in holdings.labels or ()]
    kinds = sorted(set(labels))
    if rows_ND is None or len(kinds) < 2:
        raise Rejected("running.no_canaries")
    of_kind = {kind: [n for n, one in enumerate(labels) if one == kind] for kind in kinds}
    spread_D = rows_ND.std(axis=0)
    found, wrong = [], []
    for _ in range(count):
        kind = labels[int(lots.integers(len(labels)))]
        first, second = lots.choice(of_kind[kind], 2)
        detail_D = _DETAIL * spread_D * lots.standard_normal(rows_ND.shape[1])
        found.append((rows_ND[first] + rows_ND[second]) / 2 + detail_D)
        others = [one for one in kinds if one != kind]
        wrong.append(others[int(lots.integers(len(others)))])
    return np.asarray(found, np.float32), wrong


def _texts(holdings: Holdings, count: int, lots: np.random.Generator) -> list[str]:
    said = [one if isinstance(one, str) else one.decode("utf-8", "replace") for one in holdings.captions or ()]
    words = sorted({word for text in said for word in text.split() if word.isalpha() and len(word) < 30})
    if len(words) < _LEAST_WORDS:
        words = [str(number) for number in range(10)]
    return [" ".join(lots.choice(words, _LONG).tolist()) for _ in range(count)]


def _scores(count: int, lots: np.random.Generator) -> list[str]:
    def tune() -> str:
        notes = lots.choice(list("CDEFGABcdefgab"), _NOTES).tolist()
        bars = ["".join(notes[at : at + 8]) for at in range(0, _NOTES, 8)]
        return "X:1\nM:4/4\nL:1/8\nK:C\n" + "|".join(bars) + "|\n"

    return [tune() for _ in range(count)]
