"""Cosignatures: a real checkpoint with its public witnesses, our own, and every byte changed."""

from __future__ import annotations

import base64

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from hypothesis import given, settings
from hypothesis import strategies as st

from malan.core.errors import ProofError, UsageError
from malan.ledger.checkpoint import Checkpoint
from malan.ledger.cosign import Cosigner, add_cosignatures, cosignature_time, cosignatures
from malan.ledger.note import (
    NoteSigner,
    NoteVerifier,
    check_signatures,
    cosigned_message,
    open_note,
    parse_note,
    sign_note,
)

# A published checkpoint of a certificate log, with the cosignatures of public witnesses (May 2026).
ARCHE = """arche2025h1.staging.ct.transparency.dev
1432088532
U7WM79jrzyhGZ5/GUBTpM7NzwdyfFx61t3RovgcC4Ro=

— arche2025h1.staging.ct.transparency.dev zTM8sQAAAZ5W0WdjBAMARjBEAiBjW5IQf9pvsYLfQFX6hoGREPMHbdQ3urbllzalApkptQIgIpwtEroeW2BXaHAI4kJXFbon5Ch9MNL5zRNZ55lvGt0=
— arche2025h1.staging.ct.transparency.dev ui8GwCF1+kWqZrxGdhj4aX3gcw7XUlXQQabg/27lefwhUkzbC3NygNI75MdhL1bfTW9g8Ei59RA23oHP7Ry1k3ZFWwQ=
— transparency.dev/DEV:witness-little-garden 2AQqhwAAAABqEiEgzgFIqqhbUoDwjMWE6UP8nd8/KYTzwZ2rhIgcqoXHAwVkjZr4AscylP3v7sEodkRAErumC2q44vdgJY096st5BQ==
— witness1.smartit.nu/witness1 pIyCDwAAAABqEiEghIp82KWebrw7/oHQwlTAm3g2RKS4+eebl8eO0WH+/iEcxZ75W3u5hNI7TOQtmJbqmNWVuE0tgh0XwzdZsDsUAQ==
— remora.n621.de 2net5wAAAABqEiEgPlfF3V06o0Y+fHM+J5J9s27wgxxcOVSpZ/2g/KSiXCg9DEZI+aVCIobWX9sXTynk5XeU/zZ0WBxtqB0DrAWfBw==
— witness.stagemole.eu Z/euoAAAAABqEiEgw0i+7g2ENfDAWHmtRzCfKTHSDwYDJA2NmKeGi9Y8FtEyOUvVr+AJmIY/2TUFucgKi7lI7cUiOvKFYe/TmN9DAg==
""".encode()  # noqa: E501 - as published
ARCHE_LOG = "arche2025h1.staging.ct.transparency.dev+ba2f06c0+AU0vHmlGCS/PdN8b2OaGmKprLI8HKM+dJ472xgFYh15f"
WITNESSES = (
    "transparency.dev/DEV:witness-little-garden+d8042a87+BCtusOxINQNUTN5Oj8HObRkh2yHf/MwYaGX4CPdiVEPM",
    "witness1.smartit.nu/witness1+a48c820f+BPSFWg9G6KPiO7QPryYO5Xq4oYJJ+kAvLKLSimDhoxMO",
    "remora.n621.de+da77ade7+BOvN63jn/bLvkieywe8R6UYAtVtNbZpXh34x7onlmtw2",
    "witness.stagemole.eu+67f7aea0+BEqSG3yu9YrmcM3BHvQYTxwFj3uSWakQepafafpUqklv",
)

LOG = NoteSigner.from_private("log.example", bytes(range(32)))
TEXT = Checkpoint("log.example", 7, bytes(32)).text()


def _cosigner(name: str = "witness.example", time_s: int = 1_700_000_000) -> Cosigner:
    return Cosigner.from_private(name, bytes(31) + bytes([len(name)]), lambda: time_s)


def test_a_published_checkpoint_opens_with_its_log_and_each_of_its_witnesses() -> None:
    keys = [NoteVerifier.parse(key) for key in (ARCHE_LOG, *WITNESSES)]
    note = open_note(ARCHE, keys)
    assert note.verified == tuple(key.name for key in keys)
    assert note.to_bytes() == ARCHE
    assert {each.time_s for each in cosignatures(note, keys)} == {0x6A122120}
    assert Checkpoint.parse(note.text).size == 1_432_088_532


@pytest.mark.parametrize("key", WITNESSES)
def test_a_published_checkpoint_changed_by_one_leaf_does_not_open(key: str) -> None:
    with pytest.raises(ProofError, match="does not hold"):
        open_note(ARCHE.replace(b"1432088532", b"1432088533"), [NoteVerifier.parse(key)])


def test_the_published_layout_of_a_cosignature_is_read() -> None:
    held = base64.b64decode(
        "ZGhGuQAAAABm/qTPeyKXD+R2rzyQsxPiP8mXum7qq/iF0u4vanlqJyocWODBt97w9uL+8qT7S5gxEHWWOworDcFiEBYJXORmnFBOBA=="
    )
    assert cosignature_time(held[4:]) == 1727964367
    plain = base64.b64decode(
        "eQjRQm6eSKzFoiYalgwCPXu2y3ijtg68is9M46JKxuZB+dRfTmeQeDBoXnvxZx2ugnkyV+MUMLXpWs1hPb/W/4xkNQY="
    )
    with pytest.raises(ProofError):
        cosignature_time(plain[4:])


@settings(deadline=None)
@given(st.integers(1, (1 << 63) - 1))
def test_what_is_cosigned_verifies_with_its_time(time_s: int) -> None:
    witness = _cosigner(time_s=time_s)
    note = open_note(sign_note(TEXT, [LOG, witness]), [witness.verifier])
    assert [(each.verifier, each.time_s) for each in cosignatures(note, [witness.verifier])] == [
        (witness.verifier, time_s)
    ]


COSIGNED = sign_note(TEXT, [LOG, _cosigner()])


@settings(deadline=None)
@given(st.integers(0, len(COSIGNED) - 1), st.integers(1, 255))
def test_one_changed_byte_never_leaves_two_signatures(position: int, flip: int) -> None:
    changed = bytearray(COSIGNED)
    changed[position] ^= flip
    try:
        note = open_note(bytes(changed), [LOG.verifier, _cosigner().verifier])
    except ProofError:
        return
    assert (note.text, len(note.verified)) == (TEXT, 1)


def test_a_time_after_the_end_of_time_is_refused() -> None:
    line = _cosigner().sign(TEXT)
    held = bytearray(base64.b64decode(line.split(" ")[2]))
    held[4] |= 0x80
    wrong = f"— witness.example {base64.b64encode(held).decode()}\n"
    with pytest.raises(ProofError, match="does not hold"):
        check_signatures(parse_note((TEXT + "\n" + wrong).encode()), [_cosigner().verifier])


def test_a_signature_over_a_time_after_the_end_of_time_is_refused_even_when_it_holds() -> None:
    private = Ed25519PrivateKey.from_private_bytes(bytes(31) + b"\x0f")
    for time_s, is_good in (((1 << 63) - 1, True), (1 << 63, False)):
        raw = time_s.to_bytes(8, "big") + private.sign(cosigned_message(TEXT, time_s))
        assert _cosigner().verifier.holds(TEXT, raw) is is_good
        assert not _cosigner().verifier.holds(TEXT, raw + b"\x00")


@pytest.mark.parametrize("time_s", [0, -1, 1 << 63])
def test_without_a_time_nothing_is_cosigned(time_s: int) -> None:
    with pytest.raises(UsageError):
        _cosigner(time_s=time_s).sign(TEXT)


def test_a_witness_signs_nothing_but_checkpoints() -> None:
    with pytest.raises(ProofError):
        _cosigner().sign("I owe you a thousand.\n")


def test_a_log_key_and_a_witness_key_of_the_same_bytes_are_two_keys() -> None:
    witness = Cosigner.from_private("log.example", bytes(range(32)), lambda: 1)
    assert witness.verifier.key_id != LOG.verifier.key_id
    with pytest.raises(ProofError, match="None of the trusted keys"):
        open_note(sign_note(TEXT, [LOG]), [witness.verifier])


def test_a_newer_cosignature_takes_the_place_of_the_older_one() -> None:
    witness, later = _cosigner(), _cosigner(time_s=1_800_000_000)
    data = add_cosignatures(sign_note(TEXT, [LOG]), witness.sign(TEXT), [witness.verifier])
    data = add_cosignatures(data, later.sign(TEXT), [witness.verifier])
    assert data == sign_note(TEXT, [LOG, later])


def test_only_the_line_of_the_very_same_key_gives_way() -> None:
    witness = _cosigner()
    namesake = Cosigner.from_private("witness.example", b"\x42" * 32, lambda: 1)
    twin = Cosigner.from_private("twin.example", bytes(31) + bytes([len("witness.example")]), lambda: 1)
    data = sign_note(TEXT, [LOG, namesake, twin])
    assert add_cosignatures(data, witness.sign(TEXT), [witness.verifier]) == sign_note(
        TEXT, [LOG, namesake, twin, witness]
    )


def test_lines_of_strangers_are_not_added() -> None:
    witness, stranger = _cosigner(), _cosigner("stranger.example")
    lines = stranger.sign(TEXT) + witness.sign(TEXT) + LOG.sign(TEXT)
    assert add_cosignatures(sign_note(TEXT, [LOG]), lines, [witness.verifier]) == sign_note(TEXT, [LOG, witness])
    with pytest.raises(ProofError) as refused:
        add_cosignatures(sign_note(TEXT, [LOG]), stranger.sign(TEXT), [witness.verifier])
    assert refused.value.code == "note.unverified"


def test_a_cosignature_of_another_checkpoint_is_not_added() -> None:
    witness = _cosigner()
    other = witness.sign(Checkpoint("log.example", 8, bytes(32)).text())
    with pytest.raises(ProofError) as refused:
        add_cosignatures(sign_note(TEXT, [LOG]), other, [witness.verifier])
    assert refused.value.code == "note.bad_signature"


def test_a_secret_key_never_shows_and_has_one_length() -> None:
    assert (bytes(31) + b"\x0f").hex() not in repr(_cosigner())
    with pytest.raises(UsageError):
        Cosigner.from_private("witness.example", bytes(31), lambda: 0)
