"""Measures how well this machine can shut a run in, without a run: for `doctor` pages and before a contract is signed.

Every run measures its own walls in a few milliseconds; here the attacks that take longer are tried as well: filling the
scratch space, a fork bomb, one huge allocation, running what was written. Start reading at `measure_level`.
"""

from __future__ import annotations

from malan.runtime.sandbox.channel import Channel, Output
from malan.runtime.sandbox.level import Level, Probe, judge
from malan.runtime.sandbox.limits import MIB, RunLimits
from malan.runtime.sandbox.run import Command, run_shut_in

_LIMITS = RunLimits(memory_bytes=256 * MIB, wall_s=20.0, scratch_bytes=4 * MIB, processes=16)

_ATTACKS = b"""
import os, signal, time, malan_inside

def stopped(attack):
    try:
        attack()
    except (OSError, MemoryError):
        return 1
    return 0

def fill():
    for n in range(8):
        with open(f"/tmp/{n}", "wb") as file:
            file.write(bytes(1 << 20))

def sparse():
    os.truncate(os.open("/tmp/sparse", os.O_CREAT | os.O_RDWR), 1 << 40)

def execute():
    with open("/tmp/second-stage", "w") as file:
        file.write("#!/runtime/bin/python3")
    os.chmod("/tmp/second-stage", 0o700)
    os.execv("/tmp/second-stage", ["x"])

def fork_bomb():
    children = []
    try:
        for _ in range(64):
            children.append(os.fork())
            if not children[-1]:
                time.sleep(100)
    finally:
        for child in children:
            os.kill(child, signal.SIGKILL)
            os.waitpid(child, 0)

found = {"limits.sparse": stopped(sparse), "files.execute": stopped(execute), "limits.scratch": stopped(fill)}
found["limits.allocation"] = stopped(lambda: bytearray(1 << 40))
found["limits.processes"] = stopped(fork_bomb)
malan_inside.put_numbers("found", found)
"""

_NAMES = ("limits.sparse", "files.execute", "limits.scratch", "limits.allocation", "limits.processes")


def measure_level() -> Level:
    """The level a run reaches on this machine, with quick and slow attacks as evidence; takes some tenths of a second.

    Raises:
        Rejected: No sandbox can be built here at all; the error says why.
    """
    ran = run_shut_in(Command({"main.py": _ATTACKS}), _LIMITS, "none", Channel({"found": Output("numbers", 10_000)}))
    found = ran.results.get("found")
    told = found if isinstance(found, dict) else {}
    slow = [Probe(name, told.get(name) == 1.0, ran.limit or "") for name in _NAMES]
    return judge([*ran.level.probes, *slow], ran.level.landlock_abi)
