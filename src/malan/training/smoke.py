"""Whether an algorithm works at all: a whole run on drawn data, shut in as a real one, up to the gate's answer.

    Package ─ smoke_package ─▶ drawn clips ─▶ sandbox: train, evaluate ─▶ gate ─▶ Smoked(passed, why not, figures)

No grant is needed and nothing is charged. What it shows is that the package runs and puts out what it declared; it
shows nothing about real footage. Start reading at `smoke_package`.
"""

from __future__ import annotations

import secrets
import tempfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from malan.core.decisions import Reason
from malan.core.errors import MissingExtra, UsageError
from malan.runtime.sandbox import RunLimits, read_log
from malan.training.drawn import draw_holdings
from malan.training.gate import GateResult, Policy, inspect_output
from malan.training.gate.result import PASSED
from malan.training.loader import Allowed, Loader, split_facts
from malan.training.package import (
    DataRequest,
    Package,
    ask_for_data,
    declare_outputs,
    missing_packages,
    settle_parameters,
)
from malan.training.package.parameters import TEXT
from malan.training.package.request import Smoke
from malan.training.running import Finished, RunPlan, make_trial, run_algorithm

HELD_OUT = 3  # one clip in so many
_DEFAULT = Smoke(60, 3, 60, "", ">=", 0.0, {})
_MOST_LOG = 4000


@dataclass(frozen=True)
class Smoked:
    """How a smoke test ended. `reasons` says why it did not pass; `log` is what the algorithm printed, at its end."""

    passed: bool
    reasons: tuple[Reason, ...]
    figures: Mapping[str, str]
    level: str
    wall_s: float
    peak_memory_bytes: int
    attempts: Mapping[str, int]
    output_bytes: int
    log: str


def smoke_package(
    package: Package,
    *,
    parameters: Mapping[str, Any] | None = None,
    seed: int = 1,
    floor: str = "sandbox",
    base: Mapping[str, Path] | None = None,
    base_modules: Mapping[str, Any] | None = None,
    on_progress: Callable[[str, int], None] | None = None,
) -> Smoked:
    """Run a package on drawn data, in the sandbox, and hold what comes out against the gate.

    Args:
        package: Which.
        parameters: In the place of those that its own smoke test sets.
        seed: Of the drawn data and of the run.
        floor: The least level of isolation.
        base: Files of the base model, for a package that starts from one.
        base_modules: The modules of that model.
        on_progress: Told the phase and whole percents.

    Raises:
        UsageError: A parameter does not fit, or it needs a base model and none is given.
        MissingExtra: A package of its environment is not installed.
        Rejected: The sandbox cannot be built here.
    """
    if missing := missing_packages(package.environment):
        raise MissingExtra("algorithm.environment", missing=", ".join(missing))
    if package.families and not base:
        raise UsageError("algorithm.needs_base", families=", ".join(package.families))
    smoke = package.smoke or _DEFAULT
    settled = settle_parameters(package.parameters, _with_labels(package, {**smoke.parameters, **(parameters or {})}))
    request = ask_for_data(package, settled)
    with tempfile.TemporaryDirectory(prefix="malan-smoke-") as folder:
        data, held_out = _loaders(request, smoke, seed, Path(folder))
        try:
            facts = split_facts(data, held_out)
            known = facts if base_modules is None else {**facts, "base_modules": dict(base_modules)}
            policy = Policy(declare_outputs(package, settled, known)["model"], package.metrics)
            plan = RunPlan(
                package,
                settled,
                seed,
                data,
                held_out,
                policy,
                limits=_limits(package, smoke),
                floor=floor,
                tier="code",
                base=base,
                window=_window(request),
                sound=_sound(request),
            )
            log = Path(folder) / "run.log"
            finished = run_algorithm(plan, log=log, on_progress=on_progress)
            result = _inspect(finished, policy, plan)
            return _told(smoke, finished, result, _read(log))
        finally:
            data.close()
            held_out.close()


def _with_labels(package: Package, given: dict[str, Any]) -> dict[str, Any]:
    """Where a label set is to be named and nobody did, it is the drawn one."""
    asked = package.data.labels.removeprefix("$")
    one = next((one for one in package.parameters if one.name == asked), None)
    if one is None or one.type != TEXT or given.get(asked, one.default):
        return given
    return {**given, asked: "drawn"}


def _inspect(finished: Finished, policy: Policy, plan: RunPlan) -> GateResult | None:
    if not finished.files:
        return None
    return inspect_output(finished.files, policy, secrets.token_bytes(32), make_trial(plan))


def _loaders(request: DataRequest, smoke: Smoke, seed: int, folder: Path) -> tuple[Loader, Loader]:
    clips, held_out = max(smoke.clips, request.min_clips), max(smoke.clips // HELD_OUT, 12)
    allowed = Allowed(frozenset(request.deliver))
    return tuple(  # type: ignore[return-value]  # two of them
        Loader(
            draw_holdings(request, clips=count, classes=smoke.classes, seed=seed + part, folder=folder),
            allowed,
            seed=seed,
        )
        for part, count in ((0, clips), (10_000, held_out))
    )


def _limits(package: Package, smoke: Smoke) -> RunLimits:
    """What it may take in a real run, but no longer than it says of its smoke test."""
    limits = package.resources.limits()
    return replace(limits, wall_s=min(limits.wall_s, float(smoke.max_seconds)))


def _window(request: DataRequest) -> dict[str, Any]:
    window = request.window
    return {} if window is None else {"frames": window.frames, "size_px": window.size_px, "every": window.every}


def _sound(request: DataRequest) -> dict[str, Any]:
    sound = request.sound
    return {} if sound is None else {"rate_hz": sound.rate_hz, "seconds": sound.seconds}


def _told(smoke: Smoke, finished: Finished, result: GateResult | None, log: str) -> Smoked:
    figures = dict(result.metrics) if result else {}
    reasons = tuple(_reasons(smoke, finished, result, figures))
    ran = finished.ran
    size = sum(map(len, result.files.values())) if result else 0
    return Smoked(
        not reasons, reasons, figures, ran.level.name, ran.wall_s, ran.peak_memory_bytes, dict(ran.attempts), size, log
    )


def _reasons(smoke: Smoke, finished: Finished, result: GateResult | None, figures: Mapping[str, str]) -> list[Reason]:
    if result is None:
        how = finished.ran.limit or finished.ran.end
        ended = Reason(f"algorithm.smoke.{finished.ran.end}", (("limit", how),))
        return [ended, *([finished.reason] if finished.reason else [])]
    found = [] if result.state == PASSED else list(result.reasons)
    if smoke.metric and smoke.metric in figures and not smoke.reached(float(figures[smoke.metric])):
        wanted = (("op", smoke.op), ("value", f"{smoke.value:g}"))
        values = (("metric", smoke.metric), ("found", figures[smoke.metric]), *wanted)
        found.append(Reason("algorithm.smoke.figure", values))
    return found


def _read(log: Path) -> str:
    """The end of what it printed: training, then evaluation."""
    beside = log.with_name(f"{log.name}.evaluate")
    return "".join(read_log(one) for one in (log, beside) if one.is_file())[-_MOST_LOG:]
