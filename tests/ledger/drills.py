"""What must happen in processes of its own: killing, filling a disk, writing in turn. Run by `in_fresh_python`.

The tests start a fresh interpreter for each drill, which then forks: libraries loaded for other tests cannot be forked.
"""

from __future__ import annotations

import os
import random
import resource
import signal
import subprocess
import sys
from pathlib import Path

import rfc_verifier
from log_factory import KEY, SIGNER, write_log

from malan.core.errors import StoreError
from malan.ledger.audit import audit
from malan.ledger.log import LogWriter

KILLS = 200


def in_fresh_python(drill: str, folder: Path) -> None:
    """Run one of the drills below in an interpreter of its own; what it asserts, it asserts there."""
    run = f"import drills, pathlib; drills.{drill}(pathlib.Path({str(folder)!r}))"
    path = os.pathsep.join([str(Path(__file__).parent), *sys.path])
    command = [sys.executable, "-W", "error", "-c", run]
    done = subprocess.run(command, env={**os.environ, "PYTHONPATH": path}, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def kill_again_and_again(folder: Path) -> None:
    """Kill a child at random moments of appending; each time the log opens and holds all it had acknowledged."""
    known = 0
    for seed in range(KILLS):
        acknowledged = _kill_one(folder, seed)
        log = LogWriter.open(folder, SIGNER)
        assert log.size >= max(known, acknowledged), f"kill {seed}"
        assert list(log.entries(known, log.size)) == [_entry(i) for i in range(known, log.size)]
        known = log.size
        log.close(publish=seed % 3 == 0)
        if seed % 20 == 0:
            assert audit(folder, [KEY]).is_whole
    with LogWriter.open(folder, SIGNER) as log:
        log.publish()
    assert rfc_verifier.read_log(folder, KEY.vkey) == [_entry(i) for i in range(known)]
    assert known > KILLS


def write_in_turn(folder: Path) -> None:
    """Three processes append to one log at once."""
    write_log(folder, [])
    children = []
    for number in range(3):
        if (child := os.fork()) == 0:
            _append_many(folder, number, 60)
        children.append(child)
    assert [os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) for child in children] == [0, 0, 0]
    held = rfc_verifier.read_log(folder, KEY.vkey)
    assert len(held) == 180
    for number in range(3):
        assert [e for e in held if e.startswith(b"%d." % number)] == [b"%d.%d" % (number, i) for i in range(60)]


def fill_the_disk(folder: Path) -> None:
    """No file may become longer than 100 kB: what does not fit is refused, what was acknowledged stays."""
    write_log(folder, [10])
    if (child := os.fork()) == 0:
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000))
        log = LogWriter.open(folder, SIGNER)
        log.append([b"e" * 300 for _ in range(200)])
        try:
            log.append([bytes(60_000)])
        except StoreError:
            os._exit(0 if log.size == 210 and len(log.append([b"small"])) == 1 else 2)
        os._exit(1)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    with LogWriter.open(folder, SIGNER) as log:
        assert log.size == 211
        assert log.publish().size == 211
    assert len(rfc_verifier.read_log(folder, KEY.vkey)) == 211


def _append_many(folder: Path, number: int, count: int) -> None:
    with LogWriter.open(folder, SIGNER, publish_every=37) as log:
        for i in range(count):
            index = log.append([f"{number}.{i}".encode()])[0]
            if list(log.entries(index, index + 1)) != [f"{number}.{i}".encode()]:
                os._exit(1)
    os._exit(0)


def _entry(index: int) -> bytes:
    return b"%d " % index + b"." * (index * 37 % 900)


def _append_until_killed(folder: Path, report: int, seed: int) -> None:
    chance = random.Random(seed)
    log = LogWriter.open(folder, SIGNER, publish_every=chance.choice([3, 10, 40, 1000]))
    while True:
        count = chance.choice([1, 1, 1, 2, 7, 30])
        log.append([_entry(i) for i in range(log.size, log.size + count)])
        os.write(report, log.size.to_bytes(8, "big"))


def _kill_one(folder: Path, seed: int) -> int:
    """Run a child and kill it at some moment; the size it last said was durable."""
    chance = random.Random(seed)
    mine, its = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            _append_until_killed(folder, its, seed)
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
