"""Frames into a film: planes go through a pipe into one ffmpeg process, while the next frame is drawn.

H.264, yuv420p, BT.709. The film has its name when it is whole; what stops it leaves nothing behind. Start at
`write_film`.
"""

from __future__ import annotations

import os
import queue
import subprocess
import threading
from collections.abc import Iterable
from contextlib import suppress
from fractions import Fraction
from pathlib import Path
from tempfile import TemporaryFile
from typing import IO, Any

from malan.core.errors import StoreError
from malan.media.motion.planes import Frame

PRESET, CRF, GOP_S, THREADS = "veryfast", 17, 2, 4
_AHEAD = 3  # frames that wait for the encoder
_PIPE_BYTES = 1 << 20


def write_film(frames: Iterable[Frame], out: Path, size: tuple[int, int], rate: Fraction) -> None:
    """Encode frames as they come.

    Args:
        frames: All of one size; what they raise ends the process and is raised.
        out: An mp4; replaced at the very end.

    Raises:
        StoreError: It could not be written: no space, no such folder, no right to.
    """
    work = out.with_name(f".malan-{os.getpid()}-{out.name}")
    command = [*_command(size, rate), _target(work)]
    try:
        with TemporaryFile() as said:
            process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, stderr=said)
            try:
                _feed(process, frames)
                code = process.wait()
            finally:
                _end(process)
            said.seek(0)
            words = said.read(1 << 16).decode("utf-8", "replace").strip().splitlines()
        if code:
            raise StoreError("render.not_written", path=str(out), detail=(words or [str(code)])[-1][:200])
        work.replace(out)
    except OSError as error:
        raise StoreError("render.not_written", path=str(out), detail=error.strerror or str(error)) from error
    finally:
        with suppress(OSError):
            work.unlink(missing_ok=True)


def _target(work: Path) -> str:
    return f"file:{work.absolute()}"


def _command(size: tuple[int, int], rate: Fraction) -> list[str]:
    from imageio_ffmpeg import get_ffmpeg_exe

    return [
        get_ffmpeg_exe(), "-hide_banner", "-v", "error", "-y", "-f", "rawvideo", "-pix_fmt", "yuv420p",
        "-s", f"{size[0]}x{size[1]}", "-r", f"{rate.numerator}/{rate.denominator}", "-i", "pipe:0", *encoder(rate),
    ]  # fmt: skip


def encoder(rate: Fraction) -> list[str]:
    """Options of the encoder, and of the file; without `sync-lookahead=0` several threads are not always the same
    bytes."""
    return [
        "-c:v", "libx264", "-preset", PRESET, "-crf", str(CRF), "-g", str(max(1, round(GOP_S * rate))),
        "-threads", str(THREADS), "-x264-params", "aq-mode=3:sync-lookahead=0", "-pix_fmt", "yuv420p",
        "-color_primaries", "bt709", "-color_trc", "bt709", "-colorspace", "bt709", "-color_range", "tv",
        "-chroma_sample_location", "left", "-movflags", "+faststart", "-map_metadata", "-1",
        "-fflags", "+bitexact", "-flags:v", "+bitexact", "-f", "mp4",
    ]  # fmt: skip


def _feed(process: subprocess.Popen[bytes], frames: Iterable[Frame]) -> None:
    """Draw here, write beside; an encoder that has ended is noticed at its broken pipe."""
    assert process.stdin is not None  # noqa: S101 – opened so
    _widen(process.stdin)
    waiting: queue.Queue[Frame | None] = queue.Queue(_AHEAD)
    broken = threading.Event()
    writer = threading.Thread(target=_write, args=(process.stdin, waiting, broken), name="malan-frames", daemon=True)
    writer.start()
    try:
        for frame in frames:
            if broken.is_set():
                break
            waiting.put(frame)
    except BaseException:
        process.kill()  # a writer that waits for it is let go
        raise
    finally:
        waiting.put(None)
        writer.join()


def _write(pipe: IO[bytes], waiting: queue.Queue[Frame | None], broken: threading.Event) -> None:
    while (frame := waiting.get()) is not None:
        if broken.is_set():
            continue
        try:
            for plane in (frame.y, frame.u, frame.v):
                pipe.write(plane.data)
        except OSError:
            broken.set()
    with suppress(OSError):
        pipe.close()


def _widen(pipe: Any) -> None:
    import fcntl

    with suppress(OSError, AttributeError):
        fcntl.fcntl(pipe.fileno(), fcntl.F_SETPIPE_SZ, _PIPE_BYTES)  # Linux; elsewhere it stays as it is


def _end(process: subprocess.Popen[bytes]) -> None:
    if process.poll() is None:
        process.kill()
    process.wait()
    if process.stdin:
        with suppress(OSError):
            process.stdin.close()
