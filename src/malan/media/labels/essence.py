"""What of a file is media and not metadata, as digests: two files with the same essence show and sound the same.

Small files are digested packet by packet as libavformat gives them, pictures pixel by pixel. Of large ones, whose
bytes are compared or stay where they are anyway, it is enough that the demuxer finds the same bytes where it looks:
at entries of its index, and in runs of packets all over the file. Start at `essence_of`.
"""

from __future__ import annotations

import hashlib
import os
import warnings
from collections.abc import Iterable, Mapping
from itertools import islice
from pathlib import Path
from typing import Any

import av

from malan.core.errors import MediaError
from malan.media.labels.carriers import Carrier
from malan.media.open import open_media, read_packets
from malan.media.sniff import shown

_SMALL_BYTES = 32 << 20
_SMALL_PIXELS = 16_000_000
_MOST_ENTRIES = 1000  # of the index of a track, evenly chosen
_AT_ENTRY = 64  # bytes
_RUN, _RUNS = 40, 6

Essence = Mapping[str, str]  # part of a file → digest of its media


def essence_of(path: str | Path, carrier: Carrier, size_bytes: int) -> Essence:
    """The essence of a file. `size_bytes` decides how: give the size of the source for both that are compared.

    Raises:
        MediaError: It cannot be read to its end.
    """
    try:
        if carrier.is_picture:
            return {"picture": _pixels(path)}
        with open_media(path) as container:
            if size_bytes <= _SMALL_BYTES:
                return _by_track(container, read_packets(container, *container.streams))
            return {**_by_index(container, path), **_by_runs(container)}
    except (av.FFmpegError, OSError, SyntaxError) as error:  # Pillow says OSError or SyntaxError of damaged pictures
        raise MediaError("media.damaged", path=shown(path)) from error


def difference(one: Essence, other: Essence) -> str | None:
    """The first part that is not the same in both; None when all are."""
    return next((part for part in sorted({*one, *other}) if one.get(part) != other.get(part)), None)


def _by_track(container: Any, packets: Iterable[Any], name: str = "track") -> Essence:
    sums = {stream.index: hashlib.blake2b(digest_size=16) for stream in container.streams}
    for packet in packets:
        known = sums.setdefault(packet.stream.index, hashlib.blake2b(digest_size=16))
        known.update(f"{packet.pts},{packet.dts},{packet.size},{packet.is_keyframe};".encode())
        known.update(memoryview(packet))
    return {f"{name} {index}": known.hexdigest() for index, known in sums.items()}


def _by_index(container: Any, path: str | Path) -> Essence:
    """Times, sizes and first bytes of entries of the demuxer's own index, read at the places it names."""
    found = {}
    with Path(path).open("rb") as file:
        for stream in container.streams:
            entries, known = stream.index_entries, hashlib.blake2b(digest_size=16)
            count = len(entries)
            known.update(f"{count};".encode())
            for number in sorted({*range(0, count, max(1, count // _MOST_ENTRIES)), count - 1} - {-1}):
                entry = entries[number]
                known.update(f"{entry.timestamp},{entry.size};".encode())
                known.update(os.pread(file.fileno(), min(_AT_ENTRY, entry.size or _AT_ENTRY), entry.pos))
            found[f"index of track {stream.index}"] = known.hexdigest()
    return found


def _by_runs(container: Any) -> Essence:
    found: dict[str, str] = {}
    length, start = container.duration or 0, container.start_time or 0
    for run in range(_RUNS if length else 1):
        if run:
            container.seek(start + length * run // _RUNS)
        packets = islice(read_packets(container, *container.streams), _RUN)
        found |= _by_track(container, packets, f"part {run}, track")
    return found


def _pixels(path: str | Path) -> str:
    from PIL import Image

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", Image.DecompressionBombWarning)
        with Image.open(path) as picture:
            known = hashlib.blake2b(f"{picture.size},{picture.mode}".encode(), digest_size=16)
            if picture.width * picture.height <= _SMALL_PIXELS:
                known.update(picture.tobytes())
            return known.hexdigest()
