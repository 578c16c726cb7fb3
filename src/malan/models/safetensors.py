"""Adapters as files: read strictly, written in one spelling, named by the digest of their weights.

The format itself is `inference.tensors`; this adds what makes a file an adapter: pairs of factors, their scaling, and
nothing else. Start reading at `read_adapter`.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from tempfile import NamedTemporaryFile

import numpy as np

from malan.core.errors import NotFound, Rejected
from malan.inference.adapters import Pair, PairNames, find_pairs, fold_pair
from malan.inference.tensors import Limits, Tensor, TensorFile, digest_tensors, parse_tensors, write_tensors


@dataclass(frozen=True)
class Adapter:
    """A low-rank change of a base model: a pair for each module, and the shape of its inputs (with a kernel, if any).

    `digest` names the weights as they were read; empty for what was only computed.
    """

    pairs: Mapping[str, Pair]
    inputs: Mapping[str, tuple[int, ...]]
    digest: str = ""

    @property
    def rank(self) -> int:
        """The largest of its modules."""
        return max(pair.rank for pair in self.pairs.values())


def read_adapter(data: bytes, *, alpha: float | None = None, limits: Limits | None = None) -> Adapter:
    """The adapter in the bytes of a file.

    Args:
        data: The whole file.
        alpha: The scaling numerator from the adapter's configuration, for files that do not hold one; None means the
            rank, so that the product counts as it is.
        limits: What is read at all.

    Raises:
        Rejected: No well-formed file, a tensor that belongs to no pair (DoRA, LoKr, full weights), numbers that are not
            finite, or shapes that do not multiply.
    """
    file = parse_tensors(data, limits)
    names, others = find_pairs(file.tensors)
    if others or not names:
        raise Rejected("models.not_an_adapter", count=len(others), first=others[0] if others else "–")
    pairs = {name.module: _pair(file, name, alpha) for name in names}
    inputs = {name.module: file.tensors[name.down].shape[1:] for name in names}
    return Adapter(pairs, inputs, digest_tensors(file.tensors.values()))


def write_adapter(adapter: Adapter, *, dtype: str = "F32", metadata: Mapping[str, str] | None = None) -> bytes:
    """The adapter as a file with the names that peft and diffusers use. The scaling is in the numbers: alpha = rank.

    Raises:
        UsageError: A number too large for the type.
    """
    tensors = []
    for module, pair in adapter.pairs.items():
        side = adapter.inputs[module]
        kernel = (1,) * (len(side) - 1)
        up = (pair.up * pair.scale).reshape(*pair.up.shape, *kernel)
        tensors.append(Tensor.of(f"{module}.lora_B.weight", up, dtype))
        tensors.append(Tensor.of(f"{module}.lora_A.weight", pair.down.reshape(pair.rank, *side), dtype))
    return write_tensors(tensors, {"format": "pt", **(metadata or {})})


def load_adapter(path: Path, *, alpha: float | None = None, limits: Limits | None = None) -> Adapter:
    """The adapter in a file.

    Raises:
        NotFound: There is no such file.
        Rejected: See `read_adapter`; also when it is larger than the limits, before it is read.
    """
    limits = limits or Limits()
    try:
        with path.open("rb") as file:
            if (size := os.fstat(file.fileno()).st_size) > limits.file_bytes:
                raise Rejected("tensors.too_large", size=size, most=limits.file_bytes)
            data = file.read(limits.file_bytes + 1)
    except FileNotFoundError as error:
        raise NotFound("models.no_file", path=str(path)) from error
    return read_adapter(data, alpha=alpha, limits=limits)


def save_adapter(
    path: Path, adapter: Adapter, *, dtype: str = "F32", metadata: Mapping[str, str] | None = None
) -> None:
    """Write a file all at once: whoever reads the path sees the old one or the whole new one."""
    data = write_adapter(adapter, dtype=dtype, metadata=metadata)
    with NamedTemporaryFile(dir=path.parent, prefix=".adapter-", suffix=".tmp", delete=False) as file:
        try:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
            Path(file.name).replace(path)
        except BaseException:
            Path(file.name).unlink(missing_ok=True)
            raise


def _pair(file: TensorFile, name: PairNames, alpha: float | None) -> Pair:
    up, down = file.tensors[name.up], file.tensors[name.down]
    if (
        len(up.shape) < 2
        or len(down.shape) != len(up.shape)
        or up.shape[1] != down.shape[0]
        or up.shape[2:].count(1) != len(up.shape) - 2
    ):
        raise Rejected("models.misfit", module=name.module, up=str(list(up.shape)), down=str(list(down.shape)))
    numerator = _alpha(file, name, alpha, down.shape[0])
    pair = fold_pair(up.values(), down.values(), numerator / down.shape[0])
    if not (np.isfinite(pair.up).all() and np.isfinite(pair.down).all() and np.isfinite(numerator)):
        raise Rejected("models.not_finite", module=name.module)
    return pair


def _alpha(file: TensorFile, name: PairNames, alpha: float | None, rank: int) -> float:
    if name.alpha is None:
        return float(rank) if alpha is None else alpha
    held = file.tensors[name.alpha]
    if held.count != 1:
        raise Rejected("models.misfit", module=name.module, up="alpha", down=str(list(held.shape)))
    return float(held.values().reshape(-1)[0])
