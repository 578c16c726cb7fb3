"""A listener who has only the bytes of a MIDI file: tempo from events and from when notes begin, key from what sounds.

Shares no code with Malan: what it hears is evidence.
"""

from __future__ import annotations

import cmath
import struct
from collections import Counter
from dataclasses import dataclass, field

STEPS = {
    "major": {0, 2, 4, 5, 7, 9, 11}, "minor": {0, 2, 3, 5, 7, 8, 10, 11}, "gong": {0, 2, 4, 7, 9},
    "shang": {0, 2, 5, 7, 10}, "jue": {0, 3, 5, 8, 10}, "zhi": {0, 2, 5, 7, 9}, "yu": {0, 3, 5, 7, 10},
}  # fmt: skip
_DATA = {0x80: 2, 0x90: 2, 0xA0: 2, 0xB0: 2, 0xC0: 1, 0xD0: 1, 0xE0: 2}
_DRUMS = 9


@dataclass
class Heard:
    """Notes as (start tick, end tick, pitch, channel), tempi as (tick, microseconds a quarter)."""

    division: int
    notes: list[tuple[int, int, int, int]] = field(default_factory=list)
    tempos: list[tuple[int, int]] = field(default_factory=list)

    def seconds(self, tick: int) -> float:
        out, before, tempo = 0.0, 0, 500_000
        for place, following in sorted(self.tempos):
            if place >= tick:
                break
            out, before, tempo = out + (place - before) * tempo / self.division / 1e6, place, following
        return out + (tick - before) * tempo / self.division / 1e6


def listen(data: bytes) -> Heard:
    """What a file says; a damaged one raises whatever it raises."""
    count, division = struct.unpack(">HH", data[10:14])
    heard, place = Heard(division), 14
    for _ in range(count):
        length = struct.unpack(">I", data[place + 4 : place + 8])[0]
        _track(data[place + 8 : place + 8 + length], heard)
        place += 8 + length
    return heard


def _track(data: bytes, heard: Heard) -> None:
    place, tick, status, held = 0, 0, 0, {}
    while place < len(data):
        wait, place = _number(data, place)
        tick += wait
        if data[place] == 0xFF:
            kind = data[place + 1]
            length, start = _number(data, place + 2)
            if kind == 0x51:
                heard.tempos.append((tick, int.from_bytes(data[start : start + 3], "big")))
            place = start + length
            continue
        if data[place] & 0x80:
            status, place = data[place], place + 1
        size = _DATA[status & 0xF0]
        one = data[place : place + size]
        place += size
        name = (status & 15, one[0])
        if status & 0xF0 == 0x90 and one[1]:
            held.setdefault(name, []).append(tick)
        elif status & 0xF0 in (0x80, 0x90) and held.get(name):
            heard.notes.append((held[name].pop(0), tick, one[0], status & 15))


def _number(data: bytes, place: int) -> tuple[int, int]:
    value = 0
    while True:
        value, place = value << 7 | data[place] & 0x7F, place + 1
        if not data[place - 1] & 0x80:
            return value, place


def tempo_of_onsets(heard: Heard, near: float) -> float:
    """The tempo within 6 % whose beats, halves and quarters of them the notes meet best."""
    onsets = sorted(heard.seconds(start) for start, *_ in heard.notes)
    last = onsets[-1] - 2.0
    onsets = [at for at in onsets if at <= last] or onsets
    return max((near * (1 + n / 400) for n in range(-24, 25)), key=lambda bpm: _coherence(onsets, bpm))


def _coherence(onsets: list[float], bpm: float) -> float:
    return sum(abs(sum(cmath.exp(2j * cmath.pi * at * bpm / 60 * part) for at in onsets)) for part in (1, 2, 4))


def is_in_key(heard: Heard, tonic: int, mode: str) -> bool:
    """At least 97 % of what sounds is in the scale (a minor one may raise its seventh), and the last chord is the
    tonic's, with the tonic lowest."""
    notes = [note for note in heard.notes if note[3] != _DRUMS]
    sounds: Counter[int] = Counter()
    for start, end, pitch, _ in notes:
        sounds[(pitch - tonic) % 12] += end - start
    share = sum(sounds[step] for step in STEPS[mode]) / sum(sounds.values())
    last = max(start for start, *_ in notes)
    final = [note for note in notes if note[0] >= last - heard.division // 5]
    third = {3, 4} & {(pitch - tonic) % 12 for _, _, pitch, _ in final}
    wrong = {"major": 3, "minor": 4}.get(mode)
    return share >= 0.97 and min(pitch for _, _, pitch, _ in final) % 12 == tonic and wrong not in third
