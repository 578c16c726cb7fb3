"""Programs to be shut in, written as text: what they print is in the log, what they achieve must be nothing."""

from __future__ import annotations

import functools
import json
import textwrap
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from malan.runtime.sandbox import Channel, Command, Ran, RunLimits, read_log, run_shut_in

MIB = 1 << 20
QUICK = RunLimits(memory_bytes=512 * MIB, wall_s=20, cpu_s=20, scratch_bytes=8 * MIB, processes=32)

PRELUDE = """
import ctypes, errno, os, socket, struct, sys, time
libc = ctypes.CDLL(None, use_errno=True)
def call(*arguments):
    result = libc.syscall(*arguments)
    if result < 0:
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
    return result
"""


@dataclass(frozen=True)
class Shown:
    """A run and what it printed."""

    ran: Ran
    log: str


ShutIn = Callable[..., Shown]
Met = Callable[[dict[str, str]], tuple[dict[str, str], Ran]]


BATTERY = """
import json, shutil
for name, attack in json.load(open('/code/attacks.json')).items():
    child = os.fork()
    if not child:
        try:
            exec(attack)
            told = 'ESCAPED'
        except (OSError, MemoryError) as error:
            told = 'stopped ' + errno.errorcode.get(getattr(error, 'errno', 0), type(error).__name__)
        os.write(1, f'{name}: {told}\\n'.encode())
        os._exit(0)
    os.waitpid(child, 0)
    for left in os.listdir('/tmp'):
        os.remove('/tmp/' + left)
"""


def run_program(
    program: str, log: Path, limits: RunLimits = QUICK, channel: Channel | None = None, **more: Any
) -> Shown:
    """Run a program at the level `sandbox` and show how it ended."""
    code = {"main.py": (PRELUDE + textwrap.dedent(program)).encode(), **more.pop("files", {})}
    ran = run_shut_in(Command(code, **more), limits, "sandbox", channel or Channel(), log=log)
    return Shown(ran, read_log(log))


@pytest.fixture
def shut_in(tmp_path: Path) -> ShutIn:
    """Run one program."""
    return lambda program, *arguments, **more: run_program(program, tmp_path / "run.log", *arguments, **more)


@pytest.fixture(scope="session")
def met(tmp_path_factory: pytest.TempPathFactory) -> Met:
    """Try many attacks in one run, each in a process of its own: what each met, and all attempts written down."""
    log = tmp_path_factory.mktemp("battery") / "run.log"

    @functools.cache
    def run(attacks: tuple[tuple[str, str], ...]) -> tuple[dict[str, str], Ran]:
        shown = run_program(BATTERY, log, files={"attacks.json": json.dumps(dict(attacks)).encode()})
        return dict(line.split(": ", 1) for line in shown.log.splitlines()), shown.ran

    return lambda attacks: run(tuple(attacks.items()))
