"""What a worker does for a preview copy. Runs in a process that may die."""

from __future__ import annotations

from malan.media.proxy import make_proxy
from malan.runtime.worker import report_progress


def make_preview(path: str, out: str) -> int:
    """Write the copy, telling how far it is; its size in bytes."""
    return make_proxy(path, out, report_progress).size_bytes
