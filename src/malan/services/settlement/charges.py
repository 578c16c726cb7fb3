"""What buyers owe: charges under grants, and prices by which use becomes a charge. Payment itself happens elsewhere.

Start reading at `charge`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from sqlalchemy import Connection, Engine, Select, exists, func, literal, select, union

from malan.core.errors import NotFound, Rejected, UsageError
from malan.core.ids import digest_record
from malan.ledger.statement import urn
from malan.rights import ledgerbook
from malan.rights.meter import OUTPUTS
from malan.rights.meter_tables import DELIVERIES, RESERVATIONS, USAGE
from malan.rights.shares import check_currency, check_money
from malan.rights.statement import BY_WORK, KINDS, Charge, checked_charge
from malan.rights.usage import WORKS, check_amount, check_id
from malan.runtime.database import add_new, ensure_tables, reading, writing
from malan.services.access import HOUSE, Caller, require
from malan.services.journal import events_about, read_event
from malan.services.settlement.metering import meter, now_us
from malan.services.settlement.tables import CHARGES, METADATA, OUTPUT_PRICES, PRICES

if TYPE_CHECKING:
    from malan.workspace import Workspace

_MOST_PRICE = 5  # of the smallest unit a clip-microsecond: 50,000 yuan a second


def charge(
    ws: Workspace,
    grant_id: str,
    gross_minor: int,
    currency: str,
    *,
    key: str,
    kind: str = "fee",
    about: str = "",
    at_us: int | None = None,
    caller: Caller = HOUSE,
) -> Charge:
    """Note that money is owed under a grant; the next settlement divides it. The same key again is the same charge.

    Args:
        gross_minor: The amount, in the smallest unit of the currency.
        kind: `fee` for the grant as a whole, `output` for a film (`about="output:…"`), `model` for the use of a model
            (`about="model:…"`, divided as the footage was used in its training).
        at_us: When it fell due; now, unless said otherwise.

    Raises:
        UsageError: An impossible amount, kind or currency, or another currency than the grant's.
        NotFound: The ledger does not say in which run the model was trained.
        Rejected: The key was used for another charge.
    """
    require(caller, "settle")
    check_id("grant", grant_id)
    check_id("key", key)
    work = _work(ws, kind, about)
    charge_id = digest_record("charge", [grant_id, key])
    due_us = now_us() if at_us is None else at_us
    made = checked_charge(Charge(charge_id, grant_id, kind, work, gross_minor, currency, due_us))
    with writing(settlement_tables(ws), durable=True) as connection:
        check_one_currency(connection, grant_id, currency)
        return keep_charge(connection, made, key)


def set_price(ws: Workspace, grant_id: str, minor: int, per_us: int, currency: str) -> None:
    """Have what is used under a grant cost `minor` for each `per_us` clip-microseconds, rounded down once a period.

    Raises:
        UsageError: An impossible price, or another currency than the grant's.
        Rejected: The grant has another price; the price of an agreement does not change.
    """
    check_id("grant", grant_id)
    check_amount("per_us", per_us)
    check_money(minor, _MOST_PRICE * per_us)
    check_currency(currency)
    row = {"grant_id": grant_id, "minor": minor, "per_us": per_us, "currency": currency}
    with writing(settlement_tables(ws), durable=True) as connection:
        check_one_currency(connection, grant_id, currency)
        add_new(connection, PRICES, row)
        if dict(connection.execute(select(PRICES).where(PRICES.c.grant_id == grant_id)).mappings().one()) != row:
            raise Rejected("settle.other_price", grant=grant_id)


def set_output_price(ws: Workspace, grant_id: str, minor: int, currency: str) -> None:
    """Have each output that is counted under a grant cost so much; `charge_outputs` makes the charges.

    Raises:
        UsageError: An impossible price, or another currency than the grant's.
        Rejected: The grant has another price; the price of an agreement does not change.
    """
    check_id("grant", grant_id)
    check_money(minor)
    check_currency(currency)
    row = {"grant_id": grant_id, "minor": minor, "currency": currency}
    with writing(settlement_tables(ws), durable=True) as connection:
        check_one_currency(connection, grant_id, currency)
        add_new(connection, OUTPUT_PRICES, row)
        mine = select(OUTPUT_PRICES).where(OUTPUT_PRICES.c.grant_id == grant_id)
        if dict(connection.execute(mine).mappings().one()) != row:
            raise Rejected("settle.other_price", grant=grant_id)


def charge_outputs(ws: Workspace) -> int:
    """Charge every output that was counted under a grant with a price for it, once; how many were new.

    Follows from what the meter counted, so a run that was killed between counting and charging owes all the same.
    Settlement does it first.
    """
    meter(ws)
    with reading(settlement_tables(ws)) as connection:
        due = connection.execute(_outputs_due()).all()
    for one in due:
        about = f"output:{one.key}"
        key = {"key": about, "kind": "output", "about": about, "at_us": one.at_us}
        charge(ws, one.grant_id, one.minor, one.currency, **key)
    return len(due)


def _outputs_due() -> Select[Any]:
    """Counted outputs of priced grants that no charge is about: grant, price, digest of the film, when."""
    about = literal("output:") + DELIVERIES.c.key
    charged = select(CHARGES.c.id).where(CHARGES.c.grant_id == RESERVATIONS.c.grant_id, CHARGES.c.about == about)
    counted = select(func.min(USAGE.c.at_us)).where(USAGE.c.work == about).scalar_subquery()
    return (
        select(
            RESERVATIONS.c.grant_id,
            OUTPUT_PRICES.c.minor,
            OUTPUT_PRICES.c.currency,
            DELIVERIES.c.key,
            counted.label("at_us"),
        )
        .join(DELIVERIES, DELIVERIES.c.reservation_id == RESERVATIONS.c.id)
        .join(OUTPUT_PRICES, OUTPUT_PRICES.c.grant_id == RESERVATIONS.c.grant_id)
        .where(RESERVATIONS.c.unit == OUTPUTS, ~exists(charged), counted.is_not(None))
        .order_by(RESERVATIONS.c.grant_id, DELIVERIES.c.key)
    )


def keep_charge(connection: Connection, made: Charge, key: str) -> Charge:
    """Write a charge down; the one that stands, when it was before.

    Raises:
        Rejected: Another charge stands under the key.
    """
    row = {name: getattr(made, name) for name in Charge.__slots__}
    add_new(connection, CHARGES, row)
    stands = Charge(**connection.execute(select(CHARGES).where(CHARGES.c.id == made.id)).mappings().one())
    said = (stands.kind, stands.about, stands.gross_minor, stands.currency)
    if said != (made.kind, made.about, made.gross_minor, made.currency):
        raise Rejected("settle.other_charge", key=key)
    return stands


def check_one_currency(connection: Connection, grant_id: str, currency: str) -> None:
    """Raises:
    UsageError: The grant is paid in another currency.
    """
    charged = select(CHARGES.c.currency).where(CHARGES.c.grant_id == grant_id)
    priced = select(PRICES.c.currency).where(PRICES.c.grant_id == grant_id)
    by_output = select(OUTPUT_PRICES.c.currency).where(OUTPUT_PRICES.c.grant_id == grant_id)
    for known in connection.scalars(union(charged, priced, by_output)):
        if known != currency:
            raise UsageError("settle.currency", grant=grant_id, known=known, currency=currency)


def settlement_tables(ws: Workspace) -> Engine:
    """The database, with the tables of settlement in it."""
    for metadata in (METADATA, ledgerbook.METADATA):
        ensure_tables(ws.database, metadata)
    return ws.database


def _work(ws: Workspace, kind: str, about: str) -> str:
    """The work whose usage a charge is divided by; of a model, the run it was trained in."""
    if kind not in KINDS:
        raise UsageError("settle.bad_kind", kind=kind[:40], known=", ".join(KINDS))
    sort, _, name = about.partition(":")
    if (kind in BY_WORK) != bool(about) or (about and not (sort in WORKS and name)):
        raise UsageError("settle.bad_about", kind=kind, about=about[:80])
    if about:
        check_id("work", about)
    return _training_run(ws, name) if sort == "model" else about


def _training_run(ws: Workspace, model_id: str) -> str:
    name = urn("model", model_id)
    for index in events_about(ws, "model.release", name):
        statement = read_event(ws, index).statement
        for one in statement.inputs if statement.subjects[0].urn == name else ():  # not what was made from it
            if one.urn.startswith(urn("run", "")):
                return f"run:{one.urn.removeprefix(urn('run', ''))}"
    raise NotFound("settle.no_training", model=model_id[:16])
