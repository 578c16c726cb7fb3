"""Who is owed what on pages: a month is tried and settled, each sees its own part, fetches the proof and may object."""

from __future__ import annotations

import time
from collections.abc import Iterator

import pytest
from account_factory import party
from console_person import Person

from malan.rights.holders import Holders
from malan.rights.meter import Meter
from malan.rights.usage import MICROSECONDS, Usage
from malan.services.access import COMMAND_LINE
from malan.services.accounts.parties import caller_of_party, find_party
from malan.services.log.keys import show_keys
from malan.services.settlement.charges import charge
from malan.services.settlement.desk import draft_statement, statements_page
from malan.services.settlement.statement_files import check_statement_file
from malan.services.settlement.statements import list_statements
from malan.workspace import Workspace

ANN, BOB, NEITHER = "安妮影像", "Bob & <Sons>", "无关公司"


@pytest.fixture(scope="module")
def month() -> str:
    """The last month that is over."""
    now = time.gmtime()
    return f"{now.tm_year - (now.tm_mon == 1)}-{(now.tm_mon - 2) % 12 + 1:02d}"


@pytest.fixture(scope="module")
def ws(tmp_path_factory: pytest.TempPathFactory, month: str) -> Iterator[Workspace]:
    """A month in which footage of two owners was used, three seconds of one for each of the other, for 100 CNY."""
    ws = Workspace.create(tmp_path_factory.mktemp("statements") / "ws")
    for name, role, login in ((ANN, "owner", "ann"), (BOB, "owner", "bob"), (NEITHER, "owner", "neither")):
        party(ws, name, role, login=login)
    party(ws, "园区", "operator", login="park")
    party(ws, "审计所", "auditor", login="audit")
    at_us = (int(time.mktime(time.strptime(f"{month}-15", "%Y-%m-%d")))) * MICROSECONDS
    meter = Meter(ws.database, now_us=lambda: at_us)
    meter.open("g1", {"clip_seconds": None})
    for name, seconds in ((ANN, 30), (BOB, 10)):
        owner = find_party(ws, name).id
        asset = f"asset-of-{owner[:8]}"
        holders = Holders(ws.database).now({asset: owner})[asset]
        row = Usage("g1", "snap", asset, owner, holders, "run:r1", seconds * MICROSECONDS, 1)
        hold = meter.reserve("g1", "clip_seconds", row.amount, f"k-{owner[:8]}")
        meter.consume(hold, row.amount, [row])
    charge(ws, "g1", 10_000, "CNY", key="c1", at_us=at_us)
    yield ws
    ws.database.dispose()


@pytest.fixture(scope="module")
def settled(ws: Workspace, month: str) -> str:
    """The month, tried and then settled on the page."""
    park = Person(ws, "park", "zh")
    said = {"period": month, "fee": "10", "holdback_days": "200"}
    page = park.post("/statements", 200, **said)
    assert "90.00 元" in page
    assert list_statements(ws) == [], "trying writes nothing"
    assert draft_statement(ws, said, caller=COMMAND_LINE)["fees"] == [{"name": "platform", "percent": "10"}]
    return park.post("/statements", for_good="1", **said)


def test_an_operator_sees_who_gets_what_and_an_owner_its_own_part_alone(ws: Workspace, settled: str) -> None:
    whole = Person(ws, "park").get(settled)
    for said in (ANN, "Bob &amp; &lt;Sons&gt;", "67.50 CNY", "22.50 CNY", "75%", "Platform 10%"):
        assert said in whole, said
    own = Person(ws, "bob", "zh").get(settled)
    assert "22.50 元" in own
    assert "67.50" not in own
    assert ANN not in own
    assert "22.50 元" in Person(ws, "bob", "zh").get("/statements")
    Person(ws, "neither").get(settled, 404)
    assert 'class="empty"' in Person(ws, "neither").get("/statements")


def test_a_party_fetches_its_own_proof_which_holds_and_no_other(ws: Workspace, settled: str) -> None:
    ann, bob = find_party(ws, ANN).id, find_party(ws, BOB).id
    client = Person(ws, "bob").client
    reply = client.get(f"{settled}/file?party={bob}")
    assert check_statement_file(reply.content, [show_keys(ws).vkey]).amounts == {"CNY": 2250}
    assert "attachment" in reply.headers["content-disposition"]
    assert client.get(f"{settled}/file?party={ann}").status_code == 403
    assert client.get(f"{settled}/file").status_code == 403, "all rows are for auditors"
    audit = Person(ws, "audit").client.get(f"{settled}/file")
    assert check_statement_file(audit.content, [show_keys(ws).vkey]).amounts == {"CNY": 9000}


def test_an_owner_objects_and_an_operator_decides(ws: Workspace, settled: str) -> None:
    ann, park = Person(ws, "ann", "zh"), Person(ws, "park", "zh")
    assert 'role="alert"' in ann.post(f"{settled}/dispute", 400, reason=" ")
    ann.post(f"{settled}/dispute", reason="<script>少算了</script>")
    page = park.get(settled)
    assert "&lt;script&gt;少算了" in page
    assert "待定" in page
    assert "少算了" not in Person(ws, "bob").get(settled), "what one objects to is not the other's"
    ann.post(f"{settled}/reject", 403)
    Person(ws, "neither").post(f"{settled}/dispute", 404, reason="mine too")
    park.post(f"{settled}/reject")
    assert "驳回" in ann.get(settled)


def test_nobody_else_settles_and_a_month_under_way_is_only_tried(ws: Workspace) -> None:
    Person(ws, "ann").post("/statements", 403, period="2026-01")
    park, now = Person(ws, "park"), time.strftime("%Y-%m", time.gmtime())
    park.post("/statements", 200, period=now)
    for said in ({"period": now, "for_good": "1"}, {"period": "x"}, {"period": now, "fee": "9e9"}):
        page = park.post("/statements", 409 if "for_good" in said else 400, **said)
        assert 'role="alert"' in page


def test_what_stands_to_each_is_told_to_each(ws: Workspace, settled: str) -> None:
    bob = caller_of_party(ws, find_party(ws, BOB).id, "session")
    assert bob is not None
    page = statements_page(ws, caller=bob)
    assert [(one["name"], one["held"]) for one in page["owed"]] == [(BOB, {"CNY": 2250})]
    assert not page["may_settle"]
