"""The app: a picture becomes a film in every format asked for.

    request ─ gather ─▶ picture ─ relief_of ─▶ near and far ─ move ─▶ scene ─ shoot, publish ─▶ picture-<format>.mp4

What was done is told: where the relief is from, how far it is to be believed, which move was made of it. Start reading
at `PictureApp.run`.
"""

from __future__ import annotations

import time
from fractions import Fraction
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from malan.apps.frame import Card, Expected, Made, Request, Work
from malan.apps.picture.diffuse import diffuse
from malan.apps.picture.gather import USES, Picture, gather, part_of, relief_of, weight_in
from malan.apps.picture.request import PictureRequest
from malan.core.catalogue import entry

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from malan.media.motion import Move, Relief, Scene, Wish
    from malan.media.render import Format


class PictureApp:
    """Picture to video."""

    card = Card("picture", "render", uses=USES, meter="output_second", price_minor=3, is_labelled=True)
    request: type[Request] = PictureRequest

    def expect(self, request: PictureRequest, work: Work) -> Expected:
        """Every format is a film of its own."""
        _ = work
        films = len(request.formats())
        return Expected(Fraction(request.frames, request.rate) * films, films)

    def run(self, request: PictureRequest, work: Work) -> Made:
        """Make the films.

        Raises:
            UsageError: The request contradicts itself.
            NotFound: The picture is not there.
            NotGranted: It, or a model, may not be used so.
            MediaError: It is no picture that can be set in motion.
            StoreError: A film could not be written.
        """
        picture = gather(request, work)
        if request.mode == "diffuse":
            made = diffuse(self.card, request, picture, work)
            return Made(made.files, {**made.report, **_told_picture(picture), "notes": [], "seed": request.seed})
        return self._render(request, picture, work)

    def _render(self, request: PictureRequest, picture: Picture, work: Work) -> Made:
        began = time.perf_counter()
        weight = weight_in(picture)
        relief, engine = relief_of(request, picture, work)
        files: dict[str, Path] = {}
        told: list[dict[str, Any]] = []
        for number, form in enumerate(request.formats()):
            wish, scene = _scene(request, picture, relief, weight, form)
            told.append(_told_film(form, scene))
            out = work.out / f"picture-{form.name}.mp4"
            shot = partial(_shoot, scene, wish, request, work, number)
            title, part = request.title or self.card.name, part_of(engine, work)
            work.publish(self.card, title, picture.sources, shot, out, ai=part, brought=picture.brought)
            files[form.name] = out
        notes = _notes(request, picture, relief, engine, told)
        report = {
            "mode": "render", "engine": engine or "malan-motion", "seconds": request.frames / request.rate,
            "frames": request.frames, "rate": request.rate, "loop": request.loop, "seed": request.seed,
            "relief": {"from": relief.origin, "confidence": round(relief.confidence, 3)}, "films": told,
            **_told_picture(picture), "notes": notes, "lines": notes, "took_s": round(time.perf_counter() - began, 3),
        }  # fmt: skip
        return Made(files, report)


def _scene(
    request: PictureRequest, picture: Picture, relief: Relief, weight: NDArray[np.float32], form: Format
) -> tuple[Wish, Scene]:
    from malan.media.motion import Wish, make_scene

    wish = Wish(
        _move(request, picture, relief, form), request.frames, request.frames / request.rate,
        (form.width, form.height), request.loop, request.seed, request.strength,
    )  # fmt: skip
    whole = {"auto": None, "crop": False, "whole": True}[request.framing]
    return wish, make_scene(picture.pixels, relief, weight, wish, whole=whole)


def _move(request: PictureRequest, picture: Picture, relief: Relief, form: Format) -> Move:
    """What suits the picture where nothing was said: around what has depth, along what is long, else towards it."""
    if request.move != "auto":
        return request.move
    if not relief.is_flat:
        return "orbit"
    height, width = picture.pixels.shape[:2]
    other = (width / height) / (form.width / form.height)
    return "pan" if max(other, 1 / other) > 1.45 and not request.loop else "push"


def _shoot(scene: Scene, wish: Wish, request: PictureRequest, work: Work, number: int, out: Path) -> None:
    from malan.media.motion import shoot

    films = len(request.formats())

    def tell(done: int, total: int) -> None:
        if done % 5 == 0:
            work.progress(number * total + done, films * total, "render")

    shoot(scene, wish, out, Fraction(request.rate), tell=tell)


def _told_film(form: Format, scene: Scene) -> dict[str, Any]:
    return {
        "format": form.name, "width": form.width, "height": form.height, "move": scene.move, "layers": scene.layers,
        "framing": "whole" if scene.is_whole else "crop", "picture_px_per_px": round(scene.framed.per_px, 3),
    }  # fmt: skip


def _told_picture(picture: Picture) -> dict[str, Any]:
    """Whose the picture is: clips of the library with their owners, or digests of what was brought."""
    sources = [
        {
            "clip": picture.clip_id, "asset": one.clip.asset_id, "at_s": one.clip.span.start_s, "owner": one.owner_id,
            "from_s": float(one.at_s), "until_s": float(one.until_s),
        }
        for one in picture.sources
    ]  # fmt: skip
    size = {"width": picture.photo.size[0], "height": picture.photo.size[1], "read": list(picture.photo.notes)}
    return {"sources": sources, "brought": list(picture.brought), "picture": size}


def _notes(
    request: PictureRequest, picture: Picture, relief: Relief, engine: str, told: list[dict[str, Any]]
) -> list[str]:
    """Which way was taken, in the language of the session."""
    codes: list[tuple[str, dict[str, Any]]] = []
    asked = request.move not in ("push", "pull", "pan", "auto")
    share = f"{100 * relief.confidence:.0f}"
    if relief.is_flat and request.strength:
        codes.append(("picture.note.flat_asked" if asked else "picture.note.flat", {"confidence": share}))
    elif not relief.is_flat:
        codes.append((f"picture.note.{relief.origin}", {"confidence": share, "engine": engine}))
    if any(one["framing"] == "whole" for one in told):
        codes.append(("picture.note.whole", {}))
    if any(one["picture_px_per_px"] < 0.75 for one in told):
        least = min(one["picture_px_per_px"] for one in told)
        codes.append(("picture.note.small", {"times": f"{1 / max(least, 1e-3):.1f}"}))
    if "first-of-many" in picture.photo.notes:
        codes.append(("picture.note.first", {}))
    if "flattened" in picture.photo.notes:
        codes.append(("picture.note.flattened", {}))
    return [entry(code).text(None, values) for code, values in codes]


APP = PictureApp()
