"""What an event says: an in-toto Statement v1, with a predicate of ours, in canonical JSON.

    subjects ─ what came to be        inputs ─ what it was made from, with times
    actor ─ whose key                 facts ─ what the kind must state
    commitments ─ personal and trade data, hidden behind a salt

`Statement.parse` refuses whatever it does not know: a field that was not understood was not checked. There are no
floats: a time is a fraction in text. Bulk data never stand here; a manifest's Merkle root does.
"""

from __future__ import annotations

import hashlib
import hmac
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from fractions import Fraction
from typing import Any

from malan.core.canonical import canonical_json, read_canonical
from malan.core.errors import ProofError
from malan.core.ids import digest_bytes
from malan.ledger.kinds import COUNT, DIGEST, EVENT_KINDS, FACTS, RELATIONS, ROLES, TEXT, TEXTS

STATEMENT_TYPE = "https://in-toto.io/Statement/v1"
PREDICATE = "urn:malan:event:{kind}:1"
SALT_BYTES = 32
MOST_SUBJECTS, MOST_INPUTS, MOST_COMMITMENTS = 64, 256, 16

_URN = re.compile(r"urn:malan:([a-z]+):([0-9A-Za-z._~:/+=-]{1,200})")
_SHA256 = re.compile(r"[0-9a-f]{64}")
_UUID7 = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-7[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}")
_TIME = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d{1,6})?Z")
_NAME = re.compile(r"[a-z][a-z0-9_]{0,40}")


@dataclass(frozen=True, slots=True)
class Subject:
    """A thing an event brought about: its URN and the SHA-256 of its bytes or of its manifest's root."""

    urn: str
    sha256: str


@dataclass(frozen=True, slots=True)
class Input:
    """A thing it was made from, how, and which part of it (seconds, end excluded)."""

    urn: str
    sha256: str
    relation: str = "inputTo"
    start_s: Fraction | None = None
    end_s: Fraction | None = None


@dataclass(frozen=True, slots=True)
class Actor:
    """Who states it: a key id and the role in which it acts."""

    key_id: str
    role: str


@dataclass(frozen=True, slots=True)
class Activity:
    """What was done, with which version, under which parameters (by digest)."""

    op: str
    tool: str
    version: str
    parameters_sha256: str | None = None


@dataclass(frozen=True, slots=True)
class Commitment:
    """A datum that stands in the log only as HMAC-SHA-256 under a salt kept elsewhere; without the salt it is gone."""

    field: str
    value: str

    @classmethod
    def to(cls, field: str, datum: Any, salt: bytes) -> Commitment:
        """Commit to any canonical value. The salt must be 32 random bytes, used once."""
        if len(salt) != SALT_BYTES:
            raise ProofError("event.salt", size_bytes=len(salt), expected_bytes=SALT_BYTES)
        return cls(field, hmac.new(salt, canonical_json(datum), hashlib.sha256).hexdigest())

    def check(self, datum: Any, salt: bytes) -> None:
        """Raises:
        ProofError: The datum and salt are not what was committed to.
        """
        if not hmac.compare_digest(Commitment.to(self.field, datum, salt).value, self.value):
            raise ProofError("event.commitment", field=self.field)


@dataclass(frozen=True)
class Statement:
    """One event before it is signed."""

    kind: str
    id: str  # UUID version 7: sorts by time
    time: str  # RFC 3339 in UTC, as claimed; the trusted time is that of a witness
    actor: Actor
    subjects: tuple[Subject, ...]
    activity: Activity
    inputs: tuple[Input, ...] = ()
    facts: Mapping[str, Any] = field(default_factory=dict)
    commitments: tuple[Commitment, ...] = ()

    @property
    def once(self) -> str:
        """What stays the same when the same thing is stated again."""
        return once_of(self.kind, self.subjects, self.inputs, self.facts)

    @property
    def urns(self) -> tuple[str, ...]:
        """Everything the event is about, subjects first."""
        return tuple(dict.fromkeys([*(one.urn for one in self.subjects), *(one.urn for one in self.inputs)]))

    def to_bytes(self) -> bytes:
        """The statement in its one spelling.

        Raises:
            ProofError: It leaves out what its kind must say, or holds what no signed JSON may.
        """
        value = self._value()
        _check(value)
        return canonical_json(value)

    @classmethod
    def parse(cls, data: bytes) -> Statement:
        """Read a statement; whatever is not understood is refused.

        Raises:
            ProofError: It is not canonical, of an unknown kind, or incomplete; the message says where.
        """
        value = read_canonical(data)
        _check(value)
        predicate = value["predicate"]
        return cls(
            kind=_kind_of(value),
            id=predicate["id"],
            time=predicate["time"],
            actor=Actor(predicate["actor"]["id"], predicate["actor"]["role"]),
            subjects=tuple(Subject(one["name"], one["digest"]["sha256"]) for one in value["subject"]),
            activity=_read_activity(predicate["activity"]),
            inputs=tuple(_read_input(one) for one in predicate.get("inputs", [])),
            facts=predicate.get("facts", {}),
            commitments=tuple(Commitment(one["field"], one["value"]) for one in predicate.get("commit", [])),
        )

    def _value(self) -> dict[str, Any]:
        activity = {"op": self.activity.op, "tool": self.activity.tool, "version": self.activity.version}
        if self.activity.parameters_sha256:
            activity["params_sha256"] = self.activity.parameters_sha256
        predicate: dict[str, Any] = {
            "id": self.id,
            "time": self.time,
            "actor": {"id": self.actor.key_id, "role": self.actor.role},
            "activity": activity,
        }
        if self.inputs:
            predicate["inputs"] = [_input_value(one) for one in self.inputs]
        if self.facts:
            predicate["facts"] = dict(self.facts)
        if self.commitments:
            commit = [{"field": one.field, "alg": "hmac-sha256", "value": one.value} for one in self.commitments]
            predicate["commit"] = commit
        return {
            "_type": STATEMENT_TYPE,
            "subject": [{"name": one.urn, "digest": {"sha256": one.sha256}} for one in self.subjects],
            "predicateType": PREDICATE.format(kind=self.kind),
            "predicate": predicate,
        }


def urn(kind: str, name: str) -> str:
    """The public name of a thing: `urn:malan:asset:<digest>`."""
    return f"urn:malan:{kind}:{name}"


def once_of(kind: str, subjects: Sequence[Subject], inputs: Sequence[Input], facts: Mapping[str, Any]) -> str:
    """A digest of what is stated, without who, when and private data: the same thing has the same one."""
    about = [[one.urn, one.sha256] for one in subjects]
    return digest_bytes(canonical_json([kind, about, [_input_value(one) for one in inputs], dict(facts)]))


def _input_value(one: Input) -> dict[str, Any]:
    value = {"urn": one.urn, "sha256": one.sha256, "rel": one.relation}
    if one.start_s is not None and one.end_s is not None:
        value |= {"t0": _fraction_text(one.start_s), "t1": _fraction_text(one.end_s)}
    return value


def _fraction_text(value: Fraction) -> str:
    return f"{value.numerator}/{value.denominator}"


def _read_input(value: Mapping[str, Any]) -> Input:
    start, end = (Fraction(value[name]) if name in value else None for name in ("t0", "t1"))
    return Input(value["urn"], value["sha256"], value["rel"], start, end)


def _read_activity(value: Mapping[str, Any]) -> Activity:
    return Activity(value["op"], value["tool"], value["version"], value.get("params_sha256"))


def _check(value: Any) -> None:
    """Everything that must hold of a statement, written or read; the first thing that does not is named."""
    _keys(value, "statement", {"_type", "subject", "predicateType", "predicate"})
    _must(value["_type"] == STATEMENT_TYPE, "_type")
    kind = EVENT_KINDS[_kind_of(value)]
    predicate = value["predicate"]
    _keys(predicate, "predicate", {"id", "time", "actor", "activity"}, {"inputs", "facts", "commit"})
    _must(_is(_UUID7, predicate["id"]), "id")
    _must(_is(_TIME, predicate["time"]), "time")
    _check_actor(predicate["actor"])
    _check_activity(predicate["activity"])
    _check_subjects(value["subject"], kind.subjects)
    _check_inputs(predicate.get("inputs", []), kind.inputs)
    _check_facts(predicate.get("facts", {}), kind.facts or {})
    _check_commitments(predicate.get("commit", []))


def _kind_of(value: Any) -> str:
    said = value.get("predicateType") if isinstance(value, dict) else None
    match = re.fullmatch(r"urn:malan:event:([a-z.]+):1", said) if isinstance(said, str) else None
    if not match or match[1] not in EVENT_KINDS:
        raise ProofError("event.kind", kind=str(said)[:80])
    return match[1]


def _check_actor(value: Any) -> None:
    _keys(value, "actor", {"id", "role"})
    _must(isinstance(value["id"], str) and value["id"].startswith("ed25519:"), "actor.id")
    _must(value["role"] in ROLES, "actor.role")


def _check_activity(value: Any) -> None:
    _keys(value, "activity", {"op", "tool", "version"}, {"params_sha256"})
    _must(all(isinstance(value[name], str) for name in ("op", "tool", "version")), "activity")
    _must("params_sha256" not in value or _is(_SHA256, value["params_sha256"]), "activity.params_sha256")


def _check_subjects(value: Any, allowed: tuple[str, ...]) -> None:
    _must(isinstance(value, list) and 1 <= len(value) <= MOST_SUBJECTS, "subject")
    for one in value:
        _keys(one, "subject", {"name", "digest"})
        _keys(one["digest"], "subject.digest", {"sha256"})
        _must(_urn_kind(one["name"]) in allowed, f"subject.name {str(one['name'])[:80]}")
        _must(_is(_SHA256, one["digest"]["sha256"]), "subject.digest.sha256")


def _check_inputs(value: Any, allowed: tuple[str, ...]) -> None:
    _must(isinstance(value, list) and len(value) <= MOST_INPUTS, "inputs")
    for one in value:
        _keys(one, "inputs", {"urn", "sha256", "rel"}, {"t0", "t1"})
        _must(_urn_kind(one["urn"]) in allowed, f"inputs.urn {str(one['urn'])[:80]}")
        _must(_is(_SHA256, one["sha256"]) and one["rel"] in RELATIONS, "inputs")
        if "t0" in one or "t1" in one:
            _must(_fraction(one.get("t0")) <= _fraction(one.get("t1")), "inputs.t0")


def _check_facts(value: Any, required: Mapping[str, str]) -> None:
    _must(isinstance(value, dict), "facts")
    for name in value:
        _must(_is(_NAME, name), f"facts.{name[:40]}")
    for name, sort in required.items():
        _must(name in value and _FACT_CHECKS[sort](value[name]), f"facts.{name}")


def _check_commitments(value: Any) -> None:
    _must(isinstance(value, list) and len(value) <= MOST_COMMITMENTS, "commit")
    for one in value:
        _keys(one, "commit", {"field", "alg", "value"})
        _must(_is(_NAME, one["field"]) and one["alg"] == "hmac-sha256" and _is(_SHA256, one["value"]), "commit")
    _must(len({one["field"] for one in value}) == len(value), "commit.field")


_FACT_CHECKS = {
    TEXT: lambda held: isinstance(held, str) and 0 < len(held) <= 1000,
    COUNT: lambda held: isinstance(held, int) and not isinstance(held, bool) and held >= 0,
    DIGEST: lambda held: _is(_SHA256, held),
    TEXTS: lambda held: isinstance(held, list) and all(isinstance(one, str) for one in held),
    FACTS: lambda held: isinstance(held, dict),
}


def _fraction(text: Any) -> Fraction:
    """A fraction in lowest terms, as `Fraction` would write it; nothing else."""
    match = re.fullmatch(r"(0|-?[1-9]\d{0,18})/([1-9]\d{0,18})", text) if isinstance(text, str) else None
    _must(match is not None, "inputs.t0")
    value = Fraction(int(match[1]), int(match[2]))  # type: ignore[index]
    _must(_fraction_text(value) == text, "inputs.t0")
    return value


def _urn_kind(text: Any) -> str | None:
    match = _URN.fullmatch(text) if isinstance(text, str) else None
    return match[1] if match else None


def _is(pattern: re.Pattern[str], text: Any) -> bool:
    return isinstance(text, str) and pattern.fullmatch(text) is not None


def _keys(value: Any, where: str, required: set[str], optional: frozenset[str] | set[str] = frozenset()) -> None:
    _must(isinstance(value, dict), where)
    if missing := required - set(value):
        raise ProofError("event.field", where=f"{where}.{min(missing)}")
    if unknown := set(value) - required - optional:
        raise ProofError("event.unknown_field", where=f"{where}.{min(unknown)[:60]}")


def _must(holds: bool, where: str) -> None:
    if not holds:
        raise ProofError("event.field", where=where)
