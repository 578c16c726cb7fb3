"""Fields that come in packets of their own make one frame together, and are read, numbered and timed as one."""

from __future__ import annotations

from pathlib import Path

import av
import numpy as np
import pytest
from field_film import draw_fields, field_unit, frame_picture, picture_set, sequence_set
from media_factory import draw_film, read_number

from malan.media import FrameDecoder, build_index
from malan.media.cut import cut
from malan.media.fields import FieldPairs
from malan.media.reader import ClipReader

COUNT = 24
CONTAINERS = ["a.ts", "a.mkv", "a.mp4"]
START = b"\0\0\0\1"
SETS = START + sequence_set() + START + picture_set()


@pytest.mark.parametrize("name", CONTAINERS)
def test_two_fields_are_counted_as_one_frame(name: str, tmp_path: Path) -> None:
    path = draw_fields(tmp_path / name, COUNT)
    index = build_index(path)
    assert (index.packet_count, index.frame_count) == (2 * COUNT, COUNT)
    with av.open(str(path)) as container:
        assert index.frame_pts.tolist() == [frame.pts for frame in container.decode(video=0)]
    assert float(index.span(0, COUNT).duration) == pytest.approx(COUNT / 25, abs=0.001)


@pytest.mark.parametrize("name", CONTAINERS)
def test_windows_show_both_fields_of_the_frames_asked_for(name: str, tmp_path: Path) -> None:
    path = draw_fields(tmp_path / name, COUNT)
    with ClipReader(path, build_index(path)) as reader:
        for first, end in ((0, 3), (13, 16), (COUNT - 1, COUNT)):
            frames_THWC = reader.frames(first, end).frames_THWC
            assert [read_number(picture) for picture in frames_THWC] == list(range(first, end))


def test_what_is_decoded_in_order_or_by_key_is_whole(tmp_path: Path) -> None:
    path = draw_fields(tmp_path / "a.ts", COUNT)
    index = build_index(path)
    with FrameDecoder(path, index, threads="one") as decoder:
        found = [*decoder.frames(), *decoder.key_frames([10]), *decoder.frames(5, 6)]
    assert [number for number, _ in found] == [*range(COUNT), 10, 5]
    for number, frame in found:
        luma = np.frombuffer(memoryview(frame.planes[0]), np.uint8).reshape(-1, frame.planes[0].line_size)[:, :64]
        assert np.array_equal(luma, frame_picture(number))


def test_a_span_cut_out_holds_exactly_its_frames(tmp_path: Path) -> None:
    path = draw_fields(tmp_path / "a.mp4", COUNT)
    index = build_index(path)
    done = cut(path, index, [index.span(8, 17)], tmp_path / "cut.mp4")
    with av.open(str(done.path)) as container:
        shown = [read_number(frame.to_ndarray(format="rgb24")) for frame in container.decode(video=0)]
    assert shown == list(range(8, 17))


def test_an_index_with_fields_comes_back_from_its_bytes(tmp_path: Path) -> None:
    index = build_index(draw_fields(tmp_path / "a.ts", COUNT))
    assert type(index).from_bytes(index.to_bytes()).frame_count == COUNT


def field(frame: int, *, is_bottom: bool) -> bytes:
    return START + field_unit(frame_picture(frame)[int(is_bottom) :: 2], frame, is_bottom=is_bottom, group=8)


def told(*packets: bytes) -> list[bool]:
    pairs = FieldPairs.of("h264", SETS)
    assert pairs is not None
    return [pairs.is_second(packet) for packet in packets]


def test_a_field_completes_only_the_other_parity_of_its_own_frame() -> None:
    top, bottom, later = field(1, is_bottom=False), field(1, is_bottom=True), field(2, is_bottom=True)
    assert told(top, bottom, top, later, bottom) == [False, True, False, False, False]


def test_a_third_field_begins_a_frame_of_its_own() -> None:
    top, bottom = field(1, is_bottom=False), field(1, is_bottom=True)
    assert told(top, bottom, bottom, top) == [False, True, False, True]


def test_both_fields_in_one_packet_are_a_frame() -> None:
    both = field(1, is_bottom=False) + field(1, is_bottom=True)
    assert told(both, both) == [False, False]


def test_sets_that_are_damaged_or_missing_say_nothing() -> None:
    assert FieldPairs.of("h264", b"") is None
    assert FieldPairs.of("h264", START + sequence_set()[:6]) is None
    assert FieldPairs.of("hevc", SETS) is None
    assert told(b"", START, b"\0\0\1\x65", field(1, is_bottom=False)[:9]) == [False] * 4


def test_a_film_of_frames_alone_is_not_looked_at(tmp_path: Path) -> None:
    with av.open(str(draw_film(tmp_path / "a.mp4", (5,)).path)) as container:
        assert FieldPairs.of("h264", container.streams.video[0].codec_context.extradata) is None


def test_mixed_frames_are_counted_as_they_are(tmp_path: Path) -> None:
    """Interlaced, but with both fields in each picture (MBAFF): every packet is a frame."""
    options = {"preset": "veryfast", "flags": "+ildct+ilme", "x264-params": "interlaced=1:bframes=2"}
    path = draw_film(tmp_path / "a.ts", (30,), options=options).path
    index = build_index(path)
    assert index.frame_count == index.packet_count == 30
