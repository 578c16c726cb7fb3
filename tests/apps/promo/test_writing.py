"""What is written fits the picture and stays inside what platforms leave free; texts are never commands."""

from __future__ import annotations

import re
from fractions import Fraction

import pytest

from malan.apps.promo.breaking import width_of
from malan.apps.promo.captions import Line
from malan.apps.promo.fonts import line_height
from malan.apps.promo.writing import SANS, clock, escape, fitted, place_of, size_px, spacing_of, write_script
from malan.media.render import Format

WIDE, TALL, SQUARE = Format("16x9", 1920, 1080), Format("9x16", 1080, 1920), Format("1x1", 1080, 1080)


def script_of(
    text: str, style: str = "Caption", form: Format = WIDE, language: str = "zh", film: str = "lively"
) -> str:
    return write_script([Line(text, Fraction(0), Fraction(2), style)], form, film)


def events(script: str) -> list[str]:
    return [line for line in script.splitlines() if line.startswith("Dialogue:")]


@pytest.mark.parametrize("style", ["Caption", "Title", "Ending"])
def test_an_override_in_a_text_is_only_text(style):
    for event in events(script_of(r"{\pos(0,0)}hello\Nworld <b>", style)):
        assert event.count("{") == 1  # ours alone
        assert r"\pos(0,0)}hello" not in event
    assert escape("a\nb{") == "a b｛"


def test_every_format_has_a_script_of_its_own_size():
    for form in (WIDE, TALL):
        script = script_of("标题", "Title", form)
        assert f"PlayResX: {form.width}" in script
        assert SANS in script


@pytest.mark.parametrize("form", [WIDE, TALL, SQUARE])
@pytest.mark.parametrize("style", ["Caption", "Title", "Ending"])
@pytest.mark.parametrize("text", ["云", "大兔子邦尼与辛特尔", "很长的片名" * 12, "W" * 60, "𠮷" * 60, "👨‍👩‍👧‍👦" * 7])
def test_whatever_is_written_stays_inside_the_safe_area(form, style, text):
    lines, share = fitted(text, style, form)
    size = size_px(style, form) * share
    assert max(width_of(line) for line in lines) * size <= form.width * (1 - 2 * place_of(form).side) + 2.1 * size
    assert len(lines) * 1.45 * size < form.height * 0.62


def test_a_title_gets_smaller_before_it_takes_a_second_line():
    assert len(fitted("大兔子邦尼与辛特尔", "Title", SQUARE)[0]) == 1
    assert fitted("大兔子邦尼与辛特尔", "Title", SQUARE)[1] < 1


def test_captions_of_an_upright_film_stand_above_what_apps_lay_over_it():
    style = next(line for line in script_of("字幕", form=TALL).splitlines() if line.startswith("Style: Caption"))
    assert int(style.split(",")[-2]) >= 0.2 * TALL.height


def test_letters_are_as_high_as_is_said_whatever_the_font_reserves():
    style = next(line for line in script_of("字幕").splitlines() if line.startswith("Style: Caption"))
    assert float(style.split(",")[2]) == pytest.approx(size_px("Caption", WIDE) * line_height(SANS), abs=0.1)
    assert 1.0 <= line_height(SANS) <= 2.0
    assert line_height("No Such Font Anywhere") > 0.8


def test_an_end_card_stands_to_the_last_frame():
    fades = re.findall(r"\\fad\((\d+),(\d+)\)", script_of("敬请期待", "Ending"))
    assert {end for _, end in fades} == {"0"}


def test_titles_of_calm_films_have_serifs():
    assert "Style: Title,Noto Serif CJK SC" in script_of("山水", "Title", film="calm")
    assert "Style: Title,Noto Sans CJK SC" in script_of("山水", "Title", film="lively")


def test_nothing_is_drawn_for_an_empty_text():
    assert not events(script_of("  "))


@pytest.mark.parametrize(("seconds", "text"), [(Fraction(0), "0:00:00.00"), (Fraction(3725, 2), "0:31:02.50")])
def test_times_are_written_to_the_hundredth(seconds, text):
    assert clock(seconds) == text


def test_letters_that_join_are_not_set_apart():
    assert spacing_of("马栏", "Title") > spacing_of("Big Buck Bunny", "Title") > spacing_of("马栏 مرحبا", "Title") == 0
