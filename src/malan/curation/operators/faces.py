"""Whether a clip shows faces, how large, and where: what an editor asks for first, and who guards privacy as well.

Detection only. Nothing here tells one person from another, and nothing that could is kept: boxes and times, no
landmarks, no embedding, no age, no sex, no mood. Start at `FacesInView`.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from malan.core import Finding
from malan.curation.operator import Batch, ClipView, finding
from malan.curation.operators.quality import is_black
from malan.curation.pictures import spread
from malan.curation.scaling import Sample
from malan.inference.faces import Face, FaceFinder, has_face_weights

PICTURES = 5  # of a clip: those of its filmstrip
CLOSE_UP = 0.3  # height of a face over that of the picture, from which it fills the shot
_MOST_BOXES = 12  # of a picture: a crowd is told by its nearest


class FacesInView:
    """`privacy.face` for each clip with a picture: how often a face, how large, where; never whose."""

    name = "privacy.face"
    version = "1"
    reads = frozenset({"pictures"})
    emits = ("privacy.face",)

    def __init__(self) -> None:
        self._finder = FaceFinder()

    @staticmethod
    def is_ready() -> bool:
        """Whether the weights are there; without them faces are not measured, and the next scan with them does it."""
        return has_face_weights()

    def run(self, batch: Batch) -> Sequence[Finding]:
        return [self._look(view) for view in batch.views if view.samples]

    def _look(self, view: ClipView) -> Finding:
        pictures = spread(view.samples, PICTURES)
        found = [self._faces(sample) for sample in pictures]
        size = max((face.height for faces in found for face in faces), default=0.0)
        value = {
            "class": "none" if not size else "closeup" if size >= CLOSE_UP else "people",
            "share": sum(map(bool, found)) / len(pictures),
            "size": size,
            "most": max(map(len, found)),
            "pictures": len(pictures),
            "faces": [
                _told(sample, face) for sample, faces in zip(pictures, found, strict=True) for face in _nearest(faces)
            ],
        }
        return finding(self, view, "privacy.face", value, confidence=_confidence(found))

    def _faces(self, sample: Sample) -> tuple[Face, ...]:
        if is_black(sample):
            return ()
        [faces] = self._finder.find([sample.rgb_HWC])
        return faces


def _nearest(faces: Sequence[Face]) -> Sequence[Face]:
    return sorted(faces, key=lambda face: -face.height)[:_MOST_BOXES]


def _told(sample: Sample, face: Face) -> dict[str, Any]:
    """Box as x, y, width, height: shares of the upright picture."""
    return {"at_s": sample.time_s, "box": [face.x, face.y, face.width, face.height], "score": face.score}


def _confidence(found: Sequence[Sequence[Face]]) -> float:
    """How sure the surest face of each picture is; without any, the surer the more was looked at."""
    best = [faces[0].score for faces in found if faces]
    return sum(best) / len(best) if best else min(0.95, 0.7 + 0.05 * len(found))
