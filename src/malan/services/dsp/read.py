"""Messages of other parties, read strictly: what is not understood where it matters is refused, nothing is guessed.

Plain JSON of the 2025-1 schemas, and the same with `dspace:` and `odrl:` prefixes or full addresses, become one form.
A message is read once here; the bytes are kept elsewhere as evidence. Start at `read_message`.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, NoReturn

from malan.core.ids import digest_bytes
from malan.services.dsp import words
from malan.services.dsp.errors import BadMessage, bad
from malan.services.dsp.policy import check_offer

LARGEST_MESSAGE_BYTES = 1_000_000
DEEPEST = 24
LONGEST_ID = 500
LONGEST_TEXT = 4_000

_PREFIXES = {"dspace": words.DSPACE, "odrl": words.ODRL}
_ALIASES = {**_PREFIXES, "dcat": "http://www.w3.org/ns/dcat#", "dct": "http://purl.org/dc/terms/"}
_ALIASES |= {"xsd": "http://www.w3.org/2001/XMLSchema#", "malan": words.MALAN}
_KNOWN_CONTEXTS = frozenset(
    {
        words.CONTEXT,
        "https://w3id.org/dspace/2025/1/odrl-profile.jsonld",
        "http://www.w3.org/ns/odrl.jsonld",
        "https://www.w3.org/ns/odrl.jsonld",
    }
)
_PID = re.compile(rf"[!-~]{{1,{LONGEST_ID}}}")


@dataclass(frozen=True)
class Message:
    """A message that was understood. Fields that its type does not have are empty."""

    type: str
    body: bytes = field(repr=False)
    consumer_pid: str = ""
    provider_pid: str = ""
    callback: str = ""
    offer: Mapping[str, Any] = field(default_factory=dict)
    agreement: Mapping[str, Any] = field(default_factory=dict)
    agreement_id: str = ""
    format: str = ""
    data_address: Mapping[str, Any] | None = None
    code: str = ""

    @property
    def sha256(self) -> str:
        return digest_bytes(self.body)

    def pid_of(self, role: str) -> str:
        """The process id of one side."""
        return self.consumer_pid if role == words.CONSUMER else self.provider_pid


def read_message(body: bytes, *expected: str) -> Message:
    """The message in a request's body.

    Args:
        body: The bytes as they came.
        expected: The types that may stand here.

    Raises:
        BadMessage: It is no JSON, has a key twice, is nested too deep, is in an unknown context, is of another type,
            lacks something, or holds a number or text where something else is due.
    """
    said = plain_form(read_json(body))
    kind = said.get("@type")
    if kind not in expected:
        raise bad(f"@type: {str(kind)[:80]} ({', '.join(expected)})")
    return _READERS[kind](said, body)


def read_json(body: bytes) -> dict[str, Any]:
    """A JSON object without a key twice, without NaN, at most `DEEPEST` deep.

    Raises:
        BadMessage: It is something else.
    """
    try:
        said = json.loads(body, object_pairs_hook=_no_key_twice, parse_constant=_no_constant, parse_float=_finite)
    except (ValueError, RecursionError) as error:
        if isinstance(error, BadMessage):
            raise
        raise bad("JSON") from None
    if not isinstance(said, dict):
        raise bad("JSON object")
    _check_depth(said, 0)
    return said


def plain_form(said: dict[str, Any]) -> dict[str, Any]:
    """A message with its context checked and its words without prefix.

    Raises:
        BadMessage: The context is missing or unknown, or two spellings of one word stand side by side.
    """
    _check_context(said.get("@context"))
    plain: dict[str, Any] = _plain({key: value for key, value in said.items() if key != "@context"}, "$")
    return plain


def _request(said: dict[str, Any], body: bytes) -> Message:
    callback, provider_pid = _maybe_address(said, "callbackAddress"), _maybe_id(said, "providerPid")
    if bool(callback) == bool(provider_pid):
        raise bad("callbackAddress | providerPid")
    return Message(
        words.CONTRACT_REQUEST, body, _id(said, "consumerPid"), provider_pid, callback, offer=_offer(said, "offer")
    )


def _contract_offer(said: dict[str, Any], body: bytes) -> Message:
    callback, consumer_pid = _maybe_address(said, "callbackAddress"), _maybe_id(said, "consumerPid")
    if not callback and not consumer_pid:  # some connectors repeat the callback in every offer
        raise bad("callbackAddress | consumerPid")
    return Message(
        words.CONTRACT_OFFER, body, consumer_pid, _id(said, "providerPid"), callback, offer=_offer(said, "offer")
    )


def _agreement(said: dict[str, Any], body: bytes) -> Message:
    agreement = _object(said, "agreement")
    check_offer(agreement, "agreement", is_agreement=True)
    return Message(words.CONTRACT_AGREEMENT, body, *_pids(said), agreement=agreement)


def _event(said: dict[str, Any], body: bytes) -> Message:
    event = _short(_text(said, "eventType"))
    if event not in ("ACCEPTED", "FINALIZED"):
        raise bad(f"eventType: {event[:80]}")
    return Message(f"{words.CONTRACT_EVENT}:{event}", body, *_pids(said))


def _verification(said: dict[str, Any], body: bytes) -> Message:
    return Message(words.CONTRACT_VERIFICATION, body, *_pids(said))


def _transfer_request(said: dict[str, Any], body: bytes) -> Message:
    address = _data_address(said) if "dataAddress" in said else None
    return Message(
        words.TRANSFER_REQUEST,
        body,
        _id(said, "consumerPid"),
        callback=_address(said, "callbackAddress"),
        agreement_id=_id(said, "agreementId"),
        format=_short(_id(said, "format"), keep=True),
        data_address=address,
    )


def _start(said: dict[str, Any], body: bytes) -> Message:
    address = _data_address(said) if "dataAddress" in said else None
    return Message(words.TRANSFER_START, body, *_pids(said), data_address=address)


def _ending(kind: str) -> Callable[[dict[str, Any], bytes], Message]:
    def read(said: dict[str, Any], body: bytes) -> Message:
        code = _text(said, "code") if "code" in said else ""
        if "reason" in said:
            _check_reasons(said["reason"])
        return Message(kind, body, *_pids(said), code=code)

    return read


def _completion(said: dict[str, Any], body: bytes) -> Message:
    return Message(words.TRANSFER_COMPLETION, body, *_pids(said))


def _catalog_request(said: dict[str, Any], body: bytes) -> Message:
    if said.get("filter") not in (None, [], {}):
        raise BadMessage("exchange.filter")
    return Message(words.CATALOG_REQUEST, body)


_READERS: Mapping[str, Callable[[dict[str, Any], bytes], Message]] = {
    words.CONTRACT_REQUEST: _request,
    words.CONTRACT_OFFER: _contract_offer,
    words.CONTRACT_AGREEMENT: _agreement,
    words.CONTRACT_EVENT: _event,
    words.CONTRACT_VERIFICATION: _verification,
    words.CONTRACT_TERMINATION: _ending(words.CONTRACT_TERMINATION),
    words.TRANSFER_REQUEST: _transfer_request,
    words.TRANSFER_START: _start,
    words.TRANSFER_SUSPENSION: _ending(words.TRANSFER_SUSPENSION),
    words.TRANSFER_COMPLETION: _completion,
    words.TRANSFER_TERMINATION: _ending(words.TRANSFER_TERMINATION),
    words.CATALOG_REQUEST: _catalog_request,
}


# Fields.


def _pids(said: dict[str, Any]) -> tuple[str, str]:
    return _id(said, "consumerPid"), _id(said, "providerPid")


def _id(said: dict[str, Any], name: str) -> str:
    value = _unwrapped(said.get(name))
    if not isinstance(value, str) or not _PID.fullmatch(value):
        raise bad(name)
    return value


def _maybe_id(said: dict[str, Any], name: str) -> str:
    return _id(said, name) if name in said else ""


def _address(said: dict[str, Any], name: str) -> str:
    value = _id(said, name)
    if not value.lower().startswith(("http://", "https://")):
        raise bad(name)
    return value.rstrip("/")


def _maybe_address(said: dict[str, Any], name: str) -> str:
    return _address(said, name) if name in said else ""


def _text(said: dict[str, Any], name: str) -> str:
    value = _unwrapped(said.get(name))
    if not isinstance(value, str) or not 0 < len(value) <= LONGEST_TEXT:
        raise bad(name)
    return value


def _object(said: dict[str, Any], name: str) -> dict[str, Any]:
    value = said.get(name)
    if not isinstance(value, dict):
        raise bad(name)
    return value


def _offer(said: dict[str, Any], name: str) -> dict[str, Any]:
    offer = _object(said, name)
    check_offer(offer, name)
    return offer


def _data_address(said: dict[str, Any]) -> dict[str, Any]:
    address = _object(said, "dataAddress")
    if address.get("@type", "DataAddress") != "DataAddress":
        raise bad("dataAddress.@type")
    _text(address, "endpointType")
    for name in ("endpoint",):
        if name in address:
            _text(address, name)
    properties = address.get("endpointProperties", [])
    for one in properties if isinstance(properties, list) else [properties]:
        if not isinstance(one, dict):
            raise bad("dataAddress.endpointProperties")
        _text(one, "name")
        _text(one, "value")
    return address


def _check_reasons(value: Any) -> None:
    for one in value if isinstance(value, list) else [value]:
        if not isinstance(one, str | dict):
            raise bad("reason")


# Words and contexts.


def _check_context(context: Any) -> None:
    listed = context if isinstance(context, list) else [context]
    if words.CONTEXT not in [one for one in listed if isinstance(one, str)]:
        raise bad("@context")
    for one in listed:
        if isinstance(one, str) and one in _KNOWN_CONTEXTS:
            continue
        if isinstance(one, dict) and all(_ALIASES.get(key) == value for key, value in one.items()):
            continue
        raise BadMessage("exchange.context", context=str(one)[:120])


def _plain(value: Any, where: str) -> Any:
    """The same value with `dspace:`, `odrl:` and full addresses of the two vocabularies taken off names and types."""
    if isinstance(value, list):
        return [_plain(one, where) for one in value]
    if not isinstance(value, dict):
        return value
    plain: dict[str, Any] = {}
    for key, held in value.items():
        name = _short(key) if not key.startswith("@") else key
        if name in plain:
            raise bad(f"{where}.{name}")
        plain[name] = _type(held, f"{where}.@type") if name == "@type" else _plain(held, f"{where}.{name}")
    return plain


def _type(value: Any, where: str) -> Any:
    if isinstance(value, list) and len(value) == 1:
        value = value[0]
    if not isinstance(value, str):
        raise bad(where)
    return _short(value)


def _short(text: str, *, keep: bool = False) -> str:
    """A word without prefix or address; with `keep`, a prefix of ours written out instead."""
    if keep:
        return words.MALAN + text.removeprefix("malan:") if text.startswith("malan:") else text
    for prefix, address in _PREFIXES.items():
        for start in (f"{prefix}:", address):
            if text.startswith(start) and len(text) > len(start):
                return text[len(start) :]
    return text


def _unwrapped(value: Any) -> Any:
    """The text in `{"@id": …}` or `{"@value": …}`, or in a list of one."""
    if isinstance(value, list) and len(value) == 1:
        value = value[0]
    if isinstance(value, dict):
        for name in ("@id", "@value"):
            if name in value and set(value) <= {name, "@type"}:
                return value[name]
    return value


def _no_key_twice(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    held = dict(pairs)
    if len(held) != len(pairs):
        raise bad("key twice")
    return held


def _no_constant(text: str) -> NoReturn:
    raise bad(text)


def _finite(text: str) -> float:
    value = float(text)
    if not math.isfinite(value):
        raise bad(text[:40])
    return value


def _check_depth(value: Any, depth: int) -> None:
    if depth > DEEPEST:
        raise bad("depth")
    if isinstance(value, dict):
        for key, held in value.items():
            if not key or any("\ud800" <= c <= "\udfff" for c in key):
                raise bad("key")
            _check_depth(held, depth + 1)
    elif isinstance(value, list):
        for held in value:
            _check_depth(held, depth + 1)
    elif isinstance(value, str) and any("\ud800" <= c <= "\udfff" for c in value):
        raise bad("surrogate")
