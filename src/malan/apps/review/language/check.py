"""Types of expressions, found before anything is evaluated: what passes here cannot fail later. Start at `type_of`."""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from datetime import date

from malan.apps.review.language.read import Node, SyntaxFault
from malan.apps.review.language.vocabulary import FACTS, FUNCTIONS

Type = tuple[str, str]  # kind and dimension


@dataclass(frozen=True)
class Scope:
    """What a rule may name besides the vocabulary: its parameters, and the word lists and patterns of its pack."""

    params: Mapping[str, Node] = field(default_factory=dict)
    lexicons: Collection[str] = ()
    patterns: Collection[str] = ()


def type_of(node: Node, scope: Scope) -> Type:
    """Kind and dimension of an expression.

    Raises:
        SyntaxFault: A name nobody knows, or parts that do not go together.
    """
    checks = {"not": _truths, "and": _truths, "or": _truths, "compare": _compared, "sum": _sum, "product": _product}
    if node.op in checks:
        return checks[node.op](node, scope)
    if node.op == "minus":
        kind, dim = type_of(node.parts[0], scope)
        _expect(node, kind == "number", kind)
        return "number", dim
    if node.op in ("number", "text"):
        return node.op, node.dim
    if node.op == "name":
        return _named(node, scope)
    if node.op == "call":
        return _called(node, scope)
    raise SyntaxFault("list", node.at)


def _named(node: Node, scope: Scope) -> Type:
    name = str(node.data)
    if name in ("true", "false", "unknown"):
        return "truth", ""
    if name.startswith("param."):
        if name[6:] not in scope.params:
            raise SyntaxFault("name", node.at, name)
        return type_of(scope.params[name[6:]], Scope())
    if name not in FACTS:
        raise SyntaxFault("name", node.at, name)
    return FACTS[name]


def _called(node: Node, scope: Scope) -> Type:
    name = str(node.data)
    if name not in FUNCTIONS:
        raise SyntaxFault("function", node.at, name)
    given = [type_of(part, scope) for part in node.parts]
    for wanted, kind, dim in FUNCTIONS[name]:
        if len(wanted) == len(given) and all(_fits(w, g) for w, g in zip(wanted, given, strict=True)):
            _check_literal(name, node, scope)
            _check_lists(name, node)
            return kind, dim
    raise SyntaxFault("arguments", node.at, f"{name}({', '.join(':'.join(filter(None, g)) for g in given)})")


def _check_literal(name: str, node: Node, scope: Scope) -> None:
    """Lists, patterns, detectors and dates are named outright, so that they can be looked up when a rule is loaded."""
    if name not in ("lexicon", "pattern", "vision", "hearing", "since", "before"):
        return
    part = node.parts[0]
    if part.op == "name" and str(part.data).startswith("param."):
        part = scope.params[str(part.data)[6:]]
    said = str(part.data)
    if part.op != "text":
        raise SyntaxFault("literal", part.at, name)
    if name == "lexicon" and said not in scope.lexicons:
        raise SyntaxFault("lexicon", part.at, said)
    if name == "pattern" and said not in scope.patterns:
        raise SyntaxFault("pattern", part.at, said)
    if name in ("vision", "hearing") and not re.fullmatch(r"[a-z][a-z_]{0,39}", said):
        raise SyntaxFault("detector", part.at, said)
    if name in ("since", "before") and not is_day(said):
        raise SyntaxFault("date", part.at, said)


def _check_lists(name: str, node: Node) -> None:
    """Number formats have no other spellings: `alike` is about word lists, named outright."""
    for part in node.parts[1:] if name == "alike" else ():
        if part.data != "lexicon":
            raise SyntaxFault("alike", part.at, str(part.data))


def calls_of(node: Node) -> set[str]:
    """The names of all functions an expression calls."""
    own = {str(node.data)} if node.op == "call" else set()
    return own.union(*(calls_of(part) for part in node.parts))


def is_day(said: str) -> bool:
    """Whether a text is a date as rules write them, `2026-09-01`."""
    try:
        return bool(re.fullmatch(r"\d{4}-\d\d-\d\d", said)) and bool(date.fromisoformat(said))
    except ValueError:
        return False


def _truths(node: Node, scope: Scope) -> Type:
    for part in node.parts:
        kind, _ = type_of(part, scope)
        _expect(part, kind == "truth", kind)
    return "truth", ""


def _compared(node: Node, scope: Scope) -> Type:
    left = type_of(node.parts[0], scope)
    if node.data == "in":
        other = node.parts[1]
        if other.op != "list":
            raise SyntaxFault("list", other.at)
        for part in other.parts:
            found = type_of(part, scope)
            _expect(part, found == left and left[0] in ("number", "text"), ":".join(filter(None, found)))
        return "truth", ""
    right = type_of(node.parts[1], scope)
    same = left == right and left[0] in ("number", "text", "truth")
    ordered = node.data in ("==", "!=") or left[0] == "number"
    _expect(node, same and ordered, f"{':'.join(left)} {node.data} {':'.join(right)}")
    return "truth", ""


def _sum(node: Node, scope: Scope) -> Type:
    left, right = (type_of(part, scope) for part in node.parts)
    _expect(node, left == right and left[0] == "number", f"{left[0]} {node.data} {right[0]}")
    return left


def _product(node: Node, scope: Scope) -> Type:
    left, right = (type_of(part, scope) for part in node.parts)
    _expect(node, left[0] == right[0] == "number", f"{left[0]} {node.data} {right[0]}")
    if node.data == "/" and left[1] == right[1]:
        return "number", ""
    _expect(node, not right[1] or (node.data == "*" and not left[1]), f"{left[1]} {node.data} {right[1]}")
    return "number", left[1] or right[1]


def _fits(wanted: str, given: Type) -> bool:
    kind, _, dim = wanted.partition(":")
    return kind == given[0] and (not dim or dim == given[1])


def _expect(node: Node, holds: bool, detail: str) -> None:
    if not holds:
        raise SyntaxFault("type", node.at, detail)
