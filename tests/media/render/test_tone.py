"""Pictures for bright screens look in a film as they were meant, whoever tagged them and however they are framed."""

from __future__ import annotations

from fractions import Fraction
from itertools import pairwise
from pathlib import Path

import av
import numpy as np
import pytest

from malan.media.render import Format, Piece, Timeline, View, is_hdr, matrix_of, primaries_of, render
from malan.media.render.graph import picture_graph

SMALL, WIDE, TALL = Format("16x9", 160, 90), Format("16x9", 320, 180), Format("9x16", 180, 320)
NITS = (2.0, 20.0, 50.0, 100.0, 203.0, 400.0, 1000.0, 4000.0)


def pq(nits: np.ndarray) -> np.ndarray:
    """SMPTE ST 2084, 0 to 1."""
    y = (np.asarray(nits) / 10_000) ** 0.1593017578125
    return ((0.8359375 + 18.8515625 * y) / (1 + 18.6875 * y)) ** 78.84375


def bright_film(path: Path, *, primaries: int = 9, matrix: int = 9) -> Path:
    """Eight grey bars of those luminances, ten bits, PQ."""
    luma = np.repeat(64 + 876 * pq(np.asarray(NITS)), 40).round().astype("<u2")
    with av.open(str(path), "w") as film:
        stream = film.add_stream("libx264", rate=25, options={"preset": "ultrafast", "qp": "4"})
        stream.width, stream.height, stream.pix_fmt = 320, 180, "yuv420p10le"
        context = stream.codec_context
        context.color_trc, context.color_primaries, context.colorspace = 16, primaries, matrix
        for _ in range(6):
            frame = av.VideoFrame(320, 180, "yuv420p10le")
            for plane, rows in zip(frame.planes, (180, 90, 90), strict=True):
                values = luma if rows == 180 else np.full(160, 512, "<u2")
                held = np.zeros((rows, plane.line_size // 2), "<u2")
                held[:, : len(values)] = values
                plane.update(held.tobytes())
            film.mux(stream.encode(frame))
        film.mux(stream.encode(None))
    return path


def bars(path: Path, folder: Path, *formats: Format, **more) -> list[float]:
    """Brightness of each bar in the film, 0 to 255, of the first format."""
    held = {"matrix": matrix_of(path, 0), "primaries": primaries_of(path, 0), **more}
    piece = Piece("a", str(path), Fraction(0), 4, (320, 180), gain_db=None, is_hdr=True, **held)
    film = Timeline(Fraction(25), (piece,), formats)
    outs = {form.name: folder / f"{form.name}.mp4" for form in formats}
    render(film, outs, folder / "shelf")
    with av.open(str(outs[formats[0].name])) as made:
        frame = next(made.decode(video=0))
        assert (frame.format.name, int(frame.color_trc)) == ("yuv420p", 1)
        grey = (frame.to_ndarray(format="yuv420p")[: frame.height].astype(float) - 16) * 255 / 219
    step = grey.shape[1] / 8
    return [float(grey[:, int((n + 0.3) * step) : int((n + 0.7) * step)].mean()) for n in range(8)]


def test_middle_tones_stay_and_what_is_brighter_than_white_gives_way(tmp_path):
    seen = bars(bright_film(tmp_path / "a.mp4"), tmp_path, WIDE)
    assert all(a < b for a, b in pairwise(seen))
    meant = [255 * (nits / 203) ** (1 / 2.4) for nits in NITS[:4]]
    assert np.abs(np.asarray(seen[:4]) - meant).max() < 14
    assert 215 < seen[4] < 240  # white
    assert seen[6] > 248


@pytest.mark.parametrize("tags", [(2, 2), (2, 9), (9, 2)])
def test_files_that_say_no_more_than_that_they_are_bright_are_taken_for_bt2020(tmp_path, tags):
    path = bright_film(tmp_path / "a.mp4", primaries=tags[0], matrix=tags[1])
    assert is_hdr(path, 0)
    assert matrix_of(path, 0) == "bt2020"
    whole = bars(bright_film(tmp_path / "b.mp4"), tmp_path, WIDE)
    assert np.abs(np.asarray(bars(path, tmp_path, WIDE)) - whole).max() < 2


def test_brought_into_range_before_or_after_it_is_framed_it_is_the_same_picture(tmp_path):
    path = bright_film(tmp_path / "a.mp4")
    before, after = bars(path, tmp_path, WIDE, TALL), bars(path, tmp_path, SMALL)
    assert np.abs(np.asarray(before) - after).max() < 3


def test_a_large_bright_picture_is_brought_into_range_once_it_is_small(tmp_path):
    large = Piece("a", "a.mp4", Fraction(0), 4, (3840, 2160), is_hdr=True, matrix="bt2020")
    graph = picture_graph(Timeline(Fraction(25), (large,), (WIDE,)), [0], {})
    assert graph.index("scale=320:180") < graph.index("tonemap")


def test_a_bright_picture_can_be_shown_whole_on_its_ground(tmp_path):
    path = bright_film(tmp_path / "a.mp4")
    small = Format("9x16", 90, 160)
    views = {"9x16": View(is_whole=True)}
    piece = Piece("a", str(path), Fraction(0), 4, (320, 180), gain_db=None, is_hdr=True, matrix="bt2020", views=views)
    render(Timeline(Fraction(25), (piece,), (small,)), {"9x16": tmp_path / "o.mp4"}, tmp_path / "shelf")
    with av.open(str(tmp_path / "o.mp4")) as made:
        grey = next(made.decode(video=0)).to_ndarray(format="gray").astype(float)
    front, ground = grey[70:90], grey[:40]
    assert front[:, :10].mean() < 80 < 200 < front[:, -10:].mean()
    assert ground.mean() < front.mean()
