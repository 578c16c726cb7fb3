"""What owners are asked, what runs on their footage, and the models that come of it: pages, steps, the same as JSON.

What anybody sees here, and which step stands on a page, is said by `services.runs.owners_desk`; every step is checked
again by the service that does it.
"""

from __future__ import annotations

import json
import re
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Path, Request
from starlette.concurrency import run_in_threadpool
from starlette.responses import RedirectResponse, Response

from malan.core.errors import MalanError, UsageError
from malan.services.models.rights import retire_model
from malan.services.outputs.recall import recall_model, restore_outputs
from malan.services.runs import owners_desk as desk
from malan.services.runs.approvals import approve_algorithm, reject_algorithm, trust_publisher
from malan.services.runs.submission import cancel_run, decide_run, resume_run, run_log, run_receipt
from malan.services.views import Failure
from malan.web.failures import status_of
from malan.web.forms import firsts, read_form
from malan.web.gate import caller_of
from malan.web.language import language_of

router = APIRouter()
Digest = Annotated[str, Path(pattern=r"^[0-9a-f]{64}$")]
Id = Annotated[str, Path(pattern=r"^[0-9a-f]{64}$")]
Word = Literal["approve", "reject"]
Step = Literal["release", "refuse", "cancel", "resume"]
_DIGEST = re.compile(r"[0-9a-f]{64}")
Mark = Literal["recall", "restore", "retire"]


@router.get("/approvals", include_in_schema=False)
def approvals_page(request: Request) -> Response:
    view = desk.approvals_page(_ws(request), _lang(request), caller=caller_of(request))
    return _html(request, "approvals.html", view=view)


@router.get("/approvals.json")
def approvals_json(request: Request) -> Response:
    """Code that asks to run on footage, with what each owner said; and runs the gate holds for a person."""
    return _json(desk.approvals_page(_ws(request), _lang(request), caller=caller_of(request)))


@router.get("/approvals/{digest}.json")
def approval_json(request: Request, digest: Digest) -> Response:
    """One version of an algorithm, with its source."""
    return _json(desk.approval_page(_ws(request), digest, _lang(request), caller=caller_of(request)))


@router.get("/approvals/{digest}", include_in_schema=False)
def approval_page(request: Request, digest: Digest) -> Response:
    return _approval(request, digest)


@router.post("/approvals/{digest}/{word}", include_in_schema=False)
async def say(request: Request, digest: Digest, word: Word) -> Response:
    """Give an owner's word on code, and see what stands now."""
    said = firsts(await read_form(request))
    return await run_in_threadpool(_say, request, digest, word, said)


@router.post("/trust/{party}", include_in_schema=False)
async def trust(request: Request, party: Id) -> Response:
    """Approve whatever a party submits, now and later, or stop doing so; then see what stands."""
    said = await read_form(request)
    return await run_in_threadpool(_trust, request, party, firsts(said), list(said.get("owner", ())))


@router.get("/runs", include_in_schema=False)
def runs_page(request: Request) -> Response:
    return _html(request, "runs.html", view=desk.runs_page(_ws(request), _lang(request), caller=caller_of(request)))


@router.get("/runs.json")
def runs_json(request: Request) -> Response:
    """The runs the caller may see, the latest first."""
    return _json(desk.runs_page(_ws(request), _lang(request), caller=caller_of(request)))


@router.get("/runs/{run}.json")
def run_json(request: Request, run: Id) -> Response:
    """A run, in the copy that is the caller's."""
    return _json(desk.run_page(_ws(request), run, _lang(request), caller=caller_of(request)))


@router.get("/runs/{run}", include_in_schema=False)
def run_page(request: Request, run: Id) -> Response:
    return _run(request, run)


@router.get("/runs/{run}/receipt")
def receipt(request: Request, run: Id) -> Response:
    """The signed receipt of a run: the buyer's copy or the owners'."""
    data = run_receipt(_ws(request), run, caller=caller_of(request)).to_file() + b"\n"
    held = {"content-disposition": f'attachment; filename="malan-receipt-{run[:12]}.json"'}
    return Response(data, media_type="application/json", headers=held)


@router.get("/runs/{run}/log")
def log(request: Request, run: Id) -> Response:
    """What the program printed, for those it may be shown to."""
    text = run_log(_ws(request), run, caller=caller_of(request))
    return Response(text, media_type="text/plain; charset=utf-8", headers={"content-security-policy": "sandbox"})


@router.post("/runs/{run}/{step}", include_in_schema=False)
async def act(request: Request, run: Id, step: Step) -> Response:
    """Decide what the gate holds, end a run or take it up again, and see it."""
    said = firsts(await read_form(request))
    return await run_in_threadpool(_act, request, run, step, said)


@router.get("/models", include_in_schema=False)
def models_page(request: Request) -> Response:
    return _html(request, "models.html", view=desk.models_page(_ws(request), caller=caller_of(request)))


@router.get("/models.json")
def models_json(request: Request) -> Response:
    """The models the caller may see, the newest first."""
    return _json(desk.models_page(_ws(request), caller=caller_of(request)))


@router.get("/models/{model}.json")
def model_json(request: Request, model: Id) -> Response:
    """A model with its licence, shares, figures and uses."""
    return _json(desk.model_page(_ws(request), model, caller=caller_of(request)))


@router.get("/models/{model}", include_in_schema=False)
def model_page(request: Request, model: Id) -> Response:
    return _model(request, model)


@router.post("/models/{model}/{mark}", include_in_schema=False)
async def mark(request: Request, model: Id, mark: Mark) -> Response:
    """Mark every file a model had a part in, take the marks back, or take the model out of use for good."""
    said = firsts(await read_form(request))
    return await run_in_threadpool(_mark, request, model, mark, said)


def _say(request: Request, digest: str, word: str, said: dict[str, str]) -> Response:
    decide = approve_algorithm if word == "approve" else reject_algorithm
    try:
        decide(_ws(request), digest, reason=said.get("reason", ""), caller=caller_of(request))
    except MalanError as error:
        return _approval(request, digest, error, said)
    return RedirectResponse(f"/approvals/{digest}", status_code=303)


def _trust(request: Request, party: str, said: dict[str, str], owners: list[str]) -> Response:
    digest, ws, caller = said.get("digest", ""), _ws(request), caller_of(request)
    try:
        trusted, reason = said.get("trusted") == "1", said.get("reason", "")
        if trusted and not said.get("sure"):
            raise UsageError("admin.not_sure")
        trust_publisher(ws, party, trusted=trusted, reason=reason, owners=owners, caller=caller)
    except MalanError as error:
        if not _DIGEST.fullmatch(digest):
            raise
        return _approval(request, digest, error, said)
    return RedirectResponse(f"/approvals/{digest}" if _DIGEST.fullmatch(digest) else "/approvals", status_code=303)


def _act(request: Request, run: str, step: str, said: dict[str, str]) -> Response:
    ws, caller, reason = _ws(request), caller_of(request), said.get("reason", "")
    try:
        if step in ("release", "refuse"):
            decide_run(ws, run, step, reason, caller=caller)
        elif step == "cancel":
            cancel_run(ws, run, reason, caller=caller)
        else:
            resume_run(ws, run, caller=caller)
    except MalanError as error:
        return _run(request, run, error, said)
    return RedirectResponse(f"/runs/{run}", status_code=303)


def _mark(request: Request, model: str, mark: str, said: dict[str, str]) -> Response:
    ws, caller, reason = _ws(request), caller_of(request), said.get("reason", "")
    try:
        if mark == "recall":
            recall_model(ws, model, reason=reason, caller=caller)
        elif mark == "restore":
            restore_outputs(ws, model, reason=reason, caller=caller)
        elif said.get("sure"):
            retire_model(ws, model, reason, caller=caller)
        else:
            raise UsageError("admin.not_sure")
    except MalanError as error:
        return _model(request, model, error, said)
    return RedirectResponse(f"/models/{model}", status_code=303)


def _approval(request: Request, digest: str, error: MalanError | None = None, said: Any = None) -> Response:
    view = desk.approval_page(_ws(request), digest, _lang(request), caller=caller_of(request))
    return _again(request, "approval.html", view, error, said)


def _run(request: Request, run: str, error: MalanError | None = None, said: Any = None) -> Response:
    view = desk.run_page(_ws(request), run, _lang(request), caller=caller_of(request))
    used = {name: float(seconds) for name, seconds in view.get("used", {}).items()}
    bars = {
        "metrics": [(f"metrics.{name}", value) for name, value in view.get("metrics", {}).items()],
        "used": [(name, part / (sum(used.values()) or 1), f"{part:g} s") for name, part in used.items()],
    }
    return _again(request, "run.html", view, error, said, bars=bars)


def _model(request: Request, model: str, error: MalanError | None = None, said: Any = None) -> Response:
    view = desk.model_page(_ws(request), model, caller=caller_of(request))
    shares = [(one["name"], float(one["share"]), f"{100 * float(one['share']):.1f}%") for one in view["shares"]]
    return _again(request, "model.html", view, error, said, bars={"shares": shares})


def _again(request: Request, template: str, view: Any, error: MalanError | None, said: Any, **more: Any) -> Response:
    """A page, with what went wrong and what was written when a step was not done."""
    failure = Failure.of(error, _lang(request)) if error else None
    status = status_of(error) if error else 200
    return _html(request, template, view=view, failure=failure, said=said or {}, status=status, **more)


def _html(request: Request, template: str, **values: Any) -> Response:
    reply: Response = request.app.state.pages.html(request, template, **values)
    return reply


def _json(found: dict[str, Any]) -> Response:
    """As the commands print it: fractions as they are signed, `3/4`."""
    text = json.dumps(found, ensure_ascii=False, default=str)
    return Response(text.encode("utf-8", "backslashreplace"), media_type="application/json")


def _ws(request: Request) -> Any:
    return request.app.state.workspace


def _lang(request: Request) -> str:
    return language_of(request.scope)
