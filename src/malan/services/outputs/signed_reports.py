"""Reports signed with the key of the house: a small statement over the bytes of a report and the media it is about.

    report bytes ─ SHA-256 ─┐
    media digests ──────────┴▶ statement ─ signed (DSSE, Ed25519) ─▶ a file beside the report

Whoever holds report, signature and media can check that they belong together and who says so. Start at `sign_report`.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from malan.core.errors import NotFound, ProofError
from malan.core.ids import canonical_bytes
from malan.ledger.envelope import open_envelope, seal
from malan.ledger.keys import OPERATOR

if TYPE_CHECKING:
    from malan.workspace import Workspace

KIND = "https://malan.example/report/v1"
MOST_MEDIA = 600  # the statement must fit into one entry of a log


@dataclass(frozen=True, slots=True)
class SignedReport:
    """What a signature says; every part of it has been checked."""

    key_ids: tuple[str, ...]
    media: tuple[str, ...]
    facts: dict[str, Any]


def sign_report(ws: Workspace, report: bytes, media: Sequence[str], facts: dict[str, Any]) -> bytes | None:
    """The signature over a report and the digests of its media; None before the keys of the workspace were made."""
    try:
        key = ws.keys.actor(OPERATOR)
    except NotFound:
        return None
    digests = sorted(set(media))
    listed: dict[str, Any] = {"media": digests} if len(digests) <= MOST_MEDIA else {"media_digest": _joint(digests)}
    said = {"kind": KIND, "report": hashlib.sha256(report).hexdigest(), **listed, "facts": facts}
    return seal(canonical_bytes(said), [key]) + b"\n"


def check_report(report: bytes, signature: bytes) -> SignedReport:
    """What a signature says of a report.

    Raises:
        ProofError: The signature does not hold, or is of another report.
    """
    envelope = open_envelope(signature.strip())
    try:
        said = json.loads(envelope.payload)
        is_ours = said["kind"] == KIND and said["report"] == hashlib.sha256(report).hexdigest()
    except (ValueError, KeyError, TypeError) as error:
        raise ProofError("review.report.signature", file=str(error)[:60]) from error
    if not is_ours:
        raise ProofError("review.report.signature", file="report")
    return SignedReport(envelope.key_ids, tuple(said.get("media", ())), said["facts"])


def _joint(digests: Sequence[str]) -> str:
    return hashlib.sha256("\n".join(digests).encode()).hexdigest()
