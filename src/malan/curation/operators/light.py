"""Whether a clip was lit like night, like day, or neither: from brightness and its distribution alone.

A claim only where the numbers are clear; everything between is `mixed`. It cannot tell night from an unlit room.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from malan.core import Finding
from malan.curation.operator import Batch, ClipView, finding
from malan.curation.operators.quality import active_area, is_black

NIGHT, DAY = 0.20, 0.40  # mean luma of the picture, 0 to 1
_DARK, _LAMP = 60, 150  # luma codes: most of a night scene lies below, its lights above


class SceneLight:
    """`scene.light` for each clip with a picture that is not black."""

    name = "scene.light"
    version = "1"
    reads = frozenset({"pictures"})
    emits = ("scene.light",)

    def run(self, batch: Batch) -> Sequence[Finding]:
        return [self._name(view) for view in batch.views if any(not is_black(s) for s in view.samples)]

    def _name(self, view: ClipView) -> Finding:
        area = active_area(view.samples)
        light = np.concatenate([area.cut(s.luma_HW).ravel() for s in view.samples if not is_black(s)])
        mean, dark, lamps = float(light.mean() / 255), float(np.mean(light < _DARK)), float(np.mean(light > _LAMP))
        name, confidence = "mixed", 0.5
        if mean < NIGHT and dark > 0.6:
            name = "night"
            confidence = 0.5 + 0.3 * (NIGHT - mean) / NIGHT + 0.2 * (0 < lamps < 0.08)
        elif mean > DAY:
            name, confidence = "day", 0.5 + min(0.4, (mean - DAY) * 1.5)
        value = {"class": name, "brightness": mean, "dark_share": dark, "light_share": lamps}
        return finding(self, view, "scene.light", value, confidence=confidence)
