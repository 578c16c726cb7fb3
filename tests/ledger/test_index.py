"""The index of a log: always as new as the log, made anew when it is lost or damaged, and compared with the log."""

from __future__ import annotations

import random
import shutil
import sqlite3
from collections.abc import Iterator
from pathlib import Path

import pytest
from log_factory import ANOTHER, KEY, SIGNER, reader

from malan.core.errors import MalanError, ProofError, StoreError
from malan.ledger.index import LogIndex
from malan.ledger.log import LogWriter


def keys_of(entry: bytes) -> Iterator[str]:
    number = int(entry)
    yield f"once {number}"
    yield f"about 片段{number % 7}"
    yield f"about 片段{number % 7}"


@pytest.fixture
def log(tmp_path: Path) -> Iterator[LogWriter]:
    with LogWriter.open(tmp_path / "log", SIGNER) as log:
        log.append([b"%d" % i for i in range(300)])
        log.publish()
        yield log


@pytest.fixture
def index(tmp_path: Path, log: LogWriter) -> Iterator[LogIndex]:
    index = LogIndex(tmp_path / "index.db", log, keys_of)
    yield index
    index.close()


def test_entries_are_found_by_their_keys(index: LogIndex) -> None:
    assert index.find("once 123") == [123]
    assert index.find("about 片段3") == list(range(3, 300, 7))
    assert index.find("once 300") == []
    assert index.find_many(["once 1", "no"]) == {"once 1": [1], "no": []}
    assert index.keys_from("about ") == [f"about 片段{i}" for i in range(7)]
    assert index.keys_from("once 29") == ["once 29", *(f"once 29{i}" for i in range(10))]
    assert index.check() == 600


def test_an_entry_is_found_as_soon_as_it_is_acknowledged(index: LogIndex, log: LogWriter) -> None:
    assert index.catch_up() == 300
    log.append([b"300"])
    assert index.find("once 300") == [300]
    assert index.check() == 602


def test_a_reader_finds_what_is_published(tmp_path: Path, log: LogWriter) -> None:
    index = LogIndex(tmp_path / "other.db", reader(log.folder), keys_of)
    log.append([b"300"])
    assert index.find("once 300") == []
    log.publish()
    assert index.find("once 300") == [300]
    index.close()


def test_a_reader_beside_a_writer_neither_sees_nor_spoils_what_is_not_published(
    tmp_path: Path, index: LogIndex, log: LogWriter
) -> None:
    log.append([b"300"])
    assert index.find("once 300") == [300]
    beside = LogIndex(tmp_path / "index.db", reader(log.folder), keys_of)
    assert beside.find("once 300") == []
    assert "once 300" not in beside.keys_from("once")
    assert (beside.find("once 299"), beside.check()) == ([299], 600)
    assert index.check() == 602
    log.append([b"301"])
    log.publish()
    assert beside.find("once 301") == index.find("once 301") == [301]
    beside.close()


def test_two_indexes_share_a_file(tmp_path: Path, index: LogIndex, log: LogWriter) -> None:
    other = LogIndex(tmp_path / "index.db", log, keys_of)
    log.append([b"300"])
    assert other.find("once 300") == index.find("once 300") == [300]
    other.close()


def test_deleting_it_loses_nothing(tmp_path: Path, index: LogIndex, log: LogWriter) -> None:
    index.catch_up()
    index.forget()
    assert not list(tmp_path.glob("index.db*"))
    assert index.find("once 7") == [7]


def test_another_log_a_shorter_one_or_other_keys_make_it_anew(tmp_path: Path, index: LogIndex) -> None:
    index.catch_up()
    index.close()
    for folder, signer, count in (("shorter", SIGNER, 3), ("story", SIGNER, 300), ("key", ANOTHER, 2)):
        with LogWriter.open(tmp_path / folder, signer) as other:
            other.append([b"%d" % (i + 1000) for i in range(count)])
            moved = LogIndex(tmp_path / "index.db", other, keys_of)
            assert (moved.find("once 1"), moved.find("once 1001")) == ([], [1])
            moved.close()
            newer = LogIndex(tmp_path / "index.db", other, lambda entry: ["all"], version="2")
            assert newer.find("all") == list(range(count))
            newer.close()


@pytest.mark.parametrize(
    "change",
    [
        "UPDATE keys SET entry = 5 WHERE key = 'once 4'",
        "UPDATE keys SET key = 'once 999' WHERE key = 'once 4'",
        "DELETE FROM keys WHERE key = 'once 4'",
        "INSERT INTO keys VALUES ('once 4', 9)",
    ],
)
def test_a_changed_row_is_found_and_named(tmp_path: Path, index: LogIndex, change: str) -> None:
    index.catch_up()
    with sqlite3.connect(tmp_path / "index.db") as connection:
        connection.execute(change)
    connection.close()
    with pytest.raises(ProofError, match="does not agree with the log") as error:
        index.check()
    assert error.value.values["entry"] in (4, 9)


@pytest.mark.parametrize("change", ["'-3'", "'99'", "'300x'"])
def test_a_changed_size_is_found(tmp_path: Path, index: LogIndex, change: str) -> None:
    index.catch_up()
    index.close()
    with sqlite3.connect(tmp_path / "index.db") as connection:
        connection.execute(f"UPDATE about SET value = {change} WHERE name = 'size'")
    connection.close()
    with pytest.raises(ProofError):
        index.check()
    index.close()
    assert index.find("once 299") == [299]
    assert index.check() == 600


def test_any_changed_byte_is_found_or_does_nothing(tmp_path: Path, index: LogIndex, log: LogWriter) -> None:
    """SQLite leaves bytes unused; a flip there changes no answer. Every other one is found by `check`."""
    index.catch_up()
    index.close()
    path, good = tmp_path / "index.db", tmp_path / "good.db"
    shutil.copy(path, good)
    data, chance, found = good.read_bytes(), random.Random(5), 0
    for _ in range(150):
        at = chance.randrange(len(data))
        path.write_bytes(data[:at] + bytes([data[at] ^ 1 << chance.randrange(8)]) + data[at + 1 :])
        damaged = LogIndex(path, log, keys_of)
        try:
            rows = damaged.check()
        except MalanError:
            found += 1
        else:
            assert rows == 600
        finally:
            damaged.close()
        mended = LogIndex(path, log, keys_of)
        if mended.find("once 299") != [299]:
            mended.forget()
        mended.close()
        for suffix in ("-wal", "-shm"):
            path.with_name(path.name + suffix).unlink(missing_ok=True)
    assert found > 50


def test_a_file_that_is_no_index_is_made_anew(tmp_path: Path, index: LogIndex) -> None:
    (tmp_path / "index.db").write_bytes(b"nonsense" * 1000)
    with pytest.raises(ProofError, match="damaged"):
        index.check()
    assert index.find("once 8") == [8]


def test_a_held_file_is_not_taken_for_a_damaged_one(
    tmp_path: Path, index: LogIndex, log: LogWriter, monkeypatch: pytest.MonkeyPatch
) -> None:
    index.catch_up()
    index._open().execute("PRAGMA busy_timeout = 1")
    holder = sqlite3.connect(tmp_path / "index.db", isolation_level=None)
    holder.execute("BEGIN IMMEDIATE")
    log.append([b"300"])
    with pytest.raises(StoreError, match="locked"):
        index.find("once 300")
    holder.execute("ROLLBACK")
    holder.close()
    assert index.find("once 300") == [300]


def test_the_key_of_the_log_does_not_enter_the_index(index: LogIndex) -> None:
    assert KEY.name not in str(index.keys_from(""))
