"""`/v1/videos` and `/v1/music`: asked for, looked at, listed, fetched, changed, ended. One shape for both.

    POST /v1/videos ─▶ queued ─▶ in_progress ─▶ completed ─▶ GET …/content

What clients of OpenAI, vLLM-Omni and SGLang send is understood: JSON or a form, a picture as a file, as data or as the
address of one (data only: nothing is fetched from elsewhere), lengths as numbers or text, any size, unknown fields.
Jobs of another party are not there. Start at `create`.
"""

from __future__ import annotations

import base64
import binascii
import shutil
from collections import Counter as Workers
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from starlette.concurrency import run_in_threadpool

from malan.apps.queue.asks import Wish, music_ask, remixed, video_ask, with_options
from malan.apps.queue.made import job_file
from malan.apps.running import INPUTS
from malan.core.errors import MalanError, NotFound, Rejected, UsageError
from malan.services.access import require
from malan.services.gateway.keys import Policy, describe_cost
from malan.services.jobs.expiry import expires_s
from malan.services.jobs.queue import (
    CANCELLED,
    DONE,
    EXPIRED,
    FAILED,
    FOLDER,
    OPEN,
    Job,
    cancel,
    forget,
    get_job,
    job_counts,
    list_jobs,
    live_workers,
    longest_waits,
    new_id,
    submit,
)
from malan.services.jobs.waiting import unattended
from malan.services.jobs.webhooks import check_webhook
from malan.services.outputs.recall import describe_marks, marks_of
from malan.web.gateway.call import Call, Early, read_object, whole_of
from malan.web.gateway.forms import Form, read_form
from malan.web.gateway.references import check_picture
from malan.web.ranges import RangeResponse

if TYPE_CHECKING:
    from malan.web.gateway.desk import Counter
    from malan.workspace import Workspace

KINDS = {"videos": "video", "music": "music"}
_MOST_PICTURE_BYTES = 48 * 2**20
_MOST_KEY = 255
_AGAIN_S = 2
_PICTURES = {b"\xff\xd8\xff": ".jpg", b"\x89PNG": ".png", b"RIFF": ".webp", b"GIF8": ".gif", b"II*\0": ".tif",
             b"MM\0*": ".tif"}  # fmt: skip


async def create(counter: Counter, call: Call) -> None:
    """Ask for a film or for music."""
    policy = await counter.policy(call)
    job_id = new_id(KINDS[call.parts[0]])
    said, picture = await _asked(counter, call, job_id)
    job = await run_in_threadpool(_create, counter, call, policy, said, picture, job_id)
    await call.reply_json(describe(counter.ws, job, call.lang))


async def remix(counter: Counter, call: Call) -> None:
    """The same again, with other words."""
    policy = await counter.policy(call)
    before = await run_in_threadpool(_job, counter, call, policy)
    if before.state == EXPIRED:
        raise NotFound("gateway.expired", id=before.id)
    if before.state != DONE:
        raise Rejected("gateway.not_done", id=before.id, state=before.state)
    job_id = new_id(before.sort)
    said, picture = await _asked(counter, call, job_id)
    again = remixed({**before.asked, "model": before.model}, said)
    picture = picture or await run_in_threadpool(_picture_of, counter, before, job_id)
    job = await run_in_threadpool(_create, counter, call, policy, again, picture, job_id, before.id)
    await call.reply_json(describe(counter.ws, job, call.lang))


async def retrieve(counter: Counter, call: Call) -> None:
    """A job as it stands; what a recall says of its files too."""
    job, marks, absent = await run_in_threadpool(_look, counter, call)
    told = describe(counter.ws, job, call.lang)
    told["malan"]["recalled"] = marks
    if absent is not None:
        told["malan"]["no_worker"] = {"code": absent.code, "message": absent.message(call.lang),
                                      "since": absent.values["since_s"]}  # fmt: skip
    await call.reply_json(told)


async def list_all(counter: Counter, call: Call) -> None:
    """Jobs of the key's party, page by page."""
    policy = await counter.policy(call)
    limit, order = whole_of(call.query, "limit", 20, 1, 100), call.query.get("order") or "desc"
    if order not in ("asc", "desc"):
        raise UsageError("gateway.bad_field", field="order", wanted="asc, desc")
    page = {"after": call.query.get("after", ""), "limit": limit, "is_rising": order == "asc"}
    mine = {"party_id": policy.party_id, "sort": KINDS[call.parts[0]]}
    found, has_more = await run_in_threadpool(lambda: list_jobs(counter.ws, **mine, **page))  # type: ignore[arg-type]
    data = [describe(counter.ws, job, call.lang) for job in found]
    ends = {"first_id": data[0]["id"] if data else None, "last_id": data[-1]["id"] if data else None}
    await call.reply_json({"object": "list", "data": data, **ends, "has_more": has_more})


async def content(counter: Counter, call: Call) -> None:
    """What was made, by range; the owners are asked again before a byte leaves."""
    policy = await counter.policy(call)
    job = await run_in_threadpool(_job, counter, call, policy)
    if job.state in OPEN:
        raise Early("gateway.not_yet", id=job.id, state=job.state, wait_s=_AGAIN_S)
    if job.state == EXPIRED:
        raise NotFound("gateway.expired", id=job.id)
    if job.state != DONE:
        error = job.error or MalanError("gateway.cancelled")
        raise Rejected("gateway.nothing_made", id=job.id, reason=error.message(call.lang))
    usual = "video" if job.sort == "video" else "audio"
    variant = call.query.get("variant") or usual
    path, kind = await run_in_threadpool(lambda: job_file(counter.ws, job, variant, caller=policy.caller))
    headers = {"cache-control": "private, no-store", "content-disposition": f'attachment; filename="{_plain(path)}"'}
    reply = RangeResponse(path, etag=f"{job.id}-{path.stat().st_mtime_ns}", media_type=kind, headers=headers)
    await call.hand_over(reply)


async def delete(counter: Counter, call: Call) -> None:
    """Take a job and what it made away; one that is at work ends first."""
    policy = await counter.policy(call)
    job = await run_in_threadpool(_delete, counter, call, policy)
    told = {"id": job.id, "object": f"{job.sort}.deleted", "deleted": True}
    await call.reply_json(told)


async def end(counter: Counter, call: Call) -> None:
    """Ask a job to end."""
    policy = await counter.policy(call)
    job = await run_in_threadpool(lambda: cancel(counter.ws, _job(counter, call, policy)))
    await call.reply_json(describe(counter.ws, job, call.lang))


ROUTES: tuple[tuple[str, str, str, Callable[[Counter, Call], Awaitable[None]]], ...] = (
    ("POST", "", "create", create),
    ("GET", "", "list", list_all),
    ("GET", "/ID", "retrieve", retrieve),
    ("DELETE", "/ID", "delete", delete),
    ("GET", "/ID/content", "content", content),
    ("POST", "/ID/remix", "remix", remix),
    ("POST", "/ID/cancel", "cancel", end),
)


def describe(ws: Workspace, job: Job, lang: str) -> dict[str, Any]:
    """A job as clients read it: cancelled is failed to them, expired completed, for they know no other words."""
    state = {CANCELLED: FAILED, EXPIRED: DONE}.get(job.state, job.state)
    until_s = expires_s(ws, job)
    error = job.error
    told: dict[str, Any] = {
        "id": job.id, "object": job.sort, "model": job.model, "status": state, "progress": job.percent,
        "created_at": int(job.created_s), "completed_at": int(job.ended_s) if job.ended_s else None,
        "expires_at": int(until_s) if until_s else None,
        "size": job.asked.get("size"), "seconds": str(job.asked.get("seconds", "")),
        "prompt": job.asked.get("prompt"), "quality": "standard",
        "remixed_from_video_id": job.remixed_from or None,
        "error": None,
    }  # fmt: skip
    if error:
        told["error"] = {"code": _code(job), "message": f"{error.message(lang)} {error.hint(lang)}".strip()}
    cost = describe_cost(job.micro, job.currency or "CNY")
    mode = job.told.get("mode") or job.request.get("mode") or ""
    made = {
        "mode": mode, "engine": job.told.get("engine") or job.request.get("model") or job.app,
        "provenance_id": job.told.get("provenance_id") or job.id, "sources": list(job.told.get("sources", ())),
        "cost": cost, "app": job.app, "current": job.current, "expired": job.state == EXPIRED,
        "files": [{"name": one["path"], "what": one["what"]} for one in job.told.get("files", ())],
    }  # fmt: skip
    return told | {"malan": made}


def metrics_page(counter: Counter) -> str:
    """The page for Prometheus."""
    now = datetime.now(UTC).timestamp()
    workers = Workers(live_workers(counter.ws, now))
    return counter.counts.page(job_counts(counter.ws), workers, longest_waits(counter.ws, now))


def _code(job: Job) -> str:
    return "cancelled" if job.state == CANCELLED else job.code


def _look(counter: Counter, call: Call) -> tuple[Job, list[dict[str, Any]], MalanError | None]:
    job = _job(counter, call, counter.policy_now(call))
    outputs = [str(one["output"]) for one in job.told.get("files", ()) if one.get("output")]
    marks = marks_of(counter.ws, outputs) if outputs else {}
    absent = unattended(counter.ws, [job]).get(job.id)
    return job, describe_marks([mark for found in marks.values() for mark in found]), absent


def _job(counter: Counter, call: Call, policy: Policy) -> Job:
    return get_job(counter.ws, call.parts[1], party_id=policy.party_id, sort=KINDS[call.parts[0]])


def _create(
    counter: Counter, call: Call, policy: Policy, said: dict[str, Any], picture: Path | None, job_id: str,
    remixed_from: str = "",
) -> Job:  # fmt: skip
    """Write the job down; what was sent along goes again where there is none in the end."""
    from dataclasses import replace

    ws = counter.ws
    try:
        require(policy.caller, "app.run")
        webhook = said.get("webhook_url") or ""
        if webhook:
            check_webhook(ws, str(webhook))
        name = call.headers.get("idempotency-key") or said.get("idempotency_key") or None
        if name is not None and (not isinstance(name, str) or len(name) > _MOST_KEY or not name.isprintable()):
            raise UsageError("gateway.bad_field", field="idempotency_key", wanted=f"text, 1–{_MOST_KEY}")
        make = video_ask if call.parts[0] == "videos" else music_ask
        ask = make(ws, counter.book.current(), policy, Wish(said, picture, job_id))
        ask = replace(with_options(ask, said, name, str(webhook)), remixed_from=remixed_from)
        job = submit(ws, ask)
    except BaseException:
        shutil.rmtree(ws.root / FOLDER / job_id, ignore_errors=True)
        raise
    if job.id != job_id:
        shutil.rmtree(ws.root / FOLDER / job_id, ignore_errors=True)
    return job


def _delete(counter: Counter, call: Call, policy: Policy) -> Job:
    job = _job(counter, call, policy)
    if job.state in OPEN:
        job = cancel(counter.ws, job)
        if not job.is_over:
            raise Early("gateway.ending", id=job.id, wait_s=_AGAIN_S)
    forget(counter.ws, job)
    shutil.rmtree(counter.ws.root / job.folder, ignore_errors=True)
    return job


async def _asked(counter: Counter, call: Call, job_id: str) -> tuple[dict[str, Any], Path | None]:
    """Every field that was sent, and the picture, written down for the job."""
    kind = call.headers.get("content-type", "").partition(";")[0].strip().lower()
    if kind == "multipart/form-data":
        async with read_form(call) as form:
            said, data = _fields(form), await form.file("input_reference", _MOST_PICTURE_BYTES)
    else:
        said, data = read_object(await call.body(_MOST_PICTURE_BYTES * 2)), None
    reference = said.pop("input_reference", None)
    if data is None and reference not in (None, "", {}):
        data = _referred(reference)
    return said, None if data is None else await run_in_threadpool(_keep, counter, job_id, data)


def _fields(form: Form) -> dict[str, Any]:
    """Fields of a form; those that hold JSON objects are read."""
    found: dict[str, Any] = {}
    for name, value in form.fields.items():
        plain = name.removesuffix("[]")
        if value.startswith("{") and plain in ("input_reference", "extra_body", "extra_params", "metadata"):
            found[plain] = read_object(value.encode())
        else:
            found[plain] = value
    for part in ("image_url", "file_id"):
        if f"input_reference[{part}]" in found:
            found["input_reference"] = {part: found.pop(f"input_reference[{part}]")}
    return found


def _referred(said: Any) -> bytes:
    """The picture inside a request: `data:` alone, for nothing is fetched from elsewhere on a stranger's word.

    Raises:
        UsageError: It is something else.
    """
    if isinstance(said, dict):
        said = said.get("image_url") if "image_url" in said else None
    if isinstance(said, dict):
        said = said.get("url")
    head, comma, data = said.partition(",") if isinstance(said, str) else ("", "", "")
    if not comma or not head.startswith("data:image/") or not head.endswith(";base64"):
        raise UsageError("gateway.bad_reference")
    try:
        found = base64.b64decode(data, validate=True)
    except (binascii.Error, ValueError):
        raise UsageError("gateway.bad_reference") from None
    if not 0 < len(found) <= _MOST_PICTURE_BYTES:
        raise UsageError("web.too_long", limit=_MOST_PICTURE_BYTES)
    return found


def _keep(counter: Counter, job_id: str, data: bytes) -> Path:
    """A picture beside its job, by an ending that its own first bytes tell."""
    ending = next((ending for mark, ending in _PICTURES.items() if data.startswith(mark)), None)
    if ending is None:
        raise UsageError("gateway.no_picture")
    folder = counter.ws.root / FOLDER / job_id / INPUTS
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"reference{ending}"
    try:
        path.write_bytes(data)
        check_picture(path)
    except (OSError, MalanError):
        shutil.rmtree(folder.parent, ignore_errors=True)
        raise
    return path


def _picture_of(counter: Counter, before: Job, job_id: str) -> Path | None:
    """The picture another job began with."""
    folder = counter.ws.root / before.folder / INPUTS
    found = next(iter(sorted(folder.iterdir())), None) if folder.is_dir() else None
    return None if found is None else _keep(counter, job_id, found.read_bytes())


def _plain(path: Path) -> str:
    return "".join(one if one.isascii() and (one.isalnum() or one in "-_.") else "_" for one in path.name)


__all__ = ["KINDS", "ROUTES", "describe", "metrics_page"]
