"""Runs in the real sandbox: what is refused, what is told to whom, what is counted, and what a person may end."""

from __future__ import annotations

import json
import stat
import threading
import time
from dataclasses import replace
from typing import Any

import pytest
import run_programs as programs
from market_place import BUYER_NAME, RIVAL, STATION, STUDIO, party
from run_place import BUYER, FILMS, OWNER, SECOND, SET, grant_on
from waiting import until

from malan.core.errors import MalanError, NotFound, NotGranted, ProofError, Rejected, RetryLater, UsageError
from malan.core.ids import digest_bytes
from malan.ledger.keys import SYSTEM
from malan.ledger.statement import urn
from malan.rights.meter import CLIP_SECONDS, OUTPUT_BYTES, RUNS
from malan.services.footage.withdrawal import reach_of, withdraw_asset
from malan.services.journal import events_about, read_event
from malan.services.market.contracts import Changes
from malan.services.market.grants import revoke_grant
from malan.services.models.registry import get_model
from malan.services.runs.algorithms import submit_algorithm
from malan.services.runs.approvals import approve_algorithm, reject_algorithm
from malan.services.runs.folder import RunFolder, gate_secret
from malan.services.runs.gate import known_result
from malan.services.runs.receipts import certified, check_receipt
from malan.services.runs.submission import (
    Asked,
    cancel_run,
    decide_run,
    get_run,
    list_runs,
    resume_run,
    run_log,
    run_receipt,
    submit_run,
)
from malan.services.runs.view import describe_run
from malan.services.runs.worker import recover, work
from malan.services.settlement.charges import charge, settlement_tables
from malan.services.settlement.metering import meter, page_event, seal_usage
from malan.services.settlement.tables import CHARGES
from malan.training.gate import owner_receipt, party_receipt
from malan.workspace import Workspace


@pytest.fixture
def local(tmp_path):
    """A workspace on SQLite alone: where the database plays no part."""
    ws = Workspace.create(tmp_path / "local")
    yield ws
    ws.database.dispose()


@pytest.fixture(scope="module")
def released(tmp_path_factory):
    """A workspace in which one run was released, and the run: for looking at."""
    ws = Workspace.create(tmp_path_factory.mktemp("released") / "ws")
    grant = grant_on(ws, price="250:CNY/run")
    run = tag(ws, grant)
    work(ws, once=True)
    yield ws, get_run(ws, run.id)
    ws.database.dispose()


def tag(ws: Any, grant: str, **more: Any) -> Any:
    """A run of our own recipe."""
    return submit_run(ws, "tagger", grant, {"label_set": SET, "hidden": 0}, asked=Asked(**more), caller=BUYER)


def worked(ws: Any, run: Any) -> Any:
    """The run after a worker has done what there was to do."""
    work(ws, once=True)
    return get_run(ws, run.id)


def code(ws: Any, grant: str, source: str = programs.LINE, name: str = "line", **said: Any) -> None:
    """Code of the buyer's on record, its owners asked."""
    submit_algorithm(ws, programs.package(source, name, **said), grant=grant, caller=BUYER)


def approved(ws: Any, grant: str, source: str = programs.LINE, name: str = "line", **said: Any) -> None:
    code(ws, grant, source, name, **said)
    approve_algorithm(ws, name)


def accounts(ws: Any, grant: str) -> dict[str, Any]:
    return {one.unit: one for one in meter(ws).accounts(grant)}


# The way to a model.


def test_a_run_becomes_a_model_a_receipt_and_a_line_back_to_the_owners(workspace):
    grant = grant_on(workspace, price="250:CNY/run")
    run = tag(workspace, grant, name="日夜分类")
    assert run.state == "queued"
    found = worked(workspace, run)
    assert found.state == "released", describe_run(workspace, found)["reasons"]
    model = get_model(workspace, "日夜分类")
    assert (model.id, model.run["id"], model.run["parameters"]["label_set"]) == (found.model_id, run.id, SET)
    assert model.run["facts"]["classes"] == sorted(["日", "夜"])
    (start,) = events_about(workspace, "run.start", urn("run", run.id))
    (release,) = events_about(workspace, "model.release", urn("model", model.id))
    (end,) = events_about(workspace, "run.end", urn("run", run.id))
    assert start < release < end
    asset = workspace.library.assets()[0].asset.id
    reach = reach_of(workspace, asset)
    assert (reach.runs, reach.models) == ((run.id,), (model.id,))


def test_what_a_run_took_is_counted_once_and_nothing_stays_held(local):
    grant = grant_on(local)
    run = worked(local, tag(local, grant))
    found = accounts(local, grant)
    assert all(one.reserved == 0 for one in found.values())
    assert (found[RUNS].consumed, found[OUTPUT_BYTES].consumed) == (1, run.charged_bytes)
    cost = describe_run(local, run, caller=BUYER)["cost"]
    assert float(cost["clip_seconds"]) * 1_000_000 == found[CLIP_SECONDS].consumed
    pages = seal_usage(local)
    assert pages
    assert all(page_event(local, page) is not None for page in pages)


def test_the_price_of_a_run_is_owed_once_it_was_counted_and_divided_by_its_use(released):
    local, run = released
    with settlement_tables(local).connect() as connection:
        (owed,) = connection.execute(CHARGES.select()).all()
    assert (owed.kind, owed.about, owed.gross_minor) == ("model", f"run:{run.id}", 250)
    assert describe_run(local, run)["cost"]["owed"] == {"minor": 250, "currency": "CNY", "per": "run"}
    again = charge(local, run.grant_id, 5, "CNY", key="more", kind="model", about=f"model:{run.model_id}")
    assert again.about == f"run:{run.id}"


def test_both_copies_of_the_receipt_are_signed_and_stand_in_the_log(released):
    local, run = released
    key = local.keys.actor(SYSTEM).key_id
    owner, buyer = run_receipt(local, run.id, caller=OWNER), run_receipt(local, run.id, caller=BUYER)
    told, shown = check_receipt(owner.to_file(), key), check_receipt(buyer.to_file(), key)
    assert (told["copy"], shown["copy"], told["run"], shown["state"]) == ("owner", "party", run.id, "passed")
    assert told["seconds"]
    assert "steps" not in shown
    (end,) = events_about(local, "run.end", urn("run", run.id))
    facts = read_event(local, end).statement.facts
    assert (facts["receipt"], facts["receipt_party"]) == (owner.digest, buyer.digest)
    assert facts["receipt"] == digest_bytes(owner.body)


@pytest.mark.parametrize(
    "change", [lambda data: data.replace(b"passed", b"failed"), lambda data: data[:-5], lambda _: b"{}"]
)
def test_a_receipt_that_was_changed_is_none(released, change):
    local, run = released
    with pytest.raises(ProofError):
        check_receipt(change(run_receipt(local, run.id).to_file()))


def test_another_key_makes_no_receipt(released):
    local, run = released
    with pytest.raises(ProofError):
        check_receipt(run_receipt(local, run.id).to_file(), local.keys.actor("operator").key_id)


# What is refused, and when.


@pytest.mark.parametrize(
    ("said", "asked", "why"),
    [
        ({"tiers": ["recipe-dp"]}, {}, "recipe"),
        ({"egress": ["adapter", "metrics"]}, {}, "weights"),
        ({"isolation": "confidential"}, {}, "confidential"),
        ({"uses": ["retrieve"]}, {}, "train"),
        ({"limits": {"runs": 0}}, {}, "runs"),
        ({"limits": {"output_bytes": 100}}, {}, "budget"),
        ({}, {"tier": "code"}, "tier"),
        ({}, {"tier": "recipe-dp"}, "tier"),
    ],
)
def test_what_the_agreement_does_not_allow_is_refused_at_submission(local, said, asked, why):
    grant = grant_on(local, **said)
    with pytest.raises(NotGranted, match=why):
        tag(local, grant, **asked)
    assert list_runs(local) == []


def test_clips_nobody_labelled_are_no_clips_to_learn_from(local):
    grant = grant_on(local)
    with pytest.raises(NotGranted, match="0 clips to learn from"):
        submit_run(local, "tagger", grant, {"label_set": "shot-size"}, caller=BUYER)


def test_an_algorithm_that_needs_more_clips_or_memory_than_there_is_is_refused(local):
    grant = grant_on(local)
    code(local, grant, name="many", min_clips=10_000)
    code(local, grant, name="wide", memory_mb=1_000_000)
    code(local, grant, name="long", wall_s=20 * 86_400)
    for name, why in (("many", "10000"), ("wide", "1000000 MB"), ("long", "1728000 s")):
        with pytest.raises(NotGranted, match=why):
            submit_run(local, name, grant, caller=BUYER)


def test_a_purpose_is_asked_for_where_the_agreement_names_some(local):
    changes = Changes(purposes=("research",))
    grant = grant_on(local, changes=changes)
    with pytest.raises(NotGranted, match="purpose"):
        tag(local, grant)
    assert tag(local, grant, purpose="research", territory="CN").state == "queued"


NONSENSE: list[tuple[Any, dict[str, Any]]] = [
    ({"hidden": 10_000}, {}),
    ({"nothing": 1}, {}),
    (["hidden"], {}),
    ({}, {"priority": "urgent"}),
    ({}, {"priority": "high"}),
    ({}, {"seed": -1}),
    ({}, {"name": "../x"}),
]


def test_nonsense_is_refused_as_such(local):
    grant = grant_on(local)
    for given, asked in NONSENSE:
        with pytest.raises(UsageError):
            submit_run(local, "tagger", grant, given, asked=Asked(**asked), caller=BUYER)
    assert list_runs(local) == []


def test_a_promise_of_privacy_is_not_made_with_an_epsilon_of_zero(local):
    grant = grant_on(local, uses=["retrieve", "train", "generative_train"])
    with pytest.raises(NotGranted, match="ε = 0"):
        submit_run(local, "text-lora", grant, {}, asked=Asked(tier="recipe-dp"), caller=BUYER)


def test_epsilon_and_delta_stand_in_both_copies_of_the_receipt(released):
    ws, run = released
    private = replace(run, tier="recipe-dp", ran={**run.ran, "epsilon": "2", "delta": "1e-05"})
    told = certified(ws, private)
    for write in (owner_receipt, party_receipt):
        said = json.loads(write(told, known_result(ws, run), 64))
        assert (said["tier"], said["epsilon"], said["delta"]) == ("recipe-dp", "2", "1e-05")


def test_a_stranger_finds_neither_grant_nor_run(local):
    grant = grant_on(local)
    run = tag(local, grant)
    rival = party(RIVAL)
    for ask in (
        lambda: submit_run(local, "tagger", grant, {"label_set": SET}, caller=rival),
        lambda: get_run(local, run.id, caller=rival),
        lambda: describe_run(local, run, caller=rival),
        lambda: cancel_run(local, run.id, caller=rival),
        lambda: resume_run(local, run.id, caller=rival),
        lambda: run_log(local, run.id, caller=rival),
        lambda: run_receipt(local, run.id, caller=rival),
        lambda: decide_run(local, run.id, "release", "mine", caller=rival),
    ):
        with pytest.raises(NotFound):
            ask()
    assert list_runs(local, caller=rival) == []


def test_an_owner_submits_nothing_and_a_buyer_decides_nothing(local):
    grant = grant_on(local)
    with pytest.raises(MalanError):
        submit_run(local, "tagger", grant, {"label_set": SET}, caller=OWNER)
    approved(local, grant)
    run = worked(local, submit_run(local, "line", grant, caller=BUYER))
    assert run.state == "held"
    with pytest.raises(MalanError):
        decide_run(local, run.id, "release", "please", caller=BUYER)


def test_a_grant_that_was_revoked_meanwhile_is_refused_at_the_start(local):
    grant = grant_on(local)
    run = tag(local, grant)
    revoke_grant(local, grant, "changed our mind")
    found = worked(local, run)
    assert found.state == "refused"
    assert not found.has_begun
    assert accounts(local, grant)[RUNS].consumed == 0
    assert any("revoked" in one["text"] for one in describe_run(local, found, caller=BUYER)["reasons"])


def test_footage_that_was_taken_back_meanwhile_is_left_out(local):
    grant = grant_on(local)
    run = tag(local, grant)
    for row in local.library.assets()[: FILMS // 2]:
        withdraw_asset(local, row.asset.id, "mine again")
    found = worked(local, run)
    assert found.state == "released"
    assert found.ran["facts"]["clips"] < 44


def test_the_last_run_of_a_grant_is_the_last(local):
    grant = grant_on(local, limits={"runs": 1, "clip_seconds": 100_000, "output_bytes": 1_000_000})
    first, second = tag(local, grant), tag(local, grant)
    work(local, once=True)
    assert (get_run(local, first.id).state, get_run(local, second.id).state) == ("released", "refused")
    with pytest.raises(NotGranted, match="all of them are used"):
        tag(local, grant)


def test_a_run_stops_where_the_seconds_of_the_grant_end(local):
    grant = grant_on(local, limits={"runs": 5, "clip_seconds": 100, "output_bytes": 1_000_000})
    run = worked(local, tag(local, grant))
    assert run.state == "stopped"
    found = accounts(local, grant)
    assert found[CLIP_SECONDS].consumed <= 100_000_000
    assert found[CLIP_SECONDS].reserved == 0
    told = describe_run(local, run, caller=BUYER)["reasons"]
    assert [one["code"] for one in told] == ["runs.told.limit"]


# Code of the buyer's.


def test_code_waits_for_every_owner_and_its_result_for_their_word(workspace):
    grant = grant_on(workspace, STATION, STUDIO)
    code(workspace, grant)
    run = submit_run(workspace, "line", grant, caller=BUYER)
    assert run.state == "waiting"
    approve_algorithm(workspace, "line", caller=OWNER)
    assert worked(workspace, run).state == "waiting"
    approve_algorithm(workspace, "line", caller=SECOND)
    held = worked(workspace, run)
    assert held.state == "held"
    assert decide_run(workspace, run.id, "release", "fine", caller=OWNER).state == "held"
    released = decide_run(workspace, run.id, "release", "fine with us", caller=SECOND)
    assert released.state == "released"
    assert accounts(workspace, grant)[OUTPUT_BYTES].consumed == released.charged_bytes
    assert not RunFolder(workspace, run.id).leaving()
    with pytest.raises(Rejected):
        decide_run(workspace, run.id, "refuse", "too late", caller=OWNER)


def test_a_held_model_of_footage_that_was_taken_back_is_not_released(local):
    grant = grant_on(local)
    approved(local, grant)
    run = worked(local, submit_run(local, "line", grant, caller=BUYER))
    withdraw_asset(local, local.library.assets()[0].asset.id, "mine again")
    assert decide_run(local, run.id, "release", "fine", caller=OWNER).state == "held"
    assert [one["code"] for one in describe_run(local, get_run(local, run.id))["reasons"]] == ["runs.withdrawn"]
    assert decide_run(local, run.id, "refuse", "then not", caller=OWNER).state == "refused"


def test_one_owner_who_refuses_the_result_ends_it(local):
    grant = grant_on(local, STATION, STUDIO)
    approved(local, grant)
    run = worked(local, submit_run(local, "line", grant, caller=BUYER))
    decide_run(local, run.id, "release", "fine", caller=OWNER)
    assert decide_run(local, run.id, "refuse", "looks copied 夜景", caller=SECOND).state == "refused"
    assert accounts(local, grant)[OUTPUT_BYTES].consumed == 64
    told = json.dumps(describe_run(local, get_run(local, run.id), caller=BUYER), ensure_ascii=False)
    assert "copied" not in told
    assert get_run(local, run.id).model_id is None
    assert check_receipt(run_receipt(local, run.id, caller=BUYER).to_file())["state"] == "refused"


def test_code_that_an_owner_refuses_never_runs(local):
    grant = grant_on(local)
    code(local, grant)
    run = submit_run(local, "line", grant, caller=BUYER)
    reject_algorithm(local, "line", reason="opens too much", caller=OWNER)
    assert worked(local, run).state == "refused"
    assert accounts(local, grant)[RUNS].consumed == 0
    with pytest.raises(NotGranted):
        submit_run(local, "line", grant, caller=BUYER)


def test_an_approval_that_was_taken_back_counts_at_the_start(local):
    from malan.services.runs.approvals import revoke_approval

    grant = grant_on(local)
    approved(local, grant)
    run = submit_run(local, "line", grant, caller=BUYER)
    assert run.state == "queued"
    revoke_approval(local, "line", reason="wait", caller=OWNER)
    assert worked(local, run).state == "refused"


def test_the_buyer_is_told_nothing_that_its_code_chose(local):
    grant = grant_on(local)
    approved(local, grant, programs.BROKEN, "broken")
    run = worked(local, submit_run(local, "broken", grant, caller=BUYER))
    assert run.state == "failed"
    told = describe_run(local, run, caller=BUYER)
    assert [one["code"] for one in told["reasons"]] == ["runs.told.failed"]
    assert not {"ran", "gate", "used", "decisions", "worker"} & told.keys()
    assert all(one["at"].endswith("+00:00") and len(one["at"]) == 22 for one in told["steps"])
    assert "secret 1234" not in json.dumps(told, ensure_ascii=False)
    with pytest.raises(NotGranted):
        run_log(local, run.id, caller=BUYER)
    assert "secret 1234" in run_log(local, run.id, caller=OWNER)


def test_the_log_over_footage_of_several_owners_is_the_operators(local):
    grant = grant_on(local, STATION, STUDIO)
    run = worked(local, tag(local, grant))
    for owner in (OWNER, SECOND):
        with pytest.raises(NotGranted):
            run_log(local, run.id, caller=owner)
    run_log(local, run.id)


def test_a_model_that_learned_nothing_is_refused_and_costs_its_outcome(local):
    grant = grant_on(local)
    approved(local, grant, programs.LAZY, "lazy")
    run = worked(local, submit_run(local, "lazy", grant, caller=BUYER))
    assert (run.state, run.charged_bytes) == ("refused", 64)
    assert [one["code"] for one in describe_run(local, run, caller=BUYER)["reasons"]] == ["gate.party.effect"]


def test_a_run_that_takes_too_much_stops_and_can_go_on_with_what_it_saved(local):
    grant = grant_on(local)
    approved(local, grant, name="slow", wall_s=2)
    run = submit_run(local, "slow", grant, {"epochs": 3, "pause": 0.9}, caller=BUYER)
    stopped = worked(local, run)
    assert stopped.state == "stopped"
    assert RunFolder(local, run.id).has_checkpoint()
    resume_run(local, run.id, caller=BUYER)
    again = worked(local, run)
    assert again.state == "held"
    assert "starts at epoch 0" not in run_log(local, run.id)
    assert accounts(local, grant)[RUNS].consumed == 2
    decide_run(local, run.id, "refuse", "no", caller=OWNER)
    assert not RunFolder(local, run.id).has_checkpoint()


# The queue.


def test_one_party_has_so_many_runs_a_day_and_no_more(local):
    (local.root / "malan.toml").write_text("runs_a_day = 2\n")
    ws = Workspace(local.root)
    grant = grant_on(ws)
    tag(ws, grant), tag(ws, grant)
    with pytest.raises(RetryLater, match="24 hours"):
        tag(ws, grant)


def test_a_low_run_lets_another_of_the_same_party_go_first(local):
    grant = grant_on(local)
    low, normal = tag(local, grant, priority="low"), tag(local, grant)
    order: list[str] = []
    work(local, once=True, on_run=lambda run: order.append(run.id) if run.state == "running" else None)
    assert order == [normal.id, low.id]


def test_a_queued_run_is_cancelled_at_once_and_leaves_nothing(local):
    grant = grant_on(local)
    run = tag(local, grant)
    assert cancel_run(local, run.id, "wrong labels", caller=BUYER).state == "cancelled"
    assert work(local, once=True) == 0
    assert all(one.consumed == one.reserved == 0 for one in accounts(local, grant).values())
    with pytest.raises(Rejected):
        cancel_run(local, run.id, caller=BUYER)
    with pytest.raises(NotFound):
        run_receipt(local, run.id, caller=BUYER)


def test_a_run_at_work_is_cancelled_within_seconds(local):
    grant = grant_on(local)
    approved(local, grant)
    run = submit_run(local, "line", grant, {"epochs": 500, "pause": 0.2}, caller=BUYER)
    other = Workspace(local.root)
    thread = threading.Thread(target=work, args=(other,), kwargs={"once": True})
    thread.start()
    until(lambda: RunFolder(local, run.id).has_checkpoint())
    began = time.monotonic()
    assert cancel_run(local, run.id, caller=BUYER).is_cancelling
    thread.join()
    assert time.monotonic() - began < 10
    other.database.dispose()
    assert get_run(local, run.id).state == "cancelled"
    found = accounts(local, grant)
    assert all(one.reserved == 0 for one in found.values())
    assert (found[RUNS].consumed, found[OUTPUT_BYTES].consumed) == (1, 64)
    assert not RunFolder(local, run.id).has_checkpoint()


def test_a_worker_that_is_told_to_stop_puts_its_run_back(local):
    grant = grant_on(local)
    approved(local, grant)
    run = submit_run(local, "line", grant, {"epochs": 6, "pause": 0.3}, caller=BUYER)
    stop = threading.Event()
    thread = threading.Thread(target=work, args=(Workspace(local.root),), kwargs={"stop": stop.is_set})
    thread.start()
    until(lambda: RunFolder(local, run.id).has_checkpoint())
    stop.set()
    thread.join()
    back = get_run(local, run.id)
    assert (back.state, back.attempt) == ("queued", 0)
    until(lambda: time.time() > back.not_before_s)
    assert worked(local, run).state == "held"
    assert "starts at epoch 0" not in run_log(local, run.id)
    assert accounts(local, grant)[RUNS].consumed == 1


# The folder.


def test_what_a_run_keeps_can_be_read_by_nobody_else(local):
    grant = grant_on(local)
    approved(local, grant)
    run = worked(local, submit_run(local, "line", grant, caller=BUYER))
    folder = local.root / "runs" / run.id
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    assert all(stat.S_IMODE(path.stat().st_mode) == 0o600 for path in folder.iterdir())
    assert not RunFolder(local, run.id).raw()
    assert set(RunFolder(local, run.id).leaving()) == {"adapter.safetensors", "metrics.json"}
    secret = local.root / "keys" / "gate.secret"
    assert stat.S_IMODE(secret.stat().st_mode) == 0o600
    assert gate_secret(local) == secret.read_bytes() == gate_secret(Workspace(local.root))


def test_the_operator_sees_all_and_each_party_its_own(local):
    grant = grant_on(local)
    run = tag(local, grant)
    for caller in (BUYER, OWNER, party(BUYER_NAME)):
        assert [one.id for one in list_runs(local, caller=caller)] == [run.id]
    assert list_runs(local, caller=party(STUDIO)) == []
    assert [one.id for one in list_runs(local, state="queued")] == [run.id]
    assert list_runs(local, state="held") == []
    with pytest.raises(UsageError):
        list_runs(local, state="lost")
    assert recover(local) == 0
