"""Judges a score by the rules of four-part writing and of range, from its notes alone.

It knows nothing of how the score was written: the voices are read from `Score.harmony` and compared with what the part
plays, chords are told by their pitch classes. Start reading at `check`.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import combinations, pairwise

from malan.composing.score import VOICES, Harmony, Note, Part, Score

LIMITS = {"bass": (40, 60), "tenor": (48, 67), "alto": (55, 74), "soprano": (60, 79)}
_PERFECT = {0: "octaves", 7: "fifths"}
_TRITONE = 6
_SUNG = ("melody", "answer")
_PHRASE = 960  # ticks of silence that end one
_LOOSE = 45  # ticks that people are early or late


@dataclass(frozen=True)
class Violation:
    """A rule that is broken: which one, at which tick, and by whom."""

    rule: str
    tick: int
    who: str


def check(score: Score) -> list[Violation]:
    """Every rule that is broken; an empty list is what is wanted."""
    found = [*_harmony(score)]
    for part in score.parts:
        found += _part(part, score)
    return [*found, *_outer(score)]


def _harmony(score: Score) -> Iterator[Violation]:
    sung = [one for one in score.harmony if one.voices]
    for one in sung:
        yield from _chord(one)
    for one, two in pairwise(sung):
        yield from _parallels(one, two)
        if set(one.chord.tones) != set(two.chord.tones):
            yield from _resolutions(one, two)
    yield from _played(score, sung)


def _chord(one: Harmony) -> Iterator[Violation]:
    for name, pitch in zip(VOICES, one.voices, strict=True):
        low, high = LIMITS[name]
        if not low <= pitch <= high:
            yield Violation("range", one.start, name)
        if pitch % 12 not in one.chord.tones:
            yield Violation("foreign tone", one.start, name)
    for (low_name, low), (high_name, high) in pairwise(zip(VOICES, one.voices, strict=True)):
        if low >= high:
            yield Violation("crossing", one.start, f"{low_name}, {high_name}")
        if low_name != "bass" and high - low > 12:
            yield Violation("spacing", one.start, f"{low_name}, {high_name}")
    tones = [pitch % 12 for pitch in one.voices]
    if not one.chord.is_open and len(one.chord.tones) > 2 and one.chord.tones[1] not in tones:
        yield Violation("no third", one.start, one.chord.symbol)
    for tender in (one.chord.seventh, one.chord.leading):
        if tender is not None and tones.count(tender) > 1:
            yield Violation("doubled", one.start, one.chord.symbol)


def _parallels(one: Harmony, two: Harmony) -> Iterator[Violation]:
    for low, high in combinations(range(4), 2):
        if one.voices[low] == two.voices[low] or one.voices[high] == two.voices[high]:
            continue
        before, after = one.voices[high] - one.voices[low], two.voices[high] - two.voices[low]
        if before % 12 == after % 12 and after % 12 in _PERFECT:
            yield Violation(f"parallel {_PERFECT[after % 12]}", two.start, f"{VOICES[low]}, {VOICES[high]}")
    bass, top = two.voices[0] - one.voices[0], two.voices[3] - one.voices[3]
    if bass * top > 0 and abs(top) > 2 and (two.voices[3] - two.voices[0]) % 12 in _PERFECT:
        yield Violation("hidden perfect", two.start, "bass, soprano")


def _resolutions(one: Harmony, two: Harmony) -> Iterator[Violation]:
    """A seventh goes down by step or stays, wherever the next chord lets it; a leading tone on top goes up."""
    for name, pitch, after in zip(VOICES, one.voices, two.voices, strict=True):
        if pitch % 12 == one.chord.seventh:
            ways = {step for step in (0, -1, -2) if (pitch + step) % 12 in two.chord.tones}
            if ways and after - pitch not in ways:
                yield Violation("seventh", two.start, name)
    top, after = one.voices[3], two.voices[3]
    if top % 12 == one.chord.leading and (top + 1) % 12 in two.chord.tones and after - top not in (0, 1):
        yield Violation("leading tone", two.start, "soprano")


def _played(score: Score, sung: list[Harmony]) -> Iterator[Violation]:
    """What the chorale plays is what the voices say."""
    for part in score.parts:
        if part.role != "chorale":
            continue
        for note in part.notes:
            at = [one for one in sung if one.start - 60 <= note.start < one.start + one.length]
            if not at or all(note.pitch not in one.voices for one in at):
                yield Violation("not as sung", note.start, part.name)


def _part(part: Part, score: Score) -> Iterator[Violation]:
    for note in part.notes:
        if not part.is_drums and not part.lowest <= note.pitch <= part.highest:
            yield Violation("range", note.start, part.name)
        if note.length <= 0 or note.start < 0 or not 1 <= note.velocity <= 127:
            yield Violation("note", note.start, part.name)
    if part.role in _SUNG:
        yield from _line(part, score)


def _line(part: Part, score: Score) -> Iterator[Violation]:
    """A melody sings: one note at a time, no leap beyond an octave, no tritone; in its mode where it is Chinese."""
    notes = sorted(part.notes)
    for one, two in pairwise(notes):
        if two.start < one.start + one.length - 40:
            yield Violation("two at once", two.start, part.name)
        leap = abs(two.pitch - one.pitch)
        is_same_phrase = two.start - one.start - one.length < _PHRASE
        if is_same_phrase and (leap > 12 or (leap == _TRITONE and not score.key.is_five_tone)):
            yield Violation("leap", two.start, part.name)
    if score.key.is_five_tone:
        yield from (
            Violation("not in the mode", note.start, part.name)
            for note in notes if note.pitch % 12 not in score.key.scale
        )  # fmt: skip


def _outer(score: Score) -> Iterator[Violation]:
    """Melody and bass are two voices: no fifths or octaves in parallel. In Chinese modes they may be one tune.

    A bass that leaps an octave has not moved on: two fifths over one and the same tone are one fifth.
    """
    basses = [part for part in score.parts if part.role == "bass"]
    if score.key.is_five_tone or not basses:
        return
    low = sorted(basses[0].notes)
    starts = [note.start for note in low]
    for part in score.parts:
        if part.role != "melody":
            continue
        for one, two in pairwise(sorted(part.notes)):
            under, then = (_sounding(low, starts, note.start) for note in (one, two))
            if under is None or then is None or two.start - one.start - one.length >= _PHRASE:
                continue
            before, after = (one.pitch - under) % 12, (two.pitch - then) % 12
            if one.pitch != two.pitch and under % 12 != then % 12 and before == after and after in _PERFECT:
                yield Violation(f"parallel {_PERFECT[after]}", two.start, f"{basses[0].name}, {part.name}")


def _sounding(notes: list[Note], starts: list[int], tick: int) -> int | None:
    """What sounds at a tick of notes that follow one another; None in a rest."""
    place = bisect_right(starts, tick + _LOOSE) - 1
    return notes[place].pitch if place >= 0 and notes[place].start + notes[place].length + _LOOSE > tick else None
