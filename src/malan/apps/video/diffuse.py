"""The same request to a video model: the prompt made long, sub-models attached, the length and shape as asked for.

Start reading at `diffuse`.
"""

from __future__ import annotations

import json
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING, cast

import numpy as np

from malan.apps.frame import Card, Made, Work
from malan.apps.promo.request import format_of
from malan.apps.video.prompt import Brief, read_prompt
from malan.apps.video.request import VideoRequest
from malan.apps.video.wording import expand
from malan.core.errors import UsageError
from malan.inference.backends import Amount, Film, VideoAsk
from malan.media.film_file import write_film
from malan.services.engines.opening import ai_part, open_engine
from malan.services.engines.settings import read_engines

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from malan.inference.backends import Filmer
    from malan.media.render import Format
    from malan.services.outputs.publish import AiPart

SECONDS = 5.0
LONGEST_S = 30.0
RATE = 25
_MODEL_RATE = 16  # frames a second that video models are trained on; theirs says what it made


def diffuse(card: Card, request: VideoRequest, work: Work) -> Made:
    """Ask a video model, once for each version.

    Raises:
        UsageError: No engine makes films, or the length is not for a model.
        NotGranted: The model, or a sub-model, may not be used so.
        MissingExtra: What runs it is not installed.
    """
    brief = read_prompt(request.prompt, request.script)
    engine = _engine(request, work)
    seconds = request.seconds or brief.seconds or SECONDS
    if not 0.2 <= seconds <= LONGEST_S:
        raise UsageError("video.diffuse_length", seconds=f"{seconds:g}", most=f"{LONGEST_S:g}")
    words = expand(brief, request.style)
    told = {"engine": engine, "prompt": words, "seconds": seconds, "versions": request.versions, "notes": []}
    plan = work.out / "storyboard.json"
    plan.write_text(json.dumps(told | {"mode": "diffuse"}, ensure_ascii=False, indent=2) + "\n", "utf-8")
    files: dict[str, Path] = {"storyboard": plan}
    if request.plan_only:
        return Made(files, told)
    for version in range(request.versions):
        film, ai = _film(request, brief, words, engine, seconds, version, work)
        files |= _published(card, request, brief, film, seconds, ai, version, work)
    return Made(files, told)


def _engine(request: VideoRequest, work: Work) -> str:
    book = read_engines(work.library)
    if request.model:
        return book.routed(request.model)[0].name
    found = book.of_kind("video")
    if not found:
        raise UsageError("video.no_engine")
    return found[0].name


def _film(
    request: VideoRequest, brief: Brief, words: str, engine: str, seconds: float, version: int, work: Work
) -> tuple[Film, AiPart]:
    """Frames of a version, and which models had a part in them."""
    amount = _amount(request, brief, seconds)
    ask = VideoAsk(
        prompt=words, negative=request.negative, width=amount.width, height=amount.height,
        frames=amount.frames, seed=request.seed + version, steps=request.steps,
        image_HWC=_picture(request.image) if request.image else None,
        adapters=dict.fromkeys(request.adapter, 1.0),
    )  # fmt: skip
    opening = open_engine(
        work.library, engine, "video", caller=work.caller, stop=work.stop_if_asked, amount=ask.amount
    )  # fmt: skip
    with opening as opened:
        filmer = cast("Filmer", opened)
        film = filmer.film(ask, tell=lambda done, total: work.progress(done, total, "diffuse"), stop=work.stop_if_asked)
    return film, ai_part(work.library, engine, ask.adapters, caller=work.caller)


def amount_of(request: VideoRequest) -> Amount:
    """How much a model is asked for at once."""
    brief = read_prompt(request.prompt, request.script)
    return _amount(request, brief, request.seconds or brief.seconds or SECONDS)


def _amount(request: VideoRequest, brief: Brief, seconds: float) -> Amount:
    width, height = _worked_at(format_of(_shapes(request, brief)[0], request.lines), request.model_lines)
    return Amount(width, height, max(1, round(seconds * _MODEL_RATE)))


def _worked_at(form: Format, lines: int) -> tuple[int, int]:
    """The size the model works at: of the shape of the film, its short side no longer than models are made for."""
    scale = min(1.0, lines / min(form.width, form.height))
    return 2 * round(form.width * scale / 2), 2 * round(form.height * scale / 2)


def _shapes(request: VideoRequest, brief: Brief) -> tuple[str, ...]:
    return request.format or ((brief.shape,) if brief.shape else ("16:9",))


def _published(
    card: Card, request: VideoRequest, brief: Brief, film: Film, seconds: float, ai: AiPart, version: int, work: Work
) -> dict[str, Path]:
    """The film in every format asked for: exact to the frame, labelled, signed, logged."""
    frames = _retimed(film, seconds)
    files: dict[str, Path] = {}
    for shape in dict.fromkeys(_shapes(request, brief)):
        form = format_of(shape, request.lines)
        suffix = "" if request.versions == 1 else f"-v{version + 1}"
        out = work.out / f"video{suffix}-{form.name}.mp4"
        size = (form.width, form.height)

        def render(place: Path, size: tuple[int, int] = size) -> None:
            write_film(frames, Fraction(RATE), place, size=size)

        work.publish(card, request.title or request.prompt[:60], [], render, out, ai=ai, mode="diffuse")
        files[f"{form.name}{suffix}"] = out
    return files


def _retimed(film: Film, seconds: float) -> NDArray[np.uint8]:
    """Exactly the frames of the length at our rate: each shows what the model showed at that moment.

    What the model could not make in length is played slower or faster by at most a tenth; beyond that the last frame
    is held.
    """
    wanted = max(1, round(seconds * RATE))
    have = len(film.frames_THWC)
    own_s = have / film.rate
    speed = float(np.clip(own_s / seconds, 0.9, 1.1))
    at = np.minimum(np.floor((np.arange(wanted) + 0.5) / RATE * film.rate * speed), have - 1).astype(np.int64)
    return np.asarray(film.frames_THWC[at], np.uint8)


def _picture(path: str) -> NDArray[np.uint8]:
    from malan.media.motion.photo import read_photo

    return read_photo(path).pixels_HWC
