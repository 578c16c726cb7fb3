"""Whom to believe: which logs, and how many of which witnesses must have cosigned (C2SP tlog-policy).

    log example.com/log+…
    witness w1 partner.example/witness+…
    witness w2 park.example/witness+…
    group both all w1 w2
    quorum both

Start at `Policy.parse` and `Policy.accept`. A line that is not understood refuses the whole file.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import NoReturn

from malan.core.errors import ProofError, UsageError
from malan.ledger.checkpoint import Checkpoint
from malan.ledger.cosign import Cosignature, cosignatures
from malan.ledger.note import COSIGNATURE_V1, ED25519, Note, NoteVerifier, open_note

LARGEST_POLICY_BYTES = 64 * 1024
MOST_OF_A_KIND = 128
NONE = "none"

_NOT_ALLOWED = re.compile(rb"[\x00-\x08\x0b-\x1f\x7f]")
_THRESHOLD = re.compile(r"[1-9][0-9]{0,3}")


@dataclass(frozen=True)
class KnownLog:
    verifier: NoteVerifier
    url: str | None = None


@dataclass(frozen=True)
class KnownWitness:
    name: str
    verifier: NoteVerifier
    url: str | None = None


@dataclass(frozen=True)
class Group:
    """Has witnessed when at least `threshold` of its members have; a member is a witness or an earlier group."""

    name: str
    threshold: int
    members: tuple[str, ...]


@dataclass(frozen=True)
class Accepted:
    """A checkpoint a policy believes: what it says, the whole note, whose signature of the log, and who cosigned."""

    checkpoint: Checkpoint
    note: Note
    log: NoteVerifier
    cosignatures: tuple[Cosignature, ...]

    @property
    def is_self_attested(self) -> bool:
        """Nobody but the log itself vouches for it."""
        return not self.cosignatures


@dataclass(frozen=True)
class Policy:
    """Known logs, known witnesses, and the quorum: the witness or group that must have witnessed, or `none`."""

    logs: tuple[KnownLog, ...]
    witnesses: tuple[KnownWitness, ...] = ()
    groups: tuple[Group, ...] = ()
    quorum: str = NONE

    @classmethod
    def parse(cls, data: bytes) -> Policy:
        """Read a policy file.

        Raises:
            UsageError: A line is not understood, a name is used twice or not defined above, or a limit is passed;
                `line` tells where.
        """
        return _Parser(data).policy()

    @classmethod
    def at_least(cls, count: int, witnesses: Sequence[NoteVerifier], *, logs: Iterable[NoteVerifier] = ()) -> Policy:
        """At least `count` of these witnesses; of none, the log alone is believed."""
        lines = [f"log {verifier.vkey}" for verifier in logs]
        lines += [f"witness w{i} {verifier.vkey}" for i, verifier in enumerate(witnesses)]
        if count:
            lines += [f"group quorum {count} {' '.join(f'w{i}' for i in range(len(witnesses)))}", "quorum quorum"]
        else:
            lines.append(f"quorum {NONE}")
        return cls.parse("".join(f"{line}\n" for line in lines).encode())

    def text(self) -> str:
        """The policy as a file that `parse` and other tools read."""
        lines = [f"log {log.verifier.vkey}{_url(log.url)}" for log in self.logs]
        lines += [f"witness {each.name} {each.verifier.vkey}{_url(each.url)}" for each in self.witnesses]
        lines += [f"group {group.name} {group.threshold} {' '.join(group.members)}" for group in self.groups]
        return "".join(f"{line}\n" for line in (*lines, f"quorum {self.quorum}"))

    def accept(
        self, data: bytes, *, logs: Iterable[NoteVerifier] = (), origin: str | None = None, now_s: int | None = None
    ) -> Accepted:
        """The checkpoint in a note, believed because a known log signed it and the quorum cosigned it.

        Args:
            data: The note as published.
            logs: Further keys of logs known from elsewhere; their name must be the origin too.
            origin: The log it must be of, if that is known.
            now_s: When given, a cosignature dated more than five minutes later does not count.

        Raises:
            ProofError: No known log signed it, too few witnesses did, or a signature of a known key is wrong.
        """
        of_logs = {*logs, *(log.verifier for log in self.logs)}
        of_witnesses = [each.verifier for each in self.witnesses]
        note = open_note(data, [*of_logs, *of_witnesses])
        checkpoint = Checkpoint.parse(note.text)
        if origin is not None and checkpoint.origin != origin:
            raise ProofError("checkpoint.origin", expected=origin, found=checkpoint.origin[:200])
        signed_by = [key for key in note.verified_by if key in of_logs and key.name == checkpoint.origin]
        if not signed_by:
            raise ProofError("policy.log", origin=checkpoint.origin[:200])
        counted = tuple(c for c in cosignatures(note, of_witnesses) if now_s is None or c.time_s <= now_s + 300)
        self._check_quorum(checkpoint.origin, {cosignature.verifier for cosignature in counted})
        return Accepted(checkpoint, note, signed_by[0], counted)

    def holds(self, cosigners: Iterable[NoteVerifier]) -> bool:
        """Whether cosignatures of these witnesses are enough."""
        keys = set(cosigners)
        witnessed = {each.name for each in self.witnesses if each.verifier in keys}
        for group in self.groups:
            if sum(member in witnessed for member in group.members) >= group.threshold:
                witnessed.add(group.name)
        return self.quorum == NONE or self.quorum in witnessed

    def _check_quorum(self, origin: str, cosigners: set[NoteVerifier]) -> None:
        if not self.holds(cosigners):
            names = ", ".join(sorted(_shown(w.name) for w in self.witnesses if w.verifier in cosigners)) or "—"
            raise ProofError("policy.quorum", origin=origin[:200], quorum=_shown(self.quorum), names=names[:200])


class _Parser:
    """Reads line by line; names are bytes with no meaning but equality, held as text with surrogates."""

    def __init__(self, data: bytes) -> None:
        if len(data) > LARGEST_POLICY_BYTES:
            raise UsageError("policy.too_large", most=LARGEST_POLICY_BYTES)
        self._data = data
        self._line = 0
        self._logs: list[KnownLog] = []
        self._witnesses: dict[str, KnownWitness] = {}
        self._groups: dict[str, Group] = {}
        self._members: set[str] = set()
        self._quorum: str | None = None

    def policy(self) -> Policy:
        lines = self._data.split(b"\n")
        if lines.pop():
            self._line = len(lines) + 1
            self._refuse("unterminated")
        for self._line, line in enumerate(lines, 1):
            if _NOT_ALLOWED.search(line):
                self._refuse("character")
            words = line.decode("utf-8", "surrogateescape").replace("\t", " ").strip(" ")
            if words and not words.startswith("#"):
                self._read([word for word in words.split(" ") if word])
        if self._quorum is None:
            self._refuse("no_quorum")
        return Policy(tuple(self._logs), tuple(self._witnesses.values()), tuple(self._groups.values()), self._quorum)

    def _read(self, words: list[str]) -> None:
        match words:
            case ["log", vkey]:
                self._log(vkey, None)
            case ["log", vkey, url]:
                self._log(vkey, url)
            case ["witness", name, vkey]:
                self._witness(name, vkey, None)
            case ["witness", name, vkey, url]:
                self._witness(name, vkey, url)
            case ["group", name, threshold, first, *members]:
                self._group(name, threshold, (first, *members))
            case ["quorum", name]:
                self._set_quorum(name)
            case _:
                self._refuse("line")

    def _log(self, vkey: str, url: str | None) -> None:
        verifier = self._verifier(vkey, ED25519)
        if any(log.verifier.public_key == verifier.public_key for log in self._logs):
            self._refuse("key_twice")
        self._logs.append(KnownLog(verifier, url))
        self._check_count(len(self._logs))

    def _witness(self, name: str, vkey: str, url: str | None) -> None:
        self._define(name)
        verifier = self._verifier(vkey, COSIGNATURE_V1)
        if any(each.verifier.public_key == verifier.public_key for each in self._witnesses.values()):
            self._refuse("key_twice")
        self._witnesses[name] = KnownWitness(name, verifier, url)
        self._check_count(len(self._witnesses))

    def _group(self, name: str, threshold: str, members: tuple[str, ...]) -> None:
        self._define(name)
        for member in members:
            if member not in self._witnesses and member not in self._groups:
                self._refuse("unknown", name=member)
            if member in self._members:
                self._refuse("member_twice", name=member)
            self._members.add(member)
        self._groups[name] = Group(name, self._threshold(threshold, len(members)), members)
        self._check_count(len(self._groups))

    def _threshold(self, word: str, members: int) -> int:
        if word in ("any", "all"):
            return 1 if word == "any" else members
        if not _THRESHOLD.fullmatch(word) or int(word) > members:
            self._refuse("threshold", name=word)
        return int(word)

    def _set_quorum(self, name: str) -> None:
        if self._quorum is not None:
            self._refuse("quorum_twice")
        if name != NONE and name not in self._witnesses and name not in self._groups:
            self._refuse("unknown", name=name)
        self._quorum = name

    def _define(self, name: str) -> None:
        if name == NONE or name in self._witnesses or name in self._groups:
            self._refuse("name_twice", name=name)

    def _verifier(self, vkey: str, kind: int) -> NoteVerifier:
        try:
            verifier = NoteVerifier.parse(vkey)
        except UsageError as error:
            raise UsageError("policy.key", line=self._line, detail=error.message()) from error
        if verifier.kind != kind:
            self._refuse("key_kind", name=verifier.name)
        return verifier

    def _check_count(self, count: int) -> None:
        if count > MOST_OF_A_KIND:
            self._refuse("too_many")

    def _refuse(self, why: str, *, name: str = "") -> NoReturn:
        raise UsageError(f"policy.{why}", line=self._line, name=_shown(name)[:80])


def _url(url: str | None) -> str:
    return f" {url}" if url else ""


def _shown(name: str) -> str:
    """A name that may hold bytes outside UTF-8, so that it can be printed."""
    return name.encode("utf-8", "surrogateescape").decode("utf-8", "replace")
