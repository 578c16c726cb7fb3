"""Receipts of runs, signed with the log's key, and what the log says of a run: that it began, and how it ended.

What is signed are the bytes of the receipt as they stand. They begin with `{`, so a signature under them can pass
neither for one under a checkpoint nor under an entry of the log. Both digests stand in the log, so a receipt can be
held against it as well. Start reading at `keep_receipts`.
"""

from __future__ import annotations

import base64
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from sqlalchemy import select

from malan.core.canonical import canonical_json, read_canonical
from malan.core.errors import NotFound, ProofError
from malan.core.ids import digest_bytes
from malan.ledger.envelope import public_key_of
from malan.ledger.keys import SYSTEM
from malan.ledger.statement import Input, Subject, urn
from malan.runtime.database import add_new, reading, writing
from malan.services.journal import Fact, record, start_log
from malan.services.runs.meter import seconds_by_owner
from malan.services.runs.rows import Run
from malan.services.runs.tables import RECEIPTS, run_tables
from malan.training.gate import GateResult, owner_receipt, party_receipt
from malan.training.gate import Run as Certified

if TYPE_CHECKING:
    from malan.workspace import Workspace

TYPE = "malan-run-receipt/v1"
OWNER_COPY, PARTY_COPY = "owner", "party"
_EXIT = {"ok": 0, "limit": 124}


@dataclass(frozen=True, slots=True)
class Receipt:
    """One copy of a receipt: its bytes, and the signature of the log's key under them."""

    body: bytes
    signature: bytes
    key_id: str

    @property
    def digest(self) -> str:
        return digest_bytes(self.body)

    def to_file(self) -> bytes:
        """The receipt as one file that `check_receipt` reads."""
        signature = base64.b64encode(self.signature).decode()
        return canonical_json({"type": TYPE, "receipt": self.body.decode(), "key": self.key_id, "signature": signature})


def certified(ws: Workspace, run: Run) -> Certified:
    """The run as the gate certifies it."""
    ran = run.ran
    return Certified(
        run_id=run.id,
        grant_id=run.grant_id,
        snapshot_id=run.snapshot_id,
        code_digest=run.package_id,
        base_model_id=run.asked.get("base_id"),
        tier=run.tier,
        isolation=str(ran.get("level", "none")),
        exit_status=_EXIT.get(str(ran.get("end", "failed")), 1),
        wall_s=float(ran.get("wall_s", 0.0)),
        microseconds_by_owner=seconds_by_owner(ws, run.id),
        epsilon=ran.get("epsilon"),
        delta=ran.get("delta"),
    )


def keep_receipts(ws: Workspace, run: Run, result: GateResult, charged_bytes: int) -> None:
    """Write and sign both copies; asked again for the same life of a run, those that stand stay."""
    start_log(ws)
    key, told = ws.keys.actor(SYSTEM), certified(ws, run)
    bodies = {
        OWNER_COPY: owner_receipt(told, result, charged_bytes),
        PARTY_COPY: party_receipt(told, result, charged_bytes),
    }
    rows = [
        {"run_id": run.id, "life": run.life, "copy": copy, "body": body, "signature": key.sign(body)}
        for copy, body in bodies.items()
    ]
    with writing(run_tables(ws), durable=True) as connection:
        add_new(connection, RECEIPTS, [{**row, "key_id": key.key_id} for row in rows])


def read_receipt(ws: Workspace, run_id: str, copy: str, life: int | None = None) -> Receipt:
    """A copy of the receipt of a run, the latest unless a life is named.

    Raises:
        NotFound: It has none yet.
    """
    query = select(RECEIPTS).where(RECEIPTS.c.run_id == run_id, RECEIPTS.c.copy == copy)
    if life is not None:
        query = query.where(RECEIPTS.c.life == life)
    with reading(run_tables(ws)) as connection:
        row = connection.execute(query.order_by(RECEIPTS.c.life.desc())).first()
    if row is None:
        raise NotFound("runs.no_receipt", id=run_id[:12])
    return Receipt(bytes(row.body), bytes(row.signature), row.key_id)


def check_receipt(data: bytes, key_id: str | None = None) -> dict[str, Any]:
    """What a receipt file says, its signature checked.

    Args:
        data: The file.
        key_id: The key it must be signed with; without one, the key it names itself.

    Raises:
        ProofError: It is no receipt of a run, or was changed, or another key signed it.
    """
    said = read_canonical(data.rstrip(b"\n"))
    if not isinstance(said, dict) or said.get("type") != TYPE or not isinstance(said.get("receipt"), str):
        raise ProofError("runs.bad_receipt")
    body, named = said["receipt"].encode(), str(said.get("key"))
    if key_id is not None and named != key_id:
        raise ProofError("runs.bad_receipt")
    try:
        signature = base64.b64decode(str(said.get("signature")), validate=True)
        Ed25519PublicKey.from_public_bytes(public_key_of(named)).verify(signature, body)
    except (InvalidSignature, ValueError):
        raise ProofError("runs.bad_receipt") from None
    found: dict[str, Any] = read_canonical(body)
    return found


def state_start(ws: Workspace, run: Run) -> None:
    """State in the log that a run begins: on what, under which grant, with which code. Before it sees anything."""
    inputs = [
        Input(urn("snapshot", run.snapshot_id), run.snapshot_id, "inputTo"),
        Input(urn("grant", run.grant_id), run.grant_id, "about"),
    ]
    facts = {"code": run.package_id, "tier": run.tier, "life": run.life}
    subject = Subject(urn("run", run.id), run.id)
    record(ws, [Fact("run.start", (subject,), "run.work", tuple(inputs), facts, parameters=dict(run.parameters))])


def state_end(ws: Workspace, run: Run, state: str) -> None:
    """State in the log how a run ended, with the digests of its receipts."""
    subject = Subject(urn("run", run.id), run.id)
    facts = {
        "state": state,
        "life": run.life,
        "receipt": read_receipt(ws, run.id, OWNER_COPY, run.life).digest,
        "receipt_party": read_receipt(ws, run.id, PARTY_COPY, run.life).digest,
    }
    record(ws, [Fact("run.end", (subject,), "run.work", (Input(subject.urn, run.id, "about"),), facts)])
