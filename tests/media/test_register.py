"""Registering reads a file once, whatever its name, and refuses what changes or is no file."""

from __future__ import annotations

import hashlib
import os
import socket
from pathlib import Path

import numpy as np
import pytest
from damage_factory import LONG_GOP, remux, write_picture, write_wav
from media_factory import draw_film

from malan.core.errors import MalanError, MediaError, NotFound
from malan.media import build_index, register
from malan.media.register import HashedFile

AWKWARD_NAMES = [
    "it's “quoted”.mp4",
    'double "quotes".mp4',
    "two\nlines.mp4",
    "-leading-dash.mp4",
    "%03d.mp4",
    "a:b|c;d&e.mp4",
    "file:inner.mp4",
    "concat:a|b.mp4",
    "手语 视频（测试）#1 é.mp4",
    " spaces at both ends .mp4 ",
    os.fsdecode(b"not \xff\xfe utf-8.mp4"),
    "no extension",
    "wrong.jpg",
    "SHOUT.MP4",
]


@pytest.fixture(scope="module")
def film(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("film") / "film.mp4"
    draw_film(path, (30, 20), size=(192, 108), options=LONG_GOP, audio=True)
    return path


def digest_of(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


@pytest.mark.parametrize("name", ["a.mp4", "a.mkv", "a.ts", "a.avi", "a.webm", "a.mxf"])
def test_digest_probe_and_index_are_those_of_separate_reads(tmp_path: Path, name: str) -> None:
    codec = {"a.webm": "libvpx-vp9", "a.mxf": "mpeg2video"}.get(name, "libx264")
    draw_film(tmp_path / name, (30, 20), size=(192, 108), codec=codec, options={})
    found = register(tmp_path / name)
    assert found.digest == digest_of(tmp_path / name)
    assert found.index is not None
    assert found.index.to_bytes() == build_index(tmp_path / name).to_bytes()
    track = found.probe.first("video")
    assert track is not None
    assert track.frame_count == found.index.frame_count == 50


@pytest.mark.parametrize("name", AWKWARD_NAMES)
def test_any_name_works(tmp_path: Path, film: Path, name: str) -> None:
    path = tmp_path / name
    path.write_bytes(film.read_bytes())
    assert register(path).digest == digest_of(film)


def test_a_name_in_a_message_is_one_line(tmp_path: Path) -> None:
    path = tmp_path / os.fsdecode(b"two\nlines \xff.mp4")
    path.write_bytes(b"no media at all, only words")
    with pytest.raises(MediaError) as caught:
        register(path)
    assert "\n" not in caught.value.message("en")
    caught.value.message("zh").encode()


def test_files_without_moving_pictures_have_no_index(tmp_path: Path) -> None:
    assert register(write_wav(tmp_path / "a.wav")).index is None
    assert register(write_picture(tmp_path / "a.jpg")).index is None


@pytest.mark.parametrize("movflags", ["disable_chpl", "faststart"])
def test_a_file_is_read_about_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, movflags: str) -> None:
    path = tmp_path / "film.mp4"
    noise = np.random.default_rng(1).bytes(3_000_000)
    draw_film(tmp_path / "drawn.mp4", (60, 60), size=(320, 180), options={"qp": "0"})
    remux(tmp_path / "drawn.mp4", path, options={"movflags": movflags})
    path.write_bytes(path.read_bytes() + len(noise).to_bytes(4, "big") + b"free" + noise[8:])
    read = 0
    plain = os.pread

    def counted(fd: int, size: int, at: int) -> bytes:
        nonlocal read
        data = plain(fd, size, at)
        read += len(data)
        return data

    monkeypatch.setattr(os, "pread", counted)
    register(path)
    assert read < 1.5 * path.stat().st_size + (1 << 20)


def test_a_file_that_grows_while_read_is_refused(film: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "growing.mp4"
    path.write_bytes(film.read_bytes())
    finish = HashedFile.digest

    def grow(self: HashedFile) -> str:
        with path.open("ab") as file:
            file.write(b"more")
        return finish(self)

    monkeypatch.setattr(HashedFile, "digest", grow)
    assert code_of(path) == "media.changed"


def test_a_file_that_is_replaced_while_read_is_refused(
    film: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "replaced.mp4"
    path.write_bytes(film.read_bytes())
    finish = HashedFile.digest

    def replace(self: HashedFile) -> str:
        (tmp_path / "new").write_bytes(film.read_bytes())
        (tmp_path / "new").replace(path)
        return finish(self)

    monkeypatch.setattr(HashedFile, "digest", replace)
    assert code_of(path) == "media.changed"


def test_what_is_no_plain_file_is_refused_without_waiting(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(str(tmp_path / "socket"))
        assert code_of(tmp_path / "socket") == "media.not_a_file"
    assert code_of(tmp_path / "pipe") == "media.not_a_file"
    assert code_of(Path("/dev/zero")) == "media.not_a_file"
    assert code_of(tmp_path) == "media.directory"


def test_links_are_followed_and_broken_ones_named(film: Path, tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to(film)
    (tmp_path / "broken").symlink_to(tmp_path / "nowhere")
    (tmp_path / "loop").symlink_to(tmp_path / "loop")
    assert register(tmp_path / "link").digest == digest_of(film)
    with pytest.raises(NotFound):
        register(tmp_path / "broken")
    assert code_of(tmp_path / "loop") == "media.unreadable"


def test_a_file_that_may_not_be_read_is_refused(film: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def forbid(*_args: object, **_more: object) -> int:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(os, "open", forbid)
    assert code_of(film) == "media.forbidden"


def test_a_disk_that_fails_is_named(film: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(self: HashedFile, size: int) -> bytes:
        raise OSError(5, "Input/output error")

    monkeypatch.setattr(HashedFile, "read", fail)
    assert code_of(film) == "media.unreadable"


def test_a_playlist_opens_nothing_else(film: Path, tmp_path: Path) -> None:
    for text in ("#EXTM3U\n#EXTINF:2,\nfilm.mp4\n", "ffconcat version 1.0\nfile film.mp4\n"):
        path = tmp_path / "list.m3u8"
        path.write_text(text)
        (tmp_path / "film.mp4").write_bytes(film.read_bytes())
        assert code_of(path) == "media.playlist"


def test_no_descriptor_stays_open(film: Path, tmp_path: Path) -> None:
    (tmp_path / "bad.mp4").write_bytes(b"\x00\x00\x00\x18ftypisom" + bytes(100))
    register(film)
    before = open_descriptors()
    for _ in range(5):
        register(film)
        code_of(tmp_path / "bad.mp4")
    assert open_descriptors() == before


def open_descriptors() -> int:
    return len(list(Path("/proc/self/fd").iterdir()))


def code_of(path: Path) -> str:
    """The code of the error that registering a file gives."""
    with pytest.raises(MalanError) as caught:
        register(path)
    return caught.value.code
