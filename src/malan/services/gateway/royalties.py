"""What use of the gateway comes to: owed by parties in the book, and to owners of what models were trained on.

    usage of a key ─ sum, without what apps have billed ─▶ whole units not yet booked ─▶ customer ─▶ income:gateway
    usage of a model ─ sum, in millionths ─▶ whole units that are not yet owed ─ charge_model ─▶ settlement

A share of what was charged (`model_share` percent in `malan.toml`) is owed. Which units are about to be stated is noted
first, and names the charge; a kill in between owes the same once. Start at `book_usage` and `owe_royalties`.
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any

from sqlalchemy import func, select, update

from malan.core.errors import MalanError
from malan.rights.ledgerbook import Posting, post
from malan.runtime.database import add_new, put, reading, writing
from malan.services.gateway.tables import (
    GATEWAY_BOOKED,
    GATEWAY_KEYS,
    GATEWAY_ROYALTIES,
    GATEWAY_USAGE,
    MICRO,
    gateway_tables,
)
from malan.services.models.rows import find_model
from malan.services.models.royalties import charge_model, charge_trained
from malan.services.settlement.charges import settlement_tables
from malan.services.settlement.metering import now_us

if TYPE_CHECKING:
    from malan.workspace import Workspace

_log = logging.getLogger("malan.gateway")


def book_usage(ws: Workspace) -> int:
    """Write down what parties owe for use since the last time, in one commit; how many minor units."""
    use, booked = GATEWAY_USAGE.c, GATEWAY_BOOKED.c
    owed = func.sum(use.micro - use.billed_micro).label("micro")
    sums = select(use.prefix, use.party_id, use.currency, owed).group_by(use.prefix, use.party_id, use.currency)
    total = 0
    gateway_tables(ws)
    with writing(settlement_tables(ws), durable=True) as connection:
        for row in connection.execute(sums).all():
            known = select(booked.booked_minor).where(booked.prefix == row.prefix)
            before, whole = int(connection.scalar(known) or 0), int(row.micro) // MICRO
            if whole <= before:
                continue
            posting = Posting(f"customer:{row.party_id}", "income:gateway", row.currency, whole - before)
            about = f"gateway:{row.prefix}"
            post(connection, f"{about}:{before}", "gateway", about, now_us(), [posting])
            put(connection, GATEWAY_BOOKED, {"prefix": row.prefix, "booked_minor": whole})
            total += whole - before
    return total


def owe_royalties(ws: Workspace) -> int:
    """State what is owed for models since the last time; how many minor units."""
    owed = 0
    for row in _sums(ws):
        try:
            owed += _owe(ws, row)
        except MalanError as error:  # a base of nobody here, no grant: it stays noted, and is tried again
            _log.info("royalties of %s: %s", row["model_id"][:80], error.code)
    return owed


def _sums(ws: Workspace) -> list[dict[str, Any]]:
    use = GATEWAY_USAGE.c
    sums = select(use.prefix, use.model_id, use.currency, func.sum(use.micro).label("micro"))
    query = sums.where(use.model_id != "", use.micro > 0).group_by(use.prefix, use.model_id, use.currency)
    with reading(gateway_tables(ws)) as connection:
        return [dict(row) for row in connection.execute(query).mappings()]


def _owe(ws: Workspace, row: dict[str, Any]) -> int:
    model = find_model(ws, row["model_id"])
    if not model.run_ids and not model.parts:
        return 0  # a base: nobody's footage here is in it
    whole = int(row["micro"]) * min(100, ws.settings.model_share) // (100 * MICRO)
    royalties, name = GATEWAY_ROYALTIES.c, {"prefix": row["prefix"], "model_id": row["model_id"]}
    mine = (royalties.prefix == row["prefix"], royalties.model_id == row["model_id"])
    with writing(gateway_tables(ws), durable=True) as connection:
        add_new(connection, GATEWAY_ROYALTIES, {**name, "charged_minor": 0, "until_minor": 0})
        stands = connection.execute(select(GATEWAY_ROYALTIES).where(*mine)).one()
        until = stands.until_minor if stands.until_minor > stands.charged_minor else whole
        if until <= stands.charged_minor:
            return 0
        connection.execute(update(GATEWAY_ROYALTIES).where(*mine).values(until_minor=until))
        grant = connection.scalar(select(GATEWAY_KEYS.c.grant_id).where(GATEWAY_KEYS.c.prefix == row["prefix"]))
    key = f"gateway:{row['prefix']}:{model.id[:16]}:{stands.charged_minor}"
    minor = until - int(stands.charged_minor)
    if grant:
        charge_model(ws, model.id, grant, minor, row["currency"], key=key)
    else:
        charge_trained(ws, [model.id], minor, row["currency"], key=key)
    with writing(gateway_tables(ws), durable=True) as connection:
        done = update(GATEWAY_ROYALTIES).where(*mine, royalties.charged_minor == stands.charged_minor)
        connection.execute(done.values(charged_minor=until))
    return minor
