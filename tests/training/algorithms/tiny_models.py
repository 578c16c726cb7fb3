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


def save_flux_base(folder: Path, seed: int = 0, *, layers: int = 1, heads: int = 2) -> Path:
    """A tiny Flux: transformer, image encoder, CLIP and T5."""
    import torch
    from diffusers import FlowMatchEulerDiscreteScheduler, FluxPipeline, FluxTransformer2DModel

    torch.manual_seed(seed)
    transformer = FluxTransformer2DModel(
        **{"patch_size": 1, "in_channels": 16, "num_layers": layers, "num_single_layers": 1, "attention_head_dim": 16},
        **{"num_attention_heads": heads, "joint_attention_dim": 32, "pooled_projection_dim": 32},
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


def learn_pictures(folder: Path, pictures_NHWC: Any, *, looks: int = 300, steps: int = 500) -> Path:
    """Let a tiny Flux learn pictures in general: its encoder to draw them, its transformer to clear them of noise."""
    import torch
    from diffusers import FluxPipeline

    pipeline = FluxPipeline.from_pretrained(folder, local_files_only=True)
    clean = torch.from_numpy(pictures_NHWC.copy()).float().permute(0, 3, 1, 2) / 127.5 - 1
    latents = _learned_latents(pipeline.vae, clean, looks)
    _learn_to_clear(pipeline, latents, steps)
    pipeline.save_pretrained(folder, safe_serialization=True)
    return folder


def _learned_latents(vae: Any, clean: Any, looks: int) -> Any:
    """Train an encoder with its decoder; the latents of all pictures, scaled to a spread of one."""
    import torch

    vae.train()
    optimiser = torch.optim.Adam(vae.parameters(), 3e-3)
    for _ in range(looks):
        some = clean[torch.randint(0, len(clean), (8,))]
        found = vae.encode(some).latent_dist
        loss = (vae.decode(found.sample()).sample - some).square().mean() + 1e-4 * found.kl().mean() / 64
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    vae.eval()
    with torch.no_grad():
        latents = vae.encode(clean).latent_dist.mean
    middle, spread = float(latents.mean()), float(latents.std())
    vae.register_to_config(scaling_factor=1 / spread, shift_factor=middle)
    return (latents - middle) / spread


def _learn_to_clear(pipeline: Any, latents: Any, steps: int) -> None:
    """Train all of a transformer on straight lines from noise to latents, told of one caption."""
    import torch

    model = pipeline.transformer.train()
    optimiser = torch.optim.Adam(model.parameters(), 2e-3)
    with torch.no_grad():
        words, whole, places = pipeline.encode_prompt("a", "a", num_images_per_prompt=8, max_sequence_length=16)
    for _ in range(steps):
        clean = latents[torch.randint(0, len(latents), (8,))]
        noise, level = torch.randn_like(clean), torch.rand(8, 1, 1, 1)
        mixed = (1 - level) * clean + level * noise
        count, channels, height, width = mixed.shape
        squares = [pipeline._pack_latents(one, count, channels, height, width) for one in (mixed, noise - clean)]
        ids = pipeline._prepare_latent_image_ids(count, height // 2, width // 2, "cpu", mixed.dtype)
        answer = model(
            hidden_states=squares[0],
            encoder_hidden_states=words,
            pooled_projections=whole,
            timestep=level.flatten(),
            img_ids=ids,
            txt_ids=places,
            return_dict=False,
        )[0]
        optimiser.zero_grad()
        (answer - squares[1]).square().mean().backward()
        optimiser.step()
    model.eval()


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
