"""Cuts hold exactly the frames asked for, copy what can be copied, and keep sound, times and turn."""

from __future__ import annotations

import os
import resource
import subprocess
import sys
from pathlib import Path

import av
import imageio_ffmpeg
import numpy as np
import pytest
from media_factory import Film, draw_film, read_number

from malan.core import Span
from malan.core.errors import MediaError, StoreError, UsageError
from malan.media import cut_check
from malan.media.cut import Cut, Cutter, cut
from malan.media.index import PacketIndex, build_index
from malan.media.nal import Framing, framing_of, h264_order_period, h264_set_ids, parameter_sets, with_sets
from malan.media.plan_cut import plan_span

SIZE = (320, 180)
SHOTS = (30, 25, 35)
CLOSED = {"preset": "veryfast", "g": "20", "bf": "3", "sc_threshold": "0"}
HEVC = "log-level=none:keyint=20:bframes=3"
SOURCES = {
    "closed.mp4": ("libx264", CLOSED, "smart"),
    "closed.mkv": ("libx264", CLOSED, "smart"),
    "closed.ts": ("libx264", CLOSED, "smart"),
    "no-b-frames.mp4": ("libx264", CLOSED | {"bf": "0"}, "smart"),
    "open.mp4": ("libx264", CLOSED | {"x264-params": "open-gop=1"}, "encode"),
    "long.mp4": ("libx264", {"preset": "veryfast", "g": "500", "sc_threshold": "0"}, "encode"),
    "hevc open.mp4": ("libx265", {"preset": "ultrafast", "x265-params": HEVC}, "smart"),
    "hevc closed.mkv": ("libx265", {"preset": "ultrafast", "x265-params": HEVC + ":open-gop=0"}, "smart"),
    "mpeg2.ts": ("mpeg2video", {"g": "15", "bf": "2", "b": "3M"}, "encode"),
    "prores.mov": ("prores_ks", {}, "copy"),
}


@pytest.fixture(scope="module")
def film(tmp_path_factory: pytest.TempPathFactory) -> tuple[Film, PacketIndex]:
    film = draw_film(tmp_path_factory.mktemp("cut") / "film.mp4", SHOTS, options=CLOSED, audio=True)
    return film, build_index(film.path)


def seen(path: Path) -> list[int]:
    """The numbers drawn into all frames, decoded by PyAV."""
    with av.open(f"file:{path}") as container:
        return [read_number(frame.to_ndarray(format="rgb24")) for frame in container.decode(video=0)]


def seen_by_ffmpeg(path: Path, size: tuple[int, int] = SIZE) -> list[int]:
    """The same by another build of another version of ffmpeg."""
    command = [imageio_ffmpeg.get_ffmpeg_exe(), "-v", "error", "-i", f"file:{path}", "-map", "0:v:0"]
    command += ["-fps_mode", "passthrough", "-f", "rawvideo", "-pix_fmt", "rgb24", "-"]
    raw = subprocess.run(command, capture_output=True, check=True).stdout
    return [read_number(picture) for picture in np.frombuffer(raw, np.uint8).reshape(-1, size[1], size[0], 3)]


def frames_of(film: tuple[Film, PacketIndex], out: Path, *ranges: tuple[int, int]) -> Cut:
    return cut(film[0].path, film[1], [film[1].span(*r) for r in ranges], out)


@pytest.mark.parametrize("name", SOURCES)
@pytest.mark.parametrize("ranges", [[(13, 67)], [(5, 48), (61, 90)]], ids=["one span", "two spans joined"])
def test_a_cut_holds_exactly_its_frames(name: str, ranges: list[tuple[int, int]], tmp_path: Path) -> None:
    codec, options, mode = SOURCES[name]
    pixels = "yuv422p10le" if codec == "prores_ks" else "yuv420p"
    film = draw_film(tmp_path / name, SHOTS, codec=codec, options=options, pixel_format=pixels)
    index, out = build_index(film.path), tmp_path / ("out.mov" if codec == "prores_ks" else "out.mp4")
    done = cut(film.path, index, [index.span(*r) for r in ranges], out)
    wanted = [n for r in ranges for n in range(*r)]
    assert seen(out) == wanted
    assert seen_by_ffmpeg(out) == wanted
    assert (done.mode, done.frames, done.size_bytes) == (mode, len(wanted), out.stat().st_size)


@pytest.mark.parametrize("extension", [".mp4", ".mov", ".mkv"])
def test_only_edges_are_encoded(film: tuple[Film, PacketIndex], tmp_path: Path, extension: str) -> None:
    done = frames_of(film, tmp_path / f"out{extension}", (13, 67))
    assert done.mode == "smart"
    assert done.frames_copied >= 40, "both whole groups"
    assert done.frames_encoded <= 7 + 7, "the head, and a tail shorter than its seven frames"
    assert seen(done.path) == list(range(13, 67))


def test_whole_groups_are_copied_bit_for_bit(film: tuple[Film, PacketIndex], tmp_path: Path) -> None:
    done = frames_of(film, tmp_path / "out.mp4", (13, 60))
    with av.open(str(film[0].path)) as old, av.open(str(done.path)) as new:
        before = {bytes(packet) for packet in old.demux(video=0) if packet.size}
        after = [bytes(packet) for packet in new.demux(video=0) if packet.size]
    assert sum(packet in before for packet in after) == done.frames_copied == 40


def test_a_cut_between_key_frames_encodes_nothing(film: tuple[Film, PacketIndex], tmp_path: Path) -> None:
    done = frames_of(film, tmp_path / "out.mp4", (20, 60))
    assert (done.mode, done.frames_encoded, done.frames_copied) == ("copy", 0, 40)
    assert seen(done.path) == list(range(20, 60))


@pytest.mark.parametrize("ranges", [(33, 34), (19, 21), (0, 1), (89, 90), (21, 39)])
def test_short_cuts_are_exact_too(film: tuple[Film, PacketIndex], tmp_path: Path, ranges: tuple[int, int]) -> None:
    done = frames_of(film, tmp_path / "out.mp4", ranges)
    assert seen(done.path) == seen_by_ffmpeg(done.path) == list(range(*ranges))


def test_every_group_of_a_cut_can_be_decoded_alone(film: tuple[Film, PacketIndex], tmp_path: Path) -> None:
    done = frames_of(film, tmp_path / "out.mp4", (13, 67))
    index = build_index(done.path)
    with av.open(str(done.path)) as container:
        stream = container.streams.video[0]
        for key in index.key_frames.tolist():
            container.seek(int(index.frame_pts[key]), stream=stream)
            frame = next(container.decode(stream))
            assert read_number(frame.to_ndarray(format="rgb24")) == 13 + key


def test_variable_frame_rate_stays_what_it_was(tmp_path: Path) -> None:
    slots = list(np.cumsum(np.random.default_rng(3).integers(1, 5, 60)))
    film = draw_film(tmp_path / "vfr.mp4", (60,), options=CLOSED, slots=[int(s) for s in slots])
    index = build_index(film.path)
    for out in (tmp_path / "out.mp4", tmp_path / "out.mkv"):
        done = cut(film.path, index, [index.span(7, 55)], out)
        assert done.mode == "smart"
        written = build_index(out)
        seconds = (written.frame_pts - written.frame_pts[0]) * float(written.timebase)
        asked = (index.frame_pts[7:55] - index.frame_pts[7]) * float(index.timebase)
        assert np.abs(seconds - asked).max() <= float(written.timebase)


def test_sound_is_as_long_as_the_picture(film: tuple[Film, PacketIndex], tmp_path: Path) -> None:
    for out in (tmp_path / "out.mp4", tmp_path / "out.mkv"):
        frames_of(film, out, (10, 45), (55, 88))
        with av.open(str(out)) as container:
            samples = sum(frame.samples for frame in container.decode(audio=0))
        assert samples / 48_000 == pytest.approx(68 / 25, abs=2 * 1024 / 48_000)


def test_sound_begins_where_the_picture_does(tmp_path: Path) -> None:
    """Sound that starts at second 2 of the film starts at second 1.4 of a cut from second 0.6."""
    source, click = draw_film(tmp_path / "film.mp4", (100,), options=CLOSED).path, tmp_path / "click.mp4"
    command = [imageio_ffmpeg.get_ffmpeg_exe(), "-v", "error", "-i", str(source), "-f", "lavfi"]
    command += ["-i", "sine=1000:d=4,volume='if(lt(t,2),0,1)':eval=frame:precision=fixed,asetnsamples=64"]
    subprocess.run([*command, "-c:v", "copy", "-c:a", "aac", str(click)], check=True)
    index = build_index(click)
    for out in (tmp_path / "out.mp4", tmp_path / "out.mkv"):
        cut(click, index, [index.span(15, 90)], out)
        assert _first_sound_s(out) == pytest.approx(_first_sound_s(click) - 0.6, abs=0.003)


def _first_sound_s(path: Path) -> float:
    """Second of the first loud sample, on the clock of the first frame."""
    with av.open(str(path)) as container:
        start = next(container.decode(video=0)).time
    with av.open(str(path)) as container:
        for frame in container.decode(audio=0):
            loud = np.flatnonzero(np.abs(frame.to_ndarray()[0]) > 0.05)
            if len(loud):
                return float(frame.time + loud[0] / frame.sample_rate - start)
    raise AssertionError("silent")


def test_sound_a_container_cannot_hold_is_encoded_to_the_exact_length(tmp_path: Path) -> None:
    source, wave = draw_film(tmp_path / "film.mp4", (100,), options=CLOSED).path, tmp_path / "pcm.mov"
    command = [imageio_ffmpeg.get_ffmpeg_exe(), "-v", "error", "-i", str(source), "-f", "lavfi", "-i", "sine=440:d=4"]
    subprocess.run([*command, "-c:v", "copy", "-c:a", "pcm_s16le", "-ar", "48000", str(wave)], check=True)
    index = build_index(wave)
    cut(wave, index, [index.span(11, 31), index.span(40, 71)], tmp_path / "out.mp4")
    with av.open(str(tmp_path / "out.mp4")) as container:
        assert container.streams.audio[0].codec_context.name == "aac"
        samples = sum(frame.samples for frame in container.decode(audio=0))
    assert samples == pytest.approx(51 / 25 * 48_000, abs=1024)


def test_several_files_from_one_open_source(film: tuple[Film, PacketIndex], tmp_path: Path) -> None:
    with Cutter(film[0].path, film[1]) as cutter:
        for first in (3, 30, 50):
            done = cutter.cut([film[1].span(first, first + 30)], tmp_path / f"{first}.mp4")
            assert seen(done.path) == list(range(first, first + 30))


def test_a_span_in_other_ticks_takes_the_frame_shown_at_its_start(
    film: tuple[Film, PacketIndex], tmp_path: Path
) -> None:
    span = Span.from_fragment("t=0.5,1.3", film[1].timebase, end=0)
    done = cut(film[0].path, film[1], [span], tmp_path / "out.mp4")
    assert seen(done.path) == list(range(12, 33))


def test_what_fails_the_check_is_encoded_as_a_whole(
    film: tuple[Film, PacketIndex], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cut_check, "_same", lambda *_: False)
    done = frames_of(film, tmp_path / "out.mp4", (13, 67))
    assert (done.mode, done.frames_copied) == ("encode", 0)
    assert "pictures at a seam differ" in done.notes[0]
    assert seen(done.path) == list(range(13, 67))


@pytest.mark.parametrize(
    "name", ["-dash.mp4", "a'b\"c.mp4", "new\nline.mp4", "百分%20号：片段.mp4", "x" * 250 + ".mp4"]
)
def test_awkward_names_are_only_names(film: tuple[Film, PacketIndex], tmp_path: Path, name: str) -> None:
    done = frames_of(film, tmp_path / name, (20, 40))
    assert done.path.name == name
    assert [file.name for file in tmp_path.iterdir()] == [name]


def test_a_name_that_is_not_text_is_only_a_name(film: tuple[Film, PacketIndex], tmp_path: Path) -> None:
    done = frames_of(film, tmp_path / os.fsdecode(b"\xff\xfe.mp4"), (20, 40))
    assert done.path.is_file()


@pytest.mark.parametrize(("name", "code"), [("a.webm", "cutting.bad_extension"), ("a", "cutting.bad_extension")])
def test_unknown_extensions_are_refused(film: tuple[Film, PacketIndex], tmp_path: Path, name: str, code: str) -> None:
    with pytest.raises(UsageError) as caught:
        frames_of(film, tmp_path / name, (0, 5))
    assert caught.value.code == code
    assert ".mkv" in caught.value.message()


def test_a_span_without_frames_is_refused(film: tuple[Film, PacketIndex], tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="no frame"):
        cut(film[0].path, film[1], [Span(10**9, 10**9 + 5, film[1].timebase)], tmp_path / "out.mp4")


def test_the_source_is_never_written_over(film: tuple[Film, PacketIndex]) -> None:
    before = film[0].path.read_bytes()
    with pytest.raises(UsageError, match="over the file it is cut from"):
        frames_of(film, film[0].path, (0, 5))
    assert film[0].path.read_bytes() == before


def test_a_folder_that_cannot_be_written_is_told(film: tuple[Film, PacketIndex], tmp_path: Path) -> None:
    with pytest.raises(StoreError, match="free space"):
        frames_of(film, tmp_path / "missing" / "out.mp4", (0, 30))


def test_a_full_disk_leaves_nothing_behind(film: tuple[Film, PacketIndex], tmp_path: Path) -> None:
    """A limit on file size stands for the full disk: libav meets both as a short write."""
    script = (
        "import sys, resource, signal; from malan.media.index import build_index; from malan.media.cut import cut\n"
        "index = build_index(sys.argv[1])\n"
        "signal.signal(signal.SIGXFSZ, signal.SIG_IGN)\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (20000, 20000))\n"
        "try: cut(sys.argv[1], index, [index.span(0, 90)], sys.argv[2])\n"
        "except Exception as error: print(type(error).__name__, error.code)\n"
    )
    command = [sys.executable, "-c", script, str(film[0].path), str(tmp_path / "out.mp4")]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "StoreError cutting.not_written"
    assert list(tmp_path.iterdir()) == []
    assert resource.getrlimit(resource.RLIMIT_FSIZE)[0] != 20_000


def test_frames_that_cannot_be_decoded_are_told_and_nothing_is_left(
    film: tuple[Film, PacketIndex], tmp_path: Path
) -> None:
    index, data = film[1], bytearray(film[0].path.read_bytes())
    for packet in (50, 51, 52):
        place = int(index.position[packet])
        data[place : place + int(index.size_bytes[packet])] = bytes(int(index.size_bytes[packet]))
    (tmp_path / "broken.mp4").write_bytes(data)
    with pytest.raises(MediaError, match="does not hold the frames asked for"):
        cut(tmp_path / "broken.mp4", index, [index.span(45, 58)], tmp_path / "out.mp4")
    assert [file.name for file in tmp_path.iterdir()] == ["broken.mp4"]


def test_a_recording_that_starts_in_the_middle_of_a_group_is_cut(footage: Path, tmp_path: Path) -> None:
    path = footage / "damaged/ts_starts_mid_gop.ts"
    index = build_index(path)
    done = cut(path, index, [index.span(0, index.frame_count)], tmp_path / "out.mp4")
    with av.open(str(done.path)) as container:
        assert sum(1 for _ in container.decode(video=0)) == index.frame_count


def test_a_plan_without_a_key_inside_encodes(film: tuple[Film, PacketIndex]) -> None:
    plan = plan_span(film[1], 21, 39, lambda *_: True)
    assert [(p.first, p.end, p.packets) for p in plan] == [(21, 39, None)]


def test_parameter_sets_of_both_streams_stand_in_one_configuration(film: tuple[Film, PacketIndex]) -> None:
    with av.open(str(film[0].path)) as container:
        configuration = container.streams.video[0].codec_context.extradata
    sets = parameter_sets("h264", configuration)
    assert len(sets) == 2
    assert h264_set_ids(sets) == {0}
    assert h264_order_period(sets) in {8, 16, 32, 64}
    assert h264_order_period([]) is None
    assert parameter_sets("h264", with_sets(configuration, sets)) == sets
    assert framing_of("h264", configuration) == Framing("h264", 4)


@pytest.mark.parametrize("length_bytes", [0, 2, 4])
def test_units_survive_their_framing(length_bytes: int) -> None:
    framing, units = Framing("h264", length_bytes), [b"\x67abc", b"\x68d", b"\x65" + bytes(range(1, 200))]
    assert list(framing.units(framing.packet(units))) == units


def test_real_films_keep_tracks_turn_and_pictures(footage: Path, tmp_path: Path) -> None:
    for name, extension, tracks in (
        ("derived/sintel_multitrack.mkv", ".mkv", {"video": 1, "audio": 2, "subtitle": 2}),
        ("derived/sintel_multitrack.mkv", ".mp4", {"video": 1, "audio": 2}),
        ("derived/walk_rotate90.mp4", ".mp4", {"video": 1, "audio": 1}),
        ("derived/bbb_51_ac3.mkv", ".mp4", {"video": 1, "audio": 1}),
        ("derived/climbing_vfr_rotated.mov", ".mov", {"video": 1}),
        ("derived/juggle_pal_576i_h264.mp4", ".mp4", {"video": 1}),
        ("derived/dog_hevc10.mkv", ".mkv", {"video": 1, "audio": 1}),
        ("video/bbb_1a_486p.mp4", ".mp4", {"video": 1, "audio": 1}),
    ):
        path, out = footage / name, tmp_path / f"out{extension}"
        index = build_index(path)
        first, end = 30, min(index.frame_count, 130)
        cut(path, index, [index.span(first, end)], out)
        with av.open(str(path)) as old, av.open(str(out)) as new:
            counts = {kind: sum(s.type == kind for s in new.streams) for kind in ("video", "audio", "subtitle")}
            assert {k: v for k, v in counts.items() if v} == tracks, name
            _assert_alike(old, new, first, end)


def _assert_alike(old: av.container.InputContainer, new: av.container.InputContainer, first: int, end: int) -> None:
    """Same size, turn and pictures; worst of all frames well above what an eye notices."""
    pairs = zip((f for i, f in enumerate(old.decode(video=0)) if first <= i < end), new.decode(video=0), strict=False)
    count = 0
    for before, after in pairs:
        assert (before.width, before.height, before.rotation) == (after.width, after.height, after.rotation)
        a, b = (f.reformat(width=160, height=90, format="gray").to_ndarray().astype(float) for f in (before, after))
        assert 10 * np.log10(255**2 / max(np.mean((a - b) ** 2), 1e-6)) > 36
        count += 1
        if count == end - first:
            return
    raise AssertionError(f"{count} frames instead of {end - first}")
