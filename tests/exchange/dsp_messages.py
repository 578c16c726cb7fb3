"""Messages as another organisation's connector would write them."""

from __future__ import annotations

from typing import Any
from uuid import uuid4

from dsp_schemas import CONTEXT


def pid() -> str:
    return f"urn:uuid:{uuid4()}"


def offer(offer_id: str, target: str, **more: Any) -> dict[str, Any]:
    return {
        "@id": offer_id,
        "@type": "Offer",
        "target": target,
        "permission": [{"action": "use", "constraint": []}],
        **more,
    }


def message(kind: str, **fields: Any) -> dict[str, Any]:
    return {"@context": [CONTEXT], "@type": kind, "@id": pid(), **fields}


def contract_request(consumer_pid: str, callback: str, said: dict[str, Any]) -> dict[str, Any]:
    return message("ContractRequestMessage", consumerPid=consumer_pid, callbackAddress=callback, offer=said)


def agreement(target: str, assigner: str, assignee: str, **more: Any) -> dict[str, Any]:
    return {
        "@id": pid(),
        "@type": "Agreement",
        "target": target,
        "assigner": assigner,
        "assignee": assignee,
        "timestamp": "2026-11-22T10:00:00Z",
        "permission": [{"action": "use"}],
        **more,
    }


def transfer_request(consumer_pid: str, callback: str, agreement_id: str, how: str = "HttpData-PULL") -> dict[str, Any]:
    fields = {"consumerPid": consumer_pid, "callbackAddress": callback, "agreementId": agreement_id, "format": how}
    return message("TransferRequestMessage", **fields)


DATA_ADDRESS = {
    "@type": "DataAddress",
    "endpointType": "https://w3id.org/idsa/v4.1/HTTP",
    "endpoint": "http://127.0.0.1:9/data",
    "endpointProperties": [{"@type": "EndpointProperty", "name": "authType", "value": "bearer"}],
}
