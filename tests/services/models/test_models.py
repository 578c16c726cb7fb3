"""The registry: weights by digest, names and versions, shares that add to one, and a ledger that says where from."""

from __future__ import annotations

from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path

import pytest
from market_place import STATION, STUDIO, pool
from model_factory import ANN, BOB, adapter_bytes, release_adapter, run_facts
from weights_factory import raw_file

from malan.core.errors import NotFound, NotGranted, ProofError, Rejected, UsageError
from malan.core.ids import digest_bytes
from malan.ledger.statement import urn
from malan.rights.meter import CLIP_SECONDS
from malan.rights.terms import party_id
from malan.services.access import BUYER, OWNER, Caller
from malan.services.datasets.freezing import show_snapshot
from malan.services.footage.withdrawal import reach_of
from malan.services.journal import read_event
from malan.services.models.registry import (
    family_tree,
    get_model,
    list_models,
    register_model,
    release_events,
    weights_bytes,
)
from malan.services.models.rows import Named, find_model
from malan.services.settlement.charges import charge
from malan.services.settlement.metering import meter, usage_of
from malan.workspace import Workspace


@pytest.fixture
def ws(tmp_path: Path) -> Iterator[Workspace]:
    ws = Workspace.create(tmp_path / "ws")
    yield ws
    ws.log.close()
    ws.database.dispose()


def test_a_released_model_is_found_by_name_version_and_digest(ws: Workspace) -> None:
    model = release_adapter(ws, name="夜景")
    assert (model.title, model.kind, model.form) == ("夜景@1", "sub", "adapter")
    for text in ("夜景", "夜景@1", model.id, model.id[:8]):
        assert find_model(ws, text) == model
    assert model.id == digest_bytes(adapter_bytes(1))
    assert weights_bytes(ws, model) == adapter_bytes(1)


def test_the_next_of_a_name_gets_the_next_number(ws: Workspace) -> None:
    assert [release_adapter(ws, seed, name="云海").version for seed in (1, 2, 3)] == ["1", "2", "3"]
    assert release_adapter(ws, 4, name="云海", version="2026-11").version == "2026-11"
    assert release_adapter(ws, 5, name="云海").version == "4"


def test_the_same_weights_again_are_the_same_model_and_both_runs_are_stated(ws: Workspace) -> None:
    first = release_adapter(ws)
    assert release_adapter(ws) == first
    again = release_adapter(ws, run=run_facts(99), name="another name")
    assert (again.title, again.shares) == (first.title, first.shares)
    assert set(again.run_ids) == {run_facts(1)["id"], run_facts(99)["id"]}
    assert len(release_events(ws, first.id)) == 2
    assert len(list_models(ws)) == 1


def test_a_name_and_version_belong_to_one_model(ws: Workspace) -> None:
    release_adapter(ws, 1, name="夜景", version="1")
    with pytest.raises(Rejected) as caught:
        release_adapter(ws, 2, name="夜景", version="1")
    assert caught.value.code == "models.name_taken"


@pytest.mark.parametrize("name", ["", " a", "a@b", "../x", "abcdef12", "a\nb", "x" * 81, "-a", "a/b"])
def test_an_impossible_name_is_refused(name: str) -> None:
    with pytest.raises(UsageError):
        Named(name)


def test_what_is_not_there_or_not_clear_is_said_so(ws: Workspace) -> None:
    with pytest.raises(NotFound) as caught:
        find_model(ws, "nobody")
    assert caught.value.code == "models.unknown"
    with pytest.raises(NotFound):
        find_model(ws, "abc")


def test_a_file_that_is_no_weights_is_refused_and_nothing_is_kept(ws: Workspace) -> None:
    for data in (b"", b"\x80\x04K\x01.", b"PK\x03\x04" + bytes(40), raw_file({}), raw_file({"a": {"dtype": "F32"}})):
        with pytest.raises(Rejected):
            register_model(ws, data, name="x", licence="MIT", shares={ANN: Fraction(1)})
    assert list_models(ws) == []
    assert not [path for path in (ws.root / "blobs").rglob("*") if path.is_file()]


def test_a_file_on_disk_is_copied_and_read_strictly(ws: Workspace, tmp_path: Path) -> None:
    path = tmp_path / "a.safetensors"
    path.write_bytes(adapter_bytes(7))
    model = register_model(ws, path, name="x", licence="MIT", shares={ANN: Fraction(1)})
    path.unlink()
    assert weights_bytes(ws, model) == adapter_bytes(7)
    path.write_bytes(adapter_bytes(7)[:-1])
    with pytest.raises(Rejected):
        register_model(ws, path, name="y", licence="MIT", shares={ANN: Fraction(1)})


def test_weights_that_were_changed_are_never_handed_out(ws: Workspace) -> None:
    model = release_adapter(ws)
    place = ws.root / "blobs" / model.id[:2] / model.id
    place.write_bytes(place.read_bytes()[:-1] + b"\x00")
    with pytest.raises(ProofError):
        weights_bytes(ws, model)


@pytest.mark.parametrize("shares", [{ANN: Fraction(1, 2)}, {ANN: Fraction(3, 2), BOB: Fraction(-1, 2)}, {ANN: 1.0}])
def test_shares_that_do_not_add_to_exactly_one_are_refused(ws: Workspace, shares: dict) -> None:
    with pytest.raises(UsageError):
        release_adapter(ws, shares=shares)
    assert list_models(ws) == []


def test_shares_follow_what_the_meter_counted_in_the_run(ws: Workspace) -> None:
    snapshot = pool(ws)
    clips = [entry.clip for entry in show_snapshot(ws, snapshot)[1].entries]
    work = run_facts(5)["id"]
    counted = meter(ws)
    counted.open("g1", {CLIP_SECONDS: None})
    hold = counted.reserve("g1", CLIP_SECONDS, 10**9, key="k")
    station = [clip for clip in clips if _owner(ws, clip.asset_id) == party_id(STATION)]
    rows = usage_of(ws, "g1", snapshot, station, work=f"run:{work}", passes=3)
    rows += usage_of(ws, "g1", snapshot, [clip for clip in clips if clip not in station], work=f"run:{work}")
    counted.consume(hold, sum(row.amount for row in rows), rows, key="k")
    model = register_model(ws, adapter_bytes(5), name="m", licence="MIT", run=run_facts(5), snapshot_id=snapshot)
    assert model.shares == {party_id(STATION): Fraction(3, 4), party_id(STUDIO): Fraction(1, 4)}
    charged = charge(ws, "g1", 400, "CNY", key="royalty", kind="model", about=f"model:{model.id}")
    assert charged.about == f"run:{work}"


def test_without_a_meter_shares_follow_the_snapshot(ws: Workspace) -> None:
    snapshot = pool(ws)
    model = register_model(ws, adapter_bytes(6), name="m", licence="MIT", run=run_facts(6), snapshot_id=snapshot)
    assert sum(model.shares.values()) == 1
    assert model.shares


def test_what_is_taken_back_lists_the_models_made_from_it(ws: Workspace) -> None:
    snapshot = pool(ws)
    asset = show_snapshot(ws, snapshot)[1].entries[0].clip.asset_id
    model = register_model(ws, adapter_bytes(8), name="m", licence="MIT", run=run_facts(8), snapshot_id=snapshot)
    child = release_adapter(ws, 9, base_id=model.id)
    assert set(reach_of(ws, asset).models) == {model.id, child.id}
    assert [one.id for one in family_tree(ws, child)] == [child.id, model.id]


def test_the_ledger_says_where_from_and_shows_no_name(ws: Workspace) -> None:
    model = release_adapter(ws, name="夜景", evaluation={"accuracy": "0.91"})
    logged = read_event(ws, release_events(ws, model.id)[0])
    assert [one.urn for one in logged.statement.inputs] == [urn("run", run_facts(1)["id"])]
    assert logged.statement.facts["licence"] == "Apache-2.0"
    assert "夜景".encode() not in logged.entry
    assert b"0.91" not in logged.entry


def test_a_party_sees_its_own_models_and_those_it_has_a_share_in(ws: Workspace) -> None:
    bought = release_adapter(ws, 1, party_id="buyer")
    release_adapter(ws, 2, shares={BOB: Fraction(1)})
    buyer = Caller("buyer", frozenset({BUYER}), "session")
    assert [model.id for model in list_models(ws, caller=buyer)] == [bought.id]
    assert len(list_models(ws, caller=Caller(BOB, frozenset({OWNER}), "session"))) == 1
    for text in ("adapter-2", "adapter-2@1", find_model(ws, "adapter-2").id, "nothing"):
        with pytest.raises(NotFound):  # as if there were none
            get_model(ws, text, caller=buyer)
    for text in ("adapter-1", "adapter-1@1", bought.id, bought.id[:12]):
        assert get_model(ws, text, caller=buyer).id == bought.id
    with pytest.raises(NotGranted):
        list_models(ws, caller=Caller("x", frozenset(), "session"))
    with pytest.raises(NotGranted):
        release_adapter(ws, 3, caller=buyer)


def _owner(ws: Workspace, asset_id: str) -> str:
    return ws.library.asset(asset_id).asset.owner_id


def test_a_base_is_not_paid_for_by_the_run_of_what_was_made_from_it(ws: Workspace) -> None:
    base = register_model(ws, adapter_bytes(20), name="base", licence="MIT", shares={ANN: Fraction(1)})
    release_adapter(ws, 21, base_id=base.id)
    assert len(release_events(ws, base.id)) == 1
    with pytest.raises(NotFound):
        charge(ws, "g", 100, "CNY", key="k", kind="model", about=f"model:{base.id}")


def test_two_buyers_whose_runs_gave_the_same_weights_both_have_the_model(ws: Workspace) -> None:
    first = release_adapter(ws, 1, party_id="one", run=run_facts(1))
    release_adapter(ws, 1, party_id="two", run=run_facts(2))
    for party in ("one", "two"):
        assert get_model(ws, first.id, caller=Caller(party, frozenset({BUYER}), "session")).id == first.id
    with pytest.raises(NotFound):
        get_model(ws, first.id, caller=Caller("three", frozenset({BUYER}), "session"))
