"""What clients of the gateway ask for, as jobs of apps: names of models to apps, sizes to formats, extras to fields.

    {"model", "prompt", "seconds", "size", "input_reference", …} ─▶ Ask(app, request, device, price, …)

Fields that a client sends besides and that the app knows are handed on; those it does not know are left alone, so that
clients made for other servers work. Files of this machine can never be named so. Start at `video_ask`, `music_ask`.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, get_args, get_origin

from malan.apps.builtin import app_named
from malan.apps.frame import BY_MACHINE
from malan.apps.queue.fits import check_memory
from malan.apps.running import INPUTS, prepare, quote_app, read_request
from malan.apps.video.script import RULES, most_tokens
from malan.core.errors import NotFound, UsageError
from malan.services.access import Caller
from malan.services.gateway.book import APP_MODELS, Named, check_currency_of
from malan.services.gateway.keys import Policy
from malan.services.gateway.prices import FREE, Price, price_for
from malan.services.jobs.queue import FOLDER, Ask, new_id
from malan.services.jobs.queue_costs import asking
from malan.services.outputs.manifests import file_digest
from malan.services.outputs.publish import AiPart, check_producer

if TYPE_CHECKING:
    from malan.workspace import Workspace

ASSEMBLE, MOTION, COMPOSE = APP_MODELS
_SIZE = re.compile(r"([1-9][0-9]{0,4})[x*×]([1-9][0-9]{0,4})")
_ENGINES = ("planner",)  # fields besides `model` that name an engine
_MOST_SECONDS = 3_600
_USUAL_SECONDS = {"video": 4, "music": 30}
_OURS = frozenset({
    "model", "prompt", "seconds", "size", "input_reference", "duration", "mode", "file", "image", "out", "extra_body",
    "webhook_url", "priority", "idempotency_key", "metadata", "user", "tags", "n",
})  # fmt: skip


@dataclass(frozen=True, slots=True)
class Wish:
    """What a client asks for, read and checked as far as no app is needed for it.

    Args:
        said: Every field it sent.
        picture: The file it sent along, written down here.
        job_id: Under which that lies.
    """

    said: Mapping[str, Any]
    picture: Path | None = None
    job_id: str = ""


def video_ask(ws: Workspace, named: Named, policy: Policy, wish: Wish) -> Ask:
    """A film, from words or from a picture.

    Raises:
        NotFound: The model leads nowhere.
        UsageError: A field makes no sense.
    """
    said = wish.said
    model = str(said.get("model") or (MOTION if wish.picture else ASSEMBLE))
    prompt, seconds = _prompt(said), seconds_of(said, "video")
    size = said.get("size") or "1280x720"
    width, height = size_of(size)
    app, mode, row = _target(named, policy, model, "video")
    if model == MOTION and wish.picture is None:
        raise UsageError("gateway.needs_picture", model=model)
    if wish.picture is not None and row is None:  # nothing is assembled from a picture: it moves
        app, mode = "picture", "render"
    values = {"prompt": prompt, "seconds": float(seconds), **shape_of(app, width, height), "mode": mode}
    values |= {"model": row.name} if row is not None else {}
    if wish.picture is not None:
        values["file" if app == "picture" else "image"] = str(wish.picture)
    asked = {"prompt": prompt, "size": size, "seconds": str(said.get("seconds") or seconds)}
    if wish.picture is not None:
        asked["reference"] = file_digest(wish.picture)
    price = price_for(named.prices, model, row)
    device = row.device if row is not None else "cpu"
    return _ask(ws, named, policy, app, values, said, asked, price, Fraction(seconds), sort="video", model=model,
                device=device, job_id=wish.job_id)  # fmt: skip


def music_ask(ws: Workspace, named: Named, policy: Policy, wish: Wish) -> Ask:
    """Music, from tags.

    Raises:
        NotFound, UsageError: As `video_ask`.
    """
    said = wish.said
    model = str(said.get("model") or COMPOSE)
    prompt = _prompt(said, needed=not said.get("tags"))
    seconds = seconds_of(said, "music")
    _, mode, row = _target(named, policy, model, "music")
    values: dict[str, Any] = {"tags": tags_of(said.get("tags") or prompt), "seconds": float(seconds)}
    values |= {"mode": "infer", "model": row.name} if row is not None else {"mode": mode}
    asked = {"prompt": prompt or ", ".join(values["tags"]), "seconds": str(said.get("seconds") or seconds)}
    price = price_for(named.prices, model, row)
    device = row.device if row is not None else "cpu"
    return _ask(ws, named, policy, "music", values, said, asked, price, Fraction(seconds), sort="music", model=model,
                device=device, job_id=wish.job_id)  # fmt: skip


def app_ask(ws: Workspace, name: str, values: Mapping[str, Any], *, caller: Caller) -> Ask:
    """A run of an app as the console and `POST /api/apps/NAME` ask for it.

    It is named by its request, party and library, so that the same asked twice is one job in one folder.

    Raises:
        MalanError: As `apps.running.prepare`; nothing is asked for.
    """
    ready = prepare(ws, name, values, caller=caller)
    request, run = ready.request.model_dump(mode="json"), ready.run
    check_maker(ws, name, request)
    check_memory(ws, name, request)
    model = str(request.get("model") or "")
    return Ask(name, request, "app", model or name, _device(ws, model) if model else "cpu", caller.party_id or "",
               asked={"run": run}, idempotency=f"run:{run}", folder=f"exports/{name}-{run[:12]}")  # fmt: skip


def remixed(before: Mapping[str, Any], said: Mapping[str, Any]) -> dict[str, Any]:
    """What a job is asked for again, with other words."""
    kept = {key: before[key] for key in ("model", "size", "seconds") if before.get(key)}
    return {**kept, **{key: value for key, value in said.items() if key != "model"}}


def seconds_of(said: Mapping[str, Any], sort: str) -> Fraction:
    """A length as a number or as text.

    Raises:
        UsageError: It is none, or out of bounds.
    """
    value = said.get("seconds", said.get("duration"))
    value = _USUAL_SECONDS[sort] if value is None or value == "" else value
    try:
        found = Fraction(str(value)) if not isinstance(value, bool) and len(str(value)) < 20 else Fraction(-1)
    except (ValueError, ZeroDivisionError):
        found = Fraction(-1)
    if not 0 < found <= _MOST_SECONDS:
        raise UsageError("gateway.bad_field", field="seconds", wanted=f"0–{_MOST_SECONDS}")
    return found


def size_of(value: Any) -> tuple[int, int]:
    """`1280x720` as width and height.

    Raises:
        UsageError: It is none, or nobody can make it.
    """
    match = _SIZE.fullmatch(value) if isinstance(value, str) else None
    width, height = (int(match[1]), int(match[2])) if match else (0, 0)
    if not (16 <= width <= 8192 and 16 <= height <= 8192):
        raise UsageError("gateway.bad_field", field="size", wanted="16x16–8192x8192")
    return width, height


def tags_of(value: Any) -> tuple[str, ...]:
    """Tags from a list, or from words with commas between.

    Raises:
        UsageError: There are none.
    """
    listed = value if isinstance(value, list) else re.split(r"[,，、;；\n]", value if isinstance(value, str) else "")
    found = tuple(dict.fromkeys(one.strip() for one in listed if isinstance(one, str) and one.strip()))
    if not found or len(found) > 40 or any(len(one) > 200 for one in found):
        raise UsageError("gateway.bad_field", field="tags", wanted="1–40")
    return found


def shape_of(app: str, width: int, height: int) -> dict[str, Any]:
    """The format and lines of an app that come nearest to a size."""
    fields = app_named(app).request.model_fields
    found: dict[str, Any] = {}
    if "format" in fields:
        kind: Any = fields["format"].annotation
        is_list = get_origin(kind) is tuple
        inner: Any = get_args(kind)[0] if is_list else kind
        ratios = [one for one in get_args(inner) if isinstance(one, str) and ":" in one]
        if ratios:
            best = min(ratios, key=lambda one: abs(_log_ratio(one) - _log(width / height)))
            found["format"] = (best,) if is_list else best
    if "lines" in fields and get_origin(fields["lines"].annotation) is Literal:
        known = [one for one in get_args(fields["lines"].annotation) if isinstance(one, int)]
        found["lines"] = min(known, key=lambda one: abs(one - min(width, height)))
    return found


def _ask(
    ws: Workspace, named: Named, policy: Policy, app: str, values: dict[str, Any], said: Mapping[str, Any],
    asked: Mapping[str, Any], price: Price, seconds: Fraction, **more: Any,
) -> Ask:  # fmt: skip
    request = _fitting(app, values, said)
    for name in _ENGINES:
        if request.get(name) and not policy.may_ask(str(request[name])) and name not in values:
            raise NotFound("gateway.no_model", model=str(request[name])[:120])
    job_id = more.pop("job_id") or new_id(more["sort"])
    inputs = ws.root / FOLDER / job_id / INPUTS
    request = read_request(app_named(app), request).model_dump(mode="json")
    check_maker(ws, app, request)
    check_memory(ws, app, request)
    quoted = quote_app(ws, app, request, caller=policy.caller, given=inputs)["cost"]
    quote = int(quoted["minor"]) if quoted["currency"] == policy.currency else 0
    check_currency_of(policy, price.currency if price is not FREE else "")
    paid = {"currency": policy.currency, "request": price.request, "second": price.second,
            "seconds": float(seconds), "quoted": quote, "asking": _planning(named, policy, app, request)}  # fmt: skip
    return Ask(app, request, asked=dict(asked), price=paid, party_id=policy.party_id, prefix=policy.prefix,
               key_app=policy.app, job_id=job_id, **more)  # fmt: skip


def check_maker(ws: Workspace, app: str, request: Mapping[str, Any]) -> None:
    """What a machine makes carries the code of its provider: better asked for now than when it is made.

    Raises:
        UsageError: There is none, or it is none.
    """
    card = app_named(app).card
    mode = str(request.get("mode") or card.mode)
    has_part = card.is_labelled or mode in BY_MACHINE or request.get("bed") or request.get("speaker")
    if card.makes_media and has_part and not request.get("plan_only"):
        check_producer(ws, AiPart("generated"), Path("made.mp4"))


def _planning(named: Named, policy: Policy, app: str, request: Mapping[str, Any]) -> dict[str, Any]:
    """What the language model may come to that plans a film, where one is asked (`apps.video.script.planner_of`)."""
    if app != "video" or request.get("mode") != "assemble" or request.get("planner") == RULES or request.get("script"):
        return {}
    name = str(request.get("planner") or "") or next((row.name for row in named.book.of_kind("chat")), "")
    price = named.prices.get(name, FREE)
    check_currency_of(policy, price.currency)
    taken, given = most_tokens(str(request.get("prompt") or ""))
    return asking(price, name, input_tokens=taken, output_tokens=given)


def _fitting(app: str, values: Mapping[str, Any], said: Mapping[str, Any]) -> dict[str, Any]:
    """Values that are fields of the app; of what the client sent besides, those that name no file."""
    fields = app_named(app).request.model_fields
    extra = said.get("extra_body")
    sent = {**(extra if isinstance(extra, dict) else {}), **said}
    found = {}
    for name, field in fields.items():
        held = field.json_schema_extra
        is_file = isinstance(held, dict) and bool(held.get("file"))
        if name in values:
            found[name] = values[name]
        elif name in sent and name not in _OURS and not is_file and sent[name] not in (None, ""):
            found[name] = _plain(sent[name], field.annotation)
    return found


def _plain(value: Any, annotation: Any) -> Any:
    """Forms send text: lists have commas between."""
    if get_origin(annotation) is tuple and isinstance(value, str):
        return tuple(one.strip() for one in value.split(",") if one.strip())
    return tuple(value) if isinstance(value, list) else value


def _target(named: Named, policy: Policy, model: str, kind: Literal["video", "music"]) -> tuple[str, str, Any]:
    """The app, its mode, and the engine where one is needed."""
    if model in named.book.names:
        row = named.rows(policy, model, kind)[0]
        return kind, "diffuse" if kind == "video" else "infer", row
    if model not in APP_MODELS or APP_MODELS[model][0] != kind or not policy.may_ask(model):
        raise NotFound("gateway.no_model", model=model[:120])
    return kind, APP_MODELS[model][1], None


def _device(ws: Workspace, model: str) -> str:
    from malan.services.engines.settings import read_engines

    rows = read_engines(ws).engines
    return rows[model].device if model in rows else "cpu"


def _prompt(said: Mapping[str, Any], *, needed: bool = True) -> str:
    value = said.get("prompt", "")
    if not isinstance(value, str) or len(value) > 32_000 or (needed and not value.strip()):
        raise UsageError("gateway.bad_field", field="prompt", wanted="text, 1–32000")
    return value


def _log_ratio(text: str) -> float:
    width, _, height = text.partition(":")
    return _log(int(width) / int(height))


def _log(ratio: float) -> float:
    from math import log

    return log(ratio)


def with_options(ask: Ask, said: Mapping[str, Any], idempotency: str | None, webhook: str) -> Ask:
    """The same with how a client wants it done: how urgent, under which name, whom to tell."""
    priority = said.get("priority") or "normal"
    if not isinstance(priority, str) or priority not in ("low", "normal"):
        raise UsageError("gateway.bad_priority", priority=str(priority)[:40], known="low, normal")
    return replace(ask, priority=priority, idempotency=idempotency, webhook=webhook)
