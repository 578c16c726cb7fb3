"""A witness to the letter of the standard, asked by honest logs, by liars, and by many at once."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path

import pytest
from drawn_log import ORIGIN, DrawnLog
from hypothesis import given, settings
from hypothesis import strategies as st

from malan.core.errors import ProofError, StoreError
from malan.ledger.checkpoint import Checkpoint
from malan.ledger.cosign import Cosigner, cosignatures
from malan.ledger.note import NoteSigner, open_note, parse_note, sign_note
from malan.ledger.split_view import SplitView
from malan.ledger.witness import LARGEST_REQUEST_BYTES, Witness, WitnessAnswer, request_body

LOG = DrawnLog(40)
COSIGNER = Cosigner.from_private("witness.example", b"\x09" * 32, lambda: 1_700_000_000)


@pytest.fixture
def witness(tmp_path: Path) -> Witness:
    return Witness(tmp_path / "witness", COSIGNER, {ORIGIN: LOG.keys})


def _ask(witness: Witness, log: DrawnLog, old_size: int, new_size: int) -> WitnessAnswer:
    proof = log.prove_consistency(old_size, new_size) if old_size <= new_size else []
    return witness.add_checkpoint(request_body(old_size, proof, log.at(new_size).note()))


def test_the_first_checkpoint_of_a_known_log_is_cosigned(witness: Witness) -> None:
    answer = _ask(witness, LOG, 0, 7)
    assert answer.status == 200
    note = open_note(LOG.at(7).note() + answer.body, [COSIGNER.verifier])
    assert [each.time_s for each in cosignatures(note, [COSIGNER.verifier])] == [1_700_000_000]
    assert witness.last(ORIGIN) == LOG.at(7).checkpoint()


@settings(deadline=None, max_examples=40)
@given(st.lists(st.integers(1, 40), min_size=1, max_size=6, unique=True).map(sorted))
def test_every_honest_growth_is_cosigned(tmp_path_factory: pytest.TempPathFactory, sizes: list[int]) -> None:
    witness = Witness(tmp_path_factory.mktemp("witness"), COSIGNER, {ORIGIN: LOG.keys})
    for old, new in pairwise([0, *sizes]):
        assert _ask(witness, LOG, old, new).status == 200


def test_the_empty_log_is_a_log_too(witness: Witness) -> None:
    assert _ask(witness, LOG, 0, 0).status == 200
    assert _ask(witness, LOG, 0, 5).status == 200


def test_the_same_checkpoint_may_be_cosigned_again(witness: Witness) -> None:
    assert _ask(witness, LOG, 0, 7).status == 200
    assert _ask(witness, LOG, 7, 7).status == 200


def test_asking_on_and_on_costs_no_signature_and_no_write(tmp_path: Path) -> None:
    clock = iter([100, 101, 105, 106, 106, 50, 50])  # each answer looks at it once, a new signature twice
    witness = Witness(tmp_path, Cosigner.from_private("w", b"\x09" * 32, lambda: next(clock)), {ORIGIN: LOG.keys})
    first = _ask(witness, LOG, 0, 7)
    (state,) = tmp_path.glob("*.note")
    written = state.stat().st_ino
    assert [_ask(witness, LOG, 7, 7), _ask(witness, LOG, 7, 7)] == [first, first]
    assert state.stat().st_ino == written
    later = _ask(witness, LOG, 7, 7)
    assert later.body != first.body
    assert _ask(witness, LOG, 7, 7).body not in (first.body, later.body)  # the clock was set back: the answer says so


def test_a_wrong_old_size_is_told_the_size_last_cosigned(witness: Witness) -> None:
    _ask(witness, LOG, 0, 7)
    for old, new in ((0, 9), (6, 9), (8, 9), (0, 7), (3, 5)):
        assert _ask(witness, LOG, old, new) == WitnessAnswer(409, b"7\n", "text/x.tlog.size")


def test_an_old_size_beyond_the_checkpoint_is_a_bad_request(witness: Witness) -> None:
    assert _ask(witness, LOG, 8, 7).status == 400


def test_an_unknown_log_is_not_found(witness: Witness) -> None:
    stranger = DrawnLog(3, signer=NoteSigner.generate("stranger.example"))
    assert _ask(witness, stranger, 0, 3).status == 404


def test_a_checkpoint_the_log_has_not_signed_is_forbidden(witness: Witness) -> None:
    forged = DrawnLog(3, signer=NoteSigner.generate(ORIGIN))
    assert _ask(witness, forged, 0, 3).status == 403
    broken = LOG.at(3).note().replace(b"\n3\n", b"\n4\n")
    assert witness.add_checkpoint(request_body(0, [], broken)).status == 403
    assert witness.last(ORIGIN) is None


def test_a_signature_of_a_stranger_beside_that_of_the_log_is_ignored_and_not_kept(witness: Witness) -> None:
    text = LOG.at(3).checkpoint().text()
    note = sign_note(text, [NoteSigner.generate("stranger.example"), LOG.signer])
    assert witness.add_checkpoint(request_body(0, [], note)).status == 200
    assert [s.name for s in parse_note(witness.last_note(ORIGIN) or b"").signatures] == [ORIGIN, "witness.example"]


def test_a_log_that_changes_its_key_goes_on_with_the_new_one(tmp_path: Path) -> None:
    new_key = NoteSigner.generate(ORIGIN)
    _ask(Witness(tmp_path, COSIGNER, {ORIGIN: LOG.keys}), LOG, 0, 7)
    after = Witness(tmp_path, COSIGNER, {ORIGIN: [new_key.verifier]})
    rekeyed = DrawnLog(40, signer=new_key)
    assert _ask(after, rekeyed, 7, 9).status == 200
    assert _ask(after, LOG, 9, 12).status == 403


def test_a_witness_that_changes_its_key_believes_what_the_former_one_remembered(tmp_path: Path) -> None:
    _ask(Witness(tmp_path, COSIGNER, {ORIGIN: LOG.keys}), LOG, 0, 7)
    after = Cosigner.generate("witness.example", lambda: 1)
    with pytest.raises(ProofError):
        Witness(tmp_path, after, {ORIGIN: LOG.keys}).last(ORIGIN)
    renewed = Witness(tmp_path, after, {ORIGIN: LOG.keys}, former=[COSIGNER.verifier])
    assert _ask(renewed, LOG, 7, 9).status == 200


@settings(deadline=None, max_examples=40)
@given(st.data())
def test_a_proof_with_anything_changed_is_unprocessable(
    tmp_path_factory: pytest.TempPathFactory, data: st.DataObject
) -> None:
    witness = Witness(tmp_path_factory.mktemp("witness"), COSIGNER, {ORIGIN: LOG.keys})
    old = data.draw(st.integers(1, 38))
    new = data.draw(st.integers(old + 1, 40))
    _ask(witness, LOG, 0, old)
    proof = LOG.prove_consistency(old, new)
    at = data.draw(st.integers(0, len(proof) - 1))
    changes: list[Callable[[], object]] = [
        lambda: proof.pop(at),
        lambda: proof.insert(at, bytes(32)),
        lambda: proof.__setitem__(at, bytes([proof[at][0] ^ 1]) + proof[at][1:]),
    ]
    data.draw(st.sampled_from(changes))()
    answer = witness.add_checkpoint(request_body(old, proof, LOG.at(new).note()))
    assert answer.status == 422
    assert witness.last(ORIGIN) == LOG.at(old).checkpoint()
    assert not list(witness.split_views())


def test_as_many_proof_lines_as_the_standard_allows_are_read(witness: Witness) -> None:
    _ask(witness, LOG, 0, 1)
    assert witness.add_checkpoint(request_body(1, [bytes(32)] * 63, LOG.at(3).note())).status == 422


def test_a_proof_from_nothing_must_be_empty(witness: Witness) -> None:
    assert witness.add_checkpoint(request_body(0, [bytes(32)], LOG.at(3).note())).status == 422


def test_two_trees_of_one_size_are_never_both_cosigned_and_the_log_is_convicted(witness: Witness) -> None:
    fork = DrawnLog(40, story="other ", since=5)
    _ask(witness, LOG, 0, 7)
    for old in (7, 0, 3):
        answer = _ask(witness, fork, old, 7)
        assert answer == WitnessAnswer(409, b"7\n", "text/x.tlog.size")
    (split,) = witness.split_views()
    assert split.check(LOG.keys).size == 7
    assert (split.shorter.startswith(LOG.at(7).note()), split.longer) == (True, fork.at(7).note())
    assert witness.last(ORIGIN) == LOG.at(7).checkpoint()


def test_a_log_that_grew_from_another_past_is_convicted_by_its_own_proof(witness: Witness) -> None:
    fork = DrawnLog(40, story="other ", since=5)
    _ask(witness, LOG, 0, 7)
    assert _ask(witness, fork, 7, 20).status == 422
    (split,) = witness.split_views()
    assert split.check(LOG.keys).size == 7
    assert split.root == fork.root(7)


def test_a_log_that_splits_for_ever_does_not_fill_the_disk(witness: Witness) -> None:
    _ask(witness, LOG, 0, 7)
    for i in range(30):
        _ask(witness, DrawnLog(7, story=f"{i} ", since=5), 7, 7)
    assert len(list(witness.split_views())) == 16


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"old 0",
        b"old 0\n",
        b"old 0\n\n",
        b"old 00\n\n" + LOG.at(3).note(),
        b"old -1\n\n" + LOG.at(3).note(),
        b"old  0\n\n" + LOG.at(3).note(),
        b"Old 0\n\n" + LOG.at(3).note(),
        b"old 0 \n\n" + LOG.at(3).note(),
        b"old 0\r\n\r\n" + LOG.at(3).note(),
        b"old 99999999999999999999\n\n" + LOG.at(3).note(),
        b"old 9999999999999999999\n\n" + LOG.at(3).note(),
        b"old 0\nAAAA\n\n" + LOG.at(3).note(),
        b"old 0\n!!!!\n\n" + LOG.at(3).note(),
        request_body(1, [bytes(32)] * 64, LOG.at(3).note()),
        request_body(0, [], LOG.at(3).note()[:-2]),
        request_body(0, [], b"a\n\n" + sign_note("no checkpoint\n", [LOG.signer])),
        request_body(0, [], LOG.at(3).note()) + b"\x00",
        b"\xff" * 100,
        b"x" * (LARGEST_REQUEST_BYTES + 1),
    ],
)
def test_a_malformed_request_is_a_bad_request(witness: Witness, body: bytes) -> None:
    assert witness.add_checkpoint(body).status == 400


@settings(deadline=None, max_examples=40)
@given(st.binary(max_size=500))
def test_garbage_never_breaks_the_witness(tmp_path_factory: pytest.TempPathFactory, body: bytes) -> None:
    witness = Witness(tmp_path_factory.mktemp("witness"), COSIGNER, {ORIGIN: LOG.keys})
    assert witness.add_checkpoint(body).status == 400


REQUEST = request_body(5, LOG.prove_consistency(5, 9), LOG.at(9).note())


@settings(deadline=None, max_examples=40)
@given(st.integers(0, len(REQUEST) - 1), st.integers(1, 255))
def test_one_changed_byte_in_a_request_is_never_cosigned(
    tmp_path_factory: pytest.TempPathFactory, position: int, flip: int
) -> None:
    witness = Witness(tmp_path_factory.mktemp("witness"), COSIGNER, {ORIGIN: LOG.keys})
    _ask(witness, LOG, 0, 5)
    changed = bytearray(REQUEST)
    changed[position] ^= flip
    assert witness.add_checkpoint(bytes(changed)).status in (400, 403, 404, 409, 422)
    assert witness.last(ORIGIN) == LOG.at(5).checkpoint()


def test_a_state_changed_from_outside_stops_the_witness_for_that_log_alone(tmp_path: Path) -> None:
    other = DrawnLog(3, signer=NoteSigner.generate("other.example"))
    witness = Witness(tmp_path, COSIGNER, {ORIGIN: LOG.keys, "other.example": other.keys})
    _ask(witness, LOG, 0, 7)
    (state,) = tmp_path.glob("*.note")
    good = state.read_bytes()
    for position in range(0, len(good), 7):
        state.write_bytes(good[:position] + bytes([good[position] ^ 1]) + good[position + 1 :])
        if _state_is_refused(witness):
            with pytest.raises(ProofError, match="changed from outside"):
                _ask(witness, LOG, 7, 9)
        else:  # the line of the log now names a key nobody knows; what was cosigned still stands
            assert witness.last(ORIGIN) == LOG.at(7).checkpoint()
    state.write_bytes(good[:-1])
    with pytest.raises(ProofError):
        witness.last(ORIGIN)
    assert _ask(witness, other, 0, 3).status == 200


def _state_is_refused(witness: Witness) -> bool:
    try:
        witness.last(ORIGIN)
    except ProofError:
        return True
    return False


def test_nothing_is_signed_when_the_state_cannot_be_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    witness = Witness(tmp_path, COSIGNER, {ORIGIN: LOG.keys})
    _ask(witness, LOG, 0, 7)

    def full(_: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(StoreError):
        _ask(witness, LOG, 7, 9)
    monkeypatch.undo()
    assert witness.last(ORIGIN) == LOG.at(7).checkpoint()
    assert _ask(witness, LOG, 7, 9).status == 200


def test_many_at_once_only_ever_move_forward(tmp_path: Path) -> None:
    """Every thread has its own witness over one folder, as processes would."""
    answers: list[tuple[int, int, WitnessAnswer]] = []

    def climb() -> None:
        mine = Witness(tmp_path, COSIGNER, {ORIGIN: LOG.keys})
        for new in range(1, 41):
            last = mine.last(ORIGIN)
            old = last.size if last else 0
            if old <= new:
                answers.append((old, new, _ask(mine, LOG, old, new)))

    threads = [threading.Thread(target=climb) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert {answer.status for _, _, answer in answers} <= {200, 409}
    assert Witness(tmp_path, COSIGNER, {ORIGIN: LOG.keys}).last(ORIGIN) == LOG.checkpoint()


def test_a_race_between_two_stories_has_one_winner(tmp_path: Path) -> None:
    for size in range(1, 25):
        stories = [DrawnLog(size, story=name, since=size - 1) for name in ("a ", "b ")]
        signer = DrawnLog(size, signer=NoteSigner.generate("race.example")).signer
        witness = Witness(tmp_path / str(size), COSIGNER, {"race.example": [signer.verifier]})
        signed: list[bytes] = []
        barrier = threading.Barrier(2)

        def submit(
            story: DrawnLog,
            witness: Witness = witness,
            signer: NoteSigner = signer,
            signed: list[bytes] = signed,
            barrier: threading.Barrier = barrier,
        ) -> None:
            story.signer = signer
            barrier.wait()
            answer = _ask(witness, story, 0, len(story.leaves))
            if answer.status == 200:
                signed.append(story.checkpoint().root)

        threads = [threading.Thread(target=submit, args=[story]) for story in stories]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert len(signed) == 1
        assert len(list(witness.split_views())) == 1


KILLED = """
import sys
from pathlib import Path
from malan.ledger.cosign import Cosigner
from malan.ledger.witness import Witness, request_body
sys.path.insert(0, sys.argv[2])
from drawn_log import ORIGIN, DrawnLog

log = DrawnLog(300)
cosigner = Cosigner.from_private("witness.example", bytes([9]) * 32, lambda: 1)
witness = Witness(Path(sys.argv[1]), cosigner, {ORIGIN: log.keys})
while True:
    last = witness.last(ORIGIN)
    old = last.size if last else 0
    new = old % 300 + 1
    if new <= old:
        break
    answer = witness.add_checkpoint(request_body(old, log.prove_consistency(old, new), log.at(new).note()))
    assert answer.status == 200
    print(new, flush=True)
"""


def test_a_killed_witness_remembers_everything_it_answered(tmp_path: Path) -> None:
    log = DrawnLog(300)
    answered = 0
    for lines in (1, 5, 9, 2):
        child = subprocess.Popen(
            [sys.executable, "-c", KILLED, str(tmp_path), str(Path(__file__).parent)], stdout=subprocess.PIPE, text=True
        )
        assert child.stdout
        for _ in range(lines):
            answered = int(child.stdout.readline())
        child.send_signal(signal.SIGKILL)
        rest = child.stdout.read().splitlines()
        child.stdout.close()
        child.wait()
        answered = int(rest[-1]) if rest else answered
        last = Witness(tmp_path, COSIGNER, {ORIGIN: log.keys}).last(ORIGIN)
        assert last is not None
        assert last.size >= answered
        assert last == log.at(last.size).checkpoint()


def test_a_log_at_hand_is_cosigned_without_any_network(witness: Witness) -> None:
    assert witness.cosign_log(LOG.at(7)).status == 200
    assert witness.cosign_log(LOG.at(7)).status == 200
    assert witness.cosign_log(LOG.at(30)).status == 200
    with pytest.raises(ProofError) as refused:
        witness.cosign_log(LOG.at(8))
    assert refused.value.code == "witness.rolled_back"
    assert witness.cosign_log(DrawnLog(35, story="other ", since=11)).status == 422
    assert len(list(witness.split_views())) == 1


@pytest.mark.parametrize("size", [4, 7, 8, 16])
def test_a_forked_log_at_hand_is_convicted_whatever_its_length(tmp_path: Path, size: int) -> None:
    witness = Witness(tmp_path, COSIGNER, {ORIGIN: LOG.keys})
    witness.cosign_log(LOG.at(size))
    assert witness.cosign_log(DrawnLog(30, story="other ", since=2)).status == 422
    (split,) = witness.split_views()
    assert split.check(LOG.keys).size == size


def test_a_damaged_copy_convicts_nobody(witness: Witness) -> None:
    witness.cosign_log(LOG.at(7))
    damaged = LOG.at(30)
    note = damaged.note()
    damaged.leaves[3] = bytes(32)
    damaged.note = lambda: note  # type: ignore[method-assign]
    assert witness.cosign_log(damaged).status == 422
    assert not list(witness.split_views())


def test_a_split_view_is_evidence_for_anyone_and_one_changed_byte_is_not(witness: Witness) -> None:
    _ask(witness, LOG, 0, 7)
    _ask(witness, DrawnLog(20, story="other ", since=5), 7, 20)
    (split,) = witness.split_views()
    data = split.to_bytes()
    assert SplitView.parse(data) == split
    for position in range(0, len(data), 11):
        changed = data[:position] + bytes([data[position] ^ 1]) + data[position + 1 :]
        try:
            other = SplitView.parse(changed)
            other.check(LOG.keys)
        except ProofError:
            continue
        assert (other.shorter != split.shorter) != (other.longer != split.longer)  # the line of another key


def test_two_true_checkpoints_convict_nobody() -> None:
    for shorter, longer in ((7, 7), (7, 20), (0, 20), (8, 20)):
        proof = tuple(LOG.prove_consistency(shorter, longer))
        split = SplitView(LOG.at(shorter).note(), LOG.at(longer).note(), LOG.root(shorter), proof)
        with pytest.raises(ProofError) as refused:
            split.check(LOG.keys)
        assert refused.value.code == "split_view.none"
    forged = DrawnLog(7, story="forged ", signer=NoteSigner.generate(ORIGIN))
    with pytest.raises(ProofError):
        SplitView(LOG.at(7).note(), forged.note(), forged.root(7)).check(LOG.keys)


def test_origins_cannot_escape_the_folder(tmp_path: Path) -> None:
    signer = NoteSigner.generate("../../x")
    log = DrawnLog(3, signer=signer)
    witness = Witness(tmp_path / "a" / "b", COSIGNER, {"../../x": log.keys})
    assert _ask(witness, log, 0, 3).status == 200
    assert {path.parent for path in tmp_path.rglob("*.note")} == {tmp_path / "a" / "b"}


def test_extension_lines_are_cosigned_with_the_rest(witness: Witness) -> None:
    base = LOG.at(7).checkpoint()
    text = Checkpoint(base.origin, base.size, base.root, ("more",)).text()
    answer = witness.add_checkpoint(request_body(0, [], sign_note(text, [LOG.signer])))
    assert answer.status == 200
    assert open_note(sign_note(text, [LOG.signer]) + answer.body, [COSIGNER.verifier])
