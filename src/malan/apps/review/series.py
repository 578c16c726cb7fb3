"""What the episodes of a series say about each other: numbers, missing files, doubles, credits, footage of others.

Start at `compare_episodes`.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from malan.apps.review.facts import SeriesFacts
from malan.apps.review.language import Words
from malan.apps.review.language.evaluate import plain
from malan.apps.review.language.values import Moment
from malan.apps.review.measure.episode import Measured
from malan.apps.review.names import episode_keys, episode_number

if TYPE_CHECKING:
    from malan.curation.fingerprint import Alignment, ClipPrint
    from malan.services.footage.prints import PrintOwner
    from malan.workspace import Workspace

OPENING_S, CLOSING_S = 40.0, 60.0
PRINT_S = 10.0  # a clip of the fingerprint
DOUBLE_SHARE = 0.8  # of an episode that is also in another
MATCH_S = 1.5  # shortest stretch of footage of others that counts
_LIKENESS = 0.9


def compare_episodes(
    episodes: Sequence[Measured],
    words: Mapping[tuple[str, str], Words],
    expected: int | None = None,
    unreadable: Sequence[Path] = (),
) -> list[SeriesFacts]:
    """The series facts of each episode, in their order.

    Args:
        words: Of the pack: its `pattern number.any` and `lexicon credits` are asked for, if it has them.
        expected: How many episodes there should be; without it, gaps in the numbers tell.
        unreadable: Files that are there but could not be read: damaged, not missing.
    """
    numbers = [episode_number(one.path) for one in episodes]
    known = [*numbers, *(episode_number(path) for path in unreadable)]
    missing = missing_numbers(known, expected) if len(known) > 1 or expected else ()
    lacking = max(0, (expected or 0) - len(known)) if not any(known) else 0
    first, last = _ends(numbers)
    shown = _numbers(episodes, words.get(("pattern", "number.any")))
    credit = _credits(episodes, first, last, words.get(("lexicon", "credits")))
    doubles, namesakes, formats = find_doubles(episodes), _namesakes(episodes, numbers), _formats(episodes)
    keys = episode_keys([one.path for one in episodes])
    return [
        SeriesFacts(
            len(episodes), numbers[n], n == first, n == last, missing if n == first else (),
            lacking if n == first else 0, doubles.get(n, ()),
            shown.get(n, ()), credit, keys[n], namesakes.get(n), formats.get(n),
        )
        for n in range(len(episodes))
    ]  # fmt: skip


def missing_numbers(numbers: Sequence[int | None], expected: int | None) -> tuple[int, ...]:
    """Episodes there is no file of."""
    known = {number for number in numbers if number is not None}
    if not known:
        return ()
    return tuple(sorted(set(range(1, (expected or max(known)) + 1)) - known))[:200]


def _namesakes(episodes: Sequence[Measured], numbers: Sequence[int | None]) -> dict[int, str]:
    """Files of a number that an earlier file has already, with the name of that one."""
    seen: dict[int, int] = {}
    found = {}
    for place, number in enumerate(numbers):
        if number is not None and seen.setdefault(number, place) != place:
            found[place] = episodes[seen[number]].path.name
    return found


def _formats(episodes: Sequence[Measured]) -> dict[int, str]:
    """Pictures that are not of the size and rate most episodes have, and which that is; three episodes and more."""
    told = {n: (*one.size_px, round(one.rate, 1)) for n, one in enumerate(episodes) if one.has_picture}
    counts = Counter(told.values())
    if len(told) < 3 or len(counts) < 2:
        return {}
    usual, times = max(sorted(counts.items()), key=lambda item: item[1])
    if times <= len(told) / 2:
        return {}
    return {n: f"{_format(*one)} ≠ {_format(*usual)}" for n, one in told.items() if one != usual}


def _format(width_px: float, height_px: float, rate: float) -> str:
    return f"{width_px:.0f}×{height_px:.0f} {rate:g} fps"


def _ends(numbers: Sequence[int | None]) -> tuple[int, int]:
    order = sorted(range(len(numbers)), key=lambda n: (numbers[n] is None, numbers[n] or 0, n))
    known = [n for n in order if numbers[n] is not None] or order
    return known[0], known[-1]


def _numbers(episodes: Sequence[Measured], pattern: Words | None) -> dict[int, tuple[Moment, ...]]:
    """Numbers that are not the one most episodes show."""
    if pattern is None or len(episodes) < 2:
        return {}
    found: dict[int, list[tuple[str, Moment]]] = {}
    for place, one in enumerate(episodes):
        read = [m for m in (*one.cards, *one.persistent, *one.captions) if m.start_s < OPENING_S]
        hits = [(pattern.find(m.text), m) for m in read]
        found[place] = [(plain(h[0][2]), replace(m, hits=tuple(h))) for h, m in hits if h]
    counts = Counter(said for listed in found.values() for said in {number for number, _ in listed})
    if len(counts) < 2:
        return {}
    usual = max(sorted(counts), key=lambda said: counts[said])
    return {
        place: tuple(dict(listed).values())
        for place, listed in found.items()
        if listed and usual not in {number for number, _ in listed}
    }


def _credits(episodes: Sequence[Measured], first: int, last: int, lexicon: Words | None) -> bool | None:
    if lexicon is None:
        return None
    opening, closing = episodes[first], episodes[last]
    read = [m.text for m in _texts(opening) if m.start_s < OPENING_S]
    read += [m.text for m in _texts(closing) if m.end_s > closing.duration_s - CLOSING_S]
    words = {plain(word) for said in read for _, _, word in lexicon.find(said)}
    return any("编剧" in word for word in words) and any("导演" in word for word in words)


def _texts(one: Measured) -> Iterable[Moment]:
    return (*one.cards, *one.captions, *one.persistent)


def prints_of(one: Measured, name: str) -> list[ClipPrint]:
    """The fingerprint of an episode: a clip every ten seconds, five frames a second."""
    from malan.curation.fingerprint import ClipPrint

    made = []
    thumbs = [(t, picture) for t, picture in one.thumbs if int(picture.max()) - int(picture.min()) > 24]
    for start in np.arange(0.0, one.duration_s, PRINT_S):
        inside = [(t, picture) for t, picture in thumbs if start <= t < start + PRINT_S]
        if inside:
            made.append(
                ClipPrint(
                    f"{name}#{start:.0f}", name, float(start), float(min(start + PRINT_S, one.duration_s)),
                    np.array([t for t, _ in inside]), np.stack([picture for _, picture in inside]),
                )
            )  # fmt: skip
    return made


def find_doubles(episodes: Sequence[Measured]) -> dict[int, tuple[str, ...]]:
    """Episodes that are, for the most part, also another one; the later of two is reported."""
    from malan.curation.fingerprint import find_duplicates

    found: dict[int, tuple[str, ...]] = {}
    digests: dict[str, int] = {}
    for place, one in enumerate(episodes):
        if one.digest in digests:
            found[place] = (episodes[digests[one.digest]].path.name,)
        digests.setdefault(one.digest, place)
    prints = [p for n, one in enumerate(episodes) if n not in found for p in prints_of(one, f"{n:05}")]
    for pair in find_duplicates(prints).alignments if len(episodes) - len(found) > 1 else ():
        a, b = sorted((int(pair.one), int(pair.other)))
        shorter = min(episodes[a].duration_s, episodes[b].duration_s)
        if not pair.is_mirrored and pair.last_s - pair.first_s + 1.0 >= DOUBLE_SHARE * shorter:
            found[b] = (*found.get(b, ()), episodes[a].path.name)
    return found


def library_matches(ws: Workspace, episodes: Sequence[Measured], allowed: frozenset[str]) -> list[tuple[Moment, ...]]:
    """Of each episode, the stretches that show footage of the library which may not be used here.

    The library is read once and all episodes are looked up together: the cost hardly grows with their number.

    Args:
        allowed: Ids of terms that allow it.
    """
    from malan.curation.fingerprint import find_duplicates
    from malan.services.footage.prints import library_prints

    names = {f"episode {n:05}": n for n in range(len(episodes))}
    own = [clip for name, n in names.items() for clip in prints_of(episodes[n], name)]
    found: list[list[Moment]] = [[] for _ in episodes]
    if not own:
        return [() for _ in episodes]
    prints, owners = library_prints(ws)
    digests = {one.digest for one in episodes}
    known = [p for p in prints if owners[p.asset_id].terms_id not in allowed and p.asset_id not in digests]
    for pair in find_duplicates([*own, *known]).alignments:
        if (pair.one in names) == (pair.other in names) or pair.likeness < _LIKENESS:
            continue
        is_first = pair.one in names
        owner = owners[pair.other if is_first else pair.one]
        moment = _match(pair, 0.0 if is_first else pair.offset_s, owner)
        if moment.length_s >= MATCH_S:
            found[names[pair.one if is_first else pair.other]].append(moment)
    return [tuple(listed) for listed in found]


def _match(pair: Alignment, shift_s: float, owner: PrintOwner) -> Moment:
    told = (("asset", owner.asset_id), ("file", owner.file), ("owner", owner.owner), ("frames", pair.frames),
            ("likeness", round(pair.likeness, 3)))  # fmt: skip
    start_s, end_s = max(0.0, pair.first_s + shift_s), pair.last_s + shift_s
    return Moment(start_s, end_s, f"{owner.file} · {owner.owner}", source="library", detail=told)
