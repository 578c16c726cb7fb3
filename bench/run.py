"""Run every bench and write docs/benchmarks.md. Each bench is a script of its own; one that fails is said so.

python bench/run.py [--quick] [names…]
"""

from __future__ import annotations

import argparse
import json
import re
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
        write_page([script.stem for script in chosen])
    if failed:
        print(f"did not finish: {', '.join(failed)}", file=sys.stderr)
    return 1 if failed else 0


def _run(script: Path, *, quick: bool) -> bool:
    target = _results() / f"{script.stem}.json"
    command = [sys.executable, str(script), *(["--quick"] if quick else ["--json", str(target)])]
    return subprocess.run(command, check=False).returncode == 0


def _results() -> Path:
    return HERE / "results"


def write_page(stems: list[str]) -> None:
    """Put the newest results of some scripts into the page; sections of the others stay as they are."""
    page = HERE.parent / "docs" / "benchmarks.md"
    sections = _sections_of(page.read_text("utf-8")) if page.exists() else {}
    for stem in stems:
        result = _results() / f"{stem}.json"
        if result.exists():
            sections[stem] = "\n".join(_section(json.loads(result.read_text("utf-8")), stem))
    with tempfile.NamedTemporaryFile("w", dir=page.parent, delete=False, encoding="utf-8") as file:
        file.write("\n".join([INTRODUCTION, *(text for _, text in sorted(sections.items()))]))
    Path(file.name).replace(page)
    page.chmod(0o644)


def _sections_of(page: str) -> dict[str, str]:
    """The sections of the page by the script that made them."""
    parts = re.split(r"^(?=## )", page, flags=re.MULTILINE)[1:]
    named = ((re.search(r"`python bench/(\w+)\.py`", part), part) for part in parts)
    return {found[1]: part.rstrip("\n") + "\n" for found, part in named if found}


def _section(report: dict[str, Any], stem: str) -> list[str]:
    met = {True: "yes", False: "**no**", None: "–"}
    lines = [
        f"## {report['title']}\n",
        f"`python bench/{stem}.py` · {date.today().isoformat()} · {machine()}\n",
        "| What | Measured | Peer | Limit | Must | Met |",
        "|---|---|---|---|---|---|",
    ]
    for row in report["rows"]:
        cells = [str(row[name]).replace("|", "\\|") for name in ("what", "measured", "peer", "limit", "must")]
        lines.append("| " + " | ".join([*cells, met[row["met"]]]) + " |")
    return [*lines, "", *(f"{note}\n" for note in report["notes"])]


if __name__ == "__main__":
    sys.exit(main())
