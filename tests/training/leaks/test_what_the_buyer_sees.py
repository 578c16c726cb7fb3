"""From order to release: of what a stranger's code says in a run, nothing is in any page or receipt of the buyer."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from leak_attacks import in_the_clear
from market_place import BUYER_NAME
from run_place import BUYER, OWNER, SET, grant_on

from malan.core.errors import NotGranted
from malan.services.market.grants import describe_grant, get_grant
from malan.services.models.registry import weights_bytes
from malan.services.models.rows import find_model
from malan.services.runs.algorithms import submit_algorithm
from malan.services.runs.approvals import trust_publisher
from malan.services.runs.submission import decide_run, get_run, list_runs, run_log, run_receipt, submit_run
from malan.services.runs.view import describe_run
from malan.services.runs.worker import work
from malan.training.package.starter import starter_files
from malan.workspace import Workspace

SPOKEN = {
    "prints, warnings, files and percents": "print(S.hex()); warnings.warn(S.hex())\n"
    "    open('/tmp/' + S.hex(), 'wb').write(S); job.checkpoint({S.hex(): np.zeros(1)})\n"
    "    [job.progress(n / 100) for n in S]",
    "a figure with a name": "job.metrics({S.hex(): 1.0})",
    "an error": "raise RuntimeError(S.hex())",
    "an exit status": "print(S.hex()); os._exit(S[0] or 1)",
    "a result nobody asked for": "import malan_inside; malan_inside.put(S.hex(), S)",
}


@pytest.fixture
def ws(tmp_path: Path) -> Iterator[Workspace]:
    made = Workspace.create(tmp_path / "ws")
    yield made
    made.database.dispose()


@pytest.mark.parametrize("name", SPOKEN)
def test_nothing_the_code_says_comes_to_the_buyer(ws: Workspace, name: str) -> None:
    said = os.urandom(40)
    grant = grant_on(ws)
    trust_publisher(ws, BUYER_NAME, caller=OWNER)
    submit_algorithm(ws, _package(said, SPOKEN[name]), grant=grant, caller=BUYER)
    run = submit_run(ws, "mine", grant, {"label_set": SET}, caller=BUYER)
    work(ws, once=True)
    if get_run(ws, run.id).state == "held":
        decide_run(ws, run.id, "release", "looks right", caller=OWNER)
    ended = get_run(ws, run.id, caller=BUYER)
    assert ended.state == ("released" if name.startswith("prints") else ended.state)
    assert ended.state in ("released", "refused", "failed", "stopped")
    told = [
        json.dumps(describe_run(ws, ended, caller=BUYER), ensure_ascii=False).encode(),
        json.dumps(describe_grant(ws, get_grant(ws, grant, caller=BUYER)), ensure_ascii=False, default=str).encode(),
        run_receipt(ws, run.id, caller=BUYER).to_file(),
        repr(list_runs(ws, caller=BUYER)).encode(),
    ]
    if ended.model_id:
        told.append(weights_bytes(ws, find_model(ws, ended.model_id)))
    assert [in_the_clear(one, said) for one in told] == [0] * len(told)
    with pytest.raises(NotGranted):
        run_log(ws, run.id, caller=BUYER)


def _package(said: bytes, body: str) -> dict[str, bytes]:
    """The package people start from, whose training says something aside."""
    files = dict(starter_files("mine", BUYER_NAME))
    source = files["algorithm.py"].decode()
    head, mark, rest = source.partition("def train(job")
    first, _, body_of = rest.partition("\n")
    spoken = f"import os, warnings\nimport numpy as np\nS = {said!r}\n\n\ndef aside(job):\n    {body}\n\n\n"
    files["algorithm.py"] = f"{head}{spoken}{mark}{first}\n    aside(job)\n{body_of}".encode()
    return files
