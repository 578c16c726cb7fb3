"""What a reader returns was signed; what was not is refused, with the file it stands in."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest
import rfc_verifier
from log_factory import ANOTHER, KEY, SIGNER, entries, flip, reader, write_log

from malan.core.errors import NotFound, ProofError, UsageError
from malan.core.merkle import check_consistency, check_inclusion, leaf_hash, merkle_root
from malan.ledger.log import LogWriter
from malan.ledger.note import NoteSigner, NoteVerifier, sign_note
from malan.ledger.reader import LogReader

SIZE = 70_000  # three levels of tiles


@pytest.fixture(scope="module")
def large(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_log(tmp_path_factory.mktemp("large") / "log", [100, SIZE])


def copy(folder: Path, to: Path) -> Path:
    return Path(shutil.copytree(folder, to / "copy"))


@pytest.mark.parametrize("index", [0, 1, 99, 100, 255, 256, 65_535, 65_536, SIZE - 1])
def test_every_entry_comes_with_a_proof(large: Path, index: int) -> None:
    log = reader(large)
    size, root = rfc_verifier.read_checkpoint((large / "checkpoint").read_bytes(), KEY.vkey)
    assert log.entry(index) == entries(index, index + 1)[0]
    assert log.leaf_hash(index) == leaf_hash(log.entry(index))
    check_inclusion(leaf_hash(log.entry(index)), index, size, log.prove(index), root)


@pytest.mark.parametrize("size", [1, 100, 256, 65_536, 65_537, SIZE])
def test_a_proof_can_be_had_for_every_older_size(large: Path, size: int) -> None:
    log = reader(large)
    root = merkle_root([leaf_hash(entry) for entry in entries(0, size)])
    assert log.root(size) == root
    check_inclusion(leaf_hash(entries(size - 1, size)[0]), size - 1, size, log.prove(size - 1, size), root)
    check_consistency(size, root, SIZE, log.root(SIZE), log.prove_consistency(size))


def test_entries_are_read_over_bundles_and_none_is_none(large: Path) -> None:
    log = reader(large)
    assert list(log.entries(250, 1000)) == entries(250, 1000)
    assert list(log.entries(SIZE - 1, SIZE)) == entries(SIZE - 1, SIZE)
    assert list(log.entries(5, 5)) == []
    assert log.root(0) == merkle_root([])


def test_few_tiles_in_memory_give_the_same_proofs(large: Path) -> None:
    small = LogReader(large, [KEY], most_tiles=2)
    for index in range(0, SIZE, 7919):
        assert small.prove(index) == reader(large).prove(index)


def test_what_is_not_there_is_not_found(large: Path, tmp_path: Path) -> None:
    log = reader(large)
    for call in (
        lambda: log.entry(SIZE),
        lambda: log.entry(-1),
        lambda: log.prove(SIZE),
        lambda: log.prove(5, 5),
        lambda: log.prove(0, SIZE + 1),
        lambda: log.prove_consistency(3, SIZE + 1),
        lambda: list(log.entries(0, SIZE + 1)),
        lambda: reader(tmp_path).checkpoint(),
    ):
        with pytest.raises(NotFound):
            call()
    with pytest.raises(UsageError):
        list(log.entries(3, 2))
    with pytest.raises(UsageError):
        LogReader(large, [])


def test_a_reader_follows_a_log_that_grows(tmp_path: Path) -> None:
    log = reader(write_log(tmp_path, [3]))
    assert log.size == 3
    older = log.checkpoint()
    write_log(tmp_path, [300])
    assert log.entry(299) == entries(299, 300)[0]
    newer, note = log.standing()
    assert note == log.note() == (tmp_path / "checkpoint").read_bytes()
    check_consistency(3, older.root, 300, newer.root, log.prove_consistency(3))


@pytest.mark.parametrize("newer", [[201, 202, 220], [256], [201, 300]])
def test_a_reader_with_an_older_checkpoint_is_served_from_longer_files(tmp_path: Path, newer: list[int]) -> None:
    folder = write_log(tmp_path / "log", [200])
    older = (folder / "checkpoint").read_bytes()
    write_log(folder, newer)
    (folder / "checkpoint").write_bytes(older)
    log = reader(folder)
    assert log.size == 200
    assert list(log.entries(0, 200)) == entries(0, 200)
    check_inclusion(leaf_hash(log.entry(7)), 7, 200, log.prove(7), log.root(200))


def test_a_rolled_back_log_is_found_by_whoever_saw_the_newer_one(tmp_path: Path) -> None:
    older = write_log(tmp_path / "older", [3])
    newer = write_log(tmp_path / "newer", [5])
    log = reader(newer)
    assert log.size == 5
    shutil.copy(older / "checkpoint", newer / "checkpoint")
    with pytest.raises(ProofError, match="older checkpoint was put back"):
        log.checkpoint()


@pytest.mark.parametrize("size", [5, 9])
def test_a_forked_log_is_found_by_whoever_saw_the_other_one(tmp_path: Path, size: int) -> None:
    folder, fork = write_log(tmp_path / "log", [5]), tmp_path / "fork"
    with LogWriter.open(fork, SIGNER) as other:
        other.append([b"other", *entries(1, size)])
    log = reader(folder)
    assert log.size == 5
    shutil.rmtree(folder / "tile")
    shutil.copytree(fork / "tile", folder / "tile")
    shutil.copy(fork / "checkpoint", folder / "checkpoint")
    with pytest.raises(ProofError, match="rewritten"):
        log.checkpoint()


def test_another_key_another_origin_and_a_stranger_are_refused(tmp_path: Path) -> None:
    folder = write_log(tmp_path, [3])
    with pytest.raises(ProofError, match="None of the trusted keys"):
        LogReader(folder, [ANOTHER.verifier]).checkpoint()
    with pytest.raises(ProofError, match=r"is of the log log\.example/golden"):
        LogReader(folder, [KEY], origin="log.example/other").checkpoint()
    stranger = NoteSigner.generate("stranger.example")
    (folder / "checkpoint").write_bytes(sign_note(reader(folder).checkpoint().text(), [stranger]))
    keys: list[NoteVerifier] = [KEY, stranger.verifier]
    with pytest.raises(ProofError, match="has not signed this checkpoint") as error:
        LogReader(folder, keys).checkpoint()
    assert error.value.values["path"] == "checkpoint"


# Damage on disk, as it meets whoever reads.


@pytest.mark.parametrize(
    ("name", "index"),
    [("tile/0/005", 5 * 256), ("tile/1/000", 0), ("tile/entries/005", 5 * 256), ("tile/0/273.p/112", SIZE - 1),
     ("tile/1/001.p/17", SIZE - 1), ("tile/2/000.p/1", 0)],
)  # fmt: skip
def test_a_changed_byte_is_met_by_whoever_needs_it(large: Path, tmp_path: Path, name: str, index: int) -> None:
    folder = copy(large, tmp_path)
    for at in (0, 31, -1):
        flip(folder / name, at, 0x80)
        with pytest.raises(ProofError):
            reader(folder).entry(index)
        flip(folder / name, at, 0x80)
    assert reader(folder).entry(index) == entries(index, index + 1)[0]


def test_damage_elsewhere_does_not_stop_a_reader(large: Path, tmp_path: Path) -> None:
    folder = copy(large, tmp_path)
    flip(folder / "tile/0/005", 0)
    assert reader(folder).entry(6 * 256) == entries(6 * 256, 6 * 256 + 1)[0]
    with pytest.raises(ProofError) as error:
        reader(folder).entry(5 * 256)
    values = error.value.values
    assert (values["path"], values["level"], values["index"], values["entry"]) == ("tile/0/005", 0, 5, 5 * 256)


@pytest.mark.parametrize("name", ["tile/0/005", "tile/entries/005"])
def test_a_file_that_is_gone_cut_or_no_file_is_named(large: Path, tmp_path: Path, name: str) -> None:
    folder = copy(large, tmp_path)
    path, data = folder / name, (folder / name).read_bytes()

    def meet() -> str:
        with pytest.raises(ProofError) as error:
            reader(folder).entry(5 * 256 + 255)
        return str(error.value.values["path"])

    for wrong in (data[:-1], data + b"\0", b"", bytes(17_000_000)):
        path.write_bytes(wrong)
        assert meet() == name
    path.unlink()
    assert meet() == name
    os.mkfifo(path)
    assert meet() == name
    path.unlink()
    path.symlink_to(folder / "tile/0/006")
    assert meet() == name


def test_swapped_files_are_found(large: Path, tmp_path: Path) -> None:
    folder = copy(large, tmp_path)
    for kind in ("entries", "0"):
        one, other = folder / f"tile/{kind}/005", folder / f"tile/{kind}/006"
        held = one.read_bytes()
        shutil.copy(other, one)
        other.write_bytes(held)
        with pytest.raises(ProofError):
            reader(folder).entry(5 * 256)
        shutil.copy(one, other)
        one.write_bytes(held)
        shutil.copytree(large / "tile" / kind, folder / "tile" / kind, dirs_exist_ok=True)
    assert reader(folder).entry(5 * 256) == entries(1280, 1281)[0]
