"""Check a dossier: that it is complete and unchanged, and that the log knows it. Needs no workspace and no network.

    index ─▶ every file by its digest ─▶ root ─▶ receipt of the export ─▶ a receipt for the freezing and for each asset

What it does not prove: that what is stated in the files is true. Start at `check_dossier`.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

from malan.core.errors import MalanError, NotFound, ProofError
from malan.core.ids import digest_bytes
from malan.core.merkle import leaf_hash, merkle_root
from malan.datasets import Manifest
from malan.ledger.note import NoteVerifier
from malan.ledger.statement import urn
from malan.ledger.verify import verify

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
_MOST_BYTES = 1 << 30  # of one file


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
    if event is None or event.kind != "dataset.export" or event.subjects[0].sha256 != root_of(digests):
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
    return Dossier(folder, snapshot_id, root_of(digests), len(digests), assets, size, still_open, key)


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
    if root_of(digests) != index["root"]:
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


def root_of(digests: Mapping[str, str]) -> str:
    """The root over names and digests, as `facts.snapshot_exported` states it."""
    return merkle_root([leaf_hash(f"{name}\n{digest}".encode()) for name, digest in sorted(digests.items())]).hex()


def _bad(folder: Path, detail: str) -> ProofError:
    return ProofError("dossier.bad", path=str(folder), detail=detail[:300])
