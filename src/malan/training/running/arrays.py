"""Arrays on their way out of and into a run: collected within limits, written as safetensors, kept as checkpoints.

Nothing here trusts what an array holds; the gate reads the files anew. Start reading at `weights_file`.
"""

from __future__ import annotations

import io
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from malan.core.errors import MalanError, Rejected
from malan.inference.tensors import Tensor, write_tensors
from malan.runtime.sandbox import Array, EndRun
from malan.runtime.sandbox.inside import frames
from malan.training.gate.declared import Declared

_PART_ARRAYS, _PART_BYTES = 100, 64 << 20
_FLOATS = ("<f2", "<f4", "<f8")

AnyArray = NDArray[Any]


class Collected:
    """Arrays that come in portions under one name; the same name twice, or too many, ends the run."""

    def __init__(self, most: int = 100_000) -> None:
        self._most = most
        self.arrays: dict[str, Array] = {}

    def add(self, portion: Mapping[str, Array]) -> None:
        if self.arrays.keys() & portion.keys() or len(self.arrays) + len(portion) > self._most:
            raise EndRun("output")
        self.arrays |= portion


def as_numpy(array: Array) -> AnyArray:
    """What a run handed in as an array of its own kind; a copy that can be written."""
    return np.frombuffer(array.content, array.kind).reshape(array.shape).copy()


def weights_file(arrays: Mapping[str, Array], declared: Declared) -> bytes:
    """A safetensors file of what `train` returned, in the types that were declared.

    Names and shapes stay as they came, so that the gate can refuse them; what is not declared is written as F32.

    Raises:
        Rejected: Nothing was handed over, or it cannot be written: no floats, an impossible name, a number too large.
    """
    try:
        return write_tensors(list(_tensors(arrays, declared)))
    except (MalanError, ValueError) as error:
        raise Rejected("running.no_model") from error


def _tensors(arrays: Mapping[str, Array], declared: Declared) -> Iterator[Tensor]:
    for name, array in arrays.items():
        if array.kind not in _FLOATS:
            raise ValueError(array.kind)
        slot = declared.slots.get(name)
        with np.errstate(over="ignore"):
            values = as_numpy(array).astype(np.float32)
        yield Tensor.of(name, values, slot.dtype if slot else "F32")


def pack_arrays(arrays: Mapping[str, Array]) -> bytes:
    """Arrays as bytes, portion by portion; read back by `unpack_arrays`."""
    out = io.BytesIO()
    for part in portions({name: as_numpy(array) for name, array in arrays.items()}):
        described, payload = frames.describe(part)
        out.write(frames.header({"arrays": described}))
        for one in payload:
            out.write(one)
    return out.getvalue()


def unpack_arrays(content: bytes) -> dict[str, AnyArray]:
    """What `pack_arrays` wrote.

    Raises:
        Rejected: It is something else.
    """
    found: dict[str, AnyArray] = {}
    stream = io.BytesIO(content)
    try:
        while (header := frames.read_header(stream.read)) is not None:
            described = header["arrays"]
            for (name, kind, shape), size in zip(described, frames.sizes(described), strict=True):
                data = stream.read(size)
                found[name] = np.frombuffer(data, kind).reshape(shape)
    except (ValueError, KeyError, TypeError) as error:
        raise Rejected("running.bad_checkpoint") from error
    return found


def portions(arrays: Mapping[str, AnyArray]) -> list[dict[str, AnyArray]]:
    """Arrays in portions that fit one answer: few names, not too many bytes unless one array alone has more."""
    found: list[dict[str, AnyArray]] = []
    room = 0
    for name, array in arrays.items():
        if not found or len(found[-1]) == _PART_ARRAYS or room < array.nbytes:
            found.append({})
            room = _PART_BYTES
        found[-1][name] = array
        room -= array.nbytes
    return found
