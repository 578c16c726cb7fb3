"""Pictures made ready for a model exactly as its `preprocessor_config.json` says: size, crop, scale, mean, deviation.

Resampling is Pillow's, as in the processors such files are written by, so that a model sees what it was trained on.
Start reading at `Preparation`.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from malan.core.errors import NotFound, Rejected

CONFIG = "preprocessor_config.json"
_MOST_SIDE, _MOST_BYTES = 4096, 2**20
_LONGEST_TIMES = 3  # the longer side of what keeps its shape, in sides of the square it was made for

Picture = NDArray[np.uint8]  # (H, W, 3), 0–255


@dataclass(frozen=True)
class Preparation:
    """What happens to a picture before a model sees it.

    Args:
        size: (height, width) it is scaled to; the shorter side where `shortest` is set.
        shortest: Scale so that the shorter side becomes `size[0]`.
        keeps_shape: Scale both sides alike, by the factor nearer to 1.
        multiple: Sides are rounded to multiples of this.
        crop: (height, width) cut out of the middle; None: nothing is cut.
        resample: As Pillow counts: 0 nearest, 1 Lanczos, 2 bilinear, 3 bicubic.
        factor: Values are multiplied by it.
        mean: Subtracted, per channel.
        deviation: Divided by, per channel.
    """

    size: tuple[int, int] | None = (224, 224)
    shortest: bool = False
    keeps_shape: bool = False
    multiple: int = 1
    crop: tuple[int, int] | None = None
    resample: int = 3
    factor: float = 1 / 255
    mean: tuple[float, ...] = (0.0, 0.0, 0.0)
    deviation: tuple[float, ...] = (1.0, 1.0, 1.0)

    def apply(self, picture_HWC: Picture) -> NDArray[np.float32]:
        """A picture as (3, height, width) float32."""
        from PIL import Image

        image = Image.fromarray(np.ascontiguousarray(picture_HWC))
        if self.size is not None:
            height, width = self.target(*picture_HWC.shape[:2])
            if (width, height) != image.size:
                image = image.resize((width, height), Image.Resampling(self.resample))
        values = np.asarray(image, np.float32)
        if self.crop is not None:
            values = _cropped(values, self.crop)
        mean, deviation = (np.array(one, np.float32) for one in (self.mean, self.deviation))
        values = np.asarray((values * np.float32(self.factor) - mean) / deviation, np.float32)
        return np.ascontiguousarray(values.transpose(2, 0, 1), np.float32)

    def target(self, height: int, width: int) -> tuple[int, int]:
        """The size a picture of this size is scaled to."""
        if self.size is None:
            return height, width
        tall, wide = self.size
        if self.shortest:
            scale = tall / min(height, width)
            longer = min(int(max(height, width) * scale), _MOST_SIDE)
            return (tall, longer) if height <= width else (longer, tall)
        if self.keeps_shape:
            down, across = tall / height, wide / width
            scale = across if abs(1 - across) < abs(1 - down) else down
            tall, wide = round(height * scale), round(width * scale)
        return self._rounded(tall), self._rounded(wide)

    def _rounded(self, side: int) -> int:
        most = _LONGEST_TIMES * max(self.size or (_MOST_SIDE, _MOST_SIDE))
        step = self.multiple
        return max(step, min(round(side / step), most // step) * step)


def read_preparation(files: Mapping[str, Path]) -> Preparation:
    """The preparation that the files of a model ask for.

    Raises:
        NotFound: They do not say.
        Rejected: They say what makes no sense.
    """
    path = files.get(CONFIG)
    if path is None:
        raise NotFound("encoder.no_file", name=CONFIG)
    return parse_preparation(read_words(path))


def parse_preparation(said: Mapping[str, Any]) -> Preparation:
    """The same from the words of the file.

    Raises:
        Rejected: It makes no sense.
    """
    try:
        size = said.get("size", {"height": 224, "width": 224}) if said.get("do_resize", True) else None
        shortest = isinstance(size, int) or (isinstance(size, dict) and "shortest_edge" in size)
        made = Preparation(
            size=None if size is None else _sides(size),
            shortest=shortest,
            keeps_shape=bool(said.get("keep_aspect_ratio", False)),
            multiple=int(said.get("ensure_multiple_of") or 1),
            crop=_sides(said.get("crop_size", size or 224)) if said.get("do_center_crop") else None,
            resample=int(said.get("resample", 3)),
            factor=float(said.get("rescale_factor", 1 / 255)) if said.get("do_rescale", True) else 1.0,
            mean=_three(said, "image_mean", 0.0),
            deviation=_three(said, "image_std", 1.0),
        )
    except (TypeError, ValueError, KeyError, OverflowError) as error:
        raise Rejected("encoder.bad_config", name=CONFIG, detail=str(error)[:120]) from error
    _check(made)
    return made


def read_words(path: Path) -> dict[str, Any]:
    """A JSON object from a small file.

    Raises:
        Rejected: It is none.
    """
    try:
        if path.stat().st_size > _MOST_BYTES:
            raise ValueError(f"> {_MOST_BYTES} bytes")
        said = json.loads(path.read_bytes())
        if not isinstance(said, dict):
            raise TypeError(type(said).__name__)
    except (OSError, ValueError, TypeError, RecursionError) as error:
        raise Rejected("encoder.bad_config", name=path.name, detail=str(error)[:120]) from error
    return said


def _check(made: Preparation) -> None:
    sides = [*(made.size or ()), *(made.crop or ()), made.multiple]
    numbers = (*made.mean, *made.deviation, made.factor)
    fits = (
        all(0 < side <= _MOST_SIDE for side in sides)
        and made.resample in range(6)
        and all(np.isfinite(one) for one in numbers)
        and all(made.deviation)
    )
    if not fits:
        raise Rejected("encoder.bad_config", name=CONFIG, detail="size, resample, image_mean, image_std")


def _sides(said: Any) -> tuple[int, int]:
    """Height and width, from a number, `{shortest_edge}` or `{height, width}`."""
    if isinstance(said, int):
        return said, said
    if "shortest_edge" in said:
        return int(said["shortest_edge"]), int(said["shortest_edge"])
    return int(said["height"]), int(said["width"])


def _three(said: Mapping[str, Any], name: str, plain: float) -> tuple[float, ...]:
    """A value a channel; where nothing is normalised, one that changes nothing."""
    if not said.get("do_normalize", name in said):
        return (plain,) * 3
    listed = said.get(name, [0.5] * 3)
    values = tuple(float(one) for one in (listed if isinstance(listed, list) else [listed] * 3))
    if len(values) != 3:
        raise ValueError(name)
    return values


def _cropped(values: NDArray[np.float32], crop: tuple[int, int]) -> NDArray[np.float32]:
    """The middle; what a picture lacks is black."""
    missing = [max(0, wanted - side) for wanted, side in zip(crop, values.shape[:2], strict=True)]
    if any(missing):
        values = np.pad(values, (*((m // 2, m - m // 2) for m in missing), (0, 0)))
    top, left = ((side - wanted) // 2 for wanted, side in zip(crop, values.shape[:2], strict=True))
    return values[top : top + crop[0], left : left + crop[1]]
