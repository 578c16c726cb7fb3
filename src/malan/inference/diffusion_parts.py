"""A pipeline of diffusers from the files of a base: part by part, only classes of two libraries, only safetensors.

    model_index.json ─ class of each part ─▶ from_pretrained, one after the other, `stop` asked in between ─▶ pipeline

Every weight the parts have must be in the files: a part that would be drawn by lot refuses the whole. No code of a base
is ever run. Start reading at `load_pipeline`.
"""

from __future__ import annotations

import gc
import importlib
import inspect
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from malan.core.errors import Rejected, UsageError
from malan.inference.opening import Opening

LIBRARIES = ("diffusers", "transformers")
INDEX = "model_index.json"
PRECISIONS = ("float32", "bfloat16", "float16")
_PLAIN = ("Tokenizer", "Scheduler", "Processor", "FeatureExtractor")  # parts without weights
OFFLOADS = ("none", "model", "sequential")
_OPTIONS: Mapping[str, tuple[str, ...] | type] = {
    "precision": PRECISIONS, "vae_precision": PRECISIONS, "offload": OFFLOADS, "tiling": bool, "variant": str,
    "rate": float, "prompt_tokens": int, "most_pixels": int,
}  # fmt: skip


def library(name: str) -> Any:
    """One of the libraries of the extra `train`, imported only now, and told to be quiet.

    Raises:
        ModuleNotFoundError: It is not installed; whoever opens engines names the extra.
    """
    found = importlib.import_module(name)
    if name in LIBRARIES:
        found.utils.logging.set_verbosity_error()
        found.utils.logging.disable_progress_bar()
    return found


def check_options(opening: Opening) -> Mapping[str, Any]:
    """What `options` says, once every word of it is known.

    Raises:
        UsageError: A word or a value that means nothing here.
    """
    for name, value in opening.options.items():
        known = _OPTIONS.get(name)
        if known is None:
            raise UsageError("engines.bad_option", name=opening.name, option=name[:40], known=", ".join(_OPTIONS))
        if isinstance(known, tuple):
            fits, shown = value in known, ", ".join(known)
        else:
            is_number = isinstance(value, int | float) and not isinstance(value, bool) and value > 0
            fits = is_number if known in (int, float) else isinstance(value, known)
            shown = known.__name__
        if not fits:
            raise UsageError("engines.bad_option", name=opening.name, option=name, known=shown)
    return opening.options


def read_index(opening: Opening) -> dict[str, Any]:
    """What a base says its parts are.

    Raises:
        Rejected: It is no pipeline of diffusers.
    """
    path = opening.files.get(INDEX)
    if path is None:
        raise Rejected("engines.no_pipeline", name=opening.name, model=opening.model)
    said = json.loads(path.read_bytes())
    if not isinstance(said, dict) or not isinstance(said.get("_class_name"), str):
        raise Rejected("engines.no_pipeline", name=opening.name, model=opening.model)
    return said


def load_pipeline(opening: Opening, index: Mapping[str, Any], pipeline: Any) -> Any:
    """The whole, on its device. Nothing of it is left when it fails or is stopped on the way.

    Args:
        opening: The engine.
        index: What `read_index` gave.
        pipeline: The class of the whole.

    Raises:
        Rejected: A part of another library, code of its own, weights that are missing or do not fit.
    """
    said = check_options(opening)
    parts: dict[str, Any] = {}
    made: Any = None
    try:
        for name, listed in index.items():
            if not name.startswith("_"):
                opening.stop()
                parts[name] = _part(opening, name, listed, said) if isinstance(listed, list) else listed
        known = inspect.signature(pipeline.__init__).parameters
        made = pipeline(**{name: part for name, part in parts.items() if name in known})
        made.set_progress_bar_config(disable=True)
        opening.stop()
        return _placed(made, opening, said)
    except BaseException:
        made = None
        parts.clear()
        let_go()
        raise


def let_go() -> None:
    """Give memory back that nobody holds any more."""
    gc.collect()
    torch = importlib.import_module("torch")
    if torch.cuda.is_available():
        torch.cuda.empty_cache()


def _placed(made: Any, opening: Opening, said: Mapping[str, Any]) -> Any:
    if said.get("tiling") and hasattr(made.vae, "enable_tiling"):
        made.vae.enable_tiling()
    if said.get("offload", "none") == "model":
        made.enable_model_cpu_offload(device=opening.processor)
    elif said.get("offload") == "sequential":
        made.enable_sequential_cpu_offload(device=opening.processor)
    else:
        made.to(opening.processor)
    return made


def _part(opening: Opening, name: str, listed: list[Any], said: Mapping[str, Any]) -> Any:
    if len(listed) != 2 or listed[0] is None:
        return None
    kind = _class(opening, name, listed)
    folder = _folder(opening, name)
    if not hasattr(kind, "forward"):  # tokenizers, schedulers, processors
        return kind.from_pretrained(folder, local_files_only=True)
    precision = said.get("vae_precision" if name == "vae" else "precision") or usual_precision(opening, name, said)
    more = {"variant": said["variant"]} if said.get("variant") else {}
    try:
        model, told = kind.from_pretrained(
            folder, torch_dtype=getattr(library("torch"), precision), use_safetensors=True, local_files_only=True,
            output_loading_info=True, **more,
        )  # fmt: skip
    except (OSError, ValueError, RuntimeError, KeyError, TypeError) as error:
        raise Rejected("engines.part", name=opening.name, part=name, detail=_line(error)) from error
    lost = [*told.get("missing_keys", ()), *told.get("mismatched_keys", ()), *told.get("error_msgs", ())]
    if lost:
        raise Rejected(
            "engines.missing_weights", name=opening.name, part=name, count=len(lost), first=str(lost[0])[:80]
        )
    return model.eval().requires_grad_(False)


def usual_precision(opening: Opening, name: str, said: Mapping[str, Any]) -> str:
    """What a part is loaded in where nobody says it. The processor counts in float32, accelerators in bfloat16; the
    encoder of Wan needs float32 everywhere."""
    if name == "vae" and opening.family == "wan":
        return "float32"
    return str(said.get("precision") or ("float32" if opening.processor == "cpu" else "bfloat16"))


def _class(opening: Opening, name: str, listed: list[Any]) -> Any:
    """A class of one of the two libraries; never one that a base brings itself."""
    where, kind = str(listed[0]), str(listed[1])
    place = (
        where if where in LIBRARIES else f"diffusers.pipelines.{where}"
    )  # where diffusers keeps a part of one family
    try:
        found = getattr(library(place), kind, None) if where.isidentifier() else None
    except ModuleNotFoundError:
        found = None
    is_plain = any(word in kind for word in _PLAIN)
    if (
        not inspect.isclass(found)
        or not hasattr(found, "from_pretrained")
        or not (is_plain or hasattr(found, "forward"))
    ):
        raise Rejected("engines.own_code", name=opening.name, part=name[:40], what=f"{where[:40]}.{kind[:60]}")
    return found


def _folder(opening: Opening, name: str) -> Path:
    """The folder of a part: inside that of the base, with no word about code of its own in its configuration."""
    if opening.folder is None or not name.isidentifier():
        raise Rejected("engines.no_pipeline", name=opening.name, model=opening.model)
    for file, path in opening.files.items():
        if file.startswith(f"{name}/") and file.endswith("config.json") and b'"auto_map"' in path.read_bytes():
            raise Rejected("engines.own_code", name=opening.name, part=name, what="auto_map")
    return opening.folder / name


def _line(error: Exception) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0][:160]
