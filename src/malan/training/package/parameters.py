"""What can be set for a run: typed parameters with limits, read from `[parameters.<name>]`.

    table ─ read_parameter ─▶ Parameter ─ check(value) ─▶ the value, or UsageError
                                        ─ parameter_schema ─▶ JSON Schema, from which forms are made

Start reading at `Parameter`. Patterns are a small part of regular expressions that cannot be made slow.
"""

from __future__ import annotations

import difflib
import math
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from malan.core.errors import UsageError
from malan.training.package.tables import Table

INT, FLOAT, BOOL, TEXT, CHOICE = "int", "float", "bool", "text", "choice"
TYPES = (INT, FLOAT, BOOL, TEXT, CHOICE)
NAME = "[a-z][a-z0-9_]{0,39}"
MOST_PARAMETERS = 64
LONGEST_TEXT = 200

_ATOM = re.compile(
    r"(?:\[\^?(?:\\[\\\]\[^wd-]|[^\\\[\]])+\]|\\[wd.\\+*?()|\[\]{}^$-]|[^\\\[\](){}|*+?^$])(?:[*+?]|\{\d{1,3}(?:,\d{0,3})?\})?"
)
_OPEN = re.compile(r"[*+]$|,\d{0,3}\}$")

Value = int | float | bool | str


@dataclass(frozen=True)
class Parameter:
    """One thing that can be set. `title` and `help` are by language; numbers may be bounded on either side."""

    name: str
    type: str
    default: Value
    title: Mapping[str, str]
    help: Mapping[str, str]
    least: float | None = None
    most: float | None = None
    choices: tuple[str, ...] = ()
    pattern: str = ""

    def check(self, value: Any) -> Value:
        """The value as it goes into a run: a whole number given for a float becomes one.

        Raises:
            UsageError: It is of another type, or beyond the limits.
        """
        if self.type == FLOAT and type(value) is int and abs(value) <= 2**53:
            value = float(value)
        kinds: dict[str, type[Value]] = {INT: int, FLOAT: float, BOOL: bool}
        if type(value) is not kinds.get(self.type, str) or not self._fits(value):
            raise self._refused(value)
        settled: Value = value
        return settled

    def read(self, text: str) -> Value:
        """The value a person typed.

        Raises:
            UsageError: It is no such value.
        """
        try:
            if self.type == INT:
                return self.check(int(text[:24]))
            if self.type == FLOAT:
                return self.check(float(text[:40]))
        except ValueError:
            raise self._refused(text) from None
        if self.type == BOOL:
            words = {"true": True, "yes": True, "1": True, "false": False, "no": False, "0": False}
            return self.check(words.get(text.strip().lower(), text))
        return self.check(text)

    @property
    def wanted(self) -> str:
        """What may be given, in a few signs."""
        if self.type in (INT, FLOAT):
            low = "" if self.least is None else f"{self.least:g}"
            high = "" if self.most is None else f"{self.most:g}"
            return f"{self.type} {low}…{high}" if low or high else self.type
        return {CHOICE: ", ".join(self.choices), BOOL: "true, false"}.get(self.type, self.pattern or self.type)

    def _fits(self, value: Any) -> bool:
        """Whether a value of the right type is within the limits."""
        if self.type in (INT, FLOAT):
            low, high = self.least, self.most
            sound = math.isfinite(value) and abs(value) <= 2**53
            return sound and (low is None or value >= low) and (high is None or value <= high)
        if self.type == CHOICE:
            return value in self.choices
        return self.type == BOOL or self._is_text(value)

    def _is_text(self, value: str) -> bool:
        plain = len(value) <= LONGEST_TEXT and value.isprintable()
        return plain and (not self.pattern or re.fullmatch(self.pattern, value) is not None)

    def _refused(self, value: Any) -> UsageError:
        shown = str(value)[:60] if not isinstance(value, str) or value.isprintable() else ascii(value)[:60]
        return UsageError("algorithm.parameter_value", name=self.name, value=shown, wanted=self.wanted)


def read_parameter(table: Table, name: str) -> Parameter | None:
    """A parameter from its table; problems are noted there, and then there is none."""
    before = len(table.reader.problems)
    kind = table.choice("type", TYPES)
    least, most = (table.number(key) if key in table.values else None for key in ("min", "max"))
    choices = table.strings("choices", ())
    pattern = table.text("pattern", "")
    default = table.raw("default")
    title, help_ = read_words(table, "title", needed=False), read_words(table, "help", needed=False)
    table.done()
    if default is None:
        table.wrong("algorithm.missing_key", "default")
    if pattern and not is_safe_pattern(pattern):
        table.wrong("algorithm.bad_pattern", "pattern", value=pattern[:60])
    misplaced = [
        key
        for key, kinds in (("min", (INT, FLOAT)), ("max", (INT, FLOAT)), ("choices", (CHOICE,)), ("pattern", (TEXT,)))
        if key in table.values and kind not in kinds
    ]
    if misplaced or (kind == CHOICE and not choices):
        table.wrong("algorithm.misplaced", misplaced[0] if misplaced else "choices", type=kind)
    if len(table.reader.problems) > before:
        return None
    names = title or {"en": name, "zh": name}
    parameter = Parameter(name, kind, default, names, help_, least, most, choices, pattern)
    try:
        parameter.check(default)
    except UsageError:
        table.wrong("algorithm.bad_value", "default", value=str(default)[:60], wanted=parameter.wanted)
        return None
    return parameter


def read_words(table: Table, name: str, *, needed: bool, most: int = 200) -> dict[str, str]:
    """A text in both languages: `title.zh`, `title.en`."""
    if name not in table.values and not needed:
        table.raw(name)
        return {}
    inner = table.table(name, needed=True)
    if inner is None:
        return {}
    found = {lang: inner.text(lang, most=most) for lang in ("en", "zh")}
    inner.done()
    return found


def settle_parameters(parameters: Iterable[Parameter], given: Mapping[str, Any]) -> dict[str, Value]:
    """The value of every parameter: what is given, else the default.

    Raises:
        UsageError: A name that is none, or a value that does not fit.
    """
    known = {one.name: one for one in parameters}
    for name in given:
        _known(known, name)
    return {name: one.check(given.get(name, one.default)) for name, one in known.items()}


def read_settings(parameters: Iterable[Parameter], settings: Iterable[str]) -> dict[str, Value]:
    """What a person typed as `name=value`, one after the other; the last of a name counts.

    Raises:
        UsageError: It is not of that form, a name is none, or a value does not fit.
    """
    known = {one.name: one for one in parameters}
    found: dict[str, Value] = {}
    for text in settings:
        name, sign, value = text.partition("=")
        if not sign:
            raise UsageError("algorithm.setting", text=text[:60])
        found[name.strip()] = _known(known, name.strip()).read(value)
    return found


def parameter_schema(parameters: Iterable[Parameter], lang: str) -> dict[str, Any]:
    """JSON Schema (2020-12) of the parameters, with titles in one language and defaults."""
    properties = {one.name: _property(one, lang) for one in parameters}
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "type": "object",
        "properties": properties,
        "additionalProperties": False,
    }


def is_safe_pattern(pattern: str) -> bool:
    """Whether a pattern is a row of letters and classes, each perhaps repeated, of which two at most without end.

    No groups, no alternatives: what is left is matched in time that grows with the square of the text.
    """
    at, unbounded = 0, 0
    while at < len(pattern):
        match = _ATOM.match(pattern, at)
        if match is None:
            return False
        unbounded += bool(_OPEN.search(match[0]))
        at = match.end()
    try:
        re.compile(pattern)
    except (re.error, OverflowError):
        return False
    return unbounded <= 2 and len(pattern) <= 100


def _property(one: Parameter, lang: str) -> dict[str, Any]:
    kind = {INT: "integer", FLOAT: "number", BOOL: "boolean"}.get(one.type, "string")
    said: dict[str, Any] = {"type": kind, "title": one.title[lang], "default": one.default}
    if one.help:
        said["description"] = one.help[lang]
    if one.least is not None:
        said["minimum"] = int(one.least) if one.type == INT else one.least
    if one.most is not None:
        said["maximum"] = int(one.most) if one.type == INT else one.most
    if one.choices:
        said["enum"] = list(one.choices)
    if one.type == TEXT:
        said["maxLength"] = LONGEST_TEXT
    if one.pattern:
        said["pattern"] = f"^(?:{_for_browsers(one.pattern)})$"
    return said


def _for_browsers(pattern: str) -> str:
    """The same in the regular expressions of JSON Schema (ECMA-262), where `\\w` knows ASCII alone."""
    inside = re.sub(r"\[[^\]]*\]", lambda found: found[0].replace(r"\w", r"\p{L}\p{N}_"), pattern)
    return inside.replace(r"\w", r"[\p{L}\p{N}_]")


def _known(known: Mapping[str, Parameter], name: str) -> Parameter:
    if name not in known:
        near = difflib.get_close_matches(name[:60], known, 1)
        names = near[0] if near else ", ".join(known) or "–"
        raise UsageError("algorithm.no_parameter", name=name[:60], names=names)
    return known[name]
