"""What a worker does for a preview copy. Runs in a process that may die."""

from __future__ import annotations

from pathlib import Path

from malan.media.proxy import make_proxy
from malan.runtime.worker import report_progress
from malan.services.files.labels import carry


def make_preview(path: str, out: str) -> int:
    """Write the copy, telling how far it is; its size in bytes."""
    made = make_proxy(path, out, report_progress)
    return Path(out).stat().st_size if carry(path, out) else made.size_bytes
