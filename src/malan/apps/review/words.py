"""Word lists and number formats: found in texts however they are spelled, at their place in the words as written.

Before matching, text and list are made alike: width and case, traditional characters, capital numerals, symbols put
between the characters, repeated characters. Sentence marks and line breaks stay, so nothing is found across them. A
list is a file of its own, named by its digest. Start at `Lexicon`, `Pattern`.
"""

from __future__ import annotations

import hashlib
import re
import unicodedata
from array import array
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cache, lru_cache
from importlib import resources
from typing import TYPE_CHECKING

from malan.core.errors import UsageError

if TYPE_CHECKING:
    from malan.apps.review.spelling import Spelled

_BREAKS = frozenset("。！？；，、：!?;,:\n")
_MOST_WORDS = 200_000
_LONGEST_WORD = 60
_CHARACTERS = 0x110000  # of Unicode
_MOST_PLACES = 4  # in a number format: more could be matched in too many ways
_CAPITALS = str.maketrans("壹贰叁肆伍陆柒捌玖拾〇", "一二三四五六七八九十零")


@dataclass(frozen=True, slots=True)
class Plain:
    """A text made alike, and the place in the original of each of its characters."""

    text: str
    places: tuple[int, ...]

    def where(self, start: int, end: int) -> tuple[int, int]:
        """Start and end, excluded, in the original."""
        return self.places[start], self.places[end - 1] + 1


def make_plain(text: str) -> Plain:
    """A text without what hides words in it: only letters, digits and the marks that end a part."""
    kept: list[str] = []
    places: list[int] = []
    for place, char in enumerate(text):
        for part in plain_parts(char):
            kept.append(part)
            places.append(place)
    return Plain("".join(kept), tuple(places))


def plain_parts(char: str) -> Iterator[str]:
    """What stays of a character: letters and digits as simple as they come, a line break for what ends a part."""
    for part in unicodedata.normalize("NFKC", char).casefold().translate(_CAPITALS).translate(_simplified()):
        if part in _BREAKS or char in _BREAKS:
            yield "\n"
        elif part.isalnum():
            yield part


def without_repeats(plain: Plain) -> Plain:
    """Each run of one character as that character: 赌赌赌博 is 赌博."""
    kept = [i for i, char in enumerate(plain.text) if i == 0 or char != plain.text[i - 1]]
    return Plain("".join(plain.text[i] for i in kept), tuple(plain.places[i] for i in kept))


@cache
def _simplified() -> dict[int, int]:
    """Traditional characters to simplified ones, one to one."""
    data = resources.files("malan.apps.review").joinpath("lexicons/simplified.tsv").read_text("utf-8")
    pairs = (line.split("\t") for line in data.splitlines() if line and not line.startswith("#"))
    return {ord(old): ord(new) for traditional, simple in pairs for old, new in zip(traditional, simple, strict=True)}


class Automaton:
    """Aho-Corasick over words: all of them in one pass, in time of text and hits.

    States are numbers and steps one table, so that a list of 200,000 words takes seconds and not a gigabyte.
    """

    def __init__(self, words: Iterable[str]) -> None:
        self._steps: dict[int, int] = {}  # state and character to the next state
        self._fail = array("l", [0])
        self._ends: dict[int, tuple[int, ...]] = {}  # lengths of the words that end in a state
        parents, chars, levels = array("l", [0]), array("l", [0]), list[list[int]]()
        for word in words:
            state = 0
            for depth, char in enumerate(word):
                key = state * _CHARACTERS + ord(char)
                following = self._steps.get(key)
                if following is None:
                    following = self._steps[key] = len(parents)
                    parents.append(state)
                    chars.append(ord(char))
                    levels += [[]] if depth == len(levels) else []
                    levels[depth].append(following)
                state = following
            if word:
                self._ends[state] = (len(word),)
        self._fail.extend([0] * (len(parents) - 1))
        for level in levels[1:]:
            for state in level:
                self._link(state, self._fail[parents[state]], chars[state])

    def _link(self, state: int, back: int, char: int) -> None:
        """Where to go on when a word breaks off: the longest beginning of another; `back` is that of the parent."""
        target = self._steps.get(back * _CHARACTERS + char)
        while target is None and back:
            back = self._fail[back]
            target = self._steps.get(back * _CHARACTERS + char)
        self._fail[state] = target or 0
        more = self._ends.get(target or 0)
        if more:
            self._ends[state] = (*self._ends.get(state, ()), *more)

    def find(self, text: str) -> list[tuple[int, int]]:
        """Start and end of every word in a text."""
        found: list[tuple[int, int]] = []
        state, steps = 0, self._steps
        for place, char in enumerate(text):
            code = ord(char)
            following = steps.get(state * _CHARACTERS + code)
            while following is None and state:
                state = self._fail[state]
                following = steps.get(state * _CHARACTERS + code)
            state = following or 0
            for length in self._ends.get(state, ()):
                found.append((place + 1 - length, place + 1))
        return found


class Lexicon:
    """A word list with its exceptions.

    Args:
        name: What rules call it.
        entries: Words, each with the phrases in which it is harmless.
        digest: Of the file.
    """

    def __init__(self, name: str, entries: Sequence[tuple[str, tuple[str, ...]]], digest: str = "") -> None:
        self.name, self.digest, self.size, self.entries = name, digest, len(entries), tuple(entries)
        self._listed = {make_plain(word).text: word for word, _ in entries}
        self._listed = {plain: word for plain, word in self._listed.items() if plain.strip()}
        self._plain = Automaton(self._listed)
        self._harmless = Automaton({make_plain(p).text for _, phrases in entries for p in phrases} - {""})
        self.find = lru_cache(maxsize=4096)(self._find)  # the same captions are asked about by many rules

    def _find(self, text: str) -> list[tuple[int, int, str]]:
        plain = make_plain(text)
        hits = {(*plain.where(a, b), self._listed[plain.text[a:b]]) for a, b in self._plain.find(plain.text)}
        short = without_repeats(plain)
        if short.text != plain.text:
            hits |= {(*short.where(a, b), self._listed[short.text[a:b]]) for a, b in self._plain.find(short.text)}
        safe = [plain.where(a, b) for a, b in self._harmless.find(plain.text)]
        kept = [h for h in hits if not any(a <= h[0] and h[1] <= b for a, b in safe) and _is_whole(text, *h)]
        return longest(kept)

    def alike(self, ways: Lexicon, text: str) -> list[Spelled]:
        """Words of the list that are written otherwise, see `spelling`."""
        from malan.apps.review.spelling import spelling_of

        return spelling_of(self, ways).find(text)


def _is_whole(text: str, start: int, end: int, word: str) -> bool:
    """Whether a word of Latin letters stands alone, and is not a part of another."""
    if not word.isascii():
        return True
    around = text[start - 1 : start] + text[end : end + 1]
    return not any(c.isascii() and c.isalnum() for c in around)


def longest(hits: Iterable[tuple[int, int, str]]) -> list[tuple[int, int, str]]:
    """Hits from left to right; one that lies inside another is left out."""
    kept: list[tuple[int, int, str]] = []
    for hit in sorted(hits, key=lambda h: (h[0], -h[1], h[2])):
        if not kept or hit[1] > kept[-1][1]:
            kept.append(hit)
    return kept


def read_lexicon(name: str, data: bytes) -> Lexicon:
    """A word list from its file: a word a line, harmless phrases behind it after a tab, `#` for remarks.

    Raises:
        UsageError: A line is no word, or there are too many.
    """
    entries: list[tuple[str, tuple[str, ...]]] = []
    for number, line in enumerate(data.decode("utf-8").splitlines(), 1):
        word, *rest = line.split("\t")
        if not word.strip() or word.startswith("#"):
            continue
        if len(word) > _LONGEST_WORD or not make_plain(word).text.strip() or len(entries) >= _MOST_WORDS:
            raise UsageError("review.lexicon.word", name=name, line=number, word=word[:20])
        entries.append((word.strip(), tuple(p.strip() for p in "".join(rest).split("|") if p.strip())))
    return Lexicon(name, entries, hashlib.sha256(data).hexdigest())


_PLACES = {
    "{year}": r"20\d{2}", "{digits}": r"\d{1,8}", "{name}": r"[\u4e00-\u9fffA-Za-z0-9]{1,12}",
    "{phone}": r"(?<!\d)1[3-9]\d{9}(?!\d)", "{identity}": r"(?<!\d)\d{17}[\dXx](?!\d)",
}  # fmt: skip
_BRACKETS = str.maketrans("〔〕【】[]{}〈〉<>", "()()()()()()")


class Pattern:
    """Formats of numbers, such as `({name})网微剧备字({year})第{digits}号`.

    Width, brackets, blanks and hyphens do not count.
    """

    def __init__(self, name: str, templates: Sequence[str]) -> None:
        self.name, self.templates = name, tuple(templates)
        self._forms = [re.compile(_form(template)) for template in templates]
        self.find = lru_cache(maxsize=4096)(self._find)

    def _find(self, text: str) -> list[tuple[int, int, str]]:
        kept, places = [], []
        for place, char in enumerate(text):
            for part in unicodedata.normalize("NFKC", char).translate(_BRACKETS).translate(_simplified()):
                if not part.isspace() and part not in "-‐–·":
                    kept.append(part)
                    places.append(place)
        said = "".join(kept)
        return longest(
            (places[m.start()], places[m.end() - 1] + 1, said[m.start() : m.end()])
            for form in self._forms
            for m in form.finditer(said)
        )


def _form(template: str) -> str:
    parts = re.split(r"(\{[a-z]+\})", template)
    made = []
    for part in parts:
        if part.startswith("{") and part.endswith("}"):
            made.append(_PLACES[part])
        else:
            made.append(re.escape("".join(unicodedata.normalize("NFKC", part).translate(_BRACKETS).split())))
    return "".join(made)


def check_template(template: str) -> bool:
    """Whether a format uses only the places there are, and is not a name alone.

    A few places, none of them touching: what is left can be matched in a bounded number of ways, whatever the text.
    """
    places = re.findall(r"\{[^}]*\}", template)
    is_bounded = len(places) <= _MOST_PLACES and not re.search(r"\}\s*\{", template)
    return all(place in _PLACES for place in places) and is_bounded and bool(template.replace("{name}", "").strip())
