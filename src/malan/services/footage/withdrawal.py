"""Taking footage back: at the next read it is gone everywhere, and what was made from it is listed and signed.

    withdraw ─▶ terms that allow nothing ─▶ every search, read and export refuses ─▶ reach listed ─▶ event, receipt

Nothing is deleted: the log, the snapshots and what was published stay as they are, and the list says which they are.
Start at `withdraw_asset`.
"""

from __future__ import annotations

import json
import os
from dataclasses import asdict, dataclass, replace
from typing import TYPE_CHECKING, Any

from malan.core import Terms
from malan.core.errors import NotFound, ProofError, Rejected
from malan.core.ids import canonical_bytes, digest_bytes
from malan.datasets import Manifest
from malan.ledger.statement import Subject, urn
from malan.services.access import HOUSE, Caller, require
from malan.services.footage.owners import remember_terms
from malan.services.journal import Fact, events_about, read_event, record
from malan.services.log.proofs import bundle
from malan.services.outputs.manifests import read_sources
from malan.services.uses import is_withdrawn, withdrawn_terms
from malan.store.snapshots import Snapshots

if TYPE_CHECKING:
    from malan.store import AssetRow
    from malan.workspace import Workspace


@dataclass(frozen=True)
class Reach:
    """Everything that derives from an asset, as far as this workspace knows."""

    asset_id: str
    clips: int
    findings: int
    snapshots: tuple[str, ...]
    exports: tuple[str, ...]  # of those snapshots
    outputs: tuple[str, ...]
    contracts: tuple[str, ...]
    grants: tuple[str, ...]
    runs: tuple[str, ...]
    models: tuple[str, ...]


@dataclass(frozen=True)
class Withdrawn:
    """An asset that was taken back, and the event that says so."""

    asset: AssetRow
    reach: Reach
    event: int


def withdraw_asset(ws: Workspace, asset: str, reason: str, *, caller: Caller = HOUSE) -> Withdrawn:
    """Take an asset back. Takes effect at the next read, everywhere; withdrawn again, only the reach is looked up anew.

    Raises:
        NotFound: There is no such asset.
        NotGranted: It is not the caller's own, and the caller may not take back what is others'.
    """
    row = ws.library.asset(asset)
    require(caller, "asset.withdraw", owner_id=row.asset.owner_id)
    reach = reach_of(ws, row.asset.id)
    terms_id = remember_terms(ws, withdrawn_terms(row.asset.owner_id))
    withdrawn = replace(row, asset=replace(row.asset, terms_id=terms_id), locations=())
    ws.library.put_assets([withdrawn])
    before = len(events_about(ws, "asset.withdraw", urn("asset", row.asset.id)))
    fact = Fact(
        "asset.withdraw",
        (Subject(urn("asset", row.asset.id), row.asset.id),),
        "asset.withdraw",
        facts={"reach": _keep(ws, reach), "number": before if before and is_withdrawn(row) else before + 1},
        private={"reason": reason},
        owners=(row.asset.owner_id,),
    )
    return Withdrawn(ws.library.asset(row.asset.id), reach, record(ws, [fact])[0])


def restore_asset(ws: Workspace, asset: str, terms: Terms, *, caller: Caller = HOUSE) -> AssetRow:
    """Put withdrawn footage under terms again.

    Raises:
        Rejected: It is not withdrawn, or the terms are another owner's.
    """
    from malan.services.footage.signals import overridden
    from malan.services.log.facts import unlogged

    row = ws.library.asset(asset)
    require(caller, "asset.restore", owner_id=row.asset.owner_id)
    if not is_withdrawn(row):
        raise Rejected("asset.not_withdrawn", id=row.asset.id[:12])
    if terms.owner_id != row.asset.owner_id:
        raise Rejected("asset.terms_of_other", id=row.asset.id[:12])
    restored = replace(row.asset, terms_id=remember_terms(ws, terms))
    ws.library.put_assets([replace(row, asset=restored, locations=())])
    record(ws, [*unlogged(ws, [restored], with_terms=True), *overridden(ws, [restored])])
    return ws.library.asset(row.asset.id)


def withdrawal_receipt(ws: Workspace, withdrawn: Withdrawn) -> dict[str, Any]:
    """What the owner keeps: the list of all that derives from the asset, and proof that it was signed and logged."""
    text = canonical_bytes(asdict(withdrawn.reach)).decode()
    return {**bundle(ws, read_event(ws, withdrawn.event)), "attached": {"reach": text}}


def check_reach(ws: Workspace, event: int) -> Reach:
    """The list behind an event of withdrawal.

    Raises:
        NotFound: The list is not there.
        ProofError: It is not the one that was signed.
    """
    digest = read_event(ws, event).statement.facts["reach"]
    path = ws.root / "blobs" / digest[:2] / digest
    if not path.is_file():
        raise NotFound("output.no_sources", root=digest[:16])
    data = path.read_bytes()
    if digest_bytes(data) != digest:
        raise ProofError("proof.root", root=digest, found=digest_bytes(data))
    said: dict[str, Any] = {}
    for name, value in json.loads(data).items():
        said[name] = tuple(value) if isinstance(value, list) else value
    return Reach(**said)


def reach_of(ws: Workspace, asset_id: str) -> Reach:
    """Follow an asset forward: into snapshots, what was exported and trained from them, and finished files."""
    snapshots = tuple(sorted(_snapshots_with(ws, asset_id)))
    exports = _made_from(ws, "dataset.export", "snapshot", snapshots)
    contracts = _made_from(ws, "contract.sign", "snapshot", snapshots)
    grants = {
        *_made_from(ws, "access.grant", "snapshot", snapshots),
        *_made_from(ws, "access.grant", "contract", contracts),
    }
    runs = {*_made_from(ws, "run.start", "snapshot", snapshots), *_made_from(ws, "run.start", "grant", tuple(grants))}
    models = {
        *_made_from(ws, "model.release", "run", tuple(runs)),
        *_made_from(ws, "model.release", "snapshot", snapshots),
    }
    while more := {*_made_from(ws, "model.release", "model", tuple(models))} - models:
        models |= more
    return Reach(
        asset_id=asset_id,
        clips=len(ws.library.clips(asset_id)),
        findings=len(ws.library.findings(asset_id=asset_id)),
        snapshots=snapshots,
        exports=exports,
        outputs=tuple(sorted(_outputs_with(ws, asset_id, models))),
        contracts=contracts,
        grants=tuple(sorted(grants)),
        runs=tuple(sorted(runs)),
        models=tuple(sorted(models)),
    )


def _snapshots_with(ws: Workspace, asset_id: str) -> set[str]:
    """Snapshots that hold a clip of the asset."""
    kept, found = Snapshots(ws.root / "snapshots"), set()
    for saved in kept.all():
        manifest = Manifest.read(kept.manifest(saved.snapshot.id), root=saved.snapshot.id)
        if any(entry.clip.asset_id == asset_id for entry in manifest.entries):
            found.add(saved.snapshot.id)
    return found


def _made_from(ws: Workspace, kind: str, thing: str, names: tuple[str, ...]) -> tuple[str, ...]:
    """Subjects of events of a kind that have one of these things as an input."""
    places = {place for name in names for place in events_about(ws, kind, urn(thing, name))}
    subjects = {one.urn for place in places for one in read_event(ws, place).statement.subjects}
    return tuple(sorted({name.rpartition(":")[2] for name in subjects} - set(names)))


def _outputs_with(ws: Workspace, asset_id: str, models: set[str]) -> set[str]:
    """Published files that show footage of the asset, or in which a model had a part that was trained on it."""
    intents = set(_made_from(ws, "gen.intent", "model", tuple(sorted(models))))
    outputs = set()
    for place in ws.log.find("media.publish"):
        statement = read_event(ws, place).statement
        inputs = {one.urn.split(":")[2]: one.sha256 for one in statement.inputs}
        if inputs.get("intent") in intents or _shows(ws, inputs.get("sources"), asset_id):
            outputs.add(statement.subjects[0].sha256)
    return outputs


def _shows(ws: Workspace, root: str | None, asset_id: str) -> bool:
    return root is not None and any(one.clip.asset_id == asset_id for one in read_sources(ws, root).listed)


def _keep(ws: Workspace, reach: Reach) -> str:
    """Store a list under its digest."""
    data = canonical_bytes(asdict(reach))
    digest = digest_bytes(data)
    path = ws.root / "blobs" / digest[:2] / digest
    if not path.is_file():
        path.parent.mkdir(parents=True, exist_ok=True)
        part = path.with_name(f".{path.name}.{os.getpid()}")
        part.write_bytes(data)
        part.replace(path)
    return digest
