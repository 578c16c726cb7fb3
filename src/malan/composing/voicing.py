"""Four voices that sing a row of chords: of all ways to do it without a fault, the smoothest.

Each chord has its candidates; the path through them with the least movement wins (dynamic programming). What is
forbidden is never a matter of cost. `checker.py` judges the result and shares nothing with this file. Start at `lead`.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from itertools import product

from malan.composing.theory import Chord

RANGES = ((40, 60), (48, 67), (55, 74), (60, 79))  # bass, tenor, alto, soprano
_MIDDLES = (48, 57, 64, 71)
_MOST_CANDIDATES = 40
_OCTAVE = 12

Voicing = tuple[int, int, int, int]


def lead(chords: Sequence[Chord], last_at: int | None = None) -> list[Voicing]:
    """A voicing for each chord. Where the same chord stands twice in a row it is held.

    Args:
        chords: At least one.
        last_at: Pitch class of the soprano in the last chord, where a melody wants one.

    Raises:
        ValueError: There is no way without a fault (none is known for the progressions of this package).
    """
    options = [candidates(chord) for chord in chords]
    if last_at is not None:
        options[-1] = [one for one in options[-1] if one[3] % _OCTAVE == last_at] or options[-1]
    best: list[tuple[float, int]] = [(_ease(one), -1) for one in options[0]]
    history = [best]
    for place in range(1, len(chords)):
        best = [_reached(options, chords, place, best, one) for one in options[place]]
        history.append(best)
    number = min(range(len(best)), key=lambda n: best[n][0])
    if best[number][0] == float("inf"):
        raise ValueError(" ".join(chord.symbol for chord in chords))
    path = []
    for place in range(len(chords) - 1, -1, -1):
        path.append(options[place][number])
        number = history[place][number][1]
    return path[::-1]


def _reached(
    options: Sequence[Sequence[Voicing]], chords: Sequence[Chord], place: int,
    before: Sequence[tuple[float, int]], one: Voicing,
) -> tuple[float, int]:  # fmt: skip
    """The cheapest way to a voicing: its cost, and from which it comes."""
    found = (float("inf"), -1)
    for number, (cost, _) in enumerate(before):
        if cost < found[0]:
            more = step_cost(options[place - 1][number], one, chords[place - 1], chords[place])
            if cost + more < found[0]:
                found = (cost + more, number)
    return found[0] + 0.3 * _ease(one), found[1]


@lru_cache(maxsize=2048)
def candidates(chord: Chord) -> list[Voicing]:
    """The most comfortable voicings: in range, in order, complete, with nothing doubled that wants to move."""
    basses = [pitch for pitch in range(RANGES[0][0], RANGES[0][1] + 1) if pitch % _OCTAVE == chord.bass]
    upper = [[pitch for pitch in range(low, high + 1) if pitch % _OCTAVE in chord.tones] for low, high in RANGES[1:]]
    found = [
        (bass, tenor, alto, soprano)
        for bass, tenor, alto, soprano in product(basses, *upper)
        if bass < tenor < alto < soprano and soprano - alto <= _OCTAVE and alto - tenor <= _OCTAVE
        and tenor - bass <= 19 and _is_complete((bass, tenor, alto, soprano), chord)
    ]  # fmt: skip
    return sorted(found, key=lambda one: (_ease(one), one))[:_MOST_CANDIDATES]


def _is_complete(voicing: Voicing, chord: Chord) -> bool:
    sung = [pitch % _OCTAVE for pitch in voicing]
    needed = {chord.tones[0], chord.tones[1]} | set(chord.tones[3:])
    if not chord.is_open and chord.seventh is None:
        needed |= {chord.tones[2]} if len(chord.tones) > 2 else set()
    tender = {tone for tone in (chord.seventh, chord.leading) if tone is not None} | set(chord.tones[3:])
    return needed <= set(sung) and all(sung.count(tone) < 2 for tone in tender)


def _ease(voicing: Voicing) -> float:
    """How far a voicing is from the middle of the voices, and how uneven."""
    away = sum(abs(pitch - middle) for pitch, middle in zip(voicing, _MIDDLES, strict=True))
    return 0.25 * away + 0.2 * abs((voicing[3] - voicing[2]) - (voicing[2] - voicing[1]))


@lru_cache(maxsize=200_000)
def step_cost(one: Voicing, two: Voicing, chord: Chord, following: Chord) -> float:
    """What it costs to go on so; infinite where it is forbidden."""
    if chord == following:
        return 0.0 if one == two else 6.0 + _moved(one, two) if not _has_parallels(one, two) else float("inf")
    if _has_parallels(one, two) or _hides_perfect(one, two) or not _resolves(one, two, chord, following):
        return float("inf")
    crossing = sum(two[n] > one[n + 1] or two[n + 1] < one[n] for n in range(3))
    return _moved(one, two) + 4.0 * crossing


def _moved(one: Voicing, two: Voicing) -> float:
    steps = [abs(after - before) for before, after in zip(one, two, strict=True)]
    return 0.4 * steps[0] + sum(steps[1:]) + 1.5 * sum(max(0, step - 4) for step in steps[1:]) + 0.5 * (steps[3] == 0)


def _has_parallels(one: Voicing, two: Voicing) -> bool:
    for low in range(3):
        for high in range(low + 1, 4):
            before, after = (one[high] - one[low]) % _OCTAVE, (two[high] - two[low]) % _OCTAVE
            moves = two[low] != one[low] and two[high] != one[high]
            if moves and before == after and after in (0, 7):
                return True
    return False


def _hides_perfect(one: Voicing, two: Voicing) -> bool:
    """Outer voices in the same direction into a fifth or octave, the upper one by a leap."""
    low, high = two[0] - one[0], two[3] - one[3]
    return low * high > 0 and abs(high) > 2 and (two[3] - two[0]) % _OCTAVE in (0, 7)


def _resolves(one: Voicing, two: Voicing, chord: Chord, following: Chord) -> bool:
    for place, pitch in enumerate(one):
        tone = pitch % _OCTAVE
        if tone == chord.seventh and not _is_led_down(pitch, two[place], following):
            return False
        leads = tone == chord.leading and place == 3 and (tone + 1) % _OCTAVE in following.tones
        if leads and two[place] - pitch not in (0, 1):
            return False
    return True


def _is_led_down(pitch: int, after: int, following: Chord) -> bool:
    ways = [step for step in (0, -1, -2) if (pitch + step) % _OCTAVE in following.tones]
    return not ways or after - pitch in ways
