"""What people decide about findings: confirm, reject with a reason, waive until a day; carried to the next cut.

Decisions are lines of JSON that are only added to. The last one about a finding counts. A decision names the mark of
the finding, which stays when the cut changes; a confirmed point that is gone from the next cut is simply gone. What was
confirmed or rejected teaches the classifier: `labels_of`. Start at `decide` and `apply_decisions`.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from malan.apps.review.findings import Finding
from malan.apps.review.language.check import is_day
from malan.core.errors import NotFound, UsageError
from malan.services.access import HOUSE, Caller

if TYPE_CHECKING:
    from malan.core import Clip
    from malan.workspace import Workspace

KINDS = ("confirm", "reject", "waive")
LABEL_SET = "review"
LABEL = f"label.{LABEL_SET}"


@dataclass(frozen=True, slots=True)
class Decision:
    """One decision of one person."""

    mark: str
    decision: str
    by: str
    on: str
    reason: str = ""
    until: str | None = None  # last day a waiver holds
    finding: str = ""  # the id it had when it was decided
    rule: str = ""

    def holds(self, day: str) -> bool:
        """Whether it counts on a day: a waiver ends."""
        return self.until is None or day <= self.until


def decide(
    report: Mapping[str, Any], file: Path, finding: str, decision: str, *, by: str, on: str, reason: str = "",
    until: str | None = None,
) -> Decision:  # fmt: skip
    """Add a decision about a finding of a report to a file of decisions.

    Raises:
        NotFound: The report has no such finding.
        UsageError: A rejection without reason, a waiver without a day, or no such decision.
    """
    return _decided([_finding(report, finding)], file, decision, by=by, on=on, reason=reason, until=until)[0]


def decide_alike(
    report: Mapping[str, Any], file: Path, finding: str, decision: str, *, by: str, on: str, reason: str = "",
    until: str | None = None,
) -> list[Decision]:  # fmt: skip
    """Decide the same about all points that are like one: of a series, one decision instead of eighty.

    Args:
        finding: A finding, or a rule; see `points_alike`.

    Raises:
        NotFound: The report has no such finding.
        UsageError: A rejection without reason, a waiver without a day, or no such decision.
    """
    return _decided(points_alike(report, finding), file, decision, by=by, on=on, reason=reason, until=until)


def points_alike(report: Mapping[str, Any], said: str) -> list[Mapping[str, Any]]:
    """The undecided points of a rule, in all episodes: found ones with one that was found, open ones with an open one.

    A rule named alone means what is open of it, if anything is: what was found is not swept away with it.
    """
    named = [one for one in report["findings"] if said in (one["id"], one["mark"])]
    of_rule = [one for one in report["findings"] if one["rule"] == (named[0]["rule"] if named else said)]
    if not of_rule:
        raise NotFound("review.unknown_finding", id=said[:40])
    states = {one["state"] for one in of_rule}
    state = named[0]["state"] if named else "open" if "open" in states else "found"
    return [one for one in of_rule if one["state"] == state and (not one["decided"] or one in named)]


def _decided(
    points: Sequence[Mapping[str, Any]], file: Path, decision: str, *, by: str, on: str, reason: str, until: str | None
) -> list[Decision]:
    marks = {one["mark"]: one for one in points}
    made = [
        Decision(mark, decision, by.strip(), on, reason.strip(), until, one["id"], one["rule"])
        for mark, one in marks.items()
    ]
    for one in made[:1]:
        why = _fault(one)
        if why:
            raise UsageError(f"review.decide.{why}")
    with file.open("a", encoding="utf-8") as out:
        out.writelines(json.dumps(asdict(one), ensure_ascii=False, sort_keys=True) + "\n" for one in made)
    return made


def _finding(report: Mapping[str, Any], said: str) -> Mapping[str, Any]:
    """A finding by its id, its mark, or its rule where there is only one of it."""
    named: list[Mapping[str, Any]] = [one for one in report["findings"] if said in (one["id"], one["mark"])]
    of_rule = [one for one in report["findings"] if said == one["rule"]]
    named = named or [one for one in of_rule if one["state"] == "found"] or of_rule
    if len({one["mark"] for one in named}) != 1:
        raise NotFound("review.unknown_finding", id=said[:40])
    return named[0]


def read_decisions(file: Path) -> list[Decision]:
    """All decisions of a file, oldest first.

    Raises:
        NotFound: There is no such file.
        UsageError: A line is no decision; it is named.
    """
    if not file.is_file():
        raise NotFound("review.no_file", path=str(file))
    return parse_decisions(file.read_text("utf-8"), file.name)


def parse_decisions(text: str, name: str) -> list[Decision]:
    """All decisions of a text, oldest first.

    Raises:
        UsageError: A line is no decision; it is named.
    """
    found = []
    for number, line in enumerate(text.splitlines(), 1):
        if not line.strip():
            continue
        try:
            said = json.loads(line)
            made = Decision(**{str(k): v for k, v in said.items()})
        except (ValueError, TypeError, AttributeError) as error:
            raise UsageError("review.decisions.bad", file=name, line=number, why=str(error)[:120]) from None
        found.append(_check(made, name, number))
    return found


def _check(made: Decision, file: str, line: int) -> Decision:
    why = _fault(made)
    if why:
        raise UsageError("review.decisions.bad", file=file, line=line, why=_FIELDS[why])
    return made


_FIELDS = {"kind": f"decision: {', '.join(KINDS)}", "by": "by, on", "reason": "reason", "until": "until"}


def _fault(made: Decision) -> str:
    """What a decision lacks, one of `_FIELDS`; empty if nothing."""
    texts = (made.mark, made.decision, made.by, made.on, made.reason, made.finding, made.rule)
    if not all(isinstance(one, str) for one in texts) or made.decision not in KINDS:
        return "kind"
    if not made.by or not is_day(made.on):
        return "by"
    if made.decision != "confirm" and not made.reason:
        return "reason"
    if (made.decision == "waive") != (made.until is not None) or (made.until and not is_day(str(made.until))):
        return "until"
    return ""


def apply_decisions(findings: Sequence[Finding], decisions: Iterable[Decision], day: str) -> list[Finding]:
    """Findings with what was decided about them and holds on that day."""
    latest = {one.mark: one for one in decisions}
    told = {mark: _told(one) for mark, one in latest.items() if one.holds(day)}
    return [replace(one, decided=told.get(one.mark)) for one in findings]


def _told(one: Decision) -> dict[str, Any]:
    return {"decision": one.decision, "by": one.by, "on": one.on, "reason": one.reason, "until": one.until}


def labels_of(report: Mapping[str, Any], decisions: Iterable[Decision]) -> list[dict[str, Any]]:
    """What people decided, as labels for training: one line a finding, with the stretch and words it is about.

    A confirmed finding is an example of its rule, a rejected one a counter-example; a waiver says nothing of either.
    `asset` is the digest of the media, so that lines become findings of kind `label.review` where it is registered.
    """
    latest = {one.mark: one for one in decisions}
    made = []
    for one in report["findings"]:
        decision = latest.get(one["mark"])
        if decision is None or decision.decision == "waive" or one["state"] != "found":
            continue
        made.append(
            {
                "kind": LABEL, "asset": one["digest"], "start_s": one["start_s"], "end_s": one["end_s"],
                "value": {"rule": one["rule"], "class": "yes" if decision.decision == "confirm" else "no",
                          "words": one["words"], "source": one["source"], "hits": one["hits"]},
                "author": f"person:{decision.by}", "on": decision.on, "reason": decision.reason,
            }
        )  # fmt: skip
    return made


def keep_labels(ws: Workspace, labels: Sequence[Mapping[str, Any]], *, by: str = "", caller: Caller = HOUSE) -> int:
    """Keep labels as findings about the clips of registered assets; how many clips were labelled.

    A clip is labelled with the rules people confirmed in it, and with `none` where all they said of it was no. A clip
    counts when it holds at least half of the stretch, or the stretch covers half of it.

    Raises:
        NotGranted: The caller may not label, or a clip may not be looked at.
    """
    from malan.services.clips.labels import NOTHING, Label, label_each

    said: dict[Clip, set[str]] = {}
    for one in labels:
        for clip in _clips(ws, one):
            names = said.setdefault(clip, set())
            if one["value"]["class"] == "yes":
                names.add(str(one["value"]["rule"]))
    if not said:
        return 0
    told = {clip: [Label(LABEL_SET, name) for name in sorted(names) or [NOTHING]] for clip, names in said.items()}
    return label_each(ws, told, by=by, caller=caller).clips


def _clips(ws: Workspace, one: Mapping[str, Any]) -> list[Clip]:
    """The clips of the library a label is about; none if its media are not registered."""
    if one["asset"] not in ws.library.assets_by_id([one["asset"]]):
        return []
    start_s, end_s = one["start_s"], one["end_s"]
    found = []
    for row in ws.library.clips(one["asset"]):
        shared = min(end_s, row.span.end_s) - max(start_s, row.span.start_s)
        if shared > 0 and shared >= 0.5 * min(end_s - start_s, row.span.end_s - row.span.start_s):
            found.append(row.clip)
    return found
