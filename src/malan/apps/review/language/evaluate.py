"""The value of an expression over the facts of one episode. Never fails, never looks outside. Start at `evaluate`."""

from __future__ import annotations

import unicodedata
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any, Protocol

from malan.apps.review.language.read import Node
from malan.apps.review.language.values import NONE, Moment, Value, both, either, exists, moments, number, opposite, text
from malan.apps.review.language.values import truth as truth_of

OVERLAP = 0.5  # of a moment, from which another one covers it


Given = list[Value]


class Words(Protocol):
    """A word list or a set of patterns."""

    def find(self, text: str) -> list[tuple[int, int, str]]:
        """Where words of it stand in a text: start, end, the word as listed."""
        ...


class WordList(Words, Protocol):
    """A word list, which also knows how its words are disguised."""

    def alike(self, ways: WordList, text: str) -> Sequence[Spelled]:
        """Where words of it stand written otherwise, in ways another list names, or by their sound."""
        ...


class Spelled(Protocol):
    """A word written otherwise."""

    @property
    def start(self) -> int: ...

    @property
    def end(self) -> int: ...

    @property
    def word(self) -> str: ...

    @property
    def kind(self) -> str: ...


class Facts(Protocol):
    """What is known of one episode."""

    @property
    def duration_s(self) -> float: ...

    @property
    def release(self) -> str:
        """The day the episode is judged as of, `2026-10-01`."""
        ...

    def fact(self, name: str) -> Value:
        """The value of a name of the vocabulary."""
        ...

    def detected(self, sense: str, name: str) -> Value:
        """Moments a picture or sound detector found; incomplete where there is no such detector."""
        ...


class Scene:
    """What an evaluation stands on: facts, parameters, word lists."""

    def __init__(self, facts: Facts, params: Mapping[str, Node], words: Mapping[tuple[str, str], Words]) -> None:
        self.facts, self.params, self.words = facts, params, words


def evaluate(node: Node, scene: Scene) -> Value:
    """The value of an expression that passed `type_of`."""
    return _KINDS[node.op](node, scene)


def _joined(node: Node, scene: Scene) -> Value:
    parts = [evaluate(part, scene) for part in node.parts]
    joined = parts[0]
    for part in parts[1:]:
        joined = both(joined, part) if node.op == "and" else either(joined, part)
    return joined


def _negative(node: Node, scene: Scene) -> Value:
    part = evaluate(node.parts[0], scene)
    return Value("number", None if part.data is None else -part.data, part.missing, part.dim)


def _named(name: str, scene: Scene) -> Value:
    if name in ("true", "false", "unknown"):
        return truth_of({"true": True, "false": False, "unknown": None}[name], ("rule",))
    if name.startswith("param."):
        return evaluate(scene.params[name[6:]], scene)
    return scene.facts.fact(name)


def _reckoned(sign: str, left: Value, right: Value) -> Value:
    missing = left.missing | right.missing
    dim = "" if sign == "/" and left.dim == right.dim else left.dim or right.dim
    if left.data is None or right.data is None or (sign == "/" and right.data == 0):
        return number(None, dim, missing or {"rule"})
    done = {"+": _add, "-": _subtract, "*": _multiply, "/": _divide}[sign](left.data, right.data)
    return Value("number", done, missing, dim)


def _add(one: float, other: float) -> float:
    return one + other


def _subtract(one: float, other: float) -> float:
    return one - other


def _multiply(one: float, other: float) -> float:
    return one * other


def _divide(one: float, other: float) -> float:
    return one / other


def _compared(node: Node, scene: Scene) -> Value:
    left = evaluate(node.parts[0], scene)
    if node.data == "in":
        listed = [evaluate(part, scene) for part in node.parts[1].parts]
        if left.data is None:
            return truth_of(None, left.missing)
        return truth_of(any(_same(left, one) for one in listed))
    right = evaluate(node.parts[1], scene)
    if left.data is None or right.data is None or left.missing or right.missing:
        return truth_of(None, left.missing | right.missing)
    if node.data in ("==", "!="):
        return truth_of(_same(left, right) == (node.data == "=="))
    compare: dict[str, Callable[[Any, Any], bool]] = {
        "<": lambda a, b: a < b, "<=": lambda a, b: a <= b, ">": lambda a, b: a > b, ">=": lambda a, b: a >= b,
    }  # fmt: skip
    return truth_of(compare[str(node.data)](left.data, right.data))


def _same(left: Value, right: Value) -> bool:
    if left.kind == "text":
        return plain(left.data) == plain(right.data)
    return bool(left.data == right.data)


def plain(said: str) -> str:
    """A text as two people would call it the same: width, case and blanks do not count."""
    return "".join(unicodedata.normalize("NFKC", said).casefold().split())


# Functions


def _called(node: Node, scene: Scene) -> Value:
    name = str(node.data)
    given = [evaluate(part, scene) for part in node.parts if name not in ("lexicon", "pattern")]
    if name in _PLAIN:
        return _PLAIN[name](node, given, scene)
    if name == "match" and given[0].kind == "text":
        said = given[0].data
        return truth_of(None if said is None else bool(given[1].data.find(said)), given[0].missing)
    if name in _SUMS:
        return _SUMS[name](given[0], scene)
    if any(part.data is None for part in given):
        return moments((), _missing(given))
    return moments(_FILTERS[name](given, scene), _missing(given))


def _word_list(node: Node, _: Given, scene: Scene) -> Value:
    return Value("words", scene.words[str(node.data), evaluate(node.parts[0], scene).data])


def _length(_: Node, given: Given, __: Scene) -> Value:
    return number(None if given[0].data is None else len(plain(given[0].data)), "", given[0].missing)


_PLAIN: Mapping[str, Callable[[Node, Given, Scene], Value]] = {
    "lexicon": _word_list,
    "pattern": _word_list,
    "vision": lambda _, given, scene: scene.facts.detected("vision", given[0].data),
    "hearing": lambda _, given, scene: scene.facts.detected("hearing", given[0].data),
    "since": lambda _, given, scene: truth_of(scene.facts.release >= given[0].data),
    "before": lambda _, given, scene: truth_of(scene.facts.release < given[0].data),
    "known": lambda _, given, __: truth_of(given[0].is_known),
    "length": _length,
}


def _missing(given: Iterable[Value]) -> frozenset[str]:
    return frozenset().union(*(part.missing for part in given))


def _number(found: Value, data: float, dim: str) -> Value:
    """A measure of moments is known only if none can be missing."""
    return Value("number", None if found.missing else data, found.missing, dim)


def _union_s(found: Iterable[Moment], clip: tuple[float, float] | None = None) -> float:
    """Seconds covered by moments, those covered twice counted once."""
    total, reach = 0.0, float("-inf")
    for one in sorted(found, key=lambda m: m.start_s):
        start, end = (one.start_s, one.end_s) if clip is None else (max(one.start_s, clip[0]), min(one.end_s, clip[1]))
        total += max(0.0, end - max(start, reach))
        reach = max(reach, end)
    return total


_SUMS: Mapping[str, Callable[[Value, Scene], Value]] = {
    "exists": lambda found, _: exists(found),
    "none": lambda found, _: opposite(exists(found)),
    "count": lambda found, _: _number(found, len(found.data), ""),
    "total": lambda found, _: _number(found, _union_s(found.data), "s"),
    "longest": lambda found, _: _number(found, max((m.length_s for m in found.data), default=0.0), "s"),
    "share": lambda found, scene: _number(found, _union_s(found.data) / max(scene.facts.duration_s, 1e-9), "share"),
}


def _opening(given: Given, _: Scene) -> list[Moment]:
    return [m for m in given[0].data if m.meets(0.0, given[1].data)]


def _closing(given: Given, scene: Scene) -> list[Moment]:
    end = scene.facts.duration_s
    return [m for m in given[0].data if m.meets(end - given[1].data, end + 1e9)]


def _during(given: Given, _: Scene) -> list[Moment]:
    return [m for m in given[0].data if any(m.meets(o.start_s, o.end_s) for o in given[1].data)]


def _without(given: Given, _: Scene) -> list[Moment]:
    """Those that nothing covers; while what may cover them is not all known, none is sure to be left."""
    if given[1].missing:
        return []
    return [m for m in given[0].data if not _is_covered(m, given[1].data)]


def _is_covered(one: Moment, others: Iterable[Moment]) -> bool:
    meeting = [o for o in others if one.meets(o.start_s, o.end_s)]
    return bool(meeting) and _union_s(meeting, (one.start_s, one.end_s)) >= OVERLAP * one.length_s


def _join(given: Given, _: Scene) -> list[Moment]:
    """Moments closer together than so long become one."""
    made: list[Moment] = []
    for one in given[0].data:
        if made and one.start_s - made[-1].end_s <= given[1].data:
            made[-1] = replace(made[-1], end_s=max(one.end_s, made[-1].end_s))
        else:
            made.append(one)
    return made


def _matched(given: Given, _: Scene) -> list[Moment]:
    hits = ((m, tuple(given[1].data.find(m.text))) for m in given[0].data)
    return [replace(m, hits=found) for m, found in hits if found]


def _alike(given: Given, _: Scene) -> list[Moment]:
    """Moments with words written otherwise; beside them stands how, `spelled.sound: 薇芯 → 微信`."""
    made = []
    for one in given[0].data:
        found: Sequence[Spelled] = given[1].data.alike(given[2].data, one.text)
        if found:
            told: dict[str, list[str]] = {f"spelled.{hit.kind}": [] for hit in found}
            for hit in found:
                told[f"spelled.{hit.kind}"].append(f"{one.text[hit.start : hit.end]} → {hit.word}")
            hits = tuple((hit.start, hit.end, hit.word) for hit in found)
            detail = (*one.detail, *((name, "、".join(dict.fromkeys(words))) for name, words in told.items()))
            made.append(replace(one, hits=hits, detail=detail))
    return made


def _unlike(given: Given, _: Scene) -> list[Moment]:
    return [m for m in given[0].data if not given[1].data.find(m.text)]


def _says(given: Given, _: Scene) -> list[Moment]:
    wanted = plain(given[1].data)
    return [m for m in given[0].data if wanted and wanted in plain(m.text)]


def _is_chinese(said: str) -> bool:
    return any("\u3400" <= c <= "\u9fff" or "\U00020000" <= c <= "\U0003ffff" for c in said)


def _is_foreign(said: str) -> bool:
    """Words of another language: letters of it, and no Chinese in the same text. Abbreviations of one or two pass."""
    letters = [c for c in said if c.isalpha()]
    return len(letters) >= 3 and not _is_chinese(said)


_FILTERS: Mapping[str, Callable[[Given, Scene], list[Moment]]] = {
    "opening": _opening,
    "closing": _closing,
    "at_least": lambda given, _: [m for m in given[0].data if m.length_s >= given[1].data - 1e-6],
    "during": _during,
    "without": _without,
    "join": _join,
    "any_of": lambda given, _: [*given[0].data, *given[1].data],
    "match": _matched,
    "unlike": _unlike,
    "alike": _alike,
    "says": _says,
    "taller": lambda given, _: [m for m in given[0].data if (m.height_share or 0.0) >= given[1].data],
    "shorter": lambda given, _: [
        m for m in given[0].data if m.height_share is not None and m.height_share < given[1].data
    ],
    "beyond": lambda given, _: [
        m for m in given[0].data if m.inset_share is not None and m.inset_share < given[1].data
    ],
    "chinese": lambda given, _: [m for m in given[0].data if _is_chinese(m.text)],
    "foreign": lambda given, _: [m for m in given[0].data if _is_foreign(m.text)],
}

_KINDS: Mapping[str, Callable[[Node, Scene], Value]] = {
    "number": lambda node, _: number(float(str(node.data)), node.dim),
    "text": lambda node, _: text(str(node.data)),
    "name": lambda node, scene: _named(str(node.data), scene),
    "call": _called,
    "compare": _compared,
    "not": lambda node, scene: opposite(evaluate(node.parts[0], scene)),
    "minus": _negative,
    "and": _joined,
    "or": _joined,
    "sum": lambda node, scene: _reckoned(str(node.data), *(evaluate(part, scene) for part in node.parts)),
    "product": lambda node, scene: _reckoned(str(node.data), *(evaluate(part, scene) for part in node.parts)),
}

__all__ = ["NONE", "Facts", "Scene", "Words", "evaluate", "plain"]
