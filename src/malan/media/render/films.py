"""Timeline and sound to finished films. What was rendered before under the same key is copied, packet by packet.

    pieces whose key is not on the shelf ─ an ffmpeg process a stretch ─▶ shelf/<format>-<digest>.mp4, keys in its .json
    all pieces ─ packets from the shelf ─┬─▶ film.mp4
    sound.m4a ──────── packets ──────────┘

Every piece begins with a closed GOP of its own, all with the same parameters, so that pieces can be joined without
touching them. Start reading at `render`.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from fractions import Fraction
from functools import partial
from pathlib import Path
from typing import Any

import av

from malan.core.errors import MediaError, StoreError
from malan.core.ids import digest_record
from malan.media.render.graph import input_options, picture_graph
from malan.media.render.process import Tell, from_fd, readable, run_ffmpeg
from malan.media.render.stretches import at_once, cut_into, side_by_side
from malan.media.render.timeline import Format, Timeline

PRESET, CRF, GOP_S, THREADS = "veryfast", 20, 2, 2
ENCODER = f"libx264 {PRESET} crf={CRF} gop={GOP_S}s threads={THREADS} bt709 v6"


@dataclass(frozen=True, slots=True)
class Rendered:
    """A film a format, and how much of it had to be made anew."""

    films: Mapping[str, Path]
    frames: int  # of one film
    encoded: int  # frames of one film that were encoded now


@dataclass(frozen=True, slots=True)
class _Part:
    """Where on the shelf a piece lies."""

    file: Path
    first: int
    frames: int


def render(
    timeline: Timeline,
    outs: Mapping[str, Path],
    shelf: Path,
    *,
    sound: Callable[[], Path] | Path | None = None,
    tell: Tell | None = None,
) -> Rendered:
    """Render a timeline to an mp4 a format, H.264 and the sound as it is.

    Args:
        outs: By name of the format, where the film shall be; a file that is there is replaced at the very end.
        shelf: A folder that keeps what was rendered; the next render of a changed timeline takes the rest from there.
        sound: An m4a as `mix_sound` leaves it, or what gives it: asked when the pictures are done.
        tell: Given the share done, 0 to 1. What it raises ends the work.

    Raises:
        MediaError: A file cannot be read, or is not what it was.
        StoreError: A film could not be written.
    """
    shelf.mkdir(parents=True, exist_ok=True)
    known = {form.name: _on_shelf(shelf, form) for form in timeline.formats}
    keys = {f.name: [timeline.key_of(n, f, ENCODER) for n in range(len(timeline.pieces))] for f in timeline.formats}
    missing = [
        number for number in range(len(timeline.pieces)) if any(keys[name][number] not in known[name] for name in keys)
    ]
    if missing:
        _encode(timeline, missing, keys, shelf, tell)
        known = {form.name: _on_shelf(shelf, form) for form in timeline.formats}
    heard = sound() if callable(sound) else sound
    for form in timeline.formats:
        parts = [known[form.name][key] for key in keys[form.name]]
        _join(parts, timeline, heard, outs[form.name])
    if tell:
        tell(1.0)
    return Rendered(dict(outs), timeline.frames, sum(timeline.pieces[number].frames for number in missing))


def _on_shelf(shelf: Path, form: Format) -> dict[str, _Part]:
    """What lies there of a format, by key; a file without its list, or a list without its file, is nothing."""
    found: dict[str, _Part] = {}
    for listed in sorted(shelf.glob(f"{form.name}-*.json")):
        film = listed.with_suffix(".mp4")
        try:
            held = json.loads(listed.read_text("utf-8"))
            parts = {key: _Part(film, int(first), int(frames)) for key, first, frames in held["pieces"]}
            is_whole = film.stat().st_size == held["size_bytes"]
        except (OSError, ValueError, KeyError, TypeError):
            continue
        if is_whole:
            found |= parts
    return found


def _encode(
    timeline: Timeline, numbers: Sequence[int], keys: Mapping[str, list[str]], shelf: Path, tell: Tell | None
) -> None:
    """Render some pieces in all formats, in stretches side by side, and put each on the shelf when it is done."""
    stretches = cut_into(timeline, numbers)
    work = [
        (sum(timeline.pieces[n].frames for n in some), partial(_encode_stretch, timeline, some, keys, shelf))
        for some in stretches
    ]
    side_by_side(work, at_once(timeline, stretches), tell)


def _encode_stretch(
    timeline: Timeline, numbers: Sequence[int], keys: Mapping[str, list[str]], shelf: Path, tell: Tell
) -> None:
    """Render consecutive pieces in all formats, in one process and one decode, and put them on the shelf."""
    name = digest_record("render.part", [[keys[form.name][n] for n in numbers] for form in timeline.formats])[:16]
    scripts, work = {}, f".malan-{os.getpid()}-{name}"
    with ExitStack() as stack:
        for form in timeline.formats:
            if form.name in timeline.written:
                script = f"{work}-{form.name}.ass"
                (shelf / script).write_text(timeline.written[form.name], "utf-8")
                stack.callback((shelf / script).unlink, missing_ok=True)
                scripts[form.name] = script
        parts = {form.name: shelf / f"{work}-{form.name}.mp4" for form in timeline.formats}
        for part in parts.values():
            stack.callback(part.unlink, missing_ok=True)
        with readable([timeline.pieces[n].path for n in numbers if timeline.pieces[n].path]) as fds:
            arguments = _arguments(timeline, numbers, scripts, parts, fds)
            frames = sum(timeline.pieces[n].frames for n in numbers)
            run_ffmpeg(arguments, fds, shelf, duration_s=float(frames / timeline.rate), tell=tell)
        for form in timeline.formats:
            _shelve(parts[form.name], shelf / f"{form.name}-{name}.mp4", timeline, numbers, keys[form.name])


def _arguments(
    timeline: Timeline, numbers: Sequence[int], scripts: dict[str, str], parts: Mapping[str, Path], fds: Sequence[int]
) -> list[str]:
    rate, arguments, left = timeline.rate, [], list(fds)
    for number in numbers:
        piece = timeline.pieces[number]
        if piece.path:
            arguments += ["-an", "-sn", "-dn", "-threads", "2", *input_options(piece, rate), *from_fd(left.pop(0))]
    arguments += ["-filter_complex", picture_graph(timeline, numbers, scripts)]
    for form in timeline.formats:
        arguments += ["-map", f"[v{form.name}]", *_encoder(timeline, numbers), f"file:{parts[form.name].name}"]
    return arguments


def _encoder(timeline: Timeline, numbers: Sequence[int]) -> list[str]:
    """A key frame, closed, where every piece begins; two seconds apart at most.

    `sync-lookahead=0`: with several threads x264's own lookahead thread makes one film in twenty different.
    """
    at, starts = 0, []
    for number in numbers:
        starts.append(f"{max(0.0, float((at - 0.5) / timeline.rate)):.6f}")
        at += timeline.pieces[number].frames
    rate = f"{timeline.rate.numerator}/{timeline.rate.denominator}"
    return [
        "-c:v", "libx264", "-preset", PRESET, "-crf", str(CRF), "-g", str(max(1, round(GOP_S * timeline.rate))),
        "-threads", str(THREADS), "-x264-params", "scenecut=0:open-gop=0:sync-lookahead=0", "-forced-idr", "1",
        "-force_key_frames", ",".join(starts), "-r", rate, "-fps_mode", "cfr",
        "-color_primaries", "bt709", "-color_trc", "bt709", "-colorspace", "bt709", "-color_range", "tv",
        "-map_metadata", "-1", "-fflags", "+bitexact", "-flags:v", "+bitexact", "-f", "mp4",
    ]  # fmt: skip


def _shelve(part: Path, film: Path, timeline: Timeline, numbers: Sequence[int], keys: Sequence[str]) -> None:
    """The film first, then the list that makes it count."""
    at, pieces = 0, []
    for number in numbers:
        pieces.append([keys[number], at, timeline.pieces[number].frames])
        at += timeline.pieces[number].frames
    size = part.stat().st_size
    part.replace(film)
    listed = film.with_suffix(".json")
    work = listed.with_name(f".malan-{os.getpid()}-{listed.name}")
    work.write_text(json.dumps({"size_bytes": size, "pieces": pieces}), "utf-8")
    work.replace(listed)


def _join(parts: Sequence[_Part], timeline: Timeline, sound: Path | None, out: Path) -> None:
    """Packets of all pieces under one clock, and those of the sound beside them."""
    work = out.with_name(f".malan-{os.getpid()}-{out.name}")
    try:
        with ExitStack() as stack:
            made = stack.enter_context(
                av.open(str(work), "w", format="mp4", options={"movflags": "+faststart", "fflags": "+bitexact"})
            )
            _write_packets(made, parts, timeline, sound, stack)
        work.replace(out)
    except OSError as error:
        raise StoreError("render.not_written", path=str(out), detail=error.strerror or str(error)) from error
    finally:
        work.unlink(missing_ok=True)


def _write_packets(made: Any, parts: Sequence[_Part], timeline: Timeline, sound: Path | None, stack: ExitStack) -> None:
    """Packets of the pieces, each under its new time, and those of the sound where they belong between them."""
    sources = {file: stack.enter_context(av.open(str(file))) for file in dict.fromkeys(part.file for part in parts)}
    heads = {bytes(source.streams.video[0].codec_context.extradata or b"") for source in sources.values()}
    if len(heads) != 1:
        raise MediaError("render.failed", detail="parameter sets differ")
    picture = made.add_stream_from_template(sources[parts[0].file].streams.video[0])
    picture.time_base = 1 / timeline.rate
    heard = _Heard(made, stack.enter_context(av.open(str(sound)))) if sound else None
    packets = {file: _packets_of(source, timeline) for file, source in sources.items()}
    ahead = max(one.delay for one in packets.values())  # a file of very few frames says less
    at = 0
    for part in parts:
        listed = packets[part.file]
        for place, packet in enumerate(listed.packets[part.first : part.first + part.frames]):
            new = av.Packet(packet.data)
            new.stream, new.time_base, new.is_keyframe = picture, 1 / timeline.rate, packet.is_key
            new.pts, new.dts, new.duration = at + packet.shown - part.first, at + place - ahead, 1
            if heard:
                heard.write_until(Fraction(new.dts) / timeline.rate)
            made.mux(new)
        at += part.frames
    if heard:
        heard.write_until(None)


class _Heard:
    """The packets of the sound, written as they are due."""

    def __init__(self, made: Any, source: Any) -> None:
        self._made = made
        self._stream = made.add_stream_from_template(source.streams.audio[0])
        self._packets = source.demux(source.streams.audio[0])
        self._next = next(self._packets, None)

    def write_until(self, moment_s: Fraction | None) -> None:
        """Those due at a moment; all of them at the end."""
        while (packet := self._next) is not None and packet.dts is not None:
            if moment_s is not None and packet.dts * packet.time_base > moment_s:
                return
            packet.stream = self._stream
            self._made.mux(packet)
            self._next = next(self._packets, None)


@dataclass(frozen=True, slots=True)
class _Packet:
    """A packet, the frame it shows, counted from the beginning of its file, and whether decoding can begin there."""

    shown: int
    data: bytes
    is_key: bool


@dataclass(frozen=True, slots=True)
class _Packets:
    """All packets of a file in decoding order, and by how many frames decoding runs ahead of showing."""

    packets: tuple[_Packet, ...]
    delay: int


def _packets_of(source: Any, timeline: Timeline) -> _Packets:
    found: list[_Packet] = []
    delay = 0
    for packet in source.demux(source.streams.video[0]):
        if packet.size and packet.pts is not None and packet.dts is not None:
            shown = round(packet.pts * packet.time_base * timeline.rate)
            if not found:
                delay = round((packet.pts - packet.dts) * packet.time_base * timeline.rate)
            found.append(_Packet(shown, bytes(packet), bool(packet.is_keyframe)))
    return _Packets(tuple(found), delay)
