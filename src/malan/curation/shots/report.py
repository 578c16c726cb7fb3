"""What shot detection hands back: shots that tile the film, each with the transition that opens it."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from itertools import pairwise
from typing import Literal

Kind = Literal["start", "cut", "dissolve", "fade"]


@dataclass(frozen=True, slots=True)
class Transition:
    """How one shot becomes the next.

    `first_frame` is the last frame that shows only the old shot, `last_frame` the first that shows only the new one;
    a cut spans two neighbouring frames. The film's first shot has a `start` at frame 0.
    """

    type: Kind
    first_frame: int
    last_frame: int
    confidence: float  # 0–1

    @property
    def boundary(self) -> int:
        """First frame counted to the new shot: of a cut the cut itself, of a gradual transition its middle."""
        return self.last_frame if self.type == "cut" else (self.first_frame + self.last_frame + 1) // 2


@dataclass(frozen=True, slots=True)
class Shot:
    """Frames `first` to `end`, `end` excluded, and the transition that leads into them."""

    first: int
    end: int
    transition: Transition


@dataclass(frozen=True, slots=True)
class ShotReport:
    """The shots of a film and what it took to find them."""

    strategy: str  # scene-cut, fixed-gop, long-gop, intra, full
    frames: int
    frames_decoded: int
    cpu_s: float
    predicted_cpu_s: float
    shots: tuple[Shot, ...]


def shots_between(transitions: Iterable[Transition], frames: int) -> tuple[Shot, ...]:
    """Shots that tile the frames 0 to `frames`; boundaries outside or twice at one frame are dropped."""
    opening = Transition("start", 0, 0, 1.0)
    starts = {0: opening}
    for transition in sorted(transitions, key=lambda t: (t.boundary, -t.confidence)):
        if 0 < transition.boundary < frames:
            starts.setdefault(transition.boundary, transition)
    edges = [*sorted(starts), frames]
    return tuple(Shot(a, b, starts[a]) for a, b in pairwise(edges) if b > a)
