"""A statement says all its kind must say, in one spelling, and nothing that was not understood."""

from __future__ import annotations

import json
from dataclasses import replace
from fractions import Fraction

import pytest
from event_factory import actor_key, ingest
from hypothesis import given
from hypothesis import strategies as st

from malan.core.canonical import canonical_json
from malan.core.errors import ProofError
from malan.ledger.kinds import EVENT_KINDS
from malan.ledger.statement import Activity, Commitment, Input, Statement, Subject, urn

SALT = bytes(range(32))


def test_a_statement_survives_its_bytes():
    statement = replace(
        ingest(),
        activity=Activity("add", "malan", "0.1", "b" * 64),
        commitments=(Commitment.to("owner", "湖南台", SALT),),
    )
    assert Statement.parse(statement.to_bytes()) == statement


def test_times_of_inputs_are_exact_fractions():
    statement = ingest(
        kind="media.publish",
        subjects=(Subject(urn("output", "1" * 64), "1" * 64),),
        inputs=(Input(urn("asset", "2" * 64), "2" * 64, "componentOf", Fraction(1001, 30000), Fraction(5)),),
        facts={"app": "promo", "mode": "assemble"},
    )
    assert b'"t0":"1001/30000","t1":"5/1"' in statement.to_bytes()
    assert Statement.parse(statement.to_bytes()) == statement


def test_any_in_toto_reader_understands_it():
    value = json.loads(ingest().to_bytes())
    assert value["_type"] == "https://in-toto.io/Statement/v1"
    assert value["subject"] == [{"name": f"urn:malan:asset:{1:064x}", "digest": {"sha256": f"{1:064x}"}}]
    assert value["predicateType"] == "urn:malan:event:asset.ingest:1"


@pytest.mark.parametrize("kind", EVENT_KINDS)
def test_every_kind_must_state_its_facts(kind):
    if EVENT_KINDS[kind].facts:
        name = EVENT_KINDS[kind].subjects[0]
        bare = ingest(kind=kind, subjects=(Subject(urn(name, "1" * 64), "1" * 64),), facts={})
        with pytest.raises(ProofError, match="facts"):
            bare.to_bytes()


def spoilt(path: str, value: object) -> bytes:
    statement = json.loads(ingest().to_bytes())
    *way, last = path.split(".")
    held = statement
    for step in way:
        held = held[int(step) if step.isdigit() else step]
    held[last] = value
    return canonical_json(statement)


@pytest.mark.parametrize(
    ("path", "value", "code"),
    [
        ("_type", "https://in-toto.io/Statement/v0.1", "event.field"),
        ("predicateType", "urn:malan:event:asset.steal:1", "event.kind"),
        ("predicateType", "urn:malan:event:asset.ingest:2", "event.kind"),
        ("subject", [], "event.field"),
        ("subject.0.name", "urn:malan:snapshot:" + "1" * 64, "event.field"),
        ("subject.0.name", "https://example.org/", "event.field"),
        ("subject.0.digest", {"md5": "1" * 32}, "event.field"),
        ("subject.0.digest.sha256", "XYZ", "event.field"),
        ("predicate.id", "1b4e28ba-2fa1-11d2-883f-0016d3cca427", "event.field"),
        ("predicate.time", "2026-11-21 08:00", "event.field"),
        ("predicate.time", "2026-11-21T08:00:00+08:00", "event.field"),
        ("predicate.actor.role", "king", "event.field"),
        ("predicate.actor.name", "湖南台", "event.unknown_field"),
        ("predicate.activity.op", 5, "event.field"),
        ("predicate.facts.size", -1, "event.field"),
        ("predicate.facts.size", True, "event.field"),
        ("predicate.facts.terms", "none", "event.field"),
        ("predicate.facts.Owner", "x", "event.field"),
        ("predicate.note", "hello", "event.unknown_field"),
        ("extra", 1, "event.unknown_field"),
        ("predicate.inputs", [{"urn": "urn:malan:asset:1", "sha256": "1" * 64, "rel": "inputTo"}], "event.field"),
        ("predicate.commit", [{"field": "owner", "alg": "md5", "value": "1" * 64}], "event.field"),
        ("predicate.commit", [{"field": "owner", "alg": "hmac-sha256", "value": "1" * 64}] * 2, "event.field"),
    ],
)
def test_what_is_wrong_is_named(path, value, code):
    with pytest.raises(ProofError) as caught:
        Statement.parse(spoilt(path, value))
    assert caught.value.code == code


@pytest.mark.parametrize("text", ["2/4", "1.5", "1/0", "01/2", "-0/1", "1/-2", " 1/2", "9" * 40 + "/1"])
def test_a_fraction_has_one_spelling(text):
    value = json.loads(
        ingest(
            kind="clip.derive",
            subjects=(Subject(urn("scan", "1" * 64), "1" * 64),),
            inputs=(Input(urn("asset", "2" * 64), "2" * 64, "parentOf", Fraction(0), Fraction(1)),),
            facts={"clips": 1, "findings": 1},
        ).to_bytes()
    )
    value["predicate"]["inputs"][0]["t0"] = text
    with pytest.raises(ProofError):
        Statement.parse(canonical_json(value))


def test_stating_the_same_again_is_known_by_what_is_said():
    again = replace(ingest(), id="019aa111-0000-7000-8000-000000000009", time="2027-01-01T00:00:00Z")
    again = replace(again, commitments=(Commitment.to("owner", "x", SALT),))
    assert again.once == ingest().once
    assert replace(again, facts={**again.facts, "terms": "b" * 64}).once != ingest().once


datums = st.text() | st.integers(-(2**53) + 1, 2**53 - 1) | st.lists(st.booleans(), max_size=3)


@given(st.binary(min_size=32, max_size=32))
def test_a_disclosed_datum_is_checked_against_its_commitment(salt):
    commitment = Commitment.to("owner", {"name": "湖南台"}, salt)
    commitment.check({"name": "湖南台"}, salt)
    with pytest.raises(ProofError, match="committed"):
        commitment.check({"name": "江苏台"}, salt)
    with pytest.raises(ProofError, match="committed"):
        commitment.check({"name": "湖南台"}, bytes(31) + b"\1" if salt != bytes(31) + b"\1" else bytes(32))


def test_without_the_salt_a_datum_cannot_be_guessed_from_the_log():
    first, second = (Commitment.to("owner", "湖南台", salt) for salt in (SALT, SALT[::-1]))
    assert first.value != second.value
    assert "湖南台".encode() not in replace(ingest(), commitments=(first,)).to_bytes()


def test_a_short_salt_is_no_salt():
    with pytest.raises(ProofError, match="salt"):
        Commitment.to("owner", "湖南台", b"salt")


def test_a_key_shows_only_its_public_half():
    assert "PrivateKey" not in repr(actor_key())
