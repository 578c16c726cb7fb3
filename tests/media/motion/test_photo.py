"""Pictures of strangers: upright and sRGB whatever they are, refused by name where they are none."""

from __future__ import annotations

import io
import struct
import zlib
from contextlib import suppress
from pathlib import Path

import numpy as np
import pytest
from drawn_pictures import ball_before_hills
from PIL import Image, ImageCms

from malan.core.errors import MediaError, NotFound
from malan.media.motion import read_photo, read_plane, without_bars

PIXELS, DEPTH = ball_before_hills(96, 64)


def saved(path: Path, image: Image.Image, **options) -> Path:
    image.save(path, **options)
    return path


def off(a, b) -> float:
    return float(np.abs(np.asarray(a, np.float32) - np.asarray(b, np.float32)).mean())


@pytest.mark.parametrize("name", ["a.png", "a.jpg", "a.webp", "a.tif", "a.bmp", "a.avif", "no-ending"])
def test_every_usual_kind_is_read(tmp_path, name):
    kind = {"a.jpg": "JPEG", "a.webp": "WEBP", "a.tif": "TIFF", "a.bmp": "BMP", "a.avif": "AVIF"}.get(name, "PNG")
    photo = read_photo(saved(tmp_path / name, Image.fromarray(PIXELS), format=kind))
    assert photo.pixels_HWC.shape == (64, 96, 3)
    assert off(photo.pixels_HWC, PIXELS) < 6


@pytest.mark.parametrize("turn", range(1, 9))
def test_a_turned_picture_is_shown_upright(tmp_path, turn):
    """Exif 2.32, Orientation: the eight ways a camera can be held."""
    undo = {
        1: PIXELS, 2: PIXELS[:, ::-1], 3: PIXELS[::-1, ::-1], 4: PIXELS[::-1], 5: PIXELS.transpose(1, 0, 2),
        6: np.rot90(PIXELS, 1), 7: PIXELS[::-1, ::-1].transpose(1, 0, 2), 8: np.rot90(PIXELS, -1),
    }  # fmt: skip
    exif = Image.Exif()
    exif[0x0112] = turn
    stored = Image.fromarray(np.ascontiguousarray(undo[turn]))
    photo = read_photo(saved(tmp_path / "a.png", stored, exif=exif))
    assert photo.size == (96, 64)
    assert off(photo.pixels_HWC, PIXELS) == 0


def test_cmyk_grey_palette_and_sixteen_bits_become_rgb(tmp_path):
    image = Image.fromarray(PIXELS)
    assert off(read_photo(saved(tmp_path / "c.jpg", image.convert("CMYK"), quality=95)).pixels_HWC, PIXELS) < 12
    assert off(read_photo(saved(tmp_path / "p.png", image.quantize(256))).pixels_HWC, PIXELS) < 8
    grey = image.convert("L")
    assert off(read_photo(saved(tmp_path / "l.png", grey)).pixels_HWC[..., 0], grey) == 0
    deep = Image.fromarray(np.asarray(grey, np.uint16) * 257)
    assert off(read_photo(saved(tmp_path / "d.png", deep)).pixels_HWC[..., 1], grey) <= 1
    assert read_photo(saved(tmp_path / "b.png", grey.convert("1"))).pixels_HWC.max() == 255


def test_a_profile_is_followed(tmp_path):
    """The same numbers under another profile are other colours."""
    lab = ImageCms.ImageCmsProfile(ImageCms.createProfile("LAB"))
    srgb = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    same = read_photo(saved(tmp_path / "s.png", Image.fromarray(PIXELS), icc_profile=srgb))
    assert off(same.pixels_HWC, PIXELS) < 1
    wrong = read_photo(saved(tmp_path / "w.png", Image.fromarray(PIXELS), icc_profile=lab.tobytes()))
    assert off(wrong.pixels_HWC, PIXELS) < 1  # one that does not fit the picture is passed over
    assert "bad-profile" in wrong.notes


def test_what_is_transparent_is_filled_without_a_rim(tmp_path):
    alpha = np.full((64, 96, 1), 255, np.uint8)
    alpha[:, :30] = 0
    dirty = PIXELS.copy()
    dirty[:, :30] = (0, 255, 0)  # what editors leave under transparent parts
    photo = read_photo(saved(tmp_path / "a.png", Image.fromarray(np.dstack([dirty, alpha]))))
    assert "flattened" in photo.notes
    filled = photo.pixels_HWC[:, :30].astype(int)
    assert filled.std(axis=(0, 1)).max() == 0
    assert abs(filled[0, 0] - PIXELS[:, 30:].mean(axis=(0, 1))).max() < 2


def test_of_a_moving_picture_the_first_is_taken(tmp_path):
    frames = [Image.fromarray(PIXELS), Image.fromarray(255 - PIXELS)]
    photo = read_photo(saved(tmp_path / "a.webp", frames[0], save_all=True, append_images=frames[1:], lossless=True))
    assert "first-of-many" in photo.notes
    assert off(photo.pixels_HWC, PIXELS) < 2


def test_a_large_jpeg_is_decoded_no_larger_than_needed(tmp_path):
    large = Image.fromarray(PIXELS).resize((1920, 1280))
    path = saved(tmp_path / "a.jpg", large)
    assert read_photo(path).pixels_HWC.shape[:2] == (1280, 1920)
    small = read_photo(path, enough_px=300)
    assert 300 <= min(small.pixels_HWC.shape[:2]) < 700
    assert small.size == (1920, 1280)


@pytest.mark.parametrize(
    ("content", "code"),
    [
        (b"", "media.empty"),
        (b"no picture at all" * 40, "picture.none"),
        (b"<svg xmlns='http://www.w3.org/2000/svg'><image href='file:///etc/passwd'/></svg>", "picture.none"),
        (b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 100 100\n", "picture.none"),
        (b"\xff\xd8\xff\xe0" + bytes(300), "picture.none"),
    ],
)
def test_what_is_no_picture_is_refused_by_name(tmp_path, content, code):
    path = tmp_path / "a.jpg"
    path.write_bytes(content)
    with pytest.raises(MediaError) as refused:
        read_photo(path)
    assert refused.value.code == code


def test_a_truncated_picture_is_refused(tmp_path):
    for kind in ("JPEG", "PNG", "WEBP", "TIFF"):
        buffer = io.BytesIO()
        Image.fromarray(PIXELS).resize((480, 320)).save(buffer, kind)
        path = tmp_path / kind
        path.write_bytes(buffer.getvalue()[: len(buffer.getvalue()) // 2])
        with pytest.raises(MediaError) as refused:
            read_photo(path)
        assert refused.value.code in ("picture.damaged", "picture.none")


def test_any_byte_may_be_wrong_and_nothing_but_a_typed_error_comes_of_it(tmp_path):
    rng = np.random.default_rng(0)
    for kind in ("JPEG", "PNG", "WEBP", "TIFF", "GIF", "BMP", "AVIF"):
        buffer = io.BytesIO()
        Image.fromarray(PIXELS).save(buffer, kind)
        for _ in range(12):
            broken = bytearray(buffer.getvalue())
            for place in rng.integers(0, len(broken), 8):
                broken[place] = rng.integers(0, 256)
            path = tmp_path / "broken"
            path.write_bytes(broken)
            with suppress(MediaError):
                assert read_photo(path).pixels_HWC.dtype == np.uint8


def bomb(width: int, height: int) -> bytes:
    """A PNG that says it is so large, and a little of it."""

    def chunk(name: bytes, body: bytes) -> bytes:
        return struct.pack(">I", len(body)) + name + body + struct.pack(">I", zlib.crc32(name + body))

    head = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return (
        b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", zlib.compress(bytes(1000))) + chunk(b"IEND", b"")
    )


@pytest.mark.parametrize(
    ("size", "code"),
    [((1, 1), "picture.too_small"), ((15, 900), "picture.too_small"), ((20_000, 400), "picture.too_long"),
     ((20_000, 20_000), "picture.too_many_pixels"), ((13_000, 13_000), "picture.damaged"),
     ((60_000, 60_000), "picture.too_many_pixels")],
)  # fmt: skip
def test_sizes_beyond_reason_are_refused_before_a_pixel_is_decoded(tmp_path, size, code):
    path = tmp_path / "a.png"
    path.write_bytes(bomb(*size))
    with pytest.raises(MediaError) as refused:
        read_photo(path)
    assert refused.value.code == code


def test_a_panorama_of_twenty_thousand_pixels_is_read(tmp_path):
    wide = Image.fromarray(PIXELS).resize((20_000, 600))
    assert read_photo(saved(tmp_path / "a.jpg", wide)).size == (20_000, 600)


def test_no_file_a_folder_and_a_device_are_errors_of_their_own(tmp_path):
    with pytest.raises(NotFound):
        read_photo(tmp_path / "none.jpg")
    for place in (tmp_path, "/dev/zero"):
        with pytest.raises(MediaError):
            read_photo(place)


def test_depth_is_read_at_its_own_precision(tmp_path):
    deep = (DEPTH * 65_535).astype(np.uint16)
    assert off(read_plane(saved(tmp_path / "d.png", Image.fromarray(deep))), DEPTH) < 1e-4
    assert off(read_plane(saved(tmp_path / "f.tif", Image.fromarray(3 * DEPTH + 1))), DEPTH / 0.9) < 1e-3
    cut_out = np.dstack([PIXELS, (DEPTH * 255).astype(np.uint8)])
    assert off(read_plane(saved(tmp_path / "c.png", Image.fromarray(cut_out))), DEPTH) < 5e-3
    with pytest.raises(MediaError) as refused:
        read_plane(saved(tmp_path / "n.tif", Image.fromarray(np.full((64, 96), np.nan, np.float32))))
    assert refused.value.code == "picture.no_numbers"


def test_phone_pictures_are_read(footage):
    heic = read_photo(footage / "photos" / "IMG_2682.heic")
    assert heic.pixels_HWC.shape == (3024, 4032, 3)
    turned = read_photo(footage / "photos" / "portrait-orientation-6.jpg").pixels_HWC
    upright = read_photo(footage / "photos" / "portrait.jpg").pixels_HWC
    assert off(turned, upright) < 4


def test_bars_of_a_film_are_cut_away_and_a_dark_sky_is_not():
    barred = np.zeros((120, 160, 3), np.uint8)
    barred[20:100] = 120
    assert without_bars(barred).shape == (76, 160, 3)
    night = np.zeros((120, 160, 3), np.uint8)
    night[70:] = 120
    assert without_bars(night).shape == (120, 160, 3)
    assert without_bars(np.zeros((60, 60, 3), np.uint8)).shape == (60, 60, 3)
