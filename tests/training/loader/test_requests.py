"""Requests as an enemy writes them: none gets past, none costs more than looking at it."""

from __future__ import annotations

import json
import math
from typing import Any

import numpy as np
import pytest
from drawn_algorithm import DESCRIBED, Purse, points
from hypothesis import given
from hypothesis import strategies as st

from malan.core.errors import Rejected
from malan.training.loader import Allowed, Holdings, Loader
from malan.training.loader.requests import Request, read_request

FINE: dict[str, Any] = {"do": "batch", "of": "data", "deliver": ["labels"]}
MOVING = Allowed(frozenset({"frames", "audio", "labels"}), frames=32, size_px=512)

HOSTILE: dict[str, dict[str, Any]] = {
    "nothing": {"do": None},
    "an unknown request": {"do": "delete"},
    "a request that is a list": {"do": ["batch"]},
    "a field more": {"path": "/etc/passwd"},
    "no kinds": {"deliver": []},
    "kinds that are one text": {"deliver": "labels"},
    "kinds by number": {"deliver": [1]},
    "kinds in a list of lists": {"deliver": [["labels"]]},
    "a kind twice": {"deliver": ["labels", "labels"]},
    "a kind nobody knows": {"deliver": ["ids"]},
    "a kind that was not declared": {"deliver": ["captions"]},
    "a batch of nothing": {"size": 0},
    "a batch below nothing": {"size": -1},
    "a huge batch": {"size": 10**9},
    "a batch of yes": {"size": True},
    "a batch by float": {"size": 8.0},
    "a batch as text": {"size": "8"},
    "a batch number below zero": {"batch": -1},
    "a batch number without end": {"batch": 10**30},
    "shuffled by number": {"shuffle": 1},
    "an epoch below zero": {"epoch": -1},
    "an epoch too far": {"epoch": 10**6},
    "no repeats": {"repeats": 0},
    "a shard beyond its parts": {"shard": [2, 2]},
    "a shard below zero": {"shard": [-1, 2]},
    "a shard of nothing": {"shard": [0, 0]},
    "a shard of three": {"shard": [0, 1, 2]},
    "a shard of floats": {"shard": [0.0, 1.0]},
    "a shard that is an object": {"shard": {"0": 1}},
    "a bucket nobody knows": {"bucket": "owner"},
    "a window that is a number": {"deliver": ["frames"], "window": 16},
    "a window with a field more": {"deliver": ["frames"], "window": {"asset": "x"}},
    "a window of no frames": {"deliver": ["frames"], "window": {"frames": 0}},
    "a window too long": {"deliver": ["frames"], "window": {"frames": 33}},
    "a window too large": {"deliver": ["frames"], "window": {"size_px": 513}},
    "a window backwards": {"deliver": ["frames"], "window": {"every": -1}},
    "a window of no stride": {"deliver": ["frames"], "window": {"stride": 0}},
    "a window picked by a path": {"deliver": ["frames"], "window": {"pick": "../"}},
    "a window that fits a list": {"deliver": ["frames"], "window": {"fit": ["crop"]}},
    "sound at no rate": {"deliver": ["audio"], "audio": {"rate_hz": 0}},
    "sound at any rate": {"deliver": ["audio"], "audio": {"rate_hz": 10**9}},
    "sound of many channels": {"deliver": ["audio"], "audio": {"channels": 64}},
    "sound of a not-a-number": {"deliver": ["audio"], "audio": {"seconds": math.nan}},
    "sound without end": {"deliver": ["audio"], "audio": {"seconds": math.inf}},
    "sound shorter than a row": {"deliver": ["audio"], "audio": {"seconds": 1e-6}},
    "sound before its start": {"deliver": ["audio"], "audio": {"seconds": -1}},
}
TAKEN: dict[str, Any] = {
    "no clips": [],
    "a clip too far": [40],
    "a clip below zero": [-1],
    "a clip by float": [1.0],
    "a clip by yes": [True],
    "a clip by name": ["a000"],
    "clips that are text": "0",
    "clips without end": [0] * 5000,
    "clips that are an object": {"0": 0},
}


@pytest.mark.parametrize("name", HOSTILE)
def test_a_hostile_request_is_refused(name: str) -> None:
    with pytest.raises(Rejected):
        read_request(FINE | HOSTILE[name], MOVING, 40)


@pytest.mark.parametrize("name", TAKEN)
def test_clips_that_are_none_are_refused(name: str) -> None:
    with pytest.raises(Rejected):
        read_request({"do": "take", "of": "data", "deliver": ["labels"], "clips": TAKEN[name]}, MOVING, 40)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=12),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4),
    max_leaves=12,
)
FIELDS = ("do", "of", "size", "shuffle", "epoch", "batch", "deliver", "window", "audio", "shard", "repeats", "bucket")


@given(st.dictionaries(st.sampled_from((*FIELDS, "clips", "x")), JSON), st.booleans())
def test_whatever_is_asked_is_a_request_or_refused(asked: dict[str, Any], finely: bool) -> None:
    whole = FINE | asked if finely else asked
    try:
        found = read_request(whole, MOVING, 40)
    except Rejected:
        return
    assert isinstance(found, Request)
    assert set(found.deliver) <= MOVING.deliver
    assert all(0 <= clip < 40 for clip in found.clips)


def test_what_is_refused_is_neither_counted_nor_delivered() -> None:
    purse = Purse()
    loader = Loader(points(40), Allowed(DESCRIBED), counter=purse)
    for asked in HOSTILE.values():
        with pytest.raises(Rejected):
            loader.serve(FINE | asked)
    assert (purse.counted, loader.counted_us) == ([], 0)


def test_requests_without_end_are_refused() -> None:
    loader = Loader(points(4), Allowed(DESCRIBED, requests=3))
    for _ in range(3):
        loader.serve(FINE)
    with pytest.raises(Rejected, match="more than 3 requests"):
        loader.serve(FINE)


def test_repeats_cannot_fill_our_memory() -> None:
    loader = Loader(points(400), Allowed(DESCRIBED, slots=100_000))
    with pytest.raises(Rejected, match="at most"):
        loader.serve(FINE | {"repeats": 1000})


def test_captions_count_into_what_an_answer_holds() -> None:
    holdings = Holdings(points(4).clips, captions=["x" * 400] * 4)
    loader = Loader(holdings, Allowed(frozenset({"captions"}), answer_bytes=1200))
    asked = {"do": "take", "of": "data", "deliver": ["captions"]}
    assert loader.serve({**asked, "clips": [0, 1, 2]}) is not None
    with pytest.raises(Rejected, match="at once"):
        loader.serve({**asked, "clips": [0, 1, 2, 3]})


def test_what_a_refusal_says_was_not_written_by_the_run() -> None:
    with pytest.raises(Rejected) as caught:
        read_request(FINE | {"SECRET": 1}, MOVING, 40)
    assert "SECRET" not in json.dumps(caught.value.values)


def test_a_kind_that_is_not_there_cannot_be_declared() -> None:
    clips = points(4).clips
    for kind in ("descriptor", "labels", "captions", "frames", "audio", "owner", "thumbnails"):
        with pytest.raises(Rejected):
            Loader(Holdings(clips), Allowed(frozenset({kind})))


def test_columns_of_another_length_are_no_holdings() -> None:
    with pytest.raises(ValueError, match="length"):
        Holdings(points(4).clips, np.zeros((3, 2), np.float32))
