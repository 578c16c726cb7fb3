"""Where the labels and tags of a clip come from, every step held against the log.

    tag ─ in the root of ─▶ event of applying ─▶ model ─ release ─▶ run ─▶ grant ─▶ footage and labels it learned from
    label ─▶ a person

Start reading at `trace_clip`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from malan.core import Finding
from malan.core.errors import MalanError, NotFound, ProofError
from malan.core.merkle import inclusion_proof, leaf_hash
from malan.ledger.statement import urn
from malan.services.access import HOUSE, Caller
from malan.services.clips.labels import KIND as LABEL
from malan.services.clips.labels import OPERATOR_HERE
from malan.services.clips.search import show
from malan.services.clips.tagging import KIND, PRODUCER, tagged_by
from malan.services.datasets.freezing import show_snapshot
from malan.services.footage.owners import owner_name
from malan.services.footage.people import kept_findings
from malan.services.journal import events_about, read_event
from malan.services.models.rows import find_model
from malan.services.models.trace import ModelTrace, describe_trace, trace_model

if TYPE_CHECKING:
    from malan.store import ClipRow
    from malan.workspace import Workspace


@dataclass(frozen=True)
class Teachers:
    """The people whose labels a model learned from, by name, and how many labels each gave."""

    label_set: str
    labels: dict[str, int]


@dataclass(frozen=True)
class TracedTag:
    """One name of a clip and where it comes from: a person, or a model and all it stands on."""

    finding: Finding
    person: str  # empty: a model
    model: ModelTrace | None = None
    applied: int | None = None  # place in the log
    proof: dict[str, Any] | None = None  # that the finding is under the root of that event
    teachers: Teachers | None = None

    @property
    def name(self) -> str:
        """`day-night=night`."""
        label_set = self.finding.kind.removeprefix(KIND).removeprefix(LABEL)
        return f"{label_set}={self.finding.value.get('label', '')}"


@dataclass(frozen=True)
class ClipTrace:
    """A clip, and the way back of each of its names."""

    row: ClipRow
    owner: str
    tags: tuple[TracedTag, ...]


def trace_clip(ws: Workspace, clip: str, tag: str = "", *, caller: Caller = HOUSE) -> ClipTrace:
    """Follow the labels and tags of a clip back; nothing on the way is believed unchecked.

    Args:
        ws: Where it is.
        clip: Its id, or the beginning of it.
        tag: Only this one: `day-night=night`, or a set alone.
        caller: Who asks.

    Raises:
        NotFound: There is no such clip, or it has no such tag.
        NotGranted: Its terms do not allow to look at it.
        ProofError: The log does not say what is kept here.
    """
    shown = show(ws, clip, caller=caller)
    own = [one for one in shown.findings if one.clip.id == shown.row.id and _is_named(one, tag)]
    if not own:
        raise NotFound("tagger.no_tag", clip=shown.row.id[:12], tag=tag or "–")
    return ClipTrace(
        shown.row, owner_name(ws, shown.row.owner_id), tuple(_traced(ws, one, caller=caller) for one in own)
    )


def describe_clip_trace(trace: ClipTrace) -> dict[str, Any]:
    """A trace as plain JSON."""
    return {
        "clip": trace.row.id,
        "fragment": trace.row.clip.fragment,
        "owner": trace.owner,
        "tags": [
            {
                "tag": one.name,
                "confidence": one.finding.confidence,
                "person": one.person or None,
                "applied_at": one.applied,
                "proof": one.proof,
                "model": None if one.model is None else describe_trace(one.model),
                "labelled_by": None if one.teachers is None else one.teachers.labels,
            }
            for one in trace.tags
        ],
    }


def _is_named(finding: Finding, tag: str) -> bool:
    """Whether a finding is a label or a tag, and the one asked for."""
    for kind in (KIND, LABEL):
        if finding.kind.startswith(kind) and "label" in finding.value:
            label_set = finding.kind.removeprefix(kind)
            return tag in ("", label_set, f"{label_set}={finding.value['label']}")
    return False


def _traced(ws: Workspace, finding: Finding, *, caller: Caller) -> TracedTag:
    if finding.kind.startswith(LABEL):
        return TracedTag(finding, _person(ws, finding.author))
    if not finding.producer.startswith(PRODUCER):
        raise ProofError("tagger.no_model", producer=finding.producer[:40])
    model = trace_model(ws, find_model(ws, finding.version).id, caller=caller)
    event, proof = _applied(ws, finding)
    return TracedTag(finding, "", model, event, proof, _teachers(ws, model))


def _applied(ws: Workspace, finding: Finding) -> tuple[int, dict[str, Any]]:
    """The event in which the model said this, the newest first, and the proof that it did."""
    for index in reversed(events_about(ws, "clip.derive", urn("model", finding.version))):
        root = read_event(ws, index).statement.subjects[0].sha256
        ids = tagged_by(ws, root)
        if finding.id in ids:
            at = ids.index(finding.id)
            nodes = inclusion_proof([leaf_hash(one.encode()) for one in ids], at)
            proof = {"root": root, "size": len(ids), "index": at, "leaf": finding.id, "proof": [n.hex() for n in nodes]}
            return index, proof
    raise ProofError("tagger.not_applied", model=finding.version[:12])


def _teachers(ws: Workspace, trace: ModelTrace) -> Teachers | None:
    """Who gave the labels that were frozen into what the model learned from."""
    label_set = str(trace.model.run.get("parameters", {}).get("label_set", ""))
    if not label_set or trace.model.snapshot_id is None:
        return None
    try:
        _, manifest = show_snapshot(ws, trace.model.snapshot_id)
    except ProofError:
        raise
    except MalanError:
        return None
    ids = {finding_id for entry in manifest.entries for finding_id in entry.finding_ids}
    counts: dict[str, int] = {}
    for one in kept_findings(ws, LABEL + label_set, ids):
        name = _person(ws, one.finding.author)
        counts[name] = counts.get(name, 0) + 1
    return Teachers(label_set, dict(sorted(counts.items())))


def _person(ws: Workspace, author: str) -> str:
    person = author.removeprefix("person:")
    return person if person == OPERATOR_HERE else owner_name(ws, person)
