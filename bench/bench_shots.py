"""Shot detection: accuracy and CPU beside PySceneDetect's AdaptiveDetector and beside decoding alone.

Films with known shots: the real footage, and one drawn film in every class of encode (`drawn_films.py`); `--quick`
draws a tiny one alone. Everything is measured in one run: ours (`auto` and `full`), the peer, and decode-and-discard on
one thread, the cheaper of slice and automatic threading. Drawn films are small and simple to decode: they hold accuracy
to account, the footage the cost as well.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from collections import defaultdict
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import av
import av.logging
import numpy as np
from common import Report, arguments, footage_folder, measure, median_cost
from drawn_films import Drawn, draw_films

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tests"))

from shot_scoring import Boundary, Score, Truth, read_truth, score

from malan.curation.shots import ShotReport, detect_shots
from malan.media.index import PacketIndex, build_index

FILMS = (
    "video/bbb_1a_486p.mp4",
    "video/bbb_1b_360p.mp4",
    "video/sintel_trailer_480x204.mp4",
    "video/sintel_trailer_part_854x480.mp4",
    "synthetic/spliced_s1_scenecut.mp4",
    "synthetic/spliced_s2_fixedgop.mp4",
    "synthetic/vertical_s_zh_subs.mp4",
)
SEEDS, SHOTS = (3,), 26  # films to draw, and the shots of each
CPU_MUST = {"scene-cut": (1 / 6, 1 / 4), "fixed-gop": (1 / 3, 1 / 2)}  # of the peer, of decode-and-discard


@dataclass(frozen=True)
class Result:
    """One film."""

    name: str
    ours: Score
    full: Score
    peer: Score | None
    report: ShotReport
    cpu_s: float
    full_cpu_s: float
    peer_cpu_s: float
    discard_cpu_s: float


def main() -> None:
    options = _arguments()
    av.logging.set_level(av.logging.ERROR)
    report = Report("Shot detection")
    results = [_measure(film, read_truth(film), options.runs) for film in _footage(options)]
    for result in results:
        _film_row(report, result)
    for strategy, members in _by_strategy(results).items():
        _class_row(report, strategy, members)
    for name, members in _drawn(options).items():
        _drawn_row(report, name, members)
        results += members
    report.notes.append("F1 of hard cuts within 0 / 1 frame; gradual: dissolves and fades by interval.")
    if any(r.peer is None for r in results):
        report.notes.append("PySceneDetect is not installed: no peer figures (`pip install scenedetect`).")
    report.show()
    if options.json:
        report.save(options.json)


def _arguments() -> argparse.Namespace:
    return arguments("shot detection: F1 and CPU")


def _footage(options: argparse.Namespace) -> list[Path]:
    folder = footage_folder()
    return [] if options.quick or folder is None else [folder / name for name in FILMS]


def _drawn(options: argparse.Namespace) -> dict[str, list[Result]]:
    """Every class of encode with the drawn films measured in it."""
    results: dict[str, list[Result]] = defaultdict(list)
    shots, size = (6, (320, 180)) if options.quick else (SHOTS, (640, 360))
    for seed in SEEDS:
        with tempfile.TemporaryDirectory() as folder:
            films: list[Drawn] = draw_films(Path(folder), seed, shots, size)
            for film in films:
                results[film.encode.name].append(_measure(film.path, film.truth, 1))
    return results


def _measure(path: Path, truth: Truth, runs: int) -> Result:
    index = build_index(path)
    ours, report = median_cost(lambda: detect_shots(path, index), runs)
    full, reference = measure(lambda: detect_shots(path, index, mode="full"))
    peer_cost, cuts = measure(lambda: _peer(path, index))
    discard = min(median_cost(lambda t=t: _discard(path, t), runs)[0].cpu_s for t in ("SLICE", "NONE"))
    print(f"{path.name}: {ours.cpu_s:.2f} s, peer {peer_cost.cpu_s:.2f} s, decode {discard:.2f} s", flush=True)
    return Result(
        path.stem,
        score(_boundaries(report), truth),
        score(_boundaries(reference), truth),
        None if cuts is None else score([Boundary(c) for c in cuts], truth),
        report,
        ours.cpu_s,
        full.cpu_s,
        peer_cost.cpu_s,
        discard,
    )


def _boundaries(report: ShotReport) -> list[Boundary]:
    return [Boundary(s.transition.boundary, s.transition.type != "cut") for s in report.shots[1:]]


def _peer(path: Path, index: PacketIndex) -> list[int] | None:
    """First frames of the peer's scenes, found by their times: its numbers are guesses where the frame rate varies.

    None where it is not installed.
    """
    try:
        from scenedetect import AdaptiveDetector, open_video
        from scenedetect.scene_manager import SceneManager
    except ImportError:
        return None
    video = open_video(str(path), backend="pyav")
    manager = SceneManager()
    manager.add_detector(AdaptiveDetector())
    manager.detect_scenes(video)
    times = (index.frame_pts - index.frame_pts[0]) * float(index.timebase)
    return [int(np.abs(times - start.seconds).argmin()) for start, _ in manager.get_scene_list()[1:]]


def _discard(path: Path, threads: str) -> int:
    with av.open(str(path)) as container:
        stream = container.streams.video[0]
        stream.codec_context.thread_type = threads
        stream.codec_context.thread_count = 1
        return sum(1 for _ in container.decode(stream))


def _film_row(report: Report, r: Result) -> None:
    must, met = _cpu(r.report.strategy, r.cpu_s, r.peer_cpu_s, r.discard_cpu_s, r.peer is not None)
    better = r.peer is None or (
        r.ours.cuts_exact.f1 >= r.peer.cuts_exact.f1 and r.ours.cuts_near.f1 >= r.peer.cuts_near.f1
    )
    seen = r.report.frames_decoded / max(r.report.frames, 1)
    peer = f"F1 {_f1(r.peer)}, negatives {r.peer.on_negatives}; {r.peer_cpu_s:.2f} s" if r.peer else "not installed"
    shares = f"ours {r.cpu_s / r.discard_cpu_s:.2f} of it, {r.cpu_s / max(r.peer_cpu_s, 1e-9):.2f} of the peer"
    report.add(
        f"{r.name} ({r.report.strategy}, {seen:.0%} decoded)",
        f"F1 {_f1(r.ours)}, negatives {r.ours.on_negatives}; {r.cpu_s:.2f} s, predicted {r.report.predicted_cpu_s:.2f}",
        peer=peer,
        limit=f"decode {r.discard_cpu_s:.2f} s, {shares}; full mode F1 {_f1(r.full)}, {r.full_cpu_s:.2f} s",
        must=f"F1 ≥ peer{must}",
        met=better and met,
    )


def _class_row(report: Report, strategy: str, members: list[Result]) -> None:
    ours = _total(m.ours for m in members)
    peer = _total(m.peer for m in members if m.peer)
    cpu, peer_cpu, discard = (sum(getattr(m, f) for m in members) for f in ("cpu_s", "peer_cpu_s", "discard_cpu_s"))
    has_peer = all(m.peer for m in members)
    must, met = _cpu(strategy, cpu, peer_cpu, discard, has_peer)
    report.add(
        f"all {strategy} ({len(members)} films)",
        f"F1@0 {ours[0]:.3f}, @1 {ours[1]:.3f}, gradual {ours[2]:.3f}; {cpu:.2f} s",
        peer=f"F1@0 {peer[0]:.3f}, @1 {peer[1]:.3f}; ours {cpu / peer_cpu:.2f} of its CPU" if has_peer else "",
        limit=f"ours {cpu / discard:.2f} of decode-and-discard",
        must=f"F1 ≥ peer{must}",
        met=met and (not has_peer or (ours[0] >= peer[0] and ours[1] >= peer[1])),
    )


def _drawn_row(report: Report, name: str, members: list[Result]) -> None:
    ours, full = _total(m.ours for m in members), _total(m.full for m in members)
    peer = _total(m.peer for m in members if m.peer)
    cpu, peer_cpu, discard = (sum(getattr(m, f) for m in members) for f in ("cpu_s", "peer_cpu_s", "discard_cpu_s"))
    has_peer = all(m.peer for m in members)
    report.add(
        f"drawn: {name} ({', '.join(sorted({m.report.strategy for m in members}))})",
        f"F1@0 {ours[0]:.3f}, @1 {ours[1]:.3f}, gradual {ours[2]:.3f}; {cpu:.2f} s",
        peer=f"F1@0 {peer[0]:.3f}, @1 {peer[1]:.3f}, gradual {peer[2]:.3f}; {peer_cpu:.2f} s" if has_peer else "",
        limit=f"decode {discard:.2f} s; full mode F1@0 {full[0]:.3f}, gradual {full[2]:.3f}",
        must="F1 ≥ peer",
        met=not has_peer or (ours[0] >= peer[0] and ours[1] >= peer[1]),
    )


def _cpu(strategy: str, cpu: float, peer: float, discard: float, has_peer: bool) -> tuple[str, bool]:
    if strategy not in CPU_MUST:
        return "", True
    of_peer, of_discard = CPU_MUST[strategy]
    met = cpu <= of_discard * discard and (not has_peer or cpu <= of_peer * peer)
    return f"; CPU ≤ {of_peer:.2f} of peer, ≤ {of_discard:.2f} of decoding", met


def _total(scores: Any) -> tuple[float, float, float]:
    scores = list(scores)
    if not scores:
        return (0.0, 0.0, 0.0)
    tallies = [(s.cuts_exact, s.cuts_near, s.graduals) for s in scores]
    first, *rest = tallies
    for tally in rest:
        first = tuple(a + b for a, b in zip(first, tally, strict=True))  # type: ignore[assignment]
    return first[0].f1, first[1].f1, first[2].f1


def _by_strategy(results: list[Result]) -> dict[str, list[Result]]:
    groups: dict[str, list[Result]] = defaultdict(list)
    for result in results:
        groups[result.report.strategy].append(result)
    return groups


def _f1(s: Score) -> str:
    return f"{s.cuts_exact.f1:.3f} / {s.cuts_near.f1:.3f}, gradual {s.graduals.f1:.3f}"


if __name__ == "__main__":
    main()
