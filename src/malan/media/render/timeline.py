"""A film as data: pieces of footage one after the other, how each is framed in each format, and what is written on it.

Times are whole frames of the film's own rate, so that what is shown when follows from the data alone. Start at
`Timeline`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from fractions import Fraction
from functools import cached_property
from itertools import accumulate
from typing import Any

from malan.core.errors import UsageError
from malan.core.ids import digest_record

LONGEST_S = 3600
MOST_PIECES = 400


@dataclass(frozen=True, slots=True)
class Format:
    """A size to deliver in, pixels square."""

    name: str  # 16x9, 9x16, 1x1, 4x5
    width: int
    height: int

    @property
    def aspect(self) -> Fraction:
        return Fraction(self.width, self.height)


@dataclass(frozen=True, slots=True)
class Key:
    """Where the middle of the frame looks at a moment of a piece, as shares of the upright picture (0 to 1)."""

    at_s: float
    x: float
    y: float


@dataclass(frozen=True)
class View:
    """How a piece is framed: the largest window of the format's shape, moved along keys; `zoom` 1 takes all of it.

    `is_whole` shows the whole picture on a blurred ground of itself instead of cropping: all of `part`, a box in shares
    (x, y, width, height), which leaves out black bars.
    """

    keys: tuple[Key, ...] = (Key(0.0, 0.5, 0.5),)
    zoom: float = 1.0
    is_whole: bool = False
    part: tuple[float, float, float, float] = (0.0, 0.0, 1.0, 1.0)


@dataclass(frozen=True, slots=True)
class Cover:
    """A place in the picture to fill from what is around it while something stands there: an old burned-in caption.

    Shares of the upright picture; seconds of the piece.
    """

    x: float
    y: float
    width: float
    height: float
    begin_s: float = 0.0
    end_s: float = 1e6


@dataclass(frozen=True)
class Piece:
    """A stretch of one file, or a plain ground when `path` is empty.

    Args:
        name: What it is for those who compare timelines: the id of a clip.
        path: The file.
        start: Seconds from the file's clock zero at which it begins.
        frames: How long, in frames of the timeline.
        views: By format; the middle of the picture where none is given.
        covers: What is filled from around it: old burned-in captions.
        gain_db: Of its own sound; None: silent.
        size: Upright width and height in pixels, as shown.
    """

    name: str
    path: str
    start: Fraction
    frames: int
    size: tuple[int, int] = (0, 0)
    track: int = 0
    views: Mapping[str, View] = field(default_factory=dict)
    covers: tuple[Cover, ...] = ()
    gain_db: float | None = 0.0
    sound_track: int | None = None
    is_interlaced: bool = False
    is_hdr: bool = False
    matrix: str = "bt709"  # how its colours are coded: bt709, bt601, bt2020
    primaries: str = ""  # of HDR, as the scaler names them; empty: BT.2020
    colour: str = "black"  # of a plain ground

    def __post_init__(self) -> None:
        if self.frames < 1:
            raise UsageError("render.empty_piece", name=self.name[:40])


@dataclass(frozen=True)
class Timeline:
    """A film. `written` holds, by format, what libass draws on it: a whole ASS script over the film's clock.

    Raises:
        UsageError: There is nothing to show, too much, or a rate or size that makes no sense.
    """

    rate: Fraction
    pieces: tuple[Piece, ...]
    formats: tuple[Format, ...]
    written: Mapping[str, str] = field(default_factory=dict)
    fonts: str = ""  # a folder of fonts libass may use; empty: those of the system

    def __post_init__(self) -> None:
        if not 1 <= len(self.pieces) <= MOST_PIECES or not self.formats:
            raise UsageError("render.no_pieces", most=MOST_PIECES)
        if not 1 <= self.rate <= 120 or self.duration > LONGEST_S:
            raise UsageError("render.bad_length", most=LONGEST_S)
        for one in self.formats:
            if one.width % 2 or one.height % 2 or not 16 <= one.width <= 8192 or not 16 <= one.height <= 8192:
                raise UsageError("render.bad_size", name=one.name, width=one.width, height=one.height)

    @property
    def frames(self) -> int:
        return sum(piece.frames for piece in self.pieces)

    @property
    def duration(self) -> Fraction:
        """Seconds, exact."""
        return self.frames / self.rate

    @cached_property
    def starts(self) -> tuple[int, ...]:
        """The first frame of each piece, and the end of the last."""
        return tuple(accumulate((piece.frames for piece in self.pieces), initial=0))

    def key_of(self, number: int, form: Format, encoder: str) -> str:
        """Names the picture of a piece in a format: the same key is the same picture, whatever is around it."""
        piece = self.pieces[number]
        shown: dict[str, Any] = {name: value for name, value in asdict(piece).items() if name not in _UNSEEN}
        shown["start"] = str(piece.start)
        shown["views"] = asdict(piece.views.get(form.name, View()))
        held = [str(self.rate), form.name, form.width, form.height, encoder, lines_within(self, number, form)]
        return digest_record("render.piece", [_plain(shown), held])


_UNSEEN = frozenset({"gain_db", "sound_track", "name"})


def lines_within(timeline: Timeline, number: int, form: Format) -> list[str]:
    """What is written on a piece and its styles, with times counted from its first frame; nothing where nothing is."""
    script = timeline.written.get(form.name, "")
    begin, end = timeline.starts[number] / timeline.rate, timeline.starts[number + 1] / timeline.rate
    held, is_written = [], False
    for line in script.splitlines():
        if not line.startswith("Dialogue:"):
            held.append(line)
            continue
        layer, start, stop, *rest = line.removeprefix("Dialogue:").split(",", 3)
        first, last = ass_seconds(start), ass_seconds(stop)
        if first < end and last > begin:
            held.append(",".join([layer, str(first - begin), str(last - begin), *rest]))
            is_written = True
    return held if is_written else []


def ass_seconds(text: str) -> Fraction:
    """`0:00:02.50` in seconds."""
    hours, minutes, seconds = text.strip().split(":")
    return Fraction(int(hours)) * 3600 + int(minutes) * 60 + Fraction(seconds)


def _plain(value: Any) -> Any:
    if isinstance(value, float):
        return repr(value)
    if isinstance(value, dict):
        return {str(key): _plain(inner) for key, inner in value.items()}
    return [_plain(inner) for inner in value] if isinstance(value, list | tuple) else value
