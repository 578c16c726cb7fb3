from datetime import date
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from malan.core import Terms
from malan.core.errors import UsageError
from malan.rights import USES, decide, default_terms, load_terms, party_id

TODAY = date(2026, 11, 21)


def write(folder: Path, text: str) -> Path:
    path = folder / "terms.toml"
    path.write_text(text, "utf-8")
    return path


def test_terms_are_read_from_a_short_file(tmp_path: Path) -> None:
    path = write(tmp_path, 'uses = ["train", "retrieve"]\nends = 2027-12-31\n[price]\nminor = 250\n')
    terms = load_terms(path, "湖南台")
    assert terms.uses == ("retrieve", "train")
    assert (terms.ends, terms.price_minor, terms.currency) == ("2027-12-31", 250, "CNY")
    assert decide(terms, "train", on=TODAY).allowed


def test_a_use_that_is_not_named_is_refused_with_the_reason(tmp_path: Path) -> None:
    decision = decide(load_terms(write(tmp_path, 'uses = ["retrieve"]'), "a"), "train", on=TODAY)
    assert not decision.allowed
    assert decision.reasons[0].text("zh") == "条款“terms”不允许“train”。"


def test_terms_past_their_end_are_refused(tmp_path: Path) -> None:
    terms = load_terms(write(tmp_path, 'uses = ["train"]\nends = 2026-11-20'), "a")
    assert [reason.code for reason in decide(terms, "train", on=TODAY).reasons] == ["rights.expired"]
    assert decide(terms, "train", on=date(2026, 11, 20)).allowed


@pytest.mark.parametrize("line", ['moon_phase = "full"', "[limits]\nclip_minutes = 5", "[walls]\nheight = 3"])
def test_a_condition_that_is_not_understood_denies_everything(tmp_path: Path, line: str) -> None:
    terms = load_terms(write(tmp_path, f'uses = ["train"]\n{line}'), "a")
    assert [reason.code for reason in decide(terms, "train", on=TODAY).reasons] == ["rights.not_understood"]


def test_a_named_purpose_binds_and_silence_does_not_meet_it(tmp_path: Path) -> None:
    terms = load_terms(write(tmp_path, 'uses = ["train"]\npurposes = ["research"]\nterritories = ["CN"]'), "a")
    assert not decide(terms, "train", on=TODAY, territory="CN").allowed
    assert decide(terms, "train", on=TODAY, purpose="research", territory="CN").allowed


@pytest.mark.parametrize(
    "text",
    [
        "",
        "uses = []",
        'uses = ["fly"]',
        "uses = 3",
        'uses = ["train"]\nstarts = 2027-01-01\nends = 2026-01-01',
        'uses = ["train"]\n[price]\nminor = -1',
        'uses = ["train"]\n[price]\nminor = 2.5',
        'uses = ["train"]\nends = "soon"',
        'uses = ["train"]\n[limits]\nruns = true',
        'uses = ["train"]\n[price]\ncurrency = "yuan"',
        "uses = [",
        "name = 3",
    ],
)
def test_impossible_terms_are_refused_when_read(tmp_path: Path, text: str) -> None:
    with pytest.raises(UsageError):
        load_terms(write(tmp_path, text), "a")


def test_a_missing_or_binary_file_of_terms_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError):
        load_terms(tmp_path / "none.toml", "a")
    (tmp_path / "terms.toml").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(UsageError):
        load_terms(tmp_path / "terms.toml", "a")


def test_the_same_name_typed_otherwise_is_the_same_party() -> None:
    assert party_id("湖南台 ＴＶ") == party_id("  湖南台 tv ")
    with pytest.raises(UsageError):
        party_id("  ")


def test_footage_without_terms_may_be_used_in_house_only() -> None:
    terms = default_terms("湖南台")
    allowed = {use for use in USES if decide(terms, use, on=TODAY).allowed}
    assert allowed == {"retrieve", "derive", "export"}


@given(
    uses=st.lists(st.sampled_from(USES)),
    use=st.text(max_size=9),
    other=st.dictionaries(st.text(), st.text(), max_size=2),
    ends=st.dates(),
)
def test_nothing_is_allowed_that_is_not_named_in_time_and_understood(
    uses: list[str], use: str, other: dict[str, str], ends: date
) -> None:
    terms = Terms("o", "t", tuple(uses), ends=ends.isoformat(), other=other)
    expected = use in uses and not other and ends >= TODAY
    assert decide(terms, use, on=TODAY).allowed == expected
