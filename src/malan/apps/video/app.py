"""The app: a description becomes storyboards, storyboards films; or a video model makes it.

    prompt ─ read, or planned by a model ─▶ beats ─ gather ─▶ storyboards ─▶ films, with a source for every frame
       └─ diffuse: prompt ─ expand ─▶ video model, sub-models attached ─▶ film

Start reading at `Video.run`.
"""

from __future__ import annotations

import json
import time
from fractions import Fraction
from pathlib import Path
from typing import Any

from malan.apps.frame import Card, Expected, Made, Request, Work
from malan.apps.promo.board import Storyboard, read_board
from malan.apps.promo.make import make_film
from malan.apps.promo.plan import USES
from malan.apps.video.diffuse import SECONDS as DIFFUSED_S
from malan.apps.video.diffuse import diffuse
from malan.apps.video.plan import SECONDS, asked_seconds, make_boards
from malan.apps.video.prompt import read_prompt
from malan.apps.video.request import VideoRequest
from malan.apps.video.script import plan_by_model, planner_of, planner_said
from malan.apps.video.sheet import draw_sheet

MAP = "frames.json"


class Video:
    """Text to video."""

    card = Card("video", "assemble", uses=USES, meter="output_second", price_minor=5)
    request: type[Request] = VideoRequest

    def expect(self, request: VideoRequest, work: Work) -> Expected:
        """Every format of every version is a film of its own; storyboards cost nothing.

        Raises:
            UsageError: There is nothing in the prompt to go by, or the length is not that of a film.
        """
        if request.plan_only:
            return Expected(Fraction(0), 0)
        if request.board:
            board = read_board(request.board, work)
            return Expected(board.duration * len(set(board.formats)), len(set(board.formats)))
        brief = read_prompt(request.prompt, request.script)
        films = request.versions * max(1, len(set(request.format)))
        if request.mode == "assemble":
            length = asked_seconds(request, brief) or SECONDS
        else:
            length = request.seconds or brief.seconds or DIFFUSED_S
        return Expected(Fraction(str(length)) * films, films)

    def run(self, request: VideoRequest, work: Work) -> Made:
        """Make the film; storyboards alone when they are all that is asked for.

        Raises:
            UsageError: There is nothing in the prompt to go by, or a storyboard makes no sense.
            NotFound: Nothing in the library fits (the nearest is named), or there is too little.
            NotGranted: A clip, or a model, may not be used so.
        """
        if request.mode == "diffuse":
            return diffuse(self.card, request, work)
        began = time.perf_counter()
        boards, planner = self._boards(request, work)
        planned = round(time.perf_counter() - began, 3)
        files: dict[str, Path] = {}
        for number, board in enumerate(boards, 1):
            place = _folder(work, number, boards) / "storyboard.json"
            place.parent.mkdir(parents=True, exist_ok=True)
            place.write_text(board.to_json(), "utf-8")
            files[_named("storyboard", number, boards)] = place
        files["sheet"] = draw_sheet(boards, work, work.out / "storyboards.jpg")
        told = _told(boards, planner) | {"plan_s": planned}
        if request.plan_only:
            return Made(files, {**told, "boards": [board.model_dump(mode="json") for board in boards]})
        return self._films(boards, files, told, work, request.seed)

    def _boards(self, request: VideoRequest, work: Work) -> tuple[list[Storyboard], str]:
        """Storyboards, and the model that planned them, if one did."""
        if request.board:
            return [read_board(request.board, work)], ""
        brief = read_prompt(request.prompt, request.script)
        engine = planner_of(work, request.planner)
        planned, trouble = plan_by_model(brief, request.prompt, engine, work)
        boards = make_boards(request, planned, work, notes=[trouble] if trouble else [])
        if planned is brief:
            return boards, ""
        planners = (planner_said(engine, work),)
        return [board.model_copy(update={"planned_by": planners}) for board in boards], engine

    def _films(
        self,
        boards: list[Storyboard],
        files: dict[str, Path],
        told: dict[str, Any],
        work: Work,
        seed: int,
    ) -> Made:
        sources, seconds = [], 0.0
        for number, board in enumerate(boards, 1):
            folder = _folder(work, number, boards)
            made = make_film(board, "", work, self.card, stem="video", out=folder, seed=seed + number - 1)
            files |= {_named(what, number, boards): path for what, path in made.files.items()}
            place = folder / MAP
            place.write_text(_frame_map(board, made.report["sources"]), "utf-8")
            files[_named("frames", number, boards)] = place
            sources.append(made.report["sources"])
            seconds += float(board.duration)
        return Made(files, {**told, "sources": sources[0] if len(sources) == 1 else sources, "made_seconds": seconds})


def _folder(work: Work, number: int, boards: list[Storyboard]) -> Path:
    return work.out if len(boards) == 1 else work.out / f"v{number}"


def _named(what: str, number: int, boards: list[Storyboard]) -> str:
    return what if len(boards) == 1 else f"v{number}/{what}"


def _told(boards: list[Storyboard], planner: str) -> dict[str, Any]:
    first = boards[0]
    said: dict[str, Any] = {"seconds": float(first.duration), "shots": len(first.shots), "versions": len(boards)}
    return said | {"planner": planner or "rules", "notes": list(first.notes), "lines": list(first.notes)}


def _frame_map(board: Storyboard, sources: list[dict[str, Any]]) -> str:
    """For every frame of the film the clip it shows, from which second of its file on, and whose it is; as runs."""
    runs, at = [], 0
    for shot, source in zip(board.shots, sources, strict=True):
        runs.append({"frame": at, "frames": shot.frames, "clip": shot.clip, "from_s": source["from_s"],
                     "file": source["file"], "owner": source["owner"], "parts": source["parts"]})  # fmt: skip
        at += shot.frames
    said = {"kind": "malan-frames/v1", "rate": board.rate, "frames": board.frames, "runs": runs}
    return json.dumps(said, ensure_ascii=False, indent=1) + "\n"


APP = Video()
