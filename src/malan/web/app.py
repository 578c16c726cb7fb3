"""The console as one ASGI application. Start reading at `create_app`."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

from fastapi import FastAPI
from fastapi.exceptions import RequestValidationError
from fastapi.staticfiles import StaticFiles
from starlette.exceptions import HTTPException
from starlette.middleware.body_limit import MAX_BODY_SIZE_SCOPE_KEY, RequestBodyLimitMiddleware
from starlette.requests import Request
from starlette.responses import JSONResponse, RedirectResponse, Response
from starlette.routing import BaseRoute
from starlette.types import Scope

from malan import __version__
from malan.core.catalogue import LANGUAGES
from malan.core.errors import MalanError, NotFound, UsageError
from malan.services.jobs.health import is_well
from malan.services.spoken import size
from malan.services.views import Failure
from malan.web import (
    app_pages,
    asset_pages,
    board_pages,
    job_pages,
    log_pages,
    market_pages,
    media_files,
    party_pages,
    program_pages,
    review_pages,
    search_pages,
    signin_pages,
    statement_pages,
    training_pages,
)
from malan.web.built import FOLDER
from malan.web.failures import failure_response, status_of
from malan.web.gate import Gate, Who
from malan.web.gateway.app import Gateway
from malan.web.guard import LOOPBACK, MAX_BODY_BYTES, Guard
from malan.web.language import COOKIE, COOKIE_AGE_S, language_of
from malan.web.pages import Pages

if TYPE_CHECKING:
    from malan.workspace import Workspace

_PAGES = (
    search_pages,
    asset_pages,
    job_pages,
    media_files,
    log_pages,
    signin_pages,
    market_pages,
    board_pages,
    review_pages,
    app_pages,
    training_pages,
    statement_pages,
    party_pages,
    program_pages,
)


def create_app(workspace: Workspace, *, hosts: Iterable[str] = LOOPBACK) -> FastAPI:
    """The console over one workspace.

    Args:
        workspace: What is shown.
        hosts: The names it may be called by, without port; every other Host is refused. With a name that is not this
            machine's own, nobody gets in without an account.
    """
    app = FastAPI(title="Malan", version=__version__, docs_url=None, redoc_url=None)
    app.state.workspace = workspace
    app.state.pages = Pages()
    for module in _PAGES:
        app.include_router(module.router)
    app.add_api_route("/healthz", _health, include_in_schema=False)
    app.add_api_route("/readyz", _readiness, include_in_schema=False)
    app.add_api_route("/language/{lang}", _choose_language, methods=["POST"], include_in_schema=False)
    app.mount("/static", _Static(directory=FOLDER.parent), name="static")
    app.add_exception_handler(MalanError, _failed)
    app.add_exception_handler(RequestValidationError, _misused)
    app.add_exception_handler(HTTPException, _refused)
    app.add_exception_handler(Exception, _broken)
    names = tuple(hosts)
    app.state.who = Who(workspace, names)
    app.add_middleware(Gate, routes=routes_of(app), who=app.state.who, tell=_tell)
    app.add_middleware(Gateway, workspace=workspace)
    app.add_middleware(RequestBodyLimitMiddleware, max_body_size=MAX_BODY_BYTES)
    app.add_middleware(Guard, hosts=names, tell=_too_large)
    return app


def routes_of(app: FastAPI) -> list[BaseRoute]:
    """Every route of the console, in the order they are tried: what is not among them the gate lets nobody reach."""
    own = [route for route in app.routes if hasattr(route, "path")]
    return [*(route for module in _PAGES for route in module.router.routes), *own]


class _Static(StaticFiles):
    """Built files carry a hash in their names: they never change under one name."""

    async def get_response(self, path: str, scope: Scope) -> Response:
        reply = await super().get_response(path, scope)
        if path.startswith("built/assets/") and reply.status_code in (200, 206, 304):
            reply.headers["cache-control"] = "public, max-age=31536000, immutable"
        return reply


def _health() -> JSONResponse:
    """That this process answers. What it stands on is asked at `/readyz`: starting it anew would not mend that."""
    return JSONResponse({"status": "ok", "version": __version__})


def _readiness(request: Request) -> JSONResponse:
    """Whether requests may be sent here; what is wrong stands in the log, for this page is open to all."""
    is_ready = is_well(request.app.state.workspace) and not getattr(request.app.state, "is_stopping", False)
    return JSONResponse({"status": "ready" if is_ready else "not ready"}, status_code=200 if is_ready else 503)


async def _choose_language(request: Request, lang: str) -> Response:
    """Remember the language and go back to the page the form stood on."""
    if lang not in LANGUAGES:
        raise UsageError("web.bad_request", detail=f"language {lang}")
    form = await request.form()
    back = str(form.get("back", "/"))
    if not back.startswith("/") or back.startswith(("//", "/\\")) or not back.isprintable():
        back = "/"
    reply = RedirectResponse(back, status_code=303)
    reply.set_cookie(COOKIE, lang, max_age=COOKIE_AGE_S, httponly=True, samesite="lax")
    return reply


# Failures: JSON where JSON was asked for, else a page that says the same.


async def _failed(request: Request, error: Exception) -> Response:
    assert isinstance(error, MalanError)  # noqa: S101 - what it is registered for
    return _tell(request, error)


async def _misused(request: Request, error: Exception) -> Response:
    assert isinstance(error, RequestValidationError)  # noqa: S101
    first = error.errors()[0]
    place = ".".join(str(part) for part in first["loc"][1:])
    return _tell(request, UsageError("web.bad_request", detail=f"{place}: {first['msg']}"))


async def _refused(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)  # noqa: S101
    if error.status_code == 413:
        return _too_large(request)
    if error.status_code == 404:
        return _tell(request, NotFound("web.no_page", path=request.url.path[:200]))
    return _tell(request, UsageError("web.bad_request", detail=str(error.detail)), error.status_code)


def _too_large(request: Request) -> Response:
    limit = request.scope.get(MAX_BODY_SIZE_SCOPE_KEY, MAX_BODY_BYTES)
    return _tell(request, UsageError("web.too_large", limit=size(limit)), 413)


async def _broken(request: Request, error: Exception) -> Response:
    """A defect of ours: the log has the traceback, the reader a sentence."""
    return _tell(request, MalanError("web.defect", kind=type(error).__name__), 500)


def _tell(request: Request, error: MalanError, status: int | None = None) -> Response:
    lang, status = language_of(request.scope), status or status_of(error)
    wants_page = "text/html" in request.headers.get("accept", "") and not request.url.path.endswith(".json")
    if not wants_page or request.url.path.startswith(("/media/", "/static/")):
        return failure_response(error, lang, status=status)
    pages: Pages = request.app.state.pages
    template = "_failure.html" if request.headers.get("hx-request") else "failure.html"
    return pages.html(request, template, status=status, failure=Failure.of(error, lang))
