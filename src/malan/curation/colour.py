"""Colour as people see and name it: OKLab (Ottosson 2020), and twelve names in English and Chinese.

OKLab is used because equal distances look about equally different. Start at `to_oklab` and `name_colours`.
"""

from __future__ import annotations

from functools import cache

import numpy as np
from numpy.typing import NDArray

from malan.curation.scaling import Sample, yuv_to_rgb

NAMES: tuple[tuple[str, str], ...] = (
    ("black", "黑"),
    ("grey", "灰"),
    ("white", "白"),
    ("red", "红"),
    ("orange", "橙"),
    ("brown", "棕"),
    ("beige", "米"),
    ("yellow", "黄"),
    ("green", "绿"),
    ("cyan", "青"),
    ("blue", "蓝"),
    ("purple", "紫"),
    ("pink", "粉"),
)
_BLACK, _GREY, _WHITE, _RED, _ORANGE, _BROWN, _BEIGE, _YELLOW, _GREEN, _CYAN, _BLUE, _PURPLE, _PINK = range(13)

# First hue (degrees in OKLab) of each named stretch of the circle.
_HUES = (
    (0, _RED),
    (46, _ORANGE),
    (84, _YELLOW),
    (118, _GREEN),
    (168, _CYAN),
    (222, _BLUE),
    (286, _PURPLE),
    (328, _PINK),
)

_TO_LMS = np.array(
    [
        [0.4122214708, 0.5363325363, 0.0514459929],
        [0.2119034982, 0.6806995451, 0.1073969566],
        [0.0883024619, 0.2817188376, 0.6299787005],
    ],
    np.float32,
)
_TO_LAB = np.array(
    [
        [0.2104542553, 0.7936177850, -0.0040720468],
        [1.9779984951, -2.4285922050, 0.4505937099],
        [0.0259040371, 0.7827717662, -0.8086757660],
    ],
    np.float32,
)


def to_oklab(rgb: NDArray[np.uint8]) -> NDArray[np.float32]:
    """sRGB bytes (..., 3) to OKLab: lightness 0 to 1, then green-red and blue-yellow about -0.4 to 0.4."""
    cone = np.cbrt(_linear()[rgb] @ _TO_LMS.T)
    return np.asarray(cone @ _TO_LAB.T, np.float32)


def small_rgb(sample: Sample, step: int = 2) -> NDArray[np.uint8]:
    """A sample at chroma resolution, every `step`th pixel, as RGB."""
    u, v = sample.u_HW[::step, ::step], sample.v_HW[::step, ::step]
    luma = sample.luma_HW[:: 2 * step, :: 2 * step]
    whole = np.repeat(np.repeat(luma, 2, 0), 2, 1)[: 2 * u.shape[0], : 2 * u.shape[1]]
    return yuv_to_rgb(whole, u, v)[::2, ::2]


def name_colours(lab: NDArray[np.float32]) -> NDArray[np.uint8]:
    """For each OKLab colour (N, 3) the number of its name in `NAMES`."""
    light, chroma = lab[:, 0], np.hypot(lab[:, 1], lab[:, 2])
    hue = np.degrees(np.arctan2(lab[:, 2], lab[:, 1])) % 360
    starts = np.array([start for start, _ in _HUES])
    names = np.array([name for _, name in _HUES], np.uint8)[np.searchsorted(starts, hue, side="right") - 1]
    warm = (names == _ORANGE) | (names == _YELLOW)
    names[(names == _RED) & (light > 0.72)] = _PINK
    names[warm & (light > 0.68) & (chroma < 0.085)] = _BEIGE
    names[(warm | (names == _RED)) & (light < 0.62) & (chroma < 0.125) & (hue > 25)] = _BROWN
    names[(names == _YELLOW) & (light < 0.6)] = _BROWN
    plain = chroma < 0.022 + 0.02 * (1 - light)
    names[plain] = np.where(light[plain] > 0.86, _WHITE, _GREY)
    names[(light < 0.2) | (plain & (light < 0.3))] = _BLACK
    return names


@cache
def _linear() -> NDArray[np.float32]:
    """Byte to linear light, IEC 61966-2-1."""
    code = np.arange(256) / 255
    return np.where(code <= 0.04045, code / 12.92, ((code + 0.055) / 1.055) ** 2.4).astype(np.float32)
