"""A piece as sound: each instrument by itself, played by FluidSynth from a free soundfont in one pass.

    MidiFile ─ events in blocks of 64 samples ─▶ one synthesiser, a pair of outputs a track ─▶ stems

The soundfont is Debian's `musescore-general-soundfont-small` (MIT licence). Neither mixes nor masters.
Start reading at `play`.
"""

from __future__ import annotations

import ctypes
import ctypes.util
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from malan.core.errors import MediaError, MissingExtra
from malan.media.midi import DRUM_CHANNEL, MidiFile, bend_value

RATE_HZ = 48_000
BLOCK = 64  # samples FluidSynth computes at once; what happens, happens at their borders: 1.3 ms
PLACES = (
    "/usr/share/sounds/sf3/MuseScore_General_Lite.sf3", "/usr/share/sounds/sf3/MuseScore_General.sf3",
    "/usr/share/sounds/sf3/default-GM.sf3", "/usr/share/sounds/sf2/default-GM.sf2",
)  # fmt: skip
SETTING = "MALAN_SOUNDFONT"
_MOST_TRACKS = 16
_GAIN = 0.5
_POLYPHONY = 256
_PIECE_S = 5.0  # after each, whoever asked may stop it
_ON, _OFF, _BEND, _CONTROL = 3, 0, 1, 2  # in the order of one moment
_OF_THE_MIX = (7, 10, 91, 93)  # level, place, room and chorus: the mix sets them

Event = tuple[int, int, int, int, int]  # sample, kind, channel, two values


def find_soundfont() -> Path:
    """The soundfont of this machine, or the one that `MALAN_SOUNDFONT` names.

    Raises:
        MissingExtra: There is none.
    """
    named = os.environ.get(SETTING)
    for place in [named] if named else PLACES:
        if Path(place).is_file():
            return Path(place)
    raise MissingExtra("music.no_soundfont", path=named or PLACES[0])


def play(piece: MidiFile, seconds: float, *, stop: Callable[[], None] = lambda: None) -> list[NDArray[np.float32]]:
    """The sound of each track as (samples, 2) at `RATE_HZ`, exactly so long, dry.

    Args:
        piece: At most 16 tracks.
        seconds: What rings longer is cut off; what is shorter, silent.
        stop: Asked now and then; what it raises ends the work.

    Raises:
        MissingExtra: FluidSynth or a soundfont is not installed.
        MediaError: The soundfont cannot be read.
    """
    if len(piece.tracks) > _MOST_TRACKS:
        raise MediaError("music.too_many_tracks", count=len(piece.tracks), most=_MOST_TRACKS)
    count = round(seconds * RATE_HZ)
    library, font = _library(), find_soundfont()
    out = np.zeros((2 * len(piece.tracks), -(-count // BLOCK) * BLOCK), np.float32)
    with _synthesiser(library, font, len(piece.tracks)) as synth:
        _tune(library, synth, piece)
        _run(library, synth, _events(piece), out, stop)
    return [out[2 * n : 2 * n + 2, :count].T for n in range(len(piece.tracks))]


def _library() -> Any:
    """FluidSynth 2, with the types of what is called.

    Raises:
        MissingExtra: It is not installed.
    """
    try:
        library = ctypes.CDLL(ctypes.util.find_library("fluidsynth") or "libfluidsynth.so.3")
    except OSError as error:
        raise MissingExtra("music.no_fluidsynth") from error
    pointer, number = ctypes.c_void_p, ctypes.c_int
    for name, takes, gives in (
        ("new_fluid_settings", [], pointer), ("delete_fluid_settings", [pointer], None),
        ("new_fluid_synth", [pointer], pointer), ("delete_fluid_synth", [pointer], None),
        ("fluid_settings_setnum", [pointer, ctypes.c_char_p, ctypes.c_double], number),
        ("fluid_settings_setint", [pointer, ctypes.c_char_p, number], number),
        ("fluid_set_log_function", [number, pointer, pointer], pointer),
        ("fluid_synth_sfload", [pointer, ctypes.c_char_p, number], number),
        ("fluid_synth_set_channel_type", [pointer, number, number], number),
        ("fluid_synth_bank_select", [pointer, number, number], number),
        ("fluid_synth_program_change", [pointer, number, number], number),
        ("fluid_synth_noteon", [pointer, number, number, number], number),
        ("fluid_synth_noteoff", [pointer, number, number], number),
        ("fluid_synth_pitch_bend", [pointer, number, number], number),
        ("fluid_synth_cc", [pointer, number, number, number], number),
        ("fluid_synth_process", [pointer, number, number, pointer, number, pointer], number),
    ):  # fmt: skip
        function = getattr(library, name)
        function.argtypes, function.restype = takes, gives
    return library


@contextmanager
def _synthesiser(library: Any, font: Path, tracks: int) -> Iterator[int]:
    """A synthesiser with a pair of outputs a track; neither reverb nor chorus, and only the samples that are played."""
    for level in range(3):  # panic, error, warning: said by our errors
        library.fluid_set_log_function(level, None, None)
    settings = library.new_fluid_settings()
    library.fluid_settings_setnum(settings, b"synth.sample-rate", float(RATE_HZ))
    library.fluid_settings_setnum(settings, b"synth.gain", _GAIN)
    for name, value in (
        (b"synth.dynamic-sample-loading", 1), (b"synth.audio-channels", tracks), (b"synth.audio-groups", tracks),
        (b"synth.reverb.active", 0), (b"synth.chorus.active", 0), (b"synth.polyphony", _POLYPHONY),
    ):  # fmt: skip
        library.fluid_settings_setint(settings, name, value)
    synth = library.new_fluid_synth(settings)
    try:
        if library.fluid_synth_sfload(synth, str(font).encode(), 1) < 0:
            raise MediaError("music.bad_soundfont", path=str(font))
        yield synth
    finally:
        library.delete_fluid_synth(synth)
        library.delete_fluid_settings(settings)


def _tune(library: Any, synth: int, piece: MidiFile) -> None:
    """Each track on a channel of its own, whatever channel the file gives it."""
    for channel, track in enumerate(piece.tracks):
        is_drums = track.channel == DRUM_CHANNEL
        library.fluid_synth_set_channel_type(synth, channel, int(is_drums))
        library.fluid_synth_bank_select(synth, channel, 128 if is_drums else 0)
        library.fluid_synth_program_change(synth, channel, track.program)


def _events(piece: MidiFile) -> list[Event]:
    found: list[Event] = []
    for channel, track in enumerate(piece.tracks):
        for note in track.notes:
            found.append((_sample(piece, note.start), _ON, channel, note.pitch, note.velocity))
            found.append((_sample(piece, note.start + note.length), _OFF, channel, note.pitch, 0))
        found += [(_sample(piece, tick), _BEND, channel, bend_value(cents), 0) for tick, cents in track.bends]
        found += [
            (_sample(piece, tick), _CONTROL, channel, number, value)
            for tick, number, value in track.controls
            if number not in _OF_THE_MIX
        ]
    return sorted(found)


def _sample(piece: MidiFile, tick: int) -> int:
    return round(piece.seconds_at(tick) * RATE_HZ / BLOCK) * BLOCK


def _run(
    library: Any, synth: int, events: list[Event], out: NDArray[np.float32], stop: Callable[[], None]
) -> None:  # fmt: skip
    """Let it play from event to event into the rows of `out`."""
    done, end, pause = 0, out.shape[1], round(_PIECE_S * RATE_HZ / BLOCK) * BLOCK
    for sample, kind, channel, first, second in [*events, (end, -1, 0, 0, 0)]:
        while done < min(sample, end):
            until = min(sample, end, done + pause)
            _compute(library, synth, out, done, until)
            done = until
            stop()
        if kind == _ON:
            library.fluid_synth_noteon(synth, channel, first, second)
        elif kind == _OFF:
            library.fluid_synth_noteoff(synth, channel, first)
        elif kind == _BEND:
            library.fluid_synth_pitch_bend(synth, channel, first)
        elif kind == _CONTROL:
            library.fluid_synth_cc(synth, channel, first, second)


def _compute(library: Any, synth: int, out: NDArray[np.float32], start: int, end: int) -> None:
    width, row = ctypes.sizeof(ctypes.c_float), out.strides[0]
    places = (ctypes.c_void_p * len(out))(*(out.ctypes.data + n * row + start * width for n in range(len(out))))
    library.fluid_synth_process(synth, end - start, 0, None, len(out), places)
