"""Captions can be read in their time, come and go with cut and voice, and say what was written."""

from __future__ import annotations

import wave
from fractions import Fraction
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest

from malan.apps.promo.board import Shot, Storyboard
from malan.apps.promo.captions import Line, at_cuts, captions_of, cards_of, sentences, srt, time_script
from malan.apps.promo.listening import spoken_stretches
from malan.core.errors import UsageError


def board_of(*frames: int, **said: object) -> Storyboard:
    shots = tuple(Shot(clip=f"{number:064x}", from_s=0, frames=count) for number, count in enumerate(frames))
    return Storyboard.model_validate({"shots": shots, "rate": 25, **said})


def voice_of(path: Path, spoken: tuple[tuple[float, float], ...], length_s: float) -> str:
    """A recording that sounds in some stretches."""
    times = np.arange(int(16_000 * length_s)) / 16_000
    heard = np.zeros(len(times))
    for start, end in spoken:
        heard[(times >= start) & (times < end)] = 0.4
    sound = heard * np.sin(2 * np.pi * 300 * times)
    with wave.open(str(path), "wb") as out:
        out.setnchannels(1)
        out.setsampwidth(2)
        out.setframerate(16_000)
        out.writeframes((sound * 32767).astype("<i2").tobytes())
    return str(path)


def test_a_script_is_shared_out_and_never_overlaps():
    lines, speed = time_script("第一句。第二句要长一些，也更慢。\n第三句！", Fraction(2), Fraction(14), "zh")
    assert [line.text for line in lines] == ["第一句", "第二句要长一些，也更慢", "第三句！"]
    assert lines[0].begin == 2
    assert all(a.end <= b.begin for a, b in pairwise(lines))
    assert lines[-1].end <= 14
    assert speed < 1


@pytest.mark.parametrize(
    ("text", "language", "said"),
    [
        ("Morning breaks. A rabbit wakes.", "en", ["Morning breaks.", "A rabbit wakes."]),
        ("Dr. Wu paid 3.5 yuan at malan.cn today.", "en", ["Dr. Wu paid 3.5 yuan at malan.cn today."]),
        ("真的吗？！他说：“走。”于是走了。", "zh", ["真的吗？！", "他说：“走。”于是走了"]),
        ("……", "zh", []),
        ("一句\n\n两句", "zh", ["一句", "两句"]),
    ],
)
def test_a_caption_is_a_sentence(text, language, said):
    assert sentences(text, language) == said


def test_a_sentence_too_long_for_two_lines_is_shown_in_parts():
    long = "从清晨的第一缕阳光到深夜的最后一盏灯，他们用双手记录这座城市每一天的变化与每一个人的故事。"
    parts = sentences(long, "zh")
    assert len(parts) == 2
    assert "".join(parts) == long.replace("，", "").rstrip("。")


def test_a_script_that_nobody_can_read_in_the_time_is_refused():
    with pytest.raises(UsageError) as refused:
        captions_of(board_of(125), "这是一段非常长的文案。" * 20)
    assert refused.value.code == "promo.script_too_long"


def test_captions_change_with_a_cut_that_is_near():
    cuts = [Fraction(0), Fraction(4), Fraction(8)]
    lines = [Line("一", Fraction(3, 10), Fraction(38, 10)), Line("二", Fraction(38, 10), Fraction(79, 10))]
    held = at_cuts(lines, cuts, Fraction(1, 2))
    assert [(one.begin, one.end) for one in held] == [(0, 4), (4, 8)]


def test_a_caption_is_never_shortened_below_reading():
    held = at_cuts(
        [Line("一", Fraction(37, 10), Fraction(45, 10))], [Fraction(0), Fraction(4), Fraction(8)], Fraction(1, 2)
    )
    assert held[0].end - held[0].begin >= Fraction(8, 10)


def test_captions_stand_while_the_voice_says_them(tmp_path):
    voice = voice_of(tmp_path / "voice.wav", ((1.0, 3.0), (4.0, 6.0)), 7.0)
    assert [tuple(round(at, 1) for at in one) for one in spoken_stretches(voice)] == [(1.0, 3.0), (4.0, 6.0)]
    lines = captions_of(board_of(200, voice=voice), "第一句话。第二句话。")
    assert [round(float(at), 1) for one in lines for at in (one.begin, one.end)] == [1.0, 3.0, 4.0, 6.0]


def test_a_voice_longer_than_the_film_is_refused_before_rendering(tmp_path):
    voice = voice_of(tmp_path / "voice.wav", ((0.2, 9.0),), 9.5)
    with pytest.raises(UsageError) as refused:
        captions_of(board_of(125, voice=voice), "")
    assert refused.value.code == "promo.voice_too_long"
    assert refused.value.values["voice"] == "9.0"


def test_an_end_card_comes_with_the_last_cut():
    title, ending = cards_of(board_of(100, 100, 50, title="题", ending="完"))
    assert (ending.begin, ending.end) == (8, 10)
    assert title.end < ending.begin


def test_cards_of_the_shortest_film_do_not_meet():
    title, ending = cards_of(board_of(75, title="题", ending="完"))
    assert title.end <= ending.begin


def test_what_a_shot_says_stays_while_the_picture_changes():
    shots = [Shot(clip="0" * 64, from_s=0, frames=25, text=text) for text in ("甲", "甲", "", "乙")]
    lines = captions_of(Storyboard(shots=tuple(shots)), "script")
    assert [(one.text, one.begin, one.end) for one in lines] == [("甲", 0, 2), ("乙", 3, 4)]


def test_subtitles_are_numbered_timed_and_never_hold_an_empty_line():
    told = srt([Line("你好", Fraction(1), Fraction(5, 2)), Line("再\n\n见", Fraction(3), Fraction(4))])
    assert told.startswith("1\n00:00:01,000 --> 00:00:02,500\n你好\n\n2\n")
    assert told.count("\n\n") == 1
