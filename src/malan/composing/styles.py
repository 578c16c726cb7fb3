"""The styles, as tables: tempo, modes, progressions, who plays what from which intensity on. Nothing here computes.

A style is a `Style`; a chair in its band a `Chair`. What the names of patterns mean stands in `figures.py` and
`rhythm.py`. Start reading at `STYLES`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from malan.composing.theory import FIVE_TONE


@dataclass(frozen=True)
class Chair:
    """Somebody in the band.

    Args:
        role: melody, answer, chorale, figure, bass, spark, drums, luogu.
        name: As the score says it.
        program: General MIDI, from 0.
        low: Lowest pitch it plays.
        high: Highest pitch.
        pattern: What it plays, by a name of `figures.py` or `rhythm.py`.
        pan: Place, −1 to 1.
        level: dB of its sounding parts below full scale.
        room: Share sent to the room.
        since: Plays in sections at least so intense.
        only: Plays only in these sections; in all, where empty.
    """

    role: str
    name: str
    program: int
    low: int
    high: int
    pattern: str = ""
    pan: float = 0.0
    level: float = -24.0
    room: float = 0.22
    since: float = 0.0
    only: tuple[str, ...] = ()


@dataclass(frozen=True)
class Style:
    """How a style sounds."""

    name: str
    bpm: tuple[float, float, float]  # slowest, usual, fastest
    modes: tuple[str, ...]  # the first is the usual one; the mood may choose another
    progressions: Mapping[str, tuple[str, ...]]  # by family (major, minor, open) and section: "family.section"
    band: tuple[Chair, ...]
    rhythms: str  # of the melody: lyrical, lively, syncopated, sparse, dotted, jazz, heroic, chinese, huagu
    beats: int = 4
    swing: float = 0.5  # share of an eighth pair (or a sixteenth pair, negative) that its first note takes
    loose: float = 1.0  # how far from the grid people play
    room_s: float = 1.8
    writer: str = "band"  # band, jiangnan, luogu, huaguxi
    slows_down: bool = False


_POP: Mapping[str, tuple[str, ...]] = {
    "major.A": ("I V vi IV", "vi IV I V", "I vi IV V", "I iii IV V"),
    "major.B": ("IV V iii vi", "vi V IV V", "IV I ii V"),
    "major.C": ("IV V vi I", "I V vi IV", "vi IV I V"),
    "minor.A": ("i VI III VII", "i iv VI VII", "i VII VI VII"),
    "minor.B": ("VI VII i III", "iv VI i VII", "iv VII III VI"),
    "minor.C": ("VI VII i i", "i VI III VII", "iv VI i VII"),
}
_CLASSIC: Mapping[str, tuple[str, ...]] = {
    "major.A": ("I IV V7 I", "I vi ii7 V7", "I V/3 vi IV", "I ii7/3 V7 vi"),
    "major.B": ("vi iii IV I/3", "ii V7 I vi", "IV I/3 ii7 V"),
    "major.C": ("I V/3 vi iii", "IV I/3 ii7 V7", "I IV ii7 V7"),
    "minor.A": ("i iv V7 i", "i VI iv V7", "i V7/3 i iv"),
    "minor.B": ("III VII i V", "VI III iv V", "iv VII III VI"),
    "minor.C": ("i VI III VII", "i iv VII III", "i VI iiø7 V7"),
}
_FILM: Mapping[str, tuple[str, ...]] = {
    "major.A": ("I iii IV vi", "I V/3 vi IV", "vi IV I V"),
    "major.B": ("IV vi V I/3", "vi iii IV V", "ii vi IV V"),
    "major.C": ("IV V vi I/3", "I V vi IV", "vi IV I V"),
    "minor.A": ("i VI III VII", "i v VI iv", "i III VII iv"),
    "minor.B": ("VI III VII i", "iv VI III VII", "iv i VI V"),
    "minor.C": ("i VI III VII", "VI VII i III", "i VII VI iv"),
}
_FLOAT: Mapping[str, tuple[str, ...]] = {
    "major.A": ("Iadd9 iii7 IVmaj7 vi7", "Imaj7 vi7 IVmaj7 ii7", "Iadd9 IVmaj7 vi7 IVmaj7"),
    "major.B": ("vi7 IVmaj7 Iadd9 Vsus4", "ii7 IVmaj7 Imaj7 vi7"),
    "major.C": ("IVmaj7 Iadd9 vi7 Vsus4", "Imaj7 iii7 IVmaj7 Vsus4"),
    "minor.A": ("iadd9 VImaj7 III VII", "i7 VImaj7 iv7 VII", "iadd9 VImaj7 iv7 v7"),
    "minor.B": ("VImaj7 VII i7 v7", "iv7 VImaj7 III VII"),
    "minor.C": ("VImaj7 III VII i7", "iadd9 VImaj7 III VII"),
}
_JAZZ: Mapping[str, tuple[str, ...]] = {
    "major.A": ("Imaj7 vi7 ii7 V7", "iii7 vi7 ii7 V7", "Imaj7 IVmaj7 ii7 V7"),
    "major.B": ("ii7 V7 iii7 vi7", "IVmaj7 iii7 ii7 V7", "vi7 ii7 V7 Imaj7"),
    "major.C": ("Imaj7 vi7 ii7 V7", "iii7 vi7 ii7 V7"),
    "minor.A": ("i7 VImaj7 iiø7 V7", "i7 iv7 VII7 IIImaj7"),
    "minor.B": ("iv7 VII7 IIImaj7 VImaj7", "iv7 i7 iiø7 V7"),
    "minor.C": ("i7 VImaj7 iiø7 V7", "i7 iv7 iiø7 V7"),
}
_ROCK: Mapping[str, tuple[str, ...]] = {
    "mixolydian.A": ("I VII IV I", "I IV VII IV"),
    "mixolydian.B": ("IV I VII IV", "IV VII I I"),
    "mixolydian.C": ("I VII IV IV", "I IV VII IV"),
    "minor.A": ("i VII VI VII", "i VI III VII", "i iv VII III"),
    "minor.B": ("VI VII i i", "iv VI VII VII"),
    "minor.C": ("i VI III VII", "i VI VII iv"),
    "major.A": ("I V vi IV", "I IV vi V"),
    "major.B": ("IV V vi V", "vi V IV V"),
    "major.C": ("I V IV V", "I V vi IV"),
}
_OPEN: Mapping[str, tuple[str, ...]] = {
    "open.A": ("p1 p5 p4 p1", "p1 p4 p5 p2", "p1 p2 p5 p4", "p1 p3 p4 p2"),
    "open.B": ("p4 p5 p2 p1", "p5 p3 p4 p1", "p2 p4 p5 p1"),
    "open.C": ("p1 p4 p2 p5", "p4 p1 p5 p4", "p1 p5 p2 p4"),
}
_DORIAN: Mapping[str, tuple[str, ...]] = {
    "dorian.A": ("i IV i VII", "i VII IV i", "i III IV VII"),
    "dorian.B": ("III VII IV i", "IV i VII IV"),
    "dorian.C": ("i IV VII IV", "III IV i VII"),
}

_BANQIANG = ("bridge", "A", "B", "C", "outro")  # what 京胡 leads, from 导板 to 散板
_STRINGS = ("intro", "A", "C", "bridge", "outro")  # 打锣腔 (B) is sung over gongs alone: 不托管弦
_OUTER = ("intro", "A", "bridge", "outro")
_AMBIENT: Mapping[str, tuple[str, ...]] = {
    **_FLOAT,
    "lydian.A": ("Iadd9 II vi7 Iadd9", "Imaj7 vi7 II iii7"),
    "lydian.B": ("vi7 II Iadd9 iii7",),
    "lydian.C": ("Iadd9 II iii7 vi7",),
}
_LOFI: Mapping[str, tuple[str, ...]] = {**_JAZZ, "minor.A": ("i7 VImaj7 iv7 v7", "iv7 VII7 IIImaj7 VImaj7")}
_SOLO: Mapping[str, tuple[str, ...]] = {
    **_CLASSIC,
    **{name: rows for name, rows in _FILM.items() if name.endswith("A")},
}
_NEWS: Mapping[str, tuple[str, ...]] = {
    **_FILM,
    "lydian.A": ("I II I II",),
    "lydian.B": ("vi II I II",),
    "lydian.C": ("I II vi II",),
}

STYLES: dict[str, Style] = {
    one.name: one
    for one in (
        Style(
            "pentatonic", (58, 72, 96), FIVE_TONE, _OPEN,
            (
                Chair("melody", "dizi", 73, 67, 93, "", -0.15, -20.5, 0.3, only=_OUTER),
                Chair("melody", "erhu", 110, 60, 86, "slides", 0.1, -20.5, 0.3, only=("B", "C")),
                Chair("answer", "xiao", 77, 60, 81, "answer", 0.35, -26, 0.35, 0.65),
                Chair("figure", "guzheng", 107, 48, 86, "guzheng", -0.35, -23, 0.28),
                Chair("chorale", "string ensemble", 48, 40, 79, "held", 0.0, -28, 0.35, 0.6),
                Chair("bass", "pizzicato basses", 45, 36, 57, "root_fifth", 0.1, -26, 0.25, 0.5),
                Chair("drums", "small percussion", 0, 0, 127, "chinese_soft", 0.1, -30, 0.3, 0.8),
            ),
            "chinese", room_s=2.4, slows_down=True,
        ),
        Style(
            "jiangnan", (66, 84, 116), ("gong", "zhi", "shang"), _OPEN,
            (
                Chair("melody", "dizi", 73, 69, 93, "dizi", -0.3, -21, 0.22),
                Chair("heterophony", "erhu", 110, 57, 84, "erhu", 0.3, -22, 0.22),
                Chair("heterophony", "pipa", 106, 50, 84, "pipa", 0.12, -25, 0.2, 0.45),
                Chair("heterophony", "yangqin", 15, 50, 86, "yangqin", -0.12, -25, 0.2),
                Chair("heterophony", "sanxian", 105, 43, 70, "sanxian", 0.45, -27, 0.18, 0.55),
                Chair("heterophony", "sheng", 20, 55, 84, "sheng", -0.45, -29, 0.25, 0.5),
                Chair("heterophony", "zhongruan", 24, 38, 60, "sanxian", 0.0, -25, 0.18, 0.3),
                Chair("drums", "ban and gu", 0, 0, 127, "bangu", 0.0, -31, 0.25, 0.4),
            ),
            "chinese", writer="jiangnan", room_s=1.3, slows_down=True,
        ),
        Style(
            "luogu", (92, 120, 150), ("gong", "zhi", "yu"), _OPEN,
            (
                Chair("luogu", "luogu", 0, 0, 127, "", 0.0, -18, 0.14),
                Chair("melody", "jinghu", 110, 67, 91, "jinghu", -0.15, -21, 0.15, only=_BANQIANG),
                Chair("heterophony", "yueqin", 105, 55, 79, "pipa", 0.25, -25, 0.15, only=("A", "B", "C")),
                Chair("heterophony", "suona", 111, 62, 86, "suona", 0.1, -24, 0.18, only=("C",)),
                Chair("bass", "sanxian", 106, 38, 62, "pulse_root", -0.3, -27, 0.12, only=("A", "B", "C")),
            ),
            "huagu", beats=2, writer="luogu", room_s=1.2,
        ),
        Style(
            "huaguxi", (92, 112, 138), ("zhi", "yu"), _OPEN,
            (
                Chair("melody", "datong", 110, 57, 84, "datong", 0.0, -20, 0.16, only=_STRINGS),
                Chair("melody", "suona", 111, 62, 86, "suona", 0.2, -21, 0.18, only=("B",)),
                Chair("heterophony", "dizi", 73, 69, 93, "dizi", -0.35, -24, 0.2, 0.5),
                Chair("heterophony", "yueqin", 105, 52, 79, "pipa", 0.35, -25, 0.15, 0.45, only=_STRINGS),
                Chair("heterophony", "second suona", 111, 62, 86, "suona", 0.25, -25, 0.18, 0.85, only=("C",)),
                Chair("heterophony", "zhongruan", 24, 38, 60, "sanxian", 0.0, -25, 0.15, 0.3, only=_STRINGS),
                Chair("heterophony", "yangqin", 15, 50, 84, "yangqin", -0.2, -27, 0.18, 0.6, only=_STRINGS),
                Chair("bass", "sanxian", 106, 38, 62, "pulse_root", 0.15, -26, 0.12, 0.4, only=_STRINGS),
                Chair("luogu", "luogu", 0, 0, 127, "", 0.0, -23, 0.14),
            ),
            "huagu", beats=2, writer="huaguxi", room_s=1.2,
        ),
        Style(
            "ambient", (56, 66, 84), ("lydian", "major", "minor"), _AMBIENT,
            (
                Chair("chorale", "warm pad", 89, 40, 79, "held", 0.0, -22, 0.45),
                Chair("chorale", "strings", 49, 40, 79, "held", 0.0, -27, 0.45, 0.6),
                Chair("melody", "vibraphone", 11, 67, 91, "", -0.2, -24, 0.5, 0.35),
                Chair("figure", "harp", 46, 52, 84, "drops", 0.3, -26, 0.5),
                Chair("bass", "deep pad", 95, 33, 50, "whole", 0.0, -26, 0.3),
                Chair("spark", "bells", 98, 79, 100, "glints", 0.5, -33, 0.6, 0.5),
            ),
            "sparse", room_s=3.6, loose=1.5, slows_down=True,
        ),
        Style(
            "cinematic", (72, 92, 128), ("minor", "major"), _FILM,
            (
                Chair("melody", "violins", 48, 62, 88, "", -0.3, -21, 0.35, only=("A", "A2", "B")),
                Chair("melody", "horns", 60, 55, 77, "", 0.2, -20, 0.35, only=("intro", "C", "coda", "outro")),
                Chair("double", "violins above", 48, 67, 96, "", -0.3, -23, 0.35, only=("C",)),
                Chair("answer", "cellos", 42, 45, 69, "answer", 0.3, -24, 0.3, 0.6),
                Chair("figure", "spiccato strings", 48, 48, 76, "ostinato", -0.1, -25, 0.25, 0.5),
                Chair("chorale", "strings", 49, 40, 79, "held", 0.0, -25, 0.35, 0.3),
                Chair("chorale", "choir", 52, 40, 79, "held", 0.0, -28, 0.45, 0.85),
                Chair("bass", "basses", 43, 31, 52, "root_long", 0.2, -24, 0.25),
                Chair("spark", "harp", 46, 60, 91, "sweep", 0.4, -29, 0.4, 0.6),
                Chair("drums", "taiko and cymbals", 48, 0, 127, "taiko", 0.0, -22, 0.35, 0.55),
                Chair("timpani", "timpani", 47, 38, 55, "timpani", -0.1, -25, 0.35, 0.7),
            ),
            "heroic", room_s=2.8, slows_down=True,
        ),
        Style(
            "pop", (84, 104, 128), ("major", "minor"), _POP,
            (
                Chair("melody", "lead", 4, 62, 86, "", 0.0, -21, 0.2),
                Chair("double", "second lead", 4, 52, 84, "below", -0.2, -27, 0.2, 0.6, only=("C",)),
                Chair("answer", "strings", 48, 60, 81, "answer", 0.3, -27, 0.3, 0.7),
                Chair("figure", "acoustic guitar", 25, 45, 76, "strum", -0.3, -25, 0.15),
                Chair("figure", "electric piano", 0, 52, 77, "chops", 0.35, -26, 0.18, 0.55),
                Chair("chorale", "pad", 89, 40, 79, "held", 0.0, -29, 0.3, 0.6),
                Chair("bass", "bass", 33, 28, 52, "pop", 0.0, -22, 0.05, 0.4),
                Chair("drums", "drums", 8, 0, 127, "pop", 0.0, -21, 0.1, 0.45),
            ),
            "syncopated", room_s=1.4,
        ),
        Style(
            "lofi", (66, 78, 90), ("minor", "major"), _LOFI,
            (
                Chair("melody", "muted keys", 4, 60, 82, "", 0.1, -23, 0.3, 0.35),
                Chair("figure", "electric piano", 4, 50, 74, "lofi", -0.15, -22, 0.2),
                Chair("answer", "nylon guitar", 24, 55, 79, "answer", 0.4, -27, 0.3, 0.65),
                Chair("bass", "upright bass", 32, 28, 50, "lofi", 0.0, -22, 0.05, 0.3),
                Chair("drums", "dusty drums", 8, 0, 127, "lofi", 0.0, -23, 0.1, 0.4),
                Chair("spark", "vibraphone", 11, 72, 93, "glints", 0.5, -33, 0.4, 0.7),
            ),
            "jazz", swing=-0.58, loose=1.6, room_s=1.2,
        ),
        Style(
            "electronic", (110, 122, 132), ("minor", "dorian"), {**_POP, **_DORIAN},
            (
                Chair("melody", "saw lead", 81, 64, 88, "", 0.0, -23, 0.25, 0.6),
                Chair("figure", "pluck", 80, 55, 84, "arp16", -0.3, -25, 0.3),
                Chair("figure", "stabs", 90, 52, 76, "offbeat", 0.3, -27, 0.3, 0.7),
                Chair("chorale", "synth strings", 50, 40, 79, "held", 0.0, -27, 0.35),
                Chair("bass", "synth bass", 38, 28, 50, "offbeat", 0.0, -21, 0.0, 0.5),
                Chair("drums", "electronic drums", 25, 0, 127, "house", 0.0, -19, 0.06, 0.4),
                Chair("spark", "riser", 119, 36, 84, "riser", 0.0, -27, 0.3, only=("B",)),
            ),
            "syncopated", room_s=1.6, loose=0.0,
        ),
        Style(
            "folk", (84, 100, 120), ("major", "dorian", "mixolydian"), {**_POP, **_DORIAN, **_ROCK},
            (
                Chair("melody", "flute", 73, 67, 91, "", -0.15, -21.5, 0.25, only=_OUTER),
                Chair("melody", "fiddle", 40, 60, 86, "", 0.15, -22, 0.25, only=("B", "C", "bridge")),
                Chair("double", "second fiddle", 40, 55, 84, "below", 0.3, -27, 0.25, 0.6, only=("C",)),
                Chair("answer", "clarinet", 71, 55, 79, "answer", 0.4, -26, 0.25, 0.65),
                Chair("figure", "steel guitar", 25, 45, 76, "travis", -0.4, -23, 0.15),
                Chair("chorale", "strings", 48, 40, 79, "held", 0.0, -29, 0.3, 0.7),
                Chair("bass", "acoustic bass", 32, 28, 50, "root_fifth", 0.0, -23, 0.08, 0.45),
                Chair("drums", "shaker and frame drum", 0, 0, 127, "folk", 0.1, -27, 0.12, 0.5),
            ),
            "lively", room_s=1.4,
        ),
        Style(
            "strings", (62, 82, 116), ("major", "minor"), _CLASSIC,
            (
                Chair("melody", "violin", 40, 62, 91, "", -0.35, -20.5, 0.28),
                Chair("answer", "viola", 41, 53, 76, "answer", 0.15, -24, 0.28, 0.5),
                Chair("chorale", "strings", 48, 40, 79, "held", 0.0, -25, 0.32),
                Chair("figure", "second violins", 48, 55, 79, "alberti", -0.15, -27, 0.28, 0.6),
                Chair("bass", "cello", 42, 36, 60, "root_long", 0.35, -23.5, 0.25),
                Chair("bass", "pizzicato basses", 45, 29, 52, "root_fifth", 0.25, -27, 0.25, 0.75),
            ),
            "dotted", room_s=2.2, slows_down=True,
        ),
        Style(
            "piano", (58, 72, 96), ("minor", "major"), _SOLO,
            (
                Chair("melody", "piano, right hand", 0, 62, 91, "", 0.08, -19.5, 0.25),
                Chair("double", "piano, second voice", 0, 52, 86, "below", 0.05, -25.5, 0.25, 0.6, only=("C",)),
                Chair("figure", "piano, left hand", 0, 33, 67, "rolled", -0.08, -23, 0.25),
                Chair("chorale", "strings", 49, 40, 79, "held", 0.0, -31, 0.4, 0.8),
                Chair("answer", "piano, inner voice", 0, 55, 74, "answer", 0.0, -26, 0.25, 0.65),
            ),
            "lyrical", room_s=2.0, slows_down=True, loose=1.6,
        ),
        Style(
            "corporate", (96, 112, 126), ("major",), _POP,
            (
                Chair("melody", "piano", 0, 64, 88, "", 0.0, -22, 0.25),
                Chair("figure", "muted guitar", 28, 50, 76, "pulse8", -0.4, -25, 0.18),
                Chair("figure", "marimba", 12, 55, 84, "arp8", 0.4, -27, 0.22, 0.5),
                Chair("answer", "strings", 48, 60, 84, "answer", 0.2, -26, 0.3, 0.7),
                Chair("chorale", "strings", 49, 40, 79, "held", 0.0, -28, 0.3, 0.45),
                Chair("bass", "bass", 33, 28, 52, "eighths", 0.0, -23, 0.05, 0.45),
                Chair("drums", "drums and claps", 8, 0, 127, "claps", 0.0, -22, 0.1, 0.5),
                Chair("spark", "glockenspiel", 9, 79, 100, "glints", 0.5, -34, 0.3, 0.8),
            ),
            "lively", room_s=1.6,
        ),
        Style(
            "rock", (104, 124, 150), ("mixolydian", "minor", "major"), _ROCK,
            (
                Chair("melody", "lead guitar", 30, 59, 86, "", 0.12, -22, 0.2, 0.4),
                Chair("double", "second lead", 30, 52, 84, "below", -0.15, -26, 0.2, 0.6, only=("C",)),
                Chair("figure", "rhythm guitar left", 29, 40, 64, "power", -0.75, -23, 0.08),
                Chair("figure", "rhythm guitar right", 30, 40, 64, "power", 0.75, -24, 0.08, 0.55),
                Chair("chorale", "organ", 18, 40, 79, "held", 0.0, -29, 0.2, 0.7),
                Chair("bass", "picked bass", 34, 28, 50, "eighths", 0.0, -21, 0.03),
                Chair("drums", "drums", 16, 0, 127, "rock", 0.0, -19, 0.1),
            ),
            "syncopated", room_s=1.2,
        ),
        Style(
            "jazz", (96, 132, 176), ("major", "minor"), _JAZZ,
            (
                Chair("melody", "saxophone", 66, 56, 79, "", 0.1, -20.5, 0.22, only=("A", "A2", "C", "coda", "outro")),
                Chair("melody", "vibraphone", 11, 60, 84, "", -0.2, -22, 0.25, only=("intro", "B", "bridge")),
                Chair("answer", "muted trumpet", 59, 58, 79, "answer", 0.35, -26, 0.25, 0.7),
                Chair("figure", "piano", 0, 50, 74, "comp", -0.35, -24, 0.18),
                Chair("bass", "double bass", 32, 28, 52, "walking", 0.0, -22, 0.08),
                Chair("drums", "brushes", 40, 0, 127, "swing", 0.15, -25, 0.12),
            ),
            "jazz", swing=0.64, loose=1.4, room_s=1.1,
        ),
        Style(
            "news", (108, 120, 132), ("minor", "major", "lydian"), _NEWS,
            (
                Chair("melody", "brass", 61, 58, 82, "", 0.0, -20, 0.25),
                Chair("figure", "string ostinato", 48, 55, 79, "ostinato", -0.3, -24, 0.22),
                Chair("figure", "synth pulse", 81, 52, 76, "arp16", 0.35, -29, 0.2, 0.4),
                Chair("chorale", "strings", 50, 40, 79, "held", 0.0, -27, 0.3),
                Chair("bass", "synth bass", 38, 28, 50, "eighths", 0.0, -22, 0.03),
                Chair("drums", "drums", 16, 0, 127, "news", 0.0, -20, 0.12),
                Chair("timpani", "timpani", 47, 38, 55, "timpani", -0.1, -25, 0.3, 0.4),
                Chair("spark", "bells", 14, 72, 91, "glints", 0.4, -31, 0.35, 0.5),
            ),
            "heroic", room_s=1.8, loose=0.4,
        ),
        Style(
            "waltz", (100, 132, 168), ("major", "minor"), _CLASSIC,
            (
                Chair("melody", "violins", 40, 62, 88, "", -0.25, -21, 0.28, only=("A", "A2", "C", "coda")),
                Chair("melody", "clarinet", 71, 58, 84, "", 0.2, -22, 0.28, only=("intro", "B", "bridge", "outro")),
                Chair("double", "second violins", 48, 55, 84, "below", -0.4, -26, 0.28, 0.6, only=("C",)),
                Chair("answer", "cello", 42, 48, 69, "answer", 0.3, -25, 0.28, 0.6),
                Chair("figure", "strings", 48, 55, 76, "waltz", -0.1, -26, 0.25),
                Chair("chorale", "horns", 60, 40, 79, "held", 0.1, -31, 0.35, 0.75),
                Chair("bass", "pizzicato basses", 45, 31, 55, "waltz", 0.25, -24, 0.2),
                Chair("spark", "glockenspiel", 9, 79, 100, "glints", 0.4, -35, 0.3, 0.8),
            ),
            "waltz", beats=3, room_s=2.0, slows_down=True,
        ),
    )
}  # fmt: skip
