"""The app: a request, a card, and the run from files to a report. Start at `Review.run`."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from pydantic import Field, field_validator

from malan.apps.frame import Card, Expected, Made, Request, Work
from malan.apps.review.facts import EpisodeFacts
from malan.apps.review.findings import Finding, findings_of
from malan.apps.review.judge import Judged, is_about_submission, judge
from malan.apps.review.language.check import is_day
from malan.apps.review.packs import Pack, load_pack
from malan.core.catalogue import LANGUAGES, say
from malan.core.errors import MalanError, MediaError, NotFound, Rejected

if TYPE_CHECKING:
    from malan.apps.review.decisions import Decision

FILM_ENDINGS = (".mp4", ".mov", ".mkv", ".webm", ".avi", ".ts", ".m4v", ".mxf", ".flv", ".mpg", ".mpeg")
VERSION = "1"
DETECT_SIDE_PX = 512
MEANS = f"review {VERSION}, text {DETECT_SIDE_PX}, no speech, no detectors"


class ReviewRequest(Request):
    """What is to be reviewed, and what the submission says of it. What is not said stays unknown, never false."""

    paths: tuple[str, ...] = Field(min_length=1, json_schema_extra={"place": "argument", "stamped": True})
    as_of: str = Field(json_schema_extra={"format": "date"})
    pack: str = "cn-microdrama"
    kind: str = Field(default="microdrama", json_schema_extra={"rare": True})
    title: str | None = None
    drama_class: Literal[1, 2, 3] | None = None
    number: str | None = Field(default=None, json_schema_extra={"rare": True})
    platform: str | None = None
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


@dataclass(frozen=True, slots=True)
class Reviewed:
    """One episode after review."""

    file: str
    measured: Any
    judged: Sequence[Judged]
    findings: list[Finding]
    means: str = MEANS  # with what it was measured


class Review:
    """The micro-app."""

    card = Card("review", "infer", meter="input_minute", price_minor=30, needs_workspace=False, is_guarded=False)
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
        pack = load_pack(request.pack)
        decided = _decided(request.decisions, work) if request.decisions else []
        earlier = read_report(Path(request.previous)) if request.previous else None
        episodes, refused = review_episodes(request, work, pack)
        episodes = [replace(one, findings=apply_decisions(one.findings, decided, request.as_of)) for one in episodes]
        value = report_value(request, pack, episodes, refused)
        value["diff"] = compare_reports(earlier, value) if earlier else None
        files = write_reports(value, episodes, work, language=request.language, pdf=request.pdf)
        told = {key: value[key] for key in ("pack", "as_of", "verdict", "counts", "refused", "diff")}
        pdf = "made" if "pdf" in files else say("review.no_browser") if request.pdf else "not asked for"
        seconds = sum((Fraction(str(round(one.measured.duration_s, 6))) for one in episodes), Fraction(0))
        return Made(files, {**told, "pdf": pdf}, seconds=seconds)


def _length(path: Path) -> Fraction:
    """Seconds; nothing for what cannot be read, which costs nothing."""
    from malan.media.probe import probe

    try:
        return Fraction(probe(path).duration or 0)
    except MalanError:
        return Fraction(0)


def review_episodes(request: ReviewRequest, work: Work, pack: Pack) -> tuple[list[Reviewed], list[dict[str, str]]]:
    """Measure and judge every file; what cannot be read is told and the rest goes on."""
    from malan.apps.review.measure.episode import measure
    from malan.apps.review.measure.kept import find, keep
    from malan.apps.review.series import compare_episodes, library_matches
    from malan.apps.review.speech import spoken
    from malan.inference.ocr import OnnxTextReader
    from malan.services.outputs import file_digest

    files = list(episode_files(request.paths, work))
    reader, measured, refused = OnnxTextReader(detect_side_px=DETECT_SIDE_PX), [], []
    first: MalanError | None = None
    kept = measured_folder(work)
    with spoken(work) as speech:
        means = MEANS.replace("no speech", f"speech {speech.model}") if speech else MEANS
        for place, path in enumerate(files):
            work.progress(place, len(files), path.name)
            try:
                digest = file_digest(path)
                found = find(kept, path, digest, means)
                if found is None:
                    tell = lambda *_: work.stop_if_asked()  # noqa: E731
                    found = measure(path, reader, digest=digest, speech=speech, progress=tell)
                    keep(kept, found, means)
                measured.append(replace(found, kept=[]))  # pictures are fetched again for the report: a series is long
            except MediaError as error:
                first = first or error
                said = {lang: error.message(lang) for lang in LANGUAGES}
                refused.append({"file": path.name, "code": error.code, **said})
    if not measured:
        raise first or NotFound("review.no_episodes", paths=", ".join(request.paths)[:200])
    series = compare_episodes(measured, pack.words, request.episodes)
    allowed = _may_be_shown(work)
    reviewed = []
    for one, beside in zip(measured, series, strict=True):
        matches = library_matches(work.workspace, one, allowed) if work.workspace else None
        facts = EpisodeFacts(one, request.told, request.as_of, beside, matches)
        judged = [
            done for done in judge(pack, facts, request.as_of) if beside.is_first or not is_about_submission(done.rule)
        ]
        reviewed.append(
            Reviewed(one.path.name, one, judged, findings_of(judged, one.path.name, one.digest, request.as_of), means)
        )
    work.progress(len(files), len(files), "")
    return reviewed, refused


def _may_be_shown(work: Work) -> frozenset[str]:
    """The terms of the library that let footage go into something published."""
    if work.workspace is None:
        return frozenset()
    from malan.services.uses import allowed_terms

    return frozenset(allowed_terms(work.workspace, "publish", caller=work.caller))


def episode_files(paths: Sequence[str], work: Work) -> Iterator[Path]:
    """The files of a request in the order of a reader: 2 before 10.

    Raises:
        NotFound: A path is no file and no asset.
        Rejected: A caller from outside names a path of this machine.
    """
    for said in paths:
        path = Path(said)
        if work.caller.is_operator and path.is_dir():
            listed = [one for one in path.iterdir() if one.is_file() and one.suffix.lower() in FILM_ENDINGS]
            if not listed:
                raise NotFound("review.no_episodes", paths=said[:200])
            yield from sorted(listed, key=lambda one: _natural(one.name))
        elif work.caller.is_operator and path.is_file():
            yield path
        else:
            yield _asset(said, work)


def _decided(said: str, work: Work) -> list[Decision]:
    """Decisions of a file, or those that were kept by their digest."""
    from malan.apps.review.decisions import parse_decisions, read_decisions

    if work.workspace is None or not re.fullmatch(r"[0-9a-f]{64}", said):
        return read_decisions(Path(said))
    from malan.services.blobs import read_blob

    return parse_decisions(read_blob(work.workspace, said).decode("utf-8", "replace"), said[:12])


def measured_folder(work: Work) -> Path:
    """Where what was measured is kept: by the workspace for every review, without one beside the report."""
    return work.workspace.folder("cache") / "review" if work.workspace else work.out


def _check_paths(request: ReviewRequest, work: Work) -> None:
    """Files of this machine are named by those who work on it, and by nobody else."""
    is_kept = re.fullmatch(r"[0-9a-f]{64}", request.decisions or "")
    is_path = (request.decisions and not is_kept) or request.previous or request.pack.endswith((".yaml", ".yml"))
    if is_path and not work.caller.is_operator:
        raise Rejected("review.paths_refused")


def _asset(said: str, work: Work) -> Path:
    from malan.services.uses import LOOKING, require_use, visible_asset

    if not re.fullmatch(r"[0-9a-f]{6,64}", said):
        if work.caller.is_operator:
            raise NotFound("review.no_file", path=said[:200])
        raise Rejected("review.paths_refused")
    if work.workspace is None:
        raise NotFound("review.no_file", path=said[:200])
    row = visible_asset(work.workspace, said, work.caller)
    require_use(work.workspace, row.asset.terms_id, LOOKING, said[:12], caller=work.caller)
    for location in row.locations:
        if Path(location.path).is_file():
            return Path(location.path)
    raise NotFound("review.no_file", path=said[:200])


def _natural(name: str) -> list[tuple[int, int | str]]:
    return [(0, int(part)) if part.isdigit() else (1, part.casefold()) for part in re.split(r"(\d+)", name) if part]


def report_value(
    request: ReviewRequest, pack: Pack, episodes: Sequence[Reviewed], refused: list[dict[str, str]]
) -> dict[str, Any]:
    """The report as JSON: nothing in it depends on when or where it was made."""
    listed = [finding for one in episodes for finding in one.findings]
    active = [one for one in listed if one.state == "found" and not _is_settled(one)]
    counts = {name: sum(one.severity == name for one in active) for name in ("block", "major", "minor", "info")}
    waiting = sum(one.decision == "person" and one.decided is None for one in active)
    counts["person"] = waiting
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
        "verdict": _verdict(active, refused),
        "counts": counts,
        "episodes": [_episode(one) for one in episodes],
        "findings": [finding.to_json() for finding in listed],
        "passed": _passed(episodes),
        "documents": [
            {**dict(one.about), "digest": one.digest} for one in sorted(pack.documents.values(), key=lambda d: d.id)
        ],
        "lexicons": {
            name: getattr(one, "digest", "") for (kind, name), one in sorted(pack.words.items()) if kind == "lexicon"
        },
        "refused": refused,
    }  # fmt: skip


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


def _verdict(active: Sequence[Finding], refused: Sequence[object]) -> str:
    """block: something the machine decides, or a person confirmed, forbids it; else what is left to do."""
    sure = [one for one in active if one.decision == "machine" or (one.decided or {}).get("decision") == "confirm"]
    if any(one.severity == "block" for one in sure) or refused:
        return "block"
    if any(one.decision == "person" and one.decided is None for one in active):
        return "person"
    return "major" if sure else "clear"


def _episode(one: Reviewed) -> dict[str, Any]:
    found = one.measured
    heard = found.heard
    return {
        "file": one.file, "digest": found.digest, "duration_s": round(found.duration_s, 3),
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
