"""Tiny bases of every family, also those that begin with a picture, and openings of them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from tiny_models import save_flux_base, save_image_base, save_video_base, text_encoder, tokenizer

from malan.inference.opening import Opening

KINDS = {
    "wan": ("wan", "video"),
    "ltx": ("ltx", "video"),
    "cogvideox": ("cogvideox", "video"),
    "wan-image": ("wan", "video"),
    "cogvideox-image": ("cogvideox", "video"),
    "sd": ("stable-diffusion", "image"),
    "flux": ("flux", "image"),
    "ace-step": ("ace-step", "music"),
}


def save_base(name: str, folder: Path) -> Path:
    """The files of a base; weights by seed 0."""
    if name == "sd":
        return save_image_base(folder)
    if name == "flux":
        return save_flux_base(folder)
    if name == "wan-image":
        return _save(_wan_image(), folder)
    if name == "cogvideox-image":
        return _save(_cogvideox_image(), folder)
    if name == "ace-step":
        return _save(_ace_step(), folder)
    return save_video_base(name, folder)


def opening_of(name: str, folder: Path, **more: Any) -> Opening:
    family, kind = KINDS[name]
    files = {path.relative_to(folder).as_posix(): path for path in sorted(folder.rglob("*")) if path.is_file()}
    said: dict[str, Any] = {"name": name, "kind": kind, "folder": folder, "files": files, "family": family}
    return Opening(**(said | more))


def _save(pipeline: Any, folder: Path) -> Path:
    pipeline.save_pretrained(folder, safe_serialization=True)
    return folder


def _wan_image() -> Any:
    import torch
    from diffusers import (
        AutoencoderKLWan,
        FlowMatchEulerDiscreteScheduler,
        WanImageToVideoPipeline,
        WanTransformer3DModel,
    )
    from transformers import CLIPImageProcessor, CLIPVisionConfig, CLIPVisionModelWithProjection

    torch.manual_seed(0)
    transformer = WanTransformer3DModel(
        **{"num_attention_heads": 2, "attention_head_dim": 12, "in_channels": 36, "out_channels": 16, "text_dim": 32},
        **{"freq_dim": 256, "ffn_dim": 32, "num_layers": 2, "cross_attn_norm": True, "rope_max_seq_len": 32},
        image_dim=4,
    )
    looking = CLIPVisionConfig(
        hidden_size=4, projection_dim=4, num_hidden_layers=2, num_attention_heads=2, image_size=32, patch_size=16,
        intermediate_size=16,
    )  # fmt: skip
    sizes = {"base_dim": 3, "z_dim": 16, "dim_mult": [1, 1, 1, 1], "num_res_blocks": 1}
    return WanImageToVideoPipeline(
        transformer=transformer,
        vae=AutoencoderKLWan(**sizes, temperal_downsample=[False, True, True]),
        scheduler=FlowMatchEulerDiscreteScheduler(shift=3.0),
        text_encoder=text_encoder(),
        tokenizer=tokenizer(),
        image_encoder=CLIPVisionModelWithProjection(looking),
        image_processor=CLIPImageProcessor(crop_size=32, size=32),
    )


def _cogvideox_image() -> Any:
    import torch
    from diffusers import (
        AutoencoderKLCogVideoX,
        CogVideoXDDIMScheduler,
        CogVideoXImageToVideoPipeline,
        CogVideoXTransformer3DModel,
    )

    torch.manual_seed(0)
    transformer = CogVideoXTransformer3DModel(
        **{"num_attention_heads": 2, "attention_head_dim": 16, "in_channels": 8, "out_channels": 4},
        **{"time_embed_dim": 2, "text_embed_dim": 32, "num_layers": 1, "sample_width": 2, "sample_height": 2},
        **{"sample_frames": 9, "patch_size": 2, "temporal_compression_ratio": 4, "max_text_seq_length": 16},
        use_rotary_positional_embeddings=True,
        use_learned_positional_embeddings=True,
    )
    vae = AutoencoderKLCogVideoX(
        **{"latent_channels": 4, "layers_per_block": 1, "norm_num_groups": 2, "temporal_compression_ratio": 4},
        block_out_channels=(8, 8, 8, 8),
        down_block_types=("CogVideoXDownBlock3D",) * 4,
        up_block_types=("CogVideoXUpBlock3D",) * 4,
    )
    return CogVideoXImageToVideoPipeline(
        transformer=transformer,
        vae=vae,
        scheduler=CogVideoXDDIMScheduler(prediction_type="v_prediction", rescale_betas_zero_snr=True),
        text_encoder=text_encoder(),
        tokenizer=tokenizer(),
    )


def _ace_step() -> Any:
    import torch
    from diffusers import (
        AceStepConditionEncoder,
        AceStepPipeline,
        AceStepTransformer1DModel,
        AutoencoderOobleck,
        FlowMatchEulerDiscreteScheduler,
    )
    from transformers import Qwen3Config, Qwen3Model

    torch.manual_seed(0)
    heads = {"num_attention_heads": 4, "num_key_value_heads": 2, "head_dim": 8, "sliding_window": 16}
    sizes = {"hidden_size": 32, "intermediate_size": 64, **heads}
    reading = Qwen3Config(
        hidden_size=32, intermediate_size=64, num_hidden_layers=1, num_attention_heads=4, num_key_value_heads=2,
        head_dim=8, vocab_size=64, max_position_embeddings=512,
    )  # fmt: skip
    return AceStepPipeline(
        vae=AutoencoderOobleck(
            encoder_hidden_size=6, downsampling_ratios=[1, 2], decoder_channels=3, decoder_input_channels=8,
            audio_channels=2, channel_multiples=[2, 4], sampling_rate=100,
        ),
        text_encoder=Qwen3Model(reading).eval(),
        tokenizer=tokenizer(),
        transformer=AceStepTransformer1DModel(
            **sizes, num_hidden_layers=2, in_channels=24, audio_acoustic_hidden_dim=8, patch_size=2
        ),
        condition_encoder=AceStepConditionEncoder(
            **sizes, text_hidden_dim=32, timbre_hidden_dim=8, num_lyric_encoder_hidden_layers=1,
            num_timbre_encoder_hidden_layers=1,
        ),
        scheduler=FlowMatchEulerDiscreteScheduler(num_train_timesteps=1, shift=1.0),
    )  # fmt: skip
