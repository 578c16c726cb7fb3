"""What was measured of a file, kept beside the report: a review that is taken up again measures nothing twice.

Plain JSON, squeezed; nothing in it is run when it is read. A file that is not exactly what this version wrote counts as
not there. Start at `keep` and `find`.
"""

from __future__ import annotations

import base64
import hashlib
import json
import os
import zlib
from dataclasses import asdict, fields
from pathlib import Path
from typing import Any

import numpy as np

from malan.apps.review.language.values import Moment
from malan.apps.review.measure.episode import Measured
from malan.apps.review.measure.pictures import Stretch
from malan.apps.review.measure.sound import Heard

FOLDER = ".measured"
VERSION = "3"
LARGEST = 400_000_000
_MOMENTS = ("captions", "persistent", "cards")


def keep(folder: Path, found: Measured, how: str) -> None:
    """Keep what was measured, whole or not at all.

    Args:
        folder: Of the report.
        found: What was measured.
        how: What it was measured with; other means, other file.
    """
    place = _place(folder, found.digest, how)
    place.parent.mkdir(parents=True, exist_ok=True)
    part = place.with_name(f"{place.name}.{os.getpid()}")
    part.write_bytes(zlib.compress(json.dumps(_plain(found), ensure_ascii=False).encode(), 1))
    part.replace(place)


def find(folder: Path, path: Path, digest: str, how: str) -> Measured | None:
    """What was measured of a file of this digest, by the same means; None if that is not there, or not whole."""
    place = _place(folder, digest, how)
    try:
        if place.stat().st_size > LARGEST:
            return None
        said = json.loads(zlib.decompress(place.read_bytes()))
        return _measured(path, said)
    except (OSError, zlib.error, ValueError, KeyError, TypeError):
        return None


def _place(folder: Path, digest: str, how: str) -> Path:
    means = hashlib.sha256(how.encode()).hexdigest()[:12]
    return folder / FOLDER / f"{digest[:32]}-{VERSION}-{means}"


def _plain(found: Measured) -> dict[str, Any]:
    simple = {
        one.name: getattr(found, one.name)
        for one in fields(Measured)
        if one.name not in ("path", "heard", "stretches", "speech", "detected", "kept", "thumbs", *_MOMENTS)
    }
    return {
        **simple,
        "heard": None if found.heard is None else asdict(found.heard),
        "stretches": {kind: [asdict(one) for one in listed] for kind, listed in found.stretches.items()},
        "moments": {name: [asdict(one) for one in getattr(found, name)] for name in _MOMENTS},
        "speech": None if found.speech is None else [asdict(one) for one in found.speech],
        "detected": [[*key, [asdict(one) for one in listed]] for key, listed in found.detected.items()],
        "kept": [[time_s, base64.b64encode(data).decode()] for time_s, data in found.kept],
        "thumbs": [[t, list(one.shape), base64.b64encode(one.tobytes()).decode()] for t, one in found.thumbs],
    }


def _measured(path: Path, said: dict[str, Any]) -> Measured:
    moments: dict[str, Any] = {name: [_moment(one) for one in said["moments"][name]] for name in _MOMENTS}
    heard = said.pop("heard")
    if heard is not None:
        runs = {name: [Stretch(**one) for one in heard[name]] for name in ("silence", "clipping", "damage")}
        heard = Heard(**{**heard, **runs})
    speech = said.pop("speech")
    parts: dict[str, Any] = {
        "heard": heard,
        "stretches": {kind: [Stretch(**one) for one in listed] for kind, listed in said.pop("stretches").items()},
        "speech": None if speech is None else [_moment(one) for one in speech],
        "detected": {(a, b): tuple(_moment(one) for one in listed) for a, b, listed in said.pop("detected")},
        "kept": [(float(t), base64.b64decode(data)) for t, data in said.pop("kept")],
        "thumbs": [
            (float(t), np.frombuffer(base64.b64decode(data), np.uint8).reshape(shape))
            for t, shape, data in said.pop("thumbs")
        ],
    }
    said.pop("moments")
    width, height = said.pop("size_px")
    return Measured(path=path, size_px=(int(width), int(height)), **said, **parts, **moments)


def _moment(given: dict[str, Any]) -> Moment:
    said = dict(given)
    box = said.pop("box")
    detail = tuple((str(name), value) for name, value in said.pop("detail"))
    hits = tuple((int(a), int(b), str(word)) for a, b, word in said.pop("hits"))
    known = None if box is None else (int(box[0]), int(box[1]), int(box[2]), int(box[3]))
    return Moment(**said, box=known, detail=detail, hits=hits)
