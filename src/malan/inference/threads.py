"""Keep NumPy's linear algebra on one thread while many small products are made.

OpenBLAS splits even a 128 × 512 product between threads, which then wait for each other: four times the CPU for the
same answer. Where NumPy stands on another library nothing happens. Start at `one_thread`.
"""

from __future__ import annotations

import ctypes
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np


@contextmanager
def one_thread() -> Iterator[None]:
    """Linear algebra of the whole process runs on one thread until the block is left."""
    library = _openblas()
    if library is None:
        yield
        return
    before = library.scipy_openblas_get_num_threads64_()
    library.scipy_openblas_set_num_threads64_(1)
    try:
        yield
    finally:
        library.scipy_openblas_set_num_threads64_(before)


@cache
def _openblas() -> Any | None:
    """The OpenBLAS that NumPy's wheel carries, if it does."""
    for file in (Path(np.__file__).parent.parent / "numpy.libs").glob("libscipy_openblas64_*"):
        library = ctypes.CDLL(str(file))
        if hasattr(library, "scipy_openblas_set_num_threads64_"):
            return library
    return None
