"""What comes with each clip, in which order, and what it counts."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from drawn_algorithm import DESCRIBED, Purse, clips, points
from hypothesis import given
from hypothesis import strategies as st

from malan.core.errors import NotGranted
from malan.runtime.sandbox.inside.data import Clips, texts
from malan.training.loader import Allowed, Holdings, Loader
from malan.training.loader.counting import Tally
from malan.training.loader.order import Pass, alike, draw
from malan.training.loader.requests import Order

WHOLE_US = 5_000_000


def clips_of(loader: Loader, *kinds: str) -> Clips:
    def ask(**request: Any) -> Any:
        return loader.serve(request)

    return Clips(ask, "data", len(loader), kinds or loader.deliver)


def numbers(batches: Any) -> list[list[int]]:
    return [batch["clip_N"].tolist() for batch in batches]


def flat(parts: list[list[int]]) -> list[int]:
    return [number for part in parts for number in part]


def described(count: int = 10, purse: Purse | None = None, **more: Any) -> Loader:
    return Loader(points(count), Allowed(DESCRIBED), counter=purse, **more)


# --- order -----------------------------------------------------------------------------------------------------------


def test_a_plain_pass_is_in_the_order_of_numbers() -> None:
    assert numbers(clips_of(described()).batches(4)) == [[0, 1, 2, 3], [4, 5, 6, 7], [8, 9]]


def test_a_shuffled_pass_has_every_clip_once_and_differs_by_epoch_and_seed() -> None:
    passes = [
        numbers(clips_of(described(40, seed=seed)).batches(7, shuffle=True, epoch=epoch))
        for seed, epoch in ((1, 0), (1, 0), (1, 1), (2, 0))
    ]
    assert all(sorted(flat(one)) == list(range(40)) for one in passes)
    assert passes[0] == passes[1]
    assert len({str(one) for one in passes}) == 3


def test_shards_divide_a_pass_without_rest_or_overlap() -> None:
    clips = clips_of(described(23))
    parts = [flat(numbers(clips.batches(4, shuffle=True, epoch=3, shard=[i, 3]))) for i in range(3)]
    assert sorted(flat(parts)) == list(range(23))
    assert [len(part) for part in parts] == [8, 8, 7]


def test_repeats_bring_every_clip_so_often() -> None:
    found = flat(numbers(clips_of(described(5)).batches(4, shuffle=True, repeats=3)))
    assert sorted(found) == sorted([*range(5)] * 3)


def test_buckets_of_length_keep_clips_of_like_length_together() -> None:
    short, long = clips(6, seconds=2), clips(6, asset="b", seconds=20)
    mixed = tuple(clip for pair in zip(short, long, strict=True) for clip in pair)
    loader = Loader(Holdings(mixed, labels=[[]] * 12), Allowed(frozenset({"labels"})))
    batches = numbers(clips_of(loader).batches(4, shuffle=True, bucket="length"))
    assert all(len({clip % 2 for clip in batch}) == 1 for batch in batches)
    assert sorted(flat(batches)) == list(range(12))
    assert sorted(map(len, batches)) == [2, 2, 4, 4]


@given(
    st.lists(st.integers(0, 4), min_size=1, max_size=30),
    st.integers(1, 7),
    st.booleans(),
    st.integers(1, 3),
    st.integers(1, 4),
    st.integers(0, 3),
)
def test_every_slot_comes_exactly_once_whatever_the_order(
    turns: list[int], size: int, shuffle: bool, repeats: int, parts: int, kinds: int
) -> None:
    bucket_N = None if not kinds else np.arange(len(turns)) % kinds
    found = []
    for part in range(parts):
        order = Order(size, shuffle, (part, parts), repeats)
        whole = Pass(np.array(turns, np.int32), order, seed=1, epoch=2, bucket_N=bucket_N)
        batches = [whole[n] for n in range(len(whole))]
        assert not len(whole[len(whole)])
        assert all(0 < len(batch) <= size for batch in batches)
        if bucket_N is not None:
            assert all(len(set(bucket_N[batch[:, 0]])) == 1 for batch in batches)
        found += [tuple(slot) for batch in batches for slot in batch.tolist()]
    assert sorted(found) == [(clip, turn) for clip, count in enumerate(turns) for turn in range(count * repeats)]


def test_draws_are_even_and_stay_below_one() -> None:
    found = [draw(1, 0, clip, 0) for clip in range(2000)]
    assert max(found) < 1
    assert np.histogram(found, 4, (0, 1))[0].min() > 430


def test_values_in_one_bucket_are_alike() -> None:
    values = np.geomspace(0.1, 1000, 500)
    buckets = alike(values)
    assert all(values[buckets == one].max() / values[buckets == one].min() < 1.26 for one in set(buckets))


# --- columns ---------------------------------------------------------------------------------------------------------


def test_labels_come_as_a_number_and_as_all_of_them() -> None:
    labels = [["night", "day"], [], ["day"], ["none"]]
    loader = Loader(Holdings(clips(4), labels=labels), Allowed(frozenset({"labels"})))
    (batch,) = clips_of(loader).batches(8)
    assert loader.facts["classes"] == ["day", "night", "none"]
    assert batch["label_N"].tolist() == [0, -1, 0, 2]
    assert batch["labels_NC"].tolist() == [[1, 1, 0], [0, 0, 0], [1, 0, 0], [0, 0, 1]]


def test_classes_may_be_given_so_that_two_sets_agree() -> None:
    loader = Loader(Holdings(clips(1), labels=[["b"]], classes=["a", "b"]), Allowed(frozenset({"labels"})))
    assert clips_of(loader).take([0])["label_N"].tolist() == [1]


def test_clips_of_no_class_at_all_have_none() -> None:
    loader = Loader(Holdings(clips(2), labels=[[], []]), Allowed(frozenset({"labels"})))
    (batch,) = clips_of(loader).batches(8)
    assert batch["label_N"].tolist() == [-1, -1]
    assert batch["labels_NC"].shape == (2, 0)


def test_captions_come_as_bytes_and_offsets() -> None:
    captions = ["夜景", "", b"MThd\x00\xff"]
    loader = Loader(Holdings(clips(3), captions=captions), Allowed(frozenset({"captions"})))
    batch = clips_of(loader).take([2, 1, 0])
    assert texts(batch) == [b"MThd\x00\xff", b"", "夜景".encode()]
    assert batch["captions_offsets"].tolist() == [0, 6, 6, 12]


def test_owners_are_numbers() -> None:
    loader = Loader(Holdings(clips(4), owners=["x", "y", "x", "z"]), Allowed(frozenset({"owner"})))
    assert clips_of(loader).take([0, 1, 2, 3])["owner_N"].tolist() == [0, 1, 0, 2]


def test_arrays_are_fresh() -> None:
    clips = clips_of(described())
    clips.take([0])["descriptor_ND"][:] = 9
    clips.take([0])["labels_NC"][:] = 9
    again = clips.take([0])
    assert again["descriptor_ND"].max() < 9
    assert again["labels_NC"].max() == 1


# --- counting --------------------------------------------------------------------------------------------------------


def test_a_clip_counts_whole_once_an_epoch_whatever_is_asked_of_it() -> None:
    purse = Purse()
    clips = clips_of(described(4, purse))
    clips.take([0], deliver=["labels"])
    clips.take([0, 0], deliver=["descriptor", "labels"])
    assert purse.total_us == WHOLE_US
    clips.take([0], epoch=1)
    clips.take([0], epoch=0)
    assert purse.total_us == 3 * WHOLE_US


def test_amounts_are_stated_for_the_asset_they_belong_to() -> None:
    purse = Purse()
    clips_of(described(4, purse)).take([0, 1, 2])
    assert purse.counted == [{"a000": 2 * WHOLE_US, "a001": WHOLE_US}]


def test_what_cannot_be_counted_is_not_delivered_nor_taken_for_counted() -> None:
    purse = Purse(left_us=3 * WHOLE_US)
    clips = clips_of(described(4, purse))
    with pytest.raises(NotGranted):
        clips.take([0, 1, 2, 3])
    clips.take([0, 1, 2])
    assert purse.total_us == 3 * WHOLE_US


def test_a_grant_that_ends_ends_the_next_request() -> None:
    purse = Purse()
    batches = clips_of(described(8, purse)).batches(2)
    next(batches)
    purse.ended = True
    with pytest.raises(NotGranted):
        next(batches)
    assert purse.total_us == 2 * WHOLE_US


def test_owner_numbers_alone_count_nothing() -> None:
    purse = Purse()
    loader = Loader(Holdings(clips(4), owners=["x"] * 4), Allowed(frozenset({"owner"})), counter=purse)
    clips_of(loader).take([0, 1])
    assert purse.total_us == 0


Deliveries = st.lists(
    st.tuples(
        st.integers(0, 2), st.sets(st.integers(0, 3)), st.lists(st.tuples(st.integers(0, 3), st.integers(1, 900)))
    )
)


@given(Deliveries)
def test_a_clip_counts_the_longer_of_itself_and_its_stretches(deliveries: Any) -> None:
    whole_us = [100, 250, 400, 1000]
    tally, counted, expected = Tally(whole_us), 0, 0
    epoch_before, wholes, stretches = None, set[int](), dict[int, int]()

    def owed() -> int:
        return sum(
            max(stretches.get(clip, 0), whole_us[clip] if clip in wholes else 0) for clip in wholes | stretches.keys()
        )

    for epoch, whole, windows in deliveries:
        if epoch != epoch_before:
            expected, epoch_before, wholes, stretches = expected + owed(), epoch, set(), {}
        wholes |= whole
        for clip, us in windows:
            stretches[clip] = stretches.get(clip, 0) + us
        added = tally.of(epoch, whole, windows)
        tally.keep(added)
        counted += sum(added.values())
    assert counted == expected + owed()
