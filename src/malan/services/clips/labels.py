"""Labels that people give clips: the truth that classifiers learn from.

    malan clip label 夜景 --as day-night=night     a finding of a person, kind `label.day-night`

A set (`shot-size`) has names (`close-up`); a person says one name of a set about a clip, or several where asked to.
`none` says: looked, and nothing of the set applies. Labels are durable (`people`) and freeze into snapshots. Start
reading at `label_clips`; training reads `frozen_labels`.
"""

from __future__ import annotations

import csv
import io
import re
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from malan.core import Clip, Finding
from malan.core.errors import UsageError
from malan.datasets.manifest import Entry
from malan.services.access import HOUSE, Caller, require
from malan.services.footage.people import Kept, keep_findings, kept_findings, kinds_kept, take_back
from malan.services.uses import LOOKING, allowed_terms, require_visible_clip
from malan.store.flatten import NOTHING as NOTHING  # noqa: PLC0414  # apps take it from here

if TYPE_CHECKING:
    from malan.store import ClipQuery, ClipRow
    from malan.workspace import Workspace

KIND = "label."
PRODUCER, VERSION = "person", "1"
OPERATOR_HERE = "operator-here"  # whoever works in the workspace's folder, when nobody is named
MOST_AT_ONCE = 20_000

_NAME = re.compile(r"[^\W_](?:[\w.-]{0,38}[^\W_])?")


@dataclass(frozen=True, slots=True)
class Label:
    """One name of one set."""

    label_set: str
    name: str

    @classmethod
    def read(cls, text: str) -> Label:
        """`shot-size=close-up`; letters of any language, digits, `-`, `.` and `_`.

        Raises:
            UsageError: It is written otherwise.
        """
        label_set, sign, name = text.strip().partition("=")
        if not (sign and _NAME.fullmatch(label_set) and _NAME.fullmatch(name)):
            raise UsageError("tagger.bad_label", text=text[:80])
        return cls(label_set, name)


@dataclass(frozen=True, slots=True)
class Labelled:
    """What came of a labelling: clips that have the label now, of them new, and labels it replaced."""

    clips: int
    new: int
    replaced: int


@dataclass(frozen=True, slots=True)
class SetShown:
    """A label set as it stands: clips by name, who labelled, and labels of clips that a new cut has replaced."""

    name: str
    clips_by_label: Mapping[str, int]
    people: tuple[str, ...]
    orphans: int


def label_clips(
    ws: Workspace,
    clips: Sequence[Clip],
    label: Label,
    *,
    by: str = "",
    also: bool = False,
    caller: Caller = HOUSE,
) -> Labelled:
    """Say a label of clips, in place of what the same person said of them in this set before.

    Args:
        ws: Where the clips are.
        clips: Which.
        label: The set and the name.
        by: The party whose finding it is, by name or id; without one, the caller's.
        also: Beside the names the person gave before, not in their place.

    Raises:
        UsageError: No clips, or more than can be labelled at once.
        NotFound: There is no such party, or the caller may not know of a clip.
        NotGranted: The caller may not label, or a clip may not be looked at.
    """
    return label_each(ws, dict.fromkeys(clips, (label,)), by=by, also=also, caller=caller)


def label_each(
    ws: Workspace,
    labels: Mapping[Clip, Sequence[Label]],
    *,
    by: str = "",
    also: bool = False,
    caller: Caller = HOUSE,
) -> Labelled:
    """Say labels of clips, each clip its own; as `label_clips`, in one piece."""
    require(caller, "annotate")
    _check_count(labels)
    author = f"person:{_person(ws, by, caller)}"
    _check_visible(ws, labels, caller)
    new = {one.id: one for clip, said in labels.items() for label in said for one in [_finding(clip, label, author)]}
    sets = {label.label_set for said in labels.values() for label in said}
    before = [one.finding for name in sets for one in kept_findings(ws, KIND + name)]
    mine = [one for one in before if one.author == author]
    touched = {(clip.id, KIND + label.label_set) for clip, said in labels.items() for label in said}
    known = {one.id for one in mine}
    gone = [one for one in mine if (one.clip.id, one.kind) in touched and one.id not in new]
    gone = [one for one in gone if not also or one.value.get("label") == NOTHING]
    take_back(ws, gone)
    keep_findings(ws, list(new.values()))
    return Labelled(len(labels), len(new.keys() - known), len(gone))


def unlabel_clips(
    ws: Workspace, clips: Sequence[Clip], label_set: str, name: str = "", *, by: str = "", caller: Caller = HOUSE
) -> int:
    """Take back what a person said of clips in a set, all names or one; how many labels. An operator who names nobody
    takes back everybody's."""
    require(caller, "annotate")
    ids = {clip.id for clip in clips}
    author = f"person:{_person(ws, by, caller)}" if by or not caller.is_operator else None
    found = [
        one.finding
        for one in kept_findings(ws, KIND + label_set)
        if one.finding.clip.id in ids
        and author in (None, one.finding.author)
        and name in ("", one.finding.value.get("label"))
    ]
    take_back(ws, found)
    return len(found)


def chosen_clips(ws: Workspace, texts: Sequence[str], *, caller: Caller = HOUSE) -> list[Clip]:
    """The clips that arguments name: ids or beginnings of ids, else one query as `clip find` takes it.

    Raises:
        UsageError: Nothing is said: that would be the whole library.
        NotFound: There is no clip of that id.
    """
    from malan.services.clips.where import condition

    if not any(text.strip() for text in texts):
        raise UsageError("tagger.label_how")
    if texts and all(re.fullmatch(r"[0-9a-f]{6,64}", text) for text in texts):
        rows = [ws.library.clip(text) for text in texts]
        for row in rows:
            require_visible_clip(ws, row.id, row.terms_id, caller)
        return [row.clip for row in rows]
    return clips_where(ws, condition(" ".join(texts)), caller=caller)


def clips_where(ws: Workspace, query: ClipQuery, *, caller: Caller = HOUSE) -> list[Clip]:
    """All clips that match and that the caller may look at."""
    asked = replace(query, terms_ids=allowed_terms(ws, LOOKING, query.terms_ids, caller=caller))
    return [row.clip for row in ws.library.matching(asked)]


def label_sets(ws: Workspace, *, caller: Caller = HOUSE) -> list[SetShown]:
    """Every label set in force, sorted by name."""
    require(caller, "annotate")
    names = [kind.removeprefix(KIND) for kind in kinds_kept(ws) if kind.startswith(KIND)]
    return [_shown(ws, name) for name in names]


def labels_of(ws: Workspace, label_set: str, clip_ids: Iterable[str] | None = None) -> dict[str, tuple[str, ...]]:
    """What people say of clips in a set now, by clip id; what is said by most comes first."""
    wanted = None if clip_ids is None else set(clip_ids)
    kept = kept_findings(ws, KIND + label_set)
    return _by_clip(one for one in kept if wanted is None or one.finding.clip.id in wanted)


def frozen_labels(ws: Workspace, entries: Iterable[Entry], label_set: str) -> dict[str, tuple[str, ...]]:
    """What people had said of the clips of a snapshot when it was frozen, by clip id; whatever they said since."""
    ids = {finding_id for entry in entries for finding_id in entry.finding_ids}
    return _by_clip(kept_findings(ws, KIND + label_set, ids))


def read_csv(ws: Workspace, text: str, label_set: str = "", *, caller: Caller = HOUSE) -> dict[Clip, list[Label]]:
    """Labels from a table with a header: `clip` and `label` (`set=name`, or a name of `label_set`), and maybe `set`.

    Raises:
        UsageError: A column is missing, a line has too few, or a label is none; the line is named.
        NotFound: There is no such clip.
    """
    require(caller, "annotate")
    read = [(clip, Label.read(named)) for clip, named in _lines(text, label_set)]
    whole = ws.library.clips_by_id({clip for clip, _ in read if len(clip) == 64})
    found: dict[Clip, list[Label]] = defaultdict(list)
    for clip, given in read:
        found[(whole.get(clip) or ws.library.clip(clip)).clip].append(given)
    return dict(found)


def _lines(text: str, label_set: str) -> Iterator[tuple[str, str]]:
    """Clip and `set=name` of each line of a table."""
    rows = csv.DictReader(io.StringIO(text.removeprefix("\ufeff")))
    try:
        if not {"clip", "label"} <= set(rows.fieldnames or ()):
            raise UsageError("tagger.csv_columns", found=", ".join(map(str, rows.fieldnames or ()))[:80])
        for count, row in enumerate(rows):
            clip, label = (row.get("clip") or "").strip(), (row.get("label") or "").strip()
            if not clip or count >= MOST_AT_ONCE:
                raise UsageError("tagger.csv_line", line=rows.line_num, most=MOST_AT_ONCE)
            yield clip, label if "=" in label else f"{(row.get('set') or label_set).strip()}={label}"
    except csv.Error as error:
        raise UsageError("tagger.csv_line", line=rows.line_num, most=MOST_AT_ONCE) from error


def _finding(clip: Clip, label: Label, author: str) -> Finding:
    return Finding(clip, KIND + label.label_set, PRODUCER, VERSION, {"label": label.name}, None, author)


def _person(ws: Workspace, by: str, caller: Caller) -> str:
    """Whose finding it is: only an operator speaks for somebody else."""
    from malan.services.accounts.parties import find_party

    if by and caller.is_operator:
        return find_party(ws, by).id
    return caller.party_id or OPERATOR_HERE


def _check_count(labels: Mapping[Clip, Sequence[Label]]) -> None:
    if not labels:
        raise UsageError("tagger.no_clips")
    if len(labels) > MOST_AT_ONCE:
        raise UsageError("tagger.too_many_clips", count=len(labels), most=MOST_AT_ONCE)


def _check_visible(ws: Workspace, clips: Iterable[Clip], caller: Caller) -> None:
    rows: dict[str, ClipRow] = ws.library.clips_by_id(clip.id for clip in clips)
    asked: set[str] = set()
    for clip in clips:
        row = rows.get(clip.id) or ws.library.clip(clip.id)
        if row.terms_id not in asked:
            require_visible_clip(ws, row.id, row.terms_id, caller)
            asked.add(row.terms_id)


def _by_clip(kept: Iterable[Kept]) -> dict[str, tuple[str, ...]]:
    votes: dict[str, dict[str, int]] = defaultdict(dict)
    for one in kept:
        mine, name = votes[one.finding.clip.id], str(one.finding.value.get("label", ""))
        mine[name] = mine.get(name, 0) + 1
    return {clip: tuple(sorted(names, key=lambda name: (-names[name], name))) for clip, names in votes.items()}


def _shown(ws: Workspace, name: str) -> SetShown:
    kept = kept_findings(ws, KIND + name)
    there = ws.library.clips_by_id({one.finding.clip.id for one in kept})
    counts: dict[str, set[str]] = defaultdict(set)
    for one in kept:
        counts[str(one.finding.value.get("label"))].add(one.finding.clip.id)
    people = tuple(sorted({one.finding.author.removeprefix("person:") for one in kept}))
    orphans = sum(one.finding.clip.id not in there for one in kept)
    return SetShown(name, {label: len(clips) for label, clips in sorted(counts.items())}, people, orphans)
