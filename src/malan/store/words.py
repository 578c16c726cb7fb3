"""Text to search words, the same way for what is indexed and for what is asked.

Latin letters and digits are words as they stand, in lower case. Chinese has no spaces: every character and every pair
of neighbours is a word, so that any query of one or more characters finds what contains it, without a dictionary.
Width and compatibility forms are made equal (NFKC). Start reading at `index_text`.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable

# Runs of ideographs (with kana and hangul, which have the same trouble), or of other letters and digits.
_IDEOGRAPHS = "\u3005\u3007\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff\uac00-\ud7af\uf900-\ufaff\U00020000-\U0003ffff"
_RUN = re.compile(rf"[{_IDEOGRAPHS}]+|(?:(?![{_IDEOGRAPHS}])[^\W_])+")
_IS_IDEOGRAPH = re.compile(rf"[{_IDEOGRAPHS}]")
_LONGEST = 64  # a longer run of letters is no word anybody types


def index_text(texts: Iterable[str]) -> str:
    """All search words of some texts, separated by spaces: what the full-text index reads."""
    return " ".join(word for text in texts for run in runs(text) for word in _indexed(run))


def query_words(text: str) -> tuple[str, ...]:
    """The words a clip must have to contain each part of the query, without repetition.

    A Chinese part of three or more characters becomes its pairs; one alone is itself.
    """
    found = [word for run in runs(text) for word in _asked(run)]
    return tuple(dict.fromkeys(found))


def runs(text: str) -> list[str]:
    """The parts of a text: stretches of ideographs, and words in lower case."""
    return [run[:_LONGEST] if not is_ideographic(run) else run for run in _RUN.findall(folded(text))]


def folded(text: str) -> str:
    """The text as it is compared: width, compatibility forms and case made equal."""
    return unicodedata.normalize("NFKC", text).lower()


def is_ideographic(run: str) -> bool:
    return _IS_IDEOGRAPH.match(run) is not None


def _indexed(run: str) -> list[str]:
    if not is_ideographic(run):
        return [run]
    return [*run, *_pairs(run)]


def _asked(run: str) -> list[str]:
    if not is_ideographic(run) or len(run) == 1:
        return [run]
    return _pairs(run)


def _pairs(run: str) -> list[str]:
    return [run[i : i + 2] for i in range(len(run) - 1)]
