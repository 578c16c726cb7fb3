"""Dividing money: exact, fair, the same however it is asked; what makes no sense is refused."""

from __future__ import annotations

from fractions import Fraction
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from malan.core.errors import UsageError
from malan.rights.shares import (
    Fee,
    Holder,
    check_currency,
    check_holders,
    holders_digest,
    read_fraction,
    read_money,
    shown_money,
    split,
    take_fees,
    weigh,
)

MONEY = st.integers(0, 10**12)
WEIGHT = st.one_of(st.integers(1, 10**15), st.fractions(Fraction(1, 1000), 10**6, max_denominator=1000))
WEIGHTS = st.dictionaries(st.text("abcdef0123456789", min_size=4, max_size=8), WEIGHT, min_size=1, max_size=30)


@given(amount=MONEY, weights=WEIGHTS)
def test_the_parts_add_up_exactly_and_none_is_negative(amount: int, weights: dict[str, Fraction]) -> None:
    parts = split(amount, weights)
    assert sum(parts.values()) == amount
    assert set(parts) == set(weights)
    assert min(parts.values()) >= 0


@given(amount=MONEY, weights=WEIGHTS)
def test_every_part_is_the_exact_share_rounded_up_or_down(amount: int, weights: dict[str, Fraction]) -> None:
    total = sum(Fraction(weight) for weight in weights.values())
    for party, part in split(amount, weights).items():
        assert abs(part - amount * Fraction(weights[party]) / total) < 1


@given(amount=MONEY, weights=WEIGHTS)
def test_more_weight_never_gets_less(amount: int, weights: dict[str, Fraction]) -> None:
    parts = split(amount, weights)
    order = sorted(weights, key=lambda party: weights[party])
    for lighter, heavier in pairwise(order):
        assert weights[lighter] == weights[heavier] or parts[lighter] <= parts[heavier]


@given(amount=MONEY, weights=WEIGHTS, data=st.data())
def test_order_and_scale_change_nothing(amount: int, weights: dict[str, Fraction], data: st.DataObject) -> None:
    shuffled = dict(data.draw(st.permutations(list(weights.items()))))
    assert split(amount, shuffled) == split(amount, weights)
    assert split(amount, {party: weight * 7 for party, weight in weights.items()}) == split(amount, weights)


def test_the_worked_example() -> None:
    assert split(100, {"a": 1, "b": 1, "c": 1}, salt="x") in ({"a": 34, "b": 33, "c": 33}, *_others())
    assert split(10, {"a": 6, "b": 3, "c": 1}) == {"a": 6, "b": 3, "c": 1}
    assert split(0, {"a": 1}) == {"a": 0}


def _others() -> list[dict[str, int]]:
    return [{"a": 33, "b": 34, "c": 33}, {"a": 33, "b": 33, "c": 34}]


def test_the_odd_unit_is_not_always_the_same_partys() -> None:
    winners = {
        max(parts, key=parts.__getitem__) for n in range(40) if (parts := split(1, {"a": 1, "b": 1}, salt=str(n)))
    }
    assert winners == {"a", "b"}


def test_sums_beyond_every_machine_number_are_exact() -> None:
    parts = split(2**53 - 1, {f"p{n}": 2**200 + n for n in range(1000)})
    assert sum(parts.values()) == 2**53 - 1


@pytest.mark.parametrize("amount", [-1, 1.0, 0.0, True, "5", None, 2**53, float("inf")])
def test_money_that_is_none_is_refused(amount: Any) -> None:
    with pytest.raises(UsageError):
        split(amount, {"a": 1})


@pytest.mark.parametrize("weight", [0, -1, 1.5, True, Fraction(0), Fraction(-1, 2), "1", None])
def test_a_weight_that_is_none_is_refused(weight: Any) -> None:
    with pytest.raises(UsageError):
        split(10, {"a": 1, "b": weight})


def test_nothing_can_be_divided_among_nobody() -> None:
    with pytest.raises(UsageError):
        split(10, {})


def test_shares_of_an_asset_add_to_exactly_one() -> None:
    third = Fraction(1, 3)
    assert len(check_holders([Holder(name, third) for name in "abc"])) == 3
    for shares, code in (((third, third), "shares.under"), ((Fraction(2, 3), Fraction(1, 2)), "shares.over")):
        with pytest.raises(UsageError) as caught:
            check_holders([Holder(f"p{n}", share) for n, share in enumerate(shares)])
        assert caught.value.code == code


def test_a_holder_named_twice_and_nobody_are_refused() -> None:
    for holders in ([Holder("a", Fraction(1, 2)), Holder("a", Fraction(1, 2))], []):
        with pytest.raises(UsageError):
            check_holders(holders)


@pytest.mark.parametrize("share", [0.5, 1, 1.0, Fraction(0), Fraction(3, 2), Fraction(-1, 2), Fraction(1, 10_007), "1"])
def test_a_share_that_is_none_is_refused(share: Any) -> None:
    with pytest.raises(UsageError):
        Holder("a", share)


@pytest.mark.parametrize("tier", [0, -1, 1.5, True, 1001, None])
def test_a_tier_that_is_none_is_refused(tier: Any) -> None:
    with pytest.raises(UsageError):
        Holder("a", Fraction(1), tier)


def test_a_division_has_one_name_whatever_the_order() -> None:
    one, two = Holder("a", Fraction(1, 4)), Holder("b", Fraction(3, 4), 2)
    assert holders_digest([one, two]) == holders_digest([two, one])
    assert holders_digest([one, two]) != holders_digest([one, Holder("b", Fraction(3, 4))])


def test_weight_is_time_by_tier_by_share() -> None:
    sets = {"x": (Holder("a", Fraction(1, 4)), Holder("b", Fraction(3, 4), 2)), "y": (Holder("a"),)}
    assert weigh({"x": 100, "y": 7}, sets) == {"a": 32, "b": 150}


def test_fees_are_rounded_down_and_the_rest_is_the_owners() -> None:
    fees = [Fee("platform", Fraction(1, 10)), Fee("tax", Fraction(6, 100))]
    assert take_fees(999, fees) == ({"platform": 99, "tax": 59}, 841)
    assert take_fees(1, fees) == ({"platform": 0, "tax": 0}, 1)


@pytest.mark.parametrize("rates", [("2/3", "1/2"), ("1/2", "51/100")])
def test_fees_above_the_whole_are_refused(rates: tuple[str, str]) -> None:
    with pytest.raises(UsageError):
        take_fees(100, [Fee(f"fee{n}", read_fraction(rate)) for n, rate in enumerate(rates)])


def test_a_fee_twice_and_a_rate_as_float_are_refused() -> None:
    with pytest.raises(UsageError):
        take_fees(100, [Fee("a", Fraction(1, 10)), Fee("a", Fraction(1, 10))])
    for rate in (0.1, Fraction(-1, 10), Fraction(11, 10), 1):
        with pytest.raises(UsageError):
            Fee("a", rate)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "text", ["0.1", "-1/2", "1/0", "1e3", "", "/2", "1/2/3", " 1", "１/２", "1/-2", 5, None, "9" * 20_000]
)
def test_a_fraction_is_two_whole_numbers_and_nothing_else(text: Any) -> None:
    with pytest.raises(UsageError):
        read_fraction(text)
    assert read_fraction("6/100") == Fraction(3, 50)


@pytest.mark.parametrize("currency", ["cny", "CN", "CNYX", "元", "C1Y", 5, None, "ＣＮＹ"])
def test_a_currency_is_three_capital_letters(currency: Any) -> None:
    with pytest.raises(UsageError):
        check_currency(currency)


@given(st.integers(0, 10**10 - 1), st.sampled_from(["CNY", "JPY", "KWD"]))
def test_an_amount_is_read_as_it_is_shown(amount: int, currency: str) -> None:
    assert read_money(shown_money(amount, currency).partition(" ")[0], currency) == amount


@pytest.mark.parametrize("text", ["", ".", "1.", ".5", "-1", "+1", "1e3", "1,5", "0.001", "１", "1" * 11])
def test_what_is_no_amount_is_refused(text: str) -> None:
    with pytest.raises(UsageError):
        read_money(text, "CNY")


def test_a_currency_without_smaller_units_has_no_point() -> None:
    assert (read_money("300", "JPY"), read_money("1.5", "KWD")) == (300, 1500)
    with pytest.raises(UsageError):
        read_money("300.0", "JPY")
