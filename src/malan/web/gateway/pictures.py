"""`/v1/images/generations`: pictures as base64. What a model of this machine makes is labelled, signed and logged.

An endpoint that answers with addresses is not followed: only what it sends itself counts. Start at `generations`.
"""

from __future__ import annotations

import base64
import binascii
import time
from typing import Any

from starlette.concurrency import run_in_threadpool

from malan.apps.queue.asks import size_of
from malan.core.errors import UsageError
from malan.inference.backends import ImageAsk, Stop
from malan.inference.openai_passthrough import UpstreamFailed
from malan.services.engines.settings import EngineRow
from malan.services.gateway.made import keep_pictures
from malan.web.gateway.call import Call, dump, parse_json, text_of, whole_of
from malan.web.gateway.desk import Counter, Paid, model_of
from malan.web.gateway.engines import ask_endpoint, with_engine
from malan.web.gateway.words import hold

_MOST_PROMPT = 32_000


async def generations(counter: Counter, call: Call) -> None:
    """Pictures from words."""
    await counter.known(call)
    said = await call.json()
    model, prompt = model_of(said), text_of(said, "prompt", most=_MOST_PROMPT)
    await hold(counter, {"prompt": prompt})
    count, seed = whole_of(said, "n", 1, 1, 10), whole_of(said, "seed", 0, 0, 2**31 - 1)
    size = said.get("size") or "1024x1024"
    width, height = size_of("1024x1024" if size == "auto" else size)
    if said.get("response_format") not in (None, "b64_json"):
        raise UsageError("gateway.bad_field", field="response_format", wanted="b64_json")
    if said.get("stream"):
        raise UsageError("gateway.bad_field", field="stream", wanted="false")
    async with counter.paid(call, model, "image", images=count) as paid:

        async def ask(row: EngineRow) -> tuple[list[str], str]:
            if row.is_remote:
                return await _ask_remote(counter, row, said, count), ""
            wanted = ImageAsk(prompt, width, height, seed, str(said.get("negative_prompt") or "")[:_MOST_PROMPT],
                              count, whole_of(said, "num_inference_steps", 0, 0, 200))  # fmt: skip
            return await _make(counter, paid, row, wanted)

        pictures, output = await call.unless_gone(counter.in_turn(paid, ask))
        told = await counter.settle(paid, mode="diffuse", provenance=output, images=len(pictures))
    data = [{"b64_json": one} for one in pictures]
    answer = {"created": int(time.time()), "data": data, "output_format": "png", "malan": told}
    await call.reply_json(answer, headers={"x-request-id": paid.id})


async def _make(counter: Counter, paid: Paid, row: EngineRow, wanted: ImageAsk) -> tuple[list[str], str]:
    def use(engine: Any, stop: Stop) -> Any:
        return engine.paint(wanted, stop=stop)

    caller = paid.policy.caller
    pictures_NHWC = await with_engine(counter, row, "image", caller, use, wanted.amount)
    made = await run_in_threadpool(keep_pictures, counter.ws, row, pictures_NHWC, wanted.prompt[:80], caller)
    return [base64.b64encode(one.data).decode() for one in made], made[0].output_id


async def _ask_remote(counter: Counter, row: EngineRow, said: dict[str, Any], count: int) -> list[str]:
    body, _ = await ask_endpoint(counter, row, "/images/generations", dump(said | {"model": row.model}))
    try:
        found = parse_json(body)["data"]
        pictures = [str(one["b64_json"]) for one in found]
        for one in pictures:
            if len(base64.b64decode(one, validate=True)) < 16:
                raise ValueError
    except (ValueError, KeyError, TypeError, RecursionError, binascii.Error):
        raise UpstreamFailed("gateway.upstream_garbage", engine=row.name, detail="b64_json") from None
    if not 0 < len(pictures) <= count:
        raise UpstreamFailed("gateway.upstream_garbage", engine=row.name, detail=f"{len(pictures)}")
    return pictures
