"""Whether what shall be written can be written, and how large: every character must be in some font of this machine.

libass takes a character the chosen font lacks from any other font that has it; what none has would be an empty box in
the film. It sets sizes by the height of a line, which fonts choose freely. Start at `check_glyphs` and `line_height`.
"""

from __future__ import annotations

import shutil
import struct
import subprocess
import unicodedata
from collections.abc import Iterable
from functools import lru_cache
from pathlib import Path

from malan.core.errors import UsageError

_DRAWN = set("LNPS")  # letters, numbers, punctuation, symbols; the rest is shaped, not drawn
_JOINERS = range(0xFE00, 0xFE10)
_TOLD = 12
_PATIENCE_S = 20
_USUAL_HEIGHT = 1.448  # of a line of Noto Sans CJK, in characters


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
    return "".join(one for one in dict.fromkeys(text) if _is_drawn(one) and not covered[ord(one)])


def _is_drawn(char: str) -> bool:
    kind = unicodedata.category(char)
    return (kind[0] in _DRAWN or kind in ("Co", "Cn")) and ord(char) not in _JOINERS


@lru_cache(maxsize=1)
def _covered() -> bytes:
    """For every code point whether some font has it; empty where fontconfig is not installed."""
    covered = bytearray(0x110000)
    for stretch in set(_asked("fc-list", "-f", "%{charset}\n").split()):
        first, _, last = stretch.partition("-")
        begin, end = int(first, 16), int(last or first, 16)
        covered[begin : end + 1] = b"\x01" * (end + 1 - begin)
    return bytes(covered) if any(covered) else b""


@lru_cache(maxsize=16)
def line_height(face: str) -> float:
    """How high a line of the font is that libass takes for a bold face, in characters (ascent and descent over em).

    The usual height where the machine does not tell its fonts, or the file says nothing that makes sense.
    """
    path, _, index = _asked("fc-match", "-f", "%{file}|%{index}", f"{face}:bold").partition("|")
    try:
        found = _height_in(Path(path).read_bytes(), int(index or 0) & 0xFFFF)
    except (OSError, ValueError, struct.error):
        return _USUAL_HEIGHT
    return found if 0.8 <= found <= 2.5 else _USUAL_HEIGHT


def _height_in(font: bytes, index: int) -> float:
    """From the tables of a font (ISO/IEC 14496-22, 5.2): OS/2 where it has them, else hhea."""
    start = struct.unpack_from(">I", font, 12 + 4 * index)[0] if font[:4] == b"ttcf" else 0
    (count,) = struct.unpack_from(">H", font, start + 4)
    rows = (struct.unpack_from(">4sIII", font, start + 12 + 16 * row) for row in range(min(count, 256)))
    tables = {tag: offset for tag, _, offset, _ in rows}
    if b"head" not in tables or b"hhea" not in tables:
        raise ValueError("no metrics")
    (unit,) = struct.unpack_from(">H", font, tables[b"head"] + 18)
    up, down = struct.unpack_from(">hh", font, tables[b"hhea"] + 4)
    if b"OS/2" in tables:
        above, below = struct.unpack_from(">HH", font, tables[b"OS/2"] + 74)
        up, down = (above, -below) if above + below else (up, down)
    return float(up - down) / unit if unit else 0.0


def _asked(tool: str, *arguments: str) -> str:
    """What a tool of fontconfig answers; nothing where it is not installed."""
    found = shutil.which(tool)
    if found is None:
        return ""
    try:
        told = subprocess.run([found, *arguments], capture_output=True, text=True, timeout=_PATIENCE_S, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return told.stdout
