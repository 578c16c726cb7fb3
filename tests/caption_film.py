"""Draws small films with captions burned in, whose words, places and frames are known.

The picture pans all the time and is cut now and then, so nothing stands still but the text. Chinese where the machine
has a font for it, Latin letters everywhere. Start at `draw_captions`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
from media_factory import pictures
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

CHINESE_FONTS = (
    "/usr/share/fonts/opentype/noto/NotoSansCJK-Bold.ttc",
    "/usr/share/fonts/opentype/noto/NotoSansCJK-Regular.ttc",
    "/usr/share/fonts/noto-cjk/NotoSansCJK-Bold.ttc",
    "/System/Library/Fonts/PingFang.ttc",
)


@dataclass(frozen=True)
class Burned:
    """A text and the frames it is drawn into, the end excluded."""

    text: str
    first: int
    end: int
    middle: tuple[float, float] = (0.5, 0.85)  # of the text, in widths and heights of the picture
    fade: int = 0  # frames it takes to come, and to go
    size_px: int = 34

    def strength(self, frame: int) -> float:
        if not self.first <= frame < self.end:
            return 0.0
        if not self.fade:
            return 1.0
        return min(1.0, (frame - self.first + 1) / self.fade, (self.end - frame) / self.fade)


def chinese_font() -> str | None:
    """A font file with Chinese characters, if this machine has one where they usually are."""
    return next((font for font in CHINESE_FONTS if Path(font).is_file()), None)


def draw_captions(
    path: Path,
    texts: Sequence[Burned],
    shot_lengths: Sequence[int] = (70, 60, 90),
    *,
    size: tuple[int, int] = (640, 360),
    rate: int = 25,
    fill: tuple[int, int, int] = (255, 255, 255),
    turn: int = 0,
    still: bool = False,
    seed: int = 11,
) -> Path:
    """Write a film with texts burned in.

    `turn` stores the picture turned so many quarters; `still` stops the camera, so that only cuts change the picture.
    """
    layers = [(text, *_layer(text, size, fill)) for text in texts]
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=rate, options={"preset": "veryfast", "crf": "22"})
        stream.width, stream.height = size if turn % 2 == 0 else size[::-1]
        stream.pix_fmt = "yuv420p"
        starts = np.repeat(np.cumsum([0, *shot_lengths[:-1]]), shot_lengths)
        drawn = list(pictures(shot_lengths, size, seed))
        for number, moving in enumerate(drawn):
            picture = drawn[starts[number]].copy() if still else moving
            for text, colour, cover in layers:
                _burn(picture, colour, cover * text.strength(number))
            frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(np.rot90(picture, turn)), format="rgb24")
            frame.pts, frame.time_base = number, Fraction(1, rate)
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    return path


def line_picture(text: str, size_px: int = 40, *, margin: int = 8) -> NDArray[np.uint8]:
    """One line of light text on dark ground, RGB (H, W, 3)."""
    font = _font(text, size_px)
    x0, y0, x1, y1 = font.getbbox(text)
    image = Image.new("RGB", (round(x1 - x0) + 2 * margin, round(y1 - y0) + 2 * margin), (40, 44, 60))
    ImageDraw.Draw(image).text((margin - x0, margin - y0), text, (250, 250, 250), font)
    return np.asarray(image)


def _font(text: str, size_px: int) -> ImageFont.FreeTypeFont:
    font = chinese_font()
    if text.isascii() or font is None:
        return ImageFont.load_default(size_px)
    return ImageFont.truetype(font, size_px)


def _layer(
    text: Burned, size: tuple[int, int], fill: tuple[int, int, int]
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Colour and cover (0 to 1) of a text over the whole picture."""
    image = Image.new("RGBA", size, (0, 0, 0, 0))
    place = (size[0] * text.middle[0], size[1] * text.middle[1])
    ImageDraw.Draw(image).multiline_text(
        place,
        text.text,
        fill,
        _font(text.text, text.size_px),
        anchor="mm",
        align="center",
        spacing=8,
        stroke_width=2,
        stroke_fill=(0, 0, 0),
    )
    pixels = np.asarray(image, np.float32)
    return pixels[:, :, :3], pixels[:, :, 3:] / 255


def _burn(picture: NDArray[np.uint8], colour: NDArray[np.float32], cover: NDArray[np.float32]) -> None:
    if cover.any():
        picture[:] = (picture * (1 - cover) + colour * cover).astype(np.uint8)
