"""Offers as ODRL: what is one, when two are the same, and how an owner's terms become one."""

from __future__ import annotations

import copy
import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from malan.core import Terms
from malan.rights.terms import party_id
from malan.services.dsp import words
from malan.services.dsp.errors import BadMessage
from malan.services.dsp.policy import check_offer, from_terms, plain_use, same_rules
from malan.services.dsp.read import LARGEST_MESSAGE_BYTES, read_message

CONSTRAINT = {
    "leftOperand": f"{words.MALAN}clipSeconds",
    "operator": "odrl:lteq",
    "rightOperand": {"@value": "3600", "@type": "xsd:integer"},
}
OFFER = {
    "@id": "offer",
    "@type": "Offer",
    "target": "film",
    "permission": [{"action": "odrl:use", "constraint": [CONSTRAINT]}, {"action": "odrl:present"}],
    "prohibition": [{"action": "odrl:distribute"}],
}


def changed(**rules: Any) -> dict[str, Any]:
    return {**copy.deepcopy(OFFER), **rules}


def test_ids_parties_order_and_spelling_make_no_difference() -> None:
    other = {
        "@id": "another",
        "target": {"@id": "film"},
        "assigner": "us",
        "assignee": "you",
        "timestamp": "2026-01-01T00:00:00Z",
        "permission": [
            {"action": {"@id": f"{words.ODRL}present"}, "constraint": []},
            {
                "action": "use",
                "constraint": {
                    **CONSTRAINT,
                    "operator": "lteq",
                    "rightOperand": [{"@type": "http://www.w3.org/2001/XMLSchema#integer", "@value": "3600"}],
                },
            },
        ],
        "prohibition": {"action": "distribute"},
        "obligation": [],
    }
    assert same_rules(OFFER, other)


@pytest.mark.parametrize(
    "other",
    [
        changed(target="another film"),
        changed(prohibition=[]),
        changed(permission=OFFER["permission"][:1]),
        changed(permission=[*OFFER["permission"], {"action": "odrl:derive"}]),
        changed(permission=[{"action": "odrl:use"}, {"action": "odrl:present"}]),
        changed(permission=[{"action": "odrl:use", "constraint": [{**CONSTRAINT, "operator": "odrl:gteq"}]}]),
        changed(obligation=[{"action": "odrl:compensate"}]),
        changed(profile="https://example.org/other"),
        changed(permission=[{**rule, "unheard": 1} for rule in OFFER["permission"]]),
        changed(
            permission=[
                {"action": "odrl:use", "constraint": [{**CONSTRAINT, "rightOperand": {"@value": "36000"}}]},
                {"action": "odrl:present"},
            ]
        ),
    ],
)
def test_any_other_rule_makes_a_difference(other: dict[str, Any]) -> None:
    assert not same_rules(OFFER, other)


@pytest.mark.parametrize(
    "other",
    [
        changed(target=7),
        changed(target=""),
        changed(permission=7),
        changed(permission=[7]),
        changed(permission=[], prohibition=[]),
        changed(permission=[{"action": 7}]),
        changed(permission=[{"action": "use", "target": "another"}]),
        changed(permission=[{"action": "use", "constraint": 3600}]),
        changed(permission=[{"action": "use", "constraint": [{**CONSTRAINT, "rightOperand": 3600}]}]),
        changed(permission=[{"action": "use", "constraint": [{**CONSTRAINT, "rightOperand": True}]}]),
        changed(permission=[{"action": "use", "constraint": [{**CONSTRAINT, "operator": None}]}]),
        changed(permission=[{"action": "use", "duty": 1}]),
        changed(permission=[{"action": "use"}] * 201),
        changed(**{"@type": "Agreement"}),
        changed(**{"@id": None}),
    ],
)
def test_what_is_no_offer_is_refused(other: dict[str, Any]) -> None:
    with pytest.raises(BadMessage):
        check_offer(other, "offer")


@pytest.mark.parametrize(
    "terms",
    [
        Terms(party_id("湖南台"), "train", ("retrieve", "train"), price_minor=250, attribution="湖南台"),
        Terms(
            party_id("Studio"),
            "promo",
            ("derive", "publish", "export"),
            purposes=("promo",),
            territories=("CN",),
            starts="2026-01-01",
            ends="2027-12-31",
            limits={"clip_seconds": 3600, "runs": 3},
        ),
    ],
)
def test_an_owners_terms_become_an_offer_without_prefixes(terms: Terms) -> None:
    policy = {**from_terms(terms, "film"), "@id": "offer"}
    check_offer(policy, "offer")
    said = json.dumps(policy, ensure_ascii=False)
    assert not any(f'"{prefix}:' in said for prefix in ("odrl", "malan", "xsd", "dc"))
    assert "@context" not in policy
    assert same_rules(policy, json.loads(said))
    assert not same_rules(policy, plain_use("offer", "film"))


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(
            st.sampled_from(["@id", "@type", "@value", "action", "permission", "constraint", "target", "and", "duty"]),
            inner,
            max_size=5,
        )
    ),
    max_leaves=20,
)


@given(JSON, JSON)
def test_no_policy_is_an_error_of_ours(one: Any, two: Any) -> None:
    for policy in ({**OFFER, "permission": one}, {**OFFER, "permission": [{"action": "use", "constraint": two}]}):
        try:
            check_offer(policy, "offer")
        except BadMessage:
            continue
        same_rules(policy, OFFER)


@given(st.binary(max_size=200) | JSON.map(lambda said: json.dumps(said).encode()))
def test_no_bytes_are_an_error_of_ours(body: bytes) -> None:
    assert len(body) < LARGEST_MESSAGE_BYTES
    with pytest.raises(BadMessage):
        read_message(body, words.CONTRACT_REQUEST)
