"""A run from its package to the gate's answer, with real sandboxes."""

from __future__ import annotations

import pytest
from drawn_algorithm import Purse, plan_of

from malan.runtime.sandbox import read_log
from malan.training.gate import inspect_output
from malan.training.running import make_trial, run_algorithm

SECRET = b"s" * 32


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> dict[str, object]:
    """One honest run, with everything it told on the way."""
    purse, told, checkpoints = Purse(), [], []
    plan = plan_of(purse=purse)
    log = tmp_path_factory.mktemp("run") / "run.log"
    found = run_algorithm(plan, log=log, on_progress=lambda *one: told.append(one), on_checkpoint=checkpoints.append)
    return {"plan": plan, "finished": found, "purse": purse, "told": told, "checkpoints": checkpoints, "log": log}


def test_an_honest_run_passes_the_gate(finished: dict) -> None:
    found = finished["finished"]
    assert (found.ran.end, found.reason) == ("ok", None), read_log(finished["log"])
    assert set(found.files) == {"adapter.safetensors", "metrics.json"}
    result = inspect_output(found.files, finished["plan"].policy, SECRET, make_trial(finished["plan"]))
    assert result.state == "passed", result.steps
    assert float(result.metrics["accuracy"]) > 0.9
