"""Captions burned into the picture: words, places and frames held to what was drawn."""

from __future__ import annotations

import csv
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from caption_film import Burned, chinese_font, draw_captions
from media_factory import draw_film

from malan.curation.captions import Caption, CaptionReport, read_captions, to_srt
from malan.inference.ocr import OnnxTextReader, Picture, ReadLine
from malan.media.index import PacketIndex, build_index

TEXTS = (
    Burned("Where have you been?", 12, 50),
    Burned("I told you to wait here.", 50, 88),  # the picture is cut at 70
    Burned("It was raining hard\nall through the night.", 100, 140),
    Burned("Come back!", 150, 170),
    Burned("Come back!", 176, 200),
    Burned("MALAN TV", 0, 220, middle=(0.13, 0.24), size_px=24),
)
SPOKEN = TEXTS[:-1]


@pytest.fixture(scope="module")
def reader() -> OnnxTextReader:
    return OnnxTextReader()


@pytest.fixture(scope="module")
def film(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return draw_captions(tmp_path_factory.mktemp("captions") / "film.mp4", TEXTS)


@pytest.fixture(scope="module")
def index(film: Path) -> PacketIndex:
    return build_index(film)


@pytest.fixture(scope="module")
def report(film: Path, index: PacketIndex, reader: OnnxTextReader) -> CaptionReport:
    return read_captions(film, index, reader)


def spans(captions: Sequence[Caption]) -> list[tuple[str, int, int]]:
    return [(c.text, c.first_frame, c.end_frame) for c in captions]


def drawn(texts: Sequence[Burned]) -> list[tuple[str, int, int]]:
    return [(t.text, t.first, t.end) for t in texts]


def test_every_caption_is_read_with_its_exact_frames(report: CaptionReport) -> None:
    assert spans(report.captions) == drawn(SPOKEN)


def test_a_cut_under_a_caption_does_not_split_it(report: CaptionReport) -> None:
    assert [c for c in report.captions if c.first_frame < 70 < c.end_frame] == [report.captions[1]]


def test_the_same_words_after_a_gap_are_two_captions(report: CaptionReport) -> None:
    assert [c.text for c in report.captions].count("Come back!") == 2


def test_lines_of_one_caption_stand_one_above_the_other(report: CaptionReport) -> None:
    assert report.captions[2].text.split("\n") == ["It was raining hard", "all through the night."]


def test_a_watermark_is_persistent_and_no_caption(report: CaptionReport) -> None:
    assert [c.text for c in report.persistent] == ["MALAN TV"]
    assert (report.persistent[0].first_frame, report.persistent[0].end_frame) == (0, 220)


def test_every_text_is_read_about_once(report: CaptionReport) -> None:
    assert report.ocr_calls <= 1.2 * len(TEXTS) + 1


def test_every_frame_is_decoded_once(report: CaptionReport) -> None:
    assert report.frames == 220
    assert report.frames_decoded <= 1.1 * report.frames


def test_boxes_lie_around_the_text(report: CaptionReport) -> None:
    for caption in report.captions:
        x0, y0, x1, y1 = caption.box
        assert 0 <= x0 < 320 < x1 <= 640
        assert 240 < y0 < 0.85 * 360 + 20
        assert y1 <= 360


def test_the_language_is_guessed(report: CaptionReport) -> None:
    assert {c.language for c in report.captions} == {"en"}


def test_srt_carries_the_times_of_the_frames(report: CaptionReport, index: PacketIndex) -> None:
    srt = to_srt(report.captions, index)
    assert srt.startswith("1\n00:00:00,480 --> 00:00:02,000\nWhere have you been?\n\n2\n00:00:02,000 --> ")
    assert "It was raining hard\nall through the night.\n" in srt


@pytest.mark.skipif(chinese_font() is None, reason="no Chinese font on this machine")
def test_chinese_captions_are_read(tmp_path: Path, reader: OnnxTextReader) -> None:
    texts = (Burned("等等，先别走！", 10, 45), Burned("你的亲弟弟——林志远", 45, 90), Burned("谁？", 100, 125))
    film = draw_captions(tmp_path / "zh.mp4", texts, (60, 80), size=(360, 640), fill=(255, 255, 0))
    found = read_captions(film, build_index(film), reader).captions
    assert spans(found) == drawn(texts)
    assert {c.language for c in found} == {"zh"}


def test_a_fading_caption_lasts_from_its_first_to_its_last_visible_frame(
    tmp_path: Path, reader: OnnxTextReader
) -> None:
    texts = (Burned("A voice from far away", 20, 70, fade=6), Burned("and then silence", 90, 140, fade=6))
    film = draw_captions(tmp_path / "fade.mp4", texts, (80, 80))
    found = read_captions(film, build_index(film), reader).captions
    assert [c.text for c in found] == [t.text for t in texts]
    for caption, text in zip(found, texts, strict=True):
        assert abs(caption.first_frame - text.first) <= 1
        assert abs(caption.end_frame - text.end) <= 1


def test_captions_of_a_film_stored_turned_stand_upright(tmp_path: Path, reader: OnnxTextReader) -> None:
    texts = (Burned("Hold the phone upright", 10, 60),)
    stored = draw_captions(tmp_path / "stored.mp4", texts, (80,), turn=1)
    film = _marked_as_turned(stored, tmp_path / "turned.mp4")
    found = read_captions(film, build_index(film), reader).captions
    assert spans(found) == drawn(texts)
    assert found[0].box[3] <= 360


def test_a_film_without_text_says_nothing(tmp_path: Path, reader: OnnxTextReader) -> None:
    film = draw_film(tmp_path / "plain.mp4", (30, 25, 35)).path
    report = read_captions(film, build_index(film), reader)
    assert (report.captions, report.persistent) == ((), ())


def test_a_sign_that_comes_and_goes_with_its_still_shot_is_nothing(tmp_path: Path, reader: OnnxTextReader) -> None:
    sign = Burned("PEACE HOTEL", 40, 90, middle=(0.4, 0.75))
    film = draw_captions(tmp_path / "sign.mp4", (sign,), (40, 50, 40), still=True)
    report = read_captions(film, build_index(film), reader)
    assert (report.captions, report.persistent) == ((), ())


def test_a_caption_over_a_still_shot_is_read(tmp_path: Path, reader: OnnxTextReader) -> None:
    text = Burned("Nothing moves in here.", 50, 80)
    film = draw_captions(tmp_path / "still.mp4", (text,), (40, 50, 40), still=True)
    assert spans(read_captions(film, build_index(film), reader).captions) == drawn((text,))


def test_texture_a_reader_makes_words_of_is_no_caption(tmp_path: Path) -> None:
    """A reader that sees a sure word in everything must not be asked about what is no line of text."""
    film = draw_film(tmp_path / "plain.mp4", (40, 40), size=(480, 270)).path
    report = read_captions(film, build_index(film), _Dreamer())
    assert report.captions == ()


def test_progress_is_told(film: Path, index: PacketIndex) -> None:
    told: list[tuple[int, int]] = []
    read_captions(film, index, _Dreamer(), progress=lambda done, total: told.append((done, total)))
    assert told == [(0, 220), (100, 220), (200, 220)]


def test_the_vertical_episode_is_read_without_a_mistake(footage: Path, reader: OnnxTextReader) -> None:
    film = footage / "synthetic" / "vertical_s_zh_subs.mp4"
    with film.with_suffix(".captions.csv").open(encoding="utf-8") as file:
        truth = [(r["text"], int(r["first_frame"]), int(r["last_frame"]) + 1) for r in csv.DictReader(file)]
    report = read_captions(film, build_index(film), reader)
    plain = [(t.replace("\n", ""), first, end) for t, first, end in spans(report.captions)]
    assert plain == [(text.replace("/", ""), first, end) for text, first, end in truth]
    assert report.persistent == ()
    assert report.ocr_calls <= 1.2 * len(truth)


@pytest.mark.parametrize(
    "name",
    ["sam2_dog.mp4", "sam2_juggle.mp4", "gopro_max_heromode.mp4", "asl/book.mkv", "intel_bottle_detection.mp4"],
)
def test_footage_without_text_says_nothing(footage: Path, reader: OnnxTextReader, name: str) -> None:
    film = footage / "video" / name
    report = read_captions(film, build_index(film), reader)
    assert (report.captions, report.persistent) == ((), ())


class _Dreamer:
    """Reads the same word everywhere, and is sure of it."""

    def recognise(self, crops: Sequence[Picture]) -> list[ReadLine]:
        return [ReadLine("DREAM", 0.99) for _ in crops]

    def detect(self, picture: Picture) -> list[tuple[int, int, int, int]]:
        return [(0, 0, picture.shape[1], picture.shape[0])]


def _marked_as_turned(source: Path, target: Path) -> Path:
    """The same film with a display matrix that turns it back by a quarter (ISO/IEC 14496-12, 8.3.2)."""
    data = bytearray(source.read_bytes())
    matrix = np.array([0x10000, 0, 0, 0, 0x10000, 0, 0, 0, 0x40000000], ">i4").tobytes()
    turned = np.array([0, 0x10000, 0, -0x10000, 0, 0, 0, 0, 0x40000000], ">i4").tobytes()
    place = data.index(matrix, data.index(b"tkhd"))
    data[place : place + len(matrix)] = turned
    target.write_bytes(data)
    return target
