"""The picture of each finding: the one kept nearest to its middle, or, for what was too short, decoded again.

Start at `add_pictures`.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from malan.apps.review.episodes import Reviewed
    from malan.apps.review.measure.episode import Measured

MOST = 400  # pictures of a report
MOST_AGAIN = 24  # of an episode that are decoded again
_NO_PICTURE = ("silence", "clipping", "series", "title")


def add_pictures(value: dict[str, Any], episodes: Sequence[Reviewed], out: Path, kept: Path) -> dict[str, bytes]:
    """Give findings their pictures: names into `value`, files into `pictures/`; also by name, for the page."""
    from malan.apps.review.measure.kept import find

    made: dict[str, bytes] = {}
    folder = out / "pictures"
    for place, episode in enumerate(episodes):
        listed = [one for one in value["findings"] if one["episode"] == episode.file and one["state"] == "found"]
        wanted = [one for one in listed if one["source"] not in _NO_PICTURE and not _is_whole(one, episode.measured)]
        if not wanted:
            continue
        measured = find(kept, episode.measured.path, episode.measured.digest, episode.means) or episode.measured
        for one, (time_s, data) in _chosen(measured, wanted):
            if len(made) >= MOST:
                break
            name = f"{place + 1:03}-{time_s:08.2f}.jpg"
            made[name] = data
            one["picture"], one["picture_digest"] = f"pictures/{name}", hashlib.sha256(data).hexdigest()
    if made:
        folder.mkdir(parents=True, exist_ok=True)
    for name, data in made.items():
        (folder / name).write_bytes(data)
    return made


def _is_whole(one: dict[str, Any], measured: Measured) -> bool:
    """About the episode as a whole: no one picture shows it."""
    return bool(one["source"] in ("episode", "damage") and one["end_s"] - one["start_s"] >= measured.duration_s - 0.01)


def _chosen(measured: Measured, wanted: Sequence[dict[str, Any]]) -> list[tuple[dict[str, Any], tuple[float, bytes]]]:
    times = np.array([time_s for time_s, _ in measured.kept])
    chosen, again = [], []
    for one in wanted:
        inside = np.flatnonzero((times >= one["start_s"] - 1e-6) & (times < one["end_s"]))
        if len(inside):
            middle = (one["start_s"] + one["end_s"]) / 2
            nearest = inside[int(np.argmin(np.abs(times[inside] - middle)))]
            chosen.append((one, measured.kept[nearest]))
        elif len(times):
            again.append(one)
    for one in again[:MOST_AGAIN]:
        found = _decoded(measured, (one["start_s"] + one["end_s"]) / 2)
        if found is not None:
            chosen.append((one, found))
    return chosen


def _decoded(measured: Measured, time_s: float) -> tuple[float, bytes] | None:
    from malan.apps.review.measure.episode import frame_starts
    from malan.apps.review.measure.pictures import jpeg_of
    from malan.media.decode import FrameDecoder
    from malan.media.index import build_index

    index = build_index(measured.path)
    starts = frame_starts(index)
    number = max(0, min(index.frame_count - 1, int(np.searchsorted(starts, time_s, side="right")) - 1))
    with FrameDecoder(measured.path, index) as decoder:
        for _, frame in decoder.frames(number, number + 1):
            return float(starts[number]), jpeg_of(frame, measured.pixel_aspect)
    return None
