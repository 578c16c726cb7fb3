"""Asking witnesses to cosign a checkpoint (C2SP tlog-witness, the side of the log).

`submit_checkpoint` asks one, `collect_cosignatures` asks all that a policy gives an address for, at the same time, and
returns the checkpoint with what it got. Nothing here writes: the log publishes.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field

from malan.core.errors import MalanError, ProofError, Rejected, RetryLater
from malan.ledger.checkpoint import Checkpoint, parse_size
from malan.ledger.cosign import add_cosignatures
from malan.ledger.note import NoteVerifier, parse_note
from malan.ledger.policy import Policy
from malan.ledger.post import DEFAULT_TIMEOUT_S, Reply, post
from malan.ledger.witness import SIZE_TYPE, TEXT_TYPE, request_body

LARGEST_ANSWER_BYTES = 64 * 1024
MOST_ROUNDS = 3
MOST_AT_ONCE = 16

Prove = Callable[[int, int], list[bytes]]


@dataclass(frozen=True)
class Collected:
    """A checkpoint note with the cosignatures that came, and for each witness (by its name in the policy) that gave
    none, why."""

    note: bytes
    cosigned_by: tuple[str, ...]
    failures: Mapping[str, MalanError] = field(default_factory=dict)


def submit_checkpoint(
    url: str,
    note: bytes,
    prove: Prove,
    witness: NoteVerifier,
    *,
    old_size: int = 0,
    timeout_s: float = DEFAULT_TIMEOUT_S,
) -> bytes:
    """The checkpoint with the cosignature of one witness added.

    Args:
        url: The submission prefix of the witness.
        note: The checkpoint, signed by the log.
        prove: Consistency proof between two sizes, such as `LogReader.prove_consistency`.
        witness: Its key; an answer that this key did not sign is refused.
        old_size: What the witness is thought to have cosigned last; a wrong guess costs one round.
        timeout_s: For each round.

    Raises:
        Rejected: The witness does not know the log or refuses the checkpoint; asking again changes nothing.
        ProofError: The witness has seen more than this checkpoint or another story, or its answer is wrong.
        RetryLater: It cannot be reached, or others ask at the same time.
    """
    checkpoint = Checkpoint.parse(parse_note(note).text)
    address = url.rstrip("/") + "/add-checkpoint"
    for _ in range(MOST_ROUNDS):
        proof = prove(old_size, checkpoint.size) if 0 < old_size < checkpoint.size else []
        body = request_body(old_size, proof, note)
        reply = post(address, body, TEXT_TYPE, timeout_s=timeout_s, most_bytes=LARGEST_ANSWER_BYTES)
        if reply.status == 200:
            return add_cosignatures(note, _text(reply, witness), [witness])
        if reply.status != 409:
            raise _refused(reply, witness, checkpoint)
        old_size = _next_size(reply, witness, checkpoint, asked=old_size)
    raise RetryLater("witness.contended", name=witness.name)


def collect_cosignatures(
    note: bytes,
    policy: Policy,
    prove: Prove,
    *,
    old_sizes: Mapping[str, int] | None = None,
    timeout_s: float = DEFAULT_TIMEOUT_S,
) -> Collected:
    """Ask every witness of a policy that has an address, at the same time; one that fails does not hold up the others.

    Args:
        note: The checkpoint, signed by the log.
        policy: Whom to ask.
        prove: Consistency proof between two sizes.
        old_sizes: What each witness (by its name in the policy) cosigned last, as far as known.
        timeout_s: For each round with each witness.
    """
    asked = [each for each in policy.witnesses if each.url]
    one_at_a_time = threading.Lock()  # readers keep tiles in memory and are not made for several threads

    def prove_alone(old_size: int, new_size: int) -> list[bytes]:
        with one_at_a_time:
            return prove(old_size, new_size)

    known = old_sizes or {}
    got: dict[str, bytes] = {}
    failures: dict[str, MalanError] = {}
    with ThreadPoolExecutor(min(MOST_AT_ONCE, max(1, len(asked)))) as pool:
        jobs = {
            each.name: pool.submit(
                submit_checkpoint,
                each.url or "",
                note,
                prove_alone,
                each.verifier,
                old_size=known.get(each.name, 0),
                timeout_s=timeout_s,
            )
            for each in asked
        }
        for name, job in jobs.items():
            try:
                got[name] = job.result()
            except MalanError as error:
                failures[name] = error
    cosigned = note
    for each in asked:
        if each.name in got:
            lines = "".join(line.line for line in parse_note(got[each.name]).signatures)
            cosigned = add_cosignatures(cosigned, lines, [each.verifier])
    return Collected(cosigned, tuple(got), failures)


def _next_size(reply: Reply, witness: NoteVerifier, checkpoint: Checkpoint, *, asked: int) -> int:
    """The size to prove from, as the witness says; equal to what was asked it means that it saw another tree."""
    if reply.content_type != SIZE_TYPE:
        raise _refused(reply, witness, checkpoint)
    line, newline, rest = _text(reply, witness).partition("\n")
    if not newline or rest:
        raise ProofError("witness.answer", name=witness.name)
    size = parse_size(line)
    if size > checkpoint.size:
        raise ProofError("witness.ahead", name=witness.name, seen=size, size=checkpoint.size)
    if size == asked:
        raise ProofError("witness.conflict", name=witness.name, origin=checkpoint.origin[:200], size=size)
    return size


def _text(reply: Reply, witness: NoteVerifier) -> str:
    try:
        return reply.body.decode()
    except UnicodeDecodeError as error:
        raise ProofError("witness.answer", name=witness.name) from error


def _refused(reply: Reply, witness: NoteVerifier, checkpoint: Checkpoint) -> Rejected | RetryLater | ProofError:
    """What a status means; the words of the other side are shown as plain text, cut short."""
    said = "".join(c for c in reply.body[:400].decode("utf-8", "replace") if c.isprintable())[:200]
    values = {"name": witness.name, "origin": checkpoint.origin[:200], "status": reply.status, "said": said}
    if reply.status == 422:
        return ProofError("witness.proof_refused", **values)
    if reply.status in (408, 425, 429) or reply.status >= 500:
        return RetryLater("witness.later", **values)
    return Rejected("witness.refused", **values)
