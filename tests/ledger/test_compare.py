"""Two copies of a log: the same, behind, ahead, or forked to the entry."""

from __future__ import annotations

import pytest
from drawn_log import DrawnLog
from hypothesis import given, settings
from hypothesis import strategies as st

from malan.core.errors import ProofError
from malan.ledger.compare import Relation, compare_logs
from malan.ledger.note import NoteSigner

LOG = DrawnLog(70)


def test_a_copy_may_be_the_same_or_behind_or_ahead() -> None:
    assert compare_logs(LOG.at(9), LOG.at(9), LOG.keys).relation is Relation.SAME
    assert compare_logs(LOG.at(9), LOG.at(60), LOG.keys).relation is Relation.SECOND_AHEAD
    ahead = compare_logs(LOG.at(60), LOG.at(9), LOG.keys)
    assert (ahead.relation, ahead.shared, ahead.split_view) == (Relation.FIRST_AHEAD, 9, None)
    assert compare_logs(LOG.at(0), LOG.at(0), LOG.keys).relation is Relation.SAME
    assert compare_logs(LOG.at(0), LOG.at(5), LOG.keys).relation is Relation.SECOND_AHEAD


@settings(deadline=None)
@given(st.integers(1, 70), st.integers(1, 70), st.data())
def test_a_fork_is_found_to_the_entry_and_proven(first: int, second: int, data: st.DataObject) -> None:
    since = data.draw(st.integers(0, min(first, second) - 1))
    fork = DrawnLog(second, story="other ", since=since)
    found = compare_logs(LOG.at(first), fork, LOG.keys)
    assert (found.relation, found.shared) == (Relation.FORKED, since)
    assert found.split_view
    assert found.split_view.check(LOG.keys).size == min(first, second)


def test_copies_of_different_logs_are_not_compared() -> None:
    with pytest.raises(ProofError) as refused:
        compare_logs(LOG, DrawnLog(3, signer=NoteSigner.generate("other.example")), LOG.keys)
    assert refused.value.code == "checkpoint.origin"
