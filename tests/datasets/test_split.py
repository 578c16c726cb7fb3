from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from malan.core.errors import UsageError
from malan.datasets import split_assets

SHARES = {"train": Fraction(8, 10), "val": Fraction(1, 10), "test": Fraction(1, 10)}
assets = st.dictionaries(st.text("abcdef", min_size=4, max_size=4), st.integers(1, 500), min_size=1, max_size=40)


@given(assets, st.data())
def test_what_looks_alike_never_straddles_a_split(weights: dict[str, int], data: st.DataObject) -> None:
    names = sorted(weights)
    groups = data.draw(st.lists(st.lists(st.sampled_from(names), min_size=2, max_size=5), max_size=8))
    where = split_assets(weights, groups, SHARES, seed=data.draw(st.integers()))
    assert set(where) == set(weights)
    for group in groups:
        assert len({where[asset] for asset in group}) == 1


@given(assets, st.integers())
def test_the_same_seed_gives_the_same_split(weights: dict[str, int], seed: int) -> None:
    again = dict(reversed(list(weights.items())))
    assert split_assets(weights, [], SHARES, seed) == split_assets(again, [], SHARES, seed)


def test_shares_are_met_closely_with_many_assets() -> None:
    weights = {f"{i:04d}": 10 + i % 7 for i in range(300)}
    where = split_assets(weights, [], SHARES, seed=3)
    total = sum(weights.values())
    for split, share in SHARES.items():
        got = Fraction(sum(weights[a] for a, s in where.items() if s == split), total)
        assert abs(got - share) < Fraction(1, 100)


def test_another_seed_gives_another_split() -> None:
    weights = dict.fromkeys((f"{i:04d}" for i in range(50)), 1)
    assert split_assets(weights, [], SHARES, 1) != split_assets(weights, [], SHARES, 2)


@pytest.mark.parametrize("shares", [{"a": Fraction(1, 2)}, {"a": Fraction(3, 2), "b": Fraction(-1, 2)}])
def test_shares_that_do_not_add_up_are_refused(shares: dict[str, Fraction]) -> None:
    with pytest.raises(UsageError):
        split_assets({"a": 1}, [], shares, 0)
