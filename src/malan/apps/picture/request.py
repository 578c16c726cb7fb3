"""What can be asked of picture to video. What each field is about stands in the messages, as `app.picture.<field>`."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from malan.apps.frame import Request
from malan.apps.promo.request import Shape, format_of
from malan.media.render import Format

Asked = Literal["auto", "push", "pull", "pan", "orbit", "swing", "dolly-zoom", "drift-light", "drift-mist"]


class PictureRequest(Request):
    """A picture to be set in motion."""

    file: str = Field(default="", max_length=1000, json_schema_extra={"file": True, "upload": "image"})
    clip: str = Field(default="", max_length=100, json_schema_extra={"reference": True})
    at: float = Field(default=-1.0, ge=-1, le=10**6, json_schema_extra={"rare": True})
    move: Asked = "auto"
    mode: Literal["render", "diffuse"] = Field(default="render", json_schema_extra={"rare": True})
    model: str = Field(default="", max_length=100, json_schema_extra={"rare": True})
    adapter: tuple[str, ...] = Field(default=(), max_length=8, json_schema_extra={"rare": True})
    depth: str = Field(default="", max_length=1000, json_schema_extra={"rare": True, "file": True, "upload": "image"})
    mask: str = Field(default="", max_length=1000, json_schema_extra={"rare": True, "file": True, "upload": "image"})
    seconds: float = Field(default=5.0, ge=0.5, le=60)
    format: tuple[Shape, ...] = Field(default=("16:9",), min_length=1, max_length=4)
    lines: Literal[360, 720, 1080] = Field(default=1080, json_schema_extra={"rare": True})
    rate: int = Field(default=25, ge=10, le=60, json_schema_extra={"rare": True})
    framing: Literal["auto", "crop", "whole"] = Field(default="auto", json_schema_extra={"rare": True})
    strength: float = Field(default=1.0, ge=0, le=2, json_schema_extra={"rare": True})
    loop: bool = False
    prompt: str = Field(default="", max_length=4000, json_schema_extra={"rare": True})
    negative: str = Field(default="", max_length=1000, json_schema_extra={"rare": True, "reference": True})
    steps: int = Field(default=0, ge=0, le=200, json_schema_extra={"rare": True})
    title: str = Field(default="", max_length=60)
    seed: int = Field(default=0, ge=0, le=2**31, json_schema_extra={"rare": True})

    def formats(self) -> tuple[Format, ...]:
        """The formats asked for, each once."""
        return tuple(format_of(shape, self.lines) for shape in dict.fromkeys(self.format))

    @property
    def frames(self) -> int:
        """Of each film."""
        return max(2, round(self.seconds * self.rate))
