"""Sizes written as small sums: `$classes`, `$hidden * 2 + 1`, `min($rank, 8)`.

Whole numbers, `+ - * // %`, brackets, `min` and `max`, and names after a dollar sign; nothing else, and nothing is ever
handed to Python. Start reading at `whole_number`.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Any

from malan.core.errors import UsageError

LARGEST = 2**53
LONGEST = 120
_DEEPEST = 12
_TOKEN = re.compile(r"\s*(?:(\d{1,16})|\$([a-z][a-z0-9_]*)|(//|[-+*%(),])|(min|max)\b)")


def is_expression(value: Any) -> bool:
    """Whether a value stands for a number that is known later."""
    return isinstance(value, str) and "$" in value


def names_in(text: str) -> set[str]:
    """The names an expression asks for."""
    return set(re.findall(r"\$([a-z][a-z0-9_]*)", text))


def whole_number(value: Any, names: Mapping[str, Any], where: str) -> int:
    """The number that a value stands for.

    Args:
        value: A whole number, or an expression.
        names: What the names in it stand for.
        where: The key, for errors.

    Raises:
        UsageError: It is neither, asks for a name that is not there, or leaves the whole numbers up to 2**53.
    """
    if type(value) is int:
        return _bounded(value, where)
    if not isinstance(value, str) or len(value) > LONGEST:
        raise UsageError("algorithm.bad_expression", where=where, text=str(value)[:60])
    return _Reading(value, names, where).whole()


class _Reading:
    """One expression being read, from left to right."""

    def __init__(self, text: str, names: Mapping[str, Any], where: str) -> None:
        self.text, self.names, self.where = text, names, where
        self.tokens = self._split()
        self.depth = 0

    def whole(self) -> int:
        found = self._sum()
        if self.tokens:
            raise self._wrong()
        return found

    def _split(self) -> list[tuple[str, str]]:
        tokens: list[tuple[str, str]] = []
        at, text = 0, self.text.rstrip()
        while at < len(text):
            match = _TOKEN.match(text, at)
            if match is None:
                raise self._wrong()
            digits, name, sign, function = match.groups()
            kind = "number" if digits else "name" if name else "sign" if sign else "function"
            tokens.append((kind, digits or name or sign or function))
            at = match.end()
        return tokens[::-1]  # the next one is the last

    def _sum(self) -> int:
        self.depth += 1
        if self.depth > _DEEPEST:
            raise self._wrong()
        found = self._product()
        while sign := self._take("+", "-"):
            other = self._product()
            found = _bounded(found + other if sign == "+" else found - other, self.where)
        self.depth -= 1
        return found

    def _product(self) -> int:
        found = self._part()
        while sign := self._take("*", "//", "%"):
            other = self._part()
            if sign != "*" and other == 0:
                raise self._wrong()
            found = _bounded(
                found * other if sign == "*" else found // other if sign == "//" else found % other, self.where
            )
        return found

    def _part(self) -> int:
        kind, text = self.tokens.pop() if self.tokens else ("", "")
        if kind == "number":
            return _bounded(int(text), self.where)
        if kind == "name":
            return self._named(text)
        if kind == "function" and self._take("("):
            return self._function(min if text == "min" else max)
        if (kind, text) == ("sign", "("):
            return self._closed(self._sum())
        raise self._wrong()

    def _function(self, function: Callable[[list[int]], int]) -> int:
        found = [self._sum()]
        while self._take(","):
            found.append(self._sum())
        return self._closed(function(found))

    def _closed(self, found: int) -> int:
        if not self._take(")"):
            raise self._wrong()
        return found

    def _named(self, name: str) -> int:
        if name not in self.names:
            raise UsageError("algorithm.no_such_name", where=self.where, name=name, names=", ".join(sorted(self.names)))
        value = self.names[name]
        if isinstance(value, bool | list | tuple):
            return int(value) if isinstance(value, bool) else len(value)
        if type(value) is not int:
            raise UsageError("algorithm.not_whole", where=self.where, name=name, value=str(value)[:40])
        return _bounded(value, self.where)

    def _take(self, *signs: str) -> str:
        if self.tokens and self.tokens[-1][0] == "sign" and self.tokens[-1][1] in signs:
            return self.tokens.pop()[1]
        return ""

    def _wrong(self) -> UsageError:
        return UsageError("algorithm.bad_expression", where=self.where, text=self.text[:60])


def _bounded(value: int, where: str) -> int:
    if abs(value) > LARGEST:
        raise UsageError("algorithm.number_range", where=where)
    return value
