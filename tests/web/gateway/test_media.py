"""Speech, what is said, and pictures through the gateway, by the official client."""

from __future__ import annotations

import base64
import io
import json
import urllib.request
import wave

import numpy as np
import openai
import pytest
from gateway_factory import Gateway

from malan.inference.openai_endpoint import wav_of


def spoken(seconds: float = 1.4) -> tuple[str, bytes, str]:
    samples = np.sin(np.linspace(0, 900, round(16000 * seconds))).astype(np.float32) * 0.3
    return "talk.wav", wav_of(samples, 16000), "audio/wav"


def test_words_are_spoken(served: Gateway) -> None:
    found = served.official().audio.speech.create(model="tts-1", voice="alloy", input="云海 sea", response_format="wav")
    with wave.open(io.BytesIO(found.read())) as sound:
        assert sound.getnframes() == 1600
    told = json.loads(found.response.headers["x-malan"])
    assert told["engine"] == "speech-ok"
    assert told["cost"]["micro"] == 6 * 100 * 1000
    assert found.response.headers["content-type"] == "audio/wav"


def test_an_engine_may_have_a_name_of_any_language(served: Gateway) -> None:
    found = served.official().audio.speech.create(model="配音", voice="alloy", input="云海", response_format="wav")
    assert json.loads(found.response.headers["x-malan"])["engine"] == "配音"


@pytest.mark.parametrize(
    "wrong",
    [{"input": ""}, {"input": 7}, {"input": "x" * 30_000}, {"input": "a", "response_format": "exe"},
     {"input": "a", "speed": 9}, {"input": "a", "speed": "fast"}, {"model": "nobody", "input": "a"},
     {"model": "gpt-4o", "input": "a"}],
)  # fmt: skip
def test_speech_that_makes_no_sense_is_refused(served: Gateway, wrong: dict) -> None:
    with pytest.raises((openai.BadRequestError, openai.NotFoundError)):
        served.official().audio.speech.create(**{"model": "tts-1", "voice": "alloy", **wrong})


@pytest.mark.parametrize("way", ["hang", "garbage", "half", "busy", "broken", "redirect", "long"])
def test_a_voice_that_misbehaves_costs_nothing(served: Gateway, way: str) -> None:
    key = served.new_key(budget_minor=100)
    with pytest.raises(openai.APIStatusError):
        served.official(key.text).audio.speech.create(model=f"speech-{way}", voice="alloy", input="hello")
    assert served.shown(key)["spent"]["micro"] == served.shown(key)["held"]["micro"] == 0


def test_what_is_said_is_written_down(served: Gateway) -> None:
    client = served.official()
    plain = client.audio.transcriptions.create(model="whisper-1", file=spoken())
    assert plain.text == "云海之上"
    assert plain.model_extra["malan"]["cost"]["micro"] == 2 * 2 * 10**6
    whole = client.audio.transcriptions.create(
        model="whisper-1", file=spoken(), response_format="verbose_json", timestamp_granularities=["word"]
    )
    assert [(one.word, one.start, one.end) for one in whole.words] == [("云海", 0.0, 0.4), ("之上", 0.4, 0.9)]
    assert [(one.text, one.start, one.end) for one in whole.segments] == [("云海之上", 0.0, 0.9)]


@pytest.mark.parametrize(
    ("shape", "begins"),
    [("text", "云海之上\n"), ("srt", "1\n00:00:00,000 --> 00:00:00,900\n云海之上"),
     ("vtt", "WEBVTT\n\n00:00:00.000 --> 00:00:00.900\n云海之上")],
)  # fmt: skip
def test_what_is_said_comes_as_captions_too(served: Gateway, shape: str, begins: str) -> None:
    found = served.official().audio.transcriptions.create(model="whisper-1", file=spoken(), response_format=shape)
    assert str(found).startswith(begins)


@pytest.mark.parametrize("data", [b"", b"not a sound", b"RIFF" + b"\0" * 60, b"\xff" * 4000])
def test_what_is_no_sound_is_refused(served: Gateway, data: bytes) -> None:
    with pytest.raises(openai.BadRequestError):
        served.official().audio.transcriptions.create(model="whisper-1", file=("a.wav", data, "audio/wav"))


def test_a_recogniser_that_misbehaves_costs_nothing(served: Gateway) -> None:
    key = served.new_key(budget_minor=100)
    for way in ("garbage", "half", "broken", "hang"):
        with pytest.raises(openai.InternalServerError):
            served.official(key.text).audio.transcriptions.create(model=f"transcription-{way}", file=spoken())
    assert served.shown(key)["spent"]["micro"] == served.shown(key)["held"]["micro"] == 0


def test_pictures_are_made(served: Gateway) -> None:
    found = served.official().images.generate(model="gpt-image-1", prompt="云海", n=2, size="512x512")
    assert len(found.data) == 2
    assert base64.b64decode(found.data[0].b64_json).startswith(b"\x89PNG")
    assert found.model_extra["malan"]["cost"]["micro"] == 100 * 10**6


@pytest.mark.parametrize(
    "wrong", [{"prompt": ""}, {"size": "big"}, {"n": 0}, {"n": 99}, {"response_format": "url"}, {"size": "9x9"}]
)
def test_pictures_that_make_no_sense_are_refused(served: Gateway, wrong: dict) -> None:
    with pytest.raises(openai.BadRequestError):
        served.official().images.generate(**{"model": "gpt-image-1", "prompt": "云海", **wrong})


def test_a_form_that_is_none_is_refused(served: Gateway) -> None:
    for kind in ("multipart/form-data", "multipart/form-data; boundary=x", "text/plain"):
        headers = {"authorization": f"Bearer {served.key.text}", "content-type": kind}
        request = urllib.request.Request(f"{served.url}/v1/audio/transcriptions", b"--y\r\nnothing", headers)
        with pytest.raises(urllib.error.HTTPError) as failed:
            urllib.request.urlopen(request)
        assert failed.value.code == 400
        failed.value.close()
