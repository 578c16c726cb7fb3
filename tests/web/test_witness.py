"""`malan log witness serve` is a process: it says where it answers and by which key, and survives a kill."""

from __future__ import annotations

import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from drawn_log import DrawnLog

from malan.ledger.note import NoteVerifier
from malan.ledger.policy import Policy
from malan.ledger.submit import submit_checkpoint
from malan.services.log.keys import init_keys
from malan.services.log.witness import know_log
from malan.workspace import Workspace

LOG = DrawnLog(20)


@pytest.fixture
def park(tmp_path: Path) -> Workspace:
    ws = Workspace.create(tmp_path / "park")
    init_keys(ws, origin="park.example/log")
    know_log(ws, LOG.signer.vkey)
    return ws


@contextmanager
def _serving(ws: Workspace) -> Iterator[tuple[subprocess.Popen[str], str, NoteVerifier]]:
    command = [sys.executable, "-m", "malan", "log", "witness", "serve", "--workspace", str(ws.root), "--port", "0"]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    assert process.stdout is not None
    try:
        url = re.findall(r"http://127\.0\.0\.1:\d+", process.stdout.readline())[0]
        yield process, url, NoteVerifier.parse(process.stdout.readline().rstrip("\n"))
    finally:
        process.kill()
        process.communicate()


def test_it_cosigns_and_remembers_over_a_kill_and_ends_when_told_to(park: Workspace) -> None:
    with _serving(park) as (process, url, key):
        note = submit_checkpoint(url, LOG.at(7).note(), LOG.prove_consistency, key)
        assert Policy.at_least(1, [key], logs=LOG.keys).accept(note).checkpoint.size == 7
        process.send_signal(signal.SIGKILL)
    with _serving(park) as (process, url, same_key):
        assert same_key == key
        assert submit_checkpoint(url, LOG.note(), LOG.prove_consistency, key, old_size=7)
        process.send_signal(signal.SIGTERM)
        process.wait(15)
        assert process.stderr is not None
        assert "Traceback" not in process.stderr.read()
