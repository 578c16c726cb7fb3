"""The storyboard: what a promo will show, as JSON that people edit: swap, trim, reorder, rewrite, then render.

Nothing in it is a path to footage; clips are named by their ids, and rights are asked for again when it is rendered.
Start at `Storyboard`.
"""

from __future__ import annotations

import json
from fractions import Fraction
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from malan.core.errors import NotFound, UsageError

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


class Storyboard(_Part):
    """A promo before it is rendered."""

    kind: Literal["malan-storyboard/v1"] = "malan-storyboard/v1"
    title: str = ""
    ending: str = ""
    language: Literal["zh", "en"] = "zh"
    rate: int = Field(default=25, ge=10, le=60)
    formats: tuple[Literal["16:9", "9:16", "1:1", "4:5"], ...] = ("16:9",)
    lines: Literal[360, 720, 1080] = 1080
    shots: tuple[Shot, ...] = Field(min_length=1, max_length=200)
    music: str = ""
    music_from_s: float = Field(default=0.0, ge=0, le=36_000, allow_inf_nan=False)
    voice: str = ""
    beats_s: tuple[float, ...] = ()
    notes: tuple[str, ...] = ()

    @property
    def frames(self) -> int:
        return sum(shot.frames for shot in self.shots)

    @property
    def duration(self) -> Fraction:
        """Seconds, exact."""
        return Fraction(self.frames, self.rate)

    def to_json(self) -> str:
        """As people edit it."""
        return json.dumps(self.model_dump(mode="json"), ensure_ascii=False, indent=2) + "\n"


def read_board(path: str | Path) -> Storyboard:
    """A storyboard from its file.

    Raises:
        NotFound: There is none.
        UsageError: It is too long, no JSON, or something in it makes no sense; the place is named.
    """
    place = Path(path)
    try:
        if place.stat().st_size > LARGEST_BYTES:
            raise UsageError("promo.bad_board", path=str(path), where="size", detail=str(LARGEST_BYTES))
        said: Any = json.loads(place.read_text("utf-8"))
        return Storyboard.model_validate(said)
    except OSError as error:
        raise NotFound("promo.no_board", path=str(path), detail=error.strerror or str(error)) from error
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"]) or "–"
        raise UsageError("promo.bad_board", path=str(path), where=where, detail=first["msg"]) from error
    except (ValueError, RecursionError) as error:
        raise UsageError("promo.bad_board", path=str(path), where="JSON", detail=str(error)[:120]) from error
