from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from malan.core import Span
from malan.core.errors import UsageError
from malan.core.time import timecode

timebases = st.sampled_from([Fraction(1, 24_000), Fraction(1001, 30_000), Fraction(1, 90_000), Fraction(1)])


@given(st.integers(0, 10**9), st.integers(0, 10**7), timebases)
def test_a_fragment_leads_back_to_the_same_ticks(start: int, length: int, timebase: Fraction) -> None:
    span = Span(start, start + length, timebase)
    assert Span.from_fragment(span.fragment(), timebase, end=span.end) == span


def test_a_span_cannot_end_before_it_starts() -> None:
    with pytest.raises(UsageError, match="cannot run from 3 to 2"):
        Span(3, 2, Fraction(1, 25))


@pytest.mark.parametrize("text", ["", "t=", "t=a,b", "t=1,2,3", "12,13", "t=-1,2"])
def test_what_is_not_a_fragment_is_refused(text: str) -> None:
    with pytest.raises(UsageError):
        Span.from_fragment(text, Fraction(1, 25), end=100)


def test_open_ends_of_a_fragment_reach_the_ends_of_the_track() -> None:
    assert Span.from_fragment("t=,2", Fraction(1, 25), end=100) == Span(0, 50, Fraction(1, 25))
    assert Span.from_fragment("t=2", Fraction(1, 25), end=100) == Span(50, 100, Fraction(1, 25))


def test_touching_spans_do_not_overlap_whatever_their_timebase() -> None:
    first, second = Span(0, 25, Fraction(1, 25)), Span(24_000, 48_000, Fraction(1, 24_000))
    assert not first.overlaps(second)
    assert first.overlaps(Span(23_999, 24_001, Fraction(1, 24_000)))


def test_a_timecode_reads_like_a_clock() -> None:
    assert timecode(Fraction(3_723_004, 1000)) == "01:02:03.004"
