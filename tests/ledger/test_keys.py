"""Keys are files for one person's eyes; a rotation loses neither the old nor the new."""

from __future__ import annotations

import os
import stat

import pytest

from malan.core.errors import MalanError
from malan.ledger.keys import KeyRing


@pytest.fixture
def ring(tmp_path) -> KeyRing:
    ring = KeyRing(tmp_path / "keys")
    ring.start()
    return ring


def test_the_first_start_makes_the_keys_and_names_the_log(ring):
    assert ring.names() == ["operator", "system"]
    assert ring.origin is not None
    assert ring.origin.startswith("malan-")


def test_starting_again_changes_nothing(ring):
    before = ring.actor("operator").key_id, ring.origin, ring.log_signer().vkey
    ring.start()
    assert (ring.actor("operator").key_id, ring.origin, ring.log_signer().vkey) == before


def test_a_log_keeps_its_name(tmp_path):
    ring = KeyRing(tmp_path / "keys")
    ring.start("archive.example.org/log")
    assert ring.log_signer().vkey.startswith("archive.example.org/log+")
    with pytest.raises(MalanError, match="already named"):
        ring.start("other.example.org")


def test_nobody_else_can_read_a_key(ring):
    assert stat.S_IMODE(ring.folder.stat().st_mode) == 0o700
    assert {stat.S_IMODE(path.stat().st_mode) for path in ring.folder.glob("*.pem")} == {0o600}


def test_a_key_others_can_read_is_not_used(ring):
    (ring.folder / "operator.pem").chmod(0o640)
    with pytest.raises(MalanError) as caught:
        ring.actor("operator")
    assert caught.value.code == "key.open_to_others"


def test_a_key_is_never_made_twice(ring):
    with pytest.raises(MalanError) as caught:
        ring.create("operator")
    assert caught.value.code == "key.exists"


@pytest.mark.parametrize("name", ["../operator", "owner-x", "", "system.1", "owner-" + "a" * 65, "媒体"])
def test_a_name_cannot_lead_elsewhere(ring, name):
    with pytest.raises(MalanError) as caught:
        ring.create(name)
    assert caught.value.code == "key.bad_name"


def test_a_rotation_keeps_the_old_key_and_can_be_taken_up_again(ring):
    old, new = ring.prepare_rotation("operator")
    assert ring.prepare_rotation("operator")[1].key_id == new.key_id
    assert ring.actor("operator").key_id == old.key_id
    assert ring.finish_rotation("operator").key_id == new.key_id
    assert [key.key_id for key in ring.retired("operator")] == [old.key_id]
    ring.finish_rotation("operator")
    assert len(ring.retired("operator")) == 1


def test_a_rotated_system_key_still_speaks_for_the_log(ring):
    before = ring.log_signer().vkey
    ring.prepare_rotation("system")
    ring.finish_rotation("system")
    assert ring.log_signer().vkey != before
    assert [signer.vkey for signer in ring.retired_log_signers()] == [before]


def test_damage_is_named_and_the_key_is_not_shown(ring):
    path = ring.folder / "operator.pem"
    secret = path.read_text().splitlines()[1]
    path.write_text(path.read_text().replace(secret, secret[:-4]))
    with pytest.raises(MalanError) as caught:
        ring.actor("operator")
    assert caught.value.code == "key.damaged"
    assert secret[:20] not in str(caught.value)


def test_an_interrupted_write_leaves_no_half_key(ring):
    (ring.folder / f".owner-abcdef.pem.{os.getpid()}").write_bytes(b"-----BEGIN")
    assert ring.create("owner-abcdef").key_id.startswith("ed25519:")
