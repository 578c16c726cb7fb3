"""How much memory a diffusion pipeline will need for an ask, from headers and configurations: nothing is loaded.

    headers of safetensors × the precision they are loaded in ─▶ weights
    configurations × size × frames ─▶ max(one step of the transformer, the decoder at its widest) + the frames ─▶ work

An estimate for people who run this beside other things: meant to be somewhat above what is taken, never far below. The
factors are measured on the processor and held to what makers of models publish (`tests/inference/test_memory.py`).
Start at `need_of`.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

from malan.core.errors import Rejected
from malan.inference.backends import Amount
from malan.inference.diffusion_parts import read_index, usual_precision
from malan.inference.memory import MB, Need
from malan.inference.opening import Opening
from malan.inference.tensors import Limits, scan_tensors

_BYTES = {"float32": 4, "bfloat16": 2, "float16": 2}
_FLOATS = ("F64", "F32", "F16", "BF16", "F8_E4M3", "F8_E5M2")
_WHOLE = {"I64": 8, "I32": 4, "I16": 2, "I8": 1, "U8": 1, "BOOL": 1}
_LIMITS = Limits(file_bytes=2**40, header_bytes=2**26, tensors=200_000)
_BASIC_MB = 64  # what a step takes however small: workspaces of kernels
_STREAMED = 8  # sequential offload: tensors of the largest's size that lie on the device at a time
_TILE_PX = 512 * 512  # with tiling no more is decoded at once
_HIDDEN, _INNER = 14, 3  # buffers of a token at a time: as wide as the model, as wide as its feed-forward part
_DECODED = 8  # buffers of a pixel at a time, as wide as the decoder's last stage
_ON_PROCESSOR = 2  # its convolutions over frames keep unfolded copies
_SHOWN = 3 * (4 + 4 + 4 + 1)  # a pixel of the result: as numbers, twice, and as bytes
_AUDIO_RATE, _AUDIO_CHANNELS = 48_000, 128


@dataclass(frozen=True, slots=True)
class _Way:
    """Frames a family decodes at once (0: all), frames it keeps from those before, asks in one step."""

    at_once: int
    kept: int = 0
    batch: int = 2


_WAYS: Mapping[str, _Way] = {
    "wan": _Way(4, kept=8, batch=1),
    "ltx": _Way(0),
    "cogvideox": _Way(12, kept=6),
}
_IMAGES = _Way(0)


def need_of(opening: Opening, amount: Amount | None = None) -> Need:
    """What a base will need, loaded as its row says, for one ask.

    Raises:
        Rejected: It is no pipeline, or a header is malformed.
    """
    index = read_index(opening)
    parts = {name: _loaded_bytes(opening, name) for name, one in index.items() if isinstance(one, list)}
    whole, largest = sum(parts.values()), max(parts.values(), default=0)
    offload = opening.options.get("offload", "none")
    stays = {"model": largest, "sequential": _STREAMED * _largest_tensor(opening)}.get(str(offload), whole)
    is_beside = opening.processor != "cpu"
    try:
        work = _work_bytes(opening, amount) if amount is not None else 0
    except (ValueError, TypeError, LookupError, ArithmeticError, AttributeError) as error:
        detail = f"config.json: {error}"[:160]
        raise Rejected("engines.part", name=opening.name, part="transformer, vae", detail=detail) from error
    return Need(
        _mb(stays if is_beside else whole), _mb(work) + _BASIC_MB if work else 0, _mb(whole) if is_beside else 0
    )


def _mb(count: float) -> int:
    return math.ceil(count / MB)


def _precision(opening: Opening, name: str) -> int:
    said = opening.options.get("vae_precision" if name == "vae" else "precision")
    return _BYTES[str(said or usual_precision(opening, name, opening.options))]


def _loaded_bytes(opening: Opening, name: str) -> int:
    """Bytes of a part once its numbers have the type they are loaded in."""
    each = _precision(opening, name)
    return sum(count * (each if dtype in _FLOATS else _WHOLE.get(dtype, 8)) for dtype, count in _tensors(opening, name))


def _largest_tensor(opening: Opening) -> int:
    counts = (count for name in read_index(opening) for _, count in _tensors(opening, name))
    return max(counts, default=0) * _precision(opening, "transformer")


def _tensors(opening: Opening, part: str) -> Iterator[tuple[str, int]]:
    """Type and count of each tensor of a part; of the variant that is loaded, where there are several."""
    variant = opening.options.get("variant")
    for name, path in opening.files.items():
        folder, _, file = name.rpartition("/")
        is_variant = ".fp16." in file or ".bf16." in file or (variant is not None and f".{variant}." in file)
        if folder == part and file.endswith(".safetensors") and is_variant == (variant is not None):
            about = path.stat()
            yield from _counted(path, about.st_mtime_ns, about.st_size)


@lru_cache(maxsize=4096)
def _counted(path: Path, _changed_ns: int, _size_bytes: int) -> tuple[tuple[str, int], ...]:
    """Types and counts in a file as it is now; large headers are read once for all asks."""
    return tuple((one.dtype, one.count) for one in scan_tensors(path, _LIMITS).tensors.values())


def _work_bytes(opening: Opening, amount: Amount) -> float:
    if amount.seconds:
        return amount.seconds * _AUDIO_RATE * _AUDIO_CHANNELS * _DECODED / 2 * _precision(opening, "vae")
    vae = _config(opening, "vae")
    pixels = amount.width * amount.height
    shown = pixels * amount.frames * _SHOWN
    return max(_step_bytes(opening, vae, amount), _decode_bytes(opening, vae, amount)) + shown


def _step_bytes(opening: Opening, vae: Mapping[str, Any], amount: Amount) -> float:
    """One step of the transformer or U-Net: what the widest of its layers holds of all tokens."""
    way = _WAYS.get(opening.family, _IMAGES)
    name = "transformer" if any(one.startswith("transformer/") for one in opening.files) else "unet"
    config = _config(opening, name)
    tokens = _tokens(opening, vae, config, amount) * way.batch
    width, inner = _widths(config)
    return tokens * (width * _HIDDEN + inner * _INNER) * _precision(opening, name)


def _tokens(opening: Opening, vae: Mapping[str, Any], config: Mapping[str, Any], amount: Amount) -> float:
    side, deep = _scales(opening, vae)
    patch = config.get("patch_size") or 1
    patches = math.prod(patch) if isinstance(patch, list) else int(patch) ** 2 * int(config.get("patch_size_t") or 1)
    if opening.family == "flux":
        patches = 4  # packs two by two
    latents = amount.frames if opening.family not in _WAYS else (amount.frames - 1) / deep + 1
    return amount.width / side * amount.height / side * latents / patches


def _scales(opening: Opening, vae: Mapping[str, Any]) -> tuple[int, int]:
    """How many pixels, and frames, one latent stands for along a side."""
    if opening.family == "wan":
        return int(vae.get("scale_factor_spatial") or 8), int(vae.get("scale_factor_temporal") or 4)
    if opening.family == "ltx":
        scaling = vae.get("spatio_temporal_scaling") or [True] * 3
        deep = 2 ** sum(map(bool, scaling)) * int(vae.get("patch_size_t") or 1)
        return 2 ** sum(map(bool, scaling)) * int(vae.get("patch_size") or 4), deep
    side = 2 ** (len(vae.get("block_out_channels") or [1] * 4) - 1)
    return side, int(vae.get("temporal_compression_ratio") or 4)


def _widths(config: Mapping[str, Any]) -> tuple[int, int]:
    """Of a transformer, as wide as its heads together; of a U-Net its first stage, where most of its tokens are."""
    if blocks := config.get("block_out_channels"):
        return int(blocks[0]), 8 * int(blocks[0])
    width = int(config.get("num_attention_heads") or 1) * int(config.get("attention_head_dim") or 64)
    return width, int(config.get("ffn_dim") or 4 * width)


def _decode_bytes(opening: Opening, vae: Mapping[str, Any], amount: Amount) -> float:
    """The decoder's last stage, which is its largest: every pixel of the frames it makes at once."""
    way = _WAYS.get(opening.family, _IMAGES)
    frames = min(way.at_once or amount.frames, amount.frames)
    blocks = vae.get("decoder_block_out_channels") or vae.get("block_out_channels")
    wide = int(blocks[0]) if blocks else int(vae.get("decoder_base_dim") or vae.get("base_dim") or 96)
    pixels = amount.width * amount.height / int(vae.get("patch_size") or 1) ** 2
    if opening.options.get("tiling"):
        pixels = min(pixels, _TILE_PX)
    buffers = (frames * _DECODED + way.kept * 2) * (_ON_PROCESSOR if opening.processor == "cpu" else 1)
    return pixels * wide * buffers * _precision(opening, "vae")


def _config(opening: Opening, part: str) -> Mapping[str, Any]:
    path = opening.files.get(f"{part}/config.json")
    try:
        said = json.loads(path.read_bytes()) if path else {}
    except ValueError:
        said = {}
    return said if isinstance(said, dict) else {}
