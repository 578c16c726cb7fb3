"""The gate: what a run left is read, compared, rewritten, measured, and only then may leave.

    files ─ parse ─ match ─ finite ─ norms ─ rewrite ─ metrics ─ effect ─ memory ─ owner ─▶ passed · held · refused

No byte that the run wrote leaves: what leaves is written by us from numbers. The first failure ends it. What the
agreement asks to be measured and nobody measured holds the result. Start reading at `inspect_output`; what is
guaranteed and what is not stands in docs/design/gate.md.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Protocol

from numpy.linalg import LinAlgError

from malan.core.decisions import Reason
from malan.core.errors import Rejected, UsageError
from malan.inference.tensors import SIGNIFICANT_BITS, Tensor, digest_tensors, parse_tensors, write_tensors
from malan.training.gate.checks import check_finite, check_norms
from malan.training.gate.declared import Declared, check_match
from malan.training.gate.effect import Effect, check_effect
from malan.training.gate.memorisation import Exposure, Nearest
from malan.training.gate.metrics import MOST_BYTES, Metric, check_allowed, read_metrics, three_digits, write_metrics
from malan.training.gate.result import (
    FAILED,
    FINE,
    FLAGGED,
    REFUSED,
    STEPS,
    GateResult,
    Step,
    failed,
    state_of,
)
from malan.training.gate.rewrite import Rewritten, Rounding, rewrite, seed_of

NEEDS = frozenset({"effect", "canaries", "frames"})
ADAPTER, METRICS = "adapter.safetensors", "metrics.json"


@dataclass(frozen=True, slots=True)
class Memory:
    """What was measured of memorisation; None where the agreement does not ask for it."""

    canaries: Exposure | None = None
    frames: Nearest | None = None


class Trial(Protocol):
    """Runs the model as it will leave: the weights the buyer gets, not those the run wrote."""

    def effect(self, weights: Mapping[str, Tensor]) -> Effect:
        """Outputs and held-out losses of base and model."""
        ...

    def memory(self, weights: Mapping[str, Tensor]) -> Memory:
        """Losses on canaries, descriptors of generations, as far as they can be had."""
        ...


@dataclass(frozen=True)
class Policy:
    """What an agreement asks of an output.

    Args:
        declared: The architecture.
        metrics: The figures that may leave; none means that no file of figures is read.
        rounding: What the rewrite keeps.
        most_error: The largest relative change of a module by the rewrite.
        needs: Which of `effect`, `canaries`, `frames` must be measured.
        least_gain: Held-out gain over the base, relative, that must be exceeded.
        most_chance: Canaries ranked less likely than this by chance are remembered …
        most_known: … where more than this share of the loss on their like is gone on them.
        most_copied: Share of generations that may be nearer to footage than chance.
        refuses_memory: What is remembered or copied refuses the result; otherwise the owner decides.
        is_held: The owner looks at every result.

    Raises:
        UsageError: A need that nothing here measures, more bits than a type holds, a limit that is no number, too many
            figures or one twice.
    """

    declared: Declared
    metrics: tuple[Metric, ...] = ()
    rounding: Rounding = field(default_factory=Rounding)
    most_error: float = 0.1
    needs: frozenset[str] = frozenset({"effect"})
    least_gain: float = 0.0
    most_chance: float = 1e-3
    most_known: float = 0.0
    most_copied: float = 0.05
    refuses_memory: bool = False
    is_held: bool = False

    def __post_init__(self) -> None:
        if unknown := self.needs - NEEDS:
            raise UsageError("gate.bad_needs", unknown=", ".join(sorted(unknown))[:80], known=", ".join(sorted(NEEDS)))
        for slot in self.declared.slots.values():
            if self.rounding.bits > SIGNIFICANT_BITS[slot.dtype]:
                raise UsageError("gate.too_many_bits", bits=self.rounding.bits, dtype=slot.dtype)
        if not all(
            map(math.isfinite, (self.most_error, self.least_gain, self.most_chance, self.most_known, self.most_copied))
        ):
            raise UsageError("gate.bad_limits")
        check_allowed(self.metrics)

    @property
    def file_limits(self) -> dict[str, int]:
        """The closed list for `collect_outputs`: what is read at all, and how much of it."""
        figures = {METRICS: MOST_BYTES} if self.metrics else {}
        return {ADAPTER: self.declared.limits.file_bytes, **figures}


def inspect_output(files: Mapping[str, bytes], policy: Policy, secret: bytes, trial: Trial | None = None) -> GateResult:
    """Whether an output may leave, and as what.

    The same files, policy and secret give the same answer and the same bytes.

    Args:
        files: What `collect_outputs` took; a name that is not on the list refuses.
        policy: What was agreed on.
        secret: Ours, 32 bytes or more; the lots of the rewrite follow from it and from the file.
        trial: Measures effect and memory; None where nothing can run the model.

    Returns:
        Passed, held or refused. What cannot be judged is refused: nothing of a file can make this raise.
    """
    inspection = _Inspection(files, policy, secret, trial)
    steps: list[Step] = []
    for name, step in inspection.plan():
        try:
            steps.extend(step())
        except (Rejected, UsageError) as error:
            return GateResult(REFUSED, (*steps, failed(name, error)))
        except LinAlgError:
            return GateResult(REFUSED, (*steps, Step(name, FAILED, Reason("gate.numbers"))))
    state = state_of(tuple(steps))
    if state == REFUSED:
        return GateResult(REFUSED, tuple(steps))
    return GateResult(state, tuple(steps), inspection.released(), inspection.figures)


class _Inspection:
    """One walk through the steps; each leaves what the next ones need."""

    def __init__(self, files: Mapping[str, bytes], policy: Policy, secret: bytes, trial: Trial | None) -> None:
        self._files, self._policy, self._secret, self._trial = files, policy, secret, trial
        self._old: Mapping[str, Tensor] = {}
        self._new: Mapping[str, Tensor] = {}
        self.figures: Mapping[str, str] = {}

    def plan(self) -> list[tuple[str, Callable[[], list[Step]]]]:
        return [(name, getattr(self, name)) for name in STEPS]

    def collect(self) -> list[Step]:
        _check_list(self._files, self._policy)
        return [_fine("collect", files=len(self._files))]

    def parse(self) -> list[Step]:
        parsed = parse_tensors(self._files[ADAPTER], self._policy.declared.limits)
        self._old = parsed.tensors
        counts = {"tensors": len(parsed.tensors), "metadata": len(parsed.metadata)}
        return [_fine("parse", size_bytes=parsed.size_bytes, **counts)]

    def match(self) -> list[Step]:
        check_match(self._old, self._policy.declared)
        return [_fine("match", declared=self._policy.declared.digest)]

    def finite(self) -> list[Step]:
        check_finite(self._old)
        return [_fine("finite")]

    def norms(self) -> list[Step]:
        return [_fine("norms", largest=three_digits(check_norms(self._old, self._policy.declared)))]

    def rewrite(self) -> list[Step]:
        seed = seed_of(self._secret, digest_tensors(self._old.values()))
        new, most = (
            rewrite(self._old, self._policy.rounding, seed, self._policy.declared.fixed),
            self._policy.most_error,
        )
        if not new.error <= most:
            raise Rejected("gate.rewrite_error", error=f"{new.error:.3g}", most=f"{most:.3g}")
        self._new = new.tensors
        return [_fine("rewrite", **_told_rewrite(new, self._policy.rounding))]

    def metrics(self) -> list[Step]:
        if self._policy.metrics:
            self.figures = read_metrics(self._files[METRICS], self._policy.metrics)
        return [_fine("metrics", figures=len(self.figures))]

    def effect(self) -> list[Step]:
        if "effect" not in self._policy.needs:
            return [_fine("effect", measured="no")]
        if self._trial is None:
            return [_unmeasured("effect", "effect")]
        gain = check_effect(self._trial.effect(self._new), least_gain=self._policy.least_gain)
        figures = {"changed": three_digits(gain.changed), "gain": three_digits(gain.gain), "z": _told(gain.z)}
        return [_fine("effect", **figures)]

    def memory(self) -> list[Step]:
        wanted = sorted(self._policy.needs & {"canaries", "frames"})
        if not wanted:
            return [_fine("memory", measured="no")]
        memory = self._trial.memory(self._new) if self._trial else Memory()
        told = {"canaries": _canaries, "frames": _frames}
        return [told[what](memory, self._policy) for what in wanted]

    def owner(self) -> list[Step]:
        held = Step("owner", FLAGGED, Reason("gate.owner_looks"))
        return [held] if self._policy.is_held else [_fine("owner")]

    def released(self) -> dict[str, bytes]:
        """The files that leave: written by us, from numbers."""
        metadata = {"format": "pt", "malan.declared": self._policy.declared.digest, "malan.rewritten": "1"}
        files = {ADAPTER: write_tensors(self._new.values(), metadata)}
        return {**files, METRICS: write_metrics(self.figures)} if self._policy.metrics else files


def _check_list(files: Mapping[str, bytes], policy: Policy) -> None:
    if extra := len(files.keys() - policy.file_limits.keys()):
        raise Rejected("gate.extra_files", extra=extra)
    if missing := sorted(policy.file_limits.keys() - files.keys()):
        raise Rejected("gate.missing_file", name=missing[0])


def _told_rewrite(new: Rewritten, rounding: Rounding) -> dict[str, int | str]:
    return {
        "error": three_digits(new.error),
        "bits": rounding.bits,
        "noise": three_digits(rounding.noise),
        "dropped": new.dropped,
        "ceiling_bytes": new.ceiling_bytes,
    }


def _unmeasured(step: str, what: str) -> Step:
    """What was agreed on and nobody measured is for the owner to decide."""
    return Step(step, FLAGGED, Reason("gate.not_measured", (("what", what),)))


def _canaries(memory: Memory, policy: Policy) -> Step:
    found = memory.canaries
    if found is None:
        return _unmeasured("memory", "canaries")
    evidence: dict[str, int | str] = {
        "canaries": len(found.ranks),
        "bits": three_digits(max(found.bits)),
        "known": three_digits(found.known),
        "chance": three_digits(found.chance),
    }
    if found.is_remembered(policy.most_chance, policy.most_known):
        values = (("bits", evidence["bits"]), ("ceiling", f"{found.ceiling:.3g}"), ("chance", evidence["chance"]))
        return _remembered(policy, Reason("gate.canaries", tuple((k, str(v)) for k, v in values)), evidence)
    return _fine("memory", **evidence)


def _frames(memory: Memory, policy: Policy) -> Step:
    found = memory.frames
    if found is None:
        return _unmeasured("memory", "frames")
    copied = int(found.copied.sum())
    evidence: dict[str, int | str] = {
        "generations": len(found.copied),
        "copied": copied,
        "nearest": three_digits(float(found.similarity.max())),
        "threshold": three_digits(found.threshold),
    }
    if found.share > policy.most_copied:
        values = (("copied", str(copied)), ("generations", str(len(found.copied))))
        return _remembered(policy, Reason("gate.copied", values), evidence)
    return _fine("memory", **evidence)


def _remembered(policy: Policy, reason: Reason, evidence: dict[str, int | str]) -> Step:
    """For the owner to decide, or the end of it, as was agreed."""
    return Step("memory", FAILED if policy.refuses_memory else FLAGGED, reason, evidence)


def _fine(name: str, **evidence: int | str) -> Step:
    return Step(name, FINE, Reason(f"gate.fine.{name}"), evidence)


def _told(z: float) -> str:
    return three_digits(z) if abs(z) < 1e6 else "large"
