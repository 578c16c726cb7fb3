"""What is said in a file that need not be in the library: for reviews, and for whoever hands in a film.

Start reading at `open_speech`.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, cast

from malan.curation.operators.hearing import SPEECH_MARGIN_S, speech_stretches
from malan.curation.sound import WINDOW_S, hear
from malan.curation.transcripts import Line, Stretch, hear_stretches, lines_of, samples_of, stretches_of
from malan.inference.backends import Stop, go_on
from malan.media.probe import probe
from malan.services.access import HOUSE, Caller
from malan.services.engines.opening import open_engine
from malan.services.engines.settings import read_engines
from malan.services.footage.transcripts import version_of

if TYPE_CHECKING:
    from malan.inference.backends import Listener
    from malan.workspace import Workspace


@dataclass(frozen=True)
class FileSpeech:
    """A recogniser that hears files; `model` names it and the digest of its weights."""

    model: str
    listener: Listener
    stop: Stop = go_on

    def lines(self, path: Path) -> list[Line]:
        """What is said, in seconds from the first picture (of a file without pictures: from its first sound).

        Raises:
            MediaError: The file cannot be opened, or nobody can decode its sound.
        """
        found = probe(path)
        track = found.first("audio")
        sound = hear(path, track.index) if track else None
        if track is None or sound is None or sound.speech is None:
            return []
        first = found.first("video") or track
        origin_s = float(first.start_ticks * first.timebase)
        segments = [
            (float(sound.times_s[a]) - SPEECH_MARGIN_S, float(sound.times_s[b - 1]) + WINDOW_S + SPEECH_MARGIN_S)
            for a, b in speech_stretches(sound.speech)
        ]
        stretches = stretches_of(segments, end_s=sound.end_s)
        return [line for stretch in stretches for line in self._heard(path, track.index, stretch, origin_s)]

    def _heard(self, path: Path, track: int, stretch: Stretch, origin_s: float) -> list[Line]:
        [data] = hear_stretches(str(path), track, [stretch])
        said = self.listener.transcribe(samples_of(data), stop=self.stop)
        return lines_of(said, stretch[0] - origin_s, stretch[1] - origin_s)


@contextmanager
def open_speech(ws: Workspace, *, caller: Caller = HOUSE, stop: Stop = go_on) -> Iterator[FileSpeech | None]:
    """The first recogniser of `models.toml`, ready to hear files; None where none is configured.

    Raises:
        NotGranted: The licence of its model forbids it.
        MalanError: It cannot be opened.
    """
    rows = read_engines(ws).of_kind("transcription")
    if not rows:
        yield None
        return
    row = rows[0]
    with open_engine(ws, row.name, "transcription", caller=caller, stop=stop) as engine:
        yield FileSpeech(f"{row.name} {version_of(ws, row)[:12]}", cast("Listener", engine), stop)
