"""Whatever is sent: an answer with a status that means something, never a defect, and nothing of a key in the log."""

from __future__ import annotations

import http.client
import json
import logging
from typing import Any
from urllib.parse import urlsplit

import pytest
from gateway_factory import Gateway
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**70), 2**70) | st.floats(allow_nan=False) | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=8,
)
NAMES = ("model", "messages", "input", "prompt", "seconds", "size", "n", "stream", "max_tokens", "input_reference",
         "tags", "voice", "speed", "seed", "webhook_url", "priority", "extra_body", "response_format", "format",
         "stream_options", "max_completion_tokens", "idempotency_key")  # fmt: skip
MODELS = st.sampled_from(
    ["gpt-4o", "text-embedding-3-small", "tts-1", "gpt-image-1", "malan-assemble", "malan-compose"]
)
PATHS = (
    "/v1/chat/completions",
    "/v1/embeddings",
    "/v1/audio/speech",
    "/v1/images/generations",
    "/v1/videos",
    "/v1/music",
)
KNOWN = {200, 400, 403, 404, 405, 409, 413, 429, 501, 502, 503}


def send(served: Gateway, method: str, path: str, body: bytes, **headers: str) -> tuple[int, bytes]:
    line = http.client.HTTPConnection(str(urlsplit(served.url).netloc), timeout=20)
    try:
        line.request(method, path, body, {"authorization": f"Bearer {served.key.text}", **headers})
        reply = line.getresponse()
        return reply.status, reply.read()
    finally:
        line.close()


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(path=st.sampled_from(PATHS), said=st.dictionaries(st.sampled_from(NAMES), JSON, max_size=5), model=MODELS)
def test_any_fields_are_answered_with_sense(served: Gateway, path: str, said: dict[str, Any], model: str) -> None:
    body = json.dumps({"model": model, **said}).encode()
    status, told = send(served, "POST", path, body, **{"content-type": "application/json"})
    assert status in KNOWN, told
    if status >= 400:
        assert json.loads(told)["error"]["message"]


@settings(max_examples=80, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    path=st.sampled_from((*PATHS, "/v1/audio/transcriptions", "/v1/videos/video_00000000/remix")),
    body=st.binary(max_size=300),
    kind=st.sampled_from(["application/json", "multipart/form-data; boundary=x", "text/plain", "multipart/form-data"]),
)
def test_any_bytes_are_answered_with_sense(served: Gateway, path: str, body: bytes, kind: str) -> None:
    status, told = send(served, "POST", path, body, **{"content-type": kind})
    assert status in KNOWN, told


@settings(max_examples=80, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    tail=st.text(st.characters(codec="ascii", exclude_characters="#", categories=["L", "N", "P", "S"]), max_size=40),
    method=st.sampled_from(["GET", "DELETE", "POST", "PUT", "HEAD"]),
)
def test_any_address_is_answered_with_sense(served: Gateway, tail: str, method: str) -> None:
    status, told = send(served, method, f"/v1/videos/{tail}", b"")
    assert status in KNOWN, told


def test_no_key_is_in_the_log(served: Gateway, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    for model in ("gpt-4o", "chat-broken", "chat-denies", "chat-hang", "nobody"):
        send(served, "POST", "/v1/chat/completions", json.dumps({"model": model, "messages": [{}]}).encode())
    assert served.key.text not in caplog.text
    assert served.key.text.rpartition("_")[2] not in caplog.text
    assert "sk-secret" not in caplog.text
