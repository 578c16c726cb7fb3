"""What the terms say about learning by heart is done: asked for, measured, told to each side as much as it may know."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from run_place import BUYER, OWNER, SET, grant_on

from malan.core import Terms
from malan.core.errors import Rejected
from malan.rights.meter import CLIP_SECONDS
from malan.services.runs import checks as run_checks
from malan.services.runs import memory as run_recall
from malan.services.runs.algorithms import get_algorithm
from malan.services.runs.gate import known_result
from malan.services.runs.memory import ask_of
from malan.services.runs.receipts import read_receipt
from malan.services.runs.submission import Asked, decide_run, get_run, submit_run
from malan.services.runs.view import describe_run
from malan.services.runs.worker import work
from malan.services.settlement.metering import meter
from malan.workspace import Workspace

FIGURES = {"outcome", "canaries", "bits", "known", "chance"}


@pytest.fixture
def local(tmp_path: Path) -> Iterator[Workspace]:
    ws = Workspace.create(tmp_path / "local")
    yield ws
    ws.database.dispose()


def tagged(ws: Workspace, **said: Any) -> Any:
    """A run of the tagger under terms that say so, worked off."""
    grant = grant_on(ws, **said)
    run = submit_run(ws, "tagger", grant, {"label_set": SET, "hidden": 0}, asked=Asked(), caller=BUYER)
    work(ws, once=True)
    return get_run(ws, run.id)


def copies(ws: Workspace, run: Any) -> tuple[dict[str, Any], dict[str, Any]]:
    """What both copies of the receipt say."""
    owner, party = (json.loads(read_receipt(ws, run.id, copy).body) for copy in ("owner", "party"))
    return owner, party


@pytest.fixture
def nothing_may_stay(monkeypatch: pytest.MonkeyPatch) -> None:
    """A model counts as one that learned by heart as soon as it knows canaries a little better than their like."""
    ask = run_recall.ask_of

    def strictly(*what: Any) -> dict[str, Any]:
        return {**ask(*what), "most_known": 0.0, "most_chance": 0.9}

    monkeypatch.setattr(run_checks, "ask_of", strictly)


def test_where_the_terms_say_nothing_a_model_is_asked_and_both_sides_learn_how_it_went(local: Workspace) -> None:
    run = tagged(local)
    assert run.state == "released"
    owner, party = copies(local, run)
    assert owner["memorisation"].keys() == FIGURES
    assert (owner["memorisation"]["outcome"], owner["memorisation"]["canaries"]) == ("nothing-found", 8)
    assert party["memorisation"] == "nothing-found"


def test_asking_costs_the_buyer_nothing_and_pays_nobody(local: Workspace, tmp_path: Path) -> None:
    other = Workspace.create(tmp_path / "other")
    runs = [(local, tagged(local)), (other, tagged(other, memorisation="unchecked"))]
    used = [[one.consumed for one in meter(ws).accounts(run.grant_id) if one.unit == CLIP_SECONDS] for ws, run in runs]
    assert used[0] == used[1]
    assert copies(*runs[0])[0]["seconds"] == copies(*runs[1])[0]["seconds"]
    assert copies(*runs[1])[1]["memorisation"] == "not-asked"
    other.database.dispose()


@pytest.mark.usefixtures("nothing_may_stay")
def test_what_a_model_learned_by_heart_is_for_the_owner_to_decide(local: Workspace) -> None:
    run = tagged(local)
    assert run.state == "held"
    told = {
        caller: describe_run(local, run, caller=who)["reasons"] for caller, who in (("buyer", BUYER), ("owner", OWNER))
    }
    assert [one["code"] for one in told["buyer"]] == ["gate.party.memory"]
    assert [one["code"] for one in told["owner"]] == ["gate.canaries"]
    let_go = decide_run(local, run.id, "release", "labels are no secret", caller=OWNER)
    assert let_go.state == "released"
    owner, party = copies(local, let_go)
    assert (owner["memorisation"]["outcome"], party["memorisation"]) == ("found", "found")


@pytest.mark.usefixtures("nothing_may_stay")
def test_under_strict_terms_it_is_refused_and_nobody_lets_it_through(local: Workspace) -> None:
    run = tagged(local, memorisation="strict")
    assert run.state == "refused"
    result = known_result(local, run)
    assert result is not None
    assert (result.files, [one.code for one in result.party_reasons]) == ({}, ["gate.party.remembers"])
    assert {"bits", "known"} <= dict(result.steps[-2].evidence).keys()
    with pytest.raises(Rejected):
        decide_run(local, run.id, "release", "please", caller=OWNER)
    _, party = copies(local, run)
    assert (party["files"], party["memorisation"]) == ({}, "found")


def test_the_buyers_copy_holds_one_word_and_no_figure_of_it(local: Workspace) -> None:
    owner, party = copies(local, tagged(local))
    figures = [str(value) for name, value in owner["memorisation"].items() if name in ("bits", "known", "chance")]
    text = json.dumps({name: value for name, value in party.items() if name != "metrics"})
    assert not any(f'"{one}"' in text for one in figures)


@pytest.mark.parametrize(
    ("tier", "said", "asked"),
    [
        ("recipe", None, {"needs", "most_known", "refuses_memory"}),
        ("recipe", "unchecked", set()),
        ("recipe-dp", "strict", {"needs", "most_known", "refuses_memory"}),
        ("code", "checked", set()),
        ("code", "strict", {"is_held"}),
    ],
)
def test_only_what_our_own_trainers_made_is_asked(
    local: Workspace, tier: str, said: str | None, asked: set[str]
) -> None:
    package = get_algorithm(local, "tagger")
    terms = Terms("f" * 64, "terms", ("train",), memorisation=said)
    assert ask_of(package, tier, terms).keys() == asked
    assert ask_of(replace(package, memory=""), "recipe", replace(terms, memorisation="strict")) == {"is_held": True}
