"""What an output budget could carry away at worst, in words an owner understands: seconds of sound and of pictures.

One arithmetic for agreements, receipts and the gate: plain bytes at usual bitrates. It is a ceiling, no estimate: no
honest model comes near it, and what the rewrite destroys is not taken off.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from malan.core.catalogue import LANGUAGES, entry
from malan.core.errors import UsageError

AUDIO_BITS_S = 64_000  # AAC, both channels, quite listenable
VIDEO_BITS_S = 5_000_000  # H.264, 1080p
SMALL_VIDEO_BITS_S = 500_000  # H.264, 360p
STILL_BYTES = 50_000  # JPEG, 720p
TEXT_BYTES = 3  # one Chinese character in UTF-8, not compressed


@dataclass(frozen=True, slots=True)
class Capacity:
    """The worst case of so many bytes; every figure alone, not together."""

    budget_bytes: int
    audio_s: int
    video_s: int
    small_video_s: int
    stills: int
    characters: int

    def as_record(self) -> dict[str, int]:
        """For the agreement and the receipt: whole numbers only."""
        return {name: getattr(self, name) for name in self.__dataclass_fields__}

    def statement(self) -> Mapping[str, str]:
        """The sentence for the agreement, in each language."""
        values = {name: f"{value:,}" for name, value in self.as_record().items()}
        return {lang: entry("gate.capacity").text(lang, values) for lang in LANGUAGES}


def worst_case(budget_bytes: int) -> Capacity:
    """The worst case of a budget.

    Raises:
        UsageError: Not a whole number, 0 or above.
    """
    if type(budget_bytes) is not int or budget_bytes < 0:
        raise UsageError("gate.bad_budget", value=str(budget_bytes)[:40])
    bits = 8 * budget_bytes
    return Capacity(
        budget_bytes,
        bits // AUDIO_BITS_S,
        bits // VIDEO_BITS_S,
        bits // SMALL_VIDEO_BITS_S,
        budget_bytes // STILL_BYTES,
        budget_bytes // TEXT_BYTES,
    )
