"""Edit lists: the clips as references into the owners' files, for an editing system. No media is cut or copied."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from fractions import Fraction
from itertools import groupby
from pathlib import Path
from typing import Any

from malan.core import Clip
from malan.datasets.exporters.base import Exporter, Item, Step, View


class Otio(Exporter):
    """`timeline.otio`: one OpenTimelineIO track an asset, its clips in the order of time."""

    name = "otio"
    needs_media = False

    def write(self, view: View, out: Path, step: Step) -> None:
        import opentimelineio as otio

        timeline = otio.schema.Timeline(view.snapshot.name)
        timeline.metadata["malan"] = {"snapshot": view.snapshot.id}
        done = 0
        for items in _by_asset(view):
            track = otio.schema.Track(items[0].title, kind=otio.schema.TrackKind.Video)
            for item in items:
                track.append(_otio_clip(otio, item))
                done += 1
                step(done, len(view.items), item.title)
            timeline.tracks.append(track)
        otio.adapters.write_to_file(timeline, str(out / "timeline.otio"))

    def resources(self, view: View) -> list[dict[str, Any]]:  # noqa: ARG002
        return [_file("timeline.otio", "application/vnd.otio+json")]


class CmxEdl(Exporter):
    """`edl/NAME.edl`: one CMX 3600 list an asset. Source times count from the first frame as 00:00:00:00."""

    name = "edl"
    needs_media = False

    def write(self, view: View, out: Path, step: Step) -> None:
        (out / "edl").mkdir()
        done = 0
        for items in _by_asset(view):
            events = [edl_event(i.clip, i.source.name, i.rate or Fraction(25), i.origin_s) for i in items]
            text = edl_text(view.snapshot.name, events)
            (out / "edl" / f"{items[0].clip.asset_id[:24]}.edl").write_text(text, "utf-8")
            done += len(items)
            step(done, len(view.items), items[0].title)

    def resources(self, view: View) -> list[dict[str, Any]]:  # noqa: ARG002
        return [
            {
                "@type": "cr:FileSet",
                "@id": "edl",
                "name": "edl",
                "encodingFormat": "text/plain",
                "includes": "edl/*.edl",
            }
        ]


def _by_asset(view: View) -> Iterator[list[Item]]:
    """The items with a picture of one asset after the other, each in the order of time."""
    items = [item for item in view.items if item.rate]
    items.sort(key=lambda item: (item.clip.asset_id, item.clip.span.start))
    return (list(group) for _, group in groupby(items, key=lambda item: item.clip.asset_id))


def _otio_clip(otio: Any, item: Item) -> Any:
    rate = float(item.rate or 25)

    def time(seconds: Fraction) -> Any:
        return otio.opentime.RationalTime(round(seconds * (item.rate or 25)), rate)

    span = item.clip.span
    start, end = (time(tick * span.timebase - item.origin_s) for tick in (span.start, span.end))
    available = otio.opentime.TimeRange(otio.opentime.RationalTime(0, rate), time(item.source_duration))
    reference = otio.schema.ExternalReference(item.source.resolve().as_uri(), available)
    facts = {"malan": item.facts()}
    return otio.schema.Clip(item.title, reference, otio.opentime.TimeRange(start, end - start), facts)


@dataclass(frozen=True)
class EdlEvent:
    """One event of an edit list: frames `first` to `last` (excluded) of a source, counted from its first frame."""

    source_id: str
    file_name: str
    clip_id: str
    first: int
    last: int
    rate: Fraction


def edl_event(item_clip: Clip, file_name: str, rate: Fraction, origin_s: Fraction) -> EdlEvent:
    """The event of a clip of a source whose first frame is shown at `origin_s` on the file's clock."""
    span = item_clip.span
    first, last = (round((tick * span.timebase - origin_s) * rate) for tick in (span.start, span.end))
    return EdlEvent(item_clip.asset_id, file_name, item_clip.id, max(0, first), max(0, last), rate)


def edl_text(title: str, events: Sequence[EdlEvent]) -> str:
    """A CMX 3600 list: a header, then a line of fixed columns an event, with its file and clip as comments.

    Numbers run on past 999 with four digits, as editing systems read them; nothing is left out.
    """
    lines, record = [f"TITLE: {_ascii(title)[:70]}", "FCM: NON-DROP FRAME"], 0
    for number, event in enumerate(events, 1):
        times = (event.first, event.last, record, record + event.last - event.first)
        where = " ".join(_smpte(frame, event.rate) for frame in times)
        lines.append(f"{number:03d}  {event.source_id[:8].upper():<8} V     C        {where}")
        lines += [f"* FROM CLIP NAME: {_one_line(event.file_name)}", f"* MALAN CLIP: {event.clip_id}"]
        record += event.last - event.first
    return "\n".join([*lines, ""])


def _smpte(frame: int, rate: Fraction) -> str:
    """`HH:MM:SS:FF`, not dropping frames: 29.97 counts 30 to the second (SMPTE ST 12-1)."""
    per_second = max(1, round(rate))
    seconds, frames = divmod(frame, per_second)
    return f"{seconds // 3600:02d}:{seconds // 60 % 60:02d}:{seconds % 60:02d}:{frames:02d}"


def _one_line(name: str) -> str:
    """A file name that cannot end its comment: what does not print, or is not Unicode, shows as `?`."""
    return "".join(letter if letter.isprintable() else "?" for letter in name)


def _ascii(text: str) -> str:
    return text.encode("ascii", "replace").decode()


def _file(name: str, encoding: str) -> dict[str, Any]:
    return {"@type": "cr:FileObject", "@id": name, "name": name, "contentUrl": name, "encodingFormat": encoding}
