"""Which cleared clips show what a beat asks for, and which of its words no clip has.

The library itself tells words from words: of a Chinese phrase no clip contains, the longest parts that some clip does
contain are looked for. Nothing is shown for a word that merely shares a character. Where an encoder has an index, what
means the same is found as well, after what has the words. Start reading at `gather`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from malan.apps.frame import Work
from malan.apps.promo.plan import USES, what_is_near
from malan.apps.video.prompt import Beat
from malan.core.errors import NotFound
from malan.services.clips.meaning import ready_encoder
from malan.services.clips.picking import Candidate, candidates, how_many, meant, of_snapshot
from malan.services.clips.relevance import Proof, joined
from malan.services.clips.where import condition

_MOST = 400  # clips of one word
_MOST_QUESTIONS = 40  # of one phrase
_LONGEST_PART = 12  # characters
_MEANT = 0.6  # of the fit, for a clip that means what is asked and lacks the words


@dataclass(frozen=True)
class Fitting:
    """What there is for a beat, best first, and what there is not.

    `spare` has the words but not the look that was wished for: shown only where the rest is too little.
    """

    beat: Beat
    found: tuple[Candidate, ...]
    missing: tuple[str, ...] = ()
    spare: tuple[Candidate, ...] = ()
    by_meaning: str = ""  # the encoder, where only meaning found anything


def gather(beats: Sequence[Beat], work: Work, *, snapshot: str = "") -> list[Fitting]:
    """Clips for each beat; a beat nothing fits has none.

    Args:
        snapshot: Only clips of this one.

    Raises:
        NotFound: Nothing fits any of them; the nearest is named.
    """
    frozen = of_snapshot(work.library, snapshot, USES, caller=work.caller) if snapshot else None
    held = None if frozen is None else {one.row.id for one in frozen}
    known: dict[str, tuple[str, ...]] = {}
    encoder = ready_encoder(work.library)
    fitting = [_fitting(beat, work, known, held, encoder) for beat in beats]
    if not any(one.found for one in fitting):
        raise _nothing(beats, work)
    return fitting


def _fitting(beat: Beat, work: Work, known: dict[str, tuple[str, ...]], held: set[str] | None, encoder: str) -> Fitting:
    words: list[str] = []
    missing = []
    for term in beat.terms:
        if term not in known:
            known[term] = _parts(term, work)
        words += known[term]
        if not known[term]:
            missing.append(term)
    found = _with_words(tuple(dict.fromkeys(words)), work)
    spare: list[Candidate] = []
    if beat.labels:
        found, spare = _with_looks(found, beat, work)
    has_words = bool(found)
    if encoder and beat.text.strip():
        found = _with_meaning(found, meant(work.library, beat.text, USES, encoder, caller=work.caller))
    if held is not None:
        found, spare = ([one for one in some if one.row.id in held] for some in (found, spare))
    return Fitting(beat, tuple(found), tuple(missing), tuple(spare), encoder if found and not has_words else "")


def _with_meaning(found: Sequence[Candidate], alike: Sequence[Candidate]) -> list[Candidate]:
    """What has the words, the better the more it means them; then what only means them."""
    likeness = {one.row.id: one.fit for one in alike}
    worded = {one.row.id for one in found}
    kept = [replace(one, fit=one.fit * (0.7 + 0.3 * likeness.get(one.row.id, 0.0))) for one in found]
    kept += [replace(one, fit=one.fit * _MEANT) for one in alike if one.row.id not in worded]
    return sorted(kept, key=lambda one: -one.fit)


def _parts(term: str, work: Work) -> tuple[str, ...]:
    """The term as it stands if a clip has it; else the longest parts of it that some clip has, none overlapping."""

    def is_there(text: str) -> bool:
        return how_many(work.library, text, USES, caller=work.caller) > 0

    if is_there(term):
        return (term,)
    if term.isascii() or len(term) < 3:
        return ()
    found, at, asked = [], 0, 0
    while at < len(term) - 1 and asked < _MOST_QUESTIONS:
        for end in range(min(len(term), at + _LONGEST_PART), at + 1, -1):
            asked += 1
            if end - at < len(term) and is_there(term[at:end]):
                found.append(term[at:end])
                at = end
                break
        else:
            at += 1
    return tuple(found)


def _with_words(words: Sequence[str], work: Work) -> list[Candidate]:
    """Clips that have any of the words, those with most of them first."""
    best: dict[str, Candidate] = {}
    points: dict[str, float] = {}
    proven: dict[str, list[Proof]] = {}
    for word in words:
        for one in candidates(work.library, condition(word), USES, caller=work.caller, most=_MOST, every=True):
            best.setdefault(one.row.id, one)
            points[one.row.id] = points.get(one.row.id, 0.0) + one.fit
            proven.setdefault(one.row.id, []).extend([one.proof] if one.proof else [])
    ordered = sorted(best, key=lambda clip: (-points[clip], clip))
    return [
        replace(best[clip], fit=points[clip] / len(words), proof=joined(proven[clip], len(words))) for clip in ordered
    ]


def _with_looks(found: Sequence[Candidate], beat: Beat, work: Work) -> tuple[list[Candidate], list[Candidate]]:
    """Those that look as wished, and the others; where nothing has the words (夜景), the look alone will do."""
    wished = condition(" ".join(f"label={label}" for label in beat.labels))
    looking = candidates(work.library, wished, USES, caller=work.caller)
    right = {one.row.id for one in looking}
    fitting = [one for one in found if one.row.id in right]
    others = [one for one in found if one.row.id not in right]
    if fitting:
        return fitting, others
    return (others, []) if others else (looking, [])


def _nothing(beats: Sequence[Beat], work: Work) -> NotFound:
    asked = " ".join(term for beat in beats for term in beat.terms)
    prompt = "; ".join(beat.text for beat in beats)[:200]
    return NotFound("video.nothing", prompt=prompt, nearest=what_is_near(condition(asked), work))
