"""What can be asked of music. What each field is about stands in the messages, as `app.music.<field>`."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from malan.apps.frame import Request
from malan.composing.words import MOST_TAGS

Mode = Literal["compose", "infer"]
Container = Literal["wav", "m4a", "mp3"]


class MusicRequest(Request):
    """Music to be made. Whether length, tempo, key and hits are possible is said by whoever composes."""

    tags: tuple[str, ...] = Field(default=(), max_length=MOST_TAGS, json_schema_extra={"option": "--tags"})
    seconds: float = Field(default=60.0, allow_inf_nan=False)
    mode: Mode = Field(default="compose", json_schema_extra={"rare": True})
    model: str = Field(default="", max_length=100, json_schema_extra={"rare": True})
    tempo: float = Field(default=0.0, allow_inf_nan=False)
    key: str = Field(default="", max_length=40)
    hits: tuple[float, ...] = Field(default=(), max_length=64, json_schema_extra={"rare": True, "option": "--hit"})
    loop: bool = False
    stems: bool = Field(default=False, json_schema_extra={"rare": True})
    format: tuple[Container, ...] = Field(default=("wav",), min_length=1, max_length=3)
    loudness: float = Field(default=-16.0, ge=-30, le=-9, allow_inf_nan=False, json_schema_extra={"rare": True})
    seed: int = Field(default=0, ge=0, le=2**31, json_schema_extra={"rare": True})
