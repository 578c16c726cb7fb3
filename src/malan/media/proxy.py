"""A light copy of a film that every browser plays and seeks in quickly, on the same clock as the film.

H.264 and AAC in mp4, at most 720 lines, a key frame twice a second, upright, frames one for one at their own times.
Start at `needs_proxy` and `make_proxy`.
"""

from __future__ import annotations

import errno
import os
import signal
import subprocess
from collections.abc import Callable
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from tempfile import TemporaryFile
from typing import IO, Any

from malan.core import Track
from malan.core.catalogue import entry
from malan.core.errors import MediaError, StoreError
from malan.media.open import open_plain
from malan.media.probe import Probe, probe
from malan.media.sniff import shown

Progress = Callable[[float], None]

_SHORT_SIDE_PX = 720
_KEEP_CLOCK_S = 60  # a clock that starts later is set back: nobody wants to wait for the first picture
_MOST_TIMESCALE = 1_000_000
_CONTAINERS = {"mp4", "mov", "m4a", "m4v", "webm", "mp3", "wav", "flac", "ogg"}
_VIDEO = {
    "mp4": {"h264", "av1", "vp9"},
    "mov": {"h264"},
    "m4v": {"h264"},
    "webm": {"vp8", "vp9", "av1"},
    "ogg": set[str](),
}
_AUDIO = {
    "mp4": {"aac", "mp3", "opus", "flac"},
    "mov": {"aac", "mp3"},
    "m4v": {"aac", "mp3"},
    "m4a": {"aac", "mp3"},
    "webm": {"opus", "vorbis"},
    "mp3": {"mp3"},
    "wav": {"pcm_s16le", "pcm_u8", "pcm_f32le", "pcm_s24le", "pcm_s32le"},
    "flac": {"flac"},
    "ogg": {"opus", "vorbis", "flac"},
}
_PIXELS = {"h264": {"yuv420p", "yuvj420p"}}


@dataclass(frozen=True)
class Reason:
    """Why a browser cannot play a file: a message code and its values."""

    code: str
    values: tuple[tuple[str, str], ...]

    def text(self, lang: str | None = None) -> str:
        return entry(self.code).text(lang, dict(self.values))


@dataclass(frozen=True)
class Proxy:
    """A copy that was made. A moment of the copy is that of the film less `offset_s`, which is 0 for most films."""

    path: Path
    offset_s: Fraction
    size_bytes: int


def needs_proxy(found: Probe) -> Reason | None:
    """Why Chromium, Firefox and Safari would not all play a file; None when they do. Pictures never need one."""
    container = found.container
    video, audio = found.first("video"), found.first("audio")
    if video is None and audio is None:
        return None
    if container not in _CONTAINERS:
        return Reason("proxy.container", (("container", container),))
    for track, allowed in ((video, _VIDEO), (audio, _AUDIO)):
        if track is not None and track.codec not in allowed.get(container, set()):
            return Reason("proxy.codec", (("codec", track.codec),))
    if video is not None and video.pixel_format not in _PIXELS.get(video.codec, {video.pixel_format}):
        return Reason("proxy.pixels", (("codec", video.codec), ("pixels", str(video.pixel_format))))
    return None


def make_proxy(path: str | Path, out: str | Path, progress: Progress | None = None) -> Proxy:
    """Write a browser copy of a film, or of its sound when it has no picture.

    Every frame of the film is a frame of the copy at the same time, so variable frame rate is safe. All sound tracks
    come along, mixed to two channels. Interlaced pictures are made whole.

    Args:
        progress: Called with the share done, 0 to 1, about twice a second. What it raises ends the work.

    Raises:
        MediaError: The film cannot be read.
        StoreError: The copy could not be written; nothing is left of it.
    """
    out, found = Path(out), probe(path)
    offset = found.start_s if not 0 <= found.start_s < _KEEP_CLOCK_S else Fraction(0)
    part = out.with_name(f".malan-{os.getpid()}-{abs(hash(out.name)):x}.part")
    source = open_plain(path)
    try:
        _run(_command(found, source, part, offset), source, float(found.duration), progress, path, out)
        part.replace(out)
    except OSError as error:
        raise StoreError("cutting.not_written", path=shown(out), detail=error.strerror or str(error)) from error
    finally:
        os.close(source)
        part.unlink(missing_ok=True)
    return Proxy(out, offset, out.stat().st_size)


def _command(found: Probe, source: int, part: Path, offset: Fraction) -> list[str]:
    from imageio_ffmpeg import get_ffmpeg_exe

    video = found.first("video")
    return [
        get_ffmpeg_exe(), "-nostdin", "-v", "error", "-y", "-progress", "pipe:1", "-nostats", "-stats_period", "0.5",
        "-copyts", "-protocol_whitelist", "fd", "-fd", str(source), "-itsoffset", f"{float(-offset):.9f}", "-i", "fd:",
        *(_picture(video) if video else ["-vn"]),
        "-map", "0:a?", "-c:a", "aac", "-b:a", "128k", "-ac", "2", "-sn", "-dn", "-map_chapters", "-1",
        "-avoid_negative_ts", "disabled", "-movflags", "+faststart", "-f", "mp4", f"file:{part.absolute()}",
    ]  # fmt: skip


def _picture(video: Track) -> list[str]:
    """Options for the picture: one frame out for one frame in, at the ticks of the source where mp4 can count them."""
    scale = f"min(1,{_SHORT_SIDE_PX}/min(iw*sar,ih))"
    filters = ["bwdif=mode=send_frame:deint=interlaced"] if video.is_interlaced else []
    filters += [f"scale=w='max(2,round(iw*sar*{scale}/2)*2)':h='max(2,round(ih*{scale}/2)*2)'", "setsar=1"]
    clock = video.timebase.denominator if video.timebase.denominator <= _MOST_TIMESCALE else 90_000
    return [
        "-map", f"0:{video.index}", "-vf", ",".join([*filters, "format=yuv420p"]), "-fps_mode", "passthrough",
        "-enc_time_base:v", "demux", "-video_track_timescale", str(clock), "-c:v", "libx264", "-preset", "veryfast",
        "-crf", "24", "-bf", "0", "-force_key_frames", "expr:gte(t,n_forced*0.5)",
    ]  # fmt: skip


def _run(
    command: list[str], source: int, duration_s: float, progress: Progress | None, path: str | Path, out: Path
) -> None:
    """Run ffmpeg to its end, telling how far it is; whatever goes wrong here ends it."""
    with TemporaryFile() as told:
        process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=told, pass_fds=(source,), text=True)
        try:
            for line in process.stdout or ():
                _tell(line, duration_s, progress)
            code = process.wait()
        finally:
            if process.poll() is None:
                process.kill()
            process.wait()
            if process.stdout:
                process.stdout.close()
        if code == -signal.SIGXFSZ:
            raise StoreError("cutting.not_written", path=shown(out), detail=os.strerror(errno.EFBIG))
        if code:
            raise _failure(told, path, out)
    if progress:
        progress(1.0)


def _tell(line: str, duration_s: float, progress: Progress | None) -> None:
    key, _, value = line.strip().partition("=")
    if progress and key == "out_time_us" and value.lstrip("-").isdigit() and duration_s > 0:
        progress(min(max(int(value) / 1e6 / duration_s, 0.0), 0.999))


def _failure(told: IO[Any], path: str | Path, out: Path) -> MediaError | StoreError:
    told.seek(0)
    lines = told.read().decode("utf-8", "replace").strip().splitlines() or ["?"]
    full = next((line for line in lines if os.strerror(errno.ENOSPC) in line), None)
    if full or any("Error opening output" in line for line in lines):
        return StoreError("cutting.not_written", path=shown(out), detail=full or lines[0])
    return MediaError("proxy.failed", path=shown(path), detail=lines[-1])
