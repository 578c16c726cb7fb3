"""Recipes with torch inside the real walls: fed by the loader, judged and rewritten by the gate, used afterwards."""

from __future__ import annotations

import json
from fractions import Fraction
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("torch", reason="torch is not installed here; `make test-train` runs these")
pytest.importorskip("diffusers")

from drawn_footage import draw_footage
from drawn_words import drawn_scores
from tiny_models import files_of, save_video_base, video_pipeline

from malan.core import Clip, Span
from malan.inference.weights import base_modules
from malan.runtime.sandbox import read_log
from malan.training.algorithms import builtin_files
from malan.training.gate import Policy, inspect_output
from malan.training.loader import Allowed, Holdings, Loader
from malan.training.package import declare_outputs, package_of, settle_parameters
from malan.training.privacy import privacy_of
from malan.training.running import RunPlan, make_trial, run_algorithm

SECRET = b"s" * 32
WANTED = {"rank": 4, "frames": 9, "size_px": 32, "tokens": 16, "steps": 30, "batch": 4, "together": 4, "rate": 2e-3}
SMALL = {"width": 16, "layers": 1, "heads": 2, "length": 32}
MUSIC = {**SMALL, "steps": 9, "batch": 4, "checkpoint_every": 4, "rate": 5e-3}
WINDOW = {"frames": 9, "size_px": 32, "every": 1}


def plan_of(base: Path, films: Path) -> RunPlan:
    """Wan, tiny, on drawn shots: the first film to learn from, the second held back."""
    package = package_of(builtin_files("video-lora"))
    parameters = settle_parameters(package.parameters, WANTED)
    footage = draw_footage(films)
    loaders = []
    for name in ("one", "two"):
        clips = tuple(clip for clip in footage.shots() if clip.asset_id == name)
        holdings = Holdings(clips, captions=["wide shot of the sky"] * len(clips), footage=footage)
        loaders.append(Loader(holdings, Allowed(frozenset({"frames", "captions"}))))
    facts = {"base_modules": base_modules(base), "clips": len(loaders[0]), "held_out": len(loaders[1])}
    policy = Policy(declare_outputs(package, parameters, facts)["model"], metrics=package.metrics)
    return RunPlan(
        package,
        parameters,
        7,
        loaders[0],
        loaders[1],
        policy,
        limits=package.resources.limits(),
        base=files_of(base),
        window=WINDOW,
        threads=2,
    )


def test_a_video_adapter_is_trained_inside_passes_the_gate_and_changes_what_is_generated(tmp_path: Path) -> None:
    base = save_video_base("wan", tmp_path / "wan")
    plan = plan_of(base, tmp_path / "films")
    finished = run_algorithm(plan, log=tmp_path / "run.log")
    assert finished.ran.end == "ok", read_log(tmp_path / "run.log")[-3000:]
    assert finished.ran.level.name == "sandbox"
    assert finished.ran.attempts == {}
    result = inspect_output(finished.files, plan.policy, SECRET, make_trial(plan))
    assert result.state == "passed", result.steps
    (tmp_path / "adapter.safetensors").write_bytes(result.files["adapter.safetensors"])
    pipeline = video_pipeline("wan")
    before = generated(pipeline)
    pipeline.load_lora_weights(tmp_path, weight_name="adapter.safetensors")
    assert float(np.abs(generated(pipeline) - before).max()) > 1e-3


def generated(pipeline: object) -> np.ndarray:
    import torch

    wanted = {"num_frames": 9, "height": 32, "width": 32, "num_inference_steps": 2, "max_sequence_length": 16}
    pipeline.set_progress_bar_config(disable=True)
    lots = torch.Generator().manual_seed(0)
    return pipeline("night sky", generator=lots, output_type="np", **wanted).frames


def music_plan(restored: bytes | None = None, **more: object) -> RunPlan:
    """Music, tiny, from drawn scores that come as the texts of clips."""
    package = package_of(builtin_files("music-lm"))
    parameters = settle_parameters(package.parameters, MUSIC | more)
    loaders = []
    for seed, count in ((0, 16), (1, 6)):
        scores = drawn_scores(count, seed)
        texts = [text for batch in scores.batches(count) for text in texts_of(batch)]
        clips = tuple(Clip(f"{seed}-{n}", 0, Span(0, 10, Fraction(1))) for n in range(count))
        holdings = Holdings(clips, captions=texts, owners=[f"owner-{n % 4}" for n in range(count)])
        loaders.append(Loader(holdings, Allowed(frozenset({"captions", "owner"}))))
    facts = {"clips": 16, "held_out": 6, "owners": 4}
    policy = Policy(declare_outputs(package, parameters, facts)["model"], metrics=package.metrics)
    limits = package.resources.limits()
    return RunPlan(package, parameters, 3, *loaders, policy, limits=limits, restored=restored)


def test_a_run_inside_goes_on_from_its_checkpoint_to_the_same_bits() -> None:
    checkpoints: list[bytes] = []
    whole = run_algorithm(music_plan(), on_checkpoint=checkpoints.append)
    assert (whole.ran.end, len(checkpoints), whole.ran.attempts) == ("ok", 2, {})
    resumed = run_algorithm(music_plan(checkpoints[0]))
    assert resumed.files["adapter.safetensors"] == whole.files["adapter.safetensors"]


def test_a_private_run_inside_counts_owners_and_costs_what_was_agreed_on() -> None:
    plan = music_plan(epsilon=20.0, unit="owner", batch=2)
    finished = run_algorithm(plan)
    assert finished.ran.end == "ok"
    told, agreed = json.loads(finished.files["metrics.json"]), privacy_of(plan.parameters, plan.all_facts)
    assert agreed is not None
    assert (agreed.unit, agreed.units) == ("owner", 4)
    assert agreed.epsilon <= told["epsilon"] <= 20.1
    assert told["loss"] == -1.0


def texts_of(batch: dict[str, np.ndarray]) -> list[bytes]:
    whole, ends = batch["captions_bytes"].tobytes(), batch["captions_offsets"].tolist()
    return [whole[start:end] for start, end in pairwise(ends)]
