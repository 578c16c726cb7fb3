"""What footage says about how it was made: marks that are looked for in every file when it is added.

    file ─ marks_of ─▶ Mark … ─ findings_of ─▶ Finding about the whole asset, in the library with the asset

A new kind of mark is a function from a path to marks, and a line in `READERS`. It runs for every file, in a worker
that may die: it must be cheap, and must not raise for what is in a file. Start at `marks_of`.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from malan.core import Asset, Clip, Finding, Span
from malan.rights.signals import STRICTNESS
from malan.services.access import HOUSE, Caller, require

if TYPE_CHECKING:
    from malan.workspace import Workspace

LABEL, CREDENTIAL, SIGNAL = "provenance.label", "provenance.credential", "rights.signal"
KINDS = (LABEL, CREDENTIAL)
_LABEL_PRODUCER, _LABEL_VERSION = "media.label", "1"
_CREDENTIAL_PRODUCER, _CREDENTIAL_VERSION = "media.credential", "1"
_SIGNAL_VERSION = "1"
_MOST_PROBLEMS, _MOST_TEXT = 8, 200


@dataclass(frozen=True, slots=True)
class Mark:
    """One thing a file says about itself. `notice` is the message code that `asset add` shows for it."""

    kind: str
    producer: str
    version: str
    notice: str
    value: Mapping[str, Any] = field(default_factory=dict)
    reason: str | None = None


def marks_of(path: str | os.PathLike[str]) -> tuple[Mark, ...]:
    """Everything a file says about how it was made. Reads a few kilobytes, or the whole of a file with a credential."""
    return tuple(mark for read in READERS for mark in read(os.fspath(path)))


def findings_of(asset: Asset, marks: Iterable[Mark]) -> list[Finding]:
    """The marks as findings about the whole asset."""
    clip = whole_clip(asset)
    if clip is None:
        return []
    return [Finding(clip, m.kind, m.producer, m.version, m.value, reason=m.reason) for m in marks]


def marks_on(ws: Workspace, asset_id: str, *, caller: Caller = HOUSE) -> list[Finding]:
    """What was noted about how an asset was made when it was added."""
    require(caller, "library.see")
    return ws.library.findings(asset_id=asset_id, kinds=KINDS)


def whole_clip(asset: Asset) -> Clip | None:
    """All of an asset's first track with a picture, else of its sound; None without either."""
    track = asset.first("video") or asset.first("image") or asset.first("audio")
    if track is None:
        return None
    start = track.start_ticks
    return Clip(asset.id, track.index, Span(start, start + max(1, track.duration_ticks), track.timebase))


def _labels(path: str) -> Iterator[Mark]:
    """The implicit label of GB 45438-2025, readable or not: "AI-generated input"."""
    from malan.media.labels import glance, judge

    seen = glance(path)
    if seen is None or not seen.found:
        return
    verdict = judge(seen)
    said = {key: value for key, value in (verdict.label or {}).items() if isinstance(value, str)}
    strength = said.get("Label", "")
    label = strength if strength in ("1", "2", "3") else "unreadable"
    value = {
        "label": label,
        "content_producer": said.get("ContentProducer", "")[:200],
        "produce_id": said.get("ProduceID", "")[:200],
        "verdict": verdict.verdict,
        "where": verdict.where[0],
    }
    reason = next((r.code for r in verdict.reasons if r.is_fatal), None)
    yield Mark(LABEL, _LABEL_PRODUCER, _LABEL_VERSION, f"label.input.{label}", value, reason)


def _credentials(path: str) -> Iterator[Mark]:
    """The C2PA credential: who claims what, whether it is intact, and what it says models may do.

    A file that carries one is hashed once more; the signer is judged without anchors, for nobody was asked to trust it.
    """
    from malan.media.credentials import has_credential, read_credential

    if not has_credential(path):
        return
    report = read_credential(path)
    if report.state == "absent":
        return
    is_intact = report.state in ("trusted", "valid")
    kind = "ai" if report.ai_generated else "intact" if is_intact else "broken"
    value = {
        "class": kind,
        "state": report.state,
        "ai_generated": report.ai_generated,
        "title": report.title[:_MOST_TEXT],
        "signer": report.signer[:_MOST_TEXT],
        "producer": report.producer[:_MOST_TEXT],
        "generator": report.generator[:_MOST_TEXT],
        "training_mining": dict(report.training_mining),
        "problems": [problem.code[:_MOST_TEXT] for problem in report.problems[:_MOST_PROBLEMS]],
    }
    reason = None if is_intact else "credentials.input.broken"
    yield Mark(CREDENTIAL, _CREDENTIAL_PRODUCER, _CREDENTIAL_VERSION, f"credentials.input.{kind}", value, reason)
    if report.training_mining:
        yield _signal("cawg", report.training_mining)


def _signals(path: str) -> Iterator[Mark]:
    """What the file, and what lies beside it, says of uses by models: PLUS, TDMRep, RSL."""
    from malan.services.footage.signals import look_for

    for source, said in look_for(path):
        yield _signal(source, said)


def _signal(source: str, said: Mapping[str, str]) -> Mark:
    """Broken credentials count as well: a signal can only narrow."""
    strictest = max(said.values(), key=STRICTNESS.index)
    value = {"class": strictest, "source": source, "says": dict(said)}
    return Mark(SIGNAL, f"rights.{source}", _SIGNAL_VERSION, f"signal.input.{strictest}", value)


READERS: Sequence[Callable[[str], Iterable[Mark]]] = (_labels, _credentials, _signals)
