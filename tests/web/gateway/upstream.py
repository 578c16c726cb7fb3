"""A small OpenAI-compatible server, as a process of its own; the name of the model says how it behaves.

    python upstream.py            prints its port

`ok` answers; `hang`, `garbage`, `half`, `busy`, `broken`, `redirect`, `long`, `nan`, `liar`, `denies` misbehave, each
in its way, also in streams. Every request is counted, and shown by `GET /seen`.
"""

from __future__ import annotations

import asyncio
import base64
import io
import json
import struct
import sys
import wave
from collections import Counter

from aiohttp import web

PNG = base64.b64encode(
    base64.b64decode("iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg==")
).decode()
seen: Counter[str] = Counter()
last: dict[str, object] = {}


def reply_of(said: dict) -> str:
    turn = said["messages"][-1]["content"]
    text = turn if isinstance(turn, str) else turn[0].get("text", "")
    return f"you said: {text}"


def usage_of(said: dict, text: str) -> dict:
    count = len(json.dumps(said["messages"]).split())
    given = len(text.split())
    return {"prompt_tokens": count, "completion_tokens": given, "total_tokens": count + given}


async def misbehave(request: web.Request, how: str) -> web.StreamResponse | None:
    if how == "hang":
        await asyncio.sleep(60)
    if how == "garbage":
        return web.Response(body=b"\xff\xfe<html>not json", content_type="application/json")
    if how == "busy":
        return web.json_response({"error": {"message": "slow down"}}, status=429, headers={"retry-after": "7"})
    if how == "broken":
        return web.json_response({"error": {"message": "boom"}}, status=500)
    if how == "denies":
        return web.json_response({"error": {"message": "bad key sk-secret"}}, status=401)
    if how == "refuses":
        return web.json_response({"error": {"message": "messages[0] is too long; key sk-secret"}}, status=400)
    if how == "redirect":
        return web.Response(status=302, headers={"location": "http://169.254.169.254/latest"})
    if how == "liar":
        return web.json_response({"error": {"message": "I am an error with status 200"}})
    if how == "nan":
        return web.Response(body=b'{"choices": [{"message": {}}], "usage": {"prompt_tokens": NaN}}',
                            content_type="application/json")  # fmt: skip
    if how == "half":
        reply = web.StreamResponse(headers={"content-type": "application/json", "content-length": "4000"})
        await reply.prepare(request)
        await reply.write(b'{"id": "x", "choices": [{"mess')
        request.transport.close()
        return reply
    if how == "long":
        reply = web.StreamResponse(headers={"content-type": "application/json"})
        await reply.prepare(request)
        for _ in range(100):
            await reply.write(b" " * 2**20)
        return reply
    return None


async def chat(request: web.Request) -> web.StreamResponse:
    said = await request.json()
    how = said["model"]
    seen[how] += 1
    last.clear()
    last.update(said=said, headers=dict(request.headers))
    if said.get("stream"):
        return await stream(request, said, how)
    wrong = await misbehave(request, how)
    if wrong is not None:
        return wrong
    text = reply_of(said)
    message: dict = {"role": "assistant", "content": text}
    if said.get("tools"):
        call = {"name": said["tools"][0]["function"]["name"], "arguments": '{"city": "张家界"}'}
        message = {
            "role": "assistant",
            "content": None,
            "tool_calls": [{"id": "c1", "type": "function", "function": call}],
        }
    choices = [
        {"index": n, "message": message, "finish_reason": "tool_calls" if said.get("tools") else "stop"}
        for n in range(said.get("n") or 1)
    ]
    usage = None if how == "uncounted" else usage_of(said, text)
    return web.json_response({"id": "chatcmpl-1", "object": "chat.completion", "created": 1, "model": how,
                              "choices": choices, "usage": usage})  # fmt: skip


async def stream(request: web.Request, said: dict, how: str) -> web.StreamResponse:
    if how == "whole":
        text = reply_of(said)
        choice = {"index": 0, "message": {"role": "assistant", "content": text}, "finish_reason": "stop"}
        return web.json_response({"id": "x", "choices": [choice], "usage": usage_of(said, text)})
    if how in ("busy", "broken", "denies", "refuses", "redirect", "garbage", "liar"):
        return await misbehave(request, how)
    reply = web.StreamResponse(headers={"content-type": "text/event-stream"})
    await reply.prepare(request)
    if how == "hang":
        await asyncio.sleep(60)

    async def send(event: object) -> None:
        await reply.write(b"data: " + json.dumps(event, ensure_ascii=False).encode() + b"\n\n")

    def piece(delta: dict, why: str | None = None) -> dict:
        return {"id": "chatcmpl-1", "object": "chat.completion.chunk", "created": 1, "model": how,
                "choices": [{"index": 0, "delta": delta, "finish_reason": why}]}  # fmt: skip

    text = reply_of(said)
    await send(piece({"role": "assistant", "content": ""}))
    for number, word in enumerate(text.split(" ")):
        if number == 1 and how == "half":
            request.transport.close()
            return reply
        if number == 1 and how == "stall":
            await asyncio.sleep(60)
        if number == 1 and how == "nonsense":
            await reply.write(b"data: {not json\n\n")
        await send(piece({"content": (" " if number else "") + word}))
        if how == "slow":
            await asyncio.sleep(0.1)
    await send(piece({}, "stop"))
    if said.get("stream_options", {}).get("include_usage"):
        await send({"id": "chatcmpl-1", "object": "chat.completion.chunk", "created": 1, "model": how, "choices": [],
                    "usage": usage_of(said, text)})  # fmt: skip
    await reply.write(b"data: [DONE]\n\n")
    return reply


async def embeddings(request: web.Request) -> web.StreamResponse:
    said = await request.json()
    seen[said["model"]] += 1
    wrong = await misbehave(request, said["model"])
    if wrong is not None:
        return wrong
    texts = [said["input"]] if isinstance(said["input"], str) else said["input"]
    data = [
        {"object": "embedding", "index": n, "embedding": [float(len(str(one))), 1.0, 0.5]}
        for n, one in enumerate(texts)
    ]
    count = sum(len(str(one).split()) for one in texts)
    return web.json_response({"object": "list", "data": data, "model": said["model"],
                              "usage": {"prompt_tokens": count, "total_tokens": count}})  # fmt: skip


def sound() -> bytes:
    out = io.BytesIO()
    with wave.open(out, "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(16000)
        file.writeframes(struct.pack("<1600h", *range(1600)))
    return out.getvalue()


async def speech(request: web.Request) -> web.StreamResponse:
    said = await request.json()
    seen[said["model"]] += 1
    wrong = await misbehave(request, said["model"])
    if wrong is not None:
        return wrong
    return web.Response(body=sound(), content_type="audio/wav")


async def transcriptions(request: web.Request) -> web.StreamResponse:
    form = await request.post()
    how = str(form["model"])
    seen[how] += 1
    wrong = await misbehave(request, how)
    if wrong is not None:
        return wrong
    size = len(form["file"].file.read())
    words = [{"word": "云海", "start": 0.0, "end": 0.4}, {"word": "之上", "start": 0.4, "end": 0.9}]
    return web.json_response({"text": "云海之上", "language": "zh", "duration": 1.0, "words": words, "size": size})


async def images(request: web.Request) -> web.StreamResponse:
    said = await request.json()
    seen[said["model"]] += 1
    wrong = await misbehave(request, said["model"])
    if wrong is not None:
        return wrong
    if said["model"] == "points":
        return web.json_response({"created": 1, "data": [{"url": "http://169.254.169.254/picture.png"}]})
    return web.json_response({"created": 1, "data": [{"b64_json": PNG} for _ in range(said.get("n") or 1)]})


async def show(_request: web.Request) -> web.Response:
    return web.json_response({"seen": dict(seen), "last": last})


async def main() -> None:
    app = web.Application(client_max_size=2**27)
    app.router.add_post("/v1/chat/completions", chat)
    app.router.add_post("/v1/embeddings", embeddings)
    app.router.add_post("/v1/audio/speech", speech)
    app.router.add_post("/v1/audio/transcriptions", transcriptions)
    app.router.add_post("/v1/images/generations", images)
    app.router.add_get("/seen", show)
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    sys.stdout.write(f"{site._server.sockets[0].getsockname()[1]}\n")
    sys.stdout.flush()
    await asyncio.get_running_loop().run_in_executor(None, sys.stdin.read)  # ends with whoever started it


if __name__ == "__main__":
    asyncio.run(main())
