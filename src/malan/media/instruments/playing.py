"""What every instrument of our own needs: notes on the clock, bodies that colour, one grid for all machines.

Start reading at `tones_of` and `body`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from malan.media.midi import MidiFile, MidiTrack

RATE_HZ = 48_000
_GRID = 2.0**-22  # samples fall on it, so that the last bits of sine and logarithm of a machine do not matter
_EXPRESSION = 11

Sound = NDArray[np.float32]
Floats = NDArray[np.float64]
Spectrum = NDArray[np.complex128]
Mode = tuple[float, float, float]  # frequency in Hz, sharpness, gain


class Tone(NamedTuple):
    """A note on the clock: seconds, a MIDI pitch, a force from 1 to 127."""

    start_s: float
    end_s: float
    pitch: int
    force: int


@dataclass(frozen=True)
class Line:
    """What a track says: notes in order, bends as (seconds, cents), expression as (seconds, 0 to 127)."""

    tones: tuple[Tone, ...]
    bends: tuple[tuple[float, float], ...] = ()
    swells: tuple[tuple[float, float], ...] = ()


def tones_of(piece: MidiFile, track: MidiTrack) -> Line:
    """A track on the clock of its piece."""
    clock = piece.seconds_at
    tones = tuple(
        Tone(clock(note.start), clock(note.start + note.length), note.pitch, note.velocity)
        for note in sorted(track.notes)
    )
    swells = tuple((clock(tick), float(value)) for tick, number, value in track.controls if number == _EXPRESSION)
    return Line(tones, tuple((clock(tick), cents) for tick, cents in track.bends), swells)


def hertz(pitch: float) -> float:
    """Frequency of a MIDI pitch, A4 = 440 Hz."""
    return float(440.0 * 2.0 ** ((pitch - 69) / 12))


def drawn(*numbers: int) -> float:
    """A number from 0 to 1 by lot, the same for the same numbers."""
    state = 0x9E3779B97F4A7C15
    for number in numbers:
        state = (state ^ (number & 0xFFFFFFFF)) * 0xD6E8FEB86659FD93 & 0xFFFFFFFFFFFFFFFF
        state ^= state >> 32
    return state / 2**64


def body(frequencies: Floats, modes: tuple[Mode, ...], *, side: int, texture: float = 0.25) -> Spectrum:
    """How a body answers a string: its modes, and above 600 Hz many small ones that differ to the left and right."""
    safe = np.maximum(frequencies, 1.0)
    lots = np.random.Generator(np.random.PCG64(977 + side))
    small = tuple((600.0 * 12.0 ** lots.random(), 12.0 + 20 * lots.random(), lots.random() - 0.5) for _ in range(28))
    out = np.full(len(frequencies), 0.12, complex)
    for centre, sharpness, gain in (*modes, *((f, q, texture * g) for f, q, g in small)):
        out += gain / (1 + 1j * sharpness * (safe / centre - centre / safe))
    return out


def on_grid(samples: Sound) -> Sound:
    """The same, to the nearest step that every machine agrees on; written over what was given."""
    samples *= np.float32(1 / _GRID)
    np.rint(samples, out=samples)
    samples *= np.float32(_GRID)
    return samples
