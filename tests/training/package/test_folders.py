"""A folder nobody trusts is read as plain files or not at all."""

from __future__ import annotations

import os
import socket
from pathlib import Path

import pytest
from algorithm_factory import FILES
from hypothesis import given
from hypothesis import strategies as st

from malan.core.errors import MalanError, NotFound, ProofError, UsageError
from malan.training.package import check_folder, pack_files, package_of, read_folder, read_package, unpack_files
from malan.training.package.folder import MOST_BYTES, MOST_FILES, digest_files


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A sound package on disk."""
    place = tmp_path / "lines"
    place.mkdir()
    for name, data in FILES.items():
        (place / name).write_bytes(data)
    return place


def code_of(folder: Path) -> str:
    """How the folder is refused."""
    with pytest.raises(UsageError) as refused:
        read_folder(folder)
    assert refused.value.message("zh")
    return refused.value.code


def test_a_folder_has_the_digest_of_its_files_wherever_it_lies(folder: Path) -> None:
    assert read_package(folder).digest == package_of(FILES).digest
    os.utime(folder / "algorithm.py", (1, 1))
    (folder / "algorithm.py").chmod(0o755)
    assert read_package(folder).digest == package_of(FILES).digest


def test_what_tools_leave_behind_plays_no_part(folder: Path) -> None:
    for name in ("__pycache__", ".git", ".pytest_cache"):
        (folder / name).mkdir()
        (folder / name / "thing.pyc").write_bytes(b"\0")
    assert read_package(folder).digest == package_of(FILES).digest


def test_a_link_is_refused_wherever_it_leads(folder: Path) -> None:
    for target in ("/etc/passwd", "algorithm.py", "/nowhere", ".."):
        (folder / "link").unlink(missing_ok=True)
        (folder / "link").symlink_to(target)
        assert code_of(folder) == "algorithm.file_kind"


def test_a_link_to_a_folder_is_refused(folder: Path, tmp_path: Path) -> None:
    (folder / "more").symlink_to(tmp_path, target_is_directory=True)
    assert code_of(folder) == "algorithm.file_kind"


def test_a_hard_link_is_refused_where_nobody_installed_it(folder: Path, tmp_path: Path) -> None:
    (tmp_path / "secret").write_text("not yours")
    os.link(tmp_path / "secret", folder / "notes.txt")
    assert code_of(folder) == "algorithm.hard_link"
    assert "notes.txt" in read_folder(folder, hard_links=True)


def test_pipes_and_sockets_are_refused_without_being_opened(folder: Path) -> None:
    os.mkfifo(folder / "pipe")
    assert code_of(folder) == "algorithm.file_kind"
    (folder / "pipe").unlink()
    with socket.socket(socket.AF_UNIX) as listening:
        here = Path.cwd()
        os.chdir(folder)
        try:
            listening.bind("plug")
        finally:
            os.chdir(here)
        assert code_of(folder) == "algorithm.file_kind"


def test_a_device_is_refused() -> None:
    if not Path("/dev/null").exists():
        pytest.skip("no devices here")
    with pytest.raises(MalanError):
        read_folder(Path("/dev"))


def test_a_hole_of_a_terabyte_costs_nothing(folder: Path) -> None:
    with (folder / "hole.bin").open("wb") as file:
        file.truncate(10**12)
    assert code_of(folder) == "algorithm.too_large"


def test_too_many_files_are_not_even_listed(folder: Path) -> None:
    for number in range(MOST_FILES + 1):
        (folder / f"f{number}.txt").touch()
    assert code_of(folder) == "algorithm.too_many_files"


def test_many_files_in_many_folders_are_too_many_together(folder: Path) -> None:
    for number in range(3):
        (folder / f"d{number}").mkdir()
        for file in range(MOST_FILES // 3 + 1):
            (folder / f"d{number}" / f"f{file}").touch()
    assert code_of(folder) == "algorithm.too_many_files"


def test_a_deep_folder_is_refused(folder: Path) -> None:
    deep = folder.joinpath(*"abcdefgh")
    deep.mkdir(parents=True)
    (deep / "x.py").touch()
    assert code_of(folder) == "algorithm.file_name"


@pytest.mark.parametrize(
    "name", [".env", "a b.py", "-rf", "naïve.py", "x\ny.py", "x\x1b[31m.py", "x.", "数据.py", "a\\b"]
)
def test_odd_names_are_refused_and_shown_safely(folder: Path, name: str) -> None:
    (folder / name).touch()
    with pytest.raises(UsageError) as refused:
        read_folder(folder)
    assert refused.value.message("en").isprintable()


def test_a_name_that_is_no_text_is_refused(folder: Path) -> None:
    Path(os.fsdecode(os.fsencode(folder) + b"/\xff\xfe.py")).touch()
    assert code_of(folder) == "algorithm.file_name"


def test_names_that_differ_in_capitals_alone_are_refused(folder: Path) -> None:
    (folder / "Algorithm.py").touch()
    if len(list(folder.iterdir())) < 3:
        pytest.skip("this file system takes them for one")
    assert code_of(folder) == "algorithm.same_name"


def test_a_folder_that_is_not_there_is_said_to_be_missing(tmp_path: Path) -> None:
    with pytest.raises(NotFound):
        read_folder(tmp_path / "nowhere")
    (tmp_path / "file").touch()
    with pytest.raises(NotFound):
        read_folder(tmp_path / "file")


def test_checking_a_hostile_folder_tells_and_does_not_raise(folder: Path) -> None:
    os.mkfifo(folder / "pipe")
    report = check_folder(folder)
    assert report.package is None
    assert [problem.code for problem in report.problems] == ["algorithm.file_kind"]


NAMES = st.from_regex(r"[a-z_][a-z0-9_-]{0,8}(\.py|\.txt)", fullmatch=True)


@given(st.dictionaries(NAMES, st.binary(max_size=40), min_size=1, max_size=6))
def test_packing_keeps_every_byte(files: dict[str, bytes]) -> None:
    assert unpack_files(pack_files(files), digest_files(files)) == files


@given(st.dictionaries(NAMES, st.binary(max_size=9), min_size=1, max_size=4), st.data())
def test_one_changed_byte_is_another_digest(files: dict[str, bytes], data: st.DataObject) -> None:
    name = data.draw(st.sampled_from(sorted(files)))
    assert digest_files(files | {name: files[name] + b"\n"}) != digest_files(files)
    assert digest_files({f"x{path}": held for path, held in files.items()}) != digest_files(files)


@given(st.binary(max_size=300))
def test_no_bytes_make_a_bundle_by_chance(data: bytes) -> None:
    with pytest.raises(ProofError):
        unpack_files(data)


@pytest.mark.parametrize("path", ["../x", "/etc/passwd", "a/../b", "a//b", "", "a/", "./a", "a/b/c/d/e/f/g"])
def test_a_bundle_cannot_name_a_file_outside(path: str) -> None:
    with pytest.raises(MalanError):
        unpack_files(pack_files({path: b""}))


def test_a_bundle_that_names_a_file_twice_or_as_a_folder_is_refused() -> None:
    twice = pack_files({"a": b"1"}).replace(b'{"data":"MQ==","path":"a"}', b'{"data":"MQ==","path":"a"},' * 2)
    for data in (twice.replace(b"},]", b"}]"), pack_files({"a": b"", "a/b": b""})):
        with pytest.raises(MalanError):
            unpack_files(data)


def test_a_bundle_of_too_much_is_refused() -> None:
    with pytest.raises(MalanError):
        unpack_files(pack_files({"a": b"\0" * (MOST_BYTES + 1)}))
