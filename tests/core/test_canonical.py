"""Signed JSON has one spelling: the library of RFC 8785 agrees, and everything ambiguous is refused."""

import json
import unicodedata

import pytest
import rfc8785
from hypothesis import given
from hypothesis import strategies as st

from malan.core.canonical import canonical_json, read_canonical
from malan.core.errors import ProofError

texts = st.text(st.characters(exclude_categories=["Cs"])).map(lambda text: unicodedata.normalize("NFC", text))
scalars = st.none() | st.booleans() | st.integers(-(2**53) + 1, 2**53 - 1) | texts
values = st.recursive(
    scalars, lambda held: st.lists(held, max_size=4) | st.dictionaries(texts, held, max_size=4), max_leaves=20
)


@given(values)
def test_the_spelling_is_that_of_rfc_8785(value):
    assert canonical_json(value) == rfc8785.dumps(value)


@given(values)
def test_reading_gives_back_what_was_written(value):
    assert read_canonical(canonical_json(value)) == value


def test_keys_are_sorted_by_utf_16_and_not_by_code_point():
    assert canonical_json({"\uff61": 1, "\U0001f600": 2}) == '{"\U0001f600":2,"\uff61":1}'.encode()


@pytest.mark.parametrize(
    ("value", "code"),
    [
        ({"a": 1.0}, "canonical.type"),
        ({"a": 2**53}, "canonical.integer"),
        ({"a": "e\u0301"}, "canonical.nfc"),
        ({"e\u0301": 1}, "canonical.nfc"),
        ({"a": "\ud800"}, "canonical.surrogate"),
        ({1: 2}, "canonical.type"),
        ({"a": b"x"}, "canonical.type"),
        ({"a": {1, 2}}, "canonical.type"),
    ],
)
def test_what_has_no_single_spelling_is_not_written(value, code):
    with pytest.raises(ProofError) as caught:
        canonical_json(value)
    assert caught.value.code == code


def test_nesting_without_end_is_refused():
    value: list = []
    for _ in range(40):
        value = [value]
    with pytest.raises(ProofError, match="deeper"):
        canonical_json(value)


@pytest.mark.parametrize(
    ("data", "code"),
    [
        (b'{"a":1,"a":2}', "canonical.key_twice"),
        (b'{"a":1.5}', "canonical.float"),
        (b'{"a":1e3}', "canonical.float"),
        (b'{"a":NaN}', "canonical.float"),
        (b'{"a": 1}', "canonical.spelling"),
        (b'{"b":1,"a":2}', "canonical.spelling"),
        (b'{"a":"\\u0041"}', "canonical.spelling"),
        (b'{"a":-0}', "canonical.spelling"),
        (b"\xff", "canonical.not_json"),
        (b"", "canonical.not_json"),
        (b"[" * 100_000, "canonical.not_json"),
        (json.dumps({"a": "e\u0301"}, ensure_ascii=False).encode(), "canonical.nfc"),
    ],
)
def test_another_spelling_is_not_read(data, code):
    with pytest.raises(ProofError) as caught:
        read_canonical(data)
    assert caught.value.code == code
