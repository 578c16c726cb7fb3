"""As consumer of a pull transfer: fetch the samples a partner lets leave into a folder, every address checked.

Start at `fetch_samples`.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from malan.core.errors import NotGranted, ProofError, Rejected, RetryLater
from malan.ledger.post import Reply, ask
from malan.services.access import Caller
from malan.services.dsp import words
from malan.services.dsp.read import read_json
from malan.services.exchange.connector import open_here, show_process

if TYPE_CHECKING:
    from malan.services.dsp.flow import Exchange
    from malan.workspace import Workspace

MOST_SAMPLES, MOST_BYTES, _TIMEOUT_S = 100, 256 << 20, 300.0
_NAME = re.compile(r"[0-9a-f]{8,64}")
_SUFFIXES = {"video/mp4": ".mp4", "audio/mp4": ".m4a", "image/jpeg": ".jpg", "image/png": ".png", "image/webp": ".webp"}


@dataclass(frozen=True, slots=True)
class Fetched:
    """A sample that was fetched: whose clip, and the file."""

    clip_id: str
    path: Path
    size_bytes: int


def fetch_samples(ws: Workspace, caller: Caller, pid: str, out: Path) -> list[Fetched]:
    """Fetch what a started pull transfer gives; files that are there already are not fetched again.

    Args:
        ws: Where the transfer is.
        caller: Who fetches.
        pid: Our id of the transfer, or the end of it.
        out: The folder; made if need be.

    Raises:
        NotFound: There is no such transfer.
        Rejected: It is not started, or not ours to fetch from.
        NotGranted: The partner refuses.
        BadMessage: An address must not be called.
        RetryLater, ProofError: The partner does not answer, or says something else than samples.
    """
    process = show_process(ws, caller, pid)
    address = process.details.get("data_address")
    if process.role != words.CONSUMER or process.state != words.STARTED or not isinstance(address, Mapping):
        raise Rejected("exchange.not_started", pid=process.pid[-12:], state=process.state)
    endpoint, secret = str(address.get("endpoint", "")), _secret_of(address)
    ex = open_here(ws)
    listed = read_json(_got(ex, endpoint, secret, 1 << 20).body).get("samples")
    if not isinstance(listed, list):
        raise ProofError("exchange.no_samples")
    out.mkdir(parents=True, exist_ok=True)
    return [_fetched(ex, endpoint, secret, one, out) for one in listed[:MOST_SAMPLES]]


def _fetched(ex: Exchange, endpoint: str, secret: str, said: Any, out: Path) -> Fetched:
    """One sample; its name is the clip's id, so that nothing a partner says becomes a path."""
    clip_id = str(said.get("clip")) if isinstance(said, dict) else ""
    if not _NAME.fullmatch(clip_id):
        raise ProofError("exchange.no_samples")
    for there in (out / f"{clip_id}{suffix}" for suffix in _SUFFIXES.values()):
        if there.is_file():
            return Fetched(clip_id, there, there.stat().st_size)
    reply = _got(ex, f"{endpoint}/samples/{clip_id}", secret, MOST_BYTES)
    if reply.content_type not in _SUFFIXES:
        raise ProofError("exchange.no_samples")
    path = out / f"{clip_id}{_SUFFIXES[reply.content_type]}"
    part = path.with_name(f".{path.name}.part")
    part.write_bytes(reply.body)
    part.replace(path)
    return Fetched(clip_id, path, len(reply.body))


def _got(ex: Exchange, url: str, secret: str, most_bytes: int) -> Reply:
    headers = {"authorization": f"Bearer {secret}", "accept": "*/*"}
    connect = ex.addresses().connect_for(url)
    reply = ask("GET", url, headers=headers, timeout_s=_TIMEOUT_S, most_bytes=most_bytes, connect=connect)
    if reply.status >= 500:
        raise RetryLater("exchange.answered", party=url[:100], status=reply.status)
    if reply.status != 200:
        raise NotGranted("exchange.answered", party=url[:100], status=reply.status)
    return reply


def _secret_of(address: Mapping[str, Any]) -> str:
    """The secret in the properties of a data address; only what can stand in a header."""
    properties = address.get("endpointProperties")
    for one in properties if isinstance(properties, list) else ():
        if isinstance(one, Mapping) and one.get("name") == "authorization":
            found = str(one.get("value", "")).removeprefix("Bearer ")
            if found.isascii() and found.isprintable() and len(found) <= 4_000:
                return found
    raise ProofError("exchange.no_samples")
