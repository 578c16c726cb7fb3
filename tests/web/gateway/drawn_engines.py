"""Engines of this machine that draw what they make; opened by the same door as real ones."""

from __future__ import annotations

import threading
import time

import numpy as np

from malan.core.errors import MalanError
from malan.inference.backends import (
    Engine,
    ImageAsk,
    Sound,
    SpeechAsk,
    Stop,
    Tell,
    Transcript,
    Word,
    go_on,
    say_nothing,
)
from malan.inference.opening import Opening

STOPPED, STARTED = threading.Event(), threading.Event()


class Drawn:
    """Tones, gradients and fixed words."""

    def __init__(self, kind: str) -> None:
        self.kind = kind

    voices = ("one",)

    def close(self) -> None:
        pass

    def speak(self, ask: SpeechAsk, *, stop: Stop = go_on) -> Sound:
        stop()
        while ask.text == "for ever":
            STARTED.set()
            time.sleep(0.02)
            try:
                stop()
            except MalanError:
                STOPPED.set()
                raise
        tone = 0.2 * np.sin(np.arange(1600 * len(ask.text)) / 9)
        return Sound(tone.astype(np.float32)[:, None], 16000)

    def transcribe(self, samples: np.ndarray, *, language: str = "", stop: Stop = go_on) -> Transcript:
        stop()
        return Transcript(f"{len(samples)} samples", (Word("云", 0.0, 0.5), Word("海", 0.5, 1.0)), language or "zh")

    def paint(self, ask: ImageAsk, *, tell: Tell = say_nothing, stop: Stop = go_on) -> np.ndarray:
        stop()
        shade = np.linspace(0, 255, ask.width, dtype=np.uint8)
        return np.broadcast_to(shade[None, None, :, None], (ask.count, ask.height, ask.width, 3)).copy()


def open_drawn(opening: Opening) -> Engine:
    return Drawn(opening.kind)
