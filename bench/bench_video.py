"""Text to video by assembly: the plan from a hundred thousand clips, and the film against a bare ffmpeg graph.

The bare graph only cuts, scales, joins and encodes the same frames with the same encoder settings. Every frame of the
film is held against the source map: the number of frames whose owner is known is counted, not assumed.
"""

from __future__ import annotations

import json
import shutil
import statistics
import tempfile
import time
from pathlib import Path
from typing import Any

from bench_promo import Scene, all_terms, films, in_turns, ratio
from common import Report, arguments

PROMPT = "云海，然后是日出"
PROMPTS = (
    "夜景",
    "航拍城市，然后是桥梁",
    "a night city, then tea",
    "茶叶；桥梁；黄昏；城市；夜景",
    "壮美山川与城市夜景",
)


def main() -> None:
    options = arguments(__doc__ or "")
    rounds = 1 if options.quick else max(3, options.runs)
    report = Report("Text to video: 10 seconds from cleared footage" if not options.quick else "Text to video, a smoke")
    with tempfile.TemporaryDirectory(prefix="malan-bench-") as name:
        scene = VideoScene(Path(name), quick=options.quick)
        whole(report, scene, rounds)
    plans(report, 2_000 if options.quick else 100_000)
    report.notes.append(
        "“Everything” is the whole of `malan app run video` in this process, from the words to the signed file, shelf "
        "empty; plans are timed without rendering, rights decided before."
    )
    report.show()
    if options.json:
        report.save(options.json)


class VideoScene(Scene):
    """The footage of the promo bench under names that can be asked for, and the film of a description."""

    def __init__(self, folder: Path, *, quick: bool) -> None:
        from malan.apps.running import run_app

        self.folder, self.quick = folder, quick
        self.lines = 360 if quick else 1080
        self.ws = _library(folder, quick)
        self.asked = {"prompt": PROMPT, "seconds": 3.0 if quick else 10.0, "lines": self.lines}
        told = run_app(self.ws, "video", {**self.asked, "plan_only": True}, folder / "plan")[1]
        self.board = told["boards"][0]
        self.edit = self._edit()
        self.pieces = self._pieces()

    def film(self) -> float:
        """The whole of it, the shelf emptied."""
        from malan.apps.running import run_app

        out = self.folder / "out"
        shutil.rmtree(out, ignore_errors=True)
        shutil.rmtree(self.ws.root / "cache", ignore_errors=True)
        began = time.perf_counter()
        run_app(self.ws, "video", self.asked, out)
        return time.perf_counter() - began

    def mapped(self) -> tuple[int, int]:
        """Frames of the film whose owner the map names, and frames there are."""
        import av

        said = json.loads((self.folder / "out" / "frames.json").read_text("utf-8"))
        owned = sum(run["frames"] for run in said["runs"] if run["owner"] and run["clip"])
        with av.open(str(self.folder / "out" / "video-16x9.mp4")) as film:
            return owned, sum(1 for packet in film.demux(video=0) if packet.size)


def _library(folder: Path, quick: bool) -> Any:
    from malan.rights import load_terms
    from malan.services.footage.assets import add_assets
    from malan.services.footage.scan import scan_assets
    from malan.workspace import Workspace

    ws = Workspace.create(folder / "ws")
    (folder / "terms.toml").write_text('uses = ["retrieve", "derive", "export", "publish"]\n')
    named = [
        film.rename(folder / f"{word}.mp4") for film, word in zip(films(folder, quick), ("云海", "日出"), strict=True)
    ]
    add_assets(ws, named, owner="湖南台", terms=load_terms(folder / "terms.toml", "湖南台"))
    scan_assets(ws, captions=False)
    return ws


def whole(report: Report, scene: VideoScene, rounds: int) -> None:
    size = (640, 360) if scene.quick else (1920, 1080)
    ours, bare = in_turns(rounds, scene.film, lambda: scene.bare(size))
    only = scene.encode_only(size)
    times = ratio(ours, bare)
    report.add(
        f"{scene.asked['seconds']:g} s at {size[1]} lines, everything",
        f"{statistics.median(ours):.1f} s ({times:.2f} × bare graph)",
        peer=f"bare graph {statistics.median(bare):.1f} s", limit=f"encoding alone {only:.1f} s",
        must="≤ 1.25 ×", met=times <= 1.25,
    )  # fmt: skip
    owned, frames = scene.mapped()
    report.add("frames mapped to owners", f"{owned} of {frames}", must="100 %", met=owned == frames > 0)


def plans(report: Report, clips: int) -> None:
    """Storyboards from a large library."""
    from synthetic_library import build

    from malan.apps.frame import Work
    from malan.apps.video.plan import make_boards
    from malan.apps.video.prompt import read_prompt
    from malan.apps.video.request import VideoRequest
    from malan.services.clips import picking
    from malan.workspace import Workspace

    with tempfile.TemporaryDirectory(prefix="malan-bench-") as name:
        ws = Workspace.create(Path(name))
        build(Path(name) / "library", clips)
        picking.allowed_terms = all_terms
        taken = []
        for prompt in PROMPTS:
            began = time.perf_counter()
            make_boards(VideoRequest(prompt=prompt, seconds=10), read_prompt(prompt), Work(Path(name), ws))
            taken.append(time.perf_counter() - began)
    worst = max(taken)
    report.add(
        f"plan from {clips:,} clips", f"{statistics.median(taken):.2f} s, longest {worst:.2f} s",
        must="≤ 2 s", met=worst <= 2,
    )  # fmt: skip


if __name__ == "__main__":
    main()
