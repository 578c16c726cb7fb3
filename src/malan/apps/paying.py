"""What a run costs: told before it, billed once after it. Start reading at `quote` and `settle_run`."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING, Any

from malan.apps.frame import App, Expected, Foretells, Made, Request, Work
from malan.services.market.grants import get_grant
from malan.services.settlement.app_bills import Cost, bill_run, cost_of, describe_cost

if TYPE_CHECKING:
    pass


def expect(app: App[Any], request: Request, work: Work) -> Expected:
    """What a run will come to: as the app tells it, else the seconds and versions of its request."""
    if isinstance(app, Foretells):
        return app.expect(request, work)
    seconds, versions = getattr(request, "seconds", 0), max(1, int(getattr(request, "versions", 1)))
    is_plan = bool(getattr(request, "plan_only", False))
    return Expected(Fraction(0) if is_plan else Fraction(str(seconds)) * versions, 0 if is_plan else versions)


def cost_before(app: App[Any], expected: Expected) -> Cost:
    """The price of what is expected."""
    return cost_of(app.card.meter, expected.seconds, app.card.price_minor)


def settle_run(app: App[Any], made: Made, work: Work, run: str) -> dict[str, Any]:
    """Bill a run that ended well, once; what it cost, as the report tells it."""
    cost = cost_of(app.card.meter, seconds_of(made, work), app.card.price_minor)
    if work.workspace is None or not cost.amount:
        return describe_cost(cost) | {"charged_to": None}
    party = payer_of(work)
    bill = bill_run(
        work.workspace, run, app.card.name, cost, party_id=party, grant_id=work.caller.grant_id, models=work.models,
        caller=work.caller,
    )  # fmt: skip
    return describe_cost(bill) | {"bill": bill.id, "charged_to": bill.party_id or None}


def payer_of(work: Work) -> str:
    """The party that pays: whoever the grant is given to, else whoever asks; empty for this house itself."""
    if work.caller.grant_id:
        return get_grant(work.library, work.caller.grant_id, caller=work.caller).grant.party_id
    return work.caller.party_id or ""


def seconds_of(made: Made, work: Work) -> Fraction:
    """What is metered: what the app tells, else the published films and sounds, each as long as it lasts."""
    if made.seconds is not None:
        return made.seconds
    return sum((_length(one.path) for one in work.published), Fraction(0))


def _length(path: Path) -> Fraction:
    """Of pictures nothing: they last no time."""
    from malan.media.probe import probe

    return (
        Fraction(probe(path).duration or 0)
        if path.suffix.lower() not in (".jpg", ".jpeg", ".png", ".webp")
        else Fraction(0)
    )
