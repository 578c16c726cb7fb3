"""From what is asked for to storyboards: the beats share the time, each shows what fits it, cut to the music.

Versions beside each other keep away from what the earlier ones show. Start reading at `make_boards`.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import groupby

from malan.apps.frame import Work
from malan.apps.promo.board import Shot, Storyboard
from malan.apps.promo.choose import choose
from malan.apps.promo.plan import rate_of
from malan.apps.promo.request import format_of
from malan.apps.promo.rhythm import beats_of, lay_slots
from malan.apps.video.gather import Fitting, gather
from malan.apps.video.prompt import Brief
from malan.apps.video.request import VideoRequest
from malan.core.catalogue import entry
from malan.core.errors import NotFound, UsageError
from malan.services.clips.picking import Candidate
from malan.services.clips.strips import Strip, look_into

SECONDS = 10.0
LEAST_S, MOST_S = 1.0, 180.0
_SHORTER = (8.0, 6.0, 5.0, 4.0, 3.0)  # where nobody asked for a length and there is too little for ten seconds
_SHOWN_BEFORE = 0.45  # of the fit, in a further version
_LOOKED_INTO = 48  # filmstrips read of each beat


@dataclass(frozen=True)
class _Plan:
    """What all versions have in common."""

    request: VideoRequest
    brief: Brief
    fitting: tuple[Fitting, ...]  # beats that have footage
    seconds: float
    rate: int
    pulse: tuple[float, ...]  # beats of the music, in seconds
    work: Work

    @property
    def style(self) -> str:
        return self.request.style or self.brief.style or "lively"

    @property
    def shapes(self) -> tuple[str, ...]:
        return self.request.format or ((self.brief.shape,) if self.brief.shape else ("16:9",))


def make_boards(request: VideoRequest, brief: Brief, work: Work, *, notes: Sequence[str] = ()) -> list[Storyboard]:
    """A storyboard for each version.

    Raises:
        UsageError: The length is not that of a film.
        NotFound: Nothing fits, or there is too little of it for the length that was asked for; the nearest is named.
    """
    asked = asked_seconds(request, brief)
    fitting = gather(brief.beats, work, snapshot=request.snapshot)
    music = beats_of(request.music) if request.music else None
    pulse = tuple(float(beat) for beat in music.times_s) if music is not None else ()
    rate = rate_of([one for each in fitting for one in each.found], work)
    having = tuple(one for one in fitting if one.found)
    plan = _Plan(request, brief, having, asked or SECONDS, rate, pulse, work)
    told = [*notes, *_notes(fitting, brief.language)]
    for seconds in () if asked else _SHORTER:
        try:
            return _versions(plan, told)
        except NotFound:
            plan = replace(plan, seconds=seconds)
    return _versions(plan, told)


def asked_seconds(request: VideoRequest, brief: Brief) -> float:
    """How long a film was asked for, by a field or in the words; 0 where nobody said.

    Raises:
        UsageError: The length is not that of a film.
    """
    asked = request.seconds or brief.seconds
    if asked and not LEAST_S <= asked <= MOST_S:
        raise UsageError("video.length", seconds=f"{asked:g}", least=f"{LEAST_S:g}", most=f"{MOST_S:g}")
    return asked


def _versions(plan: _Plan, told: Sequence[str]) -> list[Storyboard]:
    """Each with other footage, as far as there is some; none that is an earlier one again."""
    request, brief = plan.request, plan.brief
    shorter = [] if request.seconds or brief.seconds or plan.seconds == SECONDS else [_note_shorter(plan)]
    boards: list[Storyboard] = []
    shown: Counter[str] = Counter()
    for version in range(request.versions):
        shots = _shots(plan, request.seed + version, shown)
        if any(_same(shots, board.shots) for board in boards):
            values = {"made": len(boards), "asked": request.versions}
            fewer = entry("video.note.fewer_versions").text(brief.language, values)
            return [board.model_copy(update={"notes": (*board.notes, fewer)}) for board in boards]
        shown.update(shot.clip for shot in shots)
        boards.append(
            Storyboard(
                title=request.title,
                ending=request.ending,
                language="zh" if brief.language == "zh" else "en",
                rate=plan.rate,
                formats=plan.shapes,  # type: ignore[arg-type]
                lines=request.lines,
                shots=tuple(shots),
                music=request.music,
                bed=request.bed,
                voice=request.voice,
                beats_s=tuple(round(beat, 3) for beat in plan.pulse if beat < plan.seconds),
                notes=(*told, *shorter),
            )
        )
    return boards


def _same(shots: Sequence[Shot], others: Sequence[Shot]) -> bool:
    """Whether two films show the same."""
    return [(one.clip, one.from_s, one.frames) for one in shots] == [
        (one.clip, one.from_s, one.frames) for one in others
    ]


def _note_shorter(plan: _Plan) -> str:
    values = {"seconds": f"{plan.seconds:g}", "usual": f"{SECONDS:g}"}
    return entry("video.note.shorter").text(plan.brief.language, values)


def _shots(plan: _Plan, seed: int, shown: Counter[str]) -> list[Shot]:
    """The beats, one after the other; together exactly the length."""
    rate, total = plan.rate, round(plan.seconds * plan.rate)
    fitting = plan.fitting[: max(1, total // 8)]
    weights = [one.beat.weight for one in fitting]
    ends = [round(total * sum(weights[: place + 1]) / sum(weights)) for place in range(len(fitting))]
    shots: list[Shot] = []
    used: set[str] = set()
    begin = 0
    for place, (one, end) in enumerate(zip(fitting, ends, strict=True)):
        if end <= begin:
            continue
        inside = [beat - begin / rate for beat in plan.pulse if begin / rate < beat < end / rate]
        slots = lay_slots((end - begin) / rate, rate, plan.style, inside, seed * 31 + place)
        found = _chosen(plan, one, slots, used, shown)
        found = found if plan.pulse else _in_order(found)
        used |= _groups(found, one, fitting)
        shots += [
            shot.model_copy(update={"sound": shot.sound and plan.request.own_sound, "text": one.beat.caption})
            for shot in found
        ]
        begin = end
    return shots


def _chosen(plan: _Plan, one: Fitting, slots: Sequence[int], used: set[str], shown: Counter[str]) -> list[Shot]:
    """Shots of a beat; where its own footage is too little, that of the other beats helps out."""
    request, aspect = plan.request, float(format_of(plan.shapes[0], plan.request.lines).aspect)
    language = "zh" if plan.brief.language == "zh" else "en"
    is_heard = request.own_sound and not (request.music or request.bed or request.voice)

    def from_pool(pool: Iterable[Candidate], used: set[str]) -> list[Shot]:
        def look(some: Sequence[Candidate]) -> Mapping[str, Strip]:
            return look_into(plan.work.library, [each.row for each in some[: max(_LOOKED_INTO, 3 * len(slots))]])

        return choose(
            _fresh(pool, used, shown), slots, plan.rate, plan.style, look,
            aspect=aspect, is_heard=is_heard, language=language,
        )  # fmt: skip

    own = [*one.found, *one.spare]
    others = [each for other in plan.fitting if other is not one for each in other.found]
    for pool in (one.found, own, [*own, *others]):
        try:
            return from_pool(pool, used)
        except NotFound:
            continue
    return from_pool([*own, *others], set())


def _in_order(shots: Sequence[Shot]) -> list[Shot]:
    """The same, but shots of one clip that follow each other do so as they were filmed: nothing is undone and done
    again. With music the lengths belong to its beats, and stay where they are."""
    runs = (list(run) for _, run in groupby(shots, key=lambda shot: shot.clip))
    return [shot for run in runs for shot in sorted(run, key=lambda shot: shot.from_s)]


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
