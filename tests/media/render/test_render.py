"""What is rendered is what the timeline says, to the frame; what did not change is copied."""

from __future__ import annotations

import shutil
from dataclasses import replace
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest
from media_factory import draw_film, read_number

from malan.core.errors import MediaError, NotFound, UsageError
from malan.media.render import Cover, Format, Key, Music, Piece, Timeline, View, is_hdr, matrix_of, mix_sound, render
from malan.media.render.graph import film_clock, window
from malan.media.render.shelf import tidy_shelf

WIDE, TALL = Format("16x9", 320, 180), Format("9x16", 180, 320)
SCRIPT = """[Script Info]
PlayResX: 320
PlayResY: 180

[V4+ Styles]
Format: Name, Fontname, Fontsize, PrimaryColour, OutlineColour, Bold, BorderStyle, Outline, Alignment, MarginV, Encoding
Style: T,Noto Sans CJK SC,40,&H00FFFFFF,&H00000000,1,1,3,5,10,1

[Events]
Format: Layer, Start, End, Style, Text
Dialogue: 0,0:00:00.80,0:00:02.00,T,马栏
"""


@pytest.fixture(scope="module")
def films(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    folder = tmp_path_factory.mktemp("films")
    options = {"preset": "veryfast", "g": "48", "sc_threshold": "0", "bf": "2"}
    first = draw_film(folder / "a.mp4", (120,), size=(320, 180), options=options, audio=True)
    second = draw_film(folder / "b.mp4", (120,), size=(320, 180), rate=50, options=options, seed=3)
    return first.path, second.path


def piece(path: Path, first: int, frames: int, rate: int = 25, **more) -> Piece:
    """Frames of a drawn film from number `first` on."""
    held = {"size": (320, 180), "gain_db": None, **more}
    return Piece(f"{path.stem}{first}", str(path), Fraction(first, rate), frames, **held)


def numbers(path: Path) -> list[int]:
    with av.open(str(path)) as film:
        return [read_number(frame.to_ndarray(format="rgb24")) for frame in film.decode(video=0)]


def test_every_frame_is_the_one_that_was_asked_for(films, tmp_path):
    pieces = (piece(films[0], 31, 20), piece(films[0], 90, 15), piece(films[0], 2, 10))
    timeline = Timeline(Fraction(25), pieces, (WIDE,))
    render(timeline, {"16x9": tmp_path / "out.mp4"}, tmp_path / "shelf")
    assert numbers(tmp_path / "out.mp4") == [*range(31, 51), *range(90, 105), *range(2, 12)]


def test_a_film_of_another_rate_is_shown_at_its_own_speed(films, tmp_path):
    timeline = Timeline(Fraction(25), (piece(films[1], 20, 12, rate=50),), (WIDE,))
    render(timeline, {"16x9": tmp_path / "out.mp4"}, tmp_path / "shelf")
    seen = np.asarray(numbers(tmp_path / "out.mp4"))
    assert np.abs(seen - (20 + 2 * np.arange(12))).max() <= 1


def test_a_source_that_ends_early_stands_still(films, tmp_path):
    timeline = Timeline(Fraction(25), (piece(films[0], 110, 25), piece(films[0], 5, 5)), (WIDE,))
    render(timeline, {"16x9": tmp_path / "out.mp4"}, tmp_path / "shelf")
    assert numbers(tmp_path / "out.mp4") == [*range(110, 120), *[119] * 15, *range(5, 10)]


def test_formats_come_from_one_decode_and_frames_are_evenly_spaced(films, tmp_path):
    timeline = Timeline(Fraction(25), (piece(films[0], 3, 30), piece(films[0], 60, 20)), (WIDE, TALL))
    outs = {"16x9": tmp_path / "wide.mp4", "9x16": tmp_path / "tall.mp4"}
    made = render(timeline, outs, tmp_path / "shelf")
    assert (made.frames, made.encoded) == (50, 50)
    for form in timeline.formats:
        with av.open(str(outs[form.name])) as film:
            stream = film.streams.video[0]
            times = [frame.pts * stream.time_base for frame in film.decode(stream)]
            assert (stream.width, stream.height) == (form.width, form.height)
        assert times == [Fraction(n, 25) for n in range(50)]


def test_only_what_changed_is_rendered_again_and_the_rest_is_the_same_to_the_bit(films, tmp_path):
    shelf, pieces = tmp_path / "shelf", (piece(films[0], 3, 30), piece(films[0], 60, 20), piece(films[0], 90, 25))
    render(Timeline(Fraction(25), pieces, (WIDE,)), {"16x9": tmp_path / "one.mp4"}, shelf)
    changed = (pieces[2], piece(films[0], 40, 12), pieces[0])
    made = render(Timeline(Fraction(25), changed, (WIDE,)), {"16x9": tmp_path / "two.mp4"}, shelf)
    assert made.encoded == 12
    assert numbers(tmp_path / "two.mp4") == [*range(90, 115), *range(40, 52), *range(3, 33)]
    before, after = packets(tmp_path / "one.mp4"), packets(tmp_path / "two.mp4")
    assert after[37:] == before[:30]
    assert after[:25] == before[50:]


def packets(path: Path) -> list[bytes]:
    with av.open(str(path)) as film:
        return [bytes(packet) for packet in film.demux(video=0) if packet.size]


def test_the_same_timeline_gives_the_same_bytes(films, tmp_path):
    timeline = Timeline(Fraction(25), (piece(films[0], 3, 30), piece(films[0], 60, 20)), (WIDE,))
    for name in ("one", "two"):
        render(timeline, {"16x9": tmp_path / f"{name}.mp4"}, tmp_path / name)
    assert (tmp_path / "one.mp4").read_bytes() == (tmp_path / "two.mp4").read_bytes()


def test_what_is_written_stays_where_it_was_when_a_part_is_rendered_alone(films, tmp_path):
    pieces = (piece(films[0], 3, 25), piece(films[0], 60, 50))
    timeline = Timeline(Fraction(25), pieces, (WIDE,), {"16x9": SCRIPT})
    render(timeline, {"16x9": tmp_path / "one.mp4"}, tmp_path / "shelf")
    swapped = replace(timeline, pieces=(piece(films[0], 80, 25), pieces[1]))
    made = render(swapped, {"16x9": tmp_path / "two.mp4"}, tmp_path / "shelf")
    assert made.encoded == 25
    for film in ("one.mp4", "two.mp4"):
        assert [n for n, lit in enumerate(middle_is_white(tmp_path / film)) if lit] == list(range(20, 50))


def middle_is_white(path: Path) -> list[bool]:
    with av.open(str(path)) as film:
        shown = [frame.to_ndarray(format="gray")[70:110, 120:200] for frame in film.decode(video=0)]
    return [bool((one > 235).mean() > 0.08) for one in shown]


def test_a_view_follows_its_keys_and_stays_inside(films, tmp_path):
    keys = (Key(0.0, 0.1, 0.5), Key(1.0, 0.9, 0.5))
    moving = piece(films[0], 3, 26, views={"9x16": View(keys)})
    render(Timeline(Fraction(25), (moving,), (TALL,)), {"9x16": tmp_path / "out.mp4"}, tmp_path / "shelf")
    with av.open(str(tmp_path / "out.mp4")) as film:
        first, *_, last = [frame.to_ndarray(format="rgb24").mean(axis=0) for frame in film.decode(video=0)]
    assert np.abs(first - last).mean() > 5


def test_the_whole_picture_can_be_shown_on_a_blurred_ground(films, tmp_path):
    whole = piece(films[0], 7, 5, views={"9x16": View(is_whole=True)})
    render(Timeline(Fraction(25), (whole,), (TALL,)), {"9x16": tmp_path / "out.mp4"}, tmp_path / "shelf")
    with av.open(str(tmp_path / "out.mp4")) as film:
        frame = next(film.decode(video=0)).to_ndarray(format="rgb24")
    assert read_number(frame[109:211]) == 7


def test_what_is_shown_whole_is_shown_without_its_bars(films, tmp_path):
    """The upper half alone: twice as high in the film as the whole would be, and nothing of the lower half."""
    part = piece(films[0], 7, 5, views={"9x16": View(is_whole=True, part=(0.0, 0.0, 0.5, 1.0))})
    render(Timeline(Fraction(25), (part,), (TALL,)), {"9x16": tmp_path / "out.mp4"}, tmp_path / "shelf")
    with av.open(str(tmp_path / "out.mp4")) as film:
        frame = next(film.decode(video=0)).to_ndarray(format="rgb24").astype(int)
    with av.open(str(films[0])) as film:
        source = list(film.decode(video=0))[7].to_ndarray(format="rgb24").astype(int)
    assert np.abs(frame[60:260].mean(axis=(0, 1)) - source[:, :160].mean(axis=(0, 1))).max() < 12


def test_covers_are_blurred_and_nothing_else(films, tmp_path):
    plain, covered = piece(films[0], 7, 4), piece(films[0], 7, 4, covers=(Cover(0.0, 0.0, 1.0, 0.2),))
    for name, one in (("plain", plain), ("covered", covered)):
        render(Timeline(Fraction(25), (one,), (WIDE,)), {"16x9": tmp_path / f"{name}.mp4"}, tmp_path / "shelf")
    with av.open(str(tmp_path / "plain.mp4")) as a, av.open(str(tmp_path / "covered.mp4")) as b:
        x, y = (next(film.decode(video=0)).to_ndarray(format="gray").astype(int) for film in (a, b))
    assert np.abs(x[:30] - y[:30]).mean() > 20
    assert np.abs(x[45:] - y[45:]).mean() < 2


def test_sound_is_as_long_as_the_picture_and_as_loud_as_asked(films, tmp_path):
    own = piece(films[0], 3, 100, gain_db=0.0, sound_track=1)
    timeline = Timeline(Fraction(25), (own, piece(films[1], 3, 50, rate=50)), (WIDE,))
    mixed = mix_sound(timeline, tmp_path / "out.m4a", target_lufs=-20)
    assert abs(mixed.loudness_lufs + 20) <= 0.5
    assert mixed.true_peak_dbtp <= -1.0
    with av.open(str(mixed.path)) as sound:
        assert abs(float(sound.duration) / av.time_base - 6) < 0.03


def test_the_same_sound_is_the_same_bytes_with_music_and_voice(films, tmp_path):
    timeline = Timeline(Fraction(25), (piece(films[0], 3, 60, gain_db=0.0, sound_track=1),), (WIDE,))
    tone(tmp_path / "music.wav", 220, np.ones_like)
    held = {"music": Music(str(tmp_path / "music.wav")), "voice": str(tmp_path / "music.wav")}
    made = {mix_sound(timeline, tmp_path / f"{n}.m4a", **held).path.read_bytes() for n in range(6)}
    assert len(made) == 1


def test_music_gives_way_to_the_voice(films, tmp_path):
    timeline = Timeline(Fraction(25), (piece(films[1], 3, 150, rate=50),), (WIDE,))
    tone(tmp_path / "music.wav", 220, np.ones_like)
    tone(tmp_path / "voice.wav", 1760, lambda t: ((t > 2) & (t < 4)).astype(float))
    music = Music(str(tmp_path / "music.wav"), gain_db=0)
    made = mix_sound(timeline, tmp_path / "out.m4a", music=music, voice=str(tmp_path / "voice.wav"))
    with av.open(str(made.path)) as sound:
        samples = np.concatenate([frame.to_ndarray()[0] for frame in sound.decode(audio=0)])
    alone, under = (level(samples[int(a * 48_000) : int(b * 48_000)], 220) for a, b in ((0.5, 1.8), (2.5, 3.8)))
    assert under < 0.5 * alone


def tone(path: Path, pitch: float, envelope) -> None:
    t = np.arange(6 * 48_000) / 48_000
    samples = (0.3 * np.sin(2 * np.pi * pitch * t) * envelope(t) * 32767).astype("<i2")
    with av.open(str(path), "w") as out:
        stream = out.add_stream("pcm_s16le", rate=48_000, layout="mono")
        frame = av.AudioFrame.from_ndarray(samples[None], format="s16", layout="mono")
        frame.sample_rate = 48_000
        out.mux(stream.encode(frame))
        out.mux(stream.encode(None))


def level(samples: np.ndarray, pitch: float) -> float:
    spectrum = np.abs(np.fft.rfft(samples * np.hanning(len(samples))))
    place = round(pitch * len(samples) / 48_000)
    return float(spectrum[place - 3 : place + 4].max())


def test_a_silent_film_stays_silent(films, tmp_path):
    made = mix_sound(Timeline(Fraction(25), (piece(films[1], 3, 50, rate=50),), (WIDE,)), tmp_path / "out.m4a")
    assert made.loudness_lufs <= -70


def test_a_missing_file_is_named_and_leaves_nothing(films, tmp_path):
    lost = piece(tmp_path / "gone.mp4", 3, 10)
    with pytest.raises(NotFound):
        render(Timeline(Fraction(25), (lost,), (WIDE,)), {"16x9": tmp_path / "out.mp4"}, tmp_path / "shelf")
    assert not list(tmp_path.rglob("*.mp4"))
    assert not list(tmp_path.rglob(".malan-*"))


def test_a_shelf_that_was_damaged_is_not_believed(films, tmp_path):
    timeline = Timeline(Fraction(25), (piece(films[0], 3, 10),), (WIDE,))
    render(timeline, {"16x9": tmp_path / "one.mp4"}, tmp_path / "shelf")
    [kept] = (tmp_path / "shelf").glob("*.mp4")
    kept.write_bytes(kept.read_bytes()[:-10])
    assert render(timeline, {"16x9": tmp_path / "one.mp4"}, tmp_path / "shelf").encoded == 10
    assert numbers(tmp_path / "one.mp4") == list(range(3, 13))


def test_the_shelf_is_kept_within_bounds(films, tmp_path):
    for first in (3, 30, 60):
        timeline = Timeline(Fraction(25), (piece(films[0], first, 10),), (WIDE,))
        render(timeline, {"16x9": tmp_path / "one.mp4"}, tmp_path / "shelf")
    assert tidy_shelf(tmp_path / "shelf", 1) == 3
    assert not list((tmp_path / "shelf").iterdir())


def test_stopping_in_the_middle_leaves_no_film(films, tmp_path):
    class Stopped(Exception):
        pass

    def tell(share: float) -> None:
        raise Stopped

    timeline = Timeline(Fraction(25), (piece(films[0], 3, 100),), (WIDE,))
    with pytest.raises(Stopped):
        render(timeline, {"16x9": tmp_path / "out.mp4"}, tmp_path / "shelf", tell=tell)
    assert not (tmp_path / "out.mp4").exists()


@pytest.mark.parametrize(
    "wrong",
    [
        {"pieces": ()},
        {"formats": ()},
        {"rate": Fraction(0)},
        {"formats": (Format("odd", 321, 180),)},
        {"formats": (Format("huge", 20_000, 180),)},
    ],
)
def test_what_cannot_be_a_film_is_refused(films, wrong):
    held = {"rate": Fraction(25), "pieces": (piece(films[0], 3, 10),), "formats": (WIDE,), **wrong}
    with pytest.raises(UsageError):
        Timeline(**held)


def test_the_clock_of_a_part_is_that_of_the_film(films):
    timeline = Timeline(Fraction(25), tuple(piece(films[0], n, 10) for n in (1, 20, 40, 60)), (WIDE,))
    expression = film_clock(timeline, [1, 3])
    shown = [eval(expression, {"N": n, "gte": lambda a, b: int(a >= b)}) for n in (0, 9, 10, 19)]
    assert shown == [10, 19, 30, 39]


@pytest.mark.parametrize("size", [(1920, 1080), (1080, 1920), (640, 270), (101, 77)])
def test_a_window_has_the_shape_of_its_format(size):
    for form in (WIDE, TALL, Format("1x1", 360, 360)):
        width, height = window(size, form, 1.0)
        assert width % 2 == height % 2 == 0
        assert width <= size[0]
        assert height <= size[1]
        assert abs(width / height - form.width / form.height) < 0.06


def test_ffmpeg_is_asked_for_nothing_but_open_files(films, tmp_path):
    """A playlist that names another file is no film."""
    secret = tmp_path / "secret.mp4"
    shutil.copy(films[0], secret)
    (tmp_path / "list.mp4").write_text(f"ffconcat version 1.0\nfile '{secret}'\n")
    lured = piece(tmp_path / "list.mp4", 3, 10)
    with pytest.raises(MediaError):
        render(Timeline(Fraction(25), (lured,), (WIDE,)), {"16x9": tmp_path / "out.mp4"}, tmp_path / "shelf")


def test_pictures_for_bright_screens_are_known_and_brought_into_range(tmp_path):
    path = tmp_path / "bright.mp4"
    with av.open(str(path), "w") as film:
        stream = film.add_stream("libx264", rate=25, options={"preset": "ultrafast"})
        stream.width, stream.height, stream.pix_fmt = 320, 180, "yuv420p10le"
        context = stream.codec_context
        context.color_trc, context.color_primaries, context.colorspace = 16, 9, 9
        for _ in range(12):
            grey = av.VideoFrame.from_ndarray(np.full((180, 320, 3), 150, np.uint8), format="rgb24")
            film.mux(stream.encode(grey))
        film.mux(stream.encode(None))
    assert is_hdr(path, 0)
    bright = piece(path, 0, 8, is_hdr=True)
    render(Timeline(Fraction(25), (bright,), (WIDE,)), {"16x9": tmp_path / "out.mp4"}, tmp_path / "shelf")
    with av.open(str(tmp_path / "out.mp4")) as film:
        frame = next(film.decode(video=0))
    assert frame.format.name == "yuv420p"
    assert 20 < frame.to_ndarray(format="gray").mean() < 250


def test_colours_of_small_untagged_pictures_are_coded_anew(films, tmp_path):
    """A red field coded as BT.601 is the same red in the film, which says that it is BT.709."""
    path = tmp_path / "red.mp4"
    with av.open(str(path), "w") as film:
        stream = film.add_stream("libx264", rate=25, options={"preset": "ultrafast", "qp": "4"})
        stream.width, stream.height, stream.pix_fmt = 320, 180, "yuv420p"
        red = av.VideoFrame.from_ndarray(np.full((180, 320, 3), (200, 40, 30), np.uint8), format="rgb24")
        for _ in range(6):
            film.mux(stream.encode(red.reformat(format="yuv420p", dst_colorspace="ITU601")))
        film.mux(stream.encode(None))
    assert matrix_of(path, 0) == "bt601"
    shown = piece(path, 0, 5, matrix="bt601")
    render(Timeline(Fraction(25), (shown,), (WIDE,)), {"16x9": tmp_path / "out.mp4"}, tmp_path / "shelf")
    with av.open(str(tmp_path / "out.mp4")) as film:
        frame = next(film.decode(video=0))
    assert (int(frame.colorspace), int(frame.color_trc), int(frame.color_primaries)) == (1, 1, 1)
    seen = frame.reformat(format="rgb24", src_colorspace="ITU709").to_ndarray()[90, 160].astype(int)
    assert np.abs(seen - (200, 40, 30)).max() <= 6


def test_usual_pictures_are_not_taken_for_bright_ones(films):
    assert not is_hdr(films[0], 0)
