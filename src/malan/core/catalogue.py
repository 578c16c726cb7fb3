"""Everything a user reads, in English and Chinese.

Entries live in `messages/*.toml`, one file a package, keyed by a stable code. Start reading at `entry`. This module
does not decide what is said when; it only finds the words.
"""

from __future__ import annotations

import os
import re
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from importlib import resources
from typing import Any

LANGUAGES = ("en", "zh")
_FAMILY = re.compile(r"{(\w+):([a-z]\w*(?:\.\w+)+)}", re.ASCII)


@dataclass(frozen=True, slots=True)
class Entry:
    """One message: a sentence and an optional hint in each language; `{name}` is filled from the values.

    `{name:access.role}` says a value in words of the language: the message `access.role.<value>`, where there is one.
    """

    code: str
    words: Mapping[str, str]

    def text(self, lang: str | None = None, values: Mapping[str, Any] | None = None) -> str:
        return self._said("", lang or session_language(), values or {})

    def hint(self, lang: str | None = None, values: Mapping[str, Any] | None = None) -> str:
        return self._said("hint_", lang or session_language(), values or {})

    def _said(self, part: str, lang: str, values: Mapping[str, Any]) -> str:
        text, shown = self.words.get(f"{part}{lang}", ""), _Shown(values)
        for name, family in _FAMILY.findall(text):
            text = text.replace(f"{{{name}:{family}}}", f"{{{name}}}")
            shown[name] = _in_words(shown[name], family, lang)
        return text.format_map(shown)


class _Shown(dict[str, Any]):
    """A value that was not given shows as `?`: a message must never fail while telling of a failure."""

    def __missing__(self, key: str) -> str:
        return "?"


def _in_words(value: Any, family: str, lang: str) -> str:
    """One value or several, also as they come back from JSON; a value without a message says itself."""
    several = value if isinstance(value, list | tuple) else (value,)
    known = [(str(one), catalogue().get(f"{family}.{one}")) for one in several]
    return ("、" if lang == "zh" else ", ").join(found.words[lang] if found else said for said, found in known)


def session_language() -> str:
    """`zh` or `en`, from MALAN_LANG, else the locale variables, else English."""
    for name in ("MALAN_LANG", "LC_ALL", "LC_MESSAGES", "LANG"):
        value = os.environ.get(name, "")
        if value:
            return "zh" if value.lower().startswith("zh") else "en"
    return "en"


def entry(code: str) -> Entry:
    """The message of a code. A code without one is a defect: KeyError."""
    return catalogue()[code]


def say(code: str, /, **values: Any) -> str:
    """The sentence of a code in the language of the session."""
    return entry(code).text(None, values)


@cache
def catalogue() -> Mapping[str, Entry]:
    """All messages. Two files that define the same code are an error."""
    found: dict[str, Entry] = {}
    for file in sorted(resources.files("malan.core").joinpath("messages").iterdir(), key=lambda f: f.name):
        if not file.name.endswith(".toml"):
            continue
        for code, words in tomllib.loads(file.read_text("utf-8")).items():
            if code in found:
                raise KeyError(f"message {code} is defined twice, the second time in {file.name}")
            found[code] = Entry(code, words)
    return found
