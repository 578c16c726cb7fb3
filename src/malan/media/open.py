"""Open a media file with PyAV, read its packets, and turn what libav says into Malan's errors.

Untrusted files come through here: only plain files are opened, only formats that hold media of their own (a playlist
that names other files or addresses is refused), and what libav would print goes nowhere. Start at `open_media`.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO

import av
from av.container import InputContainer
from av.stream import Discard, Disposition, Stream
from av.video.stream import VideoStream

from malan.core.errors import MalanError, MediaError, NotFound
from malan.media.sniff import shown, why_not_opened

# Demuxers by their libav names. Absent on purpose: playlists and patterns (hls, dash, concat, image2, sdp), devices,
# text, and formats known by name only, which would make sound out of any bytes.
_FORMATS = """
mov,mp4,m4a,3gp,3g2,mj2 matroska,webm mpegts mpeg mpegvideo avi mxf mxg gxf lxf nut nuv flv live_flv asf wtv rm ogg ogv
dv ivf obu h264 hevc vvc m4v av1 vc1 h261 cavsvideo dirac dnxhd yuv4mpegpipe mlv r3d swf mjpeg gif apng film_cpk
wav w64 aiff caf au mp3 flac aac ac3 eac3 dts dtshd truehd mlp ape wv tta tak mpc mpc8 amr amrnb amrwb dsf oma voc
jpeg_pipe png_pipe webp_pipe bmp_pipe tiff_pipe exr_pipe dpx_pipe j2k_pipe jpegxl_pipe jpegxl_anim jpegls_pipe psd_pipe
qoi_pipe hdr_pipe ppm_pipe pgm_pipe pbm_pipe pam_pipe pfm_pipe sgi_pipe gif_pipe
"""
_OPTIONS = {"format_whitelist": ",".join(_FORMATS.split()), "protocol_whitelist": "fd"}

MAX_STREAMS = 1024  # a large phone photo is a few hundred tiles, each a stream
MAX_PIXELS = 200_000_000  # a picture of 16,000 by 16,000 would need more memory than a worker has
MAX_SIDE_PX = 65_535
_READ_ERRORS_IN_A_ROW = 8


@contextmanager
def open_media(path: str | Path) -> Iterator[InputContainer]:
    """An open input container, closed on leaving. Any name works: it never passes through libav.

    Raises:
        NotFound: There is no such file.
        MediaError: It is not a plain file, may not be read, or holds nothing that can be opened; the code says which.
    """
    container = open_container(path)
    try:
        yield container
    finally:
        container.close()


def open_container(path: str | Path) -> InputContainer:
    """The same, for an owner that closes it later."""
    fd = open_plain(path)
    try:
        return opened(path, fd, "fd:", {"fd": str(fd)})
    finally:
        os.close(fd)  # libav holds a duplicate


def opened(path: str | Path, fd: int, source: str | BinaryIO, options: dict[str, str] | None = None) -> InputContainer:
    """A container over `source`, checked against the limits; `fd` is the same file, to explain a failure."""
    try:
        container = av.open(
            source, "r", container_options=_OPTIONS | (options or {}), metadata_errors="replace", buffer_size=1 << 18
        )
    except MalanError:
        raise
    except (av.FFmpegError, ValueError) as error:
        raise why_not_opened(fd, path) from error
    except OSError as error:
        raise MediaError("media.unreadable", path=shown(path), detail=error.strerror or str(error)) from error
    try:
        _check_limits(container, path)
        check_size(*_png_size(fd), path)
    except MediaError:
        container.close()
        raise
    return container


def open_plain(path: str | Path) -> int:
    """A descriptor of a plain file, which is not empty, opened for reading; never waits for a pipe or a device."""
    try:
        fd = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    except FileNotFoundError as error:
        raise NotFound("media.not_there", path=shown(path)) from error
    except PermissionError as error:
        raise MediaError("media.forbidden", path=shown(path)) from error
    except (OSError, ValueError) as error:
        raise _not_openable(path, error) from error
    status = os.fstat(fd)
    code = _kind_refused(status.st_mode) or ("media.empty" if status.st_size == 0 else "")
    if code:
        os.close(fd)
        raise MediaError(code, path=shown(path))
    return fd


def video_stream(container: InputContainer, track: int | None, path: str | Path) -> VideoStream:
    """The picture track of that stream index, or the first one; a cover picture is not a picture track."""
    for stream in container.streams.video:
        if stream.index == track or (track is None and not stream.disposition & Disposition.attached_pic):
            return stream
    raise MediaError("media.no_video", path=shown(path))


def has_decoder(stream: Stream) -> bool:
    """Whether this libav can decode the track; PyAV's types do not tell that it may not."""
    return stream.codec_context is not None


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
        except IndexError:  # at the end, PyAV trips over tracks that appeared while reading (damaged streams)
            return


def _kind_refused(mode: int) -> str:
    if stat.S_ISDIR(mode):
        return "media.directory"
    return "" if stat.S_ISREG(mode) else "media.not_a_file"


def _not_openable(path: str | Path, error: OSError | ValueError) -> MediaError:
    try:
        code = _kind_refused(Path(path).stat().st_mode)
    except (OSError, ValueError):
        code = ""
    detail = getattr(error, "strerror", None) or str(error)
    return MediaError(code or "media.unreadable", path=shown(path), detail=detail)


def _check_limits(container: InputContainer, path: str | Path) -> None:
    if len(container.streams) > MAX_STREAMS:
        raise MediaError("media.too_many_tracks", path=shown(path), count=len(container.streams), most=MAX_STREAMS)
    for stream in container.streams.video:
        if has_decoder(stream):
            check_size(stream.width, stream.height, path)


def _png_size(fd: int) -> tuple[int, int]:
    """Width and height a PNG states (ISO/IEC 15948, 11.2.2), 0 of anything else: libav keeps quiet about large ones."""
    head = os.pread(fd, 24, 0)
    if len(head) < 24 or not head.startswith(b"\x89PNG\r\n\x1a\n") or head[12:16] != b"IHDR":
        return 0, 0
    return int.from_bytes(head[16:20], "big"), int.from_bytes(head[20:24], "big")


def check_size(width_px: int, height_px: int, path: str | Path) -> None:
    """Refuse a picture too large to decode in a worker's memory."""
    if width_px * height_px > MAX_PIXELS or max(width_px, height_px) > MAX_SIDE_PX:
        raise MediaError("media.too_large", path=shown(path), width=width_px, height=height_px, most=MAX_PIXELS)
