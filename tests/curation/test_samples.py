"""Samples are taken when the picture is new or time has passed, upright, within a fixed amount of memory."""

from __future__ import annotations

from dataclasses import replace
from fractions import Fraction
from itertools import pairwise
from pathlib import Path

import av
import numpy as np
import pytest
from media_factory import Film, draw_film
from view_factory import flat, scenery, track

from malan.core import Track
from malan.curation.pictures import filmstrip, spread, thumbnail
from malan.curation.samples import NEAR_S, Sampler
from malan.curation.scaling import Scaler, Shape
from malan.media.decode import FrameDecoder
from malan.media.index import PacketIndex, build_index


def show_all(film: Film, **more: object) -> tuple[Sampler, PacketIndex]:
    index = build_index(film.path)
    sampler = Sampler(index, track((320, 180)), **more)  # type: ignore[arg-type]
    with FrameDecoder(film.path, index) as decoder:
        for number, frame in decoder.frames():
            sampler.observe(frame, number, bool(frame.key_frame))
    return sampler, index


def still_film(path: Path, frames: int) -> Film:
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=25, options={"preset": "ultrafast"})
        stream.width, stream.height, stream.pix_fmt = 320, 180, "yuv420p"
        for number in range(frames):
            frame = frame_of(scenery(1))
            frame.pts, frame.time_base = number, Fraction(1, 25)
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    return Film(path, frames, (), Fraction(25))


def frame_of(rgb: np.ndarray, pixel_format: str = "yuv420p") -> av.VideoFrame:
    return av.VideoFrame.from_ndarray(np.ascontiguousarray(rgb), format="rgb24").reformat(format=pixel_format)


def test_every_shot_is_sampled_although_nobody_knows_the_shots(tmp_path: Path) -> None:
    film = draw_film(tmp_path / "f.mp4", (40, 8, 30, 6, 45))
    sampler, _ = show_all(film)
    edges = [0, *film.cuts, film.frame_count]
    assert all(sampler.samples(a, b) for a, b in pairwise(edges))


def test_an_unchanging_picture_is_sampled_about_once_a_second(tmp_path: Path) -> None:
    sampler, _ = show_all(still_film(tmp_path / "f.mp4", 150))
    assert 5 <= len(sampler.samples(0, 150)) <= 7


def test_samples_are_never_closer_than_a_moment(tmp_path: Path) -> None:
    sampler, _ = show_all(draw_film(tmp_path / "f.mp4", (60,)))
    times = [sample.time_s for sample in sampler.samples(0, 60)]
    assert np.diff(times).min() >= NEAR_S - 1e-9


def test_samples_and_bursts_never_outgrow_their_number(tmp_path: Path) -> None:
    film = draw_film(tmp_path / "f.mp4", (6,) * 30)
    sampler, _ = show_all(film, kept=10)
    assert len(sampler.samples(0, film.frame_count)) <= 10


def test_what_is_forgotten_is_gone_and_the_rest_stays(tmp_path: Path) -> None:
    sampler, _ = show_all(draw_film(tmp_path / "f.mp4", (50, 50)))
    later = sampler.samples(50, 100)
    sampler.forget(50)
    assert sampler.samples(0, 50) == []
    assert sampler.bursts(0, 50) == []
    assert sampler.samples(50, 100) == later


def test_a_burst_is_cut_short_at_the_end_of_a_shot(tmp_path: Path) -> None:
    sampler, index = show_all(draw_film(tmp_path / "f.mp4", (30,)))
    (burst,) = sampler.bursts(0, 30)
    assert len(burst.times_s) > 2
    (cut,) = sampler.bursts(0, 4)
    assert cut.times_s[-1] < float(int(index.frame_pts[4]) * index.timebase)


def test_nobody_who_reads_motion_means_no_bursts(tmp_path: Path) -> None:
    sampler, _ = show_all(draw_film(tmp_path / "f.mp4", (30,)), bursts=False)
    assert sampler.bursts(0, 30) == []


@pytest.mark.parametrize("degrees", [0, 90, 180, 270])
def test_a_turned_picture_stands_upright(degrees: int) -> None:
    upright = flat((0, 0, 0), (320, 180))
    upright[:40] = 255  # the sky is above
    stored = np.rot90(upright, degrees // 90)  # counter-clockwise, to be turned back clockwise
    height, width = stored.shape[:2]
    scaler = Scaler(Shape.of(track((width, height), rotation_deg=degrees)))
    sample = scaler.sample(frame_of(stored), 0, 0.0)
    assert sample.luma_HW.shape == (180, 320)
    assert sample.luma_HW[:30].min() > 200 > 50 > sample.luma_HW[60:].max()
    assert len(sample.lit_rows) == 180
    assert sample.lit_rows[:36].min() > 0.9
    assert sample.lit_rows[50:].max() < 0.1


def test_squeezed_pixels_are_widened() -> None:
    shape = Shape.of(track((720, 576), sample_aspect=Fraction(64, 45)))
    width, height = shape.sample_size
    assert width / height == pytest.approx(16 / 9, rel=0.02)


@pytest.mark.parametrize("pixel_format", ["yuv420p", "yuv422p10le", "yuvj444p", "gray", "rgb24", "nv12", "yuv420p10le"])
def test_every_pixel_format_gives_the_same_sample(pixel_format: str) -> None:
    rgb = np.repeat(scenery(3).mean(axis=2, keepdims=True), 3, axis=2).astype(np.uint8)
    scaler = Scaler(Shape.of(track((320, 180))))
    plain = scaler.sample(frame_of(rgb, "yuv420p"), 0, 0.0)
    frame = frame_of(rgb, pixel_format)
    if pixel_format == "yuvj444p":
        frame = av.VideoFrame.from_ndarray(rgb, format="rgb24").reformat(format="yuvj444p", dst_color_range="JPEG")
    other = scaler.sample(frame, 0, 0.0)
    assert np.abs(plain.luma_HW.astype(int) - other.luma_HW).mean() < 6
    assert plain.blur == pytest.approx(other.blur, abs=0.05)


@pytest.mark.parametrize("size", [(16, 16), (17, 31), (2, 2), (3000, 20)])
def test_odd_sizes_make_samples_too(size: tuple[int, int]) -> None:
    scaler = Scaler(Shape.of(track(size)))
    sample = scaler.sample(frame_of(flat((90, 90, 90), size)), 0, 0.0)
    assert thumbnail([sample])[:2] == b"\xff\xd8"
    assert filmstrip([sample])[:2] == b"\xff\xd8"


def test_colours_survive_the_sample() -> None:
    scaler = Scaler(Shape.of(track((320, 180))))
    for colour in ((200, 40, 40), (40, 160, 60), (30, 60, 200)):
        sample = scaler.sample(frame_of(flat(colour)), 0, 0.0)
        assert sample.rgb_HWC[90, 160].astype(int) == pytest.approx(colour, abs=6)


def test_filmstrips_show_at_most_five_pictures_spread_over_the_shot(tmp_path: Path) -> None:
    sampler, _ = show_all(draw_film(tmp_path / "f.mp4", (200,)))
    samples = sampler.samples(0, 200)
    chosen = [sample.time_s for sample in spread(samples, 5)]
    assert len(chosen) == 5
    assert chosen[0] == samples[0].time_s
    assert chosen[-1] == samples[-1].time_s
    assert decoded_size(filmstrip(samples)) == (5 * 160, 90)


def test_the_thumbnail_is_not_the_black_frame_at_the_start() -> None:
    scaler = Scaler(Shape.of(track((320, 180))))
    samples = [
        replace(scaler.sample(frame_of(rgb), n, float(n)))
        for n, rgb in enumerate((flat((0, 0, 0)), scenery(2), flat((3, 3, 3))))
    ]
    assert thumbnail(samples) == thumbnail(samples[1:2])


def decoded_size(jpeg: bytes) -> tuple[int, int]:
    context = av.CodecContext.create("mjpeg", "r")
    (frame,) = context.decode(av.Packet(jpeg))
    return frame.width, frame.height


def test_a_track_without_a_size_is_no_reason_to_fail() -> None:
    bare = Track(0, "video", "h264", Fraction(1, 25))
    assert Shape.of(bare).sample_size == (16, 16)
