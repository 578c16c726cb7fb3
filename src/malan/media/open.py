"""Open a media file with PyAV, and turn what libav says into Malan's errors."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import av
from av.container import InputContainer

from malan.core.errors import MediaError


@contextmanager
def open_media(path: str | Path) -> Iterator[InputContainer]:
    """An open input container, closed on leaving; names with a dash, a colon or a percent sign are plain files."""
    try:
        container = av.open(f"file:{Path(path).absolute()}", "r", metadata_errors="replace")
    except (av.FFmpegError, OSError) as error:
        raise MediaError("media.unreadable", path=str(path), detail=str(error)) from error
    try:
        yield container
    finally:
        container.close()
