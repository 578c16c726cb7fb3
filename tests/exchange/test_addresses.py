"""Only what may be called is called: schemes, networks, names that change their mind, redirects, endless answers."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from nodes import fresh, introduce, make_offer, node

from malan.core.errors import MalanError
from malan.services.dsp.addresses import Addresses, networks
from malan.services.dsp.errors import BadMessage
from malan.services.dsp.read import read_message
from malan.services.dsp.write import to_bytes
from malan.services.exchange.negotiation import receive_request, request_contract, show_negotiation

PUBLIC = "93.184.216.34"


@pytest.mark.parametrize(
    "url",
    [
        "https://127.0.0.1/x",
        "https://localhost/x",
        "https://[::1]/x",
        "https://[::ffff:127.0.0.1]/x",
        "https://[::ffff:7f00:1]/x",
        "https://[64:ff9b::7f00:1]/x",
        "https://[2002:7f00:1::]/x",
        "https://0.0.0.0/x",
        "https://[::]/x",
        "https://10.0.0.7/x",
        "https://172.16.3.4/x",
        "https://192.168.1.1/x",
        "https://100.64.0.1/x",
        "https://169.254.169.254/latest/meta-data",
        "https://[fd00:ec2::254]/latest",
        "https://[fe80::1]/x",
        "https://[fe80::1%25lo]/x",
        "https://224.0.0.1/x",
        "https://255.255.255.255/x",
        "https://2130706433/x",
        "https://0x7f000001/x",
        "https://0177.0.0.1/x",
        "https://127.1/x",
        "ftp://93.184.216.34/x",
        "file:///etc/passwd",
        "gopher://93.184.216.34/x",
        "//93.184.216.34/x",
        "http://93.184.216.34/x",
        "https://user:word@93.184.216.34/x",
        "https://93.184.216.34:22/x",
        "https://93.184.216.34:99999/x",
        "https://93.184.216.34/x?y=1",
        "https://93.184.216.34/x#y",
        "https://93.184.216.34/ x",
        "https://93.184.216.34/x\r\nHost: evil",
        "https:///x",
        "https://name.invalid/x",
        "https://" + "a" * 300 + ".example/x",
        "",
    ],
)
def test_an_address_that_must_not_be_called_is_refused(url: str) -> None:
    with pytest.raises(BadMessage):
        Addresses().check(url)


@pytest.mark.parametrize("url", [f"https://{PUBLIC}/x", f"https://{PUBLIC}:8443/x", "https://[2606:2800:220:1::1]/x"])
def test_a_public_address_over_https_may_be_called(url: str) -> None:
    Addresses().check(url)


def test_a_network_that_was_named_may_be_called_over_http_too() -> None:
    named = Addresses(networks(["10.2.0.0/16", "127.0.0.1"]))
    for url in ("http://10.2.3.4:81/x", "https://127.0.0.1/x"):
        named.check(url)
    for url in ("http://10.3.0.1/x", "http://127.0.0.2/x"):
        with pytest.raises(BadMessage):
            named.check(url)


@given(st.text(max_size=60))
def test_no_text_is_an_error_of_ours(text: str) -> None:
    for url in (text, f"https://{text}"):
        try:
            if not _leads_outside(text):
                Addresses().check(url)
        except BadMessage:
            pass


def _leads_outside(text: str) -> bool:
    """Names are not looked up in this test, whatever the machine's resolver would say."""
    return "." in text or text.isalnum()


@contextmanager
def answering(monkeypatch: pytest.MonkeyPatch, *answers: list[str]) -> Iterator[list[str]]:
    """A resolver that says something else each time it is asked for `turncoat.example`."""
    real, left, asked = socket.getaddrinfo, list(answers), []

    def resolve(host: str, port: Any, *more: Any, **named: Any) -> Any:
        if host != "turncoat.example":
            return real(host, port, *more, **named)
        asked.append(host)
        found = left.pop(0) if len(left) > 1 else left[0]
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (address, port)) for address in found]

    monkeypatch.setattr(socket, "getaddrinfo", resolve)
    yield asked


def test_one_private_address_among_public_ones_refuses_the_name(monkeypatch: pytest.MonkeyPatch) -> None:
    with answering(monkeypatch, [PUBLIC, "10.0.0.1"]), pytest.raises(BadMessage):
        Addresses().check("https://turncoat.example/x")


def test_a_name_that_changes_its_mind_is_refused_when_it_is_called(monkeypatch: pytest.MonkeyPatch) -> None:
    addresses = Addresses()
    with answering(monkeypatch, [PUBLIC], ["127.0.0.1"]):
        addresses.check("https://turncoat.example/x")
        with pytest.raises(BadMessage):
            addresses.connect_for("https://turncoat.example/x")("turncoat.example", 443, 1.0)


def test_what_was_checked_is_what_is_connected_to(monkeypatch: pytest.MonkeyPatch) -> None:
    called: list[Any] = []

    def connect(address: Any, timeout: float) -> socket.socket:
        called.append(address)
        raise ConnectionRefusedError

    monkeypatch.setattr(socket, "create_connection", connect)
    with answering(monkeypatch, [PUBLIC], ["127.0.0.1"]) as asked, pytest.raises(ConnectionRefusedError):
        Addresses().connect_for("https://turncoat.example/x")("turncoat.example", 443, 1.0)
    assert (called, len(asked)) == ([(PUBLIC, 443)], 1)


def test_a_callback_to_a_private_address_begins_nothing(tmp_path: Path) -> None:
    from dsp_messages import contract_request, offer, pid

    ws = fresh(tmp_path)
    with node(ws) as found:
        make_offer(ws, "reels")
        for url in ("http://127.0.0.1:9999/x", "https://169.254.169.254/x", "https://localhost:8443/x"):
            body = to_bytes(contract_request(pid(), url, offer("offer:reels", "reels")))
            with pytest.raises(BadMessage) as refused:
                receive_request(found.ex, "did:web:peer.example", read_message(body, "ContractRequestMessage"))
            assert refused.value.code == "exchange.address"
        with pytest.raises(BadMessage):
            request_contract(found.ex, "did:web:peer.example", "http://127.0.0.1:1", "d", "o")
    ws.database.dispose()


@contextmanager
def peer_that(answer: Any) -> Iterator[tuple[str, list[str]]]:
    """A server that answers every POST in its own way; its address, and what it was asked for."""
    asked: list[str] = []

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:
            self.rfile.read(int(self.headers["content-length"]))
            asked.append(self.path)
            self.close_connection = True
            answer(self)

        do_GET = do_POST

        def log_message(self, *_: Any) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}", asked
    server.shutdown()
    server.server_close()


def redirect(handler: Any) -> None:
    handler.send_response(307)
    handler.send_header("location", "http://127.0.0.1:1/inside")
    handler.send_header("content-length", "0")
    handler.end_headers()


def endless(handler: Any) -> None:
    handler.send_response(200)
    handler.send_header("content-length", str(10**12))
    handler.end_headers()
    try:
        for _ in range(200):
            handler.wfile.write(b" " * 65_536)
    except OSError:
        return


def no_http(handler: Any) -> None:
    handler.wfile.write(b"SSH-2.0-OpenSSH\r\n")


@pytest.mark.parametrize("answer", [redirect, endless, no_http])
def test_an_answer_that_is_none_is_given_up_after_one_try(tmp_path: Path, answer: Any) -> None:
    ws = fresh(tmp_path)
    introduce(ws, "did:web:us.example", {})
    with node(ws) as found, peer_that(answer) as (url, asked):
        process = request_contract(found.ex, "did:web:peer.example", url, "film", "offer")
        while not (problem := show_negotiation(found.ex, process.pid).details.get("problem")):
            pass
        assert problem["message"] == "ContractRequestMessage"
        assert asked == ["/negotiations/request"]
        assert show_negotiation(found.ex, process.pid).state == "REQUESTED"
    ws.database.dispose()


def fails_twice(handler: Any) -> None:
    handler.server.tries = getattr(handler.server, "tries", 0) + 1
    handler.send_response(500 if handler.server.tries < 3 else 201)
    handler.send_header("content-length", "0")
    handler.end_headers()


def test_a_server_that_fails_is_tried_three_times_and_an_empty_answer_will_do(tmp_path: Path) -> None:
    ws = fresh(tmp_path)
    introduce(ws, "did:web:us.example", {})
    with node(ws, pauses_s=(0.01, 0.02)) as found, peer_that(fails_twice) as (url, asked):
        process = request_contract(found.ex, "did:web:peer.example", url, "film", "offer")
        while len(asked) < 3:
            pass
        assert show_negotiation(found.ex, process.pid).details.get("problem") is None
    ws.database.dispose()


def test_nobody_there_is_given_up_after_three_tries(tmp_path: Path) -> None:
    ws = fresh(tmp_path)
    introduce(ws, "did:web:us.example", {})
    with node(ws, pauses_s=(0.01, 0.02)) as found:
        process = request_contract(found.ex, "did:web:peer.example", "http://127.0.0.1:1", "film", "offer")
        while not (problem := show_negotiation(found.ex, process.pid).details.get("problem")):
            pass
        assert problem["detail"] == "http.unreachable"
    ws.database.dispose()


def test_every_refusal_is_an_error_with_words(tmp_path: Path) -> None:
    with pytest.raises(MalanError) as refused:
        Addresses().check("https://10.0.0.1/x")
    assert "10.0.0.1" in refused.value.message("zh")
