"""The three families of video models and what is particular to each: layout, scaling, words, positions.

Every family keeps latents as (N, C, T, H, W), scaled as the model wants them. Start reading at `family_of`.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from diffusers_parts import Parts

Tensors = dict[str, torch.Tensor]


class VideoFamily:
    """What the families share."""

    part = "transformer"
    frames_step, pixels_step = 4, 16

    def __init__(self, folder: Path, tokens: int, expert: str = "") -> None:
        self._parts, self.tokens = Parts(folder), tokens
        self.part = expert or self.part
        self._vae: Any = None
        self._text: Any = None

    def check(self, frames: int, size_px: int) -> None:
        """Raises:
        ValueError: The window is none that the encoder of this family takes.
        """
        if (frames - 1) % self.frames_step or size_px % self.pixels_step:
            raise ValueError(f"frames must be {self.frames_step}·n + 1, size_px a multiple of {self.pixels_step}")

    def load_encoders(self, device: torch.device, numbers: torch.dtype) -> None:
        self._vae = self._parts.load("vae", torch.float32).to(device)
        self._text = self._parts.load("text_encoder", numbers).to(device)
        self._words = self._parts.load_plain("tokenizer")

    def load_trained(self, numbers: torch.dtype) -> Any:
        """The transformer; without encoders, which are let go first."""
        self._vae = self._text = None
        return self._parts.load(self.part, numbers)

    def load_empty(self) -> Any:
        return self._parts.load_empty(self.part)

    def scheduler(self) -> Any:
        return self._parts.load_plain("scheduler")

    def encode(self, frames_NCTHW: torch.Tensor) -> Tensors:
        found = self._vae.encode(frames_NCTHW.to(self._vae.dtype)).latent_dist
        return self._scaled(found.mean.float(), found.std.float())

    def decode(self, latents: torch.Tensor) -> torch.Tensor:
        """Frames from -1 to 1 of latents as the model has them."""
        found = self._vae.decode(self._unscaled(latents).to(self._vae.dtype), **self._decoding)
        frames: torch.Tensor = found.sample.float()
        return frames

    def describe(self, captions: list[str]) -> Tensors:
        ids, _mask = self._tokenized(captions)
        return {"text": self._text(ids)[0].float()}

    def predict(self, model: Any, mixed: torch.Tensor, timesteps: torch.Tensor, told: Tensors) -> torch.Tensor:
        """The answer of the model, in the layout of the latents."""
        raise NotImplementedError

    def _scaled(self, mean: torch.Tensor, spread: torch.Tensor) -> Tensors:
        raise NotImplementedError

    def _unscaled(self, latents: torch.Tensor) -> torch.Tensor:
        raise NotImplementedError

    @property
    def _decoding(self) -> dict[str, Any]:
        """What else the decoder is told."""
        return {}

    def _tokenized(self, captions: list[str]) -> tuple[torch.Tensor, torch.Tensor]:
        found = self._words(
            captions, padding="max_length", max_length=self.tokens, truncation=True, return_tensors="pt"
        )
        return found.input_ids.to(self._text.device), found.attention_mask.to(self._text.device)


class Wan(VideoFamily):
    """Wan 2.1 and 2.2. The latter has two experts: `transformer` above a level of noise, `transformer_2` below."""

    def describe(self, captions: list[str]) -> Tensors:
        """Words beyond the end of a caption are zeros, as in its pipeline."""
        from diffusers.pipelines.wan.pipeline_wan import prompt_clean

        ids, mask = self._tokenized([prompt_clean(caption) for caption in captions])
        found = self._text(ids, mask).last_hidden_state.float()
        return {"text": found * mask.unsqueeze(-1)}

    def predict(self, model: Any, mixed: torch.Tensor, timesteps: torch.Tensor, told: Tensors) -> torch.Tensor:
        answer: torch.Tensor = model(mixed, timesteps, told["text"], return_dict=False)[0]
        return answer

    def _scaled(self, mean: torch.Tensor, spread: torch.Tensor) -> Tensors:
        config = self._vae.config
        middle, width = (_along(numbers, mean) for numbers in (config.latents_mean, config.latents_std))
        return {"mean": (mean - middle) / width, "spread": spread / width}

    def _unscaled(self, latents: torch.Tensor) -> torch.Tensor:
        config = self._vae.config
        return latents * _along(config.latents_std, latents) + _along(config.latents_mean, latents)


class Ltx(VideoFamily):
    """LTX-Video: latents as a line of tokens, positions in seconds and pixels."""

    frames_step, pixels_step = 8, 32
    rate_hz = 25

    def __init__(self, folder: Path, tokens: int, expert: str = "") -> None:
        super().__init__(folder, tokens, expert)
        self._ratios: tuple[int, int] | None = None

    def describe(self, captions: list[str]) -> Tensors:
        ids, mask = self._tokenized(captions)
        return {"text": self._text(ids)[0].float(), "text_mask": mask.to(torch.uint8)}

    def predict(self, model: Any, mixed: torch.Tensor, timesteps: torch.Tensor, told: Tensors) -> torch.Tensor:
        count, channels, *sides = mixed.shape
        in_time, in_space = self._compression()
        answer = model(
            mixed.flatten(2).transpose(1, 2),
            encoder_hidden_states=told["text"],
            timestep=timesteps,
            encoder_attention_mask=told["text_mask"],
            **dict(zip(("num_frames", "height", "width"), sides, strict=True)),
            rope_interpolation_scale=(in_time / self.rate_hz, in_space, in_space),
            return_dict=False,
        )[0]
        found: torch.Tensor = answer.transpose(1, 2).reshape(count, channels, *sides)
        return found

    def _compression(self) -> tuple[int, int]:
        """How many frames and pixels make one of the latents, as the encoder counts them."""
        if self._ratios is None:
            with torch.device("meta"):
                vae = self._parts.load_empty("vae")
            self._ratios = (vae.temporal_compression_ratio, vae.spatial_compression_ratio)
        return self._ratios

    def _scaled(self, mean: torch.Tensor, spread: torch.Tensor) -> Tensors:
        middle, width = _along(self._vae.latents_mean, mean), _along(self._vae.latents_std, mean)
        factor = self._vae.config.scaling_factor
        return {"mean": (mean - middle) * factor / width, "spread": spread * factor / width}

    def _unscaled(self, latents: torch.Tensor) -> torch.Tensor:
        middle, width = _along(self._vae.latents_mean, latents), _along(self._vae.latents_std, latents)
        return latents * width / float(self._vae.config.scaling_factor) + middle

    @property
    def _decoding(self) -> dict[str, Any]:
        is_told = bool(self._vae.config.timestep_conditioning)
        return {"temb": torch.zeros(1, device=self._vae.device)} if is_told else {}


class CogVideoX(VideoFamily):
    """CogVideoX: frames before channels, velocity or noise by a schedule, rotary positions in the larger one."""

    frames_step, pixels_step = 4, 16

    def __init__(self, folder: Path, tokens: int, expert: str = "") -> None:
        super().__init__(folder, tokens, expert)
        self.tokens = int(self._parts.config(self.part)["max_text_seq_length"])

    def predict(self, model: Any, mixed: torch.Tensor, timesteps: torch.Tensor, told: Tensors) -> torch.Tensor:
        frames_first = mixed.permute(0, 2, 1, 3, 4)
        positions = self._positions(model.config, mixed)
        answer: torch.Tensor = model(
            frames_first, told["text"], timesteps, image_rotary_emb=positions, return_dict=False
        )[0]
        return answer.permute(0, 2, 1, 3, 4)

    def _positions(self, config: Any, mixed: torch.Tensor) -> Any:
        """Rotary positions where the model uses them: fitted into the size it learned on, or (1.5) cut from it."""
        frames, height, width = mixed.shape[2:]
        if not config.use_rotary_positional_embeddings:
            return None
        from diffusers.models.embeddings import get_3d_rotary_pos_embed
        from diffusers.pipelines.cogvideo.pipeline_cogvideox import get_resize_crop_region_for_grid

        side, depth = config.patch_size, config.patch_size_t
        grid = (height // side, width // side)
        learned = (config.sample_height // side, config.sample_width // side)
        if depth is None:
            crop = get_resize_crop_region_for_grid(grid, learned[1], learned[0])
            more = {"crops_coords": crop, "temporal_size": frames}
        else:
            count = (frames + depth - 1) // depth
            more = {"crops_coords": None, "temporal_size": count, "grid_type": "slice", "max_size": learned}
        return get_3d_rotary_pos_embed(embed_dim=config.attention_head_dim, grid_size=grid, device=mixed.device, **more)

    def _scaled(self, mean: torch.Tensor, spread: torch.Tensor) -> Tensors:
        factor = self._vae.config.scaling_factor
        return {"mean": mean * factor, "spread": spread * factor}

    def _unscaled(self, latents: torch.Tensor) -> torch.Tensor:
        return latents / float(self._vae.config.scaling_factor)


FAMILIES = {"WanPipeline": Wan, "LTXPipeline": Ltx, "LTXConditionPipeline": Ltx, "CogVideoXPipeline": CogVideoX}


def family_of(folder: Path, tokens: int, expert: str = "") -> VideoFamily:
    """The family of a base model, by the pipeline it was saved as.

    Raises:
        ValueError: None of those known here.
    """
    name = Parts(folder).pipeline
    if name not in FAMILIES:
        raise ValueError(f"{name} is none of {', '.join(FAMILIES)}")
    return FAMILIES[name](folder, tokens, expert)


def _along(numbers: Any, like: torch.Tensor) -> torch.Tensor:
    return torch.as_tensor(numbers).to(like).reshape(1, -1, *[1] * (like.ndim - 2))
