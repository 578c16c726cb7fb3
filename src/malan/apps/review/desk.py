"""The reviewer's desk: the findings of a report one by one, what a person decides of each, and the report issued anew.

    review.json ─▶ points, with what was decided ─ decide ─▶ reviews/<work>.jsonl (only added to) ─▶ labels
                                                                     └─ issue ─▶ a run with these decisions

Decisions belong to a work, not to a run: a finding of a later cut that has the same mark finds them again. Start
reading at `desk_view`.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from malan.apps.queue.runs import start_app
from malan.apps.review.decisions import Decision, decide, decide_alike, keep_labels, labels_of, read_decisions
from malan.apps.review.findings import verdict_of
from malan.apps.review.report import read_report
from malan.apps.review.report.page import clock, fact, lacking
from malan.core.errors import MalanError, NotFound
from malan.core.ids import digest_record
from malan.services.access import HOUSE, Caller, require
from malan.services.files.blobs import keep_bytes
from malan.services.jobs.queue import get_job

if TYPE_CHECKING:
    from malan.services.jobs.queue import Job
    from malan.workspace import Workspace

SHOWN = ("waiting", "decided", "open", "all")
PAGE = 120
_ORDER = {"block": 0, "major": 1, "minor": 2, "info": 3}


@dataclass(frozen=True, slots=True)
class Mark:
    """A piece of the words of a finding; `is_hit` where a word of a list stands."""

    text: str
    is_hit: bool


@dataclass(frozen=True)
class Point:
    """A finding as the desk shows it."""

    id: str
    said: Mapping[str, Any]
    title: str
    at: str  # 01:23.40
    until: str
    is_whole: bool  # about the episode, not a moment of it
    words: tuple[Mark, ...]
    box: tuple[float, float, float, float] | None  # left, top, width, height in percent of the picture
    picture: str | None
    decided: Mapping[str, Any] | None
    fix: str = ""
    missing: tuple[str, ...] = ()
    facts: tuple[str, ...] = ()  # what was measured, and how a word is disguised


@dataclass(frozen=True)
class DeskView:
    """A report on the desk: which points are listed, which one is open, and how far the work is."""

    run: str
    title: str
    pack: str
    as_of: str
    show: str
    counts: Mapping[str, int]
    listed: tuple[Point, ...]
    first: int  # place of the first listed point among those shown
    total: int
    point: Point | None
    before: str | None
    after: str | None
    by: str
    verdict: str
    files: tuple[str, ...] = field(default=())
    alike: int = 0  # undecided points of the same rule and kind, the open one among them


def desk_view(
    ws: Workspace, run: str, lang: str, *, show: str = "waiting", finding: str = "", caller: Caller
) -> DeskView:
    """The report of a run, for whoever may decide.

    Raises:
        NotGranted: The caller is no reviewer.
        NotFound: There is no such run, or it left no report.
    """
    job, report = _opened(ws, run, caller)
    decisions = _decisions(ws, job, report)
    points = [_point(one, report, decisions, lang) for one in _sorted(report["findings"])]
    show = show if show in SHOWN else "waiting"
    chosen = [one for one in points if _is_shown(one, show) or one.id == finding]
    place = next((n for n, one in enumerate(chosen) if one.id == finding), 0)
    first = max(0, min(place - PAGE // 2, len(chosen) - PAGE))
    return DeskView(
        job.id, str(report["told"].get("title") or ""), report["pack"]["title"][lang], report["as_of"], show,
        _counts(points), tuple(chosen[first : first + PAGE]), first, len(chosen),
        chosen[place] if chosen else None,
        chosen[place - 1].id if chosen and place else None,
        chosen[place + 1].id if place + 1 < len(chosen) else None,
        caller.name or caller.login, _verdict(points, report), tuple(one["file"] for one in report["episodes"]),
        _alike(points, chosen[place]) if chosen else 0,
    )  # fmt: skip


def decide_point(
    ws: Workspace, run: str, finding: str, decision: str, *, by: str, reason: str = "", until: str | None = None,
    alike: bool = False, caller: Caller,
) -> list[Decision]:  # fmt: skip
    """Note what a person decided; it becomes a label at once where the media are registered.

    Args:
        by: Who; a caller that is signed in decides under its own name, whatever is said here.
        alike: Whether the same holds for all undecided points of its rule that are like it.

    Raises:
        NotGranted: The caller is no reviewer.
        NotFound: There is no such run, report or finding.
        UsageError: A rejection without reason, a waiver without a day.
    """
    job, report = _opened(ws, run, caller)
    who = (caller.name or caller.login) if caller.via in ("session", "key") else by
    place, today = _place(ws, job, report), datetime.now(UTC).date().isoformat()
    taken = _decisions(ws, job, report)
    left = {
        **report,
        "findings": [one for one in report["findings"] if one["mark"] not in taken or one["id"] == finding],
    }
    said: dict[str, Any] = {"by": who or "–", "on": today, "reason": reason, "until": until or None}
    made = (
        decide_alike(left, place, finding, decision, **said)
        if alike
        else [decide(report, place, finding, decision, **said)]
    )
    keep_labels(ws, labels_of(report, made), caller=replace(HOUSE, party_id=caller.party_id))
    return made


def issue(ws: Workspace, run: str, *, caller: Caller) -> str:
    """Issue the report anew with all that was decided; the job. Nothing is measured again.

    Raises:
        NotGranted: The caller is no reviewer.
        NotFound: There is no such run.
    """
    job, report = _opened(ws, run, caller)
    place = _place(ws, job, report)
    data = place.read_bytes() if place.is_file() else b""
    values = {key: one for key, one in job.request.items() if one is not None and key != "decisions"}
    return start_app(ws, "review", {**values, "decisions": keep_bytes(ws, data)}, caller=caller)


def picture_of(ws: Workspace, run: str, name: str, *, caller: Caller) -> Path:
    """A picture of a report.

    Raises:
        NotFound: It is not there.
    """
    job, report = _opened(ws, run, caller)
    known = {str(one.get("picture")) for one in report["findings"] if one.get("picture")}
    path = _folder(ws, job) / "pictures" / name
    if f"pictures/{name}" not in known or not path.is_file():
        raise NotFound("app.no_run")
    return path


def _opened(ws: Workspace, run: str, caller: Caller) -> tuple[Job, dict[str, Any]]:
    require(caller, "review")
    try:
        job = get_job(ws, run)
        if job.app != "review":
            raise NotFound("app.no_run")
        return job, read_report(_folder(ws, job) / "review.json")
    except MalanError:
        raise NotFound("app.no_run") from None


def _folder(ws: Workspace, job: Job) -> Path:
    return ws.root / job.folder


def _place(ws: Workspace, job: Job, report: Mapping[str, Any]) -> Path:
    """The file of decisions of a work: by its title, and without one by the run."""
    work = str(report["told"].get("title") or "").strip() or Path(job.folder).name
    return ws.folder("reviews") / f"{digest_record('review.work', work)[:24]}.jsonl"


def _decisions(ws: Workspace, job: Job, report: Mapping[str, Any]) -> dict[str, Decision]:
    place = _place(ws, job, report)
    listed = read_decisions(place) if place.is_file() else []
    return {one.mark: one for one in listed if one.holds(report["as_of"])}


def _sorted(findings: Sequence[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
    """As a person goes through them: by episode, then time; what is open comes last."""
    order = {name: n for n, name in enumerate(dict.fromkeys(one["episode"] for one in findings))}
    return sorted(findings, key=lambda one: (one["state"] != "found", order[one["episode"]], one["start_s"]))


def _point(one: Mapping[str, Any], report: Mapping[str, Any], decisions: Mapping[str, Decision], lang: str) -> Point:
    episode = next((ep for ep in report["episodes"] if ep["file"] == one["episode"]), None)
    length = float(episode["duration_s"]) if episode else 0.0
    made = decisions.get(one["mark"])
    decided = (
        {"decision": made.decision, "by": made.by, "on": made.on, "reason": made.reason, "until": made.until}
        if made
        else one.get("decided")
    )
    return Point(
        one["id"], one, one["title"][lang], clock(one["start_s"]), clock(one["end_s"]),
        one["state"] == "open" or one["end_s"] - one["start_s"] >= length - 0.01, _words(one["words"], one["hits"]),
        _box(one["box"], episode["size_px"] if episode else (0, 0)),
        str(one["picture"]).rpartition("/")[2] if one.get("picture") else None,
        decided, (one["fix"] or {}).get(lang, ""), tuple(lacking(name)[lang] for name in one["missing"]),
        tuple(told[lang] for told in (fact(name, value) for name, value in one["measured"].items()) if told),
    )  # fmt: skip


def _alike(points: Sequence[Point], point: Point) -> int:
    kind = (point.said["rule"], point.said["state"])
    return sum((one.said["rule"], one.said["state"]) == kind and one.decided is None for one in points)


def _is_shown(one: Point, show: str) -> bool:
    is_open = bool(one.said["state"] == "open")
    if show == "open":
        return is_open
    if show == "decided":
        return one.decided is not None
    return show == "all" or (_is_waiting(one) and not is_open)


def _is_waiting(one: Point) -> bool:
    return one.decided is None and bool(one.said["state"] == "found")


def _counts(points: Sequence[Point]) -> dict[str, int]:
    counts: Counter[str] = Counter()
    for one in points:
        counts["all"] += 1
        for show in SHOWN[:3]:
            counts[show] += _is_shown(one, show)
        if one.said["state"] == "found" and one.decided is None:
            counts[one.said["severity"]] += 1
    return {name: counts[name] for name in (*SHOWN, *_ORDER)}


def _verdict(points: Sequence[Point], report: Mapping[str, Any]) -> str:
    """As the report says it, with what was decided since."""
    return verdict_of([{**one.said, "decided": one.decided} for one in points], report["refused"])


def _words(words: str, hits: Sequence[Sequence[Any]]) -> tuple[Mark, ...]:
    made, at = [], 0
    for start, end, _ in sorted(hits, key=lambda hit: (hit[0], hit[1])):
        if start >= at:
            made += [Mark(words[at:start], False), Mark(words[start:end], True)]
            at = end
    return tuple(one for one in (*made, Mark(words[at:], False)) if one.text)


def _box(box: Sequence[int] | None, size: Sequence[int]) -> tuple[float, float, float, float] | None:
    if not box or not size[0] or not size[1]:
        return None
    left, top, right, bottom = box
    return (
        round(100 * left / size[0], 2), round(100 * top / size[1], 2),
        round(100 * (right - left) / size[0], 2), round(100 * (bottom - top) / size[1], 2),
    )  # fmt: skip
