"""What every exporter gets and does."""

from __future__ import annotations

import csv
import io
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any, ClassVar

from malan.core import Clip, Snapshot


@dataclass(frozen=True)
class Item:
    """A clip of the snapshot with what is written beside it. `source` is the owner's file it was cut from."""

    clip: Clip
    split: str
    owner: str
    terms: str
    attribution: str
    title: str
    caption: str
    labels: tuple[str, ...]
    source: Path
    rate: Fraction | None  # frames a second on average; None without a picture
    source_duration: Fraction  # seconds
    origin_s: Fraction = Fraction(0)  # when the first frame is shown on the file's own clock
    suffix: str = ".mp4"  # of the file a cut gives

    @property
    def name(self) -> str:
        """A file name that is safe everywhere and the same on every run."""
        return self.clip.id[:24]

    def facts(self) -> dict[str, Any]:
        """What goes beside the media, as plain JSON."""
        span = self.clip.span
        return {
            "clip": self.clip.id,
            "asset": self.clip.asset_id,
            "fragment": self.clip.fragment,
            "start_s": round(span.start_s, 6),
            "end_s": round(span.end_s, 6),
            "split": self.split,
            "title": self.title,
            "caption": self.caption,
            "labels": list(self.labels),
            "owner": self.owner,
            "terms": self.terms,
            "attribution": self.attribution,
        }


@dataclass(frozen=True)
class View:
    """A snapshot opened for export: its items, and `cut(item, out)` which writes one clip's media file."""

    snapshot: Snapshot
    items: Sequence[Item]
    cut: Callable[[Item, Path], None]

    @property
    def splits(self) -> list[str]:
        return [name for name, share in self.snapshot.split_shares if share]


Step = Callable[[int, int, str], None]


class Exporter(ABC):
    """Writes a snapshot into an empty folder. The same snapshot gives the same files.

    Class attributes: `name` as the user types it; `needs_media`: whether clips are cut, that is, whether bytes leave.
    """

    name: ClassVar[str]
    needs_media: ClassVar[bool] = True

    @abstractmethod
    def write(self, view: View, out: Path, step: Step) -> None:
        """Write all files under `out`; call `step(done, total, current)` after each clip."""

    @abstractmethod
    def resources(self, view: View) -> list[dict[str, Any]]:
        """The files as Croissant `distribution` entries."""


def csv_text(columns: Sequence[str], rows: Iterable[Sequence[Any]]) -> str:
    """RFC 4180 with line feeds; cells that a spreadsheet would run as a formula are kept as text."""
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(columns)
    for row in rows:
        writer.writerow(
            [f"'{cell}" if isinstance(cell, str) and cell[:1] in "=+-@\t\r" and cell else cell for cell in row]
        )
    return out.getvalue()
