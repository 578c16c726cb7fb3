"""`malan asset` and `malan job`: documented JSON, one line a bad file, exit codes, both languages."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from media_factory import draw_film
from typer.testing import CliRunner, Result

from malan.cli.main import app
from malan.core.errors import MalanError


@pytest.fixture(scope="module")
def film(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return draw_film(tmp_path_factory.mktemp("film") / "film.mp4", (8, 8), size=(128, 80), audio=True).path


@pytest.fixture
def folder(tmp_path: Path, film: Path) -> Path:
    """A good film, a copy of it, a bad one, a document and a hidden file."""
    folder = tmp_path / "footage"
    folder.mkdir()
    for name in ("夜景 航拍.mp4", "copy.mp4"):
        (folder / name).write_bytes(film.read_bytes())
    (folder / "bad\nname.mp4").write_bytes(b"")
    (folder / "notes.txt").write_text("notes")
    (folder / ".hidden.mp4").write_bytes(b"")
    return folder


@pytest.fixture
def root(tmp_path: Path) -> Path:
    (tmp_path / "workspace").mkdir()
    (tmp_path / "workspace/malan.toml").write_text("workers = 1\n", "utf-8")
    return tmp_path / "workspace"


def malan(root: Path, *arguments: object) -> Result:
    return CliRunner().invoke(app, [*map(str, arguments), "--workspace", str(root)])


def output(root: Path, *arguments: object) -> dict[str, Any]:
    result = malan(root, *arguments, "--json")
    assert result.exit_code == 0, result.output
    said: dict[str, Any] = json.loads(result.stdout)
    return said


def add(root: Path, folder: Path) -> dict[str, Any]:
    return output(root, "asset", "add", folder, "--owner", "湖南台")


def test_add_prints_what_was_added_known_and_refused(root: Path, folder: Path) -> None:
    said = add(root, folder)
    assert (len(said["added"]), len(said["known"])) == (1, 1)
    (refused,) = said["refused"]
    assert refused["path"] == str(folder / "bad\nname.mp4")
    assert refused["code"] == "media.empty"
    assert refused["message"]
    assert refused["hint"]
    assert said["passed_over"] == {"hidden": 1, "subtitles": 0, "documents": 1}


def test_add_in_words_gives_each_bad_file_one_line(root: Path, folder: Path) -> None:
    lines = malan(root, "asset", "add", folder, "--owner", "湖南台").stdout.splitlines()
    assert lines[0] == "1 added (0:00:01), 1 known, 1 refused."
    (bad,) = [line for line in lines if "✗" in line]
    assert "name.mp4" in bad
    assert "is empty" in bad


def test_add_speaks_chinese(root: Path, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MALAN_LANG", "zh")
    said = malan(root, "asset", "add", folder, "--owner", "湖南台").stdout
    assert "新增 1" in said
    assert "是空文件" in said


def test_only_refusals_are_a_failure(root: Path, tmp_path: Path) -> None:
    (tmp_path / "bad.mp4").write_bytes(b"")
    assert malan(root, "asset", "add", tmp_path / "bad.mp4", "--owner", "湖南台").exit_code == 1


def test_a_path_that_is_not_there_is_refused_with_a_hint(root: Path, tmp_path: Path) -> None:
    result = malan(root, "asset", "add", tmp_path / "none.mp4", "--owner", "湖南台", "--json")
    assert json.loads(result.stdout)["refused"][0]["code"] == "media.not_there"
    assert result.exit_code == 1


def test_an_empty_folder_is_no_failure(root: Path, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    result = malan(root, "asset", "add", tmp_path / "empty", "--owner", "湖南台")
    assert result.exit_code == 0
    assert "no footage" in result.stdout


def test_add_without_an_owner_is_misuse(root: Path, folder: Path) -> None:
    assert malan(root, "asset", "add", folder).exit_code == 2


def test_terms_that_make_no_sense_stop_before_anything_is_added(root: Path, folder: Path, tmp_path: Path) -> None:
    (tmp_path / "terms.toml").write_text('uses = ["fly"]\n', "utf-8")
    result = malan(root, "asset", "add", folder, "--owner", "湖南台", "--terms", tmp_path / "terms.toml")
    assert isinstance(result.exception, MalanError)
    assert result.exception.exit_code == 2
    assert output(root, "asset", "list")["assets"] == []


def test_list_and_show_tell_owner_places_and_tracks(root: Path, folder: Path) -> None:
    add(root, folder)
    (listed,) = output(root, "asset", "list", "--owner", "湖南台")["assets"]
    assert listed["owner"] == "湖南台"
    assert len(listed["locations"]) == 2
    shown = output(root, "asset", "show", listed["id"][:8])
    assert [track["kind"] for track in shown["tracks"]] == ["video", "audio"]
    words = malan(root, "asset", "show", listed["id"][:8]).stdout
    assert "h264 128×80 25 fps" in words
    assert output(root, "asset", "list", "--owner", "nobody")["assets"] == []


def test_list_refused_tells_why(root: Path, folder: Path) -> None:
    add(root, folder)
    (refused,) = output(root, "asset", "list", "--refused")["refused"]
    assert refused["code"] == "media.empty"


def test_scan_tells_what_it_found_and_does_it_once(root: Path, folder: Path) -> None:
    add(root, folder)
    said = output(root, "asset", "scan", "--no-captions")
    assert [scan["clips"] for scan in said["scanned"]] == [2]
    assert said["failed"] == []
    assert len(output(root, "asset", "scan", "--no-captions")["unchanged"]) == 1


def test_jobs_are_listed_and_shown_with_what_failed(root: Path, folder: Path) -> None:
    job_id = add(root, folder)["job_id"]
    (job,) = output(root, "job", "list")["jobs"]
    assert (job["id"], job["kind"], job["state"], job["total"], job["done"], job["failed"]) == (
        job_id,
        "asset.add",
        "done",
        3,
        2,
        1,
    )
    shown = output(root, "job", "show", job_id[:8])
    assert shown["failures"][0]["error"]["code"] == "media.empty"
    assert "register footage" in malan(root, "job", "list").stdout


def test_a_job_with_failures_can_be_retried(root: Path, folder: Path, film: Path) -> None:
    job_id = add(root, folder)["job_id"]
    (folder / "bad\nname.mp4").write_bytes(film.read_bytes())
    said = output(root, "job", "retry", job_id[:8])
    assert (said["state"], said["done"], said["failed"]) == ("done", 3, 0)


def test_a_job_that_is_over_cannot_be_cancelled(root: Path, folder: Path) -> None:
    job_id = add(root, folder)["job_id"]
    assert isinstance(malan(root, "job", "cancel", job_id).exception, MalanError)


def test_watching_a_job_that_is_over_shows_it(root: Path, folder: Path) -> None:
    job_id = add(root, folder)["job_id"]
    assert output(root, "job", "watch", job_id)["state"] == "done"
