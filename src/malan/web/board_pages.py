"""The storyboard of a promo on a table: the page, what shots may be swapped for, and keeping each state."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import APIRouter, Body, Path, Query, Request
from starlette.responses import JSONResponse, RedirectResponse, Response

from malan.apps.promo import editing
from malan.web.gate import caller_of
from malan.web.pages import Pages

router = APIRouter()
Digest = Annotated[str, Path(pattern=r"^[0-9a-f]{64}$")]
Job = Annotated[str, Path(pattern=r"^[0-9A-Za-z_-]{6,64}$")]
Run = Annotated[str, Query(alias="run", pattern=r"^[0-9A-Za-z_-]{0,64}$")]
Clip = Annotated[str, Query(pattern=r"^[0-9a-f]{64}$")]
Words = Annotated[str, Query(alias="q", max_length=300)]


@router.get("/apps/runs/{job_id}/board", include_in_schema=False)
def board_of_run(request: Request, job_id: Job) -> Response:
    """To the storyboard a run left."""
    digest = editing.board_of_run(request.app.state.workspace, job_id, caller=caller_of(request))
    return RedirectResponse(f"/apps/boards/{digest}?run={job_id}", status_code=303)


@router.get("/apps/boards/{digest}.json")
def board_json(request: Request, digest: Digest, run: Run = "") -> Response:
    """A storyboard, with what its shots are."""
    view = editing.board_view(request.app.state.workspace, digest, run=run, caller=caller_of(request))
    return Pages.json(view)


@router.get("/apps/boards/{digest}", include_in_schema=False)
def board_page(request: Request, digest: Digest, run: Run = "") -> Response:
    view = editing.board_view(request.app.state.workspace, digest, run=run, caller=caller_of(request))
    pages: Pages = request.app.state.pages
    return pages.html(request, "board.html", view=view)


@router.get("/apps/boards/others/{clip_id}.json")
def others(request: Request, clip_id: Digest, words: Words = "", run: Run = "") -> Response:
    """Clips a shot may be swapped for."""
    ws = request.app.state.workspace
    found = editing.others(ws, clip_id, words, run=run, caller=caller_of(request))
    return Pages.json(editing.Others(tuple(found)))


@router.post("/apps/boards")
def keep(request: Request, board: Annotated[dict[str, Any], Body()]) -> Response:
    """Keep a storyboard; its digest names it."""
    digest = editing.save_board(request.app.state.workspace, board, caller=caller_of(request))
    return JSONResponse({"board": digest}, status_code=201)
