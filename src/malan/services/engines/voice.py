"""A script, spoken: each line at its time, through a voice of `models.toml`.

What speaks is a machine, so whatever the sound becomes part of carries the label of generated content:
`SpokenScript.ai` is handed to `publish`. Start reading at `speak_script`.
"""

from __future__ import annotations

import wave
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, cast

import numpy as np
from numpy.typing import NDArray

from malan.core.errors import UsageError
from malan.inference.backends import Sound, SpeechAsk, Stop, go_on
from malan.services.access import HOUSE, Caller
from malan.services.engines.opening import ai_part, open_engine
from malan.services.engines.settings import EngineRow, read_engines
from malan.services.outputs.publish import AiPart

if TYPE_CHECKING:
    from malan.inference.backends import Speaker
    from malan.workspace import Workspace

GAP_S, FADE_S = 0.35, 0.005
_PEAK = 0.89  # −1 dBFS
_MOST_LINES = 500


@dataclass(frozen=True, slots=True)
class SpokenLine:
    """A line and when it is heard; `late_s` says by how much the lines before pushed it on."""

    text: str
    start_s: float
    end_s: float
    late_s: float = 0.0


@dataclass(frozen=True, slots=True)
class SpokenScript:
    """The sound of a script. `unspoken` are words the voice's lexicon lacks; they are left out."""

    path: Path
    seconds: float
    rate_hz: int
    lines: tuple[SpokenLine, ...]
    unspoken: tuple[str, ...]
    ai: AiPart


def voices(ws: Workspace) -> tuple[str, ...]:
    """The voices that `models.toml` names; the first is used where nobody says which."""
    return tuple(row.name for row in read_engines(ws).of_kind("speech"))


def speak_script(
    ws: Workspace,
    lines: Sequence[str],
    out: Path,
    *,
    starts_s: Sequence[float] = (),
    engine: str = "",
    voice: str = "",
    language: str = "",
    speed: float = 1.0,
    caller: Caller = HOUSE,
    stop: Stop = go_on,
) -> SpokenScript:
    """Speak lines into one WAV file, 16 bit, mono, at the rate of the voice.

    Args:
        ws: Whose engines.
        lines: What is said.
        out: The file.
        starts_s: When each line begins; without, one follows the other after a short pause. A line never begins before
            the one before has ended.
        engine: A voice of `models.toml`; the first one, unless said otherwise.
        voice: One of its voices.
        language: Told to voices that want to know.
        speed: 1 is as the voice speaks.
        caller: On whose behalf.
        stop: Raises when nobody waits for it any more.

    Raises:
        UsageError: No voice is configured, there is nothing to say, or it cannot be said.
        NotGranted: The licence of the model forbids it.
    """
    said = [line.strip() for line in lines]
    if not any(said) or len(said) > _MOST_LINES or (starts_s and len(starts_s) != len(said)):
        raise UsageError("voice.lines", count=len(said), most=_MOST_LINES)
    row = _row(ws, engine)
    with open_engine(ws, row.name, "speech", caller=caller, stop=stop) as opened:
        speaker = cast("Speaker", opened)
        asked = (SpeechAsk(line, voice, language, speed) for line in said)
        sounds = [speaker.speak(ask, stop=stop) if ask.text else None for ask in asked]
        unspoken = getattr(speaker, "unspoken", lambda _text: ())(" ".join(said))
    rate_hz = next(sound.rate_hz for sound in sounds if sound is not None)
    placed, samples = _laid(said, sounds, starts_s, rate_hz)
    _write(out, samples, rate_hz)
    seconds = len(samples) / rate_hz
    return SpokenScript(out, seconds, rate_hz, placed, tuple(unspoken), ai_part(ws, row.name, share="composite"))


def _row(ws: Workspace, engine: str) -> EngineRow:
    book = read_engines(ws)
    if engine:
        return book.row(engine)
    rows = book.of_kind("speech")
    if not rows:
        raise UsageError("voice.no_engine")
    return rows[0]


def _laid(
    lines: Sequence[str], sounds: Sequence[Sound | None], starts_s: Sequence[float], rate_hz: int
) -> tuple[tuple[SpokenLine, ...], NDArray[np.float32]]:
    """Every line at its time, or as soon after as the one before has ended."""
    placed: list[SpokenLine] = []
    parts: list[NDArray[np.float32]] = []
    at = 0
    for number, (text, sound) in enumerate(zip(lines, sounds, strict=True)):
        if sound is None:
            continue
        wished = starts_s[number] if starts_s else (at / rate_hz + GAP_S if placed else 0.0)
        start = max(at, round(max(0.0, wished) * rate_hz))
        mono = _faded(sound.samples_NC.mean(axis=1), rate_hz)
        parts += [np.zeros(start - at, np.float32), mono]
        at = start + len(mono)
        late_s = round(max(0.0, start / rate_hz - wished), 3) if starts_s else 0.0
        placed.append(SpokenLine(text, round(start / rate_hz, 3), round(at / rate_hz, 3), late_s))
    samples = np.concatenate(parts)
    loudest = float(np.abs(samples).max(initial=0))
    return tuple(placed), samples * np.float32(min(1.0, _PEAK / loudest)) if loudest else samples


def _faded(samples: NDArray[np.float32], rate_hz: int) -> NDArray[np.float32]:
    """Without clicks at its edges."""
    count = min(round(FADE_S * rate_hz), len(samples) // 2)
    made = samples.astype(np.float32, copy=True)
    ramp = np.linspace(0, 1, count, endpoint=False, dtype=np.float32)
    made[:count] *= ramp
    made[len(made) - count :] *= ramp[::-1]
    return made


def _write(out: Path, samples: NDArray[np.float32], rate_hz: int) -> None:
    with wave.open(str(out), "wb") as file:
        file.setparams((1, 2, rate_hz, 0, "NONE", ""))
        file.writeframes(np.round(samples * 32767).astype("<i2").tobytes())
