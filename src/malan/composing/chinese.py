"""Chinese ensembles: one tune, which each instrument ornaments in its own way (支声复调), and gongs and drums (锣鼓经).

    tune ─┬─ dizi: 加花, 颤音   ─┬─ erhu, datong: slides, fewer notes
          ├─ pipa: 轮指          ├─ yangqin: broken octaves
          └─ sheng: with a fourth or fifth below ─ sanxian: the skeleton on the beats

Syllables: 仓 great gong and cymbals, 顷 softly, 匡 the gong alone, 才 cymbals and small gong, 七 cymbals, 台 令 small
gong, 大 八 多 drum, 扎 一 clapper, 咚 隆 tall drum, 乙 a rest.
Start reading at `ornament` and `luogu_line`.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from itertools import pairwise
from random import Random

from malan.composing.forms import Section
from malan.composing.plan import Plan
from malan.composing.score import QUARTER, SIXTEENTH, Note
from malan.composing.styles import Chair
from malan.composing.theory import Key

EIGHTH = QUARTER // 2
_REACH_CENTS = 200.0  # of a bend, two semitones
_PLUCKED = ("pipa", "yangqin", "sanxian")
BIG_GONG, CYMBALS, SMALL_GONG, DRUM, TALL_DRUM, CLAPPER = 52, 49, 67, 76, 43, 75  # near to them in General MIDI
_SYLLABLES: dict[str, tuple[tuple[int, int], ...]] = {
    "仓": ((BIG_GONG, 104), (CYMBALS, 86), (SMALL_GONG, 70), (DRUM, 80)),
    "顷": ((BIG_GONG, 66), (CYMBALS, 52)),
    "匡": ((BIG_GONG, 92),),
    "才": ((CYMBALS, 84), (SMALL_GONG, 70), (DRUM, 62)),
    "七": ((CYMBALS, 58), (DRUM, 50)),
    "台": ((SMALL_GONG, 86), (DRUM, 58)),
    "令": ((SMALL_GONG, 58),),
    "大": ((DRUM, 92),),
    "多": ((DRUM, 58),),
    "八": ((DRUM, 96),),
    "扎": ((CLAPPER, 84),),
    "一": ((CLAPPER, 56),),
    "咚": ((TALL_DRUM, 84),),
    "隆": ((TALL_DRUM, 58),),
    "乙": (),
    "-": (),
}
PATTERNS: dict[str, tuple[str, ...]] = {  # bars of 2/4; a word an eighth, two syllables two sixteenths
    "四击头": ("- - 八大 台", "仓 - 才 台", "仓 - 才 台", "仓 才台 仓 -"),  # the great gong four times
    "五锤": ("- - 八大 台", "仓 才 仓 才", "仓 才台 仓 台", "仓 - - -"),  # and five times
    "急急风": ("仓才 仓才 仓才 仓才",),
    "紧锤": ("仓台 才台 仓台 才台", "仓才 仓才 仓才 仓才"),  # leads into 快板, louder and louder
    "慢长锤": ("仓 七 台 七", "仓 七 台七 台"),
    "快长锤": ("仓才 台才 仓才 台才",),
    "抽头": ("仓 令才 乙台 仓", "令才 乙台 仓 -"),
    "冲头": ("大八 大 仓才 台才", "仓才 台才 仓才 台才", "仓才 台才 仓 -"),  # strong and weak in turn
    "长丝头": ("大八 大 仓七 仓七", "仓七 仓七 仓 -"),  # after 散板: no small gong
    "一封书": ("仓咚 才咚 台咚 才咚", "仓咚 才咚 台咚 才大"),  # as 冲头, steady, over the tall drum
    "水底鱼": ("仓 才 仓 才", "台才 台才 仓 -"),
    "小锣": ("台 - 台 -", "台台 令台 乙令 台"),
    "小锣长丝头": ("大 台 令 台", "令台 令台 台 -"),
    "撕边一锣": ("多多 多大 大大 大大", "匡 - - -"),
    "住头": ("- - 大台 令台", "仓 - - -"),
    "扎多乙": ("- - 扎多 乙",),
    "过板": ("扎 大 扎 大大", "扎 多大 扎 大", "扎 大 扎多 大", "扎 大大 扎 大台"),
    "慢板": ("扎 - 多 -", "一 多 一 多大", "扎 - 多多 -", "一 多 一 大台"),  # 一板三眼
    "流水板": ("扎 多 扎 多", "扎 多 扎 多大", "扎多 多 扎 多", "扎 大 扎 大台"),  # 有板无眼
    "散板": ("- - - -", "- - - 多", "- - 多多 大大", "匡 - - -"),
    "花鼓": ("仓 才 仓才 才", "仓才 乙才 仓 -"),
    "花鼓长锤": ("咚咚 咚 仓 才", "仓才 咚咚 仓 才"),
    "堂鼓": ("咚 隆咚 咚 隆", "咚 隆 咚隆 咚"),
    "接腔": ("扎 - 扎 咚", "扎 - 扎 咚咚", "仓才 乙才 仓才 才", "仓才 乙才 仓 -"),  # gongs take up the phrase
    "收头": ("仓才 台才 仓 乙",),
}
_PLANS = {  # section → patterns in turn
    "luogu": {
        "intro": ("四击头", "慢长锤", "抽头"), "bridge": ("撕边一锣", "散板", "住头"),
        "A": ("慢板", "小锣长丝头", "慢板"), "A2": ("扎多乙", "过板", "抽头", "过板"),
        "B": ("流水板", "水底鱼", "流水板", "紧锤"), "B2": ("流水板", "快长锤", "流水板", "紧锤"),
        "C": ("急急风", "一封书", "流水板", "冲头", "急急风"), "C2": ("急急风", "一封书", "快长锤", "冲头"),
        "outro": ("长丝头", "散板", "五锤"),
    },
    "huaguxi": {
        "intro": ("花鼓长锤", "花鼓"), "A": ("堂鼓", "过板", "堂鼓", "花鼓"), "A2": ("过板", "小锣", "堂鼓", "花鼓"),
        "B": ("接腔",), "B2": ("接腔", "花鼓"), "C": ("花鼓", "过板", "花鼓长锤", "堂鼓"),
        "C2": ("花鼓", "花鼓长锤"), "bridge": ("小锣", "堂鼓"), "outro": ("花鼓长锤", "花鼓"),
    },
}  # fmt: skip
_CALM = "多一大台扎令 -乙"  # what the drummer changes now and then


def luogu_line(plan: Plan, plays: Callable[[int], float]) -> list[Note]:
    """The gongs and drums of a piece, and 仓 at the very end."""
    out: list[Note] = []
    table = _PLANS["luogu" if plan.style.writer == "luogu" else "huaguxi"]
    for section in plan.sections:
        if plays(section.bar * plan.bar):
            out += _section(plan, section, table[section.theme])
    if not plan.is_loop:
        out += _roll(plan.last - plan.bar, plan.last)
        out += [Note(plan.last, 4 * QUARTER, drum, min(force + 14, 120)) for drum, force in _LAST]
    return sorted(set(out))


_LAST = (*_SYLLABLES["仓"], (TALL_DRUM, 78))


def _section(plan: Plan, section: Section, names: Sequence[str]) -> list[Note]:
    """Patterns in turn; one that comes again is varied by the drummer, the last one swells into what follows."""
    out: list[Note] = []
    bar, turn, lots = 0, 0, plan.lots(f"luogu/{section.bar}")
    while bar < section.bars:
        name = names[turn % len(names)]
        for row in PATTERNS[name][: section.bars - bar]:
            grows = 0.74 + 0.26 * bar / section.bars if section.energy > 0.8 or name == "紧锤" else 1.0  # 由弱渐强
            said = _varied(row, lots) if turn >= len(names) else row
            out += _struck(said, (section.bar + bar) * plan.bar, section.energy * grows)
            bar += 1
        turn += 1
    return out


def _varied(row: str, lots: Random) -> str:
    """A bar as the drummer says it another time: a stroke split, a rest filled; gongs stay where they are."""
    words = row.split()
    place = lots.randrange(len(words))
    if all(syllable in _CALM for syllable in words[place]):
        words[place] = lots.choice(("大", "多大", "大大", "八大", "多"))
    return " ".join(words)


def _struck(row: str, start: int, energy: float) -> list[Note]:
    out = []
    for place, word in enumerate(row.split()):
        step = EIGHTH // len(word)
        for number, syllable in enumerate(word):
            for drum, force in _SYLLABLES[syllable]:
                louder = min(max(round(force * (0.72 + 0.32 * energy)), 1), 127)
                out.append(Note(start + place * EIGHTH + number * step, step, drum, louder))
    return out


def _roll(start: int, end: int) -> list[Note]:
    """撕边: the drum faster and louder into the last stroke."""
    count = (end - start) // 60
    return [Note(start + n * 60, 60, DRUM, min(40 + 60 * n // max(count, 1), 110)) for n in range(count)]


def ornament(tune: Sequence[Note], key: Key, chair: Chair, lots: Random, energy: Callable[[int], float]) -> list[Note]:
    """The tune, in the range of the instrument already, as it plays it."""
    ways = {
        "dizi": _dizi, "erhu": _plain, "datong": _datong, "jinghu": _jinghu, "pipa": _pipa, "yangqin": _yangqin,
        "sanxian": _skeleton, "sheng": _sheng, "suona": _suona,
    }  # fmt: skip
    held = _through(tune) if chair.pattern in _PLUCKED else tune  # where winds breathe, strings go on (过门)
    return ways.get(chair.pattern, _plain)(held, key, chair, lots, energy)


def _through(tune: Sequence[Note]) -> list[Note]:
    """Each note up to the next one, where that is near."""
    out = [
        one._replace(length=two.start - one.start) if 0 < two.start - one.start - one.length <= 2 * QUARTER else one
        for one, two in pairwise(tune)
    ]
    return [*out, *tune[-1:]]


def in_range(tune: Sequence[Note], low: int, high: int) -> list[Note]:
    """The tune in the octave that fits best; a note beyond the range is turned back into it."""
    shifts = [12 * n for n in range(-4, 5)]
    middle = (low + high) / 2

    def misfit(shift: int) -> tuple[float, float]:
        outside = sum(not low <= note.pitch + shift <= high for note in tune)
        return outside, abs(sum(note.pitch + shift - middle for note in tune))

    shift = min(shifts, key=misfit)
    out = []
    for note in tune:
        pitch = note.pitch + shift
        pitch += 12 * -(-(low - pitch) // 12) if pitch < low else -12 * -(-(pitch - high) // 12) if pitch > high else 0
        out.append(note._replace(pitch=pitch))
    return out


def _neighbour(key: Key, pitch: int, step: int, chair: Chair) -> int:
    place = key.nearest(pitch) + step
    found = key.ladder[min(max(place, 0), len(key.ladder) - 1)]
    return found if chair.low <= found <= chair.high else pitch


def _plain(
    tune: Sequence[Note], _key: Key, _chair: Chair, _lots: Random, _energy: Callable[[int], float]
) -> list[Note]:
    return list(tune)


def _dizi(tune: Sequence[Note], key: Key, chair: Chair, lots: Random, energy: Callable[[int], float]) -> list[Note]:
    """加花: long notes are filled with neighbours, the more the livelier; short ones before the beat (叠音)."""
    out: list[Note] = []
    for note, following in zip(tune, [*tune[1:], *tune[-1:]], strict=True):
        up = _neighbour(key, note.pitch, 1, chair)
        on = up if following.pitch > note.pitch else _neighbour(key, note.pitch, -1, chair)  # where the tune goes on
        if note.length >= 6 * SIXTEENTH and lots.random() < 0.25 + 0.5 * energy(note.start):
            pitches = (note.pitch, up, note.pitch, on)
            tail = note.start + note.length - 4 * SIXTEENTH
            out.append(note._replace(length=note.length - 4 * SIXTEENTH))
            out += [Note(tail + n * SIXTEENTH, SIXTEENTH, pitch, note.velocity - 8) for n, pitch in enumerate(pitches)]
        elif note.length >= QUARTER and (not out or abs(up - out[-1].pitch) <= 12) and lots.random() < 0.45:
            out += [Note(note.start, 50, up, note.velocity - 12),
                    Note(note.start + 50, note.length - 50, note.pitch, note.velocity)]  # fmt: skip
        elif note.length == QUARTER and lots.random() < 0.5 * energy(note.start):
            out += [note._replace(length=EIGHTH), Note(note.start + EIGHTH, EIGHTH, on, note.velocity - 8)]
        else:
            out.append(note)
    return out


def _datong(tune: Sequence[Note], key: Key, chair: Chair, lots: Random, _energy: Callable[[int], float]) -> list[Note]:
    """花舌 of the bow: 倚音 from the step below or above into long notes, quarters thrown in two."""
    out: list[Note] = []
    for note, following in zip(tune, [*tune[1:], *tune[-1:]], strict=True):
        beside = _neighbour(key, note.pitch, -1 if lots.random() < 0.6 else 1, chair)
        before = out[-1].pitch if out else beside
        if max(abs(beside - before), abs(beside - following.pitch)) > 12:
            beside = note.pitch
        if note.length >= QUARTER and beside != note.pitch and lots.random() < 0.5:
            out += [Note(note.start, 48, beside, note.velocity - 14),
                    Note(note.start + 48, note.length - 48, note.pitch, note.velocity)]  # fmt: skip
        elif note.length == EIGHTH and note.start % QUARTER and lots.random() < 0.25:
            out += [
                note._replace(length=SIXTEENTH),
                Note(note.start + SIXTEENTH, SIXTEENTH, beside, note.velocity - 10),
            ]
        else:
            out.append(note)
    return out


def _jinghu(tune: Sequence[Note], key: Key, chair: Chair, lots: Random, _energy: Callable[[int], float]) -> list[Note]:
    """Bows in sixteenths: every quarter is divided."""
    out: list[Note] = []
    for note in tune:
        up = _neighbour(key, note.pitch, 1, chair)
        if note.length >= QUARTER and lots.random() < 0.7:
            rest = note.length - EIGHTH
            out += [note._replace(length=rest), Note(note.start + rest, SIXTEENTH, up, note.velocity - 6),
                    Note(note.start + rest + SIXTEENTH, SIXTEENTH, note.pitch, note.velocity - 8)]  # fmt: skip
        else:
            out.append(note)
    return out


def _pipa(tune: Sequence[Note], key: Key, chair: Chair, lots: Random, energy: Callable[[int], float]) -> list[Note]:
    """轮指 on long notes, plucked pairs on short ones."""
    out: list[Note] = []
    for note in tune:
        if note.length >= 2 * QUARTER and lots.random() < 0.7:
            step = 60
            count = note.length // step
            out += [
                Note(note.start + n * step, step - 5, note.pitch, note.velocity - 22 + 14 * (n == 0))
                for n in range(count)
            ]
        elif note.length >= EIGHTH and energy(note.start) > 0.4:
            other = _neighbour(key, note.pitch, -1 if lots.random() < 0.3 else 0, chair)
            half = note.length // 2
            out += [note._replace(length=half), Note(note.start + half, note.length - half, other, note.velocity - 12)]
        else:
            out.append(note)
    return out


def _yangqin(tune: Sequence[Note], key: Key, chair: Chair, lots: Random, energy: Callable[[int], float]) -> list[Note]:
    """Two hammers: the note and its octave or neighbour in turn, in eighths or sixteenths."""
    out: list[Note] = []
    for note in tune:
        step = SIXTEENTH if energy(note.start) > 0.6 else EIGHTH
        octave = note.pitch + 12 if note.pitch + 12 <= chair.high else note.pitch - 12
        turn = (note.pitch, octave, note.pitch, _neighbour(key, note.pitch, lots.choice((-1, 1)), chair))
        count = max(1, note.length // step)
        sung = [pitch if chair.low <= pitch <= chair.high else note.pitch for pitch in turn]
        out += [
            Note(note.start + n * step, max(step, 60), sung[n % 4], note.velocity - (0 if n == 0 else 14))
            for n in range(count)
        ]
    return out


def _skeleton(
    tune: Sequence[Note], _key: Key, _chair: Chair, _lots: Random, _energy: Callable[[int], float]
) -> list[Note]:
    """Only what stands on a beat."""
    return [note for note in tune if note.start % QUARTER < SIXTEENTH // 2]


def _sheng(tune: Sequence[Note], key: Key, chair: Chair, _lots: Random, _energy: Callable[[int], float]) -> list[Note]:
    """The tune with the fourth or fifth of the mode below it, short notes left out."""
    out: list[Note] = []
    for note in tune:
        if note.length < QUARTER:
            continue
        below = next((note.pitch - step for step in (5, 7, 4) if (note.pitch - step) % 12 in key.scale), note.pitch)
        out.append(note)
        if below >= chair.low and below != note.pitch:
            out.append(note._replace(pitch=below, velocity=note.velocity - 10))
    return out


def _suona(tune: Sequence[Note], key: Key, chair: Chair, lots: Random, _energy: Callable[[int], float]) -> list[Note]:
    """A reed calls: passing tones left out, long notes thrown up to from the step below (倚音), some cut short (吐)."""
    out: list[Note] = []
    for note in tune:
        if chair.role != "melody" and note.length < EIGHTH and note.start % QUARTER:
            continue
        below = _neighbour(key, note.pitch, -1, chair)
        near = not out or max(abs(below - out[-1].pitch), abs(note.pitch - out[-1].pitch)) <= 12
        if note.length >= QUARTER and below != note.pitch and near and lots.random() < 0.55:
            out += [Note(note.start, 44, below, note.velocity - 8),
                    Note(note.start + 44, note.length - 44, note.pitch, note.velocity)]  # fmt: skip
        else:
            short = 0.55 if note.length == EIGHTH and lots.random() < 0.5 else 1.0
            out.append(note._replace(length=round(note.length * short)))
    return out


def slides(
    notes: Sequence[Note], chair: Chair, key: Key, tempos: Sequence[tuple[int, int]], lots: Random
) -> tuple[tuple[int, float], ...]:  # fmt: skip
    """Bends of a bowed string, in cents: 滑音 from the note before or from below, 揉弦 on what is held, a fall where a
    phrase ends; on a datong the raised tones of Hunan (↑sol, ↑re) stand some 40 cents high."""
    raised = {(key.gong + 2) % 12, (key.gong + 7) % 12} - {key.tonic} if chair.pattern == "datong" else set()
    out: dict[int, float] = {}
    held = sorted(notes)
    for number, note in enumerate(held):
        second = QUARTER * 1e6 / next(tempo for tick, tempo in reversed(tempos) if tick <= note.start or not tick)
        before = held[number - 1] if number else None
        after = held[number + 1].start if number + 1 < len(held) else note.start + note.length
        top = 40.0 if note.pitch % 12 in raised and note.length >= EIGHTH - 40 else 0.0
        out = {tick: cents for tick, cents in out.items() if tick < note.start}
        out |= _glide(note, top, _from(note, before, second, lots), second)
        if note.length >= 0.45 * second:
            out |= _vibrato(note, top, second, 14.0 if chair.pattern == "jinghu" else 22.0)
        if after - note.start - note.length >= QUARTER - 60 and note.length >= EIGHTH and lots.random() < 0.4:
            end = note.start + note.length
            out |= {round(end - (6 - n) * 0.014 * second): top - 25.0 * n for n in range(7)}
    return tuple(sorted((tick, round(cents, 1)) for tick, cents in out.items()))


def _from(note: Note, before: Note | None, second: float, lots: Random) -> float:
    """How many cents away a note begins."""
    if note.length < 0.16 * second:
        return 0.0
    leap = note.pitch - before.pitch if before and note.start - before.start - before.length < 0.1 * second else 0
    if 2 <= abs(leap) <= 5 and lots.random() < 0.5:
        return -100.0 * min(abs(leap), 1.8) * (1 if leap > 0 else -1)
    return -80.0 if lots.random() < 0.18 else 0.0


def _glide(note: Note, top: float, away: float, second: float) -> dict[int, float]:
    """From where it begins to its pitch within 90 ms, softly."""
    if not away:
        return {note.start: top}
    shape = [0.5 + 0.5 * math.cos(math.pi * n / 8) for n in range(9)]
    away = min(max(top + away, -_REACH_CENTS), _REACH_CENTS) - top
    return {note.start + round(n * 0.0112 * second): top + away * part for n, part in enumerate(shape)}


def _vibrato(note: Note, top: float, second: float, depth: float) -> dict[int, float]:
    """揉弦: begins a quarter of a second after the note, grows, five and a half times a second."""
    begins, step = 0.24 * second, second / 5.5 / 8
    count = int((note.length - begins) / step)
    return {
        round(note.start + begins + n * step): top + depth * min(1.0, n / 20) * math.sin(2 * math.pi * n / 8)
        for n in range(count)
    }
