"""From the files of a request to judged episodes: each measured once, then held against the rules. Start at
`review_episodes`.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from malan.apps.frame import Work
from malan.apps.review.facts import EpisodeFacts
from malan.apps.review.findings import Finding, findings_of
from malan.apps.review.judge import Judged, is_about_submission, judge
from malan.apps.review.names import shown_names
from malan.apps.review.packs import Pack
from malan.core.catalogue import LANGUAGES
from malan.core.errors import MediaError, NotFound, Rejected
from malan.services.files.uploads import is_brought

if TYPE_CHECKING:
    from malan.apps.review.language.values import Moment
    from malan.apps.review.measure.detectors import SpeechReader
    from malan.apps.review.measure.episode import Measured

FILM_ENDINGS = (".mp4", ".mov", ".mkv", ".webm", ".avi", ".ts", ".m4v", ".mxf", ".flv", ".mpg", ".mpeg")
VERSION = "1"
DETECT_SIDE_PX = 512
MEANS = f"review {VERSION}, text {DETECT_SIDE_PX}, no speech, no detectors"


@dataclass(frozen=True, slots=True)
class Reviewed:
    """One episode after review."""

    file: str
    measured: Any
    judged: Sequence[Judged]
    findings: list[Finding]
    key: str  # what the episode is known by from cut to cut
    means: str = MEANS  # with what it was measured


@dataclass
class _Read:
    """What became of the files."""

    names: list[str] = field(default_factory=list)  # of those that were measured, as the report calls them
    measured: list[Measured] = field(default_factory=list)
    refused: list[dict[str, str]] = field(default_factory=list)
    unreadable: list[Path] = field(default_factory=list)
    first: MediaError | None = None


def review_episodes(
    paths: Sequence[str], told: Mapping[str, Any], as_of: str, expected: int | None, pack: Pack, work: Work
) -> tuple[list[Reviewed], list[dict[str, str]]]:
    """Measure and judge every file; what cannot be read is told and the rest goes on.

    Args:
        paths: Files, folders or assets.
        told: The facts of `meta.…`.
        as_of: The day of release.
        expected: How many episodes there should be; None where nobody said.
        pack: The rules.
        work: Where, for whom, and how far.

    Raises:
        NotFound: There is no such file, or none at all.
        MediaError: None of the files can be read.
    """
    from malan.apps.review.series import compare_episodes
    from malan.apps.review.speech import spoken

    files = list(episode_files(paths, work))
    with spoken(work) as speech:
        means = MEANS.replace("no speech", f"speech {speech.model}") if speech else MEANS
        read = _measure_all(files, work, speech, means)
    if not read.measured:
        raise read.first or NotFound("review.no_episodes", paths=", ".join(paths)[:200])
    beside = compare_episodes(read.measured, pack.words, expected, read.unreadable)
    matches = _matches(read.measured, work)
    reviewed = [
        _judged(name, EpisodeFacts(one, told, as_of, series, matched), pack, means)
        for name, one, series, matched in zip(read.names, read.measured, beside, matches, strict=True)
    ]
    work.progress(len(files), len(files), "")
    return reviewed, read.refused


def _measure_all(files: Sequence[Path], work: Work, speech: SpeechReader | None, means: str) -> _Read:
    """Every file measured, or found measured; pictures are fetched again for the report, for a series is long."""
    from malan.apps.review.measure.episode import measure
    from malan.apps.review.measure.kept import find, keep
    from malan.inference.ocr import OnnxTextReader
    from malan.services.outputs.manifests import file_digest

    reader, kept, read = OnnxTextReader(detect_side_px=DETECT_SIDE_PX), measured_folder(work), _Read()
    tell = lambda *_: work.stop_if_asked()  # noqa: E731
    for place, (path, name) in enumerate(zip(files, shown_names(files), strict=True)):
        work.progress(place, len(files), name)
        try:
            digest = file_digest(path)
            found = find(kept, path, digest, means)
            if found is None:
                found = measure(path, reader, digest=digest, speech=speech, progress=tell)
                keep(kept, found, means)
            read.measured.append(replace(found, kept=[]))
            read.names.append(name)
        except MediaError as error:
            read.first = read.first or error
            said = {lang: error.message(lang).replace(str(path), name) for lang in LANGUAGES}  # no folders of ours
            read.refused.append({"file": name, "code": error.code, **said})
            read.unreadable.append(path)
    return read


def _judged(name: str, facts: EpisodeFacts, pack: Pack, means: str) -> Reviewed:
    """One episode held against the rules; what is about the submission is said once, of the first."""
    one, series, day = facts.measured, facts.series, facts.release
    judged = [done for done in judge(pack, facts, day) if series.is_first or not is_about_submission(done.rule)]
    return Reviewed(name, one, judged, findings_of(judged, name, one.digest, day, series.key), series.key, means)


def _matches(measured: Sequence[Measured], work: Work) -> Sequence[tuple[Moment, ...] | None]:
    """Footage of the library in each episode; None where there is no library to compare with."""
    if work.workspace is None:
        return [None] * len(measured)
    from malan.apps.review.series import library_matches
    from malan.services.uses import allowed_terms

    allowed = frozenset(allowed_terms(work.workspace, "publish", caller=work.caller))
    return library_matches(work.workspace, measured, allowed)


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
        elif (work.caller.is_operator or _is_brought(path, work)) and path.is_file():
            yield path
        else:
            yield _asset(said, work)


def _is_brought(path: Path, work: Work) -> bool:
    """Whether it is a file the caller brought along."""
    return work.workspace is not None and is_brought(work.workspace, path, caller=work.caller)


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


def measured_folder(work: Work) -> Path:
    """Where what was measured is kept: by the workspace for every review, without one beside the report."""
    return work.workspace.folder("cache") / "review" if work.workspace else work.out
