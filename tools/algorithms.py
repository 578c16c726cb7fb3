"""Check the types of the algorithms that come with Malan, each with the files it shares.

Those that need torch are checked where it is installed: `make test-train`; the others by `make test`.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
from importlib.util import find_spec
from pathlib import Path

from malan.training.algorithms import builtin_files, builtin_names

ROOT = Path(__file__).resolve().parents[1]
MARK = b"import torch"


def main() -> None:
    has_torch = find_spec("torch") is not None
    failed = [name for name in builtin_names() if (has_torch or not needs_torch(name)) and not check(name)]
    if failed:
        sys.exit(f"types are wrong in {', '.join(failed)}")


def needs_torch(name: str) -> bool:
    return any(MARK in content for path, content in builtin_files(name).items() if path.endswith(".py"))


def check(name: str) -> bool:
    """Put a package together as for a run, and check it as strictly as everything else."""
    with tempfile.TemporaryDirectory() as folder:
        for path, content in builtin_files(name).items():
            (Path(folder) / path).parent.mkdir(parents=True, exist_ok=True)
            (Path(folder) / path).write_bytes(content)
        command = [sys.executable, "-m", "mypy", "--strict", "--ignore-missing-imports", "--follow-imports=silent"]
        command += ["--no-warn-unused-ignores", "--allow-untyped-calls", "--allow-subclassing-any", "--config-file="]
        command += ["--cache-dir", str(ROOT / ".mypy_cache" / "algorithms")]
        ran = subprocess.run([*command, "--no-error-summary", "."], cwd=folder, check=False)
    return ran.returncode == 0


if __name__ == "__main__":
    main()
