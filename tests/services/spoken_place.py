"""Sound in which people speak and letters are heard: real speech without its highs, and tones above it.

The detector of speech hears the voice, the recogniser of `onnx_factory` hears the tones; so what must be written down,
and when, is known.
"""

from __future__ import annotations

import subprocess
import wave
from collections.abc import Mapping
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from onnx_factory import RATE_HZ, TONES, write_listener

from malan.services.models.bases import add_base
from malan.services.models.rows import ModelRow
from malan.workspace import Workspace

EAR = '[engines.ear]\nkind = "transcription"\nbackend = "sherpa"\nmodel = "ear"\n'
SENTENCE = "The river runs through the valley, and the people of the town sing their old songs."
_VOICE_HZ = 2400.0


def with_ear(ws: Workspace, folder: Path, *, licence: str = "Apache-2.0", name: str = "ear") -> ModelRow:
    """Register the recogniser of tones and name it in `models.toml`."""
    base = add_base(ws, write_listener(folder / name), licence=licence, family="zipformer", name=name)
    file = ws.root / "models.toml"
    file.write_text((file.read_text() if file.exists() else "") + EAR.replace("ear", name))
    return base


def speech(folder: Path) -> NDArray[np.float32]:
    """A spoken sentence, 16 kHz mono, nothing above 2.4 kHz."""
    path = folder / "speech.wav"
    subprocess.run(["espeak-ng", "-s", "150", "-w", path, SENTENCE], check=True, capture_output=True)
    with wave.open(str(path)) as file:
        rate = file.getframerate()
        samples = np.frombuffer(file.readframes(file.getnframes()), "<i2").astype(np.float64) / 32768
    spectrum = np.fft.rfft(samples)
    spectrum[np.fft.rfftfreq(len(samples), 1 / rate) > _VOICE_HZ] = 0
    count = round(len(samples) * RATE_HZ / rate)
    quiet = np.fft.irfft(spectrum, len(samples))
    return np.interp(np.arange(count) * rate / RATE_HZ, np.arange(len(quiet)), quiet).astype(np.float32)


def spoken_sound(folder: Path, letters: Mapping[float, str], *, gap_s: float = 0.0, times: int = 1) -> Path:
    """A sound file: silence, then the sentence (some times, with gaps), with letters at these seconds."""
    voice, gap = speech(folder), np.zeros(round(gap_s * RATE_HZ), np.float32)
    sound = np.concatenate([np.zeros(RATE_HZ // 2, np.float32), *([voice, gap] * times)])
    ticks = np.arange(round(0.3 * RATE_HZ)) / RATE_HZ
    for at_s, letter in letters.items():
        first = round(at_s * RATE_HZ)
        sound[first : first + len(ticks)] += 0.25 * np.sin(2 * np.pi * TONES[letter] * ticks)
    path = folder / "spoken.wav"
    with wave.open(str(path), "wb") as file:
        file.setparams((1, 2, RATE_HZ, 0, "NONE", ""))
        file.writeframes((sound.clip(-1, 1) * 32767).astype("<i2").tobytes())
    return path
