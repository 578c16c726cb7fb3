"""Chinese instruments that no soundfont has: strings that are plucked, bows on snakeskin, bamboo and reeds, computed.

    MidiTrack ─ notes in seconds ─┬─ plucked.py: stiff strings, solved in frequency ─┬─▶ (samples, 2) at 48 kHz
                                  └─ sung.py: one line of pitch and breath, a body ──┘

The same notes give the same samples. Neither levels nor places: the mix does. Start reading at `play_instrument`.
"""

from __future__ import annotations

from malan.media.instruments.playing import Sound, tones_of
from malan.media.instruments.plucked import PLUCKED, pluck
from malan.media.instruments.rising import rise
from malan.media.instruments.sung import SUNG, sing_line
from malan.media.midi import MidiFile, MidiTrack

_RISER = "riser"
INSTRUMENTS = (*PLUCKED, *SUNG, _RISER)

__all__ = ["INSTRUMENTS", "play_instrument"]


def play_instrument(name: str, piece: MidiFile, track: MidiTrack, seconds: float) -> Sound:
    """A track as one of our own instruments plays it, (samples, 2) at 48 kHz, exactly so long, dry.

    Args:
        name: One of `INSTRUMENTS`.
        piece: Whose clock it is.
        track: Notes, bends and expression.
        seconds: What rings longer is cut off; what is shorter, silent.

    Raises:
        KeyError: There is no such instrument.
    """
    heard = tones_of(piece, track)
    if name == _RISER:
        return rise(heard, seconds)
    if name in PLUCKED:
        return pluck(PLUCKED[name], heard, seconds)
    return sing_line(SUNG[name], heard, seconds)
