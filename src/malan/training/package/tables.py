"""Reads tables of a TOML file strictly and tells everything that is wrong at once, each with its line.

    Reader(text).top ─ text, whole, number, flag, choice, strings, table ─▶ values ─ done ─▶ unknown keys are problems

A value that is wrong is a problem, and something harmless stands in for it, so that reading goes on to the next.
"""

from __future__ import annotations

import difflib
import math
import re
import tomllib
from collections.abc import Sequence
from typing import Any

from malan.core.errors import UsageError

MANIFEST = "algorithm.toml"
MOST_BYTES = 100_000
_LONGEST_LINE = 200  # longer ones are not looked at: a pattern would be slow on them
_KEY = re.compile(r"\s*([A-Za-z0-9_.\"'-]+)\s*=")
_HEADER = re.compile(r"\s*\[+\s*([^\]]+?)\s*\]+")


class Reader:
    """One file being read, and what is wrong with it so far."""

    def __init__(self, data: bytes) -> None:
        self.problems: list[UsageError] = []
        self._lines: dict[str, int] = {}
        self.top = Table(self, "", self._parse(data))

    def wrong(self, code: str, key: str, /, **values: Any) -> None:
        """Note a problem at a key (`parameters.rate.min`)."""
        self.problems.append(UsageError(code, place=self.place(key), key=key, **values))

    def place(self, key: str) -> str:
        """`algorithm.toml:12`, as near to the key as can be told."""
        while key and key not in self._lines:
            key = key.rpartition(".")[0]
        return f"{MANIFEST}:{self._lines[key]}" if key else MANIFEST

    def _parse(self, data: bytes) -> dict[str, Any]:
        if len(data) > MOST_BYTES:
            self.problems.append(UsageError("algorithm.toml_size", place=MANIFEST, size=len(data), most=MOST_BYTES))
            return {}
        try:
            text = data.decode("utf-8")
            found = tomllib.loads(text)
        except (ValueError, RecursionError) as error:
            self.problems.append(UsageError("algorithm.syntax", place=MANIFEST, detail=str(error)[:120]))
            return {}
        self._lines = _lines_of(text)
        return found


class Table:
    """One table: each key is asked for once, with what it must be."""

    def __init__(self, reader: Reader, path: str, values: dict[str, Any]) -> None:
        self.reader, self.path, self.values = reader, path, values
        self._asked: list[str] = []

    def key(self, name: str) -> str:
        return f"{self.path}.{name}" if self.path else name

    def text(self, name: str, default: str | None = None, *, most: int = 200, pattern: str = "") -> str:
        """Printable text on one line; `pattern` must fit all of it."""
        found = self._held(name, str, "text", default)
        if not isinstance(found, str):
            return ""
        if not found.isprintable() or len(found) > most or (pattern and not re.fullmatch(pattern, found)):
            self.wrong("algorithm.bad_value", name, value=_shown(found), wanted=pattern or f"≤ {most}")
        return found

    def whole(self, name: str, default: int | None = None, *, least: int = 0, most: int = 2**53) -> int:
        found = self._held(name, int, "whole number", default)
        if not isinstance(found, int):
            return least
        if not least <= found <= most:
            self.wrong("algorithm.bad_value", name, value=_shown(found), wanted=f"{least}–{most}")
            return least
        return found

    def number(self, name: str, default: float | None = None) -> float:
        found = self._held(name, (int, float), "number", default)
        if found is None:
            return 0.0
        if not _is_number(found):
            self.wrong("algorithm.bad_value", name, value=_shown(found), wanted="±2**53, 1.5e-4, …")
            return 0.0
        return float(found)

    def flag(self, name: str, default: bool) -> bool:
        return bool(self._held(name, bool, "true or false", default))

    def choice(self, name: str, choices: Sequence[str], default: str | None = None) -> str:
        found = self.text(name, default)
        if found and found not in choices:
            self.wrong("algorithm.bad_choice", name, value=_shown(found), choices=", ".join(choices))
            return choices[0]
        return found or choices[0]

    def strings(
        self, name: str, default: Sequence[str] | None = None, *, choices: Sequence[str] = (), most: int = 64
    ) -> tuple[str, ...]:
        """A list of different texts, of at most so many."""
        found = self._held(name, list, "list of texts", None if default is None else list(default))
        if found is None:
            return ()
        fits = all(isinstance(one, str) and 0 < len(one) <= 200 and one.isprintable() for one in found)
        if not fits or len(found) > most or len(set(map(str, found))) != len(found):
            self.wrong("algorithm.bad_value", name, value=_shown(found), wanted=f'["…"] ≤ {most}')
            return ()
        for one in found:
            if choices and one not in choices:
                self.wrong("algorithm.bad_choice", name, value=_shown(one), choices=", ".join(choices))
        return tuple(found)

    def raw(self, name: str) -> Any:
        """Whatever stands there; None where nothing does."""
        self._asked.append(name)
        return self.values.get(name)

    def table(self, name: str, *, needed: bool = False) -> Table | None:
        """A table within; None where there is none."""
        if name not in self.values and not needed:
            self._asked.append(name)
            return None
        found = self._held(name, dict, "table", None)
        return None if found is None else Table(self.reader, self.key(name), found)

    def tables(self, name: str, most: int, pattern: str) -> dict[str, Table]:
        """Named tables within a table, in the order of the file."""
        inner = self.table(name)
        if inner is None:
            return {}
        if len(inner.values) > most:
            self.wrong("algorithm.too_many", name, most=most)
            return {}
        found: dict[str, Table] = {}
        for key in inner.values:
            if not re.fullmatch(pattern, key):
                inner.wrong("algorithm.bad_name", key, value=_shown(key), wanted=pattern)
            elif (one := inner.table(key, needed=True)) is not None:
                found[key] = one
        return found

    def wrong(self, code: str, name: str, /, **values: Any) -> None:
        self.reader.wrong(code, self.key(name), **values)

    def done(self) -> None:
        """Whatever was not asked for is unknown."""
        for name in self.values:
            if name not in self._asked:
                near = difflib.get_close_matches(name[:60], self._asked, 1)
                known = near[0] if near else ", ".join(sorted(set(self._asked)))
                self.wrong("algorithm.unknown_key", name[:60], known=known)

    def _held(self, name: str, kind: type | tuple[type, ...], wanted: str, default: Any) -> Any:
        self._asked.append(name)
        if name not in self.values:
            if default is None:
                self.wrong("algorithm.missing_key", name)
            return default
        found = self.values[name]
        if not isinstance(found, kind) or (isinstance(found, bool) and kind is not bool):
            self.wrong("algorithm.wrong_type", name, value=_shown(found), wanted=wanted)
            return default
        return found


def _is_number(value: int | float) -> bool:
    return abs(value) <= 2**53 if isinstance(value, int) else math.isfinite(value)


def _shown(value: Any) -> str:
    """A value from the file, safe to show: short, on one line."""
    return (
        ascii(value)[:60] if not isinstance(value, str) else "".join(c if c.isprintable() else "?" for c in value)[:60]
    )


def _lines_of(text: str) -> dict[str, int]:
    """Where each table and key stands. Good enough to find it; a key inside a text may fool it, and does no harm."""
    lines: dict[str, int] = {}
    table = ""
    for number, line in enumerate(text.splitlines(), 1):
        if len(line) > _LONGEST_LINE:
            continue
        if header := _HEADER.match(line):
            table = re.sub(r"\s*\.\s*", ".", header[1]).replace('"', "")
            lines.setdefault(table, number)
        elif key := _KEY.match(line):
            name = key[1].replace('"', "")
            lines.setdefault(f"{table}.{name}" if table else name, number)
    return lines
