"""Drums: a table of patterns in sixteenths, quieter and fuller ones, fills where sections end. Start at `drum_line`.

`X` is an accent, `x` a stroke, `o` a soft one. A pattern of twelve signs is a bar of three, one of eight a bar of two.
"""

from __future__ import annotations

from collections.abc import Callable
from random import Random

from malan.composing.plan import Plan
from malan.composing.score import QUARTER, SIXTEENTH, Note

KICK, RIM, SNARE, CLAP, CLOSED, OPEN, CRASH, RIDE, TAMB, SHAKER, BLOCK = 36, 37, 38, 39, 42, 46, 49, 51, 54, 82, 76
LOW_TOM, MID_TOM, HIGH_TOM, CHINA, BELL, CLAVES, LOW_CONGA, HIGH_CONGA = 41, 45, 48, 52, 81, 75, 64, 62
Pattern = dict[int, str]
EIGHTH = QUARTER // 2

PATTERNS: dict[str, tuple[Pattern, Pattern]] = {  # (quieter, fuller)
    "pop": (
        {KICK: "X.......x.......", RIM: "....x.......x...", CLOSED: "x.o.x.o.x.o.x.o."},
        {KICK: "X..x..x.x.......", SNARE: "....X.......X..o", CLOSED: "x.o.x.o.x.o.x.o.", TAMB: "..o...o...o...o."},
    ),
    "lofi": (
        {KICK: "X.........x.....", RIM: "....x.......x...", CLOSED: "o.o.o.o.o.o.o.o."},
        {KICK: "X......x..x.....", SNARE: "....x.......x...", CLOSED: "x.o.xoo.x.o.x.oo"},
    ),
    "house": (
        {KICK: "X...x...x...x...", CLOSED: "..x...x...x...x."},
        {KICK: "X...X...X...X...", CLAP: "....x.......x...", OPEN: "..x...x...x...x.", CLOSED: "o.ooo.ooo.ooo.oo"},
    ),
    "folk": (
        {SHAKER: "x.o.x.o.x.o.x.o.", LOW_CONGA: "X.......x......."},
        {SHAKER: "x.oox.oox.oox.oo", LOW_CONGA: "X.....x.x.......", HIGH_CONGA: "....x.......x.x.",
         TAMB: "....o.......o..."},
    ),
    "claps": (
        {KICK: "X.......X.......", SHAKER: "o.o.x.o.o.o.x.o."},
        {KICK: "X...X...X...X...", CLAP: "....X.......X...", SHAKER: "xoxoxoxoxoxoxoxo", SNARE: "....o.......o..."},
    ),
    "rock": (
        {KICK: "X.......x.x.....", SNARE: "....X.......X...", CLOSED: "x.x.x.x.x.x.x.x."},
        {KICK: "X..x..x.X.x.....", SNARE: "....X.......X..x", RIDE: "x.x.x.x.x.x.x.x.", OPEN: "x..............."},
    ),
    "swing": (
        {RIDE: "x...x.x.x...x.x.", 44: "....x.......x..."},
        {RIDE: "X...x.x.x...x.x.", 44: "....x.......x...", KICK: "o.......o.....o.", SNARE: "......o.......o."},
    ),
    "taiko": (
        {LOW_TOM: "X.......x......."},
        {LOW_TOM: "X..x..x.x..x..x.", MID_TOM: "......x.......xx", KICK: "X.......X......."},
    ),
    "news": (
        {KICK: "X.......X.......", CLOSED: "xoxoxoxoxoxoxoxo"},
        {KICK: "X..x..X...x.X...", SNARE: "....X..o.o..X...", CLOSED: "xoxoxoxoxoxoxoxo", LOW_TOM: "..............xx"},
    ),
    "waltz": (
        {KICK: "o...........", BELL: "....o...o..."},
        {KICK: "x...........", BELL: "....o...o...", TAMB: "....o...o..."},
    ),
    "chinese_soft": (
        {BLOCK: "o...............", BELL: "........o......."},
        {BLOCK: "x.....o.x.......", BELL: "........o.......", LOW_TOM: "o.......o......."},
    ),
    "bangu": (
        {CLAVES: "x...............", BLOCK: "........o...o..."},
        {CLAVES: "x.......x.......", BLOCK: "....x.o.x.o.x.oo"},
    ),
}  # fmt: skip
_FORCE = {"X": 100, "x": 82, "o": 56}
_SOFT = ("swing", "lofi", "chinese_soft", "bangu", "folk", "waltz", "taiko")


def drum_line(plan: Plan, pattern: str, plays: Callable[[int], float]) -> list[Note]:
    """Strokes of a whole piece: fuller where it is intense, a fill before a new section, a crash where it begins."""
    out: list[Note] = []
    for section in plan.sections:
        for number in range(section.bars):
            bar = section.bar + number
            start = bar * plan.bar
            energy = plays(start)
            if not energy:
                continue
            is_end = number == section.bars - 1 and section.bars >= 4 and bar + 1 < plan.bars
            lots = plan.lots(f"drums/{bar}")
            if section.name == "build":
                out += _building(plan, section.bars - number, section.bars, start, energy)
                continue
            out += _bar(plan, pattern, start, energy, lots, stops=is_end and pattern not in _SOFT)
            if number % 4 == 3 and not is_end:
                out += _turn(plan, pattern, start, energy)
            if number == 0 and energy > 0.65 and pattern not in ("bangu", "chinese_soft", "swing", "lofi", "folk"):
                out.append(Note(start, 2 * QUARTER, CRASH, 84))
    if plays(plan.last - 1) and not plan.is_loop:
        out += _end(plan, pattern)
    return out


def _bar(plan: Plan, pattern: str, start: int, energy: float, lots: Random, *, stops: bool) -> list[Note]:
    rows = PATTERNS[pattern][int(energy >= 0.68)]
    count = plan.bar // SIXTEENTH
    until = count - 4 if stops else count
    out = []
    for drum, row in rows.items():
        for place in range(until):
            sign = row[place % len(row)]
            if sign != "." and not (sign == "o" and lots.random() < 0.12):
                force = _FORCE[sign] + round(10 * (energy - 0.7)) - lots.randrange(5)
                out.append(Note(start + place * SIXTEENTH, SIXTEENTH, drum, force))
    if stops:
        toms = (SNARE, SNARE, HIGH_TOM, MID_TOM) if energy > 0.5 else (RIM, BLOCK, BLOCK, RIM)
        for number, drum in enumerate(toms):
            out.append(Note(start + (until + number) * SIXTEENTH, SIXTEENTH, drum, 72 + 7 * number))
    return out


def _building(plan: Plan, left: int, bars: int, start: int, energy: float) -> list[Note]:
    """Towards a drop: the snare comes in fourths, eighths, sixteenths, ever louder; the kick stops before the last
    bar, and the last beat is empty."""
    count = plan.bar // SIXTEENTH
    step = 1 if left == 1 else 2 if 2 * left <= bars + 1 else 4
    until = count - 4 if left == 1 else count
    out = []
    for place in range(0, until, step):
        done = (bars - left + place / count) / bars
        out.append(Note(start + place * SIXTEENTH, SIXTEENTH, SNARE, round(46 + 50 * done * energy)))
        if left == 1 and place >= count // 2:
            out.append(Note(start + place * SIXTEENTH, SIXTEENTH, CLAP, round(50 + 40 * done)))
    if left > 1:
        out += [Note(start + place * SIXTEENTH, SIXTEENTH, KICK, 92) for place in range(0, count, 4)]
    return out


def _turn(plan: Plan, pattern: str, start: int, energy: float) -> list[Note]:
    """The end of a phrase within a section: a little more, so that no four bars are quite the same."""
    rows, at = PATTERNS[pattern][int(energy >= 0.68)], start + plan.bar
    out = []
    if SNARE in rows:
        out += [Note(at - 3 * SIXTEENTH, SIXTEENTH, SNARE, 46), Note(at - SIXTEENTH, SIXTEENTH, SNARE, 54)]
    if KICK in rows and pattern not in _SOFT:
        out.append(Note(at - 2 * SIXTEENTH, SIXTEENTH, KICK, 78))
    if CLOSED in rows:
        out.append(Note(at - 2 * SIXTEENTH, EIGHTH, OPEN, 62))
    if pattern in ("folk", "taiko"):
        out.append(Note(at - SIXTEENTH, SIXTEENTH, HIGH_CONGA if pattern == "folk" else MID_TOM, 64))
    return out


def _end(plan: Plan, pattern: str) -> list[Note]:
    """The last stroke, as strong as the style ends."""
    if pattern in ("bangu", "chinese_soft"):
        return [Note(plan.last, QUARTER, CLAVES, 80), Note(plan.last, 2 * QUARTER, BELL, 60)]
    if pattern in ("swing", "folk", "lofi", "waltz"):
        return [
            Note(plan.last, 2 * QUARTER, RIDE if pattern == "swing" else TAMB, 60),
            Note(plan.last, QUARTER, KICK, 64),
        ]
    low = LOW_TOM if pattern == "taiko" else KICK
    return [Note(plan.last, 4 * QUARTER, CRASH, 96), Note(plan.last, QUARTER, low, 104)]


def timpani_line(
    plan: Plan, roots: Callable[[int], int], low: int, high: int, plays: Callable[[int], float]
) -> list[Note]:
    """Root and fifth of the key under strong beats, a roll into each new section."""
    pitches = {p % 12: p for p in range(high, low - 1, -1)}
    out: list[Note] = []
    for section in plan.sections:
        for bar in range(section.bar, section.bar + section.bars):
            start = bar * plan.bar
            if not plays(start):
                continue
            root = roots(start)
            if root in pitches:
                out.append(Note(start, QUARTER, pitches[root], 88))
            if bar == section.bar + section.bars - 1:
                pitch = pitches[plan.key.scale[4] if plan.key.scale[4] in pitches else plan.key.tonic]
                begin = start + plan.bar - 2 * QUARTER
                out += [Note(begin + n * 60, 60, pitch, 48 + 3 * n) for n in range(16)]
    if plays(plan.last - 1) and not plan.is_loop and plan.key.tonic in pitches:
        out.append(Note(plan.last, 2 * QUARTER, pitches[plan.key.tonic], 100))
    return out
