"""From a request to a storyboard, before anything is rendered. Start reading at `make_board`."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import TYPE_CHECKING

from malan.apps.frame import Work
from malan.apps.promo.board import Storyboard
from malan.apps.promo.choose import choose
from malan.apps.promo.request import PromoRequest
from malan.apps.promo.rhythm import Beats, beats_of, lay_slots
from malan.core.errors import NotFound, UsageError
from malan.services.clips.picking import Candidate, candidates, chosen, nearest, of_snapshot
from malan.services.clips.strips import look_into

if TYPE_CHECKING:
    from malan.services.clips.search import ClipQuery

USES = ("derive", "publish")
_RATES = (24, 25, 30)


def make_board(request: PromoRequest, work: Work) -> Storyboard:
    """A storyboard for what was asked.

    Raises:
        NotFound: Nothing matches (the nearest is named), or there is too little for the length.
        UsageError: The words make no sense as a query.
        NotGranted: A clip that was named may not be used so.
    """
    found, keeps_order = _found(request, work)
    music = beats_of(request.music) if request.music else None
    rate = rate_of(found, work)
    beats = music.times_s if music is not None else ()
    slots = lay_slots(request.length, rate, request.style, tuple(beats), request.seed)
    shots = choose(
        found, slots, rate, request.style, lambda some: look_into(work.library, [one.row for one in some]),
        keeps_order=keeps_order, aspect=float(request.formats()[0].aspect), language=request.language,
        is_heard=request.own_sound and not (request.music or request.bed or request.voice or request.speaker),
    )  # fmt: skip
    return Storyboard(
        title=request.title,
        ending=request.ending,
        language=request.language,
        rate=rate,
        formats=tuple(dict.fromkeys(request.format)),
        lines=request.lines,
        style=request.style,
        shots=tuple(shot.model_copy(update={"sound": shot.sound and request.own_sound}) for shot in shots),
        music=request.music,
        bed=request.bed,
        voice=request.voice,
        beats_s=tuple(round(float(beat), 3) for beat in beats if beat < request.length),
        notes=_notes(music, found, shots),
    )


def _found(request: PromoRequest, work: Work) -> tuple[list[Candidate], bool]:
    """Clips that may be used, and whether somebody put them in an order."""
    given = [bool(request.clips), bool(request.snapshot)]
    if all(given):
        raise UsageError("promo.two_sources")
    ws, caller = work.library, work.caller
    if request.clips:
        return chosen(ws, request.clips, USES, caller=caller), True
    if request.snapshot:
        return of_snapshot(ws, request.snapshot, USES, caller=caller), False
    query = _query(request.query)
    found = candidates(ws, query, USES, caller=caller)
    if found:
        return found, False
    raise NotFound("promo.nothing", query=request.query or "–", nearest=what_is_near(query, work))


def what_is_near(query: ClipQuery, work: Work) -> str:
    """The clips nearest to words that nothing matches, for people.

    Raises:
        NotFound: There is nothing at all that may be used.
    """
    close = nearest(work.library, query, USES, caller=work.caller)
    if not close:
        raise NotFound("promo.no_footage")
    return "; ".join(f"{row.id[:12]} {row.file_name} {row.span.start_s:.1f} s" for row in close)


def _query(text: str) -> ClipQuery:
    """Words, and conditions such as `scene.light=night` as `clip find` takes them."""
    from malan.services.clips.where import condition

    return condition(text)


def rate_of(found: Sequence[Candidate], work: Work) -> int:
    """The frame rate most of the best footage has, of the usual ones."""
    best = Counter[int]()
    for one in found[:24]:
        track = work.library.library.asset(one.row.clip.asset_id).asset.first("video")
        mean = float(track.mean_rate) if track and track.mean_rate else 25.0
        best[min(_RATES, key=lambda rate: abs(rate - (mean if mean < 40 else mean / 2)))] += 1
    return best.most_common(1)[0][0] if best else 25


def _notes(music: Beats | None, found: Sequence[Candidate], shots: Sequence[object]) -> tuple[str, ...]:
    told = [f"{len(found)} candidates, {len(shots)} shots"]
    if music is not None:
        told.append(f"{music.tempo_bpm:.1f} bpm" if len(music.times_s) else "no pulse found")
    return tuple(told)
