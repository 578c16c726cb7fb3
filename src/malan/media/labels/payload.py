"""What an AIGC label says: seven texts in a fixed order, and the rules they keep (GB 45438-2025, appendix E).

Knows nothing of files. `Label` is what we write; `parse` reads what others wrote, however odd, and says what is wrong
with it. Start at `Label`.
"""

from __future__ import annotations

import html
import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields
from typing import Any, Self

from malan.core.errors import UsageError
from malan.media.labels.provider_code import is_placeholder, provider_trouble

KEYS = (
    "Label",
    "ContentProducer",
    "ProduceID",
    "ReservedCode1",
    "ContentPropagator",
    "PropagateID",
    "ReservedCode2",
)
REQUIRED = KEYS[:3]
STRENGTHS = ("1", "2", "3")  # is generated, may be, is suspected to be
MOST_CHARACTERS = 16_384  # of a label as text; a signature and its chain fit, a book does not
_FORBIDDEN = re.compile(r"[^\x21-\x5b\x5d-\x7e]")  # E j) 0x21, 0x23–0x5B, 0x5D–0x7E and the escaped quote
_ODD_ESCAPE = re.compile(r'\\[^"]')
_ENTITY = re.compile(r"&(?:quot|amp|apos|lt|gt|#\d{1,7}|#[xX][0-9a-fA-F]{1,6});")


@dataclass(frozen=True, slots=True)
class Reason:
    """Why a verdict is what it is: a message code with its values. One that is not `is_fatal` is a note."""

    code: str
    values: Mapping[str, Any] = field(default_factory=dict)
    is_fatal: bool = True


@dataclass(frozen=True, slots=True)
class Label:
    """The implicit label of one file. `label`: "1" is AI-generated, "2" may be, "3" is suspected to be."""

    label: str
    content_producer: str
    produce_id: str
    reserved_code1: str = ""
    content_propagator: str = ""
    propagate_id: str = ""
    reserved_code2: str = ""

    @classmethod
    def first(cls, producer: str, produce_id: str, *, label: str = "1", **more: str) -> Self:
        """A label as it is first written: who makes the file also spreads it (appendix E, note 1)."""
        propagator = more.pop("content_propagator", "") or producer
        propagate_id = more.pop("propagate_id", "") or produce_id
        return cls(label, producer, produce_id, content_propagator=propagator, propagate_id=propagate_id, **more)

    @classmethod
    def from_fields(cls, said: Mapping[str, str]) -> Self:
        """From the seven keys of the standard; what is missing is empty."""
        return cls(*(str(said.get(key, "")) for key in KEYS))

    def to_fields(self) -> dict[str, str]:
        """The seven keys and values in the order of the standard."""
        return {key: getattr(self, name.name) for key, name in zip(KEYS, fields(self), strict=True)}

    def to_json(self) -> str:
        """The text that goes into a file: ASCII, no blanks outside the values, none inside either."""
        return json.dumps(self.to_fields(), ensure_ascii=True, separators=(",", ":"))

    def check(self) -> None:
        """Refuse a label that the standard does not allow.

        Raises:
            UsageError: An empty field that must not be, a character that is not allowed, a placeholder as producer.
        """
        for reason in reasons_of(self.to_fields(), self.to_json()):
            if reason.is_fatal:
                raise UsageError(reason.code, **reason.values)


@dataclass(frozen=True, slots=True)
class Parsed:
    """What a text in a label's place says. `said` is None where it says nothing that can be read."""

    said: Mapping[str, Any] | None
    reasons: tuple[Reason, ...]


def parse(text: str) -> Parsed:
    """Read a label text, bare or wrapped as `{"AIGC": …}`, and say what the standard has against it."""
    if len(text) > MOST_CHARACTERS:
        return Parsed(None, (Reason("label.too_long", {"count": len(text), "most": MOST_CHARACTERS}),))
    reasons: list[Reason] = []
    plain = text.strip(" \t\r\n\0")
    if _ENTITY.search(plain) and not _is_json(plain):
        reasons.append(Reason("label.html_escaped"))
        plain = html.unescape(html.unescape(plain))
    said = _object(plain, reasons)
    if said is None:
        return Parsed(None, tuple(reasons))
    reasons += reasons_of(said, plain)
    return Parsed(said, tuple(reasons))


def reasons_of(said: Mapping[str, Any], raw: str) -> list[Reason]:
    """Everything the standard has against these fields; `raw` is the JSON they were read from."""
    found = [*_wrong_keys(said), *_wrong_values(said, raw)]
    if not any(reason.is_fatal for reason in found):
        found += _notes(said)
    return found


def strongest(labels: Sequence[Label]) -> Label:
    """The one label of a file that stands on several labelled sources: the surest statement, of equals the first."""
    known = {strength: rank for rank, strength in enumerate(STRENGTHS)}
    return min(labels, key=lambda label: known.get(label.label, len(known)))


def _is_json(text: str) -> bool:
    try:
        json.loads(text)
    except (ValueError, RecursionError):
        return False
    return True


def _object(text: str, reasons: list[Reason]) -> Mapping[str, Any] | None:
    """The seven fields out of JSON; None, with the reason noted, where there is no such object."""
    repeated: list[str] = []
    try:
        said = json.loads(text, object_pairs_hook=lambda pairs: _pairs(pairs, repeated))
    except (ValueError, RecursionError) as error:
        reasons.append(Reason("label.not_json", {"detail": str(error)[:80]}))
        return None
    if isinstance(said, dict) and len(said) == 1 and isinstance(said.get("AIGC"), dict):
        said = said["AIGC"]
    if not isinstance(said, dict):
        reasons.append(Reason("label.not_object"))
        return None
    reasons += [Reason("label.key_twice", {"key": key[:40]}) for key in dict.fromkeys(repeated)]
    return said


def _pairs(pairs: Sequence[tuple[str, Any]], repeated: list[str]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for key, value in pairs:
        if key in found:
            repeated.append(key)
        found[key] = value
    return found


def _wrong_keys(said: Mapping[str, Any]) -> list[Reason]:
    found = [Reason("label.key_missing", {"key": key}) for key in KEYS if key not in said]
    found += [Reason("label.key_unknown", {"key": key[:40]}) for key in list(said)[:20] if key not in KEYS]
    if not found and tuple(said) != KEYS:
        found.append(Reason("label.key_order", is_fatal=False))
    return found


def _wrong_values(said: Mapping[str, Any], raw: str) -> list[Reason]:
    found = []
    for key in KEYS:
        value = said.get(key, "")
        if not isinstance(value, str):
            found.append(Reason("label.not_text", {"key": key}))
        elif key in REQUIRED and not value:
            found.append(Reason("label.empty", {"key": key}))
        elif odd := _FORBIDDEN.search(value):
            found.append(Reason("label.character", {"key": key, "character": _shown(odd.group())}))
        elif key == "Label" and value not in STRENGTHS:
            found.append(Reason("label.strength", {"value": value[:20]}))
    if not found and (escape := _ODD_ESCAPE.search(raw)):
        found.append(Reason("label.escape", {"escape": escape.group()}))
    producer = said.get("ContentProducer")
    if isinstance(producer, str) and is_placeholder(producer):
        found.append(Reason("label.placeholder", {"value": producer[:40]}))
    return found


def _notes(said: Mapping[str, str]) -> list[Reason]:
    """What is odd but not forbidden."""
    found = []
    for key in ("ContentProducer", "ContentPropagator"):
        if said[key] and (trouble := provider_trouble(said[key])):
            found.append(Reason(trouble, {"key": key, "value": said[key][:40]}, is_fatal=False))
    if not (said["ContentPropagator"] and said["PropagateID"]):
        found.append(Reason("label.no_propagator", is_fatal=False))
    return found


def _shown(character: str) -> str:
    return character if character.isprintable() and character != " " else f"U+{ord(character):04X}"
