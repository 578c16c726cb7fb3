"""What an algorithm needs to run: Python, packages of a closed list in locked versions, memory, time.

Start reading at `read_environment` and `Resources.limits`. What is installed is looked up by name; nothing is imported.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from importlib import metadata

from malan.runtime.sandbox.limits import MIB, RunLimits
from malan.training.package.tables import Table

PACKAGES = (
    "numpy",
    "torch",
    "diffusers",
    "peft",
    "transformers",
    "accelerate",
    "safetensors",
    "tokenizers",
    "opacus",
    "onnxruntime",
    "pillow",
)
"""What may be imported in a run, beside the standard library. Whatever they need themselves comes along."""

ACCELERATORS = ("none",)
_PYTHON = r"3\.\d{1,2}"
_LOCK = r"\d{1,5}(\.(\d{1,5}|x|\*)){0,3}"


@dataclass(frozen=True)
class Environment:
    """The least Python, the packages, and for some of them which version: `2`, `2.x` and `2.*` all mean any 2."""

    python: str
    packages: tuple[str, ...]
    lock: Mapping[str, str]


@dataclass(frozen=True)
class Resources:
    """What a run may take."""

    memory_mb: int
    wall_s: int
    processes: int
    scratch_mb: int
    accelerator: str

    def limits(self) -> RunLimits:
        """The same for the sandbox. CPU seconds are bounded by wall seconds on as many cores as processes."""
        return RunLimits(
            memory_bytes=self.memory_mb * MIB,
            wall_s=float(self.wall_s),
            cpu_s=float(self.wall_s * min(self.processes, 64)),
            processes=max(self.processes, 8),
            scratch_bytes=self.scratch_mb * MIB,
        )


def read_environment(top: Table) -> Environment:
    """`[environment]`; without it, numpy alone."""
    table = top.table("environment")
    if table is None:
        return Environment("3.11", ("numpy",), {})
    python = table.text("python", "3.11", pattern=_PYTHON)
    packages = table.strings("packages", ("numpy",), choices=PACKAGES)
    lock: dict[str, str] = {}
    if (inner := table.table("lock")) is not None:
        lock = {name: inner.text(name, pattern=_LOCK) for name in inner.values}
        for name in lock:
            if name not in packages:
                inner.wrong("algorithm.bad_choice", name[:40], value=name[:40], choices=", ".join(packages))
        inner.done()
    table.done()
    return Environment(python, packages, lock)


def read_resources(top: Table) -> Resources:
    """`[resources]`; without it, what suits a small algorithm."""
    table = top.table("resources")
    if table is None:
        return Resources(1024, 600, 16, 256, "none")
    found = Resources(
        memory_mb=table.whole("memory_mb", 1024, least=64, most=1_048_576),
        wall_s=table.whole("wall_s", 600, least=1, most=30 * 86_400),
        processes=table.whole("processes", 16, least=1, most=1024),
        scratch_mb=table.whole("scratch_mb", 256, least=1, most=1_048_576),
        accelerator=table.choice("accelerator", ACCELERATORS, "none"),
    )
    table.done()
    return found


def missing_packages(environment: Environment) -> list[str]:
    """What of an environment is not here, as `name version` wanted; empty when all is."""
    missing = []
    if tuple(map(int, environment.python.split("."))) > sys.version_info[:2]:
        missing.append(f"python {environment.python}")
    for name in environment.packages:
        wanted = environment.lock.get(name, "")
        try:
            found = metadata.version(name)
        except metadata.PackageNotFoundError:
            missing.append(f"{name} {wanted}".strip())
            continue
        if wanted and not _fits(found, wanted):
            missing.append(f"{name} {wanted}")
    return missing


def installed_versions(environment: Environment) -> dict[str, str]:
    """The versions of its packages that are here, for the receipt."""
    found = {}
    for name in environment.packages:
        try:
            found[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    return found


def _fits(found: str, wanted: str) -> bool:
    parts = [part for part in wanted.split(".") if part not in ("x", "*")]
    return re.split(r"[.+]", found)[: len(parts)] == parts
