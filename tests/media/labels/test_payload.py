"""What a label may say: seven texts, a strict alphabet, a provider's code that is looked at but not refused."""

from __future__ import annotations

import json
import string
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from label_files import CARRIERS, PRODUCER

from malan.core.errors import UsageError
from malan.media.labels import KEYS, Label, parse, strongest, verify, write_label
from malan.media.labels.provider_code import is_credit_code, is_placeholder, provider_trouble

ALLOWED = "".join(c for c in map(chr, range(0x21, 0x7F)) if c != "\\")
texts = st.text(ALLOWED, max_size=60)
named = st.text(ALLOWED, min_size=1, max_size=60).filter(lambda text: not is_placeholder(text))
labels = st.builds(Label, st.sampled_from("123"), named, st.text(ALLOWED, min_size=1, max_size=60), *[texts] * 4)


def codes(text: str) -> list[str]:
    return [reason.code for reason in parse(text).reasons]


def test_the_text_has_the_seven_keys_in_order_and_nothing_else(label: Label) -> None:
    text = label.to_json()
    assert list(json.loads(text)) == list(KEYS)
    assert all(isinstance(value, str) for value in json.loads(text).values())
    assert " " not in text
    assert text.isascii()


def test_who_writes_first_also_spreads(label: Label) -> None:
    assert (label.content_propagator, label.propagate_id) == (label.content_producer, label.produce_id)


@given(labels)
def test_a_legal_label_reads_back_as_it_was(label: Label) -> None:
    label.check()
    parsed = parse(label.to_json())
    assert parsed.said == label.to_fields()
    assert not [reason for reason in parsed.reasons if reason.is_fatal]


@given(label=labels, name=st.sampled_from(CARRIERS))
@example(label=Label("1", "a", "b", '{"Sig":"x&y<z>]]>\'"}', "&quot;&amp;", "-->", "%"), name="png")
@example(label=Label("1", "a", "b", "", "]]>", "<!--", "&lt;"), name="jpeg")
@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_any_legal_label_can_be_written_and_is_compliant(
    label: Label, name: str, file: Callable[[str], Path], tmp_path: Path
) -> None:
    out = tmp_path / file(name).name
    write_label(file(name), out, label)
    assert (verify(out).verdict, verify(out).label) == ("compliant", label.to_fields())


@given(st.characters(), st.sampled_from(["content_producer", "produce_id", "reserved_code1", "propagate_id"]))
@example("\\", "reserved_code1")
@example(" ", "produce_id")
@example("\x7f", "produce_id")
def test_a_character_outside_the_alphabet_is_refused(character: str, name: str) -> None:
    label = Label(**{"label": "1", "content_producer": "P", "produce_id": "I", name: f"a{character}"})
    if character in ALLOWED:
        label.check()
        return
    with pytest.raises(UsageError) as caught:
        label.check()
    assert caught.value.code == "label.character"


@pytest.mark.parametrize(
    ("change", "code"),
    [
        ({"Label": 1}, "label.not_text"),
        ({"Label": ""}, "label.empty"),
        ({"ContentProducer": ""}, "label.empty"),
        ({"ReservedCode1": None}, "label.not_text"),
        ({"ProduceId": "x"}, "label.key_unknown"),
    ],
)
def test_each_broken_rule_has_its_reason(change: dict[str, object], code: str, label: Label) -> None:
    assert code in codes(json.dumps({**label.to_fields(), **change}))


def test_a_missing_key_is_named(label: Label) -> None:
    said = label.to_fields()
    del said["ReservedCode2"]
    (reason,) = parse(json.dumps(said)).reasons
    assert (reason.code, reason.values) == ("label.key_missing", {"key": "ReservedCode2"})


def test_a_key_that_stands_twice_is_a_fault(label: Label) -> None:
    assert "label.key_twice" in codes(label.to_json()[:-1] + ',"Label":"1"}')


@pytest.mark.parametrize("text", ["", "null", "[]", '"AIGC"', "{}", "{" * 5000, "1" * 9000, '{"AIGC":{"AIGC":{}}}'])
def test_what_is_no_label_is_never_legal(text: str) -> None:
    assert any(reason.is_fatal for reason in parse(text).reasons)


def test_a_very_long_label_is_not_even_parsed(label: Label) -> None:
    assert codes(label.to_json() + " " * 20_000) == ["label.too_long"]


def test_an_escape_other_than_the_quote_is_a_fault(label: Label) -> None:
    assert codes(label.to_json().replace('"019a', '"\\u0030' + "19a")) == ["label.escape"]


def test_another_order_of_keys_is_only_noted(label: Label) -> None:
    (reason,) = parse(json.dumps(dict(reversed(label.to_fields().items())))).reasons
    assert (reason.code, reason.is_fatal) == ("label.key_order", False)


# Provider's codes


@pytest.mark.parametrize("code", [PRODUCER, "001191110102MACQD9K64010000"])
def test_codes_seen_in_the_wild_are_right(code: str) -> None:
    assert provider_trouble(code) is None


def test_every_wrong_character_of_a_credit_code_is_noticed() -> None:
    code = PRODUCER[4:22]
    for at in range(18):
        for character in set("0123456789ABCDEFGHJKLMNPQRTUWXY") - {code[at]}:
            assert not is_credit_code(code[:at] + character + code[at + 1 :])


@pytest.mark.parametrize(
    ("code", "trouble"),
    [
        ("Minimax-Agent-AI", "label.provider_form"),
        (PRODUCER[:-1], "label.provider_form"),
        (PRODUCER[:10] + "9" + PRODUCER[11:], "label.provider_check"),
        (PRODUCER[:22] + "3" + PRODUCER[23:], "label.provider_service"),
    ],
)
def test_an_odd_code_is_noted_and_not_refused(code: str, trouble: str) -> None:
    label = Label.first(code, "x")
    label.check()
    assert {(r.code, r.is_fatal) for r in parse(label.to_json()).reasons} == {(trouble, False)}


@pytest.mark.parametrize(
    "code", ["0011" + "0" * 18 + "10000", "PLACEHOLDER", "example-code", "xxxxxxxx", "TODO", "test"]
)
def test_a_placeholder_is_refused(code: str) -> None:
    with pytest.raises(UsageError) as caught:
        Label.first(code, "x").check()
    assert caught.value.code == "label.placeholder"


def test_the_surest_statement_wins_and_of_equals_the_first() -> None:
    may, first, second = (Label.first("P", str(i), label=s) for i, s in enumerate("211"))
    assert strongest([may, first, second]) is first


def test_the_alphabet_is_that_of_the_standard() -> None:
    assert set(string.printable) - set(string.whitespace) - {"\\"} == set(ALLOWED)
