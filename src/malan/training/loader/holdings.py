"""What a loader has of each clip: columns in the order of the clips' numbers, and the way to their frames and sound.

Numbers are all a run sees; ids, names and paths stay in here. Start reading at `Holdings`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from malan.core import Clip
from malan.core.errors import Rejected
from malan.media.index import PacketIndex


@dataclass(frozen=True)
class Film:
    """Where the frames of a clip lie: frames `first` to `end` (excluded) of a picture track."""

    path: Path
    index: PacketIndex
    first: int
    end: int
    track: int | None = None
    aspect: float = 16 / 9  # width by height as a viewer sees it
    is_upright: bool = False  # known to need no turning and to have square pixels; else the file is asked


class Footage(Protocol):
    """The way to the files. Called from several threads."""

    def film(self, clip: Clip) -> Film:
        """Raises:
        NotFound: The file is not where it was, or has no picture.
        """
        ...

    def sound(self, clip: Clip) -> Path:
        """The file that holds the sound of a clip.

        Raises:
            NotFound: The file is not where it was, or has no sound.
        """
        ...


@dataclass(frozen=True)
class Holdings:
    """Clips and what is known of them. A column that is None is not delivered.

    Args:
        clips: In the order of their numbers.
        descriptors_ND: float32.
        labels: Names each clip was given, perhaps none.
        classes: All names there are, sorted; None: those that `labels` hold.
        captions: One text a clip.
        owners: Whose each clip is, by any name; runs see numbers.
        footage: The way to frames and sound.
        planted: Numbers of invented clips among them (canaries): handed out like the others, counted as none.
    """

    clips: tuple[Clip, ...]
    descriptors_ND: NDArray[np.float32] | None = None
    labels: Sequence[Sequence[str]] | None = None
    classes: Sequence[str] | None = None
    captions: Sequence[str | bytes] | None = None
    owners: Sequence[str] | None = None
    footage: Footage | None = field(default=None, repr=False)
    planted: frozenset[int] = frozenset()

    def __post_init__(self) -> None:
        columns = (self.descriptors_ND, self.labels, self.captions, self.owners)
        if any(column is not None and len(column) != len(self.clips) for column in columns):
            raise ValueError("a column of another length than the clips")

    @property
    def all_classes(self) -> list[str]:
        """The names in the order of their numbers."""
        found = self.classes if self.classes is not None else {name for names in self.labels or () for name in names}
        return sorted(found)

    def check(self, kinds: Sequence[str]) -> None:
        """Raises:
        Rejected: One of the kinds cannot be delivered from here.
        """
        there = {
            "descriptor": self.descriptors_ND is not None,
            "labels": self.labels is not None,
            "captions": self.captions is not None,
            "owner": self.owners is not None,
            "frames": self.footage is not None,
            "audio": self.footage is not None,
        }
        for kind in kinds:
            if not there.get(kind, False):
                raise Rejected("loader.no_footage", kind=kind)

    def facts(self) -> dict[str, Any]:
        """What a run is told: names of classes, width of a descriptor, how many clips, of how many owners."""
        width = 0 if self.descriptors_ND is None else int(self.descriptors_ND.shape[1])
        real = [n for n in range(len(self.clips)) if n not in self.planted]
        owners = {} if self.owners is None else {"owners": len({self.owners[n] for n in real})}
        return {"classes": self.all_classes, "descriptor": width, "clips": len(real), **owners}


class Columns:
    """The columns as arrays, ready to be picked from."""

    def __init__(self, holdings: Holdings) -> None:
        self._holdings = holdings
        self.classes = holdings.all_classes
        self._labels_NC = _multi_hot(holdings.labels, self.classes)
        self._owner_N = _numbered(holdings.owners)
        self._captions = [_as_bytes(one) for one in holdings.captions or ()]
        self._caption_bytes_N = np.array([len(one) for one in self._captions], np.int64)

    def caption_bytes(self, clips: NDArray[np.int32]) -> int:
        """How long the captions of some clips are together."""
        return int(self._caption_bytes_N[clips].sum())

    def pick(self, kind: str, clips: NDArray[np.int32]) -> Mapping[str, NDArray[Any]]:
        """Fresh arrays of one kind for some clips."""
        if kind == "descriptor":
            assert self._holdings.descriptors_ND is not None  # noqa: S101  # checked when the loader was opened
            return {"descriptor_ND": np.asarray(self._holdings.descriptors_ND, "<f4")[clips]}
        if kind == "labels":
            chosen_NC = self._labels_NC[clips]
            first = np.where(chosen_NC.any(axis=1), chosen_NC.argmax(axis=1), -1) if self.classes else -1
            return {"label_N": np.broadcast_to(first, len(clips)).astype("<i4"), "labels_NC": chosen_NC}
        if kind == "owner":
            return {"owner_N": self._owner_N[clips]}
        texts = [self._captions[clip] for clip in clips.tolist()]
        ends = np.cumsum([0, *map(len, texts)]).astype("<i8")
        return {"captions_bytes": np.frombuffer(b"".join(texts), "|u1").copy(), "captions_offsets": ends}


def _multi_hot(labels: Sequence[Sequence[str]] | None, classes: list[str]) -> NDArray[np.uint8]:
    place = {name: number for number, name in enumerate(classes)}
    found_NC = np.zeros((len(labels or ()), len(classes)), np.uint8)
    for clip, names in enumerate(labels or ()):
        found_NC[clip, [place[name] for name in names if name in place]] = 1
    return found_NC


def _numbered(owners: Sequence[str] | None) -> NDArray[np.int32]:
    """Numbers in the order of first appearance, which tells nothing about names."""
    place: dict[str, int] = {}
    return np.array([place.setdefault(owner, len(place)) for owner in owners or ()], "<i4")


def _as_bytes(caption: str | bytes) -> bytes:
    return caption if isinstance(caption, bytes) else caption.encode()
