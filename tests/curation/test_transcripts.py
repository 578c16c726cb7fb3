"""Speech becomes lines as they would stand under the picture."""

from __future__ import annotations

import re
from fractions import Fraction
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from malan.core import Track
from malan.core.ids import digest_bytes
from malan.curation.transcripts import LONGEST_S, Line, findings_of, lines_of, stretches_of, to_srt
from malan.inference.backends import Transcript, Word

TRACK = Track(1, "audio", "aac", Fraction(1, 48_000), 0, 480_000, sample_rate_hz=48_000, channels=2)


def said(text: str, *, each_s: float = 0.25, gaps: dict[int, float] | None = None) -> Transcript:
    """Words (or Chinese characters) at an even pace, with longer gaps before some."""
    parts = re.findall(r"[\u4e00-\u9fff][，。！？]*|[^\s\u4e00-\u9fff]+", text)
    words, at = [], 0.0
    for number, part in enumerate(parts):
        at += (gaps or {}).get(number, 0.0)
        words.append(Word(part, at, at + each_s, 0.9))
        at += each_s
    return Transcript(text, tuple(words), "zh")


def test_neighbours_are_heard_together_and_strangers_apart() -> None:
    found = stretches_of([(1.0, 2.0), (2.4, 3.0), (10.0, 11.0)], end_s=60)
    assert found == [pytest.approx((0.85, 3.15)), pytest.approx((9.85, 11.15))]


def test_what_is_heard_together_is_not_too_long() -> None:
    segments = [(second, second + 0.9) for second in range(120)]
    found = stretches_of([(float(a), float(b)) for a, b in segments], end_s=121)
    assert all(end - begin <= LONGEST_S + 0.1 for begin, end in found)
    assert len(found) >= 5


@given(st.lists(st.tuples(st.floats(0, 500), st.floats(0.05, 40)), max_size=30))
def test_stretches_are_in_order_never_overlap_and_miss_no_speech(drawn: list[tuple[float, float]]) -> None:
    segments = [(begin, begin + length) for begin, length in drawn]
    found = stretches_of(segments, end_s=1000)
    assert all(before[1] <= after[0] for before, after in pairwise(found))
    for begin, end in segments:
        middle = (begin + end) / 2
        assert any(first <= middle <= last for first, last in found)


def test_a_line_ends_where_the_speaker_breathes() -> None:
    lines = lines_of(said("今天天气很好我们去看海", gaps={6: 0.9}), 10.0, 20.0)
    assert [line.text for line in lines] == ["今天天气很好", "我们去看海"]
    assert lines[0].start_s == 10.0
    assert lines[1].start_s == pytest.approx(12.4)


def test_a_line_ends_with_its_sentence_and_before_it_is_too_long() -> None:
    lines = lines_of(said("马栏山。" + "云雾缭绕的张家界" * 6), 0.0, 60.0)
    assert lines[0].text == "马栏山。"
    assert all(len(line.text) <= 20 for line in lines)
    assert "".join(line.text for line in lines) == "马栏山。" + "云雾缭绕的张家界" * 6


def test_words_of_other_languages_are_kept_apart_by_spaces() -> None:
    [line] = lines_of(said("we film in 长沙 today"), 0.0, 9.0)
    assert line.text == "we film in 长沙 today" or line.text == "we film in长沙today"


def test_a_transcript_without_times_is_one_line_without_words() -> None:
    assert lines_of(Transcript("hello there", (), "en"), 3.0, 5.0) == [Line("hello there", 3.0, 5.0, (), "en")]
    assert lines_of(Transcript("  ", (), ""), 3.0, 5.0) == []


@given(st.lists(st.tuples(st.text(max_size=6), st.floats(), st.floats(), st.floats()), max_size=12))
def test_times_that_make_no_sense_leave_lines_in_order_and_in_their_stretch(
    drawn: list[tuple[str, float, float, float]],
) -> None:
    words = tuple(Word(*one) for one in drawn)
    lines = lines_of(Transcript("said", words, "en"), 10.0, 14.0)
    found = list(findings_of(lines, digest_bytes(b"a"), TRACK, "v", "ear"))
    assert all(10.0 <= line.start_s <= line.end_s <= 14.0 for line in lines)
    assert all(before.end_s <= after.start_s + 1e-9 for before, after in pairwise(lines))
    assert all(len(one.id) == 64 for one in found)


def test_findings_stand_on_the_ticks_of_the_track() -> None:
    lines = lines_of(said("马栏山"), 1.0, 5.0)
    [finding] = findings_of(lines, digest_bytes(b"a"), TRACK, "d" * 64, "ear")
    assert finding.clip.span.start == 48_000
    assert finding.confidence == 0.9
    assert finding.value["words"][0] == ["马", 1.0, 1.25, 0.9]


def test_subtitles_are_subrip() -> None:
    lines = [Line("第一句", 3661.5, 3663.25), Line("second", 3670.0, 3671.0)]
    text = to_srt(findings_of(lines, digest_bytes(b"a"), TRACK, "v", "ear"))
    assert text.split("\n\n")[0] == "1\n01:01:01,500 --> 01:01:03,250\n第一句"
