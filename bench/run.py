"""Run every bench and write docs/benchmarks.md. Each bench is a script of its own; one that fails is said so.

python bench/run.py [--quick] [names…]
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
from datetime import date
from pathlib import Path
from typing import Any

from common import machine

HERE = Path(__file__).resolve().parent
INTRODUCTION = """# Benchmarks

Made by `make bench`: every figure stands beside its peer and its physical limit, measured in the same run. Machines
differ and are shared, so read the ratios; each script in `bench/` says how it measures. Medians of several runs.
"""


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="a smoke of each script; writes nothing")
    parser.add_argument("names", nargs="*", help="shots, captions, scan, …; default: all")
    wanted = parser.parse_args()
    scripts = sorted(HERE.glob("bench_*.py"))
    chosen = [script for script in scripts if not wanted.names or script.stem.removeprefix("bench_") in wanted.names]
    failed = [script.name for script in chosen if not _run(script, quick=wanted.quick)]
    if not wanted.quick:
        _write_page()
    if failed:
        print(f"did not finish: {', '.join(failed)}", file=sys.stderr)
    return 1 if failed else 0


def _run(script: Path, *, quick: bool) -> bool:
    target = _results() / f"{script.stem}.json"
    command = [sys.executable, str(script), *(["--quick"] if quick else ["--json", str(target)])]
    return subprocess.run(command, check=False).returncode == 0


def _results() -> Path:
    return HERE / "results"


def _write_page() -> None:
    """The page, from the newest result of each script."""
    parts = [INTRODUCTION, f"Measured on {date.today().isoformat()}: {machine()}\n"]
    for path in sorted(_results().glob("bench_*.json")):
        parts += _section(json.loads(path.read_text("utf-8")), path.stem)
    page = HERE.parent / "docs" / "benchmarks.md"
    with tempfile.NamedTemporaryFile("w", dir=page.parent, delete=False, encoding="utf-8") as file:
        file.write("\n".join(parts))
    Path(file.name).replace(page)
    page.chmod(0o644)


def _section(report: dict[str, Any], stem: str) -> list[str]:
    met = {True: "yes", False: "**no**", None: "–"}
    lines = [
        f"## {report['title']}\n",
        f"`python bench/{stem}.py`\n",
        "| What | Measured | Peer | Limit | Must | Met |",
        "|---|---|---|---|---|---|",
    ]
    for row in report["rows"]:
        cells = [str(row[name]).replace("|", "\\|") for name in ("what", "measured", "peer", "limit", "must")]
        lines.append("| " + " | ".join([*cells, met[row["met"]]]) + " |")
    return [*lines, "", *(f"{note}\n" for note in report["notes"])]


if __name__ == "__main__":
    sys.exit(main())
