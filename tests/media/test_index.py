"""The packet index numbers frames as a full decode shows them, and comes back from its bytes unchanged."""

from __future__ import annotations

import zlib
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest
from damage_factory import LONG_GOP, cut_ts, from_key, full_decode, remux
from hypothesis import given, settings
from hypothesis import strategies as st
from media_factory import draw_film, read_number

from malan.core.errors import MediaError
from malan.media import FrameDecoder, PacketIndex, build_index
from malan.media.index import DISCARD, UNDECODABLE, PacketRows, repair_times

LENGTHS = (20, 25, 15)
FRAMES = sum(LENGTHS)
MPEG_B = {"bf": "2", "g": "12"}

CODINGS = {
    "mp4 with B-frames": ("a.mp4", "libx264", LONG_GOP),
    "mkv, open groups": ("a.mkv", "libx264", LONG_GOP),
    "transport stream": ("a.ts", "libx264", LONG_GOP),
    "avi without presentation times": ("a.avi", "libx264", LONG_GOP),
    "avi with MPEG-4": ("b.avi", "mpeg4", MPEG_B),
    "bare H.264": ("a.h264", "libx264", LONG_GOP),
    "MPEG-2 transport stream": ("b.ts", "mpeg2video", MPEG_B),
    "MPEG-2 in MXF": ("a.mxf", "mpeg2video", {"g": "12", "bf": "2"}),
    "HEVC": ("c.mp4", "libx265", {"preset": "ultrafast", "x265-params": "keyint=24:bframes=3:log-level=none"}),
    "VP9": ("a.webm", "libvpx-vp9", {"deadline": "realtime", "cpu-used": "8"}),
    "intra only": ("a.mov", "mjpeg", {}),
    "animation": ("a.gif", "gif", {}),
}
PIXELS = {"mjpeg": "yuvj420p", "gif": "rgb8"}


def drawn(folder: Path, name: str, codec: str, options: dict[str, str]) -> Path:
    path = folder / name
    draw_film(path, LENGTHS, size=(192, 108), codec=codec, options=options, pixel_format=PIXELS.get(codec, "yuv420p"))
    return path


def numbers(path: Path, index: PacketIndex) -> list[int]:
    """The number drawn into each frame, in the order of the index."""
    with FrameDecoder(path, index, threads="one") as decoder:
        return [read_number(frame.to_ndarray(format="rgb24")) for _, frame in decoder.frames()]


@pytest.mark.parametrize("coding", CODINGS)
def test_frame_numbers_are_those_drawn_into_the_frames(tmp_path: Path, coding: str) -> None:
    path = drawn(tmp_path, *CODINGS[coding])
    index = build_index(path)
    assert index.frame_count == FRAMES
    assert numbers(path, index) == list(range(FRAMES))
    assert (np.diff(index.frame_pts) > 0).all()


@pytest.mark.parametrize("coding", ["mp4 with B-frames", "transport stream", "HEVC", "VP9", "MPEG-2 in MXF"])
def test_times_are_those_of_a_full_decode(tmp_path: Path, coding: str) -> None:
    path = drawn(tmp_path, *CODINGS[coding])
    assert build_index(path).frame_pts.tolist() == list(full_decode(path))


@pytest.mark.parametrize("coding", ["mkv, open groups", "MPEG-2 transport stream"])
def test_frames_that_need_what_was_cut_off_are_not_counted(tmp_path: Path, coding: str) -> None:
    whole = drawn(tmp_path, *CODINGS[coding])
    path = remux(whole, tmp_path / f"cut{whole.suffix}", skip=from_key(1))
    index = build_index(path)
    assert (index.flags & UNDECODABLE).any()
    assert index.frame_pts.tolist() == list(full_decode(path))
    assert numbers(path, index) == list(range(FRAMES - index.frame_count, FRAMES))


def test_a_stream_that_starts_between_key_frames_counts_from_the_first_frame_that_shows(tmp_path: Path) -> None:
    path = cut_ts(drawn(tmp_path, *CODINGS["transport stream"]), tmp_path / "cut.ts", 0.2)
    index = build_index(path)
    assert 0 < index.frame_count < FRAMES
    assert index.frame_pts.tolist() == list(full_decode(path))
    assert index.key_frames[0] == 0


def test_where_time_jumps_back_frames_go_on_in_file_order(tmp_path: Path) -> None:
    one = drawn(tmp_path, *CODINGS["transport stream"])
    path = tmp_path / "twice.ts"
    path.write_bytes(one.read_bytes() * 2)
    index = build_index(path)
    assert numbers(path, index) == [*range(FRAMES), *range(FRAMES)]
    assert (np.diff(index.frame_pts) > 0).all()


def test_a_file_of_no_frames_a_second_still_has_a_time_for_each(tmp_path: Path) -> None:
    path = drawn(tmp_path, "a.avi", "mjpeg", {})
    data = bytearray(path.read_bytes())
    header = data.index(b"vids")
    data[header + 24 : header + 28] = bytes(4)  # dwRate
    path.write_bytes(data)
    index = build_index(path)
    assert numbers(path, index) == list(range(FRAMES))
    assert (np.diff(index.frame_pts) > 0).all()


def test_frames_without_any_time_get_the_nominal_rate() -> None:
    times = repair_times(rows([(0, 0)] * 5), nominal_step_ticks=40)
    assert times.pts.tolist() == [0, 40, 80, 120, 160]
    assert times.untimed


def test_a_missing_time_is_taken_from_the_decode_time() -> None:
    times = repair_times(rows([(0, 0), (None, 40), (80, 80), (None, None)]), nominal_step_ticks=40)
    assert times.pts.tolist() == [0, 40, 80, 80]
    assert times.missing


def test_times_beyond_all_reason_do_not_overflow() -> None:
    times = repair_times(rows([(2**63 - 1, 0), (-(2**63) + 1, 40), (80, 80)]), nominal_step_ticks=40)
    assert times.step_ticks > 0


def rows(times: list[tuple[int | None, int | None]]) -> PacketRows:
    found = PacketRows()
    for pts, dts in times:
        packet = av.Packet(b"x")
        packet.pts, packet.dts = pts, dts
        found.add(packet, "drawn")
    return found


def test_doubled_times_keep_file_order(tmp_path: Path) -> None:
    def double(number: int, packet: object) -> None:
        packet.pts = packet.dts = number // 2 * 2  # type: ignore[attr-defined]

    film = drawn(tmp_path, "a.mkv", "mjpeg", {})
    path = remux(film, tmp_path / "pairs.mkv", change=double)
    index = build_index(path)
    assert numbers(path, index) == list(range(FRAMES))
    assert (np.diff(index.frame_pts) >= 0).all()


def test_frames_before_an_edit_list_are_not_shown(tmp_path: Path) -> None:
    def earlier(_number: int, packet: object) -> None:
        packet.pts -= 10 * 512  # type: ignore[attr-defined]
        packet.dts -= 10 * 512  # type: ignore[attr-defined]

    film = drawn(tmp_path, *CODINGS["mp4 with B-frames"])
    path = remux(film, tmp_path / "edit.mp4", change=earlier, options={"avoid_negative_ts": "disabled"})
    index = build_index(path)
    assert np.count_nonzero(index.flags & DISCARD) == 10
    assert index.frame_pts.tolist() == list(full_decode(path))
    assert numbers(path, index) == list(range(10, FRAMES))
    assert index.frame_pts[0] == 0


def test_a_single_frame_lasts_one_step(tmp_path: Path) -> None:
    draw_film(tmp_path / "one.mp4", (1,), size=(64, 36))
    index = build_index(tmp_path / "one.mp4")
    assert index.frame_count == 1
    assert index.span(0, 1).duration == Fraction(1, 25)


def test_a_file_without_a_picture_is_refused(tmp_path: Path) -> None:
    from damage_factory import write_wav

    with pytest.raises(MediaError) as caught:
        build_index(write_wav(tmp_path / "a.wav"))
    assert caught.value.code == "media.no_video"


@st.composite
def indexes(draw: st.DrawFn) -> PacketIndex:
    count = draw(st.integers(0, 40))
    big = st.integers(-(2**62), 2**62)

    def column(of: st.SearchStrategy[int], kind: type) -> np.ndarray:
        return np.array(draw(st.lists(of, min_size=count, max_size=count)), kind)

    return PacketIndex(
        timebase=Fraction(draw(st.integers(1, 10**6)), draw(st.integers(1, 10**9))),
        pts=column(big, np.int64),
        dts=column(big, np.int64),
        size_bytes=column(st.integers(1, 2**31 - 1), np.int32),
        position=column(st.integers(-1, 2**62), np.int64),
        flags=column(st.integers(0, 31), np.uint8),
        end_ticks=draw(big),
    )


def assert_same(one: PacketIndex, other: PacketIndex) -> None:
    for column in ("pts", "dts", "size_bytes", "position", "flags"):
        mine, theirs = getattr(one, column), getattr(other, column)
        assert mine.dtype == theirs.dtype
        assert np.array_equal(mine, theirs), column
    assert (one.timebase, one.end_ticks) == (other.timebase, other.end_ticks)


@given(indexes())
@settings(max_examples=80, deadline=None)
def test_an_index_comes_back_from_its_bytes(index: PacketIndex) -> None:
    assert_same(PacketIndex.from_bytes(index.to_bytes()), index)


@given(st.binary(max_size=200))
@settings(max_examples=100, deadline=None)
def test_any_other_bytes_are_refused(data: bytes) -> None:
    with pytest.raises(MediaError) as caught:
        PacketIndex.from_bytes(data)
    assert caught.value.code == "media.bad_index"


def test_an_index_with_one_byte_changed_is_refused(tmp_path: Path) -> None:
    data = build_index(drawn(tmp_path, *CODINGS["mp4 with B-frames"])).to_bytes()
    for place in range(0, len(data), 7):
        changed = data[:place] + bytes([data[place] ^ 0x5A]) + data[place + 1 :]
        with pytest.raises(MediaError):
            PacketIndex.from_bytes(changed)


@given(st.integers(0, 2**64 - 1), st.binary(max_size=80))
@settings(max_examples=100, deadline=None)
def test_a_forged_head_takes_no_memory(count: int, rest: bytes) -> None:
    body = count.to_bytes(8, "little") + (1).to_bytes(8, "little") * 2 + bytes(8) + rest
    forged = b"MPKI" + (1).to_bytes(2, "little") + bytes(2) + zlib.crc32(body).to_bytes(4, "little") + body
    with pytest.raises(MediaError):
        PacketIndex.from_bytes(forged)


def test_ten_hours_of_packets_take_a_few_bytes_each() -> None:
    count = 100_000
    rng = np.random.default_rng(3)
    sizes = rng.lognormal(9, 0.7, count).astype(np.int32)
    index = PacketIndex(
        timebase=Fraction(1, 90_000),
        pts=np.arange(count) * 3600 + 7200 * (np.arange(count) % 3 == 0),
        dts=np.arange(count) * 3600,
        size_bytes=sizes,
        position=np.cumsum(sizes + rng.integers(300, 400, count)).astype(np.int64),
        flags=(np.arange(count) % 50 == 0).astype(np.uint8),
        end_ticks=count * 3600,
    )
    assert len(index.to_bytes()) / count < 5


# Frames that a full decode does not give although their packets are there: damage in the middle or at the end of the
# file, which no index can foresee. All other numbers are the same.
LOST_TO_DAMAGE = {"bitflips_mdat.mp4", "truncated_faststart.mp4"}
# The clock falls back half-way: the index lets it run on, a plain decode does not.
CLOCK_FALLS = {"ts_pts_jump_back.ts"}


def playable(footage: Path) -> list[Path]:
    """Every file with moving pictures that is not too long to decode in a test."""
    suffixes = {".mp4", ".mov", ".mkv", ".webm", ".ts", ".avi", ".mxf"}
    folders = ("video", "derived", "derived/hls_car", "damaged")
    files = [p for folder in folders for p in sorted((footage / folder).iterdir()) if p.suffix.lower() in suffixes]
    return [p for p in files if p.stat().st_size < 2_500_000]


def test_every_real_file_is_numbered_as_a_full_decode_shows_it(footage: Path) -> None:
    wrong = {}
    for path in playable(footage):
        try:
            index = build_index(path)
        except MediaError:
            continue
        decoded = list(full_decode(path))
        if path.name in LOST_TO_DAMAGE:
            same = set(decoded) <= set(index.frame_pts.tolist())
        elif path.name in CLOCK_FALLS:
            same = len(decoded) == index.frame_count
        else:
            same = decoded == index.frame_pts.tolist()
        if not same:
            wrong[path.name] = (len(decoded), index.frame_count)
    assert wrong == {}
