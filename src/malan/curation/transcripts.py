"""From where people speak to what they say: stretches of sound for a recogniser, and its words as findings.

    speech.segment ─ joined, not too long ─▶ stretches ─ recogniser ─▶ words ─ cut like subtitles ─▶ speech.transcript

A finding is a line as it would stand under the picture: short, ending where the speaker breathes, with the time of each
word. The recogniser is somebody else's; nothing here loads a model. Start reading at `stretches_of` and `lines_of`.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from fractions import Fraction
from math import isfinite
from typing import Any

import numpy as np
from numpy.typing import NDArray

from malan.core import Clip, Finding, Span, Track
from malan.inference.backends import Transcript, Word
from malan.inference.speech import RATE_HZ
from malan.media.audio import audio_between

KIND = PRODUCER = "speech.transcript"
PAUSE_S, MARGIN_S, LONGEST_S = 0.7, 0.15, 25.0  # speech nearer than the pause is heard together, up to the longest
BREATH_S, LINE_S = 0.6, 6.0
LINE_CHINESE, LINE_OTHER = 20, 64  # characters
_ENDS = re.compile(r".*[。！？!?；;…]$|.*[^.]\.$")
_COMMAS = re.compile(r".*[，,、：:]$")
_CHINESE = re.compile(r"[\u3040-\u30ff\u3400-\u9fff\uf900-\ufaff]")

Stretch = tuple[float, float]


@dataclass(frozen=True, slots=True)
class Line:
    """A line of speech, in seconds on the clock of the asset; without words where the recogniser tells no times."""

    text: str
    start_s: float
    end_s: float
    words: tuple[Word, ...] = ()
    language: str = ""


def stretches_of(segments: Iterable[Stretch], *, end_s: float) -> list[Stretch]:
    """What is given to the recogniser at once: neighbours joined, a margin around, none longer than `LONGEST_S`.

    A longer one is left whole if it is one segment: the recogniser cuts it where it is quietest.
    """
    found: list[Stretch] = []
    for first, last in sorted(segments):
        begin, end = max(0.0, first - MARGIN_S), min(end_s, last + MARGIN_S)
        if found and begin - found[-1][1] <= PAUSE_S and end - found[-1][0] <= LONGEST_S:
            found[-1] = found[-1][0], max(found[-1][1], end)
            continue
        begin = max(begin, found[-1][1]) if found else begin
        if end > begin:
            found.append((begin, end))
    return found


def hear_stretches(path: str, track: int, stretches: Sequence[Stretch]) -> list[bytes]:
    """The sound of stretches as 16-bit mono samples at 16 kHz; runs in a worker. What cannot be decoded is silent.

    Raises:
        MediaError: The file cannot be opened, or nobody can decode its sound.
    """
    return [_heard(path, track, begin, end).tobytes() for begin, end in stretches]


def _heard(path: str, track: int, begin_s: float, end_s: float) -> NDArray[np.int16]:
    start, end = Fraction(round(begin_s * RATE_HZ), RATE_HZ), Fraction(round(end_s * RATE_HZ), RATE_HZ)
    samples = np.zeros(int((end - start) * RATE_HZ), np.float32)
    for block in audio_between(path, start, end, track, rate=RATE_HZ):
        mono = block.samples.mean(axis=1)
        at = round((block.start - start) * RATE_HZ)
        first, last = max(0, at), min(len(samples), at + len(mono))
        if last > first:
            samples[first:last] = mono[first - at : last - at]
    return np.round(samples.clip(-1, 1) * 32767).astype(np.int16)


def samples_of(data: bytes) -> NDArray[np.float32]:
    """What a recogniser is given."""
    return np.frombuffer(data, "<i2").astype(np.float32) / np.float32(32768)


def lines_of(said: Transcript, begin_s: float, end_s: float) -> list[Line]:
    """What was said in a stretch as lines of a few seconds each."""
    if not said.text.strip():
        return []
    words = list(_placed(said.words, begin_s, end_s))
    if not words:
        return [Line(said.text.strip(), begin_s, end_s, (), said.language)]
    return [_line(part, said.language) for part in _parts(words)]


def _placed(words: Iterable[Word], begin_s: float, end_s: float) -> Iterator[Word]:
    """Words on the clock of the asset, in order and within their stretch, whatever a recogniser says of their times."""
    until_s = begin_s
    for word in words:
        if not word.text.strip() or not isfinite(word.start_s + word.end_s + word.confidence):
            continue
        at_s = min(end_s, max(until_s, word.start_s + begin_s))
        until_s = min(end_s, max(at_s, word.end_s + begin_s))
        yield replace(word, start_s=at_s, end_s=until_s, confidence=min(1.0, max(0.0, word.confidence)))


def findings_of(lines: Iterable[Line], asset_id: str, track: Track, version: str, model: str) -> Iterator[Finding]:
    """The lines as findings about their own stretch of the audio track."""
    for line in lines:
        start, end = (round(Fraction(edge) / track.timebase) for edge in (line.start_s, line.end_s))
        words = [[w.text, round(w.start_s, 3), round(w.end_s, 3), round(w.confidence, 3)] for w in line.words]
        value: dict[str, Any] = {"text": line.text, "language": line.language, "words": words, "model": model}
        sure = round(float(np.mean([w.confidence for w in line.words])), 3) if line.words else None
        clip = Clip(asset_id, track.index, Span(start, max(start + 1, end), track.timebase))
        yield Finding(clip, KIND, PRODUCER, version, value, sure)


def to_srt(findings: Iterable[Finding], *, origin_s: float = 0.0) -> str:
    """Lines as SubRip, to be written as UTF-8; times count from `origin_s`."""
    blocks = []
    for number, one in enumerate(findings, 1):
        times = [_clock(max(0.0, at - origin_s)) for at in (one.clip.span.start_s, one.clip.span.end_s)]
        blocks.append(f"{number}\n{times[0]} --> {times[1]}\n{one.value['text']}\n")
    return "\n".join(blocks)


def _parts(words: Sequence[Word]) -> Iterator[list[Word]]:
    """Words that make a line: up to a breath, the end of a sentence, or as much as fits under a picture."""
    part: list[Word] = []
    for word in words:
        if part and (word.start_s - part[-1].end_s >= BREATH_S or _ENDS.match(part[-1].text) or _is_full(part, word)):
            yield part
            part = []
        part.append(word)
    if part:
        yield part


def _is_full(part: Sequence[Word], word: Word) -> bool:
    text = _text([*part, word])
    most = LINE_CHINESE if _CHINESE.search(text) else LINE_OTHER
    if word.end_s - part[0].start_s > LINE_S or len(text) > most:
        return True
    return len(text) > most * 2 // 3 and bool(_COMMAS.match(part[-1].text))


def _line(words: Sequence[Word], language: str) -> Line:
    return Line(_text(words), words[0].start_s, max(one.end_s for one in words), tuple(words), language)


def _text(words: Sequence[Word]) -> str:
    """Words side by side; a space between two that are not Chinese."""
    text = ""
    for word in words:
        gap = bool(text) and not _CHINESE.search(text[-1] + word.text[:1]) and not _is_mark(text[-1])
        text += (" " if gap else "") + word.text
    return text


def _is_mark(character: str) -> bool:
    return character in "，。！？、；：…「」『』（）《》“”"


def _clock(seconds: float) -> str:
    millis = round(seconds * 1000)
    minutes, millis = divmod(millis, 60_000)
    return f"{minutes // 60:02d}:{minutes % 60:02d}:{millis // 1000:02d},{millis % 1000:03d}"
