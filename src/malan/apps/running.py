"""Runs apps: values become a request, a request a run; long ones are jobs that can be watched, stopped and taken up.

Start reading at `run_app`; `start_app` does the same beside whoever asked.
"""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pydantic import ValidationError

from malan.apps.builtin import app_named
from malan.apps.frame import App, Made, Progress, Request, Work
from malan.core.errors import MalanError, NotGranted, UsageError
from malan.core.ids import digest_record
from malan.services.access import HOUSE, Caller, require
from malan.services.accounts import caller_of_job
from malan.services.jobs import register_resume

if TYPE_CHECKING:
    from malan.workspace import Workspace

KIND = "app.run"
REPORT = "report.json"


def read_request(app: App[Any], values: Mapping[str, Any]) -> Request:
    """Values as a request.

    Raises:
        UsageError: A field is missing, unknown or makes no sense; the first one is named.
    """
    try:
        return app.request(**values)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"]) or "–"
        raise UsageError(
            "app.bad_request", app=app.card.name, field=where[:80], detail=str(first["msg"])[:200]
        ) from error


def run_app(
    ws: Workspace | None,
    name: str,
    values: Mapping[str, Any],
    out: Path,
    *,
    caller: Caller = HOUSE,
    progress: Progress | None = None,
    stop_if_asked: Callable[[], None] = lambda: None,
) -> tuple[Made, dict[str, Any]]:
    """Run an app now; the files, and what there is to tell of them (also left as `report.json`).

    Raises:
        NotFound: There is no such app.
        UsageError: The values are no request of it.
        MalanError: What the app says.
    """
    require(caller, "app.run")
    app = app_named(name)
    request = read_request(app, values)
    check_files(app, request, caller)
    out.mkdir(parents=True, exist_ok=True)
    work = Work(out, ws, caller, progress, stop_if_asked)
    made = app.run(request, work)
    told = describe_made(app, made, work)
    (out / REPORT).write_text(json.dumps(told, ensure_ascii=False, indent=2) + "\n", "utf-8")
    return made, told


def check_files(app: App[Any], request: Request, caller: Caller) -> None:
    """Files of this machine may be named by whoever runs it, and by nobody else.

    Raises:
        NotGranted: Somebody else named one.
    """
    if caller.is_operator:
        return
    for name, field in app.request.model_fields.items():
        extra = field.json_schema_extra
        if isinstance(extra, dict) and extra.get("file") and getattr(request, name):
            raise NotGranted("app.no_files", app=app.card.name, field=name)


def describe_made(app: App[Any], made: Made, work: Work) -> dict[str, Any]:
    """A run as one JSON object."""
    logged = {one.path: one for one in work.published}
    files = []
    for what, path in made.files.items():
        one = logged.get(path)
        said = {"output": one.output_id, "event": one.event} if one else {}
        files.append({"what": what, "path": str(path), "size_bytes": path.stat().st_size, **said})
    return {"app": app.card.name, "mode": app.card.mode, "files": files, **made.report}


def start_app(ws: Workspace, name: str, values: Mapping[str, Any], *, caller: Caller = HOUSE) -> str:
    """Run an app as a job beside whoever asked; the id of the job. Files come into `exports/<app>-<digest>`.

    Raises:
        NotFound, UsageError: There is no such app, or the values are no request of it; nothing is started.
    """
    require(caller, "app.run")
    app = app_named(name)
    request = read_request(app, values)
    check_files(app, request, caller)
    said = request.model_dump(mode="json")
    party = caller.party_id or ""
    folder = f"{name}-{digest_record('app.run', [name, said, party])[:12]}"
    job = ws.jobs.create(KIND, {"app": name, "request": said, "file": folder, "party": party}, ["run"])
    threading.Thread(target=_go_on, args=(ws, job.id), name=f"malan-app-{job.id[:8]}", daemon=True).start()
    return job.id


def resume_app(ws: Workspace, job_id: str, progress: Progress | None = None) -> dict[str, Any]:
    """Do what a job of this kind is about; parts that are done already are found where they were left."""
    spec = ws.jobs.get(job_id).spec
    folder = ws.folder("exports") / str(spec["file"])
    with ws.jobs.running(job_id) as run:

        def tell(done: int, total: int, current: str) -> None:
            run.advance(0, current=f"{current} {done}/{total}")
            if progress:
                progress(done, total, current)

        caller = caller_of_job(ws, {"party": str(spec.get("party", ""))})
        _, told = run_app(
            ws, str(spec["app"]), spec["request"], folder, caller=caller, progress=tell, stop_if_asked=run.stop_if_asked
        )
        run.finish(["run"])
    return told


def _go_on(ws: Workspace, job_id: str) -> None:
    with suppress(MalanError):  # its row says why
        resume_app(ws, job_id)


register_resume(KIND, resume_app)
