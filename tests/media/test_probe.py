"""Probe tells what a file holds, from its packets where the header is silent or wrong."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest
from damage_factory import LONG_GOP, remux, tone, write_picture, write_sound
from media_factory import draw_film

from malan.core.catalogue import entry
from malan.media import Probe, probe, register


def film(folder: Path, name: str = "film.mp4", **options: object) -> Path:
    draw_film(folder / name, (30, 20), size=(192, 108), **options)  # type: ignore[arg-type]
    return folder / name


CONTAINERS = {
    "a.mp4": ("mp4", "libx264"),
    "a.mov": ("mov", "libx264"),
    "a.mkv": ("matroska", "libx264"),
    "a.webm": ("webm", "libvpx-vp9"),
    "a.ts": ("mpegts", "libx264"),
    "a.avi": ("avi", "mpeg4"),
    "a.mxf": ("mxf", "mpeg2video"),
}
CODECS = {"libx264": "h264", "libvpx-vp9": "vp9"}


@pytest.mark.parametrize("name", CONTAINERS)
def test_each_container_tells_codec_size_rate_and_length(tmp_path: Path, name: str) -> None:
    container, codec = CONTAINERS[name]
    found = probe(film(tmp_path, name, codec=codec, options={}))
    picture = found.first("video")
    assert found.container == container
    assert picture is not None
    assert (picture.codec, picture.width_px, picture.height_px) == (CODECS.get(codec, codec), 192, 108)
    assert (picture.mean_rate, picture.is_variable_rate) == (25, False)
    assert float(found.duration) == pytest.approx(2, abs=0.05)
    assert found.size_bytes == (tmp_path / name).stat().st_size


SOUNDS = {
    "a.wav": ("wav", "pcm_s16le"),
    "a.mp3": ("mp3", "mp3"),
    "a.flac": ("flac", "flac"),
    "a.ogg": ("ogg", "opus"),
    "a.m4a": ("m4a", "aac"),
}


@pytest.mark.parametrize("name", SOUNDS)
def test_each_kind_of_sound_tells_rate_channels_and_length(tmp_path: Path, name: str) -> None:
    found = probe(write_sound(tmp_path / name, tone(2, channels=2)))
    sound = found.first("audio")
    assert sound is not None
    assert (found.container, sound.codec) == SOUNDS[name]
    assert (sound.sample_rate_hz, sound.channels) == (48_000, 2)
    assert float(found.duration) == pytest.approx(2, abs=0.1)
    assert found.first("video") is None


PICTURES = {
    "a.jpg": ("mjpeg", "yuvj420p", "jpeg"),
    "a.png": ("png", "rgb24", "png"),
    "a.webp": ("libwebp", "yuv420p", "webp"),
}


@pytest.mark.parametrize("name", PICTURES)
def test_a_picture_is_an_image_without_time(tmp_path: Path, name: str) -> None:
    codec, pixels, container = PICTURES[name]
    found = probe(write_picture(tmp_path / name, codec=codec, pixels=pixels))
    assert [(t.kind, t.width_px, t.height_px) for t in found.tracks] == [("image", 64, 48)]
    assert (found.container, found.duration) == (container, 0)


@pytest.mark.parametrize(("turn", "clockwise"), [(90, 270), (-90, 90), (180, 180), (0, 0)])
def test_rotation_is_told_clockwise(tmp_path: Path, turn: int, clockwise: int) -> None:
    picture = probe(remux(film(tmp_path), tmp_path / "turned.mp4", rotation_deg=turn)).first("video")
    assert picture is not None
    assert picture.rotation_deg == clockwise
    assert picture.shown_size_px == ((108, 192) if clockwise in (90, 270) else (192, 108))


def test_a_rate_that_varies_is_seen_in_the_times(tmp_path: Path) -> None:
    path = remux(
        film(tmp_path, codec="mjpeg", pixel_format="yuvj420p", name="a.mov"), tmp_path / "b.mov", skip=every_few
    )
    found = probe(path).first("video")
    assert found is not None
    assert found.is_variable_rate
    assert found.mean_rate is not None
    assert float(found.mean_rate) == pytest.approx(25 * 2 / 3, rel=0.05)


def every_few(number: int, _packet: object) -> bool:
    return number % 3 == 1


@pytest.mark.parametrize("rate", [Fraction(24000, 1001), 24, 25, Fraction(30000, 1001), 30, 50, Fraction(25, 2)])
@pytest.mark.parametrize("name", ["a.mkv", "a.mp4"])
def test_the_rate_is_exact_though_times_are_rounded(tmp_path: Path, rate: Fraction, name: str) -> None:
    picture = register(film(tmp_path, name, rate=rate)).probe.first("video")
    assert picture is not None
    assert picture.mean_rate == rate
    assert picture.is_variable_rate is False


def test_interlace_and_its_field_order_are_told(tmp_path: Path) -> None:
    options = {"preset": "veryfast", "x264-params": "interlaced=1:tff=1"}
    picture = probe(film(tmp_path, options=options)).first("video")
    assert picture is not None
    assert picture.is_interlaced
    assert probe(film(tmp_path, "p.mp4")).first("video").is_interlaced is False  # type: ignore[union-attr]


def test_tracks_languages_titles_chapters_and_tags_are_told(tmp_path: Path) -> None:
    found = probe(rich_file(tmp_path / "rich.mkv"))
    assert [(t.kind, t.language, t.title) for t in found.tracks] == [
        ("video", None, None),
        ("audio", "chi", "国语"),
        ("audio", "eng", "English"),
        ("subtitle", "chi", "字幕"),
    ]
    assert found.tags["title"] == "马栏山"
    assert [(c.title, float(c.start), float(c.end)) for c in found.chapters] == [("开场", 0, 1), ("结尾", 1, 2)]


def test_a_cover_is_an_image_and_no_picture_to_scan(tmp_path: Path) -> None:
    found = register(with_cover(tmp_path / "song.mp3", write_picture(tmp_path / "cover.jpg")))
    assert [t.kind for t in found.probe.tracks] == ["audio", "image"]
    assert found.index is None


def test_a_late_track_keeps_its_start(tmp_path: Path) -> None:
    def later(_number: int, packet: av.Packet) -> None:
        packet.pts += 25 * 512
        packet.dts += 25 * 512

    found = register(remux(film(tmp_path), tmp_path / "late.mkv", change=later)).probe
    assert float(found.start_s) == pytest.approx(1, abs=0.01)
    assert float(found.duration) == pytest.approx(2, abs=0.01)


def test_length_counts_packets_when_the_header_lies(tmp_path: Path) -> None:
    path = film(tmp_path, "a.mkv", options=LONG_GOP)
    data = bytearray(path.read_bytes())
    place = data.index(b"\x44\x89\x88") + 3  # Duration, 8 bytes
    data[place : place + 8] = np.array([2.1e9], ">f8").tobytes()
    path.write_bytes(data)
    found = probe(path)
    assert float(found.duration) == pytest.approx(2, abs=0.05)
    assert "media.warn.duration" in found.warnings


def test_probe_and_register_agree(tmp_path: Path) -> None:
    for name in ("a.mp4", "a.mkv", "a.ts"):
        path = film(tmp_path, name, audio=True)
        quick, whole = probe(path), register(path).probe
        assert [t.codec for t in quick.tracks] == [t.codec for t in whole.tracks]
        assert float(quick.duration) == pytest.approx(float(whole.duration), abs=0.06)


def test_every_warning_has_words_in_both_languages() -> None:
    from malan.core.catalogue import catalogue

    warnings = [code for code in catalogue() if code.startswith("media.warn.")]
    assert len(warnings) >= 8
    assert all(entry(code).text(lang) for code in warnings for lang in ("en", "zh"))


REAL: dict[str, dict[str, object]] = {
    "derived/climbing_vfr_rotated.mov": {"shown_size_px": (540, 960), "is_variable_rate": True},
    "derived/walk_rotate90.mp4": {"shown_size_px": (848, 480), "rotation_deg": 270},
    "derived/bedroom_rotate180.mp4": {"rotation_deg": 180},
    "derived/bbb_ntsc_480i_telecine.ts": {"is_interlaced": True, "field_order": "tff", "shown_size_px": (853, 480)},
    "derived/juggle_pal_576i_h264.mp4": {"is_interlaced": True, "shown_size_px": (1024, 576)},
    "derived/bbb_80s_av1.mp4": {"codec": "av1", "frame_count": 240},
    "derived/dog_hevc10.mkv": {"codec": "hevc", "pixel_format": "yuv420p10le"},
    "derived/juggle_prores_proxy.mov": {"codec": "prores", "mean_rate": 24},
    "video/openshot_test_msmpeg4.avi": {"codec": "msmpeg4v2", "mean_rate": 30},
    "video/intel_car_detection.mp4": {"mean_rate": Fraction(25, 2)},
    "photos/portrait-orientation-6.jpg": {"shown_size_px": (840, 700), "rotation_deg": 90},
    "photos/IMG_2682.heic": {"shown_size_px": (4032, 3024), "codec": "hevc"},
    "photos/denali.webp": {"shown_size_px": (600, 315)},
}


@pytest.mark.parametrize("name", REAL)
def test_real_files_are_told_as_they_are(footage: Path, name: str) -> None:
    found = register(footage / name).probe
    track = found.first("video") or found.first("image")
    assert {key: getattr(track, key) for key in REAL[name]} == REAL[name]


def test_a_real_file_with_many_tracks(footage: Path) -> None:
    found: Probe = probe(footage / "derived/sintel_multitrack.mkv")
    assert [t.kind for t in found.tracks] == ["video", "audio", "audio", "subtitle", "subtitle"]
    assert [c.title for c in found.chapters] == ["雪原", "小巷与天空"]
    telemetry = probe(footage / "video/gopro_max_heromode.mp4")
    assert [t.kind for t in telemetry.tracks].count("data") == 3


def rich_file(path: Path) -> Path:
    """Picture, two languages of sound, subtitles, chapters and a title."""
    with av.open(str(path), "w") as container:
        container.metadata["title"] = "马栏山"
        container.set_chapters(
            [
                {"id": n, "start": n, "end": n + 1, "time_base": Fraction(1), "metadata": {"title": title}}
                for n, title in enumerate(("开场", "结尾"))
            ]
        )
        picture = container.add_stream("libx264", rate=25, options={"preset": "veryfast"})
        picture.width, picture.height, picture.pix_fmt = 64, 36, "yuv420p"
        sounds = [container.add_stream("flac", rate=8_000, layout="mono") for _ in range(2)]
        words = container.add_stream("ass")
        for stream, (language, title) in zip(
            (*sounds, words), (("chi", "国语"), ("eng", "English"), ("chi", "字幕")), strict=True
        ):
            stream.metadata.update({"language": language, "title": title})
        for number in range(50):
            frame = av.VideoFrame.from_ndarray(np.full((36, 64, 3), number, np.uint8), format="rgb24")
            frame.pts, frame.time_base = number, Fraction(1, 25)
            container.mux(picture.encode(frame))
        container.mux(picture.encode(None))
        for stream in sounds:
            frame = av.AudioFrame.from_ndarray(np.zeros((1, 16_000), np.int16), format="s16", layout="mono")
            frame.sample_rate, frame.pts, frame.time_base = 8_000, 0, Fraction(1, 8_000)
            container.mux(stream.encode(frame))
            container.mux(stream.encode(None))
    return path


def with_cover(path: Path, picture: Path) -> Path:
    """An mp3 with an ID3v2.3 picture in front."""
    sound = write_sound(path, tone(1)).read_bytes()
    content = b"\x00image/jpeg\x00\x03\x00" + picture.read_bytes()
    frame = b"APIC" + len(content).to_bytes(4, "big") + b"\x00\x00" + content
    size = len(frame)
    safe = bytes(size >> shift & 0x7F for shift in (21, 14, 7, 0))
    path.write_bytes(b"ID3\x03\x00\x00" + safe + frame + sound[_id3_length(sound) :])
    return path


def _id3_length(data: bytes) -> int:
    if data[:3] != b"ID3":
        return 0
    return 10 + sum(byte << shift for byte, shift in zip(data[6:10], (21, 14, 7, 0), strict=True))
