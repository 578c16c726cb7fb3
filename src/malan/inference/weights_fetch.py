"""Fetch the files of a base model from Hugging Face or ModelScope, each held against what the hub said it would be.

Only what a base may hold is asked for. Nothing is in place before all of it is: an interrupted fetch goes on with the
files that are whole. `HF_ENDPOINT` and `MODELSCOPE_ENDPOINT` name a mirror, `HF_HUB_OFFLINE` forbids it. No password is
ever sent: what is behind one is fetched by hand and named by `path:`. Start reading at `fetch_base`.
"""

from __future__ import annotations

import hashlib
import http.client
import json
import os
import urllib.error
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any
from urllib.parse import quote, urlencode

from malan.core.errors import NotFound, Rejected, RetryLater
from malan.inference.weights import Reference, usable_names

_TIMEOUT_S = 60
_MOST_LIST_BYTES = 64 * 2**20
_MOST_FILES = 2_000
_PART_BYTES = 2**20
_SHA1_LETTERS, _SHA256_LETTERS = 40, 64


@dataclass(frozen=True, slots=True)
class Listed:
    """A file as its hub announces it. `digest` is SHA-256, or the SHA-1 git gives a small file."""

    name: str
    size_bytes: int
    digest: str
    address: str


def fetch_base(reference: Reference, folder: Path) -> Path:
    """Fetch what is missing of a base; returns the folder once it is whole.

    Raises:
        NotFound: Fetching is forbidden here, or the hub has no such model.
        RetryLater: The hub cannot be reached, or stopped in between.
        Rejected: A file is not what the hub announced.
    """
    if os.environ.get("HF_HUB_OFFLINE", "0") not in ("", "0"):
        raise NotFound("weights.not_here", reference=str(reference))
    part = folder.with_name(folder.name + ".part")
    for file in _listed(reference):
        target = part / file.name
        if not _is_whole(target, file):
            target.parent.mkdir(parents=True, exist_ok=True)
            _fetch(reference, file, target)
    if not part.is_dir():
        raise NotFound("weights.not_here", reference=str(reference))
    part.rename(folder)
    return folder


def _listed(reference: Reference) -> list[Listed]:
    hub = _of_hugging_face if reference.kind == "hf" else _of_modelscope
    try:
        announced = {file.name: file for file in hub(reference)}
        found = [announced[name] for name in usable_names(announced)]
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise RetryLater("weights.fetch", reference=str(reference), detail=type(error).__name__) from error
    if len(found) > _MOST_FILES:
        raise Rejected("weights.layout", reference=str(reference), detail=f"> {_MOST_FILES}")
    return found


def _of_hugging_face(reference: Reference) -> Iterator[Listed]:
    top = os.environ.get("HF_ENDPOINT", "https://huggingface.co").rstrip("/")
    revision = quote(reference.revision, safe="")
    said = _asked(reference, f"{top}/api/models/{reference.place}/revision/{revision}?blobs=true")
    commit = quote(str(said["sha"]), safe="")
    for file in said["siblings"]:
        large = file.get("lfs") or {}
        address = f"{top}/{reference.place}/resolve/{commit}/{quote(file['rfilename'])}"
        digest = str(large.get("sha256") or file["blobId"])
        yield Listed(str(file["rfilename"]), int(large.get("size") or file["size"]), digest, address)


def _of_modelscope(reference: Reference) -> Iterator[Listed]:
    top = os.environ.get("MODELSCOPE_ENDPOINT", "https://modelscope.cn").rstrip("/")
    place = f"{top}/api/v1/models/{reference.place}/repo"
    said = _asked(reference, f"{place}/files?{urlencode({'Revision': reference.revision, 'Recursive': 'True'})}")
    for file in said["Data"]["Files"]:
        if file.get("Type") != "tree":
            address = f"{place}?{urlencode({'Revision': reference.revision, 'FilePath': file['Path']})}"
            yield Listed(str(file["Path"]), int(file["Size"]), str(file["Sha256"]), address)


def _asked(reference: Reference, address: str) -> Any:
    with _open(reference, address) as answer:
        return json.loads(answer.read(_MOST_LIST_BYTES))


def _fetch(reference: Reference, file: Listed, target: Path) -> None:
    """One file, held against its size and digest before it gets its name."""
    partial = target.with_name(target.name + ".incoming")
    check, size = _digester(file), 0
    try:
        with _open(reference, file.address) as answer, partial.open("wb") as out:
            while content := answer.read(_PART_BYTES):
                size += len(content)
                if size > file.size_bytes:
                    break
                check.update(content)
                out.write(content)
    except (OSError, http.client.HTTPException) as error:
        raise RetryLater("weights.fetch", reference=str(reference), detail=str(error)[:120]) from error
    if size != file.size_bytes or check.hexdigest() != file.digest:
        partial.unlink()
        raise Rejected("weights.file_digest", reference=str(reference), name=file.name[:80])
    partial.rename(target)


def _is_whole(path: Path, file: Listed) -> bool:
    if not path.is_file() or path.stat().st_size != file.size_bytes:
        return False
    check = _digester(file)
    with path.open("rb") as held:
        while content := held.read(_PART_BYTES):
            check.update(content)
    return bool(check.hexdigest() == file.digest)


def _digester(file: Listed) -> Any:
    """Small files have the name git gives them: SHA-1 over a header and the content."""
    if len(file.digest) == _SHA256_LETTERS:
        return hashlib.sha256()
    return hashlib.sha1(f"blob {file.size_bytes}\0".encode(), usedforsecurity=False)


def _open(reference: Reference, address: str) -> IO[bytes]:
    """Raises:
    NotFound: The hub has no such thing.
    RetryLater: It cannot be reached.
    """
    if not address.startswith(("https://", "http://127.0.0.1:", "http://localhost:")):
        raise RetryLater("weights.fetch", reference=str(reference), detail="https")
    request = urllib.request.Request(address, headers={"User-Agent": "malan"})  # noqa: S310  # looked at above
    try:
        return urllib.request.urlopen(request, timeout=_TIMEOUT_S)  # type: ignore[no-any-return]  # noqa: S310
    except urllib.error.HTTPError as error:
        error.close()
        if error.code in (401, 403, 404):
            raise NotFound("weights.not_here", reference=str(reference)) from error
        raise RetryLater("weights.fetch", reference=str(reference), detail=str(error.code)) from error
    except (OSError, http.client.HTTPException) as error:
        raise RetryLater("weights.fetch", reference=str(reference), detail=str(error)[:120]) from error
