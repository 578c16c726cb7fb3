"""Policies: the syntax of the standard to the letter, and quorums."""

from __future__ import annotations

from itertools import combinations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from malan.core.errors import ProofError, UsageError
from malan.ledger.checkpoint import Checkpoint
from malan.ledger.cosign import Cosigner
from malan.ledger.note import NoteSigner, sign_note
from malan.ledger.policy import Policy

LOG = NoteSigner.from_private("log.example", bytes(range(32)))
OTHER_LOG = NoteSigner.from_private("other.example", bytes(range(1, 33)))
WITNESSES = [Cosigner.from_private(f"w{i}.example", bytes([i]) * 32, lambda: 1_700_000_000) for i in range(1, 7)]
TEXT = Checkpoint("log.example", 7, bytes(32)).text()
KEYS = {f"k{i}": witness.vkey for i, witness in enumerate(WITNESSES, 1)}

TWO_HOUSES = """
# Two houses, one park.
log {log} https://log.example/
witness X1 {k1}
witness X2\t{k2}   https://w2.example/witness
\t witness X3 {k3}\t
group X-witnesses 2 X1 X2 X3

witness Y1 {k4}
witness Y2 {k5}
witness 见证三 {k6}
group Y-witnesses any Y1 Y2 见证三

   # both
group X-and-Y all X-witnesses Y-witnesses
quorum X-and-Y
"""


def _policy(text: str) -> Policy:
    return Policy.parse(text.format(log=LOG.vkey, **KEYS).encode())


def _note(*witnesses: int) -> bytes:
    return sign_note(TEXT, [LOG, *(WITNESSES[i - 1] for i in witnesses)])


def test_the_example_of_the_specification_asks_for_two_of_one_house_and_one_of_the_other() -> None:
    policy = _policy(TWO_HOUSES)
    for count in range(7):
        for chosen in combinations(range(1, 7), count):
            enough = sum(i <= 3 for i in chosen) >= 2 and any(i > 3 for i in chosen)
            assert policy.holds(WITNESSES[i - 1].verifier for i in chosen) is enough


def test_a_checkpoint_with_its_quorum_is_accepted() -> None:
    accepted = _policy(TWO_HOUSES).accept(_note(1, 3, 5), origin="log.example")
    assert (accepted.checkpoint.size, accepted.log) == (7, LOG.verifier)
    assert [each.verifier.name for each in accepted.cosignatures] == ["w1.example", "w3.example", "w5.example"]
    assert not accepted.is_self_attested


def test_a_checkpoint_short_of_its_quorum_is_refused_and_says_who_is_there() -> None:
    with pytest.raises(ProofError) as refused:
        _policy(TWO_HOUSES).accept(_note(1, 2, 3))
    assert refused.value.code == "policy.quorum"
    assert refused.value.values["names"] == "X1, X2, X3"


def test_a_policy_reads_back_from_its_own_text() -> None:
    policy = _policy(TWO_HOUSES)
    assert Policy.parse(policy.text().encode()) == policy
    assert policy.witnesses[1].url == "https://w2.example/witness"


def test_quorum_none_leaves_the_log_attested_by_itself_alone() -> None:
    policy = _policy("log {log}\nquorum none\n")
    assert policy.accept(_note()).is_self_attested
    assert policy.accept(_note(1, 2)).is_self_attested


def test_cosignatures_without_the_log_are_nothing() -> None:
    note = sign_note(TEXT, [*WITNESSES])
    with pytest.raises(ProofError) as refused:
        _policy(TWO_HOUSES).accept(note)
    assert refused.value.code == "policy.log"


def test_a_known_log_does_not_vouch_for_another_log() -> None:
    policy = Policy.at_least(0, [], logs=[LOG.verifier, OTHER_LOG.verifier])
    with pytest.raises(ProofError) as refused:
        policy.accept(sign_note(TEXT, [OTHER_LOG]))
    assert refused.value.code == "policy.log"
    with pytest.raises(ProofError) as refused:
        policy.accept(_note(), origin="other.example")
    assert refused.value.code == "checkpoint.origin"


def test_a_policy_without_logs_takes_them_from_the_caller() -> None:
    policy = Policy.at_least(1, [WITNESSES[0].verifier])
    assert policy.accept(_note(1), logs=[LOG.verifier]).checkpoint.size == 7
    with pytest.raises(ProofError):
        policy.accept(_note(1))


def test_one_witness_twice_counts_once() -> None:
    policy = Policy.at_least(2, [WITNESSES[0].verifier, WITNESSES[1].verifier], logs=[LOG.verifier])
    with pytest.raises(ProofError):
        policy.accept(_note(1, 1))
    assert policy.accept(_note(1, 2))


def test_a_cosignature_from_the_future_does_not_count_when_the_time_is_known() -> None:
    policy = Policy.at_least(1, [WITNESSES[0].verifier], logs=[LOG.verifier])
    assert policy.accept(_note(1), now_s=1_700_000_000 - 300)
    with pytest.raises(ProofError):
        policy.accept(_note(1), now_s=1_700_000_000 - 301)


@settings(deadline=None)
@given(st.integers(1, 6), st.sets(st.integers(1, 6)))
def test_at_least_k_means_k_or_more(count: int, chosen: set[int]) -> None:
    policy = Policy.at_least(count, [w.verifier for w in WITNESSES])
    assert policy.holds(WITNESSES[i - 1].verifier for i in chosen) is (len(chosen) >= count)


def test_thirty_two_of_each_are_read() -> None:
    lines = [f"witness w{i} {Cosigner.generate(f'w{i}', lambda: 0).vkey}" for i in range(32)]
    lines += [f"log {NoteSigner.generate(f'l{i}').vkey}" for i in range(32)]
    lines += [f"group g{i} any w{i}" for i in range(32)] + ["quorum g31"]
    policy = Policy.parse("".join(f"{line}\n" for line in lines).encode())
    assert (len(policy.logs), len(policy.witnesses), len(policy.groups)) == (32, 32, 32)


def test_names_are_bytes_without_meaning() -> None:
    data = (
        f"witness K {KEYS['k1']}\nwitness \u212a {KEYS['k2']}\nwitness ".encode() + b"\xff\xfe " + KEYS["k3"].encode()
    )
    policy = Policy.parse(data + b"\ngroup g all K \xe2\x84\xaa \xff\xfe\nquorum g\n")
    assert len({witness.name for witness in policy.witnesses}) == 3
    with pytest.raises(ProofError) as refused:
        policy.accept(_note(3), logs=[LOG.verifier])
    assert "\ufffd" in str(refused.value)  # can be printed


@pytest.mark.parametrize(
    ("text", "code", "line"),
    [
        ("", "no_quorum", 1),
        ("log {log}\n", "no_quorum", 1),
        ("quorum none", "unterminated", 1),
        ("quorum none\nquorum none\n", "quorum_twice", 2),
        ("quorum w\nwitness w {k1}\n", "unknown", 1),
        ("group g any w\nwitness w {k1}\nquorum g\n", "unknown", 1),
        ("group g any g\nquorum g\n", "unknown", 1),
        ("witness w {k1}\ngroup g any none\nquorum g\n", "unknown", 2),
        ("witness none {k1}\nquorum none\n", "name_twice", 1),
        ("witness w {k1}\nwitness w {k2}\nquorum w\n", "name_twice", 2),
        ("witness w {k1}\ngroup w any w\nquorum w\n", "name_twice", 2),
        ("witness w {k1}\nwitness v {k1}\nquorum w\n", "key_twice", 2),
        ("log {log}\nlog {log}\nquorum none\n", "key_twice", 2),
        ("log {k1}\nquorum none\n", "key_kind", 1),
        ("witness w {log}\nquorum none\n", "key_kind", 1),
        ("log nonsense\nquorum none\n", "key", 1),
        ("witness w {k1}\ngroup g 2 w\nquorum g\n", "threshold", 2),
        ("witness w {k1}\ngroup g 0 w\nquorum g\n", "threshold", 2),
        ("witness w {k1}\ngroup g -1 w\nquorum g\n", "threshold", 2),
        ("witness w {k1}\ngroup g １ w\nquorum g\n", "threshold", 2),
        ("witness w {k1}\ngroup g all\nquorum g\n", "line", 2),
        ("witness w {k1}\ngroup g any w w\nquorum g\n", "member_twice", 2),
        ("witness w {k1}\ngroup g any w\ngroup h any w\nquorum g\n", "member_twice", 3),
        ("witness w\nquorum none\n", "line", 1),
        ("log {log} a b\nquorum none\n", "line", 1),
        ("quorum\n", "line", 1),
        ("Quorum none\n", "line", 1),
        ("mirror m {k1}\nquorum none\n", "line", 1),
        ("quorum none\r\n", "character", 1),
        ("quorum\u00a0none\n", "line", 1),
        ("quorum none\n\x00\n", "character", 2),
        ("quorum none\n\x7f\n", "character", 2),
    ],
)
def test_a_line_that_is_not_understood_refuses_the_policy(text: str, code: str, line: int) -> None:
    with pytest.raises(UsageError) as refused:
        _policy(text)
    assert refused.value.code == f"policy.{code}"
    if code != "no_quorum":
        assert refused.value.values["line"] == line


def test_a_policy_too_large_or_with_too_many_lines_is_refused() -> None:
    with pytest.raises(UsageError, match="larger"):
        Policy.parse(b"#" * 70_000 + b"\nquorum none\n")
    lines = [f"log {NoteSigner.generate(f'l{i}').vkey}\n" for i in range(129)]
    with pytest.raises(UsageError, match="one too many"):
        Policy.parse("".join(lines).encode() + b"quorum none\n")


@settings(deadline=None)
@given(st.binary(max_size=300))
def test_garbage_is_refused_or_asks_for_no_witness(data: bytes) -> None:
    try:
        policy = Policy.parse(data)
    except UsageError:
        return
    assert policy.quorum == "none"
