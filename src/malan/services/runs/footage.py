"""The footage of a run: the clips a grant opens today, split as they were frozen, with what is known of each.

    grant ─ granted_clips ─▶ train and val ─▶ data        test ─▶ held out        (without test clips, val is held out)

Where labels are asked for, clips nobody labelled are left out. Start reading at `choose_clips` and `holdings_of`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from malan.core import Clip
from malan.core.errors import NotFound
from malan.rights.decide import Use
from malan.services.clips.cutting import Cutter
from malan.services.clips.labels import frozen_labels
from malan.services.market.grants import granted_clips
from malan.store.features import FEATURES, WIDTH, features_of
from malan.training.loader import Film, Holdings
from malan.training.package import DataRequest

if TYPE_CHECKING:
    from malan.datasets import Entry
    from malan.workspace import Workspace

LEAST_HELD_OUT = 2  # items on which a gain can be told from chance at all
_INDEXES = 1024  # packet indexes kept at hand: some kilobytes each
_HELD_OUT_SPLIT, _SECOND = "test", "val"


@dataclass(frozen=True)
class Chosen:
    """The clips of a run: what it learns from, and what its result is held against."""

    data: tuple[Entry, ...]
    held_out: tuple[Entry, ...]
    labels: Mapping[str, tuple[str, ...]]  # by clip id; empty where none are asked for

    @property
    def classes(self) -> list[str]:
        """All names the clips were given, sorted."""
        found = {name for entry in (*self.data, *self.held_out) for name in self.labels.get(entry.clip.id, ())}
        return sorted(found)

    def facts(self) -> dict[str, Any]:
        """What sizes of outputs follow from, without reading a single clip."""
        counts = {"clips": len(self.data), "held_out": len(self.held_out)}
        return {**counts, "classes": self.classes, "descriptor": WIDTH, "descriptor_width": WIDTH, "features": FEATURES}


def choose_clips(ws: Workspace, grant_id: str, use: Use, request: DataRequest) -> Chosen:
    """The clips a run may have now.

    Raises:
        NotGranted: The grant does not allow the use.
        ProofError: The manifest is not the one that was agreed on.
    """
    entries = list(granted_clips(ws, grant_id, use))
    labels: Mapping[str, tuple[str, ...]] = {}
    if request.labels:
        labels = frozen_labels(ws, entries, request.labels)
        entries = [entry for entry in entries if labels.get(entry.clip.id)]
    held_out = [entry for entry in entries if entry.split == _HELD_OUT_SPLIT]
    if len(held_out) < LEAST_HELD_OUT:
        held_out = [entry for entry in entries if entry.split in (_HELD_OUT_SPLIT, _SECOND)]
    held = {entry.clip.id for entry in held_out}
    data = tuple(entry for entry in entries if entry.clip.id not in held)
    return Chosen(data, tuple(held_out), labels)


def holdings_of(ws: Workspace, chosen: Chosen, request: DataRequest) -> tuple[Holdings, Holdings]:
    """What is known of the clips, ready for the loader: to learn from, and held out."""
    found = [_holdings(ws, entries, chosen, request) for entries in (chosen.data, chosen.held_out)]
    return found[0], found[1]


class FootageOf:
    """The way from a clip to its frames and sound, in the owners' files where they lie."""

    def __init__(self, ws: Workspace) -> None:
        self._cutter = Cutter(ws)
        self._index = lru_cache(maxsize=_INDEXES)(self._cutter.read_index)

    def film(self, clip: Clip) -> Film:
        """Raises:
        NotFound: The file is not where it was, or has no picture.
        """
        row = self._cutter.asset(clip.asset_id)
        track = next((one for one in row.asset.tracks if one.index == clip.track), None) or row.asset.first("video")
        if track is None or track.kind != "video":
            raise NotFound("media.no_video", path=clip.asset_id[:12])
        index = self._index(clip.asset_id)
        base = clip.span.timebase / index.timebase
        first, end = index.frame_at(int(clip.span.start * base)), index.frame_at(int(clip.span.end * base - 1)) + 1
        width, height = track.shown_size_px or (16, 9)
        is_upright = track.rotation_deg in (None, 0) and track.sample_aspect in (None, 1)
        path = self._cutter.source(clip.asset_id)
        return Film(path, index, first, end, aspect=width / height, is_upright=is_upright)

    def sound(self, clip: Clip) -> Path:
        """Raises:
        NotFound: The file is not where it was.
        """
        return self._cutter.source(clip.asset_id)


def _holdings(ws: Workspace, entries: Sequence[Entry], chosen: Chosen, request: DataRequest) -> Holdings:
    ids = [entry.clip.id for entry in entries]
    asked = set(request.deliver)
    rows = ws.library.clips_by_id(ids) if asked & {"captions", "text"} else {}
    return Holdings(
        clips=tuple(entry.clip for entry in entries),
        descriptors_ND=features_of(ws.library, ids) if "descriptor" in asked else None,
        labels=[chosen.labels.get(one, ()) for one in ids] if request.labels else None,
        classes=chosen.classes if request.labels else None,
        captions=[rows[one].caption if one in rows else "" for one in ids] if rows or asked & {"captions"} else None,
        owners=[entry.owner_id for entry in entries],
        footage=FootageOf(ws) if asked & {"frames", "audio"} else None,
    )
