"""Pictures that come with a request, looked at before a job is written down: no pixel is decoded. Start at
`check_picture`."""

from __future__ import annotations

import warnings
from pathlib import Path

from malan.core.errors import UsageError
from malan.media.motion.photo import LEAST_SIDE_PX

FORMATS = ("JPEG", "PNG", "WEBP", "GIF", "TIFF")
_MOST_PX = 178 * 10**6


def check_picture(path: Path) -> None:
    """Go on only with what says it is a picture, of a size that can be worked with.

    Raises:
        UsageError: It is none, is cut off in its head, or is tiny or enormous.
    """
    from PIL import Image

    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # our own bound stands below
            with Image.open(path, formats=FORMATS) as image:
                width, height = image.size
    except Image.DecompressionBombError:
        width, height = _MOST_PX, 2
    except (OSError, ValueError, SyntaxError, IndexError, TypeError, OverflowError, MemoryError):
        raise UsageError("gateway.no_picture") from None
    if min(width, height) < LEAST_SIDE_PX or width * height > _MOST_PX:
        wanted = f"≥ {LEAST_SIDE_PX} px, ≤ {_MOST_PX // 10**6} MP"
        raise UsageError("gateway.bad_field", field="input_reference", wanted=wanted)
