"""What can be asked of a promo. What each field is about stands in the messages, as `app.promo.<field>`."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from malan.apps.frame import Request
from malan.media.render import Format

Shape = Literal["16:9", "9:16", "1:1", "4:5"]
Style = Literal["lively", "calm", "documentary"]

_SIZES = {
    1080: {"16:9": (1920, 1080), "9:16": (1080, 1920), "1:1": (1080, 1080), "4:5": (1080, 1350)},
    720: {"16:9": (1280, 720), "9:16": (720, 1280), "1:1": (720, 720), "4:5": (720, 900)},
    360: {"16:9": (640, 360), "9:16": (360, 640), "1:1": (360, 360), "4:5": (360, 450)},
}


class PromoRequest(Request):
    """A promo to be made, or a storyboard to be rendered."""

    query: str = Field(default="", max_length=300)
    snapshot: str = Field(default="", max_length=100, json_schema_extra={"rare": True, "reference": True})
    clips: tuple[str, ...] = Field(
        default=(), max_length=200, json_schema_extra={"rare": True, "option": "--clip", "reference": True}
    )
    length: float = Field(default=30.0, ge=3, le=180)
    format: tuple[Shape, ...] = Field(default=("16:9",), min_length=1, max_length=4)
    lines: Literal[360, 720, 1080] = Field(default=1080, json_schema_extra={"rare": True})
    style: Style = "lively"
    title: str = Field(default="", max_length=60)
    ending: str = Field(default="", max_length=60, json_schema_extra={"rare": True})
    script: str = Field(default="", max_length=2000)
    music: str = Field(default="", max_length=1000, json_schema_extra={"file": True, "upload": "audio"})
    bed: str = Field(default="", max_length=200)
    voice: str = Field(default="", max_length=1000, json_schema_extra={"rare": True, "file": True, "upload": "audio"})
    # engine of models.toml that speaks the captions
    speaker: str = Field(default="", max_length=80, json_schema_extra={"rare": True})
    speaker_voice: str = Field(default="", max_length=80, json_schema_extra={"rare": True})
    own_sound: bool = Field(default=True, json_schema_extra={"rare": True})
    language: Literal["zh", "en"] = "zh"
    board: str = Field(default="", max_length=1000, json_schema_extra={"rare": True, "file": True, "kept": True})
    plan_only: bool = Field(default=False, json_schema_extra={"rare": True})
    seed: int = Field(default=0, ge=0, le=2**31, json_schema_extra={"rare": True})

    def formats(self) -> tuple[Format, ...]:
        """The formats asked for, each once."""
        return tuple(format_of(shape, self.lines) for shape in dict.fromkeys(self.format))


def format_of(shape: str, lines: int) -> Format:
    """`9:16` at 1080 lines is 1080 × 1920."""
    return Format(shape.replace(":", "x"), *_SIZES[lines][shape])
