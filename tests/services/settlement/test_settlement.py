"""Settlement: every unit charged reaches somebody, once, for a reason anybody can compute anew."""

from __future__ import annotations

import json
from contextlib import suppress
from fractions import Fraction
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Connection, text

from malan.core.errors import MalanError, NotFound, ProofError, Rejected, StoreError, UsageError
from malan.rights.holders import Holders
from malan.rights.ledgerbook import POSTINGS, balances, reverse
from malan.rights.meter import Meter
from malan.rights.shares import Fee, Holder
from malan.rights.usage import MICROSECONDS, Usage
from malan.runtime.database import reading, writing
from malan.services.journal import events_about
from malan.services.log.keys import show_keys
from malan.services.log.reading import list_events
from malan.services.settlement.charges import charge, set_price
from malan.services.settlement.disputes import decide_dispute, dispute
from malan.services.settlement.metering import seal_usage
from malan.services.settlement.periods import release_due, settle_period
from malan.services.settlement.statement_files import check_statement_file, statement_file, write_statement
from malan.services.settlement.statements import amounts_of_party, get_statement, list_statements, tables_of
from malan.workspace import Workspace

NOVEMBER = 1_793_491_200 * MICROSECONDS  # 2026-11-01
DAY = 86_400 * MICROSECONDS
DECEMBER = NOVEMBER + 30 * DAY
FEES = (Fee("platform", Fraction(1, 10)), Fee("tax", Fraction(6, 100)))


class Clock:
    now_us = NOVEMBER + 10 * DAY

    def __call__(self) -> int:
        return self.now_us


class Market:
    """A workspace in which footage of several owners is used and charged for."""

    def __init__(self, ws: Workspace) -> None:
        self.ws, self.clock = ws, Clock()
        self.meter = Meter(ws.database, now_us=self.clock)
        self.count = 0

    def use(
        self, grant: str, owner: str, seconds: int, *, asset: str = "", work: str = "run:r1", passes: int = 1
    ) -> None:
        asset = asset or f"asset-of-{owner}"
        holders = Holders(self.ws.database).now({asset: owner})[asset]
        self.count += 1
        self.meter.open(grant, {"clip_seconds": None})
        row = Usage(grant, "snap", asset, owner, holders, work, seconds * MICROSECONDS, passes)
        hold = self.meter.reserve(grant, "clip_seconds", row.amount, f"k{self.count}")
        self.meter.consume(hold, row.amount, [row])

    def charge(self, grant: str, amount: int, **more: Any) -> None:
        self.count += 1
        self.charged = charge(
            self.ws, grant, amount, more.pop("currency", "CNY"), key=f"c{self.count}", at_us=self.clock(), **more
        )

    def settle(self, period: str = "2026-11", **more: Any) -> Any:
        return settle_period(self.ws, period, more.pop("fees", FEES), at_us=more.pop("at_us", DECEMBER), **more)

    def amounts(self, statement: Any) -> list[dict[str, int]]:
        return [{party: amount for party, _, amount in table} for table in tables_of(self.ws, statement)]


@pytest.fixture
def market(workspace: Workspace) -> Market:
    return Market(workspace)


@pytest.fixture
def plain(tmp_path: Path) -> Any:
    """The same on SQLite alone, for what has nothing to do with the database."""
    ws = Workspace.create(tmp_path / "plain")
    yield Market(ws)
    ws.database.dispose()


def book(ws: Workspace) -> dict[tuple[str, str], int]:
    with reading(ws.database) as connection:
        return {key: amount for key, amount in balances(connection).items() if amount}


def disarm(connection: Connection, table: str) -> None:
    """What whoever owns the database can do: let rows be changed."""
    is_sqlite = connection.dialect.name == "sqlite"
    name = f"{table}_no_update" if is_sqlite else f"{table}_stays ON {table}"
    connection.execute(text(f"DROP TRIGGER {name}"))


def vkey(ws: Workspace) -> str:
    return show_keys(ws).vkey


def test_a_month_is_divided_by_seconds_after_fees(market: Market) -> None:
    market.use("g1", "ann", 60)
    market.use("g1", "bob", 30, passes=4)
    market.charge("g1", 10_000)
    statement = market.settle()
    (line,) = statement.body["lines"]
    assert (line["fees"], line["net"], line["used"]) == ({"platform": 1000, "tax": 600}, 8400, "180000000")
    assert market.amounts(statement) == [{"ann": 2800, "bob": 5600}]
    assert book(market.ws) == {
        ("buyer:g1", "CNY"): -10_000,
        ("fee:platform", "CNY"): 1000,
        ("fee:tax", "CNY"): 600,
        ("held:ann", "CNY"): 2800,
        ("held:bob", "CNY"): 5600,
    }


def test_shares_and_tiers_of_the_time_of_use_count(market: Market) -> None:
    holders = Holders(market.ws.database)
    market.use("g1", "ann", 10, asset="film")
    holders.divide("film", [Holder("ann", Fraction(1, 4)), Holder("eve", Fraction(3, 4), 2)], now_us=1)
    market.use("g1", "ann", 40, asset="film")
    market.charge("g1", 800)
    assert market.amounts(market.settle(fees=())) == [{"ann": 200, "eve": 600}]


def test_settling_twice_is_settling_once(market: Market) -> None:
    market.use("g1", "ann", 60)
    market.charge("g1", 999)
    first = market.settle()
    before = book(market.ws)
    market.use("g1", "bob", 60)
    assert market.settle().id == first.id
    assert book(market.ws) == before
    assert len(list_statements(market.ws)) == 1
    kinds = [shown.event.statement.kind for shown in list_events(market.ws, last=50)]
    assert kinds.count("settle.compute") == 1


def test_other_rules_for_a_settled_month_are_refused(market: Market) -> None:
    market.use("g1", "ann", 60)
    market.charge("g1", 999)
    market.settle()
    for more in ({"fees": ()}, {"holdback_days": 1}):
        with pytest.raises(Rejected) as caught:
            market.settle(**more)
        assert caught.value.code == "settle.already"
    with pytest.raises(Rejected):
        market.settle("2026-10")


def test_what_came_in_late_counts_in_the_next_month_once(market: Market) -> None:
    market.use("g1", "ann", 60)
    market.charge("g1", 100)
    market.settle(fees=())
    market.use("g1", "bob", 60)  # of November, written down after November was settled
    market.clock.now_us = DECEMBER + DAY
    market.use("g1", "cat", 180)
    market.charge("g1", 100)
    later = market.settle("2026-12", fees=(), at_us=DECEMBER + 40 * DAY)
    assert market.amounts(later) == [{"bob": 25, "cat": 75}]


def test_a_charge_without_use_waits_until_there_is_some(market: Market) -> None:
    market.charge("g1", 500)
    assert market.settle().body["lines"] == []
    market.clock.now_us = DECEMBER + DAY
    market.use("g1", "ann", 1)
    assert market.amounts(market.settle("2026-12", fees=(), at_us=DECEMBER + 40 * DAY)) == [{"ann": 500}]


def test_a_price_by_use_becomes_a_charge_rounded_down_once(market: Market) -> None:
    set_price(market.ws, "g1", 7, 60 * MICROSECONDS, "CNY")
    for _ in range(5):
        market.use("g1", "ann", 50)
    assert market.settle().body["lines"][0]["charge"]["gross_minor"] == 250 * 7 // 60


def test_a_film_and_a_model_are_divided_by_what_they_stand_on(market: Market) -> None:
    market.use("g1", "ann", 30, work="output:film1")
    market.use("g1", "bob", 10, work="output:film1")
    market.use("g1", "cat", 999, work="run:other")
    market.charge("g1", 400, kind="output", about="output:film1")
    assert market.amounts(market.settle(fees=())) == [{"ann": 300, "bob": 100}]


def test_the_month_must_be_over_but_can_be_looked_at(market: Market) -> None:
    market.use("g1", "ann", 60)
    market.charge("g1", 999)
    with pytest.raises(Rejected) as caught:
        market.settle(at_us=DECEMBER - 1)
    assert caught.value.code == "settle.period_open"
    draft = market.settle(at_us=DECEMBER - 1, draft=True)
    assert (draft.state, draft.body["lines"][0]["net"]) == ("draft", 999 - 99 - 59)
    assert book(market.ws) == {}
    assert list_statements(market.ws) == []


def test_money_is_held_back_and_then_due_once(market: Market) -> None:
    market.use("g1", "ann", 60)
    market.charge("g1", 100)
    statement = market.settle(fees=())
    assert release_due(market.ws, at_us=DECEMBER + 29 * DAY) == 0
    assert amounts_of_party(market.ws, "ann") == {"held": {"CNY": 100}, "due": {}}
    assert [release_due(market.ws, at_us=DECEMBER + 31 * DAY) for _ in range(2)] == [1, 0]
    assert amounts_of_party(market.ws, "ann") == {"held": {"CNY": 0}, "due": {"CNY": 100}}
    assert get_statement(market.ws, statement.id[:10]).state == "due"


def test_what_is_disputed_stays_held_until_it_is_decided(market: Market) -> None:
    for owner in ("ann", "bob"):
        market.use("g1", owner, 60)
    market.charge("g1", 100)
    statement = market.settle(fees=())
    dispute(market.ws, "2026-11", "ann", "my share is larger", at_us=DECEMBER + DAY)
    assert release_due(market.ws, at_us=DECEMBER + 31 * DAY) == 1
    assert amounts_of_party(market.ws, "ann")["held"] == {"CNY": 50}
    decided = decide_dispute(market.ws, statement.id, uphold=False)
    assert [one["state"] for one in decided.disputes] == ["rejected"]
    assert release_due(market.ws, at_us=DECEMBER + 31 * DAY) == 1
    assert amounts_of_party(market.ws, "ann")["due"] == {"CNY": 50}


def test_an_upheld_dispute_reverses_the_statement_and_the_month_is_settled_anew(market: Market) -> None:
    set_price(market.ws, "g2", 1, MICROSECONDS, "CNY")
    market.use("g1", "ann", 60)
    market.use("g2", "bob", 60)
    market.charge("g1", 100)
    first = market.settle()
    dispute(market.ws, first.id, "ann", "no tax is due on this", at_us=DECEMBER + DAY)
    assert decide_dispute(market.ws, first.id, uphold=True).state == "reversed"
    assert book(market.ws) == {}
    again = market.settle(fees=())
    assert again.id != first.id
    assert sorted(map(str, market.amounts(again))) == ["{'ann': 100}", "{'bob': 60}"]
    assert [one.state for one in list_statements(market.ws)] == ["reversed", "held"]
    with pytest.raises(Rejected):
        dispute(market.ws, first.id, "ann", "again", at_us=DECEMBER + DAY)


def test_a_month_is_not_reversed_while_the_next_one_stands_on_it(market: Market) -> None:
    market.use("g1", "ann", 60)
    market.charge("g1", 100)
    first = market.settle(holdback_days=90)
    market.clock.now_us = DECEMBER + DAY
    market.use("g1", "bob", 60)
    market.charge("g1", 100)
    second = market.settle("2026-12", at_us=DECEMBER + 40 * DAY)
    dispute(market.ws, first.id, "ann", "-", at_us=DECEMBER + DAY)
    with pytest.raises(Rejected) as caught:
        decide_dispute(market.ws, first.id, uphold=True)
    assert caught.value.code == "settle.not_last"
    dispute(market.ws, second.id, "bob", "-", at_us=DECEMBER + 41 * DAY)
    decide_dispute(market.ws, second.id, uphold=True)
    decide_dispute(market.ws, first.id, uphold=True)
    assert book(market.ws) == {}
    again = [market.settle(fees=()), market.settle("2026-12", fees=(), at_us=DECEMBER + 40 * DAY)]
    assert [market.amounts(one) for one in again] == [[{"ann": 100}], [{"bob": 100}]]


def test_a_dispute_needs_a_party_of_the_statement_and_an_open_holdback(market: Market) -> None:
    market.use("g1", "ann", 60)
    market.charge("g1", 100)
    statement = market.settle()
    with pytest.raises(NotFound):
        dispute(market.ws, statement.id, "stranger", "-", at_us=DECEMBER + DAY)
    with pytest.raises(Rejected):
        dispute(market.ws, statement.id, "ann", "-", at_us=DECEMBER + 31 * DAY)
    with pytest.raises(NotFound):
        decide_dispute(market.ws, statement.id, uphold=True)
    for unknown in ("ffff", "", "2026-12"):
        with pytest.raises(NotFound):
            get_statement(market.ws, unknown)


def test_what_was_released_cannot_be_reversed(market: Market) -> None:
    for owner in ("ann", "bob"):
        market.use("g1", owner, 60)
    market.charge("g1", 100)
    statement = market.settle()
    dispute(market.ws, statement.id, "ann", "-", at_us=DECEMBER + DAY)
    release_due(market.ws, at_us=DECEMBER + 31 * DAY)
    with pytest.raises(Rejected) as caught:
        decide_dispute(market.ws, statement.id, uphold=True)
    assert caught.value.code == "settle.released"
    assert [one["state"] for one in get_statement(market.ws, statement.id).disputes] == ["open"]


@pytest.mark.parametrize(
    "wrong",
    [
        {"gross_minor": -1},
        {"gross_minor": 0},
        {"gross_minor": 9.99},
        {"gross_minor": 2**53},
        {"gross_minor": 10**15 + 1},
        {"at_us": 1.5},
        {"at_us": -1},
        {"gross_minor": True},
        {"currency": "cny"},
        {"currency": "USD"},
        {"kind": "gift"},
        {"kind": "output"},
        {"kind": "fee", "about": "output:x"},
        {"kind": "output", "about": "film:x"},
        {"kind": "output", "about": 'output:"x'},
        {"key": ""},
        {"grant_id": "a b"},
        {"grant_id": "g" * 151},
    ],
)
def test_an_impossible_charge_is_refused_and_changes_nothing(plain: Market, wrong: dict[str, Any]) -> None:
    plain.use("g1", "ann", 60)
    plain.charge("g1", 100)
    said = {"grant_id": "g1", "gross_minor": 5, "currency": "CNY", "key": "k", **wrong}
    with pytest.raises(UsageError):
        charge(plain.ws, said.pop("grant_id"), said.pop("gross_minor"), said.pop("currency"), **said)
    assert len(plain.settle().body["lines"]) == 1


def test_the_same_charge_is_charged_once_and_another_under_its_key_is_refused(plain: Market) -> None:
    for _ in range(2):
        charge(plain.ws, "g1", 100, "CNY", key="invoice-7")
    with pytest.raises(Rejected):
        charge(plain.ws, "g1", 101, "CNY", key="invoice-7")


def test_a_price_does_not_change_and_keeps_its_currency(plain: Market) -> None:
    set_price(plain.ws, "g1", 7, MICROSECONDS, "CNY")
    set_price(plain.ws, "g1", 7, MICROSECONDS, "CNY")
    with pytest.raises(Rejected):
        set_price(plain.ws, "g1", 8, MICROSECONDS, "CNY")
    with pytest.raises(UsageError):
        charge(plain.ws, "g1", 100, "USD", key="x")
    for minor, per in ((-1, 1), (1, 0), (0.5, 1), (1, 1.5), (6, 1), (2**53, 1)):
        with pytest.raises(UsageError):
            set_price(plain.ws, "g2", minor, per, "CNY")  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "period", ["2026-13", "2026-00", "2026-1", "26-11", "2026-11-01", "", "１０２６-11", None, 202611]
)
def test_a_month_that_is_none_is_refused(plain: Market, period: Any) -> None:
    with pytest.raises(UsageError):
        plain.settle(period)


@pytest.mark.parametrize("days", [-1, 367, 1.5, True, "30"])
def test_a_holdback_that_is_none_is_refused(plain: Market, days: Any) -> None:
    with pytest.raises(UsageError):
        plain.settle(holdback_days=days)


def test_usage_rewritten_behind_our_back_is_noticed_and_nothing_is_settled(plain: Market) -> None:
    plain.use("g1", "ann", 60)
    plain.use("g1", "bob", 60)
    plain.charge("g1", 100)
    seal_usage(plain.ws)
    with writing(plain.ws.database) as connection:
        disarm(connection, "usage")
        connection.execute(text("UPDATE usage SET owner_id = 'eve' WHERE owner_id = 'bob'"))
    with pytest.raises(ProofError) as caught:
        plain.settle()
    assert caught.value.code == "meter.page_changed"
    assert list_statements(plain.ws) == []


def test_pages_remade_after_a_forgery_are_not_those_of_the_ledger(plain: Market) -> None:
    plain.use("g1", "ann", 60)
    plain.charge("g1", 100)
    (page,) = seal_usage(plain.ws)
    with writing(plain.ws.database) as connection:
        disarm(connection, "usage_pages")
        connection.execute(text("UPDATE usage_pages SET digest = replace(digest, 'a', 'b')"))
    with pytest.raises(ProofError) as caught:
        plain.settle()
    assert caught.value.code == "meter.page_chain"
    assert len(events_about(plain.ws, "usage.root", f"urn:malan:usage:{page.digest}")) == 1


def test_the_book_cannot_be_unbalanced_changed_or_emptied(market: Market) -> None:
    market.use("g1", "ann", 60)
    market.charge("g1", 100)
    statement = market.settle()
    row = {"entry_id": f"settle:{statement.id}", "number": 99, "gives": "a", "takes": "b", "currency": "CNY"}
    for change in (
        POSTINGS.insert().values(**row, amount_minor=-5),
        POSTINGS.insert().values(**{**row, "takes": "a"}, amount_minor=5),
        POSTINGS.update().values(amount_minor=1),
        POSTINGS.delete(),
    ):
        with pytest.raises(StoreError), writing(market.ws.database) as connection:
            connection.execute(change)
    assert sum(book(market.ws).values()) == 0


def test_an_entry_is_reversed_once(market: Market) -> None:
    market.use("g1", "ann", 60)
    market.charge("g1", 100)
    entry = f"settle:{market.settle().id}"
    with writing(market.ws.database) as connection:
        reverse(connection, entry, 1)
        with pytest.raises(Rejected):
            reverse(connection, entry, 2)
        with pytest.raises(NotFound):
            reverse(connection, "settle:nothing", 1)


def filed(market: Market, party: str | None) -> bytes:
    for number, owner in enumerate(("ann", "bob", "cat")):
        market.use("g1", owner, 17 + number, passes=number + 1)
        market.use("g2", owner, 5, work="output:f")
    Holders(market.ws.database).divide("film", [Holder("ann", Fraction(1, 3)), Holder("bob", Fraction(2, 3))], now_us=1)
    market.use("g1", "ann", 11, asset="film")
    seal_usage(market.ws, rows_a_page=3)
    market.charge("g1", 10_007)
    market.charge("g2", 99, currency="USD")
    market.charge("g2", 1_000, currency="USD", kind="output", about="output:f")
    statement = market.settle()
    return write_statement(statement_file(market.ws, get_statement(market.ws, statement.id), party))


def test_an_owner_checks_a_statement_offline(market: Market) -> None:
    data = filed(market, "ann")
    checked = check_statement_file(data, [vkey(market.ws)])
    mine = {"CNY": 0, "USD": 0}
    for line, table in zip(
        get_statement(market.ws, "2026-11").body["lines"],
        tables_of(market.ws, get_statement(market.ws, "2026-11")),
        strict=True,
    ):
        mine[line["charge"]["currency"]] += sum(amount for party, _, amount in table if party == "ann")
    assert (checked.party, checked.lines, checked.rows, checked.amounts) == ("ann", 3, 3, mine)


def test_an_auditor_checks_all_of_it_offline(market: Market) -> None:
    checked = check_statement_file(filed(market, None), [vkey(market.ws)])
    assert (checked.party, checked.rows) == (None, 7)


def test_a_statement_for_a_stranger_is_not_made(plain: Market) -> None:
    with pytest.raises(NotFound):
        filed(plain, "stranger")


def test_the_key_of_another_log_does_not_prove_it(plain: Market, tmp_path: Path) -> None:
    data = filed(plain, "ann")
    other = Workspace.create(tmp_path / "other")
    seal_usage(other)
    from malan.services.journal import start_log

    start_log(other)
    with pytest.raises(MalanError):
        check_statement_file(data, [vkey(other)])
    other.database.dispose()


@pytest.mark.parametrize("party", ["ann", None])
def test_whatever_is_changed_in_a_statement_is_noticed(plain: Market, party: str | None) -> None:
    data = filed(plain, party)
    key, value = vkey(plain.ws), json.loads(data)
    paths = [path for path in _paths(value) if path[0] != "receipts"]  # whose own suite changes every byte of them
    unnoticed = []
    for path in paths:
        changed = json.loads(data)
        _set(changed, path)
        with suppress(MalanError):
            check_statement_file(write_statement(changed), [key])
            unnoticed.append(path)
    assert unnoticed == []
    assert len(paths) > 100


@pytest.mark.parametrize(
    "junk", [b"", b"{}", b"[]", b"null", b'{"type":"malan-statement/v1"}', b"[" * 5000, b"\xff\xfe", b'{"type":1.5}']
)
def test_a_file_that_is_no_statement_is_refused(plain: Market, junk: bytes) -> None:
    seal_usage(plain.ws)
    filed(plain, None)
    with pytest.raises(ProofError):
        check_statement_file(junk, [vkey(plain.ws)])


def _paths(value: Any, at: tuple[Any, ...] = ()) -> Any:
    inner = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, held in inner:
        yield (*at, key)
        yield from _paths(held, (*at, key))


def _set(value: Any, path: tuple[Any, ...]) -> None:
    """Change one thing: a number by one, a text by a letter, a list or object by leaving something out."""
    *way, last = path
    for key in way:
        value = value[key]
    held = value[last]
    if isinstance(held, bool | int):
        value[last] = held + 1
    elif isinstance(held, str):
        value[last] = held[:-1] + ("0" if held[-1:] != "0" else "1")
    elif held is None:
        value[last] = "x"
    else:
        value.pop(last)


@pytest.mark.parametrize("reason", ["", "  ", "x" * 2001, "a\x00b", "a\ud800", None, 5])
def test_an_objection_without_a_reason_is_refused_and_changes_nothing(plain: Market, reason: Any) -> None:
    plain.use("g1", "ann", 60)
    plain.charge("g1", 100)
    statement = plain.settle()
    with pytest.raises(UsageError):
        dispute(plain.ws, statement.id, "ann", reason, at_us=DECEMBER + DAY)
    assert get_statement(plain.ws, statement.id).disputes == ()


def test_a_dispute_and_its_end_stand_in_the_ledger_and_the_reason_only_as_a_commitment(plain: Market) -> None:
    plain.use("g1", "ann", 60)
    plain.charge("g1", 100)
    statement = plain.settle()
    dispute(plain.ws, statement.id, "ann", "我的份额更高", at_us=DECEMBER + DAY)
    decide_dispute(plain.ws, statement.id, uphold=True)
    shown = [one.event for one in list_events(plain.ws, last=50) if one.event.statement.kind.startswith("settle.")]
    kinds = [(one.statement.kind, one.statement.facts.get("state")) for one in shown][::-1]
    assert kinds == [
        ("settle.compute", None),
        ("settle.dispute", "open"),
        ("settle.dispute", "upheld"),
        ("settle.reverse", None),
    ]
    assert not any("我的份额更高".encode() in one.entry for one in shown)


def test_an_auditor_notices_a_page_that_was_left_out(plain: Market) -> None:
    value = json.loads(filed(plain, None))
    gone = value["usage"].pop(1)[0]
    value["pages"] = [page for page in value["pages"] if page["number"] != gone]
    with pytest.raises(ProofError):
        check_statement_file(write_statement(value), [vkey(plain.ws)])
