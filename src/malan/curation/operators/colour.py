"""The colours that dominate a clip, named in English and Chinese, with their shares."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from malan.core import Finding
from malan.curation.colour import NAMES, name_colours, small_rgb, to_oklab
from malan.curation.operator import Batch, ClipView, finding
from malan.curation.operators.quality import active_area
from malan.curation.pictures import spread

LEAST_SHARE = 0.1  # of the picture; less does not dominate
_PICTURES = 4


class DominantColours:
    """`colour.dominant` for each clip with a picture; bars around the picture do not count."""

    name = "colour.dominant"
    version = "1"
    reads = frozenset({"pictures"})
    emits = ("colour.dominant",)

    def run(self, batch: Batch) -> Sequence[Finding]:
        return [self._name(view) for view in batch.views if view.samples]

    def _name(self, view: ClipView) -> Finding:
        area = active_area(view.samples)
        pictures = [small_rgb(sample) for sample in spread(view.samples, _PICTURES)]
        rgb = np.concatenate([np.stack([area.cut(p[..., c]) for c in range(3)], -1).reshape(-1, 3) for p in pictures])
        lab = to_oklab(rgb)
        names = name_colours(lab)
        shares = np.bincount(names, minlength=len(NAMES)) / len(names)
        order = [int(i) for i in np.argsort(-shares) if shares[i] >= LEAST_SHARE]
        colours = [
            {"name": NAMES[i][0], "zh": NAMES[i][1], "share": shares[i], "hex": _hex(rgb[names == i])} for i in order
        ]
        chroma = np.hypot(lab[:, 1], lab[:, 2])
        value = {"colours": colours, "saturation": chroma.mean() / 0.3, "warmth": lab[:, 2].mean() / 0.2}
        return finding(self, view, "colour.dominant", value, confidence=float(shares.max()))


def _hex(rgb: np.ndarray) -> str:
    return "#" + "".join(f"{round(c):02x}" for c in rgb.mean(axis=0))
