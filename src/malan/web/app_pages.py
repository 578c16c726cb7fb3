"""Micro-apps in the console: cards, a form made from each request, a run and what it left, and the same by HTTP."""

from __future__ import annotations

from contextlib import suppress
from typing import Annotated, Any

from fastapi import APIRouter, Body, Path, Query, Request
from starlette.concurrency import run_in_threadpool
from starlette.responses import JSONResponse, RedirectResponse, Response

from malan.apps import forms, run_page, running, view
from malan.apps.queue import runs
from malan.core.errors import MalanError, Rejected
from malan.services.views import Failure
from malan.web.failures import status_of
from malan.web.forms import read_form
from malan.web.gate import caller_of
from malan.web.language import language_of
from malan.web.pages import Pages
from malan.web.ranges import RangeResponse

router = APIRouter()
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


@router.get("/apps/runs/{job_id}/files/{name}")
def run_file(request: Request, job_id: Id, name: File) -> Response:
    """A file a run left, by range."""
    path, kind = view.run_file(_ws(request), job_id, name, caller=caller_of(request))
    held = {"cache-control": "private, no-cache", "content-security-policy": "sandbox"}
    return RangeResponse(path, etag=f"{job_id}-{path.stat().st_mtime_ns}", media_type=kind, headers=held)


@router.get("/apps/{name}", include_in_schema=False)
def app_page(request: Request, name: Name, again: Again = "") -> Response:
    """The form, empty or as a run was asked for."""
    caller = caller_of(request)
    said = forms.said_by(runs.run_of(_ws(request), again, caller=caller).request) if again else None
    form = forms.app_form(name, _lang(request), caller=caller, said=said)
    return _html(request, "app.html", form=form, failure=None, quote=None)


@router.post("/apps/{name}", include_in_schema=False)
async def start(request: Request, name: Name) -> Response:
    """Start a run from the form and go to it."""
    said = await read_form(request)
    return await run_in_threadpool(_start, request, name, said)


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


def _start(request: Request, name: str, said: Any) -> Response:
    lang, caller = _lang(request), caller_of(request)
    values = {key: one for key, one in said.items() if key != "quote"}
    if "quote" in said:
        return _quote(request, name, values)
    said = values
    try:
        job_id = runs.start_app(_ws(request), name, forms.values_of(name, said), caller=caller)
    except MalanError as error:
        form = forms.app_form(name, lang, caller=caller, said=said)
        return _html(
            request, "app.html", status=status_of(error), form=form, failure=Failure.of(error, lang), quote=None
        )
    return RedirectResponse(f"/apps/runs/{job_id}", status_code=303)


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
    return _html(request, "app.html", status=status, form=form, failure=shown, quote=told)


def _html(request: Request, template: str, **values: Any) -> Response:
    pages: Pages = request.app.state.pages
    return pages.html(request, template, **values)


def _ws(request: Request) -> Any:
    return request.app.state.workspace


def _lang(request: Request) -> str:
    return language_of(request.scope)
