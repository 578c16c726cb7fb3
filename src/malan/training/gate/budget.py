"""One output budget in bytes for a whole contract: every run draws on it, also those of which nothing leaves.

    before the run: reserve the most it could put out ─▶ after: consume what left, give back the rest

A run that is refused still says something: that it was refused, how, after how many minutes. `OUTCOME_BYTES` pays for
it, so that many small runs are no way around. The counting itself is the meter's; here it is a protocol.
"""

from __future__ import annotations

from typing import Any, Protocol

from malan.training.gate.gate import Policy
from malan.training.gate.metrics import MOST_BYTES
from malan.training.gate.result import PASSED, GateResult

OUTCOME_BYTES = 64  # state, sentences of a fixed list, minutes, seconds used, what was charged: under 20, and a margin


class OutputAccount(Protocol):
    """The account of one grant in bytes that left. The meter's unit `output_bytes` fits, bound to its grant."""

    def reserve(self, amount: int, key: str) -> Any:
        """Hold an amount; the same key is the same hold. Raises `NotGranted` when too little is left."""
        ...

    def consume(self, hold: Any, amount: int, *, key: str) -> bool:
        """Count what left, once for a key."""
        ...

    def release(self, hold: Any) -> int:
        """Give back what was not used."""
        ...


def most_of(policy: Policy) -> int:
    """The most that one run under a policy is charged."""
    return policy.declared.needed_bytes + (MOST_BYTES if policy.metrics else 0) + OUTCOME_BYTES


def charge_of(result: GateResult) -> int:
    """What a result is charged: every byte that leaves, and the outcome itself."""
    released = sum(len(data) for data in result.files.values()) if result.state == PASSED else 0
    return released + OUTCOME_BYTES


def reserve_output(account: OutputAccount, policy: Policy, run_id: str) -> Any:
    """Hold the most a run could put out, before it starts.

    Raises:
        NotGranted: The contract's budget does not cover one more run of this kind.
        RetryLater: It would, but other runs hold it.
    """
    return account.reserve(most_of(policy), f"output:{run_id}")


def settle_output(account: OutputAccount, hold: Any, result: GateResult, run_id: str) -> int:
    """Charge a result and give back the rest; what was charged. Called before anything is handed over.

    Settled twice, it is charged once. A held result is charged its outcome now and its bytes when it is approved, from
    a hold of its own (`approved:<run>`).
    """
    charged = charge_of(result)
    account.consume(hold, charged, key=f"output:{run_id}")
    account.release(hold)
    return charged
