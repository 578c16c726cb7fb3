"""Splits that do not leak: an asset, and everything that looks like it, lies on one side.

Start reading at `split_assets`.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from fractions import Fraction

from malan.core.errors import UsageError


def split_assets(
    weights: Mapping[str, Fraction | int],
    groups: Iterable[Sequence[str]],
    shares: Mapping[str, Fraction],
    seed: int,
) -> dict[str, str]:
    """Say for every asset in which split it is.

    Assets that share a group are never separated, nor are those linked over several groups. The order of drawing
    depends on the seed and the ids only; each draw goes to the split that lacks most of its share, so that also a
    handful of assets comes out near the shares asked for.

    Args:
        weights: How much each asset counts, for example its clips' seconds.
        groups: Assets that hold near-duplicates of each other; ids without a weight are ignored.
        shares: Share of each split; must add up to exactly one.
        seed: Another seed, another split.

    Raises:
        UsageError: Shares are negative or do not add up to one.
    """
    if sum(shares.values()) != 1 or any(share < 0 for share in shares.values()):
        raise UsageError("dataset.shares", shares=", ".join(f"{name}={share}" for name, share in shares.items()))
    families = _families(weights, groups)
    total = sum(weights.values()) or 1
    lacking = {name: share * total for name, share in shares.items() if share}
    where: dict[str, str] = {}
    for family in sorted(families, key=lambda members: _draw(seed, members[0])):
        split = max(lacking, key=lambda name: (lacking[name], name))
        lacking[split] -= sum(weights[asset] for asset in family)
        where |= dict.fromkeys(family, split)
    return where


def _families(weights: Mapping[str, Fraction | int], groups: Iterable[Sequence[str]]) -> list[list[str]]:
    """Connected assets; each family sorted."""
    parent = {asset: asset for asset in weights}

    def head(asset: str) -> str:
        while parent[asset] != asset:
            parent[asset] = parent[parent[asset]]
            asset = parent[asset]
        return asset

    for group in groups:
        known = [asset for asset in group if asset in parent]
        for asset in known[1:]:
            parent[head(asset)] = head(known[0])
    families: dict[str, list[str]] = {}
    for asset in sorted(weights):
        families.setdefault(head(asset), []).append(asset)
    return list(families.values())


def _draw(seed: int, asset: str) -> bytes:
    return hashlib.sha256(f"{seed}\n{asset}".encode()).digest()
