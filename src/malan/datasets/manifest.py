"""The manifest of a snapshot: one line a clip, sorted, under one Merkle root.

A line is canonical JSON; its bytes are the leaf. So a single clip can be proved to be in a snapshot without showing
the others, and two people who freeze the same clips get the same root. Start reading at `Manifest.of`.
"""

from __future__ import annotations

import itertools
import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from malan.core import Clip
from malan.core.errors import NotFound, ProofError, UsageError
from malan.core.ids import canonical_bytes
from malan.core.merkle import inclusion_proof, leaf_hash, merkle_root


@dataclass(frozen=True)
class Entry:
    """One clip of a snapshot: whose it is, under which terms, in which split, and what was known of it."""

    clip: Clip
    split: str
    owner_id: str
    terms_id: str
    finding_ids: tuple[str, ...] = ()

    def line(self) -> bytes:
        """The leaf: canonical JSON without a line break."""
        return canonical_bytes(
            {
                **self.clip.to_value(),
                "split": self.split,
                "owner": self.owner_id,
                "terms": self.terms_id,
                "findings": sorted(self.finding_ids),
            }
        )

    @classmethod
    def from_line(cls, line: bytes) -> Entry:
        """Read a leaf back.

        Raises:
            ProofError: It is not a leaf, or its clip id does not follow from its own span.
        """
        try:
            said: dict[str, Any] = json.loads(line)
            clip = Clip.from_value(said)
            entry = cls(clip, said["split"], said["owner"], said["terms"], tuple(said["findings"]))
            is_as_frozen = entry.line() == line
        except (ValueError, KeyError, TypeError, ZeroDivisionError, UsageError) as error:
            raise ProofError("dataset.bad_line", detail=str(error)) from error
        if not is_as_frozen:
            raise ProofError("dataset.bad_line", detail=clip.id)
        return entry


@dataclass(frozen=True)
class Manifest:
    """All entries, sorted by clip id."""

    entries: tuple[Entry, ...]

    @classmethod
    def of(cls, entries: Iterable[Entry]) -> Manifest:
        """Sort and check.

        Raises:
            UsageError: Nothing to freeze, or a clip twice.
        """
        ordered = tuple(sorted(entries, key=lambda entry: entry.clip.id))
        if not ordered:
            raise UsageError("dataset.empty")
        for before, after in itertools.pairwise(ordered):
            if before.clip.id == after.clip.id:
                raise UsageError("dataset.twice", clip=after.clip.id)
        return cls(ordered)

    @cached_property
    def _leaves(self) -> list[bytes]:
        return [leaf_hash(entry.line()) for entry in self.entries]

    @cached_property
    def root(self) -> str:
        """Id of the snapshot: 64 hex digits."""
        return merkle_root(self._leaves).hex()

    def lines(self) -> Iterator[bytes]:
        """The file: a line a clip, each with its line break."""
        return (entry.line() + b"\n" for entry in self.entries)

    def prove(self, clip_id: str) -> dict[str, Any]:
        """What a stranger needs to see that a clip is in the snapshot: leaf, place, neighbours, root."""
        for index, entry in enumerate(self.entries):
            if entry.clip.id == clip_id:
                proof = inclusion_proof(self._leaves, index)
                return {
                    "root": self.root,
                    "size": len(self.entries),
                    "index": index,
                    "leaf": entry.line().decode(),
                    "proof": [node.hex() for node in proof],
                }
        raise NotFound("dataset.no_clip", clip=clip_id, snapshot=self.root)

    @classmethod
    def read(cls, data: bytes, *, root: str) -> Manifest:
        """Read a manifest file and check that it has this root.

        Raises:
            ProofError: A line was changed, added, lost or moved.
        """
        manifest = cls(tuple(Entry.from_line(line) for line in data.splitlines()))
        if manifest.root != root:
            raise ProofError("proof.root", root=root, found=manifest.root)
        return manifest
