"""What a review says: findings and open points, as plain records with stable ids. Start at `Finding`, `findings_of`.

A finding is known again in a later cut by its `mark`: rule, episode, words, and where nothing is said, the order among
its like; times may move, and so may the name of the file (see `names`).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any, Literal

from malan.apps.review.judge import Judged
from malan.apps.review.language.evaluate import plain
from malan.apps.review.packs import Rule
from malan.core.ids import digest_record

State = Literal["found", "open"]


@dataclass(frozen=True)
class Finding:
    """One point of a report."""

    id: str
    mark: str
    rule: str
    rule_version: str
    pack: str
    state: State
    severity: str
    decision: str
    title: dict[str, str]
    fix: dict[str, str]
    cites: list[dict[str, str]]
    episode: str  # file name
    digest: str  # of the media
    start_s: float
    end_s: float
    source: str = ""
    words: str = ""
    hits: list[list[Any]] = field(default_factory=list)
    box: list[int] | None = None
    height_share: float | None = None
    measured: dict[str, Any] = field(default_factory=dict)
    confidence: float | None = None
    missing: list[str] = field(default_factory=list)
    picture: str | None = None  # file beside the report
    picture_digest: str | None = None  # of that file, so that the signature holds for it too
    decided: dict[str, Any] | None = None  # by a person, see decisions.py

    def to_json(self) -> dict[str, Any]:
        """Plain JSON."""
        return asdict(self)


def findings_of(judged: Sequence[Judged], episode: str, digest: str, day: str, key: str = "") -> list[Finding]:
    """What rules found in an episode, and what stays open, in the order of the pack, then of time.

    Args:
        episode: Name of the file.
        digest: Of the file.
        day: The day it is judged as of.
        key: What the episode is known by from cut to cut; the name of the file without one.
    """
    about = _About(episode, digest, key or episode, day)
    found: list[Finding] = []
    order: Counter[str] = Counter()
    for one in judged:
        rule, verdict = one.rule, one.verdict
        if verdict.state == "unknown":
            found.append(_finding(rule, about, "open", {"missing": sorted(verdict.missing)}, "open"))
        for moment in verdict.moments if verdict.state == "found" else ():
            said = {
                "start_s": round(moment.start_s, 3), "end_s": round(moment.end_s, 3), "source": moment.source,
                "words": moment.text, "hits": [list(hit) for hit in moment.hits],
                "box": list(moment.box) if moment.box else None,
                "height_share": None if moment.height_share is None else round(moment.height_share, 4),
                "measured": {**dict(moment.detail), **{k: _rounded(v) for k, v in verdict.facts}},
                "confidence": moment.confidence, "missing": sorted(verdict.missing),
            }  # fmt: skip
            # words a rule of the whole episode only shows are illustration: the next cut has others
            is_said = rule.find is not None or bool(moment.hits)
            like = f"{rule.id} {plain(moment.text)}" if is_said else rule.id
            order[like] += 1
            found.append(_finding(rule, about, "found", said, f"{like} {order[like]}"))
    return found


def verdict_of(findings: Sequence[Mapping[str, Any]], refused: Sequence[object]) -> str:
    """What a report comes to; what nobody could check is not passed, it waits for a person.

    `block`: something the machine decides, or a person confirmed, forbids it, or a file cannot be read. `person`: a
    point waits for a decision, found or open. `major`: there are faults, none of which forbids it. `clear`: none.
    """
    decisions = [(one, (one["decided"] or {}).get("decision")) for one in findings]
    sure = [
        one
        for one, made in decisions
        if made == "confirm" or (made is None and one["state"] == "found" and one["decision"] == "machine")
    ]
    if refused or any(one["severity"] == "block" for one in sure):
        return "block"
    if any(made is None and (one["state"] == "open" or one["decision"] == "person") for one, made in decisions):
        return "person"
    return "major" if sure else "clear"


def _rounded(value: Any) -> Any:
    return round(value, 3) if isinstance(value, float) else value


@dataclass(frozen=True, slots=True)
class _About:
    """Which episode, and as of when."""

    episode: str
    digest: str
    key: str
    day: str


def _finding(rule: Rule, about: _About, state: State, said: dict[str, Any], like: str) -> Finding:
    said = {"start_s": 0.0, "end_s": 0.0, **said}
    mark = digest_record("review.mark", [rule.id, about.key, state, like])[:20]
    place = [str(said["start_s"]), str(said["end_s"]), said.get("words", "")]
    identity = digest_record(
        "review.finding", [rule.id, rule.version, about.digest, about.episode, state, *place, like]
    )[:20]
    cites = [
        {
            "text": one.document.id, "title": one.document.title, "title_en": one.document.about["title_en"],
            "number": one.document.about["number"], "clause": one.clause, "label": one.label, "quote": one.quote,
            "wording": one.document.about["wording"], "standing": one.document.about["standing"],
            "source": one.document.about["source"], "digest": one.document.digest,
        }
        for one in rule.cites_on(about.day)
    ]  # fmt: skip
    return Finding(
        identity, mark, rule.id, rule.version, rule.pack, state, rule.severity, rule.decision, dict(rule.title),
        dict(rule.fix), cites, about.episode, about.digest, **said,
    )  # fmt: skip
