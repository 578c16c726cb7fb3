"""Terms say whether a model is tried for what it learned by heart; it is among what is enforced."""

from __future__ import annotations

from dataclasses import replace
from datetime import date

import pytest

from malan.core import Terms
from malan.core.errors import UsageError
from malan.rights.common_ground import looser, meet
from malan.rights.decide import MEMORISATION, compile_terms, constraints
from malan.rights.odrl import from_odrl, to_odrl
from malan.rights.terms import read_terms

GIVEN = Terms("f" * 64, "terms", ("train",))


def shown(terms: Terms) -> tuple[str, str] | None:
    return next(((one.value, one.mark) for one in constraints(terms) if one.name == "memorisation"), None)


def test_it_is_asked_for_unless_the_terms_say_otherwise() -> None:
    assert shown(GIVEN) == ("checked", "enforced")
    assert shown(replace(GIVEN, memorisation="strict")) == ("strict", "enforced")
    assert shown(replace(GIVEN, uses=("retrieve",))) is None


def test_what_is_not_known_is_refused_and_denies() -> None:
    with pytest.raises(UsageError):
        read_terms({"uses": ["train"], "memorisation": "a little"}, "owner", "file", "terms")
    from malan.rights.decide import Use

    decision = compile_terms(replace(GIVEN, memorisation="a little")).decide(Use("train", date(2026, 1, 1)))
    assert [one.code for one in decision.reasons] == ["rights.not_understood"]


@pytest.mark.parametrize("mine", [None, *MEMORISATION])
@pytest.mark.parametrize("theirs", [None, *MEMORISATION])
def test_of_two_owners_the_more_careful_one_is_heard(mine: str | None, theirs: str | None) -> None:
    common = meet([replace(GIVEN, memorisation=one) for one in (mine, theirs)], "f" * 64, "both")
    ranks = [MEMORISATION.index(one or "checked") for one in (mine, theirs)]
    assert MEMORISATION.index(common.memorisation or "checked") == max(ranks)
    offered, given = (replace(GIVEN, memorisation=one) for one in (mine, theirs))
    assert ("memorisation" in looser(offered, given)) == (ranks[0] < ranks[1])


@pytest.mark.parametrize("said", MEMORISATION)
def test_it_travels_as_odrl(said: str) -> None:
    assert from_odrl(to_odrl(replace(GIVEN, memorisation=said))).memorisation == said


def test_terms_of_before_keep_their_name() -> None:
    assert replace(GIVEN, memorisation=None).id == GIVEN.id != replace(GIVEN, memorisation="strict").id
