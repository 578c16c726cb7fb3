"""Reading lines of text with the weights of the RapidOCR wheel."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from caption_film import chinese_font, line_picture

from malan.core.errors import MissingExtra
from malan.inference.ocr import OnnxTextReader, TextReader


@pytest.fixture(scope="module")
def reader() -> OnnxTextReader:
    return OnnxTextReader()


def test_a_line_is_read_letter_by_letter(reader: OnnxTextReader) -> None:
    said = reader.recognise([line_picture("Call me at 9:30, please!")])[0]
    assert said.text == "Call me at 9:30, please!"
    assert said.confidence > 0.9


def test_answers_keep_the_order_of_the_pictures(reader: OnnxTextReader) -> None:
    words = ["One", "a much longer line of text", "Two", "somewhat longer", "Three"]
    assert [line.text for line in reader.recognise([line_picture(word) for word in words])] == words


@pytest.mark.skipif(chinese_font() is None, reason="no Chinese font on this machine")
def test_chinese_is_read(reader: OnnxTextReader) -> None:
    assert reader.recognise([line_picture("公司账户少了860万元")])[0].text == "公司账户少了860万元"


def test_grey_and_colour_pictures_say_the_same(reader: OnnxTextReader) -> None:
    picture = line_picture("The same words")
    grey = picture.mean(axis=2).astype(np.uint8)
    said = reader.recognise([picture, grey])
    assert said[0].text == said[1].text == "The same words"


def test_an_empty_picture_says_nothing(reader: OnnxTextReader) -> None:
    assert reader.recognise([np.full((40, 200), 90, np.uint8)])[0].text == ""


def test_nothing_to_read_is_no_error(reader: OnnxTextReader) -> None:
    assert reader.recognise([]) == []


def test_lines_are_found_in_a_picture(reader: OnnxTextReader) -> None:
    picture = np.full((360, 640, 3), 50, np.uint8)
    places = [(60, 40), (200, 250)]
    lines = [line_picture("First line here", 28), line_picture("and a second one", 28)]
    for (x, y), line in zip(places, lines, strict=True):
        picture[y : y + line.shape[0], x : x + line.shape[1]] = line
    boxes = reader.detect(picture)
    assert len(boxes) == 2
    for (x0, y0, x1, y1), (x, y), line in zip(boxes, places, lines, strict=True):
        assert x0 <= x + 12 < x + line.shape[1] - 12 <= x1
        assert y0 <= y + 12 < y + line.shape[0] - 12 <= y1


def test_a_picture_without_text_has_no_lines(reader: OnnxTextReader) -> None:
    assert reader.detect(np.full((180, 320), 128, np.uint8)) == []


def test_the_adapter_is_a_text_reader() -> None:
    assert isinstance(OnnxTextReader(), TextReader)


def test_missing_weights_are_named(tmp_path: Path) -> None:
    with pytest.raises(MissingExtra, match="rec") as caught:
        OnnxTextReader(tmp_path).recognise([np.zeros((40, 80), np.uint8)])
    assert caught.value.code == "ocr.no_weights"


def test_importing_the_adapter_loads_no_heavy_library() -> None:
    code = "import sys, malan.inference.ocr; print([m for m in ('onnxruntime', 'rapidocr', 'cv2') if m in sys.modules])"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "[]\n"
