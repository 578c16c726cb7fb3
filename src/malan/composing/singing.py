"""Pitches for a phrase: of many ways to sing its rhythm, the one that costs least (a beam search over whole phrases).

What costs: to be far from where the line is wanted or from the theme it takes up again, leaps, a leap that does not
turn back, foreign tones that do not resolve, fifths and octaves in parallel with the bass, a phrase that ends
elsewhere than it should. Start reading at `sung`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

from malan.composing.theory import Chord, Key

_WIDTH = 10  # ways that are followed at once
_REACH, _NEAR = 4, 4  # steps of the ladder around where it is wanted, and around where it is
_NEVER = 100.0
_PERFECT = (0, 7)


@dataclass(frozen=True, slots=True)
class Slot:
    """A note to be sung.

    Args:
        wanted: Place in the ladder of the key.
        chord: What sounds with it.
        is_strong: It stands on a strong beat, or is long.
        kept: The pitch it had when the theme was heard first; 0 where it is new.
        goal: The pitch class it should rest on.
        ground: The bass under it.
    """

    wanted: int
    chord: Chord
    is_strong: bool
    kept: int = 0
    goal: int | None = None
    ground: int | None = None


@dataclass(frozen=True, slots=True)
class Voice:
    """Who sings: in which key and range."""

    key: Key
    low: int
    high: int


class Came(NamedTuple):
    """Where a line is: its last pitch (0 before the first), the leap to it, how often it stood, the bass, its debt."""

    pitch: int = 0
    leapt: int = 0
    repeats: int = 0
    ground: int | None = None
    owes: bool = False  # a foreign tone on a strong beat, which wants to go on by step


class _Way(NamedTuple):
    cost: float
    pitches: tuple[int, ...]
    came: Came


def sung(slots: Sequence[Slot], voice: Voice, came: Came) -> tuple[list[int], Came]:
    """The pitches of a phrase, and where the line is then. The same slots give the same pitches."""
    ways = [_Way(0.0, (), came)]
    for slot in slots:
        onwards = [_onward(way, slot, voice, pitch) for way in ways for pitch in _choices(way.came, slot, voice)]
        best: dict[tuple[int, int], _Way] = {}
        for one in sorted(onwards):
            best.setdefault((one.came.pitch, one.came.leapt), one)
        ways = list(best.values())[:_WIDTH]
    return list(ways[0].pitches), ways[0].came


def _choices(came: Came, slot: Slot, voice: Voice) -> list[int]:
    """What can be sung at all: near to where it is wanted and to where the line is, in range, altered by the chord."""
    ladder = voice.key.ladder
    near = voice.key.nearest(came.pitch) if came.pitch else slot.wanted
    places = {*range(slot.wanted - _REACH, slot.wanted + _REACH + 1), *range(near - _NEAR, near + _NEAR + 1)}
    pitches = {_altered(ladder[place], slot.chord, voice.key) for place in places if 0 <= place < len(ladder)}
    if slot.kept:
        pitches.add(_altered(ladder[voice.key.nearest(slot.kept)], slot.chord, voice.key))
    held = sorted(pitch for pitch in pitches if voice.low <= pitch <= voice.high)
    return held or [min(max(ladder[slot.wanted], voice.low), voice.high)]


def _altered(pitch: int, chord: Chord, key: Key) -> int:
    """Where the chord raises a tone of the scale, the melody does too."""
    raised = (pitch + 1) % 12 in chord.tones and (pitch + 1) % 12 not in key.scale and pitch % 12 not in chord.tones
    return pitch + 1 if raised else pitch


def _onward(way: _Way, slot: Slot, voice: Voice, pitch: int) -> _Way:
    came = way.came
    cost = _distance(slot, voice, pitch) + _colour(came, slot, voice, pitch) + _aim(slot, pitch)
    if came.pitch:
        cost += _motion(came, voice, pitch) + _parallel(came, slot, voice, pitch)
    leap = pitch - came.pitch if came.pitch else 0
    owes = slot.is_strong and pitch % 12 not in slot.chord.tones
    new = Came(pitch, leap, came.repeats + 1 if pitch == came.pitch else 0, slot.ground, owes)
    return _Way(way.cost + cost, (*way.pitches, pitch), new)


def _distance(slot: Slot, voice: Voice, pitch: int) -> float:
    if slot.kept:
        return 0.9 * abs(pitch - slot.kept)
    return float(abs(voice.key.nearest(pitch) - slot.wanted))


def _colour(came: Came, slot: Slot, voice: Voice, pitch: int) -> float:
    """A foreign tone is a guest: on a strong beat it comes by step and leaves by step, elsewhere it passes."""
    is_step = bool(came.pitch) and 0 < abs(pitch - came.pitch) <= (3 if voice.key.is_five_tone else 2)
    unpaid = 3.0 if came.owes and not is_step else 0.0
    if pitch % 12 in slot.chord.tones:
        return unpaid
    clash = 1.0 if (pitch - 1) % 12 in slot.chord.tones else 0.0
    if slot.is_strong:
        return unpaid + clash + (1.0 if is_step and not came.owes else 2.8)
    return unpaid + clash + (0.0 if is_step else 0.8)


def _aim(slot: Slot, pitch: int) -> float:
    return 0.0 if slot.goal is None or pitch % 12 == slot.goal else 6.0


def _motion(came: Came, voice: Voice, pitch: int) -> float:
    """Steps are free, leaps cost, a leap turns back; the same tone again and again tires."""
    leap, far = pitch - came.pitch, voice.key.is_five_tone
    if abs(leap) > 12 or (abs(leap) in (6, 10, 11) and not far):
        return _NEVER + abs(leap)
    back = 1.8 if abs(came.leapt) > 5 and leap * came.leapt > 0 else 0.0
    wide = max(0, abs(leap) - (5 if far else 4)) * 0.45
    return wide + back + (0.9 + 1.2 * came.repeats if leap == 0 else 0.0)


def _parallel(came: Came, slot: Slot, voice: Voice, pitch: int) -> float:
    """Fifths and octaves that move together with the bass make two voices one; in Chinese music, where they may
    mean just that, they only cost."""
    if came.ground is None or slot.ground is None or pitch == came.pitch or slot.ground == came.ground:
        return 0.0
    before, after = (came.pitch - came.ground) % 12, (pitch - slot.ground) % 12
    if before != after or after not in _PERFECT:
        return 0.0
    return 1.5 if voice.key.is_five_tone else _NEVER


def kept_in(slots: Sequence[Slot], pitches: Sequence[int]) -> list[Slot]:
    """Slots that take up a theme: each keeps the pitch it had."""
    return [replace(slot, kept=pitch) for slot, pitch in zip(slots, pitches, strict=True)]
