"""The journal: torn ends are told from damage, and every changed byte is one or the other."""

from __future__ import annotations

import os
import struct
import tempfile
import zlib
from functools import cache
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from log_factory import ORIGIN, flip

from malan.core.errors import ProofError, StoreError
from malan.core.merkle import merkle_root
from malan.ledger.checkpoint import Checkpoint
from malan.ledger.journal import FIRST_BYTES, HEADER_BYTES, LARGE_RECORD_BYTES, SECTOR_BYTES, Journal

BASE = Checkpoint(ORIGIN, 0, merkle_root([]))
BATCHES = [[b"one"], [b"two", b"", b"x" * 3000], [b"y" * 700]]
ENDS = [HEADER_BYTES, 4145, 7198, 7944]  # of the header and of each record


def write(folder: Path, batches: list[list[bytes]] = BATCHES) -> Path:
    journal = Journal.create(folder, BASE)
    for batch in batches:
        journal.write(batch)
    journal.close()
    return folder / "journal"


@cache
def written() -> bytes:
    with tempfile.TemporaryDirectory() as folder:
        return write(Path(folder)).read_bytes()


def read(folder: Path) -> tuple[list[list[bytes]], int | None]:
    journal = Journal.open(folder)
    try:
        return [record.entries for record in journal.read()], journal.torn
    finally:
        journal.close()


def test_records_come_back_in_order(tmp_path: Path) -> None:
    write(tmp_path)
    assert read(tmp_path) == (BATCHES, None)


def test_the_records_of_the_examples_end_where_the_tests_say(tmp_path: Path) -> None:
    write(tmp_path)
    journal = Journal.open(tmp_path)
    assert [record.at for record in journal.read()] == ENDS[:-1]
    assert journal.end == ENDS[-1]
    journal.close()


def test_a_journal_grows_and_always_ends_in_zeros(tmp_path: Path) -> None:
    batches = [[bytes([i % 256]) * 5000] for i in range(40)] + [[b"z" * 60_000] * 9] + [[b"small"]]
    assert sum(map(len, batches[40])) > LARGE_RECORD_BYTES
    path = write(tmp_path, batches)
    assert read(tmp_path) == (batches, None)
    assert not any(path.read_bytes()[-12:])


@pytest.mark.parametrize("end", [*range(12), 13, 43, 44, 45, 511, 512, 513, 1500, 2999])
def test_a_record_that_a_kill_cut_off_is_torn_and_wiped(tmp_path: Path, end: int) -> None:
    """A kill stops a write at a page: everything after stays zero."""
    path = write(tmp_path)
    data = bytearray(path.read_bytes())
    cut = -(-(ENDS[1] + end) // SECTOR_BYTES) * SECTOR_BYTES
    data[cut:] = bytes(len(data) - cut)
    path.write_bytes(data)
    held, torn = read(tmp_path)
    assert (held, torn) == ([BATCHES[0]], ENDS[1])
    journal = Journal.open(tmp_path)
    list(journal.read())
    journal.wipe()
    journal.write([b"next"])
    journal.close()
    assert read(tmp_path) == ([BATCHES[0], [b"next"]], None)


def test_a_record_whose_first_block_never_came_is_torn(tmp_path: Path) -> None:
    path = write(tmp_path, [[b"x" * 6000]])
    data = bytearray(path.read_bytes())
    data[HEADER_BYTES : HEADER_BYTES + 4096] = bytes(4096)
    path.write_bytes(data)
    assert read(tmp_path) == ([], HEADER_BYTES + 4096)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=150, deadline=None)
@given(at=st.one_of(st.integers(0, ENDS[-1] + 12), st.integers(0, FIRST_BYTES - 1)), by=st.integers(1, 255))
def test_any_changed_byte_is_found(tmp_path: Path, at: int, by: int) -> None:
    path = tmp_path / "journal"
    path.write_bytes(written())
    flip(path, at, by)
    if at // SECTOR_BYTES > ENDS[-1] // SECTOR_BYTES:  # far behind the last record: told, and nothing is lost
        assert read(tmp_path) == (BATCHES, at)
        return
    with pytest.raises(ProofError) as error:
        read(tmp_path)
    assert error.value.values["byte"] in (max([0, *(end for end in ENDS if end <= at)]), at)


@pytest.mark.parametrize(
    "cut", [0, 10, HEADER_BYTES - 1, HEADER_BYTES, 4100, 4150, 7195, ENDS[-1], ENDS[-1] + 11, 60_000]
)
def test_a_journal_that_was_cut_is_refused(tmp_path: Path, cut: int) -> None:
    path = write(tmp_path)
    os.truncate(path, cut)
    with pytest.raises(ProofError) as error:
        read(tmp_path)
    assert error.value.code in ("ledger.journal_cut", "ledger.journal_damaged")
    assert error.value.values["byte"] <= cut


def test_records_cannot_be_swapped_left_out_or_brought_from_elsewhere(tmp_path: Path) -> None:
    path = write(tmp_path, [[b"a"], [b"b"], [b"c"]])
    data = path.read_bytes()
    a, b, c = (data[HEADER_BYTES + i * 47 : HEADER_BYTES + (i + 1) * 47] for i in range(3))
    for order in ((b, a, c), (a, c), (b, c), (a, a, b), (c,)):
        path.write_bytes(data[:HEADER_BYTES] + b"".join(order).ljust(FIRST_BYTES - HEADER_BYTES, b"\0"))
        with pytest.raises(ProofError, match="journal was changed"):
            read(tmp_path)


def test_a_record_longer_than_the_file_is_not_read_into_memory(tmp_path: Path) -> None:
    path = write(tmp_path)
    sizes = struct.pack(">II", 0xFFFFFFF0, 1)
    data = bytearray(path.read_bytes())
    data[HEADER_BYTES : HEADER_BYTES + 12] = sizes + struct.pack(">I", zlib.crc32(sizes))
    path.write_bytes(data)
    with pytest.raises(ProofError, match="cut off"):
        read(tmp_path)


def test_a_link_or_a_pipe_is_no_journal(tmp_path: Path) -> None:
    path = write(tmp_path)
    path.rename(tmp_path / "real")
    path.symlink_to(tmp_path / "real")
    with pytest.raises(StoreError, match="cannot be read"):
        read(tmp_path)
    path.unlink()
    os.mkfifo(path)
    with pytest.raises(ProofError, match="not a plain file"):
        read(tmp_path)
