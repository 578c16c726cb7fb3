"""Reads expressions of rules: text to a tree. Small and total: no loops, no definitions, no access to anything.

    rule    when: none(opening(match(ocr, pattern("number")), 30s)) and meta.kind == "microdrama"

Grammar, weakest first: `or`, `and`, `not`, comparison (< <= > >= == != in), + and -, * and /, then numbers with a unit,
"text", [lists], names.with.dots, calls(…) and parentheses. Start at `parse`.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

LONGEST = 2000  # characters of an expression
DEEPEST = 40  # nested parts

UNITS: dict[str, tuple[float, str]] = {
    "": (1, ""), "ms": (0.001, "s"), "s": (1, "s"), "min": (60, "s"), "%": (0.01, "share"), "dB": (1, "dB"),
    "LU": (1, "dB"), "LUFS": (1, "dB"), "px": (1, "px"), "yuan": (1, "yuan"), "万元": (10_000, "yuan"),
    "Hz": (1, "Hz"),
}  # fmt: skip
_TOKEN = re.compile(
    r"\s*(?:(?P<number>\d+(?:\.\d+)?)(?P<unit>[A-Za-z%]+|万元)?|(?P<name>[A-Za-z_][A-Za-z_0-9]*(?:\.[A-Za-z_0-9]+)*)"
    r'|"(?P<text>[^"\n]*)"|(?P<sign><=|>=|==|!=|[-+*/<>()\[\],]))'
)
_COMPARE = ("<", "<=", ">", ">=", "==", "!=", "in")


class SyntaxFault(Exception):
    """An expression that does not parse or has no type; `at` is the character, `why` a code of the messages."""

    def __init__(self, why: str, at: int, detail: str = "") -> None:
        super().__init__(f"{why} at {at}: {detail}")
        self.why, self.at, self.detail = why, at, detail


@dataclass(frozen=True, slots=True)
class Node:
    """A part of an expression. `op` says what it is; `data` holds a literal, a name or an operator."""

    op: str  # number, text, list, name, call, not, minus, and, or, compare, sum, product
    at: int
    data: object = None
    parts: tuple[Node, ...] = ()
    dim: str = ""


@dataclass(frozen=True, slots=True)
class _Token:
    kind: str
    value: str
    at: int
    unit: str = ""


def parse(source: str) -> Node:
    """The tree of an expression.

    Raises:
        SyntaxFault: It is none, or too long, or nested too deeply.
    """
    if len(source) > LONGEST:
        raise SyntaxFault("long", 0, str(LONGEST))
    reader = _Reader(_tokens(source))
    tree = reader.either(0)
    if reader.now.kind != "end":
        raise SyntaxFault("unexpected", reader.now.at, reader.now.value)
    return tree


def _tokens(source: str) -> list[_Token]:
    found, at = [], 0
    while source[at:].strip():
        match = _TOKEN.match(source, at)
        if match is None:
            rest = source[at:].lstrip()
            raise SyntaxFault("character", len(source) - len(rest), rest[:1])
        kind = next(k for k in ("number", "name", "text", "sign") if match.group(k) is not None)
        unit = match.group("unit") or ""
        if unit not in UNITS:
            raise SyntaxFault("unit", match.start("unit"), unit)
        found.append(_Token(kind, match.group(kind), match.start(kind), unit))
        at = match.end()
    return [*found, _Token("end", "", len(source))]


class _Reader:
    """Recursive descent over the tokens; `deep` bounds the recursion."""

    def __init__(self, tokens: list[_Token]) -> None:
        self._tokens, self._place = tokens, 0

    @property
    def now(self) -> _Token:
        return self._tokens[self._place]

    def _take(self, *values: str) -> _Token | None:
        token = self.now
        if token.kind in ("sign", "name") and token.value in values:
            self._place += 1
            return token
        return None

    def _need(self, value: str) -> None:
        if self._take(value) is None:
            raise SyntaxFault("expected", self.now.at, value)

    def either(self, deep: int) -> Node:
        if deep > DEEPEST:
            raise SyntaxFault("deep", self.now.at, str(DEEPEST))
        parts = [self._every(deep)]
        at = self.now.at
        while self._take("or"):
            parts.append(self._every(deep))
        return parts[0] if len(parts) == 1 else Node("or", at, None, tuple(parts))

    def _every(self, deep: int) -> Node:
        parts = [self._negated(deep)]
        at = self.now.at
        while self._take("and"):
            parts.append(self._negated(deep))
        return parts[0] if len(parts) == 1 else Node("and", at, None, tuple(parts))

    def _negated(self, deep: int) -> Node:
        token = self._take("not")
        if token is None:
            return self._compared(deep)
        if deep > DEEPEST:
            raise SyntaxFault("deep", token.at, str(DEEPEST))
        return Node("not", token.at, None, (self._negated(deep + 1),))

    def _compared(self, deep: int) -> Node:
        left = self._chain(deep, ("+", "-"), "sum")
        token = self._take(*_COMPARE)
        if token is None:
            return left
        return Node("compare", token.at, token.value, (left, self._chain(deep, ("+", "-"), "sum")))

    def _chain(self, deep: int, signs: tuple[str, ...], op: str) -> Node:
        left = self._below(deep, op)
        links = 0
        while token := self._take(*signs):
            links += 1
            if links > DEEPEST:
                raise SyntaxFault("deep", token.at, str(DEEPEST))
            left = Node(op, token.at, token.value, (left, self._below(deep, op)))
        return left

    def _below(self, deep: int, op: str) -> Node:
        return self._chain(deep, ("*", "/"), "product") if op == "sum" else self._unary(deep)

    def _unary(self, deep: int) -> Node:
        token = self._take("-")
        if token is None:
            return self._primary(deep + 1)
        if deep > DEEPEST:
            raise SyntaxFault("deep", token.at, str(DEEPEST))
        return Node("minus", token.at, None, (self._unary(deep + 1),))

    def _primary(self, deep: int) -> Node:
        token = self.now
        if token.kind == "end":
            raise SyntaxFault("end", token.at)
        self._place += 1
        if token.kind == "number":
            factor, dim = UNITS[token.unit]
            return Node("number", token.at, float(token.value) * factor, dim=dim)
        if token.kind == "text":
            return Node("text", token.at, token.value)
        if token.kind == "name" and token.value not in ("and", "or", "not", "in"):
            return self._named(token, deep)
        if token.value == "(":
            inside = self.either(deep + 1)
            self._need(")")
            return inside
        if token.value == "[":
            return Node("list", token.at, None, self._listed("]", deep))
        raise SyntaxFault("unexpected", token.at, token.value)

    def _named(self, token: _Token, deep: int) -> Node:
        if self._take("("):
            return Node("call", token.at, token.value, self._listed(")", deep))
        return Node("name", token.at, token.value)

    def _listed(self, closing: str, deep: int) -> tuple[Node, ...]:
        parts: list[Node] = []
        while not self._take(closing):
            if parts:
                self._need(",")
            parts.append(self.either(deep + 1))
        return tuple(parts)
