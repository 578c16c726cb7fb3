"""Settling a month: a million rows of usage, ten thousand right holders, exact; and checking a statement offline.

Peer: the database's own GROUP BY over the same rows, which checks nothing and divides nothing. Limit: reading the rows
and hashing them once.
"""

from __future__ import annotations

import hashlib
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from common import Report, arguments, measure, peak_rss_mb
from sqlalchemy import text

from malan.core.ids import digest_bytes
from malan.rights.holders import Holders
from malan.rights.meter import Meter
from malan.rights.statement import check_arithmetic
from malan.runtime.database import reading
from malan.services.log.keys import show_keys
from malan.services.settlement.charges import charge
from malan.services.settlement.periods import period_end_us, settle_period
from malan.services.settlement.statement_files import check_statement_file, statement_file, write_statement
from malan.services.settlement.statements import tables_of
from malan.workspace import Workspace

GRANTS = 20
COLUMNS = "grant_id, snapshot_id, asset_id, owner_id, holders_id, work, microseconds, passes, amount, at_us"
INSERT = f"INSERT INTO usage ({COLUMNS}) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)"


def main() -> None:
    given = arguments(__doc__.splitlines()[0])
    rows, owners = (20_000, 200) if given.quick else (1_000_000, 10_000)
    report = Report("Settlement")
    with tempfile.TemporaryDirectory(prefix="malan-bench-") as folder:
        ws = Workspace.create(Path(folder) / "ws")
        names = fill(ws, rows, owners)
        settle(report, ws, rows, owners)
        files(report, ws, names[0])
        ws.database.dispose()
    report.notes.append(
        "Nothing was sealed before, so settling reads and hashes every row, in the pass that sums it; a page of 65,536 "
        "rows at a time. Every right holder is under every grant."
    )
    report.show()
    if given.json:
        report.save(given.json)


def fill(ws: Workspace, rows: int, owners: int) -> list[str]:
    """Usage of one month, of every owner under every grant, and a charge for each grant; the owners' ids."""
    Meter(ws.database)
    names = [digest_bytes(f"owner {n}".encode()) for n in range(owners)]
    assets = {digest_bytes(f"asset {n}".encode()): name for n, name in enumerate(names)}
    holders = Holders(ws.database).now(assets)
    with ws.database.connect() as connection:
        connection.exec_driver_sql("BEGIN")
        driver: Any = connection.connection.driver_connection
        driver.executemany(INSERT, usage(rows, assets, holders))
        connection.exec_driver_sql("COMMIT")
    for grant in range(GRANTS):
        charge(ws, f"grant-{grant}", 1_000_007 + grant, "CNY", key="invoice", at_us=period_end_us("2026-10"))
    return names


def usage(rows: int, assets: dict[str, str], holders: dict[str, str]) -> Iterator[tuple[Any, ...]]:
    listed, begin = list(assets), period_end_us("2026-10")
    for n in range(rows):
        asset = listed[n * 7919 % len(listed)]
        grant, length, passes = n // len(listed) % GRANTS, 1_000 + n * 104_729 % 9_000_000, 1 + n % 3
        ids = (f"grant-{grant}", "ab" * 32, asset, assets[asset], holders[asset], f"run:{n % 97}")
        yield (*ids, length, passes, length * passes, begin + n)


def settle(report: Report, ws: Workspace, rows: int, owners: int) -> None:
    grouped, _ = measure(lambda: group_by(ws))
    read, _ = measure(lambda: read_and_hash(ws))
    cost, statement = measure(lambda: settle_period(ws, "2026-11", at_us=period_end_us("2026-11")))
    tables = tables_of(ws, statement)
    check_arithmetic(statement.body, tables)
    parts = sum(len(table) for table in tables)
    is_exact = all(
        sum(amount for *_, amount in table) == line["net"]
        for line, table in zip(statement.body["lines"], tables, strict=True)
    )
    memory = peak_rss_mb()
    report.add(
        f"{rows:,} rows, {owners:,} right holders, {parts:,} parts",
        f"{cost.wall_s:.1f} s ({cost.cpu_s:.1f} s CPU)",
        peer=f"GROUP BY: {grouped.wall_s:.1f} s",
        limit=f"read and hash once: {read.wall_s:.1f} s",
        must="≤ 20 s",
        met=cost.wall_s <= 20,
    )
    report.add("peak memory", f"{memory:.0f} MB", must="≤ 500 MB", met=memory <= 500)
    report.add("sums of parts equal nets", "all" if is_exact else "not all", must="all", met=is_exact)


def files(report: Report, ws: Workspace, party: str) -> None:
    from malan.services.settlement.statements import get_statement

    statement, vkey = get_statement(ws, "2026-11"), show_keys(ws).vkey
    written, data = measure(lambda: write_statement(statement_file(ws, statement, party)))
    checked, _ = measure(lambda: check_statement_file(data, [vkey]))
    report.add("one right holder's statement file", f"{len(data) / 1e6:.1f} MB in {written.wall_s:.1f} s")
    report.add("its check, offline", f"{checked.wall_s:.1f} s")


def group_by(ws: Workspace) -> int:
    with reading(ws.database) as connection:
        query = "SELECT grant_id, holders_id, SUM(amount) FROM usage GROUP BY grant_id, holders_id"
        return len(connection.execute(text(query)).all())


def read_and_hash(ws: Workspace) -> str:
    whole = hashlib.sha256()
    with reading(ws.database) as connection:
        for part in connection.execute(text("SELECT * FROM usage")).partitions(10_000):
            for row in part:
                whole.update(repr(tuple(row)).encode())
    return whole.hexdigest()


if __name__ == "__main__":
    main()
