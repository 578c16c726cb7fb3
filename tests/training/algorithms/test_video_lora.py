"""The video recipe on tiny bases of all families: it learns, is as declared, goes on after a break, and loads."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest

pytest.importorskip("torch", reason="torch is not installed here; `make test-train` runs these")

import torch
from drawn_job import DrawnJob, drawn_video, loaded, modules_of
from tiny_models import VIDEO_FAMILIES, video_pipeline

from malan.inference.tensors import Tensor, write_tensors
from malan.inference.weights import base_modules
from malan.training.gate import Policy, inspect_output
from malan.training.gate.effect import Effect
from malan.training.gate.gate import Memory
from malan.training.package import declare_outputs

WANTED = {"rank": 4, "frames": 9, "size_px": 32, "tokens": 16, "batch": 4, "together": 4, "warmup": 2}
QUICK = {**WANTED, "steps": 30, "rate": 2e-3, "checkpoint_every": 0}
SECRET = b"s" * 32


@pytest.fixture(scope="module")
def recipe(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ModuleType]:
    with loaded("video-lora", tmp_path_factory.mktemp("video-lora")) as found:
        yield found


@pytest.fixture(params=VIDEO_FAMILIES)
def family(request: pytest.FixtureRequest) -> str:
    return str(request.param)


def job_of(folder: Path, base: Path, clips: int = 12, **more: Any) -> DrawnJob:
    restored = more.pop("restored", None)
    data, held_out = drawn_video(clips, 9, 32, 0), drawn_video(6, 9, 32, 1)
    return DrawnJob("video-lora", folder, data, held_out, base=base, restored=restored, **{**QUICK, **more})


def declared_of(job: DrawnJob) -> Any:
    facts = {"base_modules": base_modules(job.base())}
    return declare_outputs(job.package, job.parameters, facts)["model"]


class Trial:
    """What the gate measures, in this process."""

    def __init__(self, recipe: ModuleType, job: DrawnJob) -> None:
        self._recipe, self._job = recipe, job

    def effect(self, weights: dict[str, Tensor]) -> Effect:
        arrays = {name: tensor.values() for name, tensor in weights.items()}
        base, model = (self._recipe.evaluate(self._job, one) for one in (None, arrays))
        return Effect(weights, weights, base["outputs"], model["outputs"], base["losses"], model["losses"])

    def memory(self, weights: dict[str, Tensor]) -> Memory:
        return Memory()


def test_an_adapter_is_as_declared_passes_the_gate_and_changes_what_its_pipeline_makes(
    recipe: ModuleType, bases: Path, family: str, tmp_path: Path
) -> None:
    job = job_of(tmp_path, bases / family)
    recipe.prepare(job)
    weights = recipe.train(job)
    weights = recipe.export(job, weights)
    declared = declared_of(job)
    assert {name: array.shape for name, array in weights.items()} == {n: s.shape for n, s in declared.slots.items()}
    files = {"adapter.safetensors": write_tensors(Tensor.of(name, one, "BF16") for name, one in weights.items())}
    result = inspect_output(files, Policy(declared), SECRET, Trial(recipe, job))
    assert result.state == "passed", result.steps
    (tmp_path / "adapter.safetensors").write_bytes(result.files["adapter.safetensors"])
    pipeline = video_pipeline(family)
    before = generated(pipeline)
    pipeline.load_lora_weights(tmp_path, weight_name="adapter.safetensors")
    assert float(np.abs(generated(pipeline) - before).max()) > 1e-4


def test_the_model_is_asked_as_its_own_pipeline_asks_it(
    bases: Path, family: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What the pipeline hands its transformer in one step, handed to ours as latents: the same answer, bit by bit."""
    pipeline, seen = video_pipeline(family), []

    def watch(_model: Any, values: tuple[Any, ...], named: dict[str, Any], answer: tuple[Any, ...]) -> None:
        seen.append((named, answer[0]))

    pipeline.transformer.register_forward_hook(watch, with_kwargs=True)
    made = generated(pipeline, steps=1, guidance_scale=1.0, output_type="latent")
    assert made is not None
    named, answer = seen[0]
    with modules_of("video-lora", tmp_path, "families") as found:
        ours = found["families"].family_of(bases / family, 16)
        ours.load_encoders(torch.device("cpu"), torch.float32)
        with torch.inference_mode():
            told = ours.describe(["night sky"])
            model = ours.load_trained(torch.float32)
            mixed = as_latents(family, named["hidden_states"])
            got = ours.predict(model, mixed, named["timestep"], told)
    assert torch.equal(got, as_latents(family, answer))


def test_latents_are_scaled_as_the_pipeline_undoes_it(bases: Path, family: str, tmp_path: Path) -> None:
    """Encoded, and decoded by the pipeline's own rule: the same as the encoder and decoder alone."""
    frames = torch.rand(1, 3, 9, 32, 32) * 2 - 1
    with modules_of("video-lora", tmp_path, "families") as found:
        ours = found["families"].family_of(bases / family, 16)
        ours.load_encoders(torch.device("cpu"), torch.float32)
        with torch.inference_mode():
            scaled = ours.encode(frames)["mean"]
    vae = video_pipeline(family).vae
    with torch.inference_mode():
        plain = vae.encode(frames).latent_dist.mean
    if family == "cogvideox":
        back = scaled / vae.config.scaling_factor
    else:
        config = vae.config
        mean, std = (
            (vae.latents_mean, vae.latents_std) if family == "ltx" else (config.latents_mean, config.latents_std)
        )
        mean, std = (torch.as_tensor(one).reshape(1, -1, 1, 1, 1) for one in (mean, std))
        back = scaled * std + mean
    assert torch.allclose(back, plain, atol=1e-5)


def test_a_run_that_was_interrupted_ends_with_the_same_bits(recipe: ModuleType, bases: Path, tmp_path: Path) -> None:
    whole = job_of(tmp_path / "whole", bases / "wan", steps=9, checkpoint_every=4, together=2)
    weights = recipe.train(whole)
    assert [int(kept["step"]) for kept in whole.kept] == [4, 8]
    again = job_of(tmp_path / "again", bases / "wan", steps=9, checkpoint_every=4, together=2, restored=whole.kept[0])
    resumed = recipe.train(again)
    assert all(np.array_equal(weights[name], resumed[name]) for name in weights)


def test_a_checkpoint_of_another_training_is_refused(recipe: ModuleType, bases: Path, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="another training"):
        recipe.train(job_of(tmp_path, bases / "wan", restored={"step": np.int64(3)}))


def test_the_same_seed_gives_the_same_weights_and_another_seed_others(
    recipe: ModuleType, bases: Path, tmp_path: Path
) -> None:
    first, second, third = (
        recipe.train(job_of(tmp_path / name, bases / "ltx", steps=3, seed=seed))
        for name, seed in (("a", 1), ("b", 1), ("c", 2))
    )
    assert all(np.array_equal(first[name], second[name]) for name in first)
    assert any(not np.array_equal(first[name], third[name]) for name in first)


def test_how_many_go_through_at_once_does_not_matter(recipe: ModuleType, bases: Path, tmp_path: Path) -> None:
    one, four = (
        recipe.train(job_of(tmp_path / str(count), bases / "ltx", steps=3, together=count)) for count in (1, 4)
    )
    assert all(np.allclose(one[name], four[name], atol=1e-5) for name in one)


def test_clips_are_asked_for_once_however_many_epochs(recipe: ModuleType, bases: Path, tmp_path: Path) -> None:
    job = job_of(tmp_path, bases / "ltx", steps=12)
    recipe.prepare(job)
    recipe.train(job)
    assert job.data.passes == 1
    assert job.held_out.passes == 0


@pytest.mark.parametrize(
    "change",
    [
        lambda w: {name.replace("transformer.", "diffusion_model."): one for name, one in w.items()},
        lambda w: dict(list(w.items())[1:]),
        lambda w: {**w, "transformer.extra.lora_A.weight": np.ones((4, 4), "f4")},
        lambda w: {name: one.T for name, one in w.items()},
    ],
)
def test_names_or_shapes_that_do_not_fit_the_base_are_refused(
    recipe: ModuleType, bases: Path, tmp_path: Path, change: Any
) -> None:
    job = job_of(tmp_path, bases / "ltx", steps=2)
    weights = change(recipe.train(job))
    for phase in (recipe.export, recipe.evaluate):
        with pytest.raises(ValueError, match=r"names match|instead of"):
            phase(job, weights)


@pytest.mark.parametrize(
    ("family_name", "wrong"), [("wan", {"frames": 8}), ("ltx", {"frames": 5}), ("ltx", {"size_px": 48})]
)
def test_a_window_that_the_family_cannot_encode_is_refused(
    recipe: ModuleType, bases: Path, tmp_path: Path, family_name: str, wrong: dict[str, int]
) -> None:
    with pytest.raises(ValueError, match="frames must be"):
        recipe.train(job_of(tmp_path, bases / family_name, **wrong))


def test_a_base_of_another_family_is_refused(recipe: ModuleType, bases: Path, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="StableDiffusionPipeline is none of"):
        recipe.train(job_of(tmp_path, bases / "stable-diffusion"))


@pytest.mark.parametrize("more", [{"save_memory": True}, {"density": "uniform"}, {"precision": "bfloat16"}])
def test_other_ways_of_training_work_too(recipe: ModuleType, bases: Path, tmp_path: Path, more: dict[str, Any]) -> None:
    job = job_of(tmp_path, bases / "wan", steps=3, **more)
    assert all(np.isfinite(one).all() for one in recipe.train(job).values())
    assert 0 < job.said["loss"] < 100


def test_saving_memory_gives_the_same_weights(recipe: ModuleType, bases: Path, tmp_path: Path) -> None:
    plain, saving = (
        recipe.train(job_of(tmp_path / str(flag), bases / "wan", steps=3, save_memory=flag)) for flag in (False, True)
    )
    assert all(np.allclose(plain[name], saving[name], atol=1e-6) for name in plain)


def as_latents(family: str, hidden: Any) -> Any:
    """What a transformer takes, in the layout of latents; a line of 3 × 2 × 2 tokens for LTX."""
    if family == "ltx":
        return hidden.transpose(1, 2).reshape(1, -1, 3, 2, 2)
    return hidden.permute(0, 2, 1, 3, 4) if family == "cogvideox" else hidden


def generated(pipeline: Any, steps: int = 2, **more: Any) -> Any:
    pipeline.set_progress_bar_config(disable=True)
    wanted = {"num_frames": 9, "height": 32, "width": 32, "max_sequence_length": 16, "output_type": "np"}
    lots = torch.Generator().manual_seed(0)
    return pipeline("night sky", generator=lots, num_inference_steps=steps, **{**wanted, **more}).frames
