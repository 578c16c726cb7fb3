"""What a model is asked to find out what it learned by heart: with which clips, and in which way.

    planted: canaries lay among the clips of the training; the model is asked about them and about their like
    twin:    they lay in a second training, else the same, whose weights are thrown away; that one is asked
    frames:  the model makes pictures for captions it was trained on; they are held against footage

Start reading at `Recall`.
"""

from __future__ import annotations

from dataclasses import dataclass

from malan.training.loader import Loader

PLANTED, TWIN, FRAMES = "planted", "twin", "frames"


@dataclass(frozen=True)
class Recall:
    """The data of such a question. None of these loaders counts: nothing of them reaches the buyer but one word.

    Args:
        measure: `planted`, `twin` or `frames`.
        canaries: The planted ones first, then their like.
        planted: How many were planted.
        twin: The clips of the run with canaries among them.
        captions: Some clips that were trained on, of which only the captions are handed out.
        footage: Clips that were trained on, in the same windows.
        unseen: Clips that were not.
    """

    measure: str
    canaries: Loader | None = None
    planted: int = 0
    twin: Loader | None = None
    captions: Loader | None = None
    footage: Loader | None = None
    unseen: Loader | None = None
