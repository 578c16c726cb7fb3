"""Burn the explicit label into the opening of a film.

    frames   0 ………… 3 s ……… next key frame ……………………… end
             [drawn on, encoded][ encoded  ][ copied bit for bit ]

H.264 and HEVC are treated like a cut: only the first groups of pictures are encoded anew. Everything else, or a film
whose groups are all open, is encoded as a whole by one ffmpeg process, and the result says so. Both are read back: the
label is there in the first frame and the last that must show it. Start at `burn_film`.
"""

from __future__ import annotations

import os
import subprocess
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from fractions import Fraction
from pathlib import Path

import av
import numpy as np

from malan.core.errors import MediaError, StoreError
from malan.media.cut import FORMATS, may_join
from malan.media.cut_check import wanting
from malan.media.cut_write import MATCHED, Source, open_source, write_cut
from malan.media.explicit.overlay import Overlay
from malan.media.explicit.stamp import WHITE, Stamp, can_stamp
from malan.media.index import PacketIndex, build_index
from malan.media.open import open_plain
from malan.media.picture import Shape, clockwise
from malan.media.plan_cut import Layout, Piece, plan_span
from malan.media.runs import RunDecoder
from malan.media.sniff import shown

LEAST_CONTRAST = 0.25  # of the range, ink over plate
_PROGRESSIVE = (0, 1)
_MOST_TIMESCALE = 1_000_000
_CODECS = {
    "hevc": ("libx265", "-crf", "20", "-preset", "fast", "-x265-params", "log-level=none"),
    "vp8": ("libvpx", "-crf", "10", "-b:v", "4M", "-deadline", "good", "-cpu-used", "5", "-threads", "4"),
    "vp9": ("libvpx-vp9", "-crf", "24", "-b:v", "0", "-deadline", "good", "-cpu-used", "5", "-row-mt", "1"),
    "prores": ("prores_ks", "-profile:v", "3"),
}
_PLAIN = ("libx264", "-crf", "17", "-preset", "fast")
_FIELDS = ("-flags", "+ilme+ildct")  # interlaced pictures stay interlaced
_PIXELS = {"prores": "yuv422p10le"}


@dataclass(frozen=True)
class BurnedFilm:
    """`frames_labelled` from the first on; `mode` is `smart` (only the opening encoded) or `encode` (all of it)."""

    mode: str
    frames_labelled: int
    frames_encoded: int
    notes: tuple[str, ...] = ()


def burn_film(
    source: Path, part: Path, overlay_of: Callable[[int, int], Overlay], suffix: str
) -> tuple[BurnedFilm, Overlay]:
    """Write a labelled copy of a film to `part`, as the container `suffix` names, and check it.

    Raises:
        MediaError: It cannot be read, or the label is not there when read back.
        StoreError: It could not be written.
    """
    index = build_index(source)
    with open_source(source, index) as film:
        shape = _shape(film)
        overlay = overlay_of(*shape.shown(None))
        stamp, end = Stamp(overlay, shape, shape.shown(None)), _label_end(index, overlay.seconds)
        done = _smart(film, stamp, end, part, suffix) if _fits(film, suffix) else None
    if done is None:
        stamp = Stamp(overlay, _upright(shape), shape.shown(None))
        _encode_whole(film, stamp.fitted(overlay), part, suffix)
        note = "the whole film was encoded anew: its opening could not be replaced alone"
        done = BurnedFilm("encode", end, index.frame_count, (note,))
    _read_back(part, stamp, done.frames_labelled, source)
    return done, overlay


def _shape(film: Source) -> Shape:
    context = film.codec
    for _, frame in film.frames.between(0, 1):
        aspect = context.sample_aspect_ratio or Fraction(1)
        return Shape(frame.width, frame.height, clockwise(frame), aspect)
    raise MediaError("explicit.no_picture", path=shown(film.path))


def _upright(shape: Shape) -> Shape:
    """What ffmpeg makes of a turned picture: upright, its pixels squeezed the other way."""
    if shape.turn_deg not in (90, 270):
        return replace(shape, turn_deg=0)
    return Shape(shape.height_px, shape.width_px, 0, 1 / shape.sample_aspect)


def _label_end(index: PacketIndex, seconds: Fraction) -> int:
    """The first frame that need not show the label; at least one does."""
    ticks = index.frame_pts[0] + seconds / index.timebase
    return max(1, int(np.searchsorted(index.frame_pts, -(-ticks // 1), side="left")))


def _fits(film: Source, suffix: str) -> bool:
    """Whether the opening alone can be replaced: a codec whose edges can be matched, whole pictures, plain pixels."""
    context = film.codec
    is_plain = context.name in MATCHED and can_stamp(context.pix_fmt) and int(context.field_order) in _PROGRESSIVE
    return is_plain and suffix in FORMATS


# The opening alone


class _Stamped(RunDecoder):
    """Frames of a film, the first of them with the label."""

    def __init__(self, film: RunDecoder, stamp: Stamp, end: int) -> None:
        self._film, self._stamp, self._end = film, stamp, end

    def between(self, first: int, end: int) -> Iterator[tuple[int, av.VideoFrame]]:
        for number, frame in self._film.between(first, end):
            if number < self._end:
                self._stamp.put(frame)
            yield number, frame


def _smart(film: Source, stamp: Stamp, end: int, part: Path, suffix: str) -> BurnedFilm | None:
    """Write the film with its opening replaced; None where nothing would be copied or the check finds it wanting."""
    layout = _layout(film, end)
    if layout is None:
        return None
    drawn = replace(film, frames=_Stamped(film.frames, stamp, end))
    written = write_cut(drawn, layout, part, FORMATS[suffix])
    if wanting(part, film, layout, written):
        return None
    encoded = sum(p.frame_count for p in layout.pieces if p.packets is None)
    return BurnedFilm("smart", end, encoded, tuple(written.notes))


def _layout(film: Source, end: int) -> Layout | None:
    index = film.index
    if end >= index.frame_count:
        return None
    plan = plan_span(index, end, index.frame_count, lambda packet, _: may_join(film, packet))
    joins = plan[0].packets is not None
    plan = (Piece(0, end), *plan) if joins else (Piece(0, plan[0].end), *plan[1:])
    return Layout(index, (plan,)) if len(plan) > 1 else None


# The whole film


def _encode_whole(film: Source, overlay: Overlay, part: Path, suffix: str) -> None:
    picture = part.with_name(part.name + ".png")
    fd = open_plain(film.path)
    try:
        overlay.painted(WHITE.get(int(film.codec.color_trc), 1.0)).save(picture, "PNG")
        command = _command(fd, picture, film, overlay, part, suffix)
        result = subprocess.run(command, pass_fds=(fd,), capture_output=True, check=False)
    finally:
        os.close(fd)
        picture.unlink(missing_ok=True)
    if result.returncode:
        detail = (result.stderr.decode("utf-8", "replace").strip().splitlines() or ["?"])[-1]
        raise StoreError("explicit.not_written", path=shown(film.path), detail=detail)


def _command(fd: int, picture: Path, film: Source, overlay: Overlay, part: Path, suffix: str) -> list[str]:
    from imageio_ffmpeg import get_ffmpeg_exe

    index, codec = film.index, film.codec.name
    start = Fraction(int(index.frame_pts[0])) * index.timebase
    kept = film.codec.pix_fmt if codec in MATCHED and can_stamp(film.codec.pix_fmt) else "yuv420p"
    even = "crop=trunc(iw/2)*2:trunc(ih/2)*2:0:0"  # what halves colour needs
    graph = f"[0:v:0]{even}[p];[p][1:v]{overlay.filter(start)},format={_PIXELS.get(codec, kept)}[v]"
    clock = index.timebase.denominator if index.timebase.denominator <= _MOST_TIMESCALE else 90_000
    encoder = list(_CODECS.get(codec, _CODECS["vp9"] if suffix == ".webm" else _PLAIN))
    if encoder[0] == "libx265" and FORMATS.get(suffix) in ("mp4", "mov"):
        encoder += ["-tag:v", "hvc1"]
    if encoder[0] == "libx264" and int(film.codec.field_order) not in _PROGRESSIVE:
        encoder += _FIELDS
    ticks = ["-video_track_timescale", str(clock)] if FORMATS.get(suffix) in ("mp4", "mov") else []
    return [
        get_ffmpeg_exe(), "-nostdin", "-v", "error", "-y", "-copyts", "-protocol_whitelist", "fd,file", "-fd", str(fd),
        "-i", "fd:", "-i", f"file:{picture.absolute()}", "-filter_complex", graph, "-map", "[v]", "-map", "0:a?",
        "-c:v", *encoder, "-c:a", "copy", "-sn", "-dn", "-fps_mode", "passthrough",
        "-enc_time_base:v", "demux", *ticks, "-avoid_negative_ts", "disabled",
        "-f", {".webm": "webm", **FORMATS}[suffix], f"file:{part.absolute()}",
    ]  # fmt: skip


# Reading back


def _read_back(part: Path, stamp: Stamp, labelled: int, source: Path) -> None:
    """The label must be where and when it was put.

    Raises:
        MediaError: It is not.
    """
    index = build_index(part)
    last = min(labelled, index.frame_count) - 1
    with open_source(part, index) as film:
        for wanted in sorted({0, last}):
            seen = [stamp.contrast(frame) for _, frame in film.frames.between(wanted, wanted + 1)]
            if not seen or seen[0] < LEAST_CONTRAST:
                raise MediaError("explicit.not_seen", path=shown(source), frame=wanted)
