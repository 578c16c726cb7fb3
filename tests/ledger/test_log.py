"""Appending and publishing: what is acknowledged is there, once, in order, whoever wrote it."""

from __future__ import annotations

import os
import shutil
import stat
import threading
from contextlib import suppress
from pathlib import Path

import pytest
import rfc_verifier
from log_factory import ANOTHER, KEY, ORIGIN, SIGNER, entries, files, reader, write_log

from malan.core.errors import ProofError, Rejected, RetryLater, StoreError
from malan.core.merkle import leaf_hash, merkle_root
from malan.ledger import files as ledger_files
from malan.ledger import log as ledger_log
from malan.ledger.journal import Journal
from malan.ledger.log import LogWriter
from malan.ledger.note import NoteSigner
from malan.ledger.tiles import tiles_of


def test_an_empty_log_has_a_signed_checkpoint_over_nothing(tmp_path: Path) -> None:
    folder = write_log(tmp_path / "log", [])
    assert rfc_verifier.read_log(folder, KEY.vkey) == []
    assert files(folder) == ["checkpoint", "journal", "lock"]


@pytest.mark.parametrize("sizes", [[1], [255, 256, 257], [3, 700], [256], [512, 513], [1, 2, 3, 300]])
def test_what_was_published_is_read_by_a_verifier_that_is_not_ours(tmp_path: Path, sizes: list[int]) -> None:
    folder = write_log(tmp_path / "log", sizes)
    assert rfc_verifier.read_log(folder, KEY.vkey) == entries(0, sizes[-1])


def test_indices_are_final_when_append_returns(tmp_path: Path) -> None:
    with LogWriter.open(tmp_path, SIGNER) as log:
        assert log.append([b"a"]) == range(0, 1)
        assert log.append([]) == range(0)
        assert log.append([b"b", b"b"]) == range(1, 3)
        assert log.size == 3
        assert log.published.size == 0


def test_nothing_is_published_before_publish(tmp_path: Path) -> None:
    with LogWriter.open(tmp_path, SIGNER) as log:
        log.append([b"a"])
        assert reader(tmp_path).size == 0
        assert list(log.entries(0, 1)) == [b"a"]
        assert log.publish().size == 1
        assert reader(tmp_path).entry(0) == b"a"
        assert log.publish() == log.published


def test_a_writer_reads_published_and_pending_entries_as_one(tmp_path: Path) -> None:
    folder = write_log(tmp_path / "log", [300], pending=5)
    with LogWriter.open(folder, SIGNER) as log:
        assert list(log.entries(250, 304)) == entries(250, 304)
        assert list(log.entries(302, 305)) == entries(302, 305)
        assert list(log.entries(0, 3)) == entries(0, 3)


def test_partials_stay_for_older_checkpoints_and_go_when_the_tile_is_full(tmp_path: Path) -> None:
    folder = write_log(tmp_path / "log", [3, 100, 200])
    hashes, bundles = (
        sorted(path.name for path in (folder / f"tile/{kind}/000.p").glob("*")) for kind in ("0", "entries")
    )
    assert (hashes, bundles) == (["100", "200", "3"], ["100", "200"])
    write_log(folder, [256])
    assert files(folder) == sorted(["checkpoint", "journal", "lock", *(tile.path for tile in tiles_of(256))])


def test_a_log_is_public_and_its_files_are_plain(tmp_path: Path) -> None:
    old = os.umask(0o022)
    try:
        folder = write_log(tmp_path / "log", [300])
    finally:
        os.umask(old)
    for path in (folder, *folder.rglob("*")):
        assert stat.S_IMODE(path.stat().st_mode) == (0o755 if path.is_dir() else 0o644)


def test_an_oversize_entry_is_refused_and_nothing_of_its_call_is_added(tmp_path: Path) -> None:
    with LogWriter.open(tmp_path, SIGNER) as log:
        log.append([bytes(65_535)])
        with pytest.raises(Rejected, match="65536 bytes"):
            log.append([b"fits", bytes(65_536)])
        assert log.size == 1


def test_too_much_at_once_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ledger_log, "LARGEST_RECORD_BYTES", 1000)
    with LogWriter.open(tmp_path, SIGNER) as log:
        with pytest.raises(Rejected, match="several calls"):
            log.append([bytes(500), bytes(500)])
        assert log.append([bytes(900)]) == range(0, 1)


def test_the_check_of_the_caller_decides(tmp_path: Path) -> None:
    def check(entry: bytes) -> None:
        if entry != b"good":
            raise Rejected("ledger.closed")

    with LogWriter.open(tmp_path, SIGNER, check=check) as log:
        log.append([b"good"])
        with pytest.raises(Rejected):
            log.append([b"good", b"bad"])
        assert log.size == 1


def test_a_log_publishes_on_its_own_after_so_many_entries_or_seconds(tmp_path: Path) -> None:
    now = [0.0]
    with LogWriter.open(tmp_path, SIGNER, publish_every=3, publish_after_s=10, clock=lambda: now[0]) as log:
        log.append([b"1", b"2"])
        assert log.published.size == 0
        log.append([b"3"])
        assert log.published.size == 3
        log.append([b"4"])
        now[0] = 10
        log.append([b"5"])
        assert log.published.size == 5


def test_threads_that_append_at_once_share_flushes_and_lose_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    flushes = []
    flush = os.fdatasync
    monkeypatch.setattr(os, "fdatasync", lambda descriptor: (flushes.append(1), flush(descriptor))[1])
    taken: dict[int, bytes] = {}
    with LogWriter.open(tmp_path, SIGNER) as log:

        def work(number: int) -> None:
            for i in range(50):
                entry = f"{number}.{i}".encode()
                taken[log.append([entry])[0]] = entry

        threads = [threading.Thread(target=work, args=(number,)) for number in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert len(flushes) < 400
    assert sorted(taken) == list(range(400))
    assert list(reader(tmp_path).entries(0, 400)) == [taken[i] for i in range(400)]


def test_two_writers_see_each_other(tmp_path: Path) -> None:
    with LogWriter.open(tmp_path, SIGNER) as one, LogWriter.open(tmp_path, SIGNER) as two:
        one.append([b"a"])
        assert two.append([b"b"]) == range(1, 2)
        assert one.publish().size == 2
        assert two.append([b"c"]) == range(2, 3)
        with one.exclusive():
            assert one.size == 3


def test_inside_exclusive_one_may_look_and_then_append(tmp_path: Path) -> None:
    with LogWriter.open(tmp_path, SIGNER) as one, LogWriter.open(tmp_path, SIGNER) as two:
        two._lock._patience_s = 0.01  # type: ignore[union-attr]
        with one.exclusive():
            with pytest.raises(RetryLater):
                two.append([b"b"])
            assert one.append([b"a"]) == range(0, 1)
            assert one.publish().size == 1
        assert two.append([b"b"]) == range(1, 2)


def test_a_closed_log_says_so(tmp_path: Path) -> None:
    log = LogWriter.open(tmp_path, SIGNER)
    log.close()
    log.close()
    for call in (lambda: log.append([b"a"]), log.publish, lambda: log.published):
        with pytest.raises(StoreError, match="closed"):
            call()


def test_a_changed_key_needs_the_older_one_to_go_on(tmp_path: Path) -> None:
    write_log(tmp_path, [3])
    with pytest.raises(ProofError, match="None of the trusted keys"):
        LogWriter.open(tmp_path, ANOTHER)
    with LogWriter.open(tmp_path, ANOTHER, verifiers=[KEY]) as log:
        log.append(entries(3, 5))
    assert rfc_verifier.read_log(tmp_path, ANOTHER.vkey) == entries(0, 5)


def test_another_origin_is_refused(tmp_path: Path) -> None:
    write_log(tmp_path, [3])
    stranger = NoteSigner.from_private("log.example/other", bytes(range(32)))
    with pytest.raises(ProofError, match=r"not of log\.example/other"):
        LogWriter.open(tmp_path, stranger, verifiers=[KEY])


def test_cosignatures_are_put_under_the_standing_checkpoint_only(tmp_path: Path) -> None:
    witness = NoteSigner.generate("witness.example")
    with LogWriter.open(tmp_path, SIGNER) as log:
        log.append([b"a"])
        log.publish()
        note = (tmp_path / "checkpoint").read_bytes()
        cosigned = note + witness.sign(log.published.text()).encode()
        log.publish_cosigned(cosigned)
        assert (tmp_path / "checkpoint").read_bytes() == cosigned
        log.append([b"b"])
        log.publish()
        with pytest.raises(ProofError, match="moved on"):
            log.publish_cosigned(cosigned)


# Recovery: whatever is left of a publishing, the log goes on.


class Crash(Exception):
    pass


STEPS = ["integrate", "_write_note", "remove_partials", "create", "sync"]


@pytest.mark.parametrize("step", STEPS)
@pytest.mark.parametrize("published", [0, 255, 300])
def test_a_publishing_that_ends_anywhere_is_finished_by_the_next_open(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, step: str, published: int
) -> None:
    folder = write_log(tmp_path / "log", [published] if published else [], pending=300)

    def crash(*given: object, **named: object) -> None:
        raise Crash

    with monkeypatch.context() as patch:
        if step == "create":
            patch.setattr(Journal, "create", crash)
        elif step == "_write_note":
            patch.setattr(LogWriter, "_write_note", crash)
        elif step == "sync":
            patch.setattr(ledger_files, "_flush_folders", crash)
        else:
            patch.setattr(ledger_log, step, crash)
        log = LogWriter.open(folder, SIGNER)
        with pytest.raises(Crash):
            log.publish()
        log.close(publish=False)
    with LogWriter.open(folder, SIGNER) as log:
        assert log.size == published + 300
        log.append(entries(log.size, log.size + 7))
    assert rfc_verifier.read_log(folder, KEY.vkey) == entries(0, published + 307)


def test_a_log_that_was_just_begun_is_begun_again(tmp_path: Path) -> None:
    write_log(tmp_path, [])
    (tmp_path / "checkpoint").unlink()
    assert write_log(tmp_path, [2])
    assert rfc_verifier.read_log(tmp_path, KEY.vkey) == entries(0, 2)


@pytest.mark.parametrize("size", [0, 3])
def test_a_lost_checkpoint_is_not_taken_for_a_new_log(tmp_path: Path, size: int) -> None:
    write_log(tmp_path, [size] if size else [], pending=2)
    (tmp_path / "checkpoint").unlink()
    with pytest.raises(ProofError, match="checkpoint of the log is missing"):
        LogWriter.open(tmp_path, SIGNER)


def test_a_lost_journal_is_not_taken_for_an_empty_one(tmp_path: Path) -> None:
    write_log(tmp_path, [3])
    (tmp_path / "journal").unlink()
    with pytest.raises(ProofError, match="journal of the log is missing"):
        LogWriter.open(tmp_path, SIGNER)
    assert list(reader(tmp_path).entries(0, 3)) == entries(0, 3)


def test_a_replayed_checkpoint_is_found_at_open_and_while_open(tmp_path: Path) -> None:
    folder = write_log(tmp_path / "log", [3])
    older = (folder / "checkpoint").read_bytes()
    with LogWriter.open(folder, SIGNER) as log:
        log.append([b"x"])
        log.publish()
        newer = (folder / "checkpoint").read_bytes()
        (folder / "checkpoint").write_bytes(older)
        log.append([b"y"])
        with pytest.raises(ProofError, match="older checkpoint was put back"):
            log.publish()
        (folder / "checkpoint").write_bytes(newer)
    (folder / "checkpoint").write_bytes(older)
    with pytest.raises(ProofError, match="older checkpoint was put back"):
        LogWriter.open(folder, SIGNER)


def test_a_replayed_journal_is_found(tmp_path: Path) -> None:
    folder = write_log(tmp_path / "log", [3])
    shutil.copy(folder / "journal", tmp_path / "older")
    write_log(folder, [9])
    shutil.copy(tmp_path / "older", folder / "journal")
    with pytest.raises(ProofError, match="journal is older"):
        LogWriter.open(folder, SIGNER)


def test_a_fork_signed_with_the_same_key_is_found(tmp_path: Path) -> None:
    folder, fork = write_log(tmp_path / "log", [3]), tmp_path / "fork"
    with LogWriter.open(fork, SIGNER) as log:
        log.append([b"1", b"2", b"other"])
    shutil.copy(fork / "checkpoint", folder / "checkpoint")
    with pytest.raises(ProofError, match="rewritten"):
        LogWriter.open(folder, SIGNER)


def test_a_log_exchanged_under_a_writer_stops_it_until_it_is_put_back(tmp_path: Path) -> None:
    folder, fork = write_log(tmp_path / "log", [3]), tmp_path / "fork"
    with LogWriter.open(fork, SIGNER) as other:
        other.append([b"1", b"2", b"other"])
    with LogWriter.open(folder, SIGNER) as log:
        (folder / "journal").rename(tmp_path / "kept")
        shutil.copy(fork / "journal", folder / "journal")
        for _ in range(2):
            with pytest.raises(ProofError):
                log.append([b"no"])
        (tmp_path / "kept").rename(folder / "journal")
        assert log.append([b"yes"]) == range(3, 4)
    assert rfc_verifier.read_log(folder, KEY.vkey) == [*entries(0, 3), b"yes"]


# A full disk.


@pytest.mark.parametrize("free", range(12))
def test_a_disk_that_fills_at_any_file_of_a_publishing_loses_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, free: int
) -> None:
    folder = write_log(tmp_path / "log", [200], pending=400)
    write, left = ledger_files.write_all, [free]

    def full(descriptor: int, data: bytes, at: int | None = None) -> None:
        left[0] -= 1
        if left[0] < 0:
            write(descriptor, data[: len(data) // 2], at)
            raise OSError(28, "No space left on device")
        write(descriptor, data, at)

    with LogWriter.open(folder, SIGNER) as log:
        with monkeypatch.context() as patch:
            patch.setattr(ledger_files, "write_all", full)
            patch.setattr("malan.ledger.journal.write_all", full)
            with suppress(StoreError):
                log.publish()
            with suppress(StoreError):
                log.append([b"more"])
        assert log.size in (600, 601)
        size = log.size
    with LogWriter.open(folder, SIGNER) as log:
        assert log.size == size
    assert rfc_verifier.read_log(folder, KEY.vkey)[:600] == entries(0, 600)


def test_an_append_stands_though_the_publishing_it_sets_off_fails(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*given: object) -> None:
        raise StoreError("ledger.write", path="x", detail="No space left on device")

    with LogWriter.open(tmp_path, SIGNER, publish_every=2) as log:
        with monkeypatch.context() as patch:
            patch.setattr(ledger_log, "integrate", fail)
            assert log.append([b"a", b"b"]) == range(0, 2)
            assert log.publish_error is not None
        log.append([b"c", b"d"])
        assert log.publish_error is None
        assert log.published == reader(tmp_path).checkpoint()
        assert log.published.root == merkle_root([leaf_hash(e) for e in (b"a", b"b", b"c", b"d")])


def test_the_origin_of_a_log_is_the_name_of_its_key(tmp_path: Path) -> None:
    with LogWriter.open(tmp_path, SIGNER) as log:
        assert log.origin == ORIGIN == log.published.origin
