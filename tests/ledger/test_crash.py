"""Killed at random moments of appending and publishing: no acknowledged entry is ever lost, the log always opens.

A child appends numbered entries and, after each call has returned, writes the new size to a pipe. It is killed with
SIGKILL after a random number of these. Two hundred kills in a row hit the same log.
"""

from __future__ import annotations

import os
import random
import signal
from pathlib import Path

import rfc_verifier
from log_factory import KEY, SIGNER

from malan.ledger.audit import audit
from malan.ledger.log import LogWriter

KILLS = 200


def entry(index: int) -> bytes:
    return b"%d " % index + b"." * (index * 37 % 900)


def append_until_killed(folder: Path, report: int, seed: int) -> None:
    chance = random.Random(seed)
    log = LogWriter.open(folder, SIGNER, publish_every=chance.choice([3, 10, 40, 1000]))
    while True:
        count = chance.choice([1, 1, 1, 2, 7, 30])
        log.append([entry(i) for i in range(log.size, log.size + count)])
        os.write(report, log.size.to_bytes(8, "big"))


def kill_one(folder: Path, seed: int) -> int:
    """Run a child and kill it at some moment; the size it last said was durable."""
    chance = random.Random(seed)
    mine, its = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            append_until_killed(folder, its, seed)
        finally:
            os._exit(1)
    os.close(its)
    acknowledged = 0
    for _ in range(chance.randrange(6)):
        acknowledged = int.from_bytes(os.read(mine, 8), "big")
    _wait(chance.random() * 0.003)
    os.kill(child, signal.SIGKILL)
    status = os.waitpid(child, 0)[1]
    assert os.WTERMSIG(status) == signal.SIGKILL
    while said := os.read(mine, 8):
        acknowledged = int.from_bytes(said, "big")
    os.close(mine)
    return acknowledged


def _wait(seconds: float) -> None:
    signal.sigtimedwait([], seconds)


def test_two_hundred_kills_lose_nothing_that_was_acknowledged(tmp_path: Path) -> None:
    folder = tmp_path / "log"
    known = 0
    for seed in range(KILLS):
        acknowledged = kill_one(folder, seed)
        log = LogWriter.open(folder, SIGNER)
        assert log.size >= max(known, acknowledged), f"kill {seed}"
        assert list(log.entries(known, log.size)) == [entry(i) for i in range(known, log.size)]
        known = log.size
        log.close(publish=seed % 3 == 0)
        if seed % 20 == 0:
            assert audit(folder, [KEY]).is_whole
    with LogWriter.open(folder, SIGNER) as log:
        log.publish()
    assert rfc_verifier.read_log(folder, KEY.vkey) == [entry(i) for i in range(known)]
    assert known > KILLS
