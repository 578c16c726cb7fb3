"""Metering: clips become rows, rows become pages, pages stand in the ledger, whoever dies in between."""

from __future__ import annotations

import threading
from fractions import Fraction

import pytest
from media_factory import draw_film
from waiting import until

from malan.core import Clip
from malan.core.errors import NotFound, NotGranted, ProofError, Rejected, UsageError
from malan.core.time import Span
from malan.ledger.statement import Input, Subject, urn
from malan.rights.holders import Holders
from malan.rights.ledgerbook import balances
from malan.rights.meter import Meter
from malan.rights.pages import list_pages, read_page, seal
from malan.rights.shares import Holder
from malan.rights.usage import MICROSECONDS, Usage, usage_line
from malan.runtime.database import reading, updating
from malan.services import journal
from malan.services.footage.assets import add_assets
from malan.services.journal import Fact, record
from malan.services.outputs.manifests import Source
from malan.services.settlement import metering
from malan.services.settlement import periods as settlement
from malan.services.settlement import usage as settlement_usage
from malan.services.settlement.charges import charge
from malan.services.settlement.metering import (
    count_output,
    divide_asset,
    has_unsealed,
    meter,
    microseconds,
    page_event,
    seal_usage,
    usage_of,
)
from malan.services.settlement.periods import period_end_us, settle_period
from malan.services.settlement.statements import list_statements, tables_of
from malan.workspace import Workspace

DIGEST = "ab" * 32


@pytest.fixture(scope="module")
def library(tmp_path_factory: pytest.TempPathFactory) -> tuple[Workspace, str]:
    """A workspace with one film, and the film's id."""
    film = draw_film(tmp_path_factory.mktemp("film") / "film.mp4", (8, 8), size=(64, 48)).path
    ws = Workspace.create(tmp_path_factory.mktemp("ws") / "ws")
    add_assets(ws, [film], owner="湖南台")
    yield ws, next(iter(asset_id for asset_id, *_ in ws.library.scans()))
    ws.database.dispose()


def use(ws: Workspace, key: str, *, work: str = "run:r1", owner: str = "ann", grant: str = "g") -> None:
    made = Meter(ws.database)
    made.open(grant, {"clip_seconds": None})
    holders = Holders(ws.database).now({f"asset-{owner}": owner})[f"asset-{owner}"]
    row = Usage(grant, "s", f"asset-{owner}", owner, holders, work, 5 * MICROSECONDS)
    made.consume(made.reserve(grant, "clip_seconds", row.amount, key), row.amount, [row])


def test_clips_become_rows_of_exact_microseconds(library: tuple[Workspace, str]) -> None:
    ws, asset_id = library
    clips = [Clip(asset_id, 0, Span(0, 1001, Fraction(1, 30_000))), Clip(asset_id, 0, Span(5, 5, Fraction(1, 25)))]
    (row,) = usage_of(ws, "grant", "snap", clips, work="run:r", passes=3)
    assert (row.microseconds, row.amount) == (33_367, 100_101)
    assert Holders(ws.database).read([row.holders_id])[row.holders_id] == (Holder(row.owner_id),)


def test_an_asset_may_be_divided_and_past_use_stays_as_it_was(library: tuple[Workspace, str]) -> None:
    ws, asset_id = library
    clip = Clip(asset_id, 0, Span(0, 25, Fraction(1, 25)))
    (before,) = usage_of(ws, "grant", "snap", [clip], work="run:r")
    half = Fraction(1, 2)
    digest = divide_asset(ws, asset_id, [Holder("a", half), Holder("b", half)])
    assert divide_asset(ws, asset_id, [Holder("b", half), Holder("a", half)]) == digest
    (after,) = usage_of(ws, "grant", "snap", [clip], work="run:r")
    assert (before.holders_id != digest, after.holders_id) == (True, digest)


def test_footage_that_is_not_here_has_no_rows_and_no_holders(library: tuple[Workspace, str]) -> None:
    ws, _ = library
    with pytest.raises(NotFound):
        usage_of(ws, "grant", "snap", [Clip(DIGEST, 0, Span(0, 1, Fraction(1)))], work="run:r")
    with pytest.raises(NotFound):
        divide_asset(ws, DIGEST, [Holder("a")])


def test_the_shortest_stretch_counts_one_microsecond() -> None:
    assert [microseconds(Fraction(n, 10**7)) for n in (1, 15, 25, 26)] == [1, 2, 2, 3]


def test_a_finished_file_is_counted_once_with_what_it_stands_on(workspace: Workspace) -> None:
    sources = [
        Source(Clip(DIGEST, 0, Span(0, 50, Fraction(1, 25))), "ann", "t", Fraction(0), Fraction(2)),
        Source(Clip(DIGEST, 0, Span(50, 75, Fraction(1, 25))), "ann", "t", Fraction(2), Fraction(3)),
    ]
    counted = meter(workspace)
    counted.open("g", {"outputs": 1})
    hold = counted.reserve("g", "outputs", 1, "promo-1")
    assert [count_output(workspace, hold, "f" * 64, sources) for _ in range(2)] == [True, False]
    with pytest.raises(Rejected):
        count_output(workspace, hold, "e" * 64, sources)
    with pytest.raises(NotGranted):
        counted.reserve("g", "outputs", 1, "promo-2")
    (page,) = seal_usage(workspace)
    assert [row.microseconds for row in read_page(workspace.database, page)[1]] == [2_000_000, 1_000_000]


def test_pages_are_stated_once_and_follow_one_another(workspace: Workspace) -> None:
    for n in range(5):
        use(workspace, f"k{n}")
    pages = seal_usage(workspace, rows_a_page=2)
    assert [(page.number, page.rows) for page in pages] == [(0, 2), (1, 2), (2, 1)]
    assert seal_usage(workspace) == pages
    use(workspace, "later")
    assert len(seal_usage(workspace)) == 4
    places = [page_event(workspace, page) for page in list_pages(workspace.database)]
    assert None not in places
    assert places == sorted(set(places))


def test_a_server_seals_what_was_used_by_the_clock(workspace: Workspace) -> None:
    from malan.server import _seal_by_the_clock

    assert not has_unsealed(workspace)
    use(workspace, "one")
    assert has_unsealed(workspace)
    stop = _seal_by_the_clock(workspace, 0.01)
    until(lambda: not has_unsealed(workspace))
    stop()


def test_a_kill_between_sealing_and_stating_is_made_good(workspace: Workspace, monkeypatch: pytest.MonkeyPatch) -> None:
    use(workspace, "k1")
    monkeypatch.setattr(metering, "record", _die)
    with pytest.raises(KeyboardInterrupt):
        seal_usage(workspace)
    monkeypatch.undo()
    assert page_event(workspace, list_pages(workspace.database)[0]) is None
    (page,) = seal_usage(workspace)
    assert page_event(workspace, page) is not None


def test_a_kill_between_the_book_and_the_ledger_is_made_good(
    workspace: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    use(workspace, "k1")
    charge(workspace, "g", 100, "CNY", key="c")
    month, end = this_month(workspace)
    monkeypatch.setattr(settlement, "record", _die)
    with pytest.raises(KeyboardInterrupt):
        settle_period(workspace, month, at_us=end)
    monkeypatch.undo()
    (made,) = list_statements(workspace)
    assert settle_period(workspace, month, at_us=end).id == made.id
    assert len(journal.events_about(workspace, "settle.compute", urn("statement", made.id))) == 1
    with reading(workspace.database) as connection:
        assert balances(connection, "held:") == {("held:ann", "CNY"): 100}


def test_two_that_settle_at_once_make_one_statement(workspace: Workspace) -> None:
    use(workspace, "k1")
    charge(workspace, "g", 100, "CNY", key="c")
    month, end = this_month(workspace)
    found: list[str] = []
    threads = [
        threading.Thread(target=lambda: found.append(settle_period(workspace, month, at_us=end).id)) for _ in range(3)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert (len(found), len(set(found)), len(list_statements(workspace))) == (3, 1, 1)


def test_sealing_waits_for_rows_that_are_being_written(workspace: Workspace) -> None:
    """A row with a lower number that is committed later must be in the page, or it would be in none."""
    use(workspace, "first")
    made = Meter(workspace.database)
    hold = made.reserve("g", "clip_seconds", 7, "slow")
    holders = Holders(workspace.database).now({"a": "ann"})["a"]
    pages: list[int] = []
    sealing = threading.Thread(target=lambda: pages.extend(page.rows for page in seal(workspace.database)))
    with updating(workspace.database) as connection:
        made.consume(hold, 7, [Usage("g", "s", "a", "ann", holders, "run:r", 7)], within=connection)
        if connection.dialect.name == "postgresql":
            use(workspace, "quick", grant="another")
        sealing.start()
        sealing.join(0.2)
        assert sealing.is_alive()
    sealing.join()
    assert pages == [3 if workspace.database.dialect.name == "postgresql" else 2]


def test_a_model_pays_those_it_was_trained_on(workspace: Workspace) -> None:
    use(workspace, "k1", work="run:r7", owner="ann")
    use(workspace, "k2", work="run:other", owner="bob")
    model, run = "cd" * 32, urn("run", "r7")
    fact = Fact(
        "model.release",
        (Subject(urn("model", model), model),),
        "train",
        inputs=(Input(run, DIGEST, "parentOf"),),
        facts={"licence": "-"},
    )
    record(workspace, [fact])
    charge(workspace, "serving", 1_000, "CNY", key="royalty", kind="model", about=f"model:{model}")
    with pytest.raises(NotFound):
        charge(workspace, "serving", 1_000, "CNY", key="x", kind="model", about=f"model:{DIGEST}")
    month, end = this_month(workspace)
    statement = settle_period(workspace, month, at_us=end)
    assert [[row[0] for row in table] for table in tables_of(workspace, statement)] == [["ann"]]


def test_a_line_of_usage_is_canonical_json() -> None:
    from malan.core.canonical import read_canonical

    row = read_canonical(usage_line(1, "g", "s", "a", "o", DIGEST, "run:r", 5, 2, 10, 99))
    assert (row["amount"], row["us"], row["passes"], row["work"]) == (10, 5, 2, "run:r")


@pytest.mark.parametrize("name", ["grant_id", "asset_id", "owner_id", "holders_id", "work", "snapshot_id"])
@pytest.mark.parametrize("value", ['a"b', "a\\", "", "a b", "片", "x" * 201, "a\x00", 7])
def test_nothing_that_would_need_escaping_gets_into_a_line(name: str, value: object) -> None:
    ids = dict.fromkeys(("grant_id", "snapshot_id", "asset_id", "owner_id", "holders_id"), "a") | {"work": "run:r"}
    with pytest.raises(UsageError):
        Usage(**{**ids, name: value}, microseconds=1)  # type: ignore[arg-type]


def test_a_page_that_the_ledger_does_not_hold_is_not_settled(
    workspace: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    use(workspace, "k1")
    charge(workspace, "g", 100, "CNY", key="c")
    seal_usage(workspace)
    monkeypatch.setattr(settlement_usage, "page_event", lambda *_: None)
    month, end = this_month(workspace)
    with pytest.raises(ProofError) as caught:
        settle_period(workspace, month, at_us=end)
    assert caught.value.code == "meter.page_unlogged"


def this_month(_ws: Workspace) -> tuple[str, int]:
    """The month it is, and a moment after its end."""
    from datetime import UTC, datetime

    month = datetime.now(UTC).strftime("%Y-%m")
    return month, period_end_us(month) + 1


def _die(*_: object) -> None:
    raise KeyboardInterrupt
