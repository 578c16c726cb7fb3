"""Canaries: drawn by our lots, at places nobody inside knows, counted as no clip of anybody's."""

from __future__ import annotations

from collections import Counter as Tally
from collections.abc import Collection, Mapping
from fractions import Fraction
from typing import Any

import numpy as np
import pytest

from malan.core import Clip, Span
from malan.core.errors import Rejected
from malan.training.loader import Allowed, Holdings, Loader
from malan.training.running.canaries import LIKE, ROWS, SCORES, WORDS, draw_canaries, lots_of, plant

KEY = b"k" * 32
CLIPS = tuple(Clip(f"asset-{n}", 0, Span(0, 50, Fraction(1, 25))) for n in range(40))


def holdings(**more: Any) -> Holdings:
    rng = np.random.default_rng(1)
    said: dict[str, Any] = {
        "descriptors_ND": rng.normal(0, 1, (40, 30)).astype("f4"),
        "labels": [("day",) if n % 2 else ("night",) for n in range(40)],
        "classes": ["day", "night"],
        "captions": [f"the city at night number {n} from above with rain and light" for n in range(40)],
        "owners": [f"owner {n % 3}" for n in range(40)],
    }
    return Holdings(CLIPS, **{**said, **more})


class Noted:
    """Notes what is counted."""

    def __init__(self) -> None:
        self.counted: Tally[str] = Tally()

    def gone(self) -> Collection[str]:
        return ()

    def count(self, amounts: Mapping[str, int]) -> None:
        self.counted.update(amounts)

    def close(self) -> None:
        pass


def test_canaries_are_handed_out_like_clips_and_counted_as_none() -> None:
    planted = plant(holdings(), draw_canaries(holdings(), WORDS, lots_of(KEY, "run")), lots_of(KEY, "places"))
    noted = Noted()
    data = Loader(planted, Allowed(frozenset({"captions", "owner"})), counter=noted)
    found = data.serve({"do": "batch", "of": "data", "size": 100, "deliver": ["captions", "owner"]})
    assert found is not None
    assert len(found["clip_N"]) == len(data) == 48
    assert noted.counted == dict.fromkeys((clip.asset_id for clip in CLIPS), 2_000_000)
    assert data.counted_us == 40 * 2_000_000
    assert (data.facts["clips"], data.facts["owners"]) == (40, 3)


def test_the_clips_keep_their_order_and_their_columns() -> None:
    planted = plant(holdings(), draw_canaries(holdings(), ROWS, lots_of(KEY, "run")), lots_of(KEY, "places"))
    real = [n for n in range(48) if n not in planted.planted]
    assert tuple(planted.clips[n] for n in real) == CLIPS
    assert planted.descriptors_ND is not None
    assert np.array_equal(planted.descriptors_ND[real], holdings().descriptors_ND)
    assert [planted.labels[n] for n in real] == list(holdings().labels or ())  # type: ignore[index]
    assert [planted.captions[n] for n in real] == list(holdings().captions or ())  # type: ignore[index]


def test_places_follow_from_the_secret_and_the_run() -> None:
    def places(key: bytes, run: str) -> frozenset[int]:
        lots = lots_of(key, run)
        return plant(holdings(), draw_canaries(holdings(), WORDS, lots), lots).planted

    assert places(KEY, "a") == places(KEY, "a")
    assert len({places(KEY, "a"), places(KEY, "b"), places(b"x" * 32, "a")}) == 3
    assert any(max(places(KEY, f"{n}")) < 47 for n in range(5))


@pytest.mark.parametrize("form", [WORDS, SCORES])
def test_planted_ones_and_their_like_are_of_one_kind_and_none_is_both(form: str) -> None:
    drawn = draw_canaries(holdings(), form, lots_of(KEY, "run"))
    texts = [str(one) for one in drawn.holdings.captions or ()]
    assert (drawn.planted, len(texts), len(set(texts))) == (8, 8 + LIKE, 8 + LIKE)
    assert len({len(text.split()) for text in texts}) == 1


def test_a_row_is_labelled_as_what_its_neighbours_are_not() -> None:
    drawn = draw_canaries(holdings(), ROWS, lots_of(KEY, "run")).holdings
    real = holdings()
    assert drawn.descriptors_ND is not None
    assert real.descriptors_ND is not None
    assert drawn.labels is not None
    middles = {
        (a, b): (real.descriptors_ND[a] + real.descriptors_ND[b]) / 2 for a in range(40) for b in range(a % 2, a + 1, 2)
    }
    for row, label in zip(drawn.descriptors_ND[:12], drawn.labels[:12], strict=True):
        near = min(middles, key=lambda pair: float(np.linalg.norm(middles[pair] - row)))
        assert real.labels is not None
        assert real.labels[near[0]] != label


def test_of_few_clips_fewer_are_planted() -> None:
    few = Holdings(CLIPS[:9], captions=["a b c d e f g h i j"] * 9)
    assert draw_canaries(few, WORDS, lots_of(KEY, "run")).planted == 4


@pytest.mark.parametrize("more", [{"descriptors_ND": None}, {"labels": [("day",)] * 40, "classes": ["day"]}])
def test_where_nothing_can_be_drawn_nothing_is(more: dict[str, Any]) -> None:
    with pytest.raises(Rejected):
        draw_canaries(holdings(**more), ROWS, lots_of(KEY, "run"))
