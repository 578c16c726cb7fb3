"""Waiting for what another thread or process does: for the state, never for a time."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TypeVar

Found = TypeVar("Found")
PATIENCE_S = 90.0  # far more than it takes on any machine


def until(found: Callable[[], Found]) -> Found:
    """Ask again and again until the answer is yes; that answer."""
    end = time.monotonic() + PATIENCE_S
    while not (answer := found()):
        assert time.monotonic() < end, f"it did not come true in {PATIENCE_S:g} s"
        time.sleep(0.01)
    return answer
