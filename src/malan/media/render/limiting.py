"""How much gain a mix needs so that it has its loudness after the limiter has taken the tops away.

The limiter is followed in steps of a millisecond: what each step must be lowered by, and how it comes back. The
loss of energy in what is loud enough to count (EBU R 128's gates, without its filter) is close to the loss of loudness.
Start at `gain_for`.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]

ATTACK_S, RELEASE_S = 0.005, 0.06
_STEP_S, _GATE_STEPS = 0.001, 400  # a gating block is 400 ms
_ABSOLUTE_DB, _RELATIVE_DB = -70.0, -10.0
_ROUNDS = 8
_CHUNK_STEPS = 60_000  # a minute at a time


def gain_for(mix: Path, rate_hz: int, loudness_lufs: float, target_lufs: float, limit: float) -> float:
    """The gain in dB.

    Args:
        mix: Interleaved stereo, 32-bit floats, little endian, without a header.
        limit: The largest sample the limiter lets pass, linear.
    """
    peaks, energies = _steps(mix, rate_hz)
    wished = gain = target_lufs - loudness_lufs
    for _ in range(_ROUNDS):
        lost = _lost_db(peaks, energies, 10 ** (gain / 20), limit)
        gain, before = wished + lost, gain
        if abs(gain - before) < 0.02:
            break
    return gain


def _steps(mix: Path, rate_hz: int) -> tuple[Floats, Floats]:
    """The largest sample and the mean square of every step, both channels together."""
    size = round(_STEP_S * rate_hz) * 2
    samples = np.memmap(mix, "<f4", "r") if mix.stat().st_size >= 4 * size else np.zeros(0, np.float32)
    count = len(samples) // size
    peaks, energies = np.zeros(count), np.zeros(count)
    for begin in range(0, count, _CHUNK_STEPS):
        end = min(count, begin + _CHUNK_STEPS)
        part = np.abs(samples[begin * size : end * size].reshape(-1, size))
        peaks[begin:end] = part.max(axis=1)
        energies[begin:end] = np.einsum("ij,ij->i", part, part, dtype=np.float64) / size
    return peaks, energies


def _lost_db(peaks: Floats, energies: Floats, gain: float, limit: float) -> float:
    """Loudness that the limiter takes away, 0 or more."""
    needed = np.minimum(1.0, limit / np.maximum(peaks * gain, 1e-9))
    if not len(needed) or needed.min() >= 1.0:
        return 0.0
    held = needed.copy()
    for shift, length in [*((n, RELEASE_S) for n in _shifts(RELEASE_S)), *((-n, ATTACK_S) for n in _shifts(ATTACK_S))]:
        eased = needed + (1 - needed) * min(1.0, abs(shift) * _STEP_S / length)
        if shift > 0:
            held[shift:] = np.minimum(held[shift:], eased[:-shift])
        else:
            held[:shift] = np.minimum(held[:shift], eased[-shift:])
    loud = _counted(energies * gain * gain)
    before, after = energies[loud].sum(), (energies * held**2)[loud].sum()
    return float(10 * np.log10(before / after)) if after > 0 else 0.0


def _shifts(length_s: float) -> range:
    return range(1, round(length_s / _STEP_S))


def _counted(energies: Floats) -> NDArray[np.bool_]:
    """Steps in gating blocks that count for the loudness."""
    whole = -(-len(energies) // _GATE_STEPS) * _GATE_STEPS
    blocks = np.pad(energies, (0, whole - len(energies))).reshape(-1, _GATE_STEPS).mean(axis=1)
    audible = blocks > 10 ** (_ABSOLUTE_DB / 10)
    if not audible.any():
        return np.ones(len(energies), bool)
    counted = blocks > blocks[audible].mean() * 10 ** (_RELATIVE_DB / 10)
    return np.repeat(counted & audible, _GATE_STEPS)[: len(energies)]
