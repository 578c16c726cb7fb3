"""Finished files and what they stand on: every second of every source, kept as a manifest, its root in the log.

    file ─ digest ─▶ media.publish event ─▶ sources manifest ─▶ clip ─▶ asset.ingest event ─▶ owner

Start at `log_output` for the way in and `trace_output` for the way back.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING, Any

from malan.core import Clip
from malan.core.errors import NotFound, ProofError, UsageError
from malan.core.ids import canonical_bytes
from malan.core.merkle import inclusion_proof, leaf_hash, merkle_root
from malan.ledger.keys import OWNER
from malan.ledger.statement import Input, Subject, urn
from malan.services.access import HOUSE, Caller, require
from malan.services.footage.owners import owner_names
from malan.services.journal import Fact, Logged, events_about, read_event, record

if TYPE_CHECKING:
    from malan.workspace import Workspace

_READ = 1 << 20


@dataclass(frozen=True)
class Source:
    """A stretch of an output and the stretch of footage it shows; times in seconds, exact, ends excluded."""

    clip: Clip
    owner_id: str
    terms_id: str
    at_s: Fraction
    until_s: Fraction
    parts: tuple[str, ...] = ("picture", "sound")

    def line(self) -> bytes:
        """The leaf: canonical JSON without a line break."""
        return canonical_bytes(
            {
                **self.clip.to_value(),
                "at": str(self.at_s),
                "until": str(self.until_s),
                "parts": list(self.parts),
                "owner": self.owner_id,
                "terms": self.terms_id,
            }
        )

    @classmethod
    def from_line(cls, line: bytes) -> Source:
        """Read a leaf back.

        Raises:
            ProofError: It is not one, or not as it was written.
        """
        try:
            said: dict[str, Any] = json.loads(line)
            clip = Clip.from_value(said)
            times = Fraction(said["at"]), Fraction(said["until"])
            source = cls(clip, said["owner"], said["terms"], *times, tuple(said["parts"]))
            is_as_written = source.line() == line
        except (ValueError, KeyError, TypeError, ZeroDivisionError, UsageError) as error:
            raise ProofError("output.bad_source", detail=str(error)[:200]) from error
        if not is_as_written:
            raise ProofError("output.bad_source", detail=line[:80].decode("utf-8", "replace"))
        return source


@dataclass(frozen=True)
class Sources:
    """All stretches of an output in the order they are shown; its root is what the log holds."""

    listed: tuple[Source, ...]

    @property
    def root(self) -> str:
        return merkle_root(self._leaves).hex()

    @property
    def _leaves(self) -> list[bytes]:
        return [leaf_hash(source.line()) for source in self.listed]

    def prove(self, index: int) -> dict[str, Any]:
        """What a stranger needs to see that one stretch is in the manifest."""
        proof = inclusion_proof(self._leaves, index)
        leaf = self.listed[index].line().decode()
        return {
            "root": self.root,
            "size": len(self.listed),
            "index": index,
            "leaf": leaf,
            "proof": [node.hex() for node in proof],
        }


@dataclass(frozen=True)
class TracedSource:
    """A source with the names people know, and where in the log its footage was registered and scanned."""

    source: Source
    owner: str
    file_name: str
    ingest_index: int
    scan_index: int | None


@dataclass(frozen=True)
class Trace:
    """The way from a file back to its owners; every signature and root on it has been checked."""

    output_id: str
    event: Logged
    sources: tuple[TracedSource, ...]
    sources_root: str
    checkpoint_size: int


def log_output(
    ws: Workspace, path: Path, *, app: str, mode: str, sources: Sequence[Source], intent: int | None = None,
    brought: Sequence[str] = (), planned_by: Mapping[str, str] | None = None,
) -> tuple[str, int]:  # fmt: skip
    """State in the log that a file was published, from what, under which intent. Its digest and place.

    Args:
        brought: Digests of files that whoever asked brought along.
        planned_by: Models that had a say in it without making any of it: digest → engine and name.
    """
    planners = planned_by or {}
    digest, root = file_digest(path), keep_sources(ws, sources)
    inputs = [Input(urn("sources", root), root, "componentOf")]
    if intent is not None:
        said = read_event(ws, intent).statement.subjects[0]
        inputs.append(Input(said.urn, said.sha256, "about"))
    inputs += [Input(urn("asset", one), one, "inputTo") for one in brought]
    inputs += [Input(urn("model", one), one, "about") for one in planners]
    fact = Fact(
        "media.publish",
        (Subject(urn("output", digest), digest),),
        "publish",
        inputs=tuple(inputs),
        facts={"app": app, "mode": mode} | ({"planned_by": list(planners.values())} if planners else {}),
    )
    return digest, record(ws, [fact])[0]


def trace_output(ws: Workspace, file_or_id: str, *, caller: Caller = HOUSE) -> Trace:
    """Follow an output back to the owners of its footage; nothing on the way is believed unchecked.

    Args:
        file_or_id: A file, or the digest of one, or a unique beginning of the digest.

    Raises:
        NotFound: No such output was published here.
        ProofError: An event, the sources manifest or the log is not what it was.
    """
    require(caller, "trace")
    output_id = output_id_of(ws, file_or_id)
    event = read_event(ws, events_about(ws, "media.publish", urn("output", output_id))[-1])
    root = next(one.sha256 for one in event.statement.inputs if one.urn.startswith(urn("sources", "")))
    names = owner_names(ws)
    traced = tuple(_traced(ws, source, names) for source in read_sources(ws, root).listed)
    return Trace(output_id, event, traced, root, ws.log.reader.size)


def output_id_of(ws: Workspace, file_or_id: str) -> str:
    """The digest of an output by its file or the beginning of its digest.

    Raises:
        NotFound: No event of this log is about it.
    """
    path = Path(file_or_id)
    digest = file_digest(path) if path.is_file() else file_or_id.strip().lower()
    prefix = f"media.publish {urn('output', digest)}"
    found = sorted(key.rpartition(":")[2] for key in ws.log.keys_from(prefix))
    if len(found) != 1:
        raise NotFound("output.unknown" if not found else "output.ambiguous", id=digest[:16], path=file_or_id)
    return found[0]


def read_sources(ws: Workspace, root: str) -> Sources:
    """The sources manifest of this root.

    Raises:
        NotFound: The file is not there.
        ProofError: It is not what was logged.
    """
    path = _place(ws, root)
    if not path.is_file():
        raise NotFound("output.no_sources", root=root[:16])
    manifest = Sources(tuple(Source.from_line(line) for line in path.read_bytes().splitlines()))
    if manifest.root != root:
        raise ProofError("proof.root", root=root, found=manifest.root)
    return manifest


def sources_of(ws: Workspace, output_id: str) -> Sources:
    """What an output stands on, by its digest; nothing where it was not published here.

    Raises:
        ProofError: The manifest is not what was logged.
    """
    events = events_about(ws, "media.publish", urn("output", output_id))
    inputs = read_event(ws, events[-1]).statement.inputs if events else ()
    root = next((one.sha256 for one in inputs if one.urn.startswith(urn("sources", ""))), "")
    return read_sources(ws, root) if root else Sources(())


def file_digest(path: Path) -> str:
    """SHA-256 of a file."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _traced(ws: Workspace, source: Source, names: dict[str, str]) -> TracedSource:
    asset_urn = urn("asset", source.clip.asset_id)
    ingests = events_about(ws, "asset.ingest", asset_urn)
    if not ingests:
        raise ProofError("output.no_ingest", asset=source.clip.asset_id[:12])
    if not set(read_event(ws, ingests[0]).key_ids) & _keys_of(ws, source.owner_id):
        raise ProofError("output.not_by_owner", asset=source.clip.asset_id[:12], index=ingests[0])
    scans = events_about(ws, "clip.derive", asset_urn)
    if scans:
        read_event(ws, scans[-1])
    row = ws.library.assets_by_id([source.clip.asset_id]).get(source.clip.asset_id)
    file_name = Path(row.locations[0].path).name if row and row.locations else ""
    owner = names.get(source.owner_id, source.owner_id[:12])
    return TracedSource(source, owner, file_name, ingests[0], scans[-1] if scans else None)


def _keys_of(ws: Workspace, owner_id: str) -> set[str]:
    """The key an owner signs with here, and those it had before."""
    name = OWNER + owner_id
    return {key.key_id for key in (ws.keys.actor(name), *ws.keys.retired(name))} if name in ws.keys.names() else set()


def keep_sources(ws: Workspace, sources: Sequence[Source]) -> str:
    """Store a list of sources under the root of its manifest, whole or not at all; the root."""
    manifest = Sources(tuple(sources))
    path = _place(ws, manifest.root)
    if not path.is_file():
        path.parent.mkdir(parents=True, exist_ok=True)
        part = path.with_name(f".{path.name}.{os.getpid()}")
        with part.open("wb") as file:
            file.writelines(source.line() + b"\n" for source in manifest.listed)
            file.flush()
            os.fsync(file.fileno())
        part.replace(path)
    return manifest.root


def _place(ws: Workspace, root: str) -> Path:
    return ws.root / "blobs" / root[:2] / root
