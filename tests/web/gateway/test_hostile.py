"""What should not happen and does: keys that end while a stream runs, disks that are full, time that is over."""

from __future__ import annotations

import errno
import io
import json
import struct
import threading
import time
import zlib
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import openai
import pytest
from gateway_factory import Gateway
from PIL import Image

from malan.apps.queue.work import work
from malan.services.access import COMMAND_LINE
from malan.services.gateway.keys import end_gateway_key, gateway_usage
from malan.services.jobs.expiry import expire
from malan.services.jobs.queue import get_job

HELLO = [{"role": "user", "content": "hello there my friend"}]
pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning")  # of the company, not of the interface


@pytest.fixture
def worker(served: Gateway) -> Iterator[None]:
    over = threading.Event()
    program = {"stop": over.is_set, "function": "queue_programs:carry_out"}
    thread = threading.Thread(target=work, args=(served.ws,), kwargs=program)
    thread.start()
    yield
    over.set()
    thread.join(30)


ELSEWHERE = {
    "responses": lambda client: client.responses.create(model="gpt-4o", input="hi"),
    "completions": lambda client: client.completions.create(model="gpt-4o", prompt="hi"),
    "moderations": lambda client: client.moderations.create(input="hi"),
    "images.edit": lambda client: client.images.edit(image=picture(), prompt="hi"),
    "images.variation": lambda client: client.images.create_variation(image=picture()),
    "translations": lambda client: client.audio.translations.create(model="whisper-1", file=("a.wav", b"RIFF")),
    "files": lambda client: client.files.list(),
    "batches": lambda client: client.batches.list(),
    "fine-tuning": lambda client: client.fine_tuning.jobs.list(),
    "stored chats": lambda client: client.chat.completions.retrieve("chatcmpl_12345678"),
    "vector stores": lambda client: client.vector_stores.list(),
}


def picture() -> tuple[str, bytes]:
    out = io.BytesIO()
    Image.fromarray(np.full((24, 32, 3), 90, np.uint8)).save(out, "PNG")
    return "a.png", out.getvalue()


@pytest.mark.parametrize("name", ELSEWHERE)
def test_what_is_not_offered_says_what_is(served: Gateway, name: str) -> None:
    with pytest.raises(openai.NotFoundError) as failed:
        ELSEWHERE[name](served.official())
    assert failed.value.code == "gateway.not_offered"
    assert "chat/completions" in failed.value.message


def test_a_stream_of_tools_comes_whole(served: Gateway) -> None:
    tools = [{"type": "function", "function": {"name": "weather", "parameters": {"type": "object"}}}]
    said = {"model": "gpt-4o", "messages": [{"role": "user", "content": "tool weather"}], "tools": tools}
    with served.official().chat.completions.stream(**said) as stream:
        final = stream.get_final_completion()
    assert final.choices[0].finish_reason in ("stop", "tool_calls")


def test_a_key_that_ends_while_a_stream_runs_pays_for_it_and_opens_nothing_more(served: Gateway) -> None:
    key = served.new_key(app="ends")
    client = served.official(key.text)
    stream = client.chat.completions.create(model="chat-slow", messages=HELLO, stream=True)
    next(stream)
    end_gateway_key(served.ws, COMMAND_LINE, key.key.prefix)
    rest = list(stream)
    assert rest[-1].model_extra["malan"]["engine"] == "chat-slow"
    assert served.shown(key)["held"]["micro"] == 0
    assert "ends" in {one["app"] for one in gateway_usage(served.ws, party="湖南台")["usage"]}
    with pytest.raises(openai.AuthenticationError):
        client.chat.completions.create(model="gpt-4o", messages=HELLO)


def test_a_disk_that_is_full_is_told_and_leaves_nothing(served: Gateway, monkeypatch: pytest.MonkeyPatch) -> None:
    before = sorted((served.ws.root / "jobs").glob("*"))
    write = Path.write_bytes

    def full(path: Path, data: bytes) -> int:
        if path.name.startswith("reference"):
            raise OSError(errno.ENOSPC, "No space left on device")
        return write(path, data)

    monkeypatch.setattr(Path, "write_bytes", full)
    key = served.new_key(budget_minor=10_000)
    with pytest.raises(openai.InternalServerError) as failed:
        served.official(key.text).videos.create(prompt="quick", input_reference=picture())
    assert (failed.value.status_code, failed.value.code) == (507, "gateway.disk_full")
    assert sorted((served.ws.root / "jobs").glob("*")) == before
    assert served.shown(key)["held"]["micro"] == 0


def test_what_has_expired_says_so(served: Gateway, worker: None) -> None:
    client = served.official()
    film = client.videos.create_and_poll(prompt="quick", poll_interval_ms=100)
    assert film.expires_at == film.completed_at + 30 * 86_400
    expire(served.ws, time.time() + 31 * 86_400)
    shown = client.videos.retrieve(film.id)
    assert (shown.status, shown.model_extra["malan"]["expired"]) == ("completed", True)
    for ask in (client.videos.download_content, lambda name: client.videos.remix(name, prompt="rain")):
        with pytest.raises(openai.APIStatusError) as failed:
            ask(film.id)
        assert (failed.value.status_code, failed.value.code) == (410, "gateway.expired")
    assert not (served.ws.root / get_job(served.ws, film.id).folder).exists()
    assert client.videos.delete(film.id).deleted


@pytest.mark.parametrize(
    ("path", "said"),
    [("audio/speech", {"model": "tts-1", "voice": "a", "input": "hi", "stream_format": "sse"}),
     ("images/generations", {"model": "gpt-image-1", "prompt": "hi", "stream": True})],
)  # fmt: skip
def test_a_stream_of_what_comes_whole_is_refused(served: Gateway, path: str, said: dict) -> None:
    with pytest.raises(openai.BadRequestError) as failed:
        served.official().post(f"/{path}", body=said, cast_to=object)
    assert failed.value.code == "gateway.bad_field"


def test_speech_is_read_while_it_comes(served: Gateway) -> None:
    asked = served.official().audio.speech.with_streaming_response
    with asked.create(model="tts-1", voice="alloy", input="hello") as reply:
        assert len(b"".join(reply.iter_bytes(1024))) > 100
        assert json.loads(reply.headers["x-malan"])["cost"]["micro"] > 0


def head_of(width: int, height: int) -> bytes:
    """A PNG that says it is so large, and holds next to nothing."""
    out = io.BytesIO()
    Image.fromarray(np.zeros((1, 1, 3), np.uint8)).save(out, "PNG")
    data = bytearray(out.getvalue())
    data[16:24] = struct.pack(">II", width, height)
    data[29:33] = struct.pack(">I", zlib.crc32(bytes(data[12:29])))
    return bytes(data)


@pytest.mark.parametrize(
    ("name", "data"),
    [("bomb", head_of(40_000, 40_000)), ("strip", head_of(2**30, 2)), ("dot", head_of(1, 1)),
     ("no jpeg", b"\xff\xd8\xff" + b"garbage" * 50), ("no webp", b"RIFF\0\0\0\0WAVEfmt " + b"\0" * 60),
     ("no tiff", b"II*\0" + b"\xff" * 60), ("cut off", head_of(64, 64)[:20])],
)  # fmt: skip
def test_what_is_no_picture_is_refused_before_a_job_is_written_down(served: Gateway, name: str, data: bytes) -> None:
    before = sorted((served.ws.root / "jobs").glob("*"))
    with pytest.raises(openai.BadRequestError) as failed:
        served.official().videos.create(prompt="quick", input_reference=(f"{name}.png", data))
    assert failed.value.code in ("gateway.no_picture", "gateway.bad_field")
    assert sorted((served.ws.root / "jobs").glob("*")) == before
