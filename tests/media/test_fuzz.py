"""A short run of the fuzzer; `python tests/fuzz_media.py --minutes N` runs it for longer."""

from __future__ import annotations

from pathlib import Path

import pytest
from fuzz_media import draw_seeds, fuzz, try_file

FOUND_ONCE = {
    "tracks that appear while reading": 1_002_036,
}


@pytest.fixture(scope="module")
def seeds(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    return draw_seeds(tmp_path_factory.mktemp("seeds"))


def test_good_files_pass(seeds: list[Path]) -> None:
    for path in seeds:
        try_file(path)


def test_broken_files_get_an_answer_and_nothing_else(seeds: list[Path]) -> None:
    found = fuzz(seeds, first=7_000, most=150, seconds=60)
    assert found.defects == {}
    assert found.cases >= 20


@pytest.mark.parametrize("what", FOUND_ONCE)
def test_what_was_found_once_stays_mended(seeds: list[Path], what: str) -> None:
    assert fuzz(seeds, first=FOUND_ONCE[what], most=1).defects == {}


def test_a_child_that_dies_is_reported_and_the_rest_goes_on(seeds: list[Path], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MALAN_FUZZ_DIE_AT", "11")
    found = fuzz(seeds, first=10, most=4)
    assert list(found.defects) == [11]
    assert found.cases == 4
