"""From a storyboard to what leaves the house: films in every format, cover, subtitles, timelines for editing systems.

    storyboard ─ lay ─┬─ mix ──────────────┐
                      ├─ frame ─▶ render ──┴▶ films ─ publish ─▶ out
                      └─ cover, timelines for editing systems ─▶ out

Any app with a storyboard ends here. Start reading at `make_film`.
"""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass
from fractions import Fraction
from functools import partial
from pathlib import Path
from typing import Any

from malan.apps.frame import Card, Made, Work
from malan.apps.promo.board import Storyboard
from malan.apps.promo.brought import brought_to, with_brought
from malan.apps.promo.build import Built, framed, lay
from malan.apps.promo.captions import srt
from malan.apps.promo.cover import draw_covers
from malan.apps.promo.exports import write_timelines
from malan.apps.promo.listening import check_heard
from malan.apps.promo.plan import USES
from malan.core.errors import UsageError
from malan.media.render import Mixed, Music, Rendered, Timeline, mix_sound, render
from malan.media.render.shelf import tidy_shelf
from malan.services.clips.picking import Shelf
from malan.services.outputs.publish import AiPart, Planned, check_producer


def make_film(
    board: Storyboard, script: str, work: Work, card: Card, *, stem: str, out: Path | None = None,
    ai: AiPart | None = None, seed: int = 0,
) -> Made:  # fmt: skip
    """Render a storyboard and publish it.

    Args:
        board: What is shown.
        script: Words for captions over the whole film; shots' own texts win over it.
        work: The run.
        card: Whose film it is.
        stem: Films are called `STEM-16x9.mp4`.
        out: Where they come; the folder of the run unless said otherwise.
        ai: The part AI had in it; that of a composed bed, and of sound that is labelled as AI-made, is added.
        seed: Of a composed bed.

    Raises:
        NotGranted: A clip may not be used (any more).
        UsageError: The storyboard or the script does not fit, or AI has a part and no provider code is set.
        MediaError: Footage or music cannot be read.
    """
    planners = [Planned(one.engine, one.model, one.digest) for one in board.planned_by]
    work.planned += [one for one in planners if one not in work.planned]
    part = with_brought(_with_bed(board, _with_words(board, ai)), *_brought(board))
    if part and not work.library.settings.producer_code:
        raise UsageError("publish.no_producer")  # now, not when all is rendered
    if part:  # said before anything is rendered
        check_producer(work.library, part, (out or work.out) / f"{stem}.mp4")
    check_heard(path for path in (board.music, board.voice) if path)
    return _Making(board, lay(board, script, work), work, card, stem, out or work.out, part, seed).make()


@dataclass(frozen=True)
class _Making:
    board: Storyboard
    built: Built
    work: Work
    card: Card
    stem: str
    out: Path
    ai: AiPart | None
    seed: int

    def make(self) -> Made:
        self.out.mkdir(parents=True, exist_ok=True)
        sound, rendered, beside = self._render()
        files = {**self._publish(rendered.films), **beside}
        sound.path.unlink(missing_ok=True)
        told: dict[str, Any] = {"encoded_frames": rendered.encoded, "frames": rendered.frames}
        told |= {"loudness_lufs": sound.loudness_lufs, "true_peak_dbtp": sound.true_peak_dbtp}
        return Made(files, {**told, "sources": _told_sources(self.built), "notes": list(self.board.notes)})

    def _render(self) -> tuple[Mixed, Rendered, dict[str, Path]]:
        """Pictures, and beside them sound and what an editor takes along; what was rendered before is in the cache."""
        work = self.work
        folder = work.library.folder("cache") / "render"
        folder.mkdir(parents=True, exist_ok=True)
        outs = {form.name: self.out / f".malan-{form.name}.mp4" for form in self.built.timeline.formats}
        with ThreadPoolExecutor(2, "malan-beside") as pool:
            sound = pool.submit(self._sound)
            beside = pool.submit(self._beside)
            timeline = framed(self.built, work).timeline
            covers = pool.submit(self._covers, timeline)
            rendered = render(
                timeline, outs, folder, sound=lambda: sound.result().path,
                tell=lambda share: work.progress(round(100 * share), 100, "render"),
            )  # fmt: skip
            tidy_shelf(folder)
            return sound.result(), rendered, {**covers.result(), **beside.result()}

    def _sound(self) -> Mixed:
        """What is heard; a bed is composed to the cuts where tags ask for it and no track is given."""
        board, timeline = self.board, self.built.timeline
        music = Music(board.music, Fraction(str(board.music_from_s))) if board.music else None
        with ExitStack() as stack:
            if board.bed and not board.music:
                from malan.apps.music.bed import make_bed

                bed = self.out / f".malan-{os.getpid()}-bed.wav"
                stack.callback(bed.unlink, missing_ok=True)
                make_bed(
                    tags_of(board.bed), timeline.duration, [float(at / timeline.rate) for at in timeline.starts[1:-1]],
                    self.seed, bed, stop=self.work.stop_if_asked,
                )  # fmt: skip
                music = Music(str(bed))
            return mix_sound(timeline, self.out / "sound.m4a", music=music, voice=board.voice or None)

    def _publish(self, films: Mapping[str, Path]) -> dict[str, Path]:
        """Every film with its sources; in its place only when all of it holds."""
        files: dict[str, Path] = {}
        title = self.board.title or self.stem
        brought = brought_to(*_brought(self.board))
        for name, film in films.items():
            out = self.out / f"{self.stem}-{name}.mp4"
            try:
                self.work.publish(
                    self.card, title, self.built.sources, partial(_move, film), out, ai=self.ai, brought=brought
                )
            finally:
                film.unlink(missing_ok=True)
            files[name] = out
        return files

    def _covers(self, timeline: Timeline) -> dict[str, Path]:
        shelf = Shelf(self.work.library, USES, self.work.caller)
        return draw_covers(self.board, timeline, self.built.rows, shelf, self.out)

    def _beside(self) -> dict[str, Path]:
        """Subtitles, timelines."""
        files: dict[str, Path] = {}
        if self.built.captions:
            files["srt"] = self.out / f"{self.stem}.srt"
            files["srt"].write_text(srt(self.built.captions), "utf-8")
        return files | write_timelines(self.board, self.built, self.out, self.stem)


def tags_of(text: str) -> tuple[str, ...]:
    """Tags from a line of them, with commas of any kind between."""
    return tuple(one.strip() for one in re.split(r"[,，、;；]", text) if one.strip())


def _brought(board: Storyboard) -> tuple[str, ...]:
    """The files of others that are heard; a voice that our own engine spoke is none."""
    return (board.music, "" if board.is_spoken else board.voice)


def _with_words(board: Storyboard, ai: AiPart | None) -> AiPart | None:
    """Words over the picture in a film that a model planned are the part it had in it, also when people edited them:
    real footage, put together with them (GB 45438-2025, 4.1)."""
    is_worded = board.planned_by and any(shot.text for shot in board.shots)
    return ai or (AiPart("composite", text="AI合成") if is_worded else None)


def _with_bed(board: Storyboard, ai: AiPart | None) -> AiPart | None:
    """The part of machines in a film, with that of a composed bed."""
    if not board.bed or board.music:
        return ai
    return ai or AiPart("composite")


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
