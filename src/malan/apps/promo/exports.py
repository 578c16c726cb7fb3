"""The promo as a timeline for editing systems: OpenTimelineIO, FCPXML, CMX 3600, JianYing. References, no media.

Start reading at `write_timelines`.
"""

from __future__ import annotations

import json
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING, Any
from uuid import NAMESPACE_URL, uuid5
from xml.sax.saxutils import quoteattr

from malan.apps.promo.board import Storyboard
from malan.apps.promo.build import Built
from malan.apps.promo.request import format_of
from malan.datasets.exporters.timeline import EdlEvent, edl_text

if TYPE_CHECKING:
    from malan.services.clips import ClipRow
    from malan.services.picking import Footage


def write_timelines(board: Storyboard, built: Built, out: Path, stem: str = "promo") -> dict[str, Path]:
    """Write all of them, called `stem`; by what they are."""
    made = {
        "otio": (out / f"{stem}.otio", _otio(board, built)),
        "fcpxml": (out / f"{stem}.fcpxml", _fcpxml(board, built)),
        "edl": (out / f"{stem}.edl", _edl(board, built)),
        "jianying": (out / "jianying" / "draft_content.json", _jianying(board, built)),
    }
    for path, text in made.values():
        path.parent.mkdir(exist_ok=True)
        path.write_text(text, "utf-8")
    return {name: path for name, (path, _) in made.items()}


def _otio(board: Storyboard, built: Built) -> str:
    import opentimelineio as otio

    rate = float(board.rate)
    timeline = otio.schema.Timeline(board.title or "promo")
    track = otio.schema.Track("V1", kind=otio.schema.TrackKind.Video)
    for shot, row, file in zip(board.shots, built.rows, built.footage, strict=True):
        start = otio.opentime.RationalTime(round(shot.from_s * rate), rate)
        used = otio.opentime.TimeRange(start, otio.opentime.RationalTime(shot.frames, rate))
        reference = otio.schema.ExternalReference(file.path.resolve().as_uri())
        track.append(otio.schema.Clip(row.file_name, reference, used, {"malan": {"clip": row.id}}))
    timeline.tracks.append(track)
    return str(otio.adapters.write_to_string(timeline, "otio_json"))


def _edl(board: Storyboard, built: Built) -> str:
    rate = Fraction(board.rate)
    firsts = [round(shot.from_s * rate) for shot in board.shots]
    events = [
        EdlEvent(row.clip.asset_id, row.file_name, row.id, first, first + shot.frames, rate)
        for first, shot, row in zip(firsts, board.shots, built.rows, strict=True)
    ]  # fmt: skip
    return edl_text(board.title or "promo", events)


def _fcpxml(board: Storyboard, built: Built) -> str:
    """FCPXML 1.10: Final Cut Pro, DaVinci Resolve and Premiere read it."""
    form = format_of(board.formats[0], board.lines)

    def time(frames: int) -> str:
        return f"{frames}/{board.rate}s"

    assets: dict[str, tuple[str, Footage, ClipRow]] = {}
    spine, at = [], 0
    for shot, row, file in zip(board.shots, built.rows, built.footage, strict=True):
        name = assets.setdefault(row.clip.asset_id, (f"a{len(assets) + 1}", file, row))[0]
        start = round(shot.from_s * board.rate)
        spine.append(
            f'      <asset-clip ref="{name}" name={quoteattr(row.file_name)} offset="{time(at)}" '
            f'start="{time(start)}" duration="{time(shot.frames)}" format="r1"/>'
        )
        at += shot.frames
    listed = [
        f'    <asset id="{name}" name={quoteattr(row.file_name)} hasVideo="1" '
        f'hasAudio="{int(file.sound_track is not None)}" start="0s" format="r1">'
        f'<media-rep kind="original-media" src={quoteattr(file.path.resolve().as_uri())}/></asset>'
        for name, file, row in assets.values()
    ]
    return "\n".join(
        [
            '<?xml version="1.0" encoding="UTF-8"?>', "<!DOCTYPE fcpxml>", '<fcpxml version="1.10">', "  <resources>",
            f'    <format id="r1" frameDuration="1/{board.rate}s" width="{form.width}" height="{form.height}"/>',
            *listed, "  </resources>", "  <library><event><project " + f"name={quoteattr(board.title or 'promo')}>",
            f'    <sequence format="r1" duration="{time(at)}"><spine>', *spine, "    </spine></sequence>",
            "  </project></event></library>", "</fcpxml>", "",
        ]
    )  # fmt: skip


def _jianying(board: Storyboard, built: Built) -> str:
    """A draft as 剪映 5.9 keeps it: materials, and tracks of segments that point to them; times in microseconds."""
    form = format_of(board.formats[0], board.lines)
    videos: dict[str, dict[str, Any]] = {}
    segments: list[dict[str, Any]] = []
    at = 0
    for number, (shot, row, file) in enumerate(zip(board.shots, built.rows, built.footage, strict=True)):
        path = str(file.path.resolve())
        material = videos.setdefault(path, _material(path, row.file_name, file.video.shown_size_px or (0, 0)))
        material["duration"] = max(
            material["duration"], _us(Fraction(shot.from_s)) + _us(Fraction(shot.frames, board.rate))
        )
        segments.append(
            _segment(f"{number}", material["id"], shot.from_s, at, shot.frames, board.rate, 1.0 if shot.sound else 0.0)
        )
        at += shot.frames
    texts, lines = _texts(built)
    draft = {
        "canvas_config": {"width": form.width, "height": form.height, "ratio": "original"},
        "duration": _us(board.duration),
        "fps": float(board.rate),
        "id": _id("draft", board.to_json()),
        "name": board.title or "promo",
        "materials": {"videos": list(videos.values()), "texts": texts, "audios": []},
        "tracks": [
            {"id": _id("track", "video"), "type": "video", "segments": segments},
            *([{"id": _id("track", "text"), "type": "text", "segments": lines}] if lines else []),
        ],
        "version": 360000,
        "new_version": "110.0.0",
    }
    return json.dumps(draft, ensure_ascii=False, indent=1) + "\n"


def _material(path: str, name: str, size: tuple[int, int]) -> dict[str, Any]:
    held = {"id": _id("video", path), "path": path, "material_name": name, "type": "video"}
    return {**held, "duration": 0, "width": size[0], "height": size[1], "has_audio": True}


def _segment(name: str, material: str, from_s: float, at: int, frames: int, rate: int, volume: float) -> dict[str, Any]:
    length = _us(Fraction(frames, rate))
    return {
        "id": _id("segment", name),
        "material_id": material,
        "source_timerange": {"start": _us(Fraction(from_s)), "duration": length},
        "target_timerange": {"start": _us(Fraction(at, rate)), "duration": length},
        "speed": 1.0,
        "volume": volume,
        "visible": True,
    }


def _texts(built: Built) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    texts, segments = [], []
    for number, line in enumerate(built.captions):
        name = _id("text", f"{number}")
        content = json.dumps(
            {"text": line.text, "styles": [{"range": [0, len(line.text)], "size": 8.0}]}, ensure_ascii=False
        )
        texts.append({"id": name, "type": "subtitle", "content": content})
        timing = {"start": _us(line.begin), "duration": _us(line.end - line.begin)}
        segments.append(
            {"id": _id("line", f"{number}"), "material_id": name, "target_timerange": timing, "visible": True}
        )
    return texts, segments


def _us(seconds: Fraction) -> int:
    return round(seconds * 1_000_000)


def _id(kind: str, name: str) -> str:
    return str(uuid5(NAMESPACE_URL, f"malan:{kind}:{name}")).upper()
