"""Music under a film: one call from tags to a WAV file, for apps that score what they cut. Start at `make_bed`."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from fractions import Fraction
from pathlib import Path

from malan.composing import bed
from malan.services.outputs.publish import AiPart


def make_bed(
    tags: Sequence[str], seconds: Fraction | float, hits: Sequence[float], seed: int, out: Path,
    *, stop: Callable[[], None] = lambda: None,
) -> AiPart:  # fmt: skip
    """Compose, play and master music of exactly this length that strikes at the cuts.

    Returns:
        What the film it goes into must say of it: that some of the film was generated, by no model.

    Raises:
        UsageError: The tags contradict each other, or the length is not possible (2 to 300 s).
        MissingExtra: FluidSynth or a soundfont is not installed.
    """
    inside = [hit for hit in hits if 0 <= hit < seconds]
    bed(float(seconds), out, tags=tags, hits=inside[:64], seed=seed, stop=stop)
    return AiPart("composite")
