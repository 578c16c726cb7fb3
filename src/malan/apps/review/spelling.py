"""Words written so that a list misses them: by their sound, in pinyin, by initials, in split characters, by signs.

薇芯, V信, vx and 绿泡泡 are 微信; dubo and 赌bo are 赌博; 弓虽女干 is 强奸; 嗑💊 is 嗑药. Two things lead there: a list
of ways people write a word or a part of it, and the sound of characters, without tones. Sound alone counts from three
syllables on: two are too few, 病毒 sounds like 冰毒. What is found here is a guess, and only a person may decide it.
Start at `Spelling`.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cache, lru_cache
from importlib import resources

from malan.apps.review.words import Automaton, Lexicon, longest, make_plain, plain_parts

KINDS = ("parts", "sign", "letters", "pinyin", "byword", "sound")  # the one that tells most first
_LEAST_BY_SOUND = 3  # syllables
_LEAST_LETTERS = 4  # of a word that is all pinyin: shorter ones are English too
_LONGEST_SYLLABLE = 6
_FIRST_SOUND = 0xE000  # a sound is a character of the private area
_SAME_TO_ALL = (
    "他她它牠祂",
    "的得地",
    "你妳您",
    "那哪",
    "做作",
    "在再",
    "吧罢",
    "吗嘛",
    "象像",
    "座坐",
    "账帐",
    "炮泡砲",
)


@dataclass(frozen=True, slots=True)
class Spelled:
    """A word that is written otherwise: its place in the text, the word as listed, and how it is written."""

    start: int
    end: int
    word: str
    kind: str  # one of `KINDS`


@dataclass(frozen=True, slots=True)
class _Unit:
    """A character as it is meant, or a syllable in letters; its place in the text, and the way it was written."""

    char: str
    start: int
    end: int
    kind: str = ""

    @property
    def sound(self) -> str:
        return sounds().get(self.char, self.char)


class Spelling:
    """The words of a list, looked for in other spellings.

    Args:
        words: The list; the phrases in which its words are harmless hold here too, by their sound.
        ways: How people write words otherwise.
    """

    def __init__(self, words: Lexicon, ways: Ways) -> None:
        self._words, self._ways = words, ways
        self._listed: dict[str, list[tuple[str, str]]] = {}
        for word, _ in words.entries:
            meant = make_plain(word).text
            if len(meant) > 1 and not meant.isascii():
                self._listed.setdefault(_sounds_of(meant), []).append((meant, word))
        self._by_sound = Automaton(self._listed)
        phrases = (one for _, listed in words.entries for phrase in listed for one in ways.readings(phrase))
        self._harmless = Automaton({"".join(unit.sound for unit in one) for one in phrases} - {""})
        self.find = lru_cache(maxsize=4096)(self._find)

    def disguises(self) -> Iterator[str]:
        """Spellings it must find: each word in pinyin, and with each way of writing it or a part of it."""
        for word, _ in self._words.entries:
            meant = make_plain(word).text
            if len(meant) > 1 and all(char in sounds() for char in meant):
                yield "".join(letters()[sounds()[char]] for char in meant)
            yield from (word.replace(of, way) for of, way in self._ways.listed if of in word and len(word) > 1)

    def _find(self, text: str) -> list[Spelled]:
        hits = (hit for units in self._ways.readings(text) for hit in self._hits(units))
        found = {(one.start, one.end, one.word): one for one in _fullest(hits)}
        known = self._words.find(text) if found else []
        kept = longest(key for key in found if not any(a <= key[0] and key[1] <= b for a, b, _ in known))
        return [found[key] for key in kept]

    def _hits(self, units: Sequence[_Unit]) -> Iterator[Spelled]:
        said = "".join(unit.sound for unit in units)
        safe: list[tuple[int, int]] | None = None
        for first, end in self._by_sound.find(said):
            safe = self._harmless.find(said) if safe is None else safe
            if any(a <= first and end <= b for a, b in safe) or _is_cut_from_letters(units, first, end):
                continue
            for meant, word in self._listed[said[first:end]]:
                kind = _kind_of(units[first:end], meant)
                if kind:
                    yield Spelled(units[first].start, max(one.end for one in units[first:end]), word, kind)


class Ways:
    """How people write words otherwise, and texts read as they are meant.

    Args:
        listed: Words, or single characters, each with the ways it is written. A way in Latin letters stands alone.
    """

    def __init__(self, listed: Lexicon) -> None:
        self.listed = [(word, way) for word, written in listed.entries for way in written]
        self._meant = {_shown(way): make_plain(word).text for word, written in listed.entries for way in written}
        self._signs = {char for way in self._meant for char in way if not char.isalnum()}
        self._automaton = Automaton(self._meant)
        self.readings = lru_cache(maxsize=4096)(self._readings)  # of a text, for all lists

    def _readings(self, text: str) -> list[list[_Unit]]:
        """A text as it may be meant: known ways of writing replaced, syllables in letters read.

        Of two ways that overlap the earlier counts in one reading, the later in another: 加薇芯 is 加薇 and 薇芯.
        """
        made = []
        for shown in self._shown(text):
            said = "".join(unit.char for unit in shown)
            found = longest((a, b, said[a:b]) for a, b in self._automaton.find(said) if _is_alone(shown, a, b))
            kept = _apart(found)
            made.append(self._replaced(shown, kept))
            late = _apart(found, is_late=True)
            made += [self._replaced(shown, late)] if late != kept else []
        return made

    def _shown(self, text: str) -> Iterator[list[_Unit]]:
        """The characters of a text that count; where signs of the list stand in it, with them too."""
        for with_signs in (False, True) if any(char in self._signs for char in text) else (False,):
            yield [
                _Unit(part, place, place + 1)
                for place, char in enumerate(text)
                for part in ((char if with_signs else "") if char in self._signs else plain_parts(char))
            ]

    def _replaced(self, shown: Sequence[_Unit], chosen: Iterable[tuple[int, int, str]]) -> list[_Unit]:
        made: list[_Unit] = []
        at = 0
        for first, end, way in chosen:
            meant, start, stop = self._meant[way], shown[first].start, shown[end - 1].end
            made += shown[at:first]
            made += [_Unit(char, start, stop, _kind_of_way(way, meant)) for char in meant]
            at = end
        return list(_read_pinyin([*made, *shown[at:]]))


@lru_cache(maxsize=64)
def spelling_of(words: Lexicon, listed: Lexicon) -> Spelling:
    """The other spellings of a list, made once."""
    return Spelling(words, _ways_of(listed))


@lru_cache(maxsize=8)
def _ways_of(listed: Lexicon) -> Ways:
    return Ways(listed)


def _apart(found: Sequence[tuple[int, int, str]], *, is_late: bool = False) -> list[tuple[int, int, str]]:
    """Ways of writing from left to right, none over another: of two that overlap the earlier, or the later."""
    kept: list[tuple[int, int, str]] = []
    for way in reversed(found) if is_late else found:
        if not kept or (way[1] <= kept[-1][0] if is_late else way[0] >= kept[-1][1]):
            kept.append(way)
    return sorted(kept)


def _shown(way: str) -> str:
    """A way of writing as it is looked for: letters made alike, signs as they are, without what only styles them."""
    return "".join(part for char in way for part in (plain_parts(char) if char.isalnum() else char) if part != "\ufe0f")


def _is_alone(units: Sequence[_Unit], first: int, end: int) -> bool:
    """Whether a way that begins or ends in a Latin letter is not a part of a longer word."""

    def goes_on(inner: int, outer: int) -> bool:
        if not 0 <= outer < len(units) or not (_is_latin(units[inner].char) and _is_latin(units[outer].char)):
            return False
        return abs(units[inner].start - units[outer].start) == 1

    return not goes_on(first, first - 1) and not goes_on(end - 1, end)


def _kind_of_way(way: str, meant: str) -> str:
    if not way.isalnum():
        return "sign"
    if any(_is_latin(char) for char in way):
        return "letters"
    if len(meant) == 1:
        return "parts"
    return "sound" if _sounds_of(way) == _sounds_of(meant) else "byword"


def _kind_of(units: Sequence[_Unit], meant: str) -> str:
    """How a word is written; empty if it is written as it is listed, or sounds like it by chance."""
    kinds = {unit.kind for unit in units} - {""}
    if kinds - {"pinyin"}:
        return next(kind for kind in KINDS if kind in kinds)
    if kinds:
        letters = sum(unit.end - unit.start for unit in units if unit.kind)
        return "pinyin" if letters >= _LEAST_LETTERS or not all(unit.kind for unit in units) else ""
    others = [(unit.char, char) for unit, char in zip(units, meant, strict=True) if unit.char != char]
    is_chance = len(meant) < _LEAST_BY_SOUND or all(_is_same_to_all(*pair) for pair in others)
    return "" if is_chance else "sound"


def _fullest(hits: Iterable[Spelled]) -> Iterable[Spelled]:
    """Of words at one place the one that says most: cnm is 草泥马, not the 操你 within."""
    kept: dict[tuple[int, int], Spelled] = {}
    for one in hits:
        other = kept.get((one.start, one.end))
        if other is None or len(one.word) > len(other.word):
            kept[one.start, one.end] = one
    return kept.values()


def _is_cut_from_letters(units: Sequence[_Unit], first: int, end: int) -> bool:
    """Whether two syllables in letters are only a part of a longer word, as da ma is of damage."""
    if end - first >= _LEAST_BY_SOUND or not all(unit.kind == "pinyin" for unit in units[first:end]):
        return False
    before, after = units[first - 1 : first], units[end : end + 1]
    return any(unit.kind == "pinyin" and unit.end == units[first].start for unit in before) or any(
        unit.kind == "pinyin" and unit.start == units[end - 1].end for unit in after
    )


def _is_same_to_all(one: str, other: str) -> bool:
    """Whether two characters are mixed up by everyone who writes quickly: 他 and 她, 的 and 得."""
    return any(one in group and other in group for group in _SAME_TO_ALL)


# Sounds


@cache
def sounds() -> dict[str, str]:
    """Of each character its sound, as one character of the private area; of each syllable too, in letters."""
    data = resources.files("malan.apps.review").joinpath("lexicons/sounds.tsv").read_text("utf-8")
    lines = [line.split("\t") for line in data.splitlines() if line and not line.startswith("#")]
    made: dict[str, str] = {}
    for number, (syllable, chars) in enumerate(lines):
        made[syllable] = chr(_FIRST_SOUND + number)
        made.update(dict.fromkeys(chars, chr(_FIRST_SOUND + number)))
    return made


@cache
def letters() -> dict[str, str]:
    """Of each sound its syllable in letters."""
    return {sound: syllable for syllable, sound in sounds().items() if syllable.isascii()}


def _sounds_of(meant: str) -> str:
    return "".join(sounds().get(char, char) for char in meant)


def _read_pinyin(units: Iterable[_Unit]) -> Iterator[_Unit]:
    """Runs of Latin letters that are syllables throughout, as those syllables; everything else as it is."""
    run: list[_Unit] = []
    for unit in units:
        is_letter = not unit.kind and _is_latin(unit.char)
        if run and (not is_letter or unit.start != run[-1].end):
            yield from _syllables(run)
            run = []
        if is_letter:
            run.append(unit)
        else:
            yield unit
    yield from _syllables(run)


def _syllables(run: Sequence[_Unit]) -> Sequence[_Unit]:
    """The fewest syllables a run of letters is made of, longer ones first; the letters where it is made of none."""
    said = "".join(unit.char for unit in run)
    best: list[list[int] | None] = [[], *[None] * len(said)]
    for end in range(1, len(said) + 1):
        for first in range(max(0, end - _LONGEST_SYLLABLE), end):
            before = best[first]
            shorter = best[end]
            if before is None or said[first:end] not in sounds() or (end - first == 1):
                continue
            if shorter is None or len(before) + 1 < len(shorter):
                best[end] = [*before, end]
    ends = best[-1]
    if not ends:
        return run
    starts = [0, *ends[:-1]]
    return [_Unit(said[a:b], run[a].start, run[b - 1].end, "pinyin") for a, b in zip(starts, ends, strict=True)]


def _is_latin(char: str) -> bool:
    return "a" <= char <= "z"
