"""Trying an algorithm before footage plays any part: its smoke test on drawn data, shut in as a real run.

Start reading at `try_package`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from malan.inference.weights import base_modules, resolve_base
from malan.services.access import HOUSE, Caller
from malan.services.runs.algorithms import find_algorithm, load_package
from malan.training.package import Package, compare_packages, read_package, read_settings
from malan.training.package.diff import Difference
from malan.training.smoke import Smoked, smoke_package

if TYPE_CHECKING:
    from malan.workspace import Workspace

OnProgress = Callable[[str, int], None]


def try_package(
    folder: Path,
    settings: Sequence[str] = (),
    *,
    base: str = "",
    seed: int = 1,
    on_progress: OnProgress | None = None,
) -> Smoked:
    """Run the smoke test of the package in a folder.

    Args:
        folder: Which.
        settings: Parameters as `name=value`, in the place of those of its smoke test.
        base: Where the base model is (`path:…`, `hf:…`, `ms:…`, on this machine), for a package that starts from one.
        seed: Of the drawn data and of the run.
        on_progress: Told the phase and whole percents.

    Raises:
        UsageError: It is no sound package, or a setting does not fit.
        NotFound: The base model is not here.
        MissingExtra, Rejected: It cannot be run here.
    """
    return _try(read_package(folder), settings, base, seed, on_progress)


def try_algorithm(
    ws: Workspace,
    text: str,
    settings: Sequence[str] = (),
    *,
    base: str = "",
    seed: int = 1,
    on_progress: OnProgress | None = None,
    caller: Caller = HOUSE,
) -> Smoked:
    """The same for an algorithm on record that the caller may see."""
    return _try(load_package(ws, find_algorithm(ws, text, caller=caller).digest), settings, base, seed, on_progress)


def compare_folders(before: Path, after: Path) -> Difference:
    """What is new in a folder against another."""
    return compare_packages(read_package(before), read_package(after))


def compare_folder(ws: Workspace, text: str | None, folder: Path, *, caller: Caller = HOUSE) -> Difference:
    """What is new in a folder against an algorithm on record; without one, the newest of the same name."""
    package = read_package(folder)
    known = find_algorithm(ws, text or package.name, caller=caller)
    return compare_packages(load_package(ws, known.digest), package)


def describe_difference(found: Difference | None) -> dict[str, Any]:
    """A difference as JSON; with nothing to compare, says so."""
    if found is None:
        return {"before": None, "after": None, "settings": {}, "files": {}, "lines": [], "left_out": [], "hints": []}
    return {
        "before": found.before,
        "after": found.after,
        "settings": {key: {"was": was, "is": now} for key, (was, now) in found.settings.items()},
        "files": dict(found.files),
        "lines": list(found.lines),
        "left_out": list(found.left_out),
        "hints": [one.as_record() for one in found.hints],
    }


def describe_smoke(found: Smoked) -> dict[str, Any]:
    """The result of a smoke test as JSON."""
    return {
        "passed": found.passed,
        "reasons": [{"code": one.code, "message": one.text()} for one in found.reasons],
        "figures": dict(found.figures),
        "level": found.level,
        "wall_s": round(found.wall_s, 2),
        "peak_memory_mb": round(found.peak_memory_bytes / 2**20, 1),
        "attempts": dict(found.attempts),
        "output_bytes": found.output_bytes,
        "log": found.log,
    }


def _try(package: Package, settings: Sequence[str], base: str, seed: int, on_progress: OnProgress | None) -> Smoked:
    given: Mapping[str, Any] = read_settings(package.parameters, settings)
    if not base:
        return smoke_package(package, parameters=given, seed=seed, on_progress=on_progress)
    found = resolve_base(base)
    modules = base_modules(found.folder, str(given.get("part", "")))
    return smoke_package(
        package, parameters=given, seed=seed, base=found.paths, base_modules=modules, on_progress=on_progress
    )
