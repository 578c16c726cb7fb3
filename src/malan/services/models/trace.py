"""The way from a model back to footage and owners, every signature on it checked.

    model ─ release event ─▶ run ─▶ grant · snapshot ─▶ clips and seconds ─▶ owners, with shares that add to one

Start reading at `trace_model`.
"""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass
from fractions import Fraction
from typing import TYPE_CHECKING, Any

from sqlalchemy import func, select

from malan.core.errors import MalanError, ProofError
from malan.ledger.statement import urn
from malan.rights.meter_tables import METADATA, USAGE
from malan.runtime.database import ensure_tables, reading
from malan.services.access import HOUSE, Caller
from malan.services.datasets.freezing import show_snapshot
from malan.services.footage.owners import owner_names
from malan.services.journal import read_event
from malan.services.log.proofs import bundle, write_receipt
from malan.services.models.registry import family_tree, get_model, release_events
from malan.services.models.rows import ModelRow
from malan.services.models.shares import shares_digest
from malan.services.uses import is_withdrawn

if TYPE_CHECKING:
    from malan.workspace import Workspace

_MICROSECONDS = 1_000_000


@dataclass(frozen=True)
class Used:
    """What a run took of one asset: seconds handed over, passes counted, as the meter counted them."""

    asset_id: str
    owner_id: str
    seconds: Fraction
    is_withdrawn: bool


@dataclass(frozen=True)
class Ancestor:
    """A model on the way back: where the ledger states it, and the footage it was trained on."""

    model: ModelRow
    events: tuple[int, ...]
    clips: int
    used: tuple[Used, ...]


@dataclass(frozen=True)
class ModelTrace:
    """The whole way: the model itself first. `shares` are its owners, by name, adding to exactly one."""

    model: ModelRow
    lineage: tuple[Ancestor, ...]
    names: dict[str, str]
    checkpoint_size: int


def trace_model(ws: Workspace, text: str, *, caller: Caller = HOUSE) -> ModelTrace:
    """Follow a model back to its owners; nothing on the way is believed unchecked.

    Raises:
        NotFound: There is no such model.
        NotGranted: It is not the caller's to see.
        ProofError: The ledger does not state a release, or states other shares, parts or parents than are kept here.
    """
    model = get_model(ws, text, caller=caller)
    lineage = tuple(_ancestor(ws, one) for one in family_tree(ws, model))
    return ModelTrace(model, lineage, owner_names(ws), ws.log.reader.size)


def model_receipt(ws: Workspace, text: str, *, caller: Caller = HOUSE) -> bytes:
    """What a stranger needs to see that a model was released, from what, and with which shares: one file.

    `python -m malan.ledger.verify FILE --key VKEY` checks it.

    Raises:
        NotFound, NotGranted, ProofError: See `trace_model`.
    """
    model = trace_model(ws, text, caller=caller).model
    return write_receipt(bundle(ws, read_event(ws, release_events(ws, model.id)[0])))


def describe_trace(trace: ModelTrace) -> dict[str, Any]:
    """A trace as plain JSON; shares as fractions."""
    named = trace.names
    return {
        "model": trace.model.id,
        "name": trace.model.title,
        "owners": [
            {"owner": party, "name": named.get(party, party[:12]), "share": share}
            for party, share in sorted(trace.model.shares.items(), key=lambda one: -one[1])
        ],
        "lineage": [
            {
                "model": one.model.id,
                "name": one.model.title,
                "kind": one.model.kind,
                "licence": one.model.licence,
                "state": one.model.state,
                "events": list(one.events),
                "base": one.model.base_id,
                "parts": [{"model": part, "weight": weight} for part, weight in one.model.parts],
                "run": one.model.run.get("id"),
                "runs": list(one.model.run_ids),
                "grant": one.model.run.get("grant"),
                "algorithm": one.model.run.get("algorithm"),
                "snapshot": one.model.snapshot_id,
                "clips": one.clips,
                "assets": [
                    {
                        "asset": used.asset_id,
                        "owner": named.get(used.owner_id, used.owner_id[:12]),
                        "clip_seconds": used.seconds,
                        "withdrawn": used.is_withdrawn,
                    }
                    for used in one.used
                ],
            }
            for one in trace.lineage
        ],
        "log_size": trace.checkpoint_size,
    }


def _ancestor(ws: Workspace, model: ModelRow) -> Ancestor:
    events = tuple(release_events(ws, model.id))
    if not events:
        raise ProofError("models.not_logged", model=model.title)
    said = [read_event(ws, index).statement for index in events]
    parents = {one.urn for statement in said for one in statement.inputs if one.urn.startswith(urn("model", ""))}
    first = said[0].facts
    if first.get("shares") != shares_digest(model.shares) or parents != {urn("model", one) for one in model.parents}:
        raise ProofError("models.other_lineage", model=model.title, index=events[0])
    clips, used = _footage(ws, model)
    return Ancestor(model, events, clips, used)


def _footage(ws: Workspace, model: ModelRow) -> tuple[int, tuple[Used, ...]]:
    """What the meter counted for the runs; where it counted nothing, what the snapshot holds."""
    if model.snapshot_id is None:
        return 0, ()
    try:
        _, manifest = show_snapshot(ws, model.snapshot_id)
    except ProofError:
        raise
    except MalanError:
        return 0, ()
    seconds = _metered(ws, model)
    if not seconds:
        for entry in manifest.entries:
            seconds[entry.clip.asset_id, entry.owner_id] += entry.clip.span.duration
    rows = ws.library.assets_by_id({asset for asset, _ in seconds})
    used = [
        Used(asset, owner, amount, asset in rows and is_withdrawn(rows[asset]))
        for (asset, owner), amount in sorted(seconds.items(), key=lambda one: (-one[1], one[0]))
    ]
    return len(manifest.entries), tuple(used)


def _metered(ws: Workspace, model: ModelRow) -> dict[tuple[str, str], Fraction]:
    ensure_tables(ws.database, METADATA)
    amount = func.sum(USAGE.c.amount).label("amount")
    query = select(USAGE.c.asset_id, USAGE.c.owner_id, amount).group_by(USAGE.c.asset_id, USAGE.c.owner_id)
    found: dict[tuple[str, str], Fraction] = defaultdict(Fraction)
    with reading(ws.database) as connection:
        works = [f"run:{run_id}" for run_id in model.run_ids]
        for row in connection.execute(query.where(USAGE.c.work.in_(works))):
            found[row.asset_id, row.owner_id] += Fraction(int(row.amount), _MICROSECONDS)
    return found
