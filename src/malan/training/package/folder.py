"""The files of a folder nobody trusts, as bytes: plain files only, with plain names, few and small.

Links, devices, pipes and sockets are refused before they are opened; what changes under the reader is refused too.
Start reading at `read_folder`. What a package is stored as, `pack_files` and `unpack_files` say.
"""

from __future__ import annotations

import base64
import binascii
import os
import re
import stat
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from malan.core.canonical import canonical_json, read_canonical
from malan.core.errors import NotFound, ProofError, UsageError
from malan.core.ids import digest_bytes, digest_record

MOST_FILES = 200
MOST_BYTES = 4_000_000
MOST_DEPTH = 6
LONGEST_NAME = 120
BUNDLE = "malan-algorithm/v1"
IGNORED = frozenset(
    {"__pycache__", ".git", ".venv", ".mypy_cache", ".pytest_cache", ".ruff_cache", ".DS_Store", ".hypothesis"}
)
"""Left behind by tools; neither read nor part of the digest."""

_PART = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]*")
_FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_FILE = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC


def read_folder(folder: Path, *, hard_links: bool = False) -> dict[str, bytes]:
    """All files of a folder by their path in it, in order.

    Args:
        folder: Which. It may itself be reached through a link; nothing below it may be one.
        hard_links: Whether a file may have a second name elsewhere, as installers make them.

    Raises:
        NotFound: There is no such folder.
        UsageError: Something in it is no plain file, has an impossible name, or it is too large.
    """
    try:
        top = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    except OSError as error:
        raise NotFound("algorithm.no_folder", path=str(folder)) from error
    files: dict[str, bytes] = {}
    try:
        _read_into(files, top, "", hard_links=hard_links)
    except OSError as error:
        raise UsageError("algorithm.unreadable", path=str(folder), detail=error.strerror or "") from error
    finally:
        os.close(top)
    return check_files_limits(dict(sorted(files.items())))


def check_files_limits(files: Mapping[str, bytes]) -> dict[str, bytes]:
    """Files that are already bytes (sent, or stored), held against the same limits.

    Raises:
        UsageError: A name that is impossible, or too much of something.
    """
    _check_amount(len(files), sum(map(len, files.values())))
    plain: dict[str, str] = {}
    for path in files:
        _check_path(path)
        for whole in _with_parents(path):
            if plain.setdefault(whole.lower(), whole) != whole:
                raise UsageError("algorithm.same_name", path=path, other=plain[whole.lower()])
        if any(parent in files for parent in list(_with_parents(path))[:-1]):
            raise UsageError("algorithm.file_name", path=path[:LONGEST_NAME])
    return dict(files)


def digest_files(files: Mapping[str, bytes]) -> str:
    """The name of a package: each file's path and digest of bytes. Times, modes and order do not count."""
    return digest_record("algorithm", [[path, digest_bytes(data)] for path, data in sorted(files.items())])


def pack_files(files: Mapping[str, bytes]) -> bytes:
    """One blob with all files, the same for the same files."""
    listed = [{"path": path, "data": base64.b64encode(data).decode()} for path, data in sorted(files.items())]
    return canonical_json({"type": BUNDLE, "files": listed})


def unpack_files(data: bytes, digest: str | None = None) -> dict[str, bytes]:
    """The files in such a blob.

    Args:
        data: The blob.
        digest: What `digest_files` must say of them.

    Raises:
        ProofError: It is no such blob, or holds other files than its name says.
        UsageError: A file in it could not have come from a folder.
    """
    if len(data) > 2 * MOST_BYTES:
        raise ProofError("algorithm.bad_bundle")
    said: Any = read_canonical(data)
    try:
        if said["type"] != BUNDLE or said.keys() != {"type", "files"}:
            raise ProofError("algorithm.bad_bundle")
        pairs = [(str(one["path"]), base64.b64decode(one["data"], validate=True)) for one in said["files"]]
    except (TypeError, KeyError, AttributeError, ValueError, binascii.Error) as error:
        raise ProofError("algorithm.bad_bundle") from error
    files = check_files_limits(dict(pairs))
    if len(files) != len(pairs) or (digest is not None and digest_files(files) != digest):
        raise ProofError("algorithm.bad_bundle")
    return files


def _read_into(files: dict[str, bytes], folder: int, above: str, *, hard_links: bool) -> None:
    for name in _names(folder, above):
        path = f"{above}{name}"
        _check_path(path)
        kind = os.stat(name, dir_fd=folder, follow_symlinks=False).st_mode
        if stat.S_ISDIR(kind):
            inner = os.open(name, _FOLDER, dir_fd=folder)
            try:
                _read_into(files, inner, f"{path}/", hard_links=hard_links)
            finally:
                os.close(inner)
        elif stat.S_ISREG(kind):
            left = MOST_BYTES - sum(map(len, files.values()))
            files[path] = _read_file(folder, name, path, left, hard_links=hard_links)
            _check_amount(len(files), sum(map(len, files.values())))
        else:
            raise UsageError("algorithm.file_kind", path=path, kind=_kind(kind))


def _names(folder: int, above: str) -> list[str]:
    names: list[str] = []
    with os.scandir(folder) as entries:
        for entry in entries:
            if entry.name in IGNORED or entry.name.endswith(".pyc"):
                continue
            names.append(entry.name)
            if len(names) > MOST_FILES:
                raise UsageError("algorithm.too_many_files", most=MOST_FILES, where=above or ".")
    return sorted(names)


def _read_file(folder: int, name: str, path: str, left: int, *, hard_links: bool) -> bytes:
    """The bytes of one plain file; its size is asked before it is read, so a hole of a terabyte costs nothing."""
    handle = os.open(name, _FILE, dir_fd=folder)
    with os.fdopen(handle, "rb") as file:
        found = os.fstat(handle)
        if not stat.S_ISREG(found.st_mode):
            raise UsageError("algorithm.file_kind", path=path, kind=_kind(found.st_mode))
        if found.st_nlink > 1 and not hard_links:
            raise UsageError("algorithm.hard_link", path=path)
        if found.st_size > left:
            raise UsageError("algorithm.too_large", most=MOST_BYTES, size=found.st_size, path=path)
        data = file.read(left + 1)
    if len(data) != found.st_size:
        raise UsageError("algorithm.changed", path=path)
    return data


def _check_amount(count: int, size_bytes: int) -> None:
    if count > MOST_FILES:
        raise UsageError("algorithm.too_many_files", most=MOST_FILES, where=".")
    if size_bytes > MOST_BYTES:
        raise UsageError("algorithm.too_large", most=MOST_BYTES, size=size_bytes, path=".")


def _check_path(path: str) -> None:
    parts = path.split("/")
    plain = all(_PART.fullmatch(part) and not part.endswith(".") for part in parts)
    if not plain or len(parts) > MOST_DEPTH or len(path) > LONGEST_NAME:
        raise UsageError("algorithm.file_name", path=ascii(path[:LONGEST_NAME])[1:-1])


def _with_parents(path: str) -> list[str]:
    parts = path.split("/")
    return ["/".join(parts[: count + 1]) for count in range(len(parts))]


def _kind(mode: int) -> str:
    kinds = ((stat.S_ISLNK, "link"), (stat.S_ISFIFO, "fifo"), (stat.S_ISSOCK, "socket"), (stat.S_ISDIR, "folder"))
    return next((name for test, name in kinds if test(mode)), "device")
