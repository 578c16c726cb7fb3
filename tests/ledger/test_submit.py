"""A log asks its witnesses over real connections: honest ones, ones that lie, and ones that are not there."""

from __future__ import annotations

from pathlib import Path

import pytest
from drawn_log import ORIGIN, DrawnLog
from loopback import Answer, Asked, answering, saying

from malan.core.errors import MalanError, ProofError
from malan.ledger.cosign import Cosigner
from malan.ledger.policy import Policy
from malan.ledger.submit import collect_cosignatures, submit_checkpoint
from malan.ledger.witness import SIZE_TYPE, Witness

LOG = DrawnLog(40)
COSIGNERS = [Cosigner.from_private(f"w{i}.example", bytes([i]) * 32, lambda: 1_700_000_000) for i in range(1, 4)]


def _serve(witness: Witness, asked: Asked) -> Answer:
    assert asked.path == "/add-checkpoint"
    answer = witness.add_checkpoint(asked.body)
    return Answer(answer.status, answer.body, answer.content_type)


def _witness(folder: Path, number: int = 0) -> Witness:
    return Witness(folder / str(number), COSIGNERS[number], {ORIGIN: LOG.keys})


@pytest.mark.parametrize("old_size", [0, 7, 9])
def test_a_log_gets_its_cosignature_whatever_it_guesses(tmp_path: Path, old_size: int) -> None:
    witness = _witness(tmp_path)
    witness.cosign_log(LOG.at(7))
    policy = Policy.at_least(1, [COSIGNERS[0].verifier], logs=LOG.keys)
    with answering(lambda asked: _serve(witness, asked)) as url:
        note = submit_checkpoint(url + "/", LOG.note(), LOG.prove_consistency, COSIGNERS[0].verifier, old_size=old_size)
    assert policy.accept(note).checkpoint == LOG.checkpoint()


def test_a_log_that_lost_entries_learns_it(tmp_path: Path) -> None:
    witness = _witness(tmp_path)
    witness.cosign_log(LOG)
    with answering(lambda asked: _serve(witness, asked)) as url, pytest.raises(ProofError) as refused:
        submit_checkpoint(url, LOG.at(7).note(), LOG.prove_consistency, COSIGNERS[0].verifier)
    assert refused.value.code == "witness.ahead"


def test_a_log_with_another_story_of_the_same_size_learns_it(tmp_path: Path) -> None:
    witness, fork = _witness(tmp_path), DrawnLog(40, story="other ", since=3)
    witness.cosign_log(LOG)
    with answering(lambda asked: _serve(witness, asked)) as url, pytest.raises(ProofError) as refused:
        submit_checkpoint(url, fork.note(), fork.prove_consistency, COSIGNERS[0].verifier)
    assert refused.value.code == "witness.conflict"


def test_a_log_with_another_past_learns_it(tmp_path: Path) -> None:
    witness, fork = _witness(tmp_path), DrawnLog(40, story="other ", since=3)
    witness.cosign_log(LOG.at(30))
    with answering(lambda asked: _serve(witness, asked)) as url, pytest.raises(ProofError) as refused:
        submit_checkpoint(url, fork.note(), fork.prove_consistency, COSIGNERS[0].verifier)
    assert refused.value.code == "witness.proof_refused"


@pytest.mark.parametrize(
    ("answer", "code"),
    [
        (Answer(200, b""), "note.no_signatures"),
        (Answer(200, b"\xff"), "witness.answer"),
        (Answer(200, b"yes\n"), "note.signature_line"),
        (Answer(200, COSIGNERS[1].sign(LOG.checkpoint().text()).encode()), "note.unverified"),
        (Answer(200, COSIGNERS[0].sign(LOG.at(3).checkpoint().text()).encode()), "note.bad_signature"),
        (Answer(200, b"x" * 100_000), "http.too_long"),
        (Answer(301, headers={"Location": "http://127.0.0.1:1/"}), "witness.refused"),
        (Answer(404, b"no \x1b[31msuch log\n"), "witness.refused"),
        (Answer(403), "witness.refused"),
        (Answer(409, b"12\n"), "witness.refused"),
        (Answer(409, b"twelve\n", SIZE_TYPE), "checkpoint.size"),
        (Answer(409, b"12", SIZE_TYPE), "witness.answer"),
        (Answer(409, b"12\n13\n", SIZE_TYPE), "witness.answer"),
        (Answer(409, b"99\n", SIZE_TYPE), "witness.ahead"),
        (Answer(409, b"0\n", SIZE_TYPE), "witness.conflict"),
        (Answer(422, b"no"), "witness.proof_refused"),
        (Answer(500), "witness.later"),
        (Answer(429), "witness.later"),
    ],
)
def test_a_wrong_answer_is_named(answer: Answer, code: str) -> None:
    with answering(lambda _: answer) as url, pytest.raises(MalanError) as refused:
        submit_checkpoint(url, LOG.note(), LOG.prove_consistency, COSIGNERS[0].verifier)
    assert refused.value.code == code
    assert "\x1b" not in str(refused.value)


def test_a_witness_that_moves_on_for_ever_is_left() -> None:
    sizes = iter(range(1, 40))
    with (
        answering(lambda _: Answer(409, f"{next(sizes)}\n".encode(), SIZE_TYPE)) as url,
        pytest.raises(MalanError) as refused,
    ):
        submit_checkpoint(url, LOG.note(), LOG.prove_consistency, COSIGNERS[0].verifier)
    assert refused.value.code == "witness.contended"


def test_witnesses_that_fail_do_not_hold_up_the_others(tmp_path: Path) -> None:
    witnesses = [_witness(tmp_path, i) for i in range(2)]
    witnesses[1].cosign_log(LOG.at(11))
    with (
        answering(lambda asked: _serve(witnesses[0], asked)) as first,
        answering(lambda asked: _serve(witnesses[1], asked)) as second,
        saying(hold_open=True) as silent,
    ):
        lines = [
            f"witness w{i} {c.vkey} {u}"
            for i, (c, u) in enumerate(zip(COSIGNERS, (first, second, silent), strict=True))
        ]
        lines += [f"log {LOG.signer.vkey}", "group two 2 w0 w1 w2", "quorum two"]
        policy = Policy.parse("".join(f"{line}\n" for line in lines).encode())
        got = collect_cosignatures(LOG.note(), policy, LOG.prove_consistency, timeout_s=4)
    assert got.cosigned_by == ("w0", "w1")
    assert {name: error.code for name, error in got.failures.items()} == {"w2": "http.slow"}
    assert [each.verifier.name for each in policy.accept(got.note).cosignatures] == ["w1.example", "w2.example"]


def test_without_addresses_nobody_is_asked() -> None:
    policy = Policy.at_least(1, [COSIGNERS[0].verifier], logs=LOG.keys)
    assert collect_cosignatures(LOG.note(), policy, LOG.prove_consistency).note == LOG.note()
