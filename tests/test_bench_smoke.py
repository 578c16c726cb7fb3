"""Every bench script still runs: a smoke of a few seconds each, whose figures mean nothing."""

import subprocess
import sys
from pathlib import Path

import pytest

BENCH = Path(__file__).resolve().parents[1] / "bench"


@pytest.mark.parametrize("script", sorted(BENCH.glob("bench_*.py")), ids=lambda path: path.stem)
def test_a_bench_script_runs_to_its_end(script: Path, tmp_path: Path) -> None:
    command = [sys.executable, str(script), "--quick", "--json", str(tmp_path / "report.json")]
    result = subprocess.run(command, capture_output=True, text=True, timeout=300, check=False)
    assert result.returncode == 0, result.stderr[-2000:]
    assert (tmp_path / "report.json").stat().st_size > 100
