"""What a music-lm is taught and what we read of it are the same tokens, though the recipe shares no code with us."""

from __future__ import annotations

import importlib.util
import sys
from importlib import resources
from types import ModuleType

import numpy as np
import pytest

from malan.inference import music_lm


@pytest.fixture(scope="module")
def recipe() -> ModuleType:
    place = resources.files("malan.training").joinpath("algorithms/music-lm/notes.py")
    spec = importlib.util.spec_from_file_location("music_lm_notes", str(place))
    assert spec
    assert spec.loader
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


def test_the_vocabulary_is_one(recipe: ModuleType) -> None:
    assert (recipe.VOCABULARY, recipe.QUARTER, recipe.DRUMS) == (
        music_lm.VOCABULARY, music_lm.QUARTER, music_lm.DRUMS,
    )  # fmt: skip


def test_both_read_the_same_notes_whatever_the_tokens(recipe: ModuleType) -> None:
    lots = np.random.default_rng(3)
    for _ in range(200):
        tokens = lots.integers(0, recipe.VOCABULARY, 80).tolist()
        ours = [tuple(note) for note in music_lm.read_tokens(tokens)]
        assert ours == [tuple(note) for note in recipe.from_tokens(tokens)]


def test_what_is_said_is_read_back(recipe: ModuleType) -> None:
    notes = [recipe.Note(0, 12, 60, 0), recipe.Note(0, 24, 64, 0), recipe.Note(100, 6, 36, recipe.DRUMS)]
    assert [tuple(note) for note in music_lm.read_tokens(recipe.to_tokens(notes))] == [tuple(note) for note in notes]
