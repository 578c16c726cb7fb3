"""Engines of this machine behind the gateway: what they make is labelled, logged and traced like every file."""

from __future__ import annotations

import asyncio
import base64
import io
import json
import wave
from collections.abc import Iterator
from pathlib import Path

import openai
import pytest
from console_factory import serving
from PIL import Image

from malan.inference.openai_endpoint import wav_of
from malan.services.access import COMMAND_LINE
from malan.services.accounts.parties import add_party
from malan.services.engines import opening as engines
from malan.services.engines.opening import Backend
from malan.services.gateway.keys import Allowance, make_gateway_key
from malan.services.outputs.manifests import trace_output
from malan.workspace import Workspace

KINDS = ("speech", "transcription", "image")


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Workspace, openai.OpenAI]]:
    root = tmp_path_factory.mktemp("own") / "ws"
    root.mkdir()
    (root / "malan.toml").write_text('producer_code = "001191110000802100433B10001"\n')
    lines = [f'[engines.{kind}]\nkind = "{kind}"\nbackend = "drawn"\n' for kind in KINDS]
    (root / "models.toml").write_text("\n".join(lines))
    ws = Workspace(root)
    add_party(ws, COMMAND_LINE, "湖南台", has=("buyer", "owner"))
    key = make_gateway_key(ws, COMMAND_LINE, "湖南台", Allowance("desk"))
    drawn = Backend("drawn_engines:open_drawn", frozenset(KINDS), needs_weights=False)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(engines, "BACKENDS", {**engines.BACKENDS, "drawn": drawn})
        with serving(ws) as url, openai.OpenAI(base_url=f"{url}/v1", api_key=key.text, max_retries=0) as client:
            yield ws, client
    ws.log.close()
    ws.database.dispose()


@pytest.mark.parametrize("kind", ["wav", "mp3", "flac"])
def test_speech_is_labelled_and_traced(place: tuple[Workspace, openai.OpenAI], kind: str) -> None:
    ws, client = place
    found = client.audio.speech.create(model="speech", voice="one", input="云海 hello world", response_format=kind)
    told = json.loads(found.response.headers["x-malan"])
    assert trace_output(ws, told["provenance_id"]).output_id == told["provenance_id"]
    if kind == "wav":
        with wave.open(io.BytesIO(found.read())) as sound:
            assert sound.getframerate() == 16000
    assert list((ws.root / "made").iterdir()) == []


def test_speech_that_could_carry_no_label_is_refused(place: tuple[Workspace, openai.OpenAI]) -> None:
    with pytest.raises(openai.BadRequestError, match="label"):
        place[1].audio.speech.create(model="speech", voice="one", input="hello", response_format="pcm")


def test_pictures_are_labelled_and_traced(place: tuple[Workspace, openai.OpenAI]) -> None:
    ws, client = place
    found = client.images.generate(model="image", prompt="云海", n=2, size="320x240")
    told = found.model_extra["malan"]
    with Image.open(io.BytesIO(base64.b64decode(found.data[0].b64_json))) as picture:
        assert picture.width == 320
    assert (told["mode"], told["engine"]) == ("diffuse", "image")
    assert trace_output(ws, told["provenance_id"]).output_id == told["provenance_id"]


def test_what_is_said_is_written_down_with_word_times(place: tuple[Workspace, openai.OpenAI]) -> None:
    import numpy as np

    sound = wav_of(np.zeros(48000, np.float32), 48000)
    found = place[1].audio.transcriptions.create(
        model="transcription", file=("a.wav", sound, "audio/wav"), response_format="verbose_json", language="zh"
    )
    assert found.text == "16000 samples"
    assert [(one.word, one.end) for one in found.words] == [("云", 0.5), ("海", 1.0)]


def test_an_engine_stops_when_whoever_asked_goes_away(place: tuple[Workspace, openai.OpenAI]) -> None:
    import drawn_engines

    async def ask_and_go() -> None:
        async with openai.AsyncOpenAI(base_url=place[1].base_url, api_key=place[1].api_key, max_retries=0) as client:
            asking = asyncio.ensure_future(client.audio.speech.create(model="speech", voice="one", input="for ever"))
            assert await asyncio.to_thread(drawn_engines.STARTED.wait, 120)
            asking.cancel()
            await asyncio.gather(asking, return_exceptions=True)

    asyncio.run(ask_and_go())
    assert drawn_engines.STOPPED.wait(120)


def test_without_a_provider_code_nothing_is_made(tmp_path: Path) -> None:
    ws = Workspace.create(tmp_path / "ws")
    (ws.root / "models.toml").write_text('[engines.image]\nkind = "image"\nbackend = "drawn"\n')
    add_party(ws, COMMAND_LINE, "湖南台", has=("buyer", "owner"))
    key = make_gateway_key(ws, COMMAND_LINE, "湖南台", Allowance("desk"))
    drawn = Backend("drawn_engines:open_drawn", frozenset(KINDS), needs_weights=False)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(engines, "BACKENDS", {**engines.BACKENDS, "drawn": drawn})
        with (
            serving(ws) as url,
            openai.OpenAI(base_url=f"{url}/v1", api_key=key.text, max_retries=0) as client,
            pytest.raises(openai.BadRequestError, match="producer"),
        ):
            client.images.generate(model="image", prompt="x", size="64x64")
    ws.log.close()
    ws.database.dispose()
