"""How sure it is that a clip shows what some words say, and what says so.

Words of the shot itself (its captions, what was seen, how people and models labelled it) are sure. Words of its file
(its name, title, keywords) are said of all of it: where most of a file looks alike, what looks otherwise is doubtful;
the name of a film edited from many shots is a title and says as little of each. What the scan saw otherwise (a day
shot, asked for 夜景) is doubtful whatever the file is called. Numbers only; start reading at `proofs`.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from malan.core.catalogue import catalogue
from malan.store.words import folded, query_words

if TYPE_CHECKING:
    from malan.store import ClipHit

Looks = Mapping[str, NDArray[np.float32]]

_OF_SHOT = ("caption", "look")
_LEAST, _MOST, _TITLE = 0.35, 0.85, 0.5  # by the name of a file alone: of what looks otherwise, of the rest, of a title
_EDITED = 12  # shots of a file from which on it is taken for an edited film
_SUBJECT = 0.6  # of a file: where so much looks alike, that is what it is about
_APART, _ALIKE = 0.55, 0.85  # likeness: nothing in common, the same kind of picture
_SEEN_OTHERWISE = 0.4
_STEM = 3  # letters English words may differ in at their end


@dataclass(frozen=True)
class Proof:
    """What says that a clip shows some words, and how sure that is, 0 to 1.

    `of_shot` and `of_file` are the words that stand there; `field` is where the first of the shot's own was found.
    """

    sure: float
    of_shot: tuple[str, ...] = ()
    of_file: tuple[str, ...] = ()
    field: str = ""


def proofs(hits: Sequence[ClipHit], text: str, looks: Looks) -> list[Proof]:
    """For each hit what proves it."""
    words = query_words(text)
    own = [_own_words(hit, words) for hit in hits]
    of_file = _certainties(hits, [bool(found) for found in own], looks)
    kinds = {word: _kinds(word) for word in words}
    return [_proof(hit, words, found, sure, kinds) for hit, found, sure in zip(hits, own, of_file, strict=True)]


def joined(some: Sequence[Proof], count: int) -> Proof:
    """Several proofs of one clip, of so many words that were asked for one by one."""
    return Proof(
        sum(one.sure for one in some) / max(count, 1),
        tuple(dict.fromkeys(word for one in some for word in one.of_shot)),
        tuple(dict.fromkeys(word for one in some for word in one.of_file)),
        next((one.field for one in some if one.field), ""),
    )


def _proof(
    hit: ClipHit, words: Sequence[str], own: Mapping[str, str], sure: float, kinds: Mapping[str, Mapping[str, str]]
) -> Proof:
    held = {word: field for word, field in own.items() if word in words}
    others = [word for word in words if word not in held and _is_in_file(hit, word)]
    doubts = [sure * (_SEEN_OTHERWISE if _is_seen_otherwise(hit, kinds[word]) else 1.0) for word in others]
    whole = (len(held) + sum(doubts)) / max(len(words), 1)
    return Proof(whole, tuple(held), tuple(others), next(iter(held.values()), ""))


def _own_words(hit: ClipHit, words: Sequence[str]) -> dict[str, str]:
    """The words that stand in what is known of the shot itself, each with the field."""
    marked = [
        (one.field, folded(one.snippet[begin:end]))
        for one in hit.evidence
        if one.field in _OF_SHOT
        for begin, end in one.marks
    ]
    return {word: found for word in words if (found := next((f for f, said in marked if _says(said, word)), ""))}


def _is_in_file(hit: ClipHit, word: str) -> bool:
    return any(
        _says(folded(one.snippet[begin:end]), word)
        for one in hit.evidence
        if one.field not in _OF_SHOT
        for begin, end in one.marks
    )


def _says(said: str, word: str) -> bool:
    if not word.isascii():
        return word in said
    return said == word or said[: max(_STEM, len(word) - _STEM)] == word[: max(_STEM, len(word) - _STEM)]


def _kinds(word: str) -> dict[str, str]:
    """What a word names of what a scan sees: `scene.light` → `night` for 夜景."""
    return {kind: name for said, kind, name in _names_of_looks() if said == word}


@lru_cache(maxsize=1)
def _names_of_looks() -> tuple[tuple[str, str, str], ...]:
    found = []
    for code, message in catalogue().items():
        if code.startswith("look."):
            kind, _, name = code.removeprefix("look.").rpartition(".")
            found += [(folded(said), kind, name) for said in message.words.values()]
    return tuple(found)


def _is_seen_otherwise(hit: ClipHit, kinds: Mapping[str, str]) -> bool:
    """Whether the scan judged what the word names, and found something else."""
    labels = hit.row.labels
    return any(kind in labels and f"{kind}={name}" not in labels for kind, name in kinds.items())


def _certainties(hits: Sequence[ClipHit], is_proven: Sequence[bool], looks: Looks) -> list[float]:
    """How much the words of its file say of each hit."""
    files: dict[str, list[int]] = {}
    for place, hit in enumerate(hits):
        files.setdefault(hit.row.clip.asset_id, []).append(place)
    found = [_TITLE] * len(hits)
    for places in files.values():
        known = [place for place in places if hits[place].row.id in looks]
        if 1 <= len(known) < _EDITED:
            alike = _likeness(looks[hits[place].row.id] for place in known)
            lengths = np.asarray([float(hits[place].row.span.duration) for place in known])
            proven = np.asarray([is_proven[place] for place in known])
            for place, sure in zip(known, _shares(alike, lengths, proven), strict=True):
                found[place] = sure
    return found


def _shares(alike: NDArray[np.float64], lengths: NDArray[np.float64], proven: NDArray[np.bool_]) -> list[float]:
    """For shots of one file: by how much of it looks like each, or like those that are proven where some are."""
    if proven.any():
        near = alike[:, proven].max(axis=1)
    else:
        share = alike @ lengths / lengths.sum()
        near = (share / share.max()) ** 2 if share.max() >= _SUBJECT else np.full(len(share), share.max())
    return [float(_LEAST + (_MOST - _LEAST) * one) for one in near]


def _likeness(looks: Iterable[NDArray[np.float32]]) -> NDArray[np.float64]:
    """How far each looks like each, (N, N): 0 nothing in common, 1 the same kind of picture."""
    stack = np.stack([np.asarray(one, np.float64) for one in looks])
    stack /= np.maximum(np.linalg.norm(stack, axis=1, keepdims=True), 1e-9)
    return np.asarray(np.clip((stack @ stack.T - _APART) / (_ALIKE - _APART), 0, 1))
