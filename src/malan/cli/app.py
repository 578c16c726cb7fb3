"""`malan app`: list, show, run. The options of `run NAME` are the fields of the app's request."""

from __future__ import annotations

import inspect
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, get_args, get_origin

import typer
from pydantic_core import PydanticUndefined
from typer.core import TyperCommand, TyperGroup
from typer.main import get_command

from malan.cli.show import (
    JsonOption,
    WorkspaceOption,
    open_workspace,
    print_fields,
    print_json,
    print_line,
    print_table,
    progress_bar,
    speak,
)
from malan.core.catalogue import catalogue, session_language
from malan.services.access import COMMAND_LINE

if TYPE_CHECKING:
    from malan.apps.frame import App
    from malan.workspace import Workspace


class Runs(TyperGroup):
    """One command an app, made from its request when it is asked for."""

    def list_commands(self, _ctx: Any) -> list[str]:
        from malan.apps.builtin import APPS

        return list(APPS)

    def get_command(self, _ctx: Any, cmd_name: str) -> Any:
        from malan.apps.builtin import APPS, app_named

        return run_command(app_named(cmd_name)) if cmd_name in APPS else None


class Run(TyperCommand):
    """The command of one app: its help shows what few need apart, after the rest."""

    rare: frozenset[str] = frozenset()

    def format_options(self, ctx: Any, formatter: Any) -> None:
        shown = [(param, param.get_help_record(ctx)) for param in self.get_params(ctx)]
        named = {param.name: said for param, said in shown if said is not None}
        arguments = [param.name for param, _ in shown if param.param_type_name == "argument"]
        options = [name for name in named if name not in arguments]
        parts = {
            "cli.app.arguments": arguments,
            "cli.app.options": [name for name in options if name not in self.rare],
            "form.page.more": [name for name in options if name in self.rare],
        }
        for title, names in parts.items():
            if names:
                with formatter.section(speak(title)):
                    formatter.write_dl([named[name] for name in names])


app = typer.Typer(no_args_is_help=True, add_completion=False, rich_markup_mode=None, help=speak("cli.app"))
runs = typer.Typer(cls=Runs, no_args_is_help=True, add_completion=False, rich_markup_mode=None)
app.add_typer(runs, name="run", help=speak("cli.app.run"))


@runs.callback()
def _runs() -> None:
    pass


@app.command("list", help=speak("cli.app.list"))
def list_apps(as_json: JsonOption = False) -> None:
    from malan.apps.builtin import all_apps

    cards = [one.card for one in all_apps()]
    if as_json:
        print_json(
            {"apps": [{"name": c.name, "title": c.title(), "summary": c.summary(), "mode": c.mode} for c in cards]}
        )
        return
    columns = [speak(f"cli.column.{name}") for name in ("name", "title", "summary")]
    print_table(columns, [(card.name, card.title(), card.summary()) for card in cards])


@app.command(help=speak("cli.app.show"))
def show(name: Annotated[str, typer.Argument(help=speak("cli.app.name"))], as_json: JsonOption = False) -> None:
    from malan.apps.builtin import app_named

    one = app_named(name)
    card, schema = one.card, one.request.model_json_schema()
    if as_json:
        held = {"name": card.name, "title": card.title(), "summary": card.summary(), "mode": card.mode}
        priced = {"meter": card.meter, "price_minor": card.price_minor}
        print_json({**held, **priced, "uses": list(card.uses), "request": schema})
        return
    print_line(f"{card.title()}: {card.summary()}")
    print_fields({field: [about(card.name, field)] for field in one.request.model_fields})


def about(name: str, field: str) -> str:
    """What a field of a request is about, in the language of the session."""
    message = catalogue().get(f"app.{name}.{field}") or catalogue().get(f"app.any.{field}")
    return message.text(None, {}) if message else field


def run_command(one: App[Any]) -> Any:
    """The command of an app: a parameter for each field of its request."""
    from malan.apps.forms import is_rare

    fields = one.request.model_fields

    def run(out: Path, workspace: Path | None, quote: bool, as_json: bool, **values: Any) -> None:
        given = {name: value for name, value in values.items() if value not in (None, [], ())}
        if quote:
            _quote(one, given, workspace, as_json=as_json)
        else:
            _run(one, given, out, workspace, as_json=as_json)

    shared = [
        _parameter("out", Path, typer.Option("--out", help=speak("cli.app.out")), Path(one.card.name)),
        inspect.Parameter("workspace", inspect.Parameter.KEYWORD_ONLY, annotation=WorkspaceOption, default=None),
        _parameter("quote", bool, typer.Option("--quote", help=speak("cli.app.quote")), False),
        inspect.Parameter("as_json", inspect.Parameter.KEYWORD_ONLY, annotation=JsonOption, default=False),
    ]
    own = [_of_field(one.card.name, name, field) for name, field in fields.items()]
    run.__signature__ = inspect.Signature([*own, *shared])  # type: ignore[attr-defined]
    run.__annotations__ = {p.name: p.annotation for p in (*own, *shared)}
    made = typer.Typer(add_completion=False, rich_markup_mode=None)
    made.command(cls=Run, help=f"{one.card.title()}: {one.card.summary()}")(run)
    command = get_command(made)
    assert isinstance(command, Run)  # noqa: S101 - as it was just registered
    command.rare = frozenset(name for name in fields if is_rare(one.request, name))
    command.name = one.card.name
    return command


def _of_field(app_name: str, name: str, field: Any) -> inspect.Parameter:
    extra = field.json_schema_extra or {}
    hint = about(app_name, name)
    is_needed = field.default is PydanticUndefined and field.default_factory is None
    default = inspect.Parameter.empty if is_needed else _plain_default(field)
    if extra.get("place") == "argument":
        return _parameter(name, _plain(field.annotation), typer.Argument(help=hint), default)
    option = extra.get("option", "--" + name.replace("_", "-"))
    if field.annotation in (bool, bool | None):
        option = f"{option}/--no-{option[2:]}"  # three answers: yes, no, not said
    return _parameter(name, _plain(field.annotation), typer.Option(option, help=hint), default)


def _plain_default(field: Any) -> Any:
    found = field.get_default(call_default_factory=True)
    return list(found) if isinstance(found, tuple) else found


def _plain(annotation: Any) -> Any:
    """A type as the command line reads it: tuples become options that may be given several times, choices words.

    What was given is checked by the request itself.
    """
    if get_origin(annotation) is tuple:
        return list[_plain(get_args(annotation)[0])]  # type: ignore[misc]
    if get_origin(annotation) is Literal:
        return type(get_args(annotation)[0])
    return annotation


def _parameter(name: str, kind: Any, told: Any, default: Any) -> inspect.Parameter:
    return inspect.Parameter(
        name, inspect.Parameter.KEYWORD_ONLY, annotation=Annotated[kind, told], default=default
    )  # fmt: skip


def _run(one: App[Any], values: dict[str, Any], out: Path, workspace: Path | None, *, as_json: bool) -> None:
    from malan.apps.running import run_app
    from malan.services.spoken import size

    ws = _workspace_of(one, workspace)
    with progress_bar(one.card.title(), quiet=as_json) as step:
        _, told = run_app(ws, one.card.name, values, out, caller=COMMAND_LINE, progress=step)
    if as_json:
        print_json(told)
        return
    for file in told["files"]:
        print_line(f"{file['path']}  {size(file['size_bytes'])}")
    for line in told.get("lines", []):
        print_line(line)
    print_line(cost_line(told["cost"]))


def _quote(one: App[Any], values: dict[str, Any], workspace: Path | None, *, as_json: bool) -> None:
    from malan.apps.running import quote_app

    told = quote_app(_workspace_of(one, workspace), one.card.name, values, caller=COMMAND_LINE)
    if as_json:
        print_json(told)
        return
    print_line(cost_line(told["cost"]))


def cost_line(cost: dict[str, Any]) -> str:
    """What was or would be counted, and what it comes to, as one line."""
    from malan.services.spoken import money

    units = speak(f"app.meter.{cost['meter']}", units=f"{cost['units']:g}")
    return speak("app.cost", units=units, amount=money(cost["minor"], cost["currency"], session_language()))


@app.command(help=speak("cli.app.bills"))
def bills(workspace: WorkspaceOption = None, as_json: JsonOption = False) -> None:
    from malan.services.footage.owners import owner_names
    from malan.services.settlement.app_bills import describe_bill, list_bills

    ws = open_workspace(workspace)
    names, listed = owner_names(ws), list_bills(ws, caller=COMMAND_LINE)
    if as_json:
        print_json({"bills": [describe_bill(one) for one in listed]})
        return
    columns = [speak(f"cli.column.{name}") for name in ("name", "party", "run", "units", "amount")]
    print_table(
        columns,
        [
            (
                one.app,
                names.get(one.party_id, one.party_id[:12] or "–"),
                one.run[:12],
                speak(f"app.meter.{one.meter}", units=f"{describe_bill(one)['units']:g}"),
                f"{one.gross_minor / 100:.2f} {one.currency}",
            )
            for one in listed
        ],
    )


def _workspace_of(one: App[Any], place: Path | None) -> Workspace | None:
    """The workspace; an app that works on plain files may do without one that was not named."""
    from malan.core.errors import NotFound

    try:
        return open_workspace(place)
    except NotFound:
        if one.card.needs_workspace or place is not None:
            raise
        return None
