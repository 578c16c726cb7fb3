"""Jobs: the page, the same as JSON, and the stream of what changes."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Annotated

from fastapi import APIRouter, Path, Request
from starlette.concurrency import run_in_threadpool
from starlette.responses import JSONResponse, Response, StreamingResponse

from malan.core.errors import RetryLater
from malan.services.access import NotSignedIn, may
from malan.services.jobs import watch
from malan.web.gate import caller_of
from malan.web.language import language_of
from malan.web.pages import Pages, to_json

router = APIRouter()
Id = Annotated[str, Path(pattern=r"^[0-9A-Za-z_-]{6,64}$")]
LOOK_EVERY_S = 0.4
SAY_ALIVE_EVERY_S = 15.0
ASK_WHO_EVERY_S = 5.0
MOST_STREAMS = 32


@router.get("/jobs", include_in_schema=False)
def jobs_page(request: Request) -> Response:
    workspace, pages, lang = request.app.state.workspace, request.app.state.pages, language_of(request.scope)
    return pages.html(request, "jobs.html", view=watch.jobs(workspace, lang, caller=caller_of(request)))  # type: ignore[no-any-return]


@router.get("/jobs.json")
def jobs_json(request: Request) -> Response:
    """Jobs, the latest first, and what was refused."""
    return Pages.json(watch.jobs(request.app.state.workspace, language_of(request.scope), caller=caller_of(request)))


@router.get("/jobs/running.json")
def running(request: Request) -> Response:
    """How many jobs run."""
    return JSONResponse({"running": watch.count_running(request.app.state.workspace, caller=caller_of(request))})


@router.post("/jobs/{job_id}/retry")
def retry(request: Request, job_id: Id) -> Response:
    """Take up a job again: what failed is tried once more, what is done stays done."""
    return Pages.json(
        watch.retry(request.app.state.workspace, job_id, language_of(request.scope), caller=caller_of(request))
    )


@router.post("/jobs/{job_id}/cancel")
def cancel(request: Request, job_id: Id) -> Response:
    """Ask a job to stop."""
    return Pages.json(
        watch.cancel(request.app.state.workspace, job_id, language_of(request.scope), caller=caller_of(request))
    )


@router.get("/jobs/events")
async def events(request: Request) -> Response:
    """Server-sent events: `jobs` with the whole view whenever it changed."""
    state = request.app.state
    if getattr(state, "streams", 0) >= MOST_STREAMS:
        raise RetryLater("web.too_many_streams", limit=MOST_STREAMS)
    return StreamingResponse(_changes(request), media_type="text/event-stream")


async def _changes(request: Request) -> AsyncIterator[bytes]:
    """The view at once, then each time it differs; a comment now and then keeps the line open."""
    state, last, quiet_s, unasked_s = request.app.state, b"", 0.0, 0.0
    watcher = watch.Watcher(state.workspace, language_of(request.scope))
    state.streams = getattr(state, "streams", 0) + 1
    try:
        while not await request.is_disconnected() and not getattr(state, "is_stopping", False):
            text = to_json(await run_in_threadpool(watcher.look))
            if text != last:
                last, quiet_s = text, 0.0
                yield b"event: jobs\ndata: " + text + b"\n\n"
            elif quiet_s >= SAY_ALIVE_EVERY_S:
                quiet_s = 0.0
                yield b": alive\n\n"
            await asyncio.sleep(LOOK_EVERY_S)
            quiet_s, unasked_s = quiet_s + LOOK_EVERY_S, unasked_s + LOOK_EVERY_S
            if unasked_s >= ASK_WHO_EVERY_S:
                unasked_s = 0.0
                if not await run_in_threadpool(_may_still, request):
                    return
    finally:
        state.streams -= 1


def _may_still(request: Request) -> bool:
    """Whether whoever follows the jobs is still signed in, and may."""
    try:
        return may(request.app.state.who(request), "jobs.see")
    except NotSignedIn:
        return False
