"""What is put aside comes back as it was, in memory or not."""

from __future__ import annotations

import numpy as np
import pytest

from malan.curation.shelf import Shelf


@pytest.mark.parametrize("packed", [False, True])
def test_what_is_put_aside_comes_back(packed: bool) -> None:
    shelf: Shelf[np.ndarray] = Shelf(2, packed=packed)
    for number in range(5):
        shelf[number] = np.full((3, 4), number)
    assert [int(shelf[number][0, 0]) for number in (4, 0, 3, 1, 2)] == [4, 0, 3, 1, 2]
    assert len(shelf) == 5


def test_what_is_forgotten_is_gone_and_may_come_again() -> None:
    shelf: Shelf[str] = Shelf(1)
    for number, word in enumerate(("one", "two", "three")):
        shelf[number] = word
    for number in (0, 1, 2, 7):
        shelf.pop(number)
    assert (1 in shelf, len(shelf)) == (False, 0)
    shelf[0], shelf[1] = "four", "five"
    shelf[1] = "six"
    assert (shelf[0], shelf[1]) == ("four", "six")
