"""`malan gateway`: keys for programs that ask engines and apps by HTTP, what they used, the worker of their jobs."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Annotated, Any

import typer

from malan.cli.show import JsonOption, WorkspaceOption, open_workspace, print_json, print_line, print_table, speak
from malan.cli.working import IdleOption, OnceOption, ParentOption, is_to_stop
from malan.services.access import COMMAND_LINE

if TYPE_CHECKING:
    from malan.core.errors import MalanError
    from malan.services.jobs.queue import Job

app = typer.Typer(no_args_is_help=True, add_completion=False, rich_markup_mode=None, help=speak("cli.gateway"))
key = typer.Typer(no_args_is_help=True, add_completion=False, rich_markup_mode=None, help=speak("cli.gateway.key"))
job = typer.Typer(no_args_is_help=True, add_completion=False, rich_markup_mode=None, help=speak("cli.gateway.job"))
app.add_typer(key, name="key")
app.add_typer(job, name="job")

PrefixArgument = Annotated[str, typer.Argument(help=speak("cli.gateway.prefix"))]
PartyOption = Annotated[str | None, typer.Option("--party", help=speak("cli.gateway.party"), show_default=False)]
JobArgument = Annotated[str, typer.Argument(help=speak("cli.gateway.job_id"))]


@key.command(help=speak("cli.gateway.key.make"))
def make(
    party: Annotated[str, typer.Argument(help=speak("cli.gateway.party"))],
    program: Annotated[str, typer.Option("--app", help=speak("cli.gateway.app"))],
    model: Annotated[list[str] | None, typer.Option(help=speak("cli.gateway.model"), show_default=False)] = None,
    budget: Annotated[int | None, typer.Option(min=0, help=speak("cli.gateway.budget"), show_default=False)] = None,
    currency: Annotated[str, typer.Option(help=speak("cli.gateway.currency"))] = "CNY",
    rate: Annotated[int, typer.Option(min=0, help=speak("cli.gateway.rate"))] = 0,
    days: Annotated[int, typer.Option(min=1, help=speak("cli.gateway.days"))] = 90,
    grant: Annotated[str, typer.Option(help=speak("cli.gateway.grant"), show_default=False)] = "",
    workspace: WorkspaceOption = None,
    as_json: JsonOption = False,
) -> None:
    from malan.services.gateway.keys import Allowance, make_gateway_key

    ws = open_workspace(workspace)
    allowance = Allowance(program, tuple(model or ("*",)), budget, currency, rate, days, grant)
    made = make_gateway_key(ws, COMMAND_LINE, party, allowance)
    if as_json:
        told = {"key": made.text, "prefix": f"mk_{made.key.prefix}", "webhook_secret": made.webhook_secret}
        print_json({**told, "ends_s": round(made.key.ends_s)})
        return
    print_line(speak("cli.gateway.made", name=made.key.party, app=program))
    print_line(made.text)
    print_line(speak("cli.gateway.webhook_secret", secret=made.webhook_secret))


@key.command("list", help=speak("cli.gateway.key.list"))
def list_(party: PartyOption = None, workspace: WorkspaceOption = None, as_json: JsonOption = False) -> None:
    from malan.services.gateway.keys import list_gateway_keys

    found = list_gateway_keys(open_workspace(workspace), COMMAND_LINE, party)
    if as_json:
        print_json({"keys": found})
    elif not found:
        print_line(speak("cli.gateway.no_keys"))
    else:
        _print_keys(found)


@key.command(help=speak("cli.gateway.key.end"))
def end(prefix: PrefixArgument, workspace: WorkspaceOption = None, as_json: JsonOption = False) -> None:
    from malan.services.gateway.keys import end_gateway_key

    ended = end_gateway_key(open_workspace(workspace), COMMAND_LINE, prefix)
    if as_json:
        print_json(ended)
    else:
        print_line(speak("cli.gateway.ended", prefix=ended["prefix"]))


@key.command(help=speak("cli.gateway.key.budget"))
def budget(
    prefix: PrefixArgument,
    minor: Annotated[int, typer.Argument(min=0, help=speak("cli.gateway.budget"))],
    workspace: WorkspaceOption = None,
    as_json: JsonOption = False,
) -> None:
    from malan.services.gateway.keys import raise_budget

    found = raise_budget(open_workspace(workspace), COMMAND_LINE, prefix, minor)
    if as_json:
        print_json(found)
    else:
        _print_keys([found])


@app.command(help=speak("cli.gateway.usage"))
def usage(
    party: PartyOption = None,
    days: Annotated[int, typer.Option(min=1, help=speak("cli.gateway.since"))] = 30,
    workspace: WorkspaceOption = None,
    as_json: JsonOption = False,
) -> None:
    from malan.services.gateway.keys import gateway_usage

    found = gateway_usage(open_workspace(workspace), party=party, days=days, caller=COMMAND_LINE)
    if as_json:
        print_json(found)
        return
    if not found["usage"]:
        print_line(speak("cli.gateway.no_usage", days=days))
        return
    names = ("app", "model", "engine", "mode", "requests", "input", "output", "cost")
    rows = [
        tuple(one["cost"]["text"] if name == "cost" else str(one[name]) for name in names) for one in found["usage"]
    ]
    print_table([speak(f"cli.gateway.column.{name}") for name in names], rows)


@app.command(help=speak("cli.gateway.settle"))
def settle(workspace: WorkspaceOption = None, as_json: JsonOption = False) -> None:
    from malan.services.gateway.royalties import book_usage, owe_royalties

    ws = open_workspace(workspace)
    told = {"booked_minor": book_usage(ws), "royalties_minor": owe_royalties(ws)}
    if as_json:
        print_json(told)
    else:
        print_line(speak("cli.gateway.settled", **told))


@app.command(help=speak("cli.gateway.work"))
def work(
    device: Annotated[str, typer.Option(help=speak("cli.gateway.device"))] = "cpu",
    once: OnceOption = False,
    idle: IdleOption = None,
    parent: ParentOption = None,
    workspace: WorkspaceOption = None,
    as_json: JsonOption = False,
) -> None:
    from malan.apps.queue.work import work as work_on

    ws = open_workspace(workspace)
    stop = is_to_stop(parent)

    done = work_on(ws, device, once=once, idle_s=idle, stop=stop)
    if as_json:
        print_json({"jobs": done})


@job.command("list", help=speak("cli.gateway.job.list"))
def list_jobs(
    limit: Annotated[int, typer.Option(min=1, max=100, help=speak("cli.run.limit"))] = 20,
    workspace: WorkspaceOption = None,
    as_json: JsonOption = False,
) -> None:
    from malan.services.jobs.queue import list_jobs as jobs_of
    from malan.services.jobs.waiting import unattended

    ws = open_workspace(workspace)
    found, _ = jobs_of(ws, limit=limit)
    absent = unattended(ws, found)
    if as_json:
        print_json({"jobs": [_described(one, absent.get(one.id)) for one in found]})
        return
    columns = [speak(f"cli.gateway.column.{name}") for name in ("job", "state", "app", "model", "made", "percent")]
    print_table(columns, [_row(one) for one in found])
    for error in {one.values["device"]: one for one in absent.values()}.values():
        print_line(f"! {error.message()} {error.hint()}")


@job.command("show", help=speak("cli.gateway.job.show"))
def show_job(name: JobArgument, workspace: WorkspaceOption = None, as_json: JsonOption = False) -> None:
    from malan.services.jobs.queue import get_job
    from malan.services.jobs.waiting import unattended

    ws = open_workspace(workspace)
    found = get_job(ws, name)
    absent = unattended(ws, [found]).get(found.id)
    if as_json:
        print_json(_described(found, absent))
        return
    print_table([speak("cli.gateway.column.job"), ""], [(one, str(value)) for one, value in _described(found).items()])
    if absent:
        print_line(f"! {absent.message()} {absent.hint()}")


@job.command("cancel", help=speak("cli.gateway.job.cancel"))
def cancel_job(name: JobArgument, workspace: WorkspaceOption = None, as_json: JsonOption = False) -> None:
    from malan.services.jobs.queue import cancel, get_job

    ws = open_workspace(workspace)
    found = cancel(ws, get_job(ws, name))
    if as_json:
        print_json(_described(found))
    else:
        print_line(speak("cli.gateway.cancelling", id=found.id))


def _described(found: Job, absent: MalanError | None = None) -> dict[str, Any]:
    from malan.services.gateway.keys import describe_cost
    from malan.services.jobs.control import describe_absence

    error = found.error
    return {
        "id": found.id, "state": found.state, "app": found.app, "model": found.model, "device": found.device,
        "party": found.party_id, "percent": found.percent, "current": found.current, "attempt": found.attempt,
        "created_s": found.created_s, "started_s": found.started_s, "ended_s": found.ended_s,
        "cost": describe_cost(found.micro, found.currency or "CNY"), "folder": found.folder,
        "error": None if error is None else {"code": error.code, "message": error.message(), "hint": error.hint()},
        "no_worker": None if absent is None else describe_absence(absent),
    }  # fmt: skip


def _row(found: Job) -> tuple[str, ...]:
    made = datetime.fromtimestamp(found.created_s, UTC).strftime("%Y-%m-%d %H:%M")
    return (found.id, speak(f"gateway.state.{found.state}"), found.app, found.model, made, f"{found.percent} %")


def _print_keys(found: list[dict[str, Any]]) -> None:
    names = ("key", "party", "app", "models", "spent", "left", "rate", "ends")
    rows = [
        (one["prefix"], one["name"], one["app"], ", ".join(one["models"]), one["spent"]["text"],
         one["left"]["text"] if one["left"] else speak("cli.gateway.no_limit"), str(one["most_a_minute"] or "–"),
         speak("cli.gateway.is_ended") if one["ended"] else _day(one["ends_s"]))
        for one in found
    ]  # fmt: skip
    print_table([speak(f"cli.gateway.column.{name}") for name in names], rows)


def _day(at_s: float) -> str:
    return datetime.fromtimestamp(at_s, UTC).strftime("%Y-%m-%d")
