"""The words that come with clips: captions, documents, scores. One text a clip, as bytes laid end to end."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import pairwise
from typing import Any


def texts_of(batch: Mapping[str, Any]) -> list[bytes]:
    """The text of each clip of a batch, as it was; empty where a clip has none."""
    whole, ends = bytes(batch["captions_bytes"]), [int(end) for end in batch["captions_offsets"]]
    return [whole[start:end] for start, end in pairwise(ends)]


def captions_of(batch: Mapping[str, Any]) -> list[str]:
    """The same as words; what is no UTF-8 is replaced."""
    return [text.decode("utf-8", "replace") for text in texts_of(batch)]
