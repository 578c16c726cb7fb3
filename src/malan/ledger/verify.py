"""Checking a receipt without a network, an account or the log: `python -m malan.ledger.verify RECEIPT --key VKEY`.

Needs Python and `cryptography`. Prints every step in English and Chinese, and names the one that failed. A receipt is
the proof of one entry, or a bundle: the proof of an event, of the keys that signed it, of texts whose digests it
states, and of a record in the manifest it names. Exit codes: 0 it holds, 4 it does not, 2 it could not be checked.
Start at `verify`.

Covered: the entry is in the log the key speaks for, its signatures hold, its actor's key is registered in the same log
earlier, the record is in the manifest. Not covered: whether that key was revoked later, and whether the log shows
others the same history; witnesses answer for that, see `--policy`.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from malan.core.catalogue import LANGUAGES, entry
from malan.core.errors import MalanError, ProofError, UsageError
from malan.core.ids import canonical_bytes, digest_bytes
from malan.core.merkle import check_inclusion, leaf_hash
from malan.ledger.envelope import open_envelope
from malan.ledger.note import NoteVerifier
from malan.ledger.policy import Policy
from malan.ledger.receipt import KIND as TLOG_PROOF
from malan.ledger.receipt import Proved, check_receipt
from malan.ledger.statement import Statement

KIND = "malan-receipt/v1"
LARGEST_BYTES = 16 * 1024 * 1024
MOST_KEYS = 16

_KEY_EVENTS = ("key.register", "key.rotate")
_BEFORE_KEYS = ("log.start", *_KEY_EVENTS)  # may be signed by a key that is registered by them or after them

Say = Callable[[str, Mapping[str, Any]], None]
Check = Callable[[bytes], Proved]


@dataclass(frozen=True)
class Verified:
    """What a receipt proves: the entry and where it is; the event in it, unless it is of another kind of log."""

    proved: Proved
    event: Statement | None
    record: bytes | None = None


def verify(
    data: bytes, verifiers: Sequence[NoteVerifier] = (), *, policy: Policy | None = None, say: Say | None = None
) -> Verified:
    """Check a receipt or a bundle of receipts.

    Args:
        data: The file.
        verifiers: Keys trusted to sign for their log.
        policy: Further logs, and which witnesses must have cosigned.
        say: Told the message code and values of each step that holds, in order.

    Raises:
        ProofError: It does not hold; the message says which part and why.
    """
    said = say or (lambda *_: None)

    def check(receipt: bytes) -> Proved:
        return check_receipt(receipt, verifiers, policy=policy)

    if data.startswith(TLOG_PROOF.encode()):
        return _verify_event(data, check, said)
    return _verify_bundle(_read_bundle(data), check, said)


def _verify_event(receipt: bytes, check: Check, say: Say) -> Verified:
    """In the log, and signed by whom it says."""
    with _Part("event"):
        proved = check(receipt)
        checkpoint, witnesses = proved.checkpoint, [one.verifier.name for one in proved.accepted.cosignatures]
        say("verify.checkpoint", {"origin": checkpoint.origin, "size": checkpoint.size})
        if witnesses:
            say("verify.witnessed", {"count": len(witnesses), "names": ", ".join(witnesses)})
        else:
            say("verify.self_attested", {})
        say("verify.included", {"index": proved.index, "size": checkpoint.size, "steps": "RFC 6962"})
        if not proved.entry.startswith(b'{"payload"'):
            say("verify.opaque", {"size": len(proved.entry)})
            return Verified(proved, None)
        event = _signed_statement(proved.entry)
        about = ", ".join(subject.urn for subject in event.subjects)
        say("verify.signed", {"key": event.actor.key_id, "role": event.actor.role})
        say("verify.event", {"kind": event.kind, "time": event.time, "about": about})
        return Verified(proved, event)


def _verify_bundle(bundle: Mapping[str, Any], check: Check, say: Say) -> Verified:
    verified = _verify_event(_utf8(bundle["event"]), check, say)
    if verified.event is None:
        raise ProofError("verify.not_event")
    if "keys" in bundle:
        _verify_keys(verified, [_utf8(text) for text in bundle["keys"]], check, say)
    for name, text in bundle.get("attached", {}).items():
        with _Part(f"attached.{name}"):
            digest = digest_bytes(_utf8(text))
            if verified.event.facts.get(name) != digest:
                raise ProofError("verify.attached", name=name, digest=digest)
            say("verify.attachment", {"name": name, "digest": digest})
    if "manifest" not in bundle:
        return verified
    with _Part("manifest"):
        record = _verify_record(bundle["manifest"], verified.event)
        say("verify.record", {"index": bundle["manifest"]["index"], "size": bundle["manifest"]["size"]})
        say("verify.manifest", {"root": bundle["manifest"]["root"]})
        return Verified(verified.proved, verified.event, record)


def _verify_keys(verified: Verified, receipts: Sequence[bytes], check: Check, say: Say) -> None:
    """The actor's key must have been registered in the same log before, by an event it signed itself."""
    event, registered = verified.event, set()
    for number, receipt in enumerate(receipts):
        with _Part(f"keys[{number}]"):
            registration = check(receipt)
            stated = _signed_statement(registration.entry)
            key_id = str(stated.facts.get("key"))
            if registration.checkpoint.origin != verified.proved.checkpoint.origin:
                raise ProofError("verify.other_log", origin=registration.checkpoint.origin)
            if stated.kind not in _KEY_EVENTS or key_id not in open_envelope(registration.entry).key_ids:
                raise ProofError("verify.not_registration", index=registration.index)
            is_in_time = registration.index < verified.proved.index or (event and event.kind in _BEFORE_KEYS)
            if not is_in_time:
                raise ProofError("verify.registered_later", index=registration.index, event=verified.proved.index)
            registered.add(key_id)
            say("verify.registered", {"key": key_id, "role": stated.facts.get("role"), "index": registration.index})
    if event and event.actor.key_id not in registered:
        raise ProofError("verify.unregistered", key=event.actor.key_id)


def _verify_record(manifest: Mapping[str, Any], event: Statement) -> bytes:
    """The record is in the manifest, and the event speaks of that manifest."""
    leaf = _utf8(manifest["leaf"]) if "leaf" in manifest else _leaf_of(manifest["record"])
    root = bytes.fromhex(manifest["root"])
    proof = [bytes.fromhex(node) for node in manifest["proof"]]
    check_inclusion(leaf_hash(leaf), manifest["index"], manifest["size"], proof, root)
    if manifest["root"] not in {*(one.sha256 for one in event.subjects), *(one.sha256 for one in event.inputs)}:
        raise ProofError("verify.manifest_root", root=manifest["root"])
    return leaf


def _signed_statement(data: bytes) -> Statement:
    envelope = open_envelope(data)
    statement = Statement.parse(envelope.payload)
    if statement.actor.key_id not in envelope.key_ids:
        raise ProofError("event.actor", actor=statement.actor.key_id)
    return statement


def _read_bundle(data: bytes) -> dict[str, Any]:
    """A bundle whose every field is understood and of the right type."""
    try:
        value = json.loads(data, object_pairs_hook=_no_key_twice)
    except (ValueError, RecursionError) as error:
        raise ProofError("verify.not_receipt") from error
    if not isinstance(value, dict) or value.get("type") != KIND:
        raise ProofError("verify.not_receipt")
    _must("bundle", set(value) <= {"type", "event", "keys", "attached", "manifest"})
    _must("event", isinstance(value.get("event"), str))
    keys = value.get("keys", [])
    _must("keys", isinstance(keys, list) and len(keys) <= MOST_KEYS and all(isinstance(key, str) for key in keys))
    attached = value.get("attached", {})
    is_text = isinstance(attached, dict) and all(isinstance(text, str) for text in attached.values())
    _must("attached", is_text and len(attached) <= MOST_KEYS)
    if "manifest" in value:
        _check_manifest(value["manifest"])
    return value


def _check_manifest(value: Any) -> None:
    _must("manifest", isinstance(value, dict))
    _must("manifest", set(value) in ({"root", "index", "size", "proof", name} for name in ("leaf", "record")))
    for name in ("index", "size"):
        _must(f"manifest.{name}", type(value[name]) is int)
    _must("manifest.root", _is_hash(value["root"]))
    proof = value["proof"]
    _must("manifest.proof", isinstance(proof, list) and len(proof) < 64 and all(map(_is_hash, proof)))
    _must("manifest.leaf", isinstance(value.get("leaf", ""), str))


def _leaf_of(record: Any) -> bytes:
    try:
        return canonical_bytes(record)
    except (ValueError, RecursionError) as error:
        raise ProofError("verify.field", where="manifest.record") from error


def _utf8(text: str) -> bytes:
    """JSON may hold half a character; what was signed never does, so it may become anything."""
    return text.encode("utf-8", "replace")


def _is_hash(value: Any) -> bool:
    return isinstance(value, str) and len(value) == 64 and set(value) <= set("0123456789abcdef")


def _must(where: str, holds: bool) -> None:
    if not holds:
        raise ProofError("verify.field", where=where)


def _no_key_twice(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    if len(dict(pairs)) != len(pairs):
        raise ValueError
    return dict(pairs)


class _Part:
    """Says which part of a receipt an error inside the block belongs to."""

    def __init__(self, name: str) -> None:
        self._name = name

    def __enter__(self) -> None:
        return

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: object) -> None:
        if isinstance(error, ProofError):
            error.values.setdefault("part", self._name)


def main(argv: Sequence[str] | None = None) -> int:
    """The command; returns its exit code."""
    given = _arguments(argv)
    try:
        data = _read(given.receipt, LARGEST_BYTES)
        policy = Policy.parse(_read(given.policy, LARGEST_BYTES)) if given.policy else None
        if not given.key and not (policy and policy.logs):
            raise UsageError("ledger.no_key")
        verify(data, [NoteVerifier.parse(key) for key in given.key], policy=policy, say=_print_step)
    except MalanError as error:
        _print(
            "✗", error.values.get("part"), [f"{error.message(lang)} {error.hint(lang)}".strip() for lang in LANGUAGES]
        )
        return error.exit_code
    _print("✓", None, [entry("verify.holds").text(lang) for lang in LANGUAGES])
    return 0


def _arguments(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m malan.ledger.verify", description=entry("verify.help").text("en"))
    parser.add_argument("receipt", type=Path, metavar="RECEIPT")
    parser.add_argument("--key", action="append", default=[], metavar="VKEY")
    parser.add_argument("--policy", type=Path, metavar="FILE")
    return parser.parse_args(argv)


def _read(path: Path, most_bytes: int) -> bytes:
    try:
        with path.open("rb") as file:
            data = file.read(most_bytes + 1)
    except OSError as error:
        raise UsageError("verify.unreadable", path=path, detail=error.strerror) from error
    if len(data) > most_bytes:
        raise UsageError("verify.unreadable", path=path, detail=f"> {most_bytes} B")
    return data


def _print_step(code: str, values: Mapping[str, Any]) -> None:
    _print("✓", None, [entry(code).text(lang, values) for lang in LANGUAGES])


def _print(mark: str, part: str | None, texts: Sequence[str]) -> None:
    lines = list(_lines(mark, part, texts))
    sys.stdout.buffer.write("".join(f"{line}\n" for line in lines).encode())
    sys.stdout.flush()


def _lines(mark: str, part: str | None, texts: Sequence[str]) -> Iterator[str]:
    for number, text in enumerate(texts):
        where = f"{part}: " if part and number == 0 else ""
        yield f"{mark if number == 0 else ' '} {where}{text}"


if __name__ == "__main__":
    sys.exit(main())
