"""A promo as an editing system sees it: reels with their timecode, what is taken from where, what is said over it.

Frames of a source are counted at its own rate, those of the film at the film's. Start reading at `edit_of`.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING

from malan.apps.promo.board import Storyboard
from malan.apps.promo.captions import Line, cards_of
from malan.apps.promo.request import format_of
from malan.media.open import open_media
from malan.media.render import Format

if TYPE_CHECKING:
    from malan.apps.promo.build import Built
    from malan.services.clips.picking import Footage

_RATES = tuple(Fraction(*one) for one in (
    (24000, 1001), (24, 1), (25, 1), (30000, 1001), (30, 1), (48, 1), (50, 1), (60000, 1001), (60, 1),
))  # fmt: skip
_CLOSE = Fraction(1, 2500)  # a mean of many frames is that near to its rate
_LABEL = re.compile(r"(\d{1,2}):(\d\d):(\d\d)([:;.,])(\d\d)")


@dataclass(frozen=True)
class Reel:
    """A source file. `first` is the number of its first frame by its timecode, 0 where it has none."""

    path: Path
    name: str  # eight letters and digits, its own
    rate: Fraction
    frames: int
    first: int = 0
    drops: bool = False  # drop-frame labels (SMPTE ST 12-1, 29.97 and 59.94)
    size: tuple[int, int] = (0, 0)
    channels: int = 0
    sound_hz: int = 0

    def label(self, frame: int) -> str:
        """The timecode of a frame, counted from the first."""
        return smpte(self.first + frame, self.rate, drops=self.drops)


@dataclass(frozen=True)
class Cut:
    """A shot: `first` is its first frame in the reel, `at` in the film; it lasts so many frames of the film."""

    reel: Reel
    clip: str
    first: int
    at: int
    frames: int
    is_heard: bool
    fills: bool  # the picture fills the film's and loses its edges


@dataclass(frozen=True)
class Track:
    """A file that sounds over the film from its beginning: a voice, music."""

    kind: str  # voice, music
    path: Path
    start: Fraction
    length: Fraction  # of the file, seconds
    gain_db: float = 0.0


@dataclass(frozen=True)
class Edit:
    """The whole cut."""

    title: str
    rate: int
    form: Format
    cuts: tuple[Cut, ...]
    tracks: tuple[Track, ...]
    lines: tuple[Line, ...]  # cards and captions
    language: str

    @property
    def frames(self) -> int:
        return sum(cut.frames for cut in self.cuts)


def edit_of(board: Storyboard, built: Built, stem: str) -> Edit:
    """What editing systems are told of a film.

    Raises:
        MediaError: A source cannot be opened.
    """
    reels: dict[str, Reel] = {}
    cuts, at, form = [], 0, format_of(board.formats[0], board.lines)
    for shot, row, file, piece in zip(board.shots, built.rows, built.footage, built.timeline.pieces, strict=True):
        key = row.clip.asset_id
        if key not in reels:
            reels[key] = _reel(file, key, {one.name for one in reels.values()})
        origin = file.video.start_ticks * file.video.timebase
        first = max(0, round((piece.start - origin) * reels[key].rate))
        heard = shot.sound and file.sound_track is not None
        cuts.append(Cut(reels[key], row.id, first, at, shot.frames, heard, _fills(reels[key], form)))
        at += shot.frames
    tracks = tuple(_tracks(board))
    lines = (*cards_of(board), *built.captions)
    return Edit(board.title or stem, board.rate, form, tuple(cuts), tracks, tuple(lines), board.language)


def _fills(reel: Reel, form: Format) -> bool:
    return reel.size[0] > 0 and abs(reel.size[0] / reel.size[1] / float(form.aspect) - 1) > 0.01


def _tracks(board: Storyboard) -> Sequence[Track]:
    found = []
    if board.voice and not board.is_spoken:
        found.append(Track("voice", Path(board.voice).resolve(), Fraction(0), _length(board.voice)))
    if board.music:
        start = Fraction(str(board.music_from_s))
        found.append(Track("music", Path(board.music).resolve(), start, _length(board.music), -6.0))
    return found


def _length(path: str) -> Fraction:
    with open_media(path) as container:
        return Fraction(int(container.duration or 0), 1_000_000)


def _reel(file: Footage, asset_id: str, taken: set[str]) -> Reel:
    video = file.video
    rate = usual_rate(video.mean_rate or Fraction(25))
    frames = video.frame_count or round(video.duration_ticks * video.timebase * rate)
    label, channels, hertz = _in_file(file)
    first, drops = frame_of(label, rate) if label else (0, False)
    size = video.shown_size_px or (0, 0)
    return Reel(
        file.path.resolve(), _name(file.path, asset_id, taken), rate, frames, first, drops, size, channels, hertz
    )


def _in_file(file: Footage) -> tuple[str, int, int]:
    """Timecode of the first frame, channels and sample rate, as the file tells them."""
    with open_media(file.path) as container:
        told = [container.metadata, *(stream.metadata for stream in container.streams)]
        label = next((one["timecode"] for one in told if one.get("timecode")), "")
        if file.sound_track is None:
            return label, 0, 0
        sound = container.streams[file.sound_track].codec_context
        return label, int(getattr(sound, "channels", 0) or 0), int(getattr(sound, "sample_rate", 0) or 0)


def _name(path: Path, asset_id: str, taken: set[str]) -> str:
    """Eight letters and digits as CMX 3600 wants them: of the file's name where it has some, else of its digest."""
    plain = re.sub(r"[^A-Z0-9_]", "", path.stem.upper())
    telling = len(plain) >= 3
    names = [plain[:8], *(f"{plain[:6]}{number:02d}" for number in range(2, 100))] if telling else []
    return next((one for one in names if one not in taken), asset_id[:8].upper())


def usual_rate(mean: Fraction) -> Fraction:
    """The rate a file was made at, where its mean is near to a usual one."""
    near = min(_RATES, key=lambda rate: abs(rate - mean))
    return near if abs(near - mean) / near <= _CLOSE else mean.limit_denominator(1001)


def frame_of(label: str, rate: Fraction) -> tuple[int, bool]:
    """The number of a frame by its timecode, and whether labels are dropped; 0 where it is none."""
    found = _LABEL.fullmatch(label.strip())
    if found is None:
        return 0, False
    hours, minutes, seconds, frames = (int(found[n]) for n in (1, 2, 3, 5))
    nominal, drops = max(1, round(rate)), found[4] in ";.," and round(rate) in (30, 60)
    past = 60 * hours + minutes
    number = (60 * past + seconds) * nominal + frames
    return number - (nominal // 15 * (past - past // 10) if drops else 0), drops


def smpte(frame: int, rate: Fraction, *, drops: bool = False) -> str:
    """`HH:MM:SS:FF`, or `HH:MM:SS;FF` where labels are dropped (SMPTE ST 12-1)."""
    nominal = max(1, round(rate))
    if drops:
        skipped = nominal // 15  # labels a minute, but none every tenth
        tens, rest = divmod(frame, 600 * nominal - 9 * skipped)
        minutes = max(0, rest - skipped) // (60 * nominal - skipped)
        frame += skipped * (9 * tens + minutes)
    seconds, frames = divmod(frame, nominal)
    mark = ";" if drops else ":"
    return f"{seconds // 3600 % 24:02d}:{seconds // 60 % 60:02d}:{seconds % 60:02d}{mark}{frames:02d}"


def one_line(text: str) -> str:
    """A text that cannot end the line it stands in: what does not print shows as `?`."""
    return "".join(letter if letter.isprintable() else "?" for letter in text)
