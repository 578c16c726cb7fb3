"""Browser copies have every frame at its own time; what browsers play needs none."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import av
import imageio_ffmpeg
import numpy as np
import pytest
from media_factory import draw_film, read_number

from malan.core.errors import MediaError, StoreError
from malan.media.index import PacketIndex, build_index
from malan.media.probe import probe
from malan.media.proxy import Proxy, make_proxy, needs_proxy

FAST = {"preset": "ultrafast", "g": "25"}


def seconds(index: PacketIndex) -> np.ndarray:
    return index.frame_pts * float(index.timebase)


def numbers(path: Path) -> list[int]:
    with av.open(str(path)) as container:
        return [read_number(frame.to_ndarray(format="rgb24")) for frame in container.decode(video=0)]


def assert_same_frames(source: Path, made: Proxy) -> None:
    film, copy = build_index(source), build_index(made.path)
    assert copy.frame_count == film.frame_count
    assert np.abs(seconds(copy) + float(made.offset_s) - seconds(film)).max() <= float(film.timebase) + 1e-9


@pytest.mark.parametrize(
    ("name", "codec", "pixels"),
    [
        ("hevc.mp4", "libx265", "yuv420p"),
        ("prores.mov", "prores_ks", "yuv422p10le"),
        ("mpeg2.ts", "mpeg2video", "yuv420p"),
        ("mpeg4.avi", "mpeg4", "yuv420p"),
        ("h264.mkv", "libx264", "yuv420p"),
        ("h264 10 bit.mp4", "libx264", "yuv420p10le"),
    ],
)
def test_what_browsers_cannot_play_gets_a_copy_they_can(name: str, codec: str, pixels: str, tmp_path: Path) -> None:
    options = FAST if codec == "libx264" else {"x265-params": "log-level=none"} if codec == "libx265" else {}
    film = draw_film(tmp_path / name, (20, 25), codec=codec, pixel_format=pixels, options=options)
    assert needs_proxy(probe(film.path)) is not None
    made = make_proxy(film.path, tmp_path / "copy.mp4")
    assert needs_proxy(probe(made.path)) is None
    assert numbers(made.path) == list(range(45))
    assert_same_frames(film.path, made)


@pytest.mark.parametrize(
    ("name", "codec"), [("a.mp4", "libx264"), ("a.webm", "libvpx-vp9"), ("b.webm", "libvpx"), ("a.mov", "libx264")]
)
def test_what_browsers_play_needs_no_copy(name: str, codec: str, tmp_path: Path) -> None:
    options = FAST if codec == "libx264" else {"deadline": "realtime", "cpu-used": "8"}
    assert needs_proxy(probe(draw_film(tmp_path / name, (5,), codec=codec, options=options).path)) is None


def test_the_reason_is_said_in_both_languages(tmp_path: Path) -> None:
    reason = needs_proxy(probe(draw_film(tmp_path / "a.avi", (5,), codec="mpeg4", options={}).path))
    assert reason is not None
    assert "avi" in reason.text("en")
    assert "avi" in reason.text("zh")


def test_variable_frame_rate_keeps_every_time(tmp_path: Path) -> None:
    slots = [int(s) for s in np.cumsum(np.random.default_rng(4).integers(1, 6, 40))]
    film = draw_film(tmp_path / "vfr.mkv", (40,), options=FAST, slots=slots)
    made = make_proxy(film.path, tmp_path / "copy.mp4")
    assert numbers(made.path) == list(range(40))
    assert_same_frames(film.path, made)


def test_a_clock_that_starts_late_is_set_back_and_the_copy_says_so(tmp_path: Path) -> None:
    film = draw_film(tmp_path / "film.mp4", (30,), options=FAST)
    late = tmp_path / "late.ts"
    command = [imageio_ffmpeg.get_ffmpeg_exe(), "-v", "error", "-i", str(film.path), "-c", "copy"]
    subprocess.run([*command, "-output_ts_offset", "5000", str(late)], check=True)
    made = make_proxy(late, tmp_path / "copy.mp4")
    assert 4999 < made.offset_s < 5003
    assert_same_frames(late, made)


def test_a_copy_has_at_most_720_lines_and_a_key_frame_twice_a_second(tmp_path: Path) -> None:
    film = draw_film(tmp_path / "large.mkv", (30,), size=(1440, 1080), options=FAST)
    made = make_proxy(film.path, tmp_path / "copy.mp4")
    track = probe(made.path).first("video")
    assert track is not None
    assert (track.width_px, track.height_px) == (960, 720)
    assert np.diff(seconds(build_index(made.path))[build_index(made.path).key_frames]).max() <= 0.56


def test_the_header_comes_first_so_that_play_starts_at_once(tmp_path: Path) -> None:
    film = draw_film(tmp_path / "film.mkv", (10,), options=FAST)
    made = make_proxy(film.path, tmp_path / "copy.mp4")
    data = made.path.read_bytes()
    assert 0 < data.find(b"moov") < data.find(b"mdat")


def test_progress_rises_to_one(tmp_path: Path) -> None:
    film = draw_film(tmp_path / "film.mkv", (60,), options=FAST, audio=True)
    told: list[float] = []
    make_proxy(film.path, tmp_path / "copy.mp4", told.append)
    assert told == sorted(told)
    assert told[-1] == 1


def test_work_that_is_stopped_leaves_nothing(tmp_path: Path) -> None:
    film = draw_film(tmp_path / "film.mkv", (60,), options=FAST)

    def stop(_: float) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        make_proxy(film.path, tmp_path / "copy.mp4", stop)
    assert [file.name for file in tmp_path.iterdir()] == ["film.mkv"]


def test_a_folder_that_cannot_be_written_is_told(tmp_path: Path) -> None:
    film = draw_film(tmp_path / "film.mkv", (10,), options=FAST)
    with pytest.raises(StoreError, match="free space"):
        make_proxy(film.path, tmp_path / "missing" / "copy.mp4")


def test_a_full_disk_leaves_nothing_behind(tmp_path: Path) -> None:
    """A limit on file size stands for the full disk."""
    film = draw_film(tmp_path / "film.mkv", (60,), options=FAST)
    script = (
        "import sys, resource, signal; from malan.media.proxy import make_proxy\n"
        "signal.signal(signal.SIGXFSZ, signal.SIG_IGN)\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (20000, 20000))\n"
        "try: make_proxy(sys.argv[1], sys.argv[2])\n"
        "except Exception as error: print(type(error).__name__, error.code)\n"
    )
    command = [sys.executable, "-c", script, str(film.path), str(tmp_path / "copy.mp4")]
    assert subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip() == (
        "StoreError cutting.not_written"
    )
    assert [file.name for file in tmp_path.iterdir()] == ["film.mkv"]


def test_a_file_that_is_no_film_is_refused(tmp_path: Path) -> None:
    (tmp_path / "text.mp4").write_text("<html></html>")
    with pytest.raises(MediaError):
        make_proxy(tmp_path / "text.mp4", tmp_path / "copy.mp4")


@pytest.mark.parametrize(
    "name",
    [
        "derived/climbing_vfr_rotated.mov",
        "derived/bbb_ntsc_480i_telecine.ts",
        "derived/juggle_pal_576i_h264.mp4",
        "derived/dog_hevc10.mkv",
        "derived/-leading-dash.mkv",
    ],
)
def test_real_footage_keeps_its_frames_and_times(footage: Path, tmp_path: Path, name: str) -> None:
    made = make_proxy(footage / name, tmp_path / "copy.mp4")
    assert_same_frames(footage / name, made)
    film, copy = probe(footage / name).first("video"), probe(made.path).first("video")
    assert film is not None
    assert copy is not None
    shown, seen = film.shown_size_px, copy.shown_size_px
    assert shown is not None
    assert seen is not None
    assert seen[0] / seen[1] == pytest.approx(shown[0] / shown[1], rel=0.02)


def test_sound_alone_gets_a_copy_too(footage: Path, tmp_path: Path) -> None:
    made = make_proxy(footage / "audio/music_vibe_ace.ogg", tmp_path / "copy.mp4")
    found = probe(made.path)
    assert found.first("video") is None
    assert float(found.duration) == pytest.approx(61.5, abs=0.2)
