"""Sign a finished file: the last thing done to it, for any later byte breaks the credential. Start at `sign_media`."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from malan.core.errors import MediaError, ProofError, StoreError, UsageError
from malan.media.credentials.chain import ALGORITHM, Chain
from malan.media.credentials.manifest import definition, media_type, streamed
from malan.media.credentials.native import context, library
from malan.media.credentials.read import read_credential
from malan.media.credentials.records import Credential, CredentialReport
from malan.media.open import open_plain
from malan.media.sniff import shown

CARRIERS = {
    ".mp4": "video/mp4", ".m4v": "video/mp4", ".mov": "video/quicktime", ".avi": "video/x-msvideo",
    ".m4a": "audio/mp4", ".mp3": "audio/mpeg", ".wav": "audio/wav", ".flac": "audio/flac",
    ".jpg": "image/jpeg", ".jpeg": "image/jpeg", ".png": "image/png", ".webp": "image/webp",
}  # fmt: skip


@dataclass(frozen=True)
class SignedMedia:
    """A file that was signed and read back: `report.state` is `trusted` under its own root."""

    path: Path
    size_bytes: int
    manifest_id: str
    report: CredentialReport


def sign_media(source: str | Path, out: str | Path, chain: Chain, credential: Credential) -> SignedMedia:
    """Write a copy of `source` that carries the credential, read it back, and give it its name.

    `out` may be the source itself. A credential the source carries is replaced; to keep it, name the file as it was
    published as an ingredient with `parentOf`. Cost: the file is read twice and written once, with bounded memory.
    Ingredients with a path are parsed by native code: where they are a stranger's, call this in a worker.

    Raises:
        UsageError: The container cannot carry a credential (mkv, webm, …), or `out` is another kind of file.
        MediaError: The source or an ingredient cannot be read, or the library refuses the credential.
        ProofError: What was written does not verify; it was removed.
        StoreError: The file could not be written; nothing is left of it.
    """
    source, out = Path(source), Path(out)
    kind = _carrier(source, out)
    part = out.with_name(f".malan-{os.getpid()}-{abs(hash(out.name)):x}.part{source.suffix}")
    try:
        _sign(source, part, kind, chain, credential)
        report = _read_back(part, out, chain)
        part.replace(out)
    except OSError as error:
        raise StoreError("credentials.not_written", path=shown(out), detail=error.strerror or str(error)) from error
    finally:
        part.unlink(missing_ok=True)
    return SignedMedia(out, out.stat().st_size, report.manifest_id, report)


def _carrier(source: Path, out: Path) -> str:
    kind = CARRIERS.get(source.suffix.lower())
    if kind is None:
        raise UsageError("credentials.no_carrier", path=shown(source), allowed=", ".join(CARRIERS))
    if CARRIERS.get(out.suffix.lower()) != kind:
        raise UsageError("credentials.other_kind", path=shown(out), wanted=source.suffix)
    return kind


def _sign(source: Path, part: Path, kind: str, chain: Chain, credential: Credential) -> None:
    c2pa = library()
    try:
        with context([chain.root_pem]) as local, _signer(c2pa, chain) as signer:
            builder = c2pa.Builder(definition(credential), context=local)
            for ingredient, described in streamed(credential):
                with os.fdopen(open_plain(ingredient.path or ""), "rb") as file:
                    builder.add_ingredient(described, media_type(ingredient), file)
            with os.fdopen(open_plain(source), "rb") as file, part.open("w+b") as target:
                builder.sign(signer, kind, file, target)
                target.flush()
                os.fsync(target.fileno())
    except c2pa.C2paError as error:
        raise MediaError("credentials.not_signed", path=shown(source), detail=_reason(error)) from error


def _signer(c2pa: Any, chain: Chain) -> Any:
    info = c2pa.C2paSignerInfo(ALGORITHM, chain.chain_pem.encode(), chain.key_pem.encode(), None)
    return c2pa.Signer.from_info(info)


def _read_back(part: Path, out: Path, chain: Chain) -> CredentialReport:
    report = read_credential(part, (chain.root_pem,))
    if report.state != "trusted":
        told = "; ".join(f"{p.code} {p.detail}" for p in report.problems) or report.state
        raise ProofError("credentials.not_proven", path=shown(out), detail=told)
    return report


def _reason(error: Exception) -> str:
    return " ".join(str(error).split())[:300]
