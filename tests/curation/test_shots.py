"""Shots of drawn films whose cuts are known, and of real footage with its truth files."""

from __future__ import annotations

from contextlib import suppress
from itertools import pairwise
from pathlib import Path

import av
import numpy as np
import pytest
from media_factory import draw_film
from shot_scoring import Boundary, Row, Truth, read_truth, score

from malan.core.errors import MediaError, UsageError
from malan.curation.shots import ShotReport, detect_shots
from malan.curation.shots.judge import Stretch, judge
from malan.media.index import build_index

ENCODERS = {
    "scene cuts on key frames": ("libx264", {"preset": "veryfast"}, "yuv420p", "mp4"),
    "fixed GOP, B-frames": (
        "libx264",
        {"preset": "fast", "g": "24", "keyint_min": "24", "sc_threshold": "0"},
        "yuv420p",
        "mkv",
    ),
    "fixed GOP, open": (
        "libx264",
        {"preset": "fast", "x264-params": "keyint=24:min-keyint=24:scenecut=0:open-gop=1:bframes=3"},
        "yuv420p",
        "mp4",
    ),
    "fixed GOP, no B-frames": (
        "libx264",
        {"preset": "fast", "g": "24", "sc_threshold": "0", "bf": "0"},
        "yuv420p",
        "ts",
    ),
    "one key frame": ("libx264", {"preset": "veryfast", "x264-params": "keyint=infinite:scenecut=0"}, "yuv420p", "mp4"),
    "MPEG-2": ("mpeg2video", {"g": "12", "bf": "2", "b": "3M"}, "yuv420p", "ts"),
    "intra only": ("mjpeg", {}, "yuvj420p", "avi"),
    "ten bits": ("libx264", {"preset": "veryfast"}, "yuv420p10le", "mp4"),
}


def _detect(path: Path, **more: object) -> ShotReport:
    return detect_shots(path, build_index(path), **more)  # type: ignore[arg-type]


def _boundaries(report: ShotReport) -> list[Boundary]:
    return [Boundary(s.transition.boundary, s.transition.type != "cut") for s in report.shots[1:]]


@pytest.mark.parametrize("kind", ENCODERS)
@pytest.mark.parametrize("mode", ["auto", "full"])
def test_every_cut_of_a_drawn_film_is_found_at_its_frame(tmp_path: Path, kind: str, mode: str) -> None:
    codec, options, pixels, container = ENCODERS[kind]
    film = draw_film(
        tmp_path / f"film.{container}", (40, 33, 57, 30, 60), codec=codec, options=options, pixel_format=pixels
    )
    report = _detect(film.path, mode=mode)
    assert [s.first for s in report.shots[1:]] == list(film.cuts)
    assert {s.transition.type for s in report.shots[1:]} == {"cut"}


def test_shots_tile_the_film(tmp_path: Path) -> None:
    film = draw_film(tmp_path / "film.mp4", (30, 25, 35))
    report = _detect(film.path)
    edges = [(s.first, s.end) for s in report.shots]
    assert edges[0][0] == 0
    assert edges[-1][1] == film.frame_count == report.frames
    assert all(a[1] == b[0] for a, b in pairwise(edges))
    assert report.shots[0].transition.type == "start"


def test_a_film_of_one_frame_is_one_shot(tmp_path: Path) -> None:
    film = draw_film(tmp_path / "film.mp4", (1,))
    assert [(s.first, s.end) for s in _detect(film.path).shots] == [(0, 1)]


def test_an_upright_film_is_cut_like_a_wide_one(tmp_path: Path) -> None:
    film = draw_film(tmp_path / "film.mp4", (30, 25, 35), size=(180, 320))
    assert [s.first for s in _detect(film.path).shots[1:]] == list(film.cuts)


def test_scene_cut_films_are_mostly_not_decoded(tmp_path: Path) -> None:
    film = draw_film(tmp_path / "film.mp4", (90, 80, 100, 90, 80))
    report = _detect(film.path)
    assert report.strategy == "scene-cut"
    assert report.frames_decoded < 0.35 * report.frames


def test_an_observer_sees_every_decoded_frame_once_with_its_number(tmp_path: Path) -> None:
    film = draw_film(tmp_path / "film.mp4", (30, 25, 35))
    index = build_index(film.path)
    seen: list[int] = []

    def observe(frame: av.VideoFrame, number: int, is_key: bool) -> None:
        assert frame.pts == index.frame_pts[number]
        assert is_key == (number in index.key_frames)
        seen.append(number)

    detect_shots(film.path, index, mode="full", observe=observe)
    assert sorted(seen) == list(range(film.frame_count))


@pytest.mark.parametrize("mode", ["auto", "full"])
def test_dissolves_and_fades_are_one_typed_transition_each(tmp_path: Path, mode: str) -> None:
    a, b, c = (_noise(seed) for seed in (1, 2, 3))
    black = np.zeros_like(a)
    frames = [a] * 40 + _mix(a, b, 16) + [b] * 40 + _mix(b, black, 10) + [black] * 5 + _mix(black, c, 10) + [c] * 40
    path = _encode(tmp_path / "film.mp4", frames, fixed=True)
    report = _detect(path, mode=mode)
    assert [s.transition.type for s in report.shots[1:]] == ["dissolve", "fade"]
    truth = Truth((Row(39, 56, "dissolve"), Row(95, 121, "fade_black")))
    assert score(_boundaries(report), truth).graduals.f1 == 1.0


@pytest.mark.parametrize("mode", ["auto", "full"])
def test_flashes_strobes_and_titles_are_no_cuts(tmp_path: Path, mode: str) -> None:
    a, white = _noise(1), np.full((180, 320, 3), 250, np.uint8)
    titled = a.copy()
    titled[130:158, 40:220] = 20
    frames = [a] * 40 + [white] + [a] * 30 + [a // 3, a // 3, a, a] * 3 + [a] * 30 + [titled] * 40
    report = _detect(_encode(tmp_path / "film.mp4", frames), mode=mode)
    assert len(report.shots) == 1


def test_an_unknown_mode_is_refused(tmp_path: Path) -> None:
    film = draw_film(tmp_path / "film.mp4", (10,))
    with pytest.raises(UsageError, match="auto, full"):
        _detect(film.path, mode="psychic")


@pytest.mark.parametrize(
    "name", ["truncated_faststart.mp4", "bitflips.ts", "bitflips_mdat.mp4", "ts_starts_mid_gop.ts", "single_frame.mp4"]
)
def test_damaged_files_give_shots_or_a_clear_error(footage: Path, name: str) -> None:
    with suppress(MediaError):
        report = _detect(footage / "damaged" / name)
        assert report.shots[-1].end == report.frames


@pytest.mark.parametrize(
    ("name", "cuts", "graduals"),
    [
        ("video/bbb_1a_486p.mp4", 1.0, 1.0),
        ("video/bbb_1b_360p.mp4", 1.0, 1.0),
        ("synthetic/vertical_s_zh_subs.mp4", 0.97, 1.0),
    ],
)
def test_real_films_keep_their_score(footage: Path, name: str, cuts: float, graduals: float) -> None:
    found = score(_boundaries(_detect(footage / name)), read_truth(footage / name))
    assert found.cuts_exact.f1 >= cuts
    assert found.graduals.f1 >= graduals


def test_decoding_everything_finds_all_of_the_trailer(footage: Path) -> None:
    name = footage / "video/sintel_trailer_480x204.mp4"
    found = score(_boundaries(_detect(name, mode="full")), read_truth(name))
    assert found.cuts_exact.f1 == 1.0
    assert found.graduals.f1 >= 0.95


def _noise(seed: int) -> np.ndarray:
    coarse = np.random.default_rng(seed).integers(20, 235, (9, 16, 3), dtype=np.uint8)
    return np.kron(coarse, np.ones((20, 20, 1), np.uint8))


def _mix(a: np.ndarray, b: np.ndarray, frames: int) -> list[np.ndarray]:
    shares = (np.arange(frames) + 1) / (frames + 1)
    return [(a * (1 - share) + b * share).astype(np.uint8) for share in shares]


def _encode(path: Path, frames: list[np.ndarray], fixed: bool = False) -> Path:
    options = {"preset": "veryfast"} | ({"g": "25", "sc_threshold": "0"} if fixed else {})
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=25, options=options)
        stream.height, stream.width = frames[0].shape[:2]
        stream.pix_fmt = "yuv420p"
        for number, picture in enumerate(frames):
            frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(picture), format="rgb24")
            frame.pts = number
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    return path


def test_a_title_on_soft_ground_is_no_cut(tmp_path: Path) -> None:
    rows, columns = np.mgrid[0:180, 0:320]
    soft = np.stack([80 + columns // 4, 60 + rows // 3, 120 + (rows + columns) // 8], axis=-1).astype(np.uint8)
    titled = soft.copy()
    titled[135:157, 64:256] = (20, 20, 30)
    path = _encode(tmp_path / "film.mp4", [soft] * 40 + [titled] * 40)
    assert len(_detect(path, mode="full").shots) == 1


@pytest.mark.parametrize("away", [0, 1, 2])
def test_a_cut_right_before_a_key_frame_that_comes_late_in_the_file_is_exact(tmp_path: Path, away: int) -> None:
    film = draw_film(
        tmp_path / "film.ts", (36 + away, 61, 50), codec="mpeg2video", options={"g": "12", "bf": "2", "b": "4M"}
    )
    assert [s.first for s in _detect(film.path).shots[1:]] == list(film.cuts)


def test_a_cut_to_a_dark_shot_stands_at_the_end_of_what_was_decoded() -> None:
    shown, blank = _blocks(1), np.full((3, 18, 32), 16, np.uint8)
    blocks = np.stack([shown] * 12 + [blank] * 3)
    stretch = Stretch(100, blocks, np.ones(len(blocks), bool))
    assert [t.boundary for t in judge(stretch)] == [112]
    assert judge(stretch.placed(115)) == []


def _blocks(seed: int) -> np.ndarray:
    return np.random.default_rng(seed).integers(30, 220, (3, 18, 32), dtype=np.uint8)
