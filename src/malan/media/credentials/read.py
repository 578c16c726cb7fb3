"""What a file claims about itself, and whether the claims hold. Start at `read_credential`.

Three verdicts instead of one bit: broken, intact by somebody nobody here knows, intact under an anchor of ours. The
bytes are foreign and the parser is native code, so services call this in a worker, which may die or be stopped without
taking anything along: task `malan.media.credentials.read:read_credential`, arguments `(path, anchors)`, a limit of
`WORKER_MEMORY_BYTES`. The library hashes in two buffers of 256 MB: its memory is bounded, but not small.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from malan.media.credentials.manifest import DIGEST
from malan.media.credentials.native import MOST_MANIFEST_BYTES, context, library
from malan.media.credentials.presence import embedded_bytes, sidecar_of
from malan.media.credentials.records import (
    AI_SOURCES,
    STRICTNESS,
    CredentialReport,
    FoundIngredient,
    Problem,
    State,
    Use,
)
from malan.media.open import open_plain

WORKER_MEMORY_BYTES = 900 << 20  # what reading or signing a file of any size may take
_UNKNOWN_SIGNER = "signingCredential.untrusted"
_MOST_ITEMS, _MOST_TEXT = 500, 500
_ABSENT = ("ManifestNotFound", "NotSupported", "JumbfNotFound")


def read_credential(path: str | Path, anchors: Sequence[str] = ()) -> CredentialReport:
    """The credential of a file, embedded or in a `.c2pa` side-car beside it, judged with `anchors` (PEM) alone.

    Never asks a network. A damaged or hostile credential is a report with `invalid`, not an error. Cost: the whole file
    is hashed once when there is a credential, a few headers are read when there is none.

    Raises:
        MediaError: The file cannot be opened.
    """
    size = embedded_bytes(path)
    beside = None if size else sidecar_of(path)
    if beside is not None:
        size = beside.stat().st_size
    if size > MOST_MANIFEST_BYTES:
        return CredentialReport("invalid", (Problem("credentials.oversize", f"{size} > {MOST_MANIFEST_BYTES} bytes"),))
    if not size:
        return CredentialReport("absent")
    try:
        return _report(*_read(path, beside, anchors))
    except (ValueError, RecursionError, KeyError, TypeError, AttributeError) as error:
        return CredentialReport("invalid", (Problem("credentials.unreadable", _short(error)),))


def _read(path: str | Path, beside: Path | None, anchors: Sequence[str]) -> tuple[str, dict[str, Any]]:
    """State and manifest store as the library tells them.

    Raises:
        ValueError: It could not read the store at all.
    """
    c2pa = library()
    manifest = beside.read_bytes() if beside else None
    with os.fdopen(open_plain(path), "rb") as file, context(anchors) as local:
        try:
            with c2pa.Reader(None, file, manifest, context=local) as reader:
                return reader.get_validation_state() or "Invalid", json.loads(reader.json())
        except c2pa.C2paError as error:
            raise ValueError(str(error)) from error


def _report(state: str, store: dict[str, Any]) -> CredentialReport:
    manifests: dict[str, Any] = store["manifests"]
    active = manifests[store["active_manifest"]]
    problems = tuple(_problems(store))
    signature = active.get("signature_info") or {}
    return CredentialReport(
        state=_state(state, problems),
        problems=problems,
        title=_short(active.get("title", "")),
        signer=_short(signature.get("issuer") or signature.get("common_name") or ""),
        signer_serial=_short(signature.get("cert_serial_number", "")),
        producer=_producer(active),
        generator=" ".join(_short(i.get("name", "")) for i in active.get("claim_generator_info", ())[:3]),
        manifest_id=_short(store["active_manifest"]),
        manifest_count=len(manifests),
        source_types=tuple(dict.fromkeys(_source_types(active))),
        actions=tuple(_short(action.get("action", "")) for action in _actions(active)),
        ingredients=tuple(_ingredient(i) for i in active.get("ingredients", ())[:_MOST_ITEMS]),
        training_mining=_training_mining(manifests),
        ai_generated=any(_is_ai(manifest) for manifest in manifests.values()),
        assertions=dict(_kept(active)),
    )


def _state(told: str, problems: Sequence[Problem]) -> State:
    """Ours from the library's. An unknown signer alone leaves a credential valid; anything else breaks it."""
    if told == "Trusted":
        return "trusted"
    only_unknown = all(problem.code == _UNKNOWN_SIGNER for problem in problems)
    return "valid" if told == "Valid" and only_unknown else "invalid"


def _problems(store: Mapping[str, Any]) -> Iterator[Problem]:
    """Failures of the active manifest; those of ingredients are theirs, told by the library when they matter."""
    results = store.get("validation_results", {}).get("activeManifest", {})
    for failure in results.get("failure", ())[:_MOST_ITEMS]:
        yield Problem(_short(failure.get("code", "")), _short(failure.get("explanation", "")))


def _assertions(manifest: Mapping[str, Any], *labels: str) -> Iterator[tuple[str, Any]]:
    """Label and body of assertions whose label starts with one of `labels`; numbered copies included."""
    for assertion in manifest.get("assertions", ())[:_MOST_ITEMS]:
        if str(assertion.get("label", "")).startswith(labels):
            yield _short(assertion["label"]), assertion.get("data")


def _actions(manifest: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    found = [a for _, body in _assertions(manifest, "c2pa.actions") for a in (body or {}).get("actions", ())]
    return found[:_MOST_ITEMS]


def _source_types(manifest: Mapping[str, Any]) -> Iterator[str]:
    for action in _actions(manifest):
        if action.get("digitalSourceType"):
            yield _short(action["digitalSourceType"]).rsplit("/", 1)[-1]


def _is_ai(manifest: Mapping[str, Any]) -> bool:
    says = any(True for _ in _assertions(manifest, "c2pa.ai-disclosure"))
    return says or not AI_SOURCES.isdisjoint(_source_types(manifest))


def _training_mining(manifests: Mapping[str, Any]) -> dict[str, Use]:
    """Per use the strictest word in any manifest; CAWG's entries and the older ones of C2PA alike."""
    strictest: dict[str, Use] = {}
    for manifest in manifests.values():
        for _, body in _assertions(manifest, "cawg.training-mining", "c2pa.training-mining"):
            for name, entry in list((body or {}).get("entries", {}).items())[:_MOST_ITEMS]:
                use = _short(name).rsplit(".", 1)[-1]
                said = entry.get("use") if isinstance(entry, Mapping) else None
                now: Use = said if said in STRICTNESS else "notAllowed"
                strictest[use] = max(strictest.get(use, now), now, key=STRICTNESS.index)
    return strictest


def _ingredient(found: Mapping[str, Any]) -> FoundIngredient:
    metadata = found.get("metadata") or {}
    regions = (metadata.get("regionOfInterest") or {}).get("region") or [{}]
    time = regions[0].get("time") or {}
    return FoundIngredient(
        title=_short(found.get("title", "")),
        relation=_short(found.get("relationship", "")),
        digest=_short(metadata.get(DIGEST, "")),
        start_s=_short(time.get("start", "")),
        end_s=_short(time.get("end", "")),
        has_credential="active_manifest" in found,
    )


def _producer(manifest: Mapping[str, Any]) -> str:
    for _, body in _assertions(manifest, "cawg.metadata", "c2pa.metadata"):
        creators = (body or {}).get("dc:creator") or ()
        return ", ".join(map(_short, [creators] if isinstance(creators, str) else creators[:5]))
    return ""


def _kept(manifest: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
    for label, body in _assertions(manifest, "org.malan.", "c2pa.ai-disclosure"):
        if len(json.dumps(body)) <= 1 << 16:
            yield label, body


def _short(value: object) -> str:
    """One line of bounded length, whatever a stranger wrote."""
    return " ".join("".join(c if c.isprintable() else " " for c in str(value)[:_MOST_TEXT]).split())
