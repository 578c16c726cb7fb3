"""What is said in an episode, as moments that rules read: through the recogniser of the workspace, if it has one."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from malan.apps.review.language.values import Moment

if TYPE_CHECKING:
    from malan.apps.frame import Work
    from malan.services.files.speech import FileSpeech


@dataclass(frozen=True)
class Spoken:
    """A `SpeechReader`."""

    hears: FileSpeech

    @property
    def model(self) -> str:
        return self.hears.model

    def read(self, path: Path) -> Sequence[Moment]:
        """A moment a line, in seconds from the first frame."""
        lines = self.hears.lines(path)
        return [Moment(max(0.0, one.start_s), one.end_s, one.text, source="speech") for one in lines]


@contextmanager
def spoken(work: Work) -> Iterator[Spoken | None]:
    """The recogniser of the workspace; None where none is configured."""
    if work.workspace is None:
        yield None
        return
    from malan.services.files.speech import open_speech

    with open_speech(work.workspace, caller=work.caller, stop=work.stop_if_asked) as hears:
        yield None if hears is None else Spoken(hears)
