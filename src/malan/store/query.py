"""A question to the library and its answer, as plain data; `search.py` answers. Start reading at `ClipQuery`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from math import isnan

from malan.core.errors import UsageError
from malan.store.evidence import Evidence
from malan.store.flatten import MEASURES
from malan.store.rows import ClipRow
from malan.store.words import query_words

MOST_ON_PAGE = 1000
_MOST_WORDS = 64

ORDERS: Mapping[str, list[tuple[str, str]]] = {
    "newest": [("added_s", "descending"), ("asset_id", "ascending"), ("start_s", "ascending")],
    "longest": [("duration_s", "descending"), ("asset_id", "ascending"), ("start_s", "ascending")],
    "shortest": [("duration_s", "ascending"), ("asset_id", "ascending"), ("start_s", "ascending")],
    "time": [("file_name", "ascending"), ("asset_id", "ascending"), ("start_s", "ascending")],
}


@dataclass(frozen=True)
class ClipQuery:
    """What to look for. Everything given must hold; what is empty or None is not asked for.

    Args:
        text: Words in Chinese or English, in captions, titles, tags, file names and names of what was seen. All of
            them first; clips with only some of them follow when few have all.
        owner_ids: One of these owners.
        asset_ids: In one of these assets.
        terms_ids: Under one of these terms. None: not asked; empty: nothing is allowed and nothing is found.
        tags: All of these tags.
        labels: All of these labels: `motion.class=pan`, or a kind alone for "has such a finding".
        at_least, at_most: Bounds on measures by name, see `flatten.MEASURES`.
        group_id: Only this group of near-duplicates.
        similar_to: Order by likeness to this clip, which itself is left out.
        fold_duplicates: Of a group of near-duplicates show the best one only, with the number of the others.
        order: One of `ORDERS` instead of the best first; clips with only some of the words are then left out.
    """

    text: str = ""
    owner_ids: tuple[str, ...] = ()
    asset_ids: tuple[str, ...] = ()
    terms_ids: tuple[str, ...] | None = None
    min_duration_s: float | None = None
    max_duration_s: float | None = None
    tags: tuple[str, ...] = ()
    labels: tuple[str, ...] = ()
    at_least: Mapping[str, float] = field(default_factory=dict)
    at_most: Mapping[str, float] = field(default_factory=dict)
    has_speech: bool | None = None
    has_captions: bool | None = None
    added_from_s: float | None = None
    added_until_s: float | None = None
    group_id: str | None = None
    similar_to: str | None = None
    fold_duplicates: bool = True
    order: str = ""
    limit: int = 50
    offset: int = 0


@dataclass(frozen=True)
class ClipHit:
    """One clip of an answer."""

    row: ClipRow
    score: float  # of the words, higher is better; or of likeness, 1 is equal
    has_all_words: bool = True
    evidence: tuple[Evidence, ...] = ()
    similar_count: int = 0  # near-duplicates that the filters allow and that are folded into this one


@dataclass(frozen=True)
class ClipPage:
    """Part of an answer.

    `total` counts clips before folding, without the relaxed ones; `is_total_exact` is False when counting stopped
    there: "at least".
    `relaxed` says that clips with only some of the words are among the hits.
    """

    hits: tuple[ClipHit, ...]
    total: int
    is_total_exact: bool
    relaxed: bool
    next_offset: int | None
    took_ms: float


def check(query: ClipQuery) -> None:
    """Refuse what makes no sense, before anything is read."""
    for name in (*query.at_least, *query.at_most):
        if name not in MEASURES:
            raise UsageError("store.measure_unknown", name=name, known=", ".join(MEASURES))
    if query.order and query.order not in ORDERS:
        raise UsageError("store.order_unknown", name=query.order, known=", ".join(ORDERS))
    bounds = (query.min_duration_s, query.max_duration_s, query.added_from_s, query.added_until_s)
    for bound in (*bounds, *query.at_least.values(), *query.at_most.values()):
        if bound is not None and isnan(bound):
            raise UsageError("store.bound_not_number")
    if not 0 < query.limit <= MOST_ON_PAGE or query.offset < 0:
        raise UsageError("store.page_bad", limit=query.limit, offset=query.offset, most=MOST_ON_PAGE)
    if len(query_words(query.text)) > _MOST_WORDS:
        raise UsageError("store.query_long", most=_MOST_WORDS)
