"""Witnessing: cosign the logs of partners, have our own log cosigned, compare copies.

    partner's folder or request ─▶ Witness ─▶ cosignature       our checkpoint ─ witnesses of log.policy ─▶ cosigned

The witness has its own key and its own memory (`witness/`), apart from the log of this workspace. Start at
`cosign_folder` and `ask_witnesses`; a face serves `WitnessDesk.answer` over HTTP.
"""

from __future__ import annotations

import hashlib
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from malan.core.errors import MalanError, NotFound, ProofError, Rejected, UsageError
from malan.ledger.compare import Comparison, compare_logs
from malan.ledger.cosign import Cosigner, add_cosignatures
from malan.ledger.files import FolderLock, Staged, read_whole
from malan.ledger.keys import WITNESS, ActorKey
from malan.ledger.note import COSIGNATURE_V1, ED25519, NoteVerifier, parse_note
from malan.ledger.policy import LARGEST_POLICY_BYTES, KnownLog, Policy
from malan.ledger.post import DEFAULT_TIMEOUT_S
from malan.ledger.reader import LogReader
from malan.ledger.rotation import follow_rotations
from malan.ledger.submit import collect_cosignatures
from malan.ledger.witness import LARGEST_REQUEST_BYTES, Witness, WitnessAnswer
from malan.services.access import HOUSE, Caller, require
from malan.services.journal import is_registered, register_key, start_log

if TYPE_CHECKING:
    from malan.workspace import Workspace

__all__ = [
    "LARGEST_REQUEST_BYTES",
    "POLICY_FILE",
    "WitnessDesk",
    "accept_cosignature",
    "ask_witnesses",
    "compare_copies",
    "cosign_folder",
    "describe_comparison",
    "know_log",
    "read_policy",
    "show_witness",
]

POLICY_FILE = "log.policy"
_FOLDER, _LOGS = "witness", "logs"


@dataclass(frozen=True, slots=True)
class WitnessedLog:
    """A log this witness knows, and how far it has cosigned it."""

    origin: str
    size: int | None  # None: never cosigned
    root: str
    keys: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class WitnessShown:
    """The witness of a workspace."""

    name: str
    vkey: str
    logs: tuple[WitnessedLog, ...]
    split_views: tuple[str, ...]  # origins of logs that were caught contradicting themselves


@dataclass(frozen=True, slots=True)
class CosignedLog:
    """A checkpoint of a partner, cosigned: the line to give back."""

    origin: str
    size: int
    root: str
    since: int | None  # the size cosigned before
    line: str


@dataclass(frozen=True, slots=True)
class AskedWitnesses:
    """Our checkpoint after the witnesses were asked."""

    origin: str
    size: int
    cosigned_by: tuple[str, ...]
    failures: Mapping[str, MalanError]
    has_quorum: bool


class WitnessDesk:
    """The witness of a workspace, to be asked often and from many threads; its key is read once.

    The key is made, and stated in the log, when first needed. Logs that are made known later are known at once.
    """

    def __init__(self, ws: Workspace) -> None:
        key, name = _witness_key(ws), f"{ws.keys.origin}/witness"
        self._ws = ws
        self._cosigner = Cosigner.from_private(name, key.raw(), _now_s)
        retired = [Cosigner.from_private(name, old.raw(), _now_s) for old in ws.keys.retired(WITNESS)]
        self._former = [cosigner.verifier for cosigner in retired]

    def witness(self) -> Witness:
        """The witness with the logs it knows now."""
        logs: dict[str, list[NoteVerifier]] = {}
        for log in _known_logs(self._ws):
            logs.setdefault(log.verifier.name, []).append(log.verifier)
        return Witness(self._ws.folder(_FOLDER), self._cosigner, logs, former=self._former)

    def answer(self, body: bytes) -> WitnessAnswer:
        """The answer to one add-checkpoint request (C2SP tlog-witness); see `Witness.add_checkpoint`."""
        return self.witness().add_checkpoint(body)

    def latest(self, origin_hash: str) -> bytes | None:
        """The checkpoint cosigned last for a log, by the SHA-256 of its origin in hex; None when there is none."""
        witness = self.witness()
        for origin in witness.origins:
            if hashlib.sha256(origin.encode()).hexdigest() == origin_hash:
                return witness.last_note(origin)
        return None


def show_witness(ws: Workspace) -> WitnessShown:
    """The verifier key to give to partners, the logs known, and who was caught."""
    witness = WitnessDesk(ws).witness()
    logs = []
    for origin in witness.origins:
        last = witness.last(origin)
        keys = tuple(log.verifier.vkey for log in _known_logs(ws) if log.verifier.name == origin)
        logs.append(WitnessedLog(origin, last.size if last else None, last.root.hex() if last else "", keys))
    split = tuple(parse_note(each.longer).text.partition("\n")[0] for each in witness.split_views())
    return WitnessShown(NoteVerifier.parse(witness.vkey).name, witness.vkey, tuple(logs), split)


def know_log(ws: Workspace, vkey: str, *, caller: Caller = HOUSE) -> str:
    """Cosign this log from now on; its origin. Known already, nothing changes.

    Raises:
        UsageError: It is not the verifier key of a log.
    """
    require(caller, "log.witness")
    verifier = NoteVerifier.parse(vkey)
    if verifier.kind != ED25519:
        raise UsageError("witness.no_log_key", name=verifier.name)
    _know(ws, [verifier])
    return verifier.name


def cosign_folder(ws: Workspace, folder: Path, keys: Sequence[str] = (), *, caller: Caller = HOUSE) -> CosignedLog:
    """Cosign the newest checkpoint of a log that lies in a folder: it must follow from all this witness has seen.

    Args:
        ws: Whose witness.
        folder: The log or a copy of it.
        keys: Verifier keys of the log; may be left out once it is known. Changes of key that the old key signed are
            followed.

    Raises:
        NotFound: There is no log, or its key is not known.
        ProofError: The log is damaged, was cut, or tells another story than before; what proves it is kept.
    """
    require(caller, "log.witness")
    for key in keys:
        know_log(ws, key)
    origin = parse_note(read_whole(folder, "checkpoint", 1 << 18)).text.partition("\n")[0]
    known = [log.verifier for log in _known_logs(ws) if log.verifier.name == origin]
    if not known:
        raise NotFound("witness.origin", origin=origin[:200])
    _know(ws, follow_rotations(folder, known))
    witness = WitnessDesk(ws).witness()
    before = witness.last(origin)
    reader = LogReader(folder, follow_rotations(folder, known), origin=origin)
    caught = len(list(witness.split_views()))
    answer = witness.cosign_log(reader)
    if answer.status != 200:
        convicted = len(list(witness.split_views())) > caught
        raise _refusal(answer, origin, before.size if before else 0, convicted=convicted)
    now = reader.checkpoint()
    return CosignedLog(origin, now.size, now.root.hex(), before.size if before else None, answer.body.decode())


def ask_witnesses(
    ws: Workspace, policy: Path | None = None, *, timeout_s: float = DEFAULT_TIMEOUT_S, caller: Caller = HOUSE
) -> AskedWitnesses:
    """Have our newest checkpoint cosigned by the witnesses of a policy, and publish what they gave.

    Args:
        ws: Whose log.
        policy: The policy file; without it `log.policy` of the workspace.
        timeout_s: For each round with each witness.

    Raises:
        NotFound: There is no policy.
        UsageError: The policy is not understood, or gives no address of a witness.
        ProofError: The log moved on meanwhile; ask again.
    """
    require(caller, "log.witness")
    start_log(ws)
    believed = read_policy(policy or ws.root / POLICY_FILE)
    if not any(witness.url for witness in believed.witnesses):
        raise UsageError("witness.no_address")
    reader = ws.log.reader
    note, checkpoint = reader.note(), reader.checkpoint()
    got = collect_cosignatures(note, believed, reader.prove_consistency, timeout_s=timeout_s)
    if got.cosigned_by:
        ws.log.writer.publish_cosigned(got.note)
    return AskedWitnesses(checkpoint.origin, checkpoint.size, got.cosigned_by, got.failures, _is_enough(ws, believed))


def accept_cosignature(ws: Workspace, lines: str, key: str, *, caller: Caller = HOUSE) -> AskedWitnesses:
    """Publish a cosignature that a witness gave by hand under our newest checkpoint.

    Args:
        ws: Whose log.
        lines: The signature lines as the witness printed them.
        key: Verifier key of the witness.

    Raises:
        ProofError: It is not that witness's, or not for the newest checkpoint.
    """
    require(caller, "log.witness")
    start_log(ws)
    verifier = NoteVerifier.parse(key)
    if verifier.kind != COSIGNATURE_V1:
        raise UsageError("witness.no_witness_key", name=verifier.name)
    reader = ws.log.reader
    checkpoint = reader.checkpoint()
    ws.log.writer.publish_cosigned(add_cosignatures(reader.note(), lines, [verifier]))
    policy = Policy.at_least(1, [verifier])
    return AskedWitnesses(checkpoint.origin, checkpoint.size, (verifier.name,), {}, _is_enough(ws, policy))


def compare_copies(first: Path, second: Path, keys: Sequence[str]) -> Comparison:
    """Two copies of one log, side by side.

    Raises:
        UsageError: No key was given to check them by.
        ProofError: A copy is damaged, or they are of different logs.
    """
    if not keys:
        raise UsageError("log.no_key")
    given = [NoteVerifier.parse(key) for key in keys]
    verifiers = list(dict.fromkeys([*follow_rotations(first, given), *follow_rotations(second, given)]))
    return compare_logs(LogReader(first, verifiers), LogReader(second, verifiers), verifiers)


def read_policy(path: Path) -> Policy:
    """The policy in a file.

    Raises:
        NotFound: There is none.
        UsageError: A line of it is not understood.
    """
    try:
        return Policy.parse(read_whole(path.parent, path.name, LARGEST_POLICY_BYTES))
    except NotFound as error:
        raise NotFound("witness.no_policy", path=path) from error


def describe_comparison(found: Comparison) -> dict[str, Any]:
    """A comparison as JSON."""
    return {
        "relation": str(found.relation),
        "origin": found.first.origin,
        "sizes": [found.first.size, found.second.size],
        "roots": [found.first.root.hex(), found.second.root.hex()],
        "shared": found.shared,
        "split_view": found.split_view.to_bytes().decode() if found.split_view else None,
    }


def _witness_key(ws: Workspace) -> ActorKey:
    start_log(ws)
    if WITNESS not in ws.keys.names():
        ws.keys.create(WITNESS)
    key = ws.keys.actor(WITNESS)
    if not is_registered(ws, key):
        register_key(ws, WITNESS, "system")
    return key


def _now_s() -> int:
    return int(time.time())


def _known_logs(ws: Workspace) -> tuple[KnownLog, ...]:
    try:
        data = read_whole(ws.folder(_FOLDER), _LOGS, LARGEST_POLICY_BYTES)
    except NotFound:
        return ()
    return Policy.parse(data).logs


def _know(ws: Workspace, verifiers: Sequence[NoteVerifier]) -> None:
    with FolderLock(ws.folder(_FOLDER)):
        known = _known_logs(ws)
        keys = {log.verifier.public_key for log in known}
        new = [KnownLog(verifier) for verifier in dict.fromkeys(verifiers) if verifier.public_key not in keys]
        if new:
            with Staged(ws.folder(_FOLDER)) as staged:
                staged.add(_LOGS, Policy((*known, *new)).text().encode())


def _is_enough(ws: Workspace, policy: Policy) -> bool:
    """Whether the checkpoint that stands now satisfies the policy, with our own key as that of the log."""
    try:
        policy.accept(ws.log.reader.note(), logs=[ws.keys.log_signer().verifier])
    except ProofError:
        return False
    return True


def _refusal(answer: WitnessAnswer, origin: str, seen: int, *, convicted: bool) -> MalanError:
    said = answer.body.decode("utf-8", "replace").strip()[:200]
    if convicted or answer.status == 409:
        return ProofError("witness.split", origin=origin[:200], size=seen)
    if answer.status == 422:
        return ProofError("witness.no_continuation", origin=origin[:200], size=seen, detail=said)
    return Rejected("witness.not_cosigned", origin=origin[:200], status=answer.status, detail=said)
