"""An agreement is one document: the same bytes for all, no byte of which can change, and a signature counts once."""

from __future__ import annotations

import json
from datetime import date
from fractions import Fraction
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from drawn_terms import terms as any_terms
from hypothesis import given, settings
from hypothesis import strategies as st

from malan.core import Terms
from malan.core.errors import MalanError, ProofError, Rejected
from malan.ledger.envelope import key_id_of
from malan.rights.agreement import Agreement, Signatory, SignedAgreement, ceiling
from malan.rights.bargain import ACTIONS, REFUSED, REVOKED, SIGNED, STATES, TABLE, opened, step
from malan.rights.common_ground import in_house, looser, meet
from malan.rights.decide import EGRESS, LEVELS, TIERS, USES, Use, compile_terms
from malan.rights.terms import default_terms

OWNER, SECOND, BUYER, STRANGER = (Ed25519PrivateKey.from_private_bytes(bytes([n]) * 32) for n in range(1, 5))
TERMS = Terms(
    "o" * 64, "训练", ("retrieve", "train"), ends="2027-12-31", limits={"output_bytes": 50_000_000, "runs": 3}
)


def key_of(private: Ed25519PrivateKey) -> str:
    return key_id_of(private.public_key().public_bytes_raw())


def agreement(**changes: Any) -> Agreement:
    said = {
        "number": "c0ffee",
        "made": "2026-11-22T00:00:00Z",
        "owners": (Signatory("o" * 64, "湖南台", key_of(OWNER)), Signatory("p" * 64, "橘洲", key_of(SECOND))),
        "buyer": Signatory("b" * 64, "某模型公司", key_of(BUYER)),
        "snapshot_id": "5" * 64,
        "clips": 4,
        "footage": Fraction(52, 25),
        "terms": TERMS,
    }
    return Agreement.draft(**{**said, **changes})


def signed(document: Agreement, *keys: Ed25519PrivateKey) -> SignedAgreement:
    found = SignedAgreement(document)
    for key in keys:
        found = found.with_signature(key_of(key), key.sign(document.to_bytes()))
    return found


def test_a_document_survives_being_written_and_read() -> None:
    said = agreement()
    assert Agreement.parse(said.to_bytes()) == said
    assert Agreement.parse(said.to_bytes()).id == said.id


@given(any_terms(), st.integers(1, 10**6), st.fractions(0, 10**9))
def test_any_terms_make_the_same_document_for_everybody(terms: Terms, clips: int, footage: Fraction) -> None:
    try:
        said = agreement(terms=terms, clips=clips, footage=footage)
    except ProofError as error:
        assert error.code == "canonical.nfc"  # noqa: PT017  # two spellings that look alike: no text to sign
        return
    back = Agreement.parse(said.to_bytes())
    assert (back.id, back.terms.id, back.footage) == (said.id, terms.id, footage)


def test_it_says_what_the_tier_guarantees_and_what_the_budget_could_carry() -> None:
    stated = agreement().stated
    assert set(stated["guarantee"]) == {"recipe", "recipe-dp"}
    assert all(set(texts) == {"en", "zh"} for texts in stated["guarantee"].values())
    assert stated["ceiling"] == {"output_bytes": 50_000_000, "audio_64k_s": 6250, "video_500k_s": 800}
    assert ceiling(Terms("o", "t", ("train",))) is None


def test_all_must_sign() -> None:
    document = agreement()
    assert signed(document, OWNER, BUYER).missing == ("p" * 64,)
    whole = signed(document, OWNER, SECOND, BUYER)
    whole.check()
    assert whole.missing == ()
    assert SignedAgreement.from_bundle(whole.to_bundle()) == whole


def test_every_byte_of_a_signed_file_counts() -> None:
    data = signed(agreement(), OWNER, SECOND, BUYER).to_bundle()
    for at in range(0, len(data), 7):
        changed = bytearray(data)
        changed[at] ^= 1
        with pytest.raises(MalanError):
            SignedAgreement.from_bundle(bytes(changed))


def test_a_signature_counts_for_one_agreement_only() -> None:
    first, second = agreement(), agreement(number="c0ffef")
    replayed = OWNER.sign(first.to_bytes())
    with pytest.raises(ProofError):
        SignedAgreement(second).with_signature(key_of(OWNER), replayed)
    with pytest.raises(ProofError):
        SignedAgreement(second, {"o" * 64: replayed}).check()


def test_nobody_else_can_sign() -> None:
    document = agreement()
    with pytest.raises(ProofError, match="party"):
        SignedAgreement(document).with_signature(key_of(STRANGER), STRANGER.sign(document.to_bytes()))
    with pytest.raises(ProofError, match="party"):
        SignedAgreement(document, {"x" * 64: OWNER.sign(document.to_bytes())}).check()


def test_two_parties_cannot_share_a_key() -> None:
    with pytest.raises(ProofError):
        agreement(buyer=Signatory("b" * 64, "某模型公司", key_of(OWNER)))
    with pytest.raises(ProofError):
        agreement(buyer=Signatory("o" * 64, "湖南台", key_of(BUYER)))


@pytest.mark.parametrize("seconds", ["1e999999999", "1/0", "0.5", "-1/2", "1/-2", 3, None, "1" * 90 + "/1"])
def test_a_length_is_a_fraction_and_nothing_else(seconds: Any) -> None:
    from malan.core.canonical import canonical_json

    said = json.loads(agreement().to_bytes())
    said["snapshot"]["seconds"] = seconds
    with pytest.raises(ProofError):
        Agreement.parse(canonical_json(said))


FIELDS = sorted(json.loads(agreement().to_bytes()))


@pytest.mark.parametrize("field", FIELDS)
@pytest.mark.parametrize("value", [None, 3, True, [], {}, "x", [3], {"x": 1}, -1])
def test_a_field_of_another_sort_is_refused_or_another_document(field: str, value: Any) -> None:
    from malan.core.canonical import canonical_json

    said = json.loads(agreement().to_bytes())
    said[field] = value
    try:
        found = Agreement.parse(canonical_json(said))
    except ProofError:
        return
    assert found.id != agreement().id


@pytest.mark.parametrize("field", FIELDS)
def test_a_field_that_is_missing_or_added_is_refused(field: str) -> None:
    from malan.core.canonical import canonical_json

    said = json.loads(agreement().to_bytes())
    held = said.pop(field)
    if field != "ceiling":
        with pytest.raises(ProofError):
            Agreement.parse(canonical_json(said))
    with pytest.raises(ProofError):
        Agreement.parse(canonical_json({**said, field: held, "more": 1}))


# Bargaining.


def test_every_state_and_action_is_in_the_table_or_refused() -> None:
    for state in STATES:
        for action in ACTIONS:
            for who in ("owner", "buyer", "stranger"):
                begun = opened("buyer", ("owner",), "t")
                bargain = type(begun)("buyer", ("owner",), "t", state, frozenset({"buyer"}))
                more = {"terms_id": "u"} if action == "counter" else {}
                if (state, action, who) in TABLE:
                    assert step(bargain, action, who, **more).state in STATES
                else:
                    with pytest.raises(Rejected):
                        step(bargain, action, who, **more)


actions = st.tuples(st.sampled_from(ACTIONS), st.sampled_from(["buyer", "one", "two", "stranger"]))


@given(st.lists(actions, max_size=40))
def test_nothing_is_signed_that_not_everybody_accepted_and_signed(done: list[tuple[str, str]]) -> None:
    bargain = opened("buyer", ("one", "two"), "t0")
    agreed: dict[str, str] = {"buyer": "t0"}
    for number, (action, who) in enumerate(done):
        terms_id = f"t{number + 1}" if action == "counter" else None
        before = bargain.state
        try:
            bargain = step(bargain, action, who, terms_id)
        except Rejected:
            assert bargain.state == before
            continue
        if action in ("counter", "accept"):
            agreed[who] = bargain.terms_id
    if bargain.state in ("agreed", SIGNED, REVOKED):
        assert {agreed.get(who) for who in ("buyer", "one", "two")} == {bargain.terms_id}
    if bargain.state in (SIGNED, REVOKED):
        assert bargain.signed == bargain.parties
    if bargain.state == REFUSED:
        assert bargain.waits_for == ()


# Common ground.

day = st.dates(date(1999, 1, 1), date(2101, 1, 1))
words = st.none() | st.text(st.characters(categories=["L", "N"]), min_size=1, max_size=2)


@st.composite
def uses(draw: st.DrawFn, several: tuple[Terms, ...]) -> Use:
    """A use that has a chance: its words are taken from the terms, mostly."""

    def one_of(field: str) -> str | None:
        named = [word for terms in several for word in getattr(terms, field)]
        return draw(st.sampled_from(named)) if named and draw(st.booleans()) else draw(words)

    run: dict[str, Any] = {}
    if draw(st.booleans()):
        run = {
            "tier": draw(st.sampled_from(TIERS)),
            "isolation": draw(st.sampled_from(LEVELS)),
            "egress": tuple(draw(st.lists(st.sampled_from(EGRESS), unique=True))),
        }
    return Use(
        draw(st.sampled_from(USES)),
        draw(day),
        one_of("recipients"),
        one_of("purposes"),
        one_of("territories"),
        **run,
    )


@settings(max_examples=150)
@given(st.data(), any_terms(), any_terms())
def test_the_common_ground_allows_what_all_allow_and_nothing_else(data: st.DataObject, one: Terms, two: Terms) -> None:
    use = data.draw(uses((one, two)))
    both = compile_terms(one).decide(use).allowed and compile_terms(two).decide(use).allowed
    try:
        common = meet([one, two], "f" * 64, "pool")
    except Rejected as error:
        assert not both or error.values["condition"] in ("tiers", "egress")  # noqa: PT017  # these bind runs
        return
    assert compile_terms(common).decide(use).allowed == both
    assert looser(common, one) == looser(common, two) == ()


@settings(max_examples=150)
@given(st.data(), any_terms(), any_terms())
def test_what_is_not_looser_allows_nothing_more(data: st.DataObject, offered: Terms, given_terms: Terms) -> None:
    use = data.draw(uses((offered, given_terms)))
    if not looser(offered, given_terms) and compile_terms(offered).decide(use).allowed:
        assert compile_terms(given_terms).decide(use).allowed
        for unit, most in given_terms.limits.items():
            assert offered.limits[unit] <= most


@given(any_terms())
def test_terms_are_not_looser_than_themselves(terms: Terms) -> None:
    assert looser(terms, terms) == ()
    assert not in_house(terms) or set(terms.uses) <= {"retrieve", "derive", "export"}


def test_footage_of_a_silent_owner_stays_in_house() -> None:
    assert in_house(default_terms("湖南台"))
    assert not in_house(Terms("o" * 64, "archive", ("retrieve",)))
