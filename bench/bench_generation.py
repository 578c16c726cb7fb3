"""Text to film by our engines on tiny Wan, LTX and CogVideoX with random weights, beside diffusers by hand.

Each family runs in a process of its own with torch: the interpreter of `.venv-train` (made by `make test-train`), or
the one MALAN_TRAIN_PYTHON names. Without torch nothing is measured, and the report says so. One thread each. Ours and
the peer's film are made in turn; times are medians, and the overhead compares the least CPU time of either, since what
else runs on a shared machine only ever adds. The models are tiny: what opening an engine costs weighs as much as it
ever will.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from bench_lora import interpreter
from common import Report, arguments

HERE = Path(__file__).resolve().parent
FAMILIES = ("wan", "ltx", "cogvideox")
MOST_OVERHEAD = 0.05


def main() -> None:
    given = arguments(__doc__.splitlines()[0])
    report = Report("Text to film by diffusion, tiny bases")
    python = interpreter()
    if given.quick:
        report.notes.append("A smoke: one family, two runs; figures mean nothing.")
    if python is None:
        report.notes.append("torch is not installed here: nothing was measured. `make test-train` installs it apart.")
    else:
        with tempfile.TemporaryDirectory() as folder:
            for family in FAMILIES[:1] if given.quick else FAMILIES:
                add_family(report, ask(python, family, Path(folder), quick=given.quick), family)
    report.show()
    if given.json:
        report.save(given.json)


def add_family(report: Report, told: dict[str, Any], family: str) -> None:
    frames, height, width, _ = told["shape"]
    overhead = told["ratio"] - 1
    report.add(
        f"{family}: {frames} frames of {width}×{height}, 20 steps, engine open",
        f"{told['ours_wall_s'] * 1000:.0f} ms ({told['ours_cpu_s'] * 1000:.0f} ms CPU), {overhead:+.1%}",
        peer=f"by hand {told['hand_wall_s'] * 1000:.0f} ms ({told['hand_cpu_s'] * 1000:.0f} ms CPU)",
        must=f"≤ {MOST_OVERHEAD:.0%} more",
        met=overhead <= MOST_OVERHEAD,
    )
    report.add(
        f"{family}: the same film to the byte",
        "yes" if told["same"] else "no",
        peer="diffusers",
        must="yes",
        met=bool(told["same"]),
    )
    if "gateway_same" in told:
        add_gateway(report, told, family)
    report.add(f"{family}: first opening, with reading every file and loading", f"{told['loaded_s']:.2f} s")


def add_gateway(report: Report, told: dict[str, Any], family: str) -> None:
    frames, height, width, _ = told["gateway_shape"]
    ours, hand = told["gateway_cpu_s"], told["gateway_hand_cpu_s"]
    report.add(
        f"{family}: {frames} frames of {width}×{height} by a job of the gateway, its engine",
        f"{ours * 1000:.0f} ms CPU, {ours / hand - 1:+.1%}",
        peer=f"the same ask by hand {hand * 1000:.0f} ms CPU",
        must=f"≤ {MOST_OVERHEAD:.0%} more",
        met=ours / hand - 1 <= MOST_OVERHEAD,
    )
    same = bool(told["gateway_same"])
    report.add(
        f"{family}: the same tensor in the gateway's job",
        "yes" if same else "no",
        peer="diffusers",
        must="yes",
        met=same,
    )


def ask(python: str, family: str, folder: Path, *, quick: bool) -> dict[str, Any]:
    """One family in a process of its own; what it printed last."""
    runs, steps, jobs = ("2", "2", "0") if quick else ("15", "20", "6")
    command = [python, str(HERE / "film_by_hand.py"), family, str(folder), runs, steps, jobs]
    ran = subprocess.run(
        command, capture_output=True, text=True, env={**os.environ, "OMP_NUM_THREADS": "1"}, check=False
    )
    if ran.returncode:
        sys.exit(f"{family} did not finish:\n{ran.stderr[-3000:]}")
    found: dict[str, Any] = json.loads(ran.stdout.strip().splitlines()[-1])
    return found


if __name__ == "__main__":
    main()
