"""Write requirements/*.lock from pyproject.toml: exact versions, no addresses. Run by `make lock`."""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
import tomllib
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
HEADLESS = {"opencv-python": "opencv-python-headless"}
WEIGHTS_ONLY = "rapidocr"  # its weights run on ONNX Runtime here; what it needs besides is for its own code


def main() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))
    needed = project["project"]["dependencies"]
    lean = [need for need in needed if not need.startswith(WEIGHTS_ONLY)]
    everything = resolve([*needed, *project["dependency-groups"]["dev"], *project["dependency-groups"]["bench"]])
    faces = resolve(["--no-deps", *project["project"]["optional-dependencies"]["faces"]])  # weights only, as well
    base = {**resolve(lean), **faces, WEIGHTS_ONLY: everything[WEIGHTS_ONLY]}
    dev = resolve([*lean, *project["dependency-groups"]["dev"]])
    held = [f"{name}=={version}" for name, version in {**base, **dev}.items() if name not in {WEIGHTS_ONLY, *faces}]
    extra = [*project["project"]["optional-dependencies"]["train"], *project["dependency-groups"]["train"]]
    train = resolve(extra, held)
    write("base", base)
    write("dev", {name: version for name, version in dev.items() if name not in base})
    write("bench", {name: version for name, version in everything.items() if name not in {**base, **dev}})
    write("train", {name: version.split("+")[0] for name, version in train.items() if name not in {**base, **dev}})


def resolve(wanted: list[str], held: list[str] | None = None) -> dict[str, str]:
    """Exact versions of everything a list needs, as pip would choose them for an empty environment.

    Args:
        wanted: Requirements.
        held: Versions to choose where one of these is needed.
    """
    with tempfile.NamedTemporaryFile(suffix=".json") as report, tempfile.NamedTemporaryFile("w") as constraints:
        constraints.write("\n".join(held or []))
        constraints.flush()
        command = ["pip", "install", "--quiet", "--dry-run", "--ignore-installed", "--report", report.name, *wanted]
        command += ["--constraint", constraints.name]
        subprocess.run([sys.executable, "-m", *command], check=True)
        items = json.load(report)["install"]
    found = {item["metadata"]["name"].lower().replace("_", "-"): item["metadata"]["version"] for item in items}
    return {HEADLESS.get(name, name): version for name, version in sorted(found.items())}


def write(name: str, pins: dict[str, str]) -> None:
    lines = [f"{package}=={version}" for package, version in sorted(pins.items())]
    (ROOT / "requirements" / f"{name}.lock").write_text("\n".join(lines) + "\n")


if __name__ == "__main__":
    main()
