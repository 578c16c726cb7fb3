"""The recipes for images, texts and music on tiny bases: they learn, are as declared, pass the gate, and load."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest

pytest.importorskip("torch", reason="torch is not installed here; `make test-train` runs these")

import torch
from drawn_job import DrawnClips, DrawnJob, drawn_video, loaded, modules_of
from drawn_words import drawn_scores, drawn_texts

from malan.inference.tensors import Tensor, write_tensors
from malan.inference.weights import base_modules
from malan.training.gate import Policy, inspect_output
from malan.training.gate.effect import Effect
from malan.training.gate.gate import Memory
from malan.training.package import declare_outputs

IMAGE = {"rank": 4, "size_px": 32, "tokens": 16, "steps": 60, "batch": 4, "together": 4, "rate": 3e-3, "warmup": 2}
TEXT = {"rank": 4, "tokens": 128, "steps": 25, "batch": 8, "together": 8, "rate": 1e-2, "warmup": 2}
MUSIC = {"width": 32, "layers": 2, "heads": 2, "length": 64, "steps": 80, "batch": 8, "together": 8, "rate": 5e-3}
IMAGE_FAMILIES = ("stable-diffusion", "stable-diffusion-v", "flux")
SECRET = b"s" * 32


class Trial:
    """What the gate measures, in this process."""

    def __init__(self, recipe: ModuleType, job: DrawnJob) -> None:
        self._recipe, self._job = recipe, job

    def effect(self, weights: Mapping[str, Tensor]) -> Effect:
        arrays = {name: tensor.values() for name, tensor in weights.items()}
        base, model = (self._recipe.evaluate(self._job, one) for one in (None, arrays))
        return Effect(weights, weights, base["outputs"], model["outputs"], base["losses"], model["losses"])

    def memory(self, weights: Mapping[str, Tensor]) -> Memory:
        return Memory()


def passed(recipe: ModuleType, job: DrawnJob) -> bytes:
    """Train, hold against the declaration, and through the gate: the file that leaves."""
    weights = recipe.train(job)
    if "export" in job.package.entry:
        weights = recipe.export(job, weights)
    facts = {} if job.base() is None else {"base_modules": base_modules(job.base())}
    declared = declare_outputs(job.package, job.parameters, facts)["model"]
    assert {name: array.shape for name, array in weights.items()} == {n: s.shape for n, s in declared.slots.items()}
    kind = next(iter(declared.slots.values())).dtype
    files = {"adapter.safetensors": write_tensors(Tensor.of(name, one, kind) for name, one in weights.items())}
    result = inspect_output(files, Policy(declared), SECRET, Trial(recipe, job))
    assert result.state == "passed", result.steps
    return result.files["adapter.safetensors"]


@pytest.mark.parametrize("family", IMAGE_FAMILIES)
def test_an_image_adapter_passes_the_gate_and_changes_what_its_pipeline_makes(
    bases: Path, tmp_path: Path, family: str
) -> None:
    data, held_out = drawn_video(16, 1, 32, 0), drawn_video(8, 1, 32, 1)
    job = DrawnJob("image-lora", tmp_path, data, held_out, base=bases / family, checkpoint_every=0, **IMAGE)
    with loaded("image-lora", tmp_path / "code") as recipe:
        (tmp_path / "adapter.safetensors").write_bytes(passed(recipe, job))
    pipeline = image_pipeline(bases / family)
    before = picture(pipeline)
    pipeline.load_lora_weights(tmp_path, weight_name="adapter.safetensors")
    assert float(np.abs(picture(pipeline) - before).max()) > 1e-4


@pytest.mark.parametrize("family", IMAGE_FAMILIES)
def test_an_image_model_is_asked_as_its_own_pipeline_asks_it(bases: Path, tmp_path: Path, family: str) -> None:
    pipeline, seen = image_pipeline(bases / family), []
    part = pipeline.transformer if family == "flux" else pipeline.unet
    part.register_forward_hook(lambda _m, v, n, answer: seen.append((v, n, answer[0])), with_kwargs=True)
    picture(pipeline, steps=1)
    values, named, answer = seen[0]
    mixed = values[0] if values else named["hidden_states"]
    when = values[1].reshape(1) if values else named["timestep"] * 1000
    with modules_of("image-lora", tmp_path, "families") as found:
        ours = found["families"].family_of(bases / family, 16)
        ours.load_encoders(torch.device("cpu"), torch.float32)
        with torch.inference_mode():
            told = ours.describe(["night sky"])
            got = ours.predict(ours.load_trained(torch.float32), latents_of(family, mixed), when, told)
    assert torch.allclose(got, latents_of(family, answer), atol=1e-6)


@pytest.mark.parametrize("as_talk", [False, True])
def test_a_text_adapter_passes_the_gate_and_peft_loads_it(bases: Path, tmp_path: Path, as_talk: bool) -> None:
    data, held_out = drawn_texts(24, 0, as_talk=as_talk), drawn_texts(8, 1, as_talk=as_talk)
    job = DrawnJob("text-lora", tmp_path, data, held_out, base=bases / "language", checkpoint_every=0, **TEXT)
    with loaded("text-lora", tmp_path / "code") as recipe:
        (tmp_path / "adapter_model.safetensors").write_bytes(passed(recipe, job))
    config = {"peft_type": "LORA", "r": 4, "lora_alpha": 4, "target_modules": ["q_proj", "k_proj", "v_proj", "o_proj"]}
    (tmp_path / "adapter_config.json").write_text(json.dumps(config | {"task_type": "CAUSAL_LM"}))
    from peft import PeftModel
    from transformers import AutoModelForCausalLM

    model, ids = AutoModelForCausalLM.from_pretrained(bases / "language"), torch.tensor([[70, 71, 72, 73]])
    with torch.inference_mode():
        before = model(ids).logits
        after = PeftModel.from_pretrained(model, tmp_path)(ids).logits
    assert float((after - before).abs().max()) > 1e-2


def test_of_a_conversation_only_the_answers_are_learned(bases: Path, tmp_path: Path) -> None:
    from transformers import AutoTokenizer

    words = AutoTokenizer.from_pretrained(bases / "language")
    turns = [("system", "be short"), ("user", "夜景?"), ("assistant", "是。"), ("user", "why"), ("assistant", "so")]
    text = json.dumps({"messages": [{"role": role, "content": said} for role, said in turns]})
    with modules_of("text-lora", tmp_path, "documents") as found:
        ids, wanted = found["documents"].reader_of(words)(text.encode())
    assert "be short" in words.decode(ids)
    learned = words.decode([token for token in wanted if token >= 0])
    assert learned == "是。<|im_end|>\nso<|im_end|>\n"


@pytest.mark.parametrize(
    "text", ['{"messages": 3}', '{"messages": []}', '{"messages": [{"role": "x"}]}', "{", '{"a": 1}']
)
def test_what_is_no_conversation_is_a_plain_text(bases: Path, tmp_path: Path, text: str) -> None:
    from transformers import AutoTokenizer

    words = AutoTokenizer.from_pretrained(bases / "language")
    with modules_of("text-lora", tmp_path, "documents") as found:
        ids, wanted = found["documents"].reader_of(words)(text.encode())
    assert words.decode(ids) == text + "</s>"
    assert ids == wanted


def test_a_model_of_music_passes_the_gate_and_composes_notes(tmp_path: Path) -> None:
    job = DrawnJob("music-lm", tmp_path, drawn_scores(24, 0), drawn_scores(8, 1), checkpoint_every=0, **MUSIC)
    with loaded("music-lm", tmp_path / "code") as recipe:
        passed(recipe, job)
        weights = recipe.train(job)
        model = recipe._model(job, 0)
        recipe.put_in(model, weights)
        tokens = model.eval().compose(60, seed=1)
        assert tokens == model.compose(60, seed=1)
    with modules_of("music-lm", tmp_path / "code", "notes", "midi") as found:
        notes = found["notes"].from_tokens(tokens)
        assert len(notes) > 5
        assert found["midi"].read_midi(found["midi"].write_midi(notes))


def test_music_that_was_interrupted_ends_with_the_same_bits(tmp_path: Path) -> None:
    wanted = {**MUSIC, "steps": 9, "checkpoint_every": 4}
    with loaded("music-lm", tmp_path / "code") as recipe:
        whole = DrawnJob("music-lm", tmp_path / "a", drawn_scores(12, 0), drawn_scores(4, 1), **wanted)
        weights = recipe.train(whole)
        restored = whole.kept[-1]
        again = DrawnJob(
            "music-lm", tmp_path / "b", drawn_scores(12, 0), drawn_scores(4, 1), restored=restored, **wanted
        )
        resumed = recipe.train(again)
    assert all(np.array_equal(weights[name], resumed[name]) for name in weights)


def test_scores_are_moved_up_and_down_but_drums_are_not(tmp_path: Path) -> None:
    with modules_of("music-lm", tmp_path, "algorithm", "notes") as found:
        note, drums = found["notes"].Note, found["notes"].DRUMS
        tokens = torch.tensor(found["notes"].to_tokens([note(0, 6, 60), note(6, 6, 36, drums), note(12, 6, 64)]))
        found["algorithm"].transpose(tokens, 5)
        assert [one.pitch for one in found["notes"].from_tokens(tokens.tolist())] == [65, 36, 69]
        found["algorithm"].transpose(tokens, 100)
        assert [one.pitch for one in found["notes"].from_tokens(tokens.tolist())] == [65, 36, 69]


def test_scores_that_cannot_be_read_are_left_out_and_nothing_else_is_an_error(tmp_path: Path) -> None:
    data = DrawnClips({}, [b"MThd broken", b"no music", b"", b"X:1\nK:C\nCDEF GABc"])
    job = DrawnJob("music-lm", tmp_path / "a", data, data, **{**MUSIC, "steps": 2})
    with loaded("music-lm", tmp_path / "code") as recipe:
        recipe.train(job)
        nothing = DrawnClips({}, [b"", b"?"])
        with pytest.raises(ValueError, match="nothing to learn"):
            recipe.train(DrawnJob("music-lm", tmp_path / "b", nothing, nothing, **MUSIC))


def latents_of(family: str, hidden: Any) -> Any:
    """What a model takes, in the layout of latents; Flux has squares of four in a line."""
    if family != "flux":
        return hidden
    side = int(hidden.shape[1] ** 0.5)
    return hidden.reshape(1, side, side, 4, 2, 2).permute(0, 3, 1, 4, 2, 5).reshape(1, 4, 2 * side, 2 * side)


def image_pipeline(folder: Path) -> Any:
    from diffusers import DiffusionPipeline

    pipeline = DiffusionPipeline.from_pretrained(folder, safety_checker=None)
    pipeline.set_progress_bar_config(disable=True)
    return pipeline


def picture(pipeline: Any, steps: int = 2) -> Any:
    lots = torch.Generator().manual_seed(0)
    more = {"max_sequence_length": 16} if hasattr(pipeline, "transformer") else {}
    wanted = {"height": 32, "width": 32, "num_inference_steps": steps, "guidance_scale": 1.0, "output_type": "np"}
    return pipeline("night sky", generator=lots, **wanted, **more).images
