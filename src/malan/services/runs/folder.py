"""The private folder of a run: its checkpoint, what it handed in, what may leave, its log. Mode 0700, files 0600.

A checkpoint holds what footage left in a model half learned, so it counts as footage: it never leaves this folder and
is deleted when the run is over. The log stays, for the owner. Start reading at `RunFolder`.
"""

from __future__ import annotations

import os
import secrets
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

from malan.core.errors import StoreError

if TYPE_CHECKING:
    from malan.workspace import Workspace

_CHECKPOINT, _LOG, _RAW, _LEAVING = "checkpoint", "log.txt", "raw-", "leaving-"
_SECRET = "gate.secret"  # noqa: S105  # the name of a file
_SECRET_BYTES = 32


class RunFolder:
    """Files of one run. Nothing in it is named by the run.

    Args:
        ws: The workspace.
        run_id: The run.
    """

    def __init__(self, ws: Workspace, run_id: str) -> None:
        self._path = ws.root / "runs" / run_id

    @property
    def log(self) -> Path:
        """Where the program's output is kept."""
        return self._made() / _LOG

    def logs(self) -> list[Path]:
        """What was printed: while training, then while evaluating."""
        return sorted(self._path.glob(f"{_LOG}*"))

    def checkpoint(self) -> bytes | None:
        """What the run last saved of itself."""
        with suppress(FileNotFoundError):
            return (self._path / _CHECKPOINT).read_bytes()
        return None

    def has_checkpoint(self) -> bool:
        return (self._path / _CHECKPOINT).is_file()

    def save_checkpoint(self, data: bytes) -> None:
        """Put a checkpoint in the place of the one before; a kill leaves the old or the new."""
        self._write(_CHECKPOINT, data)

    def save_raw(self, files: Mapping[str, bytes]) -> None:
        """Keep what a run handed in until the gate has judged it."""
        for name, data in files.items():
            self._write(f"{_RAW}{name}", data)

    def raw(self) -> dict[str, bytes]:
        return self._read_all(_RAW)

    def save_leaving(self, files: Mapping[str, bytes]) -> None:
        """Keep what the gate wrote until it is released or refused."""
        for name, data in files.items():
            self._write(f"{_LEAVING}{name}", data)

    def leaving(self) -> dict[str, bytes]:
        return self._read_all(_LEAVING)

    def clear_raw(self) -> None:
        """Delete what the run wrote: its checkpoint and what it handed in."""
        self._delete(_CHECKPOINT, f"{_RAW}*", ".*.part")

    def clear(self, *, keeps_checkpoint: bool = False) -> None:
        """Delete everything but the log and, where it is kept, the checkpoint."""
        self._delete(f"{_RAW}*", f"{_LEAVING}*", ".*.part")
        if not keeps_checkpoint:
            self._delete(_CHECKPOINT)

    def _made(self) -> Path:
        self._path.parent.mkdir(mode=0o700, exist_ok=True)
        self._path.mkdir(mode=0o700, exist_ok=True)
        return self._path

    def _read_all(self, start: str) -> dict[str, bytes]:
        return {path.name.removeprefix(start): path.read_bytes() for path in sorted(self._path.glob(f"{start}*"))}

    def _write(self, name: str, data: bytes) -> None:
        folder = self._made()
        part = folder / f".{name}.part"
        with suppress(FileNotFoundError):
            part.unlink()
        try:
            with os.fdopen(os.open(part, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o600), "wb") as file:
                file.write(data)
                file.flush()
                os.fsync(file.fileno())
            part.replace(folder / name)
        except OSError as error:
            raise StoreError("runs.not_written", path=str(folder), detail=error.strerror or str(error)) from error

    def _delete(self, *patterns: str) -> None:
        for pattern in patterns:
            for path in self._path.glob(pattern):
                path.unlink(missing_ok=True)


def gate_secret(ws: Workspace) -> bytes:
    """What the lots of the gate follow from: made once, read by this program alone, kept when keys are replaced."""
    path = ws.root / "keys" / _SECRET
    path.parent.mkdir(mode=0o700, exist_ok=True)
    with suppress(FileNotFoundError):
        return path.read_bytes()
    part = path.with_name(f".{_SECRET}.{os.getpid()}")
    with os.fdopen(os.open(part, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW, 0o600), "wb") as file:
        file.write(secrets.token_bytes(_SECRET_BYTES))
        file.flush()
        os.fsync(file.fileno())
    with suppress(FileExistsError):
        os.link(part, path)  # of two at once one is kept, whole
    part.unlink()
    return path.read_bytes()
