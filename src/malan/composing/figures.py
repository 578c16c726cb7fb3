"""What accompanies: figures of chords, bass lines, a second voice that answers. Each pattern is a function of a bar.

Start reading at `FIGURES` and `BASSES`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from random import Random

from malan.composing.plan import Plan
from malan.composing.score import QUARTER, SIXTEENTH, Harmony, Note
from malan.composing.styles import Chair
from malan.composing.theory import Chord

EIGHTH = QUARTER // 2
Figure = Callable[[Harmony, Chair, float, Random], list[Note]]


def tones_in(chord: Chord, low: int, high: int) -> list[int]:
    """All pitches of a chord in a range, rising."""
    return [pitch for pitch in range(low, high + 1) if pitch % 12 in chord.tones]


def close(chord: Chord, low: int, high: int, count: int = 3) -> list[int]:
    """A close position in the middle of a range, without the root where there are sevenths."""
    tones = [tone for tone in chord.tones if len(chord.tones) < 4 or tone != chord.root]
    middle = (low + high) / 2
    pitches = [pitch for pitch in range(low, high + 1) if pitch % 12 in tones]
    groups = [pitches[n : n + count] for n in range(max(1, len(pitches) - count + 1))]
    return min(groups, key=lambda group: (abs(sum(group) / max(len(group), 1) - middle), group))


def _arp(order: Sequence[int], step: int, *, holds: float = 1.0) -> Figure:
    """Tones of the chord one after another, over and over."""

    def play(bar: Harmony, chair: Chair, _energy: float, _lots: Random) -> list[Note]:
        tones = _from_root(bar.chord, chair)
        return [
            Note(bar.start + n * step, round(step * holds), tones[order[n % len(order)] % len(tones)],
                 74 + (8 if n * step % QUARTER == 0 else 0))
            for n in range(bar.length // step)
        ]  # fmt: skip

    return play


def _from_root(chord: Chord, chair: Chair) -> list[int]:
    """Tones from the lowest root of the range on."""
    tones = tones_in(chord, chair.low, chair.high)
    first = next((n for n, pitch in enumerate(tones) if pitch % 12 == chord.bass), 0)
    return tones[first:] if len(tones) - first >= 4 else tones


def _chords_at(places: Sequence[tuple[int, int]], *, count: int = 3, accent: int = 0) -> Figure:
    """Close chords at sixteenths of a bar of sixteen: (place, length)."""

    def play(bar: Harmony, chair: Chair, _energy: float, _lots: Random) -> list[Note]:
        group = close(bar.chord, chair.low, chair.high, count)
        return [
            Note(bar.start + at * SIXTEENTH, length * SIXTEENTH, pitch, 76 + (accent if at % 4 else 0))
            for at, length in places if at * SIXTEENTH < bar.length for pitch in group
        ]  # fmt: skip

    return play


def _varied(*rows: Sequence[tuple[int, int]], count: int = 4) -> Figure:
    """Close chords in another rhythm from bar to bar, the first one in every fourth."""
    ways = [_chords_at(row, count=count, accent=-4) for row in rows]

    def play(bar: Harmony, chair: Chair, energy: float, lots: Random) -> list[Note]:
        way = ways[0] if bar.start // bar.length % 4 == 0 or energy < 0.45 else lots.choice(ways)
        return way(bar, chair, energy, lots)

    return play


def _strum(bar: Harmony, chair: Chair, energy: float, lots: Random) -> list[Note]:
    """Down and up strokes over six strings; the strings sound one after another."""
    strokes: Sequence[tuple[int, int, int]]
    strokes = ((0, 4, 1), (4, 4, 1), (6, 2, 0), (8, 2, 0), (10, 2, 0), (12, 2, 1), (14, 2, 0))
    if energy < 0.55:
        strokes = ((0, 6, 1), (6, 2, 0), (8, 4, 1), (14, 2, 0))
    strings = tones_in(bar.chord, chair.low, chair.high)[:6]
    out = []
    for at, length, is_down in strokes:
        order = strings if is_down else strings[:1:-1]
        for number, pitch in enumerate(order):
            start = bar.start + at * SIXTEENTH + number * 7
            out.append(Note(start, length * SIXTEENTH - 20, pitch, (80 if is_down else 66) - lots.randrange(5)))
    return [note for note in out if note.start < bar.start + bar.length]


def _travis(bar: Harmony, chair: Chair, _energy: float, _lots: Random) -> list[Note]:
    """Fingers: the thumb alternates, the others answer."""
    tones = _from_root(bar.chord, chair)
    order = (0, 3, 1, 4, 0, 3, 2, 4)
    return [
        Note(bar.start + n * EIGHTH, QUARTER, tones[order[n % 8] % len(tones)], 78 if n % 2 == 0 else 68)
        for n in range(bar.length // EIGHTH)
    ]


def _rolled(bar: Harmony, chair: Chair, energy: float, _lots: Random) -> list[Note]:
    """A left hand: root, fifth, octave, tenth and back, under the pedal."""
    root = next(p for p in range(chair.low, chair.high) if p % 12 == bar.chord.bass)
    ladder = [root, *tones_in(bar.chord, root + 5, chair.high)]
    step = EIGHTH if energy > 0.4 else QUARTER
    order = (0, 1, 2, 3, 4, 3, 2, 1)
    return [
        Note(bar.start + n * step, bar.length - n * step, ladder[order[n % 8] % len(ladder)], 72 + (8 if n == 0 else 0))
        for n in range(bar.length // step)
    ]


def _power(bar: Harmony, chair: Chair, energy: float, _lots: Random) -> list[Note]:
    """Root, fifth and octave in eighths; held where it is quiet."""
    root = next(p for p in range(chair.low, chair.high) if p % 12 == bar.chord.root)
    step = EIGHTH if energy > 0.45 else bar.length
    tones = [root, root + 7, root + 12]
    if (bar.chord.root + 7) % 12 not in bar.chord.tones:
        tones = [root, root + 12]
    return [
        Note(bar.start + n * step, round(step * 0.85), pitch, 92 if n % 2 == 0 else 80)
        for n in range(bar.length // step) for pitch in tones if pitch <= chair.high
    ]  # fmt: skip


def _ostinato(bar: Harmony, chair: Chair, energy: float, _lots: Random) -> list[Note]:
    """Short bows in 3 + 3 + 2: the accents drive."""
    tones = _from_root(bar.chord, chair)
    step = SIXTEENTH if energy > 0.85 else EIGHTH
    order = (0, 2, 1, 0, 2, 1, 0, 2)
    count = bar.length // step
    return [
        Note(bar.start + n * step, step // 2, tones[order[n % 8] % len(tones)], 92 if n % 8 in (0, 3, 6) else 72)
        for n in range(count)
    ]


def _drops(bar: Harmony, chair: Chair, _energy: float, lots: Random) -> list[Note]:
    """A few tones, here and there, that ring."""
    tones = tones_in(bar.chord, chair.low, chair.high)
    places = sorted(lots.sample(range(0, 16, 2), 4))
    rising = lots.randrange(len(tones) - 4)
    return [
        Note(bar.start + at * bar.length // 16, bar.length, tones[rising + number], 60 + lots.randrange(14))
        for number, at in enumerate(places)
    ]


def _guzheng(bar: Harmony, chair: Chair, energy: float, lots: Random) -> list[Note]:
    """历音 now and then: a sweep up to the beat; else broken fifths and octaves."""
    tones = tones_in(bar.chord, chair.low, chair.high)
    order = (0, 2, 3, 5, 4, 3, 2, 3) if energy > 0.45 else (0, -1, 2, -1, 4, -1, 3, -1)
    out = [
        Note(bar.start + n * EIGHTH, QUARTER, tones[place % len(tones)], 78 if n % 4 == 0 else 66)
        for n, place in enumerate(order) if place >= 0 and n * EIGHTH < bar.length
    ]  # fmt: skip
    if lots.random() < 0.3:
        sweep = tones[-7:]
        begin = bar.start + bar.length - len(sweep) * 45
        out = [note for note in out if note.start < begin]
        out += [Note(begin + n * 45, EIGHTH, pitch, 50 + 5 * n) for n, pitch in enumerate(sweep)]
    return out


def _sweep(bar: Harmony, chair: Chair, _energy: float, _lots: Random) -> list[Note]:
    """A harp: up through three octaves into the bar's first beat."""
    tones = tones_in(bar.chord, chair.low, chair.high)
    return [Note(bar.start + n * 60, bar.length - n * 60, pitch, 58 + 3 * n) for n, pitch in enumerate(tones[:14])]


def _glints(bar: Harmony, chair: Chair, _energy: float, lots: Random) -> list[Note]:
    """Two or three high tones, once in two bars."""
    tones = tones_in(bar.chord, chair.low, chair.high)
    if bar.start // bar.length % 2:
        return []
    return [Note(bar.start + at * SIXTEENTH, QUARTER, lots.choice(tones), 66 - 6 * n) for n, at in enumerate((0, 3, 6))]


FIGURES: dict[str, Figure] = {
    "arp8": _arp((0, 2, 1, 3, 2, 4, 3, 2), EIGHTH),
    "arp16": _arp((0, 1, 2, 3, 4, 3, 2, 1, 0, 2, 1, 3, 2, 4, 3, 1), SIXTEENTH, holds=0.8),
    "alberti": _arp((0, 2, 1, 2), EIGHTH),
    "pulse8": _chords_at([(n, 1) for n in range(0, 16, 2)], count=2, accent=-10),
    "chops": _varied([(0, 6), (6, 4), (12, 3)], [(0, 4), (6, 6)], [(0, 6), (8, 4), (14, 2)], count=3),
    "offbeat": _chords_at([(2, 1), (6, 1), (10, 1), (14, 1)]),
    "comp": _varied(
        [(0, 5), (6, 3)], [(2, 2), (6, 5)], [(4, 3), (10, 4)], [(0, 2), (6, 2), (12, 3)], [(6, 2), (14, 2)]
    ),
    "lofi": _varied([(0, 7), (7, 8)], [(0, 10), (10, 5)], [(0, 3), (3, 9)]),
    "waltz": _chords_at([(4, 3), (8, 3)]),
    "strum": _strum,
    "travis": _travis,
    "rolled": _rolled,
    "power": _power,
    "ostinato": _ostinato,
    "drops": _drops,
    "guzheng": _guzheng,
    "sweep": _sweep,
    "glints": _glints,
}


def bass_line(plan: Plan, harmony: Sequence[Harmony], chair: Chair, plays: Callable[[int], float]) -> list[Note]:
    """A bass from bar to bar; it leads into the next root where the pattern walks. `plays` gives the energy or 0."""
    out: list[Note] = []
    for number, bar in enumerate(harmony):
        energy = plays(bar.start)
        if not energy or bar.start >= plan.last or _waits(plan, number):
            continue
        following = harmony[min(number + 1, len(harmony) - 1)].chord
        if chair.pattern == "walking":
            out += _walking(plan, chair, bar, following, plan.lots(f"bass/{number}"))
        else:
            goes_on = number % 2 == 1 and bar.start + bar.length < plan.last and plays(bar.start + bar.length)
            out += _bass_bar(chair, bar, energy, _beside(plan, chair, bar.chord, following) if goes_on else None)
    return out


def _waits(plan: Plan, bar: int) -> bool:
    """In the last half of a build the bass is silent, so that the drop brings it back."""
    section = plan.section_at(bar)
    return section.name == "build" and 2 * (bar - section.bar) >= section.bars


def low_root(chord: Chord, chair: Chair) -> int:
    """The lowest place of the chord's bass in the range that is not its very end."""
    return next(p for p in range(chair.low, chair.low + 12) if p % 12 == chord.bass)


_BASS_STEPS: dict[str, tuple[tuple[int, int, int], ...]] = {  # sixteenth, length, which tone: 0 root, 1 fifth, 2 octave
    "whole": ((0, 16, 0),),
    "root_long": ((0, 12, 0), (12, 4, 0)),
    "root_fifth": ((0, 8, 0), (8, 8, 1)),
    "pop": ((0, 6, 0), (6, 2, 0), (8, 4, 0), (12, 2, 1), (14, 2, 2)),
    "lofi": ((0, 5, 0), (7, 3, 0), (10, 4, 1)),
    "eighths": tuple((n, 2, 0) for n in range(0, 16, 2)),
    "offbeat": (*((n, 2, 0) for n in range(2, 16, 4)), (15, 1, 2)),
    "waltz": ((0, 4, 0),),
    "pulse_root": ((0, 2, 0), (4, 2, 1)),
}


_LEADING = ("root_long", "root_fifth", "pop", "eighths")


def _beside(plan: Plan, chair: Chair, chord: Chord, following: Chord) -> int | None:
    """A step of the key beside the next root, on the side the bass comes from; None where it stays."""
    here, goal = low_root(chord, chair), low_root(following, chair)
    if chair.pattern not in _LEADING or here == goal:
        return None
    steps = (-1, -2, -3) if here < goal else (1, 2, 3)
    near = [goal + step for step in steps if (goal + step) % 12 in plan.key.scale and goal + step != here]
    return next((pitch for pitch in near if chair.low <= pitch <= chair.high), None)


def _bass_bar(chair: Chair, bar: Harmony, energy: float, leading: int | None) -> list[Note]:
    """A bar of a bass; its last note may lead into the next root."""
    root = low_root(bar.chord, chair)
    fifth = next((p for p in range(root + 5, root + 10) if p % 12 in bar.chord.tones), root)
    octave = root + 12 if root + 12 <= chair.high else root
    tones = (root, fifth if fifth <= chair.high else root, octave)
    steps = _BASS_STEPS[chair.pattern]
    if energy < 0.4:
        steps = steps[:1] if chair.pattern != "offbeat" else steps
    out = [
        Note(bar.start + at * SIXTEENTH, min(length * SIXTEENTH, bar.length) - 24, tones[which], 84 if at == 0 else 76)
        for at, length, which in steps if at * SIXTEENTH < bar.length
    ]  # fmt: skip
    if leading is not None and len(out) > 1:
        out[-1] = out[-1]._replace(pitch=leading)
    return out


def second_voice(harmony: Sequence[Harmony], melody: Sequence[Note], chair: Chair) -> list[Note]:
    """Sings with the melody: the tone of the chord a third to a sixth below it; short notes are the melody's alone."""
    out = []
    for note in melody:
        bar = harmony[min(note.start // harmony[0].length, len(harmony) - 1)]
        ways = [p for p in range(note.pitch - 9, note.pitch - 2) if p % 12 in bar.chord.tones and p >= chair.low]
        if ways and note.length >= EIGHTH:
            out.append(note._replace(pitch=ways[-1], velocity=note.velocity - 8))
    return out


def _walking(plan: Plan, chair: Chair, bar: Harmony, following: Chord, lots: Random) -> list[Note]:
    """Four quarters: root, two tones of the chord on the way, one step beside the next root."""
    root, goal = low_root(bar.chord, chair), low_root(following, chair)
    ways = [p for p in tones_in(bar.chord, chair.low, min(root + 14, chair.high)) if p != root]
    one, two = lots.choice(ways), lots.choice(ways)
    near = [p for p in range(goal - 2, goal + 3) if p != goal and p >= chair.low and p % 12 in plan.key.scale]
    beside = lots.choice(near)
    pitches = [root, one, two if two != one else root, beside][: bar.length // QUARTER]
    return [Note(bar.start + n * QUARTER, QUARTER - 30, pitch, 82 - 4 * (n % 2)) for n, pitch in enumerate(pitches)]


def answer_line(
    plan: Plan, harmony: Sequence[Harmony], melody: Sequence[Note], chair: Chair, plays: Callable[[int], float]
) -> list[Note]:  # fmt: skip
    """A second voice: holds a tone of the chord below the melody, and speaks where the melody rests or holds."""
    out: list[Note] = []
    before = (chair.low + chair.high) // 2
    for bar in harmony[: plan.bars]:
        if not plays(bar.start):
            continue
        heard = [note for note in melody if bar.start <= note.start < bar.start + bar.length]
        roof = min([note.pitch for note in heard], default=chair.high + 3) - 3
        ways = tones_in(bar.chord, chair.low, max(min(chair.high, roof), chair.low + 9))
        speaks = len(heard) <= 2
        lengths = (4, 4, 4, 4) if speaks and plan.bar == 16 * SIXTEENTH else (plan.bar // SIXTEENTH,)
        at = bar.start
        for number, length in enumerate(lengths):
            pool = [p for p in ways if abs(p - before) not in (6, 10, 11) and abs(p - before) <= 12]
            moved = [p for p in pool if p != before] if number else pool
            if not pool:
                break
            pitch = min(moved or pool, key=lambda p: (abs(p - before) + (2 if number % 2 and p < before else 0), p))
            out.append(Note(at, length * SIXTEENTH - 40, pitch, 70))
            before, at = pitch, at + length * SIXTEENTH
    return out
