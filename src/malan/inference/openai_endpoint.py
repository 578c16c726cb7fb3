"""A model behind an OpenAI-compatible endpoint, as the protocols of `backends`: DeepSeek, Qwen, vLLM, SGLang, Ollama,
llama.cpp and whoever speaks like them.

For work in threads: one request at a time, by the standard library. The gateway, which has many at once, passes bytes
on by `openai_passthrough` instead. The same rules hold: only the address that was written down, no redirect, no proxy,
an end to silence and size. Start at `open_endpoint`.
"""

from __future__ import annotations

import base64
import http.client
import io
import json
import ssl
import time
import wave
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, ClassVar
from urllib.parse import urlsplit
from uuid import uuid4

import numpy as np
from numpy.typing import NDArray

from malan.core.errors import MalanError, UsageError
from malan.inference.backends import (
    ChatAsk,
    ChatPiece,
    Engine,
    ImageAsk,
    Kind,
    Sound,
    SpeechAsk,
    Stop,
    Tell,
    Transcript,
    Word,
    go_on,
    say_nothing,
)
from malan.inference.openai_passthrough import (
    MOST_EVENT_BYTES,
    MOST_REPLY_BYTES,
    WHOLE_S,
    UpstreamBusy,
    UpstreamFailed,
    pieces_of,
    said_by,
)
from malan.inference.opening import Opening

LISTEN_RATE_HZ = 16_000
_PIECE = 64 * 1024


def open_endpoint(opening: Opening) -> Engine:
    """The engine of a kind behind an endpoint. Nothing is asked of it yet.

    Raises:
        UsageError: Nobody makes this kind by such an endpoint.
    """
    found = _KINDS.get(opening.kind)
    if found is None:
        known = ", ".join(_KINDS)
        raise UsageError("gateway.endpoint_kind", name=opening.name, kind=opening.kind, known=known)
    return found(opening)


class _Endpoint:
    """One address, asked again and again."""

    kind: ClassVar[Kind]

    def __init__(self, opening: Opening) -> None:
        self._opening = opening
        self._address = urlsplit(opening.url.rstrip("/"))

    def close(self) -> None:
        """Nothing is kept open."""

    def _json(self, path: str, said: Mapping[str, Any], stop: Stop) -> dict[str, Any]:
        body = self._whole(path, json.dumps(said).encode(), "application/json", stop)
        try:
            found = json.loads(body)
        except ValueError:
            raise UpstreamFailed("gateway.upstream_half", engine=self._opening.name) from None
        if not isinstance(found, dict):
            raise UpstreamFailed("gateway.upstream_garbage", engine=self._opening.name, detail=type(found).__name__)
        return found

    def _whole(self, path: str, body: bytes, kind: str, stop: Stop) -> bytes:
        with self._asked(path, body, kind) as reply:
            return b"".join(self._pieces(reply, stop))

    def _pieces(self, reply: http.client.HTTPResponse, stop: Stop) -> Iterator[bytes]:
        began, size = time.monotonic(), 0
        while True:
            stop()
            piece = reply.read1(_PIECE)
            if not piece:
                return
            size += len(piece)
            if size > MOST_REPLY_BYTES:
                raise UpstreamFailed("gateway.upstream_long", engine=self._opening.name, most=MOST_REPLY_BYTES)
            if time.monotonic() - began > WHOLE_S:
                raise UpstreamFailed("gateway.upstream_silent", engine=self._opening.name, seconds=round(WHOLE_S))
            yield piece

    @contextmanager
    def _asked(self, path: str, body: bytes, kind: str) -> Iterator[http.client.HTTPResponse]:
        one, name = self._opening, self._opening.name
        line = self._connect()
        headers = {"content-type": kind, "accept-encoding": "identity"}
        if one.key:
            headers["authorization"] = f"Bearer {one.key}"
        try:
            line.request("POST", f"{self._address.path}{path}", body, headers)
            reply = line.getresponse()
            if reply.status != 200:
                raise self._refusal(reply)
            yield reply
        except TimeoutError:
            raise UpstreamFailed("gateway.upstream_silent", engine=name, seconds=round(one.timeout_s)) from None
        except http.client.IncompleteRead:
            raise UpstreamFailed("gateway.upstream_half", engine=name) from None
        except (OSError, http.client.HTTPException) as error:
            raise UpstreamFailed("gateway.upstream_gone", engine=name, detail=type(error).__name__) from None
        finally:
            line.close()

    def _connect(self) -> http.client.HTTPConnection:
        host, port, wait = str(self._address.hostname), self._address.port, self._opening.timeout_s
        if self._address.scheme == "https":
            return http.client.HTTPSConnection(host, port, timeout=wait, context=ssl.create_default_context())
        return http.client.HTTPConnection(host, port, timeout=wait)

    def _refusal(self, reply: http.client.HTTPResponse) -> MalanError:
        name = self._opening.name
        if reply.status == 429:
            return UpstreamBusy("gateway.upstream_busy", engine=name, wait_s=1)
        if reply.status in (400, 404, 413, 415, 422):
            said = said_by(reply.read(_PIECE).decode("utf-8", "replace"), self._opening.key)
            return UsageError("gateway.upstream_refused", engine=name, detail=said)
        return UpstreamFailed("gateway.upstream_status", engine=name, status=reply.status)

    def _garbage(self, detail: str) -> UpstreamFailed:
        return UpstreamFailed("gateway.upstream_garbage", engine=self._opening.name, detail=detail[:60])


class EndpointChat(_Endpoint):
    """Goes on with a conversation; the reply is read as it comes."""

    kind: ClassVar[Kind] = "chat"

    def chat(self, ask: ChatAsk, *, stop: Stop = go_on) -> Iterator[ChatPiece]:
        """The reply, piece by piece; the last one is empty, says why it ended and what was counted."""
        said: dict[str, Any] = {
            "model": self._opening.model,
            "messages": [{"role": one.role, "content": one.text} for one in ask.messages],
            "max_tokens": ask.most_tokens, "temperature": ask.temperature, "stream": True,
            "stream_options": {"include_usage": True},
        }  # fmt: skip
        said |= {} if ask.seed is None else {"seed": ask.seed}
        said |= {"response_format": {"type": "json_object"}} if ask.as_json else {}
        ended, counted = "", (0, 0)
        with self._asked("/chat/completions", json.dumps(said).encode(), "application/json") as reply:
            for event in self._events(reply, stop):
                text, why, usage = self._read(event)
                ended, counted = why or ended, usage or counted
                if text:
                    yield ChatPiece(text)
        if not ended:
            raise UpstreamFailed("gateway.upstream_half", engine=self._opening.name)
        yield ChatPiece("", ended, *counted)

    def _events(self, reply: http.client.HTTPResponse, stop: Stop) -> Iterator[dict[str, Any]]:
        if reply.headers.get_content_type() == "application/json":  # small servers answer whole
            yield from pieces_of(self._opening.name, b"".join(self._pieces(reply, stop)))
            return
        waiting = b""
        for piece in self._pieces(reply, stop):
            *lines, waiting = (waiting + piece).split(b"\n")
            if len(waiting) > MOST_EVENT_BYTES:
                raise UpstreamFailed("gateway.upstream_long", engine=self._opening.name, most=MOST_EVENT_BYTES)
            for line in lines:
                data = line.strip().removeprefix(b"data:").strip() if line.startswith(b"data:") else b""
                if data == b"[DONE]":
                    return
                if data:
                    try:
                        yield json.loads(data)
                    except ValueError:
                        raise self._garbage("event") from None

    def _read(self, event: Any) -> tuple[str, str, tuple[int, int] | None]:
        try:
            usage = event.get("usage") or None
            counted = None if usage is None else (int(usage["prompt_tokens"]), int(usage["completion_tokens"]))
            if not event["choices"]:
                return "", "", counted
            choice = event["choices"][0]
            return str(choice["delta"].get("content") or ""), str(choice.get("finish_reason") or ""), counted
        except (AttributeError, KeyError, TypeError, ValueError, IndexError) as error:
            raise self._garbage(type(error).__name__) from None


class EndpointEmbeddings(_Endpoint):
    """Texts as vectors."""

    kind: ClassVar[Kind] = "embeddings"

    def embed(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """(N, D), each of length 1."""
        if not texts:
            return np.zeros((0, 0), np.float32)
        said = {"model": self._opening.model, "input": list(texts), "encoding_format": "float"}
        found = self._json("/embeddings", said, go_on)
        try:
            rows = sorted(found["data"], key=lambda row: int(row["index"]))
            vectors = np.asarray([row["embedding"] for row in rows], np.float32)
        except (KeyError, TypeError, ValueError) as error:
            raise self._garbage(type(error).__name__) from None
        lengths = np.linalg.norm(vectors, axis=-1, keepdims=True) if vectors.ndim == 2 else np.zeros(0)
        if vectors.ndim != 2 or len(vectors) != len(texts) or not np.isfinite(lengths).all() or not lengths.all():
            raise self._garbage("vectors")
        return np.asarray(vectors / lengths, np.float32)


class EndpointSpeaker(_Endpoint):
    """Text to speech."""

    kind: ClassVar[Kind] = "speech"

    @property
    def voices(self) -> tuple[str, ...]:
        """As the operator wrote them; an endpoint cannot be asked."""
        return tuple(map(str, self._opening.options.get("voices", ("alloy",))))

    def speak(self, ask: SpeechAsk, *, stop: Stop = go_on) -> Sound:
        """The words, spoken."""
        said = {"model": self._opening.model, "input": ask.text, "voice": ask.voice or self.voices[0],
                "speed": ask.speed, "response_format": "wav"}  # fmt: skip
        body = self._whole("/audio/speech", json.dumps(said).encode(), "application/json", stop)
        try:
            return sound_of_wav(body)
        except (wave.Error, EOFError, ValueError) as error:
            raise self._garbage(type(error).__name__) from None


class EndpointListener(_Endpoint):
    """Speech to text."""

    kind: ClassVar[Kind] = "transcription"

    def transcribe(self, samples: NDArray[np.float32], *, language: str = "", stop: Stop = go_on) -> Transcript:
        """What is said in 16 kHz mono samples, with words where the endpoint tells them."""
        fields = {"model": self._opening.model, "response_format": "verbose_json", "timestamp_granularities[]": "word"}
        fields |= {"language": language} if language else {}
        body, kind = form_of(fields, {"file": ("sound.wav", wav_of(samples, LISTEN_RATE_HZ), "audio/wav")})
        try:
            found = json.loads(self._whole("/audio/transcriptions", body, kind, stop))
            words = tuple(
                Word(str(one["word"]), float(one["start"]), float(one["end"])) for one in found.get("words") or ()
            )
            return Transcript(str(found["text"]), words, str(found.get("language") or language))
        except (AttributeError, KeyError, TypeError, ValueError) as error:
            raise self._garbage(type(error).__name__) from None


class EndpointPainter(_Endpoint):
    """Text to picture."""

    kind: ClassVar[Kind] = "image"

    def paint(self, ask: ImageAsk, *, tell: Tell = say_nothing, stop: Stop = go_on) -> NDArray[np.uint8]:
        """(N, height, width, 3); of exactly the size that was asked for."""
        said = {"model": self._opening.model, "prompt": ask.prompt, "n": ask.count, "seed": ask.seed,
                "size": f"{ask.width}x{ask.height}", "response_format": "b64_json"}  # fmt: skip
        found = self._json("/images/generations", said, stop)
        tell(1, 1)
        try:
            pictures = [self._picture(base64.b64decode(one["b64_json"], validate=True)) for one in found["data"]]
            return np.stack([_sized(one, ask) for one in pictures])
        except (AttributeError, KeyError, TypeError, ValueError) as error:
            raise self._garbage(type(error).__name__) from None

    def _picture(self, data: bytes) -> NDArray[np.uint8]:
        from PIL import Image, UnidentifiedImageError

        try:
            with Image.open(io.BytesIO(data), formats=("PNG", "JPEG", "WEBP")) as image:
                if image.width * image.height > 2**25:
                    raise self._garbage("size")
                return np.asarray(image.convert("RGB"))
        except (UnidentifiedImageError, OSError, Image.DecompressionBombError) as error:
            raise self._garbage(type(error).__name__) from None


def _sized(picture_HWC: NDArray[np.uint8], ask: ImageAsk) -> NDArray[np.uint8]:
    if picture_HWC.shape != (ask.height, ask.width, 3):
        raise ValueError("size")
    return picture_HWC


def sound_of_wav(data: bytes) -> Sound:
    """16-bit PCM as samples.

    Raises:
        ValueError, wave.Error, EOFError: It is something else.
    """
    with wave.open(io.BytesIO(data)) as file:
        if file.getsampwidth() != 2 or not 1 <= file.getnchannels() <= 8 or not 1000 <= file.getframerate() <= 384_000:
            raise ValueError("wav")
        raw = file.readframes(min(file.getnframes(), len(data) // 2))  # endpoints that stream write no true length
        samples = np.frombuffer(raw[: len(raw) // 2 * 2], "<i2").reshape(-1, file.getnchannels())
        return Sound(np.asarray(samples / np.float32(32768), np.float32), file.getframerate())


def wav_of(samples_N: NDArray[np.float32], rate_hz: int) -> bytes:
    """Samples as 16-bit PCM; (N,) or (N, channels)."""
    out = io.BytesIO()
    with wave.open(out, "wb") as file:
        file.setnchannels(1 if samples_N.ndim == 1 else samples_N.shape[1])
        file.setsampwidth(2)
        file.setframerate(rate_hz)
        file.writeframes(np.round(np.clip(samples_N, -1, 1) * 32767).astype("<i2").tobytes())
    return out.getvalue()


def form_of(fields: Mapping[str, str], files: Mapping[str, tuple[str, bytes, str]]) -> tuple[bytes, str]:
    """Fields and files as multipart/form-data (RFC 7578), and its content type."""
    edge = uuid4().hex
    parts = [
        f'--{edge}\r\ncontent-disposition: form-data; name="{name}"\r\n\r\n{value}\r\n'.encode()
        for name, value in fields.items()
    ]
    for name, (file, data, kind) in files.items():
        head = f'--{edge}\r\ncontent-disposition: form-data; name="{name}"; filename="{file}"\r\n'
        parts.append(f"{head}content-type: {kind}\r\n\r\n".encode() + data + b"\r\n")
    return b"".join((*parts, f"--{edge}--\r\n".encode())), f"multipart/form-data; boundary={edge}"


_KINDS: Mapping[Kind, type[_Endpoint]] = {
    one.kind: one for one in (EndpointChat, EndpointEmbeddings, EndpointSpeaker, EndpointListener, EndpointPainter)
}
