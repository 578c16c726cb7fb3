"""Micro-apps in the console: cards, a form made from each request, a run and what it left, and the same by HTTP."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from typing import Annotated, Any
from urllib.parse import quote

from fastapi import APIRouter, Body, Path, Query, Request
from starlette.concurrency import run_in_threadpool
from starlette.datastructures import UploadFile
from starlette.responses import JSONResponse, RedirectResponse, Response

from malan.apps import forms, run_page, running, view
from malan.apps.queue import runs
from malan.core.errors import MalanError, Rejected
from malan.services.files import uploads
from malan.services.views import Failure
from malan.web.failures import status_of
from malan.web.forms import read_files, read_form
from malan.web.gate import caller_of
from malan.web.language import language_of
from malan.web.pages import Pages
from malan.web.ranges import RangeResponse

router = APIRouter()
_MOST_FILES = 40
_MOST_BYTES = 2 * uploads.MOST_BYTES  # of one form
Name = Annotated[str, Path(pattern=r"^[a-z][a-z0-9-]{0,30}$")]
Id = Annotated[str, Path(pattern=r"^[0-9A-Za-z_-]{6,64}$")]
Again = Annotated[str, Query(pattern=r"^[0-9A-Za-z_-]{0,64}$")]
File = Annotated[str, Path(pattern=r"^[\w][\w .-]{0,120}$")]


@router.get("/apps", include_in_schema=False)
def apps_page(request: Request) -> Response:
    lang, caller = _lang(request), caller_of(request)
    runs_before = view.recent_runs(_ws(request), lang, caller=caller)
    return _html(request, "apps.html", cards=view.app_cards(lang, caller=caller), runs=runs_before)


@router.get("/apps.json")
def apps_json(request: Request) -> Response:
    """The apps there are, each with the schema of its request."""
    lang, caller = _lang(request), caller_of(request)
    shown = [forms.app_form(card.name, lang, caller=caller) for card in view.app_cards(lang, caller=caller)]
    told = [
        {"name": one.card.name, "title": one.card.title, "summary": one.card.summary, "mode": one.card.mode}
        | {"request": dict(one.schema)}
        for one in shown
    ]
    return JSONResponse({"apps": told})


@router.get("/api/apps/runs/{job_id}")
@router.get("/apps/runs/{job_id}.json")
def run_json(request: Request, job_id: Id) -> Response:
    """A run: its state, and what it left when it is done."""
    return Pages.json(view.run_view(_ws(request), job_id, _lang(request), caller=caller_of(request)))


@router.get("/apps/runs/{job_id}", include_in_schema=False)
def run_shown(request: Request, job_id: Id) -> Response:
    shown = run_page.run_page(_ws(request), job_id, _lang(request), caller=caller_of(request))
    return _html(request, "app_run.html", page=shown)


@router.get("/apps/runs/{job_id}/files/{name}/proof")
def proof(request: Request, job_id: Id, name: File) -> Response:
    """The receipt of a file that was published: checked offline, without this platform."""
    data = view.run_proof(_ws(request), job_id, name, caller=caller_of(request))
    held = {"content-disposition": f"attachment; filename*=UTF-8''{quote(name)}.receipt.json"}
    return Response(data, media_type="application/json", headers=held)


@router.get("/apps/runs/{job_id}/files/{name}")
def run_file(request: Request, job_id: Id, name: File) -> Response:
    """A file a run left, by range."""
    path, kind = view.run_file(_ws(request), job_id, name, caller=caller_of(request))
    held = {"cache-control": "private, no-cache", "content-security-policy": "sandbox"}
    return RangeResponse(path, etag=f"{job_id}-{path.stat().st_mtime_ns}", media_type=kind, headers=held)


@router.get("/apps/{name}", include_in_schema=False)
def app_page(request: Request, name: Name, again: Again = "") -> Response:
    """The form, empty or as a run was asked for."""
    ws, caller, said = _ws(request), caller_of(request), None
    if again:
        asked = forms.said_by(runs.run_of(ws, again, caller=caller).request)
        said = {key: [uploads.as_token(ws, one, caller=caller) for one in ones] for key, ones in asked.items()}
    form = forms.app_form(name, _lang(request), caller=caller, said=said)
    return _html(request, "app.html", form=form, failure=None, quote=None, lacks=forms.needs_code(ws, name))


@router.post("/apps/{name}", include_in_schema=False, max_body_size=_MOST_BYTES)
async def start(request: Request, name: Name) -> Response:
    """Start a run from the form and go to it; files that were chosen are kept first."""
    async with read_files(request, _MOST_FILES) as (said, files):
        return await run_in_threadpool(_start, request, name, said, files)


@router.post("/api/uploads", max_body_size=_MOST_BYTES)
async def bring(request: Request) -> Response:
    """Bring files along for runs (`multipart/form-data`, any field names); what requests may call them is answered."""
    async with read_files(request, _MOST_FILES) as (_, files):
        brought = await run_in_threadpool(_kept, request, files)
    return JSONResponse({"files": [{"field": field, "file": token} for field, token in brought]}, status_code=201)


@router.post("/api/apps/{name}")
async def start_by_json(request: Request, name: Name, values: Annotated[dict[str, Any], Body()]) -> Response:
    """Start a run; its address is in the answer."""
    job_id = await run_in_threadpool(runs.start_app, _ws(request), name, values, caller=caller_of(request))
    addresses = {"run": f"/api/apps/runs/{job_id}", "page": f"/apps/runs/{job_id}"}
    return JSONResponse({"job": job_id, **addresses}, status_code=202, headers={"location": addresses["run"]})


@router.post("/api/apps/{name}/quote")
async def quote_by_json(request: Request, name: Name, values: Annotated[dict[str, Any], Body()]) -> Response:
    """What a run would cost; nothing is made."""
    told = await run_in_threadpool(running.quote_app, _ws(request), name, values, caller=caller_of(request))
    return JSONResponse(told)


@router.post("/api/apps/runs/{job_id}/cancel")
def cancel_by_json(request: Request, job_id: Id) -> Response:
    """Ask a run to stop; nothing is charged for it."""
    runs.cancel_app(_ws(request), job_id, caller=caller_of(request))
    return run_json(request, job_id)


@router.post("/api/apps/runs/{job_id}/resume")
def resume_by_json(request: Request, job_id: Id) -> Response:
    """Take up a run that was stopped or failed; what is done stays done."""
    runs.resume_app(_ws(request), job_id, caller=caller_of(request))
    return run_json(request, job_id)


@router.post("/apps/runs/{job_id}/cancel", include_in_schema=False)
async def cancel(request: Request, job_id: Id) -> Response:
    """Ask a run to stop, and see it."""
    await read_form(request)
    with suppress(Rejected):  # it has ended meanwhile
        await run_in_threadpool(runs.cancel_app, _ws(request), job_id, caller=caller_of(request))
    return RedirectResponse(f"/apps/runs/{job_id}", status_code=303)


@router.post("/apps/runs/{job_id}/resume", include_in_schema=False)
async def resume(request: Request, job_id: Id) -> Response:
    """Take up a run again, and see it."""
    await read_form(request)
    with suppress(Rejected):  # it is at work, or done
        await run_in_threadpool(runs.resume_app, _ws(request), job_id, caller=caller_of(request))
    return RedirectResponse(f"/apps/runs/{job_id}", status_code=303)


def _kept(request: Request, files: Sequence[tuple[str, UploadFile]]) -> list[tuple[str, str]]:
    """The files of a form, each with the field it was chosen for and the name requests call it by from now on."""
    ws, caller = _ws(request), caller_of(request)
    return [(field, uploads.keep_upload(ws, one.filename or "", one.file, caller=caller)) for field, one in files]


def _start(request: Request, name: str, sent: Any, files: Sequence[tuple[str, UploadFile]]) -> Response:
    lang, caller = _lang(request), caller_of(request)
    said = {key: list(ones) for key, ones in sent.items() if key != "quote"}
    try:
        _bring(request, name, said, files)
        if "quote" in sent:
            return _quote(request, name, said)
        job_id = runs.start_app(_ws(request), name, forms.values_of(name, said), caller=caller)
    except MalanError as error:
        form = forms.app_form(name, lang, caller=caller, said=said)
        return _html(
            request,
            "app.html",
            status=status_of(error),
            form=form,
            failure=Failure.of(error, lang),
            quote=None,
            lacks=False,
        )
    return RedirectResponse(f"/apps/runs/{job_id}", status_code=303)


def _bring(request: Request, name: str, said: dict[str, list[str]], files: Sequence[tuple[str, UploadFile]]) -> None:
    """Put the names of the files into their fields, before what was there."""
    takes = forms.uploads_of(name)
    for field, token in _kept(request, [one for one in files if one[0] in takes]):
        said[field] = [token, *said.get(field, ())]


def _quote(request: Request, name: str, said: Any) -> Response:
    """The form again, with what it would cost, or why it cannot be."""
    lang, caller = _lang(request), caller_of(request)
    form, told, failure = forms.app_form(name, lang, caller=caller, said=said), None, None
    try:
        told = running.quote_app(_ws(request), name, forms.values_of(name, said), caller=caller)
    except MalanError as error:
        failure = error
    status = status_of(failure) if failure else 200
    shown = Failure.of(failure, lang) if failure else None
    return _html(request, "app.html", status=status, form=form, failure=shown, quote=told, lacks=False)


def _html(request: Request, template: str, **values: Any) -> Response:
    pages: Pages = request.app.state.pages
    return pages.html(request, template, **values)


def _ws(request: Request) -> Any:
    return request.app.state.workspace


def _lang(request: Request) -> str:
    return language_of(request.scope)
