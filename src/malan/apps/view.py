"""Apps as pages show them: cards, and what a run left; forms are made by `forms`. Start reading at `run_view`."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from malan.apps.builtin import all_apps, app_named
from malan.apps.frame import App
from malan.apps.queue.runs import run_of
from malan.apps.running import REPORT
from malan.core.catalogue import entry
from malan.core.errors import NotFound
from malan.services.access import Caller, require
from malan.services.jobs.lines import state_of
from malan.services.jobs.queue import DONE, Job, list_jobs
from malan.services.jobs.waiting import unattended
from malan.services.log.proofs import output_receipt, write_receipt
from malan.services.outputs.recall import marks_of
from malan.services.outputs.rights import require_output
from malan.services.settlement.app_bills import CURRENCY
from malan.services.spoken import money
from malan.services.views import Failure

if TYPE_CHECKING:
    from malan.workspace import Workspace

_MEDIA = {
    ".mp4": "video/mp4", ".jpg": "image/jpeg", ".json": "application/json", ".srt": "application/x-subrip",
    ".html": "text/html; charset=utf-8", ".pdf": "application/pdf", ".otio": "application/json",
    ".fcpxml": "application/xml", ".edl": "text/plain; charset=utf-8", ".m4a": "audio/mp4", ".mp3": "audio/mpeg",
    ".wav": "audio/wav", ".flac": "audio/flac", ".mid": "audio/midi", ".png": "image/png",
}  # fmt: skip
_TELLING = ("title", "prompt", "query", "tags", "paths", "file", "clip")
_SOUNDS = (".m4a", ".mp3", ".wav", ".flac")


@dataclass(frozen=True, slots=True)
class CardView:
    """An app to choose."""

    name: str
    title: str
    summary: str
    mode: str
    price: str  # of one unit of its meter; empty where it costs nothing


@dataclass(frozen=True, slots=True)
class RunLine:
    """A run in a list: `about` is what was asked, in the words that tell it from others."""

    job_id: str
    app: str
    title: str
    about: str
    state: str
    at: str


@dataclass(frozen=True, slots=True)
class FileView:
    """A file a run left."""

    what: str
    name: str
    size_bytes: int
    is_video: bool
    is_picture: bool
    is_sound: bool = False
    is_recalled: bool = False  # made with a model that was recalled


@dataclass(frozen=True, slots=True)
class RunView:
    """A run: how far it is, or what it left."""

    job_id: str
    app: str
    title: str
    state: str
    current: str
    error: Failure | None
    files: tuple[FileView, ...]
    report: Mapping[str, Any]
    has_board: bool = False
    has_review: bool = False
    percent: int = 0
    no_worker: Failure | None = None  # it waits, and nobody is there to take it


def app_cards(lang: str, *, caller: Caller) -> tuple[CardView, ...]:
    """All apps."""
    require(caller, "app.see")
    return tuple(card_view(app, lang) for app in all_apps())


def recent_runs(ws: Workspace, lang: str, *, caller: Caller, limit: int = 8) -> tuple[RunLine, ...]:
    """The latest runs of the caller's party; an operator's: of everybody."""
    require(caller, "app.see")
    party_id = None if caller.is_operator else caller.party_id or ""
    jobs, _ = list_jobs(ws, party_id=party_id, limit=limit)
    return tuple(_line(job, lang) for job in jobs)


def _line(job: Job, lang: str) -> RunLine:
    said = next((one for name in _TELLING if (one := job.request.get(name))), "")
    first = ", ".join(map(_shown, said)) if isinstance(said, list | tuple) else _shown(said)
    at = datetime.fromtimestamp(job.created_s, UTC).isoformat(timespec="minutes")
    return RunLine(job.id, job.app, app_named(job.app).card.title(lang), first[:80], state_of(job.state), at)


def _shown(value: object) -> str:
    """Of a file its name."""
    text = str(value)
    return Path(text).name if text.startswith("/") else text


def card_view(app: App[Any], lang: str) -> CardView:
    """An app to choose."""
    card = app.card
    unit = entry(f"app.per.{card.meter}").text(lang, {})
    price = entry("app.price").text(lang, {"amount": money(card.price_minor, CURRENCY, lang), "unit": unit})
    return CardView(card.name, card.title(lang), card.summary(lang), card.mode, price if card.price_minor else "")


def run_view(ws: Workspace, job_id: str, lang: str, *, caller: Caller) -> RunView:
    """A run, to whoever started it and to operators.

    Raises:
        NotFound: There is none of the caller's.
    """
    job = run_of(ws, job_id, caller=caller)
    report = _report(ws, job) if job.state == DONE else {}
    outputs = [one["output"] for one in report.get("files", ()) if one.get("output")]
    recalled = marks_of(ws, outputs) if outputs else {}
    files = tuple(
        FileView(
            one["what"], Path(one["path"]).name, one["size_bytes"],
            Path(one["path"]).suffix == ".mp4", Path(one["path"]).suffix == ".jpg",
            Path(one["path"]).suffix in _SOUNDS, one.get("output", "") in recalled,
        )
        for one in report.get("files", ())
    )  # fmt: skip
    absent = unattended(ws, [job]).get(job.id)
    left = {one["what"] for one in report.get("files", ())}
    return RunView(
        job.id, job.app, app_named(job.app).card.title(lang), state_of(job.state), job.current,
        Failure.of(job.error, lang) if job.error else None, files, _without_places(report),
        "storyboard" in left, job.app == "review" and "json" in left, job.percent,
        Failure.of(absent, lang) if absent else None,
    )  # fmt: skip


def _without_places(report: Mapping[str, Any]) -> dict[str, Any]:
    """A report as others may see it: files by their names, not by where they lie on this machine."""
    files = [{**one, "path": Path(one["path"]).name} for one in report.get("files", ())]
    return {**report, **({"files": files} if files else {})}


def run_file(ws: Workspace, job_id: str, name: str, *, caller: Caller) -> tuple[Path, str]:
    """A file a run left, and its media type; nothing but what its report names.

    Raises:
        NotFound: The run, or the file, is not there.
        NotGranted: Footage it shows was taken back since.
    """
    job = run_of(ws, job_id, caller=caller)
    for one in _report(ws, job).get("files", ()):
        path = Path(one["path"])
        if path.name == name and path.is_file():
            if one.get("output"):
                require_output(ws, one["output"])
            return path, _MEDIA.get(path.suffix, "application/octet-stream")
    raise NotFound("app.no_run")


def run_proof(ws: Workspace, job_id: str, name: str, *, caller: Caller) -> bytes:
    """Proof that a file of a run was published from here: one file that anybody checks offline.

    Whoever may see the run may have it: it says less than the page of the run does.

    Raises:
        NotFound: The run or the file is not there, or it was not published.
    """
    job = run_of(ws, job_id, caller=caller)
    for one in _report(ws, job).get("files", ()):
        if Path(one["path"]).name == name and one.get("output"):
            return write_receipt(output_receipt(ws, one["output"]))
    raise NotFound("app.no_run")


def _report(ws: Workspace, job: Job) -> Mapping[str, Any]:
    try:
        found: Mapping[str, Any] = json.loads((ws.root / job.folder / REPORT).read_text("utf-8"))
    except (OSError, ValueError):
        return {}
    return found
