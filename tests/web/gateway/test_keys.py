"""Keys of the gateway: what each may, how much is left, and that nothing else opens it."""

from __future__ import annotations

import concurrent.futures
import json
import re
import urllib.request
from pathlib import Path

import openai
import pytest
from gateway_factory import Gateway

from malan.services.access import COMMAND_LINE
from malan.services.accounts.api_keys import make_key
from malan.services.accounts.parties import set_disabled
from malan.services.gateway.keys import Allowance, end_gateway_key, gateway_usage, make_gateway_key, raise_budget
from malan.workspace import Workspace

HELLO = [{"role": "user", "content": "hello"}]


def ask(served: Gateway, key: str, model: str = "gpt-4o", **more: object) -> object:
    return served.official(key).chat.completions.create(model=model, messages=HELLO, **more)


@pytest.mark.parametrize("key", ["x", "mk_", "mk_abc_def", "sk-123", "mk_" + "a" * 300])
def test_a_key_that_is_none_opens_nothing(served: Gateway, key: str) -> None:
    with pytest.raises(openai.AuthenticationError):
        ask(served, key)


def test_without_a_key_nothing_opens(served: Gateway) -> None:
    with pytest.raises(urllib.error.HTTPError) as failed:
        urllib.request.urlopen(f"{served.url}/v1/models")
    assert failed.value.code == 401
    assert failed.value.headers["www-authenticate"] == "Bearer"
    failed.value.close()


def test_a_key_of_the_console_does_not_open_the_gateway(served: Gateway) -> None:
    key = make_key(served.ws, COMMAND_LINE, "湖南台")
    with pytest.raises(openai.PermissionDeniedError, match="console"):
        ask(served, key.text)


def test_a_key_of_the_gateway_does_not_open_the_console(served: Gateway) -> None:
    request = urllib.request.Request(f"{served.url}/apps.json", headers={"authorization": f"Bearer {served.key.text}"})
    with pytest.raises(urllib.error.HTTPError) as failed:
        urllib.request.urlopen(request)
    assert failed.value.code == 401
    failed.value.close()


def test_a_key_asks_for_its_models_alone(served: Gateway) -> None:
    key = served.new_key(models=("gpt-4o",))
    ask(served, key.text)
    with pytest.raises(openai.NotFoundError):
        ask(served, key.text, "chat-ok")
    assert [one.id for one in served.official(key.text).models.list()] == ["gpt-4o"]


def test_an_ended_key_opens_nothing_from_the_next_request_on(served: Gateway) -> None:
    key = served.new_key()
    ask(served, key.text)
    end_gateway_key(served.ws, COMMAND_LINE, key.key.prefix)
    with pytest.raises(openai.AuthenticationError):
        ask(served, key.text)


def test_a_party_that_is_shut_out_takes_its_keys_along(served: Gateway) -> None:
    from malan.services.accounts.parties import add_party

    add_party(served.ws, COMMAND_LINE, "gone tomorrow", has=("buyer",))
    key = served.new_key("gone tomorrow")
    ask(served, key.text)
    set_disabled(served.ws, COMMAND_LINE, "gone tomorrow", is_disabled=True)
    with pytest.raises(openai.AuthenticationError):
        ask(served, key.text)


def test_a_key_ends_by_itself(served: Gateway) -> None:
    key = make_gateway_key(served.ws, COMMAND_LINE, "湖南台", Allowance("old", days=1), now_s=1.0)
    with pytest.raises(openai.AuthenticationError):
        ask(served, key.text)


def test_a_rate_is_kept(served: Gateway) -> None:
    key = served.new_key(most_a_minute=2)

    def ask_five() -> None:  # a minute may turn over in between
        for _ in range(5):
            ask(served, key.text)

    with pytest.raises(openai.RateLimitError) as failed:
        ask_five()
    assert failed.value.code == "gateway.too_fast"
    assert 0 < int(failed.value.response.headers["retry-after"]) <= 60


def test_a_request_that_may_cost_too_much_is_not_asked(served: Gateway) -> None:
    key = served.new_key(budget_minor=1)
    before = served.seen()["seen"].get("ok", 0)
    with pytest.raises(openai.RateLimitError) as failed:
        ask(served, key.text, max_tokens=5_000)
    assert failed.value.code == "gateway.over_budget"
    assert failed.value.type == "insufficient_quota"
    assert served.seen()["seen"].get("ok", 0) == before
    ask(served, key.text, max_tokens=100)


def test_a_budget_may_be_raised_but_not_below_what_was_used(served: Gateway) -> None:
    key = served.new_key(budget_minor=1)
    ask(served, key.text, max_tokens=100)
    assert raise_budget(served.ws, COMMAND_LINE, key.key.prefix, 500)["budget_minor"] == 500
    ask(served, key.text, max_tokens=5_000)
    from malan.core.errors import UsageError

    with pytest.raises(UsageError, match="used or held"):
        raise_budget(served.ws, COMMAND_LINE, key.key.prefix, 0)


def test_another_currency_is_refused(served: Gateway) -> None:
    key = served.new_key(currency="USD", budget_minor=100)
    with pytest.raises(openai.PermissionDeniedError, match="CNY"):
        ask(served, key.text)
    ask(served, key.text, "chat-ok")


def test_a_hundred_clients_at_once_never_go_over_the_budget(served: Gateway) -> None:
    key = served.new_key(budget_minor=2)
    body = json.dumps({"model": "gpt-4o", "messages": HELLO, "max_tokens": 200}).encode()
    headers = {"authorization": f"Bearer {key.text}", "content-type": "application/json"}

    def one(_number: int) -> int:
        request = urllib.request.Request(f"{served.url}/v1/chat/completions", body, headers)
        try:
            with urllib.request.urlopen(request) as reply:
                return json.loads(reply.read())["malan"]["cost"]["micro"]
        except urllib.error.HTTPError as error:
            error.close()
            return 0 if error.code == 429 else -(10**9)

    with concurrent.futures.ThreadPoolExecutor(100) as pool:
        charged = list(pool.map(one, range(600)))
    shown = served.shown(key)
    assert sum(charged) == shown["spent"]["micro"] <= 2_000_000
    assert shown["held"]["micro"] == 0
    assert any(charged)


def test_what_was_used_is_told_by_program_and_engine(served: Gateway) -> None:
    key = served.new_key("芒果", app="cutting-desk", budget_minor=100)
    for _ in range(3):
        ask(served, key.text)
    list(served.official(key.text).chat.completions.create(model="gpt-4o", messages=HELLO, stream=True))
    [row] = [one for one in gateway_usage(served.ws, party="芒果")["usage"] if one["app"] == "cutting-desk"]
    assert (row["requests"], row["engine"], row["model"], row["mode"]) == (4, "chat-ok", "gpt-4o", "infer")
    assert row["cost"]["micro"] == served.shown(key)["spent"]["micro"]


def test_a_client_that_goes_away_pays_for_what_it_got(served: Gateway) -> None:
    import time

    key = served.new_key(budget_minor=100, models=("gpt-4o", "chat-slow"))
    stream = served.official(key.text).chat.completions.create(
        model="chat-slow", messages=[{"role": "user", "content": " ".join(map(str, range(200)))}], stream=True
    )
    next(stream)
    stream.close()
    for _ in range(2400):
        if served.shown(key)["held"]["micro"] == 0 and gateway_usage(served.ws, party="湖南台")["usage"]:
            break
        time.sleep(0.05)
    assert served.shown(key)["held"]["micro"] == 0


def test_figures_are_for_this_machine_and_operators(served: Gateway) -> None:
    with urllib.request.urlopen(f"{served.url}/metrics") as reply:
        page = reply.read().decode()
    assert 'malan_http_requests_total{route="chat",status="200"}' in page
    assert "malan_engine_duration_seconds_bucket" in page
    named = {line.split()[2]: line.split()[3] for line in page.splitlines() if line.startswith("# TYPE")}
    assert all(name.endswith("_total") == (kind == "counter") for name, kind in named.items())
    shown = {line.partition("{")[0].partition(" ")[0] for line in page.splitlines() if not line.startswith("#")}
    assert {re.sub("_(bucket|sum|count)$", "", name) for name in shown} <= set(named)
    forwarded = urllib.request.Request(f"{served.url}/metrics", headers={"x-forwarded-for": "10.0.0.1"})
    with pytest.raises(urllib.error.HTTPError) as failed:
        urllib.request.urlopen(forwarded)
    assert failed.value.code == 401
    failed.value.close()
    mine = urllib.request.Request(f"{served.url}/metrics", headers={"authorization": f"Bearer {served.key.text}"})
    with pytest.raises(urllib.error.HTTPError) as failed:
        urllib.request.urlopen(mine)
    assert failed.value.code == 403
    failed.value.close()


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [("GET", "/v1/chat/completions", 405), ("PUT", "/v1/videos", 405), ("GET", "/v1/none", 404), ("GET", "/v1/", 404)],
)  # fmt: skip
def test_what_is_not_there_is_told(served: Gateway, method: str, path: str, status: int) -> None:
    headers = {"authorization": f"Bearer {served.key.text}"}
    with pytest.raises(urllib.error.HTTPError) as failed:
        urllib.request.urlopen(urllib.request.Request(served.url + path, method=method, headers=headers))
    assert failed.value.code == status
    assert "error" in json.loads(failed.value.read())
    failed.value.close()


def test_a_page_of_another_site_cannot_ask(served: Gateway) -> None:
    headers = {"authorization": f"Bearer {served.key.text}", "origin": "https://evil.example"}
    request = urllib.request.Request(f"{served.url}/v1/chat/completions", b"{}", headers)
    with pytest.raises(urllib.error.HTTPError) as failed:
        urllib.request.urlopen(request)
    assert failed.value.code == 403
    failed.value.close()


def test_a_server_whose_database_is_gone_lives_and_is_not_ready(tmp_path: Path) -> None:
    from console_factory import serving

    ws = Workspace.create(tmp_path / "ws")
    with serving(ws) as url:
        with urllib.request.urlopen(f"{url}/healthz") as reply:
            assert json.loads(reply.read())["status"] == "ok"
        with urllib.request.urlopen(f"{url}/readyz") as reply:
            assert json.loads(reply.read())["status"] == "ready"
        ws.database.dispose()
        (ws.root / "malan.db").unlink(missing_ok=True)
        (ws.root / "malan.db").write_bytes(b"not a database" * 100)
        with pytest.raises(urllib.error.HTTPError) as failed:
            urllib.request.urlopen(f"{url}/readyz")
        assert failed.value.code == 503
        failed.value.close()
        with urllib.request.urlopen(f"{url}/healthz") as reply:  # it lives: starting it anew would mend nothing
            assert reply.status == 200
    ws.database.dispose()
