"""The architecture an algorithm declared for its output, and whether a file is exactly that.

A declaration is agreed on before the run: names, shapes, types, rank, scaling, byte limit. A file that is anything else
is refused: nothing extra, nothing missing, nothing renamed. Start reading at `Declared.from_output`.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np

from malan.core.errors import Rejected, UsageError
from malan.core.ids import digest_record
from malan.inference.adapters import check_fit, find_pairs
from malan.inference.tensors import BYTES_OF, Limits, Tensor, is_name

KINDS = ("lora", "weights")
NAMINGS = {"peft": ("lora_A.weight", "lora_B.weight"), "kohya": ("lora_down.weight", "lora_up.weight")}
HEADER_BYTES_EACH = 320  # a name of 200 letters, six sides, two offsets
MOST_TENSORS = 20_000

_LORA = {"type", "format", "max_bytes", "dtype", "max_norm", "rank", "alpha", "naming", "modules"}
_WEIGHTS = {"type", "format", "max_bytes", "max_norm", "tensors"}


@dataclass(frozen=True, slots=True)
class Slot:
    """One tensor that must be there."""

    dtype: str
    shape: tuple[int, ...]

    @property
    def size_bytes(self) -> int:
        return math.prod(self.shape) * BYTES_OF[self.dtype]


@dataclass(frozen=True)
class Declared:
    """What an output must be. `fixed` holds tensors of one number whose value is declared too (alpha).

    `max_norm` bounds the largest singular value of every pair's scaled product, and the RMS of every other tensor.

    Raises:
        UsageError: It contradicts itself, or is beyond what is read at all.
    """

    kind: str
    slots: Mapping[str, Slot]
    max_bytes: int
    max_norm: float = 100.0
    scale: float = 1.0
    fixed: Mapping[str, float] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if self.kind not in KINDS or not 0 < len(self.slots) <= MOST_TENSORS:
            raise UsageError("gate.bad_declaration", detail="type, tensors")
        for name, slot in self.slots.items():
            _check_slot(name, slot)
        if self.needed_bytes > self.max_bytes:
            raise UsageError("gate.too_small_a_limit", needed=self.needed_bytes, most=self.max_bytes)
        if not (math.isfinite(self.max_norm) and self.max_norm > 0 and math.isfinite(self.scale) and self.scale):
            raise UsageError("gate.bad_declaration", detail="max_norm, alpha")
        pairs, others = find_pairs(self.slots)
        if self.kind == "lora" and (others or not pairs):
            raise UsageError("gate.bad_declaration", detail="modules")
        for pair in pairs:
            check_fit(self.slots[pair.up].shape, self.slots[pair.down].shape)

    @classmethod
    def from_output(cls, table: Mapping[str, Any]) -> Declared:
        """The declaration in an `[outputs.<name>]` table of an algorithm.

        Raises:
            UsageError: A key that is not known, one that is missing, or a value that makes no sense.
        """
        kind = table.get("type")
        known = _LORA if kind == "lora" else _WEIGHTS
        if kind not in KINDS or table.get("format", "safetensors") != "safetensors" or table.keys() - known:
            unknown = sorted(table.keys() - known)
            raise UsageError("gate.bad_declaration", detail=", ".join(map(str, unknown))[:80] or "type, format")
        try:
            return _lora(table) if kind == "lora" else _weights(table)
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise UsageError("gate.bad_declaration", detail=str(error)[:80]) from error

    @property
    def needed_bytes(self) -> int:
        """The largest file that we write for it: the numbers, and a header with room for our metadata."""
        return sum(slot.size_bytes for slot in self.slots.values()) + len(self.slots) * HEADER_BYTES_EACH + 1024

    @property
    def limits(self) -> Limits:
        """What is read at all of a file that claims to be this."""
        header = len(self.slots) * HEADER_BYTES_EACH * 2 + 65_536
        return Limits(file_bytes=self.max_bytes + header, header_bytes=header, tensors=2 * len(self.slots) + 16)

    @cached_property
    def digest(self) -> str:
        """The name of the declaration, for agreement and receipt."""
        slots = [[name, slot.dtype, list(slot.shape)] for name, slot in sorted(self.slots.items())]
        numbers = [self.max_bytes, repr(self.max_norm), repr(self.scale)]
        fixed = [[name, repr(value)] for name, value in sorted(self.fixed.items())]
        return digest_record("gate.declared", [self.kind, slots, *numbers, fixed])


def check_match(tensors: Mapping[str, Tensor], declared: Declared) -> None:
    """Raises:
    Rejected: The tensors are not exactly those declared. Only declared names are told; foreign ones are counted.
    """
    missing = sorted(declared.slots.keys() - tensors.keys())
    extra = len(tensors.keys() - declared.slots.keys())
    if missing or extra:
        raise Rejected("gate.names", extra=extra, missing=len(missing), first=missing[0] if missing else "–")
    for name, slot in declared.slots.items():
        tensor = tensors[name]
        if (tensor.dtype, tensor.shape) != (slot.dtype, slot.shape):
            found = f"{tensor.dtype} {list(tensor.shape)}"
            raise Rejected("gate.shape", name=name, found=found, wanted=f"{slot.dtype} {list(slot.shape)}")
    for name, value in declared.fixed.items():
        if float(tensors[name].values().reshape(())) != float(np.float32(value)):
            raise Rejected("gate.fixed_value", name=name, wanted=value)


def _check_slot(name: str, slot: Slot) -> None:
    fits = is_name(name) and slot.dtype in BYTES_OF and len(slot.shape) <= Limits().dimensions
    if not fits or not all(type(side) is int and 0 < side < 2**31 for side in slot.shape):
        raise UsageError("gate.bad_declaration", detail=str(name)[:80])


def _lora(table: Mapping[str, Any]) -> Declared:
    rank, dtype, naming = _whole(table["rank"]), table.get("dtype", "BF16"), table.get("naming", "peft")
    low, high = NAMINGS[naming]
    alpha = float(table.get("alpha", rank))
    slots: dict[str, Slot] = {}
    fixed: dict[str, float] = {}
    for module, sides in table["modules"].items():
        outputs, inputs, *kernel = (_whole(side) for side in sides)
        slots[f"{module}.{low}"] = Slot(dtype, (rank, inputs, *kernel))
        slots[f"{module}.{high}"] = Slot(dtype, (outputs, rank, *(1 for _ in kernel)))
        if naming == "kohya":
            slots[f"{module}.alpha"], fixed[f"{module}.alpha"] = Slot("F32", ()), alpha
    limits = (_whole(table["max_bytes"]), float(table.get("max_norm", 100.0)))
    return Declared("lora", slots, *limits, alpha / rank, fixed)


def _weights(table: Mapping[str, Any]) -> Declared:
    slots = {
        name: Slot(dtype, tuple(_whole(side) for side in sides)) for name, (dtype, sides) in table["tensors"].items()
    }
    return Declared("weights", slots, _whole(table["max_bytes"]), float(table.get("max_norm", 100.0)))


def _whole(value: Any) -> int:
    if type(value) is not int or value <= 0:
        raise ValueError(str(value)[:20])
    return value
