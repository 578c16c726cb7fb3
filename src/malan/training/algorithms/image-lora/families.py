"""The two families of image models: U-Nets of the Stable Diffusion line, and Flux-like transformers.

Pictures come as windows of one frame. Latents are (N, C, H, W), scaled as the model wants them. Start at `family_of`.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from diffusers_parts import Parts

Tensors = dict[str, torch.Tensor]


class ImageFamily:
    """What the families share."""

    part = "unet"
    pixels_step = 8

    def __init__(self, folder: Path, tokens: int) -> None:
        self._parts, self.tokens = Parts(folder), tokens
        self._held: dict[str, Any] = {}

    def check(self, size_px: int) -> None:
        """Raises:
        ValueError: The picture is none that the encoder of this family takes.
        """
        if size_px % self.pixels_step:
            raise ValueError(f"size_px must be a multiple of {self.pixels_step}")

    def load_encoders(self, device: torch.device, numbers: torch.dtype) -> None:
        self._held = {"vae": self._parts.load("vae", torch.float32).to(device)}
        for name in ("text_encoder", "text_encoder_2"):
            if name in self._parts.index:
                self._held[name] = self._parts.load(name, numbers).to(device)
        for name in ("tokenizer", "tokenizer_2"):
            if name in self._parts.index:
                self._held[name] = self._parts.load_plain(name)

    def load_trained(self, numbers: torch.dtype) -> Any:
        """The model that learns; encoders are let go first."""
        self._held = {}
        return self._parts.load(self.part, numbers)

    def load_empty(self) -> Any:
        return self._parts.load_empty(self.part)

    def scheduler(self) -> Any:
        return self._parts.load_plain("scheduler")

    def encode(self, frames_NCTHW: torch.Tensor) -> Tensors:
        vae = self._held["vae"]
        found, config = vae.encode(frames_NCTHW[:, :, 0].to(vae.dtype)).latent_dist, vae.config
        moved = found.mean.float() - (config.get("shift_factor") or 0.0)
        return {"mean": moved * config.scaling_factor, "spread": found.std.float() * config.scaling_factor}

    def decode(self, latents: torch.Tensor) -> torch.Tensor:
        """Pictures from -1 to 1 of latents as the model has them, as films of one frame."""
        vae, config = self._held["vae"], self._held["vae"].config
        moved = latents / config.scaling_factor + (config.get("shift_factor") or 0.0)
        pictures: torch.Tensor = vae.decode(moved.to(vae.dtype)).sample.float()
        return pictures.unsqueeze(2)

    def describe(self, captions: list[str]) -> Tensors:
        raise NotImplementedError

    def predict(self, model: Any, mixed: torch.Tensor, timesteps: torch.Tensor, told: Tensors) -> torch.Tensor:
        """The answer of the model, in the layout of the latents."""
        raise NotImplementedError

    def _ids(self, captions: list[str], second: str, most: int) -> torch.Tensor:
        words = self._held[f"tokenizer{second}"]
        found = words(captions, padding="max_length", max_length=most, truncation=True, return_tensors="pt")
        ids: torch.Tensor = found.input_ids.to(self._held[f"text_encoder{second}"].device)
        return ids


class StableDiffusion(ImageFamily):
    """Stable Diffusion 1 and 2: a U-Net that is told of the words by attention; noise or velocity."""

    def describe(self, captions: list[str]) -> Tensors:
        most = self._held["tokenizer"].model_max_length  # as its pipeline, which takes no other length
        return {"text": self._held["text_encoder"](self._ids(captions, "", most))[0].float()}

    def predict(self, model: Any, mixed: torch.Tensor, timesteps: torch.Tensor, told: Tensors) -> torch.Tensor:
        answer: torch.Tensor = model(mixed, timesteps, told["text"], return_dict=False)[0]
        return answer


class Flux(ImageFamily):
    """Flux: squares of four latents as tokens, words by T5, the sense of the whole by CLIP, flow matching."""

    part = "transformer"
    pixels_step = 16
    guidance = 1.0  # what distilled models are told in training

    def describe(self, captions: list[str]) -> Tensors:
        whole = self._held["text_encoder"](self._ids(captions, "", self._held["tokenizer"].model_max_length))
        words = self._held["text_encoder_2"](self._ids(captions, "_2", self.tokens))[0]
        return {"text": words.float(), "text_whole": whole.pooler_output.float()}

    def predict(self, model: Any, mixed: torch.Tensor, timesteps: torch.Tensor, told: Tensors) -> torch.Tensor:
        count, channels, height, width = mixed.shape
        squares = mixed.reshape(count, channels, height // 2, 2, width // 2, 2).permute(0, 2, 4, 1, 3, 5)
        answer = model(
            hidden_states=squares.reshape(count, -1, 4 * channels),
            encoder_hidden_states=told["text"],
            pooled_projections=told["text_whole"],
            timestep=timesteps / 1000,
            img_ids=_places(height // 2, width // 2).to(mixed),
            txt_ids=torch.zeros(told["text"].shape[1], 3).to(mixed),
            guidance=torch.full((count,), self.guidance).to(mixed) if model.config.guidance_embeds else None,
            return_dict=False,
        )[0]
        back = answer.reshape(count, height // 2, width // 2, channels, 2, 2).permute(0, 3, 1, 4, 2, 5)
        found: torch.Tensor = back.reshape(count, channels, height, width)
        return found


FAMILIES = {"StableDiffusionPipeline": StableDiffusion, "FluxPipeline": Flux}


def family_of(folder: Path, tokens: int) -> ImageFamily:
    """The family of a base model, by the pipeline it was saved as.

    Raises:
        ValueError: None of those known here.
    """
    name = Parts(folder).pipeline
    if name not in FAMILIES:
        raise ValueError(f"{name} is none of {', '.join(FAMILIES)}")
    return FAMILIES[name](folder, tokens)


def _places(rows: int, columns: int) -> torch.Tensor:
    """Row and column of each token, as the model's positions want them."""
    grid = torch.zeros(rows, columns, 3)
    grid[..., 1] = torch.arange(rows)[:, None]
    grid[..., 2] = torch.arange(columns)[None, :]
    return grid.reshape(-1, 3)
