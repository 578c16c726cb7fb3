"""Conversations and vectors through the gateway, by the official client, against a real server."""

from __future__ import annotations

import json
import time
import urllib.request

import openai
import pytest
from gateway_factory import Gateway

HELLO = [{"role": "user", "content": "云海 hello"}]


def test_a_conversation_comes_back_with_what_it_cost(served: Gateway) -> None:
    found = served.official().chat.completions.create(model="gpt-4o", messages=HELLO)
    assert found.choices[0].message.content == "you said: 云海 hello"
    assert found.model == "gpt-4o"
    told = found.model_extra["malan"]
    usage = found.usage
    assert told["engine"] == "chat-ok"
    assert told["mode"] == "infer"
    assert told["sources"] == []
    assert told["provenance_id"].startswith("req_")
    assert told["cost"]["micro"] == 100 * usage.prompt_tokens + 1000 * usage.completion_tokens
    assert told["cost"]["currency"] == "CNY"


def test_what_a_client_sends_besides_reaches_the_engine(served: Gateway) -> None:
    served.official().chat.completions.create(
        model="gpt-4o", messages=HELLO, temperature=0.3, seed=7, stop=["x"], extra_body={"top_k": 5}
    )
    said = served.seen()["last"]["said"]
    assert (said["temperature"], said["seed"], said["top_k"], said["model"]) == (0.3, 7, 5, "ok")


def test_tools_are_passed_on_and_back(served: Gateway) -> None:
    tool = {"type": "function", "function": {"name": "weather", "parameters": {"type": "object"}}}
    found = served.official().chat.completions.create(model="gpt-4o", messages=HELLO, tools=[tool])
    assert found.choices[0].message.tool_calls[0].function.name == "weather"
    assert json.loads(found.choices[0].message.tool_calls[0].function.arguments) == {"city": "张家界"}


def test_several_answers_are_several(served: Gateway) -> None:
    found = served.official().chat.completions.create(model="gpt-4o", messages=HELLO, n=3)
    assert len(found.choices) == 3


def test_a_stream_is_the_same_words_piece_by_piece(served: Gateway) -> None:
    pieces = list(served.official().chat.completions.create(model="gpt-4o", messages=HELLO, stream=True))
    text = "".join(one.choices[0].delta.content or "" for one in pieces)
    assert text == "you said: 云海 hello"
    assert all(one.choices for one in pieces)
    assert pieces[-1].choices[0].finish_reason == "stop"
    assert pieces[-1].model_extra["malan"]["cost"]["micro"] > 0
    assert all("malan" not in (one.model_extra or {}) for one in pieces[:-1])


def test_an_engine_that_answers_whole_becomes_a_stream(served: Gateway) -> None:
    pieces = list(served.official().chat.completions.create(model="chat-whole", messages=HELLO, stream=True))
    assert "".join(one.choices[0].delta.content or "" for one in pieces) == "you said: 云海 hello"
    assert pieces[-1].choices[0].finish_reason == "stop"
    assert "malan" in pieces[-1].model_extra


def test_a_stream_tells_its_count_to_whoever_asks(served: Gateway) -> None:
    stream = served.official().chat.completions.create(
        model="gpt-4o", messages=HELLO, stream=True, stream_options={"include_usage": True}
    )
    last = list(stream)[-1]
    assert last.choices == []
    assert last.usage.completion_tokens == 4


def test_an_engine_may_be_asked_by_its_own_name(served: Gateway) -> None:
    found = served.official().chat.completions.create(model="chat-ok", messages=HELLO)
    assert found.model_extra["malan"]["cost"]["micro"] == 0


def test_what_is_not_counted_is_not_charged(served: Gateway) -> None:
    found = served.official().chat.completions.create(model="chat-uncounted", messages=HELLO)
    assert found.model_extra["malan"]["cost"]["micro"] == 0


def test_the_next_engine_of_a_route_answers_for_one_that_fails(served: Gateway) -> None:
    before = served.seen()["seen"]
    found = served.official().chat.completions.create(model="gpt-4o-mini", messages=HELLO)
    after = served.seen()["seen"]
    assert found.model_extra["malan"]["engine"] == "chat-ok"
    assert after["broken"] - before.get("broken", 0) == 1
    assert after["busy"] - before.get("busy", 0) == 1


def test_a_stream_falls_back_as_well(served: Gateway) -> None:
    pieces = list(served.official().chat.completions.create(model="gpt-4o-mini", messages=HELLO, stream=True))
    assert pieces[-1].model_extra["malan"]["engine"] == "chat-ok"


def test_when_all_engines_fail_the_last_says_why(served: Gateway) -> None:
    with pytest.raises(openai.InternalServerError) as failed:
        served.official().chat.completions.create(model="hopeless", messages=HELLO)
    assert failed.value.status_code == 502
    assert failed.value.code == "gateway.upstream_half"


def test_a_request_an_engine_refuses_is_not_tried_elsewhere(served: Gateway) -> None:
    before = served.seen()["seen"].get("ok", 0)
    with pytest.raises(openai.BadRequestError, match="too long"):
        served.official().chat.completions.create(model="stubborn", messages=HELLO)
    assert served.seen()["seen"].get("ok", 0) == before


@pytest.mark.parametrize(
    ("way", "status", "code"),
    [
        ("hang", 502, "gateway.upstream_silent"),
        ("garbage", 502, "gateway.upstream_half"),
        ("half", 502, "gateway.upstream_half"),
        ("busy", 429, "gateway.upstream_busy"),
        ("broken", 502, "gateway.upstream_status"),
        ("denies", 502, "gateway.upstream_status"),
        ("redirect", 502, "gateway.upstream_status"),
        ("long", 502, "gateway.upstream_long"),
        ("nan", 502, "gateway.upstream_half"),
        ("liar", 502, "gateway.upstream_garbage"),
    ],
)
def test_an_engine_that_misbehaves_is_a_typed_error_and_costs_nothing(
    served: Gateway, way: str, status: int, code: str
) -> None:
    key = served.new_key(budget_minor=100)
    with pytest.raises(openai.APIStatusError) as failed:
        served.official(key.text).chat.completions.create(model=f"chat-{way}", messages=HELLO)
    assert (failed.value.status_code, failed.value.code) == (status, code)
    assert served.shown(key)["spent"]["micro"] == 0
    assert served.shown(key)["held"]["micro"] == 0


@pytest.mark.parametrize(
    ("way", "code"),
    [
        ("hang", "gateway.upstream_silent"),
        ("garbage", "gateway.upstream_garbage"),
        ("busy", "gateway.upstream_busy"),
        ("liar", "gateway.upstream_garbage"),
    ],
)
def test_a_stream_that_never_begins_is_an_error_before_any_piece(served: Gateway, way: str, code: str) -> None:
    with pytest.raises(openai.APIStatusError) as failed:
        served.official().chat.completions.create(model=f"chat-{way}", messages=HELLO, stream=True)
    assert failed.value.code == code


@pytest.mark.parametrize("way", ["half", "stall", "nonsense"])
def test_a_stream_that_breaks_off_says_so_and_costs_nothing(served: Gateway, way: str) -> None:
    key = served.new_key(budget_minor=100)
    stream = served.official(key.text).chat.completions.create(model=f"chat-{way}", messages=HELLO, stream=True)
    with pytest.raises(openai.APIError):
        list(stream)
    assert served.shown(key)["spent"]["micro"] == 0
    assert served.shown(key)["held"]["micro"] == 0


def test_an_engine_that_is_not_there_is_told(served: Gateway) -> None:
    with pytest.raises(openai.APIStatusError) as failed:
        served.official().chat.completions.create(model="gone", messages=HELLO)
    assert failed.value.code == "gateway.upstream_gone"


def test_the_key_of_an_engine_comes_from_the_environment(served: Gateway, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("UPSTREAM_KEY", raising=False)
    with pytest.raises(openai.APIStatusError) as failed:
        served.official().chat.completions.create(model="keyed", messages=HELLO)
    assert failed.value.code == "gateway.upstream_no_key"
    monkeypatch.setenv("UPSTREAM_KEY", "sk-secret")
    served.official().chat.completions.create(model="keyed", messages=HELLO)
    sent = served.seen()["last"]["headers"]
    assert sent["Authorization"] == "Bearer sk-secret"
    assert served.key.text not in json.dumps(sent)


def test_an_address_on_the_internet_is_never_followed(served: Gateway) -> None:
    with pytest.raises(openai.APIStatusError) as failed:
        served.official().images.generate(model="image-points", prompt="clouds")
    assert failed.value.code == "gateway.upstream_garbage"


def test_vectors_come_back_as_the_client_wants_them(served: Gateway) -> None:
    client = served.official()
    packed = client.embeddings.create(model="text-embedding-3-small", input=["云", "mountain"])
    plain = client.embeddings.create(model="text-embedding-3-small", input="云", encoding_format="float")
    assert packed.data[1].embedding == [8.0, 1.0, 0.5]
    assert plain.data[0].embedding == [1.0, 1.0, 0.5]
    assert packed.model_extra["malan"]["cost"]["micro"] == 10 * packed.usage.prompt_tokens


@pytest.mark.parametrize("wrong", ["", [], [""], 7, {"a": 1}])
def test_nothing_to_embed_is_refused(served: Gateway, wrong: object) -> None:
    with pytest.raises(openai.BadRequestError):
        served.official().embeddings.create(model="text-embedding-3-small", input=wrong)


def test_the_asynchronous_client_works_as_well(served: Gateway) -> None:
    import asyncio

    async def ask() -> str:
        async with openai.AsyncOpenAI(base_url=f"{served.url}/v1", api_key=served.key.text) as client:
            found = await client.chat.completions.create(model="gpt-4o", messages=HELLO)
            return found.choices[0].message.content or ""

    assert asyncio.run(ask()) == "you said: 云海 hello"


def test_models_are_listed_and_shown(served: Gateway) -> None:
    client = served.official()
    names = [one.id for one in client.models.list()]
    assert {"gpt-4o", "chat-ok", "malan-assemble", "malan-motion", "malan-compose"} <= set(names)
    assert client.models.retrieve("gpt-4o").model_extra["malan"]["engines"] == ["chat-ok"]
    with pytest.raises(openai.NotFoundError):
        client.models.retrieve("nobody")


@pytest.mark.parametrize(
    "body",
    [b"", b"null", b"[]", b"{", b'{"model": 1}', b'{"model": "gpt-4o"}', b'{"model": "gpt-4o", "messages": []}',
     b'{"model": "gpt-4o", "messages": [{}], "max_tokens": NaN}', b"\xff" * 40, b'{"a":' * 60_000,
     b'{"model": "gpt-4o", "messages": [{}], "max_tokens": -1}', b'{"model": "", "messages": [{}]}'],
)  # fmt: skip
def test_bodies_that_make_no_sense_are_refused(served: Gateway, body: bytes) -> None:
    headers = {"authorization": f"Bearer {served.key.text}", "content-type": "application/json"}
    request = urllib.request.Request(f"{served.url}/v1/chat/completions", body, headers)
    with pytest.raises(urllib.error.HTTPError) as failed:
        urllib.request.urlopen(request)
    assert failed.value.code == 400
    told = json.loads(failed.value.read())["error"]
    assert set(told) == {"message", "type", "param", "code"}
    assert told["type"] == "invalid_request_error"
    failed.value.close()


def test_errors_are_told_in_the_language_of_whoever_asks(served: Gateway) -> None:
    client = served.official(default_headers={"accept-language": "zh-CN"})
    with pytest.raises(openai.NotFoundError, match="没有可用的模型"):
        client.chat.completions.create(model="nobody", messages=HELLO)


def test_an_engine_whose_model_was_retired_is_not_asked_and_the_next_one_is(served: Gateway) -> None:
    """`chat-uncounted` first, where nothing is registered; then registered, used, retired."""
    from malan.services.models.bases import add_base_from
    from malan.services.models.rights import retire_model

    client = served.official()
    assert client.chat.completions.create(model="chat-uncounted", messages=HELLO).choices
    reference = f"endpoint:{served.upstream}/v1#uncounted"
    add_base_from(served.ws, reference, licence="MIT", family="drawn", name="drawn chat")
    assert client.chat.completions.create(model="chat-uncounted", messages=HELLO).choices
    retire_model(served.ws, "drawn chat", reason="its provider took it back")

    def ask_on() -> None:  # what a licence says is known for two seconds
        until = time.monotonic() + 120
        while time.monotonic() < until:
            client.chat.completions.create(model="chat-uncounted", messages=HELLO)

    with pytest.raises(openai.PermissionDeniedError) as failed:
        ask_on()
    assert failed.value.code == "models.denied"
