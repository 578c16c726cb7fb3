"""What is written on a promo: title, captions, end card, as an ASS script for each format.

Chinese lines are broken by the rules of the language (GB/T 15834: no mark begins a line, no opening bracket ends one),
and inside the safe area of the format (EBU R 95: 90 % by 80 %). Start reading at `write_script`.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from itertools import accumulate
from math import inf

from malan.media.render import Format

FONTS = {"zh": "Noto Sans CJK SC", "en": "Noto Sans CJK SC"}
_NOT_FIRST = set("，。、；：？！）》」』】〉”’…—～·,.;:?!)]}%‰℃")
_NOT_LAST = set("（《「『【〈“‘([{￥$")
_SAFE_SIDE, _SAFE_END = 0.05, 0.10
_LONGEST_CAPTION_S, _SHORTEST_CAPTION_S = 6.0, 0.8
_FAST = {"zh": 7.0, "en": 17.0}  # characters a second people can read


@dataclass(frozen=True, slots=True)
class Line:
    """Something written from one moment to another, in seconds."""

    text: str
    begin: Fraction
    end: Fraction
    style: str = "Caption"  # Caption, Title, Ending


def write_script(lines: Sequence[Line], form: Format, language: str) -> str:
    """The script of a film in one format.

    Args:
        lines: What is written; texts are plain.
    """
    size = {"Caption": 0.056 if form.height <= form.width else 0.062, "Title": 0.105, "Ending": 0.085}
    short = min(form.width, form.height)
    head = [
        "[Script Info]", "ScriptType: v4.00+", f"PlayResX: {form.width}", f"PlayResY: {form.height}",
        "WrapStyle: 2", "ScaledBorderAndShadow: yes", "YCbCr Matrix: TV.709", "", "[V4+ Styles]",
        "Format: Name, Fontname, Fontsize, PrimaryColour, SecondaryColour, OutlineColour, BackColour, Bold, Italic, "
        "Underline, StrikeOut, ScaleX, ScaleY, Spacing, Angle, BorderStyle, Outline, Shadow, Alignment, MarginL, "
        "MarginR, MarginV, Encoding",
    ]  # fmt: skip
    for style, share in size.items():
        height = round(short * share)
        outline, place = max(1, round(height / 14)), {"Caption": 2, "Title": 5, "Ending": 5}[style]
        bottom = round(form.height * (_SAFE_END if form.height <= form.width else 0.16))
        side = round(form.width * _SAFE_SIDE)
        shadow = 0 if style == "Caption" else max(1, outline // 2)
        head.append(
            f"Style: {style},{FONTS[language]},{height},&H00FFFFFF,&H00FFFFFF,&H64101010,&H96000000,-1,0,0,0,100,100,"
            f"{1 if style == 'Title' else 0},0,1,{outline},{shadow},{place},{side},{side},{bottom},1"
        )
    head += ["", "[Events]", "Format: Layer, Start, End, Style, Name, MarginL, MarginR, MarginV, Effect, Text"]
    for line in lines:
        per_line = fitting(form, size[line.style])
        text = r"\N".join(escape(one) for one in break_lines(line.text, per_line))
        fade = r"{\fad(250,250)}" if line.style != "Caption" else r"{\fad(80,60)}"
        head.append(f"Dialogue: 0,{clock(line.begin)},{clock(line.end)},{line.style},,0,0,0,,{fade}{text}")
    return "\n".join(head) + "\n"


def fitting(form: Format, share: float) -> float:
    """How many full-width characters fit a line of the safe area."""
    return form.width * (1 - 2 * _SAFE_SIDE) / (min(form.width, form.height) * share) * 0.96


def width_of(text: str) -> float:
    """In full-width characters: Latin letters are half as wide."""
    return sum(1.0 if unicodedata.east_asian_width(one) in "WFA" else 0.55 for one in text)


def break_lines(text: str, most: float) -> list[str]:
    """A text in lines that fit, as even as can be; Chinese anywhere the rules allow, Latin words whole.

    A single word wider than a line is broken: nothing may leave the picture.
    """
    pieces = _pieces(" ".join(text.split()), most)
    widths = [width_of(piece) for piece in pieces]
    count, total = 1, sum(widths)
    while True:
        found = _shared_out(pieces, widths, count, total, most)
        if found is not None or count > len(pieces):
            return found or [piece.strip() for piece in pieces]
        count += 1


def _shared_out(
    pieces: Sequence[str], widths: Sequence[float], count: int, total: float, most: float
) -> list[str] | None:
    """A text in so many lines: as even as can be, better after a mark than within a phrase. None: it does not fit.

    The least sum over lines of how far each is from even (Knuth and Plass 1981, without stretching).
    """
    ends = [0.0, *accumulate(widths)]
    table = [[(0.0, 0), *[(inf, 0)] * len(pieces)]]
    for _ in range(count):
        row = [(inf, 0)] * (len(pieces) + 1)
        for end in range(1, len(pieces) + 1):
            for start in range(end):
                width = ends[end] - ends[start]
                if width > most + 0.01 or table[-1][start][0] == inf:
                    continue
                uneven = ((width - total / count) / most) ** 2
                rough = 0.0 if end == len(pieces) or pieces[end - 1].rstrip()[-1:] in _NOT_FIRST else 0.06
                row[end] = min(row[end], (table[-1][start][0] + uneven + rough, start))
        table.append(row)
    if table[-1][-1][0] == inf:
        return None
    lines, end = [], len(pieces)
    for row in reversed(table[1:]):
        start = row[end][1]
        lines.append("".join(pieces[start:end]).strip())
        end = start
    return lines[::-1]


def _pieces(text: str, most: float) -> list[str]:
    """What must stay together: Latin words with the space after them, Chinese characters with their marks."""
    pieces: list[str] = []
    word = ""
    for char in text:
        wide = unicodedata.east_asian_width(char) in "WF"
        if char in _NOT_FIRST and (word or pieces):
            if word:
                word += char
            else:
                pieces[-1] += char
            continue
        if wide or char == " ":
            if word:
                pieces.append(word)
                word = ""
            if char == " " and pieces:
                pieces[-1] += " "
            elif pieces and pieces[-1] and pieces[-1][-1] in _NOT_LAST:
                pieces[-1] += char
            else:
                pieces.append(char)
        else:
            word += char
    pieces += [word] if word else []
    return [part for piece in pieces for part in _torn(piece, most)]


def _torn(piece: str, most: float) -> list[str]:
    if width_of(piece.rstrip()) <= most:
        return [piece]
    step = max(1, int(most / 0.55))
    return [piece[at : at + step] for at in range(0, len(piece), step)]


def escape(text: str) -> str:
    """Plain text for libass: no overrides, no line breaks of its own."""
    return text.replace("\\", "＼").replace("{", "｛").replace("}", "｝").replace("\n", " ").replace("\r", " ")


def clock(seconds: Fraction) -> str:
    """`0:00:02.50`, to the hundredth."""
    hundredths = round(seconds * 100)
    return f"{hundredths // 360_000}:{hundredths // 6000 % 60:02d}:{hundredths // 100 % 60:02d}.{hundredths % 100:02d}"


def time_script(text: str, begin: Fraction, end: Fraction, language: str) -> tuple[list[Line], float]:
    """The lines of a script shared out over a stretch by their length, and how much faster than people read it is.

    Lines end where the text has a line break or a sentence ends.
    """
    sentences = [part for line in text.splitlines() for part in _sentences(line.strip()) if part]
    if not sentences:
        return [], 0.0
    lengths = [max(1.0, sum(1.0 for char in one if not char.isspace())) for one in sentences]
    room = float(end - begin)
    rate = sum(lengths) / room / _FAST[language] if room > 0 else float("inf")
    lines, at = [], begin
    for one, length in zip(sentences, lengths, strict=True):
        held = Fraction(round(room * length / sum(lengths) * 100), 100)
        wish = Fraction(
            round(max(_SHORTEST_CAPTION_S, min(_LONGEST_CAPTION_S, 1.6 * length / _FAST[language])) * 100), 100
        )
        lines.append(Line(one, at, min(end, at + min(held, wish))))
        at += held
    return lines, rate


def _sentences(line: str) -> list[str]:
    parts, part = [], ""
    for char in line:
        part += char
        if char in "。！？；!?;" or (char == "，" and len(part) > 14):
            parts.append(part.strip())
            part = ""
    return [*parts, part.strip()] if part.strip() else parts


def srt(lines: Sequence[Line]) -> str:
    """The captions as SubRip."""

    def stamp(seconds: Fraction) -> str:
        thousandths = round(seconds * 1000)
        hours, rest = divmod(thousandths, 3_600_000)
        return f"{hours:02d}:{rest // 60_000:02d}:{rest // 1000 % 60:02d},{rest % 1000:03d}"

    told = [f"{n}\n{stamp(one.begin)} --> {stamp(one.end)}\n{one.text}\n" for n, one in enumerate(lines, 1)]
    return "\n".join(told)
