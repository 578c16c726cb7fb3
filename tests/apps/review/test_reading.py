"""Lines on cards and signs: found in chosen frames, read once, and not where the caption is known."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest
from caption_film import line_picture
from numpy.typing import NDArray

from malan.apps.review.language.values import Moment
from malan.apps.review.measure import reading
from malan.apps.review.measure.reading import CardLine, CardReader
from malan.inference.ocr import OnnxTextReader, Picture, ReadLine

STARTS = np.arange(0, 5.0)
CARD, CAPTION = "Chapter one", "We meet again"


class Counting(OnnxTextReader):
    """Reads as ever, and counts the lines."""

    read = 0

    def recognise(self, crops: Sequence[Picture]) -> list[ReadLine]:
        self.read += len(crops)
        return super().recognise(crops)


def shown(*lines: tuple[str, int]) -> NDArray[np.uint8]:
    picture = np.full((360, 640), 50, np.uint8)
    for text, y in lines:
        line = line_picture(text, 28).mean(axis=2).astype(np.uint8)
        picture[y : y + line.shape[0], 80 : 80 + line.shape[1]] = line
    return picture


def caption(start_s: float, end_s: float, text: str = CAPTION) -> Moment:
    width = line_picture(CAPTION, 28).shape[1]
    return Moment(start_s, end_s, text, (80, 280, 80 + width, 330), 0.1, 0.1, "caption", confidence=0.95)


def read(reader: Counting, pictures: Sequence[NDArray[np.uint8]], captions: Sequence[Moment] = ()) -> list[CardLine]:
    with CardReader(reader, STARTS) as cards:
        for number, picture in enumerate(pictures):
            cards.read(number, picture, picture[::4, ::4])
        return cards.lines(captions)


def test_a_line_that_is_a_known_caption_is_not_read_again() -> None:
    reader = Counting()
    found = read(reader, [shown((CARD, 60), (CAPTION, 290))], [caption(0, 2, "as the captions say")])
    assert [line.text for line in found] == [CARD, "as the captions say"]
    assert reader.read == 1


@pytest.mark.parametrize("known", [caption(1, 2), caption(0, 2, "two\nlines")])
def test_a_caption_of_another_time_or_of_two_lines_says_nothing_of_a_line(known: Moment) -> None:
    reader = Counting()
    found = read(reader, [shown((CARD, 60), (CAPTION, 290))], [known])
    assert [line.text for line in found] == [CARD, CAPTION]
    assert reader.read == 2


def test_a_line_far_wider_than_the_caption_is_read() -> None:
    long = "We meet again, and nobody leaves"
    assert [line.text for line in read(Counting(), [shown((long, 290))], [caption(0, 2)])] == [long]


def test_looks_that_are_alike_are_read_once() -> None:
    reader = Counting()
    [line] = read(reader, [shown((CARD, 60))] * 4)
    assert (line.text, line.start_s, line.end_s) == (CARD, 0.0, 3.5)
    assert reader.read == 1


def test_what_would_take_too_much_memory_is_read_at_once_and_says_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    pictures = [shown((CARD, 60)), shown((CAPTION, 290))]
    waited = read(Counting(), pictures)
    monkeypatch.setattr(reading, "_HELD_BYTES", 0)
    assert read(Counting(), pictures) == waited
