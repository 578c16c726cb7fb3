"""Whether what shall be written can be written: every character must be in some font of this machine.

libass takes a character the chosen font lacks from any other font that has it; what none has would be an empty box in
the film. Start at `check_glyphs`.
"""

from __future__ import annotations

import shutil
import subprocess
import unicodedata
from collections.abc import Iterable
from functools import lru_cache

from malan.core.errors import UsageError

_DRAWN = set("LNPS")  # letters, numbers, punctuation, symbols; the rest is shaped, not drawn
_JOINERS = range(0xFE00, 0xFE10)
_TOLD = 12
_PATIENCE_S = 20


def check_glyphs(texts: Iterable[str]) -> None:
    """Refuse texts with characters that no font has.

    Raises:
        UsageError: The characters are named.
    """
    missing = missing_glyphs("".join(texts))
    if missing:
        named = " ".join(f"{one} (U+{ord(one):04X})" for one in missing[:_TOLD])
        raise UsageError("promo.no_glyphs", characters=named, count=len(missing))


def missing_glyphs(text: str) -> str:
    """The characters no font has, each once, in order. None where the machine does not tell its fonts."""
    covered = _covered()
    if not covered:
        return ""
    drawn = (one for one in dict.fromkeys(text) if unicodedata.category(one)[0] in _DRAWN and ord(one) not in _JOINERS)
    return "".join(one for one in drawn if not covered[ord(one)])


@lru_cache(maxsize=1)
def _covered() -> bytes:
    """For every code point whether some font has it; empty where fontconfig is not installed."""
    lister = shutil.which("fc-list")
    if lister is None:
        return b""
    try:
        told = subprocess.run(
            [lister, "-f", "%{charset}\n"], capture_output=True, text=True, timeout=_PATIENCE_S, check=False
        )
    except (OSError, subprocess.TimeoutExpired):
        return b""
    covered = bytearray(0x110000)
    for stretch in set(told.stdout.split()):
        first, _, last = stretch.partition("-")
        begin, end = int(first, 16), int(last or first, 16)
        covered[begin : end + 1] = b"\x01" * (end + 1 - begin)
    return bytes(covered) if any(covered) else b""
