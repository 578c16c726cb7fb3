"""The reviewer's desk: findings one by one, and what a person decides of each. It works without scripts."""

from __future__ import annotations

import dataclasses
from typing import Annotated, Any

from fastapi import APIRouter, Body, Path, Query, Request
from starlette.concurrency import run_in_threadpool
from starlette.responses import FileResponse, JSONResponse, RedirectResponse, Response

from malan.apps.review import desk
from malan.core.errors import UsageError
from malan.services.views import Failure
from malan.web.failures import status_of
from malan.web.forms import firsts, read_form
from malan.web.gate import caller_of
from malan.web.language import language_of
from malan.web.pages import Pages

router = APIRouter()
Job = Annotated[str, Path(pattern=r"^[0-9A-Za-z_-]{6,64}$")]
Id = Annotated[str, Path(pattern=r"^[0-9a-f]{20}$")]
Picture = Annotated[str, Path(pattern=r"^\d{3,4}-[\d.]{4,12}\.jpg$")]
Show = Annotated[str, Query(max_length=10)]
Finding = Annotated[str, Query(pattern=r"^[0-9a-f]{0,20}$")]


@router.get("/apps/runs/{job_id}/review.json")
def desk_json(request: Request, job_id: Job, show: Show = "waiting", finding: Finding = "") -> Response:
    """The points of a report, with what was decided."""
    return JSONResponse(dataclasses.asdict(_view(request, job_id, show, finding)))


@router.get("/apps/runs/{job_id}/review", include_in_schema=False)
def desk_page(request: Request, job_id: Job, show: Show = "waiting", finding: Finding = "") -> Response:
    return _page(request, _view(request, job_id, show, finding))


@router.post("/apps/runs/{job_id}/review", include_in_schema=False)
async def issue(request: Request, job_id: Job) -> Response:
    """Issue the report anew with what was decided."""
    await read_form(request)
    made = await run_in_threadpool(desk.issue, request.app.state.workspace, job_id, caller=caller_of(request))
    return RedirectResponse(f"/apps/runs/{made}", status_code=303)


@router.post("/apps/runs/{job_id}/review/{finding}", include_in_schema=False)
async def decide(request: Request, job_id: Job, finding: Id) -> Response:
    """Note a decision and go to the next point; what is missing comes back with the form."""
    said = firsts(await read_form(request))
    return await run_in_threadpool(_decide, request, job_id, finding, said)


@router.post("/api/apps/runs/{job_id}/review/{finding}")
def decide_by_json(request: Request, job_id: Job, finding: Id, said: Annotated[dict[str, Any], Body()]) -> Response:
    """Note a decision: `decision` (confirm, reject, waive), `reason`, `until`, `by`; `all` for all points like it."""
    texts = {name: str(said.get(name) or "") for name in ("decision", "by", "reason", "until")}
    ws, alike = request.app.state.workspace, said.get("all") is True
    made = desk.decide_point(ws, job_id, finding, **texts, alike=alike, caller=caller_of(request))
    return JSONResponse({**dataclasses.asdict(made[0]), "points": len(made)}, status_code=201)


@router.get("/apps/runs/{job_id}/review/pictures/{name}")
def picture(request: Request, job_id: Job, name: Picture) -> Response:
    """The picture of a finding."""
    path = desk.picture_of(request.app.state.workspace, job_id, name, caller=caller_of(request))
    return FileResponse(path, media_type="image/jpeg", headers={"cache-control": "private, max-age=3600"})


def _decide(request: Request, job_id: str, finding: str, said: dict[str, str]) -> Response:
    show = said.get("show", "waiting")
    before = _view(request, job_id, show, finding)
    try:
        desk.decide_point(
            request.app.state.workspace, job_id, finding, said.get("decision", ""), by=said.get("by", ""),
            reason=said.get("reason", ""), until=said.get("until"), alike="all" in said, caller=caller_of(request),
        )  # fmt: skip
    except UsageError as error:
        lang = language_of(request.scope)
        return _page(request, before, status=status_of(error), failure=Failure.of(error, lang), said=said)
    after = before.after or before.before or ""
    return RedirectResponse(f"/apps/runs/{job_id}/review?show={before.show}&finding={after}#point", status_code=303)


def _view(request: Request, job_id: str, show: str, finding: str) -> desk.DeskView:
    ws, lang = request.app.state.workspace, language_of(request.scope)
    return desk.desk_view(ws, job_id, lang, show=show, finding=finding, caller=caller_of(request))


def _page(request: Request, view: desk.DeskView, *, status: int = 200, **more: Any) -> Response:
    pages: Pages = request.app.state.pages
    return pages.html(request, "desk.html", status=status, view=view, **{"failure": None, "said": {}, **more})
