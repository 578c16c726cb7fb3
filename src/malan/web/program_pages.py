"""Programs that ask the gateway, with keys, budgets and use; the engines that answer them; settings of the house.

A key that was just made is shown by the reply to the form and by no other page. Start at `programs_page`.
"""

from __future__ import annotations

import json
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Path, Request
from starlette.concurrency import run_in_threadpool
from starlette.responses import RedirectResponse, Response

from malan.core.errors import MalanError
from malan.services import settings
from malan.services.engines import desk as engines
from malan.services.gateway import programs
from malan.services.views import Failure
from malan.web.failures import status_of
from malan.web.forms import firsts, read_form
from malan.web.gate import caller_of
from malan.web.language import language_of

router = APIRouter()
Prefix = Annotated[str, Path(pattern=r"^(mk_)?[0-9A-Za-z]{4,20}$")]
Change = Literal["end", "budget"]


@router.get("/programs", include_in_schema=False)
def programs_page(request: Request) -> Response:
    return _programs(request)


@router.get("/programs.json")
def programs_json(request: Request) -> Response:
    """Keys of the gateway with what they may, what is left of their budgets, and a month of use."""
    return _json(programs.programs_page(_ws(request), caller=caller_of(request)))


@router.post("/programs", include_in_schema=False)
async def make(request: Request) -> Response:
    """Make a key; the reply is the only page that shows it."""
    return await run_in_threadpool(_make, request, firsts(await read_form(request)))


@router.post("/programs/{prefix}/{change}", include_in_schema=False)
async def change(request: Request, prefix: Prefix, change: Change) -> Response:
    """End a key, or give it another budget."""
    return await run_in_threadpool(_change, request, prefix, change, firsts(await read_form(request)))


@router.get("/engines", include_in_schema=False)
def engines_page(request: Request) -> Response:
    view = engines.engines_page(_ws(request), language_of(request.scope), caller=caller_of(request))
    reply: Response = request.app.state.pages.html(request, "engines.html", view=view)
    return reply


@router.get("/engines.json")
def engines_json(request: Request) -> Response:
    """Engines as written down, with what is missing for each; names that lead to them; prices."""
    return _json(engines.engines_page(_ws(request), language_of(request.scope), caller=caller_of(request)))


@router.get("/settings", include_in_schema=False)
def settings_page(request: Request) -> Response:
    return _settings(request)


@router.get("/settings.json")
def settings_json(request: Request) -> Response:
    """What an operator may change while everything runs."""
    return _json(settings.settings_page(_ws(request), caller=caller_of(request)))


@router.post("/settings", include_in_schema=False)
async def change_settings(request: Request) -> Response:
    """Write settings down and go by them from now on."""
    return await run_in_threadpool(_change_settings, request, firsts(await read_form(request)))


def _change_settings(request: Request, said: dict[str, str]) -> Response:
    try:
        changed = settings.change_settings(_ws(request), said, caller=caller_of(request))
    except MalanError as error:
        return _settings(request, error=error, said=said)
    return _settings(request, changed=changed)


def _settings(
    request: Request,
    *,
    error: MalanError | None = None,
    said: dict[str, str] | None = None,
    changed: tuple[str, ...] | None = None,
) -> Response:
    view = settings.settings_page(_ws(request), caller=caller_of(request))
    failure = Failure.of(error, language_of(request.scope)) if error else None
    values = {"view": view, "failure": failure, "said": said or {}, "changed": changed}
    pages, status = request.app.state.pages, status_of(error) if error else 200
    reply: Response = pages.html(request, "settings.html", status=status, severities=settings.SEVERITIES, **values)
    return reply


def _make(request: Request, said: dict[str, str]) -> Response:
    try:
        made = programs.make_program(_ws(request), said, caller=caller_of(request))
    except MalanError as error:
        return _programs(request, error=error, said=said)
    return _programs(request, made=made)


def _change(request: Request, prefix: str, change: str, said: dict[str, str]) -> Response:
    try:
        programs.change_program(_ws(request), prefix, change, said, caller=caller_of(request))
    except MalanError as error:
        return _programs(request, error=error)
    return RedirectResponse("/programs", status_code=303)


def _programs(
    request: Request, *, error: MalanError | None = None, said: dict[str, str] | None = None, made: Any = None
) -> Response:
    view = programs.programs_page(_ws(request), caller=caller_of(request))
    failure = Failure.of(error, language_of(request.scope)) if error else None
    status, values = status_of(error) if error else 200, {"failure": failure, "said": said or {}, "made": made}
    address = f"{request.url.scheme}://{request.url.netloc}/v1"
    reply: Response = request.app.state.pages.html(
        request, "programs.html", status=status, view=view, address=address, **values
    )
    reply.headers["cache-control"] = "no-store"
    return reply


def _json(found: dict[str, Any]) -> Response:
    return Response(json.dumps(found, ensure_ascii=False), media_type="application/json")


def _ws(request: Request) -> Any:
    return request.app.state.workspace
