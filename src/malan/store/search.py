"""Finding clips by words, by what was measured and by likeness.

A query is plain data; thresholds are part of it, so changing one never touches the footage. What may be seen is
decided by the caller: it names the terms that allow the use. Start reading at `find_clips`.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from math import ceil
from typing import Any

import numpy as np

from malan.core.errors import NotFound, UsageError
from malan.store import tables
from malan.store.evidence import evidence_of
from malan.store.filters import all_of, literal, one_of
from malan.store.published import View
from malan.store.query import MOST_ON_PAGE, ORDERS, ClipHit, ClipPage, ClipQuery, check
from malan.store.rows import ClipRow
from malan.store.words import query_words

REACH = 10_000  # clips that one query looks at in order; beyond it, pages end and totals say "at least"
_BROWSED = 2000  # clips in order when a page of the newest is asked for, at least
_AT_ONCE = 1000  # rows in memory while all matches are streamed
_COMPARED_ONE_BY_ONE = 100_000  # descriptors
_RELAXED_REACH = 1000  # clips with only some of the words
_NOT_SHOWN = ("words", "start_s", "end_s", "duration_s")
_SHOWN = [name for name in tables.SCHEMAS["clips"].names if name not in _NOT_SHOWN]


def find_clips(view: View, query: ClipQuery) -> ClipPage:
    """One page of the clips that match, best first; without words or likeness, the newest asset first.

    Raises:
        UsageError: A bound is not a number, a measure is not known, there are too many words.
        NotFound: `similar_to` names no clip.
    """
    began = time.perf_counter()
    check(query)
    words = query_words(query.text)
    table = view.get("clips")
    if table is None or query.terms_ids == () or (query.text.strip() and not words):
        return ClipPage((), 0, True, False, None, _ms_since(began))
    where = _where(view, query)
    ranked = _ranked(view, table, query, words, where)
    chosen, more = _page(view, table, ranked, query)
    hits = _hits(view, table, ranked, chosen, query, where, words)
    reached = query.offset + len(chosen)
    relaxed = any(not hit.has_all_words for hit in hits)
    return ClipPage(hits, ranked.total, ranked.is_total_exact, relaxed, reached if more else None, _ms_since(began))


def all_clips(view: View, query: ClipQuery) -> Iterator[ClipRow]:
    """Every clip that matches, streamed; a text must match with all of its words."""
    check(query)
    if query.similar_to is not None:
        raise UsageError("store.likeness_endless")
    words = query_words(query.text)
    table = view.get("clips")
    if table is None or query.terms_ids == () or (query.text.strip() and not words):
        return
    where = _where(view, query)
    matching = {"full_text_query": _match(words, every=True), "prefilter": True} if words else {}
    columns = ["_score"] if words else []
    row_ids = table.to_table(filter=where, columns=columns, with_row_id=True, **matching)["_rowid"].to_numpy()
    for begin in range(0, len(row_ids), _AT_ONCE):
        rows = _take(table, row_ids[begin : begin + _AT_ONCE], _SHOWN).to_pylist()
        groups = _groups_of(view, [row["id"] for row in rows])
        yield from (tables.clip_from_arrow(row, groups.get(row["id"])) for row in rows)


def clips_among(view: View, query: ClipQuery, clip_ids: Sequence[str]) -> set[str]:
    """Those of some clips that a query allows; its words, order and page are not asked."""
    check(query)
    table = view.get("clips")
    if table is None or query.terms_ids == ():
        return set()
    where, found = _where(view, query), set[str]()
    for begin in range(0, len(clip_ids), _AT_ONCE):
        some = one_of("id", clip_ids[begin : begin + _AT_ONCE])
        found |= set(table.to_table(filter=all_of([where, some]), columns=["id"])["id"].to_pylist())
    return found


def few_clips(view: View, query: ClipQuery, most: int) -> list[str] | None:
    """The ids of all clips that a query allows, where there are at most so many; else None."""
    check(query)
    table = view.get("clips")
    if table is None or query.terms_ids == ():
        return []
    where = _where(view, query)
    if where is None or table.count_rows(where) > most:
        return None
    found: list[str] = table.to_table(filter=where, columns=["id"])["id"].to_pylist()
    return found


@dataclass(frozen=True)
class _Ranked:
    """Row ids of the answer in order, with scores; from `strict` on, clips have only some of the words."""

    row_ids: np.ndarray
    scores: np.ndarray
    strict: int
    total: int
    is_total_exact: bool


# What must hold -------------------------------------------------------------------------------------------------------


def _where(view: View, query: ClipQuery) -> str | None:
    """The filter of a query. Only `literal` and `one_of` bring values in."""
    measured = view.tables["clips"].schema.names  # an older Malan may have made the table
    parts = [
        one_of("owner_id", query.owner_ids) if query.owner_ids else None,
        one_of("asset_id", query.asset_ids) if query.asset_ids else None,
        None if query.terms_ids is None else one_of("terms_id", query.terms_ids),
        _bound("duration_s", ">=", query.min_duration_s),
        _bound("duration_s", "<=", query.max_duration_s),
        _bound("added_s", ">=", query.added_from_s),
        _bound("added_s", "<=", query.added_until_s),
        *(_bound(name, ">=", value) if name in measured else "false" for name, value in sorted(query.at_least.items())),
        *(_bound(name, "<=", value) if name in measured else "false" for name, value in sorted(query.at_most.items())),
        _has_all("tags", query.tags),
        _has_all("labels", query.labels),
        _has("speech_share", query.has_speech),
        _has("caption_share", query.has_captions),
        None if query.group_id is None else _in_group(view, query.group_id),
    ]
    return all_of(parts)


def _bound(column: str, comparison: str, value: float | None) -> str | None:
    return None if value is None else f"{column} {comparison} {literal(float(value))}"


def _has_all(column: str, values: Sequence[str]) -> str | None:
    """All of the values are in the list. One condition each: that is what the label index answers."""
    return all_of(f"array_has_any({column}, [{literal(value)}])" for value in values)


def _has(column: str, wanted: bool | None) -> str | None:
    if wanted is None:
        return None
    return f"{column} > 0" if wanted else f"{column} IS NULL OR {column} = 0"


def _in_group(view: View, group_id: str) -> str:
    rows = view.rows("groups", f"group_id = {literal(group_id)}", ["clip_id"])
    return one_of("id", rows["clip_id"].to_pylist() if rows.num_rows else [])


# In which order -------------------------------------------------------------------------------------------------------


def _ranked(view: View, table: Any, query: ClipQuery, words: Sequence[str], where: str | None) -> _Ranked:
    if query.similar_to is not None:
        return _by_likeness(table, query.similar_to, words, where)
    if query.order:
        return _by_columns(table, ORDERS[query.order], words, where)
    if words:
        return _by_words(table, words, where, query.offset + query.limit)
    return _newest(view, table, where, query.offset + query.limit)


def _by_columns(table: Any, order: list[tuple[str, str]], words: Sequence[str], where: str | None) -> _Ranked:
    """Clips ordered by what their columns hold; with words, those that have all of them."""
    columns = [name for name, _ in order]
    if words:
        matching, _ = _matching(table, words, where, REACH, every=True)
        found = _take(table, matching, columns)
    else:
        found = table.to_table(filter=where, columns=columns, with_row_id=True)
    row_ids = found.sort_by(order)["_rowid"].to_numpy()[:REACH]
    is_exact = not words or found.num_rows < REACH
    return _Ranked(row_ids, np.zeros(len(row_ids)), len(row_ids), found.num_rows, is_exact)


def _by_words(table: Any, words: Sequence[str], where: str | None, needed: int) -> _Ranked:
    """Clips with all words; if those do not fill the page, then clips with some of them, which come after."""
    row_ids, scores = _matching(table, words, where, REACH, every=True)
    strict = len(row_ids)
    if strict < needed and len(words) > 1:
        some_ids, some_scores = _matching(table, words, where, strict + _RELAXED_REACH, every=False)
        new = ~np.isin(some_ids, row_ids)
        row_ids, scores = np.concatenate([row_ids, some_ids[new]]), np.concatenate([scores, some_scores[new]])
    return _Ranked(row_ids, scores, strict, strict, strict < REACH)


def _matching(
    table: Any, words: Sequence[str], where: str | None, limit: int, *, every: bool
) -> tuple[np.ndarray, np.ndarray]:
    """Row ids and BM25 scores, best first."""
    match = _match(words, every=every)
    found = table.to_table(
        full_text_query=match, filter=where, prefilter=True, columns=["_score"], limit=limit, with_row_id=True
    )
    return found["_rowid"].to_numpy(), found["_score"].to_numpy()


def _match(words: Sequence[str], *, every: bool) -> Any:
    """The words as Lance's query: data, not syntax; nothing in a word has a meaning."""
    from lance.query import FullTextOperator, MatchQuery

    operator = FullTextOperator.AND if every else FullTextOperator.OR
    return MatchQuery(" ".join(words), "words", operator=operator)


def _newest(view: View, table: Any, where: str | None, needed: int) -> _Ranked:
    """Clips of the asset that came last, in order of time; then of the one before.

    Where much matches, only as many assets are looked at as should fill some pages: a library is not sorted for one.
    """
    total, reach = table.count_rows(where), min(REACH, max(_BROWSED, 8 * needed))
    if total > 4 * reach:
        newest = _newest_assets(view, share=2 * reach / total)
        row_ids = _in_order(table, all_of([where, one_of("asset_id", newest)]))
        if len(row_ids) >= reach:
            return _Ranked(row_ids[:reach], np.zeros(reach), reach, total, True)
    row_ids = _in_order(table, where)[:REACH]
    return _Ranked(row_ids, np.zeros(len(row_ids)), len(row_ids), total, True)


def _newest_assets(view: View, share: float) -> list[str]:
    assets = view.rows("assets", columns=["id", "added_s"])
    if assets.num_rows == 0:
        return []
    order = [("added_s", "descending"), ("id", "ascending")]
    return [str(id) for id in assets.sort_by(order)["id"][: ceil(share * assets.num_rows)].to_pylist()]


def _in_order(table: Any, where: str | None) -> np.ndarray:
    """Row ids, newest asset first, in order of time within it. Ids are compared once an asset, not once a clip."""
    found = table.to_table(filter=where, columns=["added_s", "asset_id", "start_s"], with_row_id=True)
    assets = found["asset_id"].combine_chunks().dictionary_encode()
    rank = np.argsort(np.argsort(assets.dictionary.to_numpy(zero_copy_only=False)))
    asset = rank[assets.indices.to_numpy()] if found.num_rows else np.empty(0, np.int64)
    order = np.lexsort((found["start_s"].to_numpy(), asset, -found["added_s"].to_numpy()))
    row_ids: np.ndarray = found["_rowid"].to_numpy()[order]
    return row_ids


def _by_likeness(table: Any, clip_id: str, words: Sequence[str], where: str | None) -> _Ranked:
    """Clips in the order of the angle between descriptors; with words, only those that have all of them."""
    own_row, vector = _vector_of(table, clip_id)
    if words:
        row_ids, _ = _matching(table, words, where, REACH, every=True)
        row_ids, likeness = _likeness_of(table, row_ids, vector)
    else:
        row_ids, likeness = _nearest(table, vector, where)
    other = (row_ids != own_row) & ~np.isnan(likeness)
    row_ids, likeness = row_ids[other], likeness[other]
    return _Ranked(row_ids, likeness, len(row_ids), len(row_ids), len(row_ids) < MOST_ON_PAGE)


def _vector_of(table: Any, clip_id: str) -> tuple[int, np.ndarray]:
    """Row id and descriptor of a clip."""
    has_vectors = "vector" in table.schema.names
    columns = ["vector"] if has_vectors else ["id"]
    rows = table.to_table(filter=f"id = {literal(clip_id)}", columns=columns, with_row_id=True)
    if rows.num_rows == 0:
        raise NotFound("store.clip_unknown", id=clip_id)
    if not has_vectors or rows["vector"][0].as_py() is None:
        raise UsageError("store.no_descriptor", id=clip_id)
    return rows["_rowid"][0].as_py(), np.asarray(rows["vector"][0].as_py(), np.float32)


def _nearest(table: Any, vector: np.ndarray, where: str | None) -> tuple[np.ndarray, np.ndarray]:
    """Row ids and likeness, best first.

    Through the partitions of the vector index, which hold nearly all of the nearest; but they may hold few of those
    that a narrow filter leaves, so what is left is compared one by one where it is not too much.
    """
    by_index = where is None or table.count_rows(where) > _COMPARED_ONE_BY_ONE
    nearest = {"column": "vector", "q": vector, "k": MOST_ON_PAGE, "metric": "cosine", "use_index": by_index}
    found = table.to_table(nearest=nearest, filter=where, prefilter=True, columns=["_distance"], with_row_id=True)
    return found["_rowid"].to_numpy(), 1 - found["_distance"].to_numpy()


def _likeness_of(table: Any, row_ids: np.ndarray, vector: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The cosine of every row's descriptor with a vector, best first; rows without one are left out."""
    rows = _take(table, row_ids, ["vector"])
    rows = rows.filter(rows["vector"].is_valid())
    vectors_RD = rows["vector"].combine_chunks().flatten().to_numpy().reshape(rows.num_rows, len(vector))
    lengths = np.linalg.norm(vectors_RD, axis=1) * np.linalg.norm(vector)
    likeness = np.divide(vectors_RD @ vector, lengths, out=np.zeros(rows.num_rows, np.float32), where=lengths > 0)
    order = np.argsort(-likeness, kind="stable")
    return rows["_rowid"].to_numpy()[order], likeness[order]


# One page of it -------------------------------------------------------------------------------------------------------


def _page(view: View, table: Any, ranked: _Ranked, query: ClipQuery) -> tuple[list[int], bool]:
    """Positions in the order that the page shows, and whether there are more."""
    begin, end = query.offset, query.offset + query.limit
    if not query.fold_duplicates or view.get("groups") is None:
        return list(range(begin, min(end, len(ranked.row_ids)))), len(ranked.row_ids) > end
    first_of_group: list[int] = []
    seen: set[str] = set()
    for position, group_id in _with_groups(view, table, ranked.row_ids, chunk=2 * query.limit + 50):
        if group_id not in seen:
            first_of_group.append(position)
            if len(first_of_group) > end:
                break
        if group_id is not None:
            seen.add(group_id)
    return first_of_group[begin:end], len(first_of_group) > end


def _with_groups(view: View, table: Any, row_ids: np.ndarray, chunk: int) -> Iterator[tuple[int, str | None]]:
    """Each position with the group of its clip, looked up in parts: mostly the first part is enough."""
    for begin in range(0, len(row_ids), chunk):
        rows = _take(table, row_ids[begin : begin + chunk], ["id"])
        id_of = dict(zip(rows["_rowid"].to_pylist(), rows["id"].to_pylist(), strict=True))
        groups = _groups_of(view, list(id_of.values()))
        for position in range(begin, min(begin + chunk, len(row_ids))):
            yield position, groups.get(id_of[int(row_ids[position])])


def _groups_of(view: View, clip_ids: Sequence[str]) -> dict[str, str]:
    rows = view.rows("groups", one_of("clip_id", clip_ids)).to_pylist()
    return {row["clip_id"]: row["group_id"] for row in rows}


def _hits(
    view: View,
    table: Any,
    ranked: _Ranked,
    chosen: Sequence[int],
    query: ClipQuery,
    where: str | None,
    words: Sequence[str],
) -> tuple[ClipHit, ...]:
    if not chosen:
        return ()
    row_ids = ranked.row_ids[list(chosen)]
    by_row = {row["_rowid"]: row for row in _take(table, row_ids, _SHOWN).to_pylist()}
    groups = _groups_of(view, [row["id"] for row in by_row.values()])
    sizes = _group_sizes(view, set(groups.values()), where) if query.fold_duplicates else {}
    hits = []
    for position, row_id in zip(chosen, row_ids, strict=True):
        row = tables.clip_from_arrow(by_row[int(row_id)], groups.get(by_row[int(row_id)]["id"]))
        found = evidence_of(row, query.text) if words else ()
        others = max(0, sizes.get(row.group_id or "", 1) - 1)
        hits.append(ClipHit(row, float(ranked.scores[position]), position < ranked.strict, found, others))
    return tuple(hits)


def _group_sizes(view: View, group_ids: set[str], where: str | None) -> dict[str, int]:
    """How many clips of each group the filters allow."""
    members = view.rows("groups", one_of("group_id", group_ids)).to_pylist() if group_ids else []
    group_of = {row["clip_id"]: row["group_id"] for row in members}
    allowed = view.rows("clips", all_of([where, one_of("id", group_of)]), ["id"]) if group_of else None
    sizes: dict[str, int] = {}
    for clip_id in allowed["id"].to_pylist() if allowed else []:
        sizes[group_of[clip_id]] = sizes.get(group_of[clip_id], 0) + 1
    return sizes


def _take(table: Any, row_ids: np.ndarray, columns: list[str]) -> Any:
    """Rows by row id, in no particular order, with `_rowid`."""
    listed = ", ".join(str(int(row_id)) for row_id in row_ids)
    where = f"_rowid IN ({listed})" if listed else "false"
    known = [name for name in columns if name in table.schema.names]  # an older Malan may have made the table
    return table.to_table(filter=where, columns=known, with_row_id=True)


def _ms_since(began: float) -> float:
    return (time.perf_counter() - began) * 1000
