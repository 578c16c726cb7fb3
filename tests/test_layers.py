"""The import contract of the design, without an exception in its list."""

import subprocess
import sys
import tomllib
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]


def test_dependencies_point_down() -> None:
    linter = Path(sys.executable).with_name("lint-imports")
    result = subprocess.run([linter, "--no-cache"], cwd=ROOT, capture_output=True, text=True, timeout=120, check=False)
    assert result.returncode == 0, result.stdout[-3000:]


def test_the_contract_has_no_exceptions() -> None:
    contracts = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["tool"]["importlinter"]["contracts"]
    assert all("ignore_imports" not in contract for contract in contracts)


def test_help_answers_without_heavy_imports() -> None:
    code = (
        "import sys; sys.argv = ['malan', '--help']\n"
        "from malan.cli.main import main\n"
        "try: main()\nexcept SystemExit: pass\n"
        "heavy = {'av', 'numpy', 'lance', 'pyarrow', 'sqlalchemy', 'fastapi', 'onnxruntime', 'PIL'}\n"
        "print('HEAVY', sorted(heavy & set(sys.modules)))"
    )
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True)
    assert result.stdout.splitlines()[-1] == "HEAVY []"
