"""RFC 3161 tokens: made by openssl and checked here, made here and checked by openssl, and wrong in every way."""

from __future__ import annotations

import shutil
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.x509.oid import ExtendedKeyUsageOID
from drawn_log import DrawnLog
from drawn_tsa import NOW, DrawnTsa, OpensslTsa, certify, openssl_accepts, stamping
from hypothesis import given, settings
from hypothesis import strategies as st
from loopback import Answer, answering

from malan.core.errors import MalanError, ProofError, UsageError
from malan.ledger.anchors import TimestampAuthority, der, digest_of
from malan.ledger.anchors.timestamp import build_request, check_token, token_in

NOTE = DrawnLog(7).note()
DIGEST = digest_of(NOTE)
ROOT = certify("root", is_ca=True)
MIDDLE = certify("middle", ROOT, is_ca=True, path_length=0)
SIGNER = stamping("tsa", ROOT)
NONCE = 0x1122334455667788
REQUEST = build_request(DIGEST, NONCE)

needs_openssl = pytest.mark.skipif(not shutil.which("openssl"), reason="openssl is not on this machine")


def _check(token: bytes) -> datetime:
    return check_token(token, DIGEST, [ROOT.certificate]).time


def _authority(url: str, **options: Any) -> TimestampAuthority:
    return TimestampAuthority("tsa.example", url, ROOT.pem, lambda: NOW, **options)


@needs_openssl
def test_a_token_of_openssl_is_accepted(tmp_path: Path) -> None:
    tsa = OpensslTsa(tmp_path, SIGNER)
    statement = check_token(token_in(tsa.answer(REQUEST), "tsa"), DIGEST, [ROOT.certificate])
    assert statement.nonce == NONCE
    assert statement.policy == "1.3.6.1.4.1.99999.1"
    assert abs(statement.time - datetime.now(UTC)) < timedelta(minutes=5)


@needs_openssl
def test_an_authority_run_by_openssl_anchors_a_checkpoint_over_http(tmp_path: Path) -> None:
    tsa = OpensslTsa(tmp_path / "tsa", SIGNER)
    with answering(tsa.serve) as url:
        authority = TimestampAuthority("tsa.example", url, ROOT.pem, lambda: datetime.now(UTC))
        anchored = authority.anchor(NOTE)
    assert authority.check(anchored.token, NOTE) == anchored.time
    assert openssl_accepts(tmp_path / "check", anchored.token, DIGEST, ROOT)


@needs_openssl
@pytest.mark.parametrize("kind", ["rsa", "p384", "chain"])
def test_a_token_of_openssl_with_other_keys_and_a_chain_is_accepted(tmp_path: Path, kind: str) -> None:
    key = {"rsa": rsa.generate_private_key(65537, 2048), "p384": ec.generate_private_key(ec.SECP384R1())}.get(kind)
    signer = stamping("tsa", MIDDLE if kind == "chain" else ROOT, key=key)
    tsa = OpensslTsa(tmp_path, signer, chain=[MIDDLE] if kind == "chain" else [])
    assert _check(token_in(tsa.answer(REQUEST), "tsa"))


@needs_openssl
@pytest.mark.parametrize("knobs", [{}, {"omit_nonce": True}, {"named_by_sha1": True}])
def test_openssl_and_malan_accept_the_same_drawn_tokens(tmp_path: Path, knobs: dict[str, Any]) -> None:
    token = DrawnTsa(SIGNER, **knobs).token(REQUEST)
    assert openssl_accepts(tmp_path, token, DIGEST, ROOT)
    assert _check(token) == NOW


@needs_openssl
@pytest.mark.parametrize(
    "knobs", [{"break_signature": True}, {"imprint": bytes(32)}, {"message_digest": bytes(32)}, {"named": b"other"}]
)
def test_openssl_and_malan_refuse_the_same_drawn_tokens(tmp_path: Path, knobs: dict[str, Any]) -> None:
    token = DrawnTsa(SIGNER, **knobs).token(REQUEST)
    assert not openssl_accepts(tmp_path, token, DIGEST, ROOT)
    with pytest.raises(ProofError):
        _check(token)


@needs_openssl
def test_openssl_reads_our_request(tmp_path: Path) -> None:
    for nonce in (0, 1, 127, 128, 255, 1 << 63, (1 << 64) - 1):
        response = OpensslTsa(tmp_path, SIGNER).answer(build_request(DIGEST, nonce))
        assert check_token(token_in(response, "tsa"), DIGEST, [ROOT.certificate]).nonce == nonce


def test_a_signer_named_by_its_key_is_found() -> None:
    assert _check(DrawnTsa(SIGNER, by_key_id=True).token(REQUEST)) == NOW
    with pytest.raises(ProofError, match="does not carry"):
        _check(DrawnTsa(SIGNER, [ROOT], by_key_id=True).token(REQUEST))


@pytest.mark.parametrize("scheme", ["pkcs1", "plain", "pss"])
def test_each_way_rsa_signs_is_read(scheme: str) -> None:
    signer = stamping("tsa", ROOT, key=rsa.generate_private_key(65537, 2048))
    assert _check(DrawnTsa(signer, scheme=scheme).token(REQUEST)) == NOW
    with pytest.raises(ProofError) as refused:
        _check(DrawnTsa(signer, scheme=scheme, break_signature=True).token(REQUEST))
    assert refused.value.code == "anchor.signature"


def test_an_ed25519_authority_is_read() -> None:
    signer = stamping("tsa", ROOT, key=ed25519.Ed25519PrivateKey.generate())
    assert _check(DrawnTsa(signer).token(REQUEST)) == NOW


def test_a_short_rsa_key_is_refused() -> None:
    signer = stamping("tsa", ROOT, key=rsa.generate_private_key(65537, 1024))
    with pytest.raises(ProofError) as refused:
        _check(DrawnTsa(signer).token(REQUEST))
    assert refused.value.code == "anchor.algorithm"


@pytest.mark.parametrize(
    ("knobs", "code"),
    [
        ({"imprint": bytes(32)}, "anchor.imprint"),
        ({"imprint_algorithm": "1.3.14.3.2.26"}, "anchor.algorithm"),
        ({"content_type": "1.2.840.113549.1.7.1"}, "anchor.shape"),
        ({"attribute_type": "1.2.840.113549.1.7.1"}, "anchor.shape"),
        ({"message_digest": bytes(32)}, "anchor.changed"),
        ({"named": b"another certificate"}, "anchor.other_certificate"),
        ({"named": b"another certificate", "named_by_sha1": True}, "anchor.other_certificate"),
        ({"omit_named": True}, "anchor.other_certificate"),
        ({"signatures": 0}, "anchor.der"),
        ({"signatures": 2}, "anchor.der"),
        ({"break_signature": True}, "anchor.signature"),
        ({"extension": b"\xa1\x02\x30\x00"}, "anchor.shape"),
        ({"sent": [ROOT]}, "anchor.no_certificate"),
        ({"time": "20260230000000Z"}, "anchor.der"),
        ({"time": "20260101000000"}, "anchor.der"),
        ({"time": "20260101000000.10Z"}, "anchor.der"),
        ({"time": "20260101000000+0800"}, "anchor.der"),
        ({"time": f"{NOW + timedelta(days=301):%Y%m%d%H%M%S}Z"}, "anchor.expired"),
        ({"time": f"{NOW - timedelta(days=31):%Y%m%d%H%M%S}Z"}, "anchor.expired"),
    ],
)
def test_a_token_wrong_in_one_way_is_refused_by_name(knobs: dict[str, Any], code: str) -> None:
    with pytest.raises(ProofError) as refused:
        _check(DrawnTsa(SIGNER, **knobs).token(REQUEST))
    assert refused.value.code == code


def test_more_certificates_than_any_chain_needs_are_refused() -> None:
    assert _check(DrawnTsa(SIGNER, [SIGNER] * 16).token(REQUEST)) == NOW
    with pytest.raises(ProofError) as refused:
        _check(DrawnTsa(SIGNER, [SIGNER] * 17).token(REQUEST))
    assert refused.value.code == "anchor.certificate"


@pytest.mark.parametrize("signer", [SIGNER, stamping("tsa", ROOT, key=ed25519.Ed25519PrivateKey.generate())])
def test_an_algorithm_that_is_not_the_keys_is_refused(signer: Any) -> None:
    assert _check(DrawnTsa(signer).token(REQUEST)) == NOW
    with pytest.raises(ProofError) as refused:
        _check(DrawnTsa(signer, algorithm="1.2.840.113549.1.1.11").token(REQUEST))
    assert refused.value.code == "anchor.algorithm"


def test_a_fraction_of_a_second_is_kept() -> None:
    assert _check(DrawnTsa(SIGNER, time=f"{NOW:%Y%m%d%H%M%S}.25Z").token(REQUEST)) == NOW + timedelta(milliseconds=250)


def _chains() -> dict[str, tuple[DrawnTsa, str]]:
    other_root = certify("root", is_ca=True)
    expired = stamping("tsa", ROOT, until=NOW - timedelta(days=1))
    web = certify("tsa", ROOT, purposes=[ExtendedKeyUsageOID.SERVER_AUTH])
    two = certify("tsa", ROOT, purposes=[ExtendedKeyUsageOID.TIME_STAMPING, ExtendedKeyUsageOID.SERVER_AUTH])
    quiet = stamping("tsa", ROOT, is_critical=False)
    any_purpose = certify("tsa", ROOT, purposes=[ExtendedKeyUsageOID.ANY_EXTENDED_KEY_USAGE])
    no_purpose = certify("tsa", ROOT)
    no_ca = certify("middle", ROOT)
    below_no_ca = stamping("tsa", no_ca)
    too_deep = certify("deep", MIDDLE, is_ca=True)
    old_middle = certify("middle", ROOT, is_ca=True, until=NOW - timedelta(days=1))
    web_middle = certify("middle", ROOT, is_ca=True, purposes=[ExtendedKeyUsageOID.SERVER_AUTH])
    own = certify("tsa", purposes=[ExtendedKeyUsageOID.TIME_STAMPING])
    strange = stamping("tsa", ROOT, strange=True)
    strange_middle = certify("middle", ROOT, is_ca=True, strange=True)
    under = {
        name: stamping("tsa", issuer)
        for name, issuer in (
            ("too_deep", too_deep),
            ("old", old_middle),
            ("web", web_middle),
            ("strange", strange_middle),
        )
    }
    return {
        "another root of the same name": (
            DrawnTsa(stamping("tsa", other_root), [stamping("x", other_root)]),
            "anchor.no_certificate",
        ),
        "another root": (DrawnTsa(stamping("tsa", other_root)), "anchor.chain"),
        "another root sent along": (_sending(stamping("tsa", other_root), other_root), "anchor.chain"),
        "its own issuer": (DrawnTsa(own), "anchor.chain"),
        "expired": (DrawnTsa(expired), "anchor.expired"),
        "for web servers": (DrawnTsa(web), "anchor.purpose"),
        "for two purposes": (DrawnTsa(two), "anchor.purpose"),
        "not critical": (DrawnTsa(quiet), "anchor.purpose"),
        "for anything": (DrawnTsa(any_purpose), "anchor.purpose"),
        "for nothing said": (DrawnTsa(no_purpose), "anchor.purpose"),
        "unknown critical extension": (DrawnTsa(strange), "anchor.purpose"),
        "middle missing": (DrawnTsa(stamping("tsa", MIDDLE)), "anchor.chain"),
        "middle is no authority": (_sending(below_no_ca, no_ca), "anchor.chain"),
        "path too long": (_sending(under["too_deep"], too_deep, MIDDLE), "anchor.chain"),
        "middle expired": (_sending(under["old"], old_middle), "anchor.chain"),
        "middle for web servers": (_sending(under["web"], web_middle), "anchor.chain"),
        "middle with unknown critical extension": (_sending(under["strange"], strange_middle), "anchor.chain"),
    }


def _sending(signer: Any, *others: Any) -> DrawnTsa:
    return DrawnTsa(signer, [signer, *others])


CHAINS = _chains()


@pytest.mark.parametrize("name", CHAINS)
def test_a_certificate_that_may_not_stamp_is_refused_by_name(name: str) -> None:
    tsa, code = CHAINS[name]
    with pytest.raises(ProofError) as refused:
        _check(tsa.token(REQUEST))
    assert refused.value.code == code


def test_a_chain_in_any_order_with_strangers_in_it_is_followed() -> None:
    signer = stamping("tsa", MIDDLE)
    stranger = certify("middle", certify("root", is_ca=True), is_ca=True)
    assert _check(DrawnTsa(signer, [stranger, MIDDLE, ROOT, signer]).token(REQUEST)) == NOW


def test_a_loop_of_issuers_ends() -> None:
    key = ec.generate_private_key(ec.SECP256R1())
    first = certify("a", is_ca=True, key=key)
    loop = [certify("a", first, is_ca=True, key=key) for _ in range(14)]
    with pytest.raises(ProofError):
        _check(DrawnTsa(stamping("tsa", first), [stamping("x", first), *loop]).token(REQUEST))


TOKEN = DrawnTsa(SIGNER).token(REQUEST)


@settings(deadline=None)
@given(st.integers(0, len(TOKEN) - 1), st.integers(1, 255))
def test_one_changed_byte_never_changes_what_a_token_states(position: int, flip: int) -> None:
    changed = bytearray(TOKEN)
    changed[position] ^= flip
    try:
        stated = check_token(bytes(changed), DIGEST, [ROOT.certificate])
    except ProofError:
        return
    assert (stated.time, stated.nonce) == (NOW, NONCE)


@settings(deadline=None)
@given(st.binary(max_size=300))
def test_garbage_is_no_token_and_no_response(data: bytes) -> None:
    for read in (_check, lambda d: token_in(d, "tsa"), lambda d: _check(TOKEN[: len(d)] + d)):
        with pytest.raises(MalanError):
            read(data)


def test_every_truncation_is_refused() -> None:
    for end in range(len(TOKEN)):
        with pytest.raises(ProofError):
            _check(TOKEN[:end])
    with pytest.raises(ProofError):
        _check(TOKEN + b"\x00")


@pytest.mark.parametrize(
    ("number", "spelled"), [(0, "020100"), (127, "02017f"), (128, "02020080"), (256, "02020100"), (-1, "0201ff")]
)
def test_integers_have_one_spelling(number: int, spelled: str) -> None:
    assert der.encode_integer(number).hex() == spelled
    assert der.Reader(bytes.fromhex(spelled)).integer() == number


@pytest.mark.parametrize("data", ["0200", "02020001", "0202ffff", "028101ff", "0280", "02840000000101", "1f0101", "02"])
def test_another_spelling_is_refused(data: str) -> None:
    with pytest.raises(ProofError):
        der.Reader(bytes.fromhex(data)).integer()


@pytest.mark.parametrize("dotted", ["1.2.840.113549.1.7.2", "2.16.840.1.101.3.4.2.1", "0.9.2342", "2.999.1"])
def test_object_identifiers_read_back(dotted: str) -> None:
    assert der.Reader(der.encode_oid(dotted)).oid() == dotted


def test_an_answer_with_another_nonce_is_refused() -> None:
    for knobs in ({"nonce_shift": 1}, {"omit_nonce": True}):
        with answering(DrawnTsa(SIGNER, **knobs).serve) as url, pytest.raises(ProofError) as refused:
            _authority(url).anchor(NOTE)
        assert refused.value.code == "anchor.nonce"


def test_a_replayed_answer_is_refused() -> None:
    old = DrawnTsa(SIGNER).answer(REQUEST)
    with (
        answering(lambda _: Answer(200, old, "application/timestamp-reply")) as url,
        pytest.raises(ProofError) as refused,
    ):
        _authority(url).anchor(NOTE)
    assert refused.value.code == "anchor.nonce"


@pytest.mark.parametrize("failure_bit", [None, 0, 2, 5, 14, 15, 16, 17, 25])
def test_a_refusal_and_a_bad_moment_are_told_apart(failure_bit: int | None) -> None:
    tsa = DrawnTsa(SIGNER, status=2, failure_bit=failure_bit)
    with answering(tsa.serve) as url, pytest.raises(MalanError) as refused:
        _authority(url).anchor(NOTE)
    assert refused.value.code == ("anchor.later" if failure_bit in (14, 25) else "anchor.refused")


def test_a_chain_may_have_six_authorities_between_and_no_more() -> None:
    for count, is_good in ((6, True), (7, False)):
        issuers = [ROOT]
        for i in range(count):
            issuers.append(certify(f"middle {i}", issuers[-1], is_ca=True))
        signer = stamping("tsa", issuers[-1])
        token = DrawnTsa(signer, [signer, *issuers[1:]]).token(REQUEST)
        if is_good:
            assert _check(token) == NOW
        else:
            with pytest.raises(ProofError, match="does not lead"):
                _check(token)


@pytest.mark.parametrize("purpose", [ExtendedKeyUsageOID.TIME_STAMPING, ExtendedKeyUsageOID.ANY_EXTENDED_KEY_USAGE])
def test_an_authority_for_time_stamping_or_for_anything_may_stand_between(purpose: Any) -> None:
    middle = certify("middle", ROOT, is_ca=True, purposes=[purpose])
    signer = stamping("tsa", middle)
    assert _check(DrawnTsa(signer, [signer, middle]).token(REQUEST)) == NOW


@pytest.mark.parametrize("until", [NOW, NOW + timedelta(days=300)])
def test_a_certificate_is_valid_up_to_its_last_second(until: datetime) -> None:
    signer = stamping("tsa", ROOT, since=NOW, until=until)
    assert _check(DrawnTsa(signer).token(REQUEST)) == NOW


def test_roots_that_are_none_are_refused() -> None:
    for pem in (b"", b"nonsense", SIGNER.key_pem):
        with pytest.raises(UsageError):
            TimestampAuthority("tsa", "http://localhost/", pem, lambda: NOW)
