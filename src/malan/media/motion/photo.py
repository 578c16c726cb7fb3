"""Pictures of strangers, read safely: upright, sRGB, 8 bits, no larger than is needed.

What a file says of itself is checked before a pixel is decoded. JPEG, PNG, WebP, TIFF, AVIF, BMP and GIF are read by
Pillow, HEIC (a grid of tiles) by ffmpeg. Suffix letters: H height, W width, C colour. Start at `read_photo`.
"""

from __future__ import annotations

import io
import os
import struct
import subprocess
import warnings
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import AvifImagePlugin, Image, ImageCms, ImageOps, TiffImagePlugin, UnidentifiedImageError, WebPImagePlugin

from malan.core.errors import MediaError
from malan.media.open import check_size, open_plain
from malan.media.sniff import shown, still_picture

Pixels = NDArray[np.uint8]
Plane = NDArray[np.float32]

_PLUGINS = (AvifImagePlugin, TiffImagePlugin, WebPImagePlugin)  # Pillow knows no format before its plugin is there
FORMATS = ("JPEG", "PNG", "WEBP", "TIFF", "AVIF", "BMP", "GIF", "PPM")
MOST_BYTES = 512 << 20
LEAST_SIDE_PX = 16
MOST_ASPECT = 40
_BLACK = 28  # of 255: what a decoder makes of black
_MOST_MEGAPIXELS = 178  # above that Pillow does not even open it
_DEEP_MODES = ("I;16", "I;16L", "I;16B", "I;16N", "I")
_BROKEN = (
    UnidentifiedImageError, OSError, ValueError, SyntaxError, EOFError, RuntimeError, IndexError, KeyError,
    TypeError, struct.error, Image.DecompressionBombError, MemoryError,
)  # fmt: skip


@dataclass(frozen=True)
class Photo:
    """A picture as it is looked at, and what was done to read it so.

    Args:
        pixels_HWC: uint8 RGB, sRGB, 0–255, upright.
        size: Width and height the file holds, upright; `pixels_HWC` may be smaller where less was asked for.
        notes: What somebody who knows the file may want to know: `turned`, `flattened`, `first-of-many`, `profile`,
            `cmyk`, `deep`, `grey`.
    """

    pixels_HWC: Pixels
    size: tuple[int, int]
    notes: tuple[str, ...] = ()


def read_photo(path: str | Path, *, enough_px: int | None = None) -> Photo:
    """A picture, whatever camera or program it comes from.

    A picture with transparent parts lies on a ground of its own mean colour; of a moving one the first is taken.

    Args:
        enough_px: A short side that is large enough; a JPEG of much more is decoded smaller.

    Raises:
        NotFound: There is no such file.
        MediaError: It is no picture, damaged, too small, too large, or longer than forty times its width.
    """
    fd = open_plain(path)
    try:
        if os.fstat(fd).st_size > MOST_BYTES:
            raise MediaError("picture.too_many_bytes", path=shown(path), most_mb=MOST_BYTES >> 20)
        if _is_heic(fd):
            return _read_heic(fd, path)
        return _read(fd, path, enough_px)
    finally:
        os.close(fd)


def read_plane(path: str | Path) -> Plane:
    """A map of numbers kept as a picture, of depth or of a mask: (H, W), 0 black to 1 white.

    8 or 16 bits, or floating point (TIFF), which is stretched from its least to its greatest.

    Raises:
        NotFound: There is no such file.
        MediaError: It is no picture, damaged or too large, or holds numbers that are none.
    """
    fd = open_plain(path)
    try:
        with _opened(fd, path) as image:
            _check(image, path)
            upright = ImageOps.exif_transpose(image) or image
            return _plane(upright, path)
    except _BROKEN as error:
        raise MediaError("picture.damaged", path=shown(path), detail=_said(error)) from error
    finally:
        os.close(fd)


def read_with_map(path: str | Path, map_path: str | Path = "", *, enough_px: int | None = None) -> tuple[Photo, Plane]:
    """A picture and the map that belongs to it, read at the same time; an empty map where none is named.

    Raises:
        NotFound, MediaError: As `read_photo` and `read_plane`.
    """
    if not map_path:
        return read_photo(path, enough_px=enough_px), np.empty((0, 0), np.float32)
    with ThreadPoolExecutor(1) as beside:
        plane = beside.submit(read_plane, map_path)
        photo = read_photo(path, enough_px=enough_px)
        return photo, plane.result()


def without_bars(pixels_HWC: Pixels) -> Pixels:
    """A frame of a film without the black bars that come in pairs, above and below or at both sides."""
    lit = pixels_HWC.max(axis=2)
    spots = []
    for axis in (1, 0):
        bright = np.flatnonzero(np.quantile(lit, 0.98, axis=axis) > _BLACK)
        size = lit.shape[1 - axis]
        bar = min(int(bright[0]), size - 1 - int(bright[-1])) if len(bright) else 0
        bar = bar + 2 if 0.02 * size < bar < 0.3 * size else 0  # the rim of a bar is half lit
        spots.append(slice(bar, size - bar))
    return np.ascontiguousarray(pixels_HWC[spots[0], spots[1]])


def _read(fd: int, path: str | Path, enough_px: int | None) -> Photo:
    try:
        with _opened(fd, path) as image:
            _check(image, path)
            size, notes = image.size, _first_of_many(image)
            if enough_px and image.format in ("JPEG", "MPO"):
                share = min(image.size) / enough_px
                image.draft(None, (round(image.width / share), round(image.height / share)))  # never below what it says
            image.load()
            turned = ImageOps.exif_transpose(image)
            if _turns(image):
                notes.append("turned")
                size = size if image.getexif().get(0x0112, 1) < 5 else size[::-1]
            pixels = _srgb(turned or image, notes)
    except _BROKEN as error:
        raise MediaError("picture.damaged", path=shown(path), detail=_said(error)) from error
    return Photo(pixels, size, tuple(notes))


@contextmanager
def _opened(fd: int, path: str | Path) -> Iterator[Image.Image]:
    """The picture, nothing decoded yet.

    Raises:
        MediaError: It is none.
    """
    with os.fdopen(os.dup(fd), "rb") as file:
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # our own limit is checked before a pixel is decoded
                image = Image.open(file, formats=FORMATS)
        except Image.DecompressionBombError as error:
            raise MediaError("picture.too_many_pixels", path=shown(path), most=_MOST_MEGAPIXELS) from error
        except _BROKEN as error:
            raise MediaError("picture.none", path=shown(path)) from error
        with image:
            yield image


def _check(image: Image.Image, path: str | Path) -> None:
    check_size(image.width, image.height, path)
    short, long = sorted(image.size)
    if short < LEAST_SIDE_PX:
        raise MediaError("picture.too_small", path=shown(path), width=image.width, height=image.height)
    if long > MOST_ASPECT * short:
        raise MediaError("picture.too_long", path=shown(path), width=image.width, height=image.height)


def _first_of_many(image: Image.Image) -> list[str]:
    """An MPO is one picture and its thumbnails; everything else with several frames moves or has pages."""
    with suppress(*_BROKEN):
        if image.format != "MPO" and getattr(image, "n_frames", 1) > 1:
            return ["first-of-many"]
    return []


def _turns(image: Image.Image) -> bool:
    with suppress(*_BROKEN):
        return image.getexif().get(0x0112, 1) in range(2, 9)  # Exif 2.32, 4.6.5.1.6, Orientation
    return False


def _srgb(image: Image.Image, notes: list[str]) -> Pixels:
    """Any mode and profile as sRGB of 8 bits; what is transparent is filled."""
    profile = image.info.get("icc_profile")
    if image.mode in _DEEP_MODES or image.mode == "F":
        notes.append("deep")
        image, profile = Image.fromarray(_eight_bits(image)), None
    if image.mode in ("L", "1", "LA"):
        notes.append("grey")
    if image.mode == "CMYK":
        notes.append("cmyk")
    alpha = _alpha(image)
    if image.mode in ("P", "PA", "1", "LA", "La", "RGBa", "RGBA", "RGBX"):
        image = image.convert("RGBA" if alpha is not None else "RGB").convert("RGB")
    converted = _through_profile(image, profile, notes)
    pixels = np.array(converted, np.uint8)
    return pixels if alpha is None else _flat(pixels, alpha, notes)


def _alpha(image: Image.Image) -> Plane | None:
    if image.mode in ("RGBA", "LA", "PA", "RGBa", "La") or "transparency" in image.info:
        alpha = np.asarray(np.asarray(image.convert("RGBA").getchannel("A")) / 255, np.float32)
        return alpha if alpha.min() < 1 else None
    return None


def _flat(pixels_HWC: Pixels, alpha: Plane, notes: list[str]) -> Pixels:
    """On a ground of the mean colour of what is seen: neither black nor white rims show."""
    notes.append("flattened")
    weight = alpha[..., None]
    total = float(alpha.sum())
    ground = (pixels_HWC * weight).sum(axis=(0, 1)) / total if total > 1 else np.full(3, 128.0)
    return np.asarray(np.round(pixels_HWC * weight + ground * (1 - weight)), np.uint8)


def _through_profile(image: Image.Image, profile: bytes | None, notes: list[str]) -> Image.Image:
    """What the embedded profile says, in sRGB; a profile that does not fit or does not parse is passed over."""
    if profile and image.mode in ("RGB", "L", "CMYK", "LAB"):
        try:
            source = ImageCms.ImageCmsProfile(io.BytesIO(profile))
            if "sRGB" in (ImageCms.getProfileDescription(source) or ""):
                return image.convert("RGB")
            converted = ImageCms.profileToProfile(image, source, ImageCms.createProfile("sRGB"), outputMode="RGB")
        except (ImageCms.PyCMSError, OSError, ValueError, TypeError):
            notes.append("bad-profile")
        else:
            notes.append("profile")
            return converted or image.convert("RGB")
    return image.convert("RGB")


def _eight_bits(image: Image.Image) -> Pixels:
    deep = np.asarray(image, np.float32)
    deep = np.nan_to_num(deep, nan=0.0, posinf=0.0, neginf=0.0)
    top = 65_535.0 if image.mode != "F" and deep.max(initial=0) > 255 else max(1.0, float(deep.max(initial=1)))
    top = 255.0 if image.mode == "I" and deep.max(initial=0) <= 255 else top
    return np.asarray(np.round(np.clip(deep / top, 0, 1) * 255), np.uint8)


def _plane(image: Image.Image, path: str | Path) -> Plane:
    if image.mode in _DEEP_MODES:
        return np.clip(np.asarray(image, np.float32) / 65_535, 0, 1)
    if image.mode == "F":
        values = np.asarray(image, np.float32)
        if not np.isfinite(values).all():
            raise MediaError("picture.no_numbers", path=shown(path))
        low, high = float(values.min()), float(values.max())
        return np.asarray((values - low) / max(high - low, 1e-12), np.float32)
    alpha = _alpha(image)
    if alpha is not None:  # a cut-out: what is seen is white
        return alpha
    return np.asarray(np.asarray(image.convert("L")) / 255, np.float32)


# HEIC


def _is_heic(fd: int) -> bool:
    head = os.pread(fd, 12, 0)
    return head[4:8] == b"ftyp" and head[8:12] in (b"heic", b"heix", b"heim", b"heis", b"mif1", b"msf1")


def _read_heic(fd: int, path: str | Path) -> Photo:
    """One frame through ffmpeg, which joins the tiles and turns it."""
    from imageio_ffmpeg import get_ffmpeg_exe

    said = still_picture(fd)
    if said is None:
        raise MediaError("picture.none", path=shown(path))
    width, height, turn = said
    check_size(width, height, path)
    if turn in (90, 270):
        width, height = height, width
    os.lseek(fd, 0, os.SEEK_SET)
    command = [
        get_ffmpeg_exe(), "-nostdin", "-v", "error", "-protocol_whitelist", "fd", "-fd", str(fd), "-i", "fd:",
        "-frames:v", "1", "-f", "image2pipe", "-c:v", "ppm", "-pix_fmt", "rgb24", "pipe:1",
    ]  # fmt: skip
    try:
        done = subprocess.run(command, pass_fds=(fd,), capture_output=True, check=False, timeout=120)
        image: Any = Image.open(io.BytesIO(done.stdout), formats=("PPM",))
        pixels = np.array(image.convert("RGB"), np.uint8)
    except (*_BROKEN, subprocess.TimeoutExpired) as error:
        raise MediaError("picture.damaged", path=shown(path), detail="HEIC") from error
    if min(pixels.shape[:2]) < LEAST_SIDE_PX:
        raise MediaError("picture.too_small", path=shown(path), width=pixels.shape[1], height=pixels.shape[0])
    return Photo(pixels, (pixels.shape[1], pixels.shape[0]), ("turned",) if turn else ())


def _said(error: BaseException) -> str:
    return " ".join(str(error).split())[:120] or type(error).__name__
