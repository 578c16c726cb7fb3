"""Parties, their roles, logins and keys: the list, one party, and the steps an administrator takes.

A password or key that was just made is shown by the reply to the step itself and by no other page, so such a reply is
kept by nobody. Start at `step`.
"""

from __future__ import annotations

import json
from typing import Annotated, Any

from fastapi import APIRouter, Path, Request
from starlette.concurrency import run_in_threadpool
from starlette.responses import RedirectResponse, Response

from malan.core.errors import MalanError
from malan.services.access import ROLES
from malan.services.accounts import desk
from malan.services.accounts.parties import KINDS
from malan.services.views import Failure
from malan.web.failures import status_of
from malan.web.forms import read_form
from malan.web.gate import caller_of
from malan.web.language import language_of

router = APIRouter()
Id = Annotated[str, Path(pattern=r"^[0-9a-f]{64}$")]
Step = Annotated[str, Path(pattern=r"^[a-z-]{2,20}$")]


@router.get("/parties", include_in_schema=False)
def parties_page(request: Request) -> Response:
    return _parties(request)


@router.get("/parties.json")
def parties_json(request: Request) -> Response:
    """Everybody who was admitted, with roles and logins."""
    return _json(desk.parties_page(_ws(request), caller=caller_of(request)))


@router.post("/parties", include_in_schema=False)
async def admit(request: Request) -> Response:
    """Admit a party and show its page; with a login, also the password, once."""
    return await run_in_threadpool(_admit, request, await read_form(request))


@router.get("/parties/{party}.json")
def party_json(request: Request, party: Id) -> Response:
    """One party with its logins and keys, without their secrets."""
    return _json(desk.party_page(_ws(request), party, caller=caller_of(request)))


@router.get("/parties/{party}", include_in_schema=False)
def party_page(request: Request, party: Id) -> Response:
    return _party(request, party)


@router.post("/parties/{party}/{step}", include_in_schema=False)
async def step(request: Request, party: Id, step: Step) -> Response:
    """Give or take roles, make a login, a password or a key, shut out, let in, sign out."""
    return await run_in_threadpool(_step, request, party, step, await read_form(request))


def _admit(request: Request, said: desk.Said) -> Response:
    try:
        done = desk.admit(_ws(request), said, caller=caller_of(request))
    except MalanError as error:
        return _parties(request, error, said)
    if done.password:
        return _party(request, done.party.id, done=done)
    return RedirectResponse(f"/parties/{done.party.id}", status_code=303)


def _step(request: Request, party: str, step: str, said: desk.Said) -> Response:
    try:
        done = desk.take_step(_ws(request), party, step, said, caller=caller_of(request))
    except MalanError as error:
        return _party(request, party, error=error)
    if done.password or done.key:
        return _party(request, party, done=done)
    return RedirectResponse(f"/parties/{party}", status_code=303)


def _parties(request: Request, error: MalanError | None = None, said: desk.Said | None = None) -> Response:
    view = desk.parties_page(_ws(request), caller=caller_of(request))
    return _html(request, "parties.html", error, view=view, said=said or {})


def _party(request: Request, party: str, *, done: desk.Done | None = None, error: MalanError | None = None) -> Response:
    view = desk.party_page(_ws(request), party, caller=caller_of(request))
    reply = _html(request, "party.html", error, view=view, done=done)
    reply.headers["cache-control"] = "no-store"
    return reply


def _html(request: Request, template: str, error: MalanError | None, **values: Any) -> Response:
    failure = Failure.of(error, language_of(request.scope)) if error else None
    status = status_of(error) if error else 200
    pages = request.app.state.pages
    reply: Response = pages.html(request, template, status=status, failure=failure, roles=ROLES, kinds=KINDS, **values)
    return reply


def _json(found: dict[str, Any]) -> Response:
    return Response(json.dumps(found, ensure_ascii=False), media_type="application/json")


def _ws(request: Request) -> Any:
    return request.app.state.workspace
