"""From a plan to a score: everybody in the band is given notes, dynamics, and the small unevenness of people.

    plan ─ harmonise ─▶ chords, four voices ─┬─ melody ─ doublings, ornaments, answer
                                             └─ chorale, figures, bass, drums ─▶ perform ─▶ Score

Start reading at `compose`.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import replace
from itertools import pairwise
from random import Random

from malan.composing.chinese import in_range, luogu_line, ornament, slides
from malan.composing.figures import FIGURES, answer_line, bass_line, close, low_root, second_voice, tones_in
from malan.composing.harmony import harmonise
from malan.composing.melody import sing
from malan.composing.plan import Plan, tick_at
from malan.composing.rhythm import drum_line, timpani_line
from malan.composing.score import QUARTER, Harmony, Note, Part, Score, Span
from malan.composing.styles import Chair
from malan.composing.words import INSTRUMENTS
from malan.media.instruments import INSTRUMENTS as INSTRUMENTS_OF_OURS

_RANGES = {
    "piano": (55, 91), "violin": (57, 91), "cello": (45, 72), "guitar": (45, 76), "flute": (65, 93), "dizi": (67, 93),
    "xiao": (60, 84), "erhu": (60, 86), "guzheng": (50, 86), "pipa": (52, 84), "yangqin": (52, 86), "suona": (62, 86),
    "zhongruan": (45, 72), "sanxian": (45, 70), "yueqin": (55, 79), "jinghu": (67, 91), "datong": (57, 84),
    "sheng": (55, 84),
    "clarinet": (55, 84), "oboe": (60, 84), "horn": (50, 74), "trumpet": (57, 81), "saxophone": (54, 79),
    "harp": (48, 91), "vibraphone": (60, 88), "marimba": (53, 84), "accordion": (55, 84), "organ": (52, 84),
    "choir": (55, 79),
}  # fmt: skip
_LONGEST_RING = 16 * QUARTER
_SHORT = ("ostinato", "pulse8", "offbeat", "arp16")  # what strikes, strikes at the end too
_PROUD = ("rock", "news", "cinematic", "luogu", "huaguxi", "electronic")  # end with a bang; others end
_BOWS = ("erhu", "datong", "jinghu")
_STEADY = ("drums", "luogu", "bass", "timpani")


def compose(plan: Plan) -> Score:
    """The score of a plan; the same plan gives the same score."""
    harmony = harmonise(plan)
    band = seated(plan)
    singers = [chair for chair in band if chair.role == "melody"]
    low, high = _common(singers)
    tune = sing(plan, harmony, low, high, _ground(plan, harmony, band))
    parts = [part for chair in band if (part := _part(plan, chair, harmony, tune, band)).notes]
    if plan.hits:
        parts.append(_hits(plan, harmony))
    form = tuple(Span(s.name, s.bar * plan.bar, (s.bar + s.bars) * plan.bar, s.energy) for s in plan.sections)
    end = tick_at(plan.tempos, plan.seconds)
    return Score(
        title=" · ".join(plan.wishes.tags) or plan.style.name, style=plan.style.name, seed=plan.seed,
        seconds=plan.seconds, key=plan.key, bpm=plan.bpm, beats=plan.style.beats, tempos=plan.tempos, form=form,
        harmony=harmony, parts=tuple(_named(parts)), end=end, hits=plan.hits, is_loop=plan.is_loop,
        room_s=plan.style.room_s, tags=plan.wishes.tags, notes=plan.wishes.unknown,
    )  # fmt: skip


def seated(plan: Plan) -> list[Chair]:
    """The band as it was wished: instruments asked for come to the front, drums come or go."""
    band = list(plan.style.band)
    wishes = plan.wishes
    if wishes.drums is False:
        band = [chair for chair in band if chair.role not in ("drums", "luogu", "timpani")]
    if wishes.drums and not any(chair.role in ("drums", "luogu") for chair in band):
        pattern = "waltz" if plan.style.beats == 3 else "folk"
        band.append(Chair("drums", "percussion", 0, 0, 127, pattern, 0.1, -27, 0.15, 0.3))
    for number, name in enumerate(wishes.instruments):
        band = _brought_forward(band, name, number)
    if len({chair.name for chair in band}) > 15:
        band = band[:15]
    return band


def _brought_forward(band: list[Chair], name: str, number: int) -> list[Chair]:
    """Who plays it already is heard from the start; else the melody (then answer, then figure) is given to it."""
    program = INSTRUMENTS[name][0]
    players = [chair for chair in band if chair.role not in ("drums", "luogu")]
    mine = [
        chair for chair in players
        if chair.name == name or (chair.program == program and not {name, chair.name} & set(INSTRUMENTS_OF_OURS))
    ]  # fmt: skip
    if mine:
        return [replace(one, since=0.0, level=one.level + 1.5) if one in mine else one for one in band]
    role = ("melody", "answer", "figure")[min(number, 2)]
    role = role if any(chair.role == role for chair in band) else "melody"
    low, high = _RANGES[name]
    first = next(place for place, chair in enumerate(band) if chair.role == role)
    band[first] = replace(band[first], program=program, name=name, low=low, high=high)
    return band


def _common(singers: Sequence[Chair]) -> tuple[int, int]:
    """A range that all who sing the melody share; an octave and a sixth at least."""
    low, high = max(chair.low for chair in singers), min(chair.high for chair in singers)
    return (low, high) if high - low >= 17 else (singers[0].low, singers[0].high)


def _ground(plan: Plan, harmony: Sequence[Harmony], band: Sequence[Chair]) -> list[Note]:
    """The bass, which the melody must know."""
    bass = next((chair for chair in band if chair.role == "bass"), None)
    return bass_line(plan, harmony, bass, _plays(plan, bass)) if bass else []


def _plays(plan: Plan, chair: Chair) -> Callable[[int], float]:
    """The intensity at a tick where somebody plays there; 0 where not. Short pieces are played by all."""
    is_short = plan.bars < 8

    def energy(tick: int) -> float:
        section = plan.section_at(min(tick, plan.last - 1) // plan.bar)
        inside = not chair.only or section.theme.rstrip("2") in chair.only or section.theme in chair.only
        if is_short:
            inside = True
        return section.energy if inside and (is_short or section.energy >= chair.since) else 0.0

    return energy


def _part(
    plan: Plan, chair: Chair, harmony: Sequence[Harmony], tune: Sequence[Note], band: Sequence[Chair]
) -> Part:  # fmt: skip
    plays = _plays(plan, chair)
    lots = plan.lots(f"part/{chair.name}/{chair.role}")
    notes = _written(plan, chair, harmony, tune, band, plays)
    last = [] if plan.is_loop or chair.pattern == "riser" else _farewell(plan, chair, harmony, tune, plays, notes)
    played = _performed(plan, chair, [*[n for n in notes if n.start < plan.last], *last], lots)
    is_sliding = chair.pattern in ("slides", "erhu", "datong", "jinghu") or chair.name in _BOWS
    bends = slides(played, chair, plan.key, plan.tempos, lots) if is_sliding else ()
    return Part(
        chair.name, chair.role, chair.program, tuple(sorted(played)), chair.low, chair.high, chair.pan, chair.level,
        chair.room, bends, (*_swell(plan, chair, plays), *_dying(plan, chair)), chair.role in ("drums", "luogu"),
        _kit(chair),
    )  # fmt: skip


def _kit(chair: Chair) -> str:
    """Who plays it: our own gongs, our own instrument of that name, or nobody of ours."""
    name = chair.name.removeprefix("second ")
    return "luogu" if chair.role == "luogu" else name if name in INSTRUMENTS_OF_OURS else ""


def _written(
    plan: Plan, chair: Chair, harmony: Sequence[Harmony], tune: Sequence[Note], band: Sequence[Chair],
    plays: Callable[[int], float],
) -> list[Note]:  # fmt: skip
    """The notes of one chair before the last bar."""
    role = chair.role
    if role in ("melody", "double", "heterophony"):
        placed = (
            in_range(tune, chair.low, chair.high) if chair.pattern != "below" else second_voice(harmony, tune, chair)
        )
        mine = [note for note in placed if note.start < plan.last and _leads(plan, chair, band, note.start, plays)]
        has_habits = chair.pattern not in ("", "slides", "below")
        return ornament(mine, plan.key, chair, plan.lots(f"notes/{chair.name}"), plays) if has_habits else mine
    lines: dict[str, Callable[[], list[Note]]] = {
        "chorale": lambda: _chorale(plan, harmony, plays),
        "answer": lambda: answer_line(plan, harmony, tune, chair, plays),
        "bass": lambda: bass_line(plan, harmony, chair, plays),
    }
    if role in lines:
        return lines[role]()
    if role in ("drums", "luogu", "timpani"):
        return _percussion(plan, chair, plays, lambda tick: harmony[tick // plan.bar].chord.bass)
    if chair.pattern == "riser":
        return _risers(plan, chair)
    figure = FIGURES[chair.pattern]
    places = [bar for bar in harmony[: plan.bars] if plays(bar.start)]
    if chair.pattern == "sweep":
        starts = {section.bar * plan.bar for section in plan.sections}
        places = [bar for bar in places if bar.start in starts]
    found = [
        note for bar in places for note in figure(bar, chair, plays(bar.start), plan.lots(f"{chair.name}/{bar.start}"))
    ]
    return [note for note in found if chair.low <= note.pitch <= chair.high]


def _risers(plan: Plan, chair: Chair) -> list[Note]:
    """What climbs into each drop: through the second half of the build before it."""
    pitch = next(p for p in range(chair.low, chair.high) if p % 12 == plan.key.tonic)
    builds = [section for section in plan.sections if section.name == "build"]
    halves = [(section, min((section.bars + 1) // 2, 2) * plan.bar) for section in builds]
    return [Note((one.bar + one.bars) * plan.bar - long, long, pitch, 88) for one, long in halves]


def _leads(
    plan: Plan, chair: Chair, band: Sequence[Chair], tick: int, plays: Callable[[int], float]
) -> bool:  # fmt: skip
    """Whether this chair has the melody at a tick; in a piece too short for turns, the first one has it."""
    if chair.role != "melody":
        return bool(plays(tick))
    singers = [one for one in band if one.role == "melody"]
    free = [one for one in singers if _plays(plan, one)(tick)]
    if plan.bars < 8:
        return chair == singers[0]
    return bool(free) and chair == free[0]


def _chorale(plan: Plan, harmony: Sequence[Harmony], plays: Callable[[int], float]) -> list[Note]:
    """Four voices; a tone that stays is held over the bar."""
    out: list[Note] = []
    for place in range(4):
        held: Note | None = None
        for bar in harmony[: plan.bars]:
            if not plays(bar.start) or not bar.voices:
                held = None
                continue
            pitch = bar.voices[place]
            if held and held.pitch == pitch and held.start + held.length == bar.start and held.length < 2 * plan.bar:
                out[-1] = held = held._replace(length=held.length + bar.length)
                continue
            held = Note(bar.start, bar.length, pitch, 74)
            out.append(held)
    return out


def _farewell(
    plan: Plan, chair: Chair, harmony: Sequence[Harmony], tune: Sequence[Note], plays: Callable[[int], float],
    before: Sequence[Note],
) -> list[Note]:  # fmt: skip
    """The last bar: everybody who still plays strikes the tonic and lets it ring."""
    ring = min(max(round(0.88 * (tick_at(plan.tempos, plan.seconds) - plan.last)), QUARTER // 2), _LONGEST_RING)
    final = harmony[-1]
    if not plays(plan.last - 1) or chair.role in ("drums", "luogu", "timpani"):
        return [note for note in _percussion(plan, chair, plays, lambda _: plan.key.tonic) if note.start >= plan.last]
    if chair.role in ("melody", "double", "heterophony"):
        placed = in_range(tune, chair.low, chair.high)
        is_low = chair.pattern == "sanxian"  # what is lowest comes home
        return [
            note._replace(length=ring, pitch=_tonic_near(plan, chair, note.pitch) if is_low else note.pitch)
            for note in placed if note.start >= plan.last
        ]  # fmt: skip
    if chair.role == "bass":
        return [Note(plan.last, ring, low_root(final.chord, chair), 88)]
    if chair.role == "chorale":
        return [Note(plan.last, ring, pitch, 78) for pitch in final.voices]
    if chair.role == "answer":
        came = before[-1].pitch if before else (chair.low + chair.high) // 2
        ways = [p for p in tones_in(final.chord, chair.low, chair.high) if abs(p - came) <= 9 and abs(p - came) != 6]
        return [Note(plan.last, ring, min(ways, key=lambda p: (abs(p - came), p)), 70)] if ways else []
    return _rolled_chord(plan, chair, final, min(ring, QUARTER) if chair.pattern in _SHORT else ring)


def _tonic_near(plan: Plan, chair: Chair, pitch: int) -> int:
    ways = [one for one in range(chair.low, chair.high + 1) if one % 12 == plan.key.tonic]
    return min(ways, key=lambda one: (abs(one - pitch), one))


def _percussion(plan: Plan, chair: Chair, plays: Callable[[int], float], roots: Callable[[int], int]) -> list[Note]:
    if chair.role == "drums":
        return drum_line(plan, chair.pattern, plays)
    if chair.role == "luogu":
        return luogu_line(plan, plays)
    return timpani_line(plan, roots, chair.low, chair.high, plays)


def _rolled_chord(plan: Plan, chair: Chair, final: Harmony, ring: int) -> list[Note]:
    """Root and chord, broken upwards."""
    root = next((p for p in range(chair.low, chair.high) if p % 12 == final.chord.root), chair.low)
    pitches = [root, *(p for p in close(final.chord, root + 5, chair.high, 3) if p > root)]
    return [Note(plan.last + 22 * n, ring - 22 * n, p, 82 - 3 * n) for n, p in enumerate(pitches) if p <= chair.high]


def _performed(plan: Plan, chair: Chair, notes: Sequence[Note], lots: Random) -> list[Note]:
    """Swing, dynamics of section and phrase, accents, and what is not quite even."""
    loose = 0.0 if chair.role in ("drums", "luogu", "bass") and plan.style.loose < 1 else plan.style.loose
    over = tick_at(plan.tempos, plan.seconds) - 24 if not plan.is_loop else plan.last + plan.bar
    out = []
    for note in sorted(notes):
        start = _swung(note.start, plan.style.swing)
        end = min(_swung(note.start + note.length, plan.style.swing), over)
        late = (
            0
            if note.start % plan.bar == 0 and plan.style.loose < 0.5
            else round(min(max(lots.gauss(0, 3.2 * loose), -11), 11))
        )
        start = max(0, start + late)
        velocity = _dynamic(plan, chair, note) + round(lots.gauss(0, 2.4))
        out.append(Note(start, max(min(end + late, over) - start, 20), note.pitch, min(max(velocity, 8), 124)))
    return _untangled(out) if chair.role in ("melody", "answer") else out


def _dynamic(plan: Plan, chair: Chair, note: Note) -> int:
    """As loud as the section, the place in the phrase and the beat want it."""
    section = plan.section_at(min(note.start, plan.last - 1) // plan.bar)
    phrase = (note.start - section.bar * plan.bar) / (4 * plan.bar) % 1
    arch = 6 * math.sin(math.pi * phrase) if chair.role not in _STEADY else 0
    beat = 4 if note.start % plan.bar == 0 else 0 if note.start % QUARTER == 0 else -4
    rises = 10 * max(0.0, phrase - 0.6) if section.bar + section.bars < plan.bars else 0
    felt = 0.56 + 0.57 * section.energy if plan.style.loose > 1.4 else 0.68 + 0.42 * section.energy
    if note.start >= plan.last and not plan.is_loop:  # everybody at once is loud enough
        return round(note.velocity * felt * (0.9 if plan.style.name in _PROUD else 0.74))
    return round(note.velocity * felt + arch + beat + rises)


def _swung(tick: int, swing: float) -> int:
    """Where a tick falls when pairs are uneven: eighths (0.5 to 0.7), or sixteenths where `swing` is negative."""
    span, share = (QUARTER, swing) if swing > 0 else (QUARTER // 2, -swing)
    if share == 0.5:
        return tick
    whole, rest = divmod(tick, span)
    half = span / 2
    moved = rest * share / 0.5 if rest <= half else span * share + (rest - half) * (1 - share) / 0.5
    return whole * span + round(moved)


def _untangled(notes: Sequence[Note]) -> list[Note]:
    """One note ends where the next begins."""
    held = sorted(notes)
    out = [
        one._replace(length=max(20, min(one.length, two.start - one.start)))
        for one, two in pairwise(held)
        if two.start - one.start >= 20
    ]
    return [*out, held[-1]] if held else []


def _swell(plan: Plan, chair: Chair, plays: Callable[[int], float]) -> tuple[tuple[int, int, int], ...]:
    """Bows and breath: held parts grow towards the end of each section (expression, controller 11)."""
    if chair.role not in ("chorale", "answer"):
        return ()
    out: list[tuple[int, int, int]] = []
    for section in plan.sections:
        start, ticks = section.bar * plan.bar, section.bars * plan.bar
        if plays(start):
            top = 88 + round(36 * section.energy)
            out += [(start + ticks * n // 8, 11, min(top - 26 + round(26 * n / 7), 127)) for n in range(8)]
    return tuple(out)


def _hits(plan: Plan, harmony: Sequence[Harmony]) -> Part:
    """What strikes at the cuts: a low root with the chord above it, short and clear."""
    is_chinese, calm = plan.key.is_five_tone, plan.style.name in ("piano", "ambient", "strings", "lofi")
    program, name = (107, "guzheng, hits") if is_chinese else (0, "piano, hits") if calm else (47, "timpani, hits")
    notes, over = [], tick_at(plan.tempos, plan.seconds) - 24
    for _, tick in plan.hits:
        chord = harmony[min(tick // plan.bar, len(harmony) - 1)].chord
        root = next(p for p in range(38, 50) if p % 12 == chord.bass)
        above = [] if program == 47 else [p for p in range(root + 5, root + 25) if p % 12 in chord.tones][:3]
        length = max(20, min(QUARTER * 2, over - tick))
        notes += [Note(tick, length, pitch, 112) for pitch in (root, *above)]
    return Part(
        name, "hits", program, tuple(sorted(set(notes))), 36, 80, 0.0, -22.0, 0.3, kit="guzheng" if is_chinese else ""
    )


_HELD = (*range(16, 24), *range(40, 45), *range(48, 104), 109, 110, 111)  # programs that sound as long as they are held
_DIES = 12


def _dying(plan: Plan, chair: Chair) -> list[tuple[int, int, int]]:
    """Bows and breath let the last chord die away, where strings that are plucked do so by themselves."""
    if plan.is_loop or chair.program not in _HELD or chair.role in ("drums", "luogu", "bass"):
        return []
    ring, top = tick_at(plan.tempos, plan.seconds) - plan.last, 112 if chair.role in ("chorale", "answer") else 127
    return [
        (plan.last + round(ring * (0.1 + 0.75 * n / _DIES)), 11, round(top * (1 - 0.62 * n / _DIES)))
        for n in range(_DIES + 1)
    ]


def _named(parts: Sequence[Part]) -> list[Part]:
    """Each name once."""
    seen: dict[str, int] = {}
    out = []
    for part in parts:
        seen[part.name] = seen.get(part.name, 0) + 1
        out.append(part if seen[part.name] == 1 else replace(part, name=f"{part.name} {seen[part.name]}"))
    return out
