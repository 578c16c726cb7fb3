"""Edit lists: the clips as references into the owners' files, for an editing system. No media is cut or copied."""

from __future__ import annotations

from collections.abc import Iterator
from fractions import Fraction
from itertools import groupby
from pathlib import Path
from typing import Any

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
            text = "\n".join(_edl_lines(view.snapshot.name, items)) + "\n"
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
    start, end = time(span.start * span.timebase), time(span.end * span.timebase)
    available = otio.opentime.TimeRange(otio.opentime.RationalTime(0, rate), time(item.source_duration))
    reference = otio.schema.ExternalReference(item.source.resolve().as_uri(), available)
    facts = {"malan": item.facts()}
    return otio.schema.Clip(item.title, reference, otio.opentime.TimeRange(start, end - start), facts)


def _edl_lines(title: str, items: list[Item]) -> Iterator[str]:
    """CMX 3600: a header, then for each event a line of 8 fixed columns and comments."""
    yield f"TITLE: {_ascii(title)[:70]}"
    yield "FCM: NON-DROP FRAME"
    record = 0
    for number, item in enumerate(items[:999], 1):
        rate, span = item.rate or Fraction(25), item.clip.span
        first, last = (round(tick * span.timebase * rate) for tick in (span.start, span.end))
        times = (first, last, record, record + last - first)
        yield f"{number:03d}  {item.clip.asset_id[:8].upper():<8} V     C        " + " ".join(
            _smpte(t, rate) for t in times
        )
        yield f"* FROM CLIP NAME: {item.source.name}"
        yield f"* MALAN CLIP: {item.clip.id}"
        record += last - first


def _smpte(frame: int, rate: Fraction) -> str:
    """`HH:MM:SS:FF`, not dropping frames: 29.97 counts 30 to the second (SMPTE ST 12-1)."""
    per_second = max(1, round(rate))
    seconds, frames = divmod(frame, per_second)
    return f"{seconds // 3600:02d}:{seconds // 60 % 60:02d}:{seconds % 60:02d}:{frames:02d}"


def _ascii(text: str) -> str:
    return text.encode("ascii", "replace").decode()


def _file(name: str, encoding: str) -> dict[str, Any]:
    return {"@type": "cr:FileObject", "@id": name, "name": name, "contentUrl": name, "encodingFormat": encoding}
