"""Reframing: how much of a known subject stays inside the window when a film is cut to another shape, and how it moves.

Films are drawn, so that the box of the subject is known in every frame: before drawn grounds, and before real footage
of a camera that is carried and of one that stands. Peers: the crop around the middle; and a tracker that takes the best
window of every single frame, with the same eyes and without smoothing. The limit of the jerk is that of the true box.
Malan sees what is decoded, never the boxes.
"""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from fractions import Fraction
from pathlib import Path

import numpy as np
from common import Report, arguments, footage_folder, measure
from numpy.typing import NDArray

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tests"))
from subject_factory import RATE, SCENES, Scene, Subject, draw_subject

from malan.apps.promo.framing import LINES, frame_formats
from malan.apps.promo.looking import LOOKS_A_SECOND
from malan.apps.promo.request import format_of
from malan.apps.promo.subjects import subjects_of
from malan.media.render import View
from malan.media.render.graph import window
from malan.media.render.looks import look_along

Floats = NDArray[np.float64]
SHAPES = ("9:16", "1:1", "4:5")
SIZE = (640, 360)
INSIDE = 0.9  # of the box's width
BEFORE_REAL = ("stands at the left", "walks across", "turns back", "comes nearer", "is one of two")


@dataclass
class Tally:
    """Of one set of films in one shape: shares of frames with the subject inside, and mean jerks."""

    ours: list[float] = field(default_factory=list)
    middle: list[float] = field(default_factory=list)
    jerk: list[float] = field(default_factory=list)
    tracked: list[float] = field(default_factory=list)
    true: list[float] = field(default_factory=list)
    whole: int = 0


def main() -> None:
    options = arguments(__doc__ or "")
    report = Report("Reframing to a known subject" if not options.quick else "Reframing, a smoke")
    with tempfile.TemporaryDirectory(prefix="malan-bench-") as name:
        folder = Path(name)
        scenes = dict(list(SCENES.items())[3:5]) if options.quick else SCENES
        drawn = [
            draw_subject(folder / f"{place}-{seed}.mp4", scene, seed=seed, size=SIZE)
            for place, scene in enumerate(scenes.values())
            for seed in range(1 if options.quick else 3)
        ]
        judge(report, "drawn grounds", drawn)
        footage = footage_folder()
        if footage and not options.quick:
            judge(report, "real footage behind it", list(before_real(folder, footage)))
        cost(report, drawn)
    report.notes.append(
        f"Inside: at least {INSIDE:.0%} of the box's width (or of the window, where the subject is wider) is in the "
        "window. Jerk: mean third difference of the window's middle from frame to frame, in pixels of a picture 1920 "
        "wide. Shots shown on a blurred ground are told; of the widest only a part is shown there."
    )
    report.show()
    if options.json:
        report.save(options.json)


def judge(report: Report, what: str, films: list[Subject]) -> None:
    tallies = {shape: Tally() for shape in SHAPES}
    for film in films:
        eyes = every_frame(film)
        for shape, view in frame(film).items():
            tally(tallies[shape], film, shape, view, eyes)
    for shape, found in tallies.items():
        inside, middle = np.mean(found.ours), np.mean(found.middle)
        report.add(
            f"{shape}, {what}: subject inside", f"{inside:.2%} of frames, {found.whole} of {len(films)} shots whole",
            peer=f"middle {middle:.1%}", must="≥ 98 %", met=bool(inside >= 0.98),
        )  # fmt: skip
        ours, theirs = np.mean(found.jerk), np.mean(found.tracked)
        report.add(
            f"{shape}, {what}: jerk", f"{ours:.2f} px", peer=f"frame by frame {theirs:.1f} px",
            limit=f"the true box {np.mean(found.true):.2f} px", must="below the peer's", met=bool(ours < theirs),
        )  # fmt: skip


def frame(film: Subject) -> Mapping[str, View]:
    """As a promo frames it; by shape."""
    seen = look_along(str(film.path), 0, Fraction(0), film.seconds, a_second=LOOKS_A_SECOND, lines=LINES)
    forms = [format_of(shape, 1080) for shape in SHAPES]
    views = frame_formats(seen.pictures, seen.times_s, SIZE, forms)
    return {shape: views[form.name] for shape, form in zip(SHAPES, forms, strict=True)}


def every_frame(film: Subject) -> list[Floats]:
    """Where the weight lies along the width of each frame, as Malan sees it."""
    seen = look_along(str(film.path), 0, Fraction(0), film.seconds, a_second=RATE, lines=LINES)
    weights = [one.along_x for one in subjects_of(seen.pictures)]
    moments = np.arange(len(film.boxes_T4)) / RATE
    return [weights[int(np.argmin(np.abs(np.asarray(seen.times_s) - at)))] for at in moments]


def tally(found: Tally, film: Subject, shape: str, view: View, eyes: list[Floats]) -> None:
    share = window(SIZE, format_of(shape, 1080), 1.0)[0] / SIZE[0]
    found.middle.append(inside(film, np.full(len(film.boxes_T4), 0.5), share))
    if view.is_whole:
        found.whole += 1
        left, _, wide, _ = view.part
        found.ours.append(inside(film, np.full(len(film.boxes_T4), left + wide / 2), wide))
        return
    times = np.arange(len(film.boxes_T4)) / RATE
    path = np.interp(times, [key.at_s for key in view.keys], [key.x for key in view.keys])
    true = np.clip(film.boxes_T4[:, [0, 2]].mean(axis=1), share / 2, 1 - share / 2)
    tracked = np.asarray([float((np.linspace(0, 1, len(one)) * one).sum()) for one in eyes])
    found.ours.append(inside(film, np.clip(path, share / 2, 1 - share / 2), share))
    found.jerk.append(jerk(path))
    found.tracked.append(jerk(np.clip(tracked, share / 2, 1 - share / 2)))
    found.true.append(jerk(true))


def inside(film: Subject, middle_T: Floats, share: float) -> float:
    """The share of frames with the subject in the window."""
    left, right = film.boxes_T4[:, 0], film.boxes_T4[:, 2]
    seen = np.minimum(middle_T + share / 2, right) - np.maximum(middle_T - share / 2, left)
    return float((seen >= INSIDE * np.minimum(right - left, share)).mean())


def jerk(middle_T: Floats) -> float:
    return float(np.abs(np.diff(middle_T * 1920, 3)).mean())


def before_real(folder: Path, footage: Path) -> list[Subject]:
    """The drawn figure before footage: a camera carried along a path, a table with bottles."""
    films = []
    for name in ("gopro_max_heromode", "intel_bottle_detection"):
        for place, scene in enumerate(BEFORE_REAL):
            ground = ground_of(footage / "video" / f"{name}.mp4", skip=25 * place)
            films.append(
                draw_subject(folder / f"{name}-{place}.mp4", still(SCENES[scene]), size=SIZE, seed=place, ground=ground)
            )
    return films


def still(scene: Scene) -> Scene:
    """The ground moves by itself."""
    return Scene(scene.x, scene.wide, scene.high, second=scene.second, growth=scene.growth)


def ground_of(path: Path, skip: int) -> Callable[[int], NDArray[np.uint8]]:
    """Frames of a film in the size that is drawn, from one on."""
    import av

    with av.open(str(path)) as film:
        held = []
        for number, shown in enumerate(film.decode(video=0)):
            if number >= skip:
                held.append(shown.reformat(*SIZE, "rgb24").to_ndarray())
            if len(held) == 100:
                break
    return lambda number: held[min(number, len(held) - 1)]


def cost(report: Report, films: list[Subject]) -> None:
    """What looking costs, beside decoding all of it."""
    import av

    def look() -> None:
        for film in films[:20]:
            frame(film)

    def decode() -> None:
        for film in films[:20]:
            with av.open(str(film.path)) as source:
                for _ in source.decode(video=0):
                    pass

    ours, all_of_it = measure(look)[0], measure(decode)[0]
    seconds = sum(film.seconds for film in films[:20])
    report.add(
        "CPU a second of footage, three shapes", f"{1000 * ours.cpu_s / seconds:.0f} ms",
        limit=f"decoding all of it {1000 * all_of_it.cpu_s / seconds:.0f} ms",
    )  # fmt: skip


if __name__ == "__main__":
    main()
