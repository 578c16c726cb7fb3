"""Messages and bodies we send, in the plain form of the 2025-1 schemas. Start at `message`.

`@context` is a list of addresses, `permission` a list, a right operand never a bare number, an empty catalogue has no
`dataset`: the schemas refuse anything else.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from malan.core.errors import MalanError
from malan.core.uuid7 import uuid7
from malan.services.dsp import words
from malan.services.dsp.errors import Refusal


def to_bytes(said: Mapping[str, Any]) -> bytes:
    """A body as JSON."""
    return json.dumps(said, ensure_ascii=False, separators=(",", ":")).encode()


def message(kind: str, consumer_pid: str, provider_pid: str, **fields: Any) -> dict[str, Any]:
    """A message of a process; ids that are not known yet are left out, and so are empty fields."""
    name, _, event = kind.partition(":")
    said: dict[str, Any] = {"@context": [words.CONTEXT], "@id": f"urn:uuid:{uuid7()}", "@type": name}
    said |= _pids(consumer_pid, provider_pid)
    if event:
        said["eventType"] = event
    return said | {key: value for key, value in fields.items() if value not in (None, "", [], {})}


def process_body(body: str, consumer_pid: str, provider_pid: str, state: str) -> dict[str, Any]:
    """How a process stands: ContractNegotiation or TransferProcess."""
    return {"@context": [words.CONTEXT], "@type": body, **_pids(consumer_pid, provider_pid), "state": state}


def error_body(kind: str, refusal: Refusal, consumer_pid: str = "", provider_pid: str = "") -> dict[str, Any]:
    """A typed error. A process id that the other side did not name stays out."""
    said: dict[str, Any] = {"@context": [words.CONTEXT], "@type": kind, **_pids(consumer_pid, provider_pid)}
    return {**said, "code": refusal.code, "reason": list(refusal.reasons)}


def agreement_of(
    offer: Mapping[str, Any], agreement_id: str, *, assigner: str, assignee: str, timestamp: str
) -> dict[str, Any]:
    """The agreement that an offer becomes: its rules and target, between these two, at this time."""
    rules = {key: value for key, value in offer.items() if key not in ("@id", "@type", "assigner", "assignee")}
    return {
        "@id": agreement_id,
        "@type": "Agreement",
        "assigner": assigner,
        "assignee": assignee,
        "timestamp": timestamp,
        **rules,
    }


def reasons_of(error: MalanError) -> list[str]:
    """A reason in both languages."""
    return [error.message(lang) for lang in ("en", "zh")]


def dataset_body(
    dataset_id: str,
    title: str,
    offers: Sequence[Mapping[str, Any]],
    formats: Iterable[str],
    service: Mapping[str, Any],
) -> dict[str, Any]:
    """A dataset of the catalogue: its offers without target, and how it may be used."""
    listed = [{key: value for key, value in offer.items() if key != "target"} for offer in offers]
    ways = [{"@type": "Distribution", "format": each, "accessService": dict(service)} for each in formats]
    said: dict[str, Any] = {"@id": dataset_id, "@type": "Dataset", "hasPolicy": listed, "distribution": ways}
    return {**said, "title": title} if title else said


def service_body(root: str) -> dict[str, Any]:
    """The service of a connector."""
    return {"@id": f"{root}#service", "@type": "DataService", "endpointURL": root}


def catalog_body(
    root: str, participant: str, service: Mapping[str, Any], datasets: Sequence[Mapping[str, Any]]
) -> dict[str, Any]:
    """A catalogue; without datasets it has no list of them."""
    said: dict[str, Any] = {
        "@context": [words.CONTEXT],
        "@id": f"{root}/catalog",
        "@type": "Catalog",
        "participantId": participant,
        "service": [dict(service)],
    }
    return {**said, "dataset": list(datasets)} if datasets else said


def version_body(participant: str, *, auth: Mapping[str, str] | None = None) -> dict[str, Any]:
    """What `/.well-known/dspace-version` says."""
    entry: dict[str, Any] = {"version": words.VERSION, "path": words.ROOT, "binding": "HTTPS"}
    entry["serviceId"] = participant
    return {"protocolVersions": [{**entry, **({"auth": dict(auth)} if auth else {})}]}


def _pids(consumer_pid: str, provider_pid: str) -> dict[str, str]:
    given = {"consumerPid": consumer_pid, "providerPid": provider_pid}
    return {name: pid for name, pid in given.items() if pid}
