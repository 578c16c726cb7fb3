"""The promo app: storyboard, then films, covers, subtitles and timelines for editing systems.

    request ─ plan ─▶ storyboard.json ─ build ─▶ timeline ─ mix, render ─▶ films ─ publish ─▶ out

Start reading at `Promo.run`.
"""

from __future__ import annotations

import shutil
import time
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any

from malan.apps.frame import Card, Made, Request, Work
from malan.apps.promo.board import Storyboard, read_board
from malan.apps.promo.build import Built, build
from malan.apps.promo.exports import write_timelines
from malan.apps.promo.plan import USES, make_board
from malan.apps.promo.request import PromoRequest
from malan.apps.promo.writing import srt
from malan.media.render import Mixed, Music, Rendered, mix_sound, render
from malan.media.render.shelf import tidy_shelf
from malan.media.thumbs import encode_jpeg
from malan.services.picking import Shelf

BOARD = "storyboard.json"


class Promo:
    """30-second promos from cleared footage, in every format at once."""

    card = Card("promo", "assemble", uses=USES, meter="output_second", price_minor=5)
    request: type[Request] = PromoRequest

    def run(self, request: PromoRequest, work: Work) -> Made:
        """Make the promo; a storyboard alone when that is all that is asked for.

        Raises:
            NotFound: Nothing matches, or there is too little.
            NotGranted: A clip may not be used (any more).
            UsageError: The storyboard or the script does not fit.
            MediaError: Footage or music cannot be read.
        """
        began = time.perf_counter()
        board = read_board(request.board) if request.board else make_board(request, work)
        place = work.out / BOARD
        place.write_text(board.to_json(), "utf-8")
        planned = time.perf_counter() - began
        told = {"seconds": float(board.duration), "shots": len(board.shots), "plan_s": round(planned, 3)}
        if request.plan_only:
            return Made({"storyboard": place}, {**told, "board": board.model_dump(mode="json")})
        built = build(board, request.script, work)
        sound, rendered = self._render(board, built, work)
        files = {"storyboard": place, **self._leave(board, built, rendered, sound, work)}
        told |= {"encoded_frames": rendered.encoded, "frames": rendered.frames}
        told |= {"loudness_lufs": sound.loudness_lufs, "true_peak_dbtp": sound.true_peak_dbtp}
        return Made(files, {**told, "sources": _told_sources(built), "notes": list(board.notes)})

    def _render(self, board: Storyboard, built: Built, work: Work) -> tuple[Mixed, Rendered]:
        """Sound, then pictures; what was rendered before is taken from the workspace's cache."""
        folder = work.library.folder("cache") / "render"
        folder.mkdir(parents=True, exist_ok=True)
        music = Music(board.music) if board.music else None
        outs = {form.name: work.out / f".malan-{form.name}.mp4" for form in built.timeline.formats}
        with ThreadPoolExecutor(1) as beside:  # the sound is ready before the pictures are
            sound = beside.submit(
                mix_sound, built.timeline, work.out / "sound.m4a", music=music, voice=board.voice or None
            )
            rendered = render(
                built.timeline, outs, folder, sound=lambda: sound.result().path,
                tell=lambda share: work.progress(round(100 * share), 100, "render"),
            )  # fmt: skip
        tidy_shelf(folder)
        return sound.result(), rendered

    def _leave(self, board: Storyboard, built: Built, rendered: Rendered, sound: Mixed, work: Work) -> dict[str, Path]:
        """Publish the films, and put beside them what an editor takes along."""
        files: dict[str, Path] = {}
        title = board.title or "promo"
        for name, film in rendered.films.items():
            out = work.out / f"promo-{name}.mp4"
            try:
                work.publish(self.card, title, built.sources, partial(_move, film), out)
            finally:
                film.unlink(missing_ok=True)
            files[name] = out
        sound.path.unlink(missing_ok=True)
        files["cover"] = self._cover(board, built, work)
        if built.captions:
            files["srt"] = work.out / "promo.srt"
            files["srt"].write_text(srt(built.captions), "utf-8")
        return files | write_timelines(board, built, work.out)

    def _cover(self, board: Storyboard, built: Built, work: Work) -> Path:
        """The best shot, a third into it."""
        place = max(range(len(board.shots)), key=lambda n: (board.shots[n].score, -n))
        shot = board.shots[place]
        shelf = Shelf(work.library, USES, work.caller)
        at = shot.from_s + shot.frames / board.rate / 3
        [picture] = shelf.pictures(built.rows[place], [at], min(board.lines, 1080))
        out = work.out / "cover.jpg"
        out.write_bytes(encode_jpeg(picture))
        return out


def _move(film: Path, out: Path) -> None:
    shutil.move(film, out)


def _told_sources(built: Built) -> list[dict[str, Any]]:
    """Second by second: what is shown and whose it is."""
    return [
        {
            "at_s": float(one.at_s),
            "until_s": float(one.until_s),
            "clip": row.id,
            "file": row.file_name,
            "from_s": one.clip.span.start_s,
            "owner": one.owner_id,
            "parts": list(one.parts),
        }
        for one, row in zip(built.sources, built.rows, strict=True)
    ]


APP = Promo()
