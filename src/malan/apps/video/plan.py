"""From what is asked for to storyboards: the beats share the time, each shows what fits it, cut to the music.

Versions beside each other keep away from what the earlier ones show. Start reading at `make_boards`.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import replace

from malan.apps.frame import Work
from malan.apps.promo.board import Shot, Storyboard
from malan.apps.promo.choose import choose
from malan.apps.promo.plan import rate_of
from malan.apps.promo.rhythm import beats_of, lay_slots
from malan.apps.video.gather import Fitting, gather
from malan.apps.video.prompt import Brief
from malan.apps.video.request import VideoRequest
from malan.core.catalogue import entry
from malan.core.errors import NotFound
from malan.services.picking import Candidate, look_into

SECONDS = 10.0
_SHOWN_BEFORE = 0.45  # of the fit, in a further version
_LOOKED_INTO = 48  # filmstrips read of each beat


def make_boards(request: VideoRequest, brief: Brief, work: Work, *, notes: Sequence[str] = ()) -> list[Storyboard]:
    """A storyboard for each version.

    Raises:
        NotFound: Nothing fits, or there is too little of it; the nearest is named.
    """
    fitting = gather(brief.beats, work, snapshot=request.snapshot)
    seconds = request.seconds or brief.seconds or SECONDS
    seconds = min(180.0, max(1.0, seconds))
    music = beats_of(request.music) if request.music else None
    pulse = tuple(float(beat) for beat in music.times_s) if music is not None else ()
    everything = [one for each in fitting for one in each.found]
    rate = rate_of(everything, work)
    told = [*notes, *_notes(fitting, brief.language)]
    boards: list[Storyboard] = []
    shown: Counter[str] = Counter()
    for version in range(request.versions):
        shots = _shots(fitting, seconds, rate, request, brief, pulse, request.seed + version, shown, work)
        shown.update(shot.clip for shot in shots)
        boards.append(
            Storyboard(
                title=request.title,
                ending=request.ending,
                language="zh" if brief.language == "zh" else "en",
                rate=rate,
                formats=request.format or ((brief.shape,) if brief.shape else ("16:9",)),  # type: ignore[arg-type]
                lines=request.lines,
                shots=tuple(shots),
                music=request.music,
                bed=request.bed,
                voice=request.voice,
                beats_s=tuple(round(beat, 3) for beat in pulse if beat < seconds),
                notes=tuple(told),
            )
        )
    return boards


def _shots(
    fitting: Sequence[Fitting], seconds: float, rate: int, request: VideoRequest, brief: Brief,
    pulse: Sequence[float], seed: int, shown: Counter[str], work: Work,
) -> list[Shot]:  # fmt: skip
    """The beats that have footage, one after the other; together exactly the length."""
    style = request.style or brief.style or "lively"
    having = [one for one in fitting if one.found]
    total, weights = round(seconds * rate), [one.beat.weight for one in having]
    having, weights = having[: max(1, total // 8)], weights[: max(1, total // 8)]
    ends = [round(total * sum(weights[: place + 1]) / sum(weights)) for place in range(len(having))]
    shots: list[Shot] = []
    used: set[str] = set()
    begin = 0
    for place, (one, end) in enumerate(zip(having, ends, strict=True)):
        if end <= begin:
            continue
        inside = [beat - begin / rate for beat in pulse if begin / rate < beat < end / rate]
        slots = lay_slots((end - begin) / rate, rate, style, inside, seed * 31 + place)
        found = _chosen(one, having, slots, rate, style, used, shown, work)
        used |= _groups(found, one, having)
        shots += [
            shot.model_copy(update={"sound": shot.sound and request.own_sound, "text": one.beat.caption})
            for shot in found
        ]
        begin = end
    return shots


def _chosen(
    one: Fitting, having: Sequence[Fitting], slots: Sequence[int], rate: int, style: str, used: set[str],
    shown: Counter[str], work: Work,
) -> list[Shot]:  # fmt: skip
    """Shots of a beat; where its own footage is too little, that of the other beats helps out."""

    def look(some: Sequence[Candidate]):  # type: ignore[no-untyped-def]
        return look_into(work.library, [each.row for each in some[: max(_LOOKED_INTO, 3 * len(slots))]])

    own = [*one.found, *one.spare]
    others = [each for other in having if other is not one for each in other.found]
    for pool in (one.found, own, [*own, *others]):
        try:
            return choose(_fresh(pool, used, shown), slots, rate, style, look)
        except NotFound:
            continue
    return choose(_fresh([*own, *others], set(), shown), slots, rate, style, look)


def _fresh(found: Iterable[Candidate], used: set[str], shown: Counter[str]) -> list[Candidate]:
    """What this version has not shown; what an earlier version has is worth less."""
    kept: dict[str, Candidate] = {}
    for one in found:
        if _group(one) not in used and one.row.id not in kept:
            kept[one.row.id] = replace(one, fit=one.fit * _SHOWN_BEFORE ** shown[one.row.id])
    return list(kept.values())


def _groups(shots: Sequence[Shot], one: Fitting, having: Sequence[Fitting]) -> set[str]:
    clips = {shot.clip for shot in shots}
    return {_group(each) for fit in (one, *having) for each in (*fit.found, *fit.spare) if each.row.id in clips}


def _group(one: Candidate) -> str:
    return one.row.group_id or one.row.id


def _notes(fitting: Sequence[Fitting], language: str) -> list[str]:
    missing = [word for one in fitting for word in one.missing]
    empty = [one.beat.text for one in fitting if not one.found]
    told = []
    if missing:
        told.append(entry("video.note.missing").text(language, {"words": ", ".join(dict.fromkeys(missing))[:300]}))
    if empty:
        told.append(entry("video.note.left_out").text(language, {"beats": "; ".join(empty)[:300]}))
    guessed = [one for one in fitting if one.by_meaning]
    if guessed:
        values = {"beats": "; ".join(one.beat.text for one in guessed)[:300], "engine": guessed[0].by_meaning}
        told.append(entry("video.note.by_meaning").text(language, values))
    return told
