"""Open a media file with PyAV, read its packets, and turn what libav says into Malan's errors."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import av
from av.container import InputContainer
from av.stream import Discard, Disposition, Stream
from av.video.stream import VideoStream

from malan.core.errors import MediaError

_READ_ERRORS_IN_A_ROW = 8


@contextmanager
def open_media(path: str | Path) -> Iterator[InputContainer]:
    """An open input container, closed on leaving; names with a dash, a colon or a percent sign are plain files."""
    container = open_container(path)
    try:
        yield container
    finally:
        container.close()


def open_container(path: str | Path) -> InputContainer:
    """The same, for an owner that closes it later."""
    try:
        return av.open(f"file:{Path(path).absolute()}", "r", metadata_errors="replace")
    except (av.FFmpegError, OSError) as error:
        raise MediaError("media.unreadable", path=str(path), detail=str(error)) from error


def video_stream(container: InputContainer, track: int | None, path: str | Path) -> VideoStream:
    """The picture track of that stream index, or the first one; a cover picture is not a picture track."""
    for stream in container.streams.video:
        if stream.index == track or (track is None and not stream.disposition & Disposition.attached_pic):
            return stream
    raise MediaError("media.no_video", path=str(path))


def read_only(container: InputContainer, *streams: Stream) -> None:
    """Let the demuxer pass over every other stream without reading it."""
    for stream in container.streams:
        if stream not in streams:
            stream.discard = Discard.all


def read_packets(container: InputContainer, *streams: Stream) -> Iterator[Any]:
    """Packets from where the container stands; a read error in between is passed over, several in a row end it."""
    errors = 0
    while errors < _READ_ERRORS_IN_A_ROW:
        try:
            for packet in container.demux(streams):
                if packet.size:
                    errors = 0
                    yield packet
            return
        except av.FFmpegError:
            errors += 1
