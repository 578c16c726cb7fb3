"""Keeping Lance tables fast: indexes when a table is made, compaction while it grows.

Every write adds a fragment that no index covers yet; searches stay right, because Lance scans it, but become slower.
Start reading at `tend`.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime, timedelta
from itertools import pairwise
from typing import Any

from malan.store.tables import INDEXES

_MOST_FRAGMENTS = 24
_MANY_VECTORS = 200_000  # comparing all of them takes a few hundredths of a second
_VECTOR_INDEX = "vector_idx"
_KEEP_OLD = timedelta(minutes=30)  # a reader may still be looking at an old version

# Words were split by `words.py`; Lance only splits at spaces and reduces English words to their stem.
_FULL_TEXT: dict[str, Any] = {
    "base_tokenizer": "whitespace",
    "language": "English",
    "stem": True,
    "remove_stop_words": False,
    "ascii_folding": True,
    "max_token_length": None,
    "with_position": False,
}


def make_indexes(name: str) -> Callable[[Any], None]:
    """What makes the indexes of a new table."""

    def work(table: Any) -> None:
        for column, kind in INDEXES[name].items():
            table.create_scalar_index(column, kind, **(_FULL_TEXT if kind == "INVERTED" else {}))

    return work


def needs_tending(table: Any) -> bool:
    return len(table.get_fragments()) > _MOST_FRAGMENTS


def tend(table: Any) -> None:
    """Compact a table, index all of its rows and remove versions nobody reads any more."""
    table.optimize.compact_files()
    table.optimize.optimize_indices()
    _index_vectors(table)
    forgotten = _left_long_ago(table)
    if forgotten:
        table.cleanup_old_versions(versions=forgotten)


def _index_vectors(table: Any) -> None:
    """Partition the descriptors once there are so many that comparing all of them is felt."""
    if "vector" not in table.schema.names or any(index.name == _VECTOR_INDEX for index in table.describe_indices()):
        return
    rows = table.count_rows("vector IS NOT NULL")
    if rows >= _MANY_VECTORS:
        partitions = round(rows**0.5)
        table.create_index("vector", "IVF_FLAT", name=_VECTOR_INDEX, metric="cosine", num_partitions=partitions)


def _left_long_ago(table: Any) -> list[int]:
    """Versions whose successor is old: the age of a version itself says nothing, it may have been current until now."""
    known = table.versions()
    limit = datetime.now() - _KEEP_OLD  # Lance, too, gives local time without a zone
    return [int(old["version"]) for old, successor in pairwise(known) if successor["timestamp"] < limit]
