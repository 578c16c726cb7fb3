"""Fetch the files of a base model from Hugging Face or ModelScope, each held against what the hub said it would be.

Only what a base may hold is asked for. Nothing is in place before all of it is: an interrupted fetch goes on where it
was. `HF_ENDPOINT` and `MODELSCOPE_ENDPOINT` name a mirror, `HF_HUB_OFFLINE` forbids it. No password is ever sent: what
is behind one is fetched by hand and named by `path:`. Start reading at `fetch_base`; `find_hub` tells which hub has it.
"""

from __future__ import annotations

import hashlib
import http.client
import json
import os
import shutil
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any
from urllib.parse import quote, urlencode

from malan.core.errors import MalanError, NotFound, Rejected, RetryLater
from malan.inference.backends import Stop, Tell, go_on, say_nothing
from malan.inference.weights import HUBS, Reference, usable_names

_TIMEOUT_S = 60
_PROBE_S = 3
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


def find_hub(place: str, revision: str = "") -> Reference:
    """Where `organisation/name` is to be fetched: Hugging Face if it answers within three seconds, else ModelScope.

    Raises:
        UsageError: No such name can be.
        NotFound: Fetching is forbidden here, or neither hub has it.
        RetryLater: Neither can be reached.
    """
    after = f"@{revision}" if revision else ""
    found = [Reference.parse(f"{hub}:{place}{after}") for hub in HUBS]
    _require_online(found[0])
    first: MalanError | None = None
    for reference in found:
        try:
            _asked(reference, _address_of(reference), timeout_s=_PROBE_S)
            return reference
        except (NotFound, RetryLater, ValueError) as error:
            first = first or (error if isinstance(error, MalanError) else None)
    raise first or RetryLater("weights.fetch", reference=place, detail="JSON")


def fetch_base(reference: Reference, folder: Path, *, tell: Tell = say_nothing, stop: Stop = go_on) -> Path:
    """Fetch what is missing of a base; returns the folder once it is whole.

    Args:
        reference: On a hub.
        folder: Where it shall lie.
        tell: Told the bytes that are here, of how many.
        stop: Asked for each piece; what is here by then is gone on with the next time.

    Raises:
        NotFound: Fetching is forbidden here, or the hub has no such model.
        RetryLater: The hub cannot be reached, or stopped in between; or the disk has too little room.
        Rejected: A file is not what the hub announced.
    """
    _require_online(reference)
    part = folder.with_name(folder.name + ".part")
    files = _listed(reference)
    total, done = sum(file.size_bytes for file in files), 0
    part.parent.mkdir(parents=True, exist_ok=True)
    here = sum(path.stat().st_size for path in part.rglob("*") if path.is_file()) if part.is_dir() else 0
    if shutil.disk_usage(part.parent).free < total - here:
        raise RetryLater("weights.no_space", reference=str(reference), mb=(total - here) // 10**6)
    for file in files:
        target = part / file.name
        if not _is_whole(target, file):
            target.parent.mkdir(parents=True, exist_ok=True)
            _fetch(reference, file, target, _further(tell, done, total), stop)
        done += file.size_bytes
        tell(done, total)
    if not part.is_dir():
        raise NotFound("weights.not_here", reference=str(reference))
    part.rename(folder)
    return folder


def _further(tell: Tell, before: int, total: int) -> Callable[[int], None]:
    return lambda count: tell(before + count, total)


def _require_online(reference: Reference) -> None:
    if os.environ.get("HF_HUB_OFFLINE", "0") not in ("", "0"):
        raise NotFound("weights.not_here", reference=str(reference))


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


def _address_of(reference: Reference) -> str:
    """Where a hub tells of the files of a model."""
    if reference.kind == "hf":
        return f"{_top('hf')}/api/models/{reference.place}/revision/{quote(reference.revision, safe='')}?blobs=true"
    said = urlencode({"Revision": reference.revision, "Recursive": "True"})
    return f"{_top('ms')}/api/v1/models/{reference.place}/repo/files?{said}"


def _top(hub: str) -> str:
    name, usual = {
        "hf": ("HF_ENDPOINT", "https://huggingface.co"), "ms": ("MODELSCOPE_ENDPOINT", "https://modelscope.cn"),
    }[hub]  # fmt: skip
    return os.environ.get(name, usual).rstrip("/")


def _of_hugging_face(reference: Reference) -> Iterator[Listed]:
    said = _asked(reference, _address_of(reference))
    commit = quote(str(said["sha"]), safe="")
    for file in said["siblings"]:
        large = file.get("lfs") or {}
        address = f"{_top('hf')}/{reference.place}/resolve/{commit}/{quote(file['rfilename'])}"
        digest = str(large.get("sha256") or file["blobId"])
        yield Listed(str(file["rfilename"]), int(large.get("size") or file["size"]), digest, address)


def _of_modelscope(reference: Reference) -> Iterator[Listed]:
    said = _asked(reference, _address_of(reference))
    for file in said["Data"]["Files"]:
        if file.get("Type") != "tree":
            query = urlencode({"Revision": reference.revision, "FilePath": file["Path"]})
            address = f"{_top('ms')}/api/v1/models/{reference.place}/repo?{query}"
            yield Listed(str(file["Path"]), int(file["Size"]), str(file["Sha256"]), address)


def _asked(reference: Reference, address: str, timeout_s: float = _TIMEOUT_S) -> Any:
    try:
        with _open(reference, address, timeout_s=timeout_s) as answer:
            return json.loads(answer.read(_MOST_LIST_BYTES))
    except (OSError, http.client.HTTPException) as error:
        raise RetryLater("weights.fetch", reference=str(reference), detail=str(error)[:120]) from error


def _fetch(reference: Reference, file: Listed, target: Path, tell: Callable[[int], None], stop: Stop) -> None:
    """One file, from where it broke off, held against its size and digest before it gets its name."""
    partial = target.with_name(target.name + ".incoming")
    begun = partial.stat().st_size if partial.is_file() else 0
    begun = begun if begun < file.size_bytes else 0
    try:
        with _open(reference, file.address, from_byte=begun) as answer:
            goes_on = begun > 0 and getattr(answer, "status", 200) == http.client.PARTIAL_CONTENT
            check = _digester(file)
            size = _read_into(check, partial) if goes_on else 0
            promised = size + int(answer.headers.get("Content-Length") or 0)  # type: ignore[attr-defined]
            with partial.open("ab" if goes_on else "wb") as out:
                while size <= file.size_bytes and (content := answer.read(_PART_BYTES)):
                    stop()
                    size += len(content)
                    check.update(content)
                    out.write(content)
                    tell(min(size, file.size_bytes))
    except (OSError, http.client.HTTPException) as error:
        raise RetryLater("weights.fetch", reference=str(reference), detail=str(error)[:120]) from error
    if size < promised:
        raise RetryLater("weights.fetch", reference=str(reference), detail=f"{size} < {promised}")
    if size != file.size_bytes or check.hexdigest() != file.digest:
        partial.unlink()
        raise Rejected("weights.file_digest", reference=str(reference), name=file.name[:80])
    partial.rename(target)


def _read_into(check: Any, path: Path) -> int:
    size = 0
    with path.open("rb") as held:
        while content := held.read(_PART_BYTES):
            check.update(content)
            size += len(content)
    return size


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


def _open(reference: Reference, address: str, *, from_byte: int = 0, timeout_s: float = _TIMEOUT_S) -> IO[bytes]:
    """Raises:
    NotFound: The hub has no such thing.
    RetryLater: It cannot be reached.
    """
    if not address.startswith(("https://", "http://127.0.0.1:", "http://localhost:")):
        raise RetryLater("weights.fetch", reference=str(reference), detail="https")
    headers = {"User-Agent": "malan"} | ({"Range": f"bytes={from_byte}-"} if from_byte else {})
    request = urllib.request.Request(address, headers=headers)  # noqa: S310  # looked at above
    try:
        return urllib.request.urlopen(request, timeout=timeout_s)  # type: ignore[no-any-return]  # noqa: S310
    except urllib.error.HTTPError as error:
        error.close()
        if error.code in (401, 403, 404):
            raise NotFound("weights.not_here", reference=str(reference)) from error
        raise RetryLater("weights.fetch", reference=str(reference), detail=str(error.code)) from error
    except (OSError, http.client.HTTPException) as error:
        raise RetryLater("weights.fetch", reference=str(reference), detail=str(error)[:120]) from error
