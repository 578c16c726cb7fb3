"""Adapters for tiny Wan, LTX and CogVideoX: prepare, train, export, load, generate, offline; the same loop by hand.

Each contender runs in a process of its own with torch: the interpreter of `.venv-train` (made by `make test-train`), or
the one MALAN_TRAIN_PYTHON names. Without torch nothing is measured, and the report says so. One thread each. Peak is
resident memory of the process; inside the walls, of all processes of the run. An epoch without a cache decodes its
clips from drawn films and encodes them anew; with it, it reads what was kept: CPU seconds, since machines are shared.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from common import Report, arguments

HERE = Path(__file__).resolve().parent
FAMILIES = ("wan", "ltx", "cogvideox")
MOST_S, MOST_MB, MOST_SHARE = 120, 3_000, 0.30


def main() -> None:
    given = arguments(__doc__.splitlines()[0])
    report = Report("Adapters for video models, tiny bases")
    if given.quick:
        report.notes.append("A smoke: one family, and itself in the place of the peer.")
    python = interpreter()
    if python is None:
        report.notes.append("torch is not installed here: nothing was measured. `make test-train` installs it apart.")
    else:
        with tempfile.TemporaryDirectory() as folder:
            for family in FAMILIES[:1] if given.quick else FAMILIES:
                measure_family(report, python, family, Path(folder), quick=given.quick)
    report.show()
    if given.json:
        report.save(given.json)


def measure_family(report: Report, python: str, family: str, folder: Path, *, quick: bool) -> None:
    clips, steps = (4, 2) if quick else (16, 40)

    def run(what: str) -> dict[str, Any]:
        return ask(python, what, family, folder, clips, steps)

    run("make")
    ours = run("ours")
    hand = ours if quick else run("hand")
    seconds, by_hand = (sum(one["seconds"].values()) for one in (ours, hand))
    report.add(
        f"{family}: prepare → generate, {clips} clips of 9 frames at 64 px, {steps} steps of 4",
        f"{seconds:.1f} s ({ours['cpu_s']:.1f} s CPU), of it {work(ours):.1f} s without imports",
        peer=f"by hand {by_hand:.1f} s ({hand['cpu_s']:.1f} s CPU), {work(hand):.1f} s",
        must=f"≤ {MOST_S} s",
        met=seconds <= MOST_S,
    )
    peak, theirs = ours["peak_mb"], hand["peak_mb"]
    report.add(f"{family}: peak memory", f"{peak:.0f} MB", peer=f"{theirs:.0f} MB", must="≤ 3 GB", met=peak <= MOST_MB)
    share = ours["epoch_s"] / (ours["epoch_s"] + ours["encode_s"])
    report.add(
        f"{family}: an epoch from the cache",
        f"{ours['epoch_s']:.3f} s, {share:.0%}",
        peer=f"uncached {ours['epoch_s'] + ours['encode_s']:.3f} s",
        must=f"≤ {MOST_SHARE:.0%}",
        met=share <= MOST_SHARE,
    )
    if not quick:
        walls = run("walls")
        met = walls["state"] == "passed" and walls["seconds"]["all"] <= MOST_S and walls["peak_mb"] <= MOST_MB
        report.add(
            f"{family}: the same in the sandbox, through the gate, with four starts of Python",
            "{seconds[all]:.1f} s ({cpu_s:.1f} s CPU), {peak_mb:.0f} MB, {state}, {attempts} attempts".format(**walls),
            must=f"≤ {MOST_S} s, ≤ 3 GB, passed",
            met=met,
        )


def work(told: dict[str, Any]) -> float:
    return sum(value for name, value in told["seconds"].items() if name != "start")


def ask(python: str, what: str, family: str, folder: Path, clips: int, steps: int) -> dict[str, Any]:
    """One contender in a process of its own; what it printed last."""
    command = [python, str(HERE / "lora_by_hand.py"), what, family, str(folder), str(clips), str(steps)]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    ran = subprocess.run(command, capture_output=True, text=True, env=environment, check=False)
    if ran.returncode:
        sys.exit(f"{what} {family} did not finish:\n{ran.stderr[-3000:]}")
    found: dict[str, Any] = json.loads(ran.stdout.strip().splitlines()[-1])
    return found


def interpreter() -> str | None:
    """A Python that has torch and diffusers."""
    near = HERE.parent / ".venv-train" / "bin" / "python"
    named = os.environ.get("MALAN_TRAIN_PYTHON", str(near))
    if not Path(named).exists():
        return None
    found = subprocess.run([named, "-c", "import importlib.metadata as m; m.version('diffusers')"], check=False)
    return named if found.returncode == 0 else None


if __name__ == "__main__":
    main()
