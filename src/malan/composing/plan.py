"""How long, how fast, in which key and form: the plan of a piece, exact to the millisecond before a note is written.

    seconds, wishes, hits ─▶ tempo and bars ─▶ sections with their intensity

The last bar is struck and rings out inside the length asked for. Without a tempo of its own a piece takes the one that
fits; with one, the ringing takes what is left. Start reading at `make_plan`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from random import Random

from malan.composing.forms import Section, lay_out
from malan.composing.score import QUARTER
from malan.composing.styles import STYLES, Style
from malan.composing.theory import FIVE_TONE, Key
from malan.composing.words import Wishes
from malan.core.errors import UsageError

SHORTEST_S, LONGEST_S = 2.0, 300.0
_RING_S = (1.6, 3.2, 6.5)  # at least, usual, at most
_MOST_HITS = 64
_STRETCH = 0.09  # a tempo may move so far to meet a cut
_GENTLE = {"sad": -0.12, "calm": -0.18, "dreamy": -0.12, "romantic": -0.08, "solemn": -0.08, "nostalgic": -0.06}
_STRONG = {"epic": 0.12, "energetic": 0.15, "festive": 0.12, "happy": 0.08, "tense": 0.05, "hopeful": 0.06}
_MINOR_MOODS = {"sad", "tense", "mysterious", "nostalgic", "solemn"}
_MAJOR_MOODS = {"happy", "festive", "playful", "hopeful", "romantic"}
_TONICS = {"major": (0, 2, 5, 7, 9, 10, 3), "minor": (9, 2, 4, 7, 0, 11, 5), "open": (2, 7, 9, 0, 5, 4)}


@dataclass(frozen=True)
class Plan:
    """What the composer keeps to."""

    style: Style
    wishes: Wishes
    key: Key
    seconds: float
    seed: int
    bpm: float
    bars: int  # before the last one, which is struck and rings
    sections: tuple[Section, ...]
    tempos: tuple[tuple[int, int], ...]
    hits: tuple[tuple[float, int], ...] = ()
    is_loop: bool = False

    @property
    def bar(self) -> int:
        """Ticks of a bar."""
        return self.style.beats * QUARTER

    @property
    def last(self) -> int:
        """The tick at which the last chord is struck; in a loop, the end."""
        return self.bars * self.bar

    def lots(self, purpose: str) -> Random:
        """Chance for one purpose, the same each time."""
        return Random(f"{self.seed}/{self.style.name}/{purpose}")  # noqa: S311  # music, no secret

    def section_at(self, bar: int) -> Section:
        """The section a bar belongs to; of the ringing bar, the last."""
        return next((one for one in self.sections if one.bar <= bar < one.bar + one.bars), self.sections[-1])


def make_plan(
    wishes: Wishes, seconds: float, *, seed: int = 0, hits: Sequence[float] = (), loop: bool = False
) -> Plan:  # fmt: skip
    """The plan of a piece.

    Args:
        wishes: What tags ask for.
        seconds: Exactly how long, with what rings on.
        seed: Another one gives another piece.
        hits: Seconds at which something must be struck, such as cuts.
        loop: The end leads into the beginning: whole bars, nothing rings out.

    Raises:
        UsageError: The length, a hit or the mode is not possible.
    """
    _check(seconds, hits)
    style = STYLES[wishes.style]
    lots = Random(f"{seed}/{style.name}/plan")  # noqa: S311  # music, no secret
    key = _key(style, wishes, lots)
    wanted = wishes.bpm or _usual_bpm(style, wishes, lots)
    bars, bpm = _bars(style, seconds, wanted, is_fixed=bool(wishes.bpm), is_loop=loop)
    lift = 0.6 * sum({**_GENTLE, **_STRONG}.get(mood, 0.0) for mood in wishes.moods)
    sections = lay_out(style.name, bars, 4 if style.beats > 2 else 8, lift, is_loop=loop)
    plan = Plan(style, wishes, key, seconds, seed, bpm, bars, sections, ((0, round(60e6 / bpm)),), is_loop=loop)
    return _with_hits(plan, sorted(hits))


def _check(seconds: float, hits: Sequence[float]) -> None:
    if not SHORTEST_S <= seconds <= LONGEST_S:
        raise UsageError("music.bad_length", seconds=f"{seconds:g}", least=f"{SHORTEST_S:g}", most=f"{LONGEST_S:g}")
    if len(hits) > _MOST_HITS:
        raise UsageError("music.too_many_hits", count=len(hits), most=_MOST_HITS)
    for hit in hits:
        if not 0 <= hit < seconds:
            raise UsageError("music.bad_hit", hit=f"{hit:g}", seconds=f"{seconds:g}")


def _key(style: Style, wishes: Wishes, lots: Random) -> Key:
    """The key asked for, as the style understands it: a Chinese style hears C major as C 宫, A minor as A 羽."""
    is_open = style.modes[0] in FIVE_TONE
    asked = wishes.key
    if asked and is_open and not asked.is_five_tone:
        return Key(asked.tonic, "yu" if asked.is_minor else "gong")
    if asked and not is_open and asked.is_five_tone:
        raise UsageError("music.contradiction", one=style.name, two=str(asked))
    if asked:
        return asked
    mode = _mode(style, wishes, lots)
    family = "open" if is_open else "minor" if mode in ("minor", "dorian") else "major"
    return Key(lots.choice(_TONICS[family]), mode)


def _mode(style: Style, wishes: Wishes, lots: Random) -> str:
    minors, moods = ("minor", "dorian", "yu", "shang"), set(wishes.moods)
    minor = wishes.is_minor
    if minor is None and moods & _MINOR_MOODS:
        minor = True
    if minor is None and moods & _MAJOR_MOODS:
        minor = False
    fitting = [mode for mode in style.modes if minor is None or (mode in minors) == minor]
    if not fitting and wishes.is_minor is not None:
        return ("yu" if minor else "gong") if style.modes[0] in FIVE_TONE else "minor" if minor else "major"
    fitting = fitting or list(style.modes)
    return fitting[0] if lots.random() < 0.6 else lots.choice(fitting)


def _usual_bpm(style: Style, wishes: Wishes, lots: Random) -> float:
    slow, usual, fast = style.bpm
    pace = wishes.pace
    if pace is None:
        pace = 0.5 + sum({**_GENTLE, **_STRONG}.get(mood, 0.0) for mood in wishes.moods) + lots.uniform(-0.12, 0.12)
        pace = min(max(pace, 0.15), 0.85)
    return slow + (usual - slow) * 2 * pace if pace <= 0.5 else usual + (fast - usual) * (2 * pace - 1)


def _bars(style: Style, seconds: float, wanted: float, *, is_fixed: bool, is_loop: bool) -> tuple[int, float]:
    """How many bars before the last, and the tempo in which they end in time."""
    bar_s = style.beats * 60 / wanted
    ring = 0.0 if is_loop else min(_RING_S[1], max(_RING_S[0], 0.3 * seconds))
    if is_fixed and not is_loop:
        least = min(_RING_S[0], 0.45 * seconds)
        if (bars := int((seconds - least) / bar_s + 1e-9)) < 1:
            raise UsageError("music.too_slow", tempo=f"{wanted:g}", least=f"{bar_s + _RING_S[0]:.1f}")
        return bars, wanted
    count = max(1, round((seconds - ring) / bar_s))
    if is_fixed:
        raised = abs(count * bar_s - seconds) > 0.004
        if raised:
            raise UsageError("music.no_loop", tempo=f"{wanted:g}", seconds=f"{count * bar_s:.3f}")
        return count, wanted
    fits = [n for n in range(max(1, count - 3), count + 4) if 0.88 < n / count < 1.14] or [count]
    best = min(fits, key=lambda n: (abs(n - count) / count * 8 + (0, 0.8, 0.35, 0.8)[n % 4] + 0.3 * (n % 8 > 4), n))
    tempo = round(best * style.beats * 60e6 / ((seconds - ring) * 1e6) * 1e6) / 1e6
    return best, tempo


def _with_hits(plan: Plan, hits: Sequence[float]) -> Plan:
    """Tempi, and the ticks of the hits: without a tempo of its own the piece leans a little so that beats meet them."""
    if not hits:
        return _paced(plan)
    quarter_s = 60 / plan.bpm
    if plan.wishes.bpm or plan.is_loop:
        ticks = tuple((hit, round(hit / quarter_s * QUARTER)) for hit in hits)
        return replace(plan, hits=ticks)
    tempos, tick, second = list[tuple[int, int]](), 0, 0.0
    for hit in hits:
        place = _meeting(plan, tick, second, hit)
        if place > tick:
            tempos.append((tick, round((hit - second) * 1e6 * QUARTER / (place - tick))))
            tick, second = place, second + tempos[-1][1] * (place - tick) / QUARTER / 1e6
    usual = 60e6 / plan.bpm
    rest, ring = plan.seconds - second, plan.seconds - plan.bars * plan.style.beats * quarter_s
    left = plan.last - tick
    wanted = (rest - ring) * 1e6 * QUARTER / left if left > 0 and rest > ring else usual
    tempos.append((tick, round(min(max(wanted, usual / (1 + _STRETCH)), usual * (1 + _STRETCH)))))
    ticks = tuple((hit, tick_at(tempos, hit)) for hit in hits)
    return replace(plan, bpm=60e6 / tempos[0][1], tempos=tuple(tempos), hits=ticks)


def _meeting(plan: Plan, tick: int, second: float, hit: float) -> int:
    """The nearest beat, half or quarter of one that a slight change of tempo brings to a hit; else where we are."""
    exact = tick + (hit - second) * plan.bpm / 60 * QUARTER
    for grid in (QUARTER, QUARTER // 2, QUARTER // 4):
        place = round(exact / grid) * grid
        if place >= tick + QUARTER and abs((exact - tick) / (place - tick) - 1) <= _STRETCH:
            return place
    return tick


def tick_at(tempos: Sequence[tuple[int, int]], seconds: float) -> int:
    """The tick at which so many seconds have passed."""
    left = seconds * 1e6
    for (start, tempo), (until, _) in pairwise([*tempos, (2**40, 0)]):
        took = (until - start) * tempo / QUARTER
        if left <= took:
            return round(start + left * QUARTER / tempo)
        left -= took
    raise ValueError(seconds)


def _paced(plan: Plan) -> Plan:
    """Sections at their own pace (板式), the last beats broader where the style does so, if nobody asked for a tempo.

    What one section takes, the others give: the end does not move by more than rounding, a few microseconds.
    """
    if plan.is_loop or plan.wishes.bpm or plan.bars < 6:
        return plan
    slower = [(plan.bar * one.bar, 1 / one.pace) for one in plan.sections]
    slower = [(tick + at, slow * waver) for (tick, slow), one in zip(slower, plan.sections, strict=True)
              for at, waver in _wavering(plan, one)]  # fmt: skip
    if plan.style.slows_down:
        beats, last = min(plan.style.beats, 4), slower[-1][1]
        slower = [one for one in slower if one[0] < plan.last - beats * QUARTER]
        slower += [(plan.last - (beats - n) * QUARTER, last * factor) for n, factor in enumerate(_BROADER[-beats:])]
    spans = [(until - tick) * slow for (tick, slow), (until, _) in pairwise([*slower, (plan.last, 0.0)])]
    usual = 60e6 / plan.bpm * plan.last / sum(spans)
    tempos = [(tick, round(usual * slow)) for tick, slow in slower]
    tempos = [one for n, one in enumerate(tempos) if n == 0 or one[1] != tempos[n - 1][1]]
    tempos.append((plan.last, round(60e6 / plan.bpm)))
    return replace(plan, bpm=60e6 / usual, tempos=tuple(tempos))


def _wavering(plan: Plan, section: Section) -> list[tuple[int, float]]:
    """散板 has no beat: bars hurry and linger, and each phrase ends with a halt."""
    if section.rhythms != "free":
        return [(0, 1.0)]
    return [(plan.bar * n, _FREE[n % len(_FREE)]) for n in range(section.bars)]


_FREE = (1.1, 0.84, 0.94, 1.32)
_BROADER = (1.03, 1.07, 1.14, 1.24)
