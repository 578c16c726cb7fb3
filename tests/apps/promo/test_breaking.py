"""Lines fit, break where a reader would stop, and lose nothing."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from malan.apps.promo.breaking import break_lines, width_of

TEXTS = st.text(alphabet="云雾缭绕的张家界，。！（）《》AI word 12 -", max_size=120)


@given(TEXTS, st.floats(4, 30))
@settings(max_examples=200, deadline=None)
def test_lines_fit_and_nothing_is_lost(text, most):
    lines = break_lines(text, most)
    assert "".join("".join(lines).split()) == "".join(text.split())
    for line in lines:
        assert width_of(line) <= most + 2.1  # a mark may hang at the end: it must not begin the next line


@given(TEXTS)
@settings(max_examples=150, deadline=None)
def test_no_mark_begins_a_line(text):
    for line in break_lines("云" + text, 8)[1:]:
        assert line[:1] not in "，。！）》" or set(line) <= set("，。！）》 ")


def test_lines_are_even_and_break_after_marks():
    assert break_lines("云雾缭绕的山间，兔子醒来了。", 8) == ["云雾缭绕的山间，", "兔子醒来了。"]
    assert break_lines("马栏：让素材活起来", 20) == ["马栏：让素材活起来"]


@pytest.mark.parametrize(
    ("text", "most", "lines"),
    [
        ("这个夏天，和我们一起走进动画的世界", 13, ["这个夏天，和我们", "一起走进动画的世界"]),
        ("马栏影业 敬请期待", 6, ["马栏影业", "敬请期待"]),
        ("Morning breaks over the meadow", 10, ["Morning breaks", "over the meadow"]),
    ],
)
def test_no_word_is_broken(text, most, lines):
    assert break_lines(text, most) == lines


def test_an_opening_bracket_stays_with_what_it_opens():
    assert not any(line.endswith("《") for line in break_lines("纪录片《Planet》与《蓝色星球》", 6))


def test_latin_words_stay_whole():
    assert all(
        "understanding" in line or "under" not in line for line in break_lines("关于 understanding 的一切都在这里", 9)
    )


@pytest.mark.parametrize("text", ["👨‍👩‍👧‍👦" * 6, "e\u0301" * 40, "مرحبا بالعالم " * 4, "𠮷野家" * 8, "🇨🇳🎬" * 9])
def test_what_belongs_together_is_never_torn(text):
    lines = break_lines(text, 6)
    assert "".join("".join(lines).split()) == "".join(text.split())
    assert not any(line[:1] in "\u200d\u0301\ufe0f" for line in lines)


def test_capitals_are_wider_than_small_letters():
    assert width_of("BIG BUCK BUNNY") > width_of("big buck bunny") > width_of("illicit") > width_of("\u0301") == 0
