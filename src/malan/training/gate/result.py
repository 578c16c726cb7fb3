"""What the gate answers: passed, held or refused, step by step, with reasons for the owner and for the buyer.

    inspect ─▶ passed ───────────────────────▶ released
          ├──▶ held ─ approve (a person) ─▶ passed
          │       └── decline (a person) ─▶ refused
          └──▶ refused (for good)

The owner reads every value. The buyer reads one of a fixed list of sentences without values, for a value is a message.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from malan.core.decisions import Reason
from malan.core.errors import MalanError, NotGranted, Rejected

PASSED, HELD, REFUSED = STATES = ("passed", "held", "refused")
STEPS = ("collect", "parse", "match", "finite", "norms", "rewrite", "metrics", "effect", "memory", "owner")
FINE, FLAGGED, FAILED = "fine", "flagged", "failed"


@dataclass(frozen=True, slots=True)
class Step:
    """One step of the gate: how it ended, why, and what was measured (whole numbers and texts)."""

    name: str
    outcome: str
    reason: Reason
    evidence: Mapping[str, int | str] = field(default_factory=dict)


@dataclass(frozen=True)
class GateResult:
    """The answer for one run. `files` is what would leave; `decided_by` is the person who settled what was held."""

    state: str
    steps: tuple[Step, ...]
    files: Mapping[str, bytes] = field(default_factory=dict)
    metrics: Mapping[str, str] = field(default_factory=dict)
    decided_by: str | None = None

    @property
    def reasons(self) -> tuple[Reason, ...]:
        """For the owner: everything that did not go well, or that all went well."""
        return tuple(step.reason for step in self.steps if step.outcome != FINE) or (Reason("gate.all_fine"),)

    @property
    def party_reasons(self) -> tuple[Reason, ...]:
        """For the buyer: one sentence of a fixed list for each step that did not go well; no values."""
        troubled = [step for step in self.steps if step.outcome != FINE]
        if self.state == PASSED or not troubled:
            return (Reason(f"gate.state.{self.state}"),)
        return tuple(_told(step) for step in troubled)

    def release(self) -> Mapping[str, bytes]:
        """What leaves, by name.

        Raises:
            NotGranted: It did not pass.
        """
        if self.state != PASSED:
            raise NotGranted("gate.not_passed", state=self.state)
        return self.files


def approve(result: GateResult, person_id: str) -> GateResult:
    """The same result, passed by a person of the owner's.

    Raises:
        Rejected: It is not held: what the gate refused no person lets through.
    """
    return _decided(result, PASSED, person_id)


def decline(result: GateResult, person_id: str) -> GateResult:
    """The same result, refused by a person; nothing of it leaves any more.

    Raises:
        Rejected: It is not held.
    """
    step = Step("owner", FAILED, Reason("gate.declined", (("person", person_id[:12]),)))
    declined = _decided(result, REFUSED, person_id)
    return replace(declined, steps=(*declined.steps, step), files={}, metrics={})


def failed(step: str, error: MalanError) -> Step:
    """A step that ended with an error: its reason is the error's, value by value."""
    return Step(step, FAILED, reason_of(error))


def reason_of(error: MalanError) -> Reason:
    return Reason(error.code, tuple((name, str(value)) for name, value in error.values.items()))


def _told(step: Step) -> Reason:
    """The sentence for the buyer: a model that learned by heart is held or refused, as was agreed."""
    is_refused = step.name == "memory" and step.outcome == FAILED
    return Reason("gate.party.remembers" if is_refused else f"gate.party.{step.name}")


def state_of(steps: tuple[Step, ...]) -> str:
    """One failure refuses, one flag holds."""
    outcomes = {step.outcome for step in steps}
    return REFUSED if FAILED in outcomes else HELD if FLAGGED in outcomes else PASSED


def _decided(result: GateResult, state: str, person_id: str) -> GateResult:
    if result.state != HELD:
        raise Rejected("gate.not_held", state=result.state)
    return replace(result, state=state, decided_by=person_id)
