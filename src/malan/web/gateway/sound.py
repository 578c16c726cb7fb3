"""`/v1/audio/speech` and `/v1/audio/transcriptions`. What is told of cost comes in a header where the body is sound.

Speech that a model of this machine makes is published: labelled, signed and logged like every file made here, so it is
WAV or what ffmpeg makes of it. Start at `speech`.
"""

from __future__ import annotations

import math
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from starlette.concurrency import run_in_threadpool

from malan.core.errors import MediaError, UsageError
from malan.inference.backends import Sound, SpeechAsk, Stop, Transcript
from malan.inference.openai_endpoint import LISTEN_RATE_HZ
from malan.inference.openai_passthrough import UpstreamFailed
from malan.services.engines.settings import EngineRow
from malan.services.gateway.made import keep_sound
from malan.web.gateway.call import Call, dump, header_of, parse_json, text_of
from malan.web.gateway.desk import Counter, model_of
from malan.web.gateway.engines import ask_endpoint, with_engine
from malan.web.gateway.forms import read_form
from malan.web.gateway.words import hold

if TYPE_CHECKING:
    from aiohttp import FormData

_MOST_CHARS = 20_000
_MOST_SOUND_BYTES = 60 * 2**20
_MOST_SOUND_S = 4 * 3600
_FORMATS: Mapping[str, str] = {
    "wav": "audio/wav", "mp3": "audio/mpeg", "flac": "audio/flac", "aac": "audio/aac", "opus": "audio/ogg",
    "pcm": "audio/pcm",
}  # fmt: skip
_MOST_WORDS = 10  # of a caption
_PAUSE_S = 1.5
_ENDS = frozenset("。！？.!?")
_REPLIES = ("json", "text", "srt", "vtt", "verbose_json")


async def speech(counter: Counter, call: Call) -> None:
    """Words, spoken."""
    await counter.known(call)
    said = await call.json()
    model, text = model_of(said), text_of(said, "input", most=_MOST_CHARS)
    await hold(counter, {"input": text})
    kind = said.get("response_format") or "mp3"
    if kind not in _FORMATS:
        raise UsageError("gateway.bad_field", field="response_format", wanted=", ".join(_FORMATS))
    if said.get("stream_format") not in (None, "audio"):
        raise UsageError("gateway.bad_field", field="stream_format", wanted="audio")
    speed = said.get("speed", 1.0)
    if not isinstance(speed, int | float) or isinstance(speed, bool) or not 0.25 <= speed <= 4:
        raise UsageError("gateway.bad_field", field="speed", wanted="0.25–4")
    async with counter.paid(call, model, "speech", chars=len(text)) as paid:

        async def ask(row: EngineRow) -> tuple[bytes, str]:
            if row.is_remote:
                body, sort = await ask_endpoint(counter, row, "/audio/speech", dump(said | {"model": row.model}))
                if not body or not sort.startswith(("audio/", "application/octet-stream")):
                    raise UpstreamFailed("gateway.upstream_garbage", engine=row.name, detail=sort[:60])
                return body, ""
            wanted = SpeechAsk(text, str(said.get("voice") or ""), speed=float(speed))

            def use(engine: Any, stop: Stop) -> Sound:
                found: Sound = engine.speak(wanted, stop=stop)
                return found

            sound = await with_engine(counter, row, "speech", paid.policy.caller, use)
            made = await run_in_threadpool(keep_sound, counter.ws, row, sound, kind, text[:80], paid.policy.caller)
            return made.data, made.output_id

        body, output = await call.unless_gone(counter.in_turn(paid, ask))
        told = await counter.settle(paid, provenance=output, chars=len(text))
    headers = {"x-request-id": paid.id, "x-malan": header_of(told)}
    await call.reply(body, _FORMATS[kind], headers=headers)


async def transcriptions(counter: Counter, call: Call) -> None:
    """What is said in a sound."""
    await counter.known(call)
    async with read_form(call, _MOST_SOUND_BYTES + 2**20) as form:
        fields, name = form.fields, form.name_of("file")
        data = await form.file("file", _MOST_SOUND_BYTES)
    model, shape = model_of(dict(fields)), fields.get("response_format") or "json"
    if fields.get("stream", "").lower() == "true":
        raise UsageError("gateway.bad_field", field="stream", wanted="false")
    if data is None or not data:
        raise UsageError("gateway.bad_field", field="file", wanted="wav, mp3, m4a, flac, ogg, mp4")
    if shape not in _REPLIES:
        raise UsageError("gateway.bad_field", field="response_format", wanted=", ".join(_REPLIES))
    seconds = await run_in_threadpool(_length, data)
    async with counter.paid(call, model, "transcription", seconds=seconds) as paid:

        async def ask(row: EngineRow) -> Transcript | dict[str, Any]:
            if row.is_remote:
                return await _ask_remote(counter, row, fields, name, data)

            def use(engine: Any, stop: Stop) -> Transcript:
                found: Transcript = engine.transcribe(_samples(data), language=fields.get("language", ""), stop=stop)
                return found

            return await with_engine(counter, row, "transcription", paid.policy.caller, use)

        found = await call.unless_gone(counter.in_turn(paid, ask))
        told = await counter.settle(paid, seconds=seconds)
    whole = found if isinstance(found, dict) else _described(found, seconds)
    headers = {"x-request-id": paid.id}
    if shape in ("text", "srt", "vtt"):
        headers["x-malan"] = header_of(told)
        await call.reply(_plain(whole, shape).encode(), "text/plain; charset=utf-8", headers=headers)
        return
    if shape == "json":
        whole = {"text": whole["text"]}
    elif not whole.get("segments"):
        whole = {**whole, "segments": _segments(whole)}
    await call.reply_json(whole | {"malan": told}, headers=headers)


async def _ask_remote(
    counter: Counter, row: EngineRow, fields: Mapping[str, str], name: str, data: bytes
) -> dict[str, Any]:
    form = _form(row, fields, name, data)
    body, _ = await ask_endpoint(counter, row, "/audio/transcriptions", form)
    try:
        found = parse_json(body)
    except (ValueError, RecursionError):
        raise UpstreamFailed("gateway.upstream_half", engine=row.name) from None
    if not isinstance(found, dict) or not isinstance(found.get("text"), str):
        raise UpstreamFailed("gateway.upstream_garbage", engine=row.name, detail="text")
    return found


def _form(row: EngineRow, fields: Mapping[str, str], name: str, data: bytes) -> FormData:
    from aiohttp import FormData

    form = FormData()
    for key, value in fields.items():
        if key not in ("model", "response_format", "file"):
            form.add_field(key, value)
    form.add_field("model", row.model)
    form.add_field("response_format", "verbose_json")
    ending = Path(name).suffix.lower()
    plain = ending if len(ending) <= 6 and ending[1:].isalnum() and ending.isascii() else ".wav"
    form.add_field("file", data, filename=f"sound{plain}", content_type="application/octet-stream")
    return form


def _described(found: Transcript, seconds: int) -> dict[str, Any]:
    words = [{"word": one.text, "start": round(one.start_s, 3), "end": round(one.end_s, 3)} for one in found.words]
    return {"task": "transcribe", "language": found.language, "duration": seconds, "text": found.text, "words": words}


def _plain(whole: Mapping[str, Any], shape: str) -> str:
    """Text, or captions of some words each."""
    if shape == "text":
        return f"{whole['text']}\n"
    lines = [] if shape == "srt" else ["WEBVTT", ""]
    for one in _segments(whole):
        times = [_time(float(at), "," if shape == "srt" else ".") for at in (one["start"], one["end"])]
        lines += [*([str(one["id"] + 1)] if shape == "srt" else []), " --> ".join(times), one["text"], ""]
    return "\n".join(lines)


def _segments(whole: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Some words each, from the first's beginning to the last's end; a pause or the end of a sentence ends one."""
    found: list[list[Mapping[str, Any]]] = []
    for word in whole.get("words") or [{"word": whole["text"], "start": 0.0, "end": float(whole.get("duration") or 0)}]:
        last = found[-1] if found else []
        is_over = not last or len(last) >= _MOST_WORDS or float(word["start"]) - float(last[-1]["end"]) > _PAUSE_S
        if is_over or str(last[-1]["word"]).rstrip()[-1:] in _ENDS:
            found.append([])
        found[-1].append(word)
    return [
        {"id": number, "start": some[0]["start"], "end": some[-1]["end"],
         "text": _joined([str(one["word"]) for one in some])}
        for number, some in enumerate(found)
    ]  # fmt: skip


def _joined(words: list[str]) -> str:
    """Words of letters have spaces between, characters of Chinese none."""
    text = ""
    for word in words:
        gap = " " if text and text[-1].isascii() and word[:1].isascii() and not word.startswith(" ") else ""
        text += gap + word
    return text.strip()


def _time(seconds: float, point: str) -> str:
    whole, thousandths = divmod(round(seconds * 1000), 1000)
    return f"{whole // 3600:02}:{whole // 60 % 60:02}:{whole % 60:02}{point}{thousandths:03}"


def _length(data: bytes) -> int:
    """Seconds of a sound, begun ones whole.

    Raises:
        MediaError: It is none.
        UsageError: It is too long.
    """
    from malan.media.probe import probe

    with tempfile.NamedTemporaryFile(suffix=".bin") as file:
        file.write(data)
        file.flush()
        found = probe(file.name)
    if found.first("audio") is None:
        raise UsageError("gateway.no_sound")
    seconds = math.ceil(found.duration or 0)
    if seconds > _MOST_SOUND_S:
        raise UsageError("gateway.bad_field", field="file", wanted=f"≤ {_MOST_SOUND_S} s")
    return seconds


def _samples(data: bytes) -> Any:
    """16 kHz mono samples of a sound.

    Raises:
        MediaError: It cannot be decoded.
    """
    import io

    import av
    import numpy as np

    pieces = []
    try:
        with av.open(io.BytesIO(data), "r") as container:
            resampler = av.AudioResampler("fltp", "mono", LISTEN_RATE_HZ)
            for frame in container.decode(audio=0):
                pieces += [one.to_ndarray()[0] for one in resampler.resample(frame)]
            pieces += [one.to_ndarray()[0] for one in resampler.resample(None)]
    except av.error.FFmpegError as error:
        raise MediaError("gateway.no_sound") from error
    return np.concatenate(pieces).astype(np.float32) if pieces else np.zeros(0, np.float32)
