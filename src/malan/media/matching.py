"""Encoders that continue what another encoder began: same codec, profile, level, pixels, colours, pixel shape, fields.

Used where a cut falls inside a group of pictures. Start at `matching_encoder`.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from fractions import Fraction
from itertools import chain
from typing import cast

import av
from av.video.codeccontext import VideoCodecContext
from av.video.frame import PictureType

from malan.media.nal import Framing, h264_set_ids, parameter_sets

_CRF = {"h264": "20", "hevc": "22"}  # an edge must not look worse than what it joins
B_FRAMES = 2  # of a clip that is encoded as a whole; no encoder reorders more frames than that
_EDGE_GROUP = "24"  # frames; short, so that what follows an edge can be checked and sought to quickly
_PROFILES = {
    "Constrained Baseline": "baseline",
    "Baseline": "baseline",
    "Main": "main",
    "High": "high",
    "High 10": "high10",
    "High 4:2:2": "high422",
    "High 4:4:4 Predictive": "high444",
}
_FIELDS = {2: 1, 4: 1, 3: 0, 5: 0}  # AVFieldOrder of an interlaced track -> whether the top field comes first
_ENCODERS = {"h264": "libx264", "hevc": "libx265"}


@dataclass(frozen=True)
class EncodedFrame:
    """One packet of an encoded stretch: its time in ticks of the source, its payload in the framing of the source."""

    pts: int
    is_key: bool
    payload: bytes


def matching_encoder(
    like: VideoCodecContext, timebase: Fraction, rate: Fraction, *, set_id: int = 0, is_edge: bool = True
) -> VideoCodecContext:
    """An encoder whose pictures may stand next to those that `like` decodes (H.264 or HEVC).

    Args:
        set_id: Id of its parameter sets (H.264 alone), so that both streams' sets can stand in one configuration.
        is_edge: A stretch of some frames: quick, larger, without B-frames, so that coding and showing order are the
            same. Else a whole clip: smaller, with `B_FRAMES`.
    """
    new = cast(VideoCodecContext, av.CodecContext.create(_ENCODERS[like.name], "w"))
    adopt_picture(new, like, timebase, rate)
    new.options = _h264_options(like, set_id, is_edge) if like.name == "h264" else _hevc_options(is_edge)
    if like.name == "h264" and like.level > 0:
        new.level = like.level
    return new


def adopt_picture(
    new: VideoCodecContext, like: VideoCodecContext, timebase: Fraction, rate: Fraction, pixel_format: str | None = None
) -> None:
    """Give an encoder the size, pixels, colours and clock of a decoder."""
    new.width, new.height = like.width, like.height
    new.pix_fmt = pixel_format or like.pix_fmt
    new.time_base, new.framerate = timebase, rate
    new.sample_aspect_ratio = like.sample_aspect_ratio or Fraction(0, 1)
    for name in ("color_range", "color_primaries", "color_trc", "colorspace"):
        setattr(new, name, getattr(like, name))


def encode(encoder: VideoCodecContext, frames: Iterable[av.VideoFrame], framing: Framing) -> Iterator[EncodedFrame]:
    """Encode a stretch; it starts with a picture a decoder may start at.

    HEVC packets that a decoder may start at carry their parameter sets; H.264 has them in the configuration.
    """
    sets = b""
    for frame in chain(_plain(frames), [None]):
        for packet in encoder.encode(frame):
            if encoder.codec.name == _ENCODERS["hevc"] and not sets:
                sets = framing.packet(parameter_sets("hevc", encoder.extradata or b""))
            payload = framing.packet(Framing(framing.codec, 0).units(bytes(packet)))
            yield EncodedFrame(packet.pts or 0, packet.is_keyframe, (sets if packet.is_keyframe else b"") + payload)


def encoder_sets(encoder: VideoCodecContext) -> list[bytes]:
    """The parameter sets an opened H.264 encoder will use."""
    encoder.open(strict=False)
    return parameter_sets("h264", encoder.extradata or b"")


def free_set_id(sets: Iterable[bytes]) -> int:
    """An id that none of these H.264 parameter sets uses."""
    taken = h264_set_ids(sets)
    return next(i for i in range(31, 0, -1) if i not in taken)


def _plain(frames: Iterable[av.VideoFrame]) -> Iterator[av.VideoFrame]:
    for frame in frames:
        frame.pict_type = PictureType.NONE  # the encoder chooses
        yield frame


def _h264_options(like: VideoCodecContext, set_id: int, is_edge: bool) -> dict[str, str]:
    options = {
        "preset": "superfast" if is_edge else "veryfast",
        "crf": _CRF["h264"],
        "bf": "0" if is_edge else str(B_FRAMES),
        "g": _EDGE_GROUP if is_edge else "250",
        "flags": "+global_header",
        "x264-params": f"sps-id={set_id}:b-pyramid=1",
    }
    if like.profile in _PROFILES:
        options["profile"] = _PROFILES[like.profile]
    if like.field_order in _FIELDS:
        options["flags"] += "+ildct+ilme"
        options["x264-params"] += ":tff=1" if _FIELDS[like.field_order] else ":bff=1"
    return options


def _hevc_options(is_edge: bool) -> dict[str, str]:
    parameters = f"log-level=none:bframes={0 if is_edge else B_FRAMES}:repeat-headers=0:open-gop=0"
    preset = "ultrafast" if is_edge else "veryfast"
    return {"preset": preset, "crf": _CRF["hevc"], "x265-params": parameters, "flags": "+global_header"}
