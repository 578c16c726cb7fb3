"""Everything known about one asset, for the page that shows it. Reads only. Start reading at `asset`."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from malan.core import Clip, Finding, Span, Terms, Track
from malan.core.errors import NotFound
from malan.media.index import PacketIndex
from malan.services.access import HOUSE, Caller
from malan.services.clips.browse import Rights, aspect_of, file_name, first_second, shown
from malan.services.footage.owners import owner_name, terms_of
from malan.services.footage.playback import playback_of
from malan.services.spoken import clock, kind_name, size, summary_of, word
from malan.services.uses import LOOKING, decide_use, require_use, visible_asset
from malan.services.views import (
    AssetView,
    CaptionRow,
    Fact,
    FactGroup,
    FindingGroup,
    FindingRow,
    LoudnessView,
    Peaks,
    ShotRow,
    Stretch,
    TransitionView,
)

if TYPE_CHECKING:
    from malan.store.rows import AssetRow, ClipRow, Extra
    from malan.workspace import Workspace

PEAKS, REPORT = "audio.peaks", "scan.report"  # kinds of what the scan keeps about a whole asset
_LISTED_ELSEWHERE = frozenset({"shot.transition", "text.caption", "text.persistent", "speech.transcript"})
_MOST_ROWS = 2000  # of one kind; a count says how many there are


def asset(ws: Workspace, asset_id: str, lang: str, *, caller: Caller = HOUSE) -> AssetView:
    """One asset with its shots, captions, curves, findings, tracks and terms.

    Where the terms do not allow to look at it today, an operator is told only what the file is and what the terms say.

    Raises:
        NotFound: There is no such asset, as far as the caller may know.
    """
    row = visible_asset(ws, asset_id, caller)
    may_look = decide_use(ws, row.asset.terms_id, LOOKING, caller=caller).allowed
    frames = Frames(_index(ws, row))
    findings = ws.library.findings(asset_id=row.asset.id) if may_look else []
    by_kind = _by_kind(findings)
    extras = ws.library.extras(row.asset.id) if may_look else {}
    return AssetView(
        id=row.asset.id,
        file=file_name(row),
        owner=owner_name(ws, row.asset.owner_id),
        duration_s=float(row.asset.duration),
        start_s=frames.first_s if frames.count else first_second(row),
        frame_count=frames.count,
        frame_rate=_rate(row.asset.first("video")),
        frames_url=f"/assets/{row.asset.id}/frames",
        aspect=aspect_of(row),
        rights=Rights(ws, lang, caller).decisions(row.asset.terms_id),
        status=row.status,
        status_label=word(f"web.status.{row.status}", lang),
        playback=playback_of(ws, row, lang, caller=caller),
        shots=tuple(_shots(ws.library.clips(row.asset.id), by_kind, frames, lang)),
        captions=tuple(_captions(by_kind, frames)),
        stretches=tuple(_stretches(by_kind)),
        loudness=_loudness(by_kind),
        peaks=_peaks(row, extras),
        findings=tuple(_groups(findings, frames, lang)),
        facts=tuple(_facts(ws, row, extras, lang, caller)),
    )


def frame_times(ws: Workspace, asset_id: str, *, caller: Caller = HOUSE) -> bytes:
    """Start of each frame in seconds and the end of the last, as little-endian float64.

    Seconds on the clock of the asset, so the first may be other than zero.

    Raises:
        NotFound: No such asset, or it has no pictures.
    """
    index = ws.library.index(asset_id if caller.is_operator else visible_asset(ws, asset_id, caller).asset.id)
    return Frames(PacketIndex.from_bytes(index)).starts_s.astype("<f8").tobytes()


def peaks(ws: Workspace, asset_id: str, *, caller: Caller = HOUSE) -> bytes:
    """The waveform kept by the scan: signed bytes, low and high in turn.

    Raises:
        NotFound: There is none.
        NotGranted: The terms do not allow to look at it today.
    """
    row = visible_asset(ws, asset_id, caller)
    require_use(ws, row.asset.terms_id, LOOKING, file_name(row), caller=caller)
    extra = ws.library.extras(row.asset.id).get(PEAKS)
    if extra is None:
        raise NotFound("web.no_picture", id=asset_id[:12])
    return extra.data


class Frames:
    """Frame numbers of times, by the packet index; without pictures there are none."""

    def __init__(self, index: PacketIndex | None) -> None:
        self._index = index
        if index is None or index.frame_count == 0:
            self.starts_s = np.zeros(0)
            return
        ticks = np.append(index.frame_pts, max(index.end_ticks, int(index.frame_pts[-1]) + 1))
        self.starts_s = ticks * float(index.timebase)

    @property
    def count(self) -> int:
        return max(0, len(self.starts_s) - 1)

    @property
    def first_s(self) -> float:
        return float(self.starts_s[0])

    def of(self, span: Span) -> tuple[int, int]:
        """First frame of a span and the frame it ends before. Exact where the span has the timebase of the index."""
        if self._index is None or not self.count:
            return 0, 0
        span = span if span.timebase == self._index.timebase else span.to_timebase(self._index.timebase)
        first = self._index.frame_at(span.start)
        end = int(np.searchsorted(self._index.frame_pts, span.end, side="left"))
        return first, max(end, first + 1)


def _index(ws: Workspace, row: AssetRow) -> PacketIndex | None:
    if not row.asset.first("video"):
        return None
    try:
        return PacketIndex.from_bytes(ws.library.index(row.asset.id))
    except NotFound:
        return None


def _rate(track: Track | None) -> float | None:
    return float(track.mean_rate) if track and track.mean_rate else None


def _by_kind(findings: Iterable[Finding]) -> Mapping[str, list[Finding]]:
    found: dict[str, list[Finding]] = {}
    for finding in findings:
        found.setdefault(finding.kind, []).append(finding)
    return found


# Lanes


def _shots(
    clips: Sequence[ClipRow], by_kind: Mapping[str, list[Finding]], frames: Frames, lang: str
) -> Iterator[ShotRow]:
    transitions, motions, colours = (
        {_stretch_of(f.clip): f for f in by_kind.get(kind, ())}
        for kind in ("shot.transition", "motion.class", "colour.dominant")
    )
    for row in clips:
        key = _stretch_of(row.clip)
        if key not in transitions:
            continue  # a clip somebody marked, not a shot
        first, end = frames.of(row.span)
        motion = motions.get(key)
        yield ShotRow(
            clip_id=row.id,
            first_frame=first,
            end_frame=end,
            start_s=row.span.start_s,
            end_s=row.span.end_s,
            transition=_transition(transitions[key], first),
            tags=(summary_of(motion, lang),) if motion else (),
            colour=_colour(colours.get(key)),
        )


def _stretch_of(clip: Clip) -> tuple[int, int, int]:
    """What tells clips of one asset apart; cheaper than their ids."""
    return clip.track, clip.span.start, clip.span.end


def _transition(finding: Finding, first: int) -> TransitionView:
    value = finding.value
    return TransitionView(
        type=str(value.get("type", "cut")),
        first_frame=int(value.get("first_frame", first)),
        last_frame=int(value.get("last_frame", first)),
        confidence=float(finding.confidence if finding.confidence is not None else value.get("confidence", 1.0)),
    )


def _colour(finding: Finding | None) -> str | None:
    """The first colour of a clip as `#rrggbb`."""
    listed = (finding.value.get("colours") or ()) if finding else ()
    for item in listed:
        found = item.get("hex") if isinstance(item, Mapping) else None
        if isinstance(found, str) and len(found) == 7 and found.startswith("#"):
            return found
    return None


def _captions(by_kind: Mapping[str, list[Finding]], frames: Frames) -> list[CaptionRow]:
    """What is written in the picture and what is said, in order of time; what stands there all along comes last."""
    rows = [
        _caption(finding, kind, frames)
        for kind in ("text.caption", "speech.transcript", "text.persistent")
        for finding in by_kind.get(kind, ())
    ]
    return sorted(rows, key=lambda row: (row.is_persistent, row.start_s, row.is_spoken))


def _caption(finding: Finding, kind: str, frames: Frames) -> CaptionRow:
    span = finding.clip.span
    text = shown(" ".join(str(finding.value.get("text", "")).split()))
    persistent, spoken = kind == "text.persistent", kind == "speech.transcript"
    return CaptionRow(text, *frames.of(span), span.start_s, span.end_s, finding.confidence, persistent, spoken)


def _stretches(by_kind: Mapping[str, list[Finding]]) -> list[Stretch]:
    found = [
        Stretch(f.clip.span.start_s, f.clip.span.end_s, name, f.confidence)
        for kind, name in (("speech.segment", "speech"), ("audio.silence", "silence"))
        for f in by_kind.get(kind, ())
    ]
    return sorted(found, key=lambda stretch: stretch.start_s)


def _loudness(by_kind: Mapping[str, list[Finding]]) -> LoudnessView | None:
    """The curve of the whole track, if it was measured."""
    value = next((f.value for f in by_kind.get("audio.loudness", ()) if "curve_lufs" in f.value), None)
    if value is None:
        return None
    return LoudnessView(
        start_s=float(value["curve_start_s"]),
        step_s=float(value["curve_step_s"]),
        values_lufs=tuple(value["curve_lufs"]),
        integrated_lufs=value.get("integrated_lufs"),
    )


def _peaks(row: AssetRow, extras: Mapping[str, Extra]) -> Peaks | None:
    extra = extras.get(PEAKS)
    if extra is None or not isinstance(extra.value, Mapping):
        return None
    value = extra.value
    return Peaks(f"/assets/{row.asset.id}/peaks", int(value["count"]), float(value["start_s"]), float(value["end_s"]))


# Findings


def _groups(findings: Iterable[Finding], frames: Frames, lang: str) -> Iterator[FindingGroup]:
    def key(finding: Finding) -> tuple[str, str, str]:
        return finding.kind, finding.producer, finding.version

    wanted = sorted((f for f in findings if f.kind not in _LISTED_ELSEWHERE), key=key)
    for (kind, producer, version), group in itertools.groupby(wanted, key):
        listed = list(group)
        rows = tuple(_finding_row(f, frames, lang) for f in listed[:_MOST_ROWS])
        yield FindingGroup(kind, kind_name(kind, lang), producer, version, len(listed), rows)


def _finding_row(finding: Finding, frames: Frames, lang: str) -> FindingRow:
    span = finding.clip.span
    first = frames.of(span)[0] if frames.count else None
    summary = shown(summary_of(finding, lang))
    return FindingRow(span.start_s, span.end_s, first, summary, finding.confidence, finding.reason)


# Facts


def _facts(ws: Workspace, row: AssetRow, extras: Mapping[str, Extra], lang: str, caller: Caller) -> Iterator[FactGroup]:
    asset = row.asset

    def fact(name: str, value: Any) -> Fact:
        return Fact(word(f"web.fact.{name}", lang), str(value))

    known = row.locations if caller.is_operator else ()  # folders of this machine are nobody else's business
    places = tuple(fact("place", shown(place.path)) for place in known)
    yield FactGroup(
        word("web.facts.file", lang),
        (
            *places,
            fact("size", size(asset.size_bytes)),
            fact("container", asset.container),
            fact("duration", clock(float(asset.duration), 3)),
            fact("digest", asset.id),
        ),
    )
    for track in asset.tracks:
        yield FactGroup(word(f"web.track.{track.kind}", lang) + f" · {track.index}", tuple(_track_facts(track, lang)))
    yield FactGroup(word("web.facts.terms", lang), tuple(_terms_facts(ws, row, lang)))
    if row.scan:
        producers = ", ".join(f"{name} {version}" for name, version in row.scan.items())
        report = extras[REPORT].value if REPORT in extras else {}
        told = [fact(name, report[name]) for name in ("strategy", "frames_decoded") if report.get(name)]
        yield FactGroup(word("web.facts.scan", lang), (*told, fact("producers", producers)))


def _track_facts(track: Track, lang: str) -> Iterator[Fact]:
    shown_size, stored = track.shown_size_px, (track.width_px, track.height_px)
    given = {
        "codec": track.codec,
        "size_px": f"{shown_size[0]} × {shown_size[1]}" if shown_size else None,
        "stored": f"{track.width_px} × {track.height_px}" if shown_size and shown_size != stored else None,
        "rotation": f"{track.rotation_deg}°" if track.rotation_deg else None,
        "rate": f"{float(track.mean_rate):.3f}".rstrip("0").rstrip(".") if track.mean_rate else None,
        "variable_rate": word("web.yes", lang) if track.is_variable_rate else None,
        "interlaced": word("web.yes", lang) if track.is_interlaced else None,
        "frames": track.frame_count or None,
        "pixels": track.pixel_format,
        "sample_rate": f"{track.sample_rate_hz} Hz" if track.sample_rate_hz else None,
        "channels": track.channels,
        "language": track.language,
        "title": shown(track.title) if track.title else None,
    }
    for name, value in given.items():
        if value is not None:
            yield Fact(word(f"web.fact.{name}", lang), str(value))


def _terms_facts(ws: Workspace, row: AssetRow, lang: str) -> Iterator[Fact]:
    def fact(name: str, value: Any) -> Fact:
        return Fact(word(f"web.fact.{name}", lang), str(value))

    yield fact("owner", owner_name(ws, row.asset.owner_id))
    try:
        terms: Terms = terms_of(ws, row.asset.terms_id)
    except NotFound as error:
        yield fact("terms", error.message(lang))
        return
    everywhere = word("web.any", lang)
    yield fact("terms", terms.name)
    yield fact("uses", ", ".join(word(f"web.use.{use}", lang) for use in terms.uses) or word("web.none", lang))
    yield fact("purposes", ", ".join(terms.purposes) or everywhere)
    yield fact("territories", ", ".join(terms.territories) or everywhere)
    if terms.starts or terms.ends:
        yield fact("period", f"{terms.starts or '…'} – {terms.ends or '…'}")
    if terms.attribution:
        yield fact("attribution", terms.attribution)
