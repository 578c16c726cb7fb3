"""Webhooks: who may be told, what is said, how it is signed, and that it is said again until it is heard."""

from __future__ import annotations

import http.server
import json
import socket
import threading
from collections.abc import Iterator
from pathlib import Path

import openai
import pytest

from malan.apps.queue.work import work
from malan.core.errors import UsageError
from malan.services.access import COMMAND_LINE
from malan.services.accounts.parties import add_party
from malan.services.gateway.keys import Allowance, NewGatewayKey, make_gateway_key
from malan.services.jobs.queue import Ask, submit
from malan.services.jobs.webhooks import address_of, check_webhook, send_due
from malan.workspace import Workspace

HEARD: list[tuple[dict[str, str], bytes]] = []
ANSWERS: list[int] = []


class Listener(http.server.BaseHTTPRequestHandler):
    """Hears what is said, and answers as it was told to."""

    def do_POST(self) -> None:
        HEARD.append((dict(self.headers), self.rfile.read(int(self.headers["content-length"]))))
        status = ANSWERS.pop(0) if ANSWERS else 200
        self.send_response(status)
        if status == 302:
            self.send_header("location", f"http://127.0.0.1:{self.server.server_address[1]}/elsewhere")
        self.end_headers()

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def listener() -> Iterator[int]:
    HEARD.clear()
    ANSWERS.clear()
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Listener) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield server.server_address[1]
        server.shutdown()
        thread.join()


@pytest.fixture
def ws(tmp_path: Path, listener: int) -> Iterator[Workspace]:
    root = tmp_path / "workspace"
    root.mkdir()
    (root / "malan.toml").write_text(f'webhook_hosts = "127.0.0.1:{listener}, hooks.example.org"\n')
    made = Workspace(root)
    add_party(made, COMMAND_LINE, "湖南台", has=("buyer",))
    yield made
    made.database.dispose()


def told(ws: Workspace, listener: int, prompt: str = "quick") -> tuple[NewGatewayKey, str]:
    """A job that was done, whose end somebody wants to hear of."""
    key = make_gateway_key(ws, COMMAND_LINE, "湖南台", Allowance("desk"))
    url = check_webhook(ws, f"http://127.0.0.1:{listener}/hook")
    ask = Ask("video", {"prompt": prompt}, "video", party_id=key.key.party_id, prefix=key.key.prefix, webhook=url)
    job = submit(ws, ask)
    work(ws, once=True, function="queue_programs:carry_out")
    return key, job.id


def test_the_end_of_a_job_is_told_signed_as_openais_client_checks_it(ws: Workspace, listener: int) -> None:
    key, job_id = told(ws, listener)
    assert send_due(ws) == 1
    headers, body = HEARD[0]
    with openai.OpenAI(api_key="x") as client:
        event = client.webhooks.unwrap(body, headers, secret=key.webhook_secret)
        assert (event.type, event.data.id) == ("video.completed", job_id)
        with pytest.raises(openai.InvalidWebhookSignatureError):
            client.webhooks.unwrap(body + b" ", headers, secret=key.webhook_secret)
    assert send_due(ws) == 0


def test_a_failure_is_told_too(ws: Workspace, listener: int) -> None:
    told(ws, listener, "fails")
    send_due(ws)
    assert json.loads(HEARD[0][1])["type"] == "video.failed"


@pytest.mark.parametrize("status", [500, 302, 404])
def test_what_was_not_taken_is_said_again_later(ws: Workspace, listener: int, status: int) -> None:
    import time

    told(ws, listener)
    ANSWERS.append(status)
    assert send_due(ws) == 0
    assert send_due(ws) == 0  # not at once
    assert send_due(ws, time.time() + 120) == 1
    assert len(HEARD) == 2
    assert HEARD[0][0]["webhook-id"] == HEARD[1][0]["webhook-id"]


def test_nobody_is_told_for_ever(ws: Workspace, listener: int) -> None:
    import time

    told(ws, listener)
    ANSWERS.extend([500] * 50)
    for turn in range(20):
        send_due(ws, time.time() + turn * 100_000)
    assert len(HEARD) == 7


@pytest.mark.parametrize(
    "url",
    ["http://127.0.0.1/hook", "http://127.0.0.1:1/hook", "https://example.org/", "http://hooks.example.org/",
     "https://hooks.example.org.evil.net/", "https://hooks.example.org:8443/", "https://user@hooks.example.org/",
     "ftp://hooks.example.org/", "https://169.254.169.254/latest", "https://[::1]/", "file:///etc/passwd", "",
     "https://hooks.example.org/#x", "https://hooks.example.org /", "https://hooks.example.org/" + "a" * 600,
     "https://[", "//hooks.example.org/"],
)  # fmt: skip
def test_only_hosts_the_operator_allows_are_told(ws: Workspace, url: str) -> None:
    with pytest.raises(UsageError):
        check_webhook(ws, url)


def test_an_allowed_host_is(ws: Workspace) -> None:
    assert check_webhook(ws, "https://hooks.example.org/malan?x=1")


def test_a_host_that_is_no_longer_allowed_is_not_told(ws: Workspace, listener: int) -> None:
    told(ws, listener)
    (ws.root / "malan.toml").write_text('webhook_hosts = ""\n')
    again = Workspace(ws.root)
    assert send_due(again) == 0
    assert HEARD == []
    again.database.dispose()


@pytest.mark.parametrize(
    "place", ["127.0.0.1", "169.254.169.254", "::1", "::ffff:169.254.169.254", "fe80::1", "0.0.0.0"]
)
def test_a_name_that_leads_here_or_to_the_link_is_not_told(place: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Also when it led elsewhere the first time it was looked up: what is connected to is what was checked."""
    monkeypatch.setattr(socket, "getaddrinfo", lambda *_, **__: [(0, 0, 0, "", (place, 443))])
    with pytest.raises(UsageError) as failed:
        address_of("hooks.example.org", 443)
    assert failed.value.code == "gateway.webhook_place"


def test_a_name_that_leads_elsewhere_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(socket, "getaddrinfo", lambda *_, **__: [(0, 0, 0, "", ("10.0.0.5", 443))])
    assert address_of("hooks.example.org", 443) == "10.0.0.5"  # in the house, where the operator named it
