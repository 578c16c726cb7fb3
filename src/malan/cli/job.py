"""`malan job …`: what runs, what failed and why; stop it, go on with it."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Annotated, Any

import typer

from malan.cli.show import (
    JsonOption,
    WorkspaceOption,
    open_workspace,
    print_json,
    print_line,
    print_table,
    progress_bar,
    speak,
)
from malan.services.access import COMMAND_LINE

if TYPE_CHECKING:
    from malan.core.errors import MalanError
    from malan.services.jobs.control import JobRow, JobView

app = typer.Typer(no_args_is_help=True, add_completion=False, rich_markup_mode=None, help=speak("cli.job"))

IdArgument = Annotated[str, typer.Argument(help=speak("job.cli.id"))]


@app.command("list", help=speak("job.cli.list"))
def list_(
    limit: Annotated[int, typer.Option("--limit", min=1, help=speak("job.cli.limit"))] = 20,
    workspace: WorkspaceOption = None,
    as_json: JsonOption = False,
) -> None:
    from malan.services.jobs.control import describe_job, list_jobs, unattended

    ws = open_workspace(workspace)
    jobs = list_jobs(ws, limit=limit, caller=COMMAND_LINE)
    absent = unattended(ws, jobs)
    if as_json:
        print_json({"jobs": [describe_job(job, absent.get(job.id)) for job in jobs]})
        return
    columns = [speak(f"job.cli.column.{name}") for name in ("id", "kind", "state", "done", "failed", "started")]
    print_table(columns, [_line(job) for job in jobs])
    for error in {one.values["device"]: one for one in absent.values()}.values():
        print_line(f"! {error.message()} {error.hint()}")


@app.command(help=speak("job.cli.show"))
def show(job_id: IdArgument, workspace: WorkspaceOption = None, as_json: JsonOption = False) -> None:
    from malan.services.jobs.control import show_job, unattended

    ws = open_workspace(workspace)
    view = show_job(ws, job_id, caller=COMMAND_LINE)
    absent = unattended(ws, [view.job]).get(view.job.id)
    if as_json:
        print_json(_view_json(view, absent))
        return
    _print_view(view)
    if absent:
        print_line(f"  ! {absent.message()} {absent.hint()}")


@app.command(help=speak("job.cli.watch"))
def watch(job_id: IdArgument, workspace: WorkspaceOption = None, as_json: JsonOption = False) -> None:
    from malan.services.jobs.control import show_job, unattended, watch_job

    ws = open_workspace(workspace)
    with progress_bar(speak("job.cli.watching"), quiet=as_json) as step:
        for job in watch_job(ws, job_id, caller=COMMAND_LINE):
            absent = unattended(ws, [job]).get(job.id)
            step(job.done + job.failed, job.total, absent.message() if absent else job.current)
    view = show_job(ws, job_id, caller=COMMAND_LINE)
    print_json(_view_json(view)) if as_json else _print_view(view)


@app.command(help=speak("job.cli.cancel"))
def cancel(job_id: IdArgument, workspace: WorkspaceOption = None, as_json: JsonOption = False) -> None:
    from malan.services.jobs.control import cancel_job, describe_job

    job = cancel_job(open_workspace(workspace), job_id, caller=COMMAND_LINE)
    if as_json:
        print_json(describe_job(job))
        return
    print_line(speak("job.cli.cancelling" if job.is_cancelling else "job.cli.cancelled", id=job.id[:12]))


@app.command(help=speak("job.cli.retry"))
def retry(job_id: IdArgument, workspace: WorkspaceOption = None, as_json: JsonOption = False) -> None:
    from malan.apps.queue.runs import see_through
    from malan.services.jobs.control import is_of_queue, retry_job, show_job

    ws = open_workspace(workspace)
    with progress_bar(speak("job.cli.watching"), quiet=as_json) as step:
        found = retry_job(ws, job_id, step, caller=COMMAND_LINE)
        if is_of_queue(job_id):
            see_through(ws, found.id, step)
    view = show_job(ws, job_id, caller=COMMAND_LINE)
    print_json(_view_json(view)) if as_json else _print_view(view)


def _view_json(view: JobView, absent: MalanError | None = None) -> dict[str, Any]:
    from malan.services.jobs.control import describe_item, describe_job

    return {**describe_job(view.job, absent), "failures": [describe_item(item) for item in view.failures]}


def _print_view(view: JobView) -> None:
    from malan.services.jobs.control import describe_item, describe_job

    job = describe_job(view.job)
    state = speak(f"job.state.{job['state']}")
    line = "job.cli.run" if view.job.spec.get("app") else "job.cli.line"
    print_line(speak(line, **{**job, "id": view.job.id[:12], "state": state, "kind": _kind(view.job)}))
    if job["error"]:
        print_line(f"  ✗ {job['error']['message']} {job['error']['hint']}".rstrip())
    for item in map(describe_item, view.failures):
        error = item["error"]
        print_line(f"  ✗ {item['key']}: {error['message']} {error['hint']}".rstrip() if error else item["key"])


def _line(job: JobRow) -> list[str]:
    state = speak(f"job.state.{'stopped' if job.is_stopped else job.state}")
    started = time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(job.started_s or job.created_s))
    done = f"{job.done} %" if job.spec.get("app") else f"{job.done}/{job.total}"
    return [job.id[:12], _kind(job), state, done, str(job.failed), started]


def _kind(job: JobRow) -> str:
    """What it is: its kind, and of a run its app."""
    app_name = job.spec.get("app")
    return speak(f"app.{app_name}") if app_name else speak(f"job.kind.{job.kind}")
