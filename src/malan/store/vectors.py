"""Vectors of clips, one index a model, side by side below one folder.

    meaning/<digest of the model>/vectors.lance, about.json

A row is a clip and what a model says of it, nothing more: whose it is, under which terms and what else is known of it
stays in the library and is asked there, so an index may be behind the library but never says what it must not. An index
is made of what the library holds and can be thrown away at any time. Start reading at `VectorIndex`.
"""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass
from functools import lru_cache
from math import isqrt
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from malan.core.errors import NotFound, StoreError, UsageError
from malan.store.filters import one_of
from malan.store.published import Tables, told_as_store_error
from malan.store.reading import parts
from malan.store.tending import needs_tending, tend

_TABLE, _ABOUT = "vectors", "about.json"
_DIGEST = re.compile(r"[0-9a-f]{64}")
_MANY, _GROWN = 20_000, 4  # vectors worth partitions; times as many as these were made for, and they are made anew
_PROBED_SHARE = 12  # of the partitions of an index one in so many is looked into
_PARTS = "vector_idx"

Float32 = NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class IndexFacts:
    """Which model an index stands for: its digest, its name when the index was made, and how wide its vectors are."""

    model: str
    title: str
    width: int


class VectorIndex:
    """The vectors of one model.

    Args:
        root: The folder of all indexes.
        model: Digest of the model; another model, another index.
    """

    def __init__(self, root: Path, model: str) -> None:
        if not _DIGEST.fullmatch(model):
            raise ValueError(model)
        self._folder = root / model
        self._tables = _tables(self._folder)

    @property
    def facts(self) -> IndexFacts:
        """Raises:
        NotFound: There is no such index yet.
        StoreError: What it says of itself cannot be read.
        """
        try:
            return IndexFacts(**json.loads((self._folder / _ABOUT).read_bytes()))
        except FileNotFoundError as error:
            raise NotFound("meaning.no_index", model=self._folder.name[:12]) from error
        except (OSError, ValueError, TypeError) as error:
            raise StoreError("store.damaged", path=str(self._folder), detail=str(error)[:120]) from error

    def begin(self, facts: IndexFacts) -> None:
        """Say what the index is; before the first vector."""
        with told_as_store_error(self._folder):
            self._folder.mkdir(parents=True, exist_ok=True)
            (self._folder / _ABOUT).write_text(json.dumps(asdict(facts), ensure_ascii=False), "utf-8")

    def count(self) -> int:
        return self._tables.view().count(_TABLE)

    def ids(self) -> set[str]:
        """Clips that have a vector."""
        rows = self._tables.view().rows(_TABLE, columns=["clip_id"])
        return set(rows["clip_id"].to_pylist()) if rows.num_rows else set()

    def put(self, clip_ids: Sequence[str], vectors_ND: Float32) -> None:
        """Write the vectors of some clips in place of what there was; one commit.

        Raises:
            UsageError: They are not as wide as the index.
        """
        if not clip_ids:
            return
        width = self.facts.width
        if vectors_ND.shape != (len(clip_ids), width):
            raise UsageError("meaning.width", width=width, found=str(vectors_ND.shape))
        column = pa.FixedSizeListArray.from_arrays(
            pa.array(np.ascontiguousarray(vectors_ND, np.float32).ravel()), width
        )
        rows = pa.table({"clip_id": pa.array(clip_ids, pa.string()), "vector": column})
        with self._tables.change() as change:
            for part in parts(clip_ids):
                change.delete(_TABLE, one_of("clip_id", part))
            change.append(_TABLE, rows, lambda table: table.create_scalar_index("clip_id", "BTREE"))
            if needs_tending(_TABLE, change.tables[_TABLE]):
                change.edit(_TABLE, _tended)

    def forget(self, clip_ids: Iterable[str]) -> None:
        """Remove the vectors of clips."""
        with self._tables.change() as change:
            for part in parts(clip_ids):
                change.delete(_TABLE, one_of("clip_id", part))

    def tend(self) -> None:
        """Compact the table and bring its indexes up to date."""
        with self._tables.change() as change:
            if _TABLE in change.tables:
                change.edit(_TABLE, _tended)

    def nearest(self, vector: Float32, count: int) -> tuple[list[str], Float32]:
        """The clips whose vectors are nearest, and how like they are (cosine), best first."""
        table = self._tables.view().get(_TABLE)
        if table is None:
            return [], np.zeros(0, np.float32)
        asked: dict[str, Any] = {"column": "vector", "q": vector, "k": count, "metric": "cosine"}
        rows = table.count_rows()
        if rows >= _MANY:  # there are about as many partitions; asking how many exactly takes longer than searching
            asked["nprobes"] = max(1, isqrt(rows) // _PROBED_SHARE)
        with told_as_store_error(self._folder):
            rows = table.to_table(nearest=asked, columns=["clip_id", "_distance"])
        return rows["clip_id"].to_pylist(), np.asarray(1 - rows["_distance"].to_numpy(), np.float32)

    def among(self, vector: Float32, clip_ids: Iterable[str]) -> tuple[list[str], Float32]:
        """How like each of some clips is, best first; clips without a vector are left out."""
        found = self.vectors(clip_ids)
        if not found:
            return [], np.zeros(0, np.float32)
        ids = list(found)
        likeness = np.stack([found[one] for one in ids]) @ vector
        order = np.argsort(-likeness, kind="stable")
        return [ids[place] for place in order], np.asarray(likeness[order], np.float32)

    def vectors(self, clip_ids: Iterable[str]) -> dict[str, Float32]:
        """The vectors of clips; those without one are left out."""
        view, found = self._tables.view(), dict[str, Float32]()
        for part in parts(dict.fromkeys(clip_ids)):
            rows = view.rows(_TABLE, one_of("clip_id", part))
            if rows.num_rows:
                vectors_ND = rows["vector"].combine_chunks().flatten().to_numpy().reshape(rows.num_rows, -1)
                found |= dict(zip(rows["clip_id"].to_pylist(), vectors_ND, strict=True))
        return found

    def drop(self) -> None:
        """Throw the index away."""
        with told_as_store_error(self._folder):
            if self._folder.is_dir():
                shutil.rmtree(self._folder)


@lru_cache(maxsize=16)
def _tables(folder: Path) -> Tables:
    """One for all who ask, so that what was read once stays in memory."""
    return Tables(folder)


def _tended(table: Any) -> None:
    """Compacted, its indexes up to date, and vectors in partitions about as many as each of them holds vectors."""
    tend(_TABLE)(table)
    rows: int = table.count_rows()
    if rows >= _MANY and rows > _GROWN * _partitions(table) ** 2:
        parts_wanted = isqrt(rows)
        table.create_index(
            "vector", "IVF_FLAT", name=_PARTS, metric="cosine", num_partitions=parts_wanted, replace=True
        )


def _partitions(table: Any) -> int:
    """How many partitions the index of the vectors has; 0 without one."""
    if not any(index.name == _PARTS for index in table.describe_indices()):
        return 0
    said = table.stats.index_stats(_PARTS).get("indices", [])
    return max((int(one.get("num_partitions", 0)) for one in said), default=0)


def indexes_below(root: Path) -> Iterator[VectorIndex]:
    """Every index there is, in the order of the models' digests."""
    for folder in sorted(root.glob("*")) if root.is_dir() else ():
        if _DIGEST.fullmatch(folder.name) and (folder / _ABOUT).is_file():
            yield VectorIndex(root, folder.name)
