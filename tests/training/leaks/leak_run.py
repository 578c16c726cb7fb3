"""One run of an attack through the real pipeline: sandbox, loader with its meter, gate, budget, the buyer's receipt.

The owner releases whatever the gate passes, so nothing is stopped by a person. Start at `run_ours`.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path

import numpy as np
from drawn_algorithm import DESCRIBED, LINE, MIB, Program, Purse, clips
from leak_attacks import HIDDEN, SECRET_BYTES, WIDTH, Attack, Received, program

from malan.core.errors import MalanError
from malan.rights.meter import OUTPUT_BYTES
from malan.runtime.sandbox import RunLimits
from malan.services.runs.meter import RunAccount
from malan.services.settlement.metering import meter
from malan.training.gate import Declared, Metric, Policy, inspect_output
from malan.training.gate.budget import reserve_output, settle_output
from malan.training.gate.receipt import Run, party_receipt
from malan.training.gate.result import HELD, PASSED, REFUSED, GateResult, approve
from malan.training.loader import Allowed, Holdings, Loader
from malan.training.running import Finished, RunPlan, make_trial, run_algorithm
from malan.workspace import Workspace

LIMITS = RunLimits(memory_bytes=512 * MIB, wall_s=8, cpu_s=8, scratch_bytes=64 * MIB, processes=24, scratch_files=500)
TENSORS = {"w": ["F32", [2, WIDTH]], "b": ["F32", [2]], "h": ["F32", [HIDDEN]]}
DECLARED = Declared.from_output({"type": "weights", "max_bytes": 20_000, "tensors": TENSORS})
POLICY = Policy(DECLARED, (Metric("accuracy"),))
SHORT = Policy(DECLARED, needs=frozenset())  # without figures and trial: one sandbox instead of four
GRANT, OUR_SECRET = "grant", b"a secret of the gate, 32 bytes or more"


def holdings(secret: bytes, seed: int, asset: str) -> Holdings:
    """Two clouds of points that can be told apart; a byte of the secret in the last column of each."""
    rng = np.random.default_rng(seed)
    kind = np.arange(SECRET_BYTES) % 2
    points = rng.normal(size=(SECRET_BYTES, WIDTH)) * 0.5 + (kind * 2 - 1)[:, None]
    points[:, 4] = np.frombuffer(secret, "u1") / 255
    return Holdings(clips(SECRET_BYTES, asset=asset), points.astype("f4"), [["day"] if k else ["night"] for k in kind])


def plan_of(
    source: bytes,
    secret: bytes,
    *,
    seed: int,
    purse: Purse,
    files: Mapping[str, bytes] | None = None,
    policy: Policy = POLICY,
) -> RunPlan:
    """A run of an algorithm over footage that holds the secret; what it is held against holds another."""
    may = Allowed(DESCRIBED)
    other = bytes(SECRET_BYTES)
    return RunPlan(
        Program({"line.py": source, **(files or {})}, {"train": "line:train", "evaluate": "line:evaluate"}),
        parameters={},
        seed=seed,
        data=Loader(holdings(secret, seed, "a"), may, seed=seed, counter=purse),
        held_out=Loader(holdings(other, seed + 1, "h"), may, seed=seed, counter=purse),
        policy=policy,
        limits=LIMITS,
        tier="code",
    )


def open_budget(ws: Workspace, most_bytes: int) -> None:
    """The output budget of the contract."""
    meter(ws).open(GRANT, {OUTPUT_BYTES: most_bytes})


def run_ours(
    ws: Workspace, attack: Attack, secret: bytes, hear: Mapping[str, object], *, number: int, policy: Policy = POLICY
) -> Received:
    """Everything the buyer gets of this run. Raises `NotGranted` when the budget does not cover another."""
    purse = Purse(attack.purse_us)
    plan = plan_of(
        program(attack), secret, seed=number, purse=purse, files={"hear.json": json.dumps(hear).encode()}, policy=policy
    )
    run_id = f"{number:064x}"
    account = RunAccount(ws, GRANT, run_id)
    hold = reserve_output(account, policy, run_id)
    finished = run_algorithm(plan)
    result = judge(plan, finished)
    charged = settle_output(account, hold, result, run_id)
    told = Run(
        run_id, GRANT, "s", "c", None, "code", finished.ran.level.name, _status(finished), finished.ran.wall_s,
        {"owner": finished.counted_us},
    )  # fmt: skip
    receipt = party_receipt(told, result, charged)
    return Received(
        files=result.files if result.state == PASSED else {},
        words=receipt.decode() + json.dumps(finished.ran.for_buyer()),
        metrics=result.metrics if result.state == PASSED else {},
        seconds=60.0 * finished.ran.for_buyer()["minutes"],
        used=json.loads(receipt)["seconds_used"],
        charged=charged,
        state=f"{finished.ran.end}{f' {finished.ran.limit}' if finished.ran.limit else ''}, {result.state}",
    )


def judge(plan: RunPlan, finished: Finished) -> GateResult:
    """The gate's verdict; what it holds, the owner lets go."""
    if not finished.files:
        return GateResult(REFUSED, ())
    try:
        result = inspect_output(finished.files, plan.policy, OUR_SECRET, make_trial(plan))
    except MalanError:  # the grant ran dry in the trial
        return GateResult(REFUSED, ())
    return approve(result, "owner") if result.state == HELD else result


def _status(finished: Finished) -> int:
    return {"ok": 0, "failed": 1, "limit": 124}[finished.ran.end]


def workspace(folder: Path, most_bytes: int = 50_000_000) -> Workspace:
    """A workspace whose only contract has this output budget."""
    ws = Workspace.create(folder)
    open_budget(ws, most_bytes)
    return ws


__all__ = ["LINE", "holdings", "judge", "plan_of", "run_ours", "workspace"]
