"""A model that a real run released: shown, traced to seconds of footage, exported, served, taken out of use."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from market_place import STATION, STUDIO
from run_place import BUYER, OWNER, SET, grant_on
from typer.testing import CliRunner

from malan.cli.main import app
from malan.core.errors import NotGranted
from malan.rights.terms import party_id
from malan.services.log.keys import show_keys
from malan.services.market.grants import revoke_grant
from malan.services.models.cards import card_markdown, show_model
from malan.services.models.exports import export_model
from malan.services.models.registry import get_model
from malan.services.models.rights import decide_model_use, retire_model
from malan.services.models.rows import ModelRow
from malan.services.models.service import open_service
from malan.services.models.trace import describe_trace, model_receipt, trace_model
from malan.services.runs.submission import get_run, submit_run
from malan.services.runs.worker import work
from malan.store.features import WIDTH
from malan.workspace import Workspace


@pytest.fixture(scope="module")
def released(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Workspace, ModelRow]]:
    ws = Workspace.create(tmp_path_factory.mktemp("released") / "ws")
    run = submit_run(ws, "tagger", grant_on(ws, STATION, STUDIO), {"label_set": SET}, caller=BUYER)
    work(ws, once=True)
    yield ws, get_model(ws, get_run(ws, run.id).model_id or "")
    ws.log.close()
    ws.database.dispose()


def test_shares_are_those_of_the_meter(released: tuple[Workspace, ModelRow]) -> None:
    ws, model = released
    assert set(model.shares) == {party_id(STATION), party_id(STUDIO)}
    assert sum(model.shares.values()) == 1
    traced = describe_trace(trace_model(ws, model.id))
    used = dict.fromkeys((STATION, STUDIO), 0)
    for one in traced["lineage"][0]["assets"]:
        used[one["owner"]] += one["clip_seconds"]
    for owner, seconds in used.items():
        assert seconds / sum(used.values()) == model.shares[party_id(owner)]


def test_the_card_tells_what_the_gate_measured(released: tuple[Workspace, ModelRow]) -> None:
    ws, model = released
    card = card_markdown(ws, model, "zh")
    assert "均衡准确率" in card
    assert "tagger" in card
    assert show_model(ws, model.id)["uses"]["export"]["allowed"]


def test_its_buyer_takes_it_away_as_onnx(released: tuple[Workspace, ModelRow], tmp_path: Path) -> None:
    ws, model = released
    done = export_model(ws, model.id, tmp_path / "out", form="onnx", caller=BUYER)
    assert (done.difference or 0) < 1e-4
    described = json.loads((tmp_path / "out" / "model.json").read_text("utf-8"))
    assert sorted(described["run"]["facts"]["classes"]) == ["夜", "日"]


def test_a_stranger_checks_the_proof_of_its_release(released: tuple[Workspace, ModelRow], tmp_path: Path) -> None:
    ws, model = released
    (tmp_path / "receipt").write_bytes(model_receipt(ws, model.id, caller=BUYER))
    command = [sys.executable, "-m", "malan.ledger.verify", str(tmp_path / "receipt"), "--key", show_keys(ws).vkey]
    assert subprocess.run(command, check=False, capture_output=True).returncode == 0
    assert model.title.encode() not in (tmp_path / "receipt").read_bytes()


def test_it_answers_rows_of_features(released: tuple[Workspace, ModelRow]) -> None:
    ws, model = released
    answer = open_service(ws, model.id).classify(np.zeros((2, WIDTH)).tolist())
    assert [sum(row) for row in answer["probabilities"]] == pytest.approx([1, 1], abs=1e-4)


def test_after_the_grant_is_revoked_only_what_owners_approve_leaves(released: tuple[Workspace, ModelRow]) -> None:
    ws, model = released
    revoke_grant(ws, model.run["grant"], "违约", caller=OWNER)
    decision = decide_model_use(ws, model, "export", caller=BUYER)
    assert {reason.code for reason in decision.reasons} == {"models.why.revoked"}
    assert decide_model_use(ws, model, "apply").allowed
    for name in (STATION, STUDIO):
        done = CliRunner().invoke(
            app, ["model", "approve", model.id, "--for", "export", "--as", name, "--workspace", str(ws.root)]
        )
        assert done.exit_code == 0, done.output
    assert decide_model_use(ws, model, "export", caller=BUYER).allowed


def test_it_is_applied_by_command_and_then_retired(released: tuple[Workspace, ModelRow]) -> None:
    ws, model = released
    arguments = ["model", "apply", model.id, "--json", "--workspace", str(ws.root)]
    result = CliRunner().invoke(app, arguments)
    assert result.exit_code == 0, result.output
    assert sum(json.loads(result.output)["names"].values()) > 0
    retire_model(ws, model.id, "期满")
    with pytest.raises(NotGranted):
        open_service(ws, model.id)
