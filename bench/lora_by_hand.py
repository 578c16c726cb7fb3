"""What `bench_lora.py` measures, each in a process of its own with torch: our recipe, and the same loop by hand.

    python lora_by_hand.py make|ours|hand|walls FAMILY FOLDER CLIPS STEPS      prints one line of JSON

By hand is what an engineer writes with diffusers and peft in an afternoon: encode everything once, keep it in memory,
train, save, load, generate. It has no gate, no checkpoints and no walls. Both draw the same clips and train as often.
"""

from __future__ import annotations

import json
import os
import resource
import sys
import time
from pathlib import Path
from typing import Any

os.environ |= {"HF_HUB_OFFLINE": "1", "HF_HUB_DISABLE_PROGRESS_BARS": "1", "DIFFUSERS_VERBOSITY": "error"}
_TESTS = Path(__file__).resolve().parents[1] / "tests"
sys.path[:0] = [str(_TESTS / folder) for folder in ("", "training", "training/algorithms")]

FRAMES, SIDE, TOKENS, RANK, BATCH = 9, 64, 16, 4, 4
RATE = 2e-3
WHO = (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)
WINDOW = {"frames": FRAMES, "size_px": SIDE, "every": 1}


def main() -> None:
    what, family, folder, clips, steps = sys.argv[1], sys.argv[2], Path(sys.argv[3]), *map(int, sys.argv[4:6])
    told = {"make": make, "ours": ours, "hand": hand, "walls": walls}[what](family, folder, clips, steps)
    told["cpu_s"] = sum(resource.getrusage(who).ru_utime + resource.getrusage(who).ru_stime for who in WHO)
    told["peak_mb"] = max(told.get("peak_mb", 0.0), resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024)
    print(json.dumps(told))


def make(family: str, folder: Path, _clips: int, _steps: int) -> dict[str, Any]:
    """A tiny base on disk, drawn by seed."""
    from tiny_models import files_of, save_video_base

    return {"bytes": sum(path.stat().st_size for path in files_of(save_video_base(family, folder / family)).values())}


class Stopwatch:
    """Seconds of each part, one after another."""

    def __init__(self) -> None:
        self.parts: dict[str, float] = {}
        self._since = time.perf_counter()

    def lap(self, name: str) -> None:
        now = time.perf_counter()
        self.parts[name], self._since = now - self._since, now


def ours(family: str, folder: Path, clips: int, steps: int) -> dict[str, Any]:
    """The recipe in this process: prepare, train, export, write; load it into the pipeline, generate."""
    watch = Stopwatch()
    from drawn_job import DrawnJob, drawn_video, loaded

    from malan.inference.tensors import Tensor, write_tensors

    data = drawn_video(clips, FRAMES, SIDE, 0)
    job = DrawnJob("video-lora", folder / f"{family}-ours", data, data, base=folder / family, **wanted(steps))
    with loaded("video-lora", folder / f"{family}-code") as recipe:
        watch.lap("start")
        recipe.prepare(job)
        watch.lap("prepare")
        weights = recipe.train(job)
        watch.lap("train")
        weights = recipe.export(job, weights)
        content = write_tensors(Tensor.of(name, array) for name, array in weights.items())
        (job.cache / "adapter.safetensors").write_bytes(content)
        watch.lap("export")
        generate(folder / family, job.cache)
        watch.lap("generate")
        told = {"seconds": watch.parts, "loss": job.said["loss"]}
        return told | epochs(recipe, job, folder, family)


def epochs(recipe: Any, job: Any, folder: Path, family: str) -> dict[str, float]:
    """CPU seconds of an epoch from the cache, and of decoding and encoding its clips again; all is loaded before."""
    import torch

    from malan.training.running import local_job

    made, count, found = recipe._recipe(job), len(job.data), []
    made.family.load_encoders(torch.device("cpu"), torch.float32)
    data, _held_out = loaders(folder, family, count)
    films = local_job(job.parameters, data, cache=job.cache, window=WINDOW).data
    for epoch in range(3):
        began = time.process_time()
        with torch.inference_mode():
            for batch in films.batches(BATCH, deliver=["frames", "captions"], epoch=epoch):
                made._examples(batch)
        found.append(time.process_time() - began)
    data.close()
    steps = max(1, count // BATCH)
    moments: list[float] = []
    job.parameters |= {"steps": 5 * steps}
    job.progress = lambda _fraction: moments.append(time.process_time())
    recipe.train(job)
    cached = sorted(b - a for a, b in zip(moments[::steps], moments[steps::steps], strict=False))
    return {"encode_s": sorted(found)[1], "epoch_s": cached[len(cached) // 2]}


def walls(family: str, folder: Path, clips: int, steps: int) -> dict[str, Any]:
    """The same through the loader, the sandbox and the gate."""
    from tiny_models import files_of

    from malan.inference.weights import base_modules
    from malan.training.algorithms import builtin_files
    from malan.training.gate import Policy, inspect_output
    from malan.training.package import declare_outputs, package_of, settle_parameters
    from malan.training.running import RunPlan, make_trial, run_algorithm

    package = package_of(builtin_files("video-lora"))
    parameters = settle_parameters(package.parameters, wanted(steps))
    policy = Policy(
        declare_outputs(package, parameters, {"base_modules": base_modules(folder / family)})["model"],
        metrics=package.metrics,
    )
    plan = RunPlan(
        *(package, parameters, 1, *loaders(folder, family, clips), policy),
        **{"limits": package.resources.limits(), "base": files_of(folder / family), "window": WINDOW, "threads": 1},
    )
    began = time.perf_counter()
    finished = run_algorithm(plan)
    result = inspect_output(finished.files, policy, b"s" * 32, make_trial(plan))
    (folder / f"{family}-out").mkdir(exist_ok=True)
    (folder / f"{family}-out" / "adapter.safetensors").write_bytes(result.files["adapter.safetensors"])
    generate(folder / family, folder / f"{family}-out")
    told = {"state": result.state, "level": finished.ran.level.name, "attempts": sum(finished.ran.attempts.values())}
    inside = finished.ran.peak_memory_bytes / 2**20
    return {"seconds": {"all": time.perf_counter() - began}, "peak_mb": inside, **told}


def loaders(folder: Path, family: str, clips: int) -> list[Any]:
    """Drawn films of shots of twelve frames: one to learn from, one held back."""
    from drawn_footage import DrawnFootage
    from media_factory import draw_film

    from malan.training.loader import Allowed, Holdings, Loader

    films = {name: draw_film(folder / f"{family}-{name}.mp4", (12,) * n) for name, n in (("one", clips), ("two", 6))}
    footage, found = DrawnFootage(films), []
    for name in films:
        chosen = tuple(clip for clip in footage.shots() if clip.asset_id == name)
        holdings = Holdings(chosen, captions=["wide shot of the sky"] * len(chosen), footage=footage)
        found.append(Loader(holdings, Allowed(frozenset({"frames", "captions"})), threads=1))
    return found


def hand(family: str, folder: Path, clips: int, steps: int) -> dict[str, Any]:
    """With diffusers and peft alone."""
    watch = Stopwatch()
    import torch
    from diffusers import DiffusionPipeline
    from drawn_job import drawn_video
    from peft import LoraConfig, get_peft_model_state_dict

    data = drawn_video(clips, FRAMES, SIDE, 0)
    torch.manual_seed(0)
    watch.lap("start")
    pipe = DiffusionPipeline.from_pretrained(folder / family)
    latents, told = [], []
    with torch.no_grad():
        for batch in data.batches(1):
            video = torch.from_numpy(batch["frames_NTHWC"]).permute(0, 4, 1, 2, 3).float() / 127.5 - 1
            latents.append(scaled(family, pipe.vae, pipe.vae.encode(video).latent_dist.sample()))
            words = bytes(batch["captions_bytes"]).decode()
            told.append(pipe.encode_prompt(words, do_classifier_free_guidance=False, max_sequence_length=TOKENS))
    watch.lap("prepare")
    model = pipe.transformer.requires_grad_(False)
    model.add_adapter(LoraConfig(r=RANK, lora_alpha=RANK, target_modules=["to_q", "to_k", "to_v", "to_out.0"]))
    optimiser = torch.optim.AdamW([one for one in model.parameters() if one.requires_grad], lr=RATE, weight_decay=0)
    model.train()
    for _ in range(steps):
        chosen = torch.randint(len(latents), (BATCH,)).tolist()
        clean = torch.cat([latents[n] for n in chosen])
        loss = loss_by_hand(family, pipe, model, clean, torch.cat([told[n][0] for n in chosen]), told[0])
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    watch.lap("train")
    (folder / f"{family}-hand").mkdir(exist_ok=True)
    pipe.save_lora_weights(folder / f"{family}-hand", transformer_lora_layers=get_peft_model_state_dict(model))
    (folder / f"{family}-hand" / "pytorch_lora_weights.safetensors").rename(
        folder / f"{family}-hand" / "adapter.safetensors"
    )
    watch.lap("export")
    generate(folder / family, folder / f"{family}-hand")
    watch.lap("generate")
    return {"seconds": watch.parts, "loss": float(loss.detach())}


def scaled(family: str, vae: Any, latents: Any) -> Any:
    import torch

    if family == "cogvideox":
        return latents * vae.config.scaling_factor
    source = vae if family == "ltx" else vae.config
    mean, std = (torch.as_tensor(one).view(1, -1, 1, 1, 1) for one in (source.latents_mean, source.latents_std))
    return (latents - mean) / std


def loss_by_hand(family: str, pipe: Any, model: Any, clean: Any, words: Any, told: Any) -> Any:
    import torch

    noise = torch.randn_like(clean)
    if family == "cogvideox":
        steps = torch.randint(0, 1000, (len(clean),))
        kept = pipe.scheduler.alphas_cumprod.float()[steps].view(-1, 1, 1, 1, 1)
        mixed, target = kept.sqrt() * clean + (1 - kept).sqrt() * noise, kept.sqrt() * noise - (1 - kept).sqrt() * clean
        places = pipe._prepare_rotary_positional_embeddings(SIDE, SIDE, clean.shape[2], torch.device("cpu"))
        answer = model(mixed.permute(0, 2, 1, 3, 4), words, steps, image_rotary_emb=places).sample.permute(
            0, 2, 1, 3, 4
        )
        return (answer - target).square().mean()
    level = torch.sigmoid(torch.randn(len(clean))).view(-1, 1, 1, 1, 1)
    mixed, target = (1 - level) * clean + level * noise, noise - clean
    if family == "wan":
        return (model(mixed, level.flatten() * 1000, words).sample - target).square().mean()
    count, _channels, *sides = clean.shape
    answer = model(
        mixed.flatten(2).transpose(1, 2),
        encoder_hidden_states=words,
        timestep=level.flatten() * 1000,
        encoder_attention_mask=told[1].expand(count, -1),
        **dict(zip(("num_frames", "height", "width"), sides, strict=True)),
        rope_interpolation_scale=(pipe.vae_temporal_compression_ratio / 25, *[pipe.vae_spatial_compression_ratio] * 2),
    ).sample
    return (answer.transpose(1, 2).reshape(clean.shape) - target).square().mean()


def generate(base: Path, adapter: Path) -> None:
    """Load the adapter into a fresh pipeline and make a short video with it; it must differ from the base's."""
    import numpy as np
    import torch
    from diffusers import DiffusionPipeline

    pipe, made = DiffusionPipeline.from_pretrained(base), []
    pipe.set_progress_bar_config(disable=True)
    sizes = {"num_frames": FRAMES, "height": SIDE, "width": SIDE, "max_sequence_length": TOKENS}
    for load in (False, True):
        if load:
            pipe.load_lora_weights(adapter, weight_name="adapter.safetensors")
        lots = torch.Generator().manual_seed(0)
        made.append(pipe("night sky", generator=lots, num_inference_steps=4, output_type="np", **sizes).frames)
    if not float(np.abs(made[0] - made[1]).max()) > 1e-4:
        raise SystemExit("the adapter changes nothing")


def wanted(steps: int) -> dict[str, Any]:
    sizes = {"rank": RANK, "frames": FRAMES, "size_px": SIDE, "tokens": TOKENS, "batch": BATCH, "together": BATCH}
    return {**sizes, "steps": steps, "rate": RATE, "warmup": 2, "checkpoint_every": 0}


if __name__ == "__main__":
    main()
