"""The promo app: storyboard, then films, covers, subtitles and timelines for editing systems.

    request ─ plan ─▶ storyboard.json ─ make ─▶ films, published

Start reading at `Promo.run`.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from fractions import Fraction
from pathlib import Path

from malan.apps.frame import Card, Expected, Made, Request, Work
from malan.apps.promo.board import read_board
from malan.apps.promo.make import make_film
from malan.apps.promo.plan import USES, make_board
from malan.apps.promo.request import PromoRequest
from malan.apps.promo.speaking import VOICE, with_voice
from malan.core.errors import NotGranted

BOARD = "storyboard.json"


class Promo:
    """30-second promos from cleared footage, in every format at once."""

    card = Card("promo", "assemble", uses=USES, meter="output_second", price_minor=5)
    request: type[Request] = PromoRequest

    def expect(self, request: PromoRequest, work: Work) -> Expected:
        """Every format is a film of its own; a storyboard costs nothing."""
        if request.plan_only:
            return Expected(Fraction(0), 0)
        board = read_board(request.board, work) if request.board else None
        length = board.duration if board else Fraction(str(request.length))
        formats = len(set(board.formats if board else request.format))
        return Expected(length * formats, formats)

    def run(self, request: PromoRequest, work: Work) -> Made:
        """Make the promo; a storyboard alone when that is all that is asked for.

        Raises:
            NotFound: Nothing matches, or there is too little.
            NotGranted: A clip may not be used (any more).
            UsageError: The storyboard or the script does not fit.
            MediaError: Footage or music cannot be read.
        """
        with left_clean(work.out):
            return self._run(request, work)

    def _run(self, request: PromoRequest, work: Work) -> Made:
        began = time.perf_counter()
        board = read_board(request.board, work) if request.board else make_board(request, work)
        if request.board and (board.music or board.voice) and not work.caller.is_operator:
            raise NotGranted("app.no_files", app="promo", field="music")
        place = work.out / BOARD
        place.write_text(board.to_json(), "utf-8")
        planned = time.perf_counter() - began
        told = {"seconds": float(board.duration), "shots": len(board.shots), "plan_s": round(planned, 3)}
        if request.plan_only:
            return Made({"storyboard": place}, {**told, "board": board.model_dump(mode="json")})
        work.check_words(board.words)
        spoken, ai = with_voice(board, request, work)
        made = make_film(spoken, request.script, work, self.card, stem="promo", ai=ai, seed=request.seed)
        (work.out / VOICE).unlink(missing_ok=True)
        return Made({"storyboard": place, **made.files}, {**told, **made.report})


@contextmanager
def left_clean(out: Path) -> Iterator[None]:
    """Where it does not end well, what it left in a folder is taken away; what was there before stays."""
    before = set(out.rglob("*")) if out.is_dir() else set()
    try:
        yield
    except BaseException:
        left = sorted(set(out.rglob("*")) - before, reverse=True)  # what is inside a folder before the folder
        for path in left:
            with suppress(OSError):
                path.rmdir() if path.is_dir() and not path.is_symlink() else path.unlink()
        raise


APP = Promo()
