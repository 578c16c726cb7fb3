"""What a run can use inside: ask for data, hand in results, tell how far it is. There it is called `malan_inside`.

    import malan_inside
    for batch in malan_inside.batches(frames=16):
        ...batch["frames_TCHW"]...
    malan_inside.put_numbers("metrics", {"loss": 0.25})

Arrays that came through shared memory stay valid until the second next request. NumPy is imported when there is data.
"""

from __future__ import annotations

import mmap
import os
from collections.abc import Iterator, Mapping
from typing import Any

from . import frames

_REQUESTS, _RESULTS, _SHARED = 3, 4, 5
_shared: list[memoryview] = []


def ask(**request: Any) -> dict[str, Any] | None:
    """Send one request to the loader; returns its arrays by name, or None when there is no more."""
    _write(_REQUESTS, frames.header(request))
    answer = frames.read_header(lambda size: bytes(_read(size)))
    if answer is None or answer["arrays"] is None:
        return None
    described = answer["arrays"]
    total = sum(frames.sizes(described))
    offset = answer.get("at")
    content = memoryview(_read(total)) if offset is None else _map()[offset : offset + total]
    return _arrays(described, content)


def batches(**request: Any) -> Iterator[dict[str, Any]]:
    """Ask again and again until there is no more."""
    while (found := ask(**request)) is not None:
        yield found


def put(name: str, content: bytes) -> None:
    """Hand in bytes under a declared name."""
    _write(_RESULTS, frames.header({"name": name, "bytes": len(content)}))
    _write(_RESULTS, content)


def put_numbers(name: str, numbers: Mapping[str, float]) -> None:
    """Hand in numbers by name, such as metrics."""
    _write(_RESULTS, frames.header({"name": name, "numbers": {key: float(value) for key, value in numbers.items()}}))


def put_arrays(name: str, arrays: Mapping[str, Any]) -> None:
    """Hand in arrays by name, such as weights."""
    described, payload = frames.describe(arrays)
    _write(_RESULTS, frames.header({"name": name, "arrays": described}))
    for part in payload:
        _write(_RESULTS, part)


def progress(fraction: float) -> None:
    """Tell how far the run is, from 0 to 1; only whole percents that rise are passed on."""
    _write(_RESULTS, frames.header({"progress": int(100 * fraction)}))


def _arrays(described: list[list[Any]], content: memoryview) -> dict[str, Any]:
    import numpy as np

    found, start = {}, 0
    for (name, kind, shape), size in zip(described, frames.sizes(described), strict=True):
        found[name] = np.frombuffer(content[start : start + size], kind).reshape(shape)
        start += size
    return found


def _map() -> memoryview:
    if not _shared:
        _shared.append(memoryview(mmap.mmap(_SHARED, 0, prot=mmap.PROT_READ)))
    return _shared[0]


def _read(size: int) -> bytearray:
    content = bytearray(size)
    view = memoryview(content)
    while view:
        count = os.readv(_REQUESTS, [view])
        if not count:
            return content[: size - len(view)]
        view = view[count:]
    return content


def _write(fd: int, content: bytes | memoryview) -> None:
    view = memoryview(content)
    while view:
        view = view[os.write(fd, view) :]
