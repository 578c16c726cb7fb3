"""What rises before a drop: noise whose colour climbs five octaves while it grows, and stops at once."""

from __future__ import annotations

import numpy as np

from malan.media.instruments.playing import RATE_HZ, Line, Sound, on_grid

_SIZE = 2048
_FROM_HZ, _OCTAVES, _WIDTH = 280.0, 5.0, 0.75
_STOPS_S = 0.012


def rise(line: Line, seconds: float) -> Sound:
    """A riser a note, as long as the note, (samples, 2)."""
    count = round(seconds * RATE_HZ)
    out = np.zeros((count, 2), np.float32)
    for number, tone in enumerate(line.tones):
        start, end = round(tone.start_s * RATE_HZ), min(round(tone.end_s * RATE_HZ), count)
        if end - start > _SIZE:
            out[start:end] += _sweep(end - start, number) * np.float32(tone.force / 100)
    return on_grid(out)


def _sweep(count: int, lot: int) -> Sound:
    """Blocks that overlap by half, each through a band that lies a little higher than the one before."""
    hop = _SIZE // 2
    blocks = -(-count // hop) + 1
    lots = np.random.Generator(np.random.PCG64(71 + lot))
    noise = lots.random(((blocks + 1) * hop, 2)) - 0.5
    window = (0.5 - 0.5 * np.cos(2 * np.pi * np.arange(_SIZE) / _SIZE))[:, None]
    octaves = np.log2(np.maximum(np.fft.rfftfreq(_SIZE, 1 / RATE_HZ), 1.0) / _FROM_HZ)
    out = np.zeros(((blocks + 1) * hop, 2))
    for number in range(blocks):
        done = number / blocks
        band = np.exp(-(((octaves - _OCTAVES * done) / _WIDTH) ** 2))[:, None]
        piece = np.fft.rfft(noise[number * hop : number * hop + _SIZE] * window, axis=0)
        out[number * hop : number * hop + _SIZE] += np.fft.irfft(piece * band, _SIZE, axis=0) * done**2
    held = out[:count]
    stops = round(_STOPS_S * RATE_HZ)
    held[-stops:] *= np.linspace(1.0, 0.0, stops)[:, None]
    return held.astype(np.float32)
