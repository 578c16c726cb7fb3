"""Licences of weights: a table of uses and answers; what is not known allows nothing."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from malan.core.catalogue import LANGUAGES
from malan.core.errors import UsageError
from malan.models.licences import (
    ACTIONS,
    EU,
    WeightUse,
    check_licence,
    decide_licence,
    find_licence,
    is_as_strict,
    licences,
)

HUNYUAN, STABILITY, LLAMA = "tencent-hunyuan-community", "stability-ai-community", "llama3.1"
MILLION = frozenset({"usd_a_year<=1000000"})
USERS = frozenset({"users_a_month<=100000000"})
LLAMAS = frozenset({"users_a_month<=700000000"})

TABLE = [
    ("Apache-2.0", WeightUse("export"), None),
    ("apache-2.0", WeightUse("teach"), None),
    ("MIT", WeightUse("merge"), None),
    ("CC-BY-NC-4.0", WeightUse("apply"), "licence.no_commercial"),
    ("CC-BY-NC-4.0", WeightUse("apply", is_commercial=False), None),
    ("CC-BY-ND-4.0", WeightUse("apply"), None),
    ("CC-BY-ND-4.0", WeightUse("train"), "licence.no_derivatives"),
    ("CC-BY-ND-4.0", WeightUse("merge"), "licence.no_derivatives"),
    (HUNYUAN, WeightUse("apply", confirmed=USERS), "licence.territory_unsaid"),
    (HUNYUAN, WeightUse("apply", territory="CN", confirmed=USERS), None),
    (HUNYUAN, WeightUse("apply", territory="CN"), "licence.limit"),
    (HUNYUAN, WeightUse("apply", territory="DE", confirmed=USERS), "licence.territory"),
    (HUNYUAN, WeightUse("apply", False, "GB"), "licence.territory"),
    (HUNYUAN, WeightUse("apply", False, "KR"), "licence.territory"),
    (HUNYUAN, WeightUse("teach", False, "CN"), "licence.no_teaching"),
    (HUNYUAN, WeightUse("teach", False, "CN", family="hunyuan"), None),
    (STABILITY, WeightUse("apply"), "licence.limit"),
    (STABILITY, WeightUse("apply", confirmed=MILLION), None),
    (STABILITY, WeightUse("apply", confirmed=USERS), "licence.limit"),
    (STABILITY, WeightUse("teach", False, family="wan"), "licence.no_teaching"),
    ("LTX-2", WeightUse("train", confirmed=frozenset({"usd_a_year<=10000000"})), None),
    ("LTX-2", WeightUse("train"), "licence.limit"),
    ("cogvideox", WeightUse("apply", False), None),
    ("cogvideox", WeightUse("apply"), "licence.limit"),
    (LLAMA, WeightUse("export", confirmed=LLAMAS, name="夜景"), "licence.name"),
    (LLAMA, WeightUse("export", confirmed=LLAMAS, name="Llama-夜景"), None),
    (LLAMA, WeightUse("teach", confirmed=LLAMAS), None),
    ("llama2", WeightUse("teach", confirmed=LLAMAS), "licence.no_teaching"),
    ("house", WeightUse("export"), "licence.no_redistribution"),
    ("house", WeightUse("apply"), None),
    ("agreement", WeightUse("export"), None),
    ("WTFPL-but-not-really", WeightUse("apply", False), "licence.unknown"),
    ("", WeightUse("apply", False), "licence.unknown"),
]


@pytest.mark.parametrize(("licence", "use", "refusal"), TABLE)
def test_a_licence_answers(licence: str, use: WeightUse, refusal: str | None) -> None:
    decision = decide_licence(licence, use)
    assert decision.allowed == (refusal is None)
    if refusal:
        assert refusal in {reason.code for reason in decision.reasons}


def test_every_ground_is_listed_in_both_languages() -> None:
    decision = decide_licence(HUNYUAN, WeightUse("teach", territory="FR"))
    assert len(decision.reasons) == 3
    for reason in decision.reasons:
        for lang in LANGUAGES:
            assert "Hunyuan" in reason.text(lang)
            assert "?" not in reason.text(lang)


def test_the_union_has_27_members_and_every_one_is_excluded() -> None:
    assert len(EU) == 27
    assert all(not decide_licence(HUNYUAN, WeightUse("apply", False, code)).allowed for code in EU)


def test_every_licence_of_the_table_is_complete() -> None:
    for name, licence in licences().items():
        check_licence(name)
        assert licence.title
        assert licence.url.startswith(("https://", "docs/"))
        assert licence.commercial in ("yes", "no", "below")
        assert (licence.commercial == "below") == (licence.limit is not None)
        assert licence.teaches in ("yes", "no", "same")
        assert licence.teaches != "same" or licence.family
        assert find_licence(name.upper()) == licence


@given(st.text(max_size=40), st.sampled_from(ACTIONS))
def test_what_is_not_in_the_table_allows_nothing(name: str, action: str) -> None:
    if find_licence(name) is None:
        assert not decide_licence(name, WeightUse(action, False, "CN")).allowed


@pytest.mark.parametrize("territory", ["cn", "China", "C", "", "CNN", "C1"])
def test_a_place_is_a_code_of_two_letters(territory: str) -> None:
    with pytest.raises(UsageError):
        WeightUse("apply", territory=territory)


def test_there_is_no_other_action() -> None:
    with pytest.raises(UsageError):
        WeightUse("steal")


@pytest.mark.parametrize("name", ["", " ", "a\nb", "x" * 81, "中文", "a/b"])
def test_what_cannot_be_a_name_of_a_licence_is_refused(name: str) -> None:
    with pytest.raises(UsageError):
        check_licence(name)


STRICTER = [
    ("MIT", "Apache-2.0", True),
    ("Apache-2.0", "CC-BY-NC-4.0", False),
    ("CC-BY-NC-4.0", "Apache-2.0", True),
    ("ltx-2", "Apache-2.0", True),
    ("Apache-2.0", "ltx-2", False),
    ("ltx-2", "stability-community", False),
    (HUNYUAN, "Apache-2.0", True),
    ("CC-BY-NC-4.0", HUNYUAN, False),
    ("MIT", "CC-BY-SA-4.0", False),
    ("CC-BY-SA-4.0", "CC-BY-SA-4.0", True),
    ("house", "Apache-2.0", True),
    ("Apache-2.0", "house", False),
    ("none-such", "none-such", True),
    ("MIT", "none-such", False),
]


@pytest.mark.parametrize(("ours", "theirs", "wanted"), STRICTER)
def test_a_result_promises_no_more_than_its_parts(ours: str, theirs: str, wanted: bool) -> None:
    assert is_as_strict(ours, theirs) is wanted
    if wanted and find_licence(ours):
        for action in ACTIONS:
            for use in (WeightUse(action), WeightUse(action, False), WeightUse(action, False, "CN", name="Llama")):
                assert decide_licence(theirs, use).allowed or not decide_licence(ours, use).allowed
