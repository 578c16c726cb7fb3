"""What a way of training guarantees is said in both languages, together with what it does not."""

import pytest

from malan.core.capacity import worst_case
from malan.core.errors import UsageError
from malan.core.tiers import TIERS, tier_statement


@pytest.mark.parametrize("tier", TIERS)
def test_every_tier_says_what_holds_and_what_does_not(tier: str) -> None:
    found = tier_statement(tier)
    assert len(found.holds) >= 3
    assert len(found.lacks) >= 3
    assert all(words["en"] and words["zh"] for words in (found.title, *found.holds, *found.lacks))


def test_only_differential_privacy_promises_a_bound_on_what_is_learned() -> None:
    bounded = {tier for tier in TIERS if any("(ε, δ)" in words["en"] for words in tier_statement(tier).holds)}
    assert bounded == {"recipe-dp"}


def test_points_that_all_share_come_last() -> None:
    last = {tier_statement(tier).lacks[-1]["en"] for tier in TIERS}
    assert len(last) == 1
    assert "kernel" in last.pop()


def test_a_tier_nobody_knows_is_refused() -> None:
    with pytest.raises(UsageError, match="recipe-dp"):
        tier_statement("trust-me")


def test_the_worst_case_is_plain_arithmetic() -> None:
    assert worst_case(8_000).audio_s == 1
    assert worst_case(0).as_record() == dict.fromkeys(worst_case(0).as_record(), 0)
