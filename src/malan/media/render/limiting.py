"""How much gain a mix needs so that it has its loudness after the limiter has taken the tops away.

The limiter is followed in steps of a millisecond: what each step must be lowered by, and how it comes back. Loudness is
that of ITU-R BS.1770-5 before and after, with its filter and both gates: where tops go, the gate falls and quieter
parts count too. Start at `gain_for`.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from malan.media.mastering import weighted

Floats = NDArray[np.float64]

ATTACK_S, RELEASE_S = 0.005, 0.06
_STEP_S, _HOP_STEPS, _HOPS = 0.001, 100, 4  # a gating block is 400 ms, every 100 ms
_ABSOLUTE_LUFS, _RELATIVE_LU, _OFFSET_LU = -70.0, -10.0, -0.691
_BEFORE = 4096  # samples the filter reaches back
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
    """The largest sample of every step, and the energy of what is heard: weighted, both channels added."""
    step = round(_STEP_S * rate_hz)
    samples = np.memmap(mix, "<f4", "r").reshape(-1, 2) if mix.stat().st_size >= 8 * step else np.zeros((0, 2), "<f4")
    count = len(samples) // step
    peaks, energies = np.zeros(count), np.zeros(count)
    for begin in range(0, count, _CHUNK_STEPS):
        end = min(count, begin + _CHUNK_STEPS)
        peaks[begin:end] = np.abs(samples[begin * step : end * step]).reshape(-1, 2 * step).max(axis=1)
        first = max(0, begin * step - _BEFORE)
        heard = weighted(samples[first : end * step])[begin * step - first :].reshape(-1, 2 * step)
        energies[begin:end] = np.einsum("ij,ij->i", heard, heard, dtype=np.float64) / step
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
    return _loudness(energies * gain * gain) - _loudness(energies * (gain * held) ** 2)


def _shifts(length_s: float) -> range:
    return range(1, round(length_s / _STEP_S))


def _loudness(energies: Floats) -> float:
    """Integrated loudness of steps, LUFS; that of all of it where nothing is loud enough to count."""
    whole = -(-len(energies) // _HOP_STEPS) * _HOP_STEPS
    hops = np.pad(energies, (0, whole - len(energies))).reshape(-1, _HOP_STEPS).mean(axis=1)
    blocks = np.convolve(hops, np.full(_HOPS, 1 / _HOPS), "valid" if len(hops) >= _HOPS else "full")
    loud = blocks[blocks > 10 ** ((_ABSOLUTE_LUFS - _OFFSET_LU) / 10)]
    counted = loud[loud > loud.mean() * 10 ** (_RELATIVE_LU / 10)] if len(loud) else blocks
    return float(_OFFSET_LU + 10 * np.log10(max(float(counted.mean()), 1e-12)))
