"""What can be asked of text to video. What each field is about stands in the messages, as `app.video.<field>`."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from malan.apps.frame import Request
from malan.apps.promo.request import Shape

Mode = Literal["assemble", "diffuse"]


class VideoRequest(Request):
    """A film by its description. What the description says itself (seconds, shape, pace) holds unless a field does."""

    prompt: str = Field(default="", max_length=4000)
    script: str = Field(default="", max_length=4000)
    mode: Mode = Field(default="assemble", json_schema_extra={"rare": True})
    model: str = Field(default="", max_length=100, json_schema_extra={"rare": True})
    adapter: tuple[str, ...] = Field(default=(), max_length=8, json_schema_extra={"rare": True})
    planner: str = Field(default="", max_length=100, json_schema_extra={"rare": True})
    snapshot: str = Field(default="", max_length=100, json_schema_extra={"rare": True, "reference": True})
    seconds: float = Field(default=0.0, ge=0, le=180)
    format: tuple[Shape, ...] = Field(default=(), max_length=4)
    lines: Literal[360, 720, 1080] = Field(default=1080, json_schema_extra={"rare": True})
    style: Literal["", "lively", "calm", "documentary"] = ""
    title: str = Field(default="", max_length=60)
    ending: str = Field(default="", max_length=60, json_schema_extra={"rare": True})
    music: str = Field(default="", max_length=1000, json_schema_extra={"file": True, "upload": "audio"})
    bed: str = Field(default="", max_length=200)
    voice: str = Field(default="", max_length=1000, json_schema_extra={"rare": True, "file": True, "upload": "audio"})
    own_sound: bool = Field(default=True, json_schema_extra={"rare": True})
    versions: int = Field(default=1, ge=1, le=6)
    board: str = Field(default="", max_length=1000, json_schema_extra={"rare": True, "file": True, "kept": True})
    plan_only: bool = Field(default=False, json_schema_extra={"rare": True})
    image: str = Field(default="", max_length=1000, json_schema_extra={"rare": True, "file": True, "upload": "image"})
    negative: str = Field(default="", max_length=1000, json_schema_extra={"rare": True, "reference": True})
    steps: int = Field(default=0, ge=0, le=200, json_schema_extra={"rare": True})
    model_lines: int = Field(default=480, ge=32, le=1080, json_schema_extra={"rare": True})
    seed: int = Field(default=0, ge=0, le=2**31, json_schema_extra={"rare": True})
