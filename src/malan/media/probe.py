"""What a file holds: container, exact length, tracks, chapters, tags, and what is wrong with it.

Packets count, headers are only believed where nothing contradicts them. Start at `probe`; `register` makes the same
`Probe` from a whole pass.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
from av.audio.stream import AudioStream
from av.container import InputContainer
from av.stream import Disposition, Stream
from av.video.stream import VideoStream
from numpy.typing import NDArray

from malan.core import Track
from malan.core.errors import MediaError
from malan.media.index import CORRUPT, KEY, UNDECODABLE, PacketIndex, Repaired
from malan.media.open import check_size, has_decoder, open_container, open_plain
from malan.media.sniff import lacks_its_end, sample_codes, shown, still_picture
from malan.media.survey import Survey, picture_of

_SAMPLE = 600  # packets that tell the rate, when not all are read
_LEAST_BITS_PER_S = 400  # less than a silent telephone call
_STANDARD_RATES = [Fraction(n, d) for n in (24, 25, 30, 48, 50, 60, 100, 120) for d in (1,)] + [
    Fraction(n * 1000, 1001) for n in (24, 30, 48, 60, 120)
]
_INTERLACED = (2, 3, 4, 5)  # AVFieldOrder
_FIELD_ORDERS = {2: "tff", 3: "bff", 4: "tff", 5: "bff"}
_BRANDS = {"qt": "mov", "heic": "heic", "heix": "heic", "mif1": "heic", "avif": "avif", "M4A": "m4a"}
_COMMON_CODES = {"avc1", "avc3", "hvc1", "hev1", "av01", "vp09", "mp4v", "mp4a", "apcn", "apch", "apcs", "apco"}
_KINDS = {"video": "video", "audio": "audio", "subtitle": "subtitle", "data": "data", "attachment": "data"}
_PRIMING_S = Fraction(1, 4)  # sound before zero that an encoder needs to start and a decoder leaves out
_REORDERED = 17  # frames at the end of a sample whose neighbours may not have been read
_MAX_TAGS, _MAX_TAG_LENGTH = 200, 4000


@dataclass(frozen=True)
class Chapter:
    """A named stretch of the whole file, in seconds."""

    start: Fraction
    end: Fraction
    title: str


@dataclass(frozen=True)
class Probe:
    """What a file holds. Tracks in the order of the file; `warnings` are message codes (`media.warn.…`)."""

    container: str
    duration: Fraction  # seconds, from the first start to the last end
    size_bytes: int
    tracks: tuple[Track, ...]
    start_s: Fraction  # where the earliest track starts on the file's clock
    tags: Mapping[str, str]
    chapters: tuple[Chapter, ...] = ()
    warnings: tuple[str, ...] = ()

    def first(self, kind: str) -> Track | None:
        """The first track of a kind: video, audio, image, subtitle, data. A cover is an image."""
        return next((t for t in self.tracks if t.kind == kind), None)


def probe(path: str | Path) -> Probe:
    """What a file holds, from its header, its first packets and its first picture.

    All packets are read only where the header cannot be true. Counts frames only where the container states them.

    Raises:
        NotFound: There is no such file.
        MediaError: It is not media, or nothing in it can be used; the code says why.
    """
    container = open_container(path)
    try:
        fd = open_plain(path)
        try:
            return _quick_probe(container, fd, path)
        finally:
            os.close(fd)
    finally:
        container.close()


def _quick_probe(container: InputContainer, fd: int, path: str | Path) -> Probe:
    survey = Survey(container, path, picture_of(container))
    whole = not _is_plausible(container, os.fstat(fd).st_size)
    survey.read(container.streams, None if whole else _SAMPLE)
    return describe(container, survey, survey.index(), fd, path)


def _is_plausible(container: InputContainer, size_bytes: int) -> bool:
    """Whether the stated length could be true of a file of this size."""
    if not container.duration or container.duration < 0:
        return False
    return size_bytes * 8 * av.time_base / container.duration >= _LEAST_BITS_PER_S


def describe(
    container: InputContainer,
    survey: Survey,
    indexed: tuple[PacketIndex, Repaired] | None,
    fd: int,
    path: str | Path,
) -> Probe:
    """The `Probe` of an open container whose packets `survey` has read, wholly or in part.

    Raises:
        MediaError: Nothing in the file can be shown or heard.
    """
    _refuse_useless(container, survey, fd, path)
    still = is_still(container, fd)
    start, end = (Fraction(0), Fraction(0)) if still else _bounds(container, survey, indexed)
    tracks = [_still_track(survey, fd, path)] if still else _tracks(container, survey, indexed, end - start)
    return Probe(
        container=_container_name(container, fd),
        duration=end - start,
        size_bytes=os.fstat(fd).st_size,
        tracks=tuple(tracks),
        start_s=start,
        tags=_tags(container.metadata),
        chapters=() if still else _chapters(container),
        warnings=tuple(_warnings(container, survey, indexed, fd, end - start)),
    )


def is_still(container: InputContainer, fd: int) -> bool:
    """Whether the file is a picture, not a film: HEIC and AVIF are films of one frame to libav."""
    name = container.format.name
    one = name.startswith("mov") and not container.duration and not container.streams.audio
    return name.endswith("_pipe") or (one and still_picture(fd) is not None)


def _refuse_useless(container: InputContainer, survey: Survey, fd: int, path: str | Path) -> None:
    sounds = [s for s in container.streams.audio if survey.extents[s.index].packets]
    picture = survey.picture
    if picture is not None and not has_decoder(picture):
        raise _not_decodable(picture, fd, path)
    if picture is None and sounds and not any(map(has_decoder, sounds)):
        raise _not_decodable(sounds[0], fd, path)
    if survey.first_frame is None and not survey.is_heard:
        raise MediaError("media.damaged", path=shown(path))


def _not_decodable(stream: Stream, fd: int, path: str | Path) -> MediaError:
    """A codec that nobody has, or one that everybody has behind a header that makes no sense."""
    codes = sample_codes(fd)
    codec = codes[stream.index] if stream.index < len(codes) else "?"
    if codec in _COMMON_CODES:
        return MediaError("media.bad_header", path=shown(path), codec=codec)
    return MediaError("media.no_codec", path=shown(path), codec=codec)


def _bounds(
    container: InputContainer, survey: Survey, indexed: tuple[PacketIndex, Repaired] | None
) -> tuple[Fraction, Fraction]:
    """Seconds at which the earliest picture or sound starts and the latest ends."""
    if not survey.is_whole:
        start = Fraction(container.start_time or 0, av.time_base)
        return start, start + Fraction(container.duration or 0, av.time_base)
    edges = [_edges(stream, survey, indexed) for stream in (*container.streams.video, *container.streams.audio)]
    known = [edge for edge in edges if edge is not None]
    return (min(a for a, _ in known), max(b for _, b in known)) if known else (Fraction(0), Fraction(0))


def _edges(
    stream: Stream, survey: Survey, indexed: tuple[PacketIndex, Repaired] | None
) -> tuple[Fraction, Fraction] | None:
    ticks = _edge_ticks(stream, survey, indexed)
    timebase = stream.time_base or Fraction(1)
    return None if ticks is None or _is_cover(stream) else (ticks[0] * timebase, ticks[1] * timebase)


def _edge_ticks(stream: Stream, survey: Survey, indexed: tuple[PacketIndex, Repaired] | None) -> tuple[int, int] | None:
    if indexed is not None and stream is survey.picture and indexed[0].frame_count:
        return int(indexed[0].frame_pts[0]), indexed[0].end_ticks
    extent = survey.extents[stream.index]
    if extent.start is None or extent.end is None:
        return None
    primes = stream.type == "audio" and -_PRIMING_S / (stream.time_base or 1) < extent.start < 0
    return (0 if primes else extent.start), extent.end


def _is_cover(stream: Stream) -> bool:
    return bool(stream.disposition & Disposition.attached_pic)


def _tracks(
    container: InputContainer, survey: Survey, indexed: tuple[PacketIndex, Repaired] | None, duration: Fraction
) -> list[Track]:
    return [_track(stream, survey, indexed, duration) for stream in container.streams if stream.type in _KINDS]


def _track(stream: Stream, survey: Survey, indexed: tuple[PacketIndex, Repaired] | None, duration: Fraction) -> Track:
    timebase = stream.time_base or Fraction(1)
    ticks = _edge_ticks(stream, survey, indexed) if survey.is_whole else None
    start = stream.start_time or 0
    length = max(0, stream.duration or 0) or int(duration / timebase)
    language = stream.metadata.get("language")
    track = Track(
        index=stream.index,
        kind="image" if _is_cover(stream) else _KINDS[stream.type],
        codec=_codec_name(stream),
        timebase=timebase,
        start_ticks=ticks[0] if ticks else start,
        duration_ticks=ticks[1] - ticks[0] if ticks else length,
        language=None if language in (None, "", "und") else language,
        title=stream.metadata.get("title"),
    )
    if not has_decoder(stream):
        return track
    if isinstance(stream, VideoStream):
        return _with_picture(track, stream, survey, indexed if stream is survey.picture else None)
    return _with_sound(track, stream) if isinstance(stream, AudioStream) else track


def _codec_name(stream: Stream) -> str:
    return (
        stream.codec_context.codec.canonical_name if has_decoder(stream) else getattr(stream, "name", None) or "unknown"
    )


def _with_sound(track: Track, stream: AudioStream) -> Track:
    context = stream.codec_context
    return replace(track, sample_rate_hz=context.sample_rate or None, channels=context.channels or None)


def _with_picture(
    track: Track, stream: VideoStream, survey: Survey, indexed: tuple[PacketIndex, Repaired] | None
) -> Track:
    context = stream.codec_context
    frame = survey.first_frame if stream is survey.picture else None
    aspect = stream.sample_aspect_ratio
    order = context.field_order
    described = replace(
        track,
        width_px=context.width or None,
        height_px=context.height or None,
        rotation_deg=0 if frame is None else _clockwise(frame),
        sample_aspect=aspect if aspect and aspect > 0 else None,
        pixel_format=context.pix_fmt or (frame.format.name if frame else None),
        is_interlaced=order in _INTERLACED or (frame is not None and frame.interlaced_frame),
        field_order=_FIELD_ORDERS.get(order),
        frame_count=stream.frames or None,
        mean_rate=stream.average_rate or None,
    )
    return described if indexed is None else _with_rate(described, indexed, survey.is_whole)


def _with_rate(track: Track, indexed: tuple[PacketIndex, Repaired], is_whole: bool) -> Track:
    index, times = indexed
    pts = index.frame_pts if is_whole else index.frame_pts[:-_REORDERED]
    counted = replace(track, frame_count=index.frame_count) if is_whole else track
    if len(pts) < 2 or pts[-1] == pts[0]:
        return counted
    steps = np.diff(pts)
    telecined = _is_telecined(steps)
    variable = not telecined and _is_variable(steps)
    if variable:
        mean = Fraction(len(steps), int(pts[-1] - pts[0])) / index.timebase
        rate = (mean if is_whole else track.mean_rate or mean).limit_denominator(100_000)
    else:
        rate = _steady_rate(steps, index.timebase, times)
    return replace(counted, mean_rate=rate, is_variable_rate=variable, is_telecined=telecined)


def _steady_rate(steps: NDArray[np.int64], timebase: Fraction, times: Repaired) -> Fraction:
    """The usual rate nearest to the measured one, if rounded times explain the difference. Holes are left out."""
    usual = float(np.median(steps))
    even = steps[np.abs(steps - usual) <= max(1.5, 0.1 * usual)]
    ticks = max(1, int(even.sum()))
    measured = Fraction(len(even), ticks) / timebase
    nearest = min(_STANDARD_RATES, key=lambda rate: abs(rate - measured))
    close = abs(nearest - measured) / nearest <= max(Fraction(2, ticks), Fraction(1, 5000))
    return nearest if close or times.untimed else measured.limit_denominator(100_000)


def _is_variable(steps: NDArray[np.int64]) -> bool:
    """Whether frames last differently by more than rounding; a rare hole alone is none."""
    usual = float(np.median(steps))
    off = np.abs(steps - usual) > max(1.5, 0.1 * usual)
    return bool(off.sum() >= 2 and off.mean() > 0.005)


def _is_telecined(steps: NDArray[np.int64]) -> bool:
    """Whether frames last two and three fields in turn."""
    short = float(steps.min())
    if short <= 0:
        return False
    three = np.abs(steps / short - 1.5) < 0.1
    return bool(0.3 < three.mean() < 0.7 and (three | (np.abs(steps / short - 1) < 0.1)).mean() > 0.98)


def _clockwise(frame: av.VideoFrame) -> int:
    """libav turns against the clock; to the nearest quarter."""
    return -90 * round(frame.rotation / 90) % 360


def _still_track(survey: Survey, fd: int, path: str | Path) -> Track:
    """The one track of a picture file; tiles are not tracks."""
    stream, frame = survey.picture, survey.first_frame
    if stream is None or frame is None:
        raise MediaError("media.damaged", path=shown(path))
    width, height, turn = still_picture(fd) or (frame.width, frame.height, _clockwise(frame))
    check_size(width, height, path)
    return Track(
        index=stream.index,
        kind="image",
        codec=_codec_name(stream),
        timebase=stream.time_base or Fraction(1),
        width_px=width,
        height_px=height,
        rotation_deg=turn,
        pixel_format=frame.format.name,
        frame_count=1,
    )


def _container_name(container: InputContainer, fd: int) -> str:
    """One short word: libav names families (`mov,mp4,m4a,…`) and pictures by how they are fed (`jpeg_pipe`)."""
    name = container.format.name.removesuffix("_pipe")
    brand = container.metadata.get("major_brand", "").strip()
    if name.startswith("mov,"):
        return _BRANDS.get(brand, "mp4")
    if name == "matroska,webm":
        return "webm" if b"webm" in os.pread(fd, 64, 0) else "matroska"
    return name


def _tags(metadata: Mapping[str, str]) -> dict[str, str]:
    kept = list(metadata.items())[:_MAX_TAGS]
    return {key[:_MAX_TAG_LENGTH]: value[:_MAX_TAG_LENGTH] for key, value in kept}


def _chapters(container: InputContainer) -> tuple[Chapter, ...]:
    found = []
    for chapter in container.chapters()[:_MAX_TAGS]:
        timebase = chapter["time_base"] or Fraction(1)
        title = chapter["metadata"].get("title", "")[:_MAX_TAG_LENGTH]
        found.append(Chapter(chapter["start"] * timebase, chapter["end"] * timebase, title))
    return tuple(found)


def _warnings(
    container: InputContainer,
    survey: Survey,
    indexed: tuple[PacketIndex, Repaired] | None,
    fd: int,
    duration: Fraction,
) -> Iterator[str]:
    if lacks_its_end(fd):
        yield "media.warn.end_missing"
    stated = Fraction(container.duration or 0, av.time_base)
    if survey.is_whole and stated and duration and abs(stated - duration) > max(Fraction(1), duration / 20):
        yield "media.warn.duration"
    if not all(map(has_decoder, (*container.streams.video, *container.streams.audio))):
        yield "media.warn.track_not_decodable"
    if survey.picture is not None and survey.first_frame is None:
        yield "media.warn.no_picture"
    if indexed is not None and not is_still(container, fd):
        yield from _index_warnings(*indexed)


def _index_warnings(index: PacketIndex, times: Repaired) -> Iterator[str]:
    checks = {
        "media.warn.no_rate": times.untimed,
        "media.warn.times_missing": times.missing,
        "media.warn.times_fell": times.fell,
        "media.warn.starts_mid_gop": bool((index.flags & UNDECODABLE).any()),
        "media.warn.corrupt_packets": bool((index.flags & CORRUPT).any()),
        "media.warn.no_key_frames": not (index.flags & KEY).any(),
    }
    yield from (code for code, applies in checks.items() if applies)
