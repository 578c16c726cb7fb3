"""Films drawn by script as the footage of a loader: every frame says its number."""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction
from itertools import pairwise
from pathlib import Path
from typing import Any

from media_factory import Film as Drawn
from media_factory import draw_film

from malan.core import Clip
from malan.core.errors import NotFound
from malan.media.index import PacketIndex, build_index
from malan.training.loader import Allowed, Film, Holdings, Loader


class DrawnFootage:
    """Files by asset id; one that is taken out is gone."""

    def __init__(self, films: dict[str, Drawn]) -> None:
        self.films = dict(films)
        self.indexes: dict[str, PacketIndex] = {name: build_index(film.path) for name, film in films.items()}

    def film(self, clip: Clip) -> Film:
        if clip.asset_id not in self.films:
            raise NotFound("dataset.source_missing", asset=clip.asset_id, path="–")
        index = self.indexes[clip.asset_id]
        first, end = index.frame_at(clip.span.start), index.frame_at(clip.span.end - 1) + 1
        return Film(self.films[clip.asset_id].path, index, first, end, aspect=self.aspect(clip.asset_id))

    def sound(self, clip: Clip) -> Path:
        if clip.asset_id not in self.films:
            raise NotFound("dataset.source_missing", asset=clip.asset_id, path="–")
        return self.films[clip.asset_id].path

    def aspect(self, name: str) -> float:
        return 9 / 16 if name.startswith("tall") else 16 / 9

    def shots(self) -> tuple[Clip, ...]:
        """A clip for every shot of every film."""
        found = []
        for name, film in self.films.items():
            edges = (0, *film.cuts, film.frame_count)
            index = self.indexes[name]
            found += [Clip(name, 0, index.span(a, b)) for a, b in pairwise(edges)]
        return tuple(found)


def draw_footage(folder: Path, *, tall: bool = False, audio: bool = False) -> DrawnFootage:
    """Two films of three shots; with `tall` also one that stands upright."""
    folder.mkdir(parents=True, exist_ok=True)
    options = {"preset": "ultrafast", "g": "12", "bf": "2"}
    films = {
        name: draw_film(folder / f"{name}.mp4", (40, 25, 12), seed=seed, options=options, audio=audio)
        for name, seed in (("one", 1), ("two", 2))
    }
    if tall:
        films["tall"] = draw_film(folder / "tall.mp4", (30,), size=(180, 320), options=options, audio=audio)
    return DrawnFootage(films)


def loader_of(footage: DrawnFootage, *kinds: str, clips: Sequence[Clip] | None = None, **more: Any) -> Loader:
    """A loader of every shot."""
    chosen = tuple(footage.shots() if clips is None else clips)
    allowed = more.pop("allowed", None) or Allowed(frozenset(kinds))
    holdings = Holdings(chosen, labels=[["shot"]] * len(chosen), captions=["夜景"] * len(chosen), footage=footage)
    return Loader(holdings, allowed, **more)


def seconds(frames: int) -> int:
    """The length of so many drawn frames, in microseconds."""
    return round(Fraction(frames, 25) * 1_000_000)
