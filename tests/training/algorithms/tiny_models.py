"""Tiny base models, drawn by seed and saved like the real ones; tokenizers made in code; nothing is fetched.

A thousandth of a thousandth of the real size, the same classes: what works here differs from the real thing in size
only. Start reading at `save_video_base`. Needs torch, diffusers and transformers.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

_ENGLISH = "a the night day city street close wide shot of red blue car sky at"
WORDS = [*_ENGLISH.split(), *"夜景白天城市街道特写远红蓝"]
VIDEO_FAMILIES = ("wan", "ltx", "cogvideox")


def tokenizer(**special: str) -> Any:
    """A tokenizer of whole words; what it does not know is one word too."""
    from tokenizers import Tokenizer
    from tokenizers.models import WordLevel
    from tokenizers.pre_tokenizers import Whitespace
    from tokenizers.processors import TemplateProcessing
    from transformers import PreTrainedTokenizerFast

    names = ["<pad>", "</s>", "<unk>", *WORDS]
    inner = Tokenizer(WordLevel({name: number for number, name in enumerate(names)}, unk_token="<unk>"))
    inner.pre_tokenizer = Whitespace()
    inner.post_processor = TemplateProcessing(single="$A </s>", special_tokens=[("</s>", 1)])
    kinds = {"pad_token": "<pad>", "eos_token": "</s>", "unk_token": "<unk>"} | special
    return PreTrainedTokenizerFast(tokenizer_object=inner, model_max_length=64, **kinds)


def text_encoder() -> Any:
    from transformers import T5Config, T5EncoderModel

    sizes = {"d_model": 32, "d_ff": 37, "d_kv": 8, "num_heads": 4, "num_layers": 2, "vocab_size": len(WORDS) + 3}
    return T5EncoderModel(T5Config(**sizes)).eval()


def video_pipeline(family: str, seed: int = 0) -> Any:
    """A whole pipeline of a family, with weights by seed."""
    import torch

    torch.manual_seed(seed)
    return {"wan": _wan, "ltx": _ltx, "cogvideox": _cogvideox}[family]()


def save_video_base(family: str, folder: Path, seed: int = 0) -> Path:
    """The same as files: configurations, safetensors, a tokenizer."""
    video_pipeline(family, seed).save_pretrained(folder, safe_serialization=True)
    return folder


def files_of(folder: Path) -> dict[str, Path]:
    """The files of a base by name, as a run takes them; readable for its user, as files from a hub are."""
    for path in folder.rglob("*.safetensors"):
        path.chmod(0o644)
    return {str(path.relative_to(folder)): path for path in sorted(folder.rglob("*")) if path.is_file()}


def save_image_base(folder: Path, seed: int = 0, prediction: str = "epsilon") -> Path:
    """A tiny Stable Diffusion: U-Net, image encoder, CLIP."""
    import torch
    from diffusers import DDIMScheduler, StableDiffusionPipeline, UNet2DConditionModel

    torch.manual_seed(seed)
    unet = UNet2DConditionModel(
        block_out_channels=(8, 16),
        **{"layers_per_block": 1, "sample_size": 16, "norm_num_groups": 2, "cross_attention_dim": 32},
        down_block_types=("DownBlock2D", "CrossAttnDownBlock2D"),
        up_block_types=("CrossAttnUpBlock2D", "UpBlock2D"),
        attention_head_dim=2,
    )
    scheduler = DDIMScheduler(
        beta_start=0.00085, beta_end=0.012, clip_sample=False, steps_offset=1, prediction_type=prediction
    )
    pipeline = StableDiffusionPipeline(
        vae=_image_encoder(),
        text_encoder=_clip(),
        tokenizer=tokenizer(),
        unet=unet,
        scheduler=scheduler,
        safety_checker=None,
        feature_extractor=None,
        requires_safety_checker=False,
    )
    pipeline.save_pretrained(folder, safe_serialization=True)
    return folder


def save_flux_base(folder: Path, seed: int = 0) -> Path:
    """A tiny Flux: transformer, image encoder, CLIP and T5."""
    import torch
    from diffusers import FlowMatchEulerDiscreteScheduler, FluxPipeline, FluxTransformer2DModel

    torch.manual_seed(seed)
    transformer = FluxTransformer2DModel(
        **{"patch_size": 1, "in_channels": 16, "num_layers": 1, "num_single_layers": 1, "attention_head_dim": 16},
        **{"num_attention_heads": 2, "joint_attention_dim": 32, "pooled_projection_dim": 32},
        axes_dims_rope=[4, 4, 8],
    )
    pipeline = FluxPipeline(
        transformer=transformer,
        vae=_image_encoder(shift_factor=0.1, scaling_factor=0.4, use_quant_conv=False, use_post_quant_conv=False),
        scheduler=FlowMatchEulerDiscreteScheduler(shift=1.0),
        text_encoder=_clip(),
        tokenizer=tokenizer(),
        text_encoder_2=text_encoder(),
        tokenizer_2=tokenizer(),
    )
    pipeline.save_pretrained(folder, safe_serialization=True)
    return folder


def save_language_base(folder: Path, seed: int = 0) -> Path:
    """A tiny causal language model of the Llama shape, with a tokenizer of bytes that knows every language."""
    import torch
    from tokenizers import Tokenizer, decoders, pre_tokenizers
    from tokenizers.models import BPE
    from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

    torch.manual_seed(seed)
    letters = sorted(pre_tokenizers.ByteLevel.alphabet())
    names = ["<pad>", "</s>", "<|im_start|>", "<|im_end|>", *letters]
    inner = Tokenizer(BPE({name: number for number, name in enumerate(names)}, [], unk_token="<pad>"))
    inner.pre_tokenizer, inner.decoder = pre_tokenizers.ByteLevel(add_prefix_space=False), decoders.ByteLevel()
    inner.add_special_tokens(names[:4])
    words = PreTrainedTokenizerFast(tokenizer_object=inner, pad_token="<pad>", eos_token="</s>")
    words.chat_template = (
        "{% for m in messages %}<|im_start|>{{ m['role'] }}\n{{ m['content'] }}<|im_end|>\n{% endfor %}"
        "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
    )
    config = LlamaConfig(
        **{"vocab_size": len(names), "hidden_size": 48, "intermediate_size": 96, "num_hidden_layers": 2},
        **{"num_attention_heads": 4, "num_key_value_heads": 2, "max_position_embeddings": 512},
        **{"pad_token_id": 0, "eos_token_id": 1, "bos_token_id": None, "tie_word_embeddings": False},
    )
    LlamaForCausalLM(config).save_pretrained(folder, safe_serialization=True)
    words.save_pretrained(folder)
    return folder


def _clip() -> Any:
    from transformers import CLIPTextConfig, CLIPTextModel

    sizes = {"vocab_size": 1000, "hidden_size": 32, "intermediate_size": 37, "projection_dim": 32}
    shape = {"num_attention_heads": 4, "num_hidden_layers": 2, "max_position_embeddings": 77}
    return CLIPTextModel(CLIPTextConfig(**sizes, **shape, bos_token_id=2, eos_token_id=1)).eval()


def _image_encoder(**more: Any) -> Any:
    from diffusers import AutoencoderKL

    return AutoencoderKL(
        **{"block_out_channels": [8, 16], "norm_num_groups": 2, "latent_channels": 4},
        down_block_types=["DownEncoderBlock2D"] * 2,
        up_block_types=["UpDecoderBlock2D"] * 2,
        **more,
    )


def _wan() -> Any:
    from diffusers import AutoencoderKLWan, FlowMatchEulerDiscreteScheduler, WanPipeline, WanTransformer3DModel

    sizes = {"base_dim": 3, "z_dim": 16, "dim_mult": [1, 1, 1, 1], "num_res_blocks": 1}
    transformer = WanTransformer3DModel(
        **{"num_attention_heads": 2, "attention_head_dim": 12, "in_channels": 16, "out_channels": 16, "text_dim": 32},
        **{"freq_dim": 256, "ffn_dim": 32, "num_layers": 2, "cross_attn_norm": True, "rope_max_seq_len": 32},
    )
    return WanPipeline(
        transformer=transformer,
        vae=AutoencoderKLWan(**sizes, temperal_downsample=[False, True, True]),
        scheduler=FlowMatchEulerDiscreteScheduler(shift=3.0),
        text_encoder=text_encoder(),
        tokenizer=tokenizer(),
        transformer_2=None,
    )


def _ltx() -> Any:
    from diffusers import (
        AutoencoderKLLTXVideo,
        FlowMatchEulerDiscreteScheduler,
        LTXPipeline,
        LTXVideoTransformer3DModel,
    )

    transformer = LTXVideoTransformer3DModel(
        **{"in_channels": 8, "out_channels": 8, "num_attention_heads": 4, "attention_head_dim": 8, "num_layers": 1},
        **{"cross_attention_dim": 32, "caption_channels": 32},
    )
    vae = AutoencoderKLLTXVideo(
        latent_channels=8,
        block_out_channels=(8, 8, 8, 8),
        decoder_block_out_channels=(8, 8, 8, 8),
        layers_per_block=(1, 1, 1, 1, 1),
        decoder_layers_per_block=(1, 1, 1, 1, 1),
        spatio_temporal_scaling=(True, True, False, False),
        decoder_spatio_temporal_scaling=(True, True, False, False),
        timestep_conditioning=False,
    )
    vae.use_framewise_encoding = vae.use_framewise_decoding = False
    return LTXPipeline(
        transformer=transformer,
        vae=vae,
        scheduler=FlowMatchEulerDiscreteScheduler(),
        text_encoder=text_encoder(),
        tokenizer=tokenizer(),
    )


def _cogvideox() -> Any:
    from diffusers import AutoencoderKLCogVideoX, CogVideoXDDIMScheduler, CogVideoXPipeline, CogVideoXTransformer3DModel

    transformer = CogVideoXTransformer3DModel(
        **{"num_attention_heads": 2, "attention_head_dim": 16, "in_channels": 4, "out_channels": 4},
        **{"time_embed_dim": 2, "text_embed_dim": 32, "num_layers": 1, "sample_width": 2, "sample_height": 2},
        **{"sample_frames": 9, "patch_size": 2, "temporal_compression_ratio": 4, "max_text_seq_length": 16},
        use_rotary_positional_embeddings=True,
    )
    vae = AutoencoderKLCogVideoX(
        **{"latent_channels": 4, "layers_per_block": 1, "norm_num_groups": 2, "temporal_compression_ratio": 4},
        block_out_channels=(8, 8, 8, 8),
        down_block_types=("CogVideoXDownBlock3D",) * 4,
        up_block_types=("CogVideoXUpBlock3D",) * 4,
    )
    return CogVideoXPipeline(
        transformer=transformer,
        vae=vae,
        scheduler=CogVideoXDDIMScheduler(prediction_type="v_prediction", rescale_betas_zero_snr=True),
        text_encoder=text_encoder(),
        tokenizer=tokenizer(),
    )


def read_index(folder: Path) -> dict[str, Any]:
    """What `model_index.json` says."""
    found: dict[str, Any] = json.loads((folder / "model_index.json").read_text("utf-8"))
    return found
