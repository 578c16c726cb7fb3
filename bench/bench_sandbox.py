"""The sandbox: what its start adds to a bare process, what its lines carry, what it slows, what it stops."""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from common import Report, arguments, measure

from malan.runtime.sandbox import Channel, Command, Output, Ran, RunLimits, run_shut_in

MUST_ADDED_MS = 150.0
MIB = 1 << 20
LIMITS = RunLimits(memory_bytes=1024 * MIB, wall_s=120)
SOURCE = Path(__file__).resolve().parents[1] / "src" / "malan" / "runtime" / "sandbox"
MOUNTS_ONLY = ["bwrap", *("--ro-bind", "/", "/"), *("--dev", "/dev"), *("--proc", "/proc"), *("--tmpfs", "/tmp")]
MOUNTS_ONLY += ["--ro-bind", *[str(Path(__file__).resolve().parents[1])] * 2]  # also where the checkout lies in /tmp
MOUNTS_ONLY += ["--ro-bind", *[sys.prefix] * 2, "--unshare-net", "--unshare-pid", "--"]
TIMED = {
    "NumPy, matrix products": (
        "import numpy as np\na = np.ones((400, 400))\ndef work(): return [a @ a for _ in range(40)]"
    ),
    "Python, a loop": "def work(): return sum(n * n for n in range(1_500_000))",
    "system calls": "import os\ndef work(): return [os.getppid() for _ in range(400_000)]",
}
TAKE = """
import malan_inside
for batch in malan_inside.batches(): batch['frames'][::4096].sum()
"""


def shut(program: str, channel: Channel | None = None, **more: Any) -> Ran:
    ran = run_shut_in(Command({"main.py": program.encode()}, **more), LIMITS, "sandbox", channel or Channel())
    assert ran.end == "ok", ran
    return ran


def bare(*command: str) -> None:
    subprocess.run([*command, sys.executable, "-s", "-P", "-c", "pass"], check=True)


def start(report: Report, runs: int) -> None:
    """In turns, so that what else the machine does hits all alike."""
    tried: dict[str, Callable[[], Any]] = {
        "bare": bare,
        "mounts": lambda: bare(*MOUNTS_ONLY),
        "ours": lambda: shut("pass"),
        "numpy": lambda: shut("pass", packages=("numpy",)),
    }
    costs: dict[str, list[Any]] = {name: [] for name in tried}
    for _ in range(runs):
        for name, call in tried.items():
            costs[name].append(measure(call)[0])
    wall = {name: statistics.median(cost.wall_s for cost in found) * 1000 for name, found in costs.items()}
    added = statistics.median(
        1000 * (ours.wall_s - plain.wall_s) for ours, plain in zip(costs["ours"], costs["bare"], strict=True)
    )
    report.add(
        "start and end of a run, walls measured in it",
        f"{added:.0f} ms added ({wall['ours']:.0f} ms; {wall['ours'] / wall['bare']:.1f} × bare)",
        peer=f"mounts only: {wall['mounts'] - wall['bare']:.0f} ms added, nothing measured",
        limit=f"bare process {wall['bare']:.0f} ms",
        must=f"≤ {MUST_ADDED_MS:.0f} ms added",
        met=added <= MUST_ADDED_MS,
    )
    report.add("the same with NumPy in sight", f"{wall['numpy'] - wall['bare']:.0f} ms added", limit="the row above")


def lines(report: Report, megabytes: int) -> None:
    """Batches of 24 MB through both ways; the limit is one copy of as many bytes."""
    frames = np.zeros(24 * MIB, "|u1")
    count = max(2, megabytes // 24)
    copied = np.empty_like(frames)
    copy = measure(lambda: [np.copyto(copied, frames) for _ in range(count)])[0]
    for what, shared_bytes in (("over the line", 0), ("through shared memory", 64 * MIB)):
        left = [count + 1]
        began = [0.0]

        def serve(
            _request: dict[str, Any], left: list[int] = left, began: list[float] = began
        ) -> dict[str, Any] | None:
            left[0] -= 1
            if left[0] == count - 1:  # the first batch brings NumPy with it
                began[0] = time.perf_counter()
            return {"frames": frames} if left[0] else None

        shut(TAKE, Channel(serve=serve, shared_bytes=shared_bytes), packages=("numpy",))
        rate = (count - 1) * frames.nbytes / (time.perf_counter() - began[0]) / 1e9
        report.add(
            f"data {what}, {count * 24} MB",
            f"{rate:.1f} GB/s",
            limit=f"one copy in memory: {count * frames.nbytes / copy.wall_s / 1e9:.1f} GB/s",
        )


def speed(report: Report) -> None:
    """The same work inside and outside, each timed by itself."""
    timing = "\nimport time\nbest = 9e9\nfor _ in range(5):\n    began = time.process_time(); work()\n"
    timing += "    best = min(best, time.process_time() - began)\n"
    for name, program in TIMED.items():
        told = "import malan_inside; malan_inside.put_numbers('t', {'s': best})"
        channel = Channel({"t": Output("numbers", 1000)})
        inside = shut(program + timing + told, channel, packages=("numpy",)).results["t"]["s"]  # type: ignore[index,call-overload]
        one_thread = {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}
        outside = subprocess.run(
            [sys.executable, "-c", program + timing + "print(best)"], env=one_thread, capture_output=True, check=True
        ).stdout
        ratio = inside / float(outside)
        report.add(f"{name}, inside ÷ outside (CPU)", f"{ratio:.2f} ×", limit="1 ×")


def watching(report: Report, seconds: float) -> None:
    """What the supervisor takes while a run of four processes does nothing."""
    program = f"import os, time\n[os.fork() for _ in range(2)]\ntime.sleep({seconds})"
    began, cpu = time.perf_counter(), time.process_time()
    shut(program)
    share = (time.process_time() - cpu) / (time.perf_counter() - began)
    report.add("watching a run of four processes", f"{100 * share:.1f} % of one core", limit="0 %")


def attacks(report: Report) -> None:
    """The same quick attacks on our walls and on a sandbox that only mounts."""
    level = shut("pass").level
    orders = {"rlimits": {}, "forbidden": {"shadow": "/etc/shadow", "kernel": "/sys/kernel", "variables": "/var"}}
    orders |= {"supervisor_pid": 1 << 30, "fds": [], "stage_environment": []}
    program = f"import json, probes; print(json.dumps(probes.attack({orders!r}, 2)))"
    command = [*MOUNTS_ONLY, sys.executable, "-c", program]
    text = subprocess.run(
        command, env={"PYTHONPATH": str(SOURCE / "inside")}, capture_output=True, text=True, check=True, timeout=60
    ).stdout
    peer = json.loads(text)
    held = sum(probe.held for probe in level.probes)
    report.add(
        "attacks of the self-test that are stopped",
        f"{held} of {len(level.probes)}",
        peer=f"mounts only: {sum(one[0] for one in peer.values())} of {len(peer)}",
        must="all",
        met=held == len(level.probes),
    )


def main() -> None:
    options = arguments(__doc__ or "")
    report = Report("Sandbox")
    start(report, 3 if options.quick else 25)
    lines(report, 48 if options.quick else 2400)
    speed(report)
    watching(report, 0.2 if options.quick else 5.0)
    attacks(report)
    if (load := os.getloadavg()[0]) > 1.5:
        report.notes.append(f"Other programs ran beside it: load {load:.1f}.")
    report.show()
    if options.json:
        report.save(options.json)


if __name__ == "__main__":
    main()
