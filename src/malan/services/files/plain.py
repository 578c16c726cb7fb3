"""One thing to a plain file, without a workspace: probe, index, shots, captions, thumbnails.

The work is done in a worker process: a file that brings a decoder down gives an error, not a crash. Each function
returns plain JSON values. Start reading at `probe_file`; the work itself stands in `file_work.py`.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from malan.runtime.limits import MIB, Limits
from malan.runtime.pool import Task, WorkerPool

LIMITS = Limits(memory_bytes=3000 * MIB, wall_s=86_400.0, cpu_s=86_400.0)


def probe_file(path: Path) -> dict[str, Any]:
    """What the file holds: container, exact duration, tracks, chapters, tags, warnings."""
    return on_file("probe", path)


def index_file(path: Path, *, packets: bool = False) -> dict[str, Any]:
    """The packet index in figures; with `packets`, every packet too."""
    return on_file("index", path, packets)


def shots_of_file(path: Path, *, mode: str = "auto") -> dict[str, Any]:
    """The shots, how they begin, and what finding them cost."""
    return on_file("shots", path, mode)


def captions_of_file(path: Path, *, srt: Path | None = None) -> dict[str, Any]:
    """The burned-in captions; `srt` writes them as SubRip as well."""
    return on_file("captions", path, None if srt is None else str(srt.absolute()))


def thumbnails_of_file(path: Path, out: Path, *, columns: int = 5, height_px: int = 108) -> dict[str, Any]:
    """A contact sheet with one picture a shot, written to `out` as JPEG."""
    return on_file("thumbnails", path, str(out.absolute()), columns, height_px)


def on_file(what: str, path: Path, *options: Any) -> dict[str, Any]:
    """Run one function of `files.work` on a file in a worker of its own."""
    task = Task(f"malan.services.files.work:{what}", (os.fspath(path), *options))
    with WorkerPool(1, limits=LIMITS) as pool:
        (outcome,) = pool.run([task])
    found: dict[str, Any] = outcome.result()
    return found
