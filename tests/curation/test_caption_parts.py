"""The parts captions are read with: strokes, fades, tidy text, and what is told from what."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from caption_film import line_picture

from malan.curation.captions.judge import Scene, judge
from malan.curation.captions.read import Line, Reading, language, tidy
from malan.curation.captions.sighting import Pattern, end_frame, first_frame
from malan.curation.captions.strokes import Marks, blocks, lines

SCENE = Scene(1280, 720, 25.0)


def marked(*boxes: tuple[int, int, int, int], size: tuple[int, int] = (360, 640)) -> np.ndarray:
    """Marks like those of text in each box: every third column."""
    marks = np.zeros(size, np.bool_)
    for x0, y0, x1, y1 in boxes:
        marks[y0:y1, x0:x1:3] = True
    return marks


def test_two_lines_close_together_are_one_block() -> None:
    assert len(blocks(marked((200, 280, 440, 304), (240, 310, 400, 334)))) == 1


def test_texts_far_apart_are_two_blocks() -> None:
    assert len(blocks(marked((200, 300, 440, 324), (20, 20, 120, 40)))) == 2


def test_marks_everywhere_are_no_text() -> None:
    assert blocks(marked((0, 0, 640, 360))) == []


def test_a_few_specks_are_no_text() -> None:
    assert blocks(marked((100, 100, 104, 102))) == []


def test_a_block_is_split_into_its_lines() -> None:
    found = lines(marked((200, 280, 440, 304), (240, 310, 400, 334)))
    assert [(y0, y1) for _, y0, _, y1 in found] == [(280, 304), (310, 334)]


def test_the_strokes_of_one_character_are_one_line() -> None:
    """三 is three bars with nothing between them."""
    found = lines(marked((300, 300, 324, 303), (302, 310, 322, 313), (299, 320, 325, 324)))
    assert [(y0, y1) for _, y0, _, y1 in found] == [(300, 324)]


@pytest.mark.parametrize("ground", [30, 120])
def test_a_pattern_knows_its_text_again_on_another_ground(ground: int) -> None:
    text = line_picture("Here I am").mean(axis=2).astype(np.uint8)
    pattern = Pattern((0, 0, text.shape[1], text.shape[0]), text, Marks.of(0, text, None).edges)
    other = np.maximum(text, np.uint8(ground))
    assert pattern.presence(other).is_there
    assert not pattern.presence(np.full_like(text, ground)).is_there


def test_a_hard_start_is_the_first_frame_that_holds_the_text() -> None:
    assert first_frame([0.02, 0.01, 0.03, 1.0, 1.0, 0.99], [False] * 3 + [True] * 3) == 3


def test_a_fade_starts_where_its_line_meets_nothing() -> None:
    strengths = [0.0, 0.0, 0.0, 0.17, 0.33, 0.5, 0.67, 0.83, 1.0, 1.0]
    assert first_frame(strengths, [s > 0.5 for s in strengths]) == 3


def test_an_end_is_a_start_seen_backwards() -> None:
    assert end_frame([1.0, 1.0, 0.98, 0.02, 0.0], [True] * 3 + [False] * 2) == 3


@pytest.mark.parametrize(
    ("read", "shown"),
    [
        ("等等,先别走!", "等等，先别走！"),
        ("他到底是谁?", "他到底是谁？"),
        ("9月18日，晚上8:30", "9月18日，晚上8:30"),
        ("你的亲弟弟—林志远", "你的亲弟弟——林志远"),
        ("不是…我没有", "不是……我没有"),
        ("好， 走吧", "好，走吧"),
        ("OK, let's go!", "OK, let's go!"),
        ("A计划 失败了", "A计划 失败了"),
    ],
)
def test_text_is_written_as_it_is_displayed(read: str, shown: str) -> None:
    assert tidy(read) == shown


@pytest.mark.parametrize(
    ("text", "expected"),
    [("你好", "zh"), ("Good day", "en"), ("你好\nGood day", "zh+en"), ("KTV里见", "zh"), ("13:30", "")],
)
def test_the_language_follows_the_characters(text: str, expected: str) -> None:
    assert language(text) == expected


def reading(text: str, first: int, end: int, *, top: int = 640, confidence: float = 0.99, **more: Any) -> Reading:
    """A line of text, centred at a height of a 720-line picture."""
    width = 36 * len(text)
    sighting = SimpleNamespace(
        first=first,
        end=end,
        is_overlay=more.get("is_overlay", True),
        pattern=SimpleNamespace(may_hide=more.get("may_hide", False)),
    )
    box = (640 - width // 2, top, 640 + width // 2, top + 36)
    return Reading(sighting, (Line(text, confidence, box),), confidence)  # type: ignore[arg-type]


SPEECH = [reading("你终于来了", 10, 60), reading("等等先别走", 70, 120), reading("三年前的事", 130, 180)]


def texts(readings: list[Reading]) -> list[str]:
    return [text.text for text in judge(readings, SCENE).captions]


def test_captions_are_told_in_their_order() -> None:
    assert texts(SPEECH[::-1]) == ["你终于来了", "等等先别走", "三年前的事"]


def test_a_text_that_stays_while_others_pass_is_persistent() -> None:
    judged = judge([*SPEECH, reading("马栏剧场", 0, 200, top=40)], SCENE)
    assert [text.text for text in judged.persistent] == ["马栏剧场"]
    assert len(judged.captions) == 3


def test_a_sign_in_a_still_shot_is_nothing() -> None:
    judged = judge([*SPEECH, reading("平安旅馆", 0, 130, top=300, is_overlay=False)], SCENE)
    assert len(judged.captions) == 3
    assert judged.persistent == ()


def test_a_doubtful_line_counts_only_where_captions_stand() -> None:
    assert "谁" in texts([*SPEECH, reading("谁", 190, 210, confidence=0.8)])
    assert "谁" not in texts([*SPEECH, reading("谁", 190, 210, top=300, confidence=0.8)])


def test_equal_texts_torn_by_one_frame_are_one_and_by_ten_are_two() -> None:
    assert texts([reading("你好吗朋友", 10, 40), reading("你好吗朋友", 41, 80)]) == ["你好吗朋友"]
    assert texts([reading("你好吗朋友", 10, 40), reading("你好吗朋友", 50, 80)]) == ["你好吗朋友"] * 2


def test_lines_that_come_together_are_one_text() -> None:
    assert texts([reading("我们还能", 10, 60, top=600), reading("回到从前吗", 10, 61, top=648)]) == [
        "我们还能\n回到从前吗"
    ]


def test_part_of_a_text_is_not_told_again() -> None:
    assert texts([reading("你就是我的妻子", 10, 90), reading("我的妻子", 30, 90)]) == ["你就是我的妻子"]
