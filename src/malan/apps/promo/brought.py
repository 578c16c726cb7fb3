"""Files that whoever asks brings along to a film (music, a voice): their digests, and whether a machine made them.

A film with sound that carries the label of AI-made content is itself in part AI-made, and is labelled so
(GB 45438-2025, 5.3). The digests let a recall find it. Start reading at `brought_to`.
"""

from __future__ import annotations

from pathlib import Path

from malan.media.labels.verify import glance
from malan.services.outputs.manifests import file_digest
from malan.services.outputs.publish import AiPart


def brought_to(*files: str) -> tuple[str, ...]:
    """The digests of those files that are there, each once; a missing one is told by whoever reads it."""
    return tuple(dict.fromkeys(file_digest(Path(file)) for file in files if file and Path(file).is_file()))


def with_brought(ai: AiPart | None, *files: str) -> AiPart | None:
    """The part of machines in a film, with that of the files it is given."""
    if ai is not None:
        return ai
    return AiPart("composite") if any(_is_labelled(Path(file)) for file in files if file) else None


def _is_labelled(file: Path) -> bool:
    seen = glance(file) if file.is_file() else None
    return seen is not None and bool(seen.found)
