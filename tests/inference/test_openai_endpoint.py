"""Models behind an OpenAI-compatible endpoint, as protocols, against a real server that may misbehave."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "web" / "gateway"))

from gateway_factory import upstream_server

from malan.core.errors import MalanError, Rejected, UsageError
from malan.inference.backends import ChatAsk, Engine, ImageAsk, Kind, Message, SpeechAsk
from malan.inference.openai_endpoint import EndpointChat, open_endpoint
from malan.inference.openai_passthrough import UpstreamFailed
from malan.inference.opening import Opening

HELLO = ChatAsk((Message("user", "云海 hello"),), seed=7, as_json=True)


@pytest.fixture(scope="module")
def url() -> Iterator[str]:
    with upstream_server() as found:
        yield f"{found}/v1"


def opened(url: str, kind: Kind, way: str = "ok") -> Engine:
    return open_endpoint(Opening("there", kind, model=way, url=url, key="sk-secret", timeout_s=1.0))


def test_a_conversation_comes_piece_by_piece_and_tells_what_was_counted(url: str) -> None:
    engine = opened(url, "chat")
    assert isinstance(engine, EndpointChat)
    pieces = list(engine.chat(HELLO))
    assert pieces[-1] == list(opened(url, "chat", "whole").chat(HELLO))[-1]
    assert "".join(one.text for one in pieces) == "you said: 云海 hello"
    assert (pieces[-1].ended, pieces[-1].output_tokens) == ("stop", 4)
    engine.close()


@pytest.mark.parametrize(
    "way", ["hang", "garbage", "half", "busy", "broken", "denies", "redirect", "stall", "nonsense"]
)
def test_a_conversation_that_misbehaves_is_a_typed_error_without_our_key(url: str, way: str) -> None:
    with pytest.raises(MalanError) as failed:
        list(opened(url, "chat", way).chat(HELLO))
    assert failed.value.code.startswith("gateway.upstream_")
    assert "sk-secret" not in str(failed.value)


def test_what_an_endpoint_says_is_wrong_is_told_without_our_key(url: str) -> None:
    with pytest.raises(UsageError, match="too long") as failed:
        list(opened(url, "chat", "refuses").chat(HELLO))
    assert "sk-secret" not in str(failed.value)


def test_a_conversation_is_stopped_between_pieces(url: str) -> None:
    def stop() -> None:
        raise Rejected("gateway.cancelled")

    with pytest.raises(Rejected):
        list(opened(url, "chat", "slow").chat(HELLO, stop=stop))


def test_vectors_have_length_one(url: str) -> None:
    vectors = opened(url, "embeddings").embed(["云", "mountain"])
    assert vectors.shape == (2, 3)
    assert np.allclose(np.linalg.norm(vectors, axis=1), 1)
    assert opened(url, "embeddings").embed([]).shape == (0, 0)


def test_words_are_spoken_and_written_down(url: str) -> None:
    speaker = opened(url, "speech")
    sound = speaker.speak(SpeechAsk("云海"))
    assert (sound.rate_hz, sound.samples_NC.shape, sound.samples_NC.dtype) == (16000, (1600, 1), np.float32)
    found = opened(url, "transcription").transcribe(sound.samples_NC[:, 0], language="zh")
    assert (found.text, found.words[1].text, found.words[1].start_s) == ("云海之上", "之上", 0.4)


def test_a_picture_of_another_size_than_asked_for_is_an_error(url: str) -> None:
    painter = opened(url, "image")
    assert painter.paint(ImageAsk("云", 1, 1, 0)).shape == (1, 1, 1, 3)
    with pytest.raises(UpstreamFailed):
        painter.paint(ImageAsk("云", 64, 64, 0))


@pytest.mark.parametrize("kind", ["embeddings", "speech", "transcription", "image"])
@pytest.mark.parametrize("way", ["hang", "garbage", "half", "redirect", "long"])
def test_every_kind_that_misbehaves_is_a_typed_error(url: str, kind: Kind, way: str) -> None:
    engine = opened(url, kind, way)
    asks = {
        "embeddings": lambda: engine.embed(["x"]),
        "speech": lambda: engine.speak(SpeechAsk("x")),
        "transcription": lambda: engine.transcribe(np.zeros(1600, np.float32)),
        "image": lambda: engine.paint(ImageAsk("x", 8, 8, 0)),
    }
    with pytest.raises(UpstreamFailed):
        asks[kind]()


def test_nobody_makes_films_by_such_an_endpoint(url: str) -> None:
    with pytest.raises(UsageError):
        opened(url, "video")


def test_an_endpoint_that_is_not_there_is_told() -> None:
    with pytest.raises(UpstreamFailed, match="reached"):
        list(opened("http://127.0.0.1:9/v1", "chat").chat(HELLO))
