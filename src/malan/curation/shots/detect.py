"""Finds the shots of a film: chooses a strategy, decodes what it asks for, judges what it saw.

Start at `detect_shots`.

Strategies, by what the packet index tells:

    scene-cut   the encoder put key frames at cuts: key frames are compared, few intervals are looked into
    fixed-gop   key frames come by the clock: key frames and packet sizes choose the intervals to look into
    intra       every frame is a key frame: one in eight is compared, intervals that differ are decoded
    full        too few key frames to compare, so many of small pictures that comparing them costs more, or asked
                for: every frame is decoded and judged

A detector of another kind (a neural one, say) is a guest: it implements `ShotDetector` and stands in `DETECTORS`.
"""

from __future__ import annotations

import time
from pathlib import Path
from typing import Protocol

from malan.core.errors import MediaError, UsageError
from malan.curation.shots.feed import Feeder, Observe
from malan.curation.shots.judge import judge
from malan.curation.shots.packets import PacketView
from malan.curation.shots.report import ShotReport, Transition, shots_between
from malan.curation.shots.sampling import Sampler
from malan.curation.shots.scan import anchors, can_scan, scan
from malan.media.index import PacketIndex

CHAPTER = 3000  # frames that are judged at a time
SMALL, THICK = 130_000, 20  # pixels, and frames a key frame, below which decoding costs less than choosing what to
OVERLAP = 160  # frames of the chapter before that are judged again with the next


class ShotDetector(Protocol):
    """Something that finds shots. It decodes through the feeder, so that whoever observes sees its frames too."""

    mode: str  # name under which it is asked for

    def strategy(self, view: PacketView, pixels: int) -> str:
        """What it will do with a film, by its packets and the size of its pictures alone."""
        ...

    def predict_s(self, feeder: Feeder, view: PacketView) -> float:
        """CPU seconds it expects to take."""
        ...

    def find(self, feeder: Feeder, sampler: Sampler, view: PacketView) -> list[Transition]:
        """The transitions of the film."""
        ...


def detect_shots(
    path: str | Path, index: PacketIndex, *, mode: str = "auto", observe: Observe | None = None
) -> ShotReport:
    """The shots of a film's first video track.

    Args:
        path: The film.
        index: Its packet index.
        mode: `auto` decodes as little as it can; `full` decodes every frame, as a reference.
        observe: Called with every frame that is decoded anyway: the frame, its number, whether it is a key frame.
            In no particular order, each frame once; the frame must be copied from, not kept.

    Returns:
        Shots that tile the film, with the frames decoded and the CPU time predicted and spent, reading included.

    Raises:
        UsageError: No detector has this mode.
        MediaError: The file cannot be opened, its codec is not known, or no picture in it can be decoded.
    """
    started = time.process_time()
    detector = next((d for d in DETECTORS if d.mode == mode), None)
    if detector is None:
        raise UsageError("shots.unknown_mode", mode=mode, known=", ".join(d.mode for d in DETECTORS))
    view, sampler, frames = PacketView(index), Sampler(), index.frame_count
    if not frames:
        return ShotReport(detector.strategy(view, 0), 0, 0, time.process_time() - started, 0.0, ())
    feeder = Feeder(path, view, sampler, observe)
    try:
        predicted_s = detector.predict_s(feeder, view)
        transitions = detector.find(feeder, sampler, view)
    finally:
        feeder.close()
    if not feeder.frames_decoded:
        raise MediaError("shots.no_picture", path=str(path))
    shots, strategy = shots_between(transitions, frames), detector.strategy(view, feeder.pixels)
    cpu_s = time.process_time() - started
    return ShotReport(strategy, frames, feeder.frames_decoded, cpu_s, predicted_s, shots)


class FullDetector:
    """Decodes every frame; the reference for all others."""

    mode = "full"

    def strategy(self, view: PacketView, pixels: int) -> str:  # noqa: ARG002 — the protocol's
        return "full"

    def predict_s(self, feeder: Feeder, view: PacketView) -> float:  # noqa: ARG002 — the protocol's
        return feeder.cost.full()

    def find(self, feeder: Feeder, sampler: Sampler, view: PacketView) -> list[Transition]:
        found: list[Transition] = []
        settled, frames = 0, view.index.frame_count
        feeder.start(0)
        for first in range(0, frames, CHAPTER):
            end = min(first + CHAPTER, frames)
            feeder.advance(end, lambda _: True)
            if end == frames:
                feeder.finish()
            until = frames if end == frames else end - OVERLAP // 2
            for stretch in sampler.stretches():
                found += [t for t in judge(stretch.placed(frames)) if settled <= t.boundary < until]
            settled = until
            sampler.forget_before(end - OVERLAP)
        return found


class PlannedDetector:
    """Decodes key frames and what they and the packet sizes leave in doubt, where that is cheaper than everything."""

    mode = "auto"

    def strategy(self, view: PacketView, pixels: int) -> str:
        if not can_scan(view):
            return "full"
        if view.is_key.all():
            return "intra"
        if pixels < SMALL and view.index.frame_count < THICK * int(view.is_key.sum()):
            return "full"
        return "scene-cut" if view.has_chosen_keys else "fixed-gop"

    def predict_s(self, feeder: Feeder, view: PacketView) -> float:
        strategy = self.strategy(view, feeder.pixels)
        if strategy == "full":
            return feeder.cost.full()
        looks = {"scene-cut": 0.33, "fixed-gop": 0.45, "intra": 0.3}[strategy]
        return feeder.cost.keys(anchors(view)[:-1]) + looks * feeder.cost.full()

    def find(self, feeder: Feeder, sampler: Sampler, view: PacketView) -> list[Transition]:
        if self.strategy(view, feeder.pixels) == "full":
            return FullDetector().find(feeder, sampler, view)
        return scan(feeder, sampler, view)


DETECTORS: tuple[ShotDetector, ...] = (PlannedDetector(), FullDetector())
