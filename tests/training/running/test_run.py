"""A run from its package to the gate's answer, in real sandboxes: what comes out, what is counted, what ends it."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from drawn_algorithm import LINE, Purse, plan_of

from malan.core.errors import Rejected, UsageError
from malan.inference.tensors import parse_tensors
from malan.runtime.sandbox import read_log
from malan.training.gate import inspect_output
from malan.training.running import Finished, RunPlan, make_trial, run_algorithm
from malan.training.running.arrays import unpack_arrays
from malan.training.running.run import EVALUATION, run_phase

SECRET = b"s" * 32
ADAPTER, METRICS = "adapter.safetensors", "metrics.json"
TRAIN_US, HELD_OUT_US = 40 * 5_000_000, 30 * 5_000_000


@dataclass
class Shown:
    """One honest run, with everything it told on the way."""

    plan: RunPlan
    finished: Finished
    purse: Purse
    told: list[tuple[str, int]]
    checkpoints: list[bytes]
    log: Path
    counted_us: int


@pytest.fixture(scope="module")
def honest(tmp_path_factory: pytest.TempPathFactory) -> Shown:
    purse, told, checkpoints = Purse(), list[tuple[str, int]](), list[bytes]()
    plan, log = plan_of(purse=purse), tmp_path_factory.mktemp("run") / "run.log"
    found = run_algorithm(plan, log=log, on_progress=lambda *one: told.append(one), on_checkpoint=checkpoints.append)
    return Shown(plan, found, purse, told, checkpoints, log, purse.total_us)


def evaluated(run: str) -> bytes:
    """A program whose training does something of its own."""
    return b"import numpy as np\n" + run.encode() + b"\ndef evaluate(job, weights): return {}\n"


# --- an honest run ---------------------------------------------------------------------------------------------------


def test_an_honest_run_hands_in_what_the_gate_reads(honest: Shown) -> None:
    assert (honest.finished.ran.end, honest.finished.reason) == ("ok", None), read_log(honest.log)
    tensors = parse_tensors(honest.finished.files[ADAPTER]).tensors
    assert {name: (one.dtype, one.shape) for name, one in tensors.items()} == {"w": ("F32", (2, 4)), "b": ("F32", (2,))}
    assert json.loads(honest.finished.files[METRICS])["accuracy"] > 0.9


def test_an_honest_run_passes_the_gate(honest: Shown) -> None:
    result = inspect_output(honest.finished.files, honest.plan.policy, SECRET, make_trial(honest.plan))
    assert result.state == "passed", result.steps
    assert float(result.metrics["accuracy"]) > 0.9


def test_every_clip_counts_once_an_epoch_and_once_when_held_out(honest: Shown) -> None:
    assert honest.counted_us == honest.finished.counted_us == 3 * TRAIN_US + HELD_OUT_US


def test_progress_of_both_phases_is_told(honest: Shown) -> None:
    assert [percent for phase, percent in honest.told if phase == "train"] == [33, 66, 100]
    assert ("evaluate", 100) in honest.told


def test_both_sandboxes_are_one_in_what_is_told_of_them(honest: Shown) -> None:
    assert honest.finished.ran.level.name == "sandbox"
    assert honest.finished.ran.attempts == {}
    assert honest.finished.ran.wall_s > 0.1


def test_the_same_seed_gives_the_same_weights(honest: Shown) -> None:
    again = run_algorithm(plan_of())
    assert again.files == honest.finished.files


# --- interruptions ---------------------------------------------------------------------------------------------------


def test_a_run_goes_on_from_its_checkpoint_and_ends_as_if_nothing_had_been(honest: Shown) -> None:
    purse = Purse()
    assert len(honest.checkpoints) == 3
    resumed = run_algorithm(plan_of(purse=purse, restored=honest.checkpoints[1]))
    assert resumed.files[ADAPTER] == honest.finished.files[ADAPTER]
    assert purse.total_us == TRAIN_US + HELD_OUT_US  # one epoch was left


def test_checkpoints_hold_every_kind_of_number(honest: Shown) -> None:
    found = unpack_arrays(honest.checkpoints[0])
    assert {name: str(array.dtype) for name, array in found.items()} == {
        "w": "float32",
        "b": "float32",
        "epoch": "int64",
    }


def test_a_checkpoint_that_is_none_is_refused_before_anything_runs() -> None:
    with pytest.raises(Rejected, match="checkpoint"):
        run_algorithm(plan_of(restored=b"\x05\0\0\0hello"))


def test_a_run_that_is_stopped_hands_in_nothing_and_keeps_its_checkpoint() -> None:
    kept: list[bytes] = []
    source = LINE.replace(
        b"        job.progress(", b"        if epoch == 1: __import__('time').sleep(60)\n        job.progress("
    )
    found = run_algorithm(plan_of(source), on_checkpoint=kept.append, stop=lambda: len(kept) == 2)
    assert (found.ran.end, found.ran.limit, dict(found.files)) == ("limit", "stopped", {})
    assert int(unpack_arrays(kept[-1])["epoch"]) == 2


def test_a_trial_can_be_stopped(honest: Shown) -> None:
    result = inspect_output(
        honest.finished.files, honest.plan.policy, SECRET, make_trial(honest.plan, stop=lambda: True)
    )
    assert result.state == "refused"
    assert result.steps[-1].reason.code == "running.trial_failed"


def test_what_a_callback_raises_ends_the_run_and_reaches_the_caller() -> None:
    def full(_content: bytes) -> None:
        raise OSError("disk full")

    with pytest.raises(OSError, match="disk full"):
        run_algorithm(plan_of(), on_checkpoint=full)


# --- the meter -------------------------------------------------------------------------------------------------------


def test_a_run_ends_where_its_grant_ends(tmp_path: Path) -> None:
    purse = Purse(left_us=TRAIN_US + 8 * 5_000_000)
    found = run_algorithm(plan_of(purse=purse))
    assert (found.ran.end, found.ran.limit) == ("limit", "grant")
    assert found.reason is not None
    assert found.reason.code == "meter.used_up"
    assert purse.total_us == found.counted_us == TRAIN_US + 8 * 5_000_000


def test_footage_withdrawn_in_the_middle_ends_the_run() -> None:
    purse = Purse()
    purse.on_count = lambda: purse.withdrawn.add("a000") if purse.total_us > TRAIN_US else None
    found = run_algorithm(plan_of(purse=purse))
    assert (found.ran.limit, found.reason and found.reason.code) == ("grant", "loader.withdrawn")
    assert TRAIN_US < purse.total_us < 2 * TRAIN_US


def test_footage_withdrawn_after_the_last_request_keeps_the_model_in() -> None:
    purse = Purse()
    purse.on_count = lambda: purse.withdrawn.add("a000") if purse.total_us == 3 * TRAIN_US else None
    found = run_algorithm(plan_of(purse=purse))
    assert (found.ran.end, found.ran.limit, dict(found.files)) == ("limit", "grant", {})
    assert found.reason is not None
    assert found.reason.code == "loader.withdrawn"


def test_footage_withdrawn_before_is_not_delivered() -> None:
    purse = Purse()
    purse.withdrawn = {"a000", "h003"}
    assert run_algorithm(plan_of(purse=purse)).ran.end == "ok"
    assert not {"a000", "h003"} & {asset for one in purse.counted for asset in one}
    assert purse.total_us == 3 * (TRAIN_US - 10_000_000) + HELD_OUT_US - 10_000_000


def test_a_run_that_asks_again_and_again_pays_again_and_again() -> None:
    source = evaluated("""
def train(job):
    for epoch in (0, 1, 0, 1, 0):
        job.data.take([0, 1], epoch=epoch)
    job.data.take([0, 1], epoch=0)
    return {"w": np.zeros((2, 4)), "b": np.zeros(2)}
""")
    purse = Purse()
    run_algorithm(plan_of(source, purse))
    assert purse.total_us == 5 * 10_000_000  # the last one was the epoch it was in


# --- what training may not see ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "ask",
    [
        "list(job.held_out.batches(4))",
        "job._line.ask(do='batch', of='held_out', deliver=['labels'])",
        "job._line.ask(do='weights', part=0)",
        "job._line.ask(do='batch', of=['data'])",
        "job._line.ask()",
    ],
)
def test_training_that_asks_for_what_is_held_out_ends(ask: str) -> None:
    purse = Purse()
    found = run_algorithm(plan_of(evaluated(f"def train(job): {ask}"), purse))
    assert (found.ran.end, found.ran.limit) == ("limit", "request")
    assert purse.total_us == 0


def test_evaluation_does_not_see_what_training_saw() -> None:
    plan = plan_of(b"def evaluate(job, weights): list(job.data.batches(4))")
    assert run_phase(plan, EVALUATION).ran.limit == "request"


def test_nothing_inside_tells_of_clips_but_their_number(tmp_path: Path) -> None:
    source = evaluated("""
def train(job):
    import json, pathlib
    print(pathlib.Path("/code/malan_run.json").read_text(), vars(job), next(job.data.batches(3)))
""")
    log = tmp_path / "log"
    plan = plan_of(source)
    run_algorithm(plan, log=log)
    told = read_log(log)
    assert "descriptor_ND" in told
    assert not [clip for clip in plan.data._holdings.clips if clip.id[:8] in told or clip.asset_id in told]


# --- weights that are none -------------------------------------------------------------------------------------------

RETURNED: dict[str, tuple[str, str]] = {
    "nothing": ("{}", "running.no_model"),
    "whole numbers": ("{'w': np.zeros((2, 4), 'i4'), 'b': np.zeros(2)}", "running.no_model"),
    "an impossible name": ("{'w': np.zeros((2, 4)), '../b': np.zeros(2)}", "running.no_model"),
    "an empty tensor": ("{'w': np.zeros((2, 4)), 'b': np.zeros((0,))}", "running.no_model"),
}


@pytest.mark.parametrize("name", RETURNED)
def test_weights_that_cannot_be_written_are_refused_with_a_reason(name: str) -> None:
    returned, code = RETURNED[name]
    found = run_algorithm(plan_of(evaluated(f"def train(job): return {returned}")))
    assert (found.ran.end, dict(found.files)) == ("ok", {})
    assert found.reason is not None
    assert found.reason.code == code


@pytest.mark.parametrize(
    ("returned", "step"),
    [
        ("{'w': np.zeros((2, 4)), 'b': np.zeros(2), 'more': np.ones(3)}", "match"),
        ("{'w': np.zeros((4, 2)), 'b': np.zeros(2)}", "match"),
        ("{'w': np.full((2, 4), np.nan), 'b': np.zeros(2)}", "finite"),
        ("{'w': np.full((2, 4), 1e300), 'b': np.zeros(2)}", "finite"),
    ],
)
def test_weights_that_are_not_what_was_declared_are_left_to_the_gate(returned: str, step: str) -> None:
    source = LINE.replace(b'return {"w": w, "b": b}\n\ndef', f"return {returned}\n\ndef".encode())
    plan = plan_of(source, metrics=False)
    found = run_algorithm(plan)
    result = inspect_output(found.files, plan.policy, SECRET, make_trial(plan))
    assert (result.state, result.steps[-1].name) == ("refused", step)


@pytest.mark.parametrize(
    "hand_in",
    [
        "job._line.put_arrays('model', {'w': np.zeros(2)}); job._line.put_arrays('model', {'w': np.zeros(2)})",
        "job._line.put_arrays('evaluation', {'losses': np.zeros(2)})",
        "job._line.put_arrays('model', {'w': np.zeros(10_000_000)})",
        "job.checkpoint({'w': np.zeros(40_000)})",
        "[job.checkpoint({str(n): np.zeros(1)}) for n in range(100_000)]",
    ],
)
def test_more_than_may_be_handed_in_ends_the_run(hand_in: str) -> None:
    plan = plan_of(evaluated(f"def train(job): {hand_in}; return {{}}"), checkpoint_bytes=300_000)
    found = run_algorithm(plan)
    assert (found.ran.end, found.ran.limit) == ("limit", "output")


def test_many_weights_cross_in_portions() -> None:
    table = {"type": "weights", "max_bytes": 1_000_000, "tensors": {f"layer.{n}.w": ["F16", [2]] for n in range(750)}}
    source = evaluated("def train(job): return {f'layer.{n}.w': np.full(2, float(n)) for n in range(750)}")
    found = run_algorithm(plan_of(source, table=table, metrics=False))
    tensors = parse_tensors(found.files[ADAPTER]).tensors
    assert len(tensors) == 750
    assert tensors["layer.749.w"].values().tolist() == [749, 749]


# --- the trial -------------------------------------------------------------------------------------------------------


def trial_of(adapter: bytes, evaluate: str) -> tuple[str, str]:
    """Where the gate ends with another `evaluate`, and why."""
    source = LINE[: LINE.index(b"def evaluate")] + evaluate.encode()
    plan = plan_of(source, metrics=False)
    result = inspect_output({ADAPTER: adapter}, plan.policy, SECRET, make_trial(plan))
    return result.state, result.steps[-1].reason.code


@pytest.mark.parametrize(
    ("evaluate", "code"),
    [
        ("def evaluate(job, weights): raise ValueError('frame 17')", "running.trial_failed"),
        ("def evaluate(job, weights): return {'losses': [1, 2]}", "running.trial_failed"),
        ("def evaluate(job, weights): return {'losses': [1, 2], 'outputs': [3]}", "gate.keys_matched"),
        (
            "def evaluate(job, weights): return {'losses': [1, 2], 'outputs': [3], 'matched': {'w'}}",
            "gate.keys_matched",
        ),
        (
            "def evaluate(job, weights): return {'losses': [1, 2], 'outputs': [3], 'matched': {'w', 'b'}}",
            "gate.no_change",
        ),
        (
            "def evaluate(job, weights): return {'losses': [1, 2], 'outputs': [3] * (2 if weights else 1), "
            "'matched': 'wb'}",
            "gate.cannot_compare",
        ),
        ("def evaluate(job, weights): return {'losses': [np.nan], 'outputs': [1]}", "gate.cannot_compare"),
    ],
)
def test_an_evaluation_that_shows_no_effect_is_refused(honest: Shown, evaluate: str, code: str) -> None:
    assert trial_of(honest.finished.files[ADAPTER], evaluate) == ("refused", code)


def test_the_trial_measures_the_weights_that_leave(honest: Shown) -> None:
    seen: dict[str, Any] = {}
    trial = make_trial(honest.plan)

    class Listening:
        def effect(self, weights: Any) -> Any:
            seen.update({name: tensor.values() for name, tensor in weights.items()})
            return trial.effect(weights)

        memory = trial.memory

    result = inspect_output(honest.finished.files, honest.plan.policy, SECRET, Listening())
    left = parse_tensors(result.files[ADAPTER]).tensors
    assert all(np.array_equal(seen[name], left[name].values()) for name in seen)
    assert not np.array_equal(seen["w"], parse_tensors(honest.finished.files[ADAPTER]).tensors["w"].values())


def test_held_out_clips_count_in_the_trial_too(honest: Shown) -> None:
    before = honest.purse.total_us
    honest.plan.held_out.serve({"do": "take", "of": "held_out", "clips": [0], "epoch": 7, "deliver": ["labels"]})
    make_trial(honest.plan).effect(parse_tensors(honest.finished.files[ADAPTER]).tensors)
    assert honest.purse.total_us - before >= HELD_OUT_US


# --- the rest --------------------------------------------------------------------------------------------------------


def test_the_base_model_is_read_from_its_own_folder(tmp_path: Path) -> None:
    (tmp_path / "weights.bin").write_bytes(b"base weights")
    (tmp_path / "weights.bin").chmod(0o600)
    (tmp_path / "link.json").symlink_to(tmp_path / "weights.bin")
    source = evaluated("""
def train(job):
    folder = job.base()
    found = sorted(str(path.relative_to(folder)) for path in folder.rglob("*"))
    assert found == ["config", "config/link.json", "weights.bin"]
    assert (folder / "weights.bin").read_bytes() == (folder / "config/link.json").read_bytes() == b"base weights"
    try: (folder / "weights.bin").write_bytes(b"x")
    except OSError: return {"w": np.ones((2, 4)), "b": np.ones(2)}
""")
    base = {"weights.bin": tmp_path / "weights.bin", "config/link.json": tmp_path / "link.json"}
    log = tmp_path / "log"
    found = run_algorithm(plan_of(source, base=base, metrics=False), log=log)
    assert ADAPTER in found.files, read_log(log)


def test_a_run_without_a_base_has_none(tmp_path: Path) -> None:
    source = evaluated("def train(job): assert job.base() is None and job.restored is None; return {}")
    assert run_algorithm(plan_of(source)).ran.end == "ok"


@pytest.mark.parametrize("name", ["malan_run.py", "malan_run.json"])
def test_an_algorithm_cannot_put_its_own_file_in_place_of_ours(name: str) -> None:
    with pytest.raises(UsageError, match="used by Malan"):
        plan_of(files={name: b"{}"})


def test_the_log_of_each_phase_is_kept_apart(tmp_path: Path) -> None:
    source = LINE.replace(b"def train(job):\n", b"def train(job):\n    print('training')\n")
    source = source.replace(b"def evaluate(job, weights):\n", b"def evaluate(job, weights):\n    print('evaluating')\n")
    run_algorithm(plan_of(source), log=tmp_path / "run.log")
    assert read_log(tmp_path / "run.log") == "training\n"
    assert read_log(tmp_path / "run.log.evaluate") == "evaluating\n"
    assert (tmp_path / "run.log.evaluate").stat().st_mode & 0o777 == 0o600
