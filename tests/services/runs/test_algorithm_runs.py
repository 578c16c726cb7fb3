"""The buyer's own code from a new package to a model: it waits for every owner, and its result for the owner again."""

from __future__ import annotations

from pathlib import Path

import pytest
from market_place import BUYER_NAME, STATION, STUDIO
from run_place import BUYER, OWNER, SECOND, SET, grant_on

from malan.services.runs.algorithms import submit_algorithm
from malan.services.runs.approvals import approve_algorithm, revoke_approval, trust_publisher
from malan.services.runs.submission import get_run, submit_run
from malan.services.runs.worker import work
from malan.training.package.starter import starter_files
from malan.workspace import Workspace


@pytest.fixture
def local(tmp_path: Path) -> Workspace:
    return Workspace.create(tmp_path / "ws")


def test_code_of_a_buyer_waits_for_owners_and_its_result_for_them_too(local: Workspace) -> None:
    grant = grant_on(local, STATION, STUDIO)
    found = submit_algorithm(local, starter_files("mine", BUYER_NAME), grant=grant, caller=BUYER)
    run = submit_run(local, "mine", grant, {"label_set": SET}, caller=BUYER)
    work(local, once=True)
    assert get_run(local, run.id).state == "waiting"
    approve_algorithm(local, found.digest, caller=OWNER)
    work(local, once=True)
    assert get_run(local, run.id).state == "waiting"
    approve_algorithm(local, found.digest, caller=SECOND)
    work(local, once=True)
    work(local, once=True)
    assert get_run(local, run.id).state == "held"


def test_an_approval_taken_back_holds_the_next_run(local: Workspace) -> None:
    grant = grant_on(local)
    trust_publisher(local, BUYER_NAME, caller=OWNER)
    found = submit_algorithm(local, starter_files("mine", BUYER_NAME), grant=grant, caller=BUYER)
    first = submit_run(local, "mine", grant, {"label_set": SET}, caller=BUYER)
    revoke_approval(local, found.digest, reason="a second look", caller=OWNER)
    work(local, once=True)
    assert get_run(local, first.id).state not in ("held", "released")
    second = submit_run(local, "mine", grant, {"label_set": SET, "epochs": 3}, caller=BUYER)
    assert get_run(local, second.id).state == "waiting"
