"""How much memory a device has, and has left: the processor's as the kernel and our control group say, an accelerator's
as its driver says. Start reading at `free_mb`.
"""

from __future__ import annotations

import math
import subprocess
import sys
from functools import lru_cache
from pathlib import Path

_MB = 2**20
_GROUP = Path("/sys/fs/cgroup")


def free_mb(device: str) -> float:
    """Megabytes that may still be taken on a device; infinite where nobody can say."""
    kind, _, number = device.partition(":")
    if kind == "cpu":
        return min(_of_machine(), _of_group())
    return _of_cuda(int(number or 0)) if kind == "cuda" and (number or "0").isdecimal() else math.inf


def total_mb(device: str) -> float:
    """Megabytes that a device has in all; infinite where nobody can say."""
    kind, _, number = device.partition(":")
    if kind == "cpu":
        return min(_of_machine("MemTotal"), _most_of_group())
    return _total_of_cuda(int(number or 0)) if kind == "cuda" and (number or "0").isdecimal() else math.inf


def _of_machine(what: str = "MemAvailable") -> float:
    try:
        lines = Path("/proc/meminfo").read_text("ascii").splitlines()
    except OSError:
        return math.inf
    found = next((line for line in lines if line.startswith(f"{what}:")), "")
    return int(found.split()[1]) / 1024 if found else math.inf


def _of_group() -> float:
    """What the control group of this process has left; what it holds as cache of files counts as free."""
    try:
        most = (_GROUP / "memory.max").read_text("ascii").strip()
        used = int((_GROUP / "memory.current").read_text("ascii"))
        counted = dict(line.split() for line in (_GROUP / "memory.stat").read_text("ascii").splitlines())
    except (OSError, ValueError):
        return math.inf
    return math.inf if most == "max" else (int(most) - used + int(counted.get("inactive_file", 0))) / _MB


def _most_of_group() -> float:
    try:
        most = (_GROUP / "memory.max").read_text("ascii").strip()
    except OSError:
        return math.inf
    return int(most) / _MB if most.isdecimal() else math.inf


@lru_cache(maxsize=64)
def _total_of_cuda(number: int) -> float:
    return _of_cuda(number, "total")


def _of_cuda(number: int, what: str = "free") -> float:
    """By torch where it runs already, else by the driver's own tool: torch is not loaded for a question."""
    torch = sys.modules.get("torch")
    if torch is not None and torch.cuda.is_available() and number < torch.cuda.device_count():
        free, total = torch.cuda.mem_get_info(number)
        kept = torch.cuda.memory_reserved(number) - torch.cuda.memory_allocated(number)
        return float(total if what == "total" else free + kept) / _MB
    command = ["nvidia-smi", f"--id={number}", f"--query-gpu=memory.{what}", "--format=csv,noheader,nounits"]
    try:
        return float(subprocess.run(command, capture_output=True, check=True, timeout=10).stdout)
    except (OSError, ValueError, subprocess.SubprocessError):
        return math.inf
