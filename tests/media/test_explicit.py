"""The explicit label: what is drawn and heard is measured again on decoded frames and samples."""

from __future__ import annotations

import io
import shutil
import subprocess
from collections.abc import Sequence
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
from media_factory import draw_film
from PIL import Image

from malan.core.errors import MediaError, MissingExtra, UsageError
from malan.inference.ocr import OnnxTextReader
from malan.media.audio import audio_blocks
from malan.media.credentials import Credential, SourceType, new_chain, read_credential, sign_media
from malan.media.explicit import CORNERS, TEXTS, burn_label, check_explicit, find_rhythm, overlay_for, rhythm
from malan.media.explicit.burn_sound import opening
from malan.media.explicit.glyphs import GLYPHS, ink_of
from malan.media.index import build_index
from malan.media.reader import ClipReader

Box = tuple[int, int, int, int]
SIZES = [(1920, 1080), (1080, 1920), (720, 540), (640, 360), (128, 96)]


class Reader:
    """Finds and reads text as services do: detection, then recognition."""

    def __init__(self) -> None:
        self._ocr = OnnxTextReader()

    def __call__(self, picture: np.ndarray[Any, Any]) -> Sequence[tuple[str, Box]]:
        boxes = self._ocr.detect(picture)
        lines = self._ocr.recognise([picture[b[1] : b[3], b[0] : b[2]] for b in boxes])
        return [(line.text, box) for line, box in zip(lines, boxes, strict=True)]


@pytest.fixture(scope="module")
def read() -> Reader:
    return Reader()


@pytest.fixture(scope="module")
def film(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Six seconds, a key frame every two."""
    path = tmp_path_factory.mktemp("film") / "film.mp4"
    return draw_film(path, (60, 40, 50), size=(480, 270), audio=True, options={"preset": "veryfast", "g": "50"}).path


@pytest.fixture(scope="module")
def labelled(film: Path) -> Path:
    return burn_label(film, film.with_name("labelled.mp4")).path


# The drawing


@pytest.mark.parametrize("size", SIZES)
def test_every_letter_is_at_least_a_twentieth_of_the_shorter_side(size: tuple[int, int]) -> None:
    label = overlay_for(*size)
    assert label.letters_px >= 0.05 * min(size)
    assert label.letters_px <= 0.06 * min(size) + 2


@pytest.mark.parametrize("corner", CORNERS)
@pytest.mark.parametrize("size", SIZES[:4])
def test_the_label_lies_in_its_corner_inside_the_safe_area(size: tuple[int, int], corner: Any) -> None:
    label = overlay_for(*size, corner=corner)
    left, right = label.x, size[0] - label.x - label.width_px
    top, bottom = label.y, size[1] - label.y - label.height_px
    assert min(left, right) >= 0.048 * size[0] - 2
    assert min(top, bottom) >= 0.048 * size[1] - 2
    assert (left < right, top < bottom) == (corner.endswith("left"), corner.startswith("top"))


@pytest.mark.parametrize("text", ["", "AI", "生成", "人工智能", "A I", "made by machine", "智能生成"])
def test_a_text_that_does_not_say_both_words_is_refused(text: str) -> None:
    with pytest.raises(UsageError) as caught:
        overlay_for(1280, 720, text=text)
    assert caught.value.code == "explicit.bad_text"


def test_a_letter_we_cannot_draw_is_named() -> None:
    with pytest.raises(UsageError) as caught:
        overlay_for(1280, 720, text="本片由AI生成")
    assert caught.value.values["missing"] == "本 片 由"


@pytest.mark.parametrize(
    ("wrong", "code"),
    [
        ({"seconds": Fraction(19, 10)}, "explicit.too_short"),
        ({"corner": "middle"}, "explicit.bad_corner"),
        ({"width_px": 60}, "explicit.too_small"),
        ({"text": "AI生成 " * 9}, "explicit.too_wide"),
    ],
)
def test_what_the_standard_or_the_picture_does_not_allow_is_refused(wrong: dict[str, Any], code: str) -> None:
    with pytest.raises(UsageError) as caught:
        overlay_for(**{"width_px": 640, "height_px": 360, **wrong})
    assert caught.value.code == code


@pytest.mark.parametrize("text", TEXTS.values())
@pytest.mark.parametrize("ground", ["black", "white", "noise"])
def test_every_text_is_read_on_every_ground(read: Reader, text: str, ground: str) -> None:
    picture = _ground(ground, 640, 360)
    label = overlay_for(640, 360, text=text, corner="top-left")
    picture.paste(label.rgba, (label.x, label.y), label.rgba)
    seen = "".join(text for text, _ in read(np.asarray(picture))).replace(" ", "").replace("Al", "AI")
    assert text.replace(" ", "") in seen


def _ground(kind: str, width: int, height: int) -> Image.Image:
    if kind != "noise":
        return Image.new("RGB", (width, height), kind)
    blocks = np.random.default_rng(1).integers(0, 256, (height // 6, width // 6, 3), np.uint8)
    return Image.fromarray(blocks).resize((width, height), Image.Resampling.NEAREST)


def test_every_glyph_has_ink_and_none_is_like_another() -> None:
    drawn = {character: ink_of(character, 64).tobytes() for character in GLYPHS if character != " "}
    assert len(set(drawn.values())) == len(drawn)


def test_a_renderer_may_use_the_picture_and_the_filter(film: Path, tmp_path: Path, read: Reader) -> None:
    from imageio_ffmpeg import get_ffmpeg_exe

    label, png, out = overlay_for(480, 270), tmp_path / "label.png", tmp_path / "out.mp4"
    png.write_bytes(label.png)
    graph = f"[0:v][1:v]{label.filter()}"
    subprocess.run([get_ffmpeg_exe(), "-v", "error", "-i", film, "-i", png, "-filter_complex", graph, out], check=True)
    assert check_explicit(out, read).verdict == "compliant"


# Film


def test_a_labelled_film_is_compliant_and_its_source_is_not(film: Path, labelled: Path, read: Reader) -> None:
    report = check_explicit(labelled, read)
    assert (report.verdict, report.text, report.seconds) == ("compliant", "AI生成", 2.0)
    assert 0.05 <= report.letters_share < 0.07
    assert check_explicit(film, read).verdict == "not_found"


def test_only_the_opening_is_encoded_and_the_rest_is_copied(film: Path, tmp_path: Path) -> None:
    done = burn_label(film, tmp_path / "out.mp4")
    assert (done.mode, done.frames_encoded) == ("smart", 100)
    assert _packets(done.path)[100:] == _packets(film)[100:]


def _packets(path: Path) -> list[bytes]:
    with av.open(str(path)) as container:
        return [bytes(packet) for packet in container.demux(video=0) if packet.size]


def test_outside_the_plate_and_after_three_seconds_the_picture_stays(film: Path, labelled: Path) -> None:
    before, after = (_luma(path) for path in (film, labelled))
    label = overlay_for(480, 270)
    inside = np.s_[label.y : label.y + label.height_px, label.x : label.x + label.width_px]
    for number in (0, 40, 74):
        assert np.abs(before[number][inside] - after[number][inside]).mean() > 20
        outside = np.abs(before[number] - after[number])
        outside[inside] = 0
        assert outside.mean() < 2
    assert np.abs(before[75][inside] - after[75][inside]).mean() < 6
    assert np.array_equal(before[120], after[120])


def _luma(path: Path) -> list[np.ndarray[Any, Any]]:
    with av.open(str(path)) as container:
        return [frame.to_ndarray(format="gray").astype(int) for frame in container.decode(video=0)]


def test_frames_keep_their_number_and_their_times_also_at_a_variable_rate(tmp_path: Path) -> None:
    slots = [n + n // 3 for n in range(130)]
    drawn = draw_film(
        tmp_path / "variable.mp4", (130,), size=(320, 180), slots=slots, options={"preset": "veryfast", "g": "40"}
    ).path
    done = burn_label(drawn, tmp_path / "out.mp4")
    before, after = build_index(drawn), build_index(done.path)
    assert done.mode == "smart"
    assert np.array_equal(
        before.frame_pts * before.timebase - before.frame_pts[0] * before.timebase, after.frame_pts * after.timebase
    )


@pytest.mark.parametrize(
    ("name", "how", "mode"),
    [
        (
            "hevc.mp4",
            {"codec": "libx265", "options": {"preset": "ultrafast", "x265-params": "log-level=none"}},
            "encode",
        ),
        ("ten.mp4", {"pixel_format": "yuv420p10le", "options": {"preset": "veryfast", "g": "40"}}, "smart"),
        ("long.mkv", {"options": {"preset": "veryfast", "g": "500", "sc_threshold": "0"}}, "encode"),
        ("mpeg4.mkv", {"codec": "mpeg4", "options": {}}, "encode"),
        ("vp8.webm", {"codec": "libvpx", "options": {"deadline": "realtime", "cpu-used": "8"}}, "encode"),
        ("wide.mov", {"pixel_format": "yuv444p", "options": {"preset": "veryfast", "g": "40"}}, "smart"),
    ],
)
def test_other_codecs_pixels_and_containers(
    tmp_path: Path, read: Reader, name: str, how: dict[str, Any], mode: str
) -> None:
    drawn = draw_film(tmp_path / name, (85,), size=(320, 240), **how).path
    done = burn_label(drawn, tmp_path / f"out{drawn.suffix}", text=TEXTS["zh-synthesised"], corner="bottom-left")
    assert done.mode == mode
    assert bool(done.notes) == (mode == "encode")
    report = check_explicit(done.path, read)
    assert (report.verdict, report.text) == ("compliant", "AI合成")
    assert build_index(done.path).frame_count == 85


def _turned(film: Path, out: Path, degrees: int) -> Path:
    """The same packets, which players are asked to turn."""
    with av.open(str(film)) as source, av.open(str(out), "w") as target:
        stream = target.add_stream_from_template(source.streams.video[0])
        stream.set_display_rotation(degrees)
        for packet in source.demux(video=0):
            if packet.dts is not None:
                packet.stream = stream
                target.mux(packet)
    return out


@pytest.mark.parametrize("turn", [90, 180, 270])
def test_a_turned_film_shows_the_label_upright(film: Path, tmp_path: Path, read: Reader, turn: int) -> None:
    turned = _turned(film, tmp_path / "turned.mp4", turn)
    report = check_explicit(burn_label(turned, tmp_path / "out.mp4").path, read)
    assert report.verdict == "compliant"
    width, height = (270, 480) if turn != 180 else (480, 270)
    assert report.box is not None
    assert report.box[0] > width / 2
    assert report.box[3] < height / 4


@pytest.mark.parametrize(("group", "mode"), [("50", "smart"), ("500", "encode")])
@pytest.mark.parametrize("turn", [0, 90])
def test_squeezed_pixels_get_a_squeezed_label_and_stay_squeezed(
    film: Path, tmp_path: Path, read: Reader, turn: int, group: str, mode: str
) -> None:
    from imageio_ffmpeg import get_ffmpeg_exe

    squeezed = tmp_path / "squeezed.mp4"
    options = ["-vf", "scale=352:288,setsar=16/11", "-g", group, "-sc_threshold", "0", "-preset", "veryfast"]
    subprocess.run([get_ffmpeg_exe(), "-v", "error", "-i", film, *options, squeezed], check=True)
    source = _turned(squeezed, tmp_path / "turned.mp4", turn) if turn else squeezed
    done = burn_label(source, tmp_path / "out.mp4")
    assert (done.mode, check_explicit(done.path, read).verdict) == (mode, "compliant")
    with av.open(str(done.path)) as container:
        assert container.streams.video[0].sample_aspect_ratio in (Fraction(16, 11), Fraction(11, 16))


def test_a_film_shorter_than_the_label_shows_it_throughout(tmp_path: Path, read: Reader) -> None:
    drawn = draw_film(tmp_path / "short.mp4", (20,), size=(320, 240)).path
    report = check_explicit(burn_label(drawn, tmp_path / "out.mp4").path, read)
    assert (report.verdict, report.seconds) == ("compliant", 0.8)


def test_a_film_may_be_labelled_in_place(film: Path, tmp_path: Path) -> None:
    path = Path(shutil.copy(film, tmp_path))
    burn_label(path, path)
    assert [p.name for p in tmp_path.iterdir()] == ["film.mp4"]


# What is wrong with other labels


def _with_label(film: Path, out: Path, *, letters: float = 1.0, place: str = "", enable: str = "1") -> Path:
    """A film labelled by somebody else: letters of another size, elsewhere, at another time."""
    from imageio_ffmpeg import get_ffmpeg_exe

    label = overlay_for(480, 270)
    png = out.with_suffix(".png")
    label.rgba.resize((round(label.width_px * letters), round(label.height_px * letters))).save(png)
    graph = f"[0:v][1:v]overlay={place or 'x=W-w-40:y=20'}:enable='{enable}'"
    command = [
        get_ffmpeg_exe(),
        "-v",
        "error",
        "-i",
        film,
        "-i",
        png,
        "-filter_complex",
        graph,
        "-crf",
        "12",
        "-preset",
        "ultrafast",
        out,
    ]
    subprocess.run(command, check=True)
    return out


@pytest.mark.parametrize(
    ("how", "reason"),
    [
        ({"letters": 0.75}, "explicit.letters_too_small"),
        ({"place": "x=(W-w)/2:y=(H-h)/2"}, "explicit.not_at_edge"),
        ({"enable": "lt(t,1.5)"}, "explicit.shown_too_short"),
        ({"enable": "gt(t,0.5)"}, "explicit.not_in_opening"),
    ],
)
def test_a_label_that_breaks_a_rule_is_told_which(
    film: Path, tmp_path: Path, read: Reader, how: dict[str, Any], reason: str
) -> None:
    report = check_explicit(_with_label(film, tmp_path / "out.mp4", **how), read)
    assert (report.verdict, report.reasons) == ("noncompliant", (reason,))


def test_a_label_without_a_plate_is_measured_as_well(tmp_path: Path, read: Reader) -> None:
    ink = Image.fromarray(ink_of("AI生成", 40))
    picture = Image.new("RGB", (640, 480), (30, 60, 120))
    picture.paste((255, 255, 255), (30, 40), ink)
    picture.save(tmp_path / "plain.png")
    report = check_explicit(tmp_path / "plain.png", read)
    assert report.verdict == "compliant"
    assert abs(report.letters_px - ink.height) <= 2


def test_words_a_reader_parts_are_joined_on_their_line_alone(tmp_path: Path) -> None:
    label = overlay_for(640, 480)
    picture = Image.new("RGB", (640, 480), (90, 120, 60))
    picture.paste(label.rgba, (label.x, label.y), label.rgba)
    picture.save(tmp_path / "p.png")
    left, top, right, bottom = label.x + 4, label.y + 4, label.x + label.width_px - 4, label.y + label.height_px - 4
    middle = left + (right - left) * 2 // 5
    halves = [("AI", (left, top, middle, bottom)), ("生成", (middle + 2, top, right, bottom))]
    assert check_explicit(tmp_path / "p.png", lambda _: halves).verdict == "compliant"
    apart = [halves[0], ("生成", (middle, 400, right, 430))]
    assert check_explicit(tmp_path / "p.png", lambda _: apart).verdict == "not_found"


def test_without_a_reader_nothing_is_claimed(labelled: Path) -> None:
    assert check_explicit(labelled).verdict == "inconclusive"


# Pictures


@pytest.mark.parametrize("name", ["p.jpg", "p.png", "p.webp"])
@pytest.mark.parametrize("mode", ["RGB", "L", "RGBA", "P", "CMYK"])
def test_pictures_of_every_mode_are_labelled(tmp_path: Path, read: Reader, name: str, mode: str) -> None:
    if (mode, name) in {("RGBA", "p.jpg"), ("P", "p.jpg"), ("CMYK", "p.png"), ("CMYK", "p.webp")}:
        pytest.skip("there is no such file")
    path, out = tmp_path / name, tmp_path / f"out{Path(name).suffix}"
    _ground("noise", 480, 360).convert(mode).save(path)
    done = burn_label(path, out)
    assert done.kind == "picture"
    with Image.open(out) as image:
        assert image.size == (480, 360)
    if mode in ("RGB", "CMYK"):
        assert check_explicit(out, read).verdict == "compliant"


def test_a_turned_photo_is_made_upright_and_keeps_its_notes(tmp_path: Path, read: Reader) -> None:
    path, out = tmp_path / "photo.jpg", tmp_path / "out.jpg"
    exif = Image.Exif()
    exif[0x0112], exif[0x010F] = 6, "Malan camera"
    _ground("noise", 480, 360).save(path, exif=exif, dpi=(300, 300))
    burn_label(path, out)
    with Image.open(out) as image:
        assert (image.size, image.getexif().get(0x0112, 1), image.getexif()[0x010F]) == ((360, 480), 1, "Malan camera")
        assert image.info["dpi"] == (300, 300)
    assert check_explicit(out, read).verdict == "compliant"


def test_a_moving_picture_is_no_still(tmp_path: Path) -> None:
    frames = [_ground("noise", 96, 96), _ground("black", 96, 96)]
    frames[0].save(tmp_path / "moving.webp", save_all=True, append_images=frames[1:])
    with pytest.raises(UsageError) as caught:
        burn_label(tmp_path / "moving.webp", tmp_path / "out.webp")
    assert caught.value.code == "explicit.moving_picture"


def test_a_picture_that_claims_to_be_huge_is_refused_before_it_is_decoded(tmp_path: Path) -> None:
    import zlib

    header = (100_000).to_bytes(4, "big") * 2 + b"\x08\x02\0\0\0"
    chunk = b"IHDR" + header
    data = b"\x89PNG\r\n\x1a\n" + b"\0\0\0\r" + chunk + zlib.crc32(chunk).to_bytes(4, "big")
    (tmp_path / "bomb.png").write_bytes(data + b"\0\0\0\x01IDATx\0\0\0\0")
    with pytest.raises(MediaError):
        burn_label(tmp_path / "bomb.png", tmp_path / "out.png")
    assert [p.name for p in tmp_path.iterdir()] == ["bomb.png"]


# Sound


def _recording(path: Path, *, seconds: float = 3, level: float = 0.1, options: Sequence[str] = ()) -> Path:
    from imageio_ffmpeg import get_ffmpeg_exe

    noise = f"anoisesrc=d={seconds}:a={level}:c=pink:r=48000:seed=3"
    command = [get_ffmpeg_exe(), "-v", "error", "-f", "lavfi", "-i", noise, *(options or ["-ac", "2"])]
    subprocess.run([*command, *(["-c:a", "libvorbis"] if path.suffix == ".ogg" else []), path], check=True)
    return path


@pytest.mark.parametrize("name", ["a.wav", "a.flac", "a.mp3", "a.m4a", "a.ogg", "a.opus"])
def test_the_rhythm_is_heard_in_every_format_and_not_in_its_source(tmp_path: Path, name: str) -> None:
    path = _recording(tmp_path / name)
    done = burn_label(path, tmp_path / f"out{path.suffix}")
    report = check_explicit(done.path)
    assert report.verdict == "compliant"
    assert report.start_s is not None
    assert report.start_s < 0.1
    assert check_explicit(path).verdict == "not_found"


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("a.wav", ["-c:a", "pcm_s16le", "-ar", "8000"]),
        ("a.wav", ["-c:a", "pcm_s24le", "-ac", "6"]),
        ("a.wav", ["-c:a", "pcm_s32le", "-af", "aformat=channel_layouts=5.1(side)"]),
        ("a.wav", ["-c:a", "pcm_f64le", "-ac", "3"]),
        ("a.flac", ["-sample_fmt", "s32"]),
        ("a.m4a", ["-c:a", "alac"]),
    ],
)
def test_a_lossless_programme_stays_what_it_is(tmp_path: Path, name: str, options: list[str]) -> None:
    path = _recording(tmp_path / name, options=options)
    done = burn_label(path, tmp_path / f"out{path.suffix}")
    before, after = (_stored(p) for p in (path, done.path))
    assert after.dtype == before.dtype
    assert np.array_equal(after[len(after) - len(before) :], before)
    assert done.notes == ()


def _stored(path: Path) -> np.ndarray[Any, Any]:
    """Samples as they are stored, (T, C)."""
    with av.open(str(path)) as container:
        blocks = [
            frame.to_ndarray().T if frame.format.is_planar else frame.to_ndarray().reshape(-1, frame.layout.nb_channels)
            for frame in container.decode(audio=0)
        ]
    return np.concatenate(blocks)


def _samples(path: Path) -> np.ndarray[Any, Any]:
    return np.concatenate([block.samples for block in audio_blocks(path, rate=None, mono=False)])


@pytest.mark.parametrize("level", [0.02, 0.2, 1.0])
def test_the_label_is_about_as_loud_as_the_programme_and_never_clips(tmp_path: Path, level: float) -> None:
    path = _recording(tmp_path / "a.wav", level=level)
    done = burn_label(path, tmp_path / "out.wav")
    samples = _samples(done.path)[:, 0]
    label, programme = samples[: int(1.3 * 48_000)], samples[int(1.8 * 48_000) :]
    assert np.abs(samples).max() < 1
    assert np.abs(label).max() <= 0.9
    ratio = np.sqrt((label**2).mean() / (programme**2).mean())
    assert 0.2 < ratio < 5
    edges = np.abs(np.diff(label)).max()
    assert edges <= 0.14 * np.abs(label).max()  # a tone of 1 kHz rises by 0.13 a sample at most: nothing clicks


def test_silence_gets_a_label_of_broadcast_loudness(tmp_path: Path) -> None:
    path = _recording(tmp_path / "a.wav", level=0)
    done = burn_label(path, tmp_path / "out.wav")
    assert 0.03 < np.abs(_samples(done.path)).max() < 0.3


def test_a_voice_says_it_at_the_pace_of_people(tmp_path: Path) -> None:
    path = _recording(tmp_path / "a.wav", seconds=2)
    try:
        done = burn_label(path, tmp_path / "out.wav", notice="voice")
    except MissingExtra:
        pytest.skip("espeak-ng is not installed")
    spoken = done.seconds - 0.48
    assert 120 <= 60 * 10 / spoken <= 165
    assert np.abs(_samples(done.path)).max() <= 0.9


def test_without_espeak_the_voice_says_what_to_install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shutil, "which", lambda _: None)
    with pytest.raises(MissingExtra, match="espeak-ng"):
        burn_label(_recording(tmp_path / "a.wav", seconds=1), tmp_path / "out.wav", notice="voice")
    assert [p.name for p in tmp_path.iterdir()] == ["a.wav"]


def test_a_rhythm_at_the_end_counts_as_well(tmp_path: Path) -> None:
    import wave

    noise = np.random.default_rng(1).normal(0, 0.02, 20 * 16_000)
    samples = np.concatenate([noise, np.zeros(8_000), rhythm(16_000, 0.3)])
    with wave.open(str(tmp_path / "a.wav"), "wb") as file:
        file.setparams((1, 2, 16_000, 0, "NONE", ""))
        file.writeframes((samples * 32767).astype("<i2").tobytes())
    report = check_explicit(tmp_path / "a.wav")
    assert report.verdict == "compliant"
    assert report.start_s == pytest.approx(20.5, abs=0.05)


@pytest.mark.parametrize("speed", [0.5, 1.0, 2.0])
@pytest.mark.parametrize("noise", [0.0, 0.02])
def test_a_rhythm_of_any_speed_is_heard_through_some_noise(speed: float, noise: float) -> None:
    tone = rhythm(round(16_000 * speed), 0.3)  # played at 16 kHz it is faster, slower, higher or lower
    samples = np.concatenate([np.zeros(4_000, np.float32), tone, np.zeros(8_000, np.float32)])
    samples = samples + np.random.default_rng(2).normal(0, noise, len(samples)).astype(np.float32)
    found = find_rhythm(samples, 16_000)
    assert found is not None
    assert found.unit_s == pytest.approx(0.12 * speed, rel=0.15)


@pytest.mark.parametrize("order", [(1, 1, 3, 1), (3, 1, 1, 1), (1, 3, 3, 1), (1, 1, 1, 1), (1, 3, 1, 3)])
def test_another_rhythm_is_not_the_label(order: tuple[int, ...]) -> None:
    unit = round(0.12 * 16_000)
    tone = np.sin(2 * np.pi * 1000 * np.arange(16_000) / 16_000).astype(np.float32) * 0.3
    parts = [part for units in order for part in (tone[: units * unit], np.zeros(unit, np.float32))]
    assert find_rhythm(np.concatenate([*parts, np.zeros(8_000, np.float32)]), 16_000) is None


def test_bursts_of_noise_in_the_right_rhythm_are_not_a_tone() -> None:
    mask = np.abs(rhythm(16_000, 1.0)) > 0
    noise = np.random.default_rng(3).normal(0, 0.2, len(mask)).astype(np.float32) * mask
    assert find_rhythm(noise, 16_000) is None


def test_no_rhythm_is_heard_in_real_speech_and_music(footage: Path) -> None:
    for path in sorted((footage / "audio").glob("*.ogg")):
        assert find_rhythm(opening(path, 15), 16_000) is None, path.name


# With the other marks, and hostile files


def test_label_first_and_credential_last_hold_together(labelled: Path, tmp_path: Path, read: Reader) -> None:
    chain = new_chain("马栏影业")
    promo = Credential("预告", "马栏影业", SourceType.AI_COMPOSITE)
    signed = sign_media(labelled, tmp_path / "signed.mp4", chain, promo).path
    assert check_explicit(signed, read).verdict == "compliant"
    assert read_credential(signed, (chain.root_pem,)).state == "trusted"
    burn_label(signed, tmp_path / "again.mp4", corner="top-left")
    assert read_credential(tmp_path / "again.mp4", (chain.root_pem,)).state == "absent"


@pytest.mark.parametrize("name", ["film.mp4", "picture.jpg", "sound.wav"])
@pytest.mark.parametrize("content", [b"", b"rubbish" * 50])
def test_rubbish_is_told_and_leaves_nothing_behind(tmp_path: Path, name: str, content: bytes) -> None:
    path = tmp_path / name
    path.write_bytes(content)
    with pytest.raises(MediaError):
        burn_label(path, tmp_path / f"out{path.suffix}")
    assert [p.name for p in tmp_path.iterdir()] == [name]


def test_a_truncated_film_is_told_or_labelled_but_never_half_written(film: Path, tmp_path: Path) -> None:
    whole = film.read_bytes()
    for share in (0.3, 0.7, 0.95):
        path, out = tmp_path / "cut.mp4", tmp_path / "out.mp4"
        path.write_bytes(whole[: int(len(whole) * share)])
        try:
            burn_label(path, out)
        except MediaError:
            assert not out.exists()
        assert {p.name for p in tmp_path.iterdir()} <= {"cut.mp4", "out.mp4"}


def test_an_ending_nobody_knows_is_refused(film: Path, tmp_path: Path) -> None:
    with pytest.raises(UsageError) as caught:
        burn_label(film, tmp_path / "out.exe")
    assert caught.value.code == "explicit.bad_extension"


def test_real_footage_is_labelled_and_read(footage: Path, tmp_path: Path, read: Reader) -> None:
    done = burn_label(footage / "video" / "climbing_vertical.mp4", tmp_path / "out.mp4")
    report = check_explicit(done.path, read)
    assert (done.mode, report.verdict) == ("smart", "compliant")
    with ClipReader(done.path, build_index(done.path)) as reader:
        buffer = io.BytesIO()
        Image.fromarray(reader.frames(0, 1).frames_THWC[0]).save(buffer, "PNG")
    assert buffer.getbuffer().nbytes > 0
