"""What a stranger needs to check something without us: receipts of events, and of records in the manifests they name.

    clip ─ Merkle proof ─▶ manifest root ─ named by ─▶ event ─ Merkle proof ─▶ checkpoint ─ signed by ─▶ log key

Each is one file; `python -m malan.ledger.verify FILE --key VKEY` checks it. Start at `event_receipt`, `clip_receipt`.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from malan.core.errors import NotFound
from malan.ledger.receipt import receipt_for
from malan.ledger.statement import urn
from malan.services.access import HOUSE, Caller, require
from malan.services.datasets.freezing import prove_clip
from malan.services.journal import Logged, events_about, key_subject, read_event
from malan.services.outputs.manifests import output_id_of, read_sources, trace_output

if TYPE_CHECKING:
    from malan.workspace import Workspace

TYPE = "malan-receipt/v1"


def event_receipt(ws: Workspace, index: int, *, caller: Caller = HOUSE) -> bytes:
    """The receipt of one event: a C2SP tlog-proof with the event in it."""
    require(caller, "log.read")
    return receipt_for(ws.log.reader, index)


def bundle(ws: Workspace, event: Logged, manifest: dict[str, Any] | None = None) -> dict[str, Any]:
    """An event, whose keys signed it, and optionally a record of the manifest it names; all in one JSON object."""
    value: dict[str, Any] = {
        "type": TYPE,
        "event": event_receipt(ws, event.index).decode(),
        "keys": [event_receipt(ws, place).decode() for place in _key_events(ws, event)],
    }
    return value if manifest is None else value | {"manifest": manifest}


def clip_receipt(ws: Workspace, snapshot: str, clip: str, *, caller: Caller = HOUSE) -> dict[str, Any]:
    """Proof that a clip is in a snapshot, and that the snapshot was frozen.

    Raises:
        NotFound: There is no such snapshot or clip, or the freezing was never logged.
        ProofError: The manifest is not what was frozen.
    """
    manifest = prove_clip(ws, snapshot, clip, caller=caller)
    places = events_about(ws, "dataset.release", urn("snapshot", manifest["root"]))
    if not places:
        raise NotFound("log.not_logged", what=manifest["root"][:16])
    return bundle(ws, read_event(ws, places[0]), manifest)


def output_receipt(
    ws: Workspace, file_or_id: str, clip: str | None = None, *, caller: Caller = HOUSE
) -> dict[str, Any]:
    """Proof that a file was published from here and, with `clip`, that this clip is in it.

    Raises:
        NotFound: The output is unknown, or the clip is not in it.
    """
    require(caller, "trace")
    trace = trace_output(ws, file_or_id)
    if clip is None:
        return bundle(ws, trace.event)
    sources = read_sources(ws, trace.sources_root)
    for index, source in enumerate(sources.listed):
        if source.clip.id.startswith(clip):
            return bundle(ws, trace.event, sources.prove(index))
    raise NotFound("output.clip_not_in_it", clip=clip[:16], output=output_id_of(ws, file_or_id)[:16])


def write_receipt(value: dict[str, Any]) -> bytes:
    """A bundle as the bytes of a file."""
    return json.dumps(value, ensure_ascii=False, indent=1, sort_keys=True).encode() + b"\n"


def _key_events(ws: Workspace, event: Logged) -> list[int]:
    """Where the log says whose keys these are: registered, or taken over by rotation."""
    places = []
    for key_id in event.key_ids:
        name = key_subject(key_id).urn
        places += (events_about(ws, "key.register", name) or events_about(ws, "key.rotate", name))[:1]
    return places
