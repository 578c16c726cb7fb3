"""What people bring along is kept under its digest, apart for each party, within bounds, as long as it is used."""

from __future__ import annotations

import io
import os
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from malan.core.errors import MalanError, NotFound, NotGranted, Rejected, UsageError
from malan.services.access import SINGLE_USER, Caller
from malan.services.files import uploads
from malan.services.files.uploads import as_token, folder_of, is_brought, keep_upload, path_of, sweep_uploads
from malan.workspace import Workspace

ONE = Caller("a" * 64, frozenset({"buyer"}), "session")
OTHER = Caller("b" * 64, frozenset({"buyer"}), "session")


@pytest.fixture
def ws(tmp_path: Path) -> Iterator[Workspace]:
    (tmp_path / "malan.toml").write_text('organisation = "湖南台"\n')
    workspace = Workspace(tmp_path)
    yield workspace
    workspace.database.dispose()


def kept(ws: Workspace, data: bytes = b"pixels", name: str = "照片.jpg", caller: Caller = ONE) -> str:
    return keep_upload(ws, name, io.BytesIO(data), caller=caller)


def test_a_file_is_found_again_by_its_name_with_every_byte(ws: Workspace) -> None:
    token = kept(ws)
    path = path_of(ws, token, caller=ONE)
    assert (path.name, path.read_bytes()) == ("照片.jpg", b"pixels")
    assert as_token(ws, str(path), caller=ONE) == token
    assert kept(ws) == token
    assert len(list(folder_of(ws, ONE).iterdir())) == 1


def test_nobody_else_can_name_it(ws: Workspace) -> None:
    token = kept(ws)
    path = path_of(ws, token, caller=ONE)
    for stranger in (OTHER, SINGLE_USER):
        with pytest.raises(NotFound) as caught:
            path_of(ws, token, caller=stranger)
        assert caught.value.code == "upload.none"
        assert not is_brought(ws, path, caller=stranger)
        assert as_token(ws, str(path), caller=stranger) == str(path)


@pytest.mark.parametrize(
    ("name", "shown"),
    [
        ("../../etc/passwd", "passwd"), ("C:\\Users\\me\\photo.png", "photo.png"), ("a\x00b\n.jpg", "ab.jpg"),
        ("", "file"), ("..", "file"), (".jpg", "jpg"), ("x" * 300 + ".jpeg", "x" * 80 + ".jpeg"), ("<b>.gif", "b.gif"),
    ],
)  # fmt: skip
def test_a_hostile_name_loses_what_has_a_meaning(ws: Workspace, name: str, shown: str) -> None:
    path = path_of(ws, kept(ws, name=name), caller=ONE)
    assert path.name == shown
    assert path.parent.parent == folder_of(ws, ONE)


@pytest.mark.parametrize("token", ["upload:", "upload:../x", f"upload:{'0' * 64}/..", f"upload:{'0' * 64}/a/b", "x"])
def test_what_was_never_brought_is_not_there(ws: Workspace, token: str) -> None:
    kept(ws)
    with pytest.raises(NotFound):
        path_of(ws, token, caller=ONE)


@pytest.mark.parametrize("said", ["", "a\0b", "/", "/etc/passwd", "x" * 5000, "relative/photo.jpg"])
def test_any_other_text_is_no_file_of_ones_own(ws: Workspace, said: str) -> None:
    kept(ws)
    assert as_token(ws, said, caller=ONE) == said


def test_an_empty_or_too_long_file_leaves_nothing(ws: Workspace, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(uploads, "MOST_BYTES", 10)
    for data in (b"", b"x" * 11):
        with pytest.raises(UsageError):
            kept(ws, data)
    assert list(folder_of(ws, ONE).iterdir()) == []
    assert kept(ws, b"x" * 10)


def test_a_party_brings_no_more_than_is_kept_for_one(ws: Workspace, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(uploads, "MOST_KEPT_BYTES", 5)
    kept(ws)
    with pytest.raises(Rejected) as caught:
        kept(ws, b"more")
    assert caught.value.code == "upload.full"
    assert kept(ws, b"more", caller=OTHER)


def test_who_may_run_nothing_brings_nothing(ws: Workspace) -> None:
    with pytest.raises(NotGranted):
        kept(ws, caller=Caller("c" * 64, frozenset({"auditor"}), "session"))
    assert not (ws.root / "uploads").exists()


def test_what_nobody_named_for_long_goes_and_what_is_used_stays(ws: Workspace) -> None:
    old, used = kept(ws, b"old"), kept(ws, b"used")
    later = time.time() + 31 * 86_400
    assert sweep_uploads(ws) == 0
    path = path_of(ws, used, caller=ONE)

    os.utime(path.parent, (later, later))
    assert sweep_uploads(ws, later) == 1
    assert path.is_file()
    with pytest.raises(MalanError):
        path_of(ws, old, caller=ONE)
