"""A film is rendered in stretches side by side, and nothing of it is seen in the film."""

from __future__ import annotations

import threading
from fractions import Fraction

import av
import pytest
from media_factory import draw_film, read_number

from malan.core.errors import MediaError
from malan.media.render import Format, Piece, Timeline, render
from malan.media.render import stretches as lanes
from malan.media.render.stretches import at_once, cut_into, side_by_side

WIDE, TALL = Format("16x9", 320, 180), Format("9x16", 180, 320)


def timeline(*frames: int, formats=(WIDE,), size=(320, 180)) -> Timeline:
    pieces = [Piece(str(n), "x.mp4", Fraction(n), one, size) for n, one in enumerate(frames)]
    return Timeline(Fraction(25), tuple(pieces), formats)


@pytest.fixture(scope="module")
def film(tmp_path_factory):
    options = {"preset": "veryfast", "g": "48", "bf": "2"}
    return draw_film(tmp_path_factory.mktemp("film") / "a.mp4", (120,), size=(320, 180), options=options).path


@pytest.mark.parametrize("frames", [(60,) * 12, (750,), (8,) * 94, (300, 8, 8, 8, 300, 126), (1, 1, 1)])
def test_stretches_are_whole_pieces_in_order_and_of_about_one_length(frames):
    film = timeline(*frames)
    found = cut_into(film, range(len(frames)))
    assert [number for some in found for number in some] == list(range(len(frames)))
    assert all(found)
    lengths = [sum(frames[number] for number in some) for some in found]
    even = sum(frames) / max(1, round(sum(frames) / 25 / 7.5))
    assert max(lengths) <= even + max(frames)


@pytest.mark.parametrize(("formats", "stretches"), [((WIDE,), 4), ((WIDE, TALL), 2)])
def test_half_a_minute_is_as_many_stretches_on_every_machine(monkeypatch, formats, stretches):
    film = timeline(*[60] * 12, 30, formats=formats)
    for count in (1, 2, 64):
        monkeypatch.setattr(lanes.os, "sched_getaffinity", lambda _, count=count: set(range(count)))
        assert len(cut_into(film, range(13))) == stretches


def test_many_short_pieces_of_large_pictures_are_more_stretches():
    """Each file is open from the beginning of its stretch on: 25 of 4K would take four gigabytes."""
    found = cut_into(timeline(*[8] * 25, size=(3840, 2160)), range(25))
    assert max(len(some) for some in found) <= 6
    assert [number for some in found for number in some] == list(range(25))


def test_pieces_that_changed_alone_are_one_stretch():
    assert cut_into(timeline(*[60] * 12), [2, 9]) == [[2, 9]]


def test_more_run_at_once_on_more_processors_and_fewer_of_large_pictures(monkeypatch):
    small, large = timeline(*[250] * 12), timeline(*[250] * 12, formats=(WIDE, TALL), size=(7680, 4320))
    monkeypatch.setattr(lanes.os, "sched_getaffinity", lambda _: set(range(8)))
    assert at_once(small, cut_into(small, range(12))) == 12
    assert at_once(large, cut_into(large, range(12))) < 8
    monkeypatch.setattr(lanes.os, "sched_getaffinity", lambda _: {0})
    assert at_once(small, cut_into(small, range(12))) == 2


def test_what_is_rendered_in_stretches_is_every_frame_that_was_asked_for(film, tmp_path, monkeypatch):
    """Also pieces of one or two frames, whose packets run ahead by less than others."""
    monkeypatch.setattr(lanes, "STRETCH_S", Fraction(1, 10))
    firsts = [(31, 20), (90, 1), (2, 10), (50, 2), (70, 30), (110, 3)]
    pieces = tuple(Piece(f"{n}", str(film), Fraction(n, 25), frames, (320, 180), gain_db=None) for n, frames in firsts)
    whole = Timeline(Fraction(25), pieces, (WIDE, TALL))
    for name in ("one", "two"):
        outs = {form.name: tmp_path / f"{name}-{form.name}.mp4" for form in whole.formats}
        shares: list[float] = []
        assert render(whole, outs, tmp_path / name, tell=shares.append).encoded == 66
        assert shares == sorted(shares)
        assert shares[-1] == 1.0
        assert len(list((tmp_path / name).glob("16x9-*.mp4"))) > 1
    with av.open(str(tmp_path / "one-16x9.mp4")) as made:
        seen = list(made.decode(video=0))
    assert [frame.pts * frame.time_base for frame in seen] == [Fraction(n, 25) for n in range(66)]
    wished = [number for first, frames in firsts for number in range(first, first + frames)]
    assert [read_number(frame.to_ndarray(format="rgb24")) for frame in seen] == wished
    assert (tmp_path / "one-9x16.mp4").read_bytes() == (tmp_path / "two-9x16.mp4").read_bytes()


def test_when_one_stretch_fails_the_others_end_and_its_reason_is_told():
    ended = threading.Event()

    def fails(tell) -> None:
        raise MediaError("render.failed", detail="torn")

    def goes_on(tell) -> None:
        try:
            for _ in range(1000):
                tell(0.5)
                ended.wait(0.01)
        finally:
            ended.set()

    with pytest.raises(MediaError, match="torn"):
        side_by_side([(1, goes_on), (1, fails)], 2, None)
    assert ended.is_set()


def test_whoever_is_told_is_told_in_its_own_thread_and_may_stop_all():
    told: list[tuple[float, str]] = []
    stop = threading.Event()

    def tell(share: float) -> None:
        told.append((share, threading.current_thread().name))
        raise InterruptedError

    def goes_on(tell) -> None:
        while True:
            tell(0.5)
            stop.wait(0.01)

    with pytest.raises(InterruptedError):
        side_by_side([(3, goes_on), (1, goes_on)], 2, tell)
    [(share, name)] = told
    assert 0 <= share <= 0.5
    assert name == threading.current_thread().name
