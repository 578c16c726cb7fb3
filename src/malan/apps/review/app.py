"""The app: a request, a card, and the run from files to a report. Start at `Review.run`."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import replace
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from pydantic import Field, field_validator

from malan.apps.frame import Card, Expected, Made, Request, Work
from malan.apps.review.episodes import VERSION, Reviewed, episode_files, review_episodes
from malan.apps.review.findings import Finding, verdict_of
from malan.apps.review.language.check import is_day
from malan.apps.review.packs import Pack, load_pack
from malan.core.catalogue import say, session_language
from malan.core.errors import MalanError, Rejected, UsageError

if TYPE_CHECKING:
    from malan.apps.review.decisions import Decision


class ReviewRequest(Request):
    """What is to be reviewed, and what the submission says of it. What is not said stays unknown, never false."""

    paths: tuple[str, ...] = Field(
        min_length=1, json_schema_extra={"place": "argument", "stamped": True, "upload": "video"}
    )
    as_of: str = Field(json_schema_extra={"format": "date"})
    pack: str = "cn-microdrama"
    kind: str = Field(default="microdrama", json_schema_extra={"rare": True})
    title: str | None = Field(default=None, max_length=200)
    drama_class: Literal[1, 2, 3] | None = None
    number: str | None = Field(default=None, max_length=100, json_schema_extra={"rare": True})
    platform: str | None = Field(default=None, max_length=100)
    investment: int | None = Field(default=None, ge=0, json_schema_extra={"rare": True})
    special: bool | None = Field(default=None, json_schema_extra={"rare": True})
    ai: bool | None = None
    animation: bool | None = Field(default=None, json_schema_extra={"rare": True})
    child: bool | None = Field(default=None, json_schema_extra={"rare": True})
    rerun: bool | None = Field(default=None, json_schema_extra={"rare": True})
    promo: bool | None = Field(default=None, json_schema_extra={"rare": True})
    filed: bool | None = Field(default=None, json_schema_extra={"rare": True})
    materials_complete: bool | None = Field(default=None, json_schema_extra={"rare": True})
    approved_digest: str | None = Field(default=None, json_schema_extra={"rare": True})
    episodes: int | None = Field(default=None, ge=1, le=1000, json_schema_extra={"rare": True})
    decisions: str | None = Field(default=None, json_schema_extra={"rare": True, "stamped": True})
    previous: str | None = Field(default=None, json_schema_extra={"rare": True})
    language: Literal["zh", "en"] = "zh"
    pdf: bool = Field(default=True, json_schema_extra={"rare": True})

    @field_validator("as_of")
    @classmethod
    def _day(cls, said: str) -> str:
        if not is_day(said):
            raise ValueError(say("review.bad_date", value=said[:20]))
        return said

    @property
    def told(self) -> dict[str, str | float | bool | None]:
        """The facts of `meta.…`."""
        names = (
            "kind", "title", "number", "platform", "investment", "special", "ai", "animation", "child", "rerun",
            "promo", "filed", "materials_complete", "approved_digest",
        )  # fmt: skip
        return {**{name: getattr(self, name) for name in names}, "class": self.drama_class}


class Review:
    """The micro-app."""

    card = Card(
        "review", "infer", meter="input_minute", price_minor=30, needs_workspace=False, is_guarded=False,
        makes_media=False,
    )  # fmt: skip
    request = ReviewRequest

    def expect(self, request: ReviewRequest, work: Work) -> Expected:
        """The length of all files that can be read, by their headers."""
        _check_paths(request, work)
        lengths = (_length(path) for path in episode_files(request.paths, work))
        return Expected(sum(lengths, Fraction(0)), 0)

    def run(self, request: ReviewRequest, work: Work) -> Made:
        """Review episodes and leave `review.html`, `review.json` and, where a browser is, `review.pdf`.

        Raises:
            UsageError: The pack is refused, or the request makes no sense.
            NotFound: A file, a pack or an asset is not there.
            MediaError: None of the files can be read.
        """
        from malan.apps.review.decisions import apply_decisions
        from malan.apps.review.diff import compare_reports
        from malan.apps.review.report import read_report, write_reports

        _check_paths(request, work)
        pack = load_pack(request.pack, work.workspace.folder("packs") if work.workspace else None)
        if not any(rule.in_force(request.as_of) for rule in pack.rules):
            raise UsageError("review.none_in_force", pack=pack.name, day=request.as_of)
        decided = _decided(request.decisions, work) if request.decisions else []
        earlier = read_report(Path(request.previous)) if request.previous else None
        episodes, refused = review_episodes(request.paths, request.told, request.as_of, request.episodes, pack, work)
        episodes = [replace(one, findings=apply_decisions(one.findings, decided, request.as_of)) for one in episodes]
        value = report_value(request, pack, episodes, refused)
        value["diff"] = compare_reports(earlier, value) if earlier else None
        files = write_reports(value, episodes, work, language=request.language, pdf=request.pdf)
        told = {key: value[key] for key in ("pack", "as_of", "verdict", "counts", "not_examined", "refused", "diff")}
        pdf = "made" if "pdf" in files else say("review.no_browser") if request.pdf else "not asked for"
        seconds = sum((Fraction(str(round(one.measured.duration_s, 6))) for one in episodes), Fraction(0))
        return Made(files, {**told, "pdf": pdf, "lines": said_of(value)}, seconds=seconds)


def _length(path: Path) -> Fraction:
    """Seconds; nothing for what cannot be read, which costs nothing."""
    from malan.media.probe import probe

    try:
        return Fraction(probe(path).duration or 0)
    except MalanError:
        return Fraction(0)


def _decided(said: str, work: Work) -> list[Decision]:
    """Decisions of a file, or those that were kept by their digest."""
    from malan.apps.review.decisions import parse_decisions, read_decisions

    if work.workspace is None or not re.fullmatch(r"[0-9a-f]{64}", said):
        return read_decisions(Path(said))
    from malan.services.files.blobs import read_blob

    return parse_decisions(read_blob(work.workspace, said).decode("utf-8", "replace"), said[:12])


def _check_paths(request: ReviewRequest, work: Work) -> None:
    """Files of this machine are named by those who work on it, and by nobody else."""
    is_kept = re.fullmatch(r"[0-9a-f]{64}", request.decisions or "")
    is_path = (request.decisions and not is_kept) or request.previous or request.pack.endswith((".yaml", ".yml"))
    if is_path and not work.caller.is_operator:
        raise Rejected("review.paths_refused")


def report_value(
    request: ReviewRequest, pack: Pack, episodes: Sequence[Reviewed], refused: list[dict[str, str]]
) -> dict[str, Any]:
    """The report as JSON: nothing in it depends on when or where it was made."""
    from malan.apps.review.report.overview import not_examined

    listed = [finding for one in episodes for finding in one.findings]
    active = [one for one in listed if one.state == "found" and not _is_settled(one)]
    counts = {name: sum(one.severity == name for one in active) for name in ("block", "major", "minor", "info")}
    waiting = sum(one.decision == "person" and one.decided is None for one in active)
    counts["person"] = waiting
    said = [finding.to_json() for finding in listed]
    counts["open"] = sum(one.state == "open" and one.decided is None for one in listed)
    return {
        "report": "malan-review",
        "version": VERSION,
        "pack": {
            "name": pack.name, "version": pack.version, "title": dict(pack.title), "digest": pack.digest,
            "extends": list(pack.extends),
        },
        "as_of": request.as_of,
        "told": {key: value for key, value in request.told.items() if value is not None},
        "verdict": verdict_of(said, refused),
        "counts": counts,
        "episodes": [_episode(one) for one in episodes],
        "findings": said,
        "not_examined": not_examined(said),
        "passed": _passed(episodes),
        "documents": [
            {**dict(one.about), "digest": one.digest} for one in sorted(pack.documents.values(), key=lambda d: d.id)
        ],
        "lexicons": {
            name: getattr(one, "digest", "") for (kind, name), one in sorted(pack.words.items()) if kind == "lexicon"
        },
        "refused": refused,
    }  # fmt: skip


def said_of(value: Mapping[str, Any]) -> list[str]:
    """A report in a few lines, for those who do not open it: the verdict, and what was not examined."""
    from malan.apps.review.report.overview import points_of

    lang = session_language()
    verdict = say(f"review.page.verdict.{value['verdict']}", n=points_of(value))
    return [verdict, *(f"– {one[lang]}" for one in value["not_examined"])]


def _passed(episodes: Sequence[Reviewed]) -> list[list[Any]]:
    """Rules that were checked and found nothing in any episode: id and title."""
    states: dict[str, set[str]] = {}
    titles: dict[str, dict[str, str]] = {}
    for one in (judged for episode in episodes for judged in episode.judged):
        states.setdefault(one.rule.id, set()).add(one.verdict.state)
        titles[one.rule.id] = dict(one.rule.title)
    clear = [rule for rule, found in states.items() if "clear" in found and found <= {"clear", "not_applicable"}]
    return [[rule, titles[rule]] for rule in sorted(clear)]


def _is_settled(one: Finding) -> bool:
    return bool(one.decided and one.decided["decision"] in ("reject", "waive"))


def _episode(one: Reviewed) -> dict[str, Any]:
    found = one.measured
    heard = found.heard
    return {
        "file": one.file, "key": one.key, "digest": found.digest, "duration_s": round(found.duration_s, 3),
        "size_px": list(found.size_px), "rate": round(found.rate, 3), "captions": len(found.captions),
        "loudness_lufs": None if heard is None or heard.loudness_lufs is None else round(heard.loudness_lufs, 1),
        "true_peak_dbtp": None if heard is None or heard.true_peak_dbtp is None else round(heard.true_peak_dbtp, 1),
        "has_sound": found.has_sound, "has_picture": found.has_picture,
        "rules": {"clear": sum(j.verdict.state == "clear" for j in one.judged),
                  "found": sum(j.verdict.state == "found" for j in one.judged),
                  "open": sum(j.verdict.state == "unknown" for j in one.judged)},
    }  # fmt: skip


APP = Review()

__all__ = ["APP", "Review", "ReviewRequest"]
