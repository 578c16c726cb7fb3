"""The form of an app, made from its request: what most need first, the rest apart. Start reading at `app_form`.

Field types become kinds of input; short names, choices and the sentence below a field come from the messages
(`form.…`). What is sent back is read by `values_of`; whether it makes sense is said by the request itself.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from types import UnionType
from typing import TYPE_CHECKING, Any, Literal, Union, get_args, get_origin

from pydantic.fields import FieldInfo
from pydantic_core import PydanticUndefined

from malan.apps.builtin import app_named
from malan.apps.frame import BY_MACHINE
from malan.apps.view import CardView, card_view
from malan.core.catalogue import catalogue
from malan.services.access import Caller, require
from malan.services.files.uploads import PREFIX

if TYPE_CHECKING:
    from malan.apps.frame import Request
    from malan.workspace import Workspace

_WITH_HELP = ("text", "area", "lines", "number", "date")
_LONG = 1000  # characters a line of text no longer serves


@dataclass(frozen=True, slots=True)
class Choice:
    """One of several values of a field."""

    value: str
    label: str
    is_chosen: bool


@dataclass(frozen=True, slots=True)
class FormField:
    """A field of a form: `text`, `area`, `lines`, `number`, `date`, `tick`, `choice` (one of), `ticks` (any), `file`.

    The choices of what may be left unsaid begin with an empty one; `maybe` is that with yes and no. Those of a field
    that takes files (`upload` says of which kind) are the ones brought along before.
    """

    name: str
    label: str
    help: str
    kind: str
    value: str
    choices: tuple[Choice, ...] = ()
    step: str = ""
    least: str = ""
    most: str = ""
    longest: int = 1000
    is_needed: bool = False
    upload: str = ""


@dataclass(frozen=True, slots=True)
class FormView:
    """An app with what can be asked of it. `is_open`: something among the rarer fields was said."""

    card: CardView
    fields: tuple[FormField, ...]
    rare: tuple[FormField, ...]
    is_open: bool
    schema: Mapping[str, Any]


def app_form(name: str, lang: str, *, caller: Caller, said: Mapping[str, Sequence[str]] | None = None) -> FormView:
    """The form of an app, filled in with what was said before.

    Raises:
        NotFound: There is no such app.
    """
    require(caller, "app.see")
    app = app_named(name)
    shown = [one for one in app.request.model_fields.items() if caller.is_operator or _is_for_all(one[1])]
    fresh = {key: _field(name, key, field, lang, None, caller) for key, field in shown}
    fields = fresh
    if said is not None:
        fields = {key: _field(name, key, field, lang, said.get(key, ()), caller) for key, field in shown}
    is_rare = {key: bool(_extra(field).get("rare")) for key, field in shown}
    rare = tuple(one for key, one in fields.items() if is_rare[key])
    usual = tuple(one for key, one in fields.items() if not is_rare[key])
    is_open = any(one != fresh[one.name] for one in rare)
    return FormView(card_view(app, lang), usual, rare, is_open, app.request.model_json_schema())


def needs_code(ws: Workspace, name: str) -> bool:
    """Whether an app can make nothing until an operator has written down the provider's code."""
    card = app_named(name).card
    is_by_machine = card.is_labelled or card.mode in BY_MACHINE
    return card.makes_media and is_by_machine and not ws.settings.producer_code


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


def said_by(request: Mapping[str, Any]) -> dict[str, list[str]]:
    """The values of a request as a form would send them: a run can be asked for again, with other words."""
    return {name: _as_said(value) for name, value in request.items() if value is not None}


def _as_said(value: Any) -> list[str]:
    if isinstance(value, bool):
        return ["yes"] if value else ["no"]
    if isinstance(value, list | tuple):
        return [_shortest(one) for one in value]
    return [_shortest(value)] if value != "" else []


def is_rare(request: type[Request], name: str) -> bool:
    """Whether a field is for few, and shown apart."""
    return bool(_extra(request.model_fields[name]).get("rare"))


def _is_for_all(field: FieldInfo) -> bool:
    """Files of this machine are named by those who work on it; all others bring theirs along."""
    return not _extra(field).get("file") or bool(_extra(field).get("upload"))


def uploads_of(name: str) -> frozenset[str]:
    """The fields of an app that take files somebody brings along."""
    return frozenset(key for key, field in app_named(name).request.model_fields.items() if _extra(field).get("upload"))


def _field(
    app: str, key: str, field: FieldInfo, lang: str, said: Sequence[str] | None, caller: Caller
) -> FormField:  # fmt: skip
    upload = str(_extra(field).get("upload") or "")
    brought = [one for one in said or () if one.startswith(PREFIX)] if upload else []
    said = [one for one in said if one not in brought] if said is not None else None
    kind, values = _kind(field)
    value, choices = _value(key, field, lang, kind, values, said)
    if upload:
        choices = tuple(Choice(one, one.rpartition("/")[2], is_chosen=True) for one in brought)
        kind = kind if caller.is_operator or not _extra(field).get("file") else "file"
    least, most = _bounds(field)
    return FormField(
        key, _label(app, key, lang), _help(app, key, lang, kind), kind, value, choices,
        step="1" if _is_whole(field) else "any", least=least, most=most, longest=_longest(field) or _LONG,
        is_needed=field.is_required() and not upload, upload=upload,
    )  # fmt: skip


def _value(
    key: str, field: FieldInfo, lang: str, kind: str, values: Sequence[str], said: Sequence[str] | None
) -> tuple[str, tuple[Choice, ...]]:
    """What a field holds, and what can be chosen."""
    default = field.get_default(call_default_factory=True)
    default = "" if default is PydanticUndefined or default is None else default
    if kind == "ticks":
        chosen = set(said) if said is not None else set(map(str, default))
        return "", tuple(Choice(one, _choice(key, one, lang), one in chosen) for one in values)
    if kind == "lines":
        return "\n".join(said or map(str, default)), ()
    if kind == "tick":
        return ("1" if (list(said) not in ([], ["no"]) if said is not None else default) else ""), ()
    value = str(said[0]) if said else _shortest(default)
    return value, tuple(Choice(one, _choice(key, one, lang), one == value) for one in values)


def _label(app: str, key: str, lang: str) -> str:
    said = catalogue()
    message = said.get(f"form.{app}.{key}") or said.get(f"form.{key}")
    return message.text(lang, {}) if message else key.replace("_", " ")


def _help(app: str, key: str, lang: str, kind: str) -> str:
    """The sentence below a field; where there is something to choose, only one that was written for it. None that
    says the label again."""
    said = catalogue()
    own = said.get(f"form.help.{app}.{key}") or said.get(f"form.help.{key}")
    long = (said.get(f"app.{app}.{key}") or said.get(f"app.any.{key}")) if kind in _WITH_HELP else None
    message = own or long
    text = message.text(lang, {}) if message else ""
    return "" if text.rstrip("。.").casefold() in _label(app, key, lang).casefold() else text


def _choice(key: str, value: str, lang: str) -> str:
    message = catalogue().get(f"form.choice.{key}.{value}")
    if message is None and value in ("", "yes", "no"):
        message = catalogue()[f"app.page.maybe.{value or 'unsaid'}"]
    return message.text(lang, {}) if message else value


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
    return ("area" if _longest(field) > _LONG else "text"), ()


def _bounds(field: FieldInfo) -> tuple[str, str]:
    """The least and the most a number may be, as a browser checks it; empty where it is open."""
    if _kind(field)[0] != "number":
        return "", ""
    least = next((one.ge for one in field.metadata if hasattr(one, "ge")), None)
    most = next((one.le for one in field.metadata if hasattr(one, "le")), None)
    return _shortest(least), _shortest(most)


def _shortest(value: Any) -> str:
    """`30`, not `30.0`."""
    return "" if value is None else f"{value:.10g}" if isinstance(value, float) else str(value)


def _longest(field: FieldInfo) -> int:
    return next((int(one.max_length) for one in field.metadata if hasattr(one, "max_length")), 0)


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


def _extra(field: FieldInfo) -> Mapping[str, Any]:
    return field.json_schema_extra if isinstance(field.json_schema_extra, dict) else {}
