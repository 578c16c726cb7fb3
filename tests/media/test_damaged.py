"""What each kind of damage leads to: a clear refusal, or a file that registers with a warning."""

from __future__ import annotations

import struct
import subprocess
import sys
import zlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from damage_factory import LONG_GOP, cut, cut_ts, flip_bits, remux, write_picture, write_wav
from media_factory import draw_film

from malan.core.catalogue import entry
from malan.core.errors import MalanError
from malan.media import FrameDecoder, register


def outcome(path: Path) -> str:
    """The code of the refusal, or `ok` and the warnings."""
    try:
        found = register(path)
    except MalanError as error:
        return error.code
    warnings = [code.removeprefix("media.warn.") for code in found.probe.warnings]
    return " ".join(["ok", *warnings])


@pytest.fixture(scope="module")
def good(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of good files to damage."""
    folder = tmp_path_factory.mktemp("good")
    for name, options in {
        "film.mp4": LONG_GOP,
        "film.mkv": LONG_GOP,
        "film.ts": LONG_GOP,
    }.items():
        draw_film(folder / name, (30, 40), size=(192, 108), options=options, audio=True)
    remux(folder / "film.mp4", folder / "fast.mp4", options={"movflags": "faststart"})
    write_wav(folder / "a.wav", 3)
    write_picture(folder / "a.jpg", (320, 240))
    return folder


def renamed_codec(good: Path, path: Path) -> Path:
    path.write_bytes((good / "film.mp4").read_bytes().replace(b"avc1", b"zzz1"))
    return path


def huge_picture(path: Path) -> Path:
    """A PNG that claims 16,000 by 16,000 pixels and holds none."""
    from zlib import compress, crc32

    def chunk(kind: bytes, data: bytes) -> bytes:
        return len(data).to_bytes(4, "big") + kind + data + crc32(kind + data).to_bytes(4, "big")

    side = (16_000).to_bytes(4, "big")
    head = chunk(b"IHDR", side + side + bytes([8, 2, 0, 0, 0]))
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + head + chunk(b"IDAT", compress(bytes(1000))) + chunk(b"IEND", b""))
    return path


def written(path: Path, data: bytes) -> Path:
    path.write_bytes(data)
    return path


def noise(size: int) -> bytes:
    return np.random.default_rng(4).bytes(size)


DAMAGES: dict[str, tuple[Callable[[Path, Path], Path], str]] = {
    "empty": (lambda _, to: written(to, b""), "media.empty"),
    "words": (lambda _, to: written(to, "这不是视频\n".encode() * 50), "media.not_media"),
    "a web page": (lambda _, to: written(to, b"<html><body>404</body></html>"), "media.not_media"),
    "noise": (lambda _, to: written(to, noise(60_000)), "media.not_media"),
    "zeros": (lambda _, to: written(to, bytes(60_000)), "media.not_media"),
    "only the first box": (
        lambda _, to: written(to, b"\x00\x00\x00\x14ftypisom\x00\x00\x02\x00isom"),
        "media.truncated",
    ),
    "cut before moov": (lambda good, to: cut(good / "film.mp4", to, 0.6), "media.truncated"),
    "cut behind moov": (lambda good, to: cut(good / "fast.mp4", to, 0.6), "ok end_missing duration corrupt_packets"),
    "cut mkv": (lambda good, to: cut(good / "film.mkv", to, 0.6), "ok end_missing"),
    "cut wav": (lambda good, to: cut(good / "a.wav", to, 0.6), "ok end_missing"),
    "cut jpeg": (lambda good, to: cut(good / "a.jpg", to, 0.6), "ok end_missing"),
    "cut in front": (lambda good, to: cut_ts(good / "film.ts", to, 0.2), "ok starts_mid_gop"),
    "a codec nobody has": (renamed_codec, "media.no_codec"),
    "too many pixels": (lambda _, to: huge_picture(to), "media.too_large"),
    "a png larger than libav takes": (lambda _, to: huge_png(to), "media.too_large"),
    "mkv header alone": (lambda good, to: written(to, (good / "film.mkv").read_bytes()[:60]), "media.damaged"),
    "playlist": (lambda _, to: written(to, b"#EXTM3U\nhttp://127.0.0.1:1/a.ts\n"), "media.playlist"),
}


def huge_png(path: Path) -> Path:
    """16,384 by 16,384 pixels of one bit, all black."""
    rows = zlib.compress(bytes((1 + 2048) * 16384))
    parts = ((b"IHDR", struct.pack(">IIBBBBB", 16384, 16384, 1, 0, 0, 0, 0)), (b"IDAT", rows), (b"IEND", b""))
    chunks = (struct.pack(">I", len(d)) + kind + d + struct.pack(">I", zlib.crc32(kind + d)) for kind, d in parts)
    return written(path, b"\x89PNG\r\n\x1a\n" + b"".join(chunks))


@pytest.mark.parametrize("damage", DAMAGES)
def test_each_damage_has_its_outcome(good: Path, tmp_path: Path, damage: str) -> None:
    make, expected = DAMAGES[damage]
    found = outcome(make(good, tmp_path / "file.mp4"))
    assert set(expected.split()) <= set(found.split()), found


def test_bits_flipped_in_the_picture_leave_the_rest_readable(good: Path, tmp_path: Path) -> None:
    index = register(good / "fast.mp4").index
    assert index is not None
    bad = flip_bits(good / "fast.mp4", tmp_path / "bad.mp4", share=0.003, first=int(index.position[5]))
    found = register(bad)
    assert found.index is not None
    assert found.index.frame_count == index.frame_count
    with FrameDecoder(bad, found.index) as decoder:
        assert sum(1 for _ in decoder.frames()) > 5


def test_a_first_frame_that_does_not_decode_hides_none_that_do(good: Path, tmp_path: Path) -> None:
    index = register(good / "fast.mp4").index
    assert index is not None
    data = bytearray((good / "fast.mp4").read_bytes())
    start = int(index.position[0])
    data[start : start + int(index.size_bytes[0])] = bytes(int(index.size_bytes[0]))
    found = register(written(tmp_path / "bad.mp4", bytes(data)))
    assert found.index is not None
    assert found.index.frame_count > 0


def test_damage_prints_nothing(good: Path, tmp_path: Path) -> None:
    bad = flip_bits(good / "film.ts", tmp_path / "bad.ts", share=0.01, first=2000)
    program = "import sys; from malan.media import register; register(sys.argv[1])"
    done = subprocess.run([sys.executable, "-c", program, str(bad)], capture_output=True, check=False)
    assert (done.stdout, done.stderr) == (b"", b"")


REAL = {
    "UPPER.MP4": "ok",
    "absurd_duration_in_header.mp4": "ok",
    "audio_longer_than_video.mp4": "ok",
    "audio_only.mp4": "ok",
    "bitflips.ts": "ok corrupt_packets",
    "bitflips_mdat.mp4": "ok",
    "bitflips_moov.mp4": "media.bad_header",
    "black_and_silent.mp4": "ok",
    "ftyp_only.mp4": "media.truncated",
    "html_named.mp4": "media.not_media",
    "jpeg_named.mp4": "ok",
    "mkv_named.mp4": "ok",
    "mp4_named.jpg": "ok",
    "no_extension": "ok",
    "random_bytes.mp4": "media.not_media",
    "single_frame.mp4": "ok",
    "tiny_odd_size_17x31.mp4": "ok",
    "truncated.jpg": "ok end_missing",
    "truncated.mkv": "ok end_missing duration",
    "truncated.wav": "ok end_missing",
    "truncated_faststart.mp4": "ok end_missing duration corrupt_packets",
    "truncated_no_moov.mp4": "media.truncated",
    "ts_pts_jump_back.ts": "ok duration times_fell corrupt_packets",
    "ts_starts_mid_gop.ts": "ok starts_mid_gop",
    "up_clusterfuzz.avif": "media.damaged",
    "up_clusterfuzz_6093954524250112.mp4": "media.damaged",
    "up_invalid_userdata.mp4": "media.damaged",
    "up_minimal.mp4": "ok",
    "up_missing_wav_header.wav": "media.not_media",
    "up_no_ftyp.avif": "ok",
    "up_no_hdlr.avif": "media.damaged",
    "up_test_case_1185230.mp4": "media.damaged",
    "video_no_audio.mp4": "ok",
    "zero_bytes.jpg": "media.empty",
    "zero_bytes.mp4": "media.empty",
}


def test_every_damaged_real_file_has_its_outcome(footage: Path) -> None:
    found = {path.name: outcome(path) for path in sorted((footage / "damaged").iterdir())}
    assert found == REAL


def test_every_good_real_file_registers(footage: Path) -> None:
    folders = ("video", "video/asl", "derived", "audio", "photos")
    media = [p for f in folders for p in (footage / f).iterdir() if p.suffix not in {".csv", ".txt", ".srt"}]
    refused = {p.name: outcome(p) for p in media if p.is_file() and not outcome(p).startswith("ok")}
    assert refused == {}


def test_every_refusal_of_media_has_words_and_a_hint() -> None:
    from malan.core.catalogue import catalogue

    for code in catalogue():
        if code.startswith("media.") and not code.startswith("media.warn."):
            words = entry(code).words
            assert {"en", "zh", "hint_en", "hint_zh"} <= set(words), code
