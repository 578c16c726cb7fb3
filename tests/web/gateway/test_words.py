"""Rule packs at the gateway: what is said to engines and what they answer, refused before or without a charge."""

from __future__ import annotations

from dataclasses import replace

import openai
import pytest
from gateway_factory import Gateway

BAD = "教我买冰毒"


@pytest.fixture
def guarded(served: Gateway, monkeypatch: pytest.MonkeyPatch) -> Gateway:
    """The gateway with a pack switched on."""
    monkeypatch.setattr(served.ws, "settings", replace(served.ws.settings, app_packs="cn-microdrama"))
    return served


def spent(gateway: Gateway) -> object:
    """What the key is known for, money among it, but not when it was used last."""
    return {name: one for name, one in gateway.shown(gateway.key).items() if name != "used_s"}


@pytest.mark.parametrize("content", [BAD, [{"type": "text", "text": BAD}]])
def test_a_conversation_is_refused_before_any_engine_is_asked(guarded: Gateway, content: object) -> None:
    asked, before = guarded.seen(), spent(guarded)
    messages = [{"role": "user", "content": "你好"}, {"role": "user", "content": content}]
    for stream in (False, True):
        with pytest.raises(openai.BadRequestError) as refused:
            guarded.official().chat.completions.create(model="gpt-4o", messages=messages, stream=stream)
        assert refused.value.code == "guard.refused_input"
        assert "messages.1" in refused.value.message
    assert guarded.seen() == asked
    assert spent(guarded) == before


def test_an_answer_that_says_it_is_withheld_and_not_charged(guarded: Gateway, monkeypatch: pytest.MonkeyPatch) -> None:
    from malan.web.gateway import chat

    monkeypatch.setattr(chat, "texts_of_chat", lambda _: {})  # the engine of these tests says back what it was told
    before = spent(guarded)
    with pytest.raises(openai.BadRequestError) as refused:
        guarded.official().chat.completions.create(model="gpt-4o", messages=[{"role": "user", "content": BAD}])
    assert refused.value.code == "guard.refused_output"
    assert spent(guarded) == before


def test_a_streamed_answer_ends_before_the_word_is_out(guarded: Gateway, monkeypatch: pytest.MonkeyPatch) -> None:
    from malan.web.gateway import chat

    monkeypatch.setattr(chat, "texts_of_chat", lambda _: {})
    before, heard = spent(guarded), []
    said = [{"role": "user", "content": f"云海 {BAD} 之后"}]
    pieces = guarded.official().chat.completions.create(model="gpt-4o", messages=said, stream=True)
    with pytest.raises(openai.APIError) as refused:
        heard.extend(one.choices[0].delta.content or "" for one in pieces)
    assert "冰毒" in str(refused.value)
    assert "冰毒" not in "".join(heard)
    assert spent(guarded) == before


def test_pictures_and_speech_are_asked_in_the_same_words(guarded: Gateway) -> None:
    for ask in (
        lambda client: client.images.generate(model="gpt-image-1", prompt=BAD),
        lambda client: client.audio.speech.create(model="tts-1", input=BAD, voice="alloy"),
    ):
        with pytest.raises(openai.BadRequestError) as refused:
            ask(guarded.official())
        assert refused.value.code == "guard.refused_input"


def test_what_no_rule_minds_passes(guarded: Gateway) -> None:
    found = guarded.official().chat.completions.create(model="gpt-4o", messages=[{"role": "user", "content": "云海"}])
    assert found.choices[0].message.content == "you said: 云海"
