"""Bytes of a workspace under their digest: whole or not at all, and never believed unread.

Start reading at `keep_file` and `blob_path`.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterable, Iterator
from pathlib import Path
from tempfile import NamedTemporaryFile
from typing import TYPE_CHECKING

from malan.core.errors import NotFound, ProofError

if TYPE_CHECKING:
    from malan.workspace import Workspace

_PIECE = 1 << 22


def keep_bytes(ws: Workspace, data: bytes | memoryview) -> str:
    """Store bytes under their digest; the digest."""
    return _keep(ws, [data])


def keep_file(ws: Workspace, path: Path) -> str:
    """Copy a file, a few megabytes at a time; the digest of what was copied.

    Raises:
        NotFound: There is no such file.
    """
    try:
        return _keep(ws, _pieces(path))
    except FileNotFoundError as error:
        raise NotFound("models.no_file", path=str(path)) from error


def blob_path(ws: Workspace, digest: str, *, check: bool = False) -> Path:
    """Where bytes lie.

    Args:
        ws: The workspace.
        digest: Of the bytes.
        check: Read them and hold them against the digest first.

    Raises:
        NotFound: They are not here.
        ProofError: They are not what they were.
    """
    path = _place(ws, digest)
    if not path.is_file():
        raise NotFound("models.no_weights", model=digest[:12])
    if check and (found := digest_file(path)) != digest:
        raise ProofError("models.changed", path=path.name[:12], digest=digest[:12], found=found[:12])
    return path


def read_blob(ws: Workspace, digest: str) -> bytes:
    """Bytes by their digest, checked.

    Raises:
        NotFound, ProofError: See `blob_path`.
    """
    data = blob_path(ws, digest).read_bytes()
    if (found := hashlib.sha256(data).hexdigest()) != digest:
        raise ProofError("models.changed", path=digest[:12], digest=digest[:12], found=found[:12])
    return data


def digest_file(path: Path) -> str:
    """SHA-256 of a file, whatever its size."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _keep(ws: Workspace, pieces: Iterable[bytes | memoryview]) -> str:
    whole = hashlib.sha256()
    with NamedTemporaryFile(dir=ws.folder("blobs"), prefix=".part-", delete=False) as file:
        part = Path(file.name)
        try:
            for piece in pieces:
                whole.update(piece)
                file.write(piece)
            file.flush()
            os.fsync(file.fileno())
            place = _place(ws, whole.hexdigest())
            place.parent.mkdir(parents=True, exist_ok=True)
            part.replace(place)
        except BaseException:
            part.unlink(missing_ok=True)
            raise
    return whole.hexdigest()


def _pieces(path: Path) -> Iterator[bytes]:
    with path.open("rb") as file:
        while piece := file.read(_PIECE):
            yield piece


def _place(ws: Workspace, digest: str) -> Path:
    return ws.root / "blobs" / digest[:2] / digest
