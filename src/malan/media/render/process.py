"""One ffmpeg process, watched: it reads descriptors only, tells how far it is, and ends when it should.

Start reading at `run_ffmpeg`.
"""

from __future__ import annotations

import errno
import os
import subprocess
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryFile

from malan.core.errors import MalanError, MediaError, StoreError
from malan.media.open import open_plain

Tell = Callable[[float], None]

_SAID_MOST = 1 << 20
_QUIET = ("-nostdin", "-hide_banner", "-v", "error", "-y", "-progress", "pipe:1", "-nostats", "-stats_period", "0.2")


@contextmanager
def readable(paths: Sequence[str]) -> Iterator[list[int]]:
    """A descriptor each for files to be read; plain files only.

    Raises:
        MediaError: One is not there or no plain file.
    """
    opened: list[int] = []
    try:
        for path in paths:
            opened.append(open_plain(path))
        yield opened
    finally:
        for fd in opened:
            os.close(fd)


def from_fd(fd: int) -> list[str]:
    """Options that make ffmpeg read an open file and nothing that it may refer to."""
    return ["-protocol_whitelist", "fd", "-fd", str(fd), "-i", "fd:"]


def run_ffmpeg(
    arguments: Sequence[str], fds: Sequence[int], folder: Path, *, duration_s: float = 0.0, tell: Tell | None = None
) -> str:
    """Run ffmpeg in a folder to its end; what it said on its error line.

    Args:
        tell: Given the share done, 0 to 1, some times a second. What it raises ends the process.

    Raises:
        MediaError: It did not end well; its last words are in the message.
        StoreError: There is no room left to write to.
    """
    from imageio_ffmpeg import get_ffmpeg_exe

    command = [get_ffmpeg_exe(), *_QUIET, *arguments]
    with TemporaryFile() as said:
        process = subprocess.Popen(
            command, stdout=subprocess.PIPE, stderr=said, pass_fds=tuple(fds), cwd=folder, text=True
        )
        try:
            for line in process.stdout or ():
                _pass_on(line, duration_s, tell)
            code = process.wait()
        finally:
            if process.poll() is None:
                process.kill()
            process.wait()
            if process.stdout:
                process.stdout.close()
        said.seek(0)
        words = said.read(_SAID_MOST).decode("utf-8", "replace")
    if code:
        raise failure(words, code, folder)
    return words


def failure(words: str, code: int, folder: Path) -> MalanError:
    """Why it did not end well, from its last words; that it failed is said by all of them."""
    if os.strerror(errno.ENOSPC) in words:
        return StoreError("render.not_written", path=str(folder), detail=os.strerror(errno.ENOSPC))
    lines = [line for line in words.strip().splitlines() if line.strip() != "Conversion failed!"] or [f"{code}"]
    return MediaError("render.failed", detail=lines[-1].strip()[:300])


def _pass_on(line: str, duration_s: float, tell: Tell | None) -> None:
    key, _, value = line.strip().partition("=")
    if tell and key == "out_time_us" and value.lstrip("-").isdigit() and duration_s > 0:
        tell(min(max(int(value) / 1e6 / duration_s, 0.0), 0.999))
