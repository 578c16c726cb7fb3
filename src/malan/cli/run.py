"""`malan run`: an algorithm on granted footage, from asking for it to the receipt."""

from __future__ import annotations

import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from malan.cli.show import (
    AsOption,
    JsonOption,
    WorkspaceOption,
    open_workspace,
    print_json,
    print_line,
    print_table,
    progress_bar,
    speak,
    write_out,
)
from malan.cli.working import IdleOption, OnceOption, ParentOption, is_to_stop

if TYPE_CHECKING:
    from malan.services.access import Caller
    from malan.services.runs.submission import Run
    from malan.workspace import Workspace

app = typer.Typer(no_args_is_help=True, add_completion=False, rich_markup_mode=None, help=speak("cli.run"))

IdArgument = Annotated[str, typer.Argument(help=speak("cli.run.id"))]
ReasonOption = Annotated[str, typer.Option(help=speak("cli.run.reason"), show_default=False)]
_LOOK_S = 0.5
_SHORT = 12
_LONGEST = 24  # of a measured value on a line


@app.command(help=speak("cli.run.submit"))
def submit(
    algorithm: Annotated[str, typer.Argument(help=speak("cli.run.algorithm"))],
    grant: Annotated[str, typer.Option(help=speak("cli.run.grant"))],
    settings: Annotated[list[str] | None, typer.Option("--set", help=speak("cli.run.set"))] = None,
    tier: Annotated[str, typer.Option(help=speak("cli.run.tier"), show_default=False)] = "",
    priority: Annotated[str, typer.Option(help=speak("cli.run.priority"))] = "normal",
    name: Annotated[str, typer.Option(help=speak("cli.run.name"), show_default=False)] = "",
    base: Annotated[str, typer.Option(help=speak("cli.run.base"), show_default=False)] = "",
    purpose: Annotated[str | None, typer.Option(help=speak("cli.run.purpose"), show_default=False)] = None,
    territory: Annotated[str | None, typer.Option(help=speak("cli.run.territory"), show_default=False)] = None,
    seed: Annotated[int | None, typer.Option(help=speak("cli.run.seed"), show_default=False)] = None,
    acting_as: AsOption = None,
    workspace: WorkspaceOption = None,
    as_json: JsonOption = False,
) -> None:
    from malan.services.runs.submission import Asked, submit_run

    ws, caller = _open(workspace, acting_as)
    asked = Asked(tier, priority, name, purpose, territory, base, seed)
    _print(ws, submit_run(ws, algorithm, grant, settings or [], asked=asked, caller=caller), caller, as_json=as_json)


@app.command("list", help=speak("cli.run.list"))
def list_(
    state: Annotated[str | None, typer.Option(help=speak("cli.run.state"), show_default=False)] = None,
    limit: Annotated[int, typer.Option(min=1, help=speak("cli.run.limit"))] = 50,
    acting_as: AsOption = None,
    workspace: WorkspaceOption = None,
    as_json: JsonOption = False,
) -> None:
    from malan.services.runs.submission import list_runs
    from malan.services.runs.view import describe_run

    ws, caller = _open(workspace, acting_as)
    runs = list_runs(ws, state=state, limit=limit, caller=caller)
    found = [describe_run(ws, one, caller=caller, whole=False) for one in runs]
    if as_json:
        print_json({"runs": found})
        return
    columns = [speak(f"cli.column.{one}") for one in ("run", "state", "algorithm", "tier", "buyer", "submitted")]
    rows = [
        (
            one["run"][:_SHORT],
            _state(one),
            one["algorithm"],
            one["tier"],
            one["buyer"],
            one["submitted"][:16].replace("T", " "),
        )
        for one in found
    ]
    print_table(columns, rows)


@app.command(help=speak("cli.run.show"))
def show(
    run: IdArgument, acting_as: AsOption = None, workspace: WorkspaceOption = None, as_json: JsonOption = False
) -> None:
    from malan.services.runs.submission import get_run

    ws, caller = _open(workspace, acting_as)
    _print(ws, get_run(ws, run, caller=caller), caller, as_json=as_json)


@app.command(help=speak("cli.run.watch"))
def watch(
    run: IdArgument, acting_as: AsOption = None, workspace: WorkspaceOption = None, as_json: JsonOption = False
) -> None:
    from malan.services.runs.submission import get_run
    from malan.services.runs.view import describe_run

    ws, caller = _open(workspace, acting_as)
    with progress_bar(speak("cli.run.watching"), quiet=as_json) as step:
        while True:
            found = get_run(ws, run, caller=caller)
            told = describe_run(ws, found, caller=caller, whole=False)
            step(told["percent"] or 0, 100, _state(told))
            if found.is_over or found.state in ("held", "waiting"):
                break
            time.sleep(_LOOK_S)
    _print(ws, found, caller, as_json=as_json)


@app.command(help=speak("cli.run.cancel"))
def cancel(
    run: IdArgument,
    reason: ReasonOption = "",
    acting_as: AsOption = None,
    workspace: WorkspaceOption = None,
    as_json: JsonOption = False,
) -> None:
    from malan.services.runs.submission import cancel_run

    ws, caller = _open(workspace, acting_as)
    _print(ws, cancel_run(ws, run, reason, caller=caller), caller, as_json=as_json)


@app.command(help=speak("cli.run.resume"))
def resume(
    run: IdArgument, acting_as: AsOption = None, workspace: WorkspaceOption = None, as_json: JsonOption = False
) -> None:
    from malan.services.runs.submission import resume_run

    ws, caller = _open(workspace, acting_as)
    _print(ws, resume_run(ws, run, caller=caller), caller, as_json=as_json)


@app.command(help=speak("cli.run.decide"))
def decide(
    run: IdArgument,
    answer: Annotated[str, typer.Argument(help=speak("cli.run.answer"))],
    reason: Annotated[str, typer.Option(help=speak("cli.run.reason"))],
    acting_as: AsOption = None,
    workspace: WorkspaceOption = None,
    as_json: JsonOption = False,
) -> None:
    from malan.services.runs.submission import decide_run

    ws, caller = _open(workspace, acting_as)
    _print(ws, decide_run(ws, run, answer, reason, caller=caller), caller, as_json=as_json)


@app.command(help=speak("cli.run.log"))
def log(
    run: IdArgument, acting_as: AsOption = None, workspace: WorkspaceOption = None, as_json: JsonOption = False
) -> None:
    from malan.services.runs.submission import run_log

    ws, caller = _open(workspace, acting_as)
    text = run_log(ws, run, caller=caller)
    if as_json:
        print_json({"run": run, "log": text})
        return
    for line in text.splitlines():
        print_line(line)


@app.command(help=speak("cli.run.receipt"))
def receipt(
    run: IdArgument,
    out: Annotated[Path | None, typer.Option(help=speak("cli.run.out"), show_default=False)] = None,
    acting_as: AsOption = None,
    workspace: WorkspaceOption = None,
    as_json: JsonOption = False,
) -> None:
    import json

    from malan.services.runs.submission import run_receipt

    ws, caller = _open(workspace, acting_as)
    found = run_receipt(ws, run, caller=caller)
    if out is not None:
        write_out(out, found.to_file() + b"\n")
    if as_json or out is None:
        print_json({"receipt": json.loads(found.body), "digest": found.digest, "key": found.key_id, "out": out})
    else:
        print_line(speak("cli.run.written", out=out, key=found.key_id))


@app.command(help=speak("cli.run.work"))
def work(
    once: OnceOption = False,
    idle: IdleOption = None,
    parent: ParentOption = None,
    workspace: WorkspaceOption = None,
    as_json: JsonOption = False,
) -> None:
    from malan.services.runs.worker import work as work_on

    ws = open_workspace(workspace)
    stop = is_to_stop(parent)
    if not as_json and not once:
        print_line(speak("cli.run.working"))

    def told(run: Run) -> None:
        if not as_json:
            print_line(f"{run.id[:_SHORT]}  {speak(f'runs.state.{run.state}')}  {run.algorithm}")

    done = work_on(ws, once=once, idle_s=idle, on_run=told, stop=stop)
    if as_json:
        print_json({"runs": done})


def _open(workspace: Path | None, acting_as: str | None) -> tuple[Workspace, Caller]:
    from malan.services.accounts.acting import caller_for

    ws = open_workspace(workspace)
    return ws, caller_for(ws, acting_as)


def _state(told: dict[str, Any]) -> str:
    return speak(f"runs.state.{told['state']}")


def _print(ws: Workspace, run: Run, caller: Caller, *, as_json: bool) -> None:
    from malan.services.runs.view import describe_run, has_worker

    found = describe_run(ws, run, caller=caller)
    if as_json:
        print_json(found)
        return
    print_line(speak("cli.run.head", **{**found, "run": run.id[:_SHORT], "state": _state(found)}))
    people = {"buyer": found["buyer"], "owners": ", ".join(found["owners"]), "grant": found["grant"][:16]}
    print_line("  " + speak("cli.run.people", **people))
    if found["parameters"]:
        listed = ", ".join(f"{name}={value}" for name, value in found["parameters"].items())
        print_line("  " + speak("cli.run.parameters", parameters=listed))
    _print_standing(found, waits_for_worker=run.state == "queued" and not has_worker(ws))
    for step in found["steps"]:
        _print_step(step)
    _print_cost(found)
    for line in _lines_below(found):
        print_line(f"  {line}")


def _print_standing(found: dict[str, Any], *, waits_for_worker: bool) -> None:
    if found["cancelling"]:
        print_line("  " + speak("cli.run.cancelling"))
    if found["percent"] is not None and found["phase"]:
        phase = speak(f"runs.phase.{found['phase']}")
        print_line("  " + speak("cli.run.progress", phase=phase, percent=found["percent"]))
    if waits_for_worker:
        print_line("  " + speak("cli.run.no_worker"))
    if found["tier"] == "code" and found["state"] in ("waiting", "queued"):
        print_line("  " + speak("cli.run.code_is_held"))
    if found["minutes"] is not None:
        print_line("  " + speak("cli.run.ran", minutes=found["minutes"], isolation=found["isolation"] or "–"))
    if found["epsilon"] is not None:
        print_line("  " + speak("cli.run.privacy", epsilon=found["epsilon"], delta=found["delta"]))
    if found["model"]:
        print_line("  " + speak("cli.run.model", model=found["model"][:_SHORT]))


def _print_step(step: dict[str, Any]) -> None:
    who = f"  {step['who']}" if step["who"] else ""
    at = step["at"].partition("+")[0].partition(".")[0].replace("T", " ")
    print_line(f"  {at}  {speak('runs.action.' + step['action'])}{who}")
    for reason in step["reasons"]:
        print_line(f"      {reason['text']}")
    if step.get("note"):
        print_line(f"      “{step['note']}”")


def _print_cost(found: dict[str, Any]) -> None:
    cost, left = found["cost"], found["left"]
    print_line("  " + speak("cli.run.cost", **{name: cost[name] for name in ("clip_seconds", "output_bytes", "runs")}))
    if cost["owed"] and cost["owed"]["minor"]:
        print_line("  " + speak("cli.run.owed", amount=_money(cost["owed"])))
    shown = {name: speak("cli.run.unlimited") if left.get(name) is None else left[name] for name in left}
    if shown:
        print_line("  " + speak("cli.run.left", **shown))


def _money(owed: dict[str, Any]) -> str:
    return f"{owed['minor'] // 100}.{owed['minor'] % 100:02} {owed['currency']}"


def _lines_below(found: dict[str, Any]) -> list[str]:
    """Figures that left; for owners also what the gate measured, and what each of them said."""
    lines = []
    if found.get("metrics"):
        metrics = ", ".join(f"{name} {value}" for name, value in found["metrics"].items())
        lines.append(speak("cli.run.metrics", metrics=metrics))
    marks = {"fine": "✓", "flagged": "?", "failed": "✗"}
    for step in found.get("gate", ()):
        measured = ", ".join(f"{name} {str(value)[:_LONGEST]}" for name, value in step["measured"].items())
        lines.append(f"{marks[step['outcome']]} {step['reason']} {measured}".rstrip())
    lines += [speak("cli.run.decided", **one) for one in found.get("decisions", ())]
    return lines
