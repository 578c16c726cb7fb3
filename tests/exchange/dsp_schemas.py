"""The facts of the 2025-1 message schemas, written down as JSON Schema, and as much of a validator as they need."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any

CONTEXT = "https://w3id.org/dspace/2025/1/context.jsonld"

TEXT = {"type": "string", "minLength": 1}
CONTEXTS = {"type": "array", "items": {"type": "string"}, "minItems": 1, "contains": {"const": CONTEXT}}
STATES = ["REQUESTED", "OFFERED", "ACCEPTED", "AGREED", "VERIFIED", "FINALIZED", "TERMINATED"]
TRANSFER_STATES = ["REQUESTED", "STARTED", "SUSPENDED", "COMPLETED", "TERMINATED"]

CONSTRAINT = {
    "type": "object",
    "required": ["leftOperand", "operator", "rightOperand"],
    "properties": {
        "leftOperand": TEXT,
        "operator": TEXT,
        "rightOperand": {"anyOf": [{"type": "string"}, {"type": "object"}, {"type": "array"}]},
    },
}
RULE = {
    "type": "object",
    "required": ["action"],
    "properties": {"action": TEXT, "constraint": {"type": "array", "items": CONSTRAINT}, "target": False},
}
RULES = {
    "permission": {"type": "array", "items": RULE, "minItems": 1},
    "prohibition": {"type": "array", "items": RULE, "minItems": 1},
    "obligation": {"type": "array", "items": RULE, "minItems": 1},
}
HAS_RULE = {"anyOf": [{"required": ["permission"]}, {"required": ["prohibition"]}]}
OFFER_IN_CATALOG = {
    "type": "object",
    "required": ["@id", "@type"],
    "properties": {"@id": TEXT, "@type": {"const": "Offer"}, "target": False, **RULES},
    **HAS_RULE,
}
OFFER_IN_MESSAGE = {
    "type": "object",
    "required": ["@id", "target"],
    "properties": {"@id": TEXT, "@type": {"const": "Offer"}, "target": TEXT, **RULES},
    **HAS_RULE,
}
AGREEMENT = {
    "type": "object",
    "required": ["@id", "@type", "target", "assigner", "assignee"],
    "properties": {
        "@id": TEXT,
        "@type": {"const": "Agreement"},
        "target": TEXT,
        "assigner": TEXT,
        "assignee": TEXT,
        "timestamp": {"type": "string", "pattern": r"^-?\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?(Z|[+-]\d\d:\d\d)$"},
        **RULES,
    },
    **HAS_RULE,
}
DATA_ADDRESS = {
    "type": "object",
    "required": ["@type", "endpointType"],
    "properties": {
        "@type": {"const": "DataAddress"},
        "endpointType": TEXT,
        "endpoint": TEXT,
        "endpointProperties": {
            "type": "array",
            "minItems": 1,
            "items": {
                "type": "object",
                "required": ["@type", "name", "value"],
                "properties": {"@type": {"const": "EndpointProperty"}, "name": TEXT, "value": TEXT},
            },
        },
    },
}
SERVICE = {
    "type": "object",
    "required": ["@id", "@type", "endpointURL"],
    "properties": {"@id": TEXT, "@type": {"const": "DataService"}, "endpointURL": TEXT},
}
DISTRIBUTION = {
    "type": "object",
    "required": ["@type", "format", "accessService"],
    "properties": {
        "@type": {"const": "Distribution"},
        "format": TEXT,
        "accessService": {"anyOf": [TEXT, SERVICE]},
        "hasPolicy": {"type": "array", "items": OFFER_IN_CATALOG, "minItems": 1},
    },
}
DATASET = {
    "type": "object",
    "required": ["@id", "@type", "hasPolicy", "distribution"],
    "properties": {
        "@id": TEXT,
        "@type": {"const": "Dataset"},
        "hasPolicy": {"type": "array", "items": OFFER_IN_CATALOG, "minItems": 1},
        "distribution": {"type": "array", "items": DISTRIBUTION, "minItems": 1},
    },
}


def _message(kind: str, required: str, properties: Mapping[str, Any] | None = None, **more: Any) -> dict[str, Any]:
    head = {"@context": CONTEXTS, "@type": {"const": kind}}
    said = dict.fromkeys(required.split(), TEXT) | head | dict(properties or {})
    return {"type": "object", "required": ["@context", "@type", *required.split()], "properties": said, **more}


_ENDING = {"code": TEXT, "reason": {"type": "array", "minItems": 1}}
_BOTH = "consumerPid providerPid"

SCHEMAS: Mapping[str, Mapping[str, Any]] = {
    "CatalogRequestMessage": _message("CatalogRequestMessage", "", {"filter": {"type": "array"}}),
    "Catalog": _message(
        "Catalog",
        "@id participantId",
        {
            "dataset": {"type": "array", "items": DATASET, "minItems": 1},
            "service": {"type": "array", "items": SERVICE, "minItems": 1},
        },
    ),
    "Dataset": {**DATASET, "required": ["@context", *DATASET["required"]]},
    "CatalogError": _message("CatalogError", "", _ENDING),
    "ContractRequestMessage": _message(
        "ContractRequestMessage",
        "consumerPid offer",
        {"offer": OFFER_IN_MESSAGE, "callbackAddress": TEXT, "providerPid": TEXT},
        oneOf=[{"required": ["callbackAddress"]}, {"required": ["providerPid"]}],
    ),
    "ContractOfferMessage": _message(
        "ContractOfferMessage",
        "providerPid offer",
        {"offer": OFFER_IN_MESSAGE, "callbackAddress": TEXT, "consumerPid": TEXT},
        oneOf=[{"required": ["callbackAddress"]}, {"required": ["consumerPid"]}],
    ),
    "ContractAgreementMessage": _message("ContractAgreementMessage", f"{_BOTH} agreement", {"agreement": AGREEMENT}),
    "ContractAgreementVerificationMessage": _message("ContractAgreementVerificationMessage", _BOTH),
    "ContractNegotiationEventMessage": _message(
        "ContractNegotiationEventMessage", f"{_BOTH} eventType", {"eventType": {"enum": ["ACCEPTED", "FINALIZED"]}}
    ),
    "ContractNegotiationTerminationMessage": _message("ContractNegotiationTerminationMessage", _BOTH, _ENDING),
    "ContractNegotiation": _message("ContractNegotiation", f"{_BOTH} state", {"state": {"enum": STATES}}),
    "ContractNegotiationError": _message("ContractNegotiationError", _BOTH, _ENDING),
    "TransferRequestMessage": _message(
        "TransferRequestMessage", "consumerPid agreementId format callbackAddress", {"dataAddress": DATA_ADDRESS}
    ),
    "TransferStartMessage": _message("TransferStartMessage", _BOTH, {"dataAddress": DATA_ADDRESS}),
    "TransferSuspensionMessage": _message("TransferSuspensionMessage", _BOTH, _ENDING),
    "TransferCompletionMessage": _message("TransferCompletionMessage", _BOTH),
    "TransferTerminationMessage": _message("TransferTerminationMessage", _BOTH, _ENDING),
    "TransferProcess": _message("TransferProcess", f"{_BOTH} state", {"state": {"enum": TRANSFER_STATES}}),
    "TransferError": _message("TransferError", _BOTH, _ENDING),
}


def check(said: Mapping[str, Any]) -> Mapping[str, Any]:
    """A message that is as its schema says; else an AssertionError with every place that is not."""
    schema = SCHEMAS.get(said.get("@type", ""))
    assert schema is not None, f"no schema for {said.get('@type')}"
    found = list(faults(said, schema))
    assert not found, found
    return said


_TYPES: Mapping[str, Any] = {"object": Mapping, "array": list, "string": str, "number": (int, float)}


def faults(value: Any, schema: Any, where: str = "$") -> Iterator[str]:
    """Where a value is not as a schema says."""
    if schema is False:
        yield f"{where} must not be there"
        return
    if "const" in schema and value != schema["const"]:
        yield f"{where} is {value!r}, not {schema['const']!r}"
    if "enum" in schema and value not in schema["enum"]:
        yield f"{where} is {value!r}"
    if "type" in schema and not isinstance(value, _TYPES[schema["type"]]):
        yield f"{where} is no {schema['type']}"
        return
    if isinstance(value, str):
        if len(value) < schema.get("minLength", 0):
            yield f"{where} is empty"
        if "pattern" in schema and not re.search(schema["pattern"], value):
            yield f"{where} does not match"
    if isinstance(value, list):
        yield from _list_faults(value, schema, where)
    if isinstance(value, Mapping):
        yield from (f"{where}.{name} is missing" for name in schema.get("required", ()) if name not in value)
        for name, inner in schema.get("properties", {}).items():
            if name in value:
                yield from faults(value[name], inner, f"{where}.{name}")
    for word, fits in (("anyOf", lambda n: n > 0), ("oneOf", lambda n: n == 1)):
        if word in schema and not fits(sum(not list(faults(value, one, where)) for one in schema[word])):
            yield f"{where} fits {word} wrongly"


def _list_faults(value: list[Any], schema: Mapping[str, Any], where: str) -> Iterator[str]:
    if len(value) < schema.get("minItems", 0):
        yield f"{where} has too few"
    if "contains" in schema and not any(not list(faults(one, schema["contains"])) for one in value):
        yield f"{where} does not contain {schema['contains']}"
    for i, one in enumerate(value):
        if "items" in schema:
            yield from faults(one, schema["items"], f"{where}[{i}]")
