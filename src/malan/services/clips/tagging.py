"""Released classifiers at work: what a model says of clips becomes findings that search knows.

    model ─ may be applied? ─▶ clips that may be looked at ─ features ─▶ probabilities ─▶ `tag.<set>` findings ─▶ event

A tag names the model and its digest; the event holds the root over the findings, so that one tag can be proved to have
come from this model (`trace`). A model that may not be used any more has its tags removed. Start at `apply_model`.
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from malan.core import Finding
from malan.core.errors import MalanError, NotFound, ProofError, Rejected, UsageError
from malan.core.merkle import leaf_hash, merkle_root
from malan.ledger.statement import Input, Subject, urn
from malan.models.classifier import Classifier
from malan.services.access import HOUSE, Caller, require
from malan.services.journal import Fact, record
from malan.services.models.exports import classifier_of
from malan.services.models.registry import get_model
from malan.services.models.rights import decide_model_use, require_model_use
from malan.services.models.rows import ModelRow, find_model
from malan.services.uses import LOOKING, allowed_terms
from malan.store.features import FEATURES, WIDTH, features_of
from malan.store.flatten import NOTHING

if TYPE_CHECKING:
    from malan.store import ClipQuery, ClipRow
    from malan.workspace import Workspace

KIND = "tag."
PRODUCER = "model:"
SURE = 0.5
_AT_ONCE = 2000

Progress = Callable[[int, int, str], None]


@dataclass(frozen=True, slots=True)
class Applied:
    """What a model said: of how many clips, how often which name, and of how many nothing it is sure of."""

    model: ModelRow
    label_set: str
    clips: int
    names: Mapping[str, int]
    unsure: int
    event: int | None


def apply_model(
    ws: Workspace,
    model: str,
    query: ClipQuery,
    *,
    least: float = SURE,
    progress: Progress | None = None,
    caller: Caller = HOUSE,
) -> Applied:
    """Let a classifier tag clips; what it said of the same clips before is replaced.

    Of what it is less sure of than `least` (where it has no thresholds of its own) a finding is kept that nobody's
    search meets, with the reason.

    Args:
        ws: Where model and clips are.
        model: Name, `name@version` or digest.
        query: Which clips; those whose terms do not allow to look at them are left out.
        least: Probability from which a name counts, 0 to 1.
        progress: Told done and total.
        caller: On whose behalf.

    Raises:
        NotFound: There is no such model of the caller's.
        NotGranted: The model may not be used so: retired, or its licence forbids it; or the caller may not tag.
        Rejected: It is no classifier of clips, or learned on other features than these.
        UsageError: No clip matches, or `least` is no probability.
    """
    require(caller, "scan")
    row = get_model(ws, model, caller=caller)
    require_model_use(ws, row, "apply", caller=caller)
    if not 0 <= least <= 1:
        raise UsageError("tagger.bad_least", least=least)
    label_set, classifier = _reads(ws, row)
    asked = replace(query, terms_ids=allowed_terms(ws, LOOKING, query.terms_ids, caller=caller))
    clips = sorted(ws.library.matching(asked), key=lambda one: (one.clip.asset_id, one.span.start_s))
    if not clips:
        raise UsageError("tagger.no_clips")
    said: list[Finding] = []
    for done, part in _portions(clips):
        found = _tags(row, label_set, classifier, part, features_of(ws.library, [one.id for one in part]), least)
        ws.library.replace_findings(PRODUCER + row.name, [one.id for one in part], found)
        said += found
        (progress or _silent)(done, len(clips), row.title)
    names = Counter(str(one.value["label"]) for one in said if "label" in one.value)
    unsure = len(clips) - len({one.clip.id for one in said if "label" in one.value})
    event = _state(ws, row, len(clips), said) if said else None
    return Applied(row, label_set, len(clips), dict(sorted(names.items())), unsure, event)


def drop_unusable_tags(ws: Workspace, *, caller: Caller = HOUSE) -> int:
    """Remove the tags of models that may not be applied any more (retired, made from one that is, licence); how many.

    Called when a model is retired; whoever calls it again finds nothing left to do.
    """
    require(caller, "scan")
    gone = [
        finding
        for producer, version in ws.library.producers(PRODUCER)
        if not _is_usable(ws, version)
        for finding in ws.library.findings_by(producer)
        if finding.version == version
    ]
    if gone:
        ws.library.remove_findings(gone)
    return len(gone)


def tagged_by(ws: Workspace, root: str) -> tuple[str, ...]:
    """The ids of the findings under a root that the log holds, sorted.

    Raises:
        NotFound: The list is not there.
        ProofError: It is not what was logged.
    """
    path = ws.root / "blobs" / root[:2] / root
    if not path.is_file():
        raise NotFound("output.no_sources", root=root[:16])
    ids = tuple(path.read_text("ascii", "replace").split())
    if _root_of(ids) != root:
        raise ProofError("proof.root", root=root, found="–")
    return ids


def _reads(ws: Workspace, model: ModelRow) -> tuple[str, Classifier]:
    """The label set a model speaks of and what it computes, once it is known to read the features we have."""
    label_set = str(model.run.get("parameters", {}).get("label_set", ""))
    classifier = classifier_of(ws, model)
    features = model.run.get("facts", {}).get("features", FEATURES)
    if not label_set or features != FEATURES or classifier.width != WIDTH:
        raise Rejected("tagger.other_features", model=model.title, found=str(features)[:40], wanted=FEATURES)
    return label_set, classifier


def _portions(clips: Sequence[ClipRow]) -> Iterator[tuple[int, list[ClipRow]]]:
    """Clips in portions that end where an asset ends, so that no search row is written twice; how many are done."""
    part: list[ClipRow] = []
    for place, one in enumerate(clips):
        part.append(one)
        is_last = place + 1 == len(clips)
        if is_last or (len(part) >= _AT_ONCE and clips[place + 1].clip.asset_id != one.clip.asset_id):
            yield place + 1, part
            part = []


def _tags(
    model: ModelRow, label_set: str, classifier: Classifier, clips: Sequence[ClipRow], features: Any, least: float
) -> list[Finding]:
    said_NC = classifier.probabilities(features)
    found = []
    for row, sure_C, names in zip(clips, said_NC, classifier.labels(said_NC), strict=True):
        given = [(name, sure) for name, sure in names if classifier.thresholds or sure >= least]
        if not given and not classifier.thresholds:
            best = int(sure_C.argmax())
            found.append(_tag(model, label_set, row, {"unsure": classifier.classes[best]}, float(sure_C[best]), least))
        for name, sure in given:
            if name != NOTHING:
                found.append(_tag(model, label_set, row, {"label": name}, sure))
    return found


def _tag(
    model: ModelRow, label_set: str, row: ClipRow, value: dict[str, str], sure: float, least: float | None = None
) -> Finding:
    reason = None if least is None else f"unsure (below {least:g})"
    producer, version = PRODUCER + model.name, model.id
    return Finding(row.clip, KIND + label_set, producer, version, value, round(sure, 3), reason=reason)


def _state(ws: Workspace, model: ModelRow, clips: int, findings: Sequence[Finding]) -> int:
    """State in the log which model said how much, by the root over its findings, and keep the list of them."""
    ids = sorted({one.id for one in findings})
    root = _root_of(ids)
    path = ws.folder("blobs") / root[:2] / root
    if not path.is_file():
        path.parent.mkdir(parents=True, exist_ok=True)
        part = path.with_name(f".{root}.{os.getpid()}")
        with part.open("w", encoding="ascii") as file:
            file.writelines(f"{one}\n" for one in ids)
            file.flush()
            os.fsync(file.fileno())
        part.replace(path)
    fact = Fact(
        "clip.derive",
        (Subject(urn("scan", root), root),),
        "model.apply",
        inputs=(Input(urn("model", model.id), model.id, "inputTo"),),
        facts={"clips": clips, "findings": len(ids)},
    )
    return record(ws, [fact])[0]


def _root_of(ids: Sequence[str]) -> str:
    return merkle_root([leaf_hash(one.encode()) for one in ids]).hex()


def _is_usable(ws: Workspace, model_id: str) -> bool:
    try:
        return decide_model_use(ws, find_model(ws, model_id), "apply").allowed
    except MalanError:
        return False


def _silent(_done: int, _total: int, _current: str) -> None:
    """Progress nobody watches."""
