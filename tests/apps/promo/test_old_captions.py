"""Old burned-in captions: left out of the picture where they can be, filled where not, never over a face."""

from __future__ import annotations

from dataclasses import replace
from fractions import Fraction

import av
import numpy as np
import pytest
from apps.promo.test_choose import candidate, strip

from malan.apps.promo.build import _covers
from malan.apps.promo.choose import choose, judge
from malan.apps.promo.cover import still_of
from malan.apps.promo.looking import still_seen, without_written
from malan.media.render import Cover, Format, Key, Piece, Timeline, View, render

WIDE, TALL, SQUARE = Format("16x9", 640, 360), Format("9x16", 360, 640), Format("1x1", 360, 360)
WHOLE = (0.0, 0.0, 1.0, 1.0)
LOW = (0.2, 0.86, 0.6, 0.07)  # where captions stand in a wide picture
VERTICAL = (0.15, 0.75, 0.7, 0.06)  # and in a tall one
HD, PHONE = (1280, 720), (720, 1280)


@pytest.mark.parametrize(
    ("size", "box", "form", "height"),
    [
        (HD, LOW, WIDE, 0.86),  # a little larger, and the band is gone
        (HD, LOW, SQUARE, 0.86),
        (PHONE, VERTICAL, SQUARE, 0.75),  # a square needs no more than what is above it
        (PHONE, VERTICAL, WIDE, 0.75),
        (PHONE, VERTICAL, TALL, 1.0),  # a third larger is too much: it is filled instead
        (HD, (0.2, 0.45, 0.6, 0.1), WIDE, 1.0),  # in the middle: there is no leaving it out
        (HD, (0.2, 0.05, 0.6, 0.07), WIDE, 0.88),  # above
    ],
)
def test_the_band_of_captions_is_left_out_where_a_format_need_not_be_enlarged_much(size, box, form, height):
    left, top, wide, high = without_written(WHOLE, [box], size, form)
    assert (left, wide) == (0.0, 1.0)
    assert high == pytest.approx(height)
    if high < 1:
        assert top >= box[1] + box[3] - 1e-9 or top + high <= box[1] + 1e-9


def test_without_captions_all_of_the_picture_stays():
    assert without_written((0.0, 0.1, 1.0, 0.8), [], HD, WIDE) == (0.0, 0.1, 1.0, 0.8)


def test_only_what_some_format_shows_is_filled():
    cover = Cover(*VERTICAL)
    piece = Piece("a", "a.mp4", Fraction(0), 25, PHONE, covers=(cover,))
    above = {"1x1": View((Key(0.0, 0.5, 0.3),))}
    assert still_seen(piece, above, [SQUARE]) == ()
    assert still_seen(piece, above, [SQUARE, TALL]) == (cover,)
    assert still_seen(piece, {"1x1": View((Key(0.0, 0.5, 0.3), Key(1.0, 0.5, 0.6)))}, [SQUARE]) == (cover,)
    assert still_seen(piece, {"1x1": View(is_whole=True, part=(0.0, 0.0, 1.0, 0.7))}, [SQUARE]) == ()
    assert still_seen(piece, {"1x1": View(is_whole=True)}, [SQUARE]) == (cover,)


def test_captions_are_filled_for_as_long_as_they_stand():
    one = replace(candidate(0, 8.0), captions=((1.0, 2.0, LOW), (3.0, 5.0, LOW), (6.0, 7.0, LOW)))
    first, second = _covers(one, (), 1.5, 2.0)
    assert first.begin_s == 0
    assert first.end_s == pytest.approx(0.66)
    assert second.begin_s == pytest.approx(1.34)
    assert second.end_s == 2.0
    assert first.x < LOW[0]
    assert first.x + first.width > LOW[0] + LOW[2]


@pytest.mark.parametrize(
    ("at", "face", "count"),
    [(2.0, (0.4, 0.7, 0.2, 0.3), 0), (2.0, (0.4, 0.2, 0.2, 0.3), 1), (8.0, (0.4, 0.7, 0.2, 0.3), 1)],
)
def test_a_caption_over_a_face_is_left_as_it_is(at, face, count):
    one = replace(candidate(0, 8.0), captions=((1.0, 4.0, LOW),))
    assert len(list(_covers(one, ((at, face),), 1.5, 2.0))) == count


def test_a_clip_without_captions_goes_before_one_with():
    clean, written = candidate(0), candidate(1, caption_share=0.9)
    assert judge(clean, "lively").score > judge(written, "lively").score + 0.08


def test_within_a_clip_the_stretch_without_captions_is_shown():
    start = 0.0
    one = replace(candidate(0, 8.0, caption_share=0.5), captions=((start, start + 4.0, LOW),))
    [shot] = choose([one], [40], 25, "lively", lambda some: {each.row.id: strip(0.5) for each in some})
    assert shot.from_s >= 4.0


def test_what_is_filled_looks_like_what_was_there(tmp_path):
    """White letters on a smooth picture: none is left where they stood, and what comes after them is not touched."""
    rows, columns = np.mgrid[0:360, 0:640]
    plain = np.stack([40 + rows / 3, 60 + columns / 6, 90 + rows / 6], axis=-1).astype(np.uint8)
    written = plain.copy()
    written[300:330, 200:440:8] = written[300:330, 201:440:8] = written[300:330, 202:440:8] = 255
    path = tmp_path / "a.mp4"
    with av.open(str(path), "w") as film:
        stream = film.add_stream("libx264", rate=25, options={"preset": "ultrafast", "qp": "6"})
        stream.width, stream.height, stream.pix_fmt = 640, 360, "yuv420p"
        for number in range(20):
            picture = written if number < 10 else plain
            film.mux(stream.encode(av.VideoFrame.from_ndarray(picture, format="rgb24")))
        film.mux(stream.encode(None))
    cover = Cover(0.3, 0.82, 0.4, 0.11, 0.0, 0.5)
    outs = {}
    for name, covers in (("as_it_is", ()), ("filled", (cover,))):
        piece = Piece("a", str(path), Fraction(0), 20, (640, 360), gain_db=None, covers=covers)
        render(Timeline(Fraction(25), (piece,), (WIDE,)), {"16x9": tmp_path / f"{name}.mp4"}, tmp_path / "shelf")
        with av.open(str(tmp_path / f"{name}.mp4")) as film:
            outs[name] = [frame.to_ndarray(format="gray").astype(int) for frame in film.decode(video=0)]
    clean = outs["as_it_is"][15]
    assert np.abs(outs["filled"][5][290:340, 180:460] - clean[290:340, 180:460]).max() < 14
    assert np.abs(outs["as_it_is"][5][290:340, 180:460] - clean[290:340, 180:460]).max() > 60
    assert np.abs(outs["filled"][17] - outs["as_it_is"][17]).max() < 6
    assert np.abs(outs["filled"][5][:280] - outs["as_it_is"][5][:280]).max() < 6


@pytest.mark.parametrize(("offset", "count"), [(0.2, 0), (0.8, 1), (1.4, 0)])
def test_on_a_cover_captions_are_filled_that_stand_at_its_moment(offset, count):
    piece = Piece("a", "a.mp4", Fraction(0), 50, HD, covers=(Cover(*LOW, 0.5, 1.2),))
    still = still_of(piece, Fraction(7), offset)
    assert (still.start, still.frames) == (7, 1)
    assert [one.begin_s for one in still.covers] == [0.0] * count
