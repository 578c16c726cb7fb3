"""Adapters drawn by script, honest and hostile, and files of weights written byte by byte."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from malan.inference.tensors import Tensor, write_tensors
from malan.training.gate import Declared, Policy
from malan.training.gate.rewrite import Rounding

Array = NDArray[Any]
SIDES = {"blocks.0.attn.to_q": (48, 40), "blocks.0.attn.to_v": (48, 40), "blocks.1.ff.net": (64, 48)}
SECRET = bytes(range(32))


def trained_pair(outputs: int, inputs: int, rank: int, seed: int, *, fall: float = 0.8) -> tuple[Array, Array]:
    """Factors as training leaves them: a falling spectrum, an arbitrary basis."""
    rng = np.random.default_rng(seed)
    left = np.linalg.qr(rng.standard_normal((outputs, rank)))[0]
    right = np.linalg.qr(rng.standard_normal((inputs, rank)))[0]
    sigma = fall ** np.arange(rank) * rng.uniform(0.5, 2.0)
    basis = rng.standard_normal((rank, rank)) + 2 * np.eye(rank)
    return (left * sigma) @ basis, np.linalg.inv(basis) @ right.T


def lora_tensors(seed: int = 0, *, rank: int = 8, dtype: str = "F32", fall: float = 0.8) -> dict[str, Tensor]:
    """An adapter of three modules, with the names of peft."""
    tensors = {}
    for number, (module, (outputs, inputs)) in enumerate(SIDES.items()):
        up, down = trained_pair(outputs, inputs, rank, seed * 100 + number, fall=fall)
        for name, values in ((f"{module}.lora_B.weight", up), (f"{module}.lora_A.weight", down)):
            tensors[name] = Tensor.of(name, values, dtype)
    return tensors


def declared(*, rank: int = 8, dtype: str = "F32", **more: Any) -> Declared:
    """The declaration that `lora_tensors` keeps to."""
    modules = {module: list(sides) for module, sides in SIDES.items()}
    table = {"type": "lora", "max_bytes": 200_000, "rank": rank, "dtype": dtype, "modules": modules}
    return Declared.from_output({**table, **more})


def policy(*, bits: int = 8, **more: Any) -> Policy:
    """A policy that measures nothing, for tests of the steps before."""
    return Policy(declared(), rounding=Rounding(bits), needs=frozenset(), **more)


def as_file(tensors: Mapping[str, Tensor], metadata: Mapping[str, str] | None = None) -> bytes:
    return write_tensors(tensors.values(), metadata)


def raw_file(header: Any, body: bytes = b"", *, length: int | None = None) -> bytes:
    """A file with any header: an object, or the very bytes of one."""
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    return (len(text) if length is None else length).to_bytes(8, "little") + text + body


def entry(shape: Sequence[Any], begin: int, end: int, dtype: str = "F32") -> dict[str, Any]:
    return {"dtype": dtype, "shape": list(shape), "data_offsets": [begin, end]}


def bits_of(data: bytes) -> NDArray[np.uint8]:
    return np.unpackbits(np.frombuffer(data, np.uint8))
