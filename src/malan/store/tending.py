"""Keeping Lance tables fast: indexes when a table is made, compaction while it grows.

Every write adds a fragment that no index covers yet; searches stay right, because Lance scans it, but become slower.
Start reading at `tend`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import datetime, timedelta
from itertools import pairwise
from typing import Any

from malan.store.tables import INDEXES

_MOST_SMALL = 24  # fragments that wait to be put together
_ENOUGH_ROWS: Mapping[str, int] = {"packet_indexes": 500, "thumbnails": 4000, "extras": 1000}  # rows that are heavy
_ENOUGH_ROWS_ELSE = 50_000  # a fragment of so many is left as it is: nothing is rewritten again and again
_MOST_SEGMENTS, _MERGED_SEGMENTS = 12, 8  # of one index; the newest are merged, so that the large ones seldom are
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


def needs_tending(name: str, table: Any) -> bool:
    enough = _ENOUGH_ROWS.get(name, _ENOUGH_ROWS_ELSE)
    small = [part for part in table.get_fragments() if part.metadata.physical_rows < enough]
    return len(small) > _MOST_SMALL


def tend(name: str) -> Callable[[Any], None]:
    """What puts small fragments of a table together, indexes all its rows and removes versions nobody reads.

    Cost follows what was written since the last time, not the size of the table.
    """

    def work(table: Any) -> None:
        table.optimize.compact_files(target_rows_per_fragment=_ENOUGH_ROWS.get(name, _ENOUGH_ROWS_ELSE))
        table.optimize.optimize_indices(num_indices_to_merge=0)
        if max((len(index.segments) for index in table.describe_indices()), default=0) > _MOST_SEGMENTS:
            table.optimize.optimize_indices(num_indices_to_merge=_MERGED_SEGMENTS)
        _index_vectors(table)
        forgotten = _left_long_ago(table)
        if forgotten:
            table.cleanup_old_versions(versions=forgotten)

    return work


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
