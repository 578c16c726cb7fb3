"""Money of the gateway: budgets that hold under a race, holds that come back, royalties that are owed once."""

from __future__ import annotations

import asyncio
import threading
import time
from dataclasses import replace
from pathlib import Path

import pytest
from model_factory import release_adapter, run_facts
from sqlalchemy import text

from malan.core.errors import StoreError, UsageError
from malan.rights.ledgerbook import POSTINGS
from malan.runtime.database import reading, updating
from malan.services.access import COMMAND_LINE
from malan.services.accounts.parties import add_party
from malan.services.gateway.budget import OverBudget, Use, release, reserve, settle, shown_micro, sweep
from malan.services.gateway.desk import Desk
from malan.services.gateway.keys import Allowance, list_gateway_keys, make_gateway_key
from malan.services.gateway.prices import Price, dearest, read_prices
from malan.services.gateway.royalties import book_usage, owe_royalties
from malan.services.gateway.tables import MICRO, gateway_tables
from malan.services.settlement.charges import settlement_tables
from malan.services.settlement.tables import CHARGES
from malan.workspace import Workspace


def new_key(ws: Workspace, budget_minor: int | None = 1, **more: object) -> str:
    add_party(ws, COMMAND_LINE, "湖南台", kind="organisation", has=("buyer",))
    return make_gateway_key(ws, COMMAND_LINE, "湖南台", Allowance("desk", budget_minor=budget_minor, **more)).key.prefix


def money(ws: Workspace) -> tuple[int, int]:
    [row] = list_gateway_keys(ws, COMMAND_LINE)
    return row["spent"]["micro"], row["held"]["micro"]


def use(prefix: str, name: str, micro: int, model_id: str = "") -> Use:
    return Use(name, prefix, "p", "desk", 1.0, "chat", "m", "e", "infer", "CNY", micro=micro, model_id=model_id)


def test_requests_of_many_loops_at_once_never_go_over(workspace: Workspace) -> None:
    prefix = new_key(workspace)
    won: list[int] = []

    async def ask(desk: Desk, name: str) -> None:
        try:
            await desk.reserve(prefix, name, 30_000)
        except OverBudget:
            return
        won.append(await desk.settle(use(prefix, name, 20_000)))

    def race(number: int) -> None:
        desk = Desk(workspace)

        async def all_of_them() -> None:
            await asyncio.gather(*(ask(desk, f"{number}-{n}") for n in range(60)))

        asyncio.run(all_of_them())
        desk.close()

    racers = [threading.Thread(target=race, args=(number,)) for number in range(3)]
    for racer in racers:
        racer.start()
    for racer in racers:
        racer.join()
    assert money(workspace) == (sum(won), 0)
    assert 33 * 20_000 <= sum(won) <= MICRO


def test_the_database_itself_refuses_what_goes_over(workspace: Workspace) -> None:
    new_key(workspace)
    with pytest.raises(StoreError), updating(gateway_tables(workspace)) as connection:
        connection.execute(text("UPDATE gateway_keys SET spent_micro = most_micro + 1"))


def test_usage_once_written_down_stays(workspace: Workspace) -> None:
    prefix = new_key(workspace)
    with updating(gateway_tables(workspace)) as connection:
        assert reserve(connection, prefix, "a", 10, 100.0, None) is None
        assert settle(connection, use(prefix, "a", 5)) == 5
    with pytest.raises(StoreError), updating(gateway_tables(workspace)) as connection:
        connection.execute(text("UPDATE gateway_usage SET micro = 0"))


def test_what_is_settled_or_given_back_twice_counts_once(workspace: Workspace) -> None:
    prefix = new_key(workspace)
    with updating(gateway_tables(workspace)) as connection:
        reserve(connection, prefix, "a", 10, 100.0, None)
        assert settle(connection, use(prefix, "a", 7)) == 7
        assert settle(connection, use(prefix, "a", 7)) is None
        assert not release(connection, "a", prefix)
    assert money(workspace) == (7, 0)


def test_it_never_costs_more_than_was_held(workspace: Workspace) -> None:
    prefix = new_key(workspace)
    with updating(gateway_tables(workspace)) as connection:
        reserve(connection, prefix, "a", 10, 100.0, None)
        assert settle(connection, use(prefix, "a", 10**9)) == 10


def test_what_a_killed_server_held_comes_back(workspace: Workspace) -> None:
    prefix = new_key(workspace)
    with updating(gateway_tables(workspace)) as connection:
        reserve(connection, prefix, "gone", 10, 100.0, 200.0)
        reserve(connection, prefix, "job", 10, 100.0, None)
        assert sweep(connection, 150.0) == 0
        assert sweep(connection, 250.0) == 1
    assert money(workspace) == (0, 10)


def test_a_defect_of_the_database_is_told_to_whoever_waits(workspace: Workspace) -> None:
    desk = Desk(workspace)
    with updating(gateway_tables(workspace)) as connection:
        connection.execute(text("DROP TABLE gateway_holds"))

    async def ask() -> None:
        await desk.settle(use("x", "a", 1))

    with pytest.raises(StoreError):
        asyncio.run(ask())
    desk.close()


def charged(ws: Workspace) -> int:
    with reading(settlement_tables(ws)) as connection:
        return sum(row.gross_minor for row in connection.execute(CHARGES.select()))


def test_royalties_of_a_trained_model_are_owed_once_in_whole_units(tmp_path: Path) -> None:
    ws = Workspace.create(tmp_path / "ws")
    prefix = new_key(ws, None)
    model = release_adapter(ws, 0, run=run_facts(0, grant="g"))

    def answer(name: str, micro: int) -> None:
        with updating(gateway_tables(ws)) as connection:
            reserve(connection, prefix, name, micro, time.time(), None)
            settle(connection, use(prefix, name, micro, model.title))

    answer("a", 12_500_000)  # of which a fifth is theirs: two and a half units
    assert owe_royalties(ws) == charged(ws) == 2
    assert owe_royalties(ws) == 0
    answer("b", 2_500_000)
    assert owe_royalties(ws) == 1
    assert charged(ws) == 3
    ws.log.close()
    ws.database.dispose()


def test_a_kill_between_noting_and_owing_owes_the_same_once(tmp_path: Path) -> None:
    ws = Workspace.create(tmp_path / "ws")
    prefix = new_key(ws, None)
    model = release_adapter(ws, 0, run=run_facts(0, grant="g"))
    with updating(gateway_tables(ws)) as connection:
        reserve(connection, prefix, "a", 10**8, time.time(), None)
        settle(connection, use(prefix, "a", 10**8, model.title))
    assert owe_royalties(ws) == 20
    with updating(gateway_tables(ws)) as connection:  # as before the last step of it
        connection.execute(text("UPDATE gateway_royalties SET charged_minor = 0"))
        reserve(connection, prefix, "b", 10**8, time.time(), None)
        settle(connection, use(prefix, "b", 10**8, model.title))
    assert owe_royalties(ws) == 20
    assert charged(ws) == 20
    assert owe_royalties(ws) == 20
    assert charged(ws) == 40
    ws.log.close()
    ws.database.dispose()


def test_what_parties_owe_is_booked_once_without_what_apps_have_billed(workspace: Workspace) -> None:
    prefix = new_key(workspace, None)

    def used(name: str, micro: int, billed: int = 0) -> None:
        with updating(gateway_tables(workspace)) as connection:
            reserve(connection, prefix, name, micro, 100.0, None)
            settle(connection, replace(use(prefix, name, micro), billed_micro=billed))

    used("a", 2_600_000)
    assert book_usage(workspace) == 2
    assert book_usage(workspace) == 0
    used("film", 7 * MICRO, billed=5 * MICRO)
    used("b", 400_000)
    assert book_usage(workspace) == 3
    balances = balances_of(workspace)
    assert balances["income:gateway"] == 5


def balances_of(ws: Workspace) -> dict[str, int]:
    """What each account took, less what it gave."""
    found: dict[str, int] = {}
    with reading(settlement_tables(ws)) as connection:
        for row in connection.execute(POSTINGS.select()):
            found[row.takes] = found.get(row.takes, 0) + row.amount_minor
            found[row.gives] = found.get(row.gives, 0) - row.amount_minor
    return found


def test_a_price_is_exact() -> None:
    price = Price("CNY", input_million=100, output_million=250, request=1, image=20, second=5, thousand_chars=10)
    assert price.micro(input_tokens=3, output_tokens=2) == MICRO + 300 + 500
    assert price.micro(images=2, seconds=3, chars=5) == (1 + 40 + 15) * MICRO + 50_000
    assert shown_micro(1_234_567, "CNY") == "0.01234567 CNY"
    assert shown_micro(-5 * MICRO, "JPY") == "-5 JPY"


@pytest.mark.parametrize(
    "wrong",
    ["[prices.a]\nrequest = 1", '[prices.a]\ncurrency = "cny"', '[prices.a]\ncurrency = "CNY"\nrequest = -1',
     '[prices.a]\ncurrency = "CNY"\nrequest = 1.5', '[prices.a]\ncurrency = "CNY"\nhour = 1', "prices = 3",
     "[prices]\na = 3", "[prices.a"],
)  # fmt: skip
def test_a_price_that_makes_no_sense_is_named(tmp_path: Path, wrong: str) -> None:
    ws = Workspace.create(tmp_path / "ws")
    (ws.root / "models.toml").write_text(wrong)
    with pytest.raises(UsageError, match=r"models\.toml"):
        read_prices(ws)


def test_two_currencies_on_one_route_are_refused() -> None:
    from malan.services.engines.settings import EngineRow

    rows = (EngineRow("a", "chat", "openai"), EngineRow("b", "chat", "openai"))
    with pytest.raises(UsageError):
        dearest({"a": Price("CNY"), "b": Price("USD")}, "route", rows)


@pytest.mark.parametrize(
    "wrong",
    [{"app": ""}, {"app": "a\n"}, {"budget_minor": -1}, {"budget_minor": 10**13}, {"currency": "yuan"},
     {"most_a_minute": -1}, {"models": ()}, {"models": ("",)}, {"days": 0}, {"days": 10_000}],
)  # fmt: skip
def test_an_allowance_that_makes_no_sense_is_refused(tmp_path: Path, wrong: dict) -> None:
    ws = Workspace.create(tmp_path / "ws")
    add_party(ws, COMMAND_LINE, "湖南台", has=("buyer",))
    with pytest.raises(UsageError):
        make_gateway_key(ws, COMMAND_LINE, "湖南台", Allowance(**{"app": "a", **wrong}))
    assert list_gateway_keys(ws, COMMAND_LINE) == []
    ws.database.dispose()
