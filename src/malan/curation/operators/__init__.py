"""The operators of the first scan. A new one is one file, one line in `BUILT_IN` and one test.

Others bring theirs through the entry point group `malan.operators`, by the same door. Start at `all_operators`.
"""

from __future__ import annotations

from importlib.metadata import entry_points

from malan.curation.operator import ENTRY_POINTS, Operator, check_operators
from malan.curation.operators.colour import DominantColours
from malan.curation.operators.faces import FacesInView
from malan.curation.operators.hearing import Loudness, Silence, SpeechSegments
from malan.curation.operators.light import SceneLight
from malan.curation.operators.motion import MotionClass
from malan.curation.operators.prints import VideoFingerprint
from malan.curation.operators.quality import DecodingDamage, TechnicalQuality
from malan.curation.operators.similar import LooksLike

BUILT_IN: tuple[type[Operator], ...] = (
    TechnicalQuality,
    DecodingDamage,
    MotionClass,
    DominantColours,
    SceneLight,
    VideoFingerprint,
    LooksLike,
    FacesInView,
    SpeechSegments,
    Loudness,
    Silence,
)


def all_operators() -> tuple[Operator, ...]:
    """One of each built-in operator and of each that is installed beside Malan; faces only where their weights are.

    Raises:
        UsageError: Two have the same name.
    """
    guests = [entry.load()() for entry in entry_points(group=ENTRY_POINTS)]
    ready = [kind for kind in BUILT_IN if kind is not FacesInView or FacesInView.is_ready()]
    return check_operators([*(kind() for kind in ready), *guests])
