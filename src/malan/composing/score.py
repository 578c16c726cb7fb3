"""What a composer writes: parts with notes in ticks, the voices of the chorale, the form; the same as a MIDI file."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, NamedTuple

from malan.composing.theory import Chord, Key
from malan.media.midi import DRUM_CHANNEL, MidiFile, MidiNote, MidiTrack

QUARTER = 480
SIXTEENTH = QUARTER // 4
VOICES = ("bass", "tenor", "alto", "soprano")
_MOST = 127


class Note(NamedTuple):
    """From a tick on, so many ticks long."""

    start: int
    length: int
    pitch: int
    velocity: int


@dataclass(frozen=True)
class Part:
    """An instrument with its notes, and where it stands in the mix."""

    name: str
    role: str
    program: int
    notes: tuple[Note, ...]
    lowest: int
    highest: int
    pan: float = 0.0
    level_db: float = -24.0
    room: float = 0.2
    bends: tuple[tuple[int, float], ...] = ()
    controls: tuple[tuple[int, int, int], ...] = ()
    is_drums: bool = False
    kit: str = ""  # played by our own: `luogu` by gongs, else an instrument of `media/instruments`


@dataclass(frozen=True)
class Harmony:
    """A chord, from a tick on; with the four voices that sing it, lowest first, where there is a chorale."""

    start: int
    length: int
    chord: Chord
    voices: tuple[int, ...] = ()


@dataclass(frozen=True)
class Span:
    """A section of the form, in ticks."""

    name: str
    start: int
    end: int
    energy: float


@dataclass(frozen=True)
class Score:
    """A piece. `seconds` is how long it sounds, to the end of what rings on."""

    title: str
    style: str
    seed: int
    seconds: float
    key: Key
    bpm: float
    beats: int
    tempos: tuple[tuple[int, int], ...]
    form: tuple[Span, ...]
    harmony: tuple[Harmony, ...]
    parts: tuple[Part, ...]
    end: int  # tick of the last sounding
    hits: tuple[tuple[float, int], ...] = ()  # asked for at so many seconds, played at a tick
    is_loop: bool = False
    room_s: float = 1.8
    tags: tuple[str, ...] = ()
    notes: tuple[str, ...] = field(default=())


def to_midi(score: Score) -> MidiFile:
    """The score as a MIDI file: a track a part, drums on channel 10."""
    free = [channel for channel in range(16) if channel != DRUM_CHANNEL]
    tracks = []
    for part in score.parts:
        channel = DRUM_CHANNEL if part.is_drums else free.pop(0)
        notes = tuple(sorted(MidiNote(*note) for note in part.notes))
        tracks.append(MidiTrack(part.name, channel, part.program, notes, part.bends, _controls(part)))
    texts = (f"Malan · {score.title}", "AI生成 · generated")
    markers = tuple((span.start, span.name) for span in score.form)
    meter = ((0, score.beats, 2),)
    key = (score.key.sharps, score.key.is_minor) if score.harmony else None
    return MidiFile(QUARTER, score.tempos, tuple(tracks), meter, key, texts, markers)


def _controls(part: Part) -> tuple[tuple[int, int, int], ...]:
    place = (0, 10, min(max(round(64 + 63 * part.pan), 0), _MOST))
    return (place, (0, 91, min(round(_MOST * part.room), _MOST)), *part.controls)


def describe(score: Score) -> dict[str, Any]:
    """The score as plain JSON; times in seconds."""
    clock = to_midi(score).seconds_at
    return {
        "title": score.title,
        "style": score.style,
        "seed": score.seed,
        "tags": list(score.tags),
        "seconds": score.seconds,
        "key": str(score.key) if score.harmony else None,
        "tempo_bpm": round(score.bpm, 4),
        "beats_a_bar": score.beats,
        "is_loop": score.is_loop,
        "form": [
            {"section": one.name, "from_s": round(clock(one.start), 4), "to_s": round(clock(one.end), 4),
             "energy": round(one.energy, 2)} for one in score.form
        ],
        "harmony": [
            {"at_s": round(clock(one.start), 4), "chord": one.chord.symbol, "voices": list(one.voices)}
            for one in score.harmony
        ],
        "hits": [{"asked_s": asked, "at_s": round(clock(tick), 4)} for asked, tick in score.hits],
        "parts": [
            {"name": one.name, "role": one.role, "program": one.program, "is_drums": one.is_drums,
             "notes": [list(note) for note in one.notes]} for one in score.parts
        ],
        "ticks_a_quarter": QUARTER,
        "tempos": [list(one) for one in score.tempos],
    }  # fmt: skip
