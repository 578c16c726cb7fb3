"""What reading captions gives back."""

from __future__ import annotations

from dataclasses import dataclass

from malan.curation.captions.luma import Box


@dataclass(frozen=True)
class Caption:
    """One text laid over the film. Lines of the text are separated by newlines, from top to bottom."""

    text: str
    first_frame: int
    end_frame: int  # excluded
    box: Box  # x0, y0, x1, y1 in pixels of the picture as shown
    confidence: float  # 0 to 1, mean over the characters
    language: str  # zh, en, zh+en, or "" where neither fits


@dataclass(frozen=True)
class CaptionReport:
    """The texts laid over a film, told apart, each in order of its first frame.

    `captions` come and go with what is said. `persistent` stays while captions change: a station logo, a watermark, a
    licence number. Signs in the scene and title cards in the middle of the picture are neither.
    """

    captions: tuple[Caption, ...]
    persistent: tuple[Caption, ...]
    frames: int
    frames_decoded: int
    ocr_calls: int  # pictures of texts that were given to the reader
    cpu_s: float
