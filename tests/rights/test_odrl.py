"""Terms are the same after a journey through ODRL, and what was not understood on the way denies."""

from __future__ import annotations

import copy
import json
from datetime import date, timedelta
from typing import Any

import pytest
from drawn_terms import terms
from hypothesis import given

from malan.core import Terms
from malan.core.errors import UsageError
from malan.rights.decide import Use, compile_terms
from malan.rights.odrl import PROFILE, from_odrl, to_odrl
from malan.rights.ready import READY
from malan.rights.terms import read_terms

TODAY = date(2026, 11, 22)


@given(terms())
def test_terms_survive_the_journey(said: Terms) -> None:
    back = from_odrl(json.loads(json.dumps(to_odrl(said))))
    assert back == (said if said.price_minor else said.__class__(**{**vars_of(said), "price_per": "deal"}))


def vars_of(said: Terms) -> dict[str, Any]:
    return {name: getattr(said, name) for name in said.__dataclass_fields__}


FULL = Terms(
    "f" * 64,
    "full",
    ("retrieve", "train"),
    ("research",),
    ("CN",),
    "2026-01-01",
    "2030-12-31",
    {"clip_seconds": 100, "runs": 2},
    250,
    recipients=("r" * 64,),
    isolation="sandbox",
    tiers=("recipe",),
    egress=("metrics",),
    prohibitions=("likeness",),
    attribution="湖南台",
    price_per="clip_second",
)
GOOD = Use("train", TODAY, "r" * 64, "research", "CN", "recipe", "sandbox", ("metrics",))


def paths(value: Any, before: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """Where something stands in a policy."""
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    return [found for name, held in items for found in ((*before, name), *paths(held, (*before, name)))]


POLICY = to_odrl(FULL)


@pytest.mark.parametrize("path", paths(POLICY), ids=lambda path: ".".join(map(str, path)))
@pytest.mark.parametrize("change", ["remove", "number", "null", "other", "object"])
def test_a_policy_changed_anywhere_never_allows_more(path: tuple[Any, ...], change: str) -> None:
    policy = copy.deepcopy(POLICY)
    held: Any = policy
    for name in path[:-1]:
        held = held[name]
    if change == "remove":
        del held[path[-1]]
    else:
        held[path[-1]] = {"number": 7, "null": None, "other": "malan:unheardOf", "object": {"x": [1]}}[change]
    try:
        read = compile_terms(from_odrl(policy))
    except UsageError:
        return
    for use in worse_uses():
        allowed = read.decide(use).allowed
        assert not allowed or is_a_plain_loss(path, change), (path, change, use)


def worse_uses() -> list[Use]:
    """Uses that the full terms refuse."""
    return [
        Use("publish", TODAY, "r" * 64, "research", "CN"),
        Use("generative_train", TODAY, "r" * 64, "research", "CN", "recipe", "sandbox", ("metrics",)),
        Use("train", TODAY, "r" * 64, "research", "CN", "code", "sandbox", ("weights",)),
    ]


def is_a_plain_loss(path: tuple[Any, ...], change: str) -> bool:
    """A sender who leaves a condition out has said less: nothing tells a reader that there was one."""
    return change == "remove" and path[0] == "permission" and len(path) == 2


def test_the_full_terms_allow_what_they_say() -> None:
    assert compile_terms(from_odrl(POLICY)).decide(GOOD).allowed
    assert not any(compile_terms(from_odrl(POLICY)).decide(use).allowed for use in worse_uses())


def at_most(value: Any) -> dict[str, Any]:
    return {"leftOperand": "odrl:count", "operator": "odrl:lteq", "rightOperand": value}


def pay(value: str) -> dict[str, Any]:
    amount = {"leftOperand": "odrl:payAmount", "operator": "odrl:eq", "rightOperand": {"@value": value}}
    return amount | {"unit": "urn:iso:std:iso:4217:CNY"}


@pytest.mark.parametrize(
    "spoilt",
    [
        {"@context": "https://example.org/evil.jsonld"},
        {"@context": [{"odrl": "https://example.org/"}]},
        {"@context": ["http://www.w3.org/ns/odrl.jsonld", {"malan": "https://example.org/"}]},
        {"@type": "Ticket"},
        {"assigner": 5},
        {"assigner": None},
        {"permission": 7},
        {"permission": [7]},
        {"permission": [{"action": "malan:train"}] * 65},
        {"permission": [{"action": "malan:train", "constraint": [at_most(5)]}]},
        {"permission": [{"action": "malan:train", "constraint": [at_most("-5")]}]},
        {"permission": [{"action": "malan:train", "constraint": [at_most("5.0")]}]},
        {"obligation": [{"action": [{"rdf:value": {"@id": "odrl:compensate"}, "refinement": [pay("-1")]}]}]},
    ],
)
def test_a_hostile_policy_is_refused(spoilt: dict[str, Any]) -> None:
    with pytest.raises(UsageError):
        from_odrl(POLICY | spoilt)


@pytest.mark.parametrize("policy", [None, [], 7, "Offer", {}, {"@context": []}])
def test_what_is_no_policy_is_refused(policy: Any) -> None:
    with pytest.raises(UsageError):
        from_odrl(policy)


@pytest.mark.parametrize(
    "change",
    [
        {"profile": "https://example.org/other"},
        {"inheritFrom": "urn:x"},
        {"prohibition": [{"action": "odrl:sell"}]},
        {"obligation": [{"action": "odrl:delete"}]},
        {"permission": [{"action": "odrl:use"}]},
        {"permission": [*POLICY["permission"], {"action": "odrl:derive"}]},
    ],
)
def test_what_is_not_understood_denies_everything(change: dict[str, Any]) -> None:
    decision = compile_terms(from_odrl(POLICY | change)).decide(GOOD)
    assert not decision.allowed
    assert "rights.not_understood" in {reason.code for reason in decision.reasons}


def test_full_names_and_short_ones_are_the_same() -> None:
    text = json.dumps(POLICY["permission"]).replace('"malan:train"', f'"{PROFILE}#train"')
    assert from_odrl(POLICY | {"permission": json.loads(text)}) == from_odrl(POLICY)


def test_terms_that_are_not_understood_are_not_said_in_other_words() -> None:
    with pytest.raises(UsageError, match="moon"):
        to_odrl(Terms("o", "t", ("train",), other={"moon": "full"}))


@pytest.mark.parametrize("name", READY)
def test_ready_terms_are_understood_and_travel(name: str) -> None:
    import tomllib

    said = read_terms(tomllib.loads(READY[name].body.replace("{owner}", "湖南台")), "湖南台", name, name)
    assert said.other == {}
    assert from_odrl(to_odrl(said)).uses == said.uses
    past = Use("generative_train", TODAY + timedelta(days=1))
    assert compile_terms(said).decide(past).allowed == (name in ("public-domain", "cc-by"))
