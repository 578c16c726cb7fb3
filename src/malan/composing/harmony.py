"""Which chord stands in which bar: the progressions of the style, cadences where sections end, and the chorale.

Start reading at `harmonise`.
"""

from __future__ import annotations

import re
from contextlib import suppress

from malan.composing.forms import Section
from malan.composing.plan import Plan
from malan.composing.score import Harmony
from malan.composing.theory import Chord, chord_of
from malan.composing.voicing import Voicing, lead

_MODAL = {
    "dorian.A": ("i IV i VII", "i VII IV i"), "dorian.B": ("III VII IV i",), "dorian.C": ("i IV VII IV",),
    "mixolydian.A": ("I VII IV I",), "mixolydian.B": ("IV I VII IV",), "mixolydian.C": ("I VII IV IV",),
    "lydian.A": ("I II I vi",), "lydian.B": ("vi II I II",), "lydian.C": ("I II vi II",),
}  # fmt: skip
_DOMINANTS = {"major": "V7", "minor": "V7", "dorian": "VII", "mixolydian": "VII", "lydian": "V"}
_PLAIN_DOMINANT = {"pop": "V", "corporate": "Vsus4", "ambient": "Vsus4", "folk": "V", "rock": "V", "news": "V"}
_MODAL_MINOR = ("cinematic", "electronic", "rock", "pop", "news", "ambient", "lofi")
_LAST = {"jazz": ("I6", "iadd9"), "lofi": ("Imaj7", "i7"), "ambient": ("Iadd9", "iadd9")}
_PERIODS = ("strings", "waltz", "piano")
_HALF = {"major": "ii", "minor": "iv"}
_FULL = {"major": ("IV", "V7"), "minor": ("iv", "V7")}


def harmonise(plan: Plan) -> tuple[Harmony, ...]:
    """A chord a bar up to the last one, with the four voices that sing it; no fault between any two of them."""
    symbols: list[str] = []
    for section in plan.sections:
        symbols += _section(plan, section)
    symbols[0] = tonic(plan) if plan.style.name not in _LAST else symbols[0]
    if len(symbols) > 1:
        symbols[-2:] = _cadence(plan, symbols[-2:])
    if not plan.is_loop:
        symbols.append(tonic(plan, is_last=True))
    chords, voices = _led([chord_of(symbol, plan.key) for symbol in symbols], plan)
    return tuple(
        Harmony(number * plan.bar, plan.bar, chord, sung)
        for number, (chord, sung) in enumerate(zip(chords, voices, strict=True))
    )


def tonic(plan: Plan, *, is_last: bool = False) -> str:
    """The numeral of the tonic; at the very end as the style likes it."""
    if plan.key.is_five_tone:
        return "p1"
    name = plan.style.name
    if is_last and name in _LAST:
        return _LAST[name][int(plan.key.is_minor)]
    return "i" if plan.key.is_minor else "I"


def _section(plan: Plan, section: Section) -> list[str]:
    """One progression through a section; its second half may go another way."""
    letter = section.tune
    pool, lots = _pool(plan, letter), plan.lots(f"harmony/{letter}")
    first, second = lots.choice(pool).split(), lots.choice(pool).split()
    rows = [first, first if lots.random() < 0.5 else second]
    out: list[str] = []
    while len(out) < section.bars:
        out += rows[len(out) // 4 % 2]
    return _with_periods(plan, out[: section.bars]) if letter in "AC" else out[: section.bars]


def _with_periods(plan: Plan, row: list[str]) -> list[str]:
    """Where a style thinks in periods, each eight bars ask (half close) and answer (close)."""
    mode = plan.key.mode
    if plan.style.name not in _PERIODS or mode not in _HALF:
        return row
    for eight in range(0, len(row) - 7, 8):
        row[eight + 2 : eight + 4] = [_HALF[mode], "V"]
        row[eight + 5 : eight + 8] = [*_FULL[mode], tonic(plan)]
    return row


def _pool(plan: Plan, letter: str) -> tuple[str, ...]:
    mode, held = plan.key.mode, plan.style.progressions
    if plan.key.is_five_tone:
        return held[f"open.{letter}"]
    family = "minor" if plan.key.is_minor else "major"
    return held.get(f"{mode}.{letter}") or _MODAL.get(f"{mode}.{letter}") or held[f"{family}.{letter}"]


def _cadence(plan: Plan, two: list[str]) -> list[str]:
    """The last two bars lead home."""
    if plan.key.is_five_tone:
        return ["p4" if two[0] == "p5" else two[0], "p5"]
    mode, name = plan.key.mode, plan.style.name
    if mode == "minor" and name in _MODAL_MINOR:
        return ["VI", "VII"]
    if name == "jazz":
        return ["iiø7" if mode == "minor" else "ii7", "V7"]
    if mode == "minor":
        return ["iv", "V7"]
    first = "IV" if mode == "major" and two[0].startswith("V") and name in _PERIODS else two[0]
    return [first, _PLAIN_DOMINANT.get(name, _DOMINANTS[mode]) if mode == "major" else _DOMINANTS[mode]]


def _led(chords: list[Chord], plan: Plan) -> tuple[list[Chord], list[Voicing]]:
    """Chords with the voices that sing them. Where four voices find no way, the colours are left out: first sevenths,
    then whatever is added to a triad."""
    without_sevenths = [_plainer(one, plan, r"(maj|ø|o)?7") if one.seventh is not None else one for one in chords]
    triads = [_plainer(one, plan, r"(maj|ø|o)?7|add9|sus[24]|6") for one in chords]
    for some in (chords, without_sevenths, triads):
        for last in (None,) if plan.is_loop else (plan.key.tonic, None):
            with suppress(ValueError):
                return some, lead(some, last)
    raise ValueError(" ".join(one.symbol for one in triads))  # not met: a test draws thousands


def _plainer(chord: Chord, plan: Plan, colours: str) -> Chord:
    return chord if chord.is_open else chord_of(re.sub(colours, "", chord.symbol), plan.key)
