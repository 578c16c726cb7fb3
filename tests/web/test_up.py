"""`malan up` says where the console is, and ends at once when it is told to, also while pages follow it."""

from __future__ import annotations

import os
import re
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import pytest

from malan.services.access import COMMAND_LINE
from malan.services.accounts.parties import add_login, add_party
from malan.services.accounts.passwords import Cost
from malan.web.built import FOLDER
from malan.workspace import Workspace

pytestmark = pytest.mark.skipif(not (FOLDER / "manifest.json").is_file(), reason="the console is not built")


@contextmanager
def running(folder: Path, *options: str) -> Iterator[tuple[subprocess.Popen[str], list[str]]]:
    """`malan up` and the first two lines it prints."""
    command = [sys.executable, "-m", "malan", "up", "--workspace", str(folder), "--port", "0", *options]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    assert process.stdout is not None
    try:
        yield process, [process.stdout.readline(), process.stdout.readline()]
    finally:
        process.kill()
        process.communicate()


@pytest.mark.parametrize("ending", [signal.SIGINT, signal.SIGTERM])
def test_it_ends_quietly_while_pages_follow_it(tmp_path: Path, ending: signal.Signals) -> None:
    Workspace.create(tmp_path)
    with running(tmp_path) as (process, lines):
        url = re.findall(r"http://127\.0\.0\.1:\d+", lines[0])[0]
        assert "anyone at this machine" in lines[1]
        with httpx.stream("GET", f"{url}/jobs/events") as reply:
            next(reply.iter_lines())
            process.send_signal(ending)
            process.wait(15)
        assert process.stderr is not None
        assert "Traceback" not in process.stderr.read()


@pytest.mark.parametrize("option", [("--host", "0.0.0.0"), ("--allow-host", "archive.example.org")])
def test_nobody_else_can_reach_it_before_there_is_an_account(tmp_path: Path, option: tuple[str, str]) -> None:
    Workspace.create(tmp_path)
    command = [sys.executable, "-m", "malan", "up", "--workspace", str(tmp_path), "--port", "0", *option]
    done = subprocess.run(command, capture_output=True, text=True, env={**os.environ, "MALAN_LANG": "en"}, check=False)
    assert (done.returncode, done.stdout) == (2, "")
    assert "malan party add" in done.stderr


def test_an_address_others_can_reach_demands_that_everybody_signs_in(tmp_path: Path) -> None:
    ws = Workspace.create(tmp_path)
    add_party(ws, COMMAND_LINE, "王芳", has=["operator"])
    add_login(ws, COMMAND_LINE, "王芳", "wangfang", "a sentence that is long", cost=Cost(log2_n=4))
    ws.database.dispose()
    with running(tmp_path, "--host", "0.0.0.0") as (_, lines):
        assert "Everybody signs in" in lines[1]
        port = re.findall(r":(\d+)", lines[0])[-1]
        assert httpx.get(f"http://127.0.0.1:{port}/search.json").status_code == 401


def test_a_port_in_use_is_told_in_one_line(tmp_path: Path) -> None:
    Workspace.create(tmp_path)
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        command = [sys.executable, "-m", "malan", "up", "--workspace", str(tmp_path), "--port", port]
        done = subprocess.run(
            command, capture_output=True, text=True, env={**os.environ, "MALAN_LANG": "en"}, check=False
        )
    assert done.returncode == 2
    assert f"127.0.0.1:{port} cannot be used" in done.stderr
    assert "Traceback" not in done.stderr
