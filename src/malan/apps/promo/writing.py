"""What is written on a promo, drawn by libass: captions, title, end card, as an ASS script for each format.

Sizes are those of the characters themselves, not of the line a font reserves for them. Everything stays inside what
viewers and platforms leave free: EBU R 95 for wide pictures, and for upright ones the bars, buttons and texts that
short-video apps lay over the picture. Start reading at `write_script`.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from fractions import Fraction
from unicodedata import category, east_asian_width

from malan.apps.promo.breaking import break_lines
from malan.apps.promo.captions import Line
from malan.apps.promo.fonts import line_height
from malan.media.render import Format

SANS, SERIF = "Noto Sans CJK SC", "Noto Serif CJK SC"
_TITLES_IN = {"lively": SANS, "calm": SERIF, "documentary": SERIF}
_LEADING = 1.3  # from line to line of a title, in characters
_STEPS = {  # a text is tried smaller before it takes another line: (size, lines)
    "Caption": ((1.0, 1), (1.0, 2), (0.9, 2), (0.85, 3), (0.75, 4), (0.6, 6), (0.4, 99)),
    "Title": ((1.0, 1), (0.88, 1), (0.76, 1), (0.95, 2), (0.8, 2), (0.68, 2), (0.6, 3), (0.45, 4), (0.3, 99)),
    "Cover": ((1.0, 1), (0.85, 1), (1.0, 2), (0.85, 2), (0.7, 2), (0.6, 3), (0.45, 4), (0.3, 99)),
    "Ending": ((1.0, 1), (0.88, 1), (0.76, 1), (1.0, 2), (0.85, 2), (0.7, 3), (0.5, 4), (0.35, 99)),
}
_SPACED = {"Caption": 0.0, "Title": 0.06, "Cover": 0.05, "Ending": 0.08}  # between Chinese characters, in characters
_LAST_LATIN = "\u024f"
_TIGHT = 0.01  # between letters of words, which fall apart sooner
# the end stands to the last frame
_FADES_MS = {"Caption": (80, 60), "Title": (350, 350), "Cover": (0, 0), "Ending": (450, 0)}
_SCRIM = {"Cover": 0.18, "Ending": 0.6}  # how much darker the picture behind becomes: all of a cover, a band of a film
_STYLE = (
    "Format: Name, Fontname, Fontsize, PrimaryColour, SecondaryColour, OutlineColour, BackColour, Bold, Italic, "
    "Underline, StrikeOut, ScaleX, ScaleY, Spacing, Angle, BorderStyle, Outline, Shadow, Alignment, MarginL, "
    "MarginR, MarginV, Encoding"
)


@dataclass(frozen=True, slots=True)
class _Place:
    """Where things stand in a shape of picture, as shares of its sides; sizes as shares of its short side."""

    side: float
    bottom: float  # below captions
    title: float  # middle of a title
    caption: float
    heading: float


_WIDE = _Place(side=0.08, bottom=0.08, title=0.5, caption=0.052, heading=0.125)
_SQUARE = _Place(side=0.07, bottom=0.09, title=0.48, caption=0.056, heading=0.118)
_UPRIGHT = _Place(side=0.11, bottom=0.24, title=0.4, caption=0.06, heading=0.12)


def write_script(lines: Sequence[Line], form: Format, style: str = "lively") -> str:
    """The script of a film in one format.

    Args:
        lines: What is written; texts are plain.
        style: Of the film; it chooses the face of titles.
    """
    head = [
        "[Script Info]", "ScriptType: v4.00+", f"PlayResX: {form.width}", f"PlayResY: {form.height}",
        "WrapStyle: 2", "ScaledBorderAndShadow: yes", "YCbCr Matrix: TV.709", "", "[V4+ Styles]", _STYLE,
        *(_style(name, form, style) for name in _STEPS), "", "[Events]",
        "Format: Layer, Start, End, Style, Name, MarginL, MarginR, MarginV, Effect, Text",
    ]  # fmt: skip
    events = [event for line in lines for event in _events(line, form)]
    return "\n".join([*head, *events]) + "\n"


def place_of(form: Format) -> _Place:
    """Where things stand in a format."""
    aspect = float(form.aspect)
    return _WIDE if aspect > 1.2 else _UPRIGHT if aspect < 0.7 else _SQUARE


def size_px(name: str, form: Format) -> float:
    """Height of the characters of a style where there is room."""
    place = place_of(form)
    heading = place.heading
    share = {"Caption": place.caption, "Title": heading, "Cover": 1.25 * heading, "Ending": 0.85 * heading}[name]
    return min(form.width, form.height) * share


def _style(name: str, form: Format, style: str) -> str:
    face = SANS if name == "Caption" else _TITLES_IN[style]
    place, size = place_of(form), size_px(name, form)
    height, side, bottom = size * line_height(face), form.width * place.side, form.height * place.bottom
    at = 2 if name == "Caption" else 5
    return (
        f"Style: {name},{face},{height:.1f},&H00FFFFFF,&H00FFFFFF,&H30101010,&H00000000,-1,0,0,0,100,100,0,"
        f"0,1,0,0,{at},{side:.0f},{side:.0f},{bottom:.0f},1"
    )


def fitted(text: str, name: str, form: Format) -> tuple[list[str], float]:
    """A text in lines, and how much smaller than usual it is written so that it fits."""
    room = form.width * (1 - 2 * place_of(form).side) / (1 + spacing_of(text, name))
    for share, most in _STEPS[name]:
        lines = break_lines(text, room / (size_px(name, form) * share))
        if len(lines) <= most:
            break
    return lines, share


def spacing_of(text: str, name: str) -> float:
    """What is put between the letters of a text, in characters."""
    letters = [one for one in text if one.isalpha()]
    chinese = sum(east_asian_width(one) in "WF" for one in letters)
    if any(east_asian_width(one) not in "WF" and one > _LAST_LATIN for one in letters):
        return 0.0  # letters that join are torn apart, and no longer run from the right
    return _SPACED[name] if 2 * chinese >= len(letters) else min(_TIGHT, _SPACED[name])


def _events(line: Line, form: Format) -> Iterator[str]:
    """What is drawn for a line, from the back to the front: what darkens the picture, a soft shadow, the letters."""
    if not line.text.strip():
        return
    lines, share = fitted(line.text, line.style, form)
    size = size_px(line.style, form) * share
    begin, end, (come, go) = clock(line.begin), clock(line.end), _FADES_MS[line.style]
    spacing = spacing_of(line.text, line.style) * size
    look = rf"\fad({come},{go})" + (rf"\fsp{spacing:.1f}" if spacing else "")
    look += rf"\fscx{100 * share:.0f}\fscy{100 * share:.0f}" if share != 1 else ""

    def event(layer: int, tags: str, text: str) -> str:
        return f"Dialogue: {layer},{begin},{end},{line.style},,0,0,0,,{{{look}{tags}}}{text}"

    texts = _placed(lines, line.style, form, size)
    if line.style in _SCRIM:
        yield event(0, *_scrim(line.style, len(lines), form, size))
    if line.style == "Ending":
        yield event(2, _rule_at(len(lines), form, size), _box(round(1.6 * size), max(2, round(0.03 * size))))
    soft = 0.10 if line.style == "Caption" else 0.16
    for place, text in texts:
        yield event(1, rf"{place}\bord{soft * size:.1f}\blur{soft * size:.1f}\3c&H000000&\3a{_alpha(0.75)}", text)
    edge = rf"\bord{0.045 * size:.1f}" if line.style == "Caption" else r"\bord0"
    for place, text in texts:
        yield event(2, place + edge, text)


def _placed(lines: Sequence[str], name: str, form: Format, size: float) -> list[tuple[str, str]]:
    """Captions as one block above the lower edge; each line of a title where it belongs."""
    texts = [escape(one) for one in lines]
    if name == "Caption":
        return [("", r"\N".join(texts))]
    middle, top = form.width / 2, form.height * place_of(form).title - (len(texts) - 1) / 2 * _LEADING * size
    return [(rf"\pos({middle:.0f},{top + row * _LEADING * size:.0f})", text) for row, text in enumerate(texts)]


def _scrim(name: str, count: int, form: Format, size: float) -> tuple[str, str]:
    """What darkens the picture. In a film a band with soft edges: to blend every pixel costs as much as to encode."""
    dark = rf"\fscx100\fscy100\an7\1c&H000000&\1a{_alpha(_SCRIM[name])}\p1"
    if name == "Cover":
        return rf"\pos(0,0){dark}", _box(form.width, form.height)
    half = ((count - 1) / 2 * _LEADING + 1.7) * size
    left, top = -2 * size, form.height * place_of(form).title - half - 0.2 * size
    shape = _box(round(form.width + 4 * size), round(2 * half))
    return rf"\pos({left:.0f},{top:.0f})\blur{0.3 * size:.1f}{dark}", shape


def _rule_at(count: int, form: Format, size: float) -> str:
    """A short rule above the words of an end card."""
    up = ((count - 1) / 2 * _LEADING + 1.15) * size
    y = form.height * place_of(form).title - up
    return rf"\fscx100\fscy100\an5\pos({form.width / 2:.0f},{y:.0f})\1a{_alpha(0.85)}\p1"


def _box(width: int, height: int) -> str:
    return f"m 0 0 l {width} 0 {width} {height} 0 {height}"


def _alpha(opacity: float) -> str:
    """As ASS counts it: 00 is opaque."""
    return f"&H{round(255 * (1 - opacity)):02X}&"


def escape(text: str) -> str:
    """Plain text for libass: no overrides, no line breaks of its own, nothing that cannot be drawn."""
    plain = text.replace("\\", "＼").replace("{", "｛").replace("}", "｝")
    return "".join(" " if one in "\n\r\t" else one for one in plain if one in "\n\r\t" or category(one) != "Cc")


def clock(seconds: Fraction) -> str:
    """`0:00:02.50`, to the hundredth."""
    hundredths = round(seconds * 100)
    return f"{hundredths // 360_000}:{hundredths // 6000 % 60:02d}:{hundredths // 100 % 60:02d}.{hundredths % 100:02d}"
