"""A witness: remembers how far each log had come and cosigns only what follows from it (C2SP tlog-witness).

Start at `Witness.add_checkpoint`: the body of a request in, status and body of the answer out; a face adds the HTTP.
Covered: two trees of one size are never both cosigned, whatever is asked at once from many threads and processes and
whenever the machine stops; a log that contradicts itself is named and both its notes are kept; a state that was changed
stops the witness for that log. Not covered: someone who takes the state away or puts back an older one; a wrong clock.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Protocol

from malan.core.errors import NotFound, ProofError, StoreError
from malan.core.merkle import check_consistency, merkle_root
from malan.ledger.checkpoint import Checkpoint, open_checkpoint, parse_size
from malan.ledger.cosign import Cosigner, cosignature_time
from malan.ledger.files import Staged, read_whole
from malan.ledger.note import LARGEST_NOTE_BYTES, Note, NoteVerifier, check_signatures, decode_base64, parse_note
from malan.ledger.split_view import LARGEST_BYTES, SplitView, contradiction

MOST_PROOF_LINES = 63
LARGEST_REQUEST_BYTES = LARGEST_NOTE_BYTES + 64 * 64
SIZE_TYPE = "text/x.tlog.size"
TEXT_TYPE = "text/plain; charset=utf-8"
MOST_EVIDENCE = 16
SAME_ANSWER_S = 5

_OLD = re.compile(r"old (0|[1-9][0-9]{0,18})")


@dataclass(frozen=True)
class WitnessAnswer:
    """What goes back: an HTTP status, the body, and what it is."""

    status: int
    body: bytes
    content_type: str = TEXT_TYPE


class Provable(Protocol):
    """A log whose tiles can be read: the published checkpoint, roots of its beginnings, proofs that it only grew."""

    def note(self) -> bytes: ...

    def root(self, size: int) -> bytes: ...

    def prove_consistency(self, old_size: int, new_size: int) -> list[bytes]: ...


@dataclass(frozen=True)
class _Request:
    old_size: int
    proof: tuple[bytes, ...]
    note: Note
    checkpoint: Checkpoint


class Witness:
    """Cosigns the checkpoints of the logs it knows.

    Args:
        folder: Where it remembers; made when missing. One folder belongs to one witness key.
        cosigner: Its key.
        logs: For each origin, the keys whose signature makes a checkpoint of that log.
        former: Keys it had before; what was remembered under them still counts.
    """

    def __init__(
        self,
        folder: Path,
        cosigner: Cosigner,
        logs: Mapping[str, Sequence[NoteVerifier]],
        *,
        former: Sequence[NoteVerifier] = (),
    ) -> None:
        self._folder = folder
        self._cosigner = cosigner
        self._own = (cosigner.verifier, *former)
        self._logs = {origin: tuple(keys) for origin, keys in logs.items()}
        folder.mkdir(parents=True, exist_ok=True)

    @property
    def vkey(self) -> str:
        return self._cosigner.vkey

    @property
    def origins(self) -> tuple[str, ...]:
        return tuple(self._logs)

    def add_checkpoint(self, body: bytes) -> WitnessAnswer:
        """Answer one request: the cosignature, or why not (tlog-witness, "add-checkpoint").

        Returns:
            200 with cosignature lines; 400 malformed or old size beyond the checkpoint; 403 not signed by the log;
            404 unknown log; 409 with the size last cosigned; 422 the proof does not hold.

        Raises:
            StoreError: The state could not be kept: nothing was signed.
            ProofError: The state was changed from outside.
        """
        try:
            request = _read_request(body)
        except ProofError as error:
            return _refusal(400, error)
        keys = self._logs.get(request.checkpoint.origin)
        if keys is None:
            return _refusal(404, NotFound("witness.origin", origin=request.checkpoint.origin[:200]))
        try:
            signed_by = check_signatures(request.note, keys)
        except ProofError as error:
            return _refusal(403, error)
        if not signed_by:
            return _refusal(403, ProofError("witness.unsigned", origin=request.checkpoint.origin[:200]))
        if request.old_size > request.checkpoint.size:
            shrunk = ProofError("proof.shrunk", old=request.old_size, new=request.checkpoint.size)
            return _refusal(400, shrunk)
        note = Note(request.note.text, tuple(s for s in request.note.signatures if any(s.by(k) for k in signed_by)))
        with self._turn(request.checkpoint.origin):
            return self._decide(request, note, keys)

    def cosign_log(self, log: Provable) -> WitnessAnswer:
        """Cosign the published checkpoint of a log whose tiles are at hand: a folder, a copy, a mounted disk.

        Raises:
            ProofError: The checkpoint is unreadable, or older than what this witness has seen.
        """
        data = log.note()
        checkpoint = Checkpoint.parse(parse_note(data).text)
        last = self.last(checkpoint.origin)
        old_size = last.size if last else 0
        if old_size > checkpoint.size:
            raise ProofError(
                "witness.rolled_back", origin=checkpoint.origin[:200], seen=old_size, found=checkpoint.size
            )
        proof = log.prove_consistency(old_size, checkpoint.size) if 0 < old_size < checkpoint.size else []
        if last and log.root(old_size) != last.root:
            self._convict(last.origin, SplitView(b"", data, log.root(old_size), tuple(proof)))
        return self.add_checkpoint(request_body(old_size, proof, data))

    def last(self, origin: str) -> Checkpoint | None:
        """The checkpoint of a log cosigned last; None when it never was.

        Raises:
            ProofError: The state was changed from outside.
        """
        held = self._held(origin)
        return held[0] if held else None

    def last_note(self, origin: str) -> bytes | None:
        """The checkpoint cosigned last as a note, with our cosignature on it."""
        held = self._held(origin)
        return held[1] if held else None

    def split_views(self) -> Iterator[SplitView]:
        """Every contradiction caught so far; each proves itself, see `SplitView.check`."""
        for path in sorted(self._folder.glob("*.split.json")):
            yield SplitView.parse(read_whole(self._folder, path.name, LARGEST_BYTES))

    def _decide(self, request: _Request, note: Note, keys: Sequence[NoteVerifier]) -> WitnessAnswer:
        """The part that must be one step: compare with what is remembered, remember, and only then answer."""
        new = request.checkpoint
        held = self._held(new.origin)
        last, last_note = held or (Checkpoint(new.origin, 0, merkle_root([])), None)
        if last.size == new.size and last.root != new.root and last_note:
            self._keep(new, contradiction(last_note, note.to_bytes(), (), [*keys, *self._own]))
            return WitnessAnswer(409, f"{last.size}\n".encode(), SIZE_TYPE)
        if request.old_size != last.size:
            return WitnessAnswer(409, f"{last.size}\n".encode(), SIZE_TYPE)
        try:
            check_consistency(last.size, last.root, new.size, new.root, request.proof)
        except ProofError as error:
            if last_note:
                self._keep(new, contradiction(last_note, note.to_bytes(), request.proof, [*keys, *self._own]))
            return _refusal(422, error)
        if held and (line := self._said_just_now(held[1], note)):
            return WitnessAnswer(200, line.encode())
        line = self._cosigner.sign(note.text)
        self._write(f"{_stem(new.origin)}.note", note.to_bytes() + line.encode())
        return WitnessAnswer(200, line.encode())

    def _said_just_now(self, last_note: bytes, note: Note) -> str | None:
        """Our line on the very same text from a few seconds ago: asking on and on costs no signature and no write."""
        last = parse_note(last_note)
        for signature in last.signatures:
            if last.text == note.text and signature.by(self._cosigner.verifier):
                age_s = self._cosigner.now_s - cosignature_time(signature.signature)
                return signature.line if 0 <= age_s <= SAME_ANSWER_S else None
        return None

    def _convict(self, origin: str, split: SplitView) -> None:
        """Keep what a log at hand says against what was cosigned, if the two truly are its own words."""
        split = replace(split, shorter=self.last_note(origin) or b"")
        try:
            split.check([*self._logs.get(origin, ()), *self._own])
        except ProofError:
            return  # its tiles contradict its own checkpoint: a damaged copy, which the answer will say
        self._keep(Checkpoint.parse(parse_note(split.longer).text), split)

    def _held(self, origin: str) -> tuple[Checkpoint, bytes] | None:
        """What is remembered of a log, proven by our own cosignature or the signature of the log."""
        try:
            data = read_whole(self._folder, f"{_stem(origin)}.note", LARGEST_NOTE_BYTES)
        except NotFound:
            return None
        try:
            checkpoint, note = open_checkpoint(data, [*self._own, *self._logs.get(origin, ())], origin=origin)
            if not any(own in note.verified_by for own in self._own):
                raise ProofError("note.unverified", names=", ".join(note.verified))
        except ProofError as error:
            raise ProofError("witness.state", origin=origin[:200], detail=error.message()) from error
        return checkpoint, data

    def _keep(self, new: Checkpoint, split: SplitView | None) -> None:
        """Keep the proof of a contradiction, once, and not without end: a log can sign as many as it likes."""
        name = f"{_stem(new.origin)}-{new.size}-{new.root.hex()[:16]}.split.json"
        kept = len(list(self._folder.glob(f"{_stem(new.origin)}-*.split.json")))
        if split and kept < MOST_EVIDENCE and not (self._folder / name).exists():
            self._write(name, split.to_bytes())

    def _write(self, name: str, data: bytes) -> None:
        with Staged(self._folder) as staged:
            staged.add(name, data)

    @contextmanager
    def _turn(self, origin: str) -> Iterator[None]:
        """One request for a log at a time, over all threads and processes that share the folder."""
        path = self._folder / f"{_stem(origin)}.lock"
        try:
            handle = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
        except OSError as error:
            raise StoreError("ledger.write", path=str(path), detail=str(error)) from error
        try:
            fcntl.flock(handle, fcntl.LOCK_EX)  # each call has its own descriptor, so threads wait for each other too
            yield
        finally:
            os.close(handle)


def request_body(old_size: int, proof: Iterable[bytes], note: bytes) -> bytes:
    """The body of an add-checkpoint request."""
    from base64 import b64encode

    lines = [f"old {old_size}", *(b64encode(node).decode() for node in proof), "", ""]
    return "\n".join(lines).encode() + note


def _read_request(body: bytes) -> _Request:
    if len(body) > LARGEST_REQUEST_BYTES:
        raise ProofError("note.too_large", size=len(body), most=LARGEST_REQUEST_BYTES)
    head, blank, rest = body.partition(b"\n\n")
    lines = head.decode("ascii", "replace").split("\n")
    match = _OLD.fullmatch(lines[0])
    if not blank or not match or len(lines) - 1 > MOST_PROOF_LINES:
        raise ProofError("witness.request", line=1 if not match else len(lines))
    proof = []
    for number, line in enumerate(lines[1:], 2):
        node = decode_base64(line)
        if node is None or len(node) != 32:
            raise ProofError("witness.request", line=number)
        proof.append(node)
    note = parse_note(rest)
    return _Request(parse_size(match[1]), tuple(proof), note, Checkpoint.parse(note.text))


def _refusal(status: int, error: ProofError | NotFound) -> WitnessAnswer:
    return WitnessAnswer(status, f"{error.message('en')}\n".encode())


def _stem(origin: str) -> str:
    """A file name for any origin, whatever it holds."""
    return hashlib.sha256(origin.encode()).hexdigest()[:40]
