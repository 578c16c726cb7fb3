"""An agreement: one document in one spelling, signed by every owner and by the buyer.

    parties, snapshot, terms, policy, tier, ceiling ─ canonical JSON ─▶ the bytes that are signed ─ SHA-256 ─▶ its id

What is signed are the bytes of the document as they stand (Ed25519, RFC 8032), so that any other tool can sign and
check them. Each document carries the number of its contract: a signature under one counts for no other. The guarantee
stands in it in both languages, and says what it does not cover. Start at `Agreement` and `SignedAgreement`.
"""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field
from fractions import Fraction
from functools import cached_property
from typing import Any

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

from malan.core import Terms
from malan.core.canonical import canonical_json, read_canonical
from malan.core.capacity import worst_case
from malan.core.catalogue import LANGUAGES, entry
from malan.core.errors import ProofError
from malan.core.ids import digest_bytes
from malan.ledger.envelope import public_key_of
from malan.rights.decide import DEFAULT_TIERS, constraints
from malan.rights.odrl import to_odrl

KIND, BUNDLE = "malan-agreement/v1", "malan-contract/v1"
LARGEST_BYTES = 1 << 20
MOST_OWNERS = 256
_FRACTION = re.compile(r"(0|[1-9][0-9]{0,60})/([1-9][0-9]{0,60})")
_LISTED = ("uses", "purposes", "territories", "recipients", "tiers", "egress", "prohibitions")
_TEXTS = frozenset(Terms.__dataclass_fields__) - {*_LISTED, "limits", "price_minor", "other"}
_STATED = ("policy", "conditions", "guarantee", "ceiling")
SIGNED, PROTOCOL = "signed", "dsp-2025-1"
"""How the buyer agreed: by a signature on the document, or in messages of the protocol, named by their digest."""


@dataclass(frozen=True, slots=True)
class Signatory:
    """A party to an agreement and the key it signs with; `key` is empty for a buyer bound by a protocol."""

    id: str
    name: str
    key: str


@dataclass(frozen=True)
class Agreement:
    """What owners and a buyer agreed on. Its id is the digest of its bytes."""

    number: str  # of the contract it ends
    made: str  # ISO 8601, UTC
    owners: tuple[Signatory, ...]
    buyer: Signatory
    snapshot_id: str
    clips: int
    footage: Fraction  # seconds
    terms: Terms
    stated: Mapping[str, Any]  # what followed from the terms when it was made: see `Agreement.draft`
    form: str = SIGNED
    evidence: str | None = None  # digest of the agreement of the protocol, when that is the form

    @classmethod
    def draft(cls, *, terms: Terms, snapshot_id: str, **held: Any) -> Agreement:
        """A new agreement. What follows from its terms is written into it, in words that later versions keep.

        Raises:
            ProofError: Two parties share an id or a key, or a text cannot be signed.
            UsageError: The terms hold what is not understood.
        """
        stated: dict[str, Any] = {
            "policy": to_odrl(terms, f"urn:malan:snapshot:{snapshot_id}"),
            "conditions": [asdict(one) for one in constraints(terms)],
            "guarantee": guarantee(terms),
        }
        if (worst := ceiling(terms)) is not None:
            stated["ceiling"] = worst
        return cls.parse(cls(terms=terms, snapshot_id=snapshot_id, stated=stated, **held).to_bytes())

    @cached_property
    def id(self) -> str:
        return digest_bytes(self.to_bytes())

    @property
    def parties(self) -> tuple[Signatory, ...]:
        """Everybody who must sign."""
        return (*self.owners, self.buyer) if self.form == SIGNED else self.owners

    def to_bytes(self) -> bytes:
        """The document in its one spelling (RFC 8785)."""
        return canonical_json(_document(self))

    @classmethod
    def parse(cls, data: bytes) -> Agreement:
        """Read a document back; what does not follow from what it says itself is refused.

        Raises:
            ProofError: It is not canonical, leaves something out, says more than a document says, or contradicts
                itself.
        """
        if len(data) > LARGEST_BYTES:
            raise ProofError("agreement.bad", where="size")
        agreement = _read(read_canonical(data))
        if agreement.to_bytes() != data:
            raise ProofError("agreement.bad", where="document")
        return agreement


@dataclass(frozen=True)
class SignedAgreement:
    """An agreement and the signatures under it, by party id."""

    agreement: Agreement
    signatures: Mapping[str, bytes] = field(default_factory=dict)

    @property
    def missing(self) -> tuple[str, ...]:
        """Whose signatures are missing."""
        return tuple(sorted(one.id for one in self.agreement.parties if one.id not in self.signatures))

    def check(self) -> None:
        """Raises:
        ProofError: A signature is nobody's here, or does not hold.
        """
        keys = {one.id: one.key for one in self.agreement.parties}
        for party_id, signature in self.signatures.items():
            if party_id not in keys:
                raise ProofError("agreement.not_party", party=party_id[:12])
            check_signature(self.agreement, keys[party_id], signature)

    def with_signature(self, key_id: str, signature: bytes) -> SignedAgreement:
        """With one more signature.

        Raises:
            ProofError: The key is no party's, or the signature does not hold.
        """
        check_signature(self.agreement, key_id, signature)
        signers = {one.id: signature for one in self.agreement.parties if one.key == key_id}
        if not signers:
            raise ProofError("agreement.not_party", party=key_id[:60])
        return SignedAgreement(self.agreement, {**self.signatures, **signers})

    def to_bundle(self) -> bytes:
        """One file with the document as text and all signatures."""
        signatures = [
            {"party": party_id, "signature": base64.b64encode(signature).decode()}
            for party_id, signature in sorted(self.signatures.items())
        ]
        return canonical_json(
            {"type": BUNDLE, "agreement": self.agreement.to_bytes().decode(), "signatures": signatures}
        )

    @classmethod
    def from_bundle(cls, data: bytes) -> SignedAgreement:
        """Read such a file; every signature in it is checked.

        Raises:
            ProofError: It is not one, or something in it does not hold.
        """
        if len(data) > 2 * LARGEST_BYTES:
            raise ProofError("agreement.bad", where="size")
        said = read_canonical(data.rstrip(b"\n"))
        _keys(said, {"type", "agreement", "signatures"}, "contract")
        listed = said["signatures"]
        if said["type"] != BUNDLE or not isinstance(said["agreement"], str) or not isinstance(listed, list):
            raise ProofError("agreement.bad", where="contract")
        signatures: dict[str, bytes] = {}
        for one in listed[: MOST_OWNERS + 1]:
            _keys(one, {"party", "signature"}, "signatures")
            if one["party"] in signatures:
                raise ProofError("agreement.bad", where="signatures")
            signatures[str(one["party"])] = read_signature(one["signature"])
        signed = cls(Agreement.parse(said["agreement"].encode()), signatures)
        signed.check()
        return signed


def check_signature(agreement: Agreement, key_id: str, signature: bytes) -> None:
    """Raises:
    ProofError: The key did not sign exactly this document.
    """
    try:
        Ed25519PublicKey.from_public_bytes(public_key_of(key_id)).verify(signature, agreement.to_bytes())
    except InvalidSignature:
        raise ProofError("agreement.signature", key=key_id[:60]) from None


def read_signature(text: Any) -> bytes:
    """The 64 bytes of a signature in base64.

    Raises:
        ProofError: It is not one.
    """
    try:
        signature = base64.b64decode(text, validate=True) if isinstance(text, str) and text.isascii() else b""
    except binascii.Error:
        signature = b""
    if len(signature) != 64:
        raise ProofError("agreement.bad", where="signature")
    return signature


def guarantee(terms: Terms) -> dict[str, dict[str, str]]:
    """For each way of training that the terms allow what it guarantees and what not, in each language."""
    trains = {"train", "generative_train"} & set(terms.uses)
    tiers = (terms.tiers or DEFAULT_TIERS) if trains else ("none",)
    return {
        tier: {lang: entry(f"contract.guarantee.{tier}").text(lang) for lang in LANGUAGES} for tier in sorted(tiers)
    }


def ceiling(terms: Terms) -> dict[str, int] | None:
    """The worst that the output budget could carry away, as footage: seconds of sound and of small pictures."""
    budget = terms.limits.get("output_bytes")
    if budget is None:
        return None
    worst = worst_case(budget)
    return {"output_bytes": budget, "audio_64k_s": worst.audio_s, "video_500k_s": worst.small_video_s}


def _document(agreement: Agreement) -> dict[str, Any]:
    """Everything that is signed. What follows from the terms stands in it too; where the two differ, the terms hold."""
    terms = agreement.terms
    document: dict[str, Any] = {
        "type": KIND,
        "number": agreement.number,
        "made": agreement.made,
        "form": agreement.form,
        "owners": [asdict(one) for one in agreement.owners],
        "buyer": asdict(agreement.buyer),
        "snapshot": {
            "root": agreement.snapshot_id,
            "clips": agreement.clips,
            "seconds": f"{agreement.footage.numerator}/{agreement.footage.denominator}",
        },
        "terms": _terms(terms),
        "terms_id": terms.id,
        **agreement.stated,
    }
    if agreement.evidence is not None:
        document["evidence"] = agreement.evidence
    return document


def _terms(terms: Terms) -> dict[str, Any]:
    said = {name: getattr(terms, name) for name in Terms.__dataclass_fields__ if name != "other"}
    return {name: list(held) if isinstance(held, tuple) else held for name, held in said.items() if held is not None}


def _read(said: Any) -> Agreement:
    fields = {"type", "number", "made", "form", "owners", "buyer", "snapshot", "terms", "terms_id"}
    _keys(said, fields | {"policy", "conditions", "guarantee"}, "document", {"ceiling", "evidence"})
    _keys(said["snapshot"], {"root", "clips", "seconds"}, "snapshot")
    owners = said["owners"]
    if said["type"] != KIND or not isinstance(owners, list) or not 1 <= len(owners) <= MOST_OWNERS:
        raise ProofError("agreement.bad", where="owners")
    try:
        agreement = Agreement(
            number=said["number"],
            made=said["made"],
            owners=tuple(_signatory(one, "owners") for one in owners),
            buyer=_signatory(said["buyer"], "buyer"),
            snapshot_id=said["snapshot"]["root"],
            clips=said["snapshot"]["clips"],
            footage=_fraction(said["snapshot"]["seconds"]),
            terms=_read_terms(said["terms"]),
            stated={name: said[name] for name in _STATED if name in said},
            form=said["form"],
            evidence=said.get("evidence"),
        )
        parties = [*agreement.owners, agreement.buyer]
        is_whole = agreement.terms.id == said["terms_id"] and all(_texts(agreement)) and _is_count(agreement.clips)
    except (TypeError, ValueError, KeyError, AttributeError, ZeroDivisionError) as error:
        raise ProofError("agreement.bad", where=str(error)[:80]) from None
    if not is_whole:
        raise ProofError("agreement.bad", where="terms_id")
    for names in ([one.id for one in parties], [one.key for one in agreement.parties]):
        if len(set(names)) != len(names) or agreement.form not in (SIGNED, PROTOCOL):
            raise ProofError("agreement.bad", where="parties")
    if (agreement.form == PROTOCOL) != (agreement.evidence is not None):
        raise ProofError("agreement.bad", where="evidence")
    return agreement


def _texts(agreement: Agreement) -> Iterable[bool]:
    for held in (agreement.number, agreement.made, agreement.snapshot_id, agreement.evidence or "-"):
        yield isinstance(held, str) and 0 < len(held) <= 200


def _fraction(text: Any) -> Fraction:
    """`52/25`; nothing else, for `1e999999999` would keep a reader busy for days."""
    match = _FRACTION.fullmatch(text) if isinstance(text, str) else None
    if match is None:
        raise ProofError("agreement.bad", where="seconds")
    return Fraction(int(match[1]), int(match[2]))


def _is_count(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value > 0


def _signatory(said: Any, where: str) -> Signatory:
    _keys(said, {"id", "name", "key"}, where)
    if not all(isinstance(held, str) for held in said.values()):
        raise ProofError("agreement.bad", where=where)
    return Signatory(**said)


def _read_terms(said: Any) -> Terms:
    if not isinstance(said, dict) or not all(_fits(name, held) for name, held in said.items()):
        raise ProofError("agreement.bad", where="terms")
    values: dict[str, Any] = {name: tuple(held) if isinstance(held, list) else held for name, held in said.items()}
    return Terms(**values)


def _fits(name: str, held: Any) -> bool:
    """Whether a field of terms has the sort it must have."""
    if name in _LISTED:
        return isinstance(held, list) and all(isinstance(one, str) for one in held)
    if name == "limits":
        return isinstance(held, dict) and all(type(most) is int and most >= 0 for most in held.values())
    if name == "price_minor":
        return type(held) is int and held >= 0
    return name in _TEXTS and isinstance(held, str)


def _keys(value: Any, wanted: set[str], where: str, optional: set[str] | frozenset[str] = frozenset()) -> None:
    if not isinstance(value, dict) or not wanted <= set(value) <= wanted | set(optional):
        raise ProofError("agreement.bad", where=where)
