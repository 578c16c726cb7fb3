"""Anchoring the log of a workspace: someone outside states when its newest checkpoint existed.

    anchors.toml ─ whom to ask ─▶ Anchor ─▶ token       anchors/<size>.note, anchors/<size>-<name>.token

A token is kept beside the checkpoint it is for and checked without a connection. Start at `anchor_log`.
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from malan.core.errors import MalanError, NotFound, ProofError, UsageError
from malan.ledger.anchors import Anchor, EvidenceChain, EvidenceFields, KeyPair, SharedSecret, TimestampAuthority
from malan.ledger.checkpoint import open_checkpoint
from malan.ledger.files import Staged, read_whole
from malan.ledger.keys import OPERATOR
from malan.ledger.note import LARGEST_NOTE_BYTES, decode_base64
from malan.services.access import HOUSE, Caller, require
from malan.services.journal import start_log

if TYPE_CHECKING:
    from malan.workspace import Workspace

SETTINGS = "anchors.toml"
FOLDER = "anchors"
LARGEST_TOKEN_BYTES = 64 * 1024

_NAME = re.compile(r"[a-z0-9][a-z0-9-]{0,31}")
_TOKEN = re.compile(r"([0-9]{1,19})-([a-z0-9][a-z0-9-]{0,31})\.token")
_COMMON = {"kind": str, "url": str, "timeout_s": (int, float)}
_KINDS: Mapping[str, Mapping[str, Any]] = {
    "rfc3161": {**_COMMON, "roots": str},
    "evidence": {**_COMMON, "key_id": str, "secret": str, "service_key": str, "fields": dict},
}


@dataclass(frozen=True, slots=True)
class AnchorShown:
    """One token kept: whose, for which length of the log, and the time it states; `error` when it does not hold."""

    name: str
    size: int
    time: str
    error: MalanError | None = None


def anchor_log(ws: Workspace, names: Sequence[str] = (), *, caller: Caller = HOUSE) -> list[AnchorShown]:
    """Have the newest checkpoint stated by each anchor, or by those named; one that fails does not stop the others.

    Raises:
        NotFound: No anchor is set up, or none has such a name.
        UsageError: `anchors.toml` is not understood.
    """
    require(caller, "log.witness")
    start_log(ws)
    anchors = _anchors(ws)
    if missing := [name for name in names if name not in anchors]:
        raise NotFound("anchor.unknown", name=missing[0][:80])
    note, size = ws.log.reader.note(), ws.log.reader.size
    return [_anchored(ws, anchors[name], note, size) for name in (names or anchors)]


def check_anchors(ws: Workspace, *, caller: Caller = HOUSE) -> list[AnchorShown]:
    """Every token kept, checked: against its checkpoint, and that checkpoint against the log as it stands.

    Raises:
        UsageError: `anchors.toml` is not understood.
    """
    require(caller, "log.read")
    start_log(ws)
    anchors = _anchors(ws)
    found = [match for path in ws.folder(FOLDER).iterdir() if (match := _TOKEN.fullmatch(path.name))]
    return [_checked(ws, anchors, match[2], int(match[1])) for match in sorted(found, key=lambda m: (int(m[1]), m[2]))]


def describe_anchor(shown: AnchorShown) -> dict[str, Any]:
    """A token as JSON."""
    error = {"code": shown.error.code, "message": shown.error.message()} if shown.error else None
    return {"name": shown.name, "size": shown.size, "time": shown.time, "error": error}


def _anchored(ws: Workspace, anchor: Anchor, note: bytes, size: int) -> AnchorShown:
    try:
        got = anchor.anchor(note)
    except MalanError as error:
        return AnchorShown(anchor.name, size, "", error)
    with Staged(ws.folder(FOLDER)) as staged:
        staged.add(f"{size}.note", note)
        staged.add(f"{size}-{anchor.name}.token", got.token)
    return AnchorShown(anchor.name, size, _shown(got.time))


def _checked(ws: Workspace, anchors: Mapping[str, Anchor], name: str, size: int) -> AnchorShown:
    try:
        if name not in anchors:
            raise NotFound("anchor.unknown", name=name)
        note = read_whole(ws.folder(FOLDER), f"{size}.note", LARGEST_NOTE_BYTES)
        _check_ours(ws, note, size)
        token = read_whole(ws.folder(FOLDER), f"{size}-{name}.token", LARGEST_TOKEN_BYTES)
        return AnchorShown(name, size, _shown(anchors[name].check(token, note)))
    except MalanError as error:
        return AnchorShown(name, size, "", error)


def _check_ours(ws: Workspace, note: bytes, size: int) -> None:
    """The checkpoint kept is one of this log, and the log still begins so."""
    reader = ws.log.reader
    keys = [signer.verifier for signer in (*ws.keys.retired_log_signers(), ws.keys.log_signer())]
    checkpoint, _ = open_checkpoint(note, keys, origin=reader.origin)
    if checkpoint.size != size or reader.root(size) != checkpoint.root:
        raise ProofError("anchor.other_log", size=size)


def _anchors(ws: Workspace) -> dict[str, Anchor]:
    """The anchors `anchors.toml` sets up, by name."""
    path = ws.root / SETTINGS
    try:
        said: dict[str, Any] = tomllib.loads(path.read_text("utf-8"))
    except FileNotFoundError as error:
        raise NotFound("anchor.none", path=path) from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise UsageError("anchor.settings", path=path, detail=str(error)[:200]) from error
    return {name: _anchor(ws, name, settings) for name, settings in said.items()}


def _anchor(ws: Workspace, name: str, said: Any) -> Anchor:
    settings = _checked_settings(ws, name, said)
    timeout_s = float(settings.get("timeout_s", 15))
    if settings["kind"] == "rfc3161":
        roots = _read_roots(ws, settings["roots"])
        return TimestampAuthority(name, settings["url"], roots, _now, timeout_s=timeout_s)
    return EvidenceChain(
        name,
        settings["url"],
        _authentication(ws, name, settings),
        _now,
        key_id=settings.get("key_id", ""),
        fields=_fields(ws, name, settings.get("fields", {})),
        timeout_s=timeout_s,
    )


def _checked_settings(ws: Workspace, name: str, said: Any) -> dict[str, Any]:
    """The table of one anchor; what is not known or of another type is refused, as is what is missing."""
    if not _NAME.fullmatch(name) or not isinstance(said, dict):
        raise _bad(ws, name)
    known = _KINDS.get(str(said.get("kind")))
    if known is None:
        raise _bad(ws, f"{name}.kind")
    for key, value in said.items():
        if key not in known or not isinstance(value, known[key]) or isinstance(value, bool):
            raise _bad(ws, f"{name}.{key}")
    for key in ("url", "roots") if said["kind"] == "rfc3161" else ("url",):
        if key not in said:
            raise _bad(ws, f"{name}.{key}")
    if not 0 < said.get("timeout_s", 15) <= 600:
        raise _bad(ws, f"{name}.timeout_s")
    return said


def _authentication(ws: Workspace, name: str, settings: Mapping[str, Any]) -> SharedSecret | KeyPair:
    """The secret is a file in `keys/` that nobody else can read; with a service key, our operator key signs."""
    if ("secret" in settings) == ("service_key" in settings):
        raise _bad(ws, f"{name}.secret")
    if "service_key" in settings:
        key = decode_base64(settings["service_key"])
        if key is None or len(key) != 32:
            raise _bad(ws, f"{name}.service_key")
        return KeyPair(ws.keys.actor(OPERATOR).raw(), key)
    file = settings["secret"]
    secret = ws.keys.kept(file) if re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}", file) else None
    if secret is None:
        raise NotFound("anchor.no_secret", name=name, file=file[:80])
    return SharedSecret(secret.rstrip(b"\r\n"))


def _fields(ws: Workspace, name: str, said: Mapping[str, Any]) -> EvidenceFields:
    known = {field.name for field in fields(EvidenceFields)}
    for key, value in said.items():
        is_table = key == "constants"
        held = value.values() if is_table and isinstance(value, dict) else [value]
        if key not in known or isinstance(value, dict) != is_table or not all(isinstance(each, str) for each in held):
            raise _bad(ws, f"{name}.fields.{key}")
    return EvidenceFields(**said)


def _read_roots(ws: Workspace, file: str) -> bytes:
    path = ws.root / file  # an absolute name stays one
    try:
        return path.read_bytes()[: 1 << 20]
    except OSError as error:
        raise NotFound("anchor.no_roots", path=path) from error


def _bad(ws: Workspace, where: str) -> UsageError:
    return UsageError("anchor.settings", path=ws.root / SETTINGS, detail=where[:120])


def _now() -> datetime:
    return datetime.now(UTC)


def _shown(time: datetime) -> str:
    return time.isoformat(timespec="seconds").replace("+00:00", "Z")
