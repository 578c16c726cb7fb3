"""Stills of HDR footage look as the films made of it do: nothing is washed out, to look at or to measure."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest

from malan.core import Track
from malan.curation.samples import Sampler
from malan.curation.scaling import rgb_to_yuv, yuv_to_rgb
from malan.media.bright import HLG, PQ, brightness_of, in_range
from malan.media.index import build_index
from malan.media.picture import Painter, Shape
from malan.media.render import Format, Piece, Timeline, matrix_of, primaries_of, render
from malan.media.thumbs import pictures

WIDTH, HEIGHT = 320, 160
COLOURS = (  # coded red, green, blue, 0 to 1: skin, leaves, sky, a lamp, shade, grey, white, red
    (0.55, 0.44, 0.36), (0.24, 0.36, 0.18), (0.38, 0.48, 0.62), (0.85, 0.78, 0.55),
    (0.12, 0.12, 0.14), (0.42, 0.42, 0.42), (0.58, 0.58, 0.58), (0.60, 0.25, 0.20),
)  # fmt: skip


def colour_film(path: Path, transfer: int, primaries: int = 9) -> Path:
    """Eight fields of colour, ten bits, BT.2020 matrix."""
    rgb = np.repeat(np.asarray(COLOURS)[None], HEIGHT, axis=0).repeat(WIDTH // 8, axis=1)
    luma = rgb @ (0.2627, 0.6780, 0.0593)
    chroma = [(rgb[..., 2] - luma) / 1.8814, (rgb[..., 0] - luma) / 1.4746]
    planes = [64 + 876 * luma, *(512 + 896 * one[::2, ::2] for one in chroma)]
    with av.open(str(path), "w") as film:
        stream = film.add_stream("libx264", rate=25, options={"preset": "ultrafast", "qp": "2"})
        stream.width, stream.height, stream.pix_fmt = WIDTH, HEIGHT, "yuv420p10le"
        context = stream.codec_context
        context.color_trc, context.color_primaries, context.colorspace = transfer, primaries, 9
        for _ in range(6):
            frame = av.VideoFrame(WIDTH, HEIGHT, "yuv420p10le")
            for plane, values in zip(frame.planes, planes, strict=True):
                held = np.zeros((len(values), plane.line_size // 2), "<u2")
                held[:, : values.shape[1]] = values.round()
                plane.update(held.tobytes())
            film.mux(stream.encode(frame))
        film.mux(stream.encode(None))
    return path


def fields(picture_HWC: np.ndarray) -> np.ndarray:
    """The mean colour inside each of the eight fields, 0 to 255."""
    step = picture_HWC.shape[1] / 8
    return np.stack([
        picture_HWC[4:-4, round((n + 0.3) * step) : round((n + 0.7) * step)].reshape(-1, 3).mean(axis=0)
        for n in range(8)
    ])  # fmt: skip


def rendered(path: Path, folder: Path) -> np.ndarray:
    tags = {"matrix": matrix_of(path, 0), "primaries": primaries_of(path, 0)}
    piece = Piece("a", str(path), Fraction(0), 4, (WIDTH, HEIGHT), gain_db=None, is_hdr=True, **tags)
    film = Timeline(Fraction(25), (piece,), (Format("2x1", WIDTH, HEIGHT),))
    render(film, {"2x1": folder / "film.mp4"}, folder / "shelf")
    with av.open(str(folder / "film.mp4")) as made:
        frame = next(made.decode(video=0))
        return fields(frame.to_ndarray(format="rgb24").astype(float))


@pytest.mark.parametrize(("transfer", "primaries"), [(PQ, 9), (HLG, 9), (PQ, 12), (PQ, 1)])
def test_a_still_has_the_colours_of_the_film(tmp_path, transfer, primaries):
    path = colour_film(tmp_path / "a.mp4", transfer, primaries)
    [still] = pictures(path, build_index(path), [2], height_px=HEIGHT)
    assert np.abs(fields(still.astype(float)) - rendered(path, tmp_path)).max() < 6


def test_what_the_scan_measures_and_keeps_has_them_too(tmp_path):
    path = colour_film(tmp_path / "a.mp4", PQ)
    index = build_index(path)
    track = Track(0, "video", "h264", Fraction(1, 12_800), width_px=WIDTH, height_px=HEIGHT)
    sampler = Sampler(index, track, bursts=False)
    with av.open(str(path)) as film:
        sampler.take(next(film.decode(video=0)), 0)
    [sample] = sampler.samples(0, 1)
    [still] = pictures(path, index, [0], height_px=HEIGHT)
    assert np.abs(fields(sample.rgb_HWC.astype(float)) - fields(still.astype(float))).max() < 5


def test_algorithms_still_get_the_values_as_they_are_coded(tmp_path):
    path = colour_film(tmp_path / "a.mp4", PQ)
    with av.open(str(path)) as film:
        frame = next(film.decode(video=0))
    plain, shown = (Painter(Shape(WIDTH, HEIGHT), in_range=one).paint(frame) for one in (False, True))
    assert np.abs(fields(plain.astype(float)) - 255 * np.asarray(COLOURS)).max() < 6
    assert np.abs(fields(shown.astype(float)) - fields(plain.astype(float))).max() > 40


def test_usual_pictures_are_left_alone():
    frame = av.VideoFrame.from_ndarray(np.full((32, 32, 3), 90, np.uint8), format="rgb24")
    assert brightness_of(frame) == 0
    assert (Painter(Shape(32, 32), in_range=True).paint(frame) == 90).all()


@pytest.mark.parametrize("transfer", [PQ, HLG])
def test_black_is_black_and_all_rises(transfer):
    grey = np.linspace(0, 65_535, 256).astype(np.uint16)[None, :, None].repeat(3, axis=2)
    shown = in_range(grey, transfer, 9)[0, :, 1].astype(int)
    assert shown[0] == 0
    assert shown[-1] == 255
    assert (np.diff(shown) >= 0).all()


def test_planes_of_a_picture_are_the_picture():
    rgb = np.random.default_rng(3).integers(0, 256, (6, 8, 3)).repeat(4, axis=0).repeat(4, axis=1).astype(np.uint8)
    assert np.abs(yuv_to_rgb(*rgb_to_yuv(rgb)).astype(int) - rgb).max() <= 3
