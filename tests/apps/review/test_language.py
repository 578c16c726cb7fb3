"""The language of rules: what it says, what it refuses, and that it never does anything else."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from malan.apps.review.language import Moment, Node, Scene, Scope, SyntaxFault, Value, evaluate, parse, type_of
from malan.apps.review.language.values import both, either, moments, number, opposite, text, truth
from malan.apps.review.language.vocabulary import FACTS, FUNCTIONS
from malan.apps.review.words import Lexicon, Pattern

WORDS = {("lexicon", "bad"): Lexicon("bad", [("赌博", ())]), ("pattern", "n"): Pattern("n", ["第{digits}号"])}
SCOPE = Scope({"limit": parse("2s")}, {"bad"}, {"n"})


class Known:
    """Facts of a test: what is not given is unknown."""

    duration_s = 100.0
    release = "2026-10-01"

    def __init__(self, **values: Value) -> None:
        self._values = {name.replace("__", "."): value for name, value in values.items()}

    def fact(self, name: str) -> Value:
        if name in self._values:
            return self._values[name]
        kind, dim = FACTS[name]
        return moments((), (name,)) if kind == "moments" else Value(kind, None, frozenset({name}), dim)  # type: ignore[arg-type]

    def detected(self, sense: str, name: str) -> Value:
        return moments((), (f"{sense}.{name}",))


def value(said: str, **facts: Value) -> Value:
    node = parse(said)
    type_of(node, SCOPE)
    return evaluate(node, Scene(Known(**facts), SCOPE.params, WORDS))


@pytest.mark.parametrize(
    ("said", "expected"),
    [
        ("1 + 2 * 3 == 7", True),
        ("(1 + 2) * 3 == 9", True),
        ("90s > 1min", True),
        ("5% * 40 == 200%", True),
        ("3万元 == 30000yuan", True),
        ("not true or false", False),
        ("true and not false", True),
        ('"ＡＢ c" == "abC"', True),
        ('"a" in ["b", "A"]', True),
        ("-3dB < -2LUFS", True),
        ('since("2026-09-01")', True),
        ('before("2026-09-01")', False),
        ("10s / 5s == 2", True),
    ],
)
def test_plain_expressions_have_the_value_a_reader_expects(said: str, expected: bool) -> None:
    assert value(said).data is expected


@pytest.mark.parametrize(
    ("said", "why"),
    [
        ("", "end"),
        ("1 +", "end"),
        ("1 1", "unexpected"),
        ("foo", "name"),
        ("param.none > 1", "name"),
        ("qc.duration > 5%", "type"),
        ("1 and true", "type"),
        ("open(1)", "function"),
        ("exists(1)", "arguments"),
        ('match(ocr, lexicon("none"))', "lexicon"),
        ('match(ocr, pattern("none"))', "pattern"),
        ('vision("../etc")', "detector"),
        ('since("gestern")', "date"),
        ("1furlong > 2", "unit"),
        ("[1, 2]", "list"),
        ("meta.title > 3", "type"),
        ("1 < 2 < 3", "unexpected"),
        ("a.__class__", "name"),
        ("ocr; import os", "character"),
        ("(" * 60 + "1" + ")" * 60, "deep"),
        ("not " * 60 + "true", "deep"),
        ("+".join(["1"] * 60), "deep"),
        ("x" * 3000, "long"),
    ],
)
def test_what_makes_no_sense_is_refused_with_a_reason(said: str, why: str) -> None:
    with pytest.raises(SyntaxFault) as caught:
        type_of(parse(said), SCOPE)
    assert caught.value.why == why


def test_unknown_is_not_false() -> None:
    assert value("meta.ai").data is None
    assert value("not meta.ai").data is None
    assert value("meta.ai and false").data is False
    assert value("meta.ai or true").data is True
    assert value("meta.ai and true").missing == {"meta.ai"}
    assert value("meta.investment > 100yuan").missing == {"meta.investment"}


def test_an_incomplete_set_can_prove_but_not_disprove() -> None:
    found = moments([Moment(1, 2, "赌博")], ("speech",))
    assert value('exists(match(texts, lexicon("bad")))', texts=found).data is True
    empty = moments([], ("speech",))
    assert value("none(texts)", texts=empty).data is None
    assert value("none(texts)", texts=moments([])).data is True
    assert value("count(texts) == 1", texts=found).data is None


def test_what_may_cover_a_moment_leaves_it_unsure() -> None:
    ocr = moments([Moment(1, 3, "Hello there")])
    assert value("exists(without(foreign(ocr), chinese(speech)))", ocr=ocr).data is None
    assert value("exists(without(foreign(ocr), chinese(speech)))", ocr=ocr, speech=moments([])).data is True


def test_moments_are_filtered_by_time_words_and_size() -> None:
    ocr = moments(
        [
            Moment(0, 1.5, "第12号", height_share=0.03),
            Moment(5, 9, "他去赌博", height_share=0.07, inset_share=0.01),
            Moment(95, 99, "The End"),
        ]
    )
    assert [m.start_s for m in value("opening(ocr, 5s)", ocr=ocr).data] == [0]
    assert [m.start_s for m in value("closing(ocr, 10s)", ocr=ocr).data] == [95]
    assert [m.start_s for m in value("at_least(ocr, param.limit)", ocr=ocr).data] == [5, 95]
    assert value('match(ocr, lexicon("bad"))', ocr=ocr).data[0].hits == ((2, 4, "赌博"),)
    assert [m.text for m in value('match(ocr, pattern("n"))', ocr=ocr).data] == ["第12号"]
    assert [m.start_s for m in value("taller(ocr, 5%)", ocr=ocr).data] == [5]
    assert [m.start_s for m in value("beyond(ocr, 3%)", ocr=ocr).data] == [5]
    assert [m.text for m in value("foreign(ocr)", ocr=ocr).data] == ["The End"]
    assert value("total(ocr) == 9.5s", ocr=ocr).data is True
    assert value("share(ocr) < 10%", ocr=ocr).data is True


def test_covered_seconds_count_once() -> None:
    ocr = moments([Moment(0, 4), Moment(2, 6), Moment(1, 3)])
    assert value("total(ocr)", ocr=ocr).data == 6


_ATOMS = st.sampled_from(
    ["true", "false", "unknown", "meta.ai", "1", "2s", "5%", '"a"', "meta.title", "qc.duration", "ocr", "speech"]
)
_EXPRESSIONS = st.recursive(
    _ATOMS,
    lambda inner: st.one_of(
        st.tuples(inner, st.sampled_from([" and ", " or ", " + ", " / ", " < ", " == "]), inner).map("".join),
        inner.map(lambda said: f"not ({said})"),
        inner.map(lambda said: f"({said})"),
        st.tuples(st.sampled_from(sorted(FUNCTIONS)), st.lists(inner, max_size=2)).map(
            lambda call: f"{call[0]}({', '.join(call[1])})"
        ),
    ),
    max_leaves=8,
)


@given(_EXPRESSIONS)
@settings(max_examples=200, deadline=None)
def test_what_has_a_type_has_a_value_of_it(said: str) -> None:
    try:
        node = parse(said)
        kind, _ = type_of(node, SCOPE)
    except SyntaxFault:
        return
    found = evaluate(node, Scene(Known(meta__ai=truth(True), qc__duration=number(3.0, "s")), SCOPE.params, WORDS))
    assert found.kind == kind


@given(st.text(max_size=80))
@settings(max_examples=200, deadline=None)
def test_any_text_is_an_expression_or_a_syntax_fault(said: str) -> None:
    try:
        node = parse(said)
    except SyntaxFault:
        return
    assert isinstance(node, Node)


_TRUTHS = st.sampled_from([truth(True), truth(False), truth(None, ("x",))])


@given(_TRUTHS, _TRUTHS)
def test_kleene_logic_keeps_de_morgans_laws(one: Value, other: Value) -> None:
    assert opposite(both(one, other)).data == either(opposite(one), opposite(other)).data
    assert both(one, other).data == both(other, one).data
    assert both(one, truth(True)).data == one.data


@given(st.lists(st.tuples(st.floats(0, 90), st.floats(0, 9)), max_size=8), st.floats(0, 100), st.booleans())
def test_more_moments_never_make_an_opening_smaller(
    spans: list[tuple[float, float]], until: float, is_complete: bool
) -> None:
    listed = [Moment(start, start + length) for start, length in spans]
    found = moments(listed, () if is_complete else ("speech",))
    fewer = moments(listed[:-1], () if is_complete else ("speech",))
    said = f"opening(ocr, {until:.3f}s)"
    assert set(value(said, ocr=fewer).data) <= set(value(said, ocr=found).data)


def test_texts_compare_as_people_call_them_the_same() -> None:
    assert value('meta.title == "老 地方見"', meta__title=text("老地方見")).data is True
