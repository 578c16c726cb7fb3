"""What a worker does with one plain file. Each function returns plain JSON values; `files.py` calls them."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path
from typing import Any

from malan.core import Track
from malan.core.catalogue import say


def probe(path: str) -> dict[str, Any]:
    from malan.media.probe import probe as probe_media

    found = probe_media(path)
    return {
        "file": path,
        "container": found.container,
        "duration_s": float(found.duration),
        "duration": _exact(found.duration),
        "start_s": float(found.start_s),
        "size_bytes": found.size_bytes,
        "tracks": [_track(track) for track in found.tracks],
        "chapters": [{"start_s": float(c.start), "end_s": float(c.end), "title": c.title} for c in found.chapters],
        "tags": dict(found.tags),
        "warnings": [{"code": code, "message": say(code)} for code in found.warnings],
    }


def index(path: str, packets: bool) -> dict[str, Any]:
    from malan.media.index import build_index

    found = build_index(path)
    size = len(found.to_bytes())
    said: dict[str, Any] = {
        "file": path,
        "timebase": _exact(found.timebase),
        "packets": found.packet_count,
        "frames": found.frame_count,
        "key_frames": len(found.key_frames),
        "media_bytes": int(found.size_bytes.sum()),
        "index_bytes": size,
        "bytes_per_frame": round(size / max(1, found.frame_count), 2),
    }
    if packets:
        columns = (found.pts, found.dts, found.size_bytes, found.position, found.flags, found.frame_of_packet)
        names = ("pts", "dts", "size_bytes", "position", "flags", "frame")
        said["list"] = [dict(zip(names, map(int, row), strict=True)) for row in zip(*columns, strict=True)]
    return said


def shots(path: str, mode: str) -> dict[str, Any]:
    from malan.curation.shots import detect_shots
    from malan.media.index import build_index

    packets = build_index(path)
    report = detect_shots(path, packets, mode=mode)
    return {
        "file": path,
        "strategy": report.strategy,
        "frames": report.frames,
        "frames_decoded": report.frames_decoded,
        "cpu_s": round(report.cpu_s, 4),
        "predicted_cpu_s": round(report.predicted_cpu_s, 4),
        "shots": [_shot(packets, shot) for shot in report.shots],
    }


def captions(path: str, srt: str | None) -> dict[str, Any]:
    from malan.curation.captions import read_captions, to_srt
    from malan.inference.ocr import OnnxTextReader
    from malan.media.index import build_index

    packets = build_index(path)
    report = read_captions(path, packets, OnnxTextReader())
    if srt is not None:
        Path(srt).write_text(to_srt(report.captions, packets), "utf-8")
    return {
        "file": path,
        "frames_decoded": report.frames_decoded,
        "ocr_calls": report.ocr_calls,
        "cpu_s": round(report.cpu_s, 4),
        "captions": [_caption(packets, caption) for caption in report.captions],
        "persistent": [_caption(packets, caption) for caption in report.persistent],
        **({"srt": srt} if srt else {}),
    }


def thumbnails(path: str, out: str, columns: int, height_px: int) -> dict[str, Any]:
    from malan.curation.shots import detect_shots
    from malan.media.index import build_index
    from malan.media.thumbs import contact_sheet
    from malan.services.files.labels import carry

    packets = build_index(path)
    found = detect_shots(path, packets).shots
    frames = [(shot.first + shot.end) // 2 for shot in found]
    contact_sheet(path, packets, frames, Path(out), columns=columns, height_px=height_px)
    carry(path, out)
    return {"file": path, "out": out, "shots": len(found), "frames": frames}


def label(path: str, out: str, fields: list[str]) -> dict[str, Any]:
    from malan.media.credentials import has_credential
    from malan.media.labels import Label, verify, write_label
    from malan.services.files.labels import note, told

    written = write_label(path, out, Label(*fields))
    said = told(verify(out))
    if has_credential(path):
        said["reasons"].append(note("label.breaks_credential"))
    return {
        "file": path,
        "out": out,
        "size_bytes": written.size_bytes,
        "bytes_put": written.bytes_put,
        "is_in_place": written.is_in_place,
        "read_back_by": written.read_back_by,
        **said,
    }


def _shot(packets: Any, shot: Any) -> dict[str, Any]:
    span = packets.span(shot.first, shot.end)
    change = shot.transition
    return {
        "start_frame": shot.first,
        "end_frame": shot.end,
        "start_s": round(span.start_s, 6),
        "end_s": round(span.end_s, 6),
        "transition": {
            "type": change.type,
            "first_frame": change.first_frame,
            "last_frame": change.last_frame,
            "confidence": round(change.confidence, 3),
        },
    }


def _caption(packets: Any, caption: Any) -> dict[str, Any]:
    span = packets.span(caption.first_frame, caption.end_frame)
    return {
        "text": caption.text,
        "start_frame": caption.first_frame,
        "end_frame": caption.end_frame,
        "start_s": round(span.start_s, 6),
        "end_s": round(span.end_s, 6),
        "box": list(caption.box),
        "confidence": round(caption.confidence, 3),
        "language": caption.language,
    }


def _track(track: Track) -> dict[str, Any]:
    """The fields that apply, exact numbers as `a/b`."""
    values = {name: getattr(track, name) for name in Track.__dataclass_fields__}
    plain = {name: _exact(value) if isinstance(value, Fraction) else value for name, value in values.items()}
    return {name: value for name, value in plain.items() if value is not None}


def _exact(value: Fraction) -> str:
    return f"{value.numerator}/{value.denominator}"
