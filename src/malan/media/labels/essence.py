"""Whether two files hold the same media, whatever metadata they carry.

Small files are compared packet by packet as libavformat gives them, pictures pixel by pixel. Of large ones, whose
copied bytes were compared already, it is enough that the demuxer finds the same bytes where it looks: at every entry
of its index, and in runs of packets all over the file. Start at `difference`.
"""

from __future__ import annotations

import hashlib
import os
import warnings
from itertools import islice, zip_longest
from pathlib import Path
from typing import Any

from malan.media.labels.carriers import Carrier
from malan.media.open import open_media, read_packets

_SMALL_BYTES = 32 << 20
_SMALL_PIXELS = 16_000_000
_MOST_ENTRIES = 4000  # of the index of a track, evenly chosen
_AT_ENTRY = 64  # bytes
_RUN, _RUNS = 40, 6


def difference(path: str | Path, other: str | Path, carrier: Carrier) -> str | None:
    """What differs; None when the media are the same."""
    if carrier.is_picture:
        return None if _pixels(path) == _pixels(other) else "pixels"
    if Path(path).stat().st_size <= _SMALL_BYTES:
        return _by_packets(path, other)
    return _by_index(path, other) or _by_runs(path, other)


def _by_packets(path: str | Path, other: str | Path) -> str | None:
    with open_media(path) as a, open_media(other) as b:
        if len(a.streams) != len(b.streams):
            return "number of tracks"
        pairs = zip_longest(read_packets(a, *a.streams), read_packets(b, *b.streams))
        for number, (one, two) in enumerate(pairs):
            if one is None or two is None or _told(one) != _told(two):
                return f"packet {number}"
    return None


def _told(packet: Any) -> tuple[Any, ...]:
    return packet.stream.index, packet.pts, packet.dts, packet.is_keyframe, _digest(packet)


def _digest(packet: Any) -> bytes:
    return hashlib.blake2b(memoryview(packet), digest_size=16).digest()


def _by_index(path: str | Path, other: str | Path) -> str | None:
    """Compare the bytes at entries of the demuxer's own index, each file at the places it names itself."""
    with open_media(path) as a, open_media(other) as b, Path(path).open("rb") as x, Path(other).open("rb") as y:
        for one, two in zip(a.streams, b.streams, strict=True):
            count = len(one.index_entries)
            if count != len(two.index_entries):
                return f"index of track {one.index}"
            for number in sorted({*range(0, count, max(1, count // _MOST_ENTRIES)), count - 1} - {-1}):
                p, q = one.index_entries[number], two.index_entries[number]
                if (p.timestamp, p.size) != (q.timestamp, q.size):
                    return f"index of track {one.index}, entry {number}"
                size = min(_AT_ENTRY, p.size or _AT_ENTRY)
                if os.pread(x.fileno(), size, p.pos) != os.pread(y.fileno(), size, q.pos):
                    return f"media of track {one.index}, entry {number}"
    return None


def _by_runs(path: str | Path, other: str | Path) -> str | None:
    with open_media(path) as a, open_media(other) as b:
        length, start = a.duration or 0, a.start_time or 0
        for run in range(_RUNS):
            if run and length:
                for container in (a, b):
                    container.seek(start + length * run // _RUNS)
            packets = zip_longest(islice(read_packets(a, *a.streams), _RUN), islice(read_packets(b, *b.streams), _RUN))
            for one, two in packets:
                if one is None or two is None or _told(one) != _told(two):
                    return f"packets in part {run}"
            if not length:
                break
    return None


def _pixels(path: str | Path) -> tuple[Any, ...]:
    from PIL import Image

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", Image.DecompressionBombWarning)
        with Image.open(path) as picture:
            told = (picture.size, picture.mode, getattr(picture, "n_frames", 1))
            if picture.width * picture.height > _SMALL_PIXELS:
                return told
            return *told, hashlib.blake2b(picture.tobytes(), digest_size=16).digest()
