"""Freeze a choice of clips as a snapshot, look at it, prove a clip of it, export it.

Freezing touches no media byte. Exporting cuts from the owners' files, and asks for the right to export for every clip
at that moment. Start reading at `freeze_snapshot`.
"""

from __future__ import annotations

import json
import os
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING, Any

from malan.core import Snapshot
from malan.core.errors import NotFound, UsageError
from malan.datasets import EXPORTERS, Entry, Exporter, Item, Manifest, View, split_assets
from malan.datasets.croissant import croissant_card
from malan.datasets.exporters.trainers import LEFT_OUT
from malan.rights.signals import usage_info
from malan.services.access import ALL, HOUSE, Caller, require, scope
from malan.services.clips.cutting import Cutter, item_suffix
from malan.services.footage.owners import owner_names, terms_of
from malan.services.journal import record
from malan.services.log.facts import snapshot_exported, snapshot_frozen
from malan.services.outputs.manifests import file_digest
from malan.services.uses import LOOKING, allowed_terms, require_use
from malan.store.snapshots import SavedSnapshot, Snapshots

if TYPE_CHECKING:
    from malan.store import AssetRow, ClipQuery, ClipRow
    from malan.workspace import Workspace

DEFAULT_SHARES: Mapping[str, Fraction] = {"train": Fraction(8, 10), "val": Fraction(1, 10), "test": Fraction(1, 10)}
_NAME_LENGTH = 80

Progress = Callable[[int, int, str], None]


@dataclass(frozen=True)
class Frozen:
    """A snapshot just frozen: what it holds, split by split, and what was left out for want of rights."""

    saved: SavedSnapshot
    clips_by_split: Mapping[str, int]
    seconds_by_split: Mapping[str, float]
    denied_clips: int


@dataclass(frozen=True)
class Exported:
    """An export just written."""

    snapshot: Snapshot
    format: str
    out: Path
    clips: int
    size_bytes: int
    left_out: int = 0  # clips without what the format is made of, listed in `left_out.jsonl`


def freeze_snapshot(
    ws: Workspace,
    name: str,
    query: ClipQuery,
    *,
    use: str = "retrieve",
    shares: Mapping[str, Fraction] = DEFAULT_SHARES,
    seed: int = 0,
    caller: Caller = HOUSE,
) -> Frozen:
    """Freeze all clips that match and whose terms allow the caller `use` today; an owner freezes what is its own.

    The same clips, findings, terms, split and seed give the same snapshot id; freezing them again changes nothing.

    Raises:
        NotGranted: The caller may not freeze anything.
        UsageError: Nothing matches, the name is impossible, or the shares do not add up to one.
    """
    if not 1 <= len(name) <= _NAME_LENGTH or not all(c.isalnum() or c in " .-_" for c in name) or name != name.strip():
        raise UsageError("dataset.bad_name", name=name)
    if scope(caller, "freeze") != ALL:
        require(caller, "freeze", owner_id=caller.party_id)
        query = replace(query, owner_ids=(caller.party_id or "",))
    allowed = set(allowed_terms(ws, use, caller=caller, action="freeze"))
    matching = list(ws.library.matching(query))
    chosen = [row for row in matching if row.terms_id in allowed]
    manifest = Manifest.of(_entries(ws, chosen, shares, seed))
    snapshot = Snapshot(
        id=manifest.root,
        name=name,
        clip_count=len(manifest.entries),
        finding_kinds=tuple(sorted({label for row in chosen for label in row.labels if "=" not in label})),
        terms_ids=tuple(sorted({row.terms_id for row in chosen})),
        split_seed=seed,
        split_shares=tuple(shares.items()),
        query={**{k: v for k, v in asdict(query).items() if v or v == 0}, "use": use},
    )
    frozen_at = datetime.now(UTC).isoformat(timespec="seconds")
    saved = _snapshots(ws).save(snapshot, manifest.lines(), frozen_at=frozen_at)
    record(ws, [snapshot_frozen(snapshot)])
    return Frozen(saved, *_sizes(manifest, shares), denied_clips=len(matching) - len(chosen))


def list_snapshots(ws: Workspace, *, caller: Caller = HOUSE) -> list[SavedSnapshot]:
    """The snapshots of which the caller may look at every clip (to an operator, all), the newest first."""
    _may_ask(caller)
    return [saved for saved in _snapshots(ws).all() if _may_see(ws, saved, caller)]


def show_snapshot(ws: Workspace, name_or_id: str, *, caller: Caller = HOUSE) -> tuple[SavedSnapshot, Manifest]:
    """A snapshot and its manifest, checked against its root.

    Raises:
        NotFound: There is none that the caller may see.
        ProofError: The manifest was changed after it was frozen.
    """
    _may_ask(caller)
    saved = _found(ws, name_or_id, caller)
    return saved, Manifest.read(_snapshots(ws).manifest(saved.snapshot.id), root=saved.snapshot.id)


def prove_clip(ws: Workspace, name_or_id: str, clip: str, *, caller: Caller = HOUSE) -> dict[str, Any]:
    """What a stranger needs to see that a clip is in a snapshot which the caller may see."""
    _, manifest = show_snapshot(ws, name_or_id, caller=caller)
    return manifest.prove(ws.library.clip(clip).id)


def export_snapshot(
    ws: Workspace,
    name_or_id: str,
    format_name: str,
    out: Path,
    *,
    progress: Progress | None = None,
    caller: Caller = HOUSE,
) -> Exported:
    """Write a snapshot into a new or empty folder, with its card `croissant.json` and its `manifest.jsonl`.

    Raises:
        UsageError: There is no such format, or the folder is not empty.
        NotGranted: The terms of a clip do not, or no longer, allow export; nothing is written.
        NotFound: An owner's file is not where it was.
    """
    exporter = _exporter(format_name)
    saved, manifest = show_snapshot(ws, name_or_id)
    for terms_id in saved.snapshot.terms_ids:
        require_use(ws, terms_id, "export", saved.snapshot.name, caller=caller)
    if out.exists() and any(out.iterdir()):
        raise UsageError("dataset.out_not_empty", path=str(out))
    cutter = Cutter(ws)
    for terms_id in {cutter.asset(entry.clip.asset_id).asset.terms_id for entry in manifest.entries}:
        require_use(ws, terms_id, "export", saved.snapshot.name, caller=caller)  # some may have been taken back
    view = View(saved.snapshot, list(_items(ws, manifest, cutter)), cutter.cut_item)
    out.mkdir(parents=True, exist_ok=True)
    exporter.write(view, out, progress or (lambda _done, _total, _current: None))
    (out / "manifest.jsonl").write_bytes(b"".join(manifest.lines()))
    card = croissant_card(view, exporter, out, frozen_on=saved.frozen_at[:10])
    card |= usage_info([terms_of(ws, terms_id) for terms_id in saved.snapshot.terms_ids])
    (out / "croissant.json").write_text(json.dumps(card, ensure_ascii=False, indent=1), "utf-8")
    files = [path for path in sorted(out.rglob("*")) if path.is_file()]
    digests = {path.relative_to(out).as_posix(): file_digest(path) for path in files}
    record(ws, [snapshot_exported(saved.snapshot.id, exporter.name, digests)])
    size = sum(path.stat().st_size for path in files)
    left_out = len((out / LEFT_OUT).read_bytes().splitlines()) if (out / LEFT_OUT).is_file() else 0
    return Exported(saved.snapshot, exporter.name, out, len(view.items) - left_out, size, left_out)


def _may_ask(caller: Caller) -> None:
    if scope(caller, "snapshots") != ALL:
        require(caller, "snapshots", owner_id=caller.party_id)


def _may_see(ws: Workspace, saved: SavedSnapshot, caller: Caller) -> bool:
    """A manifest names every clip, so all of them must be the caller's own or open to it."""
    terms_ids = saved.snapshot.terms_ids
    return caller.is_operator or set(allowed_terms(ws, LOOKING, terms_ids, caller=caller, action="snapshots")) == set(
        terms_ids
    )


def _found(ws: Workspace, name_or_id: str, caller: Caller) -> SavedSnapshot:
    """To anybody but an operator, a snapshot that may not be seen is not there."""
    if caller.is_operator:
        return _snapshots(ws).find(name_or_id)
    for saved in list_snapshots(ws, caller=caller):
        if name_or_id in (saved.snapshot.name, saved.snapshot.id):  # the beginning of an id would tell what there is
            return saved
    raise NotFound("dataset.none", text=name_or_id[:80])


def _snapshots(ws: Workspace) -> Snapshots:
    return Snapshots(ws.root / "snapshots")


def _entries(ws: Workspace, rows: list[ClipRow], shares: Mapping[str, Fraction], seed: int) -> Iterator[Entry]:
    weights: dict[str, Fraction] = defaultdict(Fraction)
    groups: dict[str, set[str]] = defaultdict(set)
    for row in rows:
        weights[row.clip.asset_id] += row.span.duration
        if row.group_id:
            groups[row.group_id].add(row.clip.asset_id)
    where = split_assets(weights, [sorted(group) for group in groups.values()], shares, seed)
    for asset_id in weights:
        known: dict[str, list[str]] = defaultdict(list)
        for finding in ws.library.findings(asset_id=asset_id):
            known[finding.clip.id].append(finding.id)
        for row in (row for row in rows if row.clip.asset_id == asset_id):
            yield Entry(row.clip, where[asset_id], row.owner_id, row.terms_id, tuple(sorted(known[row.id])))


def _sizes(manifest: Manifest, shares: Mapping[str, Fraction]) -> tuple[dict[str, int], dict[str, float]]:
    clips, seconds = dict.fromkeys(shares, 0), dict.fromkeys(shares, Fraction(0))
    for entry in manifest.entries:
        clips[entry.split] += 1
        seconds[entry.split] += entry.clip.span.duration
    return clips, {split: round(float(length), 3) for split, length in seconds.items()}


def _exporter(name: str) -> Exporter:
    for kind in EXPORTERS:
        if kind.name == name:
            return kind()
    raise UsageError("dataset.format", name=name, names=", ".join(kind.name for kind in EXPORTERS))


def _items(ws: Workspace, manifest: Manifest, cutter: Cutter) -> Iterator[Item]:
    names = owner_names(ws)
    rows = ws.library.clips_by_id(entry.clip.id for entry in manifest.entries)
    for entry in manifest.entries:
        row = rows.get(entry.clip.id)
        if row is None:
            raise NotFound("dataset.clip_gone", clip=entry.clip.id)
        asset: AssetRow = cutter.asset(entry.clip.asset_id)
        terms = terms_of(ws, entry.terms_id)
        video = asset.asset.first("video")
        yield Item(
            clip=entry.clip,
            split=entry.split,
            owner=names.get(entry.owner_id, entry.owner_id[:12]),
            terms=terms.name,
            attribution=terms.attribution or "",
            title=row.title or os.fsencode(row.file_name).decode("utf-8", "replace"),
            caption=row.caption,
            labels=row.labels,
            source=cutter.source(entry.clip.asset_id),
            rate=video.mean_rate if video else None,
            source_duration=asset.asset.duration,
            origin_s=video.start_ticks * video.timebase if video else Fraction(0),
            suffix=item_suffix(asset.asset),
        )
