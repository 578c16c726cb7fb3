"""The receipt of a run: what went in, what came out, what it used, how it was judged. Canonical JSON, ready to sign.

There are two copies. The owner's holds every measured value. The buyer's holds nothing that the run could shape beyond
what it was charged for: no digest of the raw file (a guess could be confirmed with it), no norms, no exact times.
Start reading at `owner_receipt` and `party_receipt`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from malan.core.canonical import canonical_json
from malan.core.catalogue import LANGUAGES
from malan.core.decisions import Reason
from malan.core.errors import UsageError
from malan.core.ids import digest_bytes
from malan.core.tiers import TIERS
from malan.training.gate.result import FINE, PASSED, GateResult

FORMAT = "malan.gate.receipt.v1"
ISOLATIONS = ("none", "process", "sandbox", "confidential")
OUTCOMES = ("ok", "failed", "limit")
_MINUTE_S = 60
_LIMIT_STATUSES = frozenset({124, 137, 152, 153, -9, -24, -25})  # timeout; SIGKILL, SIGXCPU, SIGXFSZ


@dataclass(frozen=True)
class Run:
    """The run that is certified, told by those who ran it, never by itself.

    Args:
        run_id, grant_id, snapshot_id, code_digest, base_model_id: What was run on what, and under which grant.
        tier: Who trained: `recipe`, `recipe-dp` or `code`.
        isolation: The level that was measured, not the one that was wished for.
        exit_status: As the system told it; only one of three words of it is told on.
        wall_s: How long it ran; told on in whole minutes, rounded up.
        microseconds_by_owner: What the meter counted for each owner's footage.
        epsilon, delta: Of differential privacy, decimal texts; None without.
    """

    run_id: str
    grant_id: str
    snapshot_id: str
    code_digest: str
    base_model_id: str | None
    tier: str
    isolation: str
    exit_status: int = 0
    wall_s: float = 0.0
    microseconds_by_owner: Mapping[str, int] = field(default_factory=dict)
    epsilon: str | None = None
    delta: str | None = None

    def __post_init__(self) -> None:
        if self.tier not in TIERS or self.isolation not in ISOLATIONS:
            raise UsageError("gate.bad_run", tier=self.tier[:20], isolation=self.isolation[:20])
        if (self.tier == "recipe-dp") != (self.epsilon is not None):
            raise UsageError("gate.epsilon", tier=self.tier)

    @property
    def outcome(self) -> str:
        return outcome_of(self.exit_status)

    @property
    def minutes(self) -> int:
        return minutes_of(self.wall_s)


def outcome_of(exit_status: int) -> str:
    """One of three words for an exit status: a status of the run's choosing says eight bits, this at most two."""
    return "ok" if exit_status == 0 else "limit" if exit_status in _LIMIT_STATUSES else "failed"


def minutes_of(wall_s: float) -> int:
    """Whole minutes, rounded up, at least one: how long a run takes is a message too."""
    return max(1, -int(-wall_s // _MINUTE_S))


def owner_receipt(run: Run, result: GateResult, charged_bytes: int) -> bytes:
    """The owner's copy: every step with what it measured, and the reasons in both languages."""
    steps = [
        {"evidence": dict(step.evidence), "outcome": step.outcome, "step": step.name, "why": _said([step.reason])[0]}
        for step in result.steps
    ]
    more: dict[str, Any] = {
        "steps": steps,
        "decided_by": result.decided_by,
        "seconds": dict(run.microseconds_by_owner),
        "memorisation": _memory_figures(result),
    }
    return canonical_json({**_common(run, result, charged_bytes), **more, "copy": "owner"})


def party_receipt(run: Run, result: GateResult, charged_bytes: int) -> bytes:
    """The buyer's copy: identity, outcome, what leaves, what it cost, and sentences of a fixed list."""
    used = sum(run.microseconds_by_owner.values())
    more = {"reasons": _said(result.party_reasons), "seconds_used": -(-used // 1_000_000)}
    more |= {"memorisation": _memory_word(result)}
    return canonical_json({**_common(run, result, charged_bytes), **more, "copy": "party"})


def _common(run: Run, result: GateResult, charged_bytes: int) -> dict[str, Any]:
    files = result.files if result.state == PASSED else {}
    return {
        "format": FORMAT,
        "run": run.run_id,
        "grant": run.grant_id,
        "snapshot": run.snapshot_id,
        "code": run.code_digest,
        "base_model": run.base_model_id,
        "tier": run.tier,
        "isolation": run.isolation,
        "epsilon": run.epsilon,
        "delta": run.delta,
        "outcome": run.outcome,
        "minutes": run.minutes,
        "state": result.state,
        "metrics": dict(result.metrics) if files else {},
        "files": {name: {"sha256": digest_bytes(data), "size_bytes": len(data)} for name, data in files.items()},
        "charged_bytes": charged_bytes,
    }


def _memory_word(result: GateResult) -> str:
    """One of five words for the buyer: no figure of it leaves, for a figure could be worked towards."""
    steps = [step for step in result.steps if step.name == "memory"]
    if not steps:
        return "not-reached"
    if any(step.outcome != FINE for step in steps):
        is_missing = all(step.reason.code == "gate.not_measured" for step in steps if step.outcome != FINE)
        return "not-measured" if is_missing else "found"
    return "not-asked" if steps[0].evidence.get("measured") == "no" else "nothing-found"


def _memory_figures(result: GateResult) -> dict[str, int | str]:
    """The same for the owner, with what was measured: fixed names, three digits."""
    figures: dict[str, int | str] = {"outcome": _memory_word(result)}
    for step in result.steps:
        if step.name == "memory":
            figures |= {name: value for name, value in step.evidence.items() if name != "measured"}
    return figures


def _said(reasons: list[Reason] | tuple[Reason, ...]) -> list[dict[str, str]]:
    return [{"code": reason.code, **{lang: reason.text(lang) for lang in LANGUAGES}} for reason in reasons]
