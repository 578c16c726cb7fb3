"""The storyboard: what a promo will show, as JSON that people edit: swap, trim, reorder, rewrite, then render.

Nothing in it is a path to footage; clips are named by their ids, and rights are asked for again when it is rendered.
Start at `Storyboard`.
"""

from __future__ import annotations

import json
import re
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from malan.apps.refused import refusal
from malan.core.catalogue import entry
from malan.core.errors import NotFound, UsageError
from malan.services.files.blobs import keep_bytes, read_blob

if TYPE_CHECKING:
    from malan.apps.frame import Work
    from malan.workspace import Workspace

KIND = "malan-storyboard/v1"
LARGEST_BYTES = 1 << 20


class _Part(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Shot(_Part):
    """One shot: a clip, from which second of its file on, for how many frames of the promo, and why it was picked."""

    clip: str = Field(pattern=r"^[0-9a-f]{64}$")
    from_s: float = Field(ge=0, le=1e6, allow_inf_nan=False)
    frames: int = Field(ge=4, le=7200)
    sound: bool = True
    score: float = 0.0
    why: tuple[str, ...] = ()
    text: str = Field(default="", max_length=200)
    cover_captions: bool = True


class Planner(_Part):
    """A language model that planned it: its engine, its name there, the digest the log knows it by."""

    engine: str = Field(max_length=100)
    model: str = Field(max_length=500)
    digest: str = Field(pattern=r"^[0-9a-f]{64}$")


class Storyboard(_Part):
    """A promo before it is rendered."""

    kind: Literal["malan-storyboard/v1"] = "malan-storyboard/v1"
    title: str = Field(default="", max_length=120)
    ending: str = Field(default="", max_length=120)
    language: Literal["zh", "en"] = "zh"
    rate: int = Field(default=25, ge=10, le=60)
    formats: tuple[Literal["16:9", "9:16", "1:1", "4:5"], ...] = ("16:9",)
    lines: Literal[360, 720, 1080] = 1080
    style: Literal["lively", "calm", "documentary"] = "lively"
    shots: tuple[Shot, ...] = Field(min_length=1, max_length=200)
    music: str = Field(default="", max_length=1000)
    music_from_s: float = Field(default=0.0, ge=0, le=36_000, allow_inf_nan=False)
    bed: str = Field(default="", max_length=200)  # tags of music to be composed, where there is none
    voice: str = Field(default="", max_length=1000)
    is_spoken: bool = False  # the voice says the captions, each when it stands there
    beats_s: tuple[float, ...] = Field(default=(), max_length=10_000)
    notes: tuple[str, ...] = Field(default=(), max_length=1000)
    planned_by: tuple[Planner, ...] = Field(default=(), max_length=8)

    @property
    def frames(self) -> int:
        return sum(shot.frames for shot in self.shots)

    @property
    def duration(self) -> Fraction:
        """Seconds, exact."""
        return Fraction(self.frames, self.rate)

    @property
    def words(self) -> dict[str, str]:
        """What it says to people, by place."""
        captions = "\n".join(shot.text for shot in self.shots if shot.text)
        return {"title": self.title, "ending": self.ending, "captions": captions}

    def to_json(self) -> str:
        """As people edit it."""
        return json.dumps(self.model_dump(mode="json"), ensure_ascii=False, indent=2) + "\n"


def read_board(path: str | Path, work: Work | None = None) -> Storyboard:
    """A storyboard from its file; one that was edited in the console from the workspace, by its digest.

    Raises:
        NotFound: There is none.
        UsageError: It is too long, no JSON, or something in it makes no sense; the place is named.
    """
    place = Path(path)
    if work and work.workspace and is_digest(str(path)):
        return kept_board(work.workspace, str(path))
    try:
        if place.stat().st_size > LARGEST_BYTES:
            raise UsageError("promo.bad_board", path=str(path), where="–", detail=_too_large())
        return parse_board(place.read_text("utf-8"), str(path))
    except OSError as error:
        raise NotFound("promo.no_board", path=str(path), detail=error.strerror or str(error)) from error
    except UnicodeDecodeError as error:
        raise UsageError("promo.bad_board", path=str(path), where="JSON", detail=str(error)[:120]) from error


def parse_board(text: str, path: str) -> Storyboard:
    """A storyboard from its text.

    Raises:
        UsageError: No JSON, or something in it makes no sense; the place is named.
    """
    try:
        said: Any = json.loads(text)
        return Storyboard.model_validate(said)
    except ValidationError as error:
        where, detail = refusal(error)
        raise UsageError("promo.bad_board", path=str(path), where=where, detail=detail) from error
    except (ValueError, RecursionError) as error:
        raise UsageError("promo.bad_board", path=str(path), where="JSON", detail=str(error)[:120]) from error


def _too_large() -> str:
    return entry("refused.too_large").text(None, {"most": f"{LARGEST_BYTES >> 20} MB"})


def is_digest(text: str) -> bool:
    """Whether it names a board that is kept, rather than a file."""
    return re.fullmatch(r"[0-9a-f]{64}", text) is not None


def keep_board(ws: Workspace, board: Storyboard) -> str:
    """Keep a storyboard under its digest, which names it from then on."""
    return keep_bytes(ws, board.to_json().encode())


def kept_board(ws: Workspace, digest: str) -> Storyboard:
    """A storyboard that was kept.

    Raises:
        NotFound: There is none.
        UsageError: What is kept there is none.
    """
    try:
        data = read_blob(ws, digest)
    except NotFound as error:
        raise NotFound("promo.no_board", path=digest[:12], detail="–") from error
    if len(data) > LARGEST_BYTES:
        raise UsageError("promo.bad_board", path=digest[:12], where="–", detail=_too_large())
    return parse_board(data.decode("utf-8", "replace"), digest[:12])
