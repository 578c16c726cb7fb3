"""Finding clips by words, by what was measured and by likeness.

A query is plain data; thresholds are part of it, so changing one never touches the footage. What may be seen is
decided by the caller: it names the terms that allow the use. Start reading at `find_clips`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from malan.store.published import View
from malan.store.rows import ClipRow


@dataclass(frozen=True)
class ClipQuery:
    """What to look for. Everything given must hold; what is empty or None is not asked for.

    Args:
        text: Words in Chinese or English, in captions, titles, tags and file names. All of them first; clips with
            only some of them follow when few have all.
        owner_ids: One of these owners.
        asset_ids: In one of these assets.
        terms_ids: Under one of these terms. None: not asked; empty: nothing is allowed and nothing is found.
        tags: All of these tags.
        labels: All of these labels: `motion.class=pan`, or a kind alone for "has such a finding".
        at_least, at_most: Bounds on measures by name, see `flatten.MEASURES`.
        group_id: Only this group of near-duplicates.
        similar_to: Order by likeness to this clip, which itself is left out.
        fold_duplicates: Of a group of near-duplicates show the best one only, with the number of the others.
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
    limit: int = 50
    offset: int = 0


@dataclass(frozen=True)
class Evidence:
    """Why a clip was found: the field, and the piece of it with the words in it."""

    field: str  # caption, title, tag, file_name
    snippet: str
    marks: tuple[tuple[int, int], ...] = ()  # where in the snippet the words are, ends excluded


@dataclass(frozen=True)
class ClipHit:
    """One clip of an answer."""

    row: ClipRow
    score: float  # of the words, higher is better; or of likeness, 1 is equal
    has_all_words: bool = True
    evidence: tuple[Evidence, ...] = ()
    similar_count: int = 0  # near-duplicates that match too and are folded into this one


@dataclass(frozen=True)
class ClipPage:
    """Part of an answer.

    `total` counts clips before folding; `is_total_exact` is False when counting stopped there: "at least".
    `relaxed` says that clips with only some of the words are among the hits.
    """

    hits: tuple[ClipHit, ...]
    total: int
    is_total_exact: bool
    relaxed: bool
    next_offset: int | None
    took_ms: float


def find_clips(view: View, query: ClipQuery) -> ClipPage:
    """One page of the clips that match, best first."""
    raise NotImplementedError
