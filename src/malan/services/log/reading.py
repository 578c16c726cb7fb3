"""Looking at the log and giving it to others: events, proofs, receipts, an audit of all of it, a copy of its files.

Writing to it is `journal`'s. Start at `list_events` and `verify_log`.
"""

from __future__ import annotations

import re
import shutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from malan.core.errors import MalanError, NotFound, ProofError, StoreError, UsageError
from malan.ledger.audit import audit
from malan.ledger.files import read_whole
from malan.ledger.note import LARGEST_NOTE_BYTES, NoteVerifier, open_note
from malan.ledger.reader import LogReader
from malan.ledger.rotation import check_rotations, follow_rotations, rotation_keys, rotation_note
from malan.services.access import HOUSE, Caller, require
from malan.services.journal import Logged, disclosed, events_about, key_subject, parse_event, read_event, start_log
from malan.services.log.actors import Actors
from malan.services.log.witness import POLICY_FILE, read_policy

if TYPE_CHECKING:
    from malan.workspace import Workspace

Progress = Callable[[int, int, str], None]

VKEY_FILE = "vkey"
_PUBLIC = ("checkpoint", "tile", "rotations")
_UUID = re.compile(r"[0-9a-f]{8}-[0-9a-f-]{27}")
_HEX = re.compile(r"[0-9a-f]{6,64}")


@dataclass(frozen=True, slots=True)
class Signer:
    """Who signed an event, as far as this workspace knows."""

    key_id: str
    name: str  # of the key, such as `operator`; empty for a key of somebody else
    holder: str  # whose key it is, where the log was told and it was not forgotten

    @property
    def shown(self) -> str:
        """The best name there is."""
        return self.holder or self.name[:12] or self.key_id[:16]


@dataclass(frozen=True)
class EventShown:
    """An event for people: what it says, who signed it, and the private data behind it that are still here."""

    event: Logged
    private: dict[str, Any]
    signers: tuple[Signer, ...]

    @property
    def forgotten(self) -> tuple[str, ...]:
        """What was committed to and is not known here any more."""
        return tuple(one.field for one in self.event.statement.commitments if one.field not in self.private)


@dataclass(frozen=True)
class LogVerified:
    """A log that was read whole: every hash, every signature, every statement."""

    origin: str
    size: int
    root: str
    cosigned_by: tuple[str, ...]  # witnesses of the policy whose cosignature was checked
    claimed_by: tuple[str, ...]  # further names under the checkpoint, whose keys nobody gave: worth nothing yet
    events: int  # statements whose signatures were checked; none in a damaged log
    index_rows: int | None  # None: the log of somebody else, or a damaged one
    damages: tuple[MalanError, ...]
    remarks: tuple[MalanError, ...]

    @property
    def is_whole(self) -> bool:
        return not self.damages


def list_events(ws: Workspace, *, about: str | None = None, last: int = 20, caller: Caller = HOUSE) -> list[EventShown]:
    """Events, the newest first.

    Args:
        about: A kind of event, or the id (or its beginning) of something events are about.
        last: At most so many.
    """
    require(caller, "log.read")
    start_log(ws)
    size = ws.log.reader.size
    places = range(size) if about is None else places_of(ws, about)
    events = [read_event(ws, place) for place in list(places)[-last:][::-1]]
    names = {key.key_id: name for name in ws.keys.names() for key in (ws.keys.actor(name), *ws.keys.retired(name))}
    signers = {key: _signer(ws, key, names.get(key, "")) for key in {key for event in events for key in event.key_ids}}
    return [EventShown(event, disclosed(ws, event), tuple(signers[key] for key in event.key_ids)) for event in events]


def places_of(ws: Workspace, text: str, *, caller: Caller = HOUSE) -> list[int]:
    """Where events stand that somebody names: by place, id, kind, or the beginning of what they are about.

    Raises:
        NotFound: Nothing in the log is about it.
    """
    require(caller, "log.read")
    start_log(ws)
    if text.isdigit() and len(text) < 16:
        return [int(text)]
    if _UUID.fullmatch(text):
        found = ws.log.find(f"id {text}")
    elif text.startswith("urn:") or _HEX.fullmatch(text):
        found = _about(ws, text)
    else:
        found = ws.log.find(text)
    if not found:
        raise NotFound("log.not_logged", what=text[:80])
    return sorted(set(found))


def verify_log(
    ws: Workspace | None,
    folder: Path | None = None,
    keys: Sequence[str] = (),
    *,
    policy: Path | None = None,
    progress: Progress | None = None,
    caller: Caller = HOUSE,
) -> LogVerified:
    """Read a whole log and check everything in it: files, tree, checkpoint, signatures, statements, index.

    Args:
        ws: Whose log; may be None when `folder` and `keys` are given.
        folder: Another log, as it was exported.
        keys: Verifier keys to trust instead of those of the workspace.
        policy: Which witnesses to believe; for the log of the workspace, its `log.policy` when not given.

    Raises:
        ProofError: The checkpoint cannot be believed, or an event is not what its actor signed.
        UsageError: A foreign log without a key to check it by.
    """
    require(caller, "log.read")
    if ws is not None:
        start_log(ws)
    where, given = _whose(ws, folder, keys)
    verifiers = follow_rotations(where, given)
    tell = progress or (lambda *_: None)
    reader = LogReader(where, verifiers)
    expected = {VKEY_FILE, *check_rotations(where, reader)}
    _check_vkey(where, verifiers)
    _check_own_lines(reader, [*verifiers, *rotation_keys(where, reader)])
    audited = audit(where, verifiers, expected=expected, progress=lambda done, total: tell(done, total, ""))
    events = _check_events(reader, audited.checkpoint.size, tell) if audited.is_whole else 0
    rows = ws.log.check_index() if ws is not None and folder is None and audited.is_whole else None
    if policy is None and ws is not None and folder is None and (ws.root / POLICY_FILE).is_file():
        policy = ws.root / POLICY_FILE
    checkpoint, names = audited.checkpoint, _cosigners(reader, verifiers, policy)
    found = (audited.damages, audited.remarks)
    return LogVerified(checkpoint.origin, checkpoint.size, checkpoint.root.hex(), *names, events, rows, *found)


def _check_own_lines(reader: LogReader, keys: Sequence[NoteVerifier]) -> None:
    """Every line under the checkpoint that bears the log's name must be that of a key it has had.

    Notes let lines of unknown keys pass, so one that was damaged would look like one nobody asked about.
    """
    note = open_note(reader.note(), keys)
    for line in note.signatures:
        if line.name == reader.origin and not any(line.by(verifier) for verifier in note.verified_by):
            raise ProofError("log.note_line", path="checkpoint", key=line.key_id.hex())
    handed_over = rotation_note(reader.folder, reader.size)
    kept = open_note(handed_over, keys).signatures if handed_over else ()
    for line in kept:
        if line not in note.signatures:
            raise ProofError("log.note_line", path="checkpoint", key=line.key_id.hex())


def export_log(ws: Workspace, out: Path, *, caller: Caller = HOUSE) -> int:
    """Copy the public files of the log into a new or empty folder, with its key; how many files.

    Raises:
        UsageError: The folder is not empty.
        StoreError: It cannot be written.
    """
    require(caller, "log.read")
    start_log(ws)
    try:
        if out.exists() and any(out.iterdir()):
            raise UsageError("log.out_not_empty", path=str(out))
        out.mkdir(parents=True, exist_ok=True)
        with ws.log.exclusive():
            for name in _PUBLIC:
                _copy(ws.log.folder / name, out / name)
            (out / VKEY_FILE).write_text(ws.keys.log_signer().vkey + "\n", "utf-8")
    except (OSError, shutil.Error) as error:
        raise StoreError(
            "log.not_exported", path=str(out), detail=getattr(error, "strerror", "") or str(error)
        ) from error
    return sum(1 for path in out.rglob("*") if path.is_file())


def _copy(source: Path, target: Path) -> None:
    if source.is_dir():
        shutil.copytree(source, target)
    elif source.is_file():
        shutil.copy2(source, target)


def describe_event(shown: EventShown) -> dict[str, Any]:
    """An event as JSON."""
    statement = shown.event.statement
    return {
        "index": shown.event.index,
        "id": statement.id,
        "kind": statement.kind,
        "time": statement.time,
        "actor": {"key": statement.actor.key_id, "role": statement.actor.role},
        "signed_by": [{"key": one.key_id, "name": one.name, "holder": one.holder} for one in shown.signers],
        "subjects": [one.urn for one in statement.subjects],
        "inputs": [{"urn": one.urn, "relation": one.relation} for one in statement.inputs],
        "facts": dict(statement.facts),
        "committed": [one.field for one in statement.commitments],
        "private": shown.private,
    }


def _signer(ws: Workspace, key_id: str, name: str) -> Signer:
    """Whose key this is, from the event that registered it or the first of those it replaced."""
    first = key_id
    while replaced := events_about(ws, "key.rotate", key_subject(first).urn):
        facts = read_event(ws, replaced[0]).statement.facts
        if facts["key"] != first:  # it was only replaced: nothing came before it
            break
        first = facts["replaces"]
    registered = events_about(ws, "key.register", key_subject(first).urn)
    told = disclosed(ws, read_event(ws, registered[0])) if registered else {}
    return Signer(key_id, name, str(told.get("name", "")))


def _about(ws: Workspace, text: str) -> list[int]:
    from malan.ledger.kinds import EVENT_KINDS

    things = sorted({name for kind in EVENT_KINDS.values() for name in (*kind.subjects, *kind.inputs)})
    names = [text] if text.startswith("urn:") else [f"urn:malan:{thing}:{text}" for thing in things]
    keys = [key for kind in EVENT_KINDS for name in names for key in ws.log.keys_from(f"{kind} {name}")]
    return [place for places in ws.log.find_many(keys).values() for place in places]


def _whose(ws: Workspace | None, folder: Path | None, keys: Sequence[str]) -> tuple[Path, list[NoteVerifier]]:
    verifiers = [NoteVerifier.parse(key) for key in keys]
    if ws is not None and folder is None:
        own = [*ws.keys.retired_log_signers(), ws.keys.log_signer()]
        return ws.log.folder, verifiers or [signer.verifier for signer in own]
    if folder is None or not verifiers:
        raise UsageError("log.no_key")
    return folder, verifiers


def _check_vkey(folder: Path, verifiers: Sequence[NoteVerifier]) -> None:
    """A copy brings the log's key for convenience; nobody believes it, and it must not be another one."""
    if not (folder / VKEY_FILE).is_file():
        return
    said = read_whole(folder, VKEY_FILE, LARGEST_NOTE_BYTES).decode("utf-8", "replace")
    if said not in {f"{verifier.vkey}\n" for verifier in verifiers}:
        raise ProofError("log.vkey", path=VKEY_FILE, said=said.strip()[:100])


def _cosigners(
    reader: LogReader, verifiers: Sequence[NoteVerifier], policy: Path | None
) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Names under the newest checkpoint besides the log's own: those checked with a key of the policy, and the rest."""
    witnesses = [witness.verifier for witness in read_policy(policy).witnesses] if policy else []
    note = open_note(reader.note(), [*verifiers, *witnesses])
    checked = tuple(key.name for key in note.verified_by if key in witnesses)
    claimed = {line.name for line in note.signatures} - {reader.origin, *checked}
    return checked, tuple(sorted(claimed))


def _check_events(reader: LogReader, size: int, progress: Progress) -> int:
    actors = Actors()
    for place, entry in enumerate(reader.entries(0, size)):
        event = parse_event(place, entry)
        actors.take(event)
        if place % 1000 == 0:
            progress(place, size, event.statement.kind)
    return size
