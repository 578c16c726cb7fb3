"""The explicit label of AI-made media (显式标识, GB 45438-2025, chapter 5): made, put in, and measured.

`overlay_for` gives a renderer the picture and the place; `burn_label` treats a finished file; `check_explicit` looks at
any file. The implicit label in the metadata is another package's business. Design: `docs/design/credentials.md`.
"""

from malan.media.explicit.burn import Burned, burn_label, check_extension
from malan.media.explicit.check import ExplicitReport, check_explicit
from malan.media.explicit.overlay import CORNERS, TEXTS, Overlay, check_text, overlay_for
from malan.media.explicit.rhythm import FoundRhythm, find_rhythm, rhythm

__all__ = [
    "CORNERS",
    "TEXTS",
    "Burned",
    "ExplicitReport",
    "FoundRhythm",
    "Overlay",
    "burn_label",
    "check_explicit",
    "check_extension",
    "check_text",
    "find_rhythm",
    "overlay_for",
    "rhythm",
]
