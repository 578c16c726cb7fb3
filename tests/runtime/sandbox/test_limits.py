"""What a run takes too much of ends it, all of it, and nothing stays behind."""

from __future__ import annotations

import fcntl
import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from waiting import until

from malan.runtime.sandbox import Channel, Output, RunLimits

ShutIn = Callable[..., Any]
MIB = 1 << 20
LIMITS = RunLimits(memory_bytes=256 * MIB, wall_s=20, cpu_s=20, scratch_bytes=8 * MIB, processes=24, log_bytes=4096)

DAEMON = """
if not os.fork():
    os.setsid()
    if not os.fork():
        import signal
        [signal.signal(n, signal.SIG_IGN) for n in (1, 2, 13, 15)]
        time.sleep(1000)
    os._exit(0)
time.sleep(0.2)
"""


def alive(mark: str) -> list[int]:
    """Processes of this machine whose arguments hold a mark."""
    found = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            if mark.encode() in path.read_bytes() and int(path.parent.name) != os.getpid():
                found.append(int(path.parent.name))
        except OSError:
            continue
    return found


def test_a_wall_clock_ends_it(shut_in: ShutIn) -> None:
    ran = shut_in("time.sleep(1000)", replace(LIMITS, wall_s=0.3)).ran
    assert (ran.end, ran.limit) == ("limit", "wall")
    assert ran.wall_s < 10


def test_processor_time_of_all_its_processes_ends_it(shut_in: ShutIn) -> None:
    program = "os.fork()\nwhile True: pass"
    ran = shut_in(program, replace(LIMITS, cpu_s=0.5)).ran
    assert (ran.end, ran.limit) == ("limit", "cpu")


def test_one_huge_allocation_fails_inside(shut_in: ShutIn) -> None:
    shown = shut_in("try: bytearray(1 << 40)\nexcept MemoryError: print('stopped')", LIMITS)
    assert shown.log == "stopped\n"


def test_memory_of_all_its_processes_ends_it(shut_in: ShutIn) -> None:
    program = "[os.fork() for _ in range(2)]\nkept = bytearray(os.urandom(1) * (100 << 20))\ntime.sleep(60)"
    ran = shut_in(program, LIMITS).ran
    assert (ran.end, ran.limit) == ("limit", "memory")


@pytest.mark.parametrize("name", [b"\xc2\xff\xfe", b") R 1 1", b"RssAnon: 0 kB", b"a\nRssAnon: 0"], ids=repr)
def test_a_process_cannot_hide_what_it_takes_behind_its_name(shut_in: ShutIn, name: bytes) -> None:
    called = f"import ctypes; ctypes.CDLL(None).prctl(15, {name!r}, 0, 0, 0)\n"
    assert shut_in(called + "time.sleep(0.1)", LIMITS).ran.end == "ok"
    ran = shut_in(called + "held = b'x' * (300 << 20); time.sleep(5)", LIMITS).ran
    assert (ran.end, ran.limit) == ("limit", "memory")


def test_memory_that_forked_processes_share_is_counted_once(shut_in: ShutIn) -> None:
    program = """
        kept = bytearray(b'x' * (120 << 20))
        children = []
        for _ in range(4):
            children.append(os.fork())
            if not children[-1]:
                time.sleep(0.4); os._exit(0)
        [os.waitpid(child, 0) for child in children]
        """
    assert shut_in(program, LIMITS).ran.end == "ok"


def test_a_fork_bomb_stops_at_its_number_and_ends_with_the_clock(shut_in: ShutIn) -> None:
    program = "while True:\n  try: os.fork()\n  except OSError: print('stopped'); time.sleep(1000)"
    shown = shut_in(program, replace(LIMITS, wall_s=1.0), arguments=("mark-fork-bomb",))
    assert shown.ran.limit in ("wall", "cpu")
    assert shown.log.startswith("stopped")
    assert shown.log.count("stopped") <= LIMITS.processes
    assert alive("mark-fork-bomb") == []


def test_a_thread_bomb_stops_at_the_same_number(shut_in: ShutIn) -> None:
    program = """
        import threading
        started = 0
        try:
            for _ in range(1000): threading.Thread(target=time.sleep, args=(100,), daemon=True).start(); started += 1
        except RuntimeError: print(started); os._exit(0)
        """
    assert 0 < int(shut_in(program, LIMITS).log) <= LIMITS.processes


def test_many_empty_files_end_it(shut_in: ShutIn) -> None:
    program = "for n in range(100000): open(f'/tmp/{n}', 'w').close()\ntime.sleep(60)"
    ran = shut_in(program, replace(LIMITS, scratch_files=500)).ran
    assert (ran.end, ran.limit) == ("limit", "scratch")


def test_a_daemon_ends_with_the_program_that_started_it(shut_in: ShutIn) -> None:
    shown = shut_in(DAEMON, LIMITS, arguments=("mark-daemon-a",))
    assert shown.ran.end == "ok"
    assert alive("mark-daemon-a") == []


def test_what_it_prints_is_kept_up_to_a_bound(shut_in: ShutIn) -> None:
    shown = shut_in("print('x' * 20000)", LIMITS)
    assert len(shown.log) == LIMITS.log_bytes
    assert (shown.ran.end, shown.ran.log_bytes) == ("ok", 20001)


def test_a_flood_of_printing_ends_it(shut_in: ShutIn) -> None:
    ran = shut_in("while True: os.write(1, bytes(60000))", LIMITS).ran
    assert (ran.end, ran.limit) == ("limit", "log")


def test_too_many_attempts_to_get_out_end_it(shut_in: ShutIn) -> None:
    ran = shut_in("while True: libc.syscall(41, 2, 1, 0)", LIMITS).ran
    assert (ran.end, ran.limit) == ("limit", "attempts")


@pytest.mark.parametrize(
    "ending", ["sys.exit(7)", "raise ValueError('frame 17')", "os.kill(os.getpid(), 9)", "os.abort()"]
)
def test_the_exit_code_says_one_word(shut_in: ShutIn, ending: str) -> None:
    assert shut_in(ending, LIMITS).ran.for_buyer() == {"end": "failed", "limit": None, "minutes": 1}


def test_a_failed_run_hands_in_nothing(shut_in: ShutIn) -> None:
    program = "import malan_inside; malan_inside.put('model', b'x'); sys.exit(1)"
    assert shut_in(program, LIMITS, Channel({"model": Output("bytes", 100)})).ran.results == {}


def test_the_log_is_the_owners_alone(shut_in: ShutIn, tmp_path: Path) -> None:
    (tmp_path / "run.log").touch(mode=0o666)
    shut_in("print('frame')", LIMITS)
    assert (tmp_path / "run.log").stat().st_mode & 0o777 == 0o600


def test_no_zombie_and_no_descriptor_stays(shut_in: ShutIn) -> None:
    shut_in("pass", LIMITS)
    before = set(Path("/proc/self/fd").iterdir())
    shut_in(DAEMON, LIMITS)
    shut_in("time.sleep(100)", replace(LIMITS, wall_s=0.2))
    assert len(set(Path("/proc/self/fd").iterdir()) - before) == 0
    children = [
        int(pid) for task in Path("/proc/self/task").iterdir() for pid in (task / "children").read_text().split()
    ]
    assert not [pid for pid in children if b"bwrap" in Path(f"/proc/{pid}/cmdline").read_bytes()]
    assert not [pid for pid in children if Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z"]


def test_what_a_killed_supervisor_left_is_taken_away(
    shut_in: ShutIn, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    for name in ("malan-run-left", "malan-run-held", "malan-run-fresh", "other"):
        (tmp_path / name / "code").mkdir(parents=True)
        if name != "malan-run-fresh":
            os.utime(tmp_path / name, (0, 0))
    held = os.open(tmp_path / "malan-run-held", os.O_RDONLY)
    fcntl.flock(held, fcntl.LOCK_SH)
    shut_in("pass", LIMITS)
    os.close(held)
    names = {path.name for path in tmp_path.iterdir()}
    assert names == {"malan-run-held", "malan-run-fresh", "other", "run.log"}


def test_the_hosts_mounts_are_as_before(shut_in: ShutIn) -> None:
    before = Path("/proc/self/mountinfo").read_text()
    shut_in("pass", LIMITS)
    assert Path("/proc/self/mountinfo").read_text() == before


@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGTERM])
def test_a_killed_supervisor_takes_the_run_along(tmp_path: Path, how: signal.Signals) -> None:
    mark = f"mark-orphan-{how.name}"
    program = "import os, time\n" + DAEMON + "print('up', flush=True)\ntime.sleep(1000)"
    supervisor = f"""
from pathlib import Path
from malan.runtime.sandbox import *
run_shut_in(Command({{"main.py": {program.encode()!r}}}, arguments=({mark!r},)), RunLimits(), "sandbox", Channel(),
            log=Path({str(tmp_path / "log")!r}))
"""
    process = subprocess.Popen([sys.executable, "-c", supervisor], cwd=tmp_path)
    try:
        until(lambda: (tmp_path / "log").exists() and "up" in (tmp_path / "log").read_text())
        assert len(alive(mark)) >= 2
    finally:
        process.send_signal(how)
        process.wait()
    until(lambda: alive(mark) == [])
