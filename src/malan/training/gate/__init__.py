"""The gate: nothing that a run wrote leaves; what leaves is written by us from numbers, measured and charged.

Start reading at `inspect_output`; docs/design/gate.md says what is covered and what is not.
"""

from malan.core.capacity import worst_case
from malan.training.gate.budget import reserve_output, settle_output
from malan.training.gate.declared import Declared
from malan.training.gate.gate import Policy, Trial, inspect_output
from malan.training.gate.intake import collect_outputs
from malan.training.gate.metrics import Metric
from malan.training.gate.receipt import Run, owner_receipt, party_receipt
from malan.training.gate.result import GateResult

__all__ = [
    "Declared",
    "GateResult",
    "Metric",
    "Policy",
    "Run",
    "Trial",
    "collect_outputs",
    "inspect_output",
    "owner_receipt",
    "party_receipt",
    "reserve_output",
    "settle_output",
    "worst_case",
]
