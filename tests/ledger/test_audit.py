"""An audit finds every change to a log and says where it is; what is only unusual it remarks and no more."""

from __future__ import annotations

import json
import random
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from log_factory import ANOTHER, KEY, SIGNER, entries, files, flip, write_log

from malan.core.errors import MalanError, NotFound, ProofError
from malan.ledger import log as ledger_log
from malan.ledger.audit import Audit, audit
from malan.ledger.log import LogWriter
from malan.ledger.tiles import HASH_BYTES, Tile

SIZES = [3, 255, 600]
FULL_SIZE = 65_536 + 300


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return write_log(tmp_path / "log", SIZES, pending=4)


@pytest.fixture(scope="module")
def three_levels(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_log(tmp_path_factory.mktemp("levels") / "log", [FULL_SIZE])


def judged(folder: Path) -> list[MalanError]:
    """Everything an audit has to say against a log."""
    try:
        found = audit(folder, [KEY])
    except ProofError as error:
        return [error]
    return [*found.damages, *found.remarks]


def only(folder: Path) -> MalanError:
    found = judged(folder)
    assert len(found) == 1, [error.message() for error in found]
    return found[0]


def test_a_good_log_is_whole(folder: Path) -> None:
    told: list[tuple[int, int]] = []
    found = audit(folder, [KEY], progress=lambda done, size: told.append((done, size)))
    assert found.is_whole
    assert (found.checkpoint.size, found.pending, found.damages, found.remarks) == (600, 4, (), ())
    assert told[-1] == (600, 600)


def test_an_empty_log_is_whole_and_no_log_is_not_found(tmp_path: Path) -> None:
    assert audit(write_log(tmp_path / "log", []), [KEY]).is_whole
    with pytest.raises(NotFound):
        audit(tmp_path / "nothing", [KEY])


def test_a_copy_without_journal_is_whole_and_remarked(folder: Path) -> None:
    (folder / "journal").unlink()
    assert only(folder).code == "ledger.copy"
    assert audit(folder, [KEY]).is_whole


def test_another_key_cannot_audit(folder: Path) -> None:
    with pytest.raises(ProofError):
        audit(folder, [ANOTHER.verifier])


def _places(folder: Path) -> Iterator[tuple[str, int]]:
    """Some bytes of every file: the first, the last and a few between."""
    chance = random.Random(3)
    for name in files(folder):
        size = (folder / name).stat().st_size
        if size:
            yield from ((name, at) for at in {0, size - 1, *(chance.randrange(size) for _ in range(4))})


def test_any_changed_byte_of_any_file_is_found_in_that_file(folder: Path) -> None:
    chance = random.Random(4)
    for name, at in _places(folder):
        by = chance.randrange(1, 256)
        flip(folder / name, at, by)
        found = judged(folder)
        assert found, (name, at, by)
        assert {str(error.values["path"]) for error in found} == {name}, (name, at, by, [e.message() for e in found])
        assert all(error.message("zh") for error in found)
        flip(folder / name, at, by)
    assert audit(folder, [KEY]).is_whole


@pytest.mark.parametrize("index", [0, 1, 255, 256, 599])
def test_a_changed_entry_is_named_by_its_index_and_place(folder: Path, index: int) -> None:
    tile = Tile(-1, index // 256, 256 if index < 512 else 88)
    at = sum(2 + len(entry) for entry in entries(index // 256 * 256, index))
    flip(folder / tile.path, at + (3 if index else 1))
    error = only(folder)
    assert (error.code, error.values["entry"], error.values["byte"]) == ("ledger.entry", index, at)


@pytest.mark.parametrize("name", ["tile/0/000", "tile/0/002.p/88", "tile/1/000.p/2"])
def test_a_changed_tile_is_named_with_the_byte_and_the_entry_below(folder: Path, name: str) -> None:
    flip(folder / name, 40)
    error = only(folder)
    tile = Tile.parse(name)
    assert tile is not None
    assert (error.code, error.values["path"], error.values["byte"]) == ("ledger.tile_byte", name, 40)
    assert error.values["entry"] == tile.first_entry + 256**tile.level


@pytest.mark.parametrize("name", ["tile/1/000", "tile/1/001.p/1", "tile/2/000.p/1", "tile/0/257.p/44", "tile/0/200"])
def test_damage_on_every_level_is_told_apart(three_levels: Path, tmp_path: Path, name: str) -> None:
    folder = Path(shutil.copytree(three_levels, tmp_path / "log", dirs_exist_ok=True))
    flip(folder / name, 9)
    error = only(folder)
    assert (error.code, error.values["path"], error.values["byte"]) == ("ledger.tile_byte", name, 9)


def test_several_damages_are_each_named(folder: Path) -> None:
    for name in ("tile/entries/000", "tile/0/001", "tile/1/000.p/2"):
        flip(folder / name, HASH_BYTES)
    found = {str(error.values["path"]) for error in judged(folder)}
    assert found == {"tile/entries/000", "tile/0/001", "tile/1/000.p/2"}


def test_an_entry_changed_together_with_its_tile_is_found(folder: Path) -> None:
    """Someone who rewrites an entry and hashes it anew is found one level up."""
    other = folder.parent / "other"
    with LogWriter.open(other, SIGNER) as log:
        log.append([*entries(0, 300), b"rewritten", *entries(301, 600)])
    for name in ("tile/entries/001", "tile/0/001"):
        shutil.copy(other / name, folder / name)
    assert {error.values["path"] for error in judged(folder)} == {"tile/0/001"}
    shutil.copy(other / "tile/1/000.p/2", folder / "tile/1/000.p/2")
    assert only(folder).code == "ledger.edge"


@pytest.mark.parametrize("name", ["tile/entries/000", "tile/0/001", "tile/1/000.p/2", "tile/entries/002.p/88"])
def test_a_missing_or_cut_file_is_named(folder: Path, name: str) -> None:
    path = folder / name
    path.write_bytes(path.read_bytes()[:-1])
    assert only(folder).values["path"] == name
    path.unlink()
    error = only(folder)
    assert (error.code, error.values["path"]) == ("ledger.tile_missing", name)


def test_files_that_do_not_belong_are_named(folder: Path) -> None:
    added = ["note.txt", "tile/0/003", "tile/0/002.p/200", "tile/7/000", "tile/entries/x000/000", "tile/0/000.p/0"]
    for name in added:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(b"x")
    (folder / "tile/9").symlink_to(folder / "tile/0")
    found = judged(folder)
    assert {error.code for error in found} == {"ledger.extra"}
    assert {str(error.values["path"]) for error in found} == {*added, "tile/9"}


def test_what_an_unfinished_publishing_left_is_remarked(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def crash(*given: object, **named: object) -> None:
        raise KeyboardInterrupt

    log = LogWriter.open(folder, SIGNER)
    with monkeypatch.context() as patch:
        patch.setattr(LogWriter, "_write_note", crash)
        with pytest.raises(KeyboardInterrupt):
            log.publish()
    log.close(publish=False)
    (folder / "checkpoint.new").write_bytes(b"half")
    found = audit(folder, [KEY])
    assert found.is_whole
    assert {error.code for error in found.remarks} == {"ledger.unfinished"}
    assert {str(e.values["path"]) for e in found.remarks} == {
        "checkpoint.new",
        "tile/0/002.p/92",
        "tile/entries/002.p/92",
    }


def test_a_checkpoint_whose_journal_was_not_begun_anew_is_no_damage(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def crash(*given: object, **named: object) -> None:
        raise KeyboardInterrupt

    log = LogWriter.open(folder, SIGNER)
    with monkeypatch.context() as patch:
        patch.setattr(ledger_log, "remove_partials", crash)
        with pytest.raises(KeyboardInterrupt):
            log.publish()
    log.close(publish=False)
    found = audit(folder, [KEY])
    assert (found.is_whole, found.checkpoint.size, found.pending) == (True, 604, 0)


def test_a_replayed_checkpoint_and_a_replayed_journal_are_found(folder: Path, tmp_path: Path) -> None:
    older = Path(shutil.copytree(folder, tmp_path / "older"))
    write_log(folder, [700])
    shutil.copy(folder / "journal", tmp_path / "journal")
    newer = (folder / "checkpoint").read_bytes()
    shutil.copy(older / "checkpoint", folder / "checkpoint")
    codes = {error.code for error in judged(folder)}
    assert "ledger.rolled_back" in codes
    (folder / "checkpoint").write_bytes(newer)
    shutil.copy(older / "journal", folder / "journal")
    assert only(folder).code == "ledger.journal_behind"
    shutil.copy(tmp_path / "journal", folder / "journal")
    assert audit(folder, [KEY]).is_whole


def test_a_fork_is_found_against_the_journal(folder: Path) -> None:
    fork = folder.parent / "fork"
    with LogWriter.open(fork, SIGNER) as log:
        log.append([b"other"] * 600)
    shutil.copy(fork / "checkpoint", folder / "checkpoint")
    assert {error.code for error in judged(folder)} == {"ledger.edge", "ledger.forked"}


def test_pending_entries_that_are_not_those_published_are_found(folder: Path, tmp_path: Path) -> None:
    """A journal that tells another story of the entries the checkpoint covers."""
    story = Path(shutil.copytree(folder, tmp_path / "story"))
    with LogWriter.open(story, SIGNER) as log:
        log.publish()
    other = write_log(tmp_path / "other", SIZES)
    log = LogWriter.open(other, SIGNER)
    log.append([b"another"] * 4)
    log.close(publish=False)
    shutil.copy(other / "journal", story / "journal")
    assert only(story).code == "ledger.journal_entry"


def test_a_damage_can_be_told_by_a_machine(folder: Path) -> None:
    flip(folder / "tile/entries/000", 700)
    found: Audit = audit(folder, [KEY])
    assert json.loads(json.dumps(found.damages[0].values)) == {"path": "tile/entries/000", "entry": 25, "byte": 671}
