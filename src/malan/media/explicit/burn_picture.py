"""Burn the explicit label into a still picture (GB 45438-2025, 5.2). Start at `burn_picture`."""

from __future__ import annotations

import os
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

from PIL import Image, ImageOps, UnidentifiedImageError

from malan.core.errors import MediaError, UsageError
from malan.media.explicit.overlay import Overlay
from malan.media.open import check_size, open_plain
from malan.media.sniff import shown

FORMATS = {".jpg": "JPEG", ".jpeg": "JPEG", ".png": "PNG", ".webp": "WEBP"}
_QUALITY = 95


def burn_picture(source: Path, part: Path, overlay_of: Callable[[int, int], Overlay], suffix: str) -> Overlay:
    """Write a labelled copy of a picture to `part`: upright, with its colour profile and its notes (EXIF, XMP).

    Raises:
        UsageError: It moves (animated WebP or PNG).
        MediaError: It cannot be read.
    """
    return _label(open_picture(source), part, overlay_of, suffix)


def open_picture(source: str | Path) -> Image.Image:
    """A still picture, decoded; its size is checked before a pixel is.

    Raises:
        UsageError: It moves (animated WebP or PNG).
        MediaError: It cannot be read.
    """
    fd = open_plain(source)
    try:
        with os.fdopen(fd, "rb") as file, warnings.catch_warnings():
            warnings.simplefilter("ignore")  # our own limit is checked below, before a pixel is decoded
            image = Image.open(file, formats=("JPEG", "PNG", "WEBP"))
            check_size(image.width, image.height, source)
            if getattr(image, "n_frames", 1) > 1:
                raise UsageError("explicit.moving_picture", path=shown(source))
            image.load()
    except (UnidentifiedImageError, OSError, ValueError, SyntaxError, Image.DecompressionBombError) as error:
        raise MediaError("explicit.no_picture", path=shown(source)) from error
    return image


def _label(image: Image.Image, part: Path, overlay_of: Callable[[int, int], Overlay], suffix: str) -> Overlay:
    kept = _kept(image, suffix)
    upright = ImageOps.exif_transpose(image) or image
    plain = _plain(upright, FORMATS[suffix])
    overlay = overlay_of(plain.width, plain.height)
    label = overlay.rgba
    plain.paste(label.convert(plain.mode), (overlay.x, overlay.y), label.getchannel("A"))
    exif = upright.getexif().tobytes()
    plain.save(part, FORMATS[suffix], **kept, **({"exif": exif} if len(upright.getexif()) else {}))
    return overlay


def _plain(image: Image.Image, form: str) -> Image.Image:
    """A copy in a mode that can be drawn on and written."""
    if image.mode in ("L", "RGB") or (image.mode in ("LA", "RGBA") and form != "JPEG"):
        return image.copy()
    has_alpha = image.mode in ("LA", "RGBA", "PA") or "transparency" in image.info
    return image.convert("RGBA" if has_alpha and form != "JPEG" else "RGB")


def _kept(image: Image.Image, suffix: str) -> dict[str, Any]:
    """What goes into the copy besides the pixels."""
    info = image.info
    kept: dict[str, Any] = {name: info[name] for name in ("icc_profile", "dpi") if info.get(name)}
    if image.mode == "CMYK":
        kept.pop("icc_profile", None)  # it describes inks, and the copy has none
    if suffix == ".png":
        from PIL.PngImagePlugin import PngInfo

        texts = PngInfo()
        for key, value in getattr(image, "text", {}).items():
            texts.add_itxt(key, value) if not value.isascii() else texts.add_text(key, value)
        return kept | {"pnginfo": texts, "optimize": False}
    if info.get("xmp"):
        kept["xmp"] = info["xmp"]
    return kept | ({"quality": _QUALITY, "subsampling": _subsampling(image)} if suffix != ".webp" else _webp(image))


def _subsampling(image: Image.Image) -> int:
    from PIL import JpegImagePlugin

    found = JpegImagePlugin.get_sampling(image) if image.format == "JPEG" else 0
    return found if found >= 0 else 0


def _webp(image: Image.Image) -> dict[str, Any]:
    return {"lossless": True} if image.mode == "P" else {"quality": _QUALITY, "method": 4}
