"""The meter: reservations a second, and whether anything goes over a limit when processes race for it.

Peer: the same account kept by reading, checking and writing back, as usage counters commonly are. Limits: the same
statements by the bare driver, and one sync of the disk a commit. PostgreSQL runs where its package is installed.
"""

from __future__ import annotations

import os
import sqlite3
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tests"))

from common import Report, arguments, measure, median_cost
from sqlalchemy import Engine, text

from malan.core.errors import MalanError
from malan.rights.meter import Ask, Meter
from malan.rights.usage import Usage
from malan.runtime.database import open_database, reading, writing

PROCESSES = 4
BATCH = 100
MUST_A_SECOND = 5_000


def main() -> None:
    if len(sys.argv) > 1 and sys.argv[1] in RACERS:
        race_as(sys.argv[1], sys.argv[2], sys.argv[3], int(sys.argv[4]))
        return
    given = arguments(__doc__.splitlines()[0])
    report = Report("Meter")
    with ExitStack() as stack:
        for kind, place in databases(stack):
            speeds(report, kind, place, 2_000 if given.quick else 40_000, 1 if given.quick else given.runs)
            races(report, kind, place, 2_000 if given.quick else 100_000)
    report.notes.append(
        f"A race: {PROCESSES} processes; every tenth of what is asked for is there. One row a reservation, keys of "
        "their own; a batch is one transaction. A reservation survives the end of the process, a consumption a loss "
        "of power too."
    )
    report.show()
    if given.json:
        report.save(given.json)


def databases(stack: ExitStack) -> Iterator[tuple[str, str]]:
    """SQLite, and PostgreSQL with commits that wait for the disk."""
    folder = stack.enter_context(tempfile.TemporaryDirectory(prefix="malan-bench-"))
    yield "SQLite", str(Path(folder) / "malan.db")
    from postgres_server import create_database, postgres_server, programs

    if programs() is not None:
        yield "PostgreSQL", create_database(stack.enter_context(postgres_server(durable=True)), "bench")


@contextmanager
def opened(place: str) -> Iterator[Engine]:
    engine = open_database(place)
    try:
        yield engine
    finally:
        engine.dispose()


def speeds(report: Report, kind: str, place: str, count: int, runs: int) -> None:
    with opened(place) as engine:
        meter, number = Meter(engine), iter(range(10**9))
        meter.open("speed", {"clip_seconds": None})

        def one_by_one() -> None:
            for _ in range(count // 10):
                meter.reserve("speed", "clip_seconds", 5, f"k{next(number)}")

        def in_batches() -> None:
            for _ in range(count // BATCH):
                asks = [Ask("speed", "clip_seconds", 5, f"k{next(number)}") for _ in range(BATCH)]
                assert not any(isinstance(one, MalanError) for one in meter.reserve_many(asks))

        def consumed() -> None:
            for _ in range(count // 100):
                hold = meter.reserve("speed", "clip_seconds", 7, f"k{next(number)}")
                meter.consume(hold, 7, [Usage("speed", "s", "a", "o", "h", "run:r", 7)])

        bare = rate(lambda: bare_driver(count // 10), count // 10, runs) if kind == "SQLite" else ""
        batch, _ = median_cost(in_batches, runs)
        per_s = count / batch.wall_s
        report.add(
            f"{kind}: reservations/s, {BATCH} a transaction",
            f"{per_s:,.0f} ({batch.cpu_s / count * 1e6:.0f} µs CPU each)",
            limit=bare and f"bare driver, one a transaction: {bare}",
            must=f"≥ {MUST_A_SECOND:,}" if kind == "SQLite" else "",
            met=per_s >= MUST_A_SECOND if kind == "SQLite" else None,
        )
        report.add(f"{kind}: reservations/s, one a transaction", rate(one_by_one, count // 10, runs), limit=bare)
        syncs = rate(lambda: synced(count // 100), count // 100, runs)
        report.add(
            f"{kind}: reserve and consume/s, durable", rate(consumed, count // 100, runs), limit=f"disk: {syncs}"
        )


def rate(call: Callable[[], object], count: int, runs: int) -> str:
    cost, _ = median_cost(call, runs)
    return f"{count / cost.wall_s:,.0f}/s"


def bare_driver(count: int) -> None:
    """The two statements of a reservation by the driver alone, committed one by one."""
    with tempfile.TemporaryDirectory() as folder:
        connection = sqlite3.connect(Path(folder) / "bare.db", isolation_level=None)
        connection.execute("PRAGMA journal_mode = WAL")
        connection.execute("PRAGMA synchronous = NORMAL")
        connection.execute("CREATE TABLE a (g TEXT PRIMARY KEY, most INT, held INT)")
        connection.execute("CREATE TABLE r (id TEXT PRIMARY KEY, g TEXT, amount INT)")
        connection.execute("INSERT INTO a VALUES ('g', 1000000000, 0)")
        for number in range(count):
            connection.execute("BEGIN IMMEDIATE")
            connection.execute("INSERT INTO r VALUES (?, 'g', 5) ON CONFLICT DO NOTHING", (f"{number:064}",))
            connection.execute("UPDATE a SET held = held + 5 WHERE g = 'g' AND held + 5 <= most")
            connection.execute("COMMIT")
        connection.close()


def synced(count: int) -> None:
    """One small write and one sync, again and again."""
    with tempfile.NamedTemporaryFile() as file:
        for _ in range(count):
            file.write(b"x" * 4096)
            file.flush()
            os.fdatasync(file.fileno())


def races(report: Report, kind: str, place: str, attempts: int) -> None:
    """How much goes over the limit when processes race for it: ours, and the peer's."""
    for name, label in (("meter", "ours"), ("peer", "read, check, write back")):
        tries = attempts if name == "meter" else attempts // 10
        most = tries // 10
        prepare(place, name, most)
        cost, won = measure(lambda name=name, tries=tries: race(place, name, tries))
        taken = taken_of(place, name)
        over = max(won, taken) - most
        report.add(
            f"{kind}: {tries:,} attempts at {most:,} runs, {label}",
            f"{won:,} won, {taken:,} counted, {max(over, 0):,} over; {cost.wall_s:.1f} s",
            must="0 over, none lost" if name == "meter" else "",
            met=(over == 0 and won == taken) if name == "meter" else None,
        )


def prepare(place: str, name: str, most: int) -> None:
    with opened(place) as engine:
        if name == "meter":
            Meter(engine).open("race", {"runs": most})
            return
        with writing(engine) as connection:
            connection.execute(text("CREATE TABLE peer (most INT, taken INT)"))
            connection.execute(text("INSERT INTO peer VALUES (:most, 0)"), {"most": most})


def taken_of(place: str, name: str) -> int:
    with opened(place) as engine:
        if name == "meter":
            (account,) = Meter(engine).accounts("race")
            return account.reserved + account.consumed
        with reading(engine) as connection:
            return int(connection.execute(text("SELECT taken FROM peer")).scalar_one())


def race(place: str, name: str, attempts: int) -> int:
    command = [sys.executable, __file__, name, place]
    shares = [str(attempts // PROCESSES)] * PROCESSES
    racers = [
        subprocess.Popen([*command, f"p{number}", share], stdout=subprocess.PIPE, text=True)
        for number, share in enumerate(shares)
    ]
    return sum(int(racer.communicate()[0]) for racer in racers)


def race_as(name: str, place: str, me: str, attempts: int) -> None:
    """One of the processes that race: prints how often it won."""
    with opened(place) as engine:
        print(RACERS[name](engine, me, attempts))


def by_meter(engine: Engine, me: str, attempts: int) -> int:
    """One in twenty is asked for alone, the rest twenty at a time; every third that is won is used."""
    meter, won, number = Meter(engine), 0, 0
    while number < attempts:
        size = 1 if number % 400 < 20 else 20
        holds = meter.reserve_many([Ask("race", "runs", 1, f"{me}-{number + n}") for n in range(size)])
        wins = [hold for hold in holds if not isinstance(hold, MalanError)]
        for hold in wins[::3]:
            meter.consume(hold, 1)
        won, number = won + len(wins), number + size
    return won


def by_peer(engine: Engine, _me: str, attempts: int) -> int:
    won = 0
    for _ in range(attempts):
        with reading(engine) as connection:
            most, taken = connection.execute(text("SELECT most, taken FROM peer")).one()
        if taken < most:
            with writing(engine) as connection:
                connection.execute(text("UPDATE peer SET taken = :taken"), {"taken": taken + 1})
            won += 1
    return won


RACERS: dict[str, Callable[[Engine, str, int], int]] = {"meter": by_meter, "peer": by_peer}

if __name__ == "__main__":
    main()
