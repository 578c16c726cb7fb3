"""The form of a piece: which sections a tradition has, in which order they come as there is more time, how they move.

A row is `name:theme tune units rank energy pace`: what people call it, what the band does there, which tune it takes
up, how many units of four bars (eight of two-four) it likes, how soon a short piece has it, how intense it is, and how
fast against the whole (板式). Start reading at `lay_out`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace


@dataclass(frozen=True)
class Section:
    """A part of the form: from a bar on, so many bars, and how intense (0 to 1).

    Args:
        name: As people who play this music call it.
        bar: Where it begins.
        bars: How long it is.
        energy: How intense.
        theme: What the band does: intro, A, A2, B, B2, bridge, C, C2, outro.
        tune: The letter of the tune it takes up.
        pace: How fast, against the tempo of the piece; only where nobody asked for a tempo.
        rhythms: Of the melody, where they are not those of the style.
    """

    name: str
    bar: int
    bars: int
    energy: float
    theme: str = "A"
    tune: str = "A"
    pace: float = 1.0
    rhythms: str = ""


@dataclass(frozen=True)
class Form:
    """Sections in order, each with its units and rank; what precedes them; what is repeated in a long piece."""

    rows: tuple[tuple[Section, int, int], ...]
    intro: Section
    outro: Section
    cycle: tuple[int, ...] = (0, 1)


def _form(text: str, *, intro: str = "intro 0.32", outro: str = "outro 0.42", cycle: tuple[int, ...] = (0, 1)) -> Form:
    rows = []
    for line in text.split("|"):
        name, theme, tune, units, rank, energy, *more = line.split()
        pace, rhythms = float(more[0]) if more else 1.0, more[1] if len(more) > 1 else ""
        section = Section(name.replace("_", " "), 0, 0, float(energy), theme, tune, pace, rhythms)
        rows.append((section, int(units), int(rank)))
    return Form(tuple(rows), _edge(intro, "intro"), _edge(outro, "outro"), cycle)


def _edge(text: str, theme: str) -> Section:
    name, energy, *more = text.split()
    pace, rhythms = float(more[0]) if more else 1.0, more[1] if len(more) > 1 else ""
    return Section(name.replace("_", " "), 0, 0, float(energy), theme, "A", pace, rhythms)


_SONG = _form(
    "verse A A 2 1 0.5|pre-chorus B B 1 2 0.7|chorus C C 2 0 0.92|verse A2 A 2 4 0.6|pre-chorus B2 B 1 6 0.76|"
    "chorus C C 2 5 0.95|bridge bridge B 1 7 0.5|last_chorus C2 C 2 3 1.0", cycle=(0, 1, 2),
)  # fmt: skip
_STROPHES = _form(
    "verse A A 2 1 0.5|refrain B B 2 2 0.68|verse A2 A 2 3 0.62|interlude bridge B 1 5 0.5|refrain B2 B 1 4 0.78|"
    "last_refrain C B 2 0 0.95", cycle=(0, 1),
)  # fmt: skip
_SONATA = _form(
    "first_theme A A 2 1 0.5|second_theme B B 2 2 0.66|development bridge B 1 3 0.58|first_theme_again A2 A 1 5 0.66|"
    "recapitulation C A 2 0 0.95|second_theme_at_home C2 B 1 4 1.0", outro="coda 0.42", cycle=(0, 1),
)  # fmt: skip
_AABA = _form(
    "head A A 2 1 0.55|head_again A2 A 2 3 0.62|bridge B B 2 2 0.72|solo bridge A 2 4 0.66|last_head C A 2 0 0.92",
    cycle=(0, 1, 2),
)  # fmt: skip

FORMS: dict[str, Form] = {
    "pop": _SONG,
    "rock": _form(
        "verse A A 2 1 0.55|pre-chorus B B 1 3 0.72|chorus C C 2 0 0.92|verse A2 A 1 4 0.62|solo B2 A 1 5 0.8|"
        "last_chorus C2 C 2 2 1.0", cycle=(0, 1, 2),
    ),
    "folk": _STROPHES,
    "lofi": _form(
        "loop A A 2 1 0.5|loop_with_guitar A2 A 2 2 0.62|break bridge B 1 3 0.42|other_loop B B 2 4 0.7|"
        "loop_again C A 2 0 0.86", cycle=(0, 1),
    ),
    "jazz": _AABA,
    "electronic": _form(
        "groove A A 2 2 0.55|build B B 1 1 0.7|drop C C 2 0 0.96|breakdown bridge A 1 4 0.44|build B2 B 1 5 0.74|"
        "drop C2 C 2 3 1.0", cycle=(0, 1, 2),
    ),
    "cinematic": _form(
        "theme A A 2 1 0.48|theme_again A2 A 2 3 0.6|contrast B B 2 2 0.7|gathering bridge A 1 4 0.62|"
        "climax C A 2 0 0.97|second_climax C2 B 1 5 1.0", outro="coda 0.42", cycle=(0, 2),
    ),
    "news": _form(
        "bed A A 2 1 0.66|headlines B B 2 2 0.78|bed A2 A 1 3 0.7|signal C C 2 0 1.0", intro="signal 0.75",
        outro="sign-off 0.6", cycle=(0, 1),
    ),
    "corporate": _form(
        "opening A A 2 1 0.5|rising B B 2 2 0.7|breath bridge A 1 4 0.46|opening_again A2 A 1 3 0.64|peak C C 2 0 0.95|"
        "peak_again C2 C 1 5 1.0", cycle=(0, 1),
    ),
    "ambient": _form(
        "emerging A A 2 1 0.44|opening B B 2 2 0.66|far_away bridge A 1 3 0.42|wide C C 2 0 0.86",
        outro="receding 0.36", cycle=(0, 1),
    ),
    "strings": _SONATA,
    "piano": _SONATA,
    "waltz": _form(
        "first_waltz A A 2 1 0.52|second_waltz B B 2 2 0.7|trio bridge B 2 4 0.5|first_waltz_again A2 A 1 3 0.66|"
        "last_waltz C A 2 0 0.95", outro="coda 0.45", cycle=(0, 1),
    ),
    "pentatonic": _form(
        "起 A A 2 1 0.46|承 A2 A 2 2 0.58|转 B B 2 3 0.72|合 C A 2 0 0.94", intro="引子 0.3", outro="尾声 0.4",
        cycle=(0, 1, 2),
    ),
    "jiangnan": _form(
        "起 A A 2 1 0.46 0.9|承 A2 A 2 2 0.58 0.96|转 B B 2 3 0.7 1.02|合 C A 2 0 0.95 1.14",
        intro="引子 0.34 0.84", outro="尾声 0.45 0.92", cycle=(0, 1, 2),
    ),
    "luogu": _form(
        "导板 bridge A 1 3 0.5 0.78 free|慢板 A A 1 4 0.55 0.8|原板 A2 A 2 1 0.64 1.0|流水 B A 2 2 0.84 1.2 flowing|"
        "快板 C A 2 0 0.97 1.38 quick|散板 outro A 1 5 0.8 0.8 free", intro="开场锣鼓 0.9 1.0", cycle=(2, 3),
    ),
    "huaguxi": _form(
        "正调 A A 2 1 0.55 0.96|打锣腔 B B 1 2 0.7 1.0|正调 A2 A 2 3 0.64 1.0|小调 bridge B 1 4 0.5 0.94|"
        "快川调 C A 2 0 0.95 1.1", intro="过门 0.5 0.96", outro="尾腔 0.5 0.95", cycle=(0, 1),
    ),
}  # fmt: skip


def lay_out(style: str, bars: int, unit: int, lift: float, *, is_loop: bool) -> tuple[Section, ...]:
    """Sections that add up to the bars; what is left over a unit is the introduction.

    Args:
        style: Whose form it is.
        bars: How many there are.
        unit: Bars of a phrase: four, or eight of two-four.
        lift: What moods add to every intensity.
        is_loop: Neither introduced nor ended.
    """
    form = FORMS[style]
    chosen = _short(form, bars) if bars < 2 * unit else _long(form, bars, unit, is_loop=is_loop)
    out, at = [], 0
    for section, count in chosen:
        out.append(replace(section, bar=at, bars=count, energy=min(max(section.energy + lift, 0.2), 1.0)))
        at += count
    return tuple(out)


def _short(form: Form, bars: int) -> list[tuple[Section, int]]:
    """One or two sections, all of them in full."""
    climax = next(section for section, _, rank in form.rows if rank == 0)
    first = next(section for section, _, rank in form.rows if rank == 1)
    plain = replace(climax, energy=0.75, pace=1.0, rhythms="")
    if bars <= 4:
        return [(plain if bars <= 2 else replace(first, energy=0.75, pace=1.0, rhythms=""), bars)]
    return [(replace(first, energy=0.75, pace=1.0, rhythms=""), bars - bars // 2), (plain, bars // 2)]


def _long(form: Form, bars: int, unit: int, *, is_loop: bool) -> list[tuple[Section, int]]:
    intro = bars % unit or (unit if bars >= 5 * unit and not is_loop else 0)
    if intro == 1 or (intro and is_loop and bars < 4 * unit):
        intro = intro + unit if bars >= 4 * unit else intro
    units = (bars - intro) // unit
    has_end = any(section.theme == "outro" for section, _, _ in form.rows)
    outro = 1 if units >= 7 and not is_loop and not has_end else 0
    rows = [row for row in form.rows if not (is_loop and row[0].theme == "outro")]
    body = [(section, count * unit) for section, count in _filled(rows, form.cycle, units - outro)]
    return [*([(form.intro, intro)] if intro else []), *body, *([(form.outro, unit)] if outro else [])]


def _filled(
    rows: Sequence[tuple[Section, int, int]], cycle: Sequence[int], units: int
) -> list[tuple[Section, int]]:  # fmt: skip
    """The sections of the lowest ranks, a unit each; then more, up to what each likes; then the cycle, again and
    again, behind itself."""
    likes = [like for _, like, _ in rows]
    again, lap = 0, sum(likes[n] for n in cycle)
    while units - again * lap > sum(likes):
        again += 1
    left = units - again * lap
    if again and left < len(rows):
        again, left = again - 1, left + lap
    order = sorted(range(len(rows)), key=lambda n: rows[n][2])
    has = [0] * len(rows)
    for wanted in (1, *range(2, 2 + left)):
        for place in order:
            if left and has[place] < wanted and (wanted <= likes[place] or sum(has) >= sum(likes)):
                has[place] += 1
                left -= 1
    out = [(row[0], count) for row, count in zip(rows, has, strict=True)]
    laps = [(_lap(rows[n][0], turn), likes[n]) for turn in range(again) for n in cycle]
    out[cycle[-1] + 1 : cycle[-1] + 1] = laps
    return [one for one in out if one[1]]


def _lap(section: Section, turn: int) -> Section:
    """A section when it comes again: another band, a little less or more of everything."""
    other = section.theme if turn % 2 or section.theme not in ("A", "B", "C") else f"{section.theme}2"
    return replace(section, theme=other, energy=section.energy + _LAPS[turn % len(_LAPS)])


_LAPS = (-0.08, 0.0, -0.16, 0.02)
