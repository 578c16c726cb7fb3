"""What runs of apps cost: the meter of the card, once a run, in a table that is only added to and in the book.

    run ends ─▶ bill (named by the run) ─▶ book: customer:<party> ─▶ income:<app>
                                        └▶ charges for the owners of what the models it used were trained on

A run that failed has no bill; one that was taken up again has the one it would have had. What owners of footage earn
under a grant is counted by the meter and settled beside it. Start reading at `bill_run`.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, fields
from fractions import Fraction
from typing import TYPE_CHECKING, Any

from sqlalchemy import CheckConstraint, Column, Engine, Index, MetaData, String, Table, select

from malan.core.errors import NotFound, Rejected, UsageError
from malan.core.ids import digest_record
from malan.rights import ledgerbook
from malan.rights.ledgerbook import Posting, post
from malan.rights.meter_tables import NUMBER
from malan.rights.usage import MICROSECONDS
from malan.runtime.database import add_new, ensure_tables, keep_forever, reading, writing
from malan.services.access import ALL, HOUSE, Caller, require, scope
from malan.services.settlement.metering import now_us

if TYPE_CHECKING:
    from malan.workspace import Workspace

CURRENCY = "CNY"
UNITS = {"output_second": MICROSECONDS, "input_minute": 60 * MICROSECONDS, "run": 1}
"""What can be metered, and how many of the amounts kept here (microseconds, or runs) make one."""

METADATA = MetaData()
BILLS = Table(
    "app_bills",
    METADATA,
    Column("id", String, primary_key=True),  # digest of the run: the same run is billed once
    Column("run", String, nullable=False),
    Column("party_id", String, nullable=False),  # empty: this house itself, which owes nobody
    Column("app", String, nullable=False),
    Column("meter", String, nullable=False),
    Column("amount", NUMBER, nullable=False),
    Column("price_minor", NUMBER, nullable=False),
    Column("gross_minor", NUMBER, nullable=False),
    Column("currency", String, nullable=False),
    Column("grant_id", String, nullable=False),
    Column("at_us", NUMBER, nullable=False),
    CheckConstraint("amount >= 0 AND price_minor >= 0 AND gross_minor >= 0", name="app_bill_amount"),
    Index("app_bills_by_party", "party_id", "at_us"),
)
keep_forever(BILLS)


@dataclass(frozen=True, slots=True)
class Bill:
    """What one run cost."""

    id: str
    run: str
    party_id: str
    app: str
    meter: str
    amount: int
    price_minor: int
    gross_minor: int
    currency: str
    grant_id: str
    at_us: int


@dataclass(frozen=True, slots=True)
class Cost:
    """An amount of a meter and its price."""

    meter: str
    amount: int  # microseconds, or runs
    price_minor: int  # of one unit

    @property
    def gross_minor(self) -> int:
        """In the smallest unit of the currency, rounded down once."""
        return self.amount * self.price_minor // UNITS[self.meter]

    @property
    def units(self) -> Fraction:
        """How many seconds, minutes or runs."""
        return Fraction(self.amount, UNITS[self.meter])


def cost_of(meter: str, seconds: Fraction, price_minor: int) -> Cost:
    """What a length costs by a meter; a meter of runs counts one whatever the length.

    Raises:
        UsageError: No such meter, or an impossible length.
    """
    if meter not in UNITS or seconds < 0:
        raise UsageError("app.bill.bad_meter", meter=meter[:40], known=", ".join(UNITS))
    return Cost(meter, 1 if meter == "run" else round(seconds * MICROSECONDS), price_minor)


def bill_run(
    ws: Workspace, run: str, app: str, cost: Cost, *, party_id: str = "", grant_id: str = "",
    models: Sequence[str] = (), at_us: int | None = None, caller: Caller = HOUSE,
) -> Bill:  # fmt: skip
    """Note what a run cost; the same run again is the same bill, whatever is said of it then.

    Args:
        run: Names the run.
        cost: What was counted.
        party_id: Who owes it. Empty: this house, whose runs are counted and owed to nobody.
        grant_id: The grant it ran under.
        models: The models it used: the share of the price in `model_share` is charged for those who trained them.
        caller: On whose behalf.
    """
    require(caller, "app.run")
    bill_id = digest_record("app.bill", [run])
    at = now_us() if at_us is None else at_us
    row = {
        "id": bill_id, "run": run, "party_id": party_id, "app": app, "meter": cost.meter, "amount": cost.amount,
        "price_minor": cost.price_minor, "gross_minor": cost.gross_minor, "currency": CURRENCY, "grant_id": grant_id,
        "at_us": at,
    }  # fmt: skip
    with writing(_tables(ws), durable=True) as connection:
        if add_new(connection, BILLS, row) and party_id and cost.gross_minor:
            owed = Posting(f"customer:{party_id}", f"income:{app}", CURRENCY, cost.gross_minor)
            post(connection, f"app:{bill_id}", "app", run, at, [owed])
        stands = Bill(**connection.execute(select(BILLS).where(BILLS.c.id == bill_id)).mappings().one())
    _pay_models(ws, stands, models)
    return stands


def list_bills(ws: Workspace, *, limit: int = 200, caller: Caller = HOUSE) -> list[Bill]:
    """The bills of the caller (to operators and auditors, all), the latest first."""
    query = select(BILLS).order_by(BILLS.c.at_us.desc(), BILLS.c.id).limit(limit)
    if scope(caller, "statements") != ALL:
        require(caller, "app.see")
        query = query.where(BILLS.c.party_id == (caller.party_id or "-"))
    with reading(_tables(ws)) as connection:
        return [Bill(**row) for row in connection.execute(query).mappings()]


def describe_cost(cost: Cost | Bill) -> dict[str, Any]:
    """A cost as JSON: what was counted and what it comes to, in the smallest unit of the currency."""
    units = Fraction(cost.amount, UNITS[cost.meter])
    return {
        "meter": cost.meter, "units": round(float(units), 3), "price_minor": cost.price_minor,
        "minor": cost.gross_minor, "currency": CURRENCY,
    }  # fmt: skip


def describe_bill(bill: Bill) -> dict[str, Any]:
    """A bill as JSON."""
    return {field.name: getattr(bill, field.name) for field in fields(Bill)} | describe_cost(bill)


def _pay_models(ws: Workspace, bill: Bill, models: Sequence[str]) -> None:
    """What those get whose footage the models were trained on: charges under the grants of the trainings."""
    share = bill.gross_minor * min(100, ws.settings.model_share) // 100 if bill.party_id else 0
    if not share or not models:
        return
    from malan.services.models.royalties import charge_trained

    with suppress(NotFound, Rejected):  # nobody's footage is in them
        charge_trained(ws, sorted(set(models)), share, CURRENCY, key=f"app:{bill.id[:32]}", at_us=bill.at_us)


def _tables(ws: Workspace) -> Engine:
    for metadata in (METADATA, ledgerbook.METADATA):
        ensure_tables(ws.database, metadata)
    return ws.database
