"""Finds the shots of a film: chooses a strategy, decodes what it asks for, judges what was seen. Start at `detect_shots`."""

from __future__ import annotations

import time
from pathlib import Path

from malan.curation.shots.feed import Feeder, Observe
from malan.curation.shots.judge import judge
from malan.curation.shots.packets import PacketView
from malan.curation.shots.report import ShotReport, Transition, shots_between
from malan.curation.shots.scan import can_scan, scan
from malan.curation.shots.sampling import Sampler
from malan.media.index import PacketIndex

CHAPTER = 3000  # frames that are judged at a time
OVERLAP = 160  # frames of the chapter before that are judged again with the next


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

    Raises:
        MediaError: The file cannot be opened or its codec is not known.
    """
    started = time.process_time()
    view, sampler = PacketView(index), Sampler()
    feeder = Feeder(path, view, sampler, observe)
    try:
        transitions = scan(feeder, sampler, view) if mode == "auto" and can_scan(view) else _full(feeder, sampler, index.frame_count)
    finally:
        feeder.close()
    cpu_s = time.process_time() - started
    return ShotReport(
        mode, index.frame_count, feeder.frames_decoded, cpu_s, 0.0, shots_between(transitions, index.frame_count)
    )


def _full(feeder: Feeder, sampler: Sampler, frames: int) -> list[Transition]:
    found: list[Transition] = []
    settled = 0
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
