"""Families of pipelines of diffusers, and what is particular to each: sizes and lengths it can make, words it reads.

A family is one line of `FAMILIES`, by the class its base was saved as. Start reading at `Family`.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any

Call = dict[str, Any]
MOST_SIDE_PX = 8192
MOST_PIXELS = 2**29  # of a whole film: 250 frames of 1080p


@dataclass(frozen=True, slots=True)
class Grid:
    """What can be made: sides are multiples of `side_px`, lengths `frames_step`·n + 1; some make one size `only`, and
    no more than `most_frames`."""

    side_px: int
    frames_step: int = 1
    only: tuple[int, int] | None = None  # width, height
    most_frames: int = 0

    def size(self, width: int, height: int) -> tuple[int, int]:
        """The nearest size."""
        return self.only or (_nearest(width, self.side_px), _nearest(height, self.side_px))

    def frames(self, count: int) -> int:
        """The nearest length; of two as near, the longer."""
        found = self.frames_step * max(0, math.floor((count - 1) / self.frames_step + 0.5)) + 1
        return min(found, self.most_frames) if self.most_frames else found


@dataclass(frozen=True, slots=True)
class Family:
    """What the pipelines of one class have in common.

    Args:
        family: What the registry calls it.
        kind: `video`, `image` or `music`.
        grid: Of a loaded pipeline.
        tokens: How many tokens of a prompt a loaded pipeline reads.
        rate: Frames a second that it was made for; None: as asked.
        with_image: The class that begins with a picture, from the same parts; empty: it cannot.
        needs_image: It can do nothing without a picture.
        call: What its call needs besides what all take.
    """

    family: str
    kind: str
    grid: Callable[[Any], Grid]
    tokens: Callable[[Any], int]
    rate: Callable[[Any], float | None] = lambda _: None
    with_image: str = ""
    needs_image: bool = False
    call: Callable[[Any, Call], Call] = lambda _, __: {}


def _nearest(value: int, step: int) -> int:
    return max(1, math.floor(value / step + 0.5)) * step


def _wan_grid(pipe: Any) -> Grid:
    patch = (pipe.transformer or pipe.transformer_2).config.patch_size
    return Grid(pipe.vae_scale_factor_spatial * math.lcm(patch[1], 16 // math.gcd(16, pipe.vae_scale_factor_spatial)),
                pipe.vae_scale_factor_temporal)  # fmt: skip


def _ltx_grid(pipe: Any) -> Grid:
    return Grid(math.lcm(32, pipe.vae_spatial_compression_ratio), pipe.vae_temporal_compression_ratio)


def _cog_grid(pipe: Any) -> Grid:
    """A transformer that learned each position by heart knows one size only; CogVideoX 1.5 takes frames in twos, and
    cuts off itself what it makes too much."""
    config, side = pipe.transformer.config, pipe.vae_scale_factor_spatial
    grid = Grid(side * config.patch_size, pipe.vae_scale_factor_temporal)
    if not config.use_learned_positional_embeddings:
        return grid
    return replace(
        grid, only=(config.sample_width * side, config.sample_height * side), most_frames=config.sample_frames
    )


def _image_grid(pipe: Any) -> Grid:
    return Grid(math.lcm(8, pipe.vae_scale_factor * (2 if hasattr(pipe, "transformer") else 1)))


def _cog_tokens(pipe: Any) -> int:
    return int(pipe.transformer.config.max_text_seq_length)


def _sequence(most: int) -> Callable[[Any], int]:
    return lambda _: most


def _with_length(_pipe: Any, said: Call) -> Call:
    return {"max_sequence_length": said["tokens"]}


def _ltx_call(pipe: Any, said: Call) -> Call:
    """A decoder that is told how noisy its latents are wants what its makers advise."""
    steps = {"decode_timestep": 0.05, "decode_noise_scale": 0.025} if pipe.vae.config.timestep_conditioning else {}
    return {"max_sequence_length": said["tokens"], "frame_rate": said["rate"], **steps}


def _flux_call(_pipe: Any, said: Call) -> Call:
    return {"true_cfg_scale": 4.0} if said["negative"] else {}


_WAN: dict[str, Any] = {
    "family": "wan", "kind": "video", "grid": _wan_grid, "tokens": _sequence(512),
    "rate": lambda pipe: 24.0 if pipe.config.expand_timesteps else 16.0, "call": _with_length,
}  # fmt: skip
_LTX: dict[str, Any] = {
    "family": "ltx",
    "kind": "video",
    "grid": _ltx_grid,
    "tokens": _sequence(256),
    "call": _ltx_call,
}
_COG: dict[str, Any] = {
    "family": "cogvideox", "kind": "video", "grid": _cog_grid, "tokens": _cog_tokens,
    "rate": lambda pipe: 16.0 if pipe.transformer.config.patch_size_t else 8.0, "call": _with_length,
}  # fmt: skip

FAMILIES: Mapping[str, Family] = {
    "WanPipeline": Family(**_WAN),
    "WanImageToVideoPipeline": Family(**_WAN, needs_image=True),
    "LTXPipeline": Family(**_LTX, with_image="LTXImageToVideoPipeline"),
    "LTXImageToVideoPipeline": Family(**_LTX, needs_image=True),
    "CogVideoXPipeline": Family(**_COG),
    "CogVideoXImageToVideoPipeline": Family(**_COG, needs_image=True),
    "StableDiffusionPipeline": Family("stable-diffusion", "image", _image_grid, _sequence(77)),
    "StableDiffusionXLPipeline": Family("stable-diffusion-xl", "image", _image_grid, _sequence(77)),
    "FluxPipeline": Family("flux", "image", _image_grid, _sequence(512), call=_flux_call),
    "AceStepPipeline": Family("ace-step", "music", lambda _: Grid(1), _sequence(256)),
}
"""Every class of pipeline that can be opened."""
