"""An entry is believed only as it was signed, byte for byte."""

from __future__ import annotations

import base64
import json

import pytest
from event_factory import actor_key, entry
from hypothesis import given
from hypothesis import strategies as st

from malan.core.canonical import canonical_json
from malan.core.errors import ProofError
from malan.ledger.envelope import PAYLOAD_TYPE, open_envelope, pre_authentication, seal

ENTRY = entry()


def test_what_was_sealed_is_opened_with_its_signers():
    opened = open_envelope(seal(b"{}", [actor_key(1), actor_key(2)]))
    assert opened.payload == b"{}"
    assert opened.key_ids == (actor_key(1).key_id, actor_key(2).key_id)


def test_the_signed_bytes_are_those_of_dsse():
    assert pre_authentication(b"hi") == b"DSSEv1 28 application/vnd.in-toto+json 2 hi"


@given(st.integers(0, len(ENTRY) - 1), st.integers(1, 255))
def test_any_changed_byte_is_found(place, change):
    spoilt = bytearray(ENTRY)
    spoilt[place] ^= change
    with pytest.raises(ProofError):
        open_envelope(bytes(spoilt))


@given(st.integers(0, len(ENTRY) - 1))
def test_a_truncated_entry_is_refused(length):
    with pytest.raises(ProofError):
        open_envelope(ENTRY[:length])


def test_an_entry_larger_than_the_log_holds_is_not_made():
    with pytest.raises(ProofError) as caught:
        seal(b"x" * 60_000, [actor_key()])
    assert caught.value.code == "event.too_large"


def changed(**parts) -> bytes:
    return canonical_json(json.loads(ENTRY) | parts)


def _signature(**parts):
    return {"signatures": [json.loads(ENTRY)["signatures"][0] | parts]}


@pytest.mark.parametrize(
    ("spoilt", "code"),
    [
        (changed(signatures=[]), "event.not_envelope"),
        (changed(signatures=json.loads(ENTRY)["signatures"] * 2), "event.not_envelope"),
        (changed(signatures=json.loads(ENTRY)["signatures"] * 9), "event.not_envelope"),
        (changed(payloadType="text/plain"), "event.not_envelope"),
        (changed(payload="not base64!"), "event.not_envelope"),
        (changed(payload=base64.urlsafe_b64encode(b"\xff\xff\xfe").decode()), "event.not_envelope"),
        (changed(more=1), "event.not_envelope"),
        (changed(**_signature(sig="AAAA")), "event.signature"),
        (changed(**_signature(keyid="ed25519:AAAA")), "event.key_id"),
        (changed(**_signature(keyid="rsa:AAAA")), "event.key_id"),
        (changed(**_signature(keyid=actor_key(2).key_id)), "event.signature"),
        (changed(**_signature(keyid="ed25519:" + base64.b64encode(bytes(32)).decode())), "event.signature"),
        (b" " + ENTRY, "canonical.spelling"),
        (b"[]", "event.not_envelope"),
    ],
)
def test_what_is_not_an_envelope_is_refused(spoilt, code):
    with pytest.raises(ProofError) as caught:
        open_envelope(spoilt)
    assert caught.value.code == code


def test_the_payload_type_is_the_one_in_toto_tools_know():
    assert json.loads(ENTRY)["payloadType"] == PAYLOAD_TYPE == "application/vnd.in-toto+json"
