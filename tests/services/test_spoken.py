"""Sizes, money and times as people of either language say them."""

from __future__ import annotations

import pytest

from malan.services.spoken import clock, lasting, moment, money, size


@pytest.mark.parametrize(
    ("count", "said"),
    [(0, "0 B"), (681, "681 B"), (2_624, "3 kB"), (94_000, "94 kB"), (1_343_080, "1.3 MB"), (5_200_000_000, "5.2 GB")],
)
def test_sizes_are_never_nothing(count: int, said: str) -> None:
    assert size(count) == said


def test_money_is_exact_and_local() -> None:
    assert money(40, "CNY", "zh") == "0.40 元"
    assert money(40, "CNY", "en") == "0.40 CNY"
    assert money(300, "JPY", "zh") == "300 JPY"


def test_times_are_local_and_days_have_no_hour() -> None:
    assert moment("2026-11-22T09:05:11.123+00:00", "zh") == "2026年11月22日 09:05"
    assert moment("2026-11-22T09:05Z", "en") == "22 Nov 2026, 09:05"
    assert moment("2026-11-22", "en") == "22 Nov 2026"
    assert moment("no time", "zh") == "no time"


def test_lengths_and_places_in_a_film() -> None:
    assert (lasting(2.24, "en"), lasting(75, "zh"), clock(3.4)) == ("2.2 s", "1:15", "0:03.40")
