"""Whose a model is: shares from what the meter counted in its run, or from what the snapshot holds; exactly one in sum.

Start reading at `shares_of_run`.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping
from fractions import Fraction
from typing import TYPE_CHECKING

from sqlalchemy import func, select

from malan.core.errors import UsageError
from malan.core.ids import digest_record
from malan.rights.holders import Holders
from malan.rights.meter_tables import METADATA, USAGE
from malan.rights.shares import fraction_text, weigh
from malan.runtime.database import ensure_tables, reading
from malan.services.datasets.freezing import show_snapshot

if TYPE_CHECKING:
    from malan.workspace import Workspace

TRAIN = "train"


def shares_of_run(ws: Workspace, run_id: str) -> dict[str, Fraction]:
    """Party → share of a model trained in a run: clip-microseconds × tier × share of the asset, as settlement divides.

    Empty when the meter counted nothing for the run.
    """
    ensure_tables(ws.database, METADATA)
    query = select(USAGE.c.holders_id, func.sum(USAGE.c.amount).label("amount")).group_by(USAGE.c.holders_id)
    with reading(ws.database) as connection:
        rows = connection.execute(query.where(USAGE.c.work == f"run:{run_id}")).all()
    used = {row.holders_id: int(row.amount) for row in rows}
    return normal(weigh(used, Holders(ws.database).read(used))) if used else {}


def shares_of_snapshot(ws: Workspace, snapshot: str) -> dict[str, Fraction]:
    """Party → share by the length of its clips in the training split, or of all where nothing is split off so."""
    _, manifest = show_snapshot(ws, snapshot)
    entries = [one for one in manifest.entries if one.split == TRAIN] or list(manifest.entries)
    seconds: dict[str, Fraction] = defaultdict(Fraction)
    for entry in entries:
        seconds[entry.owner_id] += entry.clip.span.duration
    return normal(seconds)


def normal(weights: Mapping[str, Fraction | int]) -> dict[str, Fraction]:
    """Weights as shares that add to exactly one; nothing at all stays nothing."""
    whole = sum((Fraction(weight) for weight in weights.values()), Fraction())
    return {party: Fraction(weight) / whole for party, weight in sorted(weights.items()) if weight} if whole else {}


def check_shares(shares: Mapping[str, Fraction]) -> dict[str, Fraction]:
    """Shares as they are kept.

    Raises:
        UsageError: One that is not exact or not above zero, or a sum that is not exactly one.
    """
    exact = all(isinstance(share, Fraction) and share > 0 for share in shares.values())
    if not exact or (shares and sum(shares.values(), Fraction()) != 1):
        raise UsageError("merge.bad_shares", total=str(sum(shares.values()))[:40])
    return dict(sorted(shares.items()))


def shares_digest(shares: Mapping[str, Fraction]) -> str:
    """What the ledger states of shares: whoever is told them can check that it was these."""
    return digest_record("model.shares", [[party, fraction_text(share)] for party, share in sorted(shares.items())])
