"""The dossier of a snapshot (登记材料包): what an exchange or a registry of data asks for, in one folder.

    snapshot ─ write_dossier ─▶ receipts, manifest, rules, owners, terms, quality, provenance, card, samples, README
                                   └ root over all files ─▶ event in the log, its receipt ─▶ check_dossier

Nothing of the footage is in it but stills of clips that anybody may look at. What nobody has said is listed as open,
never filled in. The pages people read are in `dossier_pages`. Start at `write_dossier`.
"""

from __future__ import annotations

import json
import statistics as numbers
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any

from malan.core.errors import MalanError, NotFound, ProofError, UsageError
from malan.core.ids import digest_bytes
from malan.core.merkle import leaf_hash, merkle_root
from malan.datasets import Manifest
from malan.datasets.croissant import CONTEXT
from malan.ledger.note import NoteVerifier
from malan.ledger.statement import urn
from malan.ledger.verify import verify
from malan.rights.odrl import to_odrl
from malan.rights.signals import answers, usage_info
from malan.services.access import HOUSE, Caller
from malan.services.accounts.acting import acting
from malan.services.datasets.dossier_pages import pages
from malan.services.footage.owners import owner_names
from malan.services.journal import events_about, owner_key, read_event, record
from malan.services.log.facts import fraction_text, snapshot_exported
from malan.services.log.proofs import bundle, write_receipt
from malan.services.market.deal import Footage, footage_of
from malan.services.market.product_card import samples, statistics
from malan.services.uses import today
from malan.store.snapshots import Snapshots

if TYPE_CHECKING:
    from malan.workspace import Workspace

TYPE, FORMAT = "malan-dossier/v1", "dossier"
INDEX, RECEIPT = "dossier.json", "receipt.json"
PARTS = (
    "manifest.jsonl",
    "receipts/snapshot.json",
    "sources.json",
    "owners.json",
    "processing.json",
    "quality.json",
    "provenance.json",
    "samples.json",
    "croissant.json",
    "README.md",
    "README.zh-CN.md",
    "README.html",
    "README.zh-CN.html",
)
_MOST_BYTES = 1 << 30


@dataclass(frozen=True)
class Dossier:
    """A dossier as it was written or checked."""

    folder: Path
    snapshot_id: str
    root: str
    files: int
    assets: int
    size_bytes: int
    open_fields: tuple[str, ...]
    vkey: str


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
    index = {"type": TYPE, "snapshot": footage.snapshot.id, "root": _root(digests), "log": vkey, "files": listed}
    (out / RECEIPT).write_bytes(write_receipt(bundle(ws, read_event(ws, event))))
    (out / INDEX).write_bytes(_json(index))
    return check_dossier(out, vkey)


def check_dossier(folder: Path, vkey: str | None = None) -> Dossier:
    """Check that a dossier is complete and unchanged, and that the log knows it; needs no workspace and no network.

    Args:
        folder: Where it lies.
        vkey: The key of the log, as its owner publishes it. Without one, the key named in the dossier: then it is
            whole, but anybody could have made it.

    Raises:
        NotFound: There is no dossier.
        ProofError: A file is changed, missing or more than was written, or a receipt does not hold.
    """
    index = _index(folder)
    digests = _check_files(folder, index)
    key = vkey or index["log"]
    verifiers = [NoteVerifier.parse(key)]
    try:
        event = verify((folder / RECEIPT).read_bytes(), verifiers).event
    except (MalanError, OSError) as error:
        raise _bad(folder, f"{RECEIPT}: {error}") from error
    snapshot_id = str(index["snapshot"])
    if event is None or event.kind != "dataset.export" or event.subjects[0].sha256 != _root(digests):
        raise _bad(folder, RECEIPT)
    if event.facts.get("format") != FORMAT or [one.sha256 for one in event.inputs] != [snapshot_id]:
        raise _bad(folder, RECEIPT)
    assets = _check_sources(folder, snapshot_id, verifiers)
    try:
        fields = json.loads((folder / "provenance.json").read_bytes())["fields"]
        still_open = tuple(str(one["field"]) for one in fields if one["status"] == "open")
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise _bad(folder, "provenance.json") from error
    size = sum((folder / path).stat().st_size for path in digests)
    return Dossier(folder, snapshot_id, _root(digests), len(digests), assets, size, still_open, key)


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
    said: dict[str, Any] = {
        "sources": _sources(ws, footage),
        "owners": _owners(ws, footage),
        "processing": _processing(ws, footage),
        "quality": _quality(ws, footage),
        "samples": samples(ws, footage.manifest),
    }
    said["provenance"] = _provenance(ws, footage, saved.frozen_at, said)
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
    yield "croissant.json", _json(_card(footage, saved.frozen_at, said))
    for name, text in pages(snapshot, saved.frozen_at, said).items():
        yield name, text.encode()


def _receipt(ws: Workspace, kind: str, urn_text: str) -> bytes:
    places = events_about(ws, kind, urn_text)
    if not places:
        raise NotFound("log.not_logged", what=urn_text.rpartition(":")[2][:16])
    return write_receipt(bundle(ws, read_event(ws, places[0])))


def _sources(ws: Workspace, footage: Footage) -> list[dict[str, Any]]:
    """Source proof: each file by its digest, whose it is, under which terms, and when that was logged."""
    listed = []
    for asset_id, row in sorted(footage.assets.items()):
        ingest = read_event(ws, events_about(ws, "asset.ingest", urn("asset", asset_id))[0])
        claims = events_about(ws, "asset.claim", urn("asset", asset_id))
        overrides = events_about(ws, "asset.override", urn("asset", asset_id))
        listed.append(
            {
                "asset": asset_id,
                "container": row.asset.container,
                "size_bytes": row.asset.size_bytes,
                "seconds": fraction_text(row.asset.duration),
                "owner": row.asset.owner_id,
                "terms": row.asset.terms_id,
                "registered": ingest.statement.time,
                "event": ingest.index,
                "terms_events": claims,
                "overridden_signals": overrides,
            }
        )
    return listed


def _owners(ws: Workspace, footage: Footage) -> list[dict[str, Any]]:
    """The owner chain: who holds which key, and which part of the footage."""
    names = owner_names(ws)
    seconds: dict[str, Fraction] = defaultdict(Fraction)
    for entry in footage.manifest.entries:
        seconds[footage.assets[entry.clip.asset_id].asset.owner_id] += entry.clip.span.duration
    whole = footage.seconds
    return [
        {
            "owner": owner_id,
            "name": names.get(owner_id, owner_id[:12]),
            "key": owner_key(ws, owner_id).key_id,
            "assets": sum(row.asset.owner_id == owner_id for row in footage.assets.values()),
            "seconds": fraction_text(seconds[owner_id]),
            "share": fraction_text(seconds[owner_id] / whole),
        }
        for owner_id in footage.owner_ids
    ]


def _processing(ws: Workspace, footage: Footage) -> dict[str, Any]:
    """By which rules the data set came to be: operators with versions, the choice of clips, the split."""
    producers: dict[str, set[str]] = defaultdict(set)
    for row in footage.assets.values():
        for producer, version in row.scan.items():
            producers[producer].add(str(version))
    snapshot = footage.snapshot
    authors = Counter(
        finding.author.partition(":")[0]
        for asset_id in footage.assets
        for finding in ws.library.findings(asset_id=asset_id)
    )
    return {
        "operators": {name: sorted(versions) for name, versions in sorted(producers.items())},
        "findings_by": dict(sorted(authors.items())),
        "choice": {name: value for name, value in snapshot.query.items() if name not in ("use", "limit", "offset")},
        "rights_asked": snapshot.query.get("use", "retrieve"),
        "split": {name: fraction_text(share) for name, share in snapshot.split_shares},
        "split_seed": snapshot.split_seed,
        "media_changed": False,
    }


def _quality(ws: Workspace, footage: Footage) -> dict[str, Any]:
    """The quality report: figures of the whole, and of each measure its spread over the clips that have it."""
    rows = ws.library.clips_by_id(entry.clip.id for entry in footage.manifest.entries)
    values: dict[str, list[float]] = defaultdict(list)
    for row in rows.values():
        for name, value in row.measures.items():
            values[name].append(float(value))
    groups = Counter(row.group_id for row in rows.values() if row.group_id)
    damaged = sum(
        any(finding.kind == "quality.damage" for finding in ws.library.findings(asset_id=one)) for one in footage.assets
    )
    return {
        **statistics(ws, footage.manifest),
        "measures": {
            name: {
                "clips": len(held),
                "least": min(held),
                "median": round(numbers.median(held), 4),
                "most": max(held),
            }
            for name, held in sorted(values.items())
        },
        "near_duplicates": sum(count - 1 for count in groups.values() if count > 1),
        "damaged_assets": damaged,
    }


def _provenance(ws: Workspace, footage: Footage, frozen_at: str, said: Mapping[str, Any]) -> dict[str, Any]:
    """The 22 fields of the Data Provenance Standards (Data & Trust Alliance, 1.0.0); what nobody said is open."""
    snapshot, terms = footage.snapshot, footage.terms.values()
    issuer = ws.settings.organisation or ", ".join(owner["name"] for owner in said["owners"])
    registered = sorted(source["registered"] for source in said["sources"])
    territories = sorted({place for one in terms for place in one.territories})
    uses = sorted(set.intersection(*({*one.uses} for one in terms)))
    made_by = "partly made by AI, as its labels say" if _has_ai(ws, footage) else "no label or credential of AI found"
    fields: list[tuple[str, str, Any]] = [
        ("source", "Standards version used", "1.0.0"),
        ("source", "Dataset title/name", snapshot.name),
        ("source", "Unique metadata identifier", f"urn:malan:snapshot:{snapshot.id}"),
        ("source", "Metadata location", "croissant.json"),
        ("source", "Dataset issuer", issuer),
        ("source", "Description of the dataset", _description(footage)),
        ("provenance", "Source metadata for dataset", "sources.json"),
        ("provenance", "Source (if different from issuer)", [owner["name"] for owner in said["owners"]]),
        ("provenance", "Data origin geography", None),
        ("provenance", "Dataset issue date", frozen_at[:10]),
        ("provenance", "Date of previously issued version", "–"),
        ("provenance", "Range of dates for data generation", None),
        ("provenance", "Method", made_by),
        ("provenance", "Data format", sorted({row.asset.container for row in footage.assets.values()})),
        ("use", "Confidentiality classification", None),
        ("use", "Consent documentation location", "terms/, receipts/"),
        ("use", "Privacy enhancing technologies applied", None),
        ("use", "Data processing geography inclusion/exclusion", territories or None),
        ("use", "Data storage geography inclusion/exclusion", None),
        ("use", "License to use", sorted({one.licence or one.name for one in terms})),
        ("use", "Intended data use", uses),
        ("use", "Proprietary data presence", "see owners.json and terms/"),
    ]
    listed = [
        {"group": group, "field": name, "status": "open" if value in (None, [], "") else "stated", "value": value}
        for group, name, value in fields
    ]
    return {
        "standard": "Data Provenance Standards 1.0.0",
        "registered_from": registered[0],
        "registered_to": registered[-1],
        "fields": listed,
    }


def _has_ai(ws: Workspace, footage: Footage) -> bool:
    kinds = ("provenance.label", "provenance.credential")
    found = [finding for kind in kinds for finding in ws.library.findings_of(kind, footage.assets)]
    return any(finding.kind == kinds[0] or finding.value.get("ai_generated") for finding in found)


def _card(footage: Footage, frozen_at: str, said: Mapping[str, Any]) -> dict[str, Any]:
    """The Croissant 1.1 card of a data set that stays where it is: what can be fetched is its description."""
    manifest = b"".join(footage.manifest.lines())
    return {
        "@context": CONTEXT,
        "@type": "sc:Dataset",
        "conformsTo": "http://mlcommons.org/croissant/1.1",
        "name": footage.snapshot.name,
        "identifier": footage.snapshot.id,
        "url": f"urn:malan:snapshot:{footage.snapshot.id}",
        "version": "1.0.0",
        "datePublished": frozen_at[:10],
        "description": _description(footage),
        "creator": [{"@type": "sc:Organization", "name": owner["name"]} for owner in said["owners"]],
        "license": sorted({terms.name for terms in footage.terms.values()}),
        **usage_info(list(footage.terms.values())),
        "isLiveDataset": False,
        "distribution": [
            {
                "@type": "cr:FileObject",
                "@id": "manifest",
                "name": "manifest.jsonl",
                "contentUrl": "manifest.jsonl",
                "encodingFormat": "application/jsonlines",
                "sha256": digest_bytes(manifest),
            }
        ],
    }


def _description(footage: Footage) -> str:
    hours = float(footage.seconds) / 3600
    return f"{len(footage.manifest.entries)} clips, {hours:.4f} h, {len(footage.assets)} files. Usable, not visible."


def _index(folder: Path) -> dict[str, Any]:
    """The index of a dossier, of the form it must have."""
    path = folder / INDEX
    if not path.is_file():
        raise NotFound("dossier.not_one", path=str(folder))
    try:
        said = json.loads(path.read_bytes())
        is_one = set(said) == {"type", "snapshot", "root", "log", "files"} and said["type"] == TYPE
        is_one &= all(set(one) == {"sha256", "size"} and _is_inside(name) for name, one in said["files"].items())
    except (ValueError, TypeError, AttributeError, RecursionError) as error:
        raise _bad(folder, INDEX) from error
    if not is_one or not isinstance(said["log"], str):
        raise _bad(folder, INDEX)
    return dict(said)


def _check_files(folder: Path, index: Mapping[str, Any]) -> dict[str, str]:
    """The digest of every file, which must be those of the index: no more, no less."""
    there = {
        path.relative_to(folder).as_posix() for path in folder.rglob("*") if not path.is_dir() or path.is_symlink()
    }
    named = set(index["files"])
    if missing := sorted((named | {RECEIPT} | set(PARTS)) - there) or sorted(set(PARTS) - named):
        raise _bad(folder, missing[0])
    if more := sorted(there - named - {RECEIPT, INDEX}):
        raise _bad(folder, more[0])
    if (folder / RECEIPT).is_symlink() or not (folder / RECEIPT).is_file():
        raise _bad(folder, RECEIPT)
    digests = {}
    for name, said in index["files"].items():
        path = folder / name
        if path.is_symlink() or not path.is_file() or path.stat().st_size != said["size"] or said["size"] > _MOST_BYTES:
            raise _bad(folder, name)
        digests[name] = digest_bytes(path.read_bytes())
        if digests[name] != said["sha256"]:
            raise _bad(folder, name)
    if _root(digests) != index["root"]:
        raise _bad(folder, "root")
    return digests


def _check_sources(folder: Path, snapshot_id: str, verifiers: list[NoteVerifier]) -> int:
    """The manifest, the receipt of its freezing, and a receipt for each asset in it; how many assets there are."""
    try:
        manifest = Manifest.read((folder / "manifest.jsonl").read_bytes(), root=snapshot_id)
    except MalanError as error:
        raise _bad(folder, f"manifest.jsonl: {error}") from error
    wanted = {"receipts/snapshot.json": urn("snapshot", snapshot_id)}
    asset_ids = {entry.clip.asset_id for entry in manifest.entries}
    wanted |= {f"receipts/assets/{one}.json": urn("asset", one) for one in asset_ids}
    for name, subject in wanted.items():
        try:
            event = verify((folder / name).read_bytes(), verifiers).event
        except (MalanError, OSError) as error:
            raise _bad(folder, f"{name}: {error}") from error
        if event is None or [one.urn for one in event.subjects] != [subject]:
            raise _bad(folder, name)
    return len(asset_ids)


def _is_inside(name: str) -> bool:
    path = PurePosixPath(name)
    return not path.is_absolute() and ".." not in path.parts and name == path.as_posix()


def _root(digests: Mapping[str, str]) -> str:
    """The root over names and digests, as `facts.snapshot_exported` states it."""
    return merkle_root([leaf_hash(f"{name}\n{digest}".encode()) for name, digest in sorted(digests.items())]).hex()


def _bad(folder: Path, detail: str) -> ProofError:
    return ProofError("dossier.bad", path=str(folder), detail=detail[:300])


def _json(value: Any) -> bytes:
    return json.dumps(value, ensure_ascii=False, indent=1, sort_keys=True).encode() + b"\n"
