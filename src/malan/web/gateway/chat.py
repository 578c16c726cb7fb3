"""`/v1/chat/completions` and `/v1/embeddings`: passed on as they came, counted, and told what they cost.

A reply is checked before anything is charged: half a JSON, garbage or silence is an error, and the next engine of the
route is asked, as long as nothing has gone to the client. In a stream, what is told of cost comes with the last piece,
so a client that knows nothing of it sees the pieces it knows. Start at `chat`.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from typing import Any, TypeGuard

from malan.core.errors import MalanError, UsageError
from malan.inference.openai_passthrough import UpstreamFailed
from malan.services.engines.settings import EngineRow
from malan.web.gateway.call import Call, dump, error_body, parse_json, read_object, whole_of
from malan.web.gateway.desk import Counter, Paid, key_of, model_of
from malan.web.gateway.words import Saying, hold, texts_of_answer, texts_of_chat

MOST_TOKENS = 131_072
USUAL_TOKENS = 4_096  # held where a client names no bound
_MOST_INPUTS = 2_048


async def chat(counter: Counter, call: Call) -> None:
    """Go on with a conversation."""
    await counter.known(call)  # a stranger's words are not even read
    body = await call.body()
    said = read_object(body)
    model = model_of(said)
    if not isinstance(said.get("messages"), list) or not said["messages"]:
        raise UsageError("gateway.bad_field", field="messages", wanted="[{role, content}]")
    await hold(counter, texts_of_chat(said))
    bound = "max_completion_tokens" if said.get("max_completion_tokens") is not None else "max_tokens"
    most = whole_of(said, bound, USUAL_TOKENS, 1, MOST_TOKENS) * whole_of(said, "n", 1, 1, 16)
    async with counter.paid(call, model, "chat", input_tokens=len(body), output_tokens=most) as paid:
        if said.get("stream"):
            await call.unless_gone(_stream(counter, call, paid, said))
            return
        answer, told = await call.unless_gone(_whole(counter, paid, said))
    answer["model"] = model
    await call.reply_json(answer | {"malan": told}, headers={"x-request-id": paid.id})


async def _whole(counter: Counter, paid: Paid, said: dict[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
    async def ask(row: EngineRow) -> dict[str, Any]:
        found, _ = await _ask(counter, row, "/chat/completions", said | {"model": row.model})
        answer = _object(row, found)
        if not isinstance(answer.get("choices"), list) or not answer["choices"]:
            raise _garbage(row, "choices")
        return answer

    answer = await counter.in_turn(paid, ask)
    await hold(counter, texts_of_answer(answer), where="output")
    taken, given = _counted(answer)
    return answer, await counter.settle(paid, input_tokens=taken, output_tokens=given)


async def _stream(counter: Counter, call: Call, paid: Paid, said: dict[str, Any]) -> None:
    """Piece by piece; the one that ends a choice waits until the count is known."""
    wants_usage = bool((said.get("stream_options") or {}).get("include_usage"))
    options = {**(said.get("stream_options") or {}), "include_usage": True}
    flow = _Flow(paid.model)
    async with AsyncExitStack() as open_:

        async def ask(row: EngineRow) -> tuple[AsyncIterator[bytes], dict[str, Any]]:
            body = dump(said | {"model": row.model, "stream_options": options})
            asked = counter.upstream.events(
                row.name, _address(row, "/chat/completions"), body, key=key_of(row), timeout_s=row.timeout_s,
                at_once=row.at_once,
            )  # fmt: skip
            events = await open_.enter_async_context(asked)
            try:
                return events, _event(row, await anext(events))
            except StopAsyncIteration:
                raise UpstreamFailed("gateway.upstream_half", engine=row.name) from None

        events, first = await counter.in_turn(paid, ask)
        await call.begin("text/event-stream; charset=utf-8", headers={"x-request-id": paid.id})
        assert paid.engine is not None  # noqa: S101 - it has answered
        try:
            await _pass_on(call, paid.engine, events, first, flow, Saying(counter))
            told = await counter.settle(paid, input_tokens=flow.taken, output_tokens=flow.given)
            await call.piece(flow.last(told, wants_usage=wants_usage), is_last=True)
        except MalanError as error:
            if not error.code.startswith("guard."):  # what it said is no fault of the engine's working
                counter.counts.failed(paid.engine.name, error.code)
            await counter.give_back(paid)
            await call.piece(_line(error_body(error, call.lang)), is_last=True)
        except BaseException:  # nobody reads any more: what was delivered is owed
            if flow.pieces and not paid.is_settled:
                await counter.settle(paid, input_tokens=flow.taken, output_tokens=flow.given or flow.pieces)
            raise


async def _pass_on(
    call: Call, row: EngineRow, events: AsyncIterator[bytes], first: dict[str, Any], flow: _Flow,
    saying: Saying,
) -> None:  # fmt: skip
    await saying.hold(first)
    ready = flow.take(first)
    if ready:
        await call.piece(ready)
    async for data in events:
        if data == b"[DONE]":
            break
        event = _event(row, data)
        await saying.hold(event)
        ready = flow.take(event)
        if ready:
            await call.piece(ready)
    if not flow.ends:
        raise UpstreamFailed("gateway.upstream_half", engine=row.name)


class _Flow:
    """Pieces of one reply: what may go on at once, what waits for the end, what was counted."""

    def __init__(self, model: str) -> None:
        self._model = model
        self.ends: list[dict[str, Any]] = []
        self._usage: dict[str, Any] | None = None
        self.pieces, self.taken, self.given = 0, 0, 0

    def take(self, event: dict[str, Any]) -> bytes:
        """What of a piece may go on now."""
        event["model"] = self._model
        if event.get("usage"):
            self.taken, self.given = _counted(event)
            if not event["choices"]:
                self._usage = event
                return b""
        if any(choice.get("finish_reason") for choice in event["choices"] if isinstance(choice, dict)):
            self.ends.append(event)
            return b""
        self.pieces += 1
        return _line(event)

    def last(self, told: dict[str, Any], *, wants_usage: bool) -> bytes:
        """The end: what waited, with what there is to tell."""
        self.ends[-1]["malan"] = told
        rest = [*self.ends, *([self._usage | {"malan": told}] if self._usage and wants_usage else ())]
        return b"".join(map(_line, rest)) + b"data: [DONE]\n\n"


async def embeddings(counter: Counter, call: Call) -> None:
    """Texts as vectors."""
    await counter.known(call)
    body = await call.body()
    said = read_object(body)
    model, given = model_of(said), said.get("input")
    texts = [given] if isinstance(given, str) else given
    if not isinstance(texts, list) or not 0 < len(texts) <= _MOST_INPUTS or "" in texts:
        raise UsageError("gateway.bad_field", field="input", wanted=f"text, 1–{_MOST_INPUTS}")
    wants_base64 = said.get("encoding_format") == "base64"
    async with counter.paid(call, model, "embeddings", input_tokens=len(body)) as paid:

        async def ask(row: EngineRow) -> dict[str, Any]:
            found, _ = await _ask(counter, row, "/embeddings", said | {"model": row.model, "encoding_format": "float"})
            answer = _object(row, found)
            rows = answer.get("data")
            count = 1 if texts and isinstance(texts[0], int) else len(texts)
            if not isinstance(rows, list) or len(rows) != count or not all(map(_is_vector, rows)):
                raise _garbage(row, "data")
            return answer

        answer = await call.unless_gone(counter.in_turn(paid, ask))
        taken, _ = _counted(answer)
        told = await counter.settle(paid, input_tokens=taken)
    if wants_base64:
        _pack(answer["data"])
    await call.reply_json(answer | {"model": model, "malan": told}, headers={"x-request-id": paid.id})


def _pack(rows: list[dict[str, Any]]) -> None:
    """Vectors as OpenAI's own client asks for them: base64 of little-endian float32."""
    import base64

    import numpy as np

    for row in rows:
        if isinstance(row["embedding"], list):
            row["embedding"] = base64.b64encode(np.asarray(row["embedding"], "<f4").tobytes()).decode()


async def _ask(counter: Counter, row: EngineRow, path: str, said: dict[str, Any]) -> tuple[bytes, str]:
    if not row.is_remote:
        raise UsageError("gateway.not_remote", engine=row.name, kind=row.kind)
    return await counter.upstream.ask(
        row.name, _address(row, path), dump(said), key=key_of(row), timeout_s=row.timeout_s, at_once=row.at_once
    )


def _address(row: EngineRow, path: str) -> str:
    if not row.is_remote:
        raise UsageError("gateway.not_remote", engine=row.name, kind=row.kind)
    return row.url.rstrip("/") + path


def _object(row: EngineRow, body: bytes) -> dict[str, Any]:
    try:
        found = parse_json(body)
    except (ValueError, RecursionError):
        raise UpstreamFailed("gateway.upstream_half", engine=row.name) from None
    if not isinstance(found, dict):
        raise _garbage(row, type(found).__name__)
    if isinstance(found.get("error"), dict | str):
        raise _garbage(row, "error")
    return found


def _event(row: EngineRow, data: bytes) -> dict[str, Any]:
    found = _object(row, data)
    if not isinstance(found.get("choices"), list):
        raise _garbage(row, "choices")
    return found


def _is_vector(row: Any) -> bool:
    return isinstance(row, dict) and isinstance(row.get("embedding"), list | str) and bool(row["embedding"])


def _counted(answer: dict[str, Any]) -> tuple[int, int]:
    """Tokens in and out as the endpoint counted them; what it does not tell is not charged."""
    usage = answer.get("usage")
    found = usage if isinstance(usage, dict) else {}
    taken, given = found.get("prompt_tokens"), found.get("completion_tokens")
    return (taken if _is_count(taken) else 0), (given if _is_count(given) else 0)


def _is_count(value: Any) -> TypeGuard[int]:
    return isinstance(value, int) and not isinstance(value, bool) and 0 <= value < 10**9


def _garbage(row: EngineRow, detail: str) -> UpstreamFailed:
    return UpstreamFailed("gateway.upstream_garbage", engine=row.name, detail=detail)


def _line(said: dict[str, Any]) -> bytes:
    return b"data: " + dump(said) + b"\n\n"
