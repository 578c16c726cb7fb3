"""Events and keys for tests, the same every time."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from malan.ledger.envelope import key_id_of, seal
from malan.ledger.keys import ActorKey
from malan.ledger.statement import Activity, Actor, Statement, Subject, urn


def actor_key(number: int = 1) -> ActorKey:
    private = Ed25519PrivateKey.from_private_bytes(bytes([number]) * 32)
    return ActorKey("operator", key_id_of(private.public_key().public_bytes_raw()), private)


def ingest(number: int = 1, **changes: Any) -> Statement:
    """An asset registered: everything such a statement must say."""
    digest = f"{number:064x}"
    statement = Statement(
        kind="asset.ingest",
        id=f"019aa000-0000-7000-8000-{number:012x}",
        time="2026-11-21T08:00:00Z",
        actor=Actor(actor_key().key_id, "operator"),
        subjects=(Subject(urn("asset", digest), digest),),
        activity=Activity("add", "malan", "0.1"),
        facts={"container": "mp4", "duration": "25/2", "terms": "a" * 64, "size": 1000},
    )
    return replace(statement, **changes)


def entry(number: int = 1) -> bytes:
    return seal(ingest(number).to_bytes(), [actor_key()])
