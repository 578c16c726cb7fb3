"""Recall: every published file a model had a part in, found by the log and marked there.

    model ─ and all that was made from it ─▶ intents that name it ─▶ files published under them ─▶ what stands on them
                                                                                └─▶ `output.recall`, one event a file

What stands on a file: what carries its label on, a film it was brought along to as music or picture, a film that shows
it from the library; and so on from there.

A mark is an event; it is taken back by another event, never by deleting. Files themselves are not touched: they may be
anywhere. Start reading at `recall_model`; `marks_of` tells what is marked.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from malan.core.errors import UsageError
from malan.ledger.statement import Input, Subject, urn
from malan.services.access import HOUSE, Caller, require
from malan.services.journal import Fact, disclosed, read_event, record
from malan.services.models.registry import get_model
from malan.services.models.rows import ModelRow, list_rows
from malan.services.outputs.manifests import read_sources

if TYPE_CHECKING:
    from malan.workspace import Workspace

KIND = "output.recall"
RECALLED, RESTORED = "recalled", "restored"
_MOST_REASON = 500


@dataclass(frozen=True)
class Mark:
    """What the log says last of one file and one model: recalled, and why, as far as it was not forgotten."""

    output_id: str
    model_id: str
    event: int
    at: str
    reason: str


@dataclass(frozen=True)
class Found:
    """A published file a model had a part in. `event` states the mark; None as long as there is none."""

    output_id: str
    model_id: str
    app: str
    mode: str
    published: int
    at: str
    event: int | None = None
    is_new: bool = False


@dataclass(frozen=True)
class Recalled:
    """A recall: the model, those that were made from it, and every file."""

    model: ModelRow
    models: tuple[ModelRow, ...]
    outputs: tuple[Found, ...]


def recall_model(
    ws: Workspace, text: str, *, reason: str, descendants: bool = True, dry: bool = False, caller: Caller = HOUSE
) -> Recalled:
    """Mark every published file a model had a part in. Again, only what came since is marked anew.

    Args:
        ws: Whose log.
        text: Name or digest of the model; a retired one too.
        reason: Why; private, kept beside the log.
        descendants: Also files of models that were made from it: trained on it, or merged with it.
        dry: Only find, mark nothing.
        caller: On whose behalf.

    Raises:
        NotGranted: The caller may not.
        NotFound: There is no such model.
        UsageError: Without a reason.
    """
    require(caller, "models.change")
    if not reason.strip() and not dry:
        raise UsageError("recall.needs_reason")
    found = _search(ws, get_model(ws, text, caller=caller), descendants)
    return found if dry else _mark(ws, found, RECALLED, reason)


def restore_outputs(
    ws: Workspace, text: str, *, reason: str, descendants: bool = True, caller: Caller = HOUSE
) -> Recalled:
    """Take the marks of a model back, by new events; what was never marked stays as it is.

    Raises:
        MalanError: See `recall_model`.
    """
    require(caller, "models.change")
    if not reason.strip():
        raise UsageError("recall.needs_reason")
    found = _search(ws, get_model(ws, text, caller=caller), descendants)
    marked = tuple(one for one in found.outputs if one.event is not None)
    return _mark(ws, Recalled(found.model, found.models, marked), RESTORED, reason)


def marks_of(ws: Workspace, output_ids: Sequence[str]) -> dict[str, tuple[Mark, ...]]:
    """The marks that hold on some files, by their digests; files without any are left out."""
    found: dict[str, tuple[Mark, ...]] = {}
    for output_id, events in _events(ws, output_ids).items():
        if held := tuple(_mark_of(ws, one) for one in _last_by_model(ws, events).values() if one is not None):
            found[output_id] = held
    return found


def describe_recall(found: Recalled) -> dict[str, Any]:
    """A recall as JSON."""
    return {
        "model": found.model.id,
        "name": found.model.title,
        "models": [{"model": one.id, "name": one.title} for one in found.models],
        "outputs": [
            {
                "output": one.output_id, "model": one.model_id, "app": one.app, "mode": one.mode,
                "published": one.published, "time": one.at, "event": one.event, "new": one.is_new,
            }
            for one in found.outputs
        ],
        "marked": sum(one.event is not None for one in found.outputs),
        "new": sum(one.is_new for one in found.outputs),
    }  # fmt: skip


def describe_marks(marks: Iterable[Mark]) -> list[dict[str, Any]]:
    """Marks as JSON, for whoever shows a file."""
    return [{"model": one.model_id, "event": one.event, "time": one.at, "reason": one.reason} for one in marks]


def _search(ws: Workspace, model: ModelRow, descendants: bool) -> Recalled:
    models = _descendants(ws, model) if descendants else [model]
    outputs: dict[tuple[str, str], Found] = {}
    for one in models:
        for found in _outputs_of(ws, one.id):
            outputs.setdefault((found.output_id, one.id), found)
    known = {output: _last_by_model(ws, events) for output, events in _events(ws, [key[0] for key in outputs]).items()}
    listed = [_with_event(one, known.get(one.output_id, {})) for one in outputs.values()]
    listed.sort(key=lambda one: (one.published, one.output_id, one.model_id))
    return Recalled(model, tuple(models), tuple(listed))


def _descendants(ws: Workspace, model: ModelRow) -> list[ModelRow]:
    """A model and all that was made from it, itself first."""
    rows, found = list_rows(ws), {model.id: model}
    while True:
        more = [one for one in rows if one.id not in found and set(one.parents) & set(found)]
        if not more:
            return list(found.values())
        found |= {one.id: one for one in more}


def _outputs_of(ws: Workspace, model_id: str) -> Iterator[Found]:
    """Files published under an intent that names the model, or that it planned, and files that carry such files on."""
    intents = [
        subject.urn
        for place in ws.log.find(f"gen.intent {urn('model', model_id)}")
        for subject in read_event(ws, place).statement.subjects
    ]
    waiting = [at for places in ws.log.find_many(f"media.publish {one}" for one in intents).values() for at in places]
    waiting += ws.log.find(f"media.publish {urn('model', model_id)}")
    seen, trail = set[int](), _Trail(ws)
    while waiting:
        place = waiting.pop()
        if place in seen:
            continue
        seen.add(place)
        statement = read_event(ws, place).statement
        for subject in statement.subjects:
            facts = statement.facts
            app, mode = str(facts.get("app", "")), str(facts.get("mode", ""))
            yield Found(subject.sha256, model_id, app, mode, place, statement.time)
            waiting += trail.onwards(subject.sha256)


class _Trail:
    """Where a published file went on: its label carried on, brought along to another app, or shown from the library."""

    def __init__(self, ws: Workspace) -> None:
        self._ws = ws
        self._shown: dict[str, set[int]] | None = None

    def onwards(self, output_id: str) -> list[int]:
        """Events of files that stand on this one."""
        carried = self._with_input(f"label.propagate {urn('output', output_id)}", urn("output", output_id))
        brought = self._with_input(f"media.publish {urn('asset', output_id)}", urn("asset", output_id))
        return sorted({*carried, *brought, *self._showing(output_id)})

    def _with_input(self, key: str, name: str) -> list[int]:
        places = self._ws.log.find(key)
        return [at for at in places if any(one.urn == name for one in read_event(self._ws, at).statement.inputs)]

    def _showing(self, output_id: str) -> set[int]:
        """Publications that show a file which was added to the library; every manifest is read, but once at most."""
        if not self._ws.library.assets_by_id([output_id]):
            return set()
        if self._shown is None:
            self._shown = {}
            for at in self._ws.log.find("media.publish"):
                for asset_id in self._footage(at):
                    self._shown.setdefault(asset_id, set()).add(at)
        return self._shown.get(output_id, set())

    def _footage(self, at: int) -> set[str]:
        inputs = read_event(self._ws, at).statement.inputs
        root = next((one.sha256 for one in inputs if one.urn.startswith(urn("sources", ""))), "")
        return {one.clip.asset_id for one in read_sources(self._ws, root).listed} if root else set()


def _events(ws: Workspace, output_ids: Sequence[str]) -> dict[str, list[int]]:
    keys = {f"{KIND} {urn('output', one)}": one for one in output_ids}
    return {keys[key]: places for key, places in ws.log.find_many(keys).items() if places}


def _last_by_model(ws: Workspace, events: Sequence[int]) -> dict[str, int | None]:
    """Model → the event of its mark; None where it was taken back."""
    found: dict[str, int | None] = {}
    for at in events:
        statement = read_event(ws, at).statement
        for one in statement.inputs:
            found[one.sha256] = at if statement.facts["state"] == RECALLED else None
    return found


def _with_event(one: Found, marks: Mapping[str, int | None]) -> Found:
    return Found(one.output_id, one.model_id, one.app, one.mode, one.published, one.at, marks.get(one.model_id))


def _mark_of(ws: Workspace, at: int) -> Mark:
    event = read_event(ws, at)
    statement = event.statement
    reason = str(disclosed(ws, event).get("reason", ""))
    return Mark(statement.subjects[0].sha256, statement.inputs[0].sha256, at, statement.time, reason)


def _mark(ws: Workspace, found: Recalled, state: str, reason: str) -> Recalled:
    """State it of each file that is not so yet."""
    due = [one for one in found.outputs if (one.event is None) == (state == RECALLED)]
    said = " ".join(reason.split())[:_MOST_REASON]
    counts = {key: len(places) for key, places in _events(ws, [one.output_id for one in due]).items()}
    places = record(ws, [_fact(one, state, counts.get(one.output_id, 0) + number, said)
                         for number, one in _numbered(due)])  # fmt: skip
    at = {(one.output_id, one.model_id): place for one, place in zip(due, places, strict=True)}
    outputs = []
    for one in found.outputs:
        place = at.get((one.output_id, one.model_id))
        event = one.event if place is None else place if state == RECALLED else None
        more = (one.output_id, one.model_id, one.app, one.mode, one.published, one.at)
        outputs.append(Found(*more, event, place is not None))
    return Recalled(found.model, found.models, tuple(outputs))


def _numbered(due: Sequence[Found]) -> Iterator[tuple[int, Found]]:
    """Each with its number among those of the same file: events of one file are counted through."""
    seen: dict[str, int] = {}
    for one in due:
        seen[one.output_id] = seen.get(one.output_id, 0) + 1
        yield seen[one.output_id], one


def _fact(one: Found, state: str, number: int, reason: str) -> Fact:
    return Fact(
        KIND,
        (Subject(urn("output", one.output_id), one.output_id),),
        "model.recall",
        inputs=(Input(urn("model", one.model_id), one.model_id, "about"),),
        facts={"state": state, "number": number},
        private={"reason": reason},
    )
