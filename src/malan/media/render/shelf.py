"""Keeps the shelf of rendered pieces within bounds. Start at `tidy_shelf`."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path

MOST_BYTES = 4 << 30


def tidy_shelf(folder: Path, most_bytes: int = MOST_BYTES) -> int:
    """Take away what was rendered longest ago until the rest fits; how many films went."""
    found = []
    for film in folder.glob("*.mp4"):
        with suppress(OSError):  # another render took it away
            said = film.stat()
            found.append((said.st_mtime_ns, said.st_size, film))
    taken, total = 0, sum(size for _, size, _ in found)
    for _, size, film in sorted(found):
        if total <= most_bytes:
            break
        film.with_suffix(".json").unlink(missing_ok=True)
        film.unlink(missing_ok=True)
        total -= size
        taken += 1
    return taken
