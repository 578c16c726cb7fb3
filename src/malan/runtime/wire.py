"""Messages between the parent and its workers: pickle, read with a short list of what may be built.

A worker parses files that nobody vetted. What it sends back is therefore only allowed to name classes of Malan and a
few value types; a message that names anything else is refused and its worker ended. This narrows what a worker that
was taken over can do to its parent; it is not a sandbox.
"""

from __future__ import annotations

import importlib
import io
import pickle
from typing import Any

from malan.core.errors import WorkerDied

_VALUES = {
    ("fractions", "Fraction"),
    ("collections", "OrderedDict"),
    ("builtins", "set"),
    ("builtins", "frozenset"),
    ("builtins", "complex"),
    ("builtins", "bytearray"),
    ("pathlib", "PosixPath"),
    ("numpy", "ndarray"),
    ("numpy", "dtype"),
    ("numpy._core.multiarray", "_reconstruct"),
    ("numpy._core.multiarray", "scalar"),
    ("numpy._core.numeric", "_frombuffer"),
    ("malan.core.errors", "_rebuild"),
}


def pack(message: Any) -> bytes:
    """A message as bytes."""
    return pickle.dumps(message, protocol=5)


def unpack(data: bytes) -> Any:
    """The message in bytes from a worker.

    Raises:
        WorkerDied: It names something outside the list.
    """
    return _Reader(io.BytesIO(data)).load()


class _Reader(pickle.Unpickler):
    def find_class(self, module: str, name: str) -> Any:
        if (module, name) in _VALUES:
            return super().find_class(module, name)
        found = getattr(importlib.import_module(module), name, None) if module.startswith("malan.") else None
        if not isinstance(found, type):
            raise WorkerDied("runtime.bad_message", name=f"{module}.{name}")
        return found
