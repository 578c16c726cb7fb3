"""Small pictures of HDR footage in the range of usual screens, as films made of it show them.

The same curve as a render has (`render/graph.py`): white is 203 nits (ITU-R BT.2408), what is darker than half of it
stays, the rest up to 1000 nits is rolled off. In NumPy, for stills of a few hundred pixels; films are ffmpeg's. Start
reading at `brightness_of` and `in_range`.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Any

import av
import numpy as np
from av.video.reformatter import Interpolation, VideoReformatter
from numpy.typing import NDArray

Floats = NDArray[np.float32]

PQ, HLG = 16, 18  # transfer characteristics (ITU-T H.273, table 3)
_WHITE, _BRIGHTEST, _KNEE = 203.0, 4.93, 0.5  # nits; times white; of white
_BT709 = 1  # primaries (table 2)
_MATRIX_2020, _MATRIX_2020_CONSTANT = 9, 10  # matrix coefficients (table 4)
_TO_BT709 = {  # linear RGB of these primaries to that of BT.709, rows red, green, blue (ITU-R BT.2087; SMPTE EG 432-1)
    9: ((1.660491, -0.587641, -0.072850), (-0.124550, 1.132900, -0.008349), (-0.018151, -0.100579, 1.118730)),
    12: ((1.224940, -0.224940, 0.0), (-0.042057, 1.042057, 0.0), (-0.019638, -0.078636, 1.098274)),
}
_USUAL = 9


def brightness_of(frame: av.VideoFrame) -> int:
    """The transfer of a frame that is HDR, `PQ` or `HLG`; else 0."""
    transfer = int(frame.color_trc or 0)
    return transfer if transfer in (PQ, HLG) else 0


def small_in_range(scaler: VideoReformatter, frame: av.VideoFrame, size: tuple[int, int]) -> NDArray[np.uint8]:
    """An HDR frame as a picture of that width and height: RGB of BT.709, (H, W, C), 0–255, as stored, not turned."""
    matrix: Any = int(frame.colorspace)
    wide = scaler.reformat(
        frame, *size, "rgb48le", src_colorspace=_MATRIX_2020 if matrix in (0, 2, _MATRIX_2020_CONSTANT) else matrix,
        interpolation=Interpolation.AREA, threads=1,
    )  # fmt: skip
    plane = wide.planes[0]
    rows = np.frombuffer(memoryview(plane), "<u2").reshape(size[1], plane.line_size // 2)
    values_HWC = rows[:, : 3 * size[0]].reshape(size[1], size[0], 3)
    return in_range(values_HWC, brightness_of(frame), int(frame.color_primaries or 0))


def in_range(values_HWC: NDArray[np.uint16], transfer: int, primaries: int) -> NDArray[np.uint8]:
    """Coded values of sixteen bits, full range, as usual RGB of eight.

    Args:
        transfer: `PQ` or `HLG`.
        primaries: As the file says (ITU-T H.273, table 2); unknown ones are those of BT.2020.
    """
    light_HWC = _linear(transfer)[values_HWC]
    if primaries != _BT709:
        light_HWC = light_HWC @ np.asarray(_TO_BT709.get(primaries, _TO_BT709[_USUAL]), np.float32).T
    brightest = np.maximum(light_HWC.max(axis=-1), np.float32(1e-6))
    toned = light_HWC * (_rolled_off(brightest) / brightest)[..., None]
    coded = np.power(np.clip(toned, 0, 1), np.float32(1 / 2.4))  # ITU-R BT.1886
    return np.asarray(255 * coded + 0.5, np.uint8)


@lru_cache(maxsize=2)
def _linear(transfer: int) -> Floats:
    """Light on the screen for each coded value, in whites.

    HLG as on a screen of 1000 nits (ITU-R BT.2100, table 5: gamma 1.2), each colour by itself as in a render.
    """
    coded = np.arange(65_536, dtype=np.float64) / 65_535
    if transfer == PQ:  # SMPTE ST 2084
        root = coded ** (1 / 78.84375)
        nits = 10_000 * (np.maximum(root - 0.8359375, 0) / (18.8515625 - 18.6875 * root)) ** (1 / 0.1593017578125)
        return np.asarray(nits / _WHITE, np.float32)
    a, b, c = 0.17883277, 0.28466892, 0.55991073  # ITU-R BT.2100, table 5
    scene = np.where(coded <= 0.5, coded**2 / 3, (np.exp((coded - c) / a) + b) / 12)
    return np.asarray(1000 * scene**1.2 / _WHITE, np.float32)


def _rolled_off(light: Floats) -> Floats:
    """Möbius: straight up to the knee, then ever flatter, one at the brightest."""
    knee, peak = _KNEE, _BRIGHTEST
    a = -knee * knee * (peak - 1) / (knee * knee - 2 * knee + peak)
    b = (knee * knee - 2 * knee * peak + peak) / (peak - 1)
    bent = (b * b + 2 * b * knee + knee * knee) / (b - a) * (light + a) / (light + b)
    return np.asarray(np.where(light <= knee, light, bent), np.float32)
