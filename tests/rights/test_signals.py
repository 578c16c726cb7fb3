"""Signals made of terms never say more than the terms, and what a stranger wrote into a signal only narrows."""

from __future__ import annotations

import json
from datetime import date
from xml.etree import ElementTree

import pytest
from drawn_terms import terms as any_terms
from drawn_terms import words
from hypothesis import given
from hypothesis import strategies as st

from malan.core import Terms
from malan.rights.decide import EGRESS, TIERS, Use, compile_terms
from malan.rights.odrl import from_odrl
from malan.rights.signals import (
    ALLOWED,
    CONSTRAINED,
    MODEL_USES,
    NOT_ALLOWED,
    RSL,
    STRICTNESS,
    answers,
    read_cawg,
    read_plus,
    read_rsl,
    read_tdmrep,
    stricter,
    to_cawg,
    to_croissant,
    to_rsl,
    to_tdmrep,
)

OPEN = Terms(
    "o" * 64,
    "open",
    ("derive", "generative_train", "retrieve", "train"),
    tiers=TIERS,
    egress=EGRESS,
    isolation="none",
)
days = st.dates(date(1999, 1, 1), date(2101, 1, 1))
said = st.dictionaries(st.sampled_from(tuple(MODEL_USES)), st.sampled_from(STRICTNESS))


def none_looser(read: dict[str, str], truth: dict[str, str]) -> bool:
    return all(STRICTNESS.index(answer) >= STRICTNESS.index(truth[use]) for use, answer in read.items())


@given(any_terms(), days, words, words, words)
def test_what_is_allowed_anybody_may_do(terms: Terms, on: date, party: str, purpose: str, place: str) -> None:
    for use, answer in answers(terms, on).items():
        for action in MODEL_USES[use]:
            asked = Use(action, on, party, purpose, place)
            if "train" in action and terms.licence not in ("CC0-1.0", "CC-PDDC"):
                asked = Use(action, on, party, purpose, place, "code", "none", EGRESS)
            if answer == ALLOWED:
                assert compile_terms(terms).decide(asked).allowed
                assert not terms.price_minor
            if compile_terms(terms).decide(Use(action, on)).allowed and answer == NOT_ALLOWED:
                assert not set(MODEL_USES[use]) <= set(terms.uses)


@given(any_terms(), days)
def test_every_format_read_back_is_never_looser_than_the_terms(terms: Terms, on: date) -> None:
    truth = answers(terms, on)
    assert none_looser(read_cawg(to_cawg(terms, on)["data"]["entries"]), truth)
    told = to_tdmrep(terms, on, "/films/*")
    assert none_looser(read_tdmrep(json.dumps(told["well-known"]).encode(), "a.mp4") or {}, truth)
    for server in ("", "https://licence.example/rsl"):
        rsl = read_rsl(to_rsl(terms, on, "/films/*", server).encode(), "a.mp4")
        assert rsl is not None
        assert none_looser(rsl, truth)


@given(any_terms())
def test_the_card_holds_the_terms_themselves(terms: Terms) -> None:
    offer = to_croissant(terms)["sc:usageInfo"]
    assert offer["@type"] == "odrl:Offer"
    back = from_odrl(json.loads(json.dumps(offer)))
    assert (back.uses, back.limits, back.ends) == (terms.uses, terms.limits, terms.ends)


@given(said, said, said)
def test_the_stricter_answer_wins_in_any_order(one: dict[str, str], two: dict[str, str], three: dict[str, str]) -> None:
    assert stricter(one, two) == stricter(two, one)
    assert stricter(stricter(one, two), three) == stricter(one, stricter(two, three))
    assert none_looser(stricter(one, two), {use: one.get(use, ALLOWED) for use in MODEL_USES})


@given(any_terms(), days)
def test_one_condition_more_never_loosens(terms: Terms, on: date) -> None:
    from dataclasses import replace

    narrower = replace(terms, purposes=("research",), uses=terms.uses[1:])
    assert none_looser(answers(narrower, on), answers(terms, on))


def test_open_terms_are_open_in_every_format() -> None:
    on = date(2026, 11, 22)
    assert set(answers(OPEN, on).values()) == {ALLOWED}
    told = to_tdmrep(OPEN, on, "/", "https://example.org/policy")
    assert told["headers"] == {"tdm-reservation": "0"}
    assert told["meta"] == ['<meta name="tdm-reservation" content="0">']
    (licence,) = ElementTree.fromstring(to_rsl(OPEN, on, "/")).iter(f"{{{RSL}}}license")
    assert licence[0].text == "ai-index ai-input ai-train"


def test_priced_terms_say_where_a_licence_is_had_and_what_it_costs() -> None:
    terms = Terms("o" * 64, "t", ("retrieve", "train"), price_minor=250, price_per="clip_second")
    on = date(2026, 11, 22)
    assert '<prohibits type="usage">all</prohibits>' in to_rsl(terms, on, "/")
    both = Terms("o" * 64, "t", ("generative_train", "retrieve", "train"), price_minor=250, price_per="clip_second")
    priced = to_rsl(both, on, "https://example.org/a?b=<1>", "https://example.org/licence")
    assert '<amount currency="CNY">2.50</amount>' in priced
    assert '<payment type="training">' in priced
    assert "b=&lt;1&gt;" in priced
    told = to_tdmrep(terms, on, "/", 'https://example.org/"onload="x')
    assert told["well-known"][0]["tdm-reservation"] == 1
    assert '"onload=' not in told["meta"][1]
    entry = to_cawg(terms, on, "https://example.org/terms")["data"]["entries"]["cawg.ai_training"]
    assert entry["use"] == CONSTRAINED
    assert entry["constraint_info"].startswith("https://example.org/terms uses: retrieve, train")


def test_terms_that_are_not_understood_or_over_allow_nothing() -> None:
    on = date(2026, 11, 22)
    from dataclasses import replace

    for terms in (replace(OPEN, other={"moon": "full"}), replace(OPEN, ends="2026-11-21")):
        assert set(answers(terms, on).values()) == {NOT_ALLOWED}


# What strangers write.

BOMB = b'<!DOCTYPE r [<!ENTITY a "aaaa"><!ENTITY b "&a;&a;&a;">]><rsl xmlns="https://rslstandard.org/rsl">&b;</rsl>'


@pytest.mark.parametrize("data", [b"", b"<", b"{}", BOMB, b"<rsl/>", b"\xff\xfe", b"<rsl>" * 100, b"x" * 300_000])
def test_rsl_that_cannot_be_read_prohibits(data: bytes) -> None:
    assert set((read_rsl(data, "a.mp4") or {}).values()) == {NOT_ALLOWED}


@pytest.mark.parametrize(
    "data", [b"", b"{}", b"3", b"[3]", b"[" * 5000, b'[{"location": 3}]', b'[{"location": "/"}]', b"x" * 300_000]
)
def test_tdmrep_that_cannot_be_read_reserves(data: bytes) -> None:
    assert set((read_tdmrep(data, "a.mp4") or {}).values()) == {NOT_ALLOWED}


def test_tdmrep_speaks_of_the_files_it_names() -> None:
    entries = [
        {"location": "/films/open.mp4", "tdm-reservation": 0},
        {"location": "/films/*.mov", "tdm-reservation": 1, "tdm-policy": "https://example.org/p"},
        {"location": "/films/shut", "tdm-reservation": 1},
    ]
    data = json.dumps(entries).encode()
    assert set((read_tdmrep(data, "open.mp4") or {}).values()) == {ALLOWED}
    assert set((read_tdmrep(data, "x.mov") or {}).values()) == {CONSTRAINED}
    assert set((read_tdmrep(data, "shut.mp4") or {}).values()) == {NOT_ALLOWED}
    assert read_tdmrep(data, "other.mp4") is None
    for value in (True, False, "0", None, 2):
        odd = json.dumps([{"location": "/", "tdm-reservation": value}]).encode()
        assert set((read_tdmrep(odd, "a.mp4") or {}).values()) == {NOT_ALLOWED}


@pytest.mark.parametrize(
    ("licence", "training"),
    [
        ('<permits type="usage">ai-train</permits>', ALLOWED),
        ('<permits type="usage">search</permits>', NOT_ALLOWED),
        ('<permits type="usage">all</permits><prohibits type="usage">ai-train</prohibits>', NOT_ALLOWED),
        ('<permits type="usage">ai-all</permits><payment type="training"/>', CONSTRAINED),
        ('<permits type="usage">ai-all</permits><payment type="free"/>', ALLOWED),
        ('<permits type="geo">EU</permits>', CONSTRAINED),
        ('<prohibits type="usage">something-new</prohibits>', NOT_ALLOWED),
        ('<permits type="usage">something-new</permits>', NOT_ALLOWED),
    ],
)
def test_rsl_is_read_as_it_is_meant(licence: str, training: str) -> None:
    data = f'<rsl xmlns="{RSL}"><content url="/"><license>{licence}</license></content></rsl>'
    assert (read_rsl(data.encode(), "a.mp4") or {})["ai_training"] == training
    served = data.replace('url="/"', 'url="/" server="https://x"')
    assert (read_rsl(served.encode(), "a.mp4") or {})["ai_training"] != ALLOWED


def test_plus_and_cawg_words_are_read_strictly() -> None:
    assert set((read_plus("http://ns.useplus.org/ldf/vocab/DMI-ALLOWED") or {}).values()) == {ALLOWED}
    assert read_plus("DMI-UNSPECIFIED") is None
    assert read_plus("DMI-PROHIBITED-GENAIMLTRAINING") == {"ai_generative_training": NOT_ALLOWED}
    assert set((read_plus("DMI-SOMETHING-NEW") or {}).values()) == {NOT_ALLOWED}
    assert read_cawg({"cawg.ai_training": {"use": "constrained"}}) == {"ai_training": NOT_ALLOWED}
    assert read_cawg({"cawg.ai_training": {"use": "constrained", "constraint_info": "x"}}) == {
        "ai_training": CONSTRAINED
    }
    assert read_cawg({"cawg.ai_training": {"use": "perhaps"}, "c2pa.ai_training": 3}) == {"ai_training": NOT_ALLOWED}
    assert set(read_cawg("x").values()) == {NOT_ALLOWED}
