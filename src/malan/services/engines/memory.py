"""Whether an engine and what is asked of it can ever fit: said before anything waits, is loaded or is queued.

    row ─▶ files, by header ─▶ Need ─▶ the engine's own bound · its device · what a job may take ─▶ nothing, or Rejected

Whether it fits at this moment is asked by `runtime/devices.py`, which closes what idles first. Start at `check_fits`.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace
from typing import TYPE_CHECKING

from malan.core.errors import MalanError, Rejected, UsageError
from malan.inference.backends import Amount
from malan.inference.diffusion_families import MOST_PIXELS
from malan.inference.memory import Need
from malan.inference.opening import Opening
from malan.runtime.device_memory import total_mb
from malan.services.engines.settings import EngineRow

if TYPE_CHECKING:
    from malan.workspace import Workspace

_WORTH_FRAMES = 8  # fewer are no film: then only a smaller size is advised

Tell = Callable[[Opening, Amount | None], Need]


def check_amount(row: EngineRow, amount: Amount) -> None:
    """What no engine of this row makes at once, whatever memory there is.

    Raises:
        UsageError: Too many pixels.
    """
    most = int(row.options.get("most_pixels") or MOST_PIXELS)
    if amount.width * amount.height * amount.frames > most:
        raise UsageError("engines.too_large", name=row.name, size=str(amount), most=most)


def check_fits(ws: Workspace, row: EngineRow, opening: Opening, tell: Tell, amount: Amount | None) -> Need:
    """What an engine needs for an ask, once it is certain that it may ever have it.

    Args:
        ws: Whose settings.
        row: The engine.
        opening: Its files.
        tell: How its backend tells its need.
        amount: What is asked; None: only to stand.

    Raises:
        Rejected: More than it may have, how little else is done: what would fit is in the hint.
    """
    need = _said(row, tell(opening, amount))
    for bound, most in _bounds(ws, row, opening, need):
        taken = need.host_mb if bound == "job_memory_mb" and need.host_mb else need.total_mb
        if taken > most:
            raise _refusal(row, opening, tell, amount, taken, int(most), bound)
    return need


def _said(row: EngineRow, need: Need) -> Need:
    """What a person wrote down is believed rather than what files say."""
    return replace(need, weights_mb=row.memory_mb) if row.memory_mb else need


def _bounds(ws: Workspace, row: EngineRow, opening: Opening, need: Need) -> list[tuple[str, float]]:
    """In which words and how much; films and music are made in a job, which is ended above its own bound."""
    bounds: list[tuple[str, float]] = [("device", total_mb(row.device))]
    if row.most_memory_mb:
        bounds.append(("most_memory_mb", row.most_memory_mb))
    if row.kind in ("video", "music") and (need.host_mb or opening.processor == "cpu"):
        bounds.append(("job_memory_mb", ws.settings.job_memory_mb or math.inf))
    return sorted(bounds, key=lambda one: one[1])


def _refusal(
    row: EngineRow, opening: Opening, tell: Tell, amount: Amount | None, need: int, most: int, bound: str
) -> MalanError:
    said = {"name": row.name, "need": need, "most": most, "bound": bound, "device": row.device}

    def fits(less: Amount) -> bool:
        return _said(row, tell(opening, less)).total_mb <= most

    if amount is None or not fits(replace(amount, width=64, height=64, frames=1, seconds=min(amount.seconds, 1.0))):
        return Rejected("engines.weights_memory", **said)
    if amount.seconds:
        seconds = _most(int(amount.seconds), lambda count: fits(replace(amount, seconds=float(count))))
        return Rejected("engines.seconds_memory", **said, size=str(amount), seconds=seconds)
    frames = _most(amount.frames, lambda count: fits(replace(amount, frames=count)))
    part = _most(100, lambda one: fits(_scaled(amount, one)))
    smaller = _scaled(amount, part)
    code = "engines.needs_memory" if frames >= _WORTH_FRAMES else "engines.size_memory"
    size = f"{smaller.width}×{smaller.height}"
    return Rejected(code, **said, size=str(amount), frames=frames, smaller=size)


def _scaled(amount: Amount, percent: int) -> Amount:
    width, height = (max(64, side * percent // 100 // 16 * 16) for side in (amount.width, amount.height))
    return replace(amount, width=width, height=height)


def _most(highest: int, fits: Callable[[int], bool]) -> int:
    """The most that fits; 0 where not even one does. What more needs more is asked a few times only."""
    low, high = 0, highest
    while low < high:
        middle = (low + high + 1) // 2
        low, high = (middle, high) if fits(middle) else (low, middle - 1)
    return low
