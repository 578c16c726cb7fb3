"""A storyboard on the table: what its shots show, what they may be swapped for, and keeping what a person changed.

    run ─ its storyboard.json ─▶ kept by digest ─ edited ─▶ kept by another digest ─ promo --board DIGEST ─▶ films

Every state is kept under its digest, so nothing an editor did is lost, and the same board renders as the same run.
Start reading at `board_view`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from pydantic import ValidationError

from malan.apps.builtin import app_named
from malan.apps.promo.app import BOARD
from malan.apps.promo.board import Storyboard, keep_board, kept_board, parse_board
from malan.apps.promo.plan import USES
from malan.apps.queue.runs import run_of
from malan.apps.refused import refusal
from malan.apps.running import read_request
from malan.core.errors import MalanError, NotFound, NotGranted, UsageError
from malan.services.access import Caller, require
from malan.services.clips.picking import candidates
from malan.services.clips.where import condition
from malan.services.market.granted import Opened, opened_by, require_source
from malan.services.uses import require_visible_clip

if TYPE_CHECKING:
    from malan.services.clips.search import ClipRow
    from malan.workspace import Workspace

MOST_OTHERS = 24


@dataclass(frozen=True, slots=True)
class ClipView:
    """A clip as the table shows it; times are seconds of its file. `refused` says why it may not be used."""

    clip: str
    asset: str
    file: str
    start_s: float
    end_s: float
    aspect: float
    refused: str = ""


@dataclass(frozen=True, slots=True)
class BoardView:
    """A storyboard with what its shots are. `asked` is what else is asked of `app` when it is rendered."""

    digest: str
    run: str
    app: str
    asked: Mapping[str, Any]
    board: Mapping[str, Any]
    clips: Mapping[str, ClipView]


@dataclass(frozen=True, slots=True)
class Others:
    """Clips to swap a shot for."""

    clips: tuple[ClipView, ...]


def board_of_run(ws: Workspace, job_id: str, *, caller: Caller) -> str:
    """The digest of the storyboard a run left.

    Raises:
        NotFound: There is no such run of the caller's, or it left none.
    """
    job = run_of(ws, job_id, caller=caller)
    path = ws.root / job.folder / BOARD
    if not path.is_file():
        raise NotFound("promo.no_board", path=BOARD, detail=job.state)
    return keep_board(ws, parse_board(path.read_text("utf-8"), BOARD))


def board_view(ws: Workspace, digest: str, *, run: str = "", caller: Caller) -> BoardView:
    """A storyboard for the table.

    Args:
        run: The run it was first made in: what was said and allowed there holds here too.

    Raises:
        NotFound: There is no such storyboard, or no such run of the caller's.
    """
    require(caller, "app.see")
    board = kept_board(ws, digest)
    app, said = _asked(ws, run, caller)
    under = _under(caller, said)
    rows = ws.library.clips_by_id({shot.clip for shot in board.shots})
    opened = opened_by(ws, under, USES) if under.grant_id else None
    clips = {row.id: _clip(ws, row, under, opened) for row in rows.values()}
    return BoardView(digest, run, app, said, board.model_dump(mode="json"), clips)


def save_board(ws: Workspace, values: Any, *, caller: Caller) -> str:
    """Keep a storyboard as it was edited; its digest.

    Raises:
        UsageError: Something in it makes no sense; the place is named.
        NotGranted: Somebody else than the operator names a file of this machine.
    """
    require(caller, "app.run")
    try:
        board = Storyboard.model_validate(values)
    except ValidationError as error:
        where, detail = refusal(error)
        raise UsageError("promo.bad_board", path=BOARD, where=where, detail=detail) from error
    if (board.music or board.voice) and not caller.is_operator:
        raise NotGranted("app.no_files", app="promo", field="music")
    return keep_board(ws, board)


def others(ws: Workspace, clip_id: str, words: str, *, run: str = "", caller: Caller) -> list[ClipView]:
    """Clips a shot may be swapped for: those that match the words, else those that look most like it.

    Raises:
        NotFound: There is no such clip, or no such run of the caller's.
        UsageError: The words make no sense as a query.
    """
    require(caller, "app.see")
    under = _under(caller, _asked(ws, run, caller)[1])
    like = ws.library.clip(clip_id)
    if not under.grant_id:
        require_visible_clip(ws, like.id, like.terms_id, caller)
    query = condition(words) if words.strip() else replace(condition(""), similar_to=like.id)
    found = candidates(ws, query, USES, caller=under, most=MOST_OTHERS + 1)
    return [_clip(ws, one.row) for one in found if one.row.id != clip_id][:MOST_OTHERS]


def _asked(ws: Workspace, run: str, caller: Caller) -> tuple[str, dict[str, Any]]:
    """The app a storyboard comes from, and what was asked of it besides, as far as it is not what is usual."""
    if not run:
        return "promo", {}
    job = run_of(ws, run, caller=caller)
    request = read_request(app_named(job.app), job.request)
    said = request.model_dump(mode="json", exclude_defaults=True, exclude={"board", "plan_only", "versions"})
    return job.app, said


def _under(caller: Caller, said: Mapping[str, Any]) -> Caller:
    grant_id = str(said.get("grant", ""))
    return replace(caller, grant_id=grant_id) if grant_id else caller


def _clip(ws: Workspace, row: ClipRow, caller: Caller | None = None, opened: Opened | None = None) -> ClipView:
    track = ws.library.asset(row.clip.asset_id).asset.first("video")
    size = (track.shown_size_px if track else None) or (16, 9)
    refused = _refusal(ws, row, USES, caller, opened) if caller else ""
    return ClipView(
        row.id, row.clip.asset_id, row.file_name, row.span.start_s, row.span.end_s, size[0] / size[1], refused
    )


def _refusal(ws: Workspace, row: ClipRow, uses: Sequence[str], caller: Caller, opened: Opened | None) -> str:
    try:
        for use in uses:
            require_source(ws, row.clip, row.terms_id, use, row.id[:12], caller=caller, opened=opened)
    except MalanError as error:
        return error.message()
    return ""
