"""A fingerprint of each clip by which near-duplicates find each other; `malan.curation.fingerprint` compares them."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from malan.curation.fingerprint import ClipPrint
from malan.curation.likeness import thumb_of
from malan.curation.operator import Batch, ClipView, Vector
from malan.curation.operators.quality import active_area, is_black
from malan.curation.pictures import spread

FRAMES = 4  # of a clip


class VideoFingerprint:
    """`fingerprint.video` for each clip that shows anything."""

    name = "fingerprint.video"
    version = "1"
    reads = frozenset({"pictures"})
    emits = ("fingerprint.video",)

    def run(self, batch: Batch) -> Sequence[Vector]:
        found = []
        for view in batch.views:
            shown = [sample for sample in view.samples if not is_black(sample) and not sample.is_damaged]
            if shown:
                found.append(self._print(view, shown))
        return found

    def _print(self, view: ClipView, shown: Sequence) -> Vector:  # type: ignore[type-arg]
        area = active_area(view.samples)
        chosen = spread(shown, FRAMES)
        made = ClipPrint(
            view.clip.id,
            view.clip.asset_id,
            view.start_s,
            view.end_s,
            np.array([sample.time_s for sample in chosen]),
            np.stack([thumb_of(area.cut(sample.luma_HW)) for sample in chosen]),
        )
        return Vector(view.clip, "fingerprint.video", self.name, self.version, np.frombuffer(made.to_bytes(), np.uint8))
