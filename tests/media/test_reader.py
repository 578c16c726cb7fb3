"""Windows of frames are exact to the frame, in whatever container and codec, alone and in batches."""

from __future__ import annotations

import subprocess
from fractions import Fraction
from pathlib import Path

import av
import imageio_ffmpeg
import numpy as np
import pytest
from media_factory import Film, draw_film, read_number

from malan.core import Span
from malan.core.errors import MediaError, UsageError
from malan.media.index import PacketIndex, build_index
from malan.media.payload import DirectPackets, open_packets
from malan.media.picture import Painter, Shape
from malan.media.reader import ClipReader
from malan.media.runs import plan_runs

SHOTS = (20, 17, 23)
B_FRAMES = {"preset": "veryfast", "g": "12", "bf": "3", "sc_threshold": "0"}
ENCODES = {
    "h264 closed.mp4": ("libx264", B_FRAMES),
    "h264 open.mp4": ("libx264", B_FRAMES | {"x264-params": "open-gop=1"}),
    "h264 long.mov": ("libx264", {"preset": "veryfast", "g": "1000"}),
    "h264.mkv": ("libx264", B_FRAMES),
    "h264.ts": ("libx264", B_FRAMES),
    "h264.flv": ("libx264", B_FRAMES),
    "hevc open.mp4": ("libx265", {"preset": "ultrafast", "x265-params": "keyint=12:bframes=3:log-level=none"}),
    "vp9.webm": ("libvpx-vp9", {"deadline": "realtime", "cpu-used": "8", "g": "12"}),
    "mpeg2.ts": ("mpeg2video", {"g": "12", "bf": "2", "b": "3M"}),
    "mpeg2.mxf": ("mpeg2video", {"g": "12", "bf": "2", "b": "3M"}),
    "mpeg4.avi": ("mpeg4", {"g": "12", "b": "3M"}),
    "mjpeg.avi": ("mjpeg", {}),
    "prores.mov": ("prores_ks", {}),
}


@pytest.fixture(scope="module")
def film(tmp_path_factory: pytest.TempPathFactory) -> tuple[Film, PacketIndex]:
    film = draw_film(tmp_path_factory.mktemp("reader") / "film.mp4", SHOTS, options=B_FRAMES)
    return film, build_index(film.path)


def numbers(frames_THWC: np.ndarray) -> list[int]:
    return [read_number(frame) for frame in frames_THWC]


@pytest.mark.parametrize("name", ENCODES)
def test_windows_hold_exactly_the_frames_asked_for(name: str, tmp_path: Path) -> None:
    codec, options = ENCODES[name]
    pixels = {"prores_ks": "yuv422p10le", "mjpeg": "yuvj420p"}.get(codec, "yuv420p")
    film = draw_film(tmp_path / name, SHOTS, codec=codec, options=options, pixel_format=pixels)
    with ClipReader(film.path, build_index(film.path)) as reader:
        windows = [(50, 60), (3, 9), (10, 14), (33, 38), (0, 1), (58, 60), (8, 16), (20, 26)]
        assert [numbers(b.frames_THWC) for b in reader.windows(windows)] == [list(range(*w)) for w in windows]
        assert [numbers(reader.frames(*w).frames_THWC) for w in windows[:3]] == [list(range(*w)) for w in windows[:3]]


def test_frames_read_alone_are_the_frames_of_a_full_decode(film: tuple[Film, PacketIndex]) -> None:
    path, index = film[0].path, film[1]
    with ClipReader(path, index) as reader, av.open(str(path)) as container:
        painter = Painter(reader.shape, 64)
        for number, frame in enumerate(container.decode(video=0)):
            assert (reader.frames(number, number + 1, size=64).frames_THWC[0] == painter.paint(frame)).all()


def test_a_step_takes_every_nth_frame_and_its_own_time(film: tuple[Film, PacketIndex]) -> None:
    with ClipReader(film[0].path, film[1]) as reader:
        batch = reader.frames(5, 30, step=7)
    assert numbers(batch.frames_THWC) == [5, 12, 19, 26]
    assert batch.ticks.tolist() == film[1].frame_pts[[5, 12, 19, 26]].tolist()


def test_overlapping_and_repeated_windows_come_in_the_order_asked(film: tuple[Film, PacketIndex]) -> None:
    windows = [(30, 40), (35, 45), (30, 40), (2, 4)]
    with ClipReader(film[0].path, film[1], batch_bytes=1) as tight, ClipReader(film[0].path, film[1]) as wide:
        for reader in (tight, wide):
            assert [numbers(b.frames_THWC) for b in reader.windows(windows)] == [list(range(*w)) for w in windows]


def test_an_empty_window_is_an_empty_batch(film: tuple[Film, PacketIndex]) -> None:
    with ClipReader(film[0].path, film[1]) as reader:
        assert reader.frames(7, 7).frames_THWC.shape == (0, 180, 320, 3)
        assert list(reader.windows([])) == []


def test_one_batch_decodes_each_group_once(film: tuple[Film, PacketIndex]) -> None:
    index = film[1]
    runs = plan_runs(index, index.shown[[14, 13, 15, 40, 41]])
    assert len(runs) == 2
    assert sum(run.stop - run.start for run in runs) <= 24


def test_a_frame_that_leads_its_key_frame_is_decoded_from_the_group_before(tmp_path: Path) -> None:
    film = draw_film(tmp_path / "open.mp4", SHOTS, options=B_FRAMES | {"x264-params": "open-gop=1"})
    index = build_index(film.path)
    key = int(index.key_frames[2])
    leading = key - 1
    assert index.shown[leading] > index.shown[key], "the film has no leading frames, so this tests nothing"
    assert plan_runs(index, index.shown[[leading]])[0].start == index.shown[index.key_frames[1]]


def test_times_pick_the_frame_that_is_shown_then(tmp_path: Path) -> None:
    slots = [0, 1, 2, 10, 11, 20, 21, 22, 23, 30]
    film = draw_film(tmp_path / "vfr.mp4", (10,), rate=10, slots=slots)
    index = build_index(film.path)
    with ClipReader(film.path, index) as reader:
        batch = reader.at_times(Span(0, 4, Fraction(1)), 2)
    assert numbers(batch.frames_THWC) == [0, 2, 3, 4, 5, 8, 9, 9]
    assert (batch.ticks * index.timebase * 10).astype(int).tolist() == [0, 2, 10, 11, 20, 23, 30, 30]


def test_a_size_is_the_short_side_or_width_and_height(film: tuple[Film, PacketIndex]) -> None:
    with ClipReader(film[0].path, film[1]) as reader:
        assert reader.frames(0, 2, size=90).frames_THWC.shape == (2, 90, 160, 3)
        assert reader.frames(0, 2, size=(100, 80)).frames_THWC.shape == (2, 80, 100, 3)


def test_shown_size_turns_and_widens() -> None:
    shape = Shape(720, 576, turn_deg=90, sample_aspect=Fraction(64, 45))
    assert shape.shown(None) == (576, 1024)
    assert shape.shown(288) == (288, 512)


def test_frames_that_do_not_exist_are_refused(film: tuple[Film, PacketIndex]) -> None:
    with ClipReader(film[0].path, film[1]) as reader:
        for first, end in ((-1, 3), (5, 61), (9, 8)):
            with pytest.raises(UsageError, match="do not exist"):
                reader.frames(first, end)


def test_damage_names_the_second_it_begins_and_spares_the_rest(film: tuple[Film, PacketIndex], tmp_path: Path) -> None:
    index, broken = film[1], tmp_path / "broken.mp4"
    data = bytearray(film[0].path.read_bytes())
    for packet in range(int(index.shown[24]), int(index.shown[24]) + 12):  # one whole group
        place = int(index.position[packet])
        data[place : place + int(index.size_bytes[packet])] = bytes(int(index.size_bytes[packet]))
    broken.write_bytes(data)
    with ClipReader(broken, index) as reader:
        with pytest.raises(MediaError, match=r"second 0\.960 on: frame 24"):
            reader.frames(20, 30)
        assert numbers(reader.frames(38, 44).frames_THWC) == list(range(38, 44))


def test_a_file_that_ends_early_is_damaged_there(film: tuple[Film, PacketIndex], tmp_path: Path) -> None:
    short = tmp_path / "short.ts"
    whole = draw_film(tmp_path / "whole.ts", SHOTS, options=B_FRAMES)
    index = build_index(whole.path)
    data = whole.path.read_bytes()
    short.write_bytes(data[: len(data) // 2])
    with ClipReader(short, index) as reader:
        assert numbers(reader.frames(0, 8).frames_THWC) == list(range(8))
        with pytest.raises(MediaError, match="damaged from second"):
            reader.frames(50, 58)


@pytest.mark.parametrize(("name", "direct"), [("a.mp4", True), ("a.mkv", True), ("a.avi", True), ("a.ts", False)])
def test_packets_come_straight_from_their_bytes_where_stored_whole(name: str, direct: bool, tmp_path: Path) -> None:
    film = draw_film(tmp_path / name, SHOTS, options={"preset": "veryfast", "g": "12", "bf": "0"})
    index = build_index(film.path)
    with av.open(str(film.path)) as container:
        packets = open_packets(container, container.streams.video[0], film.path, index)
        assert isinstance(packets, DirectPackets) is direct
        taken = {number: bytes(packet) for number, packet in packets.read([3, 4, 30])}
        packets.close()
    with av.open(str(film.path)) as container:
        demuxed = [bytes(packet) for packet in container.demux(video=0) if packet.size]
    assert taken == {number: demuxed[number] for number in (3, 4, 30)}


@pytest.mark.parametrize(
    "name",
    [
        "derived/dog_hevc10.mkv",
        "derived/bbb_60s_vp9.webm",
        "derived/bbb_80s_av1.mp4",
        "derived/bbb_ntsc_480i_telecine.ts",
        "derived/juggle_pal_576i_h264.mp4",
        "derived/bbb_mpeg2.mxf",
        "derived/climbing_vfr_rotated.mov",
        "derived/手语 视频（测试）#1 é.mkv",
        "derived/-leading-dash.mkv",
        "video/openshot_test_msmpeg4.avi",
        "video/gopro_max_heromode.mp4",
    ],
)
def test_real_footage_reads_as_a_full_decode_shows_it(footage: Path, name: str) -> None:
    path = footage / name
    index = build_index(path)
    end = min(index.frame_count, 160)
    windows = [(end - 6, end), (1, 5), (end // 2, end // 2 + 6), (end // 3, end // 3 + 4)]
    with ClipReader(path, index) as reader, av.open(f"file:{path}") as container:
        painter = Painter(reader.shape, 48)
        full = []
        for frame in container.decode(container.streams.video[0]):
            full.append(painter.paint(frame).copy())
            if len(full) == end:
                break
        for (first, stop), batch in zip(windows, reader.windows(windows, size=48), strict=True):
            assert (batch.frames_THWC == np.stack(full[first:stop])).all()


@pytest.mark.parametrize("name", ["walk_rotate90.mp4", "bedroom_rotate180.mp4", "climbing_vfr_rotated.mov"])
def test_upright_frames_stand_as_a_player_shows_them(footage: Path, name: str) -> None:
    path = footage / "derived" / name
    command = [imageio_ffmpeg.get_ffmpeg_exe(), "-v", "error", "-i", str(path), "-frames:v", "1"]
    raw = subprocess.run([*command, "-f", "rawvideo", "-pix_fmt", "rgb24", "-"], capture_output=True, check=True).stdout
    with ClipReader(path, build_index(path), upright=True) as reader:
        picture = reader.frames(0, 1).frames_THWC[0]
    shown = np.frombuffer(raw, np.uint8).reshape(picture.shape)
    assert np.abs(picture.astype(int) - shown).mean() < 4


def test_upright_frames_of_anamorphic_footage_are_widened(footage: Path) -> None:
    path = footage / "derived/juggle_pal_576i_h264.mp4"
    with ClipReader(path, build_index(path), upright=True) as reader:
        height, width = reader.frames(0, 1).frames_THWC.shape[1:3]
    assert width / height == pytest.approx(16 / 9, abs=0.01)
