"""OpenTimelineIO: pictures, their own sound, voice and music on tracks of their own; captions as markers."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path
from typing import Any

from malan.apps.promo.timelines.edit import Cut, Edit, Reel, Track


def otio_json(edit: Edit) -> str:
    """The timeline. Sources are counted at their own rate, from their own timecode."""
    import opentimelineio as otio

    timeline = otio.schema.Timeline(edit.title, global_start_time=_at(otio, 0, Fraction(edit.rate)))
    pictures = otio.schema.Track("V1", kind=otio.schema.TrackKind.Video)
    pictures.extend(_clip(otio, cut, edit.rate) for cut in edit.cuts)
    pictures.markers.extend(_markers(otio, edit))
    timeline.tracks.append(pictures)
    if any(cut.is_heard for cut in edit.cuts):
        own = otio.schema.Track("A1", kind=otio.schema.TrackKind.Audio)
        own.extend(_clip(otio, cut, edit.rate) if cut.is_heard else _gap(otio, cut, edit.rate) for cut in edit.cuts)
        timeline.tracks.append(own)
    for track in edit.tracks:
        heard = otio.schema.Track(track.kind, kind=otio.schema.TrackKind.Audio)
        heard.append(_sound(otio, track, edit))
        timeline.tracks.append(heard)
    return str(otio.adapters.write_to_string(timeline, "otio_json"))


def _clip(otio: Any, cut: Cut, rate: int) -> Any:
    reel = cut.reel
    length = round(Fraction(cut.frames, rate) * reel.rate)
    used = _range(otio, reel.first + cut.first, length, reel.rate)
    facts = {"malan": {"clip": cut.clip}, "cmx_3600": {"reel": reel.name}}
    return otio.schema.Clip(reel.path.name, _reference(otio, reel), used, facts)


def _reference(otio: Any, reel: Reel) -> Any:
    available = _range(otio, reel.first, reel.frames, reel.rate)
    return otio.schema.ExternalReference(reel.path.as_uri(), available)


def _gap(otio: Any, cut: Cut, rate: int) -> Any:
    return otio.schema.Gap(duration=_at(otio, cut.frames, Fraction(rate)))


def _sound(otio: Any, track: Track, edit: Edit) -> Any:
    rate = Fraction(edit.rate)
    begin, whole = round(track.start * rate), round(track.length * rate)
    used = _range(otio, begin, max(0, min(edit.frames, whole - begin)), rate)
    reference = otio.schema.ExternalReference(Path(track.path).as_uri(), _range(otio, 0, whole, rate))
    return otio.schema.Clip(track.path.name, reference, used, {"malan": {"gain_db": track.gain_db}})


def _markers(otio: Any, edit: Edit) -> list[Any]:
    rate = Fraction(edit.rate)
    return [
        otio.schema.Marker(
            line.text, _range(otio, round(line.begin * rate), round((line.end - line.begin) * rate), rate), "WHITE",
            {"malan": {"style": line.style}},
        )
        for line in edit.lines
    ]  # fmt: skip


def _range(otio: Any, first: int, frames: int, rate: Fraction) -> Any:
    return otio.opentime.TimeRange(_at(otio, first, rate), _at(otio, frames, rate))


def _at(otio: Any, frame: int, rate: Fraction) -> Any:
    return otio.opentime.RationalTime(frame, float(rate))
