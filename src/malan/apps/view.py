"""Apps as pages show them: cards, a form made from the request, and what a run left. Start reading at `app_form`."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import UnionType
from typing import TYPE_CHECKING, Any, Literal, Union, get_args, get_origin

from pydantic.fields import FieldInfo
from pydantic_core import PydanticUndefined

from malan.apps.builtin import all_apps, app_named
from malan.apps.frame import App, Request
from malan.apps.running import REPORT, run_of
from malan.core.catalogue import catalogue, entry
from malan.core.errors import MalanError, NotFound
from malan.services.access import Caller, require
from malan.services.app_bills import CURRENCY
from malan.services.output_rights import require_output
from malan.services.recall import marks_of
from malan.services.views import Failure

if TYPE_CHECKING:
    from malan.workspace import Workspace

_MEDIA = {
    ".mp4": "video/mp4", ".jpg": "image/jpeg", ".json": "application/json", ".srt": "application/x-subrip",
    ".html": "text/html; charset=utf-8", ".pdf": "application/pdf", ".otio": "application/json",
    ".fcpxml": "application/xml", ".edl": "text/plain; charset=utf-8", ".m4a": "audio/mp4", ".mp3": "audio/mpeg",
    ".wav": "audio/wav", ".flac": "audio/flac", ".mid": "audio/midi", ".png": "image/png",
}  # fmt: skip
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
class Choice:
    """One of several values of a field."""

    value: str
    is_chosen: bool


@dataclass(frozen=True, slots=True)
class FormField:
    """A field of a form: `text`, `area`, `lines`, `number`, `date`, `tick`, `choice` (one of), `ticks` (any of).

    The choices of what may be left unsaid begin with an empty one; `maybe` is that with yes and no.
    """

    name: str
    label: str
    kind: str
    value: str
    choices: tuple[Choice, ...] = ()
    step: str = ""


@dataclass(frozen=True, slots=True)
class FormView:
    """An app with what can be asked of it."""

    card: CardView
    fields: tuple[FormField, ...]
    schema: Mapping[str, Any]


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


def app_cards(lang: str, *, caller: Caller) -> tuple[CardView, ...]:
    """All apps."""
    require(caller, "app.see")
    return tuple(_card(app, lang) for app in all_apps())


def app_form(name: str, lang: str, *, caller: Caller, said: Mapping[str, Sequence[str]] | None = None) -> FormView:
    """The form of an app, filled in with what was said before.

    Raises:
        NotFound: There is no such app.
    """
    require(caller, "app.see")
    app = app_named(name)
    fields = [
        _field(app.card.name, key, field, lang, None if said is None else said.get(key, ()))
        for key, field in _ordered(app.request)
        if caller.is_operator or not _extra(field).get("file")
    ]
    return FormView(_card(app, lang), tuple(fields), app.request.model_json_schema())


def values_of(name: str, said: Mapping[str, Sequence[str]]) -> dict[str, Any]:
    """What a form sent, as values of the request; what was left empty is left out.

    Raises:
        NotFound: There is no such app.
    """
    found: dict[str, Any] = {}
    for key, field in app_named(name).request.model_fields.items():
        values = [value for value in said.get(key, ()) if value.strip()]
        if _kind(field)[0] == "lines":
            values = [line.strip() for value in values for line in value.splitlines() if line.strip()]
        if field.annotation is bool:
            found[key] = bool(values)
        elif get_origin(field.annotation) is tuple:
            found |= {key: tuple(values)} if values else {}
        elif _plain(field) is bool and values:
            found[key] = values[0] == "yes"
        elif values:
            found[key] = int(values[0]) if _is_whole(field) and values[0].lstrip("-").isdigit() else values[0]
    return found


def run_view(ws: Workspace, job_id: str, lang: str, *, caller: Caller) -> RunView:
    """A run, to whoever started it and to operators.

    Raises:
        NotFound: There is none of the caller's.
    """
    job = run_of(ws, job_id, caller=caller)
    name = str(job.spec["app"])
    report = _report(ws, str(job.spec["file"])) if job.state == "done" else {}
    error = Failure.of(MalanError(job.code, **job.values), lang) if job.code else None
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
    title = app_named(name).card.title(lang)
    left = {one["what"] for one in report.get("files", ())}
    state = "stopped" if job.is_stopped else job.state
    has_review = name == "review" and "json" in left
    shown = _without_places(report)
    return RunView(job.id, name, title, state, job.current, error, files, shown, "storyboard" in left, has_review)


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
    for one in _report(ws, str(job.spec["file"])).get("files", ()):
        path = Path(one["path"])
        if path.name == name and path.is_file():
            if one.get("output"):
                require_output(ws, one["output"])
            return path, _MEDIA.get(path.suffix, "application/octet-stream")
    raise NotFound("app.no_run")


def _report(ws: Workspace, folder: str) -> Mapping[str, Any]:
    try:
        found: Mapping[str, Any] = json.loads((ws.folder("exports") / folder / REPORT).read_text("utf-8"))
    except (OSError, ValueError):
        return {}
    return found


def _card(app: App[Any], lang: str) -> CardView:
    card = app.card
    unit = entry(f"app.per.{card.meter}").text(lang, {})
    price = entry("app.price").text(
        lang, {"amount": f"{card.price_minor / 100:.2f}", "currency": CURRENCY, "unit": unit}
    )
    return CardView(card.name, card.title(lang), card.summary(lang), card.mode, price if card.price_minor else "")


def _field(app: str, key: str, field: FieldInfo, lang: str, said: Sequence[str] | None) -> FormField:
    message = catalogue().get(f"app.{app}.{key}") or catalogue().get(f"app.any.{key}")
    label = message.text(lang, {}) if message else key
    default = field.get_default(call_default_factory=True)
    default = "" if default is PydanticUndefined or default is None else default
    kind, choices = _kind(field)
    if kind == "ticks":
        chosen = set(said) if said is not None else set(map(str, default))
        return FormField(key, label, kind, "", tuple(Choice(one, one in chosen) for one in choices))
    if kind == "lines":
        return FormField(key, label, kind, "\n".join(said or map(str, default)))
    value = str(said[0]) if said else str(default)
    if kind == "tick":
        return FormField(key, label, kind, "1" if (bool(said) if said is not None else default) else "")
    if kind in ("choice", "maybe"):
        return FormField(key, label, kind, value, tuple(Choice(one, one == value) for one in choices))
    return FormField(key, label, kind, value, step="1" if _is_whole(field) else "any")


def _kind(field: FieldInfo) -> tuple[str, tuple[str, ...]]:
    """How a field is shown, and what can be chosen."""
    kind, may_be_unsaid = _plain(field), _plain(field) is not field.annotation
    if get_origin(kind) is Literal:
        return "choice", (*([""] if may_be_unsaid else []), *map(str, get_args(kind)))
    if get_origin(kind) is tuple:
        inner = get_args(kind)[0]
        return ("ticks", tuple(map(str, get_args(inner)))) if get_origin(inner) is Literal else ("lines", ())
    if kind is bool:
        return ("maybe", ("", "yes", "no")) if may_be_unsaid else ("tick", ())
    if _extra(field).get("format") == "date":
        return "date", ()
    if kind in (int, float):
        return "number", ()
    longest = next((one.max_length for one in field.metadata if hasattr(one, "max_length")), 0)
    return ("area" if longest > 1000 else "text"), ()


def _is_whole(field: FieldInfo) -> bool:
    kind = _plain(field)
    return kind is int or (get_origin(kind) is Literal and isinstance(get_args(kind)[0], int))


def _plain(field: FieldInfo) -> Any:
    """The type of a field, of what is said where it is said."""
    kind = field.annotation
    if get_origin(kind) not in (Union, UnionType):
        return kind
    said = [one for one in get_args(kind) if one is not type(None)]
    return said[0] if len(said) == 1 else kind


def _ordered(request: type[Request]) -> list[tuple[str, FieldInfo]]:
    """An app's own fields first, then what all apps share."""
    return sorted(request.model_fields.items(), key=lambda one: bool(_extra(one[1]).get("shared")))


def _extra(field: FieldInfo) -> Mapping[str, Any]:
    return field.json_schema_extra if isinstance(field.json_schema_extra, dict) else {}
