"""MIDI files read as if written by an enemy, and written plainly. Formats 0 and 1, times in parts of a quarter note.

Start reading at `read_midi`. Tempo does not count: notes are learned in quarters, not in seconds.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from notes import DRUMS, QUARTER, Note

MOST_NOTES = 100_000
_MOST_TRACKS = 256
_DRUM_CHANNEL = 9
_CHANNELS = tuple(channel for channel in range(16) if channel != _DRUM_CHANNEL)
_DATA_BYTES = {0x80: 2, 0x90: 2, 0xA0: 2, 0xB0: 2, 0xC0: 1, 0xD0: 1, 0xE0: 2}
_SYSTEM, _SYSTEM_END, _META = 0xF0, 0xF7, 0xFF
_LONGEST_NUMBER = 4


def read_midi(data: bytes) -> list[Note]:
    """The notes of a file, from all its tracks.

    Raises:
        ValueError: It is no MIDI file, is cut off, or holds more than `MOST_NOTES`.
    """
    if data[:4] != b"MThd" or len(data) < 14:
        raise ValueError("no MIDI file")
    kind, tracks, division = (int.from_bytes(data[at : at + 2], "big") for at in (8, 10, 12))
    if kind > 1 or tracks > _MOST_TRACKS or not 0 < division < 0x8000:
        raise ValueError("a kind of MIDI file that is not read")
    place, notes = 8 + int.from_bytes(data[4:8], "big"), []
    while place + 8 <= len(data):
        name, size = data[place : place + 4], int.from_bytes(data[place + 4 : place + 8], "big")
        place += 8
        if place + size > len(data):
            raise ValueError("cut off")
        if name == b"MTrk":
            notes += list(_track(data[place : place + size], division))
        if len(notes) > MOST_NOTES:
            raise ValueError("too many notes")
        place += size
    return sorted(notes)


def write_midi(notes: Iterable[Note], quarters_per_minute: int = 120) -> bytes:
    """A file of format 1: one track of tempo, one for each group of instruments."""
    groups: dict[int, list[Note]] = {}
    for note in notes:
        groups.setdefault(note.group, []).append(note)
    tempo = b"\x00\xff\x51\x03" + (60_000_000 // quarters_per_minute).to_bytes(3, "big") + b"\x00\xff\x2f\x00"
    tracks = [tempo, *(_written(group, held, place) for place, (group, held) in enumerate(sorted(groups.items())))]
    head = b"MThd" + (6).to_bytes(4, "big") + b"".join(n.to_bytes(2, "big") for n in (1, len(tracks), QUARTER))
    return head + b"".join(b"MTrk" + len(track).to_bytes(4, "big") + track for track in tracks)


def _track(data: bytes, division: int) -> Iterator[Note]:
    """Notes of one track. A note that is struck again ends; one that is never let go ends with the track."""
    place, ticks, status = 0, 0, 0
    program = dict.fromkeys(range(16), 0)
    sounding: dict[tuple[int, int], tuple[int, int]] = {}
    while place < len(data):
        wait, place = _number(data, place)
        ticks += wait
        if place < len(data) and data[place] & 0x80:
            status, place = data[place], place + 1
        if status in (_META, _SYSTEM, _SYSTEM_END):
            place += status == _META
            size, place = _number(data, place)
            place, status = place + size, 0
            continue
        order, channel = status & 0xF0, status & 0x0F
        size = _DATA_BYTES.get(order, 0)
        if not size or place + size > len(data):
            raise ValueError("cut off, or no event")
        first, last, place = data[place], data[place + size - 1], place + size
        if first > 127 or last > 127:
            raise ValueError("no event")
        if order == 0xC0:
            program[channel] = first
        elif order in (0x80, 0x90):
            if (started := sounding.pop((channel, first), None)) is not None:
                yield _note(started, ticks, first, division)
            if order == 0x90 and last:
                sounding[channel, first] = (ticks, DRUMS if channel == _DRUM_CHANNEL else program[channel] // 8)
    for (_channel, pitch), started in sounding.items():
        yield _note(started, ticks, pitch, division)


def _note(started: tuple[int, int], until: int, pitch: int, division: int) -> Note:
    start, end = (round(ticks * QUARTER / division) for ticks in (started[0], until))
    return Note(start, max(1, end - start), pitch, started[1])


def _number(data: bytes, place: int) -> tuple[int, int]:
    """A number of variable length, and where it ends."""
    value = 0
    for byte in data[place : place + _LONGEST_NUMBER]:
        value, place = value << 7 | byte & 0x7F, place + 1
        if not byte & 0x80:
            return value, place
    raise ValueError("cut off, or too large a number")


def _written(group: int, notes: list[Note], place: int) -> bytes:
    channel = _DRUM_CHANNEL if group == DRUMS else _CHANNELS[place % len(_CHANNELS)]
    events = [(note.start, 1, note.pitch) for note in notes]
    events += [(note.start + note.length, 0, note.pitch) for note in notes]
    out, time = bytearray(b"" if group == DRUMS else bytes([0, 0xC0 | channel, group * 8])), 0
    for when, is_on, pitch in sorted(events):
        out += _spelled(when - time) + bytes([(0x90 if is_on else 0x80) | channel, pitch, 80 if is_on else 0])
        time = when
    return bytes(out) + b"\x00\xff\x2f\x00"


def _spelled(value: int) -> bytes:
    parts = [value & 0x7F]
    while value := value >> 7:
        parts.append(value & 0x7F | 0x80)
    return bytes(reversed(parts))
