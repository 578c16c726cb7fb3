"""Asking a stranger over HTTP: whatever it says, the answer comes in time, in bounds, or as a clear error."""

from __future__ import annotations

import ssl
from pathlib import Path

import pytest
from drawn_tsa import certify
from loopback import Answer, Asked, answering, saying

from malan.core.errors import MalanError, ProofError, RetryLater, UsageError
from malan.ledger.post import Reply, post


def _post(url: str, **options: float) -> Reply:
    limits = {"timeout_s": 5.0, "most_bytes": 1000, **options}
    return post(url, b"hello", "text/plain", timeout_s=limits["timeout_s"], most_bytes=int(limits["most_bytes"]))


def test_what_is_sent_arrives_and_what_is_answered_comes_back() -> None:
    seen: list[Asked] = []

    def answer(asked: Asked) -> Answer:
        seen.append(asked)
        return Answer(201, b"made", "Application/Thing; charset=utf-8")

    with answering(answer) as url:
        reply = post(f"{url}/a/b?c=d", b"hello", "text/x", headers={"X-Sign": "1"})
    assert reply == Reply(201, "application/thing", b"made")
    assert (seen[0].path, seen[0].body, seen[0].headers["x-sign"]) == ("/a/b?c=d", b"hello", "1")
    assert seen[0].headers["host"] == url.removeprefix("http://")


def test_a_redirect_is_not_followed() -> None:
    with answering(lambda _: Answer(302, headers={"Location": "http://127.0.0.1:1/"})) as url:
        assert _post(url).status == 302


def test_chunks_are_put_together() -> None:
    with saying(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5;x=y\r\nhello\r\n1\r\n!\r\n0\r\n\r\n") as url:
        assert _post(url).body == b"hello!"


@pytest.mark.parametrize(
    ("said", "code"),
    [
        (b"", "http.unreachable"),
        (b"\x16\x03\x01 this is no HTTP\r\n\r\n", "http.no_http"),
        (b"HTTP/1.1 999999 X\r\n\r\n", "http.no_http"),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nshort", "http.unreachable"),
        (b"HTTP/1.1 200 OK\r\n\r\n" + b"x" * 1001, "http.too_long"),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 99999999999\r\n\r\n" + b"x" * 2000, "http.too_long"),
        (b"HTTP/1.1 200 OK\r\n" + b"A: b\r\n" * 200 + b"\r\n", "http.no_http"),
        (b"HTTP/1.1 200 OK\r\nA: " + b"b" * 70_000 + b"\r\n\r\n", "http.no_http"),
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n-5\r\n" + b"x" * 2000, "http.no_http"),
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0x5\r\nhello\r\n0\r\n\r\n", "http.no_http"),
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nfffffff\r\n" + b"x" * 2000, "http.too_long"),
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhel", "http.unreachable"),
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhelloX\r\n0\r\n\r\n", "http.no_http"),
    ],
)
def test_a_hostile_answer_is_refused_by_name(said: bytes, code: str) -> None:
    with saying(said) as url, pytest.raises(MalanError) as refused:
        _post(url)
    assert refused.value.code == code


@pytest.mark.parametrize(
    "parts",
    [
        (),
        (b"HTTP/1.1 100 Continue\r\n\r\n",) * 200,
        (b"H", b"T", b"T", b"P", *(b"/",) * 200),
        (b"HTTP/1.1 200 OK\r\n", *(b"A: b\r\n",) * 90),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 900\r\n\r\n", *(b"x",) * 800),
    ],
)
def test_one_that_answers_bit_by_bit_is_left_in_time(parts: tuple[bytes, ...]) -> None:
    with saying(*parts, pause_s=0.02, hold_open=True) as url, pytest.raises(RetryLater) as refused:
        _post(url, timeout_s=0.25)
    assert refused.value.code == "http.slow"


def test_nobody_there_is_told_at_once() -> None:
    with saying() as url:
        pass
    with pytest.raises(RetryLater) as refused:
        _post(url)
    assert refused.value.code == "http.unreachable"


def test_plain_http_where_tls_was_asked_for_is_an_error() -> None:
    with saying(b"HTTP/1.1 200 OK\r\n\r\n") as url, pytest.raises(RetryLater):
        _post(url.replace("http:", "https:"), timeout_s=0.3)


def test_over_tls_only_a_certificate_under_a_trusted_root_is_believed(tmp_path: Path) -> None:
    root = certify("root", is_ca=True)
    served = certify("here", root, address="127.0.0.1")
    elsewhere = certify("elsewhere", root, address="127.0.0.2")
    trust = ssl.create_default_context(cadata=root.pem.decode())
    for certified, given, code in (
        (served, trust, None),
        (served, None, "http.certificate"),
        (elsewhere, trust, "http.certificate"),
    ):
        (tmp_path / "chain.pem").write_bytes(certified.pem + certified.key_pem)
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(tmp_path / "chain.pem")
        with answering(lambda _: Answer(body=b"hello"), context) as url:
            if code is None:
                assert post(url, b"x", "text/plain", trust=given).body == b"hello"
                continue
            with pytest.raises(ProofError) as refused:
                post(url, b"x", "text/plain", trust=given)
            assert refused.value.code == code


def test_a_handshake_that_never_ends_is_left_in_time() -> None:
    with saying(b"\x16\x03\x03", *(b"\x00",) * 300, pause_s=0.01, hold_open=True) as url, pytest.raises(RetryLater):
        _post(url.replace("http:", "https:"), timeout_s=0.3)


@pytest.mark.parametrize(
    "url",
    [
        "",
        "ftp://host/",
        "file:///etc/passwd",
        "http://",
        "http://user:secret@host/",
        "http://host:99999/",
        "http://host/#part",
        "http://host/a b",
        "http://host/\r\nX: y",
        "http://h\u00f6st/",
        "http://[::1/",
    ],
)
def test_an_address_that_is_none_is_refused_and_shows_no_password(url: str) -> None:
    with pytest.raises(UsageError) as refused:
        _post(url)
    assert "secret" not in str(refused.value)


def test_too_long_is_a_proof_error_so_that_it_is_not_tried_again() -> None:
    with answering(lambda _: Answer(body=b"x" * 2000)) as url, pytest.raises(ProofError):
        _post(url)
