"""One training for all diffusion families: encode once, learn adapters, say what they change. Start at `Recipe`.

    frames ─ VAE ─▶ mean, spread ┐
    caption ─ text encoder ──────┴─ cache ─▶ mix with noise ─ transformer + adapters ─▶ loss     (families.py: how)

The encoders are let go before the transformer is loaded: the most memory is that of the larger of the two.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any, Protocol

from base_model import device_of, generator, let_go, numbers_of, settle  # isort: skip  # before torch
import numpy as np
import torch
from diffusing import Objective, draw_places, objective_of
from fitting import Plan, figures, fit, in_units
from latents import Cache
from low_rank import attach, put_in, read_off, targets_of
from privacy import privacy_of
from texts import captions_of

Tensors = dict[str, torch.Tensor]
PLACES = (0.125, 0.375, 0.625, 0.875)
_MANIFEST = Path(__file__).with_name("algorithm.toml")
_HELD_OUT_SEED = 20_000_003
_SAMPLE_SEED = 20_000_033
_SAMPLE_STEPS, _TOP = 16, 0.999
_SHOWN_FRAMES, _SHOWN_PX = 4, 64
_MOST_OUTPUTS = 16_384


class Family(Protocol):
    """What differs from one family of models to the next."""

    part: str  # of the base that is trained: `transformer`, `unet`; also what names begin with

    def load_encoders(self, device: torch.device, numbers: torch.dtype) -> None: ...

    def encode(self, frames_NCTHW: torch.Tensor) -> Tensors:
        """`mean` and `spread` of the latents, as the model wants them scaled."""
        ...

    def decode(self, latents: torch.Tensor) -> torch.Tensor:
        """Frames (N, C, T, H, W) from -1 to 1 of latents as the model has them; encoders must be loaded."""
        ...

    def describe(self, captions: list[str]) -> Tensors:
        """What the model is told of a caption; names beginning with `text`."""
        ...

    def load_trained(self, numbers: torch.dtype) -> Any:
        """The model that is trained, after encoders were let go."""
        ...

    def load_empty(self) -> Any:
        """The same without weights."""
        ...

    def scheduler(self) -> Any: ...

    def predict(self, model: Any, mixed: torch.Tensor, timesteps: torch.Tensor, told: Tensors) -> torch.Tensor:
        """The answer of the model, in the layout of the latents."""
        ...


@dataclass(frozen=True)
class Recipe:
    """A family and the parameters of a run."""

    family: Family
    job: Any

    def prepare(self, of: str = "data") -> Cache:
        """Encode every clip once. What is in the cache already is not done again."""
        cache = Cache(self.job.cache, of)
        clips = getattr(self.job, of)
        if len(cache):
            return cache
        said = self.job.parameters
        self.family.load_encoders(device_of(), numbers_of(said["precision"]))
        deliver = ["frames", "captions", *(["owner"] if said["unit"] == "owner" and said["epsilon"] else [])]
        with torch.inference_mode():
            for batch in clips.batches(said["together"], deliver=deliver):
                for example in self._examples(batch):
                    cache.put(**example)
            if of == "data":
                empty = Cache(self.job.cache, "empty")
                empty.put({name: held[0] for name, held in self.family.describe([""]).items()})
                empty.close()
        cache.close()
        let_go()
        return cache

    def train(self) -> dict[str, Any]:
        """Adapters by the names they leave under."""
        said, cache = self.job.parameters, self.prepare()
        settle(self.job.seed)
        model = self._model()
        parameters = attach(model, targets_of(_MANIFEST), said["rank"], self.job.seed)
        if said["save_memory"]:
            model.enable_gradient_checkpointing()
        model.train()
        privacy = privacy_of(said, self.job.facts)
        groups = cache.facts("owner") if said["unit"] == "owner" and privacy else cache.facts("clip")
        units = in_units(len(cache), groups)
        losses = fit(parameters, self._loss_of(model, cache), units, Plan.of(self.job, privacy), self.job)
        self.job.metrics(figures(losses, privacy))
        return read_off(parameters, self._prefix)

    def export(self, weights: Mapping[str, Any]) -> Mapping[str, Any]:
        """The same weights, once every name has found its place in an empty copy of the base."""
        with torch.device("meta"):
            parameters = attach(self.family.load_empty(), targets_of(_MANIFEST), self.job.parameters["rank"], 0)
            put_in(parameters, weights, self._prefix)
        return weights

    def evaluate(self, weights: Mapping[str, Any] | None) -> dict[str, Any]:
        """Losses of each held-out clip at fixed levels with fixed noise, and what the model answers there."""
        cache, said = self.prepare("held_out"), self.job.parameters
        settle(_HELD_OUT_SEED)
        model = self._model()
        parameters = attach(model, targets_of(_MANIFEST), said["rank"], 0)
        if weights is not None:
            put_in(parameters, weights, self._prefix)
        model.eval()
        with torch.inference_mode():
            found = [self._judged(model, cache, number) for number in range(len(cache))]
        outputs = torch.cat([answer.flatten() for _loss, answer in found])
        return {
            "losses": torch.stack([loss for loss, _answer in found]).double().cpu().numpy(),
            "outputs": outputs[:: max(1, len(outputs) // _MOST_OUTPUTS)].cpu().numpy(),
        }

    def sample(self, weights: Mapping[str, Any]) -> Any:
        """Frames (N, T, H, W, 3), uint8, small, that the model makes for the captions it is handed."""
        told, like = self._asked_for()
        settle(_SAMPLE_SEED)
        model = self._model()
        put_in(attach(model, targets_of(_MANIFEST), self.job.parameters["rank"], 0), weights, self._prefix)
        model.eval()
        with torch.inference_mode():
            made = [self._made(model, {name: one.unsqueeze(0) for name, one in each.items()}, like, number)
                    for number, each in enumerate(told)]  # fmt: skip
        del model
        let_go()
        self.family.load_encoders(device_of(), numbers_of(self.job.parameters["precision"]))
        with torch.inference_mode():
            return np.concatenate([_small(self.family.decode(one)) for one in made])

    def _asked_for(self) -> tuple[list[Tensors], torch.Size]:
        """What the model is told of each caption, and the shape of its latents."""
        said, window = self.job.parameters, self.job.held_out.window
        self.family.load_encoders(device_of(), numbers_of(said["precision"]))
        empty = torch.zeros(1, 3, window.get("frames", 1), window["size_px"], window["size_px"], device=device_of())
        told = []
        with torch.inference_mode():
            like = self.family.encode(empty)["mean"].shape
            for batch in self.job.held_out.batches(said["together"], deliver=["captions"]):
                for caption in captions_of(batch):
                    told.append({name: one[0] for name, one in self.family.describe([caption]).items()})
        let_go()
        return told, like

    def _made(self, model: Any, told: Tensors, like: torch.Size, number: int) -> torch.Tensor:
        """Latents from noise, in as many steps as it takes to see what they are."""
        objective, device = objective_of(self.family.scheduler(), self.job.parameters["shift"]), device_of()
        numbers = numbers_of(self.job.parameters["precision"])
        mixed = torch.randn(like, generator=generator(_SAMPLE_SEED, number)).to(device)
        words = {name: one.to(numbers) if one.is_floating_point() else one for name, one in told.items()}
        levels = objective.levels(torch.linspace(_TOP, 0, _SAMPLE_STEPS + 1)).to(device)
        for level, lower in pairwise(levels):
            asked = objective.timesteps(level.reshape(1))
            with torch.autocast(device.type, torch.bfloat16, enabled=numbers is torch.bfloat16):
                answer = self.family.predict(model, mixed.to(numbers), asked, words).float()
            mixed = objective.step(mixed, answer, level.reshape(1), lower.reshape(1))
        return mixed

    @property
    def _prefix(self) -> str:
        return f"{self.family.part}."

    def _model(self) -> Any:
        return self.family.load_trained(numbers_of(self.job.parameters["precision"])).to(device_of())

    def _examples(self, batch: Mapping[str, Any]) -> list[dict[str, Any]]:
        """Of each clip of a batch: its latents, its words, whose it is."""
        frames = torch.from_numpy(batch["frames_NTHWC"]).permute(0, 4, 1, 2, 3).to(device_of())
        latents = self.family.encode(frames.float() / 127.5 - 1)
        told = self.family.describe(captions_of(batch))
        owners = batch.get("owner_N")
        return [
            {
                "tensors": {name: held[n] for name, held in (latents | told).items()},
                "clip": int(batch["clip_N"][n]),
                **({} if owners is None else {"owner": int(owners[n])}),
            }
            for n in range(len(frames))
        ]

    def _loss_of(self, model: Any, cache: Cache) -> Any:
        """The loss of some examples in a step: each with its own latents, noise and level, drawn for it alone."""
        objective, device = objective_of(self.family.scheduler(), self.job.parameters["shift"]), device_of()
        nothing = Cache(self.job.cache, "empty").get([0])

        def loss_of(numbers: list[int], step: int) -> torch.Tensor:
            held = cache.get(numbers)
            drawn = [self._drawn(held, nothing, at, step, number) for at, number in enumerate(numbers)]
            clean, noise = (torch.stack([one[kind] for one in drawn]).to(device) for kind in ("clean", "noise"))
            told = {
                name: torch.stack([one[name] for one in drawn]).to(device) for name in drawn[0] if name[:4] == "text"
            }
            places = torch.cat([one["place"] for one in drawn])
            return self._answered(model, objective, clean, noise, places, told)[0].mean()

        return loss_of

    def _drawn(self, held: Tensors, nothing: Tensors, at: int, step: int, number: int) -> Tensors:
        said = self.job.parameters
        lots = generator(self.job.seed, 2, step, number)
        mean, spread = held["mean"][at], held["spread"][at]
        found = {"clean": mean + spread * torch.randn(mean.shape, generator=lots)}
        found["noise"] = torch.randn(mean.shape, generator=lots)
        found["place"] = draw_places(said["density"], 1, lots, said["lowest"], said["highest"])
        is_dropped = float(torch.rand(1, generator=lots)) < said["caption_dropout"]
        return found | {name: nothing[name][0] if is_dropped else held[name][at] for name in held if name[:4] == "text"}

    def _answered(
        self,
        model: Any,
        objective: Objective,
        clean: torch.Tensor,
        noise: torch.Tensor,
        places: torch.Tensor,
        told: Tensors,
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """The loss of each example, and the answers."""
        levels = objective.levels(places).to(clean.device)
        device, numbers = clean.device, numbers_of(self.job.parameters["precision"])
        with torch.autocast(device.type, torch.bfloat16, enabled=numbers is torch.bfloat16):
            mixed = objective.mix(clean, noise, levels).to(numbers)
            words = {name: held.to(numbers) if held.is_floating_point() else held for name, held in told.items()}
            answer = self.family.predict(model, mixed, objective.timesteps(levels), words).float()
        wrong = (answer - objective.target(clean, noise, levels)).square()
        return wrong.flatten(1).mean(1), answer

    def _judged(self, model: Any, cache: Cache, number: int) -> tuple[torch.Tensor, torch.Tensor]:
        objective, device = objective_of(self.family.scheduler(), self.job.parameters["shift"]), device_of()
        held = {name: one.to(device) for name, one in cache.get([number] * len(PLACES)).items()}
        noise = torch.randn(held["mean"].shape, generator=generator(_HELD_OUT_SEED, number)).to(device)
        told = {name: one for name, one in held.items() if name[:4] == "text"}
        losses, answer = self._answered(model, objective, held["mean"], noise, torch.tensor(PLACES), told)
        return losses.mean(), answer


def _small(frames_NCTHW: torch.Tensor) -> Any:
    """Some frames of each, as small pictures: enough to tell a copy by, and little enough to hand over."""
    count = frames_NCTHW.shape[2]
    some = torch.linspace(0, count - 1, min(count, _SHOWN_FRAMES)).round().long()
    picked = frames_NCTHW[:, :, some.to(frames_NCTHW.device)].float().transpose(1, 2)
    side = min(_SHOWN_PX, *picked.shape[-2:])
    small = torch.nn.functional.interpolate(picked.flatten(0, 1), (side, side), mode="area")
    pictures = ((small.clamp(-1, 1) + 1) * 127.5).round().byte().permute(0, 2, 3, 1)
    return pictures.reshape(-1, len(some), side, side, 3).cpu().numpy()
