"""Whether pictures are made for brighter screens than most: they are brought into the usual range when rendered."""

from __future__ import annotations

from pathlib import Path

from malan.media.open import open_media

_PQ, _HLG = 16, 18  # transfer characteristics (ITU-T H.273, table 3)


def is_hdr(path: str | Path, track: int) -> bool:
    """Whether a track says it is HDR: PQ (SMPTE ST 2084) or HLG (ITU-R BT.2100).

    Raises:
        MediaError: The file cannot be opened.
    """
    with open_media(path) as container:
        return int(getattr(container.streams[track].codec_context, "color_trc", 0) or 0) in (_PQ, _HLG)
