"""Evidence services: what goes over the wire, and receipts that are wrong."""

from __future__ import annotations

import base64
import hmac
import json
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from drawn_evidence import DrawnService
from drawn_log import DrawnLog
from loopback import Answer, Asked, answering

from malan.core.errors import MalanError, ProofError, UsageError
from malan.ledger.anchors import EvidenceChain, EvidenceFields, KeyPair, SharedSecret, digest_of
from malan.ledger.anchors.evidence import request_message

NOTE = DrawnLog(7).note()
NOW = datetime(2026, 5, 1, 12, tzinfo=UTC)
SECRET = b"correct horse battery staple"


def _chain(url: str, fields: EvidenceFields | None = None) -> EvidenceChain:
    return EvidenceChain("court.example", url, SharedSecret(SECRET), lambda: NOW, key_id="malan-1", fields=fields)


def test_a_request_says_what_when_and_by_whom_and_is_signed() -> None:
    seen: list[Asked] = []
    service = DrawnService(SharedSecret(SECRET), "2026-05-01T12:00:01Z")

    def answer(asked: Asked) -> Answer:
        seen.append(asked)
        return service.serve(asked)

    with answering(answer) as url:
        anchored = _chain(f"{url}/evidence").anchor(NOTE)
    (asked,) = seen
    assert (
        asked.body
        == json.dumps(
            {"hash": digest_of(NOTE).hex(), "name": "log.example/drawn@7", "time": "2026-05-01T12:00:00Z"},
            separators=(",", ":"),
        ).encode()
    )
    message = request_message(asked.headers["x-evidence-time"], asked.headers["x-evidence-nonce"], asked.body)
    assert hmac.digest(SECRET, message, "sha256") == base64.b64decode(asked.headers["x-evidence-signature"])
    assert (asked.headers["x-evidence-key"], asked.headers["content-type"]) == ("malan-1", "application/json")
    assert anchored.time == NOW + timedelta(seconds=1)


def test_a_request_by_key_is_signed_by_our_key() -> None:
    ours, theirs = Ed25519PrivateKey.generate(), Ed25519PrivateKey.generate()
    public = theirs.public_key().public_bytes_raw()
    service = DrawnService(KeyPair(theirs.private_bytes_raw(), public), "2026-05-01T12:00:01Z")

    def answer(asked: Asked) -> Answer:
        message = request_message(asked.headers["x-evidence-time"], asked.headers["x-evidence-nonce"], asked.body)
        signature = base64.b64decode(asked.headers["x-evidence-signature"])
        Ed25519PublicKey.from_public_bytes(ours.public_key().public_bytes_raw()).verify(signature, message)
        return service.serve(asked)

    with answering(answer) as url:
        pair = KeyPair(ours.private_bytes_raw(), public)
        assert EvidenceChain("court.example", url, pair, lambda: NOW).anchor(NOTE)


def test_a_service_with_other_names_for_its_fields_is_spoken_to() -> None:
    fields = EvidenceFields(
        digest="data.fileHash",
        name="data.title",
        time="data.requestTime",
        constants={"productId": "42", "data.algorithm": "SHA256"},
        receipt="result.evidenceNo",
        stated_time="result.chainTime",
        signature="result.sign",
        signature_header="X-Sign",
    )
    bodies: list[Any] = []

    def answer(asked: Asked) -> Answer:
        body = json.loads(asked.body)
        bodies.append(body)
        assert asked.headers["x-sign"]
        data = body["data"]
        signed = DrawnService(SharedSecret(SECRET), "1777636801000").receipt(data["fileHash"], data["title"])
        result = {"evidenceNo": signed["receipt"], "chainTime": 1777636801000, "sign": signed["signature"]}
        return Answer(201, json.dumps({"code": 0, "result": result}).encode(), "application/json; charset=utf-8")

    with answering(answer) as url:
        anchored = _chain(url, fields).anchor(NOTE)
    assert anchored.time == NOW + timedelta(seconds=1)
    assert bodies[0]["productId"] == "42"
    assert bodies[0]["data"]["algorithm"] == "SHA256"
    assert _chain("http://nobody.example/", fields).check(anchored.token, NOTE) == anchored.time


def _change(**values: Any) -> Callable[[dict[str, Any]], None]:
    return lambda receipt: receipt.update(values)


@pytest.mark.parametrize(
    ("change", "code"),
    [
        (_change(receipt="other"), "anchor.signature"),
        (_change(time="2026-05-01T12:00:02Z"), "anchor.signature"),
        (_change(signature="AAAA"), "anchor.signature"),
        (_change(signature="not base64"), "anchor.signature"),
        (_change(signature=""), "anchor.reply"),
        (_change(receipt=None), "anchor.reply"),
        (_change(receipt=1.5), "anchor.reply"),
        (_change(receipt=True), "anchor.reply"),
        (_change(receipt=["x"]), "anchor.reply"),
        (_change(receipt="x" * 513), "anchor.reply"),
        (_change(receipt="a\nb"), "anchor.reply"),
        (lambda receipt: receipt.pop("time"), "anchor.reply"),
        (lambda receipt: receipt.clear(), "anchor.reply"),
    ],
)
def test_a_receipt_with_anything_wrong_is_refused(change: Callable[[dict[str, Any]], None], code: str) -> None:
    service = DrawnService(SharedSecret(SECRET), "2026-05-01T12:00:01Z", change)
    with answering(service.serve) as url, pytest.raises(ProofError) as refused:
        _chain(url).anchor(NOTE)
    assert refused.value.code == code


@pytest.mark.parametrize(
    "time", ["yesterday", "2026-05-01", "2026-05-01 12:00:00Z", "2026-05-01T12:00:00", "-5", "1e9"]
)
def test_a_time_that_is_none_is_refused_even_when_signed(time: str) -> None:
    with answering(DrawnService(SharedSecret(SECRET), time).serve) as url, pytest.raises(ProofError) as refused:
        _chain(url).anchor(NOTE)
    assert refused.value.code == "anchor.reply"


@pytest.mark.parametrize("time", ["2026-05-01T20:00:01+08:00", "1777636801", "1777636801000", "2026-05-01T12:00:01.0Z"])
def test_a_time_may_be_spelled_in_several_ways(time: str) -> None:
    with answering(DrawnService(SharedSecret(SECRET), time).serve) as url:
        assert _chain(url).anchor(NOTE).time == NOW + timedelta(seconds=1)


@pytest.mark.parametrize(
    ("answer", "code"),
    [
        (Answer(200, b"{}", "text/html"), "anchor.reply_type"),
        (Answer(200, b"[" * 50_000, "application/json"), "anchor.reply"),
        (Answer(200, b"nonsense", "application/json"), "anchor.reply"),
        (Answer(200, b"\xff", "application/json"), "anchor.reply"),
        (Answer(200, b"[]", "application/json"), "anchor.reply"),
        (Answer(401, b"who are you"), "anchor.refused"),
    ],
)
def test_an_answer_that_is_no_receipt_is_refused(answer: Answer, code: str) -> None:
    with answering(lambda _: answer) as url, pytest.raises(MalanError) as refused:
        _chain(url).anchor(NOTE)
    assert refused.value.code == code


def test_a_secret_never_shows() -> None:
    secret = SharedSecret(SECRET)
    with answering(lambda _: Answer(500)) as url, pytest.raises(MalanError) as refused:
        _chain(url).anchor(NOTE)
    for text in (repr(secret), str(refused.value), repr(refused.value.values), repr(_chain(url))):
        assert "horse" not in text


def test_keys_and_names_that_cannot_be_are_refused() -> None:
    with pytest.raises(UsageError):
        SharedSecret(b"short")
    with pytest.raises(UsageError):
        KeyPair(bytes(31), bytes(32))
    for wrong in ("", "a b", "a\r\nX: y", "a..b", ".a", "a" * 65):
        with pytest.raises(UsageError):
            EvidenceFields(signature_header=wrong)
    with pytest.raises(UsageError):
        EvidenceChain("n", "http://h/", SharedSecret(SECRET), lambda: NOW, key_id="a\r\nX: y")


def test_a_receipt_is_of_one_service_alone() -> None:
    with answering(DrawnService(SharedSecret(SECRET), "2026-05-01T12:00:01Z").serve) as url:
        token = _chain(url).anchor(NOTE).token
    other = EvidenceChain("other.example", "http://h/", SharedSecret(SECRET), lambda: NOW)
    with pytest.raises(ProofError) as refused:
        other.check(token, NOTE)
    assert refused.value.code == "anchor.other"
