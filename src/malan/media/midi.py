"""Standard MIDI Files (RP-001, format 1): notes as bytes, and bytes as notes, strictly.

Times are ticks. What Malan writes it reads back the same; a file that is cut off, runs over its end or has notes that
never end is refused with the place. Start reading at `MidiFile`.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import dataclass, field
from operator import itemgetter
from typing import NamedTuple

from malan.core.errors import MediaError

DRUM_CHANNEL = 9
BEND_CENTS = 200.0  # what a full pitch bend means unless a file says otherwise (General MIDI)
MOST_BYTES, MOST_NOTES = 16 << 20, 400_000
_ENDS = b"\x00\xff\x2f\x00"
_DATA_BYTES = {0x80: 2, 0x90: 2, 0xA0: 2, 0xB0: 2, 0xC0: 1, 0xD0: 1, 0xE0: 2}


class MidiNote(NamedTuple):
    """A key that is held down: from a tick on, for so many ticks; pitch 0–127, velocity 1–127."""

    start: int
    length: int
    pitch: int
    velocity: int


@dataclass(frozen=True, slots=True)
class MidiTrack:
    """One instrument: its channel, its program (0–127; of drums, the kit), notes, pitch bends in cents and
    control changes as (tick, controller, value)."""

    name: str
    channel: int
    program: int
    notes: tuple[MidiNote, ...]
    bends: tuple[tuple[int, float], ...] = ()
    controls: tuple[tuple[int, int, int], ...] = ()


@dataclass(frozen=True, slots=True)
class MidiFile:
    """A piece: ticks a quarter, tempi as (tick, microseconds a quarter), beats a bar as (tick, numerator, denominator
    as a power of two), the key as (sharps, is_minor), and tracks."""

    division: int
    tempos: tuple[tuple[int, int], ...]
    tracks: tuple[MidiTrack, ...]
    meters: tuple[tuple[int, int, int], ...] = ((0, 4, 2),)
    key: tuple[int, bool] | None = None
    texts: tuple[str, ...] = ()
    markers: tuple[tuple[int, str], ...] = ()

    def seconds_at(self, tick: int) -> float:
        """When a tick is played."""
        seconds, before, tempo = 0.0, 0, 500_000
        for place, following in self.tempos:
            if place >= tick:
                break
            seconds += (place - before) * tempo / self.division / 1e6
            before, tempo = place, following
        return seconds + (tick - before) * tempo / self.division / 1e6


def write_midi(piece: MidiFile) -> bytes:
    """A format 1 file: one track of tempo and meter, then one an instrument. The same piece gives the same bytes."""
    chunks = [_conductor(piece), *(_track(one) for one in piece.tracks)]
    head = struct.pack(">4sIHHH", b"MThd", 6, 1, len(chunks), piece.division)
    return head + b"".join(struct.pack(">4sI", b"MTrk", len(chunk)) + chunk for chunk in chunks)


def _conductor(piece: MidiFile) -> bytes:
    events: list[tuple[int, int, bytes]] = [(0, 0, _meta(1, text.encode())) for text in piece.texts]
    if piece.key:
        sharps, is_minor = piece.key
        events.append((0, 1, _meta(0x59, struct.pack("bB", sharps, is_minor))))
    events += [(tick, 2, _meta(0x58, bytes([top, power, 24, 8]))) for tick, top, power in piece.meters]
    events += [(tick, 3, _meta(0x51, tempo.to_bytes(3, "big"))) for tick, tempo in piece.tempos]
    events += [(tick, 4, _meta(6, text.encode())) for tick, text in piece.markers]
    return _in_order(events)


def _track(one: MidiTrack) -> bytes:
    channel = one.channel
    events: list[tuple[int, int, bytes]] = [(0, 0, _meta(3, one.name.encode()))]
    events.append((0, 1, bytes([0xC0 | channel, one.program])))
    events += [(tick, 2, bytes([0xB0 | channel, number, value])) for tick, number, value in one.controls]
    events += [(tick, 3, _bend(channel, cents)) for tick, cents in one.bends]
    for note in one.notes:
        events.append((note.start, 5, bytes([0x90 | channel, note.pitch, note.velocity])))
        events.append((note.start + note.length, 4, bytes([0x80 | channel, note.pitch, 0])))
    return _in_order(events)


def _bend(channel: int, cents: float) -> bytes:
    value = bend_value(cents)
    return bytes([0xE0 | channel, value & 0x7F, value >> 7])


def bend_value(cents: float) -> int:
    """Cents as 14 bits, 8192 in the middle."""
    return min(max(round(8192 + 8192 * cents / BEND_CENTS), 0), 16383)


def _meta(kind: int, data: bytes) -> bytes:
    return bytes([0xFF, kind]) + _spelled(len(data)) + data


def _in_order(events: list[tuple[int, int, bytes]]) -> bytes:
    out, time = bytearray(), 0
    for tick, _, message in sorted(events, key=itemgetter(0, 1)):
        out += _spelled(tick - time) + message
        time = tick
    return bytes(out) + _ENDS


def _spelled(value: int) -> bytes:
    """A number of variable length."""
    parts = [value & 0x7F]
    while value := value >> 7:
        parts.append(value & 0x7F | 0x80)
    return bytes(reversed(parts))


def read_midi(data: bytes) -> MidiFile:
    """The piece a file holds.

    Raises:
        MediaError: It is no MIDI file, or a damaged one; the hint tells from which byte on.
    """
    if len(data) > MOST_BYTES or data[:4] != b"MThd" or len(data) < 14:
        raise _bad(0, "no header")
    size, form, count, division = struct.unpack(">IHHH", data[4:14])
    if size < 6 or form > 1 or division == 0 or division & 0x8000:
        raise _bad(8, f"format {form}, division {division}")
    piece, place = _Found(division), 8 + size
    for _ in range(count):
        name, length = data[place : place + 4], int.from_bytes(data[place + 4 : place + 8], "big")
        if name != b"MTrk" or place + 8 + length > len(data):
            raise _bad(place, "track cut off")
        _read_track(data, place + 8, place + 8 + length, piece)
        place += 8 + length
    return piece.whole()


@dataclass
class _Found:
    """What was read so far."""

    division: int
    tempos: list[tuple[int, int]] = field(default_factory=list)
    meters: list[tuple[int, int, int]] = field(default_factory=list)
    texts: list[str] = field(default_factory=list)
    markers: list[tuple[int, str]] = field(default_factory=list)
    key: tuple[int, bool] | None = None
    tracks: list[MidiTrack] = field(default_factory=list)
    notes: int = 0

    def whole(self) -> MidiFile:
        return MidiFile(
            self.division, tuple(sorted(self.tempos)), tuple(self.tracks), tuple(sorted(self.meters)) or ((0, 4, 2),),
            self.key, tuple(self.texts), tuple(self.markers),
        )  # fmt: skip


@dataclass
class _Voice:
    """A track while it is read: what sounds on each channel."""

    name: str = ""
    programs: dict[int, int] = field(default_factory=dict)
    held: dict[tuple[int, int], list[tuple[int, int]]] = field(default_factory=dict)
    notes: dict[int, list[MidiNote]] = field(default_factory=dict)
    bends: dict[int, list[tuple[int, float]]] = field(default_factory=dict)
    controls: dict[int, list[tuple[int, int, int]]] = field(default_factory=dict)


def _read_track(data: bytes, place: int, end: int, piece: _Found) -> None:
    voice, tick, status = _Voice(), 0, 0
    while place < end:
        wait, place = _number(data, place, end)
        tick += wait
        first = data[place] if place < end else 0
        if first >= 0xF0:
            place = _read_system(data, place, end, tick, piece, voice)
            status = 0
            continue
        if first & 0x80:
            status, place = first, place + 1
        if not status:
            raise _bad(place, "data without a status")
        values = data[place : min(place + _DATA_BYTES[status & 0xF0], end)]
        if len(values) < _DATA_BYTES[status & 0xF0] or any(value & 0x80 for value in values):
            raise _bad(place, "message cut off")
        place += len(values)
        _obey(voice, status, values, tick, piece, place)
    if any(voice.held.values()):
        raise _bad(end, "a note that never ends")
    piece.tracks += _tracks_of(voice)


def _tracks_of(voice: _Voice) -> Iterator[MidiTrack]:
    for channel in sorted({*voice.notes, *voice.programs}):
        yield MidiTrack(
            voice.name, channel, voice.programs.get(channel, 0), tuple(sorted(voice.notes.get(channel, []))),
            tuple(voice.bends.get(channel, [])), tuple(voice.controls.get(channel, [])),
        )  # fmt: skip


def _obey(voice: _Voice, status: int, values: bytes, tick: int, piece: _Found, place: int) -> None:
    kind, channel = status & 0xF0, status & 0x0F
    if kind == 0x90 and values[1]:
        voice.held.setdefault((channel, values[0]), []).append((tick, values[1]))
        piece.notes += 1
        if piece.notes > MOST_NOTES:
            raise _bad(place, "too many notes")
    elif kind in (0x80, 0x90):
        begun = voice.held.get((channel, values[0]))
        if begun:
            start, velocity = begun.pop(0)
            voice.notes.setdefault(channel, []).append(MidiNote(start, tick - start, values[0], velocity))
    elif kind == 0xC0:
        voice.programs[channel] = values[0]
    elif kind == 0xE0:
        cents = ((values[1] << 7 | values[0]) - 8192) * BEND_CENTS / 8192
        voice.bends.setdefault(channel, []).append((tick, cents))
    elif kind == 0xB0:
        voice.controls.setdefault(channel, []).append((tick, values[0], values[1]))


def _read_system(data: bytes, place: int, end: int, tick: int, piece: _Found, voice: _Voice) -> int:
    """A meta event or system exclusive message; where it ends."""
    is_meta = data[place] == 0xFF
    if not is_meta and data[place] not in (0xF0, 0xF7):
        raise _bad(place, f"message {data[place]:02x}")
    kind = data[place + 1] if is_meta and place + 1 < end else 0
    length, start = _number(data, place + (2 if is_meta else 1), end)
    held = data[start : start + length]
    if start + length > end:
        raise _bad(place, "event cut off")
    if is_meta:
        _note_meta(kind, held, tick, piece, voice)
    return start + length


def _note_meta(kind: int, held: bytes, tick: int, piece: _Found, voice: _Voice) -> None:
    if kind == 0x51 and len(held) == 3:
        piece.tempos.append((tick, int.from_bytes(held, "big")))
    elif kind == 0x58 and len(held) == 4:
        piece.meters.append((tick, held[0], held[1]))
    elif kind == 0x59 and len(held) == 2:
        sharps, is_minor = struct.unpack("bB", held)
        piece.key = (sharps, bool(is_minor))
    elif kind == 3:
        voice.name = held.decode("utf-8", "replace")
    elif kind == 1:
        piece.texts.append(held.decode("utf-8", "replace"))
    elif kind == 6:
        piece.markers.append((tick, held.decode("utf-8", "replace")))


def _number(data: bytes, place: int, end: int) -> tuple[int, int]:
    """A number of variable length, and where it ends."""
    value = 0
    for byte in data[place : min(place + 4, end)]:
        value, place = value << 7 | byte & 0x7F, place + 1
        if not byte & 0x80:
            return value, place
    raise _bad(place, "number cut off or too large")


def _bad(place: int, detail: str) -> MediaError:
    return MediaError("music.bad_midi", place=place, detail=detail)
