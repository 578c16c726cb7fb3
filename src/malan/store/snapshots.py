"""Snapshots on disk: a folder each, written once and never changed. Start reading at `Snapshots.save`."""

from __future__ import annotations

import json
import os
import tempfile
from collections.abc import Iterable
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any

from malan.core import Snapshot
from malan.core.errors import NotFound, StoreError, UsageError


@dataclass(frozen=True)
class SavedSnapshot:
    """A snapshot and when it was frozen (ISO 8601, UTC)."""

    snapshot: Snapshot
    frozen_at: str


class Snapshots:
    """All snapshots of a workspace, under `root/<id>/`."""

    def __init__(self, root: Path) -> None:
        self._root = root

    def save(self, snapshot: Snapshot, manifest: Iterable[bytes], *, frozen_at: str) -> SavedSnapshot:
        """Keep a snapshot; the same id again changes nothing, and the first one is returned.

        The folder appears whole or not at all.

        Raises:
            StoreError: It could not be written.
        """
        folder = self._root / snapshot.id
        if folder.exists():
            return self._read(folder)
        try:
            self._root.mkdir(parents=True, exist_ok=True)
            unfinished = Path(tempfile.mkdtemp(prefix=".new-", dir=self._root))
            _write(unfinished / "manifest.jsonl", manifest)
            _write(unfinished / "snapshot.json", [_to_json(snapshot, frozen_at)])
            unfinished.rename(folder)
            _sync(self._root)
        except OSError as error:
            if folder.exists():  # somebody froze the same clips at this moment
                return self._read(folder)
            raise StoreError("dataset.not_written", path=str(folder), detail=error.strerror or str(error)) from error
        return SavedSnapshot(snapshot, frozen_at)

    def all(self) -> list[SavedSnapshot]:
        """Every snapshot, the newest first."""
        if not self._root.is_dir():
            return []
        found = [self._read(folder) for folder in self._root.iterdir() if not folder.name.startswith(".")]
        return sorted(found, key=lambda saved: (saved.frozen_at, saved.snapshot.id), reverse=True)

    def find(self, text: str) -> SavedSnapshot:
        """The newest snapshot of a name, or the one whose id begins like this.

        Raises:
            NotFound: There is none.
            UsageError: Several ids begin like this.
        """
        everything = self.all()
        for saved in everything:
            if saved.snapshot.name == text:
                return saved
        fitting = [saved for saved in everything if len(text) >= 6 and saved.snapshot.id.startswith(text.lower())]
        if not fitting:
            raise NotFound("dataset.none", text=text)
        if len(fitting) > 1:
            raise UsageError("dataset.ambiguous", text=text)
        return fitting[0]

    def manifest(self, snapshot_id: str) -> bytes:
        """The manifest as it was frozen; whoever reads it checks its root."""
        return (self._root / snapshot_id / "manifest.jsonl").read_bytes()

    def _read(self, folder: Path) -> SavedSnapshot:
        try:
            return _from_json(json.loads((folder / "snapshot.json").read_bytes()))
        except (OSError, ValueError, KeyError) as error:
            raise StoreError("dataset.damaged", path=str(folder), detail=str(error)) from error


def _to_json(snapshot: Snapshot, frozen_at: str) -> bytes:
    said = {name: getattr(snapshot, name) for name in Snapshot.__dataclass_fields__}
    said["split_shares"] = [[name, str(share)] for name, share in snapshot.split_shares]
    return json.dumps({**said, "frozen_at": frozen_at}, ensure_ascii=False, indent=1).encode()


def _from_json(said: dict[str, Any]) -> SavedSnapshot:
    frozen_at = said.pop("frozen_at")
    said["split_shares"] = tuple((name, Fraction(share)) for name, share in said["split_shares"])
    said |= {name: tuple(said[name]) for name in ("finding_kinds", "terms_ids")}
    return SavedSnapshot(Snapshot(**said), frozen_at)


def _write(path: Path, parts: Iterable[bytes]) -> None:
    with path.open("wb") as file:
        file.writelines(parts)
        file.flush()
        os.fsync(file.fileno())


def _sync(folder: Path) -> None:
    """Make the new name durable."""
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
