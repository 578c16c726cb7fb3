"""What the names of files tell: which episode a file is, and what stays of a name from cut to cut.

Resolutions, codecs, dates and versions are no numbers of episodes, and a later cut may be called otherwise:
第3集_v1.mp4 and 第3集 终版 1080p.mp4 are the same episode. Start at `episode_number` and `episode_keys`.
"""

from __future__ import annotations

import re
import unicodedata
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path

_DIGITS = {char: value for value, char in enumerate("零一二三四五六七八九")} | {"〇": 0, "两": 2}
_TENS = {"十": 10, "百": 100}
_CHINESE = "零〇一二两三四五六七八九十百"
_SAID = re.compile(rf"第\s*(\d{{1,4}}|[{_CHINESE}]{{1,7}})\s*[集话話回]|(?<!\d)(\d{{1,4}})\s*集")
_MARKED = re.compile(r"(?<![a-z])(?:s\d{1,2}[ ._-]*)?(?:episode|ep|e)[ ._-]*(\d{1,4})(?![\da-z])")
_NOISE = re.compile(
    r"\d{3,4}\s*[x×*]\s*\d{3,4}|\d{3,4}[pi](?![a-z])|(?<![\da-z])[248]k(?![a-z])"  # sizes
    r"|[hx][._]?26[45]|hevc|av1|prores|10\s*bit|8\s*bit|hdr\d*|\d{2,3}(?:\.\d+)?\s*fps"  # codecs and rates
    r"|(?:19|20)\d\d[._-]?(?:0[1-9]|1[0-2])[._-]?(?:[0-2]\d|3[01])|(?<!\d)(?:19|20)\d\d(?!\d)"  # days and years
    r"|(?<![a-z])(?:v|ver|version|cut|take|rev|draft|final|fix)[ ._-]*\d{0,3}(?:\.\d+)?(?![a-z\d])"
    r"|第?\s*[\d一二三四五六七八九]{1,3}\s*[版稿]|(?:修改|修订|终|定|初|送审|成片)[版稿]?\s*\d{0,2}|[版稿]\s*\d{0,2}"
)
_NUMBER = re.compile(r"(\d{1,4})(?![\da-z])")


def episode_number(path: Path) -> int | None:
    """Which episode a file is, by its name; None where the name does not tell."""
    name = _simple(path)
    said = next(_SAID.finditer(name), None)
    if said:
        return _value(said.group(1) or said.group(2))
    marked = list(_MARKED.finditer(_NOISE.sub(" ", name)))
    numbers = marked or [one for part in _NOISE.split(name) for one in _NUMBER.finditer(part)]
    return int(numbers[-1].group(1)) if numbers else None


def episode_keys(paths: Sequence[Path]) -> list[str]:
    """What each file is known by from cut to cut: its number, else its name without version; each only once."""
    ways: tuple[Callable[[Path], str | None], ...] = (_numbered, _named, lambda path: path.name)
    keys: list[str | None] = [None] * len(paths)
    for way in ways:
        said = [way(path) if key is None else key for path, key in zip(paths, keys, strict=True)]
        counts = Counter(said)
        keys = [one if one is not None and counts[one] == 1 else None for one in said]
    return [f"{path.name}#{n}" if key is None else key for n, (path, key) in enumerate(zip(paths, keys, strict=True))]


def shown_names(paths: Sequence[Path]) -> list[str]:
    """What each file is called in a report: its name; where two have the same one, with the folder, and the place."""
    ways: tuple[Callable[[Path], str], ...] = (lambda path: path.name, lambda path: f"{path.parent.name}/{path.name}")
    said = [way(path) for path in paths for way in ways]
    counts = [Counter(said[n :: len(ways)]) for n in range(len(ways))]
    chosen = [next((w for w, c in zip(ways, counts, strict=True) if c[w(path)] == 1), None) for path in paths]
    return [
        way(path) if way else f"{path.name} ({n + 1})" for n, (path, way) in enumerate(zip(paths, chosen, strict=True))
    ]


def _numbered(path: Path) -> str | None:
    number = episode_number(path)
    return None if number is None else f"episode {number}"


def _named(path: Path) -> str | None:
    """The letters of a name, without what tells the version."""
    return "".join(char for char in _NOISE.sub(" ", _simple(path)) if char.isalnum()) or None


def _simple(path: Path) -> str:
    return unicodedata.normalize("NFKC", path.stem).casefold()


def _value(said: str) -> int:
    """十二 is 12, 一百零五 is 105."""
    if said.isdigit():
        return int(said)
    total = digit = 0
    for char in said:
        if char in _TENS:
            total, digit = total + (digit or 1) * _TENS[char], 0
        else:
            digit = _DIGITS[char]
    return total + digit
