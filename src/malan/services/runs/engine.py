"""Carries a run out for real: its footage through the loader, its program in the sandbox, its result back for the gate.

Start reading at `prepare`.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from contextlib import ExitStack, suppress
from dataclasses import replace
from functools import cached_property
from math import isfinite
from pathlib import Path
from typing import TYPE_CHECKING, Any

from malan.core.decisions import Reason
from malan.core.errors import NotGranted
from malan.services.market.grants import grant_allows
from malan.services.runs import checks as run_checks
from malan.services.runs.bench import END_OK, Ended
from malan.services.runs.checks import Ready, Wish, check_run, missing_approvals
from malan.services.runs.folder import gate_secret
from malan.services.runs.footage import holdings_of
from malan.services.runs.memory import Asking, told_facts
from malan.services.runs.meter import GrantCounter
from malan.services.runs.rows import Run
from malan.training.gate import GateResult, Policy, Trial
from malan.training.gate.gate import ADAPTER, METRICS
from malan.training.loader import Allowed, Loader
from malan.training.running import Finished, RunPlan, make_trial, run_algorithm

if TYPE_CHECKING:
    from malan.workspace import Workspace

_DP = "recipe-dp"


def prepare(ws: Workspace, run: Run) -> Engine:
    """Check a run once more and make it ready.

    Raises:
        NotGranted: Something stands in its way now.
        UsageError, Rejected, NotFound, ProofError: It cannot be carried out.
    """
    ready = check_run(ws, Wish.of(run), counted=run.has_begun)
    run_checks.refuse(missing_approvals(ws, run))
    return Engine(ws, run, ready)


class Engine:
    """One run, checked and ready to begin."""

    def __init__(self, ws: Workspace, run: Run, ready: Ready) -> None:
        self._ws, self._run, self._ready = ws, run, ready

    @property
    def policy(self) -> Policy:
        return self._ready.policy

    @property
    def facts(self) -> Mapping[str, Any]:
        """What is known of the data, and of an adapter how strongly it is put in: its file does not tell."""
        declared = self._ready.policy.declared
        if declared.kind != "lora":
            return self._ready.chosen.facts()
        rank = min(next(slot.shape for slot in declared.slots.values() if slot.shape))
        return {**self._ready.chosen.facts(), "alpha": declared.scale * rank}

    def run(
        self,
        *,
        restored: bytes | None,
        log: Path,
        on_progress: Callable[[str, int], None],
        on_checkpoint: Callable[[bytes], None],
        stop: Callable[[], bool],
    ) -> Ended:
        """Train and evaluate in the sandbox.

        Raises:
            Rejected: The walls cannot be built, or are below the floor.
            RetryLater: What is left of the grant is held by others.
        """
        with ExitStack() as closing:
            plan = self._plan(closing, restored)
            hooks = {"on_progress": on_progress, "on_checkpoint": on_checkpoint, "stop": stop}
            return self._ended(run_algorithm(plan, log=log, **hooks))  # type: ignore[arg-type]

    def trial(self, stop: Callable[[], bool]) -> Trial:
        """The algorithm's own evaluation, once more, on what is held out."""
        return _Trial(self, stop)

    def opened(self, closing: ExitStack, *, recalls: bool = False) -> RunPlan:
        """The plan with its data open, until `closing` is left; `recalls`: also what it takes to ask what it learned by
        heart."""
        return self._plan(closing, None, recalls=recalls)

    def _plan(self, closing: ExitStack, restored: bytes | None, *, recalls: bool = False) -> RunPlan:
        ready = self._ready
        asking = self._asking()
        data = asking.planted()
        loaders = [self._loader(closing, holdings) for holdings in (data, asking.held_out)]
        window, sound = ready.request.window, ready.request.sound
        return RunPlan(
            package=ready.package,
            parameters=ready.parameters,
            seed=self._run.seed,
            data=loaders[0],
            held_out=loaders[1],
            policy=ready.policy,
            limits=ready.package.resources.limits(),
            floor=ready.floor,
            tier=self._run.tier,
            base=ready.base.files if ready.base is not None else None,
            restored=restored,
            facts={**ready.chosen.facts(), **told_facts(asking.measure, data)},
            recall=asking.recall(self._allowed, closing) if recalls else None,
            window={}
            if window is None
            else {"frames": window.frames, "size_px": window.size_px, "every": window.every},
            sound={} if sound is None else {"rate_hz": sound.rate_hz, "seconds": sound.seconds},
        )

    def _asking(self) -> Asking:
        """How this run is asked what it learned by heart; with no measure where the terms do not ask."""
        ready = self._ready
        is_asked = bool(ready.policy.needs & {"canaries", "frames"})
        return Asking(
            ready.package.memory if is_asked else "",
            *holdings_of(self._ws, ready.chosen, ready.request),
            request=ready.request,
            secret=gate_secret(self._ws),
            run_id=self._run.id,
            seed=self._run.seed,
        )

    def _loader(self, closing: ExitStack, holdings: Any) -> Loader:
        counter = GrantCounter(
            self._ws,
            run_id=self._run.id,
            grant_id=self._run.grant_id,
            snapshot_id=self._run.snapshot_id,
            owners=self._owners,
            allowed=self._check_grant,
        )
        loader = Loader(holdings, self._allowed, seed=self._run.seed, counter=counter)
        closing.callback(loader.close)
        return loader

    @cached_property
    def _owners(self) -> dict[str, str]:
        entries = (*self._ready.chosen.data, *self._ready.chosen.held_out)
        return {entry.clip.asset_id: entry.owner_id for entry in entries}

    @property
    def _allowed(self) -> Allowed:
        request = self._ready.request
        kinds = {"captions" if kind == "text" else kind for kind in request.deliver} | {"owner"}
        allowed = Allowed(frozenset(kinds))
        if request.window is not None:
            allowed = replace(allowed, frames=request.window.frames, size_px=request.window.size_px)
        if request.sound is not None:
            allowed = replace(allowed, rate_hz=request.sound.rate_hz, seconds=request.sound.seconds)
        return allowed

    def _check_grant(self) -> None:
        """Asked at every request: the grant is in force and still allows this use.

        About one asset only: which of them were taken back, the counter knows.
        """
        asset_id = next(iter(self._owners), None)
        asked = {"asset_id": asset_id, "party": self._run.party_id}
        decision = grant_allows(self._ws, self._run.grant_id, self._ready.use, **asked)
        reasons = [one for one in decision.reasons if one.code != "grant.asset_withdrawn"]
        if not decision.allowed and reasons:
            raise NotGranted("runs.refused", reasons=" ".join(one.text() for one in reasons), said=tuple(reasons))

    def _ended(self, finished: Finished) -> Ended:
        ran = finished.ran
        is_ok = ran.end == END_OK and bool(finished.files)
        epsilon, delta = self._privacy(finished) if is_ok else (None, None)
        reason = finished.reason
        if is_ok and self._run.tier == _DP and epsilon is None:
            is_ok, reason = False, Reason("runs.no_epsilon", (("algorithm", self._ready.package.reference),))
        return Ended(
            end=ran.end if is_ok or ran.end != END_OK else "failed",
            limit=ran.limit,
            level=ran.level.name,
            wall_s=ran.wall_s,
            cpu_s=ran.cpu_s,
            peak_memory_bytes=ran.peak_memory_bytes,
            attempts=ran.attempts,
            files=finished.files if is_ok else {},
            epsilon=epsilon,
            delta=delta,
            reason=reason,
        )

    def _privacy(self, finished: Finished) -> tuple[str | None, str | None]:
        """What bounds the influence of one clip, as our own recipe worked it out; None where it bounds nothing."""
        if self._run.tier != _DP:
            return None, None
        figures: dict[str, Any] = {}
        with suppress(KeyError, ValueError):
            figures = json.loads(finished.files[METRICS])
        said: list[Any] = [figures.get("epsilon"), figures.get("delta", self._ready.parameters.get("delta"))]
        if not all(type(one) in (int, float) and isfinite(one) and one > 0 for one in said):
            return None, None
        return f"{said[0]:.4g}", f"{said[1]:.4g}"


class _Trial:
    """The gate's trial, with the data open only while it is asked."""

    def __init__(self, engine: Engine, stop: Callable[[], bool]) -> None:
        self._engine, self._stop = engine, stop

    def effect(self, weights: Any) -> Any:
        """Outputs and losses of base and model, on what is held out."""
        with ExitStack() as closing:
            return make_trial(self._engine.opened(closing), stop=self._stop).effect(weights)

    def memory(self, weights: Any) -> Any:
        """What can be told of memorisation."""
        with ExitStack() as closing:
            return make_trial(self._engine.opened(closing, recalls=True), stop=self._stop).memory(weights)


def register(ws: Workspace, run: Run, result: GateResult, facts: Mapping[str, Any]) -> str:
    """Put the model of a run into the registry, with its line back; its id."""
    from malan.services.models.registry import register_model
    from malan.services.runs.algorithms import load_package

    package = load_package(ws, run.package_id)
    model = register_model(
        ws,
        result.release()[ADAPTER],
        name=str(run.asked.get("name") or f"{package.name}-{run.id[:6]}"),
        base_id=run.asked.get("base_id"),
        run={
            "id": run.id,
            "grant": run.grant_id,
            "party": run.party_id,
            "tier": run.tier,
            "isolation": run.ran.get("level", "none"),
            "algorithm": package.name,
            "version": package.version,
            "digest": package.digest,
            "parameters": dict(run.parameters),
            "facts": dict(facts),
            "seed": run.seed,
        },
        snapshot_id=run.snapshot_id,
        licence=_licence(ws, run),
        evaluation={"metrics": dict(result.metrics), **_gain(result)},
        card={
            "title": dict(package.title),
            "summary": dict(package.summary),
            "publisher": package.publisher,
            **({"alpha": facts["alpha"]} if "alpha" in facts else {}),
        },
        party_id=run.party_id,
    )
    return model.id


def _licence(ws: Workspace, run: Run) -> str:
    """Of the weights: that of the base, where there is one; else they are the buyer's under the agreement."""
    if base_id := run.asked.get("base_id"):
        from malan.services.models.rows import find_model

        return find_model(ws, base_id).licence
    return AGREED_LICENCE


AGREED_LICENCE = "LicenseRef-Malan-Agreement"


def _gain(result: GateResult) -> dict[str, Any]:
    """What the gate measured against the base, on the frozen held-out clips."""
    found = next((dict(step.evidence) for step in result.steps if step.name == "effect"), {})
    return {"effect": found} if found else {}
