"""Keys, scales and chords. Pitches are MIDI numbers, pitch classes 0 to 11 with C as 0. Start reading at `Key`.

Chinese modes are the five rotations of 宫商角徵羽; a key is named after its last note, as in Europe: `D zhi` ends on D,
and its 宫 is G.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import cached_property, lru_cache

SCALES: dict[str, tuple[int, ...]] = {
    "major": (0, 2, 4, 5, 7, 9, 11),
    "minor": (0, 2, 3, 5, 7, 8, 10),
    "dorian": (0, 2, 3, 5, 7, 9, 10),
    "mixolydian": (0, 2, 4, 5, 7, 9, 10),
    "lydian": (0, 2, 4, 6, 7, 9, 11),
    "gong": (0, 2, 4, 7, 9),
    "shang": (0, 2, 5, 7, 10),
    "jue": (0, 3, 5, 8, 10),
    "zhi": (0, 2, 5, 7, 9),
    "yu": (0, 3, 5, 7, 10),
}
FIVE_TONE = ("gong", "shang", "jue", "zhi", "yu")
NAMES = ("C", "Db", "D", "Eb", "E", "F", "F#", "G", "Ab", "A", "Bb", "B")
_GONG_OFFSETS = (0, 2, 4, 7, 9)
_GONG_CHORDS = ((0, 2, 3), (1, 3, 4), (2, 4, 0), (3, 0, 1), (4, 0, 2))  # places in 宫 order, the lowest first
_KINDS = {
    "": (0, 4, 7), "m": (0, 3, 7), "o": (0, 3, 6), "7": (0, 4, 7, 10), "m7": (0, 3, 7, 10), "maj7": (0, 4, 7, 11),
    "mmaj7": (0, 3, 7, 11), "ø7": (0, 3, 6, 10), "o7": (0, 3, 6, 9), "sus4": (0, 5, 7), "sus2": (0, 2, 7),
    "add9": (0, 4, 7, 2), "madd9": (0, 3, 7, 2), "6": (0, 4, 7, 9), "m6": (0, 3, 7, 9), "5": (0, 7),
}  # fmt: skip
_NUMERAL = re.compile(
    r"([b#]?)(VII|VI|IV|V|III|II|I|vii|vi|iv|v|iii|ii|i)(maj7|ø7|o7|o|7|sus4|sus2|add9|6|5)?(/3|/5|/7)?"
)
_DEGREES = ("I", "II", "III", "IV", "V", "VI", "VII")


@dataclass(frozen=True)
class Chord:
    """A chord: what it is called, its pitch classes from the root on, and which of them is lowest."""

    symbol: str
    tones: tuple[int, ...]
    bass: int
    seventh: int | None = None
    leading: int | None = None  # its third, where it leads to the tonic
    is_open: bool = False  # of a Chinese mode: any three of its tones will do

    @property
    def root(self) -> int:
        return self.tones[0]

    @property
    def third(self) -> int:
        return self.tones[1]


@dataclass(frozen=True)
class Key:
    """A tonic and a mode."""

    tonic: int
    mode: str

    @property
    def scale(self) -> tuple[int, ...]:
        """Pitch classes from the tonic on."""
        return tuple((self.tonic + step) % 12 for step in SCALES[self.mode])

    @property
    def is_five_tone(self) -> bool:
        return self.mode in FIVE_TONE

    @property
    def is_minor(self) -> bool:
        return 3 in SCALES[self.mode] and 4 not in SCALES[self.mode]

    @property
    def gong(self) -> int:
        """The pitch class of 宫 of a Chinese mode."""
        return (self.tonic - _GONG_OFFSETS[FIVE_TONE.index(self.mode)]) % 12

    def __str__(self) -> str:
        return f"{NAMES[self.tonic]} {self.mode}"

    @property
    def sharps(self) -> int:
        """Of the signature that has these notes; flats are negative."""
        parents = {"minor": 3, "dorian": 10, "mixolydian": 5, "lydian": 7}
        tonic = self.gong if self.is_five_tone else (self.tonic + parents.get(self.mode, 0)) % 12
        fifths = tonic * 7 % 12
        return fifths - 12 if fifths > 6 else fifths

    @cached_property
    def ladder(self) -> tuple[int, ...]:
        """All pitches of the scale from 0 to 127, rising."""
        held = set(self.scale)
        return tuple(pitch for pitch in range(128) if pitch % 12 in held)

    def nearest(self, pitch: int) -> int:
        """The place in the ladder of the pitch, or of the next one below."""
        return max(place for place, held in enumerate(self.ladder) if held <= max(pitch, self.ladder[0]))


@lru_cache(maxsize=4096)
def chord_of(symbol: str, key: Key) -> Chord:
    """A chord from its numeral in a key: `I`, `ii7`, `V7/3`, `bVII`; `p1` to `p5` on the steps of a Chinese mode.

    Raises:
        ValueError: It is no numeral.
    """
    if symbol.startswith("p"):
        return _open_chord(symbol, key)
    match = _NUMERAL.fullmatch(symbol)
    if not match:
        raise ValueError(symbol)
    sign, numeral, suffix, inversion = match.groups()
    degree = _DEGREES.index(numeral.upper())
    offset = SCALES[key.mode][degree] + {"b": -1, "#": 1}.get(sign, 0)
    kind = (suffix or "") if numeral.isupper() or (suffix or "").startswith(("o", "ø", "sus")) else "m" + (suffix or "")
    root = (key.tonic + offset) % 12
    tones = tuple((root + step) % 12 for step in _KINDS[kind])
    seventh = tones[3] if suffix in ("7", "maj7", "ø7", "o7") else None
    leads = degree == 4 and numeral.isupper() and not kind.startswith("sus") and not sign
    bass = tones[{"/3": 1, "/5": 2, "/7": 3}.get(inversion or "", 0)]
    return Chord(symbol, tones, bass, seventh, tones[1] if leads and len(tones) > 2 else None, len(tones) < 3)


def _open_chord(symbol: str, key: Key) -> Chord:
    """Three tones of the mode over one of its steps: fifths and fourths where they are, no semitone anywhere."""
    place = (FIVE_TONE.index(key.mode) + int(symbol[1]) - 1) % 5
    tones = tuple((key.gong + _GONG_OFFSETS[n]) % 12 for n in _GONG_CHORDS[place])
    return Chord(symbol, tones, tones[0], is_open=True)
