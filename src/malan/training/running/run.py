"""Run an algorithm: training in one sandbox, evaluation in another, and what comes out as files for the gate.

    prepare → train → export      sees `data`       ─▶ weights ─▶ adapter.safetensors, written by us
    evaluate                      sees `held_out`   ─▶ figures  ─▶ metrics.json

Two sandboxes, so that training cannot learn what it will be held against. Start reading at `run_algorithm`.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from malan.core.decisions import Reason
from malan.core.errors import MalanError, NotGranted, Rejected
from malan.inference.tensors import parse_tensors
from malan.runtime.sandbox import Array, Channel, Command, EndRun, Output, Ran, run_shut_in
from malan.training.gate.gate import ADAPTER, METRICS
from malan.training.gate.result import reason_of
from malan.training.loader import Loader
from malan.training.running.arrays import (
    AnyArray,
    Collected,
    as_numpy,
    pack_arrays,
    portions,
    unpack_arrays,
    weights_file,
)
from malan.training.running.plan import BOOTSTRAP, ENTRY, ORDERS, RunPlan

TRAINING = ("prepare", "train", "export")
EVALUATION = ("evaluate",)
SAMPLING = ("sample",)
OnProgress = Callable[[str, int], None]
OnCheckpoint = Callable[[bytes], None]

_NUMBERS_BYTES = 64 << 10
_EVALUATION_BYTES = 64 << 20
_HEADERS_BYTES = 4 << 20
_CHECKPOINTS = 10_000
_MOST_SHARED = 512 << 20


@dataclass(frozen=True)
class Finished:
    """How a run ended, for the gate and the owner.

    `files` is what the gate inspects; empty unless `ran.end` is ok. `reason` says why the loader ended the run, or why
    nothing could be written; it holds no word the run chose. `counted_us` is what was delivered, clip-microseconds.
    """

    ran: Ran
    files: Mapping[str, bytes]
    reason: Reason | None = None
    counted_us: int = 0


@dataclass
class Phase:
    """What one sandbox of a run handed in."""

    ran: Ran
    model: Mapping[str, Array]
    metrics: Mapping[str, float]
    evaluation: Mapping[str, AnyArray]
    reason: Reason | None


def run_algorithm(
    plan: RunPlan,
    *,
    log: Path | None = None,
    on_progress: OnProgress | None = None,
    on_checkpoint: OnCheckpoint | None = None,
    stop: Callable[[], bool] | None = None,
) -> Finished:
    """Train and evaluate; blocks until every process of the run is gone.

    Args:
        plan: What.
        log: Where the output of training goes, for the owner; that of evaluation goes beside it, `.evaluate` added.
        on_progress: Told `train` or `evaluate` and whole percents that rise.
        on_checkpoint: Given each checkpoint as it comes; what `RunPlan.restored` takes.
        stop: Asked some fifty times a second whether the run is to end; it then ends with the limit `stopped`.

    Raises:
        Rejected: The walls cannot be built here, are below the floor, or a checkpoint cannot be read.
        RetryLater: What is left of the grant is held by others.
        Exception: What the callbacks raised, or the loader for reasons of its own (a damaged library).
    """
    counted = plan.data.counted_us + plan.held_out.counted_us
    finished = _still_granted(plan, _train_and_evaluate(plan, log, on_progress, on_checkpoint, stop))
    return replace(finished, counted_us=plan.data.counted_us + plan.held_out.counted_us - counted)


def run_phase(
    plan: RunPlan,
    phases: tuple[str, ...],
    weights: Mapping[str, AnyArray] | None = None,
    *,
    log: Path | None = None,
    on_progress: OnProgress | None = None,
    on_checkpoint: OnCheckpoint | None = None,
    stop: Callable[[], bool] | None = None,
) -> Phase:
    """One sandbox with some phases of a plan."""
    trains = phases == TRAINING
    desk = _Desk(plan, plan.data if trains else plan.held_out, "data" if trains else "held_out", weights, on_checkpoint)
    name = "train" if trains else "evaluate"
    channel = Channel(
        _outputs(plan, trains),
        desk.serve,
        shared_bytes=_shared_bytes(desk.loader),
        on_progress=None if on_progress is None else lambda percent: on_progress(name, percent),
        on_result=desk.take,
        stop=stop,
    )
    orders = plan.orders(phases, weights=weights is not None, base="/base")
    code = {**plan.package.files, ENTRY: BOOTSTRAP, ORDERS: json.dumps(orders).encode()}
    command = Command(code, ENTRY, packages=_packages(plan), threads=plan.threads, base=plan.base or {})
    ran = run_shut_in(command, plan.limits, plan.floor, channel, log=log)
    if ran.end != "ok":
        return Phase(ran, {}, {}, {}, desk.reason)
    evaluation = {name: as_numpy(array) for name, array in desk.evaluation.arrays.items()}
    return Phase(ran, desk.model.arrays, desk.metrics, evaluation, desk.reason)


def _train_and_evaluate(
    plan: RunPlan,
    log: Path | None,
    on_progress: OnProgress | None,
    on_checkpoint: OnCheckpoint | None,
    stop: Callable[[], bool] | None,
) -> Finished:
    trained = run_phase(plan, TRAINING, log=log, on_progress=on_progress, on_checkpoint=on_checkpoint, stop=stop)
    if trained.ran.end != "ok":
        return Finished(trained.ran, {}, trained.reason)
    try:
        adapter = weights_file(trained.model, plan.policy.declared)
    except Rejected as error:
        return Finished(trained.ran, {}, reason_of(error))
    if not plan.policy.metrics:
        return Finished(trained.ran, {ADAPTER: adapter})
    values = {name: tensor.values() for name, tensor in parse_tensors(adapter).tensors.items()}
    beside = None if log is None else log.with_name(f"{log.name}.evaluate")
    evaluated = run_phase(plan, EVALUATION, values, log=beside, on_progress=on_progress, stop=stop)
    ran = joined(trained.ran, evaluated.ran)
    if evaluated.ran.end != "ok":
        return Finished(ran, {}, evaluated.reason)
    figures = json.dumps({**trained.metrics, **evaluated.metrics})
    return Finished(ran, {ADAPTER: adapter, METRICS: figures.encode()})


def _still_granted(plan: RunPlan, finished: Finished) -> Finished:
    """A run that learned from what was withdrawn after its last request hands in nothing."""
    if finished.ran.end != "ok":
        return finished
    try:
        plan.data.check()
    except NotGranted as error:
        return Finished(replace(finished.ran, end="limit", limit="grant", results={}), {}, reason_of(error))
    return finished


def joined(first: Ran, second: Ran) -> Ran:
    """Two sandboxes of a run as one: times and attempts add, the weaker level counts, the end is the second's."""
    attempts = {
        name: first.attempts.get(name, 0) + second.attempts.get(name, 0)
        for name in sorted({*first.attempts, *second.attempts})
    }
    return replace(
        second,
        level=min(first.level, second.level, key=lambda level: _RANKS.index(level.name)),
        attempts=attempts,
        wall_s=first.wall_s + second.wall_s,
        cpu_s=first.cpu_s + second.cpu_s,
        peak_memory_bytes=max(first.peak_memory_bytes, second.peak_memory_bytes),
        log_bytes=first.log_bytes + second.log_bytes,
    )


_RANKS = ("none", "process", "sandbox", "confidential")


class _Desk:
    """Our side of both lines of one sandbox: answers requests, takes results."""

    def __init__(
        self,
        plan: RunPlan,
        loader: Loader,
        name: str,
        weights: Mapping[str, AnyArray] | None,
        on_checkpoint: OnCheckpoint | None,
    ) -> None:
        self.loader, self._name, self._on_checkpoint = loader, name, on_checkpoint
        self._handed = {} if weights is None else {"weights": portions(weights)}
        if name == "data" and plan.restored is not None:
            self._handed["restored"] = portions(unpack_arrays(plan.restored))
        self.model, self.evaluation, self._checkpoint = Collected(), Collected(), Collected()
        self._checkpoint_bytes, self._most_bytes, self._checkpoints = 0, plan.checkpoint_bytes, 0
        self.metrics: Mapping[str, float] = {}
        self.reason: Reason | None = None

    def serve(self, request: dict[str, Any]) -> Mapping[str, Any] | None:
        """Answer; what may not be asked ends the run as at a limit, and the reason is kept."""
        what = request.get("do")
        if isinstance(what, str) and what in self._handed:
            part, parts = request.get("part"), self._handed[what]
            if type(part) is not int or part < 0:
                raise self._end("request", Rejected("loader.bad_request", field="part"))
            return parts[part] if part < len(parts) else None
        if request.get("of") != self._name:
            raise self._end("request", Rejected("loader.bad_request", field="of"))
        try:
            return self.loader.serve(request)
        except NotGranted as error:
            raise self._end("grant", error) from error
        except Rejected as error:
            raise self._end("request", error) from error

    def take(self, name: str, result: Any) -> None:
        """Keep what came in."""
        if name == "metrics":
            self.metrics = result
        elif name == "model":
            self.model.add(result)
        elif name == "evaluation":
            self.evaluation.add(result)
        else:
            self._take_checkpoint(result)

    def _take_checkpoint(self, portion: Mapping[str, Array]) -> None:
        """An empty portion ends a checkpoint."""
        if portion:
            self._checkpoint_bytes += sum(len(array.content) for array in portion.values())
            if self._checkpoint_bytes > self._most_bytes:
                raise EndRun("output")
            self._checkpoint.add(portion)
            return
        self._checkpoints += 1
        if self._checkpoints > _CHECKPOINTS:
            raise EndRun("output")
        whole, self._checkpoint, self._checkpoint_bytes = self._checkpoint.arrays, Collected(), 0
        if self._on_checkpoint:
            self._on_checkpoint(pack_arrays(whole))

    def _end(self, limit: str, error: MalanError) -> EndRun:
        self.reason = reason_of(error)
        return EndRun(limit)


def _outputs(plan: RunPlan, trains: bool) -> dict[str, Output]:
    """What a sandbox may hand in. Twice the declared bytes, since floats may come wider than they are kept."""
    numbers = {"metrics": Output("numbers", _NUMBERS_BYTES)}
    if not trains:
        return {**numbers, "evaluation": Output("arrays", _EVALUATION_BYTES)}
    weights = 4 * plan.policy.declared.max_bytes + _HEADERS_BYTES
    checkpoints = _CHECKPOINTS * (plan.checkpoint_bytes + _HEADERS_BYTES)
    return {**numbers, "model": Output("arrays", weights), "checkpoint": Output("arrays", checkpoints)}


def _packages(plan: RunPlan) -> tuple[str, ...]:
    """NumPy always: data arrive as its arrays."""
    return tuple(dict.fromkeys(("numpy", *plan.package.environment.packages)))


def _shared_bytes(loader: Loader) -> int:
    """Pictures and sound go through shared memory; everything else is small enough for the line."""
    return _MOST_SHARED if {"frames", "audio"} & set(loader.deliver) else 0
