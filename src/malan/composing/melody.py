"""Melodies: a motif of two bars, asked and answered, led through sequences to one climax, and home.

    motif ─ question (half close) · answer (close) ─ contrast ─ the motif again, higher and fuller ─ last note

Rhythms are sixteenths a bar; pitches are steps of a scale that prefer what the chord allows. Start reading at `sing`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from random import Random

from malan.composing.plan import Plan, Section
from malan.composing.score import SIXTEENTH, Harmony, Note
from malan.composing.theory import Chord, Key

Bar = tuple[int, ...]  # sixteenths; negative ones are silent

RHYTHMS: dict[str, tuple[Bar, ...]] = {
    "lyrical": ((6, 2, 8), (4, 4, 8), (8, 4, 4), (6, 2, 4, 4), (4, 2, 2, 8), (-4, 4, 4, 4), (2, 2, 4, 8)),
    "lively": ((4, 2, 2, 4, 4), (2, 2, 4, 4, 4), (6, 2, 4, 4), (4, 4, 2, 2, 4), (-2, 2, 4, 4, 4), (3, 1, 4, 8)),
    "syncopated": ((3, 3, 2, 8), (6, 6, 4), (-2, 2, 4, 2, 6), (3, 3, 4, 6), (4, 2, 4, 6), (-4, 2, 4, 6)),
    "sparse": ((16,), (8, 8), (-4, 12), (12, 4), (-8, 8), (6, 10)),
    "dotted": ((6, 2, 4, 4), (4, 4, 4, 4), (8, 4, 4), (6, 1, 1, 8), (4, 4, 8), (2, 2, 2, 2, 8), (12, 2, 2)),
    "jazz": ((-2, 2, 2, 2, 4, 4), (6, 2, 2, 6), (4, 2, 2, 2, 6), (-4, 2, 2, 2, 6), (2, 2, 2, 2, 2, 6), (2, 6, 8)),
    "heroic": ((8, 6, 2), (12, 2, 2), (6, 2, 8), (8, 4, 4), (4, 4, 8), (12, 4)),
    "chinese": ((6, 2, 4, 4), (8, 2, 2, 4), (4, 2, 2, 8), (6, 2, 2, 2, 4), (3, 1, 4, 8), (4, 4, 6, 2)),
    "huagu": ((2, 1, 1, 2, 2), (1, 1, 2, 2, 2), (3, 1, 2, 2), (2, 2, 3, 1), (-1, 1, 1, 1, 2, 2), (2, 2, 2, 2)),
    "waltz": ((8, 4), (4, 4, 4), (6, 2, 4), (4, 2, 2, 4), (8, 2, 2), (12,)),
}
_CLOSES = {16: ((8, 8), (4, 12), (6, 2, 8)), 12: ((8, 4), (12,)), 8: ((4, 4), (2, 6), (3, 1, 4))}
_STEPS = ((-1, 1, 1, 2, -1, -2), (1, -1, -1, -1, 2), (1, 1, -2, 1, -1))
_REACH = 5
_LIFT = {"intro": 0, "A": 0, "A2": 1, "B": 2, "B2": 3, "bridge": -1, "C": 3, "C2": 4, "outro": -1}


@dataclass(frozen=True)
class Motif:
    """Rhythms of two bars, and where their notes lie, in steps from its first one."""

    bars: tuple[Bar, Bar]
    steps: tuple[tuple[int, ...], tuple[int, ...]]

    def turned(self) -> Motif:
        """Upside down, its bars exchanged: a contrast that is still related."""
        one, two = self.steps
        return Motif((self.bars[1], self.bars[0]), (tuple(-step for step in two), tuple(-step for step in one)))


@dataclass
class Line:
    """A melody while it is written: the key, the range, and where it is."""

    key: Key
    low: int
    high: int
    before: int = 0
    leapt: int = 0
    repeats: int = 0

    def next(self, target: int, chord: Chord, *, is_strong: bool) -> int:
        """The pitch nearest to a step of the ladder that can be sung after the last one and fits the chord."""
        ladder = self.key.ladder
        best, cost = self.before or ladder[target], float("inf")
        near = self.key.nearest(self.before) if self.before else target
        places = {*range(target - _REACH, target + _REACH + 1), *range(near - _REACH, near + _REACH + 1)}
        for place in sorted(one for one in places if 0 <= one < len(ladder)):
            pitch = self._altered(ladder[place], chord)
            more = abs(place - target) + self._price(pitch, chord, is_strong=is_strong)
            if more < cost:
                best, cost = pitch, more
        self.repeats = self.repeats + 1 if best == self.before else 0
        self.leapt = best - self.before if self.before else 0
        self.before = best
        return best

    def _altered(self, pitch: int, chord: Chord) -> int:
        """Where the chord raises a tone of the scale, the melody does too."""
        for tone in chord.tones:
            if tone not in self.key.scale and (pitch % 12 + 1) % 12 == tone:
                return pitch + 1
        return pitch

    def _price(self, pitch: int, chord: Chord, *, is_strong: bool) -> float:
        if not self.low <= pitch <= self.high:
            return float("inf")
        foreign = 0.0 if pitch % 12 in chord.tones else (2.6 if is_strong else 0.0)
        if not self.before:
            return foreign
        leap = pitch - self.before
        if abs(leap) > 12 or (abs(leap) in (6, 10, 11) and not self.key.is_five_tone):
            return 100.0 + abs(leap)
        back = 1.5 if abs(self.leapt) > 5 and leap * self.leapt > 0 else 0.0
        wide = max(0, abs(leap) - (5 if self.key.is_five_tone else 4)) * 0.45
        return foreign + wide + back + (0.9 + 1.2 * self.repeats if leap == 0 else 0.0) + self._clash(pitch, chord)

    def _clash(self, pitch: int, chord: Chord) -> float:
        """A tone a semitone above one of the chord's is a guest, not a host."""
        return 1.0 if (pitch - 1) % 12 in chord.tones and pitch % 12 not in chord.tones else 0.0


def sing(plan: Plan, harmony: Sequence[Harmony], low: int, high: int, *, closes: bool = True) -> list[Note]:
    """The melody of a whole piece, from the first bar to the last note, without dynamics."""
    lots = plan.lots("melody")
    bar = plan.bar // SIXTEENTH
    motif = _motif(plan, lots)
    line, notes = Line(plan.key, low, high), list[Note]()
    middle = plan.key.nearest(round(low + 0.42 * (high - low)))
    for section in plan.sections:
        held = motif if section.name[0] in "iACo" else motif.turned()
        if section.name == "intro" and plan.style.name not in ("piano", "jiangnan", "huaguxi"):
            notes += _call(plan, section, held, line, harmony, middle)
            continue
        for number in range(section.bars):
            place = section.bar + number
            rhythm, steps, target = _drawn(plan, section, held, number, lots)
            chord = harmony[place].chord
            is_close = number % 4 == 3 or place == plan.bars - 1
            goal = _goal(plan, line, section, number) if is_close else None
            notes += _bar(
                line, rhythm, steps, chord, place * plan.bar, middle + target, goal,
                following=harmony[min(place + 1, len(harmony) - 1)].chord,
            )  # fmt: skip
    if closes and not plan.is_loop:
        notes.append(_last(plan, line, harmony[-1].chord))
    assert bar > 0  # noqa: S101
    return notes


def _motif(plan: Plan, lots: Random) -> Motif:
    pool = [one for one in RHYTHMS[plan.style.rhythms] if sum(map(abs, one)) * SIXTEENTH == plan.bar]
    one = lots.choice([rhythm for rhythm in pool if len(rhythm) > 1] or pool)
    two = lots.choice([rhythm for rhythm in pool if rhythm != one] or pool)
    return Motif((one, two), (_contour(len(one), lots), _contour(len(two), lots)))


def _contour(count: int, lots: Random) -> tuple[int, ...]:
    """Steps from the first note: a shape of seconds, with one leap at most."""
    shape, at, out = lots.choice(_STEPS), 0, [0]
    leap = lots.randrange(1, max(count, 2))
    for number in range(1, count):
        at += shape[(number - 1) % len(shape)] * (2 if number == leap and abs(at) < 3 else 1)
        at = min(max(at, -4), 5)
        out.append(at)
    return tuple(out)


def _drawn(plan: Plan, section: Section, motif: Motif, number: int, lots: Random) -> tuple[Bar, tuple[int, ...], int]:
    """Rhythm, contour and height of a bar: the motif, its sequence, a development, a close."""
    phrase, place = number // 4, number % 4
    lift = _LIFT[section.name] + (1 if phrase % 2 and section.name[0] in "BC" else 0)
    arch = (0, 1, 2, -1)[place] if section.name[0] == "C" else (0, 1, 1, -1)[place]
    if place == 3:
        return lots.choice(_CLOSES[plan.bar // SIXTEENTH]), (0, -1, -2), lift - 1
    if place == 2 and phrase % 2:  # development: the head of the motif, going on
        rhythm = motif.bars[0]
        return rhythm, tuple(n - 1 if n % 2 else n for n in motif.steps[0]), lift + arch
    rhythm, steps = motif.bars[place % 2], motif.steps[place % 2]
    if section.energy > 0.85 and place == 1:
        rhythm, steps = _fuller(rhythm, steps)
    return rhythm, steps, lift + arch


def _fuller(rhythm: Bar, steps: tuple[int, ...]) -> tuple[Bar, tuple[int, ...]]:
    """The longest note in two, the second a neighbour: more is said where more is felt."""
    place = max(range(len(rhythm)), key=lambda n: rhythm[n])
    length = rhythm[place]
    if length < 4:
        return rhythm, steps
    half = length // 2
    return (
        (*rhythm[:place], length - half, half, *rhythm[place + 1 :]),
        (*steps[: place + 1], steps[place] + 1, *steps[place + 1 :]),
    )


def _goal(plan: Plan, line: Line, section: Section, number: int) -> int:
    """The pitch class a phrase rests on: the fifth or second step where it asks, the tonic where it answers."""
    is_answer = number // 4 % 2 == 1 or section.bars <= 4
    scale = line.key.scale
    if section.bar + number == plan.bars - 1 and not plan.is_loop:
        return scale[1]  # one step above the last note
    return scale[0] if is_answer else scale[-1 if plan.key.is_five_tone else 4]


def _bar(
    line: Line, rhythm: Bar, steps: Sequence[int], chord: Chord, start: int, target: int, goal: int | None,
    *, following: Chord,
) -> list[Note]:  # fmt: skip
    out, at = [], 0
    for number, length in enumerate(rhythm):
        ticks = abs(length) * SIXTEENTH
        if length > 0:
            is_strong = at % 8 == 0 or length >= 6
            wanted = target + steps[number % len(steps)]
            late = at >= 12 and length <= 2
            pitch = line.next(wanted, following if late else chord, is_strong=is_strong)
            if goal is not None and number == len(rhythm) - 1 and goal in (*chord.tones, *following.tones):
                pitch = _bent_to(line, pitch, goal)
                ticks = min(ticks, max(ticks - 4 * SIXTEENTH, 4 * SIXTEENTH))  # a breath
            out.append(Note(start + at * SIXTEENTH, ticks, pitch, 80))
        at += abs(length)
    return out


def _bent_to(line: Line, pitch: int, goal: int) -> int:
    """The nearest such tone that can be sung from the note before."""
    before = pitch - line.leapt
    ways = [
        p for p in range(line.low, line.high + 1) if p % 12 == goal and abs(p - before) <= 9 and abs(p - before) != 6
    ]
    if not ways or before <= 0:
        return pitch
    line.before = min(ways, key=lambda p: (abs(p - pitch), p))
    line.leapt = line.before - before
    return line.before


def _call(
    plan: Plan, section: Section, motif: Motif, line: Line, harmony: Sequence[Harmony], middle: int
) -> list[Note]:  # fmt: skip
    """An introduction: the head of the motif once, near the end, as from afar."""
    place = section.bar + section.bars - 1
    if section.bars < 2:
        return []
    chord = harmony[place].chord
    return _bar(line, motif.bars[0], motif.steps[0], chord, place * plan.bar, middle, None, following=chord)


def _last(plan: Plan, line: Line, chord: Chord) -> Note:
    """The last note: the tonic where it is near, else a tone of the chord; it rings."""
    tonic = [p for p in range(line.low, line.high + 1) if p % 12 == plan.key.tonic and abs(p - line.before) <= 9]
    near = [p for p in range(line.low, line.high + 1) if p % 12 in chord.tones]
    ways = [p for p in tonic if abs(p - line.before) != 6] or [
        p for p in near if abs(p - line.before) not in (6, 10, 11)
    ]
    pitch = min(ways, key=lambda p: (abs(p - line.before), p))
    return Note(plan.last, plan.bar, pitch, 84)
