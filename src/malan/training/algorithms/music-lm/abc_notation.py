"""ABC notation as notes: keys, accidentals, lengths, chords, broken rhythm, tuplets, ties, repeats. See `read_abc`.

What has no sound (words, grace notes, ornaments, decorations) is passed over. Several voices follow one another in a
file; each starts at the beginning. Standard 2.1, clauses 3.1.14 (keys), 4.1 to 4.20 (music).
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from fractions import Fraction

from notes import QUARTER, Note

MOST_NOTES = 100_000
_MOST_TEXT = 2_000_000
_WHOLE = 4 * QUARTER
_STEPS = {"C": 0, "D": 2, "E": 4, "F": 5, "G": 7, "A": 9, "B": 11}
_SHARPS, _FLATS = "FCGDAEB", "BEADGCF"
_FIFTHS = {"C": 0, "G": 1, "D": 2, "A": 3, "E": 4, "B": 5, "F": -1}
_MODES = {
    "": 0,
    "maj": 0,
    "ion": 0,
    "m": -3,
    "min": -3,
    "aeo": -3,
    "dor": -2,
    "phr": -4,
    "lyd": 1,
    "mix": -1,
    "loc": -5,
}
_MARKS = {"^^": 2, "^": 1, "_": -1, "__": -2, "=": 0}
_FIELD = re.compile(r"([A-Za-z]):(.*)")
_KEY = re.compile(r"\s*([A-G])([#b]?)\s*([A-Za-z]{0,3})")
_TUPLETS = {2: 3, 3: 2, 4: 3, 5: 2, 6: 2, 7: 2, 8: 3, 9: 2}
_SIGN = re.compile(
    r"""(?P<field>\[[A-Za-z]:[^\]\n]*\])
    | (?P<skip>"[^"\n]*" | ![^!\n]*! | \{[^}\n]*\} | %[^\n]* | [~HLMNOPSTUVuv.`\\])
    | (?P<bar>\[?:*\|+[:|\]]* | ::+) (?P<ending>\[?[12](?!\d))? | (?P<second>\[[12](?!\d))
    | (?P<tuplet>\(\d) | (?P<open>\[) | (?P<close>\])
    | (?P<mark>\^\^|\^|__|_|=)?(?P<name>[A-Ga-gzxZ])(?P<octave>[,']*)""",
    re.VERBOSE,
)
_LENGTH = re.compile(r"(\d{0,4})(/*)(\d{0,4})(-?)[ ]*([<>]{0,3})")


@dataclass
class _State:
    """Where a voice is."""

    unit: Fraction = Fraction(1, 8)
    key: dict[str, int] = field(default_factory=dict)
    marks: dict[str, int] = field(default_factory=dict)
    tuplet: tuple[Fraction, int] = (Fraction(1), 0)
    broken: Fraction = Fraction(1)


@dataclass(frozen=True)
class _Sound:
    """Pitches struck at once, for a part of a whole note; nothing struck is a rest."""

    pitches: tuple[int, ...]
    length: Fraction
    is_tied: bool = False


def read_abc(text: str) -> list[Note]:
    """The notes of all tunes of a text, tune by tune.

    Raises:
        ValueError: No key is given, as every tune must, or it holds more than `MOST_NOTES`.
    """
    notes: list[Note] = []
    begin = 0
    for tune in re.split(r"(?m)^(?=X:)", text[:_MOST_TEXT]):
        if not re.search(r"(?m)^K:", tune):
            continue
        found = [note._replace(start=note.start + begin) for note in _tune(tune)]
        if len(notes) + len(found) > MOST_NOTES:
            raise ValueError("too many notes")
        notes += found
        begin = max((note.start + note.length for note in notes), default=begin)
    if not notes:
        raise ValueError("no tune in it")
    return sorted(notes)


def _tune(tune: str) -> list[Note]:
    state, music, is_head = _State(), {"": ""}, True
    voice = ""
    for line in tune.splitlines():
        if (found := _FIELD.match(line)) and (is_head or found[1] in "VKLMQPwWrs"):
            if found[1] == "V":
                voice = found[2].split()[0] if found[2].split() else ""
            elif is_head:
                _obey(state, found[1], found[2])
            elif found[1] in "KL":
                music[voice] = f"{music.get(voice, '')}[{found[1]}:{found[2].strip()}]"
            is_head = is_head and found[1] != "K"
        elif not is_head:
            music[voice] = music.get(voice, "") + line + " "
    return [note for held in music.values() for note in _played(held, state)]


def _played(music: str, head: _State) -> list[Note]:
    """One voice: sounds laid end to end, tied ones joined."""
    state = _State(head.unit, dict(head.key))
    notes: list[Note] = []
    time, tied = Fraction(0), dict[int, Fraction]()
    for sound in _unrolled(list(_sounds(music, state))):
        struck = {pitch: tied.pop(pitch, time) for pitch in sound.pitches}
        notes += [_note(pitch, start, time) for pitch, start in tied.items()]
        time += sound.length
        tied = struck if sound.is_tied else {}
        if not sound.is_tied:
            notes += [_note(pitch, start, time) for pitch, start in struck.items()]
        if len(notes) > MOST_NOTES:
            raise ValueError("too many notes")
    return notes + [_note(pitch, start, time) for pitch, start in tied.items()]


def _note(pitch: int, start: Fraction, end: Fraction) -> Note:
    first, last = round(start * _WHOLE), round(end * _WHOLE)
    return Note(first, max(1, last - first), min(max(pitch, 0), 127))


def _unrolled(signs: list[_Sound | str]) -> Iterator[_Sound]:
    """What is repeated is played twice, with its first ending and then with its second."""
    begin, place, is_again = 0, 0, False
    while place < len(signs):
        sign = signs[place]
        place += 1
        if isinstance(sign, _Sound):
            yield sign
        elif sign == "begin":
            begin, is_again = place, False
        elif sign == "first" and is_again:
            place = next((n + 1 for n in range(place, len(signs)) if signs[n] in ("repeat", "second")), len(signs))
            begin, is_again = place, False
        elif sign == "repeat":
            place, is_again = (place, False) if is_again else (begin, True)
            begin = begin if is_again else place


def _sounds(music: str, state: _State) -> Iterator[_Sound | str]:
    """Signs one after another: sounds, and words for where repeats begin and end."""
    place = 0
    chord: list[int] | None = None
    while place < len(music):
        match = _SIGN.match(music, place)
        if match is None or match.end() == place:
            place += 1
            continue
        place = match.end()
        if match["field"]:
            _obey(state, match["field"][1], match["field"][3:-1])
        elif match["bar"]:
            state.marks.clear()
            yield from _of_bar(match["bar"], match["ending"])
        elif match["second"]:
            yield "second" if match["second"] == "[2" else "first"
        elif match["tuplet"]:
            count = int(match["tuplet"][1:])
            state.tuplet = (Fraction(_TUPLETS.get(count, count), max(count, 1)), count)
        elif match["open"]:
            chord = []
        elif match["name"] and chord is not None:
            chord += _pitches(match, state)
            place = _length(music, place)[1]
        elif match["name"] or (match["close"] and chord is not None):
            pitches = tuple(chord or ()) if match["close"] else _pitches(match, state)
            sound, place = _finished(pitches, music, place, state, is_bar=match["name"] == "Z")
            chord = None
            yield sound


def _finished(pitches: tuple[int, ...], music: str, place: int, state: _State, *, is_bar: bool) -> tuple[_Sound, int]:
    """A sound with the length that follows it."""
    factor, place, is_tied, broken = _length(music, place)
    length = (Fraction(1) if is_bar else state.unit) * factor * state.broken
    state.broken = Fraction(1)
    if broken:
        part = Fraction(1, 2 ** len(broken))
        length, state.broken = (length * (2 - part), part) if broken[0] == ">" else (length * part, 2 - part)
    if state.tuplet[1]:
        length, state.tuplet = length * state.tuplet[0], (state.tuplet[0], state.tuplet[1] - 1)
    return _Sound(pitches, length, is_tied), place


def _length(music: str, place: int) -> tuple[Fraction, int, bool, str]:
    """`3/2`, `/`, `//`, `2`, with a tie and with broken rhythm behind."""
    match = _LENGTH.match(music, place)
    assert match is not None  # noqa: S101  # every part may be empty
    above, slashes, below = match[1], match[2], match[3]
    under = int(below) if below and slashes else 2 ** min(len(slashes), 8)
    return (
        Fraction(int(above or 1), max(under, 1)),
        match.end() if match[0].strip() else place,
        bool(match[4]),
        match[5],
    )


def _pitches(match: re.Match[str], state: _State) -> tuple[int, ...]:
    name = match["name"]
    if name in "zxZ":
        return ()
    letter, octave = name.upper(), match["octave"].count("'") - match["octave"].count(",")
    place = f"{name}{match['octave']}"
    if match["mark"]:
        state.marks[place] = _MARKS[match["mark"]]
    moved = state.marks.get(place, state.key.get(letter, 0))
    return (60 + _STEPS[letter] + 12 * (name.islower() + octave) + moved,)


def _obey(state: _State, name: str, said: str) -> None:
    if name == "L" and (found := re.match(r"\s*(\d{1,3})/(\d{1,3})", said)) and int(found[2]):
        state.unit = Fraction(int(found[1]), int(found[2]))
    elif name == "K" and (key := _KEY.match(said)):
        fifths = _FIFTHS[key[1]] + {"": 0, "#": 7, "b": -7}[key[2]] + _MODES.get(key[3].lower(), 0)
        names = _SHARPS[: max(fifths, 0)] or _FLATS[: max(-fifths, 0)]
        state.key = dict.fromkeys(names, 1 if fifths > 0 else -1)


def _of_bar(bar: str, ending: str | None) -> Iterator[str]:
    if bar.startswith(":"):
        yield "repeat"
    if bar.endswith(":"):
        yield "begin"
    if ending:
        yield "first" if ending.endswith("1") else "second"
