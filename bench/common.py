"""What every bench script shares: CPU and wall time of a call, medians, a table with the must beside the measured."""

from __future__ import annotations

import argparse
import json
import os
import platform
import resource
import statistics
import sys
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from importlib import metadata
from pathlib import Path
from typing import Any


@dataclass(frozen=True)
class Cost:
    """What one call took: wall and CPU seconds (this process and its ended children)."""

    wall_s: float
    cpu_s: float


def measure(call: Callable[[], Any]) -> tuple[Cost, Any]:
    """Run once; CPU counts all threads of this process and children that ended during the call."""
    cpu, wall = _cpu_s(), time.perf_counter()
    result = call()
    return Cost(time.perf_counter() - wall, _cpu_s() - cpu), result


def median_cost(call: Callable[[], Any], runs: int) -> tuple[Cost, Any]:
    """Median wall and CPU over some runs, and the last result."""
    costs, result = [], None
    for _ in range(runs):
        cost, result = measure(call)
        costs.append(cost)
    return Cost(statistics.median(c.wall_s for c in costs), statistics.median(c.cpu_s for c in costs)), result


@dataclass
class Row:
    """One line of a result: what, the figure, the peer's, the limit's, the must, and whether it is met."""

    what: str
    measured: str
    peer: str = ""
    limit: str = ""
    must: str = ""
    met: bool | None = None


@dataclass
class Report:
    """The rows of one bench and the machine they were measured on."""

    title: str
    rows: list[Row] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    def add(self, what: str, measured: str, **more: Any) -> None:
        self.rows.append(Row(what, measured, **more))

    def show(self) -> None:
        """Print as a Markdown table."""
        print(f"\n## {self.title}\n\n{machine()}\n")
        print("| What | Measured | Peer | Limit | Must | Met |\n|---|---|---|---|---|---|")
        for row in self.rows:
            met = {True: "yes", False: "**no**", None: "–"}[row.met]
            print(f"| {row.what} | {row.measured} | {row.peer} | {row.limit} | {row.must} | {met} |")
        for note in self.notes:
            print(f"\n{note}")

    def save(self, path: Path) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps({"machine": machine(), **asdict(self)}, ensure_ascii=False, indent=1))


def arguments(description: str, **switches: str) -> argparse.Namespace:
    """The options all bench scripts share, and switches of one script with their help."""
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument("--quick", action="store_true", help="a smoke of a few seconds; figures mean nothing")
    parser.add_argument("--json", type=Path, help="also write the report here")
    parser.add_argument("--runs", type=int, default=3, help="runs of which the median counts")
    for name, told in switches.items():
        parser.add_argument(f"--{name}", action="store_true", help=told)
    return parser.parse_args()


def footage_folder() -> Path | None:
    """Where the real footage lies, or None on a machine without it."""
    default = Path(__file__).resolve().parents[2] / "shared" / "footage"
    folder = Path(os.environ.get("MALAN_FOOTAGE", default))
    return folder if (folder / "README.md").is_file() else None


def machine() -> str:
    """One line: processor count, system, Python and the libraries that matter."""
    versions = [f"{name} {_version(name)}" for name in ("av", "numpy", "pylance", "onnxruntime", "scenedetect")]
    return f"{os.cpu_count()} cores, {platform.machine()}, Python {sys.version.split()[0]}, {', '.join(versions)}"


def peak_rss_mb() -> float:
    """Peak resident memory of this process and its ended children, MB."""
    own = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    children = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss
    return max(own, children) / 1024


def _version(name: str) -> str:
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return "–"


def _cpu_s() -> float:
    own, children = resource.getrusage(resource.RUSAGE_SELF), resource.getrusage(resource.RUSAGE_CHILDREN)
    return own.ru_utime + own.ru_stime + children.ru_utime + children.ru_stime
