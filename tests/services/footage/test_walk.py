"""Which files are meant by a path: in a stable order, each once, never in circles."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import pytest

from malan.services.footage.walk import FoundFile, Passed, Unusable, walk

FILM = b"\x00\x00\x00\x18ftypisom" + bytes(100)


def write(path: Path, content: bytes = FILM) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
    return path


def names(root: Path, *paths: Path, passed: Passed | None = None) -> Sequence[str]:
    found = [item for item in walk(paths or [root], passed) if isinstance(item, FoundFile)]
    return [os.path.relpath(item.path, root) for item in found]


def codes(*paths: Path) -> list[tuple[str, str]]:
    return [(Path(item.path).name, item.error.code) for item in walk(paths) if isinstance(item, Unusable)]


def test_a_folder_gives_its_files_in_the_order_of_names(tmp_path: Path) -> None:
    for name in ("b.mp4", "a/z.mov", "a/y.mkv", "c.wav"):
        write(tmp_path / name)
    assert names(tmp_path) == ["a/y.mkv", "a/z.mov", "b.mp4", "c.wav"]


def test_a_file_is_found_with_its_size_and_time(tmp_path: Path) -> None:
    file = write(tmp_path / "a.mp4")
    (found,) = walk([file])
    assert isinstance(found, FoundFile)
    assert (found.size_bytes, found.mtime_ns) == (file.stat().st_size, file.stat().st_mtime_ns)


def test_hidden_files_and_folders_are_counted_and_passed_over(tmp_path: Path) -> None:
    for name in ("a.mp4", ".b.mp4", "._a.mp4", ".trash/c.mp4"):
        write(tmp_path / name)
    passed = Passed()
    assert names(tmp_path, passed=passed) == ["a.mp4"]
    assert passed.hidden == 3


def test_documents_in_a_folder_are_passed_over_and_a_film_named_as_one_is_not(tmp_path: Path) -> None:
    write(tmp_path / "notes.txt", b"call the archive on Monday")
    write(tmp_path / "really a film.txt")
    passed = Passed()
    assert names(tmp_path, passed=passed) == ["really a film.txt"]
    assert passed.others == 1


def test_a_document_that_is_named_itself_is_taken(tmp_path: Path) -> None:
    file = write(tmp_path / "notes.txt", b"call the archive on Monday")
    assert names(tmp_path, file) == ["notes.txt"]


def test_subtitles_belong_to_the_film_next_to_them(tmp_path: Path) -> None:
    for name in ("film.mp4", "film.zh.srt", "film.ass", "other.srt", "film two.mp4"):
        write(tmp_path / name)
    found = {Path(f.path).name: f.subtitles for f in walk([tmp_path]) if isinstance(f, FoundFile)}
    assert found == {"film.mp4": ("film.ass", "film.zh.srt"), "film two.mp4": ()}
    (named,) = walk([tmp_path / "film.mp4"])
    assert isinstance(named, FoundFile)
    assert named.subtitles == ("film.ass", "film.zh.srt")


def test_a_link_that_leads_upwards_is_reported_and_not_followed(tmp_path: Path) -> None:
    write(tmp_path / "a/b/film.mp4")
    (tmp_path / "a/b/up").symlink_to(tmp_path / "a")
    assert names(tmp_path) == ["a/b/film.mp4"]
    assert codes(tmp_path) == [("up", "asset.folder_loop")]


def test_a_folder_that_is_linked_twice_is_read_once(tmp_path: Path) -> None:
    write(tmp_path / "a/film.mp4")
    (tmp_path / "b").symlink_to(tmp_path / "a")
    assert names(tmp_path) == ["a/film.mp4"]
    assert codes(tmp_path) == []


def test_a_link_to_a_file_elsewhere_is_followed(tmp_path: Path) -> None:
    write(tmp_path / "elsewhere/film.mp4")
    (tmp_path / "here").mkdir()
    (tmp_path / "here/link.mp4").symlink_to(tmp_path / "elsewhere/film.mp4")
    assert names(tmp_path, tmp_path / "here") == ["here/link.mp4"]


def test_a_link_to_nothing_is_reported(tmp_path: Path) -> None:
    (tmp_path / "gone.mp4").symlink_to(tmp_path / "nowhere")
    assert codes(tmp_path) == [("gone.mp4", "asset.broken_link")]


def test_a_path_that_is_not_there_is_reported(tmp_path: Path) -> None:
    assert codes(tmp_path / "none.mp4") == [("none.mp4", "media.not_there")]


def test_names_of_any_bytes_are_found(tmp_path: Path) -> None:
    odd = [b'quote".mp4', b"new\nline.mp4", b"\xff\xfe.mp4", "夜景.mp4".encode(), b"-dash.mp4"]
    for name in odd:
        (tmp_path / os.fsdecode(name)).write_bytes(FILM)
    assert sorted(os.fsencode(Path(f.path).name) for f in walk([tmp_path])) == sorted(odd)


def test_a_file_named_twice_is_found_once(tmp_path: Path) -> None:
    file = write(tmp_path / "a.mp4")
    assert names(tmp_path, file, tmp_path) == ["a.mp4"]


def test_what_a_workspace_keeps_is_no_footage(tmp_path: Path) -> None:
    for name in ("malan.toml", "malan.db", "malan.db-wal", "library/assets/1.lance", "footage/a.mp4"):
        write(tmp_path / name)
    assert names(tmp_path) == ["footage/a.mp4"]


@pytest.mark.skipif(os.geteuid() != 0, reason="needs the right to become someone who may not read")
def test_a_folder_that_may_not_be_read_is_reported(tmp_path: Path) -> None:
    write(tmp_path / "shut/a.mp4")
    for folder in (tmp_path, *tmp_path.parents[:3]):
        folder.chmod(0o755)
    (tmp_path / "shut").chmod(0o000)
    look = "import os, sys; from malan.services.footage.walk import walk; os.setuid(65534)"
    code = f"{look}; print(*(item.error.code for item in walk([{str(tmp_path)!r}])), end='')"
    env = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    seen = subprocess.run([sys.executable, "-c", code], env=env, stdout=subprocess.PIPE, text=True, check=True)
    assert seen.stdout == "asset.folder_unreadable"
