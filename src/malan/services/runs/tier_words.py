"""What each way of training guarantees and what not, and what the output budget could carry at worst: for people.

Start reading at `describe_tiers`.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from malan.core.capacity import worst_case
from malan.core.tiers import TIERS, tier_statement
from malan.rights.decide import DEFAULT_TIERS
from malan.services.access import HOUSE, Caller
from malan.services.market.grants import get_grant

if TYPE_CHECKING:
    from malan.workspace import Workspace


def describe_tiers(tiers: Sequence[str] = TIERS, output_bytes: int | None = None) -> dict[str, Any]:
    """The statements of some tiers in each language, with the worst case of an output budget where there is one.

    Raises:
        UsageError: No such tier, or no such budget.
    """
    worst = None if output_bytes is None else worst_case(output_bytes)
    return {
        "tiers": [tier_statement(tier).as_record() for tier in tiers],
        "worst_case": None if worst is None else worst.as_record() | {"statement": dict(worst.statement())},
    }


def tiers_of_grant(ws: Workspace, grant: str, *, caller: Caller = HOUSE) -> dict[str, Any]:
    """The same for what a grant allows.

    Raises:
        NotFound: There is none that the caller has or has given.
    """
    terms = get_grant(ws, grant, caller=caller).signed.agreement.terms
    return describe_tiers(terms.tiers or DEFAULT_TIERS, terms.limits.get("output_bytes"))
