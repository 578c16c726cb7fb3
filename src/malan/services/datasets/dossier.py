"""The dossier of a snapshot (登记材料包): what an exchange or a registry of data asks for, in one folder.

    snapshot ─ write_dossier ─▶ receipts, manifest, rules, owners, terms, quality, provenance, card, samples, README
                                   └ root over all files ─▶ event in the log, its receipt ─▶ check_dossier

Nothing of the footage is in it but stills of clips that anybody may look at. What nobody has said is listed as open,
never filled in. What is stated is in `dossier_papers`, the pages people read in `dossier_pages`, the check in
`dossier_check`. Start at `write_dossier`.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from malan.core.errors import NotFound, UsageError
from malan.core.ids import digest_bytes
from malan.ledger.statement import urn
from malan.rights.odrl import to_odrl
from malan.rights.signals import answers
from malan.services.access import HOUSE, Caller
from malan.services.accounts.acting import acting
from malan.services.datasets.dossier_check import FORMAT, INDEX, RECEIPT, TYPE, Dossier, check_dossier, root_of
from malan.services.datasets.dossier_pages import pages
from malan.services.datasets.dossier_papers import card, logged, papers
from malan.services.journal import read_event, record
from malan.services.log.facts import snapshot_exported
from malan.services.log.proofs import bundle, write_receipt
from malan.services.market.deal import Footage, footage_of
from malan.services.uses import today
from malan.store.snapshots import Snapshots

if TYPE_CHECKING:
    from malan.workspace import Workspace


def write_dossier(ws: Workspace, name: str, out: Path, *, caller: Caller = HOUSE) -> Dossier:
    """Write the dossier of a snapshot into a new or empty folder.

    Raises:
        NotFound: There is no such snapshot, or its freezing or an asset of it was never logged.
        Rejected: An asset of it was taken back.
        UsageError: The folder is not empty.
    """
    party = acting(caller, "snapshots")
    footage = footage_of(ws, name)
    if party is not None and footage.owner_ids != (party,):
        raise NotFound("dataset.none", text=name[:80])
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise UsageError("dossier.not_empty", path=str(out))
    files = dict(_files(ws, footage))
    for path, data in files.items():
        target = out / path
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(data)
    digests = {path: digest_bytes(data) for path, data in files.items()}
    (event,) = record(ws, [snapshot_exported(footage.snapshot.id, FORMAT, digests)])
    vkey = ws.keys.log_signer().vkey
    listed = {path: {"sha256": digests[path], "size": len(data)} for path, data in sorted(files.items())}
    index = {"type": TYPE, "snapshot": footage.snapshot.id, "root": root_of(digests), "log": vkey, "files": listed}
    (out / RECEIPT).write_bytes(write_receipt(bundle(ws, read_event(ws, event))))
    (out / INDEX).write_bytes(_json(index))
    return check_dossier(out, vkey)


def describe_dossier(dossier: Dossier) -> dict[str, Any]:
    """A dossier as JSON."""
    return {
        "dossier": str(dossier.folder),
        "snapshot": dossier.snapshot_id,
        "root": dossier.root,
        "files": dossier.files,
        "assets": dossier.assets,
        "size_bytes": dossier.size_bytes,
        "open_fields": list(dossier.open_fields),
        "log": dossier.vkey,
    }


def _files(ws: Workspace, footage: Footage) -> Iterable[tuple[str, bytes]]:
    """Every file of a dossier but its index and receipt."""
    snapshot = footage.snapshot
    saved = Snapshots(ws.root / "snapshots").find(snapshot.id)
    said = papers(ws, footage, saved.frozen_at)
    yield "manifest.jsonl", b"".join(footage.manifest.lines())
    yield "receipts/snapshot.json", _receipt(ws, "dataset.release", urn("snapshot", snapshot.id))
    for asset_id in sorted(footage.assets):
        yield f"receipts/assets/{asset_id}.json", _receipt(ws, "asset.ingest", urn("asset", asset_id))
    for terms_id, terms in footage.terms.items():
        signals = answers(terms, today())
        yield f"terms/{terms_id}.json", _json({"policy": to_odrl(terms), "signals": signals})
    for sample in said["samples"]:
        if (picture := ws.library.thumbnail(sample["clip"])) is not None:
            yield f"samples/{sample['clip'][:24]}.jpg", picture
    for name, value in said.items():
        yield f"{name}.json", _json(value)
    yield "croissant.json", _json(card(footage, saved.frozen_at, said))
    for name, text in pages(snapshot, saved.frozen_at, said).items():
        yield name, text.encode()


def _receipt(ws: Workspace, kind: str, urn_text: str) -> bytes:
    return write_receipt(bundle(ws, logged(ws, kind, urn_text)))


def _json(value: Any) -> bytes:
    return json.dumps(value, ensure_ascii=False, indent=1, sort_keys=True).encode() + b"\n"
