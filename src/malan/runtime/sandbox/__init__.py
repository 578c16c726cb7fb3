"""Runs programs that nobody trusts next to data that may not leave: walls, limits, two narrow lines, measured evidence.

Start reading at `run.py`; what is guaranteed and what is not is in `docs/design/sandbox.md`.
"""

from malan.runtime.sandbox.channel import Array, Channel, EndRun, Output
from malan.runtime.sandbox.level import Level, Probe
from malan.runtime.sandbox.limits import RunLimits
from malan.runtime.sandbox.measure import measure_level
from malan.runtime.sandbox.run import Command, Ran, read_log, run_shut_in

__all__ = [
    "Array",
    "Channel",
    "Command",
    "EndRun",
    "Level",
    "Output",
    "Probe",
    "Ran",
    "RunLimits",
    "measure_level",
    "read_log",
    "run_shut_in",
]
