"""What is written fits the picture, breaks where the language allows, and stays long enough to be read."""

from __future__ import annotations

from fractions import Fraction
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from malan.apps.promo.writing import Line, break_lines, clock, escape, fitting, srt, time_script, width_of, write_script
from malan.media.render import Format

WIDE, TALL = Format("16x9", 1920, 1080), Format("9x16", 1080, 1920)
TEXTS = st.text(alphabet="云雾缭绕的张家界，。！（）《》AI word 12 -", max_size=120)


@given(TEXTS, st.floats(4, 30))
@settings(max_examples=300, deadline=None)
def test_lines_fit_and_nothing_is_lost(text, most):
    lines = break_lines(text, most)
    assert "".join("".join(lines).split()) == "".join(text.split())
    for line in lines:
        assert width_of(line) <= most + 2.1  # a mark may hang at the end: it must not begin the next line


@given(TEXTS)
@settings(max_examples=200, deadline=None)
def test_no_mark_begins_a_line(text):
    for line in break_lines("云" + text, 8)[1:]:
        assert line[:1] not in "，。！）》"


def test_lines_are_even_and_break_after_marks():
    assert break_lines("云雾缭绕的山间，兔子醒来了。", 8) == ["云雾缭绕的山间，", "兔子醒来了。"]
    assert break_lines("马栏：让素材活起来", 20) == ["马栏：让素材活起来"]


def test_latin_words_stay_whole():
    assert all(
        "understanding" in line or "under" not in line for line in break_lines("关于 understanding 的一切都在这里", 9)
    )


def test_an_override_in_a_text_is_only_text():
    script = write_script([Line(r"{\pos(0,0)}hello\Nworld", Fraction(0), Fraction(2))], WIDE, "en")
    event = script.splitlines()[-1]
    assert event.count("{") == 1  # our fade alone
    assert escape("a\nb{") == "a b｛"


def test_every_format_has_a_script_of_its_own_size():
    for form in (WIDE, TALL):
        script = write_script([Line("标题", Fraction(0), Fraction(2), "Title")], form, "zh")
        assert f"PlayResX: {form.width}" in script
        assert "Noto Sans CJK SC" in script


def test_fewer_characters_fit_a_narrow_picture():
    assert fitting(TALL, 0.06) < fitting(WIDE, 0.06)


def test_a_script_is_shared_out_and_never_overlaps():
    lines, speed = time_script("第一句。第二句要长一些，也更慢。\n第三句！", Fraction(2), Fraction(14), "zh")
    assert [line.text for line in lines] == ["第一句。", "第二句要长一些，也更慢。", "第三句！"]
    assert lines[0].begin == 2
    assert all(a.end <= b.begin for a, b in pairwise(lines))
    assert lines[-1].end <= 14
    assert speed < 1


def test_a_script_that_nobody_can_read_in_the_time_says_so():
    _, speed = time_script("这是一段非常长的文案。" * 20, Fraction(0), Fraction(5), "zh")
    assert speed > 4


@pytest.mark.parametrize(("seconds", "text"), [(Fraction(0), "0:00:00.00"), (Fraction(3725, 2), "0:31:02.50")])
def test_times_are_written_to_the_hundredth(seconds, text):
    assert clock(seconds) == text


def test_subtitles_are_numbered_and_timed():
    told = srt([Line("你好", Fraction(1), Fraction(5, 2)), Line("再见", Fraction(3), Fraction(4))])
    assert told.startswith("1\n00:00:01,000 --> 00:00:02,500\n你好\n\n2\n")
