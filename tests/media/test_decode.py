"""Frames come out with the numbers of the index, from anywhere in the file, whatever is damaged around them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from damage_factory import LONG_GOP, flip_bits, remux
from media_factory import draw_film, read_number

from malan.core.errors import MediaError, NotFound
from malan.media import FrameDecoder, build_index

LENGTHS = (40, 35, 45)
FRAMES = sum(LENGTHS)
CONTAINERS = ["film.mp4", "film.mkv", "film.ts", "film.avi", "film.h264"]


@pytest.fixture(scope="module", params=CONTAINERS)
def film(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("film") / request.param
    draw_film(path, LENGTHS, size=(192, 108), options=LONG_GOP)
    return path


def drawn_numbers(decoder: FrameDecoder, first: int, end: int) -> list[tuple[int, int]]:
    return [(n, read_number(f.to_ndarray(format="rgb24"))) for n, f in decoder.frames(first, end)]


def test_any_window_is_exact(film: Path) -> None:
    rng = np.random.default_rng(5)
    with FrameDecoder(film, build_index(film), threads="one") as decoder:
        for first in rng.integers(0, FRAMES - 5, 12).tolist():
            assert drawn_numbers(decoder, first, first + 5) == [(n, n) for n in range(first, first + 5)]


def test_key_frames_alone_are_exact(film: Path) -> None:
    index = build_index(film)
    with FrameDecoder(film, index) as decoder:
        found = [(n, read_number(f.to_ndarray(format="rgb24"))) for n, f in decoder.key_frames()]
        assert found == [(n, n) for n in index.key_frames.tolist()]
        assert decoder.frames_decoded == len(found)


def test_chosen_key_frames_come_alone(film: Path) -> None:
    index = build_index(film)
    chosen = index.key_frames[1::2].tolist()
    with FrameDecoder(film, index) as decoder:
        assert [n for n, _ in decoder.key_frames(chosen)] == chosen


def test_frames_carry_the_time_of_the_index(film: Path) -> None:
    index = build_index(film)
    with FrameDecoder(film, index) as decoder:
        for number, frame in decoder.frames(30, 40):
            assert (frame.pts, frame.time_base) == (index.frame_pts[number], index.timebase)


def test_a_window_decodes_from_the_key_frame_before_it_and_no_further(film: Path) -> None:
    index = build_index(film)
    key = int(index.key_frames[2])
    with FrameDecoder(film, index, threads="one") as decoder:
        list(decoder.frames(key, key + 1))
        assert decoder.frames_decoded == 1


def test_frames_nothing_needs_may_be_left_out(tmp_path: Path) -> None:
    path = tmp_path / "film.mp4"
    draw_film(path, LENGTHS, size=(192, 108), options=LONG_GOP)
    with FrameDecoder(path, build_index(path)) as decoder:
        found = [(n, read_number(f.to_ndarray(format="rgb24"))) for n, f in decoder.frames(skip_disposable=True)]
    assert all(number == drawn for number, drawn in found)
    assert 0 < len(found) < FRAMES


def test_the_loop_filter_may_be_left_out(tmp_path: Path) -> None:
    path = tmp_path / "film.mp4"
    draw_film(path, LENGTHS, size=(192, 108), options=LONG_GOP | {"crf": "40"})
    index = build_index(path)
    with FrameDecoder(path, index) as exact, FrameDecoder(path, index, loop_filter=False) as rough:
        one, other = (next(d.frames(10, 11))[1].to_ndarray(format="gray").astype(int) for d in (exact, rough))
    assert 0 < np.abs(one - other).mean() < 20


@pytest.mark.parametrize("threads", ["one", "frame", "slice", "auto"])
def test_threads_do_not_change_what_comes_out(tmp_path: Path, threads: str) -> None:
    path = tmp_path / "film.mp4"
    draw_film(path, LENGTHS, size=(192, 108), options=LONG_GOP)
    with FrameDecoder(path, build_index(path), threads=threads) as decoder:  # type: ignore[arg-type]
        assert [n for n, _ in decoder.frames()] == list(range(FRAMES))


def test_damage_loses_frames_but_moves_none(tmp_path: Path) -> None:
    good, bad = tmp_path / "good.mp4", tmp_path / "bad.mp4"
    draw_film(tmp_path / "drawn.mp4", LENGTHS, size=(192, 108), options=LONG_GOP)
    remux(tmp_path / "drawn.mp4", good, options={"movflags": "faststart"})
    index = build_index(good)
    flip_bits(good, bad, share=0.002, first=int(index.position[30]))
    with FrameDecoder(bad, index) as decoder:
        found = [n for n, _ in decoder.frames()]
        assert decoder.damaged_packets > 0 or len(found) == FRAMES
    assert found == sorted(set(found))
    assert set(range(24)) <= set(found)


def test_an_empty_window_gives_nothing(film: Path) -> None:
    with FrameDecoder(film, build_index(film)) as decoder:
        assert list(decoder.frames(5, 5)) == []
        assert list(decoder.frames(FRAMES, FRAMES + 9)) == []


def test_a_decoder_of_nothing_says_so(tmp_path: Path) -> None:
    path = tmp_path / "film.mp4"
    draw_film(path, (5,), size=(64, 36))
    index = build_index(path)
    with pytest.raises(NotFound):
        FrameDecoder(tmp_path / "gone.mp4", index)
    with pytest.raises(MediaError):
        FrameDecoder(path, index, track=7)
