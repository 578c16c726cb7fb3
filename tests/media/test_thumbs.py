"""Thumbnails show the frame asked for, upright; sprites cover the whole film and cost few decodes."""

from __future__ import annotations

import io
import json
from itertools import pairwise
from pathlib import Path

import av
import numpy as np
import pytest
from media_factory import Film, draw_film, read_number

from malan.core.errors import StoreError, UsageError
from malan.media.index import PacketIndex, build_index
from malan.media.thumbs import contact_sheet, encode_jpeg, sprites, thumbnails


@pytest.fixture(scope="module")
def film(tmp_path_factory: pytest.TempPathFactory) -> tuple[Film, PacketIndex]:
    options = {"preset": "veryfast", "g": "25", "bf": "2"}
    film = draw_film(tmp_path_factory.mktemp("thumbs") / "film.mp4", (40, 35, 50), options=options)
    return film, build_index(film.path)


def opened(jpeg: bytes) -> np.ndarray:
    with av.open(io.BytesIO(jpeg)) as container:
        return next(container.decode(video=0)).to_ndarray(format="rgb24")


def test_thumbnails_come_in_the_order_asked(film: tuple[Film, PacketIndex]) -> None:
    frames = [70, 3, 124, 3]
    assert [read_number(opened(jpeg)) for jpeg in thumbnails(film[0].path, film[1], frames, height_px=90)] == frames


def test_a_jpeg_keeps_its_colours() -> None:
    picture = np.zeros((48, 64, 3), np.uint8)
    for x, colour in enumerate([(200, 30, 30), (30, 200, 30), (30, 30, 200), (128, 128, 128)]):
        picture[:, 16 * x : 16 * x + 16] = colour
    assert np.abs(opened(encode_jpeg(picture)).astype(int) - picture)[:, 4::16].max() < 12


def test_a_jpeg_may_have_odd_sides() -> None:
    assert opened(encode_jpeg(np.full((31, 17, 3), 90, np.uint8))).shape == (31, 17, 3)


def test_a_contact_sheet_lays_frames_out_row_by_row(film: tuple[Film, PacketIndex], tmp_path: Path) -> None:
    contact_sheet(film[0].path, film[1], [5, 15, 25, 35, 45], tmp_path / "sheet.jpg", columns=3, height_px=90)
    sheet = opened((tmp_path / "sheet.jpg").read_bytes())
    assert sheet.shape == (180, 480, 3)
    tiles = [sheet[y : y + 90, x : x + 160] for y in (0, 90) for x in (0, 160, 320)]
    assert [read_number(tile) for tile in tiles[:5]] == [5, 15, 25, 35, 45]
    assert tiles[5].mean() < 10


def test_an_empty_sheet_is_refused(film: tuple[Film, PacketIndex], tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="0 pictures"):
        contact_sheet(film[0].path, film[1], [], tmp_path / "sheet.jpg")


def test_a_sheet_that_cannot_be_written_is_told(film: tuple[Film, PacketIndex], tmp_path: Path) -> None:
    with pytest.raises(StoreError, match="free space"):
        contact_sheet(film[0].path, film[1], [1], tmp_path / "missing" / "sheet.jpg")


def test_sprites_cover_the_film_without_a_gap(film: tuple[Film, PacketIndex]) -> None:
    made = sprites(film[0].path, film[1], every_s=1, columns=2, rows=2)
    assert len(made.sheets) == 2
    assert (made.cues[0].start_s, made.cues[-1].end_s) == (0, 5)
    assert all(a.end_s == b.start_s for a, b in pairwise(made.cues))


def test_each_sprite_shows_a_frame_of_its_stretch(film: tuple[Film, PacketIndex]) -> None:
    made = sprites(film[0].path, film[1], every_s=1, columns=2, rows=2)
    sheets = [opened(sheet) for sheet in made.sheets]
    width, height = made.tile_px
    for cue in made.cues:
        number = read_number(sheets[cue.sheet][cue.y_px : cue.y_px + height, cue.x_px : cue.x_px + width])
        assert cue.start_s <= number / 25 < cue.end_s


def test_sprites_prefer_key_frames(film: tuple[Film, PacketIndex]) -> None:
    made = sprites(film[0].path, film[1], every_s=1, columns=10, rows=1)
    sheet, (width, height) = opened(made.sheets[0]), made.tile_px
    shown = [read_number(sheet[:height, c.x_px : c.x_px + width]) for c in made.cues]
    keys = film[1].key_frames.tolist()
    with_key = [any(c.start_s <= k / 25 < c.end_s for k in keys) for c in made.cues]
    assert all(number in keys for number, has in zip(shown, with_key, strict=True) if has)


def test_the_map_is_webvtt_and_json(film: tuple[Film, PacketIndex]) -> None:
    made = sprites(film[0].path, film[1], every_s=2, columns=2, rows=2)
    lines = made.to_webvtt("s{sheet}.jpg").splitlines()
    assert lines[:4] == ["WEBVTT", "", "00:00:00.000 --> 00:00:02.000", "s0.jpg#xywh=0,0,160,90"]
    told = json.loads(made.to_json())
    assert told["cues"][1] == [2.0, 4.0, 0, 160, 0]
    assert told["tile"] == [160, 90]


def test_a_damaged_frame_is_grey_and_the_others_are_there(film: tuple[Film, PacketIndex], tmp_path: Path) -> None:
    index, data = film[1], bytearray(film[0].path.read_bytes())
    start = int(index.shown[index.key_frames[1]])
    for packet in range(start, start + 10):
        place = int(index.position[packet])
        data[place : place + int(index.size_bytes[packet])] = bytes(int(index.size_bytes[packet]))
    broken = tmp_path / "broken.mp4"
    broken.write_bytes(data)
    key = int(index.key_frames[1])
    first, second = (opened(jpeg) for jpeg in thumbnails(broken, index, [3, key], height_px=90))
    assert read_number(first) == 3
    assert np.abs(second.astype(int) - 64).max() <= 2


def test_thumbnails_of_a_turned_film_stand_upright(footage: Path) -> None:
    path = footage / "derived/walk_rotate90.mp4"
    height, width = opened(thumbnails(path, build_index(path), [0], height_px=120)[0]).shape[:2]
    assert width > height == 120
