"""One small file of each kind that carries a label, drawn by ffmpeg and Pillow, and ways to damage labels in them."""

from __future__ import annotations

import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
from imageio_ffmpeg import get_ffmpeg_exe
from PIL import Image

from malan.media.labels import Label

PRODUCER = "001191440300708461136T1XGW3"
_PICTURE = ["-f", "lavfi", "-i", "testsrc=s=160x90:r=25:d=2"]
_SOUND = ["-f", "lavfi", "-i", "sine=d=2"]
_FILM = [*_PICTURE, *_SOUND]
_H264 = ["-c:v", "libx264", "-preset", "ultrafast", "-g", "12", "-c:a", "aac"]
_TITLE = ["-metadata", "title=马栏", "-metadata", "comment=keep me"]
_FRAGMENTS = "frag_keyframe+empty_moov"
# Name of a file → what ffmpeg is told. The first fourteen are the carriers, the others ways to build them.
RECIPES: dict[str, list[str]] = {
    "mp4": [*_FILM, *_H264, *_TITLE, "-f", "mp4"],
    "mov": [*_FILM, *_H264, *_TITLE, "-f", "mov"],
    "m4a": [*_SOUND, "-c:a", "aac", *_TITLE, "-f", "ipod"],
    "mkv": [*_FILM, *_H264, *_TITLE, "-f", "matroska"],
    "webm": [*_FILM, "-c:v", "libvpx", "-deadline", "realtime", "-c:a", "libopus", *_TITLE, "-f", "webm"],
    "avi": [*_FILM, "-c:v", "mpeg4", "-c:a", "mp3", *_TITLE, "-f", "avi"],
    "flv": [*_FILM, *_H264, *_TITLE, "-f", "flv"],
    "wav": [*_SOUND, *_TITLE, "-f", "wav"],
    "mp3": [*_SOUND, *_TITLE, "-f", "mp3"],
    "flac": [*_SOUND, *_TITLE, "-f", "flac"],
    "ogg": [*_SOUND, "-c:a", "libopus", *_TITLE, "-f", "ogg"],
    "png": [],
    "jpeg": [],
    "webp": [],
    "mp4-front": [*_FILM, *_H264, *_TITLE, "-movflags", "+faststart", "-f", "mp4"],
    "mp4-fragments": [*_FILM, *_H264, "-movflags", f"{_FRAGMENTS}+default_base_moof", "-f", "mp4"],
    "mp4-fragments-absolute": [*_FILM, *_H264, "-movflags", _FRAGMENTS, "-f", "mp4"],
    "mkv-live": [*_FILM, *_H264, "-f", "matroska", "-live", "1"],
    "mkv-cues-first": [*_FILM, *_H264, "-f", "matroska", "-cues_to_front", "1"],
    "flv-index": [*_FILM, *_H264, "-flvflags", "add_keyframe_index", "-f", "flv"],
    "wav-rf64": [*_SOUND, "-f", "wav", "-rf64", "always"],
    "mp3-bare": [*_SOUND, "-f", "mp3", "-id3v2_version", "0", "-write_id3v1", "0"],
    "mp3-v3": [*_SOUND, *_TITLE, "-f", "mp3", "-id3v2_version", "3"],
    "ogg-vorbis": [*_SOUND, "-c:a", "libvorbis", *_TITLE, "-f", "ogg"],
    "ogg-film": [*_FILM, "-c:v", "libtheora", "-c:a", "libvorbis", "-f", "ogg"],
    "webp-lossless": [],
    "png-animated": [],
}
CARRIERS = tuple(RECIPES)[:14]


@pytest.fixture(scope="session")
def file(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """A file of a recipe, made once."""
    folder, made = tmp_path_factory.mktemp("carriers"), dict[str, Path]()

    def make(name: str) -> Path:
        if name not in made:
            made[name] = folder / f"{name}.{'jpg' if name == 'jpeg' else name.partition('-')[0]}"
            _draw(made[name], name) if not RECIPES[name] else _run(made[name], RECIPES[name])
        return made[name]

    return make


@pytest.fixture
def label() -> Label:
    return Label.first(PRODUCER, "019a-7c1e-44")


def _run(path: Path, options: list[str]) -> None:
    if "-live" in options:  # written to a pipe: sizes stay unknown and there is no index
        with path.open("wb") as out:
            command = [get_ffmpeg_exe(), "-v", "error", *options, "-"]
            subprocess.run(command, stdout=out, check=True)
        return
    subprocess.run([get_ffmpeg_exe(), "-v", "error", "-y", *options, str(path)], check=True)


def _draw(path: Path, name: str) -> None:
    picture = Image.linear_gradient("L").resize((64, 48)).convert("RGB")
    if name == "jpeg":
        exif = Image.Exif()
        exif[0x010F] = "a camera"
        picture.save(path, quality=90, exif=exif, comment=b"keep me")
    elif name == "png-animated":
        picture.save(path, save_all=True, append_images=[picture.rotate(90), picture.rotate(180)], duration=100)
    else:
        picture.save(path, lossless=name == "webp-lossless")
