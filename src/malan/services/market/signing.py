"""The keys that sign agreements: those kept here for owners and buyers, and those of buyers who sign outside.

A private key from outside is read from its file, used once and forgotten. Start at `signing_key` and `sign_file`.
"""

from __future__ import annotations

import os
import stat
from pathlib import Path
from typing import TYPE_CHECKING

from malan.core.errors import NotFound, Rejected, UsageError
from malan.ledger.envelope import key_id_of
from malan.ledger.keys import ActorKey
from malan.rights.agreement import Agreement, SignedAgreement
from malan.services.footage.owners import owner_name
from malan.services.journal import is_registered, owner_key, register_key, start_log

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

    from malan.workspace import Workspace

PARTY = "party-"
_LARGEST_KEY = 8192


def party_key(ws: Workspace, party_id: str) -> ActorKey:
    """The key that signs for a buyer here; made, and registered in the log, when first needed."""
    start_log(ws)
    name = PARTY + party_id
    if name not in ws.keys.names():
        ws.keys.create(name)
    key = ws.keys.actor(name)
    if not is_registered(ws, key):
        register_key(ws, name, "buyer", {"name": owner_name(ws, party_id), "party": party_id})
    return key


def signing_key(ws: Workspace, agreement: Agreement, party_id: str) -> ActorKey:
    """The private key with which a party signs this agreement.

    Raises:
        Rejected: It is kept elsewhere, or was replaced since the agreement was made.
    """
    named = {one.id: one.key for one in agreement.parties}
    elsewhere = Rejected("contract.no_key_here", party=owner_name(ws, party_id), number=agreement.number)
    try:
        is_owner = any(one.id == party_id for one in agreement.owners)
        key = owner_key(ws, party_id) if is_owner else ws.keys.actor(PARTY + party_id)
    except NotFound:
        raise elsewhere from None
    if key.key_id != named.get(party_id):
        if named.get(party_id) in {old.key_id for old in ws.keys.retired(key.name)}:
            raise Rejected("contract.key_replaced", party=owner_name(ws, party_id), number=agreement.number)
        raise elsewhere
    return key


def sign_file(data: bytes, key_file: Path) -> bytes:
    """The file of a contract, signed with a private key; needs no workspace.

    Raises:
        ProofError: The file is not a contract, or the key is no party's.
        UsageError: The key file is not an Ed25519 private key.
        Rejected: Others can read the key file.
    """
    signed = SignedAgreement.from_bundle(data)
    private = _private_key(key_file)
    key_id = key_id_of(private.public_key().public_bytes_raw())
    return signed.with_signature(key_id, private.sign(signed.agreement.to_bytes())).to_bundle() + b"\n"


def attach_signature(data: bytes, signature: bytes) -> bytes:
    """The file of a contract with the buyer's raw signature (64 bytes) that another tool made.

    Raises:
        ProofError: It is not the buyer's signature on exactly this agreement.
    """
    signed = SignedAgreement.from_bundle(data)
    return signed.with_signature(signed.agreement.buyer.key, signature).to_bundle() + b"\n"


def document_of(data: bytes) -> bytes:
    """The bytes of the agreement in the file of a contract: what other tools sign."""
    return SignedAgreement.from_bundle(data).agreement.to_bytes()


def read_public_key(text_or_path: str) -> str:
    """A key id from what a person gave: `ed25519:…`, or a PEM file with a public key.

    Raises:
        UsageError: It is neither.
    """
    from cryptography.hazmat.primitives import serialization
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

    if text_or_path.startswith("ed25519:"):
        return text_or_path
    try:
        key = serialization.load_pem_public_key(_read(Path(text_or_path)))
    except (ValueError, OSError):
        raise UsageError("contract.bad_key", path=text_or_path[:200]) from None
    if not isinstance(key, Ed25519PublicKey):
        raise UsageError("contract.bad_key", path=text_or_path[:200])
    return key_id_of(key.public_bytes_raw())


def _private_key(path: Path) -> Ed25519PrivateKey:
    from cryptography.hazmat.primitives import serialization
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

    try:
        mode = stat.S_IMODE(path.stat().st_mode)
        if mode & 0o077:
            raise Rejected("contract.key_open", path=str(path), mode=f"{mode:04o}")
        key = serialization.load_pem_private_key(_read(path), None)
    except (ValueError, TypeError, OSError):
        raise UsageError("contract.bad_key", path=str(path)) from None
    if not isinstance(key, Ed25519PrivateKey):
        raise UsageError("contract.bad_key", path=str(path))
    return key


def _read(path: Path) -> bytes:
    with path.open("rb") as file:
        if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
            raise OSError(f"{path} is not a file")
        return file.read(_LARGEST_KEY)
