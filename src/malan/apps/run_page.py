"""What a run left, as its page shows it: films side by side, files with their sizes, sources second by second.

A report says what an app has to tell; here it becomes words and rows in the reader's language. Start reading at
`run_page`.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from malan.apps.view import FileView, RunView, run_view
from malan.core.catalogue import catalogue, entry
from malan.services.access import Caller
from malan.services.footage.owners import owner_names
from malan.services.spoken import clock, lasting, money, size

if TYPE_CHECKING:
    from malan.workspace import Workspace

_SHAPES = ("16x9", "9x16", "1x1", "4x5")
_COVER = ("cover", "poster")
_JUDGED = ("block", "person", "open")
_FIGURES = ("verdict", *_JUDGED, "length", "shots", "versions", "style", "key", "tempo", "loudness", "peak")


@dataclass(frozen=True, slots=True)
class ShownFile:
    """A file to fetch. `event`: where the log states it; None where it was not published."""

    label: str
    name: str
    size: str
    shape: str  # `9x16` of a film
    output: str
    event: int | None
    is_recalled: bool


@dataclass(frozen=True, slots=True)
class SourceRow:
    """A stretch of what was made, and the footage it stands on; `share` is its part of the length, in percent."""

    at: str
    lasts: str
    clip: str
    file: str
    taken_from: str
    owner: str
    parts: tuple[str, ...]
    share: float


@dataclass(frozen=True, slots=True)
class RunPage:
    """A run as its page shows it. `step`: what is being done now, in words."""

    run: RunView
    step: str
    films: tuple[ShownFile, ...]
    sounds: tuple[ShownFile, ...]
    pictures: tuple[ShownFile, ...]
    files: tuple[ShownFile, ...]
    covers: Mapping[str, str]  # by the shape of the film they are for
    sources: tuple[SourceRow, ...]
    owners: tuple[tuple[str, str, float], ...]  # name, time shown, percent
    figures: tuple[tuple[str, str], ...]
    cost: str
    notes: tuple[str, ...]


def run_page(ws: Workspace, job_id: str, lang: str, *, caller: Caller) -> RunPage:
    """A run, to whoever started it and to operators.

    Raises:
        NotFound: There is none of the caller's.
    """
    run = run_view(ws, job_id, lang, caller=caller)
    told = {one["path"]: one for one in run.report.get("files", ())}
    files = {one.name: _file(one, told.get(one.name, {}), lang) for one in run.files}
    covers = dict(_covers(run.files))
    sources = tuple(_sources(run.report.get("sources", ()), owner_names(ws), lang))
    return RunPage(
        run,
        _named(f"app.step.{run.current}", run.current, lang),
        tuple(files[one.name] for one in run.files if one.is_video),
        tuple(files[one.name] for one in run.files if one.is_sound),
        tuple(files[one.name] for one in run.files if one.is_picture and one.name not in covers.values()),
        tuple(files.values()),
        covers,
        sources,
        tuple(_owners(run.report.get("sources", ()), owner_names(ws), lang)),
        tuple(_figures(run.report, lang)),
        _cost(run.report.get("cost") or {}, lang),
        tuple(str(one) for one in run.report.get("notes", ())),
    )


def cost_text(cost: Mapping[str, Any], lang: str) -> str:
    """What was or would be counted, and what it comes to."""
    units = entry(f"app.meter.{cost['meter']}").text(lang, {"units": f"{cost['units']:g}"})
    return f"{units} · {money(cost['minor'], cost['currency'], lang)}"


def _cost(cost: Mapping[str, Any], lang: str) -> str:
    return cost_text(cost, lang) if cost.get("units") else ""


def _file(file: FileView, told: Mapping[str, Any], lang: str) -> ShownFile:
    label = _named(f"app.file.{file.what}", file.what.replace("x", ":") if file.is_video else file.what, lang)
    output, event = str(told.get("output", "")), told.get("event")
    return ShownFile(label, file.name, size(file.size_bytes), _shape(file), output, event, file.is_recalled)


def _covers(files: Iterable[FileView]) -> Iterable[tuple[str, str]]:
    """Pictures that stand for a film until it plays: of its shape where there is one, else of the first film."""
    first = next((_shape(one) for one in files if one.is_video), "")
    for one in files:
        if one.is_picture and one.what.split("-")[0] in _COVER:
            yield next((shape for shape in _SHAPES if one.what.endswith(shape)), first), one.name


def _shape(file: FileView) -> str:
    """The shape of a film by what it is called: `16x9`, `v2-9x16`."""
    return next((one for one in _SHAPES if file.is_video and file.what.endswith(one)), "")


def _sources(listed: Iterable[Mapping[str, Any]], names: Mapping[str, str], lang: str) -> Iterable[SourceRow]:
    rows = list(listed)
    whole = max((float(one["until_s"]) for one in rows), default=0.0) or 1.0
    for one in rows:
        seconds = float(one["until_s"]) - float(one["at_s"])
        owner = str(one.get("owner", ""))
        parts = tuple(_named(f"app.part.{part}", str(part), lang) for part in one.get("parts", ()))
        yield SourceRow(
            clock(float(one["at_s"])), lasting(seconds, lang), str(one["clip"]), str(one["file"]),
            clock(float(one["from_s"])), names.get(owner, owner[:12]), parts, round(100 * seconds / whole, 2),
        )  # fmt: skip


def _owners(
    listed: Iterable[Mapping[str, Any]], names: Mapping[str, str], lang: str
) -> Iterable[tuple[str, str, float]]:
    """Whose footage it shows, the most first; sound alone shows nothing."""
    seconds: dict[str, float] = {}
    for one in listed:
        if "picture" in one.get("parts", ("picture",)):
            owner = str(one.get("owner", ""))
            seconds[owner] = seconds.get(owner, 0.0) + float(one["until_s"]) - float(one["at_s"])
    whole = sum(seconds.values()) or 1.0
    for owner, lasts in sorted(seconds.items(), key=lambda pair: -pair[1]):
        yield names.get(owner, owner[:12]), lasting(lasts, lang), round(100 * lasts / whole, 1)


def _figures(report: Mapping[str, Any], lang: str) -> Iterable[tuple[str, str]]:
    """What is worth knowing of a film or a piece of music at a glance."""
    counts = report.get("counts") or {}
    said = {
        "verdict": _named(f"app.desk.verdict.{report.get('verdict')}", "", lang) if "verdict" in report else "",
        **{name: str(counts[name]) for name in _JUDGED if name in counts},
        "length": lasting(float(report["seconds"]), lang) if report.get("seconds") else "",
        "shots": str(report.get("shots") or ""),
        "versions": str(report["versions"]) if _more_than_one(report.get("versions")) else "",
        "style": _named(f"app.style.{report.get('style')}", str(report.get("style") or ""), lang),
        "key": str(report.get("key") or ""),
        "tempo": f"{float(report['tempo_bpm']):g}" if report.get("tempo_bpm") else "",
        "loudness": f"{float(report['loudness_lufs']):g} LUFS" if "loudness_lufs" in report else "",
        "peak": f"{float(report['true_peak_dbtp']):g} dBTP" if "true_peak_dbtp" in report else "",
    }
    return ((entry(f"app.figure.{name}").text(lang, {}), said[name]) for name in _FIGURES if said.get(name))


def _more_than_one(value: Any) -> bool:
    return isinstance(value, int) and value > 1


def _named(code: str, fallback: str, lang: str) -> str:
    """A message, or what stands there where nobody wrote one."""
    said = catalogue().get(code)
    return said.text(lang, {}) if said else fallback
