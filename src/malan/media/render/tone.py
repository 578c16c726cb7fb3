"""Whether pictures are made for brighter screens than most, and how their colours are coded: all become BT.709."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from malan.media.open import open_media

_PQ, _HLG = 16, 18  # transfer characteristics (ITU-T H.273, table 3)
_MATRICES = {1: "bt709", 5: "bt601", 6: "bt601", 9: "bt2020", 10: "bt2020"}  # matrix coefficients (table 4)
_PRIMARIES = {1: "bt709", 9: "bt2020", 11: "smpte431", 12: "smpte432"}  # colour primaries (table 2)
_HD_LINES = 720  # an untagged picture of so many lines is BT.709, as players assume


def is_hdr(path: str | Path, track: int) -> bool:
    """Whether a track says it is HDR: PQ (SMPTE ST 2084) or HLG (ITU-R BT.2100).

    Raises:
        MediaError: The file cannot be opened.
    """
    with open_media(path) as container:
        return int(getattr(container.streams[track].codec_context, "color_trc", 0) or 0) in (_PQ, _HLG)


def primaries_of(path: str | Path, track: int) -> str:
    """The primaries of a track, as the scaler names them; empty where it does not say.

    Raises:
        MediaError: The file cannot be opened.
    """
    with open_media(path) as container:
        context: Any = container.streams[track].codec_context
        return _PRIMARIES.get(int(getattr(context, "color_primaries", 2) or 0), "")


def matrix_of(path: str | Path, track: int) -> str:
    """The colour matrix of a track, as the scaler names it; of an untagged one that of its size.

    Raises:
        MediaError: The file cannot be opened.
    """
    with open_media(path) as container:
        context: Any = container.streams[track].codec_context
        usual = "bt709" if min(context.width, context.height) >= _HD_LINES else "bt601"
        if int(getattr(context, "color_trc", 0) or 0) in (_PQ, _HLG):
            usual = "bt2020"
        return _MATRICES.get(int(getattr(context, "colorspace", 2) or 0), usual)
