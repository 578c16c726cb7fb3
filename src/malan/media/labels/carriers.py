"""The fourteen kinds of file that carry a label, each with how to find labels in it and how to write one.

A new kind is a module with `find` and `plan`, and a line in `CARRIERS`. Start at `carrier_of`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from malan.media.labels import bmff, flac, flv, id3, jpeg, matroska, ogg, png, riff
from malan.media.labels.pieces import Found, Piece, Source

_HEAD = 4096


@dataclass(frozen=True, slots=True)
class Carrier:
    """A kind of file: its name, whether it is a picture, how labels are found and how one is planned."""

    name: str
    find: Callable[[Source], Iterator[Found]]
    plan: Callable[[Source, str], list[Piece]]
    is_picture: bool = False


def _of(name: str, module: Any, **more: Any) -> Carrier:
    return Carrier(name, module.find, module.plan, **more)


CARRIERS: Mapping[str, Carrier] = {
    carrier.name: carrier
    for carrier in (
        _of("mp4", bmff),
        _of("mov", bmff),
        _of("m4a", bmff),
        _of("mkv", matroska),
        _of("webm", matroska),
        Carrier("avi", riff.find_avi, riff.plan_avi),
        _of("flv", flv),
        Carrier("wav", riff.find_wav, riff.plan_wav),
        _of("mp3", id3),
        _of("flac", flac),
        _of("ogg", ogg),
        _of("png", png, is_picture=True),
        _of("jpeg", jpeg, is_picture=True),
        Carrier("webp", riff.find_webp, riff.plan_webp, is_picture=True),
    )
}


def carrier_of(source: Source) -> Carrier | None:
    """What kind of carrier a file is, by its content; None when it cannot carry a label."""
    head = source.head(0, _HEAD)
    name = matroska.carrier_of(head) or riff.carrier_of(head) or _by_start(head)
    if name is None and flac.begins_at(source) is not None:
        name = "flac"
    name = name or bmff.carrier_of(head) or ("mp3" if id3.is_mp3(source) else None)
    return CARRIERS[name] if name else None


def _by_start(head: bytes) -> str | None:
    starts = {png.SIGNATURE: "png", b"\xff\xd8\xff": "jpeg", b"OggS": "ogg", b"FLV\1": "flv"}
    return next((name for start, name in starts.items() if head.startswith(start)), None)
