"""The ways of training, and what each guarantees: in words that promise no more than is done, and say what is not done.

Start reading at `tier_statement`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from malan.core.catalogue import LANGUAGES, catalogue, entry
from malan.core.errors import UsageError

RECIPE, RECIPE_DP, CODE = "recipe", "recipe-dp", "code"
TIERS = (RECIPE, RECIPE_DP, CODE)
"""Who wrote what trains: our recipe, our recipe with differential privacy, the buyer's reviewed code."""

Words = Mapping[str, str]
"""A sentence in each language."""


@dataclass(frozen=True)
class TierStatement:
    """What a way of training guarantees, point by point, and what it does not."""

    tier: str
    title: Words
    holds: tuple[Words, ...]
    lacks: tuple[Words, ...]

    def as_record(self) -> dict[str, Any]:
        """For JSON: every sentence in each language."""
        return {
            "tier": self.tier,
            "title": dict(self.title),
            "holds": [dict(one) for one in self.holds],
            "does_not_hold": [dict(one) for one in self.lacks],
        }


def tier_statement(tier: str) -> TierStatement:
    """The statement of one tier.

    Raises:
        UsageError: There is no such tier.
    """
    if tier not in TIERS:
        raise UsageError("tier.none", tier=tier[:40], tiers=", ".join(TIERS))
    return TierStatement(tier, _words(f"tier.{tier}.title"), _points(tier, "holds"), _points(tier, "lacks"))


def _points(tier: str, what: str) -> tuple[Words, ...]:
    """Points are numbered in the catalogue; those that all tiers share come last."""
    codes = [code for code in catalogue() if code.startswith((f"tier.{tier}.{what}.", f"tier.all.{what}."))]
    return tuple(_words(code) for code in sorted(codes, key=lambda code: (code.startswith("tier.all."), code)))


def _words(code: str) -> Words:
    return {lang: entry(code).text(lang) for lang in LANGUAGES}
