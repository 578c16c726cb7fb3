"""The explicit label as a small picture, and where and how long it must be seen (GB 45438-2025, 5.2 and 5.4).

White letters on a dark, rounded, half-transparent plate: legible on snow, night and confetti alike. The height that
counts is that of the drawn letters, not a font size. Renderers put the picture into their own graph; `burn_label` puts
it into a finished file. Start at `overlay_for`.
"""

from __future__ import annotations

import io
import math
from dataclasses import dataclass
from fractions import Fraction
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw

from malan.core.errors import UsageError
from malan.media.explicit.glyphs import GLYPHS, ink_height, ink_of

Corner = Literal["top-left", "top-right", "bottom-left", "bottom-right"]

CORNERS: tuple[Corner, ...] = ("top-left", "top-right", "bottom-left", "bottom-right")
TEXTS = {"zh": "AI生成", "zh-long": "人工智能生成", "zh-synthesised": "AI合成", "en": "AI生成 AI-generated"}
LEAST_SHARE = Fraction(5, 100)  # of the shorter side, 5.4
LEAST_S = Fraction(2)  # at normal speed, 5.4
DEFAULT_S = Fraction(3)
_SPARE_PX = 1  # encoders soften edges by about this much
_MARGIN = 0.05  # of each side: graphics-safe area, EBU R 95
_MARGIN_TALL = 0.08  # of the height of an upright picture: phones lay their own buttons over the rim
_PLATE = 0.66  # opacity
_LEAST_SIDE_PX = 64


@dataclass(frozen=True)
class Overlay:
    """A label for pictures of one size. `coverage` of ink and plate are 0 to 255; x and y are the plate's corner.

    `letters_px` is the height of the smallest letter, which is what the standard measures.
    """

    text: str
    x: int
    y: int
    letters_px: int
    seconds: Fraction
    ink_HW: NDArray[np.uint8]
    plate_HW: NDArray[np.uint8]

    @property
    def width_px(self) -> int:
        return int(self.ink_HW.shape[1])

    @property
    def height_px(self) -> int:
        return int(self.ink_HW.shape[0])

    @property
    def rgba(self) -> Image.Image:
        """White ink over a black plate, not premultiplied."""
        return self.painted()

    def painted(self, white: float = 1.0) -> Image.Image:
        """The same with a white of a share of the range: less where full range means a blinding light (HDR)."""
        ink, plate = self.ink_HW.astype(np.float32) / 255, self.plate_HW.astype(np.float32) / 255
        alpha = ink + plate * (1 - ink)
        gray = np.round(255 * white * ink / np.maximum(alpha, 1e-6)).astype(np.uint8)
        return Image.fromarray(np.dstack([gray, gray, gray, np.round(alpha * 255).astype(np.uint8)]), "RGBA")

    @property
    def png(self) -> bytes:
        buffer = io.BytesIO()
        self.rgba.save(buffer, "PNG")
        return buffer.getvalue()

    def filter(self, start_s: Fraction = Fraction(0)) -> str:
        """The ffmpeg filter that lays the PNG (second input) over the picture (first input) from `start_s` on."""
        end = float(start_s + self.seconds)
        return f"overlay=x={self.x}:y={self.y}:enable='lt(t,{end:.6f})':eof_action=repeat:format=auto"


def overlay_for(
    width_px: int,
    height_px: int,
    *,
    text: str = TEXTS["zh"],
    corner: Corner = "top-right",
    seconds: Fraction = DEFAULT_S,
) -> Overlay:
    """The label for pictures of a size as they are shown (upright, square pixels).

    Args:
        text: Must say 人工智能 or AI, and 生成 or 合成 (5.4 b); made of the letters in `GLYPHS`. See `TEXTS`.
        seconds: How long it is shown from the first picture on; at least two.

    Raises:
        UsageError: A text, corner, duration or size the standard or the picture does not allow.
    """
    _check(width_px, height_px, text, corner, seconds)
    em = _em_for(text, math.ceil(LEAST_SHARE * min(width_px, height_px)) + _SPARE_PX)
    ink = ink_of(text, em)
    pad_x, pad_y = round(em * 0.36), round(em * 0.26)
    ink = np.pad(ink, ((pad_y, pad_y), (pad_x, pad_x)))
    left, top = _margins(width_px, height_px)
    if ink.shape[1] > width_px - 2 * left:
        raise UsageError("explicit.too_wide", text=text, width=width_px, height=height_px)
    x = left if corner.endswith("left") else width_px - left - ink.shape[1]
    y = top if corner.startswith("top") else height_px - top - ink.shape[0]
    letters = min(ink_height(c, em) for c in text if _counts(c))
    return Overlay(text, x & ~1, y & ~1, letters, seconds, ink, _plate(ink.shape, em))


def check_text(text: str) -> None:
    """Whether a text says what a label must say (5.1 to 5.4, item b), in letters we can draw.

    Raises:
        UsageError: It does not, or we cannot.
    """
    if not says_so(text):
        raise UsageError("explicit.bad_text", text=text)
    missing = sorted(set(text) - set(GLYPHS))
    if missing:
        raise UsageError(
            "explicit.no_glyph", text=text, missing=" ".join(missing), have=" ".join(sorted(GLYPHS)).strip()
        )


def says_so(text: str) -> bool:
    """Whether a text names the cause (人工智能 or AI) and the deed (生成 or 合成)."""
    plain = "".join(text.split()).upper()
    return ("人工智能" in plain or "AI" in plain) and ("生成" in plain or "合成" in plain)


def _check(width_px: int, height_px: int, text: str, corner: str, seconds: Fraction) -> None:
    check_text(text)
    if corner not in CORNERS:
        raise UsageError("explicit.bad_corner", corner=corner, allowed=", ".join(CORNERS))
    if seconds < LEAST_S:
        raise UsageError("explicit.too_short", seconds=float(seconds), least=int(LEAST_S))
    if min(width_px, height_px) < _LEAST_SIDE_PX:
        raise UsageError("explicit.too_small", width=width_px, height=height_px, least=_LEAST_SIDE_PX)


def _em_for(text: str, letters_px: int) -> float:
    """The smallest em at which every letter that counts is high enough."""
    em = letters_px / 0.86
    while min(ink_height(c, em) for c in set(text) if _counts(c)) < letters_px:
        em += 0.5
    return em


def _counts(character: str) -> bool:
    """Small letters and hyphens of a translation beside the Chinese words are not what is measured."""
    return character in "AI" or not character.isascii()


def _margins(width_px: int, height_px: int) -> tuple[int, int]:
    tall = height_px > width_px
    return round(width_px * _MARGIN), round(height_px * (_MARGIN_TALL if tall else _MARGIN))


def _plate(shape: tuple[int, ...], em: float) -> NDArray[np.uint8]:
    image = Image.new("L", (shape[1] * 4, shape[0] * 4), 0)
    radius = round(em * 0.28) * 4
    ImageDraw.Draw(image).rounded_rectangle((0, 0, image.width - 1, image.height - 1), radius, fill=round(255 * _PLATE))
    return np.asarray(image.reduce(4), np.uint8)
