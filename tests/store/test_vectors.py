"""An index of vectors: exact while small, in partitions when large, thrown away without a trace."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from malan.core.errors import NotFound, StoreError, UsageError
from malan.store.vectors import IndexFacts, VectorIndex, indexes_below

MODEL = "ab" * 32


def units(count: int, width: int, seed: int = 1) -> np.ndarray:
    drawn = np.random.default_rng(seed).standard_normal((count, width)).astype(np.float32)
    return drawn / np.linalg.norm(drawn, axis=1, keepdims=True)


def ids(count: int, first: int = 0) -> list[str]:
    return [f"{first + number:064x}" for number in range(count)]


def an_index(root: Path, width: int = 8) -> VectorIndex:
    index = VectorIndex(root, MODEL)
    index.begin(IndexFacts(MODEL, "eye@1", width))
    return index


def test_the_nearest_come_first_with_their_likeness(tmp_path: Path) -> None:
    index, vectors = an_index(tmp_path), units(300, 8)
    index.put(ids(300), vectors)
    found, likeness = index.nearest(vectors[42], 10)
    truth = np.argsort(-(vectors @ vectors[42]))[:10]
    assert found == [ids(300)[place] for place in truth]
    assert likeness[0] == pytest.approx(1, abs=1e-5)
    assert likeness.tolist() == sorted(likeness.tolist(), reverse=True)


def test_written_twice_is_there_once(tmp_path: Path) -> None:
    index, vectors = an_index(tmp_path), units(20, 8)
    index.put(ids(20), vectors)
    index.put(ids(20), vectors[::-1])
    assert index.count() == 20
    assert np.allclose(index.vectors([ids(20)[0]])[ids(20)[0]], vectors[19])


def test_what_is_forgotten_is_not_found(tmp_path: Path) -> None:
    index, vectors = an_index(tmp_path), units(20, 8)
    index.put(ids(20), vectors)
    index.forget(ids(5))
    assert index.ids() == set(ids(15, 5))
    assert not set(ids(5)) & set(index.nearest(vectors[0], 20)[0])


def test_only_some_clips_may_be_compared(tmp_path: Path) -> None:
    index, vectors = an_index(tmp_path), units(50, 8)
    index.put(ids(50), vectors)
    found, likeness = index.among(vectors[3], [ids(50)[9], ids(50)[3], "f" * 64])
    assert found == [ids(50)[3], ids(50)[9]]
    assert likeness[1] == pytest.approx(float(vectors[9] @ vectors[3]), abs=1e-5)


def test_many_vectors_are_partitioned_and_still_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("malan.store.vectors._MANY", 900)
    index = an_index(tmp_path, 16)
    centres = units(30, 16)
    near = centres[np.arange(1200) % 30] + 0.1 * units(1200, 16, 3)
    vectors = (near / np.linalg.norm(near, axis=1, keepdims=True)).astype(np.float32)
    for at in range(0, 1200, 400):
        index.put(ids(400, at), vectors[at : at + 400])
    index.tend()
    index.tend()
    kept = []
    for place in range(0, 1200, 40):
        truth = {ids(1, int(one))[0] for one in np.argsort(-(vectors @ vectors[place]))[:10]}
        kept.append(len(truth & set(index.nearest(vectors[place], 20)[0])) / 10)
    assert np.mean(kept) > 0.8


def test_vectors_of_another_width_are_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError):
        an_index(tmp_path).put(ids(2), units(2, 9))


def test_an_index_that_is_not_there_says_so(tmp_path: Path) -> None:
    index = VectorIndex(tmp_path, MODEL)
    assert index.nearest(units(1, 8)[0], 5)[0] == []
    with pytest.raises(NotFound):
        _ = index.facts
    with pytest.raises(ValueError, match=r"\.\."):
        VectorIndex(tmp_path, "../../etc")


def test_a_damaged_index_is_told(tmp_path: Path) -> None:
    index = an_index(tmp_path)
    (tmp_path / MODEL / "about.json").write_text('{"model": 1')
    with pytest.raises(StoreError):
        _ = index.facts


def test_dropped_is_gone(tmp_path: Path) -> None:
    index = an_index(tmp_path)
    index.put(ids(3), units(3, 8))
    assert [one.facts.model for one in indexes_below(tmp_path)] == [MODEL]
    index.drop()
    assert list(indexes_below(tmp_path)) == []
    assert list(tmp_path.iterdir()) == []
