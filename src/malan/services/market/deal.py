"""The footage a deal is about, as it stands today, and whether the terms of a deal are within those of its owners.

    snapshot ─ footage_of ─▶ Footage ─ check_deal ─▶ nothing, or Rejected

Asked again at every step from an offer to a signature, since owners may change their minds in between. Start at
`footage_of`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from functools import cached_property
from typing import TYPE_CHECKING
from unicodedata import is_normalized

from malan.core import Snapshot, Terms
from malan.core.errors import NotFound, Rejected, UsageError
from malan.core.ids import digest_record
from malan.datasets import Manifest
from malan.rights.common_ground import in_house, looser
from malan.services.datasets.freezing import show_snapshot
from malan.services.footage.owners import owner_name, terms_of
from malan.services.uses import is_withdrawn, today

if TYPE_CHECKING:
    from malan.store import AssetRow
    from malan.workspace import Workspace


@dataclass(frozen=True)
class Footage:
    """The footage of a snapshot as it stands today: whose it is and under which terms."""

    snapshot: Snapshot
    manifest: Manifest
    assets: dict[str, AssetRow]
    terms: dict[str, Terms]  # by id

    @cached_property
    def owner_ids(self) -> tuple[str, ...]:
        return tuple(sorted({row.asset.owner_id for row in self.assets.values()}))

    @property
    def seconds(self) -> Fraction:
        return sum((entry.clip.span.duration for entry in self.manifest.entries), Fraction(0))


def footage_of(ws: Workspace, snapshot: str) -> Footage:
    """The footage of a snapshot, all of it there.

    Raises:
        NotFound: There is no such snapshot, or an asset of it is gone.
        Rejected: An asset of it was taken back.
        ProofError: The manifest or terms are not what they were.
    """
    saved, manifest = show_snapshot(ws, snapshot)
    wanted = {entry.clip.asset_id for entry in manifest.entries}
    assets = ws.library.assets_by_id(wanted)
    if missing := wanted - set(assets):
        raise NotFound("contract.asset_gone", asset=min(missing)[:12])
    for row in assets.values():
        if is_withdrawn(row):
            raise Rejected("contract.asset_withdrawn", asset=row.asset.id[:12])
    terms_ids = {row.asset.terms_id for row in assets.values()}
    return Footage(saved.snapshot, manifest, assets, {one: terms_of(ws, one) for one in sorted(terms_ids)})


def check_deal(ws: Workspace, footage: Footage, terms: Terms) -> None:
    """Refuse terms that not every owner of the footage allows today.

    Raises:
        Rejected: They go beyond an owner's own terms, have ended, or the owner has set none.
    """
    for given in footage.terms.values():
        if in_house(given):
            raise Rejected("contract.in_house", owner=owner_name(ws, given.owner_id))
        if beyond := looser(terms, given):
            raise Rejected("contract.looser", conditions=", ".join(beyond))
    if terms.ends and terms.ends < today().isoformat():
        raise Rejected("contract.ended", ends=terms.ends)
    for text in (terms.name, terms.attribution or "", *terms.purposes, *terms.territories):
        if not is_normalized("NFC", text):
            raise UsageError("contract.spelling", text=text[:60])


def pool_id(owner_ids: Sequence[str]) -> str:
    """Whose terms an offer of these owners holds: the one owner's, or those of the pool."""
    return owner_ids[0] if len(owner_ids) == 1 else digest_record("pool", sorted(owner_ids))
