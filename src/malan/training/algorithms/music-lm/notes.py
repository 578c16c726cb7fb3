"""Notes and the tokens they are learned as. Times are whole twelfths of a quarter note, which hold triplets too.

    notes ─ to_tokens ─▶ begin · wait 12 · group 0 · pitch 60 · length 12 · … · end ─ from_tokens ─▶ notes

Start reading at `Note`. Files are read in `midi.py` and `abc_notation.py`.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

QUARTER = 12
DRUMS = 16  # the group of channel 10, beyond the sixteen groups of instruments

PAD, BEGIN, END = range(3)
_LONGEST = 48
_WAIT, _GROUP, _PITCH = 3, 3 + _LONGEST, 3 + _LONGEST + 17
_LENGTH = _PITCH + 128
VOCABULARY = _LENGTH + _LONGEST
"""244 tokens: three marks, 48 waits, 17 groups, 128 pitches, 48 lengths."""


class Note(NamedTuple):
    """One note: when it starts and how long it lasts in twelfths of a quarter, its MIDI pitch, its group of instruments
    (program // 8, or `DRUMS`)."""

    start: int
    length: int
    pitch: int
    group: int = 0


def to_tokens(notes: Iterable[Note]) -> list[int]:
    """Notes in order as tokens; a group is said when it changes, a wait longer than four quarters in parts."""
    tokens, time, group = [BEGIN], 0, -1
    for note in sorted(notes, key=lambda note: (note.start, note.group, note.pitch)):
        wait = note.start - time
        while wait > 0:
            tokens.append(_WAIT + min(wait, _LONGEST) - 1)
            wait -= _LONGEST
        if note.group != group:
            tokens.append(_GROUP + note.group)
        tokens += [_PITCH + note.pitch, _LENGTH + min(max(note.length, 1), _LONGEST) - 1]
        time, group = note.start, note.group
    return [*tokens, END]


def from_tokens(tokens: Iterable[int]) -> list[Note]:
    """The notes that tokens say. A pitch without a length lasts a quarter; what makes no sense is passed over."""
    notes: list[Note] = []
    time, group, pitch = 0, 0, None
    for token in tokens:
        is_length = _LENGTH <= token < VOCABULARY
        if pitch is not None:
            notes.append(Note(time, token - _LENGTH + 1 if is_length else QUARTER, pitch, group))
            pitch = None
        if token == END:
            break
        if _WAIT <= token < _GROUP:
            time += token - _WAIT + 1
        elif _GROUP <= token < _PITCH:
            group = token - _GROUP
        elif _PITCH <= token < _LENGTH:
            pitch = token - _PITCH
    return notes


def is_pitch(token: int) -> bool:
    """Whether a token is a pitch, which transposing moves."""
    return _PITCH <= token < _LENGTH


def pitch_range() -> tuple[int, int]:
    """The first token that is a pitch, and the first after them."""
    return _PITCH, _LENGTH


def drums_token() -> int:
    """The token after which pitches are drums, until the next group."""
    return _GROUP + DRUMS


def group_range() -> tuple[int, int]:
    """The first token that is a group, and the first after them."""
    return _GROUP, _PITCH
