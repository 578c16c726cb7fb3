"""An owner's own clips as a dataset in this process, for training frameworks: `len`, `[i]`, batches.

    data = open_dataset(ws, "night", owner="湖南台", deliver=("frames", "captions"), window={"frames": 16})

Nothing is counted and nothing is shut in, so it opens what belongs to one owner and nothing else; the footage of others
is trained on under a grant (`services.runs.submission`). Start reading at `open_dataset`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from malan.core.errors import NotGranted, Rejected
from malan.services.access import HOUSE, Caller, require
from malan.services.clips.labels import frozen_labels
from malan.services.datasets.freezing import show_snapshot
from malan.services.footage.owners import owner_names
from malan.services.runs.footage import Chosen, holdings_of
from malan.services.uses import withdrawn_ids
from malan.training.loader import ClipDataset
from malan.training.package import DataRequest

if TYPE_CHECKING:
    from malan.datasets import Entry
    from malan.workspace import Workspace


def open_dataset(
    ws: Workspace,
    snapshot: str,
    *,
    owner: str,
    deliver: Sequence[str],
    labels: str = "",
    split: str = "",
    window: Mapping[str, Any] | None = None,
    audio: Mapping[str, Any] | None = None,
    seed: int = 0,
    threads: int = 1,
    caller: Caller = HOUSE,
) -> ClipDataset:
    """The clips of a snapshot that belong to one owner, but for what it took back.

    Args:
        ws: Where they are.
        snapshot: Its name or id.
        owner: Whose, by name or id.
        deliver: What comes with each clip; see `ClipDataset`.
        labels: The label set to deliver; clips nobody labelled are left out.
        split: `train`, `val` or `test`; empty: all.
        window, audio: Which frames and sound; see `Clips.batches`.
        seed: What shuffling and random windows follow from.
        threads: Decoders side by side.
        caller: The owner, or whoever runs the workspace.

    Raises:
        NotGranted: The caller is neither, or no clip of the snapshot is the owner's.
        NotFound: There is no such snapshot.
        ProofError: Its manifest was changed.
        Rejected: No clip has what is to be delivered.
    """
    saved, manifest = show_snapshot(ws, snapshot)
    owner_id = _party_id(ws, owner)
    require(caller, "freeze", owner_id=owner_id)
    gone = withdrawn_ids(ws)
    mine = [one for one in manifest.entries if one.owner_id == owner_id and one.clip.asset_id not in gone]
    if not mine:
        raise NotGranted("loader.not_yours", snapshot=saved.snapshot.name, owner=owner)
    chosen = _chosen(ws, [one for one in mine if split in ("", one.split)], labels)
    if not chosen.data:
        raise Rejected("loader.nothing", deliver=", ".join(deliver), clips=len(mine))
    request = DataRequest("train", "video", tuple(deliver), labels if "labels" in deliver else "", 1, None, None)
    holdings, _ = holdings_of(ws, chosen, request)
    return ClipDataset(holdings, deliver, window=window, audio=audio, seed=seed, threads=threads)


def _chosen(ws: Workspace, entries: Sequence[Entry], label_set: str) -> Chosen:
    if not label_set:
        return Chosen(tuple(entries), (), {})
    labels = frozen_labels(ws, entries, label_set)
    return Chosen(tuple(one for one in entries if labels.get(one.clip.id)), (), labels)


def _party_id(ws: Workspace, owner: str) -> str:
    return next((party_id for party_id, name in owner_names(ws).items() if owner in (party_id, name)), owner)
