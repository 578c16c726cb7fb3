"""Files of weights in the safetensors layout: read as if written by an enemy, written in one spelling.

    8 bytes: length of the header, little-endian │ header, JSON │ numbers, little-endian, one tensor after another

Only three types of number are understood, nothing is unpickled, unpacked or executed, and nothing in the file decides
how much memory is taken: every length is held against the bytes that are there first. Start reading at `parse_tensors`.
What a file may hold is for others to say: the gate compares with a declaration, the registry with a base model.
"""

from __future__ import annotations

import hashlib
import json
import math
import os
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NoReturn

import numpy as np
from numpy.typing import NDArray

from malan.core.errors import Rejected, UsageError

Float32 = NDArray[np.float32]
Array = NDArray[Any]

BYTES_OF = {"F32": 4, "F16": 2, "BF16": 2}
SIGNIFICANT_BITS = {"F32": 24, "F16": 11, "BF16": 8}
STORED_BYTES = {**BYTES_OF, "F64": 8, "I64": 8, "I32": 4, "I16": 2, "I8": 1, "U8": 1, "BOOL": 1} | dict.fromkeys(
    ("F8_E4M3", "F8_E5M2"), 1
)
"""The types that files of base models hold; they are measured here, never computed with."""
NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*(\.[A-Za-z0-9_]+)*")

_ENTRY = {"dtype", "shape", "data_offsets"}
_METADATA = "__metadata__"
_LONGEST_INTEGER = 16  # digits: beyond any offset a limit allows


@dataclass(frozen=True, slots=True)
class Limits:
    """The most a file may hold. Bytes count the whole file, header included."""

    file_bytes: int = 2**31
    header_bytes: int = 2**22
    tensors: int = 20_000
    dimensions: int = 6
    name_length: int = 200


@dataclass(frozen=True, slots=True)
class Tensor:
    """One array of a file: what the header says of it, and its bytes as they lie there, little-endian, row by row."""

    name: str
    dtype: str
    shape: tuple[int, ...]
    data: bytes | memoryview

    @property
    def count(self) -> int:
        """How many numbers."""
        return math.prod(self.shape)

    def values(self) -> Float32:
        """The numbers as float32 in the tensor's shape; exact, for every type that is read fits into it."""
        if self.dtype == "BF16":
            wide = np.frombuffer(self.data, "<u2").astype(np.uint32) << np.uint32(16)
            return wide.view(np.float32).reshape(self.shape)
        kind = "<f4" if self.dtype == "F32" else "<f2"
        return np.frombuffer(self.data, kind).astype(np.float32).reshape(self.shape)

    @classmethod
    def of(cls, name: str, values: Array, dtype: str = "F32") -> Tensor:
        """Numbers as a tensor, rounded to the nearest of the type (ties to even).

        Raises:
            UsageError: An unknown type, an empty array, or a number too large for the type.
        """
        if dtype not in BYTES_OF or not values.size:
            raise UsageError("tensors.cannot_write", name=name[:80], dtype=str(dtype)[:20])
        array = np.ascontiguousarray(values, np.float32)
        data = _as_bfloat16(array) if dtype == "BF16" else _narrowed(array, dtype)
        tensor = cls(name, dtype, tuple(int(side) for side in values.shape), data)
        if np.isfinite(array).all() and not np.isfinite(tensor.values()).all():
            raise UsageError("tensors.overflow", name=name[:80], dtype=dtype)
        return tensor


@dataclass(frozen=True, slots=True)
class TensorFile:
    """What a file holds: its tensors by name, in the order of their bytes, and the words its writer added."""

    tensors: Mapping[str, Tensor]
    metadata: Mapping[str, str]
    size_bytes: int


def parse_tensors(data: bytes | memoryview, limits: Limits | None = None) -> TensorFile:
    """Read a whole file; nothing of it is copied. Costs time in proportion to the header.

    Raises:
        Rejected: It is anything but a well-formed file within the limits: the code says what is wrong, and where.
    """
    limits, view = limits or Limits(), memoryview(data)
    if len(view) > limits.file_bytes:
        raise Rejected("tensors.too_large", size=len(view), most=limits.file_bytes)
    begin = _begin(view[:8], len(view), limits)
    places, metadata = _places(bytes(view[8:begin]), len(view) - begin, limits, BYTES_OF)
    body = view[begin:]
    tensors = {name: Tensor(name, dtype, shape, body[a:b]) for name, dtype, shape, a, b in places}
    return TensorFile(tensors, metadata, len(view))


def scan_tensors(path: Path, limits: Limits | None = None, *, types: Mapping[str, int] = STORED_BYTES) -> TensorFile:
    """What a file on disk holds by its header alone, as strictly; its numbers are not read, and the tensors are bare.

    Args:
        path: The file, of any size.
        limits: What is read at all.
        types: The types of number that may be in it; all that base models hold, unless said otherwise.

    Raises:
        Rejected: It is anything but a well-formed file within the limits.
    """
    limits = limits or Limits()
    with path.open("rb") as file:
        size = os.fstat(file.fileno()).st_size
        if size > limits.file_bytes:
            raise Rejected("tensors.too_large", size=size, most=limits.file_bytes)
        begin = _begin(file.read(8), size, limits)
        places, metadata = _places(file.read(begin - 8), size - begin, limits, types)
    return TensorFile({name: Tensor(name, dtype, shape, b"") for name, dtype, shape, _, _ in places}, metadata, size)


def write_tensors(tensors: Iterable[Tensor], metadata: Mapping[str, str] | None = None) -> bytes:
    """The file of some tensors, in the one spelling we use: wide types first, then by name; no gap; keys sorted.

    The same tensors and metadata give the same bytes. The header is padded with spaces to a multiple of eight.

    Raises:
        UsageError: Two of one name, none at all, a name we would not read ourselves, an empty tensor.
    """
    ordered = sorted(tensors, key=lambda tensor: (-BYTES_OF[tensor.dtype], tensor.name))
    header: dict[str, Any] = {_METADATA: dict(metadata)} if metadata else {}
    end = 0
    for tensor in ordered:
        if tensor.name in header or not is_name(tensor.name) or not tensor.count:
            raise UsageError("tensors.cannot_write", name=tensor.name[:80], dtype=tensor.dtype)
        begin, end = end, end + tensor.count * BYTES_OF[tensor.dtype]
        header[tensor.name] = {"data_offsets": [begin, end], "dtype": tensor.dtype, "shape": list(tensor.shape)}
    if not end:
        raise UsageError("tensors.cannot_write", name="–", dtype="–")
    text = json.dumps(header, separators=(",", ":"), sort_keys=True, ensure_ascii=False).encode()
    text += b" " * (-len(text) % 8)
    return b"".join([len(text).to_bytes(8, "little"), text, *(tensor.data for tensor in ordered)])


def digest_tensors(tensors: Iterable[Tensor]) -> str:
    """The name of weights: SHA-256 over names, types, shapes and numbers in our order; metadata do not count."""
    whole = hashlib.sha256(b"malan.weights.v1\n")
    for tensor in sorted(tensors, key=lambda tensor: tensor.name):
        whole.update(f"{tensor.name}\0{tensor.dtype}\0{list(tensor.shape)}\0".encode())
        whole.update(tensor.data)
    return whole.hexdigest()


def is_name(name: str, most: int = 200) -> bool:
    """Whether a tensor may be called so: words of letters, digits and underscores between dots."""
    return len(name) <= most and NAME.fullmatch(name) is not None


Places = list[tuple[str, str, tuple[int, ...], int, int]]


def _begin(first: bytes | memoryview, size: int, limits: Limits) -> int:
    """Where the numbers begin."""
    if size < 10:
        raise Rejected("tensors.too_short", size=size)
    length = int.from_bytes(first, "little")
    if not 2 <= length <= min(limits.header_bytes, size - 8):
        raise Rejected("tensors.header_size", size=length, most=min(limits.header_bytes, size - 8))
    return 8 + length


def _places(text: bytes, size: int, limits: Limits, sizes: Mapping[str, int]) -> tuple[Places, dict[str, str]]:
    """Every tensor with its stretch of the numbers, in their order, and the words of the writer."""
    unpadded = text.rstrip(b" ")
    if not unpadded.startswith(b"{") or not unpadded.endswith(b"}") or len(text) - len(unpadded) > 7:
        raise Rejected("tensors.header", detail="framing")
    header = _object(unpadded)
    metadata = _metadata(header.pop(_METADATA, {}))
    if not 0 < len(header) <= limits.tensors:
        raise Rejected("tensors.how_many", found=len(header), most=limits.tensors)
    places = sorted((_place(name, entry, limits, sizes) for name, entry in header.items()), key=lambda one: one[3:])
    _check_gapless(places, size)
    return places, metadata


def _object(text: bytes) -> dict[str, Any]:
    try:
        found = json.loads(
            text.decode("utf-8"),
            object_pairs_hook=_no_key_twice,
            parse_int=_short_integer,
            parse_float=_no_fraction,
            parse_constant=_no_fraction,
        )
    except (ValueError, RecursionError) as error:
        raise Rejected("tensors.header", detail=type(error).__name__) from error
    if not isinstance(found, dict):
        raise Rejected("tensors.header", detail="object")
    return found


def _metadata(found: Any) -> dict[str, str]:
    if not isinstance(found, dict) or not all(isinstance(value, str) for value in found.values()):
        raise Rejected("tensors.header", detail=_METADATA)
    return found


def _place(
    name: str, entry: Any, limits: Limits, sizes: Mapping[str, int]
) -> tuple[str, str, tuple[int, ...], int, int]:
    """A tensor's type, shape and stretch of bytes, in agreement with one another."""
    if not is_name(name, limits.name_length):
        raise Rejected("tensors.name", name=name[:40])
    if not isinstance(entry, dict) or entry.keys() != _ENTRY:
        raise Rejected("tensors.entry", name=name, detail="keys")
    dtype, shape, offsets = entry["dtype"], entry["shape"], entry["data_offsets"]
    if not isinstance(dtype, str) or dtype not in sizes:
        raise Rejected("tensors.dtype", name=name, dtype=str(dtype)[:20], known=", ".join(sizes))
    if not _are_counts(shape) or len(shape) > limits.dimensions or not _are_counts(offsets) or len(offsets) != 2:
        raise Rejected("tensors.entry", name=name, detail="shape, data_offsets")
    if 0 in shape:
        raise Rejected("tensors.empty", name=name)
    begin, end = offsets
    if end - begin != (wanted := math.prod(shape) * sizes[dtype]):
        raise Rejected("tensors.size", name=name, size=end - begin, wanted=wanted)
    return name, dtype, tuple(shape), begin, end


def _check_gapless(places: Places, size: int) -> None:
    """Every byte belongs to exactly one tensor: no gap, no overlap, nothing behind the last."""
    end = 0
    for name, _, _, begin, until in places:
        if begin != end:
            raise Rejected("tensors.overlap" if begin < end else "tensors.gap", name=name, at=min(begin, end))
        end = until
    if end != size:
        raise Rejected("tensors.trailer" if end < size else "tensors.cut_off", size=size, wanted=end)


def _are_counts(found: Any) -> bool:
    return isinstance(found, list) and all(type(one) is int and one >= 0 for one in found)


def _no_key_twice(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    held = dict(pairs)
    if len(held) != len(pairs):
        raise Rejected("tensors.key_twice")
    return held


def _short_integer(text: str) -> int:
    if len(text) > _LONGEST_INTEGER:
        raise ValueError("integer")
    return int(text)


def _no_fraction(text: str) -> NoReturn:
    raise ValueError(text[:20])


def _as_bfloat16(array: Float32) -> bytes:
    """The upper halves, rounded to nearest, ties to even. Not-a-number stays one."""
    bits = array.view(np.uint32)
    rounded = (bits + np.uint32(0x7FFF) + ((bits >> np.uint32(16)) & np.uint32(1))) >> np.uint32(16)
    kept = np.where(np.isnan(array), (bits >> np.uint32(16)) | np.uint32(0x40), rounded)
    return kept.astype("<u2").tobytes()


def _narrowed(array: Float32, dtype: str) -> bytes:
    with np.errstate(over="ignore"):
        return array.astype("<f4" if dtype == "F32" else "<f2").tobytes()


def iter_values(tensors: Iterable[Tensor]) -> Iterator[tuple[str, Float32]]:
    """Name and numbers of each, one at a time: the memory of one."""
    for tensor in tensors:
        yield tensor.name, tensor.values()
