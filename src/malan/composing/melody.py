"""Melodies: a motif of two bars, asked and answered, led through sequences to one climax, and home.

    motif ─ question (open) · answer (closed) ─ contrast ─ the motif again, higher and fuller ─ last note

What was heard comes back: an answer begins as its question did, a section that returns brings its tune. Rhythms are
sixteenths a bar; which pitches are sung is found by `singing.py`. Start reading at `sing`.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass, field
from random import Random

from malan.composing.forms import Section
from malan.composing.plan import Plan
from malan.composing.score import SIXTEENTH, Harmony, Note
from malan.composing.singing import Came, Slot, Voice, kept_in, sung

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
    "free": ((8,), (6, 2), (-2, 6), (5, 3)),
    "flowing": ((2, 2, 2, 2), (3, 1, 2, 2), (2, 2, 4), (1, 1, 2, 2, 2)),
    "quick": ((2, 2, 2, 2), (1, 1, 2, 1, 1, 2), (2, 1, 1, 2, 2), (2, 2, 1, 1, 2)),
    "waltz": ((8, 4), (4, 4, 4), (6, 2, 4), (4, 2, 2, 4), (8, 2, 2), (12,)),
}
_CLOSES = {16: ((8, 8), (4, 12), (6, 2, 8)), 12: ((8, 4), (12,)), 8: ((4, 4), (2, 6), (3, 1, 4))}
_PICKUPS = {  # a close, a breath, and what leads into the next phrase
    16: ((8, -4, 2, 2), (4, 6, -2, 2, 2), (6, 2, 4, -2, 2)),
    12: ((8, -2, 2), (6, -2, 2, 2)),
    8: ((4, -2, 1, 1), (4, -2, 2)),
}  # fmt: skip
_HOOKS = ("syncopated", "lively", "heroic")  # what is sung there comes again as it was
_LEADS_IN = ("lyrical", "lively", "syncopated", "dotted", "jazz", "waltz", "huagu")
_STEPS = ((-1, 1, 1, 2, -1, -2), (1, -1, -1, -1, 2), (1, 1, -2, 1, -1))
_LIFT = {"intro": 0, "A": 0, "A2": 1, "B": 2, "B2": 3, "bridge": -1, "C": 3, "C2": 4, "outro": -1}


@dataclass(frozen=True)
class Motif:
    """Rhythms of two bars, and where their notes lie, in steps from its first one."""

    bars: tuple[Bar, Bar]
    steps: tuple[tuple[int, ...], tuple[int, ...]]

    def moved(self, pool: Sequence[Bar], lots: Random) -> Motif:
        """The same contours in other rhythms."""
        one = lots.choice(pool)
        return Motif((one, lots.choice([rhythm for rhythm in pool if rhythm != one] or pool)), self.steps)

    def turned(self) -> Motif:
        """Upside down, its bars exchanged: a contrast that is still related."""
        one, two = self.steps
        return Motif((self.bars[1], self.bars[0]), (tuple(-step for step in two), tuple(-step for step in one)))


@dataclass
class Tune:
    """A melody while it is written: who sings, where the line is, the bass, and what was heard before."""

    plan: Plan
    voice: Voice
    ground: tuple[list[int], list[int]]  # ticks at which the bass changes, and to what
    motif: Motif
    lots: Random
    came: Came = field(default_factory=Came)
    rhythms: dict[tuple[str, int, int], tuple[Bar, tuple[int, ...]]] = field(default_factory=dict)
    heard: dict[tuple[str, int, int], tuple[Bar, list[int]]] = field(default_factory=dict)
    moved: dict[str, Motif] = field(default_factory=dict)

    def motif_of(self, section: Section) -> Motif:
        """The motif as a section moves: other rhythms, the same way up and down (板式变化)."""
        if section.rhythms not in self.moved:
            self.moved[section.rhythms] = self.motif.moved(_pool(self.plan, section.rhythms), self.lots)
        return self.moved[section.rhythms] if section.rhythms else self.motif

    def bass_at(self, tick: int) -> int | None:
        """What the bass has at a tick."""
        place = bisect_right(self.ground[0], tick)
        return self.ground[1][place - 1] if place else None


def sing(
    plan: Plan, harmony: Sequence[Harmony], low: int, high: int, ground: Sequence[Note] = (), *, closes: bool = True
) -> list[Note]:  # fmt: skip
    """The melody of a whole piece, from the first bar to the last note, without dynamics.

    Args:
        plan: What the piece keeps to.
        harmony: A chord a bar.
        low: The lowest pitch.
        high: The highest.
        ground: The bass; where there is none, the lowest tone of each chord.
        closes: With a last note.
    """
    lots = plan.lots("melody")
    tune = Tune(plan, Voice(plan.key, low, high), _ground(harmony, ground), _motif(plan, lots), lots)
    middle = plan.key.nearest(round(low + 0.42 * (high - low)))
    notes: list[Note] = []
    for section in plan.sections:
        if section.theme == "intro" and plan.style.name not in ("piano", "jiangnan", "huaguxi"):
            notes += _call(tune, section, harmony, middle)
            continue
        for phrase in range(0, section.bars, 4):
            notes += _phrase(tune, section, range(phrase, min(phrase + 4, section.bars)), harmony, middle)
    if closes and not plan.is_loop:
        notes.append(_last(tune, harmony[-1]))
    return notes


def _ground(harmony: Sequence[Harmony], bass: Sequence[Note]) -> tuple[list[int], list[int]]:
    """When the bass changes, and to which pitch class; where nobody plays it, the lowest tone of the chord."""
    played = {note.start // bar.length for note in bass for bar in harmony[:1]}
    held = {bar.start: bar.chord.bass for n, bar in enumerate(harmony) if n not in played}
    held |= {note.start: note.pitch % 12 for note in sorted(bass)}
    return sorted(held), [held[tick] for tick in sorted(held)]


def _motif(plan: Plan, lots: Random) -> Motif:
    pool = _pool(plan, plan.style.rhythms)
    one = lots.choice([rhythm for rhythm in pool if len(rhythm) > 1] or pool)
    two = lots.choice([rhythm for rhythm in pool if rhythm != one] or pool)
    return Motif((one, two), (_contour(len(one), lots), _contour(len(two), lots)))


def _pool(plan: Plan, name: str) -> list[Bar]:
    """Rhythms of a name that fill a bar."""
    return [one for one in RHYTHMS[name or plan.style.rhythms] if sum(map(abs, one)) * SIXTEENTH == plan.bar]


def _contour(count: int, lots: Random) -> tuple[int, ...]:
    """Steps from the first note: a shape of seconds, with one leap at most."""
    shape, at, out = lots.choice(_STEPS), 0, [0]
    leap = lots.randrange(1, max(count, 2))
    for number in range(1, count):
        at += shape[(number - 1) % len(shape)] * (2 if number == leap and abs(at) < 3 else 1)
        at = min(max(at, -4), 5)
        out.append(at)
    return tuple(out)


def _phrase(
    tune: Tune, section: Section, bars: range, harmony: Sequence[Harmony], middle: int
) -> list[Note]:  # fmt: skip
    """Four bars, found as one; bars that were heard before come back, as far as the chords let them."""
    rows, slots, kept = [], list[Slot](), list[tuple[tuple[str, int, int], Bar, int]]()
    for number in bars:
        rhythm, steps, target = _drawn(tune, section, number)
        bar = harmony[section.bar + number]
        following = harmony[min(section.bar + number + 1, len(harmony) - 1)]
        is_close = number % 4 == 3 or _is_end(tune, section, number)
        goal = _goal(tune, section, number, bar, following) if is_close else None
        mine = _slots(tune, rhythm, steps, (bar, following), middle + target, goal)
        key, source = _places(tune, section, number)
        held = tune.heard.get(key) or tune.heard.get(source)
        if held and held[0] == rhythm and not _is_end(tune, section, number):
            mine = kept_in(mine, held[1])
        rows.append((bar, rhythm, is_close))
        kept.append((key, rhythm, len(mine)))
        slots += mine
    pitches, tune.came = sung(slots, tune.voice, tune.came)
    notes, at = list[Note](), 0
    for (bar, rhythm, is_close), (key, _, count) in zip(rows, kept, strict=True):
        tune.heard.setdefault(key, (rhythm, pitches[at : at + count]))
        notes += _laid(rhythm, pitches[at : at + count], bar.start, is_close=is_close)
        at += count
    return notes


def _places(tune: Tune, section: Section, number: int) -> tuple[tuple[str, int, int], tuple[str, int, int]]:
    """Where a bar belongs in the tune, and which one it takes up: an answer begins as its question."""
    letter = f"{section.tune}{section.rhythms}"
    phrase, place = _phrase_of(tune, number), number % 4
    taken = {1: 0, 3: 1}.get(phrase, phrase)
    return (letter, phrase, place), (letter, taken if place < 3 else phrase, place)


def _phrase_of(tune: Tune, number: int) -> int:
    """Question and answer; in two-four the four phrases of Chinese tunes: 起承转合."""
    return number // 4 % (4 if tune.plan.style.beats == 2 else 2)


def _drawn(tune: Tune, section: Section, number: int) -> tuple[Bar, tuple[int, ...], int]:
    """Rhythm, contour and height of a bar: the motif, its sequence, a development, a close."""
    phrase, place = number // 4, number % 4
    turns = _phrase_of(tune, number) == 2  # 转
    own = tune.motif_of(section)
    motif = own if (section.tune in "AC") != turns else own.turned()
    lift = _LIFT[section.theme] + (1 if (phrase % 2 and section.theme[0] in "BC") or turns else 0)
    arch = (0, 1, 2, -1)[place] if section.theme[0] == "C" else (0, 1, 1, -1)[place]
    if place == 3 or _is_end(tune, section, number):
        key, _ = _places(tune, section, number)
        if key not in tune.rhythms or _is_end(tune, section, number):
            tune.rhythms[key] = (_close(tune, section, number), (0, -1, -2))
        return *tune.rhythms[key], lift - 1
    if place == 2 and phrase % 2 and tune.plan.style.rhythms not in _HOOKS:  # development: its head, going on
        return motif.bars[0], tuple(n - 1 if n % 2 else n for n in motif.steps[0]), lift + arch
    rhythm, steps = motif.bars[place % 2], motif.steps[place % 2]
    if section.energy > 0.85 and place == 1:
        rhythm, steps = _fuller(rhythm, steps)
    return rhythm, steps, lift + arch


def _is_end(tune: Tune, section: Section, number: int) -> bool:
    """Whether the last chord follows."""
    return section.bar + number == tune.plan.bars - 1


def _close(tune: Tune, section: Section, number: int) -> Bar:
    """How a phrase ends; within a section it may already lead into the next one."""
    size = tune.plan.bar // SIXTEENTH
    goes_on = number < section.bars - 1 and tune.plan.style.rhythms in _LEADS_IN
    if goes_on and tune.lots.random() < 0.45:
        return tune.lots.choice(_PICKUPS[size])
    return tune.lots.choice(_CLOSES[size])


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


def _goal(tune: Tune, section: Section, number: int, bar: Harmony, following: Harmony) -> int | None:
    """The pitch class a phrase rests on: the fifth or second step where it asks, the tonic where it answers; where
    the chords have none of these, a tone of the chord that is no seventh."""
    scale, tones = tune.plan.key.scale, (*bar.chord.tones, *following.chord.tones)
    if _is_end(tune, section, number) and not tune.plan.is_loop:
        return scale[1] if scale[1] in tones else None  # one step above the last note
    is_answer = number // 4 % 2 == 1 or section.bars <= 4
    open_ends = (_prop(scale), scale[1]) if tune.plan.key.is_five_tone else (scale[4], scale[1], scale[2])
    wanted = (scale[0], _prop(scale), scale[2]) if is_answer else open_ends
    return next((tone for tone in wanted if tone in bar.chord.tones), None)


def _prop(scale: Sequence[int]) -> int:
    """What bears a mode beside its tonic: the fifth above it; of 角, which has none, the fourth."""
    fifth = (scale[0] + 7) % 12
    return fifth if fifth in scale else (scale[0] + 5) % 12


def _slots(
    tune: Tune, rhythm: Bar, steps: Sequence[int], chords: tuple[Harmony, Harmony], target: int, goal: int | None
) -> list[Slot]:  # fmt: skip
    out, at, rests = [], 0, _resting(rhythm)
    bar, following = chords
    count = tune.plan.bar // SIXTEENTH
    for number, length in enumerate(rhythm):
        if length > 0:
            is_late = at >= 0.75 * count and length <= 2
            out.append(Slot(
                target + steps[number % len(steps)] if number <= rests else target + 1,
                following.chord if is_late else bar.chord, at % 8 == 0 or length >= 6,
                goal=goal if number == rests else None, ground=tune.bass_at(bar.start + at * SIXTEENTH),
            ))  # fmt: skip
        at += abs(length)
    return out


def _resting(rhythm: Bar) -> int:
    """Which note of a close the phrase rests on: the last one, or the last before the breath that leads on."""
    breath = next((n for n, length in enumerate(rhythm) if n and length < 0), len(rhythm))
    return breath - 1


def _laid(rhythm: Bar, pitches: Sequence[int], start: int, *, is_close: bool) -> list[Note]:
    """The notes of a bar; a close ends with a breath."""
    out, at, left = [], start, list(pitches)
    for number, length in enumerate(rhythm):
        ticks = abs(length) * SIXTEENTH
        if length > 0:
            breathes = is_close and number == len(rhythm) - 1
            sounding = min(ticks, max(ticks - 4 * SIXTEENTH, 4 * SIXTEENTH)) if breathes else ticks
            out.append(Note(at, sounding, left.pop(0), 80))
        at += ticks
    return out


def _call(tune: Tune, section: Section, harmony: Sequence[Harmony], middle: int) -> list[Note]:
    """An introduction: the head of the motif once, near the end, as from afar."""
    if section.bars < 2:
        return []
    place, rhythm = section.bar + section.bars - 1, tune.motif.bars[0]
    bar, following = harmony[place], harmony[min(place + 1, len(harmony) - 1)]
    pitches, tune.came = sung(
        _slots(tune, rhythm, tune.motif.steps[0], (bar, following), middle, None), tune.voice, tune.came
    )
    return _laid(rhythm, pitches, bar.start, is_close=False)


def _last(tune: Tune, final: Harmony) -> Note:
    """The last note: the tonic where it is near, else a tone of the chord; it rings."""
    key = tune.plan.key
    slot = Slot(
        key.nearest(tune.came.pitch), final.chord, is_strong=True, goal=key.tonic, ground=tune.bass_at(final.start)
    )
    [pitch], tune.came = sung([slot], tune.voice, tune.came)
    return Note(tune.plan.last, tune.plan.bar, pitch, 84)
