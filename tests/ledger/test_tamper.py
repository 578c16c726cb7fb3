"""A stranger with write access: whatever is done to the files, every part answers right or refuses, and says where."""

from __future__ import annotations

import random
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from log_factory import KEY, SIGNER, entries, files, reader, write_log

from malan.core.errors import MalanError
from malan.core.merkle import check_inclusion, leaf_hash
from malan.ledger.audit import audit
from malan.ledger.log import LogWriter

SIZES, PENDING = [3, 255, 600, 700], 5
ROUNDS = 60

Change = Callable[[random.Random, bytearray], bytes]


def _flip(chance: random.Random, data: bytearray) -> bytes:
    data[chance.randrange(len(data))] ^= 1 << chance.randrange(8)
    return bytes(data)


def _cut(chance: random.Random, data: bytearray) -> bytes:
    return bytes(data[: chance.randrange(len(data))])


def _add(chance: random.Random, data: bytearray) -> bytes:
    return bytes(data) + chance.randbytes(chance.randrange(1, 50))


def _twice(chance: random.Random, data: bytearray) -> bytes:
    return bytes(data + data)


def _wipe(chance: random.Random, data: bytearray) -> bytes:
    at = chance.randrange(len(data))
    end = min(len(data), at + chance.randrange(1, 600))
    return bytes(data[:at]) + bytes(end - at) + bytes(data[end:])


CHANGES: tuple[Change, ...] = (_flip, _cut, _add, _twice, _wipe)


@pytest.fixture(scope="module")
def good(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_log(tmp_path_factory.mktemp("good") / "log", SIZES, PENDING)


def spoil(folder: Path, chance: random.Random) -> None:
    """Change, delete or exchange one to five files."""
    for _ in range(chance.choice([1, 1, 2, 5])):
        path = folder / chance.choice(files(folder))
        action = chance.choice([*CHANGES, "delete", "exchange"])
        if action == "delete":
            path.unlink()
        elif action == "exchange":
            path.write_bytes((folder / chance.choice(files(folder))).read_bytes())
        elif data := path.read_bytes():
            path.write_bytes(action(chance, bytearray(data)))  # type: ignore[operator]


def check_reader(folder: Path) -> None:
    log = reader(folder)
    for index in (0, 300, 699):
        assert log.entry(index) == entries(index, index + 1)[0]
        check_inclusion(leaf_hash(log.entry(index)), index, log.size, log.prove(index), log.checkpoint().root)


def check_writer(folder: Path) -> None:
    """What a spoilt journal held can be lost, but never what was published."""
    with LogWriter.open(folder, SIGNER) as log:
        log.append([b"after"])
        assert log.publish().size > SIZES[-1]


@pytest.mark.parametrize("seed", range(ROUNDS))
def test_a_spoilt_log_answers_right_or_refuses(good: Path, tmp_path: Path, seed: int) -> None:
    folder = Path(shutil.copytree(good, tmp_path / "log"))
    spoil(folder, random.Random(seed))
    for check in (check_reader, lambda folder: audit(folder, [KEY]), check_writer):
        refused = None
        try:
            check(folder)
        except MalanError as error:
            refused = error
        assert refused is None or (refused.message("en") and refused.message("zh"))
