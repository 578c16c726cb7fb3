"""Scores found shots against a truth file: F1 of hard cuts, F1 of gradual transitions, false alarms on hard negatives.

Shared by the tests and the bench. A truth row is `start_frame,end_frame,type`: the last frame of the old shot alone and
the first of the new one alone. A hard cut is found when a boundary lies within the tolerance of `end_frame`; a gradual
transition when one lies inside it, two frames of slack at each side. Each row is matched once. What falls into an
`ignore_*` range is dropped first. Start at `score`.
"""

from __future__ import annotations

import csv
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

SLACK = 2  # frames around a gradual transition


@dataclass(frozen=True)
class Row:
    """One line of a truth or negatives file."""

    start: int
    end: int
    kind: str


@dataclass(frozen=True)
class Truth:
    """What a film really holds."""

    rows: tuple[Row, ...]
    negatives: tuple[Row, ...] = ()

    @property
    def cuts(self) -> list[Row]:
        return [row for row in self.rows if row.kind == "cut"]

    @property
    def graduals(self) -> list[Row]:
        return [row for row in self.rows if row.kind != "cut"]


@dataclass(frozen=True)
class Boundary:
    """A found boundary: the first frame of the new shot, and whether the detector calls it gradual."""

    frame: int
    gradual: bool = False


@dataclass(frozen=True)
class Tally:
    """Hits, false alarms and misses; adds up over films."""

    hits: int = 0
    false_alarms: int = 0
    misses: int = 0

    @property
    def f1(self) -> float:
        wrong = self.false_alarms + self.misses
        return 2 * self.hits / (2 * self.hits + wrong) if self.hits or wrong else 1.0

    def __add__(self, other: Tally) -> Tally:
        return Tally(self.hits + other.hits, self.false_alarms + other.false_alarms, self.misses + other.misses)


@dataclass(frozen=True)
class Score:
    """The tallies of one film, and what went wrong by frame number, for looking at."""

    cuts_exact: Tally
    cuts_near: Tally  # one frame of tolerance
    graduals: Tally
    on_negatives: int
    missed: tuple[Row, ...]
    wrong: tuple[Boundary, ...]


def read_truth(film: Path) -> Truth:
    """The truth beside a film, `NAME.shots.csv` and, where there is one, `NAME.negatives.csv`."""
    return Truth(_rows(film.with_suffix(".shots.csv"), "type"), _rows(film.with_suffix(".negatives.csv"), "kind"))


def score(found: Sequence[Boundary], truth: Truth) -> Score:
    """Compare found boundaries with the truth.

    For hard cuts a boundary inside a gradual transition counts neither way. For graduals any boundary inside one finds
    it, and what the detector calls gradual and lies in none is a false alarm.
    """
    found = [b for b in found if not any(_inside(b, r, 0) for r in truth.negatives if r.kind.startswith("ignore"))]
    exact, near = _match_cuts(found, truth, 0), _match_cuts(found, truth, 1)
    gradual_hits = [row for row in truth.graduals if any(_inside(b, row, SLACK) for b in found)]
    gradual_wrong = [b for b in found if b.gradual and not any(_inside(b, r, SLACK) for r in truth.rows)]
    gradual_missed = [row for row in truth.graduals if row not in gradual_hits]
    wrong = {*near[1], *gradual_wrong}
    return Score(
        cuts_exact=Tally(exact[0], len(exact[1]), len(exact[2])),
        cuts_near=Tally(near[0], len(near[1]), len(near[2])),
        graduals=Tally(len(gradual_hits), len(gradual_wrong), len(gradual_missed)),
        on_negatives=sum(any(_inside(b, r, 1) for r in truth.negatives) for b in wrong),
        missed=(*near[2], *gradual_missed),
        wrong=tuple(sorted(wrong, key=lambda b: b.frame)),
    )


def _match_cuts(found: Sequence[Boundary], truth: Truth, tolerance: int) -> tuple[int, list[Boundary], list[Row]]:
    left, missed = list(found), []
    for row in truth.cuts:
        near = [b for b in left if abs(b.frame - row.end) <= tolerance]
        if near:
            left.remove(min(near, key=lambda b: abs(b.frame - row.end)))
        else:
            missed.append(row)
    wrong = [b for b in left if not any(_inside(b, r, SLACK) for r in truth.graduals)]
    return len(truth.cuts) - len(missed), wrong, missed


def _inside(boundary: Boundary, row: Row, slack: int) -> bool:
    return row.start - slack <= boundary.frame <= row.end + slack


def _rows(path: Path, kind: str) -> tuple[Row, ...]:
    if not path.is_file():
        return ()
    with path.open(encoding="utf-8") as lines:
        return tuple(Row(int(r["start_frame"]), int(r["end_frame"]), r[kind]) for r in csv.DictReader(lines))
