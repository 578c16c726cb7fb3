"""Cut a file that has no picture: every sound track, exact to the sample, as AAC in an m4a file."""

from __future__ import annotations

import subprocess
from fractions import Fraction
from pathlib import Path

from malan.core import Span
from malan.core.errors import MediaError, StoreError
from malan.media.sniff import shown

_PATIENCE_S = 600


def cut_sound(path: str | Path, span: Span, out: str | Path) -> None:
    """Write the sound of a span to `out` (an m4a file); all sound tracks, encoded anew at 192 kbit/s.

    Raises:
        MediaError: The source cannot be read there.
        StoreError: The file could not be written; nothing is left of it.
    """
    from imageio_ffmpeg import get_ffmpeg_exe

    out = Path(out)
    part = out.with_name(f".{out.name}.part.m4a")
    command = [
        get_ffmpeg_exe(), "-nostdin", "-v", "error", "-y",
        "-ss", _seconds(span.start * span.timebase), "-t", _seconds(span.duration),
        "-i", f"file:{Path(path).absolute()}",
        "-map", "0:a", "-map_metadata", "0", "-c:a", "aac", "-b:a", "192k", "-f", "ipod", f"file:{part.absolute()}",
    ]  # fmt: skip
    try:
        done = subprocess.run(command, capture_output=True, timeout=_PATIENCE_S, check=False)
        if done.returncode:
            detail = done.stderr.decode("utf-8", "replace").strip().splitlines()[-1:] or ["?"]
            kind = StoreError if "No space left" in detail[0] else MediaError
            raise kind("cutting.sound_failed", path=shown(path), detail=detail[0])
        part.replace(out)
    except subprocess.TimeoutExpired:
        raise MediaError("cutting.sound_failed", path=shown(path), detail=f"> {_PATIENCE_S} s") from None
    finally:
        part.unlink(missing_ok=True)


def _seconds(value: Fraction) -> str:
    return f"{float(value):.9f}"
