"""Where the base model is, on what device it works and in which numbers; nothing is ever fetched from anywhere.

Import this before torch: it closes the ways libraries would take to the network. Start reading at `base_folder`.
"""

from __future__ import annotations

import gc
import os
import socket
from pathlib import Path
from typing import Any

os.environ |= {"HF_HUB_OFFLINE": "1", "TRANSFORMERS_OFFLINE": "1", "HF_HUB_DISABLE_TELEMETRY": "1"}
os.environ |= {"DIFFUSERS_VERBOSITY": "error", "TRANSFORMERS_VERBOSITY": "error", "TOKENIZERS_PARALLELISM": "false"}
socket.has_ipv6 = False  # a library asks by opening a socket, which counts as an attempt to get out

import torch  # noqa: E402  # after the above


def base_folder(job: Any) -> Path:
    """The folder of the base model, in the layout its library saves.

    Raises:
        ValueError: There is none.
    """
    folder = job.base()
    if folder is None:
        raise ValueError("this algorithm starts from a base model")
    return Path(folder)


def device_of() -> torch.device:
    """An accelerator where there is one."""
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")


def numbers_of(precision: str) -> torch.dtype:
    """The type that frozen weights are kept in: `auto` is bfloat16 on an accelerator and float32 elsewhere."""
    if precision == "auto":
        return torch.bfloat16 if device_of().type == "cuda" else torch.float32
    return {"float32": torch.float32, "bfloat16": torch.bfloat16}[precision]


def settle(seed: int) -> None:
    """Make what follows repeatable on this machine."""
    torch.manual_seed(seed)
    torch.use_deterministic_algorithms(mode=True, warn_only=True)
    torch.backends.cudnn.benchmark = False


def let_go() -> None:
    """Give back the memory of models nobody holds any more."""
    gc.collect()
    if torch.cuda.is_available():
        torch.cuda.empty_cache()


def generator(*numbers: int) -> torch.Generator:
    """Lots that depend on these numbers alone, so that a run goes on after a break as if there had been none."""
    import hashlib

    text = ",".join(map(str, numbers)).encode()
    return torch.Generator().manual_seed(int.from_bytes(hashlib.sha256(text).digest()[:7], "big"))
