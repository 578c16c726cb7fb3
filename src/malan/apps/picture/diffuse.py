"""A picture given to an image-to-video model, framed as asked for; the film exact to the frame. Start at `diffuse`."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import numpy as np

from malan.apps.frame import Card, Made, Work
from malan.apps.picture.gather import Picture, weight_in
from malan.apps.picture.request import PictureRequest
from malan.core.errors import UsageError
from malan.inference.backends import Amount, Film, VideoAsk
from malan.media.film_file import write_film
from malan.services.engines.opening import ai_part, open_engine
from malan.services.engines.settings import read_engines

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from malan.inference.backends import Filmer
    from malan.media.render import Format

LONGEST_S = 30.0
_MODEL_RATE = 16


def diffuse(card: Card, request: PictureRequest, picture: Picture, work: Work) -> Made:
    """Films by a model that begins with the picture.

    Raises:
        UsageError: No engine makes films, or the length is not for a model.
        NotGranted: The model, or a sub-model, may not be used so.
        MissingExtra: What runs it is not installed.
    """
    if request.seconds > LONGEST_S:
        raise UsageError("picture.diffuse_length", seconds=f"{request.seconds:g}", most=f"{LONGEST_S:g}")
    engine = engine_of(request, work)
    part = ai_part(work.library, engine, request.adapter, caller=work.caller)
    title = request.title or card.name
    work.check_words({"prompt": request.prompt})
    files: dict[str, Path] = {}
    told: dict[str, Any] = {}
    for form in request.formats():
        film = _film(request, picture, form, engine, work)
        frames = _retimed(film, request.frames, request.rate)
        out, size = work.out / f"picture-{form.name}.mp4", (form.width, form.height)

        def render(place: Path, frames: NDArray[np.uint8] = frames, size: tuple[int, int] = size) -> None:
            write_film(frames, Fraction(request.rate), place, size=size)

        work.publish(
            card, title, picture.sources, render, out, ai=part, mode="diffuse", brought=picture.brought
        )  # fmt: skip
        files[form.name] = out
        told = {"frames_of_model": len(film.frames_THWC), "rate_of_model": film.rate}
    return Made(files, {"mode": "diffuse", "engine": engine, "seconds": request.frames / request.rate, **told})


def engine_of(request: PictureRequest, work: Work) -> str:
    """The engine that was named, or the first that makes films.

    Raises:
        UsageError: There is none.
    """
    book = read_engines(work.library)
    if request.model:
        return book.routed(request.model)[0].name
    found = book.of_kind("video")
    if not found:
        raise UsageError("picture.no_engine")
    return found[0].name


def _film(request: PictureRequest, picture: Picture, form: Format, engine: str, work: Work) -> Film:
    from malan.media.motion import framed_still

    still = framed_still(picture.pixels, weight_in(picture), (form.width, form.height))
    amount = _amount(request, form)
    ask = VideoAsk(
        prompt=request.prompt, negative=request.negative, width=amount.width, height=amount.height,
        frames=amount.frames, seed=request.seed, steps=request.steps,
        image_HWC=still, adapters=dict.fromkeys(request.adapter, 1.0),
    )  # fmt: skip
    opening = open_engine(
        work.library, engine, "video", caller=work.caller, stop=work.stop_if_asked, amount=ask.amount
    )  # fmt: skip
    with opening as opened:
        filmer = cast("Filmer", opened)
        return filmer.film(ask, tell=lambda done, total: work.progress(done, total, "diffuse"), stop=work.stop_if_asked)


def amount_of(request: PictureRequest) -> Amount:
    """How much a model is asked for at once, for the largest of the films."""
    return max((_amount(request, form) for form in request.formats()), key=lambda one: one.width * one.height)


def _amount(request: PictureRequest, form: Format) -> Amount:
    return Amount(form.width, form.height, max(1, round(request.seconds * _MODEL_RATE)))


def _retimed(film: Film, wanted: int, rate: int) -> NDArray[np.uint8]:
    """Exactly so many frames at a rate: each shows what the model showed at that moment, played at most a tenth slower
    or faster; beyond that the last is held."""
    have = len(film.frames_THWC)
    speed = float(np.clip(have / film.rate * rate / wanted, 0.9, 1.1))
    at = np.minimum(np.floor((np.arange(wanted) + 0.5) / rate * film.rate * speed), have - 1).astype(np.int64)
    return np.asarray(film.frames_THWC[at], np.uint8)
