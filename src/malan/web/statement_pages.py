"""Who is owed what, and the proof: statements, the file anybody can check, objections, settling a month.

Start at `statement_page`.
"""

from __future__ import annotations

import json
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Path, Query, Request
from starlette.concurrency import run_in_threadpool
from starlette.responses import RedirectResponse, Response

from malan.core.errors import MalanError
from malan.services.settlement import desk
from malan.services.settlement.disputes import decide_dispute, dispute
from malan.services.settlement.statement_files import statement_file, write_statement
from malan.services.settlement.statements import get_statement
from malan.services.views import Failure
from malan.web.failures import status_of
from malan.web.forms import firsts, read_form
from malan.web.gate import caller_of
from malan.web.language import language_of

router = APIRouter()
Id = Annotated[str, Path(pattern=r"^[0-9a-f]{64}$")]
Party = Annotated[str, Query(pattern=r"^([0-9a-f]{64})?$")]
Step = Literal["dispute", "uphold", "reject"]


@router.get("/statements", include_in_schema=False)
def statements_page(request: Request) -> Response:
    return _statements(request)


@router.get("/statements.json")
def statements_json(request: Request) -> Response:
    """Statements the caller may see, what stands to each party, and bills of app runs."""
    return _json(desk.statements_page(_ws(request), caller=caller_of(request)))


@router.post("/statements", include_in_schema=False)
async def settle(request: Request) -> Response:
    """Try a month, or settle it for good."""
    return await run_in_threadpool(_settle, request, firsts(await read_form(request)))


@router.get("/statements/{statement}.json")
def statement_json(request: Request, statement: Id) -> Response:
    """One statement: lines, fees, parts, objections."""
    return _json(desk.statement_page(_ws(request), statement, caller=caller_of(request)))


@router.get("/statements/{statement}", include_in_schema=False)
def statement_page(request: Request, statement: Id) -> Response:
    return _statement(request, statement)


@router.get("/statements/{statement}/file")
def proof(request: Request, statement: Id, party: Party = "") -> Response:
    """The statement as one file that anybody checks offline: of one party, or for an auditor all rows."""
    ws, caller = _ws(request), caller_of(request)
    found = get_statement(ws, statement, caller=caller)
    data = write_statement(statement_file(ws, found, party or None, caller=caller))
    name = f"malan-statement-{found.period}-{(party or 'all')[:8]}.json"
    return Response(
        data, media_type="application/json", headers={"content-disposition": f'attachment; filename="{name}"'}
    )


@router.post("/statements/{statement}/{step}", include_in_schema=False)
async def act(request: Request, statement: Id, step: Step) -> Response:
    """Object to a statement as a party in it, or decide what others objected to."""
    return await run_in_threadpool(_act, request, statement, step, firsts(await read_form(request)))


def _settle(request: Request, said: dict[str, str]) -> Response:
    ws, caller = _ws(request), caller_of(request)
    try:
        if said.get("for_good"):
            return RedirectResponse(f"/statements/{desk.settle_month(ws, said, caller=caller)}", status_code=303)
        return _statements(request, said=said, draft=desk.draft_statement(ws, said, caller=caller))
    except MalanError as error:
        return _statements(request, error=error, said=said)


def _act(request: Request, statement: str, step: str, said: dict[str, str]) -> Response:
    ws, caller = _ws(request), caller_of(request)
    try:
        if step == "dispute":
            dispute(ws, statement, caller.party_id or "", said.get("reason", ""), caller=caller)
        else:
            decide_dispute(ws, statement, uphold=step == "uphold", caller=caller)
    except MalanError as error:
        return _statement(request, statement, error, said)
    return RedirectResponse(f"/statements/{statement}", status_code=303)


def _statements(request: Request, *, error: MalanError | None = None, said: Any = None, draft: Any = None) -> Response:
    view = desk.statements_page(_ws(request), caller=caller_of(request))
    return _html(request, "statements.html", error, view=view, said=said or {}, draft=draft)


def _statement(request: Request, statement: str, error: MalanError | None = None, said: Any = None) -> Response:
    view = desk.statement_page(_ws(request), statement, caller=caller_of(request))
    return _html(request, "statement.html", error, view=view, said=said or {})


def _html(request: Request, template: str, error: MalanError | None, **values: Any) -> Response:
    failure = Failure.of(error, language_of(request.scope)) if error else None
    status = status_of(error) if error else 200
    reply: Response = request.app.state.pages.html(request, template, status=status, failure=failure, **values)
    return reply


def _json(found: dict[str, Any]) -> Response:
    return Response(json.dumps(found, ensure_ascii=False), media_type="application/json")


def _ws(request: Request) -> Any:
    return request.app.state.workspace
