"""The picture that is asked for, whose it is, and what there is to tell near from far in it.

A file of the caller's own stands in log and credential by its digest. Where the library knows the same bytes, its
owner's terms are asked, however the file came here. A frame of a clip is a source like any other. Start at `gather`.
"""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING, cast

from malan.apps.frame import Work
from malan.apps.picture.request import PictureRequest
from malan.core import Clip, Span
from malan.core.errors import NotFound, UsageError
from malan.services.clips.picking import Shelf, chosen
from malan.services.engines.opening import ai_part, open_engine
from malan.services.engines.settings import read_engines
from malan.services.outputs.manifests import Source, file_digest
from malan.services.outputs.publish import AiPart
from malan.services.uses import require_use

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from malan.inference.backends import DepthModel
    from malan.media.motion import Photo, Relief

USES = ("derive", "publish")
LABEL = "AI合成"  # GB 45438-2025, 4.1: the picture is somebody's, its movement is not


@dataclass(frozen=True)
class Picture:
    """A picture to be set in motion, and where it is from: sources of the library, digests of files brought along.

    `plane` is the map that came with it, of depth or of a mask.
    """

    photo: Photo
    plane: NDArray[np.float32] | None = None
    sources: tuple[Source, ...] = ()
    brought: tuple[str, ...] = ()
    clip_id: str = ""

    @property
    def pixels(self) -> NDArray[np.uint8]:
        """(H, W, 3), sRGB."""
        return self.photo.pixels_HWC


def gather(request: PictureRequest, work: Work) -> Picture:
    """The picture.

    Raises:
        UsageError: None is named, or two.
        NotFound: It is not there.
        NotGranted: It is of the library and may not be used so.
        MediaError: It is no picture that can be set in motion.
    """
    if bool(request.file) == bool(request.clip):
        raise UsageError("picture.which")
    if request.depth and request.mask:
        raise UsageError("picture.two_maps")
    return _of_file(request, work) if request.file else _of_clip(request, work)


def _of_file(request: PictureRequest, work: Work) -> Picture:
    from malan.media.motion import read_with_map

    beside = request.depth or request.mask
    photo, plane = read_with_map(request.file, beside, enough_px=_enough(request))
    digests = tuple(dict.fromkeys(file_digest(Path(path)) for path in (request.file, beside) if path))
    for digest in digests:
        _require_if_known(digest, work)
    return Picture(photo, plane if beside else None, brought=digests)


def _enough(request: PictureRequest) -> int:
    """A short side that is enough for the largest view, whatever part of the picture it shows."""
    return round(2.2 * max(max(form.width, form.height) for form in request.formats()))


def _require_if_known(digest: str, work: Work) -> None:
    """Bytes that are in the library have an owner here, whoever brings them.

    Raises:
        NotGranted: The owner's terms do not allow it.
    """
    try:
        asset = work.library.library.asset(digest).asset
    except NotFound:
        return
    for use in USES:
        require_use(work.library, asset.terms_id, use, digest[:12], caller=work.caller)


def _of_clip(request: PictureRequest, work: Work) -> Picture:
    """A frame of a clip: the one at a moment of its file, in seconds; the middle one where none is said."""
    from malan.media.motion import Photo, read_plane, without_bars

    [one] = chosen(work.library, [request.clip], USES, caller=work.caller)
    row, span = one.row, one.row.span
    at = request.at if request.at >= 0 else (span.start_s + span.end_s) / 2
    if not span.start_s - 1e-6 <= at <= span.end_s + 1e-6:
        raise UsageError(
            "picture.beyond_clip", at=f"{at:.2f}", start=f"{span.start_s:.2f}", end=f"{span.end_s:.2f}"
        )  # fmt: skip
    shelf = Shelf(work.library, USES, work.caller)
    footage = shelf.footage(row)
    height = (footage.video.shown_size_px or (16, 16))[1]
    [pixels] = shelf.pictures(row, [at], height)
    pixels = without_bars(pixels)
    start = shelf.frame_start(row, at)
    first = round(start / span.timebase)
    used = Clip(row.clip.asset_id, row.clip.track, Span(first, first + 1, span.timebase))
    length = Fraction(request.frames, request.rate)
    source = Source(used, row.owner_id, row.terms_id, Fraction(0), length, ("picture",))
    beside = request.depth or request.mask
    plane, maps = (read_plane(beside), (file_digest(Path(beside)),)) if beside else (None, ())
    return Picture(Photo(pixels, (pixels.shape[1], pixels.shape[0])), plane, (source,), maps, row.id)


def weight_in(picture: Picture) -> NDArray[np.float32]:
    """How much each place of the picture draws the eye; faces most, where what finds them is installed."""
    from malan.inference.faces import FaceFinder, has_face_weights
    from malan.media.motion import weight_of, with_faces

    weight = weight_of(picture.pixels)
    if not has_face_weights():
        return weight
    [faces] = FaceFinder().find([picture.pixels])
    return with_faces(weight, [(one.x, one.y, one.width, one.height) for one in faces])


def relief_of(request: PictureRequest, picture: Picture, work: Work) -> tuple[Relief, str]:
    """What is near in the picture and what is far, and the depth model that told, if one did.

    What somebody gives is believed; then a depth model that stands in `models.toml`; then the picture itself, if its
    subject stands out clearly enough. Else flat.

    Raises:
        MediaError: A map does not belong to the picture.
        NotGranted: The licence of the model forbids it.
    """
    from malan.media.motion import find_subject, flat, relief_from_map, relief_from_mask, weight_of
    from malan.media.motion import relief_from_subject as found_in

    if picture.plane is not None:
        told = relief_from_map if request.depth else relief_from_mask
        return told(picture.pixels, picture.plane, name=Path(request.depth or request.mask).name), ""
    if engine := _depth_engine(request, work):
        return relief_from_map(picture.pixels, _asked(engine, picture, work), "model", name=engine), engine
    if not request.strength:
        return flat(picture.pixels.shape[1::-1], 1.0), ""
    return found_in(picture.pixels, find_subject(picture.pixels, weight_of(picture.pixels))), ""


def _depth_engine(request: PictureRequest, work: Work) -> str:
    book = read_engines(work.library)
    if request.model:
        return book.routed(request.model)[0].name
    return next((row.name for row in book.of_kind("depth")), "")


def _asked(engine: str, picture: Picture, work: Work) -> NDArray[np.float32]:
    with open_engine(work.library, engine, "depth", caller=work.caller, stop=work.stop_if_asked) as opened:
        return cast("DepthModel", opened).depth(picture.pixels)


def part_of(engine: str, work: Work) -> AiPart:
    """What the label says of a film whose movement was computed: its picture is somebody's, the rest is not."""
    models = ai_part(work.library, engine, share="composite", caller=work.caller).model_ids if engine else ()
    return AiPart("composite", models, LABEL)
