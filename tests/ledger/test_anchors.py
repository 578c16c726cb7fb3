"""What every anchor promises, over all of them: a guest's plug-in has to pass the same."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass
from datetime import datetime, timedelta

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from drawn_evidence import DrawnService
from drawn_log import DrawnLog
from drawn_tsa import NOW, DrawnTsa, certify, stamping
from loopback import Answer, Asked, answering, saying

from malan.core.errors import MalanError, ProofError, Rejected, RetryLater
from malan.ledger.anchors import Anchor, EvidenceChain, KeyPair, SharedSecret, TimestampAuthority
from malan.ledger.cosign import Cosigner, add_cosignatures
from malan.ledger.note import NoteSigner, sign_note

LOG = DrawnLog(9)
NOTE = LOG.note()
ROOT = certify("root", is_ca=True)
SIGNER = stamping("tsa", ROOT)
SECRET = b"a secret of the two of us"
OURS, THEIRS = Ed25519PrivateKey.generate(), Ed25519PrivateKey.generate()


@dataclass(frozen=True)
class Kind:
    """One kind of anchor: how to build it for an address, and an honest server for it."""

    build: Callable[[str, float], Anchor]
    serve: Callable[[datetime], Callable[[Asked], Answer]]
    content_type: str


def _pair(mine: Ed25519PrivateKey, other: Ed25519PrivateKey) -> KeyPair:
    return KeyPair(mine.private_bytes_raw(), other.public_key().public_bytes_raw())


KINDS = {
    "rfc3161": Kind(
        lambda url, timeout_s: TimestampAuthority("tsa", url, ROOT.pem, lambda: NOW, timeout_s=timeout_s),
        lambda time: DrawnTsa(SIGNER, time=f"{time:%Y%m%d%H%M%S}Z").serve,
        "application/timestamp-reply",
    ),
    "evidence by shared secret": Kind(
        lambda url, timeout_s: EvidenceChain("court", url, SharedSecret(SECRET), lambda: NOW, timeout_s=timeout_s),
        lambda time: DrawnService(SharedSecret(SECRET), f"{time:%Y-%m-%dT%H:%M:%SZ}").serve,
        "application/json",
    ),
    "evidence by keys": Kind(
        lambda url, timeout_s: EvidenceChain("court", url, _pair(OURS, THEIRS), lambda: NOW, timeout_s=timeout_s),
        lambda time: DrawnService(_pair(THEIRS, OURS), f"{time:%Y-%m-%dT%H:%M:%SZ}").serve,
        "application/json",
    ),
}


@pytest.fixture(params=KINDS)
def kind(request: pytest.FixtureRequest) -> Kind:
    return KINDS[request.param]


@pytest.fixture
def server(kind: Kind) -> Iterator[str]:
    with answering(kind.serve(NOW)) as url:
        yield url


def test_what_is_anchored_checks_to_the_same_time_without_a_connection(kind: Kind, server: str) -> None:
    anchored = kind.build(server, 5).anchor(NOTE)
    assert anchored.time == NOW
    assert kind.build("http://127.0.0.1:1/", 5).check(anchored.token, NOTE) == NOW


def test_a_token_is_for_one_checkpoint_only(kind: Kind, server: str) -> None:
    anchor = kind.build(server, 5)
    token = anchor.anchor(NOTE).token
    for other in (LOG.at(8).note(), DrawnLog(9, story="other ").note()):
        with pytest.raises(ProofError) as refused:
            anchor.check(token, other)
        assert refused.value.code == "anchor.imprint"


def test_cosignatures_added_later_change_nothing(kind: Kind, server: str) -> None:
    anchor = kind.build(server, 5)
    token = anchor.anchor(NOTE).token
    witness = Cosigner.generate("witness.example", lambda: 1)
    cosigned = add_cosignatures(NOTE, witness.sign(LOG.checkpoint().text()), [witness.verifier])
    assert anchor.check(token, cosigned) == NOW


def test_asked_twice_both_hold(kind: Kind, server: str) -> None:
    anchor = kind.build(server, 5)
    first, second = anchor.anchor(NOTE), anchor.anchor(NOTE)
    assert first.token != second.token
    assert anchor.check(first.token, NOTE) == anchor.check(second.token, NOTE)


def test_one_changed_byte_never_changes_the_time(kind: Kind, server: str) -> None:
    anchor = kind.build(server, 5)
    token = anchor.anchor(NOTE).token
    for position in range(0, len(token), 3):
        changed = token[:position] + bytes([token[position] ^ 0x10]) + token[position + 1 :]
        try:
            assert anchor.check(changed, NOTE) == NOW
        except ProofError:
            continue


def test_a_token_cut_short_or_grown_is_refused(kind: Kind, server: str) -> None:
    anchor = kind.build(server, 5)
    token = anchor.anchor(NOTE).token
    for wrong in (b"", token[:-1], token[1:], token + b"\n", token * 2, b"\x30\x80", b"{}", b"x" * 100_000):
        with pytest.raises(ProofError):
            anchor.check(wrong, NOTE)


def test_what_is_no_checkpoint_is_not_anchored(kind: Kind, server: str) -> None:
    for wrong in (b"", b"hello", sign_note("hello\n", [NoteSigner.generate("a")])):
        with pytest.raises(ProofError):
            kind.build(server, 5).anchor(wrong)


def test_a_token_of_another_kind_is_refused(server: str, kind: Kind) -> None:
    token = kind.build(server, 5).anchor(NOTE).token
    for other in KINDS.values():
        if other is not kind:
            with pytest.raises(ProofError):
                other.build("http://127.0.0.1:1/", 5).check(token, NOTE)


@pytest.mark.parametrize("shift", [timedelta(hours=-2), timedelta(hours=2)])
def test_a_time_far_from_ours_is_refused(kind: Kind, shift: timedelta) -> None:
    with answering(kind.serve(NOW + shift)) as url, pytest.raises(ProofError) as refused:
        kind.build(url, 5).anchor(NOTE)
    assert refused.value.code == "anchor.time"


def _always(answer: Answer) -> AbstractContextManager[str]:
    return answering(lambda _: answer)


@pytest.mark.parametrize(
    ("status", "expected"),
    [
        *[(refused, Rejected) for refused in (204, 302, 307, 400, 403, 404)],
        *[(busy, RetryLater) for busy in (429, 500, 503)],
    ],
)
def test_a_refusal_a_redirect_and_a_bad_moment_are_told_apart(
    kind: Kind, status: int, expected: type[MalanError]
) -> None:
    answer = Answer(status, headers={"Location": "http://127.0.0.1:1/elsewhere"})
    with _always(answer) as url, pytest.raises(expected):
        kind.build(url, 5).anchor(NOTE)


@pytest.mark.parametrize("body", [b"", b"\x00" * 50, b"{}", b"null", b"\x30\x03\x02\x01\x00", b"x" * 60_000])
def test_garbage_is_refused(kind: Kind, body: bytes) -> None:
    with _always(Answer(200, body, kind.content_type)) as url, pytest.raises(ProofError):
        kind.build(url, 5).anchor(NOTE)


def test_an_endless_answer_is_refused(kind: Kind) -> None:
    with _always(Answer(200, b" " * 200_000, kind.content_type)) as url, pytest.raises(ProofError) as refused:
        kind.build(url, 5).anchor(NOTE)
    assert refused.value.code == "http.too_long"


def test_silence_and_drops_are_for_later(kind: Kind) -> None:
    head = f"HTTP/1.1 200 OK\r\nContent-Type: {kind.content_type}\r\nContent-Length: 500\r\n\r\n".encode()
    with saying(hold_open=True) as url, pytest.raises(RetryLater):
        kind.build(url, 0.2).anchor(NOTE)
    with saying(head, *[b"x"] * 400, pause_s=0.01, hold_open=True) as url, pytest.raises(RetryLater):
        kind.build(url, 0.2).anchor(NOTE)
    with saying(head, b"short") as url, pytest.raises(RetryLater):
        kind.build(url, 5).anchor(NOTE)
    with pytest.raises(RetryLater):
        kind.build(url, 5).anchor(NOTE)
