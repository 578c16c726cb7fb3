"""What a filmstrip and its findings tell whoever picks shots."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from store.library_factory import a_scan, an_asset, shot

from malan.core import Finding
from malan.media.thumbs import encode_jpeg
from malan.services.clips.strips import look_into, read_strip
from malan.workspace import Workspace


@pytest.mark.parametrize(
    ("faces", "told"),
    [
        ([{"at_s": 2.0, "box": [0.1, 0.1, 0.2, 0.2]}, {"at_s": 0.5}, {"at_s": 2.0}], (0.5, 2.0)),
        ([], ()),
        ([{"when": 3}, "somewhere", None, {"at_s": "now"}, {"at_s": 1}], (1.0,)),
        ({"at_s": 1.0}, ()),
        (None, ()),
    ],
)
def test_when_faces_were_seen_is_told_whoever_wrote_the_finding(
    tmp_path: Path, faces: object, told: tuple[float, ...]
) -> None:
    ws = Workspace.create(tmp_path / "ws")
    row = an_asset()
    ws.library.put_assets([row])
    seen = Finding(shot(row, 0), "privacy.face", "guest", "1", {"share": 0.5, "size": 0.2, "faces": faces})
    plain = encode_jpeg(np.full((90, 640, 3), 120, np.uint8))
    ws.library.put_scan(
        replace(a_scan(row, findings=(seen,)), filmstrips={shot(row, 0).id: plain, shot(row, 1).id: plain})
    )
    strips = look_into(ws, ws.library.clips(row.asset.id))
    assert strips[shot(row, 0).id].faces_s == told
    assert strips[shot(row, 1).id].faces_s == ()


def pictures(*seeds: int, columns: int = 16) -> bytes:
    """A filmstrip, 90 lines high: pictures of one seed are alike, those of two are not."""
    drawn = [np.random.default_rng(seed).integers(0, 255, (9, columns), np.uint8) for seed in seeds]
    tiles = [np.kron(one, np.ones((10, 10), np.uint8)) for one in drawn]
    noise = np.random.default_rng(99)
    noisy = [np.clip(one + noise.normal(0, 6, one.shape), 0, 255).astype(np.uint8) for one in tiles]
    return encode_jpeg(np.repeat(np.concatenate(noisy, axis=1)[:, :, None], 3, axis=2))


@pytest.mark.parametrize(
    ("seeds", "turn"),
    [
        ((1, 1, 1, 1), None),  # one picture
        ((1, 1, 2, 2), (0.1875, 0.5625)),  # another one from the middle on
        ((1, 2, 2, 2), (-0.0625, 0.3125)),
        ((1, 2, 3, 4), None),  # it changes all the time: a shot that moves
        ((1, 2), None),  # too little to tell
    ],
)
def test_where_a_picture_becomes_another_for_good_is_seen(
    seeds: tuple[int, ...], turn: tuple[float, float] | None
) -> None:
    assert read_strip(pictures(*seeds), 16 / 9).turn == turn


def test_of_a_clip_in_which_one_picture_becomes_another_the_longer_part_is_clear(tmp_path: Path) -> None:
    ws = Workspace.create(tmp_path / "ws")
    row = an_asset()
    ws.library.put_assets([row])
    first, second = shot(row, 0), shot(row, 1)
    size = row.asset.first("video").shown_size_px
    columns = round(9 * size[0] / size[1])
    strips = {first.id: pictures(1, 2, 2, 2, columns=columns), second.id: pictures(1, 1, 1, 1, columns=columns)}
    ws.library.put_scan(replace(a_scan(row), filmstrips=strips))
    told = look_into(ws, ws.library.clips(row.asset.id))
    span = first.span
    length = span.end_s - span.start_s
    assert told[first.id].clear == pytest.approx((span.start_s + 0.3125 * length, span.end_s))
    assert told[second.id].clear == pytest.approx((second.span.start_s, second.span.end_s))


def test_lights_that_wander_by_are_the_same_picture() -> None:
    """A city at night: other windows are lit at every moment, all dark as before."""
    noise = np.random.default_rng(5)
    tiles = [np.kron((noise.random((9, 16)) < 0.2) * np.uint8(90), np.ones((10, 10), np.uint8)) for _ in range(2)]
    strip = np.concatenate([tiles[0], tiles[0], tiles[1], tiles[1]], axis=1)
    assert read_strip(encode_jpeg(np.repeat(strip[:, :, None], 3, axis=2)), 16 / 9).turn is None


def drawn(ground: tuple[int, int, int], ink: tuple[int, int, int], lines: int) -> bytes:
    """A filmstrip of a board: so many rows of strokes on a plain ground."""
    board = np.full((90, 160, 3), ground, np.uint8)
    for row in range(lines):
        top = 10 + 8 * row
        board[top : top + 4, 50:110:3] = ink
    return encode_jpeg(np.concatenate([board] * 4, axis=1))


@pytest.mark.parametrize(
    ("ground", "ink"),
    [((0, 0, 0), (255, 255, 255)), ((20, 40, 110), (255, 255, 255)), ((245, 245, 245), (10, 10, 10))],
)
def test_credits_and_boards_of_text_are_known_by_their_plain_ground(
    ground: tuple[int, int, int], ink: tuple[int, int, int]
) -> None:
    read = read_strip(drawn(ground, ink, 8), 16 / 9)
    assert read.board is not None
    assert read.board.min() > 0.9


def test_what_a_camera_sees_is_no_board_nor_is_a_picture_without_anything_on_it() -> None:
    sky = np.repeat(np.linspace(60, 200, 90)[:, None], 160, axis=1)
    view = np.stack([0.6 * sky, 0.8 * sky, sky], axis=-1)
    view[60:] = np.random.default_rng(4).normal(90, 30, (30, 160, 1))
    camera = encode_jpeg(np.concatenate([np.clip(view, 0, 255).astype(np.uint8)] * 3, axis=1))
    for strip in (camera, encode_jpeg(np.full((90, 480, 3), 90, np.uint8))):
        read = read_strip(strip, 16 / 9)
        assert read.board is not None
        assert not read.board.any()
