"""Runs apps: values become a request, a request a run.

Start reading at `run_app`; `apps.queue.runs.start_app` has a worker do the same.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, nullcontext, suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pydantic import ValidationError

from malan.apps.builtin import app_named
from malan.apps.frame import App, Made, Progress, Request, Work
from malan.apps.guard import Hit, check_words, texts_of
from malan.apps.paying import cost_before, expect, settle_run
from malan.apps.refused import refusal
from malan.apps.seats import GrantSeats, hold_seats
from malan.core.errors import MalanError, NotFound, NotGranted, StoreError, UsageError
from malan.core.ids import digest_record
from malan.services.access import HOUSE, Caller, require
from malan.services.files.uploads import PREFIX, is_brought, path_of
from malan.services.settlement.app_bills import describe_cost

if TYPE_CHECKING:
    from malan.workspace import Workspace

REPORT = "report.json"
INPUTS = "inputs"  # in the folder of a run: files that came with its request


def read_request(app: App[Any], values: Mapping[str, Any]) -> Request:
    """Values as a request.

    Raises:
        UsageError: A field is missing, unknown or makes no sense; the first one is named.
    """
    try:
        return app.request(**values)
    except ValidationError as error:
        where, detail = refusal(error)
        raise UsageError("app.bad_request", app=app.card.name, field=where, detail=detail) from error


@dataclass(frozen=True)
class Ready:
    """A run that was checked and priced, before anything is done."""

    app: App[Any]
    request: Request
    caller: Caller
    run: str  # names it: the same request over the same library is the same run
    warnings: tuple[Hit, ...] = ()


def prepare(
    ws: Workspace | None, name: str, values: Mapping[str, Any], *, caller: Caller = HOUSE, run_id: str = "",
    given: Path | None = None,
) -> Ready:  # fmt: skip
    """Check a request: role, fields, files, the operator's rule packs.

    Files in the folder `given` came with the request, and may be named by whoever sent them; what somebody brought
    before is named `upload:…`.

    Raises:
        NotFound: There is no such app.
        UsageError: The values are no request of it.
        NotGranted: The caller may not, or names a file.
        Rejected: A rule pack refuses it: `guard.refused_input`.
    """
    require(caller, "app.run")
    app = app_named(name)
    request = read_request(app, _with_uploads(ws, app, values, caller))
    check_files(app, request, caller, given, ws)
    warnings = check_words(ws, texts_of(request), where="input") if app.card.is_guarded else []
    caller = replace(caller, grant_id=request.grant) if request.grant else caller
    return Ready(app, request, caller, run_id or _run_key(ws, app, request, caller), tuple(warnings))


def quote_app(
    ws: Workspace | None, name: str, values: Mapping[str, Any], *, caller: Caller = HOUSE, given: Path | None = None
) -> dict[str, Any]:
    """What a run would cost, as far as it can be told without doing it.

    Raises:
        MalanError: As `prepare`.
    """
    ready = prepare(ws, name, values, caller=caller, given=given)
    expected = expect(ready.app, ready.request, Work(Path(), ws, ready.caller))
    told = {"app": name, "run": ready.run, "outputs": expected.outputs}
    return told | {"cost": describe_cost(cost_before(ready.app, expected))}


def run_app(
    ws: Workspace | None,
    name: str,
    values: Mapping[str, Any],
    out: Path,
    *,
    caller: Caller = HOUSE,
    progress: Progress | None = None,
    stop_if_asked: Callable[[], None] = lambda: None,
    run_id: str = "",
) -> tuple[Made, dict[str, Any]]:
    """Run an app now; the files, and what there is to tell of them (also left as `report.json`).

    Outputs under a grant are held first, and given back when it fails. It is billed when it has ended well, once for
    each `run_id`; without one, the same request over the same library is the same run.

    Raises:
        MalanError: As `prepare`; what the app says.
    """
    ready = prepare(ws, name, values, caller=caller, run_id=run_id, given=out / INPUTS)
    app, request = ready.app, ready.request
    work = Work(out, ws, ready.caller, progress, stop_if_asked)
    work.check_words = lambda texts: _check_output(ws, texts)
    outputs = expect(app, request, work).outputs if ready.caller.grant_id else 0
    with _seats(ws, ready, outputs) as work.seats, _folder(out):
        made = app.run(request, work)
        told = describe_made(app, made, work) | {"cost": settle_run(app, made, work, ready.run)}
        told["warnings"] = [hit.to_json() for hit in ready.warnings]
        _write_report(out / REPORT, told)
    return made, told


@contextmanager
def _folder(out: Path) -> Iterator[None]:
    """A folder to work in; one that was made for a run that left nothing goes again.

    Raises:
        StoreError: It cannot be made or written to.
    """
    is_new = not out.exists()
    try:
        out.mkdir(parents=True, exist_ok=True)
        yield
    except BaseException as error:
        if is_new:
            with suppress(OSError):
                out.rmdir()
        if isinstance(error, OSError) and not isinstance(error, MalanError):
            detail = error.strerror or str(error)
            raise StoreError("app.not_written", path=str(error.filename or out), detail=detail) from error
        raise


def _seats(ws: Workspace | None, ready: Ready, outputs: int) -> AbstractContextManager[GrantSeats | None]:
    if not ready.caller.grant_id:
        return nullcontext()
    if ws is None:
        raise NotFound("grant.none", id=ready.caller.grant_id[:40])
    return hold_seats(ws, ready.caller, ready.run, outputs)


def _check_output(ws: Workspace | None, texts: Mapping[str, str]) -> None:
    check_words(ws, texts, where="output")


def _write_report(path: Path, told: Mapping[str, Any]) -> None:
    """Whole or not at all: who sees a report sees all of it."""
    part = path.with_name(f".malan-{os.getpid()}-{path.name}")
    part.write_text(json.dumps(told, ensure_ascii=False, indent=2) + "\n", "utf-8")
    part.replace(path)


def _run_key(ws: Workspace | None, app: App[Any], request: Request, caller: Caller) -> str:
    """The same request of the same party over the same library and files is the same run."""
    said = request.model_dump(mode="json")
    library = list(ws.library.stamp) if ws is not None and app.card.needs_workspace else []
    engines = _stamp(ws.root / "models.toml") if ws is not None else []
    who = [caller.party_id or "", *engines]
    return digest_record("app.run", [app.card.name, said, who, library, *_stamps(app, request)])


def _stamp(path: Path) -> list[str]:
    """Name, size and time of a file; nothing where there is none."""
    stat = path.stat() if path.is_file() else None
    return [str(path), str(stat.st_size), str(stat.st_mtime_ns)] if stat else []


def _stamps(app: App[Any], request: Request) -> list[list[str]]:
    """Size and time of the files a request names."""
    found = []
    for name, field in app.request.model_fields.items():
        extra = field.json_schema_extra
        if isinstance(extra, dict) and (extra.get("file") or extra.get("stamped")):
            said = getattr(request, name)
            for one in said if isinstance(said, tuple) else (said or "",):
                place = Path(one)
                inside = sorted(place.iterdir()) if one and place.is_dir() else [place] if one else []
                found += [_stamp(file) for file in inside if file.is_file()]
    return found


def _with_uploads(ws: Workspace | None, app: App[Any], values: Mapping[str, Any], caller: Caller) -> dict[str, Any]:
    """The values with the places of the files the caller brought along, where fields take such."""

    def placed(one: Any) -> Any:
        is_brought_along = ws is not None and isinstance(one, str) and one.startswith(PREFIX)
        return str(path_of(ws, one, caller=caller)) if ws is not None and is_brought_along else one

    found = dict(values)
    for name, field in app.request.model_fields.items():
        extra, said = field.json_schema_extra, found.get(name)
        if isinstance(extra, dict) and extra.get("upload") and said:
            found[name] = [placed(one) for one in said] if isinstance(said, list | tuple) else placed(said)
    return found


def check_files(
    app: App[Any], request: Request, caller: Caller, given: Path | None = None, ws: Workspace | None = None
) -> None:
    """Files of this machine may be named by whoever runs it, and by nobody else; what is kept by its digest by all,
    what somebody brought along by whoever did.

    Raises:
        NotGranted: Somebody else named one.
    """
    if caller.is_operator:
        return
    for name, field in app.request.model_fields.items():
        extra = field.json_schema_extra
        said = getattr(request, name)
        if isinstance(extra, dict) and extra.get("file") and said:
            if extra.get("kept") and re.fullmatch(r"[0-9a-f]{64}", said):
                continue
            if given is not None and Path(said).resolve().is_relative_to(given.resolve()):
                continue
            if ws is not None and is_brought(ws, Path(said), caller=caller):
                continue
            raise NotGranted("app.no_files", app=app.card.name, field=name)


def describe_made(app: App[Any], made: Made, work: Work) -> dict[str, Any]:
    """A run as one JSON object."""
    logged = {one.path: one for one in work.published}
    files = []
    for what, path in made.files.items():
        one = logged.get(path)
        said = {"output": one.output_id, "event": one.event} if one else {}
        files.append({"what": what, "path": str(path), "size_bytes": path.stat().st_size, **said})
    asked = [{"engine": name, "input": taken, "output": given} for name, taken, given in work.asked]
    told = {"app": app.card.name, "mode": app.card.mode, "files": files, **made.report}
    return told | ({"asked": asked} if asked else {})
