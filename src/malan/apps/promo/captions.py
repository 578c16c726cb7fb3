"""What is said on a promo and when: a script in captions people can read, cards at both ends, SubRip.

Captions come and go with the cuts where a cut is near, and with the voice where there is one. Start reading at
`captions_of`.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from fractions import Fraction
from itertools import accumulate, pairwise

from malan.apps.promo.board import Storyboard
from malan.apps.promo.breaking import break_lines, width_of
from malan.apps.promo.listening import Stretch, spoken_stretches
from malan.core.errors import UsageError

TITLE_S, ENDING_S = Fraction(5, 2), Fraction(5, 2)
_CARD_SHARE = Fraction(1, 3)  # of a short film a card holds no more
_LONGEST_CAPTION_S, _SHORTEST_CAPTION_S = 6.0, 0.8
_FAST = {"zh": 7.0, "en": 17.0}  # characters a second people can read
_TOO_FAST = 1.35
_LONGEST = {"zh": 26.0, "en": 44.0}  # full-width characters of a caption: two lines
_NEAR_S = {False: Fraction(1, 2), True: Fraction(1, 4)}  # of a cut; less where a voice gives the time
_PAUSE_S = 1.0  # a sentence ends in a pause that is so near
_ABBREVIATED = re.compile(r"(?:\b(?:Mr|Mrs|Ms|Dr|St|No|vs|etc|Jr|Sr)|\b[A-Za-z])\.$")


@dataclass(frozen=True, slots=True)
class Line:
    """Something written from one moment to another, in seconds."""

    text: str
    begin: Fraction
    end: Fraction
    style: str = "Caption"  # Caption, Title, Ending


def captions_of(board: Storyboard, script: str) -> list[Line]:
    """The captions of a film: what shots say themselves, else the script, shared out.

    Raises:
        UsageError: The script is too long for the time, or the voice is longer than the film.
        MediaError: The voice cannot be read.
    """
    speech = _speech(board)
    own = _own(board)
    if own or not script.strip():
        return own
    begin, end = _between_cards(board)
    lines, speed = time_script(script, begin, end, board.language, speech)
    if speed > _TOO_FAST:
        raise UsageError("promo.script_too_long", times=f"{speed:.1f}", seconds=f"{float(end - begin):.0f}")
    return at_cuts(lines, cuts_of(board), _NEAR_S[bool(speech)])


def cards_of(board: Storyboard) -> list[Line]:
    """Title over the first seconds, ending over the last."""
    title, ending = _card_lengths(board)
    cards = []
    if board.title.strip():
        cards.append(Line(board.title, min(Fraction(1, 5), title / 4), title, "Title"))
    if board.ending.strip():
        cards.append(Line(board.ending, board.duration - ending, board.duration, "Ending"))
    return cards


def cuts_of(board: Storyboard) -> list[Fraction]:
    """When shots change, both ends of the film included."""
    return [Fraction(at, board.rate) for at in accumulate((shot.frames for shot in board.shots), initial=0)]


def _card_lengths(board: Storyboard) -> tuple[Fraction, Fraction]:
    """Of title and ending; an ending comes with the last cut where that is near."""
    title, ending = (min(wish, board.duration * _CARD_SHARE) for wish in (TITLE_S, ENDING_S))
    last = board.duration - cuts_of(board)[-2]
    return title, last if abs(last - ending) <= 1 and last < board.duration * _CARD_SHARE else ending


def _between_cards(board: Storyboard) -> tuple[Fraction, Fraction]:
    title, ending = _card_lengths(board)
    return (title if board.title else Fraction(0)), board.duration - (ending if board.ending else 0)


def _speech(board: Storyboard) -> Sequence[Stretch]:
    """When a recorded voice speaks; one that says the captions comes when they do.

    Raises:
        UsageError: It speaks longer than the film lasts.
    """
    if not board.voice or board.is_spoken:
        return ()
    speech = spoken_stretches(board.voice)
    if speech and speech[-1][1] > float(board.duration) + 0.5:
        raise UsageError("promo.voice_too_long", voice=f"{speech[-1][1]:.1f}", film=f"{float(board.duration):.1f}")
    return speech


def _own(board: Storyboard) -> list[Line]:
    """What the shots say; the same words stay while the picture changes."""
    own: list[Line] = []
    for shot, (begin, end) in zip(board.shots, pairwise(cuts_of(board)), strict=True):
        if own and own[-1].text == shot.text and own[-1].end == begin:
            own[-1] = replace(own[-1], end=end)
        elif shot.text.strip():
            own.append(Line(shot.text, begin, end))
    return own


def time_script(
    text: str, begin: Fraction, end: Fraction, language: str, speech: Sequence[Stretch] = ()
) -> tuple[list[Line], float]:
    """The captions of a script shared out over a stretch by their length, and how much faster than people read it is.

    Args:
        speech: When it is spoken; then it is shared out over that, and a caption ends in a pause where one is near.
    """
    said = sentences(text, language)
    if not said:
        return [], 0.0
    lengths = [max(1.0, sum(1.0 for char in one if not char.isspace())) for one in said]
    room = float(end - begin)
    speed = sum(lengths) / room / _FAST[language] if room > 0 else float("inf")
    shares = [at / sum(lengths) for at in accumulate(lengths, initial=0.0)]
    if speech:
        moments = _spoken_moments(shares, speech)
        return [Line(one, *moment) for one, moment in zip(said, moments, strict=True)], 0.0
    starts = [begin + Fraction(round(room * share * 100), 100) for share in shares]
    lines = [
        Line(one, start, min(end, after, start + _wished(length, language)))
        for one, length, (start, after) in zip(said, lengths, pairwise(starts), strict=True)
    ]
    return lines, speed


def _wished(length: float, language: str) -> Fraction:
    """How long a caption stands where there is time."""
    wish = max(_SHORTEST_CAPTION_S, min(_LONGEST_CAPTION_S, 1.6 * length / _FAST[language]))
    return Fraction(round(wish * 100), 100)


def _spoken_moments(shares: Sequence[float], speech: Sequence[Stretch]) -> list[tuple[Fraction, Fraction]]:
    """From when to when each part is said: so much of the speech, from pause to pause."""
    total = sum(end - start for start, end in speech)
    pauses = [(a[1], b[0]) for a, b in pairwise(speech)]
    edges: list[tuple[float, float]] = [(speech[0][0], speech[0][0])]
    for share in shares[1:-1]:
        at = _at_share(share * total, speech)
        near = [one for one in pauses if one[0] > edges[-1][1] and abs(sum(one) / 2 - at) <= _PAUSE_S]
        edges.append(min(near, key=lambda one: abs(sum(one) / 2 - at), default=(at, at)))
    edges.append((speech[-1][1], speech[-1][1]))
    return [(_hundredths(a[1]), max(_hundredths(a[1]), _hundredths(b[0]))) for a, b in pairwise(edges)]


def _at_share(spoken_s: float, speech: Sequence[Stretch]) -> float:
    """When so many seconds have been spoken."""
    for start, end in speech:
        if spoken_s <= end - start:
            return start + spoken_s
        spoken_s -= end - start
    return speech[-1][1]


def _hundredths(seconds: float) -> Fraction:
    return Fraction(round(seconds * 100), 100)


def at_cuts(lines: Sequence[Line], cuts: Sequence[Fraction], near: Fraction) -> list[Line]:
    """Captions that begin and end with a cut where one is near: none hangs over it for a few frames.

    None gets shorter than it can be read, and none reaches into the next.
    """
    held: list[Line] = []
    for number, line in enumerate(lines):
        floor = held[-1].end if held else Fraction(0)
        ceiling = lines[number + 1].begin if number + 1 < len(lines) else cuts[-1]
        begin = max(floor, _nearest(line.begin, cuts, near))
        end = _nearest(line.end, cuts, near)
        end = end if end <= ceiling + near else line.end
        least = min(line.end - line.begin, Fraction(str(_SHORTEST_CAPTION_S)))
        if end - begin < least:
            begin, end = max(floor, line.begin), line.end
        held.append(replace(line, begin=begin, end=end))
    return [replace(a, end=min(a.end, b.begin)) for a, b in pairwise(held)] + held[-1:]


def _nearest(moment: Fraction, cuts: Sequence[Fraction], near: Fraction) -> Fraction:
    cut = min(cuts, key=lambda one: abs(one - moment))
    return cut if abs(cut - moment) <= near else moment


def sentences(text: str, language: str) -> list[str]:
    """A script in captions: sentences, and those that do not fit two lines in parts; a full stop is not written.

    A line break ends a caption.
    """
    parts = [part for line in text.splitlines() for part in _sentences(line.strip())]
    short = [one for part in parts for one in _short_enough(part, _LONGEST[language])]
    bare = (one.rstrip("。，、；,;") if language == "zh" else one.rstrip(",;") for one in short)
    return [one.strip() for one in bare if any(char.isalnum() for char in one)]


def _sentences(line: str) -> list[str]:
    parts, part = [], ""
    for place, char in enumerate(line):
        part += char
        after = line[place + 1 : place + 2]
        if (char in "。！？；!?;…" and after not in tuple("。！？!?…”’」』）)\"'")) or _is_full_stop(part, after):
            parts.append(part.strip())
            part = ""
    return [one for one in (*parts, part.strip()) if one]


def _is_full_stop(part: str, after: str) -> bool:
    """A point at the end of a sentence: not in a number, an address, an abbreviation."""
    return part.endswith(".") and after in ("", " ") and not _ABBREVIATED.search(part)


def _short_enough(sentence: str, most: float) -> list[str]:
    """A sentence in parts that can be shown at once: at its commas where that does, evenly else."""
    if width_of(sentence) <= most:
        return [sentence]
    commas = [place + 1 for place, char in enumerate(sentence[:-1]) if char in "，：、,:—"]
    middle = min(commas, key=lambda place: abs(place - len(sentence) / 2), default=0)
    if middle and 0.15 < middle / len(sentence) < 0.85:
        return [*_short_enough(sentence[:middle].strip(), most), *_short_enough(sentence[middle:].strip(), most)]
    return break_lines(sentence, most)


def srt(lines: Sequence[Line]) -> str:
    """The captions as SubRip."""
    told = [f"{n}\n{_stamp(one.begin)} --> {_stamp(one.end)}\n{_plain(one.text)}\n" for n, one in enumerate(lines, 1)]
    return "\n".join(told)


def _plain(text: str) -> str:
    """Without line breaks of its own: an empty line would end the caption."""
    return " ".join(text.split())


def _stamp(seconds: Fraction) -> str:
    thousandths = round(seconds * 1000)
    hours, rest = divmod(thousandths, 3_600_000)
    return f"{hours:02d}:{rest // 60_000:02d}:{rest // 1000 % 60:02d},{rest % 1000:03d}"
